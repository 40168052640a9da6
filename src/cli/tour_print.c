/* How the tour shows what it has measured. */
#include <string.h>

#include "cli/tour.h"
#include "report/text.h"

/* The first run of a stop, as its record has it. */
static const json_t *run_of(const struct tour_outcome *outcome)
{
    return json_array_get(json_object_get(outcome->record, "runs"), 0);
}

static bool same_group(const struct tour_column *a, const struct tour_column *b)
{
    return a->group && b->group && strcmp(a->group, b->group) == 0;
}

/* Titles of columns, and those of their groups above them. */
static void print_head(const struct tour_part *part, struct table *table)
{
    table_cell(table, "sonde %.*s", (int)strcspn(part->command, " "), part->command);
    for (size_t i = 0; i < part->column_count; i++) {
        const struct tour_column *column = &part->columns[i];
        table_cell(table, "%s", column->title);
        if (!column->group || (i && same_group(column - 1, column))) {
            continue;
        }
        size_t count = 1;
        while (i + count < part->column_count && same_group(column, column + count)) {
            count++;
        }
        table_span(table, i + 1, count, column->group);
    }
}

/* Calls by name stand as a list. */
static void make_alignment(const struct tour_part *part, char *alignment)
{
    alignment[0] = 'l';
    for (size_t i = 0; i < part->column_count; i++) {
        alignment[i + 1] = part->columns[i].write == tour_calls_by_name ? 'l' : 'r';
    }
    alignment[part->column_count + 1] = '\0';
}

static void print_table(const struct tour_part *part, const struct tour_outcome *outcomes,
                        struct text *text)
{
    char alignment[TABLE_COLUMNS + 1], cell[120];
    struct table table;
    make_alignment(part, alignment);
    table_init(&table, alignment);
    print_head(part, &table);
    for (size_t i = 0; i < part->stop_count; i++) {
        if (!outcomes[i].stop) {
            continue;
        }
        table_cell(&table, "%s", part->stops[i].words);
        for (size_t c = 0; c < part->column_count; c++) {
            part->columns[c].write(&outcomes[i], &part->columns[c], cell, sizeof cell);
            table_cell(&table, "%s", cell);
        }
    }
    table_print(&table, text);
}

/* Why rows are empty, or not to be relied on. */
static void print_reasons(const struct tour_part *part, const struct tour_outcome *outcomes,
                          struct text *text)
{
    for (size_t i = 0; i < part->stop_count; i++) {
        const struct err *failure = &outcomes[i].failure;
        if (outcomes[i].unavailable) {
            text_paragraph(text, 2, 4, "%s: cannot be measured here: %s", part->stops[i].words,
                           failure->what);
        } else if (failure->code != ERR_NONE) {
            text_paragraph(text, 2, 4, "%s: failed: %s: %s%s%s", part->stops[i].words,
                           failure->subject, failure->what, failure->hint[0] ? ": " : "",
                           failure->hint);
        }
    }
}

/* Who counted the calls, as the first stop with a result says. */
static void print_observation(const struct tour_part *part, const struct tour_outcome *outcomes,
                              struct text *text)
{
    for (size_t i = 0; i < part->stop_count && part->observation; i++) {
        const char *how = json_string_value(json_object_get(run_of(&outcomes[i]), "observation"));
        if (how && strncmp(how, "none", 4) == 0) {
            text_paragraph(text, 2, 4, "%s: counted by sonde itself; observation: %s",
                           part->observation, how);
        } else if (how) {
            text_paragraph(text, 2, 4,
                           "%s: by the kernel's count (BPF), in half of the time; all else is of "
                           "the other half",
                           part->observation);
        }
        if (how) {
            return;
        }
    }
}

/* The command lines of the rows, with what they show where there is room for it. */
static void print_commands(const struct tour_part *part, const struct tour_outcome *outcomes,
                           FILE *out)
{
    size_t words = 0, titles = 0;
    for (size_t i = 0; i < part->stop_count; i++) {
        size_t width = strlen(part->stops[i].words), title = strlen(part->stops[i].title);
        words = width > words ? width : words;
        titles = title > titles ? title : titles;
    }
    size_t width = strlen("  sonde ") + strlen(part->command) + 1 + words + 1 +
                   strlen(part->common) + strlen("  # ") + titles;
    for (size_t i = 0; i < part->stop_count; i++) {
        const struct tour_stop *stop = &part->stops[i];
        if (!outcomes[i].stop || outcomes[i].unavailable) {
            continue;
        }
        if (width <= TEXT_COLUMNS) {
            fprintf(out, "  sonde %s %-*s %s  # %s\n", part->command, (int)words, stop->words,
                    part->common, stop->title);
        } else {
            fprintf(out, "  sonde %s %-*s %s\n", part->command, (int)words, stop->words,
                    part->common);
        }
    }
}

void tour_print_part(const struct tour_part *part, const struct tour_outcome *outcomes,
                     struct text *text)
{
    fputc('\n', text->out);
    print_table(part, outcomes, text);
    print_reasons(part, outcomes, text);
    print_observation(part, outcomes, text);
    fputc('\n', text->out);
    text_paragraph(text, 2, 2, "%s", part->lesson);
    fputc('\n', text->out);
    print_commands(part, outcomes, text->out);
}
