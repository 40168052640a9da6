/* What the files of the security layer share, and nobody else. */
#ifndef SONDE_ENGINE_SECURE_STATE_H
#define SONDE_ENGINE_SECURE_STATE_H

#include "engine/secure.h"

enum { BUFFER_CLASSES = 3, SPARES_MOST = 64 };

/* What is on its way to the peer: lent to a channel while it is. */
struct secure_buffer {
    struct secure_buffer *next;
    uint32_t class;
    struct tls_output output;
};

enum secured_state {
    SECURED_FRESH,
    SECURED_CONNECTING,
    SECURED_HANDSHAKE,
    SECURED_OPEN,
    SECURED_FAILED, /* TLS is over: nothing more is encrypted */
};

/* One channel of the owner's (`outer`) and what the engine below sees of it. The outer one is found
 * by outer->next_pending, which is the engine's own there. */
struct secured {
    struct channel inner; /* at the head */
    struct channel *outer;
    struct tls *tls; /* from its first operation on, which says which side it is */
    struct secured *next, *previous;
    struct secured *next_pending, *next_lingering;
    struct secure_buffer *sending, *queued; /* in flight below; behind that */
    size_t sent;                            /* of `sending` */
    uint64_t began_ns, connected_ns;        /* of the handshake */
    uint64_t linger_until_ns; /* closing: waits so long until what was sent has gone */
    int64_t end_result;       /* `ended`: what is to be delivered of that */
    int64_t below_result;     /* `below_ended`: likewise, once what came before has been read */
    int64_t send_failed;      /* what the engine below said of what nobody waits for */
    uint32_t taken;           /* plain bytes of the outer send that waits; 0: none does */
    uint32_t send_flags;      /* OP_QUIET and OP_MORE of it */
    uint8_t state;            /* enum secured_state */
    uint8_t handshake_op;     /* OP_CONNECT or OP_SECURE */
    bool layered;             /* else it passes through */
    bool wants;               /* the owner wants to receive */
    bool receiving;           /* the engine below receives */
    bool ended;               /* nothing more comes */
    bool below_ended;         /* nor from the engine below */
    bool shut_wanted;         /* once everything has been sent */
    bool notified;            /* close_notify has been said */
    bool pending;             /* on the list of those with something unread */
    bool lingering, dead;     /* closed below too; freed at the end of the round */
    bool inner_closing;
};

struct secure {
    struct engine engine; /* at the head */
    struct engine_ops ops;
    struct engine *inner;
    struct secure_config config;
    struct secured *channels, *dead;
    struct secured *pending, *lingering;
    struct secure_buffer *spare[BUFFER_CLASSES];
    uint32_t spares[BUFFER_CLASSES];
    struct tls_output stray; /* what reading has to say to the peer */
    uint8_t *plain;          /* lent to one receive at a time; receive_bytes */
    struct op *busy;         /* what the engine below had no room for */
    size_t busy_count, busy_capacity;
    bool failed; /* no memory for those */
};

static inline struct secure *secure_of(struct engine *engine)
{
    return (struct secure *)(void *)engine;
}

static inline struct secured *secured_of(struct channel *inner)
{
    return (struct secured *)(void *)inner;
}

/* Hands a completion to the owner. */
static inline void secure_deliver(struct secure *secure, struct secured *secured, struct op *op)
{
    op->channel = secured->outer;
    secure->engine.config.deliver(secure->engine.config.owner, op);
}

/* Submits to the engine below; where that is busy, again after its next reap. */
enum submit_result secure_put(struct secure *secure, struct op *op);

/* secure_send.c */

/* A buffer with room for so many bytes of plain text; NULL without memory. */
struct secure_buffer *secure_buffer_take(struct secure *secure, size_t plain_bytes);
void secure_buffers_close(struct secure *secure);
/* What TLS has to say by itself goes behind what is being sent. -1: too much, or no memory. */
int secure_say(struct secure *secure, struct secured *secured);
/* Sends what waits, unless something is in flight. */
void secure_flush(struct secure *secure, struct secured *secured);
enum submit_result secure_send(struct secure *secure, struct secured *secured, struct op *op);
/* A send below has completed. */
void secure_sent(struct secure *secure, struct secured *secured, int64_t result, uint64_t now_ns);
void secure_shut_down(struct secure *secure, struct secured *secured);
enum submit_result secure_close(struct secure *secure, struct secured *secured, struct op *op);
/* The engine below has closed it. */
void secure_closed(struct secure *secure, struct secured *secured);
/* Closes below what has waited long enough. */
void secure_end_lingering(struct secure *secure, uint64_t now_ns);
/* Drops what has not been sent. */
void secure_drop_output(struct secure *secure, struct secured *secured);

/* secure_receive.c */

enum submit_result secure_connect(struct secure *secure, struct secured *secured, struct op *op);
enum submit_result secure_accept(struct secure *secure, struct secured *secured, struct op *op);
void secure_connected(struct secure *secure, struct secured *secured, const struct op *op);
enum submit_result secure_receive(struct secure *secure, struct secured *secured, struct op *op);
void secure_received(struct secure *secure, struct secured *secured, const struct op *op);
/* Delivers what is unread and wanted; the count of channels. */
unsigned secure_work_off_pending(struct secure *secure);

#endif
