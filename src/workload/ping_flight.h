/* What the client of `sonde ping` knows of the messages of one connection: those in flight, and as
 * many before them. */
#ifndef SONDE_WORKLOAD_PING_FLIGHT_H
#define SONDE_WORKLOAD_PING_FLIGHT_H

#include "codec/sockperf.h"
#include "workload/ping.h"

#define PING_HEAD_MOST SOCKPERF_HEADER_BYTES
#define PING_ROOM_LEAST 64

enum message_state {
    MESSAGE_NONE,    /* or one that asks for no answer */
    MESSAGE_WAITING, /* for its send or its answer */
    MESSAGE_UNSENT, /* could not be sent: waits out the timeout, so that a closed loop is no hot one
                     */
    MESSAGE_ANSWERED,
    MESSAGE_GIVEN_UP,
};

struct message {
    uint64_t intended_ns, sent_ns;
    uint64_t sent_real_ns; /* of CLOCK_REALTIME; --stamps only */
    uint64_t state;        /* enum message_state */
};

struct ping_connection {
    struct connection base;
    struct message *ring; /* of `room`: message n at n & mask */
    uint64_t room, mask;
    /* Sequence numbers begin with 1. Those up to and including: */
    uint64_t issued;
    uint64_t begun; /* their send was submitted */
    uint64_t highest_answered;
    uint64_t oldest;      /* the first that is waiting, or not begun; else issued + 1 */
    uint64_t in_flight;   /* waiting */
    uint8_t *messages;    /* two of them: an engine may look at one until the next has gone */
    uint32_t send_offset; /* of the message under way: bytes taken */
    bool sending;         /* a send is under way */
    uint8_t head[PING_HEAD_MOST]; /* stream: of the answer that is coming in */
    uint64_t answer_bytes;        /* of that answer so far */
    uint64_t timer_ns;            /* when the timer expires; 0: it is not set */
    uint32_t row_sends;           /* without answers: since the last turn of others */
    bool failed;
};

static inline const struct ping_options *ping_options_of(const struct role_context *context)
{
    return context->options;
}

static inline struct message *ping_message_of(struct ping_connection *ping, uint64_t sequence)
{
    return &ping->ring[sequence & ping->mask];
}

/* How many messages the ring holds where `span` are in flight: also as many before them, so that
 * late and repeated answers are known for what they are. */
uint64_t ping_room_for(uint64_t span);

/* Makes room for `count` messages to be issued; false without memory. */
bool ping_make_room(struct ping_connection *ping, uint64_t count);

/* Looks for the oldest message in flight where some may have been answered or given up. */
void ping_advance_oldest(struct ping_connection *ping);

/* Open loop: whether `count` messages may be issued now. */
bool ping_has_room(const struct ping_connection *ping, const struct ping_options *options,
                   uint64_t count);

/* Open loop, before `count` messages are issued: one that was lost must not hold up those that are
 * due, so as many of the oldest as were overtaken are given up. */
void ping_give_up_overtaken(struct role_context *context, struct ping_connection *ping,
                            uint64_t count);

/* Gives up all that were sent: the connection has failed. */
void ping_give_up_all(struct role_context *context, struct ping_connection *ping);

/* The message under way could not be sent. */
void ping_not_sent(struct role_context *context, struct ping_connection *ping, int number);

/* Gives up the messages that have waited for the timeout. */
void ping_give_up_overdue(struct role_context *context, struct ping_connection *ping,
                          uint64_t now_ns);

#endif
