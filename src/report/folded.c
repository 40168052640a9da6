/* The sampled stacks of a record, one a line with their samples, as tools that draw flame graphs
 * take them. */
#include "report/figures.h"
#include "report/record.h"

static void print_run(const struct record_run *run, bool several, FILE *out)
{
    for (size_t i = 0; i < run->probe_count; i++) {
        const struct record_probe *probe = &run->probes[i];
        for (size_t k = 0; k < probe->stack_count; k++) {
            fprintf(out, "%s%s%s %lu\n", several ? run->label : "", several ? ";" : "",
                    probe->stacks[k].frames, (unsigned long)probe->stacks[k].samples);
        }
    }
}

/* Runs of different labels stand beside each other in one graph; those of one label add up. */
static int print_folded(const struct record *record, FILE *out, struct err *error)
{
    for (size_t i = 0; i < record->run_count; i++) {
        if (!record->runs[i].discarded) {
            print_run(&record->runs[i], record->run_count > 1, out);
        }
    }
    return figures_finish(out, "folded stacks", error);
}

const struct printer printer_folded = {"folded", print_folded};
