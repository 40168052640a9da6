/* What the readiness engines (threads, poll, epoll) share: trying an operation, and handling a
 * channel that the kernel reports ready. Each engine only says how it waits. */
#ifndef SONDE_ENGINE_READY_H
#define SONDE_ENGINE_READY_H

#include "engine/engine.h"

/* Head of a readiness engine. */
struct ready_engine {
    struct engine engine;
    uint8_t *buffer; /* lent to one receive at a time; config.receive_bytes */
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

/* engine_ops.submit of every readiness engine. */
enum submit_result ready_submit(struct engine *engine, struct op *op);

/* Handles a channel whose files are readable or writable (an error counts as both). */
void ready_handle(struct ready_engine *engine, struct channel *channel, bool readable,
                  bool writable);

/* Relative time to wait until an instant: 0 where it is past. */
uint64_t ready_wait_ns(uint64_t until_ns);

#endif
