/* What the tests of the engines share: an engine, channels that note what is delivered to them, and
 * files to talk to them. */
#ifndef SONDE_TESTS_ENGINE_WORLD_H
#define SONDE_TESTS_ENGINE_WORLD_H

#include <stdio.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/engine.h"

/* Far more than anything here takes, on a busy machine too. */
#define LIMIT_NS (60 * NS_PER_SECOND)

/* An engine in one of its modes. */
struct variant {
    const struct engine_ops *ops;
    uint32_t receive_mode;
};

struct world {
    const struct variant *variant;
    struct engine *engine;
    struct call_table calls;
    uint64_t deliveries;
};

/* A datagram as it was delivered; its data stands in end->received. */
struct letter {
    int64_t result;
    size_t length, at;
    uint32_t segment;
    struct sockaddr_storage peer;
    socklen_t peer_length;
    bool stamped;
    struct op_stamps stamps;
};

/* A channel and all that was delivered to it. */
struct end {
    struct channel channel;
    struct world *world;
    uint8_t *received;
    size_t received_length, received_room;
    uint32_t receives, sends;
    bool ended, sent, connected, closed, reading;
    bool pause_after_receive;
    uint8_t *memory; /* that its receives name; NULL: they are lent a buffer */
    size_t memory_bytes;
    bool lent_all_the_same; /* of what names memory in vain */
    bool walks;             /* each receive names what is behind that of the last */
    int64_t end_result, send_result, connect_result, accept_error;
    struct letter *letters; /* datagrams: each receive, errors too */
    size_t letter_count;
    uint32_t errors;         /* of them */
    bool resumed, explained; /* of op->security: failure was set */
    const char *version;
    int accepted[128];
    uint32_t accept_count;
};

static inline void note_letter(struct end *end, const struct op *op)
{
    end->letters = realloc(end->letters, (end->letter_count + 1) * sizeof *end->letters);
    assert_non_null(end->letters);
    struct letter *letter = &end->letters[end->letter_count++];
    *letter = (struct letter){.result = op->result,
                              .length = op->length,
                              .at = end->received_length,
                              .segment = op->segment,
                              .peer_length = op->peer_length,
                              .stamped = op->stamps != NULL};
    if (op->peer) {
        assert_true(op->peer_length <= sizeof letter->peer);
        memcpy(&letter->peer, op->peer, op->peer_length);
    }
    if (op->stamps) {
        letter->stamps = *op->stamps;
    }
    end->errors += op->result < 0;
}

static inline void note(struct world *world, struct op *op)
{
    struct end *end = (struct end *)(void *)op->channel;
    world->deliveries++;
    assert_false(end->closed);
    switch (op->kind) {
    case OP_RECEIVE:
        assert_true(end->reading);
        assert_false(end->ended);
        if (end->channel.kind >= CHANNEL_DATAGRAM || end->channel.options & ~CHANNEL_STEADY) {
            note_letter(end, op);
        }
        if (op->result <= 0 && end->channel.kind >= CHANNEL_DATAGRAM) {
            break;
        }
        if (op->result <= 0) {
            end->ended = true;
            end->end_result = op->result;
            break;
        }
        if (end->memory && !end->lent_all_the_same) {
            assert_ptr_equal(op->data, end->memory);
            assert_true((size_t)op->result <= end->memory_bytes);
        } else {
            assert_ptr_not_equal(op->data, end->memory);
            assert_true((size_t)op->result <= world->engine->config.receive_bytes);
        }
        if (end->received_length + (size_t)op->result > end->received_room) {
            end->received_room = 2 * (end->received_length + (size_t)op->result);
            end->received = realloc(end->received, end->received_room);
            assert_non_null(end->received);
        }
        memcpy(end->received + end->received_length, op->data, (size_t)op->result);
        end->received_length += (size_t)op->result;
        end->receives++;
        break;
    case OP_SEND:
        end->sent = true;
        end->sends++;
        end->send_result = op->result;
        break;
    case OP_CONNECT:
    case OP_SECURE:
        end->connected = true;
        end->connect_result = op->result;
        if (op->security) {
            end->resumed = op->security->resumed;
            end->explained = op->security->failure != NULL;
            end->version = op->security->version;
        }
        break;
    case OP_ACCEPT:
        if (op->result < 0) {
            end->accept_error = op->result;
            break;
        }
        assert_true(end->accept_count < 128);
        end->accepted[end->accept_count++] = (int)op->result;
        break;
    case OP_CLOSE:
        assert_int_equal(op->result, 0);
        end->closed = true;
        break;
    default:
        fail_msg("delivered an operation that nobody submits: %d", (int)op->kind);
    }
}

static inline void reap_until(struct world *world, uint64_t until_ns)
{
    struct err error = {0};
    if (world->engine->ops->reap(world->engine, until_ns, &error) < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
}

/* Reaps a few times without and with a short wait: what can happen has happened. */
static inline void settle(struct world *world)
{
    for (int i = 0; i < 5; i++) {
        reap_until(world, 0);
        reap_until(world, clock_now_ns() + NS_PER_MS);
    }
}

/* Reaps until the expression holds; fails after LIMIT_NS. */
#define REAP_WHILE_NOT(world, expression)                                                          \
    do {                                                                                           \
        uint64_t limit_ns = clock_now_ns() + LIMIT_NS;                                             \
        while (!(expression)) {                                                                    \
            if (clock_now_ns() > limit_ns) {                                                       \
                fail_msg("still not: %s", #expression);                                            \
            }                                                                                      \
            reap_until(world, clock_now_ns() + 5 * NS_PER_MS);                                     \
        }                                                                                          \
    } while (0)

static inline enum submit_result submit_op(struct end *end, struct op op)
{
    struct world *world = end->world;
    op.channel = &end->channel;
    enum submit_result result;
    while ((result = world->engine->ops->submit(world->engine, &op)) == SUBMIT_BUSY) {
        reap_until(world, 0);
    }
    if (result == SUBMIT_DONE &&
        (op.kind == OP_SEND || op.kind == OP_CONNECT || op.kind == OP_CLOSE || op.result < 0)) {
        note(world, &op);
    }
    return result;
}

static inline void start_receiving(struct end *end)
{
    end->reading = true;
    submit_op(end,
              (struct op){.kind = OP_RECEIVE, .data = end->memory, .length = end->memory_bytes});
}

static inline void pause_receiving(struct end *end)
{
    end->reading = false;
    assert_int_equal(submit_op(end, (struct op){.kind = OP_PAUSE}), SUBMIT_DONE);
}

static inline void start_send(struct end *end, const void *data, size_t length, uint32_t flags)
{
    end->sent = false;
    submit_op(end, (struct op){.kind = OP_SEND, .data = data, .length = length, .flags = flags});
}

static inline void deliver(void *owner, struct op *op)
{
    struct world *world = owner;
    struct end *end = (struct end *)(void *)op->channel;
    assert_true(op->now_ns > 0 && op->now_ns <= clock_now_ns());
    note(world, op);
    if (op->kind == OP_RECEIVE && op->result > 0 && end->pause_after_receive) {
        pause_receiving(end);
    }
    if (op->kind == OP_RECEIVE && op->result > 0 && end->walks) {
        end->memory += op->result;
        end->memory_bytes -= (size_t)op->result;
        if (end->memory_bytes) {
            start_receiving(end);
        } else {
            pause_receiving(end);
        }
    }
}

/* Starts the engine, or skips the test where it cannot serve. */
static inline void world_open(struct world *world, void **state, size_t receive_bytes)
{
    *world = (struct world){.variant = *state};
    char reason[256];
    if (world->variant->ops->why_not(reason, sizeof reason) < 0) {
        print_message("%s: %s\n", world->variant->ops->name, reason);
        skip();
    }
    struct engine_config config = {.owner = world,
                                   .deliver = deliver,
                                   .receive_bytes = receive_bytes,
                                   .channels = 1,
                                   .receive_mode = world->variant->receive_mode};
    struct err error = {0};
    if (world->variant->ops->init(&world->engine, &config, &world->calls, &error) < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
}

static inline struct end *end_add_with(struct world *world, enum channel_kind kind, int fd,
                                       int write_fd, uint32_t options)
{
    struct end *end = calloc(1, sizeof *end);
    assert_non_null(end);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(fcntl(write_fd, F_SETFL, O_NONBLOCK), 0);
    end->world = world;
    end->channel = (struct channel){
        .fd = fd, .write_fd = write_fd, .kind = (uint8_t)kind, .options = (uint8_t)(options & 127)};
    assert_int_equal(world->engine->ops->add(world->engine, &end->channel), 0);
    return end;
}

static inline struct end *end_add(struct world *world, enum channel_kind kind, int fd, int write_fd)
{
    return end_add_with(world, kind, fd, write_fd, 0);
}

/* Closes the channel and frees it as soon as it may be freed. */
static inline void end_close(struct end *end)
{
    struct world *world = end->world;
    submit_op(end, (struct op){.kind = OP_CLOSE});
    REAP_WHILE_NOT(world, end->closed);
    free(end->received);
    free(end->letters);
    free(end);
    reap_until(world, 0); /* nothing looks at it again */
    reap_until(world, 0);
}

static inline void world_close(struct world *world)
{
    world->engine->ops->fini(world->engine);
    world->engine = NULL;
}

/* A channel on one end of a socket pair; *peer is the other end. */
static inline struct end *end_of_pair(struct world *world, int *peer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *peer = fds[1];
    return end_add(world, CHANNEL_SOCKET, fds[0], fds[0]);
}

/* So that a sender finds no room before it has sent BIG. */
static inline void limit_buffer(int fd, int option)
{
    int bytes = 65536;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes), 0);
}

static inline int listen_tcp(struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &size), 0);
    assert_int_equal(listen(fd, 256), 0);
    return fd;
}

/* A channel connected through OP_CONNECT; *peer is the accepted end. */
static inline struct end *end_of_tcp(struct world *world, int *peer)
{
    struct sockaddr_in address;
    int listener = listen_tcp(&address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_buffer(fd, SO_SNDBUF);
    struct end *end = end_add(world, CHANNEL_SOCKET, fd, fd);
    submit_op(end, (struct op){.kind = OP_CONNECT,
                               .data = (const uint8_t *)&address,
                               .length = sizeof address});
    REAP_WHILE_NOT(world, end->connected);
    assert_int_equal(end->connect_result, 0);
    *peer = accept(listener, NULL, NULL);
    assert_true(*peer >= 0);
    close(listener);
    return end;
}

/* Bytes that differ from their neighbours and from those a power of two away. */
static inline void fill(uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        data[i] = (uint8_t)(i % 251 + i / 65521);
    }
}

static inline void expect_from(int fd, const void *data, size_t length)
{
    uint8_t *got = malloc(length);
    assert_non_null(got);
    assert_int_equal(recv(fd, got, length, MSG_WAITALL), length);
    assert_memory_equal(got, data, length);
    free(got);
}

/* Runs every case over every engine, and over io_uring's ways of receiving. `cases` hold at most
 * 32 entries. */
static inline int run_variants(const char *name, const struct CMUnitTest *cases, size_t count)
{
    static struct variant variants[] = {
        {&engine_threads, URING_RECEIVE_AUTO},    {&engine_poll, URING_RECEIVE_AUTO},
        {&engine_epoll, URING_RECEIVE_AUTO},      {&engine_uring, URING_RECEIVE_AUTO},
        {&engine_uring, URING_RECEIVE_MULTISHOT}, {&engine_uring, URING_RECEIVE_SINGLE},
    };
    static const char *const modes[] = {"auto", "multishot", "single"};
    enum { VARIANTS = sizeof variants / sizeof *variants, CASES_MOST = 32 };
    static char names[VARIANTS * CASES_MOST][80];
    struct CMUnitTest tests[VARIANTS * CASES_MOST];
    size_t total = VARIANTS * count;
    for (size_t i = 0; i < total; i++) {
        struct variant *variant = &variants[i / count];
        tests[i] = cases[i % count];
        snprintf(names[i], sizeof names[i], "%s (%s): %s", variant->ops->name,
                 modes[variant->receive_mode], cases[i % count].name);
        tests[i].name = names[i];
        tests[i].initial_state = variant;
    }
    signal(SIGPIPE, SIG_IGN);
    return _cmocka_run_group_tests(name, tests, total, NULL, NULL);
}

#endif
