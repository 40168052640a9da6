#include "workload/ping_flight.h"

#include <errno.h>
#include <stdlib.h>

uint64_t ping_room_for(uint64_t span)
{
    uint64_t room = PING_ROOM_LEAST;
    while (room < 2 * span) {
        room *= 2;
    }
    return room;
}

/* Happens only while more messages are in flight than ever before on this connection. */
bool ping_make_room(struct ping_connection *ping, uint64_t count)
{
    uint64_t room = ping_room_for(ping->issued + count + 1 - ping->oldest);
    if (room <= ping->room) {
        return true;
    }
    struct message *ring = calloc(room, sizeof *ring);
    if (!ring) {
        return false;
    }
    uint64_t first = ping->issued > ping->room ? ping->issued - ping->room + 1 : 1;
    for (uint64_t i = first; i <= ping->issued; i++) {
        ring[i & (room - 1)] = *ping_message_of(ping, i);
    }
    free(ping->ring);
    ping->ring = ring;
    ping->room = room;
    ping->mask = room - 1;
    return true;
}

static bool is_pending(const struct message *message)
{
    return message->state == MESSAGE_WAITING || message->state == MESSAGE_UNSENT;
}

void ping_advance_oldest(struct ping_connection *ping)
{
    while (ping->oldest <= ping->begun && !is_pending(ping_message_of(ping, ping->oldest))) {
        ping->oldest++;
    }
}

/* Open loop: how many messages there may be from the oldest one in flight to the newest before
 * those that were overtaken are given up for the schedule's sake. */
static uint64_t span_wanted(const struct ping_options *options)
{
    uint64_t span = options->high_is_bound ? PING_SPAN : options->high;
    span = span > 2 * options->burst ? span : 2 * options->burst;
    return span < options->high ? span : options->high;
}

/* The first message that may not be given up yet: those before it were overtaken by answers to half
 * a span of later ones. */
static uint64_t overtaken_until(const struct ping_connection *ping,
                                const struct ping_options *options)
{
    uint64_t half = (span_wanted(options) + 1) / 2;
    return ping->highest_answered >= half ? ping->highest_answered - half + 1 : 0;
}

static void give_up(struct role_context *context, struct ping_connection *ping,
                    struct message *message)
{
    bool sent = message->state == MESSAGE_WAITING;
    bool measured =
        message->sent_ns >= context->measured_from_ns &&
        (context->measured_until_ns == 0 || message->sent_ns < context->measured_until_ns);
    message->state = sent ? MESSAGE_GIVEN_UP : MESSAGE_NONE;
    ping->in_flight--;
    if (sent) {
        context->bank->counters[PING_COUNT_LOST] += measured; /* as its send was */
        context->bank->silence.lost++;
        context->bank->silence.all_lost++;
    }
}

void ping_give_up_all(struct role_context *context, struct ping_connection *ping)
{
    uint64_t last = ping->begun - ping->sending; /* what is under way has not been sent */
    for (uint64_t i = ping->oldest; i <= last; i++) {
        if (is_pending(ping_message_of(ping, i))) {
            give_up(context, ping, ping_message_of(ping, i));
        }
    }
}

void ping_not_sent(struct role_context *context, struct ping_connection *ping, int number)
{
    struct message *message = ping_message_of(ping, ping->begun);
    context->bank->counters[PING_COUNT_UNSENT]++;
    context->bank->silence.lost++;
    context->bank->silence.all_lost++;
    context->bank->silence.refused += number == ECONNREFUSED;
    if (message->state == MESSAGE_WAITING) {
        message->state = MESSAGE_UNSENT;
        if (context->open_loop) {
            give_up(context, ping, message);
            ping_advance_oldest(ping);
        }
    }
}

bool ping_has_room(const struct ping_connection *ping, const struct ping_options *options,
                   uint64_t count)
{
    uint64_t until = overtaken_until(ping, options);
    uint64_t oldest = until > ping->oldest ? until : ping->oldest;
    return ping->issued + count + 1 - oldest <= options->high;
}

void ping_give_up_overtaken(struct role_context *context, struct ping_connection *ping,
                            uint64_t count)
{
    const struct ping_options *options = ping_options_of(context);
    uint64_t until = overtaken_until(ping, options);
    while (ping->oldest < until && ping->issued + count + 1 - ping->oldest > span_wanted(options)) {
        give_up(context, ping, ping_message_of(ping, ping->oldest));
        ping_advance_oldest(ping);
    }
}

void ping_give_up_overdue(struct role_context *context, struct ping_connection *ping,
                          uint64_t now_ns)
{
    uint64_t timeout_ns = ping_options_of(context)->timeout_ns;
    for (uint64_t i = ping->oldest; i <= ping->begun; i++) {
        struct message *message = ping_message_of(ping, i);
        if (!is_pending(message)) {
            continue;
        }
        if (message->sent_ns + timeout_ns > now_ns || (i == ping->begun && ping->sending)) {
            break;
        }
        give_up(context, ping, message);
    }
    ping_advance_oldest(ping);
}
