/* What the cells of the tour's tables hold, from the records of its stops. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/units.h"
#include "cli/tour.h"
#include "report/text.h"

#define MIB 1048576.0

static const struct result_run *run_of(const struct tour_outcome *outcome)
{
    return outcome->result.run_count ? &outcome->result.runs[0] : NULL;
}

void tour_figure(const struct tour_outcome *outcome, const struct tour_column *column, char *to,
                 size_t size)
{
    const struct result_run *run = run_of(outcome);
    double value = run ? result_value(run, column->key) : NAN;
    text_value(to, size, value * column->scale, column->unit);
}

/* The counted calls of the first process of a role; NULL where nobody counted them. */
static json_t *calls_of(const struct tour_outcome *outcome, const char *role)
{
    static const char *const counts[] = {"kernel_calls", "engine_calls"};
    const json_t *run = json_array_get(json_object_get(outcome->record, "runs"), 0);
    json_t *process;
    size_t index;
    json_array_foreach(json_object_get(run, "processes"), index, process)
    {
        const char *own = json_string_value(json_object_get(process, "role"));
        for (size_t i = 0; own && strcmp(own, role) == 0 && i < 2; i++) {
            json_t *calls = json_object_get(process, counts[i]);
            if (json_is_true(json_object_get(calls, "available"))) {
                return calls;
            }
        }
    }
    return NULL;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* The sum of a member over the calls of this name, or over all. */
static double sum_of(const json_t *calls, const char *name, const char *member)
{
    json_t *row;
    size_t index;
    double sum = 0;
    json_array_foreach(json_object_get(calls, "syscalls"), index, row)
    {
        const char *own = json_string_value(json_object_get(row, "name"));
        if (!name || (own && strcmp(own, name) == 0)) {
            sum += number_of(row, member);
        }
    }
    return sum;
}

static double quotient(double dividend, double divisor)
{
    return divisor > 0 ? dividend / divisor : NAN;
}

void tour_calls_per_second(const struct tour_outcome *outcome, const struct tour_column *column,
                           char *to, size_t size)
{
    const json_t *calls = calls_of(outcome, column->role);
    double count = calls ? sum_of(calls, column->key, "calls") : NAN;
    text_value(to, size, quotient(count, number_of(calls, "window_ns") / 1e9), "1/s");
}

void tour_calls_per_operation(const struct tour_outcome *outcome, const struct tour_column *column,
                              char *to, size_t size)
{
    const json_t *calls = calls_of(outcome, column->role);
    double count = calls ? sum_of(calls, column->key, "calls") : NAN;
    text_value(to, size, quotient(count, number_of(calls, "operations")), "1");
}

void tour_calls_per_mib(const struct tour_outcome *outcome, const struct tour_column *column,
                        char *to, size_t size)
{
    const json_t *calls = calls_of(outcome, column->role);
    double count = calls ? sum_of(calls, column->key, "calls") : NAN;
    double bytes = calls ? sum_of(calls, column->key, "bytes") : NAN;
    text_value(to, size, quotient(count, bytes / MIB) * column->scale, "1");
}

/* What is rarer than this among all calls is no part of the work. */
#define RARE_SHARE 0.05

void tour_calls_by_name(const struct tour_outcome *outcome, const struct tour_column *column,
                        char *to, size_t size)
{
    enum { NAMES_MOST = 3 };
    const json_t *calls = calls_of(outcome, column->role);
    double all = sum_of(calls, NULL, "calls"), seconds = number_of(calls, "window_ns") / 1e9;
    char rate[UNITS_TEXT_MAX];
    json_t *row;
    size_t index, length = 0;
    snprintf(to, size, "-");
    json_array_foreach(json_object_get(calls, "syscalls"), index, row) /* most calls first */
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        double count = number_of(row, "calls");
        if (name && index < NAMES_MOST && count > all * RARE_SHARE && length < size) {
            length +=
                (size_t)snprintf(to + length, size - length, "%s%s %s", length ? ", " : "", name,
                                 text_value(rate, sizeof rate, quotient(count, seconds), "1/s"));
        }
    }
}
