/* A worker's connections that speak TLS: their handshakes, and what is kept of these. */
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "run/worker_state.h"

/* A client that has not finished its handshake after this long is given up. */
#define SECURING_NS (10 * NS_PER_SECOND)

void worker_begin(struct worker *worker, struct connection *connection, bool secure)
{
    if (!secure) {
        worker_start(worker, connection, NULL, clock_now_ns());
        return;
    }
    connection->flagged |= CONNECTION_SECURING;
    if (timers_set(&worker->timers, connection, &connection->timer, clock_now_ns() + SECURING_NS)) {
        err_system(&worker->failure, ENOMEM, "worker", "cannot set a timer");
    }
    struct op op = {.kind = OP_SECURE, .channel = &connection->channel};
    worker_submit(worker, &op);
}

void worker_count_security(struct worker *worker, const struct op_security *done)
{
    struct slot_security *security = &worker->config->slot->security;
    security->handshakes++;
    security->resumed += done->resumed;
    security->verified += done->verified;
    snprintf(security->version, sizeof security->version, "%s", done->version);
    snprintf(security->cipher, sizeof security->cipher, "%s", done->cipher);
    histogram_record(&security->handshake_time, done->handshake_ns, 1);
    if (worker->config->client_tls) {
        histogram_record(&security->connect_time, done->connect_ns, 1);
    }
}

void worker_explain(struct worker *worker, const struct op *op)
{
    const char *target = worker->config->dials[0].address->text;
    const struct op_security *security = op->security;
    if (security && security->failure) {
        worker->failure = *security->failure;
    } else if (security && security->connected) {
        err_system(&worker->failure, (int)-op->result, target, "the TLS handshake failed");
    } else {
        err_system(&worker->failure, (int)-op->result, target, "cannot connect");
        if (op->result == -ECONNREFUSED) {
            err_hint(&worker->failure, "is the server running and listening there?");
        }
    }
}

void worker_secured(struct worker *worker, struct connection *connection, const struct op *op)
{
    connection->flagged &= (uint16_t)~CONNECTION_SECURING;
    timers_cancel(&worker->timers, &connection->timer);
    if (op->result < 0) {
        bank_error(worker->context.bank, PHASE_TLS, (int)-op->result, NULL);
        worker_close_connection(worker, connection);
        return;
    }
    worker_count_security(worker, op->security);
    if (worker->phase >= RUN_DRAIN) {
        worker_close_connection(worker, connection);
    } else if (!worker->config->await_go) {
        worker_start(worker, connection, op->security, clock_now_ns());
    }
}

void worker_give_up_securing(struct worker *worker, struct connection *connection, int number)
{
    connection->flagged &= (uint16_t)~CONNECTION_SECURING;
    if (number) {
        bank_error(worker->context.bank, PHASE_TLS, number, NULL);
    }
    worker_close_connection(worker, connection);
}
