/* The engine seam: the same operations through different kernel interfaces. Completion-shaped:
 * an operation is submitted and completes at once (DONE) or later, through `deliver` (QUEUED).
 * No engine knows a workload. */
#ifndef SONDE_ENGINE_ENGINE_H
#define SONDE_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"

/* Calls to the kernel that engines and transfers (transfer/transfer.h) make, under the kernel's
 * names. Each counts every call that it makes: these numbers are exact and need no privilege. */
#define ENGINE_CALLS(X)                                                                            \
    X(SENDTO, "sendto")                                                                            \
    X(RECVFROM, "recvfrom")                                                                        \
    X(SENDMSG, "sendmsg")                                                                          \
    X(RECVMSG, "recvmsg")                                                                          \
    X(SENDMMSG, "sendmmsg")                                                                        \
    X(RECVMMSG, "recvmmsg")                                                                        \
    X(WRITE, "write")                                                                              \
    X(READ, "read")                                                                                \
    X(WRITEV, "writev")                                                                            \
    X(READV, "readv")                                                                              \
    X(VMSPLICE, "vmsplice")                                                                        \
    X(SPLICE, "splice")                                                                            \
    X(SENDFILE, "sendfile")                                                                        \
    X(PPOLL, "ppoll")                                                                              \
    X(EPOLL_WAIT, "epoll_pwait2")                                                                  \
    X(EPOLL_CTL, "epoll_ctl")                                                                      \
    X(IO_URING_ENTER, "io_uring_enter")                                                            \
    X(ACCEPT4, "accept4")                                                                          \
    X(SOCKET, "socket")                                                                            \
    X(BIND, "bind")                                                                                \
    X(CONNECT, "connect")                                                                          \
    X(GETSOCKOPT, "getsockopt")                                                                    \
    X(SETSOCKOPT, "setsockopt")                                                                    \
    X(SHUTDOWN, "shutdown")                                                                        \
    X(CLOSE, "close")                                                                              \
    X(OPENAT2, "openat2") /* of a role that serves files */                                        \
    X(STATX, "statx")                                                                              \
    X(PREAD64, "pread64")

enum engine_call {
#define X(name, text) CALL_##name,
    ENGINE_CALLS(X)
#undef X
        CALL_KINDS
};

#define CALL_ERRORS_DIFFER (-1)

struct call_count {
    uint64_t calls;
    uint64_t again;  /* of them failed with EAGAIN */
    uint64_t errors; /* of them failed otherwise */
    int64_t error;   /* with this errno; CALL_ERRORS_DIFFER: with several */
    uint64_t bytes;  /* moved by the successful ones */
};

/* Calls to the kernel, and operations through io_uring (its submissions are no system calls). */
struct call_table {
    struct call_count of[CALL_KINDS];
    uint64_t uring_submitted, uring_completed;
    /* Sends with OP_ZEROCOPY: made; of them reported on by the kernel; of these copied after all.
     */
    uint64_t zerocopy_sends, zerocopy_reported, zerocopy_copied;
};

/* The kernel's name of a call. */
const char *engine_call_name(enum engine_call call);

/* Counts a call that returned `result` (-1 with errno on failure) and hands the result through;
 * `bytes` says whether the result is a number of bytes. */
ssize_t call_counted(struct call_table *table, enum engine_call call, ssize_t result, bool bytes);

enum channel_kind {
    CHANNEL_SOCKET,
    CHANNEL_PIPE,     /* read and write ends are different files */
    CHANNEL_LISTENER, /* only OP_ACCEPT */
    CHANNEL_DATAGRAM, /* connected: messages stay apart; a received length of 0 is an empty message
                         and no end, and an error (ECONNREFUSED) ends no receive. One that was
                         longer than receive_bytes is cut: op->result is what is there, op->length
                         what it was */
    CHANNEL_MANY, /* the same, not connected: op->peer says from whom a message is, or to whom */
};

/* Set by the owner in channel->options before the channel is added. */
enum {
    CHANNEL_SEGMENTS = 1, /* UDP only: the kernel cuts what is sent (UDP_SEGMENT) and joins what is
                             received (UDP_GRO, set by whoever made the socket); else op->segment
                             is served by sendmmsg */
    CHANNEL_BATCHED = 2,  /* datagrams: receives take several messages with one call (recvmmsg);
                             each is delivered by itself, and OP_PAUSE takes effect behind those
                             taken. io_uring takes several in any case */
    CHANNEL_STAMPS = 4,   /* the kernel's time stamps come with receives (SO_TIMESTAMPING has been
                             set by whoever made the socket): op->stamps */
    CHANNEL_SECURE = 8,   /* a stream socket that is spoken through TLS; only of an engine that
                             secure_open has made (engine/secure.h) */
    CHANNEL_STEADY = 16,  /* a stream whose receive is seldom paused: io_uring may make it lasting
                             (multishot), which costs a cancellation at each pause */
};

/* When the kernel's stack passed messages of a channel, CLOCK_REALTIME ns; 0: it did not say. */
struct op_stamps {
    uint64_t sent_ns;     /* the latest send left the stack (SOF_TIMESTAMPING_TX_SOFTWARE) */
    uint64_t received_ns; /* this message entered it (SOF_TIMESTAMPING_RX_SOFTWARE) */
};

/* A connection as an engine sees it: embedded at the head of every connection. The owner sets fd,
 * write_fd and kind; the rest is the engine's, zero at first. */
struct channel {
    int fd;                   /* to read from; a socket's only file */
    int write_fd;             /* to write to; equals fd for a socket */
    uint8_t kind;             /* enum channel_kind */
    uint8_t wants;            /* CHANNEL_WANTS_* */
    uint8_t armed;            /* what the kernel has been asked to report or do */
    uint8_t closing : 1;      /* OP_CLOSE submitted */
    uint8_t options : 7;      /* CHANNEL_SEGMENTS and others; the owner's */
    uint32_t in_flight;       /* completions that the kernel still owes */
    const uint8_t *send_data; /* rest of the send that waits for room */
    uint32_t send_length;
    uint32_t send_flags;
    uint32_t slot;                   /* the engine's own index */
    uint32_t held;                   /* the engine's own: data received while not wanted; of a
                                        listener how many to accept */
    struct channel *next_pending;    /* the engine's own list of channels with work left over */
    uint8_t *memory;                 /* that its receives named; NULL: they are lent a buffer */
    const struct op_file *send_file; /* of the send that waits for room */
    uint32_t notices;                /* of sends with OP_ZEROCOPY that the kernel still owes */
    uint32_t memory_bytes;
};

enum {
    CHANNEL_WANTS_RECEIVE = 1,
    CHANNEL_WANTS_SEND = 2,
    CHANNEL_WANTS_CONNECT = 4,
    CHANNEL_WANTS_ACCEPT = 8,
};

enum op_kind {
    /* Submitted to engines. */
    OP_CONNECT,  /* data: struct sockaddr, valid until it completes, length: its size; result 0 or
                    -errno. Of a CHANNEL_SECURE the client's handshake belongs to it: op->security
                    */
    OP_SECURE,   /* of a CHANNEL_SECURE that was accepted: the server's handshake, before anything
                    else; result 0 or -errno, op->security */
    OP_ACCEPT,   /* lasting: each completion's result is a new non-blocking fd or -errno */
    OP_RECEIVE,  /* lasting: each completion lends data and result bytes until deliver returns, and
                    who receives may write to them (null: to what was sent);
                    result 0: the peer closed; -errno: failed; both end it. data, length: memory to
                    receive into instead, so many bytes at most at a time (below) */
    OP_PAUSE,    /* ends OP_RECEIVE, resumed by another OP_RECEIVE; always DONE */
    OP_SEND,     /* data, length: must stay valid until it completes; one in flight a channel;
                    result: bytes taken (may be fewer than length) or -errno. Length below 2^32 */
    OP_PUSH,     /* sends what an OP_MORE before it has held back; always DONE */
    OP_SHUTDOWN, /* ends the sending direction; always DONE */
    OP_CLOSE,    /* closes the files; when it completes, nothing more comes for the channel and its
                    memory may go */
    /* Made by the worker, never submitted (see workload/workload.h). */
    OP_START,   /* the connection may begin */
    OP_FLUSH,   /* the loop is about to wait; asked for by step */
    OP_RESUME,  /* the loop has been entered once; asked for by step */
    OP_ARRIVAL, /* open loop: one operation is due; now_ns is its INTENDED start */
    OP_TIMER,   /* the connection's timer has expired */
    OP_DRAIN,   /* issue nothing new: finish what is in flight */
};

/* An OP_RECEIVE whose op->data names op->length bytes of writable memory receives there, and no
 * buffer is lent: what is delivered begins there. That memory stays valid until the receive has
 * ended or OP_CLOSE has completed, across a pause too (the kernel may be filling it). Such a
 * channel names memory from its first receive on, and with each; other memory than before only
 * from inside a delivery of its receives. Named at another time it may not be heard.
 *
 * Plain streams alone have this. Datagrams, CHANNEL_STAMPS and CHANNEL_SECURE lend as ever: who
 * receives looks at op->data, and need not know which it was. */

enum {
    OP_MORE = 1,  /* OP_SEND: more follows at once (MSG_MORE) */
    OP_TRY = 2,   /* OP_SEND to an ENGINE_SENDS_AT_ONCE: DONE in any case, -EAGAIN without room; the
                     data need not outlive the call */
    OP_QUIET = 4, /* OP_SEND: nothing waits for it to succeed (the submitter has no more to send
                     until something else happens): an engine may report success only when its wait
                     ends for another reason. Failure and short sends are reported at once */
    OP_ZEROCOPY = 8, /* OP_SEND to an ENGINE_ZEROCOPY, of a TCP channel without options: the network
                        reads the data itself, which must not change until OP_CLOSE has completed.
                        The kernel says afterwards whether it copied after all (struct call_table);
                        where it has no room for another notice, it is made to. The readiness
                        engines need SO_ZEROCOPY (net_tuning.zerocopy) */
    OP_END_ONLY = 16, /* OP_RECEIVE, also of a receive under way: nothing is expected but the end,
                         so that a send may keep the engine waiting a while (threads) */
};

/* What securing a channel has come to. Lent until deliver returns. */
struct op_security {
    uint64_t connect_ns;          /* client: from OP_CONNECT until TCP was connected */
    uint64_t handshake_ns;        /* from then (server: from OP_SECURE) until the end */
    const char *version, *cipher; /* static: "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
    bool resumed;                 /* a session of before */
    bool verified;                /* client: the certificate is one of the server asked for */
    const struct err *failure;    /* what went wrong, in words; NULL where nothing did, or it is an
                                     errno */
    bool connected;               /* TCP was: it is the handshake that failed */
};

/* An open file that holds what is sent. */
struct op_file {
    int fd;
    const uint8_t *mapped; /* of its beginning: op->data lies so far behind it as what is sent lies
                              in the file. Never looked at, so that it may be NULL */
};

struct op {
    enum op_kind kind;
    uint32_t flags;
    struct channel *channel;
    const uint8_t *data;
    size_t length;   /* also of a receive of datagrams: what the message was; else 0 */
    int64_t result;  /* where it is negative: -errno, or the negative number of another failure
                        (engine_failure_name) */
    uint64_t now_ns; /* when it completed, as this process saw it */
    /* Datagrams only: */
    uint32_t segment;            /* data is several messages of so many bytes, the last one may
                                    be shorter; 0: one message. Also of a receive. The result of
                                    such a send may be fewer bytes: whole messages */
    uint32_t peer_length;        /* of *peer */
    const struct sockaddr *peer; /* CHANNEL_MANY: lent like data. A send to a CHANNEL_MANY is DONE
                                    in any case, -EAGAIN without room, and neither its data nor
                                    its peer need outlive the call. uring: DONE when it has been
                                    queued; if it then fails, that is delivered as an error of the
                                    receive */
    union {
        const struct op_stamps *stamps; /* CHANNEL_STAMPS, of a receive: lent like data; else NULL
                                         */
        const struct op_security *security; /* CHANNEL_SECURE, of OP_CONNECT and OP_SECURE, and
                                               of an OP_START right behind one; else NULL */
    };
    /* OP_SEND to an ENGINE_FILES, of a stream without options: the data is sent from this file
     * (sendfile), which stays valid like it. NULL: from memory */
    const struct op_file *file;
};

enum submit_result {
    SUBMIT_DONE,   /* op->result is set (op->now_ns is not); deliver is not called */
    SUBMIT_QUEUED, /* deliver comes later */
    SUBMIT_BUSY,   /* no room now: submit again after the next reap */
};

struct engine_config {
    void *owner;
    /* Called from reap for each completion. May submit; may not call reap. op->data is lent until
     * it returns. */
    void (*deliver)(void *owner, struct op *op);
    size_t receive_bytes;  /* most that one receive takes: size of the lent buffers */
    uint32_t channels;     /* how many to expect (a hint; more may come) */
    uint32_t receive_mode; /* enum uring_receive */
    bool spins;            /* reap will be called again and again without waiting: an engine that
                              has but one file to look at may try its receive at once */
};

/* Of plain streams. Datagrams and CHANNEL_STAMPS are received by multishot in every mode. */
enum uring_receive { URING_RECEIVE_AUTO, URING_RECEIVE_MULTISHOT, URING_RECEIVE_SINGLE };

/* Head of every engine's own struct. */
struct engine {
    const struct engine_ops *ops;
    struct call_table *calls; /* where calls are counted; the owner may point it elsewhere between
                                 two calls of the engine */
    struct engine_config config;
};

enum {
    ENGINE_ONE_CHANNEL = 1,   /* serves one channel: a thread for each connection */
    ENGINE_NO_KERNEL = 2,     /* needs no files: completes by itself (null) */
    ENGINE_SENDS_AT_ONCE = 4, /* honours OP_TRY */
    ENGINE_ZEROCOPY = 8,      /* honours OP_ZEROCOPY */
    ENGINE_FILES = 16,        /* honours op->file */
    ENGINE_WAITS_TWICE = 128, /* waits with two entries a channel, of which the kernel takes no more
                                 than the process may open files */
    ENGINE_BUFFERS = 64,      /* lends several receive buffers at a time: about one a channel */
};

struct engine_ops {
    const char *name;
    const char *help;
    uint32_t flags;
    /* 0 where it can serve here; else -1 and in words why not and what would help. */
    int (*why_not)(char *reason, size_t size);
    /* Allocates and starts an engine, calls counted in *calls. Called on the thread that will use
     * it. */
    int (*init)(struct engine **engine, const struct engine_config *config,
                struct call_table *calls, struct err *error);
    /* Makes a channel known, before its first operation. 0 or -errno. */
    int (*add)(struct engine *engine, struct channel *channel);
    enum submit_result (*submit)(struct engine *engine, struct op *op);
    /* Enters the kernel (not null; not threads where nothing is wanted and it is not to wait; not
     * io_uring where completions wait already and nothing is queued): submits what is queued,
     * delivers what has completed; where nothing has, waits for a first completion until `until_ns`
     * (CLOCK_MONOTONIC; in the past: does not wait). 0 or -1 with *error. EINTR is not an error. */
    int (*reap)(struct engine *engine, uint64_t until_ns, struct err *error);
    /* Frees the engine. Channels must have been closed; NULL is allowed. */
    void (*fini)(struct engine *engine);
};

/* What every engine does for OP_PUSH: setting TCP_NODELAY makes the kernel send what MSG_MORE held
 * back (tcp(7)). Nothing is held back on anything but TCP. */
void engine_push(struct engine *engine, const struct channel *channel);

/* What a negative result means that is no errno, in words (at most 47 bytes); NULL: an errno. */
const char *engine_failure_name(int number);

/* All engines: one line each. */
#define ENGINES(X)                                                                                 \
    X(threads)                                                                                     \
    X(poll)                                                                                        \
    X(epoll)                                                                                       \
    X(uring)                                                                                       \
    X(null)

#define X(name) extern const struct engine_ops engine_##name;
ENGINES(X)
#undef X

/* All engines, and their names (for option rows), NULL-terminated and in the same order. */
extern const struct engine_ops *const engines[];
extern const char *const engine_names[];

/* By name, NULL where unknown. */
const struct engine_ops *engine_find(const char *name);

#endif
