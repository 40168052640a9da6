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

/* Where in the course the next arrival is: fixed by its number, else at random behind the last. */
static void place_in_course(struct arrival *arrival)
{
    const struct rate_course *course = arrival->course;
    long double after_ns = (long double)arrival->course_after_ns;
    if (arrival->kind == ARRIVAL_FIXED) {
        arrival->course_at = (long double)arrival->number + rate_course_count(course, -after_ns);
    } else {
        arrival->course_at +=
            (long double)(-log(1 - rng_unit(&arrival->rng)) * arrival->of) / arrival->count;
    }
    long double at_ns = after_ns + rate_course_time(course, arrival->course_at, &arrival->piece);
    arrival_time next = at_ns > 0 ? time_from(at_ns) : 0;
    arrival->next = next > arrival->next ? next : arrival->next; /* whatever is rounded */
}

void arrival_init_course(struct arrival *arrival, enum arrival_kind kind,
                         const struct rate_course *course, uint64_t after_ns,
                         struct arrival_share share, uint64_t start_ns, uint64_t seed)
{
    arrival_init(arrival, kind, course->highest, share, start_ns, seed);
    arrival->course = course;
    arrival->course_after_ns = after_ns;
    arrival->first = share.first;
    arrival->of = share.of;
    arrival->count = share.count;
    arrival->number = share.first;
    arrival->next = 0;
    arrival->course_at = rate_course_count(course, -(long double)after_ns);
    place_in_course(arrival);
}

uint64_t arrival_peek(const struct arrival *arrival)
{
    return arrival->start_ns + (uint64_t)((arrival->next + NANOSECOND / 2) / NANOSECOND);
}

void arrival_take(struct arrival *arrival)
{
    arrival->index++;
    if (arrival->course) {
        bool turn_goes_on = ++arrival->place < arrival->count;
        arrival->number += turn_goes_on ? 1 : arrival->of - arrival->count + 1;
        arrival->place = turn_goes_on ? arrival->place : 0;
        place_in_course(arrival);
        return;
    }
    arrival_time next = arrival->next + draw_gap(arrival);

    arrival->next = next < NEXT_MOST ? next : NEXT_MOST;
}

/* How many of the arrivals of all, up to and with number `last`, are the worker's. */
static uint64_t own_until(const struct arrival *arrival, uint64_t last)
{
    uint64_t turns = (last + 1) / arrival->of, rest = (last + 1) % arrival->of;
    uint64_t own = rest > arrival->first ? rest - arrival->first : 0;
    return turns * arrival->count + (own < arrival->count ? own : arrival->count);
}

static uint64_t course_backlog(const struct arrival *arrival, uint64_t now_ns)
{
    long double after_ns = (long double)arrival->course_after_ns;
    long double at =
        rate_course_count(arrival->course, (long double)(now_ns - arrival->start_ns) - after_ns);
    uint64_t due;
    if (arrival->kind == ARRIVAL_FIXED) {
        long double last = at - rate_course_count(arrival->course, -after_ns);
        uint64_t own = own_until(arrival, last > 0 ? (uint64_t)last : 0);
        due = own > arrival->index ? own - arrival->index : 0;
    } else {
        long double share = (long double)arrival->count / arrival->of;
        long double more = (at - arrival->course_at) * share;
        due = 1 + (more > 0 ? (uint64_t)more : 0);
    }
    return due ? due : 1; /* the next one is */
}

uint64_t arrival_backlog(const struct arrival *arrival, uint64_t now_ns)
{
    if (now_ns < arrival_peek(arrival)) {
        return 0;
    }
    if (arrival->course) {
        return course_backlog(arrival, now_ns);
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
