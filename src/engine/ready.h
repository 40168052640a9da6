/* What the readiness engines (threads, poll, epoll) share: trying an operation, and handling a
 * channel that the kernel reports ready. Each engine only says how it waits. */
#ifndef SONDE_ENGINE_READY_H
#define SONDE_ENGINE_READY_H

#include "engine/engine.h"
#include "engine/message.h"
#include "engine/zerocopy.h"

/* Head of a readiness engine. */
struct ready_engine {
    struct engine engine;
    uint8_t *buffer;            /* lent to one receive at a time; config.receive_bytes */
    uint32_t receives_in_a_row; /* taken from one ready channel before others get their turn */
    struct messages messages;
    /* Makes the kernel report what channel->wants asks for, where that differs from
     * channel->armed. 0 or -errno. */
    int (*arm)(struct ready_engine *engine, struct channel *channel);
    /* Forgets the channel before its files are closed. */
    void (*forget)(struct ready_engine *engine, struct channel *channel);
};

/* Fills the head and allocates the buffer; -1 without memory. */
int ready_init(struct ready_engine *engine, const struct engine_ops *ops,
               const struct engine_config *config, struct call_table *calls);
void ready_fini(struct ready_engine *engine);

/* To be called by engine_ops.add: makes what a channel's kind and options need. 0 or -errno. */
int ready_add(struct ready_engine *engine, const struct channel *channel);

/* engine_ops.submit of every readiness engine. */
enum submit_result ready_submit(struct engine *engine, struct op *op);

/* Sends on a stream socket, in blocking mode waiting for room as long as its time limit lasts. Else
 * as ready_submit. */
enum submit_result ready_send_blocking(struct ready_engine *engine, struct op *op);

/* Tries again the send that waits for room, in the same way. */
void ready_handle_send_blocking(struct ready_engine *engine, struct channel *channel);

/* What the kernel reports of a channel's files. */
enum {
    READY_READS = 1,
    READY_WRITES = 2,
    READY_FAILED = 4,  /* an error or a hang-up; counts as both of the others, too */
    READY_ENDED = 8,   /* TCP alone: the peer has sent its end, so that it follows what can be
                          received   now */
    READY_URGENT = 16, /* TCP alone: a receive stops where urgent data is */
};

/* Handles what has been reported. False: it may be that not all of it that can be received has
 * been; who waits for changes alone has to look again. */
bool ready_handle(struct ready_engine *engine, struct channel *channel, unsigned reported);

/* To be called before ready_handle where the kernel reports an error of the channel's: notices are
 * reported so, and would end every wait until they are read. */
static inline void ready_handle_error(struct ready_engine *engine, struct channel *channel)
{
    if (channel->notices) {
        zerocopy_read_notices(&engine->engine, channel);
    }
}

/* Receives of a readable channel that is not plain (message.h). */
void ready_handle_messages(struct ready_engine *engine, struct channel *channel);

/* Relative time to wait until an instant: 0 where it is past. */
uint64_t ready_wait_ns(uint64_t until_ns);

#endif
