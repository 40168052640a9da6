#include "run/asked.h"

#include <math.h>

#define LAG_MOST 0.02

static double each(const struct run_plan *plan)
{
    return (double)workload_operations_per_start(plan->workload, plan->workload_options);
}

/* Operations that were due between two instants of the clock. */
static double due_between(const struct conductor *conductor, uint64_t from_ns, uint64_t until_ns)
{
    const struct run_options *options = conductor->plan->options;
    long double start_ns = (long double)atomic_load(&conductor->shared->client.start_ns) +
                           (long double)options->warmup_ns;
    const struct rate_course *course = &options->course;
    return each(conductor->plan) *
           (double)(rate_course_count(course, (long double)until_ns - start_ns) -
                    rate_course_count(course, (long double)from_ns - start_ns));
}

double asked_between(const struct conductor *conductor, uint64_t from_ns, uint64_t until_ns)
{
    if (conductor->plan->options->course.count == 0 || until_ns <= from_ns) {
        return NAN;
    }
    uint64_t start_ns = conductor->window_start_ns;
    return due_between(conductor, start_ns + from_ns, start_ns + until_ns) * 1e9 /
           (double)(until_ns - from_ns);
}

void asked_take(struct conductor *conductor, const struct tally *part)
{
    if (conductor->plan->options->course.count && part->last_ns > part->first_ns) {
        /* Workers that are cut apart from each other measure less than from first to last. */
        conductor->asked += due_between(conductor, part->first_ns, part->last_ns) *
                            (double)part->window_ns / (double)(part->last_ns - part->first_ns);
    }
}

double asked_rate(const struct conductor *conductor)
{
    const struct run_options *options = conductor->plan->options;
    uint64_t window_ns = conductor->client.plain.window_ns;
    if (options->course.count == 0) {
        return options->rate > 0 ? each(conductor->plan) * options->rate : 0;
    }
    return window_ns ? conductor->asked * 1e9 / (double)window_ns : 0;
}

double asked_lag(const struct conductor *conductor, double mean_response_ns)
{
    const struct run_options *options = conductor->plan->options;
    const struct rate_course *course = &options->course;
    if (course->count == 0 || !(conductor->asked > 0)) {
        return 0;
    }
    double rise = course->pieces[course->count - 1].to - course->pieces[0].from;
    double share = fabs(rise) * each(conductor->plan) * mean_response_ns / 1e9 / conductor->asked;
    return share < LAG_MOST ? share : LAG_MOST;
}
