#include "cli/interval_line.h"

#include <math.h>
#include <string.h>

#include "base/units.h"

/* A value of a live line with what it is: "118,032 calls/s", "28.1 Gbit/s", "3.27 GiB/s". */
static void print_live(FILE *out, const struct metric *metric, bool known, double value)
{
    char text[UNITS_TEXT_MAX];
    if (strcmp(metric->unit, "bytes/s") == 0) {
        fprintf(out, "  %s/s", known ? units_bytes(text, value) : "-");
    } else if (strcmp(metric->unit, "bit/s") == 0) {
        fprintf(out, "  %s", known ? units_si(text, value, metric->unit) : "-");
    } else {
        fprintf(out, "  %s %s", known ? units_count(text, value) : "-", metric->title);
    }
}

void interval_line_print(FILE *out, const struct run_progress *progress)
{
    const struct workload *workload = progress->workload;
    char text[UNITS_TEXT_MAX], text2[UNITS_TEXT_MAX];
    fprintf(out, "%8.2f s", (double)progress->end_ns / 1e9);
    for (size_t i = 0; i < workload->metric_count; i++) {
        const struct metric *metric = &workload->metrics[i];
        double value;
        /* The count itself says nothing that the rate does not. */
        if (!metric->per_interval || metric->kind == METRIC_COUNT) {
            continue;
        }
        const struct bank *bank = metric->kind == METRIC_LEVEL ? progress->so_far : progress->bank;
        bool known = metric_compute(metric, bank->counters, progress->window_ns, &value);
        print_live(out, metric, known, value);
        if (i == 0 && isfinite(progress->asked)) {
            fprintf(out, " of %s", units_count(text, progress->asked));
        }
    }
    const struct histogram *first = &progress->bank->histograms[0];
    uint64_t median, tail;
    bool has_median = histogram_percentile(first, 50, &median);
    bool has_tail = histogram_percentile(first, 99, &tail);
    if (strcmp(workload->client->histograms[0].unit, "ns") == 0) {
        fprintf(out, "  p50 %s p99 %s", has_median ? units_duration(text, (double)median) : "-",
                has_tail ? units_duration(text2, (double)tail) : "-");
    }
    if (bank_errors(progress->bank)) {
        fprintf(out, "  %s errors", units_count(text, (double)bank_errors(progress->bank)));
    }
    if (progress->observed) {
        fprintf(out, "  %s: %s syscalls/s", progress->kernel_role,
                units_count(text, progress->kernel_calls_per_second));
    }
    fputc('\n', out);
    fflush(out);
}
