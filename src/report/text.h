/* The parts of the text printer. Private to report/. */
#ifndef SONDE_REPORT_TEXT_H
#define SONDE_REPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "report/record.h"

#define TEXT_COLUMNS 100 /* width of what is printed */

struct text {
    FILE *out;
    bool failed;           /* without memory: the text is not whole */
    const char *operation; /* "call" */
    bool compact;          /* one of several runs: the essential tables only */
};

/* Prints a paragraph cut at spaces into lines of TEXT_COLUMNS, the first indented by `indent`, the
 * others by `hang`. Control characters and invalid UTF-8 are shown as \xNN: names come from other
 * programs and must not command the terminal. */
void text_paragraph(struct text *text, int indent, int hang, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define TABLE_COLUMNS 32
#define TABLE_SPANS 16

/* A table whose columns are as wide as their widest cell. Cells are appended row by row. */
struct table {
    const char *alignment; /* one character a column: 'l' or 'r' */
    size_t columns;
    char **cells; /* owned */
    size_t cell_count;
    struct table_span {
        size_t first, count;    /* columns below the title */
        char title[4 * 64 + 1]; /* cleaned */
    } spans[TABLE_SPANS];       /* titles over groups of columns, printed above the first row */
    size_t span_count;
    bool failed;
};

void table_init(struct table *table, const char *alignment);
void table_release(struct table *table); /* safe to call twice */
void table_span(struct table *table, size_t first, size_t count, const char *title);
/* Appends a cell, cleaned as in text_paragraph. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Width in columns of the terminal, without indentation. */
size_t table_width(struct table *table);
/* Prints it indented by two and releases it. */
void table_print(struct table *table, struct text *text);

/* A value in its unit for people, into `to`; "-" where it is not finite. */
const char *text_value(char *to, size_t size, double value, const char *unit);
/* A share of one as "12.3 %"; "-" where it is not finite. */
const char *text_share(char *to, size_t size, double share);

/* The title of a metric; its key where it has none. */
const char *text_title(const struct metric *metric);

/* Each prints one part of a run, and nothing where the run has nothing of it. */
void text_histograms(struct text *text, const struct record_run *run);
void text_sizes(struct text *text, const struct record_run *run);
void text_costs(struct text *text, const struct record_run *run);
void text_calls(struct text *text, const struct record_run *run);
void text_flows(struct text *text, const struct record_run *run);
void text_probes(struct text *text, const struct record_run *run);
void text_effects(struct text *text, const struct record_run *run);

/* A whole run. */
void text_run(struct text *text, const struct record_run *run);

/* True where runs were repeated; then this prints them all. */
bool text_is_repeated(const struct record *record);
void text_repetitions(struct text *text, const struct record *record);

/* What searches for the highest rate found, with all their probes; nothing where none was made. */
void text_find_max(struct text *text, const struct record *record);

/* What the loads beside single runs moved and added, and those beside repeated ones; nothing where
 * there was none. */
void text_loads(struct text *text, const struct record *record);
void text_load_summaries(struct text *text, const struct record *record);

/* What repeated runs took at both ends; nothing of what none of them has. */
void text_ends_summaries(struct text *text, const struct record *record);

#endif
