#include "stats/rate_search.h"

#include <math.h>

/* Steps are not made larger than this: what lies between has to be bisected. */
#define STEP_MOST 16

void rate_search_init(struct rate_search *search, double start, double step, double lowest,
                      double highest)
{
    *search = (struct rate_search){
        .rate = fmin(fmax(start, lowest), highest),
        .step = step,
        .high = INFINITY,
        .lowest = lowest,
        .highest = highest,
    };
}

/* Where the present rate has been decided. */
static void move_on(struct rate_search *search, bool passed)
{
    search->passes = search->fails = 0;
    if (passed) {
        search->low = search->rate;
    } else {
        search->high = search->rate;
    }
    if (search->low > 0 && isfinite(search->high)) {
        search->rate = sqrt(search->low * search->high);
        if (search->high <= search->low * RATE_SEARCH_TOLERANCE) {
            search->end = RATE_SEARCH_FOUND;
        }
    } else if (passed) {
        search->end = search->rate >= search->highest ? RATE_SEARCH_ALWAYS : RATE_SEARCH_GOES_ON;
        search->rate = fmin(search->rate * search->step, search->highest);
    } else {
        search->end = search->rate <= search->lowest ? RATE_SEARCH_NEVER : RATE_SEARCH_GOES_ON;
        search->rate = fmax(search->rate / search->step, search->lowest);
    }
    search->step = fmin(search->step * search->step, STEP_MOST);
}

void rate_search_tell(struct rate_search *search, enum rate_verdict verdict)
{
    bool passed = verdict == RATE_PASSES_CLEARLY || verdict == RATE_PASSES;
    bool clear = verdict == RATE_PASSES_CLEARLY || verdict == RATE_FAILS_CLEARLY;
    if (search->end != RATE_SEARCH_GOES_ON) {
        return;
    }
    search->probes++;
    search->passes += passed;
    search->fails += !passed;
    uint32_t needed = (RATE_SEARCH_VOTES + 1) / 2;
    if (clear || search->passes == needed || search->fails == needed) {
        move_on(search, passed);
    }
    if (search->end == RATE_SEARCH_GOES_ON && search->probes == RATE_SEARCH_PROBES) {
        search->end = RATE_SEARCH_GIVEN_UP;
    }
}
