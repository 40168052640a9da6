/* A worker's connections: accepting, feeding, closing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/secure.h"
#include "run/worker_state.h"

/* Operations that one completion may set off before the worker returns to the engine. */
#define CHAIN_MAX 16

static struct connection *connection_of(struct channel *channel)
{
    return (struct connection *)(void *)channel; /* the channel is its first member */
}

static void link_open(struct worker *worker, struct connection *connection)
{
    connection->previous = NULL;
    connection->next = worker->first;
    if (worker->first) {
        worker->first->previous = connection;
    }
    worker->first = connection;
    worker->open++;
    atomic_store_explicit(&worker->config->slot->open, worker->open, memory_order_relaxed);
}

static void unlink_open(struct worker *worker, struct connection *connection)
{
    if (worker->turn == connection) {
        worker->turn = connection->next;
    }
    if (worker->sweep == connection) {
        worker->sweep = connection->next;
    }
    if (connection->previous) {
        connection->previous->next = connection->next;
    } else {
        worker->first = connection->next;
    }
    if (connection->next) {
        connection->next->previous = connection->previous;
    }
    worker->open--;
    atomic_store_explicit(&worker->config->slot->open, worker->open, memory_order_relaxed);
}

static bool is_datagram_socket(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_DGRAM;
}

enum channel_kind worker_kind_of(struct net_end end)
{
    if (end.read_fd != end.write_fd) {
        return CHANNEL_PIPE;
    }
    return is_datagram_socket(end.read_fd) ? CHANNEL_DATAGRAM : CHANNEL_SOCKET;
}

struct connection *worker_new_connection(struct worker *worker, struct net_end end,
                                         enum channel_kind kind, bool secure, int *failed)
{
    struct connection *connection = worker->spare;
    if (connection) {
        worker->spare = connection->next;
        memset(connection, 0, worker->role->connection_bytes);
    } else {
        connection = calloc(1, worker->role->connection_bytes);
    }
    *failed = connection ? 0 : -ENOMEM;
    if (connection) {
        connection->channel.fd = end.read_fd;
        connection->channel.write_fd = end.write_fd;
        connection->channel.kind = (uint8_t)kind;
        connection->channel.options = worker->config->channel_options & 0x7fu; /* as wide */
        connection->channel.options |= secure ? CHANNEL_SECURE : 0;
        connection->flow = (uint16_t)(worker->opened < UINT16_MAX ? worker->opened++ : UINT16_MAX);
        *failed = worker->engine->ops->add(worker->engine, &connection->channel);
    }
    if (*failed == 0) {
        link_open(worker, connection);
        *failed = worker->role->open(&worker->context, connection);
        if (*failed == 0) {
            return connection;
        }
        /* The engine may still know its files: the memory goes when the close has completed. */
        worker_close_connection(worker, connection);
        return NULL;
    }
    net_end_close(end);
    free(connection);
    return NULL;
}

void worker_start(struct worker *worker, struct connection *connection,
                  const struct op_security *security, uint64_t now_ns)
{
    connection->flagged |= CONNECTION_STARTED;
    struct op op = {
        .kind = OP_START, .channel = &connection->channel, .now_ns = now_ns, .security = security};
    worker_feed(worker, connection, &op);
}

static void closed(struct worker *worker, struct connection *connection)
{
    if (connection->flagged & CONNECTION_ADMITTED && worker->config->connections) {
        atomic_fetch_sub(worker->config->connections, 1);
    }
    timers_cancel(&worker->timers, &connection->timer);
    unlink_open(worker, connection);
    worker->role->close(&worker->context, connection);
    connection->flagged |= CONNECTION_DEAD;
    connection->next = worker->dead;
    worker->dead = connection;
}

void worker_bury(struct worker *worker)
{
    struct connection **link = &worker->dead;
    while (*link) {
        struct connection *connection = *link;
        if (connection->flagged & (CONNECTION_IN_FLUSH | CONNECTION_IN_RESUME)) {
            link = &connection->next;
            continue;
        }
        *link = connection->next;
        connection->next = worker->spare;
        worker->spare = connection;
    }
}

static void keep_busy(struct worker *worker, const struct op *op)
{
    if (worker->busy_count == worker->busy_capacity) {
        size_t capacity = worker->busy_capacity ? 2 * worker->busy_capacity : 64;
        struct op *busy = reallocarray(worker->busy, capacity, sizeof *busy);
        if (!busy) {
            err_system(&worker->failure, ENOMEM, "worker", "cannot queue an operation");
            return;
        }
        worker->busy = busy;
        worker->busy_capacity = capacity;
    }
    worker->busy[worker->busy_count++] = *op;
}

/* Submits an operation; true where it is done and its connection has to hear of it. */
bool worker_submit(struct worker *worker, struct op *op)
{
    op->now_ns = 0; /* an operation that is done at once has no completion time of its own */
    if (op->kind == OP_CLOSE) {
        struct connection *connection = connection_of(op->channel);
        worker_read_flow(worker, connection); /* the last moment */
        if (op->channel->options & CHANNEL_SECURE) {
            connection->tcp_connected_ns = secure_connected_ns(op->channel);
        }
    }
    enum submit_result result = worker->engine->ops->submit(worker->engine, op);
    if (result == SUBMIT_BUSY) {
        keep_busy(worker, op);
    }
    if (result != SUBMIT_DONE) {
        return false;
    }
    struct connection *connection = connection_of(op->channel);
    if (op->kind == OP_CLOSE) {
        if (!(connection->flagged & CONNECTION_LISTENER)) {
            closed(worker, connection);
        }
        return false;
    }
    if (op->kind == OP_SECURE) {
        worker_secured(worker, connection, op); /* it could not even begin */
        return false;
    }
    return op->kind == OP_SEND || op->kind == OP_CONNECT || op->result < 0;
}

void worker_close_connection(struct worker *worker, struct connection *connection)
{
    struct op op = {.kind = OP_CLOSE, .channel = &connection->channel};
    worker_submit(worker, &op);
}

static void take_wishes(struct worker *worker, struct connection *connection)
{
    const struct step_out *out = &worker->context.out;
    if (out->flush && !(connection->flagged & CONNECTION_IN_FLUSH)) {
        connection->flagged |= CONNECTION_IN_FLUSH;
        connection->next_flush = worker->flush;
        worker->flush = connection;
    }
    if (out->resume && !(connection->flagged & CONNECTION_IN_RESUME)) {
        connection->flagged |= CONNECTION_IN_RESUME;
        connection->next_resume = worker->resume;
        worker->resume = connection;
    }
    if (out->set_timer) {
        if (out->timer_ns == 0) {
            timers_cancel(&worker->timers, &connection->timer);
        } else if (timers_set(&worker->timers, connection, &connection->timer, out->timer_ns)) {
            err_system(&worker->failure, ENOMEM, "worker", "cannot set a timer");
        }
    }
}

void worker_feed(struct worker *worker, struct connection *connection, struct op *first)
{
    struct op chain[CHAIN_MAX];
    uint32_t begin = 0, end = 0;
    struct op *op = first;
    struct step_out *out = &worker->context.out;
    for (;;) {
        out->count = 0;
        out->flush = out->resume = out->set_timer = false;
        worker->role->step(&worker->context, connection, op);
        take_wishes(worker, connection);
        for (uint32_t i = 0; i < out->count && !(connection->flagged & CONNECTION_DEAD); i++) {
            if (worker_submit(worker, &out->ops[i]) && end - begin < CHAIN_MAX) {
                chain[end++ % CHAIN_MAX] = out->ops[i];
            }
        }
        if (begin == end || connection->flagged & CONNECTION_DEAD) {
            return;
        }
        /* A copy: the slot may be written again while the step looks at it. */
        struct op next = chain[begin++ % CHAIN_MAX];
        *first = next;
        op = first;
    }
}

static void refuse(struct worker *worker, int fd)
{
    worker->context.bank->counters[worker->role->refused_counter]++;
    call_counted(worker->engine->calls, CALL_CLOSE, close(fd), false);
}

/* Out of files: gives up the reserved one to take the connection and close it, so that the peer
 * hears of it and the listener does not stay ready for ever. */
static void refuse_without_file(struct worker *worker, struct channel *listener, int number)
{
    bank_error(worker->context.bank, PHASE_ACCEPT, number, NULL);
    if (worker->reserve_fd < 0) {
        return;
    }
    call_counted(worker->engine->calls, CALL_CLOSE, close(worker->reserve_fd), false);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    call_counted(worker->engine->calls, CALL_ACCEPT4, fd, false);
    if (fd >= 0) {
        refuse(worker, fd);
    }
    worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Counts a connection against the server's limit; false where it is full. */
static bool admit(struct worker *worker)
{
    _Atomic uint32_t *connections = worker->config->connections;
    if (connections && atomic_fetch_add(connections, 1) >= worker->config->connections_max) {
        atomic_fetch_sub(connections, 1);
        atomic_fetch_add(worker->config->refused, 1);
        return false;
    }
    return true;
}

static void accepted(struct worker *worker, struct op *op)
{
    const struct worker_config *config = worker->config;
    if (op->result < 0) {
        int number = (int)-op->result;
        if (number == EMFILE || number == ENFILE) {
            refuse_without_file(worker, op->channel, number);
        } else if (number != ECANCELED) {
            bank_error(worker->context.bank, PHASE_ACCEPT, number, NULL);
        }
        return;
    }
    int fd = (int)op->result;
    bool secure = connection_of(op->channel)->flagged & CONNECTION_SECURE;
    if (config->accepted) {
        config->accepted(config->owner, fd, secure);
        return;
    }
    if (worker->phase >= RUN_DRAIN || !admit(worker)) {
        refuse(worker, fd);
        return;
    }
    /* Its settings are the listener's: Linux hands them on (server_listen has made them). */
    int failed;
    struct connection *connection =
        worker_new_connection(worker, (struct net_end){fd, fd}, CHANNEL_SOCKET, secure, &failed);
    if (!connection) {
        bank_error(worker->context.bank, PHASE_ACCEPT, -failed, NULL);
        if (config->connections) {
            atomic_fetch_sub(config->connections, 1);
        }
        return;
    }
    connection->flagged |= CONNECTION_ADMITTED;
    worker_begin(worker, connection, secure);
}

void worker_deliver(void *owner, struct op *op)
{
    struct worker *worker = owner;
    struct connection *connection = connection_of(op->channel);
    switch (op->kind) {
    case OP_ACCEPT:
        accepted(worker, op);
        break;
    case OP_CONNECT:
        worker_connected(worker, connection, op);
        break;
    case OP_SECURE:
        worker_secured(worker, connection, op);
        break;
    case OP_CLOSE:
        if (!(connection->flagged & CONNECTION_LISTENER)) {
            closed(worker, connection);
        }
        break;
    default:
        worker->blocked = false;
        worker_feed(worker, connection, op);
        break;
    }
}

/* A socket to which all peers send: served from the start, like a connection. */
static int open_datagrams(struct worker *worker, int fd)
{
    int failed;
    struct connection *connection =
        worker_new_connection(worker, (struct net_end){fd, fd}, CHANNEL_MANY, false, &failed);
    if (!connection) {
        return err_system(&worker->failure, -failed, "listener", "cannot open");
    }
    worker_start(worker, connection, NULL, clock_now_ns());
    return 0;
}

static int open_listener(struct worker *worker, int fd, bool secure)
{
    if (is_datagram_socket(fd)) {
        return open_datagrams(worker, fd);
    }
    struct connection *listener = calloc(1, sizeof *listener);
    if (!listener) {
        return err_system(&worker->failure, ENOMEM, "listener", "cannot open");
    }
    listener->flagged = CONNECTION_LISTENER | (secure ? CONNECTION_SECURE : 0);
    listener->channel = (struct channel){.fd = fd, .write_fd = fd, .kind = CHANNEL_LISTENER};
    listener->next = worker->listeners;
    worker->listeners = listener;
    int failed = worker->engine->ops->add(worker->engine, &listener->channel);
    struct op op = {.kind = OP_ACCEPT, .channel = &listener->channel};
    if (failed == 0 && worker_submit(worker, &op)) {
        failed = (int)op.result;
    }
    return failed ? err_system(&worker->failure, -failed, "listener", "cannot accept") : 0;
}

int worker_open_all(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    if (worker->renew_below == 0 && worker_dial_all(worker) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < config->end_count; i++) {
        int failed;
        enum channel_kind kind = worker_kind_of(config->ends[i]);
        if (kind == CHANNEL_DATAGRAM && config->greeted) {
            kind = CHANNEL_MANY; /* servers of datagrams answer each to where it came from */
        }
        struct connection *connection =
            worker_new_connection(worker, config->ends[i], kind, config->secure_ends, &failed);
        if (!connection) {
            return err_system(&worker->failure, -failed, "connection", "cannot open");
        }
        worker->given = true;
        if (config->secure_ends || !config->await_go) {
            worker_begin(worker, connection, config->secure_ends);
        }
    }
    for (uint32_t i = 0; i < config->listener_count; i++) {
        if (open_listener(worker, config->listeners[i], config->secure_listeners >> i & 1) < 0) {
            return -1;
        }
    }
    if (config->listener_count) {
        worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    return 0;
}

static void free_list(struct connection **list)
{
    while (*list) {
        struct connection *connection = *list;
        *list = connection->next;
        free(connection);
    }
}

void worker_close_all(struct worker *worker)
{
    struct err ignored;
    for (struct connection *listener = worker->listeners; listener; listener = listener->next) {
        if (!listener->channel.closing) {
            worker_submit(worker, &(struct op){.kind = OP_CLOSE, .channel = &listener->channel});
        }
    }
    for (struct connection *next, *connection = worker->first; connection; connection = next) {
        next = connection->next;
        if (!connection->channel.closing) {
            worker_close_connection(worker, connection);
        }
    }
    uint64_t until_ns = clock_now_ns() + NS_PER_SECOND;
    while (worker->first && clock_now_ns() < until_ns &&
           worker->engine->ops->reap(worker->engine, until_ns, &ignored) == 0) {
    }
    worker->engine->ops->fini(worker->engine);
    worker->engine = NULL;
    /* With the engine gone, nothing refers to a connection any more. */
    while (worker->first) {
        closed(worker, worker->first);
    }
    free_list(&worker->dead);
    free_list(&worker->spare);
    free_list(&worker->listeners);
    if (worker->reserve_fd >= 0) {
        close(worker->reserve_fd);
    }
}
