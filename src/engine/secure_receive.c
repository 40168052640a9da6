/* What comes from the peer: handshakes, plain text, ends. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "engine/secure_state.h"

/* The engine below receives, or does not. -errno where it cannot. */
static int64_t receive_below(struct secure *secure, struct secured *secured, uint32_t flags)
{
    struct op op = {.kind = OP_RECEIVE, .channel = &secured->inner, .flags = flags};
    secured->receiving = true;
    if (secure_put(secure, &op) == SUBMIT_DONE && op.result < 0) {
        secured->receiving = false;
        return op.result;
    }
    return 0;
}

static void pause_below(struct secure *secure, struct secured *secured)
{
    if (secured->receiving) {
        secured->receiving = false;
        secure_put(secure, &(struct op){.kind = OP_PAUSE, .channel = &secured->inner});
    }
}

static void end(struct secured *secured, int64_t result)
{
    if (!secured->ended) {
        secured->ended = true;
        secured->end_result = result;
    }
}

static void pend(struct secure *secure, struct secured *secured)
{
    if (!secured->pending) {
        secured->pending = true;
        secured->next_pending = secure->pending;
        secure->pending = secured;
    }
}

/* ---- handshake ------------------------------------------------------------------------------- */

static int begin_tls(struct secure *secure, struct secured *secured, enum tls_side side)
{
    struct err ignored;
    const struct tls_config config = {
        .side = side,
        .peer = secure->config.peer,
        .context = side == TLS_CLIENT ? secure->config.client : secure->config.server,
    };
    if (!config.context) {
        return -EINVAL;
    }
    return tls_open(&secured->tls, &config, &ignored) < 0 ? -ENOMEM : 0;
}

/* Tells the owner what has become of it. It may have closed the channel on return. */
static void report(struct secure *secure, struct secured *secured, int64_t result,
                   const struct err *failure, uint64_t now_ns)
{
    struct op_security security = {.failure = failure,
                                   .connected = secured->connected_ns != 0,
                                   .version = "none",
                                   .cipher = "none"};
    if (secured->connected_ns) {
        security.connect_ns = secured->connected_ns - secured->began_ns;
        security.handshake_ns = now_ns - secured->connected_ns;
    }
    if (result == 0) {
        struct tls_facts facts;
        tls_facts(secured->tls, &facts);
        security.version = facts.version;
        security.cipher = facts.cipher;
        security.resumed = facts.resumed;
        security.verified = facts.verified;
    }
    struct op op = {
        .kind = secured->handshake_op, .result = result, .now_ns = now_ns, .security = &security};
    secure_deliver(secure, secured, &op);
}

static void handshake_failed(struct secure *secure, struct secured *secured, int64_t result,
                             const struct err *failure)
{
    secured->state = SECURED_FAILED;
    pause_below(secure, secured);
    report(secure, secured, result, failure, clock_now_ns());
}

/* A client that keeps sessions reads until it has one, though its owner does not. */
static bool awaits_session(const struct secure *secure, const struct secured *secured)
{
    return secured->handshake_op == OP_CONNECT && tls_context_awaits_session(secure->config.client);
}

static void read_plain(struct secure *secure, struct secured *secured);

/* One step of the handshake with what is there. */
static void shake_hands(struct secure *secure, struct secured *secured)
{
    struct err error = {0};
    tls_put_into(secured->tls, &secure->stray);
    int done = tls_handshake(secured->tls, &error);
    int failed = done < 0 ? tls_failure(secured->tls) : 0;
    if (secure_say(secure, secured) < 0) {
        done = -1;
        failed = ENOMEM;
    }
    if (secured->send_failed && done >= 0) {
        handshake_failed(secure, secured, secured->send_failed, NULL);
        return;
    }
    if (done < 0) {
        handshake_failed(secure, secured, -failed, &error);
    } else if (done) {
        secured->state = SECURED_OPEN;
        report(secure, secured, 0, NULL, clock_now_ns());
        if (!secured->outer->closing) {
            read_plain(secure, secured);
        }
        if (!secured->dead && !secured->wants && !awaits_session(secure, secured)) {
            pause_below(secure, secured);
        }
    }
}

static void begin_handshake(struct secure *secure, struct secured *secured)
{
    secured->state = SECURED_HANDSHAKE;
    /* Made only now, so that it is in the time of this handshake and not of TCP's. */
    int64_t failed = secured->tls ? 0 : begin_tls(secure, secured, TLS_CLIENT);
    failed = failed < 0 ? failed : receive_below(secure, secured, 0);
    if (failed < 0) {
        handshake_failed(secure, secured, failed, NULL);
    } else if (secured->handshake_op == OP_CONNECT) {
        shake_hands(secure, secured);
    }
}

void secure_connected(struct secure *secure, struct secured *secured, const struct op *op)
{
    if (secured->outer->closing) {
        return;
    }
    if (op->result < 0) {
        secured->state = SECURED_FAILED;
        report(secure, secured, op->result, NULL, op->now_ns);
        return;
    }
    secured->connected_ns = op->now_ns;
    begin_handshake(secure, secured);
}

enum submit_result secure_connect(struct secure *secure, struct secured *secured, struct op *op)
{
    secured->handshake_op = OP_CONNECT;
    secured->state = SECURED_CONNECTING;
    secured->began_ns = clock_now_ns();
    struct op below = *op;
    below.channel = &secured->inner;
    if (secure_put(secure, &below) != SUBMIT_DONE) {
        return SUBMIT_QUEUED;
    }
    op->result = below.result;
    if (op->result < 0) {
        return SUBMIT_DONE;
    }
    /* Nothing may be delivered here: its first step is made by the next reap. */
    secured->connected_ns = clock_now_ns();
    pend(secure, secured);
    return SUBMIT_QUEUED;
}

enum submit_result secure_accept(struct secure *secure, struct secured *secured, struct op *op)
{
    secured->handshake_op = OP_SECURE;
    op->result = begin_tls(secure, secured, TLS_SERVER);
    if (op->result < 0) {
        return SUBMIT_DONE;
    }
    secured->began_ns = secured->connected_ns = clock_now_ns();
    pend(secure, secured);
    return SUBMIT_QUEUED;
}

/* ---- plain text ------------------------------------------------------------------------------ */

/* Decrypts as much as one receive may take; what has ended is noted. */
static size_t decrypt(struct secure *secure, struct secured *secured)
{
    struct err error = {0};
    size_t room = secure->engine.config.receive_bytes, length = 0;
    tls_put_into(secured->tls, &secure->stray);
    while (length < room) {
        ssize_t got = tls_read(secured->tls, secure->plain + length, room - length, &error);
        if (got < 0) {
            bool failed = error.code != ERR_NONE;
            secured->state = failed ? SECURED_FAILED : secured->state;
            end(secured, failed ? -tls_failure(secured->tls) : 0);
        }
        if (got == 0 && secured->below_ended) {
            end(secured, secured->below_result);
        }
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    if (secure_say(secure, secured) < 0) {
        secured->state = SECURED_FAILED;
        end(secured, -TLS_FAILED_FLOOD);
    }
    return length;
}

static void tell_end(struct secure *secure, struct secured *secured)
{
    secured->wants = false;
    pause_below(secure, secured);
    struct op op = {.kind = OP_RECEIVE, .result = secured->end_result, .now_ns = clock_now_ns()};
    secure_deliver(secure, secured, &op);
}

/* Delivers what is there while it is wanted; what is not is kept, and no more comes then. */
static void read_plain(struct secure *secure, struct secured *secured)
{
    while (secured->wants && !secured->dead) {
        size_t length = decrypt(secure, secured);
        if (length) {
            struct op op = {.kind = OP_RECEIVE,
                            .result = (int64_t)length,
                            .data = secure->plain,
                            .now_ns = clock_now_ns()};
            secure_deliver(secure, secured, &op);
        } else if (secured->ended) {
            tell_end(secure, secured);
        } else {
            return;
        }
    }
    if (secured->dead || secured->outer->closing || !tls_unread(secured->tls)) {
        return;
    }
    struct err ignored;
    if (awaits_session(secure, secured)) {
        tls_put_into(secured->tls, &secure->stray);
        tls_look(secured->tls);
        secure_say(secure, secured);
    }
    if (tls_unread(secured->tls) || !awaits_session(secure, secured)) {
        pause_below(secure, secured);
    }
    if (tls_keep(secured->tls, &ignored) < 0) {
        end(secured, -ENOMEM);
    }
}

/* The engine below has no more, or has failed. */
static void ended_below(struct secure *secure, struct secured *secured, int64_t result)
{
    secured->receiving = false;
    if (secured->state == SECURED_HANDSHAKE) {
        int64_t failed = result < 0 ? result : -TLS_FAILED_ENDED;
        struct err error = {0};
        if (result == 0) {
            err_set(&error, ERR_PROTOCOL, secure->config.peer, "%s",
                    tls_failure_name(TLS_FAILED_ENDED));
        }
        handshake_failed(secure, secured, failed, result == 0 ? &error : NULL);
        return;
    }
    secured->below_ended = true;
    secured->below_result = result < 0 ? result : -TLS_FAILED_TRUNCATED;
    if (secured->wants) {
        read_plain(secure, secured);
    }
}

void secure_received(struct secure *secure, struct secured *secured, const struct op *op)
{
    struct err ignored;
    if (secured->outer->closing || secured->state == SECURED_FAILED || secured->ended) {
        secured->receiving = secured->receiving && op->result > 0;
        return;
    }
    if (op->result <= 0) {
        ended_below(secure, secured, op->result);
        return;
    }
    if (!tls_unread(secured->tls)) {
        tls_lend(secured->tls, op->data, (size_t)op->result);
    } else if (tls_feed(secured->tls, op->data, (size_t)op->result, &ignored) < 0) {
        ended_below(secure, secured, -ENOMEM);
        return;
    }
    if (secured->state == SECURED_HANDSHAKE) {
        shake_hands(secure, secured);
    } else {
        read_plain(secure, secured);
    }
}

enum submit_result secure_receive(struct secure *secure, struct secured *secured, struct op *op)
{
    bool first = !secured->wants;
    if (!secured->tls) {
        op->result = -ENOTCONN;
        return SUBMIT_DONE;
    }
    secured->wants = true;
    if (secured->state != SECURED_OPEN && !secured->ended) {
        end(secured, -ENOTCONN);
    }
    if (secured->ended || secured->below_ended || tls_unread(secured->tls)) {
        if (first) {
            pend(secure, secured);
        }
    } else if (!secured->receiving || op->flags & OP_END_ONLY) {
        op->result = receive_below(secure, secured, op->flags & OP_END_ONLY);
        if (op->result < 0) {
            secured->wants = false;
            return SUBMIT_DONE;
        }
    }
    return SUBMIT_QUEUED;
}

unsigned secure_work_off_pending(struct secure *secure)
{
    unsigned count = 0;
    struct secured *next = secure->pending;
    secure->pending = NULL;
    while (next) {
        struct secured *secured = next;
        next = secured->next_pending;
        secured->pending = false;
        count++;
        if (secured->dead || secured->outer->closing) {
            continue;
        }
        if (secured->state < SECURED_HANDSHAKE) {
            begin_handshake(secure, secured);
            continue;
        }
        read_plain(secure, secured);
        if (!secured->dead && secured->wants && !secured->receiving && !secured->below_ended &&
            !secured->outer->closing) {
            int64_t failed = receive_below(secure, secured, 0);
            if (failed < 0) {
                end(secured, failed);
                tell_end(secure, secured);
            }
        }
    }
    return count;
}
