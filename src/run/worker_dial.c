/* A client's connections: dialing them, once or again and again. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "run/worker_state.h"

/* Renewed connections that are dialed before completions get their turn. */
#define DIALS_IN_A_ROW 64
/* Connects under way at a time before the start, of all workers together, and at least of one:
 * fewer than fit into the backlog of most servers, so that none is dropped and sent again a second
 * later. */
#define CONNECTS_MOST 512
#define CONNECTS_LEAST 8
/* After one that could not be established: a target that refuses is not hammered. */
#define DIAL_PAUSE_NS NS_PER_MS
/* Where so many could not be established, and none before them, none will be. */
#define UNREACHED_MOST 8
/* Most that is waited for the first TLS session: a server may give none. */
#define SESSION_NS NS_PER_SECOND

static void cannot_dial(struct worker *worker, enum bank_phase phase, int number)
{
    struct bank *bank = worker->context.bank;
    bank_error(bank, phase, number, NULL);
    bank->counters[worker->role->undialed_counter]++;
    bool scheduled = worker->config->rate > 0 && !worker->role->redials; /* which paces it */
    if (!worker->config->dials_on && !scheduled) {
        worker->dial_after_ns = clock_now_ns() + DIAL_PAUSE_NS;
    }
}

int worker_order_dials(struct worker *worker)
{
    uint32_t count = worker->config->dial_count;
    worker->context.quota = count;
    worker->order = calloc(count, sizeof *worker->order);
    if (!worker->order) {
        return err_system(&worker->failure, ENOMEM, "memory", "cannot plan the connections");
    }
    for (uint32_t i = 0; i < count; i++) {
        worker->order[i] = i;
    }
    return 0;
}

/* Connections that are dialed once are tried until the schedule's end, and one last time then. */
static bool may_try_again(const struct worker *worker, uint64_t again_ns)
{
    const struct worker_config *config = worker->config;
    uint64_t start_ns = atomic_load_explicit(&config->control->start_ns, memory_order_relaxed);
    return !worker->order || (config->rate > 0 && (double)(again_ns - start_ns) * config->rate <
                                                      (double)config->dials_in_all * 1e9);
}

/* There was no socket to dial with: nothing has been dialed, and so no connection has failed.
 * False where it is not tried again. */
static bool no_socket(struct worker *worker, uint32_t dial)
{
    uint64_t again_ns = clock_now_ns() + DIAL_PAUSE_NS;
    bank_error(worker->context.bank, PHASE_SOCKET, worker->failure.number, NULL);
    worker->failure = (struct err){0};
    if (!may_try_again(worker, again_ns)) {
        worker->context.quota--;
        return false;
    }
    if (worker->order) { /* behind those that are left: they may come from another address */
        uint64_t last = worker->next_dial + worker->context.quota;
        worker->order[last % worker->config->dial_count] = dial;
    }
    worker->dial_after_ns = again_ns;
    return true;
}

static enum bank_phase phase_of(const struct op *op)
{
    return op->security && op->security->connected ? PHASE_TLS : PHASE_CONNECT;
}

/* A server that was there is gone: for as long as a connect may take nothing could be established
 * in the place of what has ended, and nothing is left. */
static bool has_gone(struct worker *worker)
{
    uint64_t now_ns = clock_now_ns();
    worker->gone_ns = worker->gone_ns ? worker->gone_ns : now_ns;
    bool gone =
        worker->role->redials && now_ns - worker->gone_ns > worker->config->connect_timeout_ns;
    for (struct connection *connection = worker->first; connection && gone;
         connection = connection->next) {
        gone = !(connection->flagged & CONNECTION_STARTED) || connection->channel.closing;
    }
    return gone;
}

/* One that is renewed could not be established. It fails the run only where none can be: a bad
 * connection among good ones is a figure. */
static void not_established(struct worker *worker, struct connection *connection,
                            const struct op *op)
{
    bool last = worker->context.quota == 0 && worker->open == 1;
    /* Who resets an established connection before it was looked at is there. */
    worker->reached |= op->result == -ECONNRESET && phase_of(op) == PHASE_CONNECT;
    cannot_dial(worker, phase_of(op), (int)-op->result);
    bool never = !worker->reached && !worker->config->dials_on &&
                 (++worker->unreached >= UNREACHED_MOST || last);
    if ((never || has_gone(worker)) && worker->failure.code == ERR_NONE) {
        worker_explain(worker, op);
    }
    worker_close_connection(worker, connection);
}

/* Of one that is renewed. */
static void established(struct worker *worker, struct connection *connection, const struct op *op)
{
    connection->flagged &= (uint16_t)~CONNECTION_DIALING;
    timers_cancel(&worker->timers, &connection->timer);
    if (op->result < 0) {
        not_established(worker, connection, op);
        return;
    }
    worker->reached = true;
    worker->gone_ns = 0;
    if (op->security) {
        worker_count_security(worker, op->security);
    }
    worker_start(worker, connection, op->security, op->now_ns ? op->now_ns : clock_now_ns());
}

void worker_give_up(struct worker *worker, struct connection *connection)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    int fd = connection->channel.fd;
    /* Where there is a peer already, it is TLS that did not come to an end. */
    const struct op_security security = {
        .connected = connection->channel.options & CHANNEL_SECURE &&
                     getpeername(fd, (struct sockaddr *)&peer, &length) == 0};
    const struct op op = {.kind = OP_CONNECT, .result = -ETIMEDOUT, .security = &security};
    connection->flagged &= (uint16_t)~CONNECTION_DIALING;
    not_established(worker, connection, &op);
}

void worker_connected(struct worker *worker, struct connection *connection, struct op *op)
{
    worker->blocked = false; /* it may take an arrival */
    if (worker->renew_below) {
        if (connection->flagged & CONNECTION_DIALING) { /* else it was given up */
            established(worker, connection, op);
        }
        return;
    }
    worker->connecting--;
    if (op->result == 0) {
        if (op->security) {
            worker_count_security(worker, op->security);
        }
        return; /* started by the loop, all at once */
    }
    bank_error(worker->context.bank, phase_of(op), (int)-op->result, NULL);
    if (worker->failure.code == ERR_NONE) {
        worker_explain(worker, op);
    }
    worker_close_connection(worker, connection);
}

static uint32_t at_most_32_bits(uint64_t value)
{
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* 1: dialed; 0: there was no socket, as worker->failure says; -1: with worker->failure. */
static int dial_one(struct worker *worker, const struct dial *dial, uint64_t intended_ns)
{
    struct net_end end = dial->end;
    uint64_t dialed_ns = clock_now_ns(), opened_ns = dialed_ns;
    if (dial->address) {
        int fd = worker_open_socket(worker, dial);
        if (fd < 0) { /* among others that were dialed it is no failure of the run */
            return worker->renew_below && (worker->reached || worker->open) ? 0 : -1;
        }
        end = (struct net_end){fd, fd};
        opened_ns = clock_now_ns();
    }
    int failed;
    enum channel_kind kind = !dial->address ? worker_kind_of(end)
                             : dial->address->transport->caps & TRANSPORT_DATAGRAMS
                                 ? CHANNEL_DATAGRAM
                                 : CHANNEL_SOCKET;
    bool secure = dial->address && dial->address->transport->caps & TRANSPORT_SECURE;
    struct connection *connection = worker_new_connection(worker, end, kind, secure, &failed);
    if (!connection) {
        return err_system(&worker->failure, -failed, "connection", "cannot open");
    }
    connection->dialed_ns = dialed_ns;
    connection->intended_ns = intended_ns ? intended_ns : dialed_ns;
    connection->socket_ns = at_most_32_bits(opened_ns - dialed_ns);
    if (intended_ns) {
        histogram_record(&worker->context.bank->histograms[worker->config->send_lag],
                         dialed_ns > intended_ns ? dialed_ns - intended_ns : 0, 1);
    }
    if (dial->address) {
        struct op op = {.kind = OP_CONNECT,
                        .channel = &connection->channel,
                        .data = (const uint8_t *)&dial->address->socket_address,
                        .length = dial->address->length};
        worker->connecting += worker->renew_below == 0;
        if (worker->renew_below) {
            connection->flagged |= CONNECTION_DIALING;
            if (timers_set(&worker->timers, connection, &connection->timer,
                           dialed_ns + worker->config->connect_timeout_ns)) {
                return err_system(&worker->failure, ENOMEM, "worker", "cannot set a timer");
            }
        }
        connection->set_up_ns = at_most_32_bits(clock_now_ns() - opened_ns);
        connection->thread_ns = at_most_32_bits(worker->thread_start_ns);
        worker->thread_start_ns = 0;
        if (worker_submit(worker, &op)) {
            worker_connected(worker, connection, &op);
        }
    }
    return worker->failure.code == ERR_NONE ? 1 : -1;
}

bool worker_awaits_session(const struct worker *worker, uint64_t now_ns)
{
    const struct worker_config *config = worker->config;
    bool brings_it = !config->follows && worker->open == 0;
    return !worker->session_awaited && !brings_it &&
           tls_context_awaits_session(config->client_tls) &&
           now_ns <
               atomic_load_explicit(&config->control->start_ns, memory_order_relaxed) + SESSION_NS;
}

static uint32_t in_flight(const struct worker *worker)
{
    return worker->open - worker->context.settled;
}

void worker_look_at_marks(struct worker *worker)
{
    if (worker->throttled && in_flight(worker) < worker->renew_below) {
        worker->throttled = false;
        worker->context.bank->counters[worker->role->resumed_counter] += !worker->context.draining;
    }
}

bool worker_dial(struct worker *worker, uint64_t intended_ns)
{
    const struct worker_config *config = worker->config;
    /* Unless this one is to bring the session, there is one now, or there will be none. */
    worker->session_awaited |= config->follows || worker->open > 0 || worker->reached;
    uint32_t dial = worker->order ? worker->order[worker->next_dial] : worker->next_dial;
    bool again =
        dial_one(worker, &config->dials[dial], intended_ns) == 0 && no_socket(worker, dial);
    worker->next_dial = (worker->next_dial + 1) % config->dial_count;
    if (again) {
        return false;
    }
    if (in_flight(worker) >= config->dial_count && !worker->throttled && worker->context.quota) {
        worker->throttled = true;
        worker->context.bank->counters[worker->role->throttled_counter]++;
    }
    return true;
}

bool worker_may_dial(const struct worker *worker, uint64_t now_ns)
{
    return worker->renew_below && worker->started && !worker->context.draining &&
           worker->context.quota && !worker->throttled && worker->failure.code == ERR_NONE &&
           worker->dial_after_ns <= now_ns && !worker_awaits_session(worker, now_ns);
}

void worker_renew(struct worker *worker, uint64_t now_ns)
{
    for (uint32_t i = 0; i < DIALS_IN_A_ROW && worker_may_dial(worker, now_ns); i++) {
        worker_dial(worker, 0);
    }
}

/* Where sessions are resumed, the first connection of all brings the session for the others. A
 * server that gives none is not waited for for long. */
static int await_session(struct worker *worker)
{
    uint64_t until_ns = clock_now_ns() + SESSION_NS;
    while (!worker->session_awaited && worker->failure.code == ERR_NONE &&
           tls_context_awaits_session(worker->config->client_tls) && clock_now_ns() < until_ns) {
        if (worker->engine->ops->reap(worker->engine, clock_now_ns() + NS_PER_MS,
                                      &worker->failure) < 0) {
            return -1;
        }
    }
    worker->session_awaited = true;
    return worker->failure.code == ERR_NONE ? 0 : -1;
}

int worker_dial_all(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    uint32_t most = config->workers ? CONNECTS_MOST / config->workers : CONNECTS_MOST;
    most = most > CONNECTS_LEAST ? most : CONNECTS_LEAST;
    for (uint32_t i = 0; i < config->dial_count; i++) {
        if ((i > 0 || config->follows) && await_session(worker) < 0) {
            return -1;
        }
        if (dial_one(worker, &config->dials[i], 0) < 0 ||
            worker_await_connects(worker, most - 1) < 0) {
            return -1;
        }
    }
    return 0;
}
