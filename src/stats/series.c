#include "stats/series.h"

#include <errno.h>
#include <stdlib.h>

int series_init(struct series *series, size_t capacity, size_t counter_count, struct err *error)
{
    *series = (struct series){.capacity = capacity, .counter_count = counter_count, .merged = 1};
    if (capacity < 2 || capacity % 2 || counter_count > SERIES_COUNTERS_MAX) {
        series->capacity = 0;
        return err_set(error, ERR_LIMIT, "series",
                       "%zu points of %zu counters: points must be an even number from 2, counters "
                       "at most %d",
                       capacity, counter_count, SERIES_COUNTERS_MAX);
    }
    series->points = calloc(capacity, sizeof *series->points);
    if (!series->points) {
        series->capacity = 0;
        return err_system(error, ENOMEM, "series", "cannot allocate %zu points", capacity);
    }
    return 0;
}

void series_release(struct series *series)
{
    free(series->points);
    *series = (struct series){0};
}

/* Adds the measures of `from`, which follows `to` in time. */
static void join(struct series_point *to, const struct series_point *from, size_t counter_count)
{
    to->duration_ns += from->duration_ns;
    for (size_t i = 0; i < counter_count; i++) {
        to->counters[i] += from->counters[i];
    }
}

/* Copies the counters in use; the others stay 0. */
static void place(struct series_point *to, const struct series_point *from, size_t counter_count)
{
    *to = (struct series_point){.start_ns = from->start_ns};
    join(to, from, counter_count);
}

/* Merges neighbours; the capacity is even, so no point stays alone. */
static void halve(struct series *series)
{
    for (size_t i = 0; i < series->count / 2; i++) {
        if (i) {
            series->points[i] = series->points[2 * i];
        }
        join(&series->points[i], &series->points[2 * i + 1], series->counter_count);
    }
    series->count /= 2;
    series->merged *= 2;
}

void series_append(struct series *series, const struct series_point *point)
{
    if (series->capacity == 0) {
        return; /* released, or never initialised */
    }
    if (series->count && series->open < series->merged) {
        join(&series->points[series->count - 1], point, series->counter_count);
        series->open++;
        return;
    }
    if (series->count == series->capacity) {
        halve(series);
    }
    place(&series->points[series->count++], point, series->counter_count);
    series->open = 1;
}
