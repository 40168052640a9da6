#include "stats/arrival.h"

#include <math.h>
#include <stdbool.h>

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

/* `count` gaps; at most GAP_MOST. */
static arrival_time times(arrival_time gap, uint32_t count)
{
    const arrival_time most = (arrival_time)1 << 126;
    return count && gap > most / count ? most : gap * count;
}

/* Time to the next arrival. */
static arrival_time draw_gap(struct arrival *arrival)
{
    if (arrival->kind == ARRIVAL_FIXED) {
        if (++arrival->place < arrival->count) {
            return arrival->gap;
        }
        arrival->place = 0;
        return arrival->leap;
    }
    return time_from_double(-log(1 - rng_unit(&arrival->rng)) * arrival->gap_ns);
}

void arrival_init(struct arrival *arrival, enum arrival_kind kind, double rate,
                  struct arrival_share share, uint64_t start_ns, uint64_t seed)
{
    long double overall_ns = 1e9L / (long double)rate;
    long double mean_ns = overall_ns * share.of / share.count;
    mean_ns = mean_ns < GAP_MOST ? mean_ns : GAP_MOST;
    bool fixed = kind == ARRIVAL_FIXED;
    arrival_time gap = time_from(fixed ? overall_ns : mean_ns);
    if (gap == 0) {
        gap = 1; /* a rate beyond all sense: everything is due at once */
    }

    *arrival = (struct arrival){
        .kind = kind,
        .gap_ns = (double)mean_ns,
        .start_ns = start_ns,
        .count = fixed ? share.count : 1,
        .gap = gap,
        .leap = fixed ? times(gap, share.of - share.count + 1) : gap,
        .round = fixed ? times(gap, share.of) : gap,
    };
    /* An odd factor that is not the one rng_seed steps by, or the shares' states would overlap. */
    rng_seed(&arrival->rng, seed ^ (share.first * UINT64_C(0xd1342543de82ef95)));
    arrival->next = fixed ? times(gap, share.first) : draw_gap(arrival);
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
    /* Counted from the beginning of the worker's turn, of which some have been taken. */
    arrival_time passed = end - 1 - arrival->next + times(arrival->gap, arrival->place);
    arrival_time in_turn = passed % arrival->round / arrival->gap + 1;
    arrival_time due = passed / arrival->round * arrival->count - arrival->place +
                       (in_turn < arrival->count ? in_turn : arrival->count);
    return due < UINT64_MAX ? (uint64_t)due : UINT64_MAX;
}
