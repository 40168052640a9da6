/* Searches for the highest rate: what they found, all their probes, and the best one in full. */
#include <math.h>
#include <string.h>

#include "base/units.h"
#include "report/figures.h"
#include "report/text.h"
#include "stats/repeat.h"

static void goal_text(const struct goal *goal, char *to, size_t size)
{
    FILE *out = fmemopen(to, size, "w");
    to[0] = '\0';
    if (out) {
        goal_print(goal, out);
        fclose(out);
    }
}

static void print_found(struct text *text, const struct record_find_max *find_max,
                        const struct record_found *found)
{
    char goal[GOAL_TEXT_MAX], rate[UNITS_TEXT_MAX], low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    goal_text(&find_max->goal, goal, sizeof goal);
    const char *s = found->searches == 1 ? "" : "es";
    if (!isfinite(found->rate.value)) {
        text_paragraph(text, 0, 2, "%s: no rate with %s is known", found->label, goal);
    } else if (found->rate.value <= 0) {
        text_paragraph(text, 0, 2,
                       "%s: no rate with %s was found: even %s/s is too much, or it cannot be told",
                       found->label, goal, units_count(rate, found->lowest));
    } else {
        text_paragraph(text, 0, 2, "%s: the highest rate with %s: %s/s [%s, %s]", found->label,
                       goal, units_count(rate, found->rate.value),
                       units_count(low, found->rate.low),
                       isfinite(found->rate.high) ? units_count(high, found->rate.high) : "more");
    }
    if (found->searches >= REPEAT_INTERVAL_LEAST) {
        text_paragraph(text, 2, 4, "median of %u search%s and its 95 %% interval", found->searches,
                       s);
    } else if (found->searches) {
        text_paragraph(text, 2, 4,
                       "median of %u search%s and their range: from what passed to what failed "
                       "(--repeat %d gives a 95 %% interval)",
                       found->searches, s, REPEAT_INTERVAL_LEAST);
    }
    if (found->verdict[0]) {
        text_paragraph(text, 2, 4, "%s", found->verdict);
    }
}

static void print_probes(struct text *text, const struct goal *goal,
                         const struct record_found *found)
{
    struct table table;
    char alignment[GOAL_TERMS_MAX + 5] = "rrr", name[GOAL_NAME_MAX], value[64], share[16];
    for (uint32_t i = 0; i < goal->count; i++) {
        strncat(alignment, "r", sizeof alignment - strlen(alignment) - 1);
    }
    strncat(alignment, "l", sizeof alignment - strlen(alignment) - 1);
    table_init(&table, alignment);
    table_cell(&table, "search");
    table_cell(&table, "rate asked for");
    table_cell(&table, "reached");
    for (uint32_t i = 0; i < goal->count; i++) {
        table_cell(&table, "%s", goal_term_name(&goal->terms[i], name));
    }
    table_cell(&table, "%s", "");
    for (size_t k = 0; k < found->probe_count; k++) {
        const struct record_search_probe *probe = &found->probes[k];
        table_cell(&table, "%u", probe->search);
        table_cell(&table, "%s/s", units_count(value, probe->asked));
        table_cell(&table, "%s", text_share(share, sizeof share, probe->reached));
        for (uint32_t i = 0; i < goal->count; i++) {
            bool errors = goal->terms[i].kind == GOAL_ERRORS;
            table_cell(&table, "%s",
                       errors ? text_share(share, sizeof share, probe->values[i])
                              : text_value(value, sizeof value, probe->values[i], "ns"));
        }
        table_cell(&table, "%s%s", probe->passed ? "passes" : "fails: ", probe->why);
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

/* The run of the highest rate that passed; NULL where none did. */
static const struct record_run *best_run(const struct record *record,
                                         const struct record_found *found)
{
    const struct record_run *best = NULL;
    double most = 0;
    for (size_t k = 0; k < found->probe_count; k++) {
        const struct record_search_probe *probe = &found->probes[k];
        if (probe->passed && probe->asked > most && probe->run < record->run_count) {
            most = probe->asked;
            best = &record->runs[probe->run];
        }
    }
    return best;
}

void text_find_max(struct text *text, const struct record *record)
{
    const struct record_find_max *find_max = &record->find_max;
    for (size_t i = 0; i < find_max->found_count; i++) {
        const struct record_found *found = &find_max->found[i];
        const struct record_run *best = best_run(record, found);
        if (i) {
            fputc('\n', text->out);
        }
        print_found(text, find_max, found);
        if (found->probe_count) {
            print_probes(text, &find_max->goal, found);
        }
        if (best) {
            fputc('\n', text->out);
            text_paragraph(text, 0, 2, "The probe of the highest rate that passed, in full:");
            text_run(text, best);
        }
    }
}
