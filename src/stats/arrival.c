#include "stats/arrival.h"

#include <math.h>

#define NANOSECOND ((arrival_time)1 << 64)
#define GAP_MOST 0x1p62L                   /* ns, 146 years: what is longer never comes */
#define NEXT_MOST ((arrival_time)1 << 127) /* NEXT_MOST + GAP_MOST does not overflow */

/* Nanoseconds >= 0 as a time; at most GAP_MOST. */
static arrival_time time_from(long double ns)
{
    if (ns >= GAP_MOST) {
        ns = GAP_MOST;
    }
    uint64_t whole = (uint64_t)ns;
    uint64_t fraction = (uint64_t)((ns - (long double)whole) * 0x1p64L);
    return ((arrival_time)whole << 64) + fraction;
}

/* As time_from, without the wide arithmetic: drawn gaps need no more than a double holds. */
static arrival_time time_from_double(double ns)
{
    if (ns >= (double)GAP_MOST) {
        ns = (double)GAP_MOST;
    }
    uint64_t whole = (uint64_t)ns;
    uint64_t fraction = (uint64_t)((ns - (double)whole) * 0x1p64);
    return ((arrival_time)whole << 64) + fraction;
}

/* Time to the next arrival. */
static arrival_time draw_gap(struct arrival *arrival)
{
    if (arrival->kind == ARRIVAL_FIXED) {
        return arrival->gap;
    }
    return time_from_double(-log(1 - rng_unit(&arrival->rng)) * arrival->gap_ns);
}

void arrival_init(struct arrival *arrival, enum arrival_kind kind, double rate, uint32_t part,
                  uint32_t parts, uint64_t start_ns, uint64_t seed)
{
    long double overall_ns = 1e9L / (long double)rate;
    long double gap_ns = overall_ns * parts < GAP_MOST ? overall_ns * parts : GAP_MOST;

    *arrival = (struct arrival){
        .kind = kind,
        .gap_ns = (double)gap_ns,
        .start_ns = start_ns,
        .gap = time_from(gap_ns),
    };
    if (arrival->gap == 0) {
        arrival->gap = 1; /* a rate beyond all sense: everything is due at once */
    }
    /* An odd factor that is not the one rng_seed steps by, or the parts' states would overlap. */
    rng_seed(&arrival->rng, seed ^ (part * UINT64_C(0xd1342543de82ef95)));
    arrival->next = kind == ARRIVAL_FIXED ? time_from(overall_ns * part) : draw_gap(arrival);
}

uint64_t arrival_peek(const struct arrival *arrival)
{
    return arrival->start_ns + (uint64_t)((arrival->next + NANOSECOND / 2) / NANOSECOND);
}

void arrival_take(struct arrival *arrival)
{
    arrival_time next = arrival->next + draw_gap(arrival);

    arrival->next = next < NEXT_MOST ? next : NEXT_MOST;
    arrival->index++;
}

uint64_t arrival_backlog(const struct arrival *arrival, uint64_t now_ns)
{
    if (now_ns < arrival_peek(arrival)) {
        return 0;
    }
    /* Due is what arrival_peek would round to now_ns or less. */
    arrival_time end = (now_ns - arrival->start_ns) * NANOSECOND + NANOSECOND / 2;
    arrival_time due = (end - 1 - arrival->next) / arrival->gap;
    return due < UINT64_MAX ? (uint64_t)due + 1 : UINT64_MAX;
}
