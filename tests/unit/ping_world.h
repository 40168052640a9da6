/* What the tests of `sonde ping` share: a client driven by hand. */
#ifndef SONDE_UNIT_PING_WORLD_H
#define SONDE_UNIT_PING_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "role_world.h"

#define TIMEOUT_NS NS_PER_SECOND

struct pinger {
    struct world world;
    uint64_t timer_ns; /* what the client has asked for; 0: none */
};

static inline struct ping_options ping_options(uint64_t size_bytes)
{
    return (struct ping_options){
        .size_bytes = size_bytes, .burst = 1, .high = 128, .timeout_ns = TIMEOUT_NS};
}

static inline void pinger_open(struct pinger *pinger, struct ping_options options,
                               enum channel_kind kind)
{
    *pinger = (struct pinger){.world = {.ping = options}};
    world_open_with(&pinger->world, &ping_client, 65536, true);
    pinger->world.connection->channel.kind = (uint8_t)kind;
}

static inline void pinger_close(struct pinger *pinger)
{
    world_close(&pinger->world);
}

static inline void pinger_follow(struct pinger *pinger)
{
    if (pinger->world.context.out.set_timer) {
        pinger->timer_ns = pinger->world.context.out.timer_ns;
    }
}

static inline void pinger_event(struct pinger *pinger, enum op_kind kind, uint64_t now_ns)
{
    world_event(&pinger->world, kind, now_ns);
    pinger_follow(pinger);
}

/* The message that is to be sent, copied to `message`; completes its send at once. */
static inline void pinger_send(struct pinger *pinger, uint8_t *message)
{
    const struct op *send = world_asked(&pinger->world, OP_SEND);
    assert_non_null(send);
    assert_int_equal(send->length, pinger->world.ping.size_bytes);
    memcpy(message, send->data, send->length);
    struct op copy = *send;
    world_sent(&pinger->world, &copy, (int64_t)copy.length, 0);
    pinger_follow(pinger);
}

static inline void pinger_receive(struct pinger *pinger, const uint8_t *data, size_t length)
{
    uint8_t *exact = malloc(length ? length : 1); /* a sanitizer sees a read beyond it */
    assert_non_null(exact);
    memcpy(exact, data, length);
    world_received(&pinger->world, exact, (int64_t)length, clock_now_ns());
    free(exact);
    pinger_follow(pinger);
}

static inline void pinger_expire(struct pinger *pinger, uint64_t now_ns)
{
    pinger->timer_ns = 0;
    pinger_event(pinger, OP_TIMER, now_ns);
}

static inline uint64_t pinged(const struct pinger *pinger, enum ping_counter counter)
{
    return world_counter(&pinger->world, counter);
}

static inline uint64_t timed(const struct pinger *pinger, enum ping_histogram which)
{
    return histogram_count(&pinger->world.bank->histograms[which]);
}

static inline bool asks_to_send(const struct pinger *pinger)
{
    return world_asked(&pinger->world, OP_SEND) != NULL;
}

#endif
