#include "base/opt.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/units.h"

#define HELP_COLUMNS 100
#define LABEL_COLUMNS_MAX 32
#define TEXT_MAX 1024

/* A text that grows inside a fixed buffer and is cut at its end. */
struct text {
    char *to;
    size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text->to + text->used, text->size - text->used, format, list);
    va_end(list);
    if (length > 0) {
        text->used += (size_t)length;
        text->used = text->used < text->size ? text->used : text->size - 1;
    }
}

const char *opt_argument_name(const struct opt *row)
{
    if (row->type == OPT_TYPE_BOOL) {
        return NULL;
    }
    if (row->argument != NULL) {
        return row->argument;
    }
    switch (row->type) {
    case OPT_TYPE_COUNT:
        return "N";
    case OPT_TYPE_SIZE:
        return "SIZE";
    case OPT_TYPE_DURATION:
        return "TIME";
    case OPT_TYPE_RATE:
        return "RATE";
    case OPT_TYPE_CHOICE:
    case OPT_TYPE_LIST:
        return "NAME";
    default:
        return "TEXT";
    }
}

bool opt_has_negation(const struct opt *row)
{
    return row->type == OPT_TYPE_BOOL && row->initial != NULL && strcmp(row->initial, "yes") == 0;
}

/* A bound as the user would type it. */
static const char *write_bound(const struct opt *row, char *to, uint64_t bound)
{
    switch (row->type) {
    case OPT_TYPE_SIZE:
        return units_exact_size(to, bound);
    case OPT_TYPE_DURATION:
        return units_exact_duration(to, bound);
    default:
        return units_exact_count(to, bound);
    }
}

static bool has_bounds(const struct opt *row)
{
    bool number = row->type == OPT_TYPE_COUNT || row->type == OPT_TYPE_SIZE ||
                  row->type == OPT_TYPE_DURATION || row->type == OPT_TYPE_RATE;
    return number && (row->least != 0 || row->most != 0);
}

static void append_bounds(struct text *text, const struct opt *row)
{
    char least[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
    write_bound(row, least, row->least);
    if (row->most != 0) {
        append(text, "%s to %s", least, write_bound(row, most, row->most));
    } else {
        append(text, "%s or more", least);
    }
}

static void append_choices(struct text *text, const struct opt *row)
{
    for (size_t i = 0; row->choices[i] != NULL; i++) {
        append(text, "%s%s", i > 0 ? ", " : "", row->choices[i]);
    }
}

/* " such as 64k": how the values of this type are written, by those that the row takes. */
static void append_examples(struct text *text, const struct opt *row)
{
    static const struct {
        enum opt_type type;
        const char *text;
        uint64_t value;
    } examples[] = {
        {OPT_TYPE_COUNT, "20k", 20000},        {OPT_TYPE_SIZE, "64k", 64 << 10},
        {OPT_TYPE_DURATION, "5s", 5000000000}, {OPT_TYPE_DURATION, "10ms", 10000000},
        {OPT_TYPE_RATE, "10k", 10000},
    };
    const char *before = " such as";
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        bool fits =
            examples[i].value >= row->least && (row->most == 0 || examples[i].value <= row->most);
        if (examples[i].type == row->type && fits) {
            append(text, "%s %s", before, examples[i].text);
            before = " or";
        }
    }
}

const char *opt_accepts(const struct opt *row, char *to, size_t size)
{
    static const char *const kinds[] = {
        [OPT_TYPE_BOOL] = "yes or no",
        [OPT_TYPE_COUNT] = "a whole number",
        [OPT_TYPE_SIZE] = "a size",
        [OPT_TYPE_DURATION] = "a duration",
        [OPT_TYPE_RATE] = "a rate per second",
        [OPT_TYPE_LIST] = "a comma-separated list",
    };
    struct text text = {.to = to, .size = size};
    if (row->type == OPT_TYPE_CHOICE) {
        append_choices(&text, row);
    } else if (row->type == OPT_TYPE_TEXT || row->type == OPT_TYPE_CUSTOM) {
        append(&text, "%s", opt_argument_name(row));
    } else {
        append(&text, "%s", row->whole ? "a text" : kinds[row->type]);
        append_examples(&text, row);
    }
    if (row->type == OPT_TYPE_LIST && row->choices != NULL) {
        append(&text, " of ");
        append_choices(&text, row);
    }
    if (has_bounds(row)) {
        append(&text, ", ");
        append_bounds(&text, row);
    }
    return to;
}

const char *opt_describe(const struct opt *row, char *to, size_t size)
{
    struct text text = {.to = to, .size = size};
    append(&text, "%s", row->help != NULL ? row->help : "");
    if ((row->type == OPT_TYPE_CHOICE || row->type == OPT_TYPE_LIST) && row->choices != NULL) {
        append(&text, " (");
        append_choices(&text, row);
        append(&text, ")");
    } else if (has_bounds(row) && (row->most != 0 || row->least > 1)) {
        append(&text, " (");
        append_bounds(&text, row);
        append(&text, ")");
    }
    /* Off is what everybody expects of a boolean. */
    bool off = row->type == OPT_TYPE_BOOL && !opt_has_negation(row);
    if (row->initial != NULL && row->initial[0] != '\0' && !off) {
        append(&text, " [%s]", row->initial);
    }
    return to;
}

void opt_print_value(const struct opt *row, const void *target, FILE *out)
{
    const void *member = (const char *)target + row->offset;
    char text[UNITS_TEXT_MAX];
    switch (row->type) {
    case OPT_TYPE_BOOL:
        fputs(*(const bool *)member ? "yes" : "no", out);
        break;
    case OPT_TYPE_COUNT:
        fprintf(out, "%" PRIu64, *(const uint64_t *)member);
        break;
    case OPT_TYPE_SIZE:
        fputs(units_exact_size(text, *(const uint64_t *)member), out);
        break;
    case OPT_TYPE_DURATION:
        fputs(units_exact_duration(text, *(const uint64_t *)member), out);
        break;
    case OPT_TYPE_RATE:
        fputs(units_exact_rate(text, *(const double *)member), out);
        break;
    case OPT_TYPE_TEXT: {
        const char *value = *(const char *const *)member;
        fputs(value != NULL ? value : "", out);
        break;
    }
    case OPT_TYPE_CHOICE:
        fputs(row->choices[*(const uint32_t *)member], out);
        break;
    case OPT_TYPE_LIST: {
        const struct opt_list *list = member;
        for (size_t i = 0; i < list->count; i++) {
            fprintf(out, "%s%s", i == 0 ? "" : row->whole ? "\n" : ",", list->items[i]);
        }
        break;
    }
    case OPT_TYPE_CUSTOM:
        row->print(member, out);
        break;
    }
}

/* Columns that a UTF-8 text of narrow characters takes. */
static size_t columns(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

static size_t write_label(const struct opt *row, char *to, size_t size)
{
    struct text text = {.to = to, .size = size};
    const char *argument = opt_argument_name(row);
    append(&text, "  ");
    if (row->letter != 0) {
        append(&text, "-%c, ", row->letter);
    } else {
        append(&text, "    ");
    }
    append(&text, "--%s%s", opt_has_negation(row) ? "[no-]" : "", row->name);
    if (argument != NULL) {
        append(&text, row->optional != NULL ? "[=%s]" : "=%s", argument);
    }
    return columns(to, strlen(to));
}

/* Writes `text` by words from column `at` of the current line on; further lines begin at `at`. */
static void print_wrapped(const char *text, size_t at, FILE *out)
{
    size_t column = at;
    while (*text != '\0') {
        text += strspn(text, " ");
        size_t length = strcspn(text, " ");
        size_t width = columns(text, length);
        if (length == 0) {
            break;
        }
        if (column > at && column + 1 + width > HELP_COLUMNS) {
            fprintf(out, "\n%*s", (int)at, "");
            column = at;
        }
        fprintf(out, "%s%.*s", column > at ? " " : "", (int)length, text);
        column += width + (column > at);
        text += length;
    }
    fputc('\n', out);
}

static void print_row(const struct opt *row, size_t label_columns, FILE *out)
{
    char label[TEXT_MAX], text[TEXT_MAX];
    size_t width = write_label(row, label, sizeof label);
    fputs(label, out);
    if (width > label_columns) {
        fputc('\n', out);
        width = 0;
    }
    fprintf(out, "%*s", (int)(label_columns + 2 - width), "");
    print_wrapped(opt_describe(row, text, sizeof text), label_columns + 2, out);
}

void opt_print_help(const struct opt_set *sets, size_t set_count, FILE *out)
{
    char label[TEXT_MAX];
    size_t widest = 0;
    for (size_t s = 0; s < set_count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            size_t width = write_label(&sets[s].rows[r], label, sizeof label);
            widest = width > widest && width <= LABEL_COLUMNS_MAX ? width : widest;
        }
    }
    bool first = true;
    for (size_t s = 0; s < set_count; s++) {
        if (sets[s].count == 0) {
            continue;
        }
        fprintf(out, "%s%s:\n", first ? "" : "\n", sets[s].title);
        first = false;
        for (size_t r = 0; r < sets[s].count; r++) {
            print_row(&sets[s].rows[r], widest, out);
        }
    }
}

/* Longest name that opt_nearest compares: rows of the distance table lie on the stack. */
#define NEAREST_MAX 64

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits between two texts: insert, remove, replace, or swap two neighbours. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][NEAREST_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++) {
        above[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least_of(replaced, least_of(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least_of(row[j], before[j - 2] + 1);
            }
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_length];
}

const char *opt_nearest(const char *typed, const char *const *names, size_t count)
{
    size_t length = strnlen(typed, NEAREST_MAX + 1);
    if (length == 0 || length > NEAREST_MAX) {
        return NULL;
    }
    size_t best = length / 3 > 1 ? length / 3 : 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t name_length = strnlen(names[i], NEAREST_MAX + 1);
        if (name_length > NEAREST_MAX) {
            continue;
        }
        size_t edits = distance(typed, length, names[i], name_length);
        if (edits < best || (edits == best && nearest == NULL)) {
            best = edits;
            nearest = names[i];
        }
    }
    return nearest;
}
