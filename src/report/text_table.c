#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
#include "base/units.h"
#include "report/text.h"

/* Writes `from` with control characters (base/plain.h) and invalid UTF-8 as \xNN. `to` must hold
 * four times its length and one. */
static void clean(char *to, const char *from)
{
    static const char digits[] = "0123456789abcdef";
    while (*from) {
        size_t length = plain_utf8(from);
        size_t escaped = length == 0 ? 1 : plain_control(from);
        if (escaped) {
            for (size_t i = 0; i < escaped; i++) {
                unsigned char byte = (unsigned char)from[i];
                *to++ = '\\';
                *to++ = 'x';
                *to++ = digits[byte >> 4];
                *to++ = digits[byte & 15];
            }
            from += escaped;
        } else {
            memcpy(to, from, length);
            to += length;
            from += length;
        }
    }
    *to = '\0';
}

/* Characters of a clean text: one terminal column each. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static char *format_clean(const char *format, va_list list)
{
    char *raw = NULL;
    if (vasprintf(&raw, format, list) < 0) {
        return NULL;
    }
    char *text = malloc(strlen(raw) * 4 + 1);
    if (text) {
        clean(text, raw);
    }
    free(raw);
    return text;
}

void text_paragraph(struct text *text, int indent, int hang, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *whole = format_clean(format, list);
    va_end(list);
    if (!whole) {
        text->failed = true;
        return;
    }
    size_t column = (size_t)indent;
    bool first = true;
    fprintf(text->out, "%*s", indent, "");
    for (char *word = whole; *word;) {
        size_t spaces = strspn(word, " ");
        size_t letters = strcspn(word + spaces, " ");
        char *end = word + spaces + letters;
        char after = *end;
        *end = '\0';
        size_t width = width_of(word);
        if (!first && column + width > TEXT_COLUMNS) {
            fprintf(text->out, "\n%*s", hang, "");
            column = (size_t)hang;
            word += spaces;
            width -= spaces;
        }
        fputs(word, text->out);
        column += width;
        first = false;
        *end = after;
        word = end;
    }
    fputc('\n', text->out);
    free(whole);
}

void table_init(struct table *table, const char *alignment)
{
    *table = (struct table){.alignment = alignment, .columns = strlen(alignment)};
}

void table_release(struct table *table)
{
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    table->cells = NULL;
    table->cell_count = 0;
    table->span_count = 0;
}

void table_span(struct table *table, size_t first, size_t count, const char *title)
{
    if (table->span_count < TABLE_SPANS) {
        struct table_span *span = &table->spans[table->span_count++];
        char cut[sizeof span->title / 4];
        snprintf(cut, sizeof cut, "%s", title);
        clean(span->title, cut);
        span->first = first;
        span->count = count;
    }
}

void table_cell(struct table *table, const char *format, ...)
{
    va_list list;
    char **cells = reallocarray(table->cells, table->cell_count + 1, sizeof *cells);
    if (!cells) {
        table->failed = true;
        return;
    }
    table->cells = cells;
    va_start(list, format);
    char *cell = format_clean(format, list);
    va_end(list);
    if (!cell) {
        table->failed = true;
        return;
    }
    table->cells[table->cell_count++] = cell;
}

#define GAP 2

static size_t widths_of(const struct table *table, size_t *widths)
{
    size_t all = 0;
    memset(widths, 0, sizeof *widths * TABLE_COLUMNS);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = width_of(table->cells[i]);
        size_t *column = &widths[i % table->columns];
        *column = width > *column ? width : *column;
    }
    for (size_t i = 0; i < table->span_count; i++) {
        const struct table_span *span = &table->spans[i];
        size_t width = (span->count - 1) * GAP, title = width_of(span->title);
        for (size_t c = span->first; c < span->first + span->count; c++) {
            width += widths[c];
        }
        if (title > width) {
            widths[span->first] += title - width;
        }
    }
    for (size_t c = 0; c < table->columns; c++) {
        all += widths[c] + (c ? GAP : 0);
    }
    return all;
}

size_t table_width(struct table *table)
{
    size_t widths[TABLE_COLUMNS];
    return widths_of(table, widths);
}

static void print_spans(const struct table *table, const size_t *widths, FILE *out)
{
    size_t at = 0, start = 2; /* where the cursor is, where the column starts */
    for (size_t c = 0, s = 0; c < table->columns && s < table->span_count; c++) {
        const struct table_span *span = &table->spans[s];
        if (span->first == c) {
            size_t width = (span->count - 1) * GAP;
            for (size_t i = c; i < c + span->count; i++) {
                width += widths[i];
            }
            /* "--- title ---" as wide as its columns, so that it is seen what belongs to it. */
            size_t title = width_of(span->title);
            size_t rules = width >= title + 4 ? width - title - 2 : 0;
            fprintf(out, "%*s", (int)(start - at), "");
            for (size_t i = 0; i < rules / 2; i++) {
                fputs("-", out);
            }
            fprintf(out, rules ? " %s " : "%s", span->title);
            for (size_t i = 0; i < rules - rules / 2; i++) {
                fputs("-", out);
            }
            at = start + (rules ? width : title);
            s++;
        }
        start += widths[c] + GAP;
    }
    fputc('\n', out);
}

static size_t blanks_at_end(const char *text)
{
    size_t length = strlen(text), blanks = 0;
    while (blanks < length && text[length - 1 - blanks] == ' ') {
        blanks++;
    }
    return blanks;
}

void table_print(struct table *table, struct text *text)
{
    size_t widths[TABLE_COLUMNS];
    text->failed |= table->failed;
    if (!table->failed) {
        widths_of(table, widths);
        if (table->span_count) {
            print_spans(table, widths, text->out);
        }
        size_t pending = 0; /* spaces not printed yet: none at the end of a line */
        for (size_t i = 0; i < table->cell_count; i++) {
            size_t c = i % table->columns;
            size_t width = width_of(table->cells[i]), padding = widths[c] - width;
            bool right = table->alignment[c] == 'r';
            pending += GAP + (right ? padding : 0);
            size_t blanks = blanks_at_end(table->cells[i]);
            if (width > blanks) {
                fprintf(text->out, "%*s%.*s", (int)pending, "",
                        (int)(strlen(table->cells[i]) - blanks), table->cells[i]);
                pending = blanks;
            } else {
                pending += width;
            }
            pending += right ? 0 : padding;
            if (c + 1 == table->columns || i + 1 == table->cell_count) {
                fputc('\n', text->out);
                pending = 0;
            }
        }
    }
    table_release(table);
}

const char *text_value(char *to, size_t size, double value, const char *unit)
{
    char number[UNITS_TEXT_MAX];
    if (!isfinite(value)) {
        snprintf(to, size, "-");
    } else if (!strcmp(unit, "ns")) {
        snprintf(to, size, "%s", units_duration(number, value));
    } else if (!strcmp(unit, "bytes")) {
        snprintf(to, size, "%s", units_bytes(number, value));
    } else if (!strcmp(unit, "bytes/s")) {
        snprintf(to, size, "%s/s", units_bytes(number, value));
    } else if (!strcmp(unit, "bits/s") || !strcmp(unit, "bit/s") || !strcmp(unit, "Hz")) {
        snprintf(to, size, "%s", units_si(number, value, unit));
    } else if (!strcmp(unit, "1/s") || !strcmp(unit, "1") || !*unit) {
        snprintf(to, size, "%s", units_count(number, value));
    } else {
        snprintf(to, size, "%s %s", units_count(number, value), unit);
    }
    return to;
}

const char *text_share(char *to, size_t size, double share)
{
    double percent = share * 100;
    if (!isfinite(percent)) {
        snprintf(to, size, "-");
    } else if (percent == 0 || percent >= 99.95) {
        snprintf(to, size, "%.0f %%", percent);
    } else if (percent < 0.05) {
        snprintf(to, size, "<0.1 %%");
    } else {
        snprintf(to, size, "%.1f %%", percent);
    }
    return to;
}

const char *text_title(const struct metric *metric)
{
    return metric->title && metric->title[0] ? metric->title : metric->key;
}
