/* What the tests of the transfers share: files that are connected, ends that run in threads of
 * their own, and what the kernel says of those threads. */
#ifndef SONDE_TESTS_TRANSFER_WORLD_H
#define SONDE_TESTS_TRANSFER_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "transfer/transfer.h"

/* Far more than a file of tests takes: a transfer that hangs is ended by SIGALRM. */
#define LIMIT_SECONDS 240

/* Two files, blocking: what is written to `send` comes out of `receive`. */
struct wire {
    int send, receive;
};

/* Listens on a free port or name, connects, and accepts: the accepted socket sends. */
static inline struct wire wire_connect(struct sockaddr *address, socklen_t length)
{
    struct wire wire = {-1, -1};
    struct sockaddr_storage bound;
    socklen_t bound_length = sizeof bound;
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(listener >= 0);
    assert_int_equal(bind(listener, address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&bound, &bound_length), 0);
    wire.receive = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(wire.receive, (struct sockaddr *)&bound, bound_length), 0);
    wire.send = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(wire.send >= 0);
    close(listener);
    return wire;
}

static inline struct wire wire_open(const struct transport_ops *transport)
{
    int files[2];
    if (transport == &transport_pipe) {
        assert_int_equal(pipe2(files, O_CLOEXEC), 0);
        return (struct wire){.send = files[1], .receive = files[0]};
    }
    if (transport == &transport_local) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, files), 0);
        return (struct wire){.send = files[1], .receive = files[0]};
    }
    if (transport == &transport_unix) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        /* The bare family: the kernel takes an abstract name that is free. */
        return wire_connect((struct sockaddr *)&address, sizeof address.sun_family);
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return wire_connect((struct sockaddr *)&address, sizeof address);
}

static inline void make_nonblocking(int fd)
{
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static inline bool serves(const struct method_ops *method, const struct transport_ops *transport)
{
    char reason[256];
    return method->why_not(transport, reason, sizeof reason) == 0;
}

/* What the kernel counts of a thread: calls to read and write and their relatives, and bytes. */
struct task_io {
    uint64_t rchar, wchar, syscr, syscw;
    uint64_t own_bytes; /* of reading this itself: one read, counted after the file was made */
};

static inline struct task_io task_io_now(void)
{
    char text[512];
    struct task_io io = {0};
    int fd = open("/proc/thread-self/io", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length > 0) {
        text[length] = '\0';
        io.own_bytes = (uint64_t)length;
        sscanf(text, "rchar: %lu wchar: %lu syscr: %lu syscw: %lu", &io.rchar, &io.wchar, &io.syscr,
               &io.syscw);
    }
    if (fd >= 0) {
        close(fd);
    }
    return io;
}

static inline struct task_io task_io_between(struct task_io from, struct task_io to)
{
    return (struct task_io){.rchar = to.rchar - from.rchar - from.own_bytes,
                            .wchar = to.wchar - from.wchar,
                            .syscr = to.syscr - from.syscr - 1,
                            .syscw = to.syscw - from.syscw};
}

/* One end, as a thread runs it. Threads only note: the asserts are the main thread's. */
struct side {
    const struct method_ops *method;
    struct transfer_config config;
    bool sender;
    uint64_t bytes[4]; /* of each call to send or receive; 0 ends them */
    pthread_t thread;
    struct transfer_counts counts;
    struct err error;
    int result;
    struct task_io io;
    pid_t thread_id;
    bool closes; /* closes its file at the end */
};

/* Makes a call that no transfer makes: in a trace it marks where one begins and ends. */
static inline void mark(void)
{
    syscall(SYS_getppid);
}

static inline void *side_run(void *argument)
{
    struct side *side = argument;
    struct transfer_end *end = NULL;
    side->result =
        side->method->open(&end, side->sender, &side->config, &side->counts, &side->error);
    side->thread_id = gettid();
    struct task_io before = task_io_now();
    mark();
    for (size_t i = 0; side->result == 0 && i < 4 && side->bytes[i] > 0; i++) {
        side->result = side->sender ? side->method->send(end, side->bytes[i], &side->error)
                                    : side->method->receive(end, side->bytes[i], &side->error);
    }
    mark();
    side->io = task_io_between(before, task_io_now());
    if (side->closes) {
        close(side->config.fd);
    }
    side->method->close(end);
    return NULL;
}

static inline void side_start(struct side *side)
{
    assert_int_equal(pthread_create(&side->thread, NULL, side_run, side), 0);
}

static inline void side_join(struct side *side)
{
    assert_int_equal(pthread_join(side->thread, NULL), 0);
}

static inline void side_succeeded(const struct side *side)
{
    if (side->result != 0) {
        fail_msg("%s %s %s, buffer %lu: %s: %s", side->method->name, side->config.transport->scheme,
                 side->sender ? "sender" : "receiver", side->config.buffer_bytes,
                 side->error.subject, side->error.what);
    }
}

static inline struct side side_of(const struct method_ops *method,
                                  const struct transport_ops *transport, int fd, bool sender,
                                  uint64_t buffer_bytes, uint64_t bytes, bool verify)
{
    return (struct side){.method = method,
                         .config = {.transport = transport,
                                    .fd = fd,
                                    .buffer_bytes = buffer_bytes,
                                    .verify = verify},
                         .sender = sender,
                         .bytes = {bytes}};
}

/* Both ends of a wire, opened in this thread. */
struct pair {
    struct transfer_end *sender, *receiver;
    struct transfer_counts sent, received;
};

static inline void pair_open(struct pair *pair, const struct method_ops *method,
                             struct transfer_config config, struct wire wire)
{
    struct err error = {0};
    *pair = (struct pair){0};
    if (config.nonblocking) {
        make_nonblocking(wire.send);
        make_nonblocking(wire.receive);
    }
    config.fd = wire.send;
    assert_int_equal(method->open(&pair->sender, true, &config, &pair->sent, &error), 0);
    config.fd = wire.receive;
    assert_int_equal(method->open(&pair->receiver, false, &config, &pair->received, &error), 0);
}

static inline void pair_close(struct pair *pair)
{
    pair->sender->ops->close(pair->sender);
    pair->receiver->ops->close(pair->receiver);
}

static inline void wire_close(struct wire wire)
{
    close(wire.send);
    close(wire.receive);
}

/* All successful calls and all bytes that the table holds. */
static inline struct call_count calls_in(const struct call_table *table)
{
    struct call_count sum = {0};
    for (int i = 0; i < CALL_KINDS; i++) {
        sum.calls += table->of[i].calls;
        sum.again += table->of[i].again;
        sum.errors += table->of[i].errors;
        sum.bytes += table->of[i].bytes;
    }
    return sum;
}

/* For mains: what a program that uses transfers does, and the limit. */
static inline void world_prepare(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(LIMIT_SECONDS);
}

#endif
