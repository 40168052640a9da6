/* Moving a stream of blocks from one end to the other through different kernel interfaces: what
 * `sonde ipc` measures. No worker, no engine: the loop of a method is the instrument. `copy` is
 * the loop of ipc-static, blocking writes of exactly one buffer, and reads that fill one. */
#ifndef SONDE_TRANSFER_TRANSFER_H
#define SONDE_TRANSFER_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "engine/engine.h"
#include "net/net.h"

/* What one end is to move with. Both ends are given the same. */
struct transfer_config {
    const struct transport_ops *transport;
    int fd;                /* this end's file: blocking, but for one thread that is both ends */
    uint64_t buffer_bytes; /* of a block, at least 1 */
    bool verify;           /* the receiver compares every byte with what was sent at its place */
    bool nonblocking;      /* the file is: only send_some and receive_some are used */
};

/* What one end did. Calls are counted where they are made, with those that failed with EAGAIN. */
struct transfer_counts {
    struct call_table calls;
    uint64_t bytes;       /* moved */
    uint64_t blocks;      /* finished: buffers filled or written, a shorter last one too */
    uint64_t short_calls; /* calls that moved less than was asked for, though not at the end */
    uint64_t waits;       /* one thread: neither end moved and it had to wait (ppoll) */
    uint64_t zerocopy_sent, zerocopy_copied; /* notified sends; of them copied after all */
};

/* Head of each method's own state for one end. */
struct transfer_end {
    const struct method_ops *ops;
    struct transfer_config config;
    struct transfer_counts *counts; /* where to count; the owner may change it between calls */
    uint64_t offset;                /* of the stream so far, all calls together: for verify */
};

enum {
    METHOD_SOME = 1,   /* has send_some and receive_some: can be both ends in one thread */
    METHOD_VERIFY = 2, /* the receiver sees the content */
};

struct method_ops {
    const char *name; /* "copy" */
    const char *help; /* one line: which calls at which end */
    uint32_t flags;   /* METHOD_* */
    uint32_t buffers; /* of buffer_bytes that both ends hold together, at the least */
    /* 0 where it can serve this transport here; else -1 and in words why not. */
    int (*why_not)(const struct transport_ops *transport, char *reason, size_t size);
    /* Makes an end (buffers are allocated, touched and filled; no system call is left for the
     * first block). Called on the thread that will use it. */
    int (*open)(struct transfer_end **end, bool sender, const struct transfer_config *config,
                struct transfer_counts *counts, struct err *error);
    /* Blocking: moves exactly `bytes`, in blocks, of which the last may be shorter. The receiver
     * fails where the stream ends early (ERR_PROTOCOL) or, with verify, differs. When send
     * returns, everything is in the kernel and the buffers are the sender's again. */
    int (*send)(struct transfer_end *end, uint64_t bytes, struct err *error);
    int (*receive)(struct transfer_end *end, uint64_t bytes, struct err *error);
    /* Non-blocking (METHOD_SOME): one call; at most `bytes` are left. Returns the bytes moved, 0
     * where it would block, -1 with *error. */
    ssize_t (*send_some)(struct transfer_end *end, uint64_t bytes, struct err *error);
    ssize_t (*receive_some)(struct transfer_end *end, uint64_t bytes, struct err *error);
    void (*close)(struct transfer_end *end); /* NULL is allowed; the file stays open */
};

/* All methods; the first is the default. */
#define METHODS(X)                                                                                 \
    X(copy)                                                                                        \
    X(writev)                                                                                      \
    X(vmsplice)                                                                                    \
    X(splice)                                                                                      \
    X(uring)                                                                                       \
    X(zerocopy)

#define X(name) extern const struct method_ops method_##name;
METHODS(X)
#undef X

/* All methods and their names, NULL-terminated and in the same order. */
extern const struct method_ops *const methods[];
extern const char *const method_names[];
const struct method_ops *method_find(const char *name); /* NULL where unknown */

/* Both ends in one thread, files non-blocking: writes and reads alternate, ppoll only when neither
 * moves. Each end counts for itself; a wait is counted at the receiver. Left with ERR_INTERRUPTED
 * once *stop is not 0 (NULL: never). */
int transfer_both(struct transfer_end *sender, struct transfer_end *receiver, uint64_t bytes,
                  const _Atomic uint32_t *stop, struct err *error);

#endif
