#include "run/sweep_values.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

static const char option_name[] = "--vary";

/* A factor so near to 1 that most products round to the value before is a mistake. */
#define TRIES_MAX ((size_t)10 * SWEEP_POINTS_MAX)

/* One dimension while it is being read. */
struct reader {
    struct sweep_dimension *dimension;
    const struct opt_set *sets;
    size_t set_count;
    const char *shown; /* the whole NAME=VALUES, for errors */
    struct err *error;
};

static int refuse(struct reader *reader, const char *problem, const char *part, const char *hint)
{
    err_set(reader->error, ERR_USAGE, option_name, "\"%.100s\": %s%s%.60s%s", reader->shown,
            problem, part ? " \"" : "", part ? part : "", part ? "\"" : "");
    return err_hint(reader->error, "%s", hint);
}

static int refuse_memory(struct reader *reader)
{
    return err_system(reader->error, ENOMEM, option_name, "cannot keep the values");
}

const struct opt *sweep_find_row(const struct opt_set *sets, size_t set_count, const char *name)
{
    bool negated = strncmp(name, "no-", 3) == 0;
    for (size_t s = 0; s < set_count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            const struct opt *row = &sets[s].rows[r];
            if (strcmp(row->name, name) == 0 ||
                (row->letter && name[0] == row->letter && !name[1]) ||
                (negated && strcmp(row->name, name + 3) == 0 && opt_has_negation(row))) {
                return row;
            }
        }
    }
    return NULL;
}

/* Says which option was probably meant. */
static int refuse_name(struct reader *reader, const char *name)
{
    size_t count = 0;
    for (size_t s = 0; s < reader->set_count; s++) {
        count += reader->sets[s].count;
    }
    const char **names = calloc(count + 1, sizeof *names);
    if (!names) {
        return refuse_memory(reader);
    }
    count = 0;
    for (size_t s = 0; s < reader->set_count; s++) {
        for (size_t r = 0; r < reader->sets[s].count; r++) {
            names[count++] = reader->sets[s].rows[r].name;
        }
    }
    const char *nearest = opt_nearest(name, names, count);
    char hint[160];
    snprintf(hint, sizeof hint,
             nearest ? "did you mean %s?"
                     : "its --help lists them; @1 is its first argument that is no option",
             nearest);
    free(names);
    return refuse(reader, "the command has no option", name, hint);
}

/* The end of the part that begins at `text`: the next `stop` without a backslash, or the end. */
static char *part_end(char *text, char stop)
{
    while (*text && *text != stop) {
        text += text[0] == '\\' && text[1] ? 2 : 1;
    }
    return text;
}

/* Removes the backslashes. */
static void unescape(char *text)
{
    char *to = text;
    while (*text) {
        text += text[0] == '\\' && text[1];
        *to++ = *text++;
    }
    *to = '\0';
}

static bool numeric(const struct opt *row)
{
    return row && (row->type == OPT_TYPE_COUNT || row->type == OPT_TYPE_SIZE ||
                   row->type == OPT_TYPE_DURATION || row->type == OPT_TYPE_RATE);
}

static int parse_number(const struct opt *row, const char *text, uint64_t *whole, double *number)
{
    int result = row->type == OPT_TYPE_COUNT      ? units_parse_count(text, whole)
                 : row->type == OPT_TYPE_SIZE     ? units_parse_size(text, whole)
                 : row->type == OPT_TYPE_DURATION ? units_parse_duration(text, whole)
                                                  : units_parse_rate(text, number);
    if (row->type != OPT_TYPE_RATE && result == 0) {
        *number = (double)*whole;
    }
    return result;
}

static void print_number(const struct opt *row, uint64_t whole, double number, char *to)
{
    if (row->type == OPT_TYPE_COUNT) {
        units_exact_count(to, whole);
    } else if (row->type == OPT_TYPE_SIZE) {
        units_exact_size(to, whole);
    } else if (row->type == OPT_TYPE_DURATION) {
        units_exact_duration(to, whole);
    } else {
        units_exact_rate(to, number);
    }
}

/* The words behind a value: "+socket-buffers+pipe-size=1m" (without the first plus, terminated).
 * `extras` is left as it was. */
static int add_extras(struct reader *reader, struct sweep_value *value, const char *extras)
{
    char *copy = strdup(extras);
    int result = copy ? 0 : refuse_memory(reader);
    for (char *part = copy; result == 0 && *part;) {
        char *end = part_end(part, '+');
        char *next = *end ? end + 1 : end;
        *end = '\0';
        unescape(part);
        size_t name_length = strcspn(part, "=");
        char name[OPT_SET_ROWS_MAX + 1];
        snprintf(name, sizeof name, "%.*s", (int)name_length, part);
        const struct opt *row = sweep_find_row(reader->sets, reader->set_count, name);
        char *word = NULL;
        if (!row || name_length < 2) {
            result = refuse_name(reader, name);
        } else if (!part[name_length] && row->type != OPT_TYPE_BOOL && !row->optional) {
            result = refuse(reader, "a value is missing after", part, "write +OPTION=VALUE");
        } else if (asprintf(&word, "--%s", part) < 0) {
            result = refuse_memory(reader);
        } else {
            value->words[value->word_count++] = word;
        }
        part = next;
    }
    free(copy);
    return result;
}

static size_t count_plus(const char *text)
{
    size_t count = 0;
    for (; *text; text++) {
        count += *text == '+';
    }
    return count;
}

/* Fit to name a point wherever results are read back. */
static bool is_plain(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            return false;
        }
    }
    return length > 0 && length <= 100 && text[0] != ' ' && text[length - 1] != ' ';
}

/* Appends one value; number is NaN where it has none. */
static int add_value(struct reader *reader, const char *text, double number, const char *extras)
{
    struct sweep_dimension *dimension = reader->dimension;
    if (dimension->value_count >= SWEEP_POINTS_MAX) {
        return refuse(reader, "more than 100,000 values", NULL, "take larger steps");
    }
    struct sweep_value *values =
        (dimension->value_count & (dimension->value_count - 1)) == 0
            ? reallocarray(dimension->values,
                           dimension->value_count ? dimension->value_count * 2 : 1, sizeof *values)
            : dimension->values;
    if (!values) {
        return refuse_memory(reader);
    }
    dimension->values = values;
    struct sweep_value *value = &values[dimension->value_count++];
    *value = (struct sweep_value){.number = number};
    value->words = calloc(count_plus(extras) + 2, sizeof *value->words);
    char *word = NULL;
    int made = dimension->row ? asprintf(&word, "--%s=%s", dimension->row->name, text)
                              : asprintf(&word, "%s", text);
    if (made < 0 || !value->words) {
        free(made < 0 ? NULL : word);
        return refuse_memory(reader);
    }
    value->words[value->word_count++] = word;
    if (asprintf(&value->text, "%s%s%s", text, *extras ? "+" : "", extras) < 0) {
        value->text = NULL;
        return refuse_memory(reader);
    }
    unescape(value->text);
    if (!is_plain(value->text)) {
        return refuse(reader, "a value of other than 1 to 100 visible ASCII characters", NULL,
                      "it names the point in tables and records");
    }
    return add_extras(reader, value, extras);
}

/* A..B, terminated parts: `factor` or `step` as typed, NULL where not given. */
struct range {
    const char *first, *last, *factor, *step, *extras;
};

static int range_numbers(struct reader *reader, const struct range *range, uint64_t whole[3],
                         double number[3], double *factor)
{
    const struct opt *row = reader->dimension->row;
    const char *ends[] = {range->first, range->last};
    for (int i = 0; i < 2; i++) {
        if (parse_number(row, ends[i], &whole[i], &number[i]) < 0) {
            return refuse(reader, "not an end of a range:", ends[i], "write A..B, such as 1k..16m");
        }
    }
    if (number[0] > number[1]) {
        return refuse(reader, "an empty range from", range->first, "write the smaller end first");
    }
    whole[2] = 0;
    number[2] = 0;
    if (range->step &&
        (parse_number(row, range->step, &whole[2], &number[2]) < 0 || number[2] <= 0)) {
        return refuse(reader, "not a step:", range->step, "write A..B+STEP with a step above 0");
    }
    if (range->factor && (units_parse_rate(range->factor, factor) < 0 || !(*factor > 1))) {
        return refuse(reader, "not a factor:", range->factor,
                      "write A..B*FACTOR with a factor above 1");
    }
    if (!range->step && number[0] <= 0) {
        return refuse(reader, "0 multiplied stays 0:", range->first, "write A..B+STEP");
    }
    return 0;
}

/* Each value follows from its index, so that rounding does not add up. Up to the last one that is
 * not above B, like seq(1). */
static int add_range(struct reader *reader, const struct range *range)
{
    const struct opt *row = reader->dimension->row;
    uint64_t whole[3] = {0}, before = 0;
    double number[3], factor = 2;
    if (range_numbers(reader, range, whole, number, &factor) < 0) {
        return -1;
    }
    for (size_t i = 0; i < TRIES_MAX; i++) {
        long double exact =
            range->step ? (long double)number[0] + (long double)i * (long double)number[2]
                        : (long double)number[0] * powl((long double)factor, (long double)i);
        uint64_t next = 0;
        if (row->type == OPT_TYPE_RATE) {
            /* 1..2+0.1 has eleven values, whatever the last digit of a binary fraction. */
            if (exact > (long double)number[1] * (1 + 1e-12L)) {
                return 0;
            }
            char digits[64];
            snprintf(digits, sizeof digits, "%.15Lg", exact); /* 1.9, not 1.9000000000000001 */
            exact = strtod(digits, NULL);
        } else if (range->step) {
            if (i > 0 && (whole[1] - before < whole[2])) {
                return 0;
            }
            next = i > 0 ? before + whole[2] : whole[0];
        } else {
            exact = roundl(exact);
            if (exact > (long double)whole[1]) {
                return 0;
            }
            next = i > 0 ? (uint64_t)exact : whole[0];
            if (i > 0 && next <= before) {
                continue; /* 1..10*1.1: what rounds to the same whole number is there already */
            }
        }
        char text[UNITS_TEXT_MAX];
        print_number(row, next, (double)exact, text);
        if (add_value(reader, text, row->type == OPT_TYPE_RATE ? (double)exact : (double)next,
                      range->extras) < 0) {
            return -1;
        }
        before = next;
    }
    return refuse(reader, "far too many values:", range->factor, "take a larger factor");
}

static bool begins_number(const char *text)
{
    return (*text >= '0' && *text <= '9') || *text == '.';
}

/* One item of the list, which is cut into its parts in place. */
static int add_item(struct reader *reader, char *item)
{
    const struct opt *row = reader->dimension->row;
    char *head_end = part_end(item, '+');
    char *extras = *head_end ? head_end + 1 : head_end;
    *head_end = '\0';
    char *dots = numeric(row) ? strstr(item, "..") : NULL;
    if (!*item) {
        return refuse(reader, "an empty value", NULL, "write VALUE,VALUE or A..B");
    }
    if (dots) {
        struct range range = {.first = item, .last = dots + 2};
        *dots = '\0';
        char *star = strchr(dots + 2, '*');
        if (star) {
            *star = '\0';
            range.factor = star + 1;
        } else if (begins_number(extras)) {
            char *step_end = part_end(extras, '+');
            range.step = extras;
            extras = *step_end ? step_end + 1 : step_end;
            *step_end = '\0';
        }
        range.extras = extras;
        return add_range(reader, &range);
    }
    unescape(item);
    if (!row && item[0] == '-' && item[1]) {
        return refuse(reader, "not an argument but an option:", item, "vary it by its name");
    }
    uint64_t whole = 0;
    double number = NAN;
    char exact[UNITS_TEXT_MAX];
    if (numeric(row) && parse_number(row, item, &whole, &number) == 0) {
        print_number(row, whole, number, exact);
        return add_value(reader, exact, number, extras);
    }
    return add_value(reader, item, NAN, extras);
}

static int compare_numbers(const void *a, const void *b)
{
    const struct sweep_value *first = a, *second = b;
    int order = (first->number > second->number) - (first->number < second->number);
    return order ? order : strcmp(first->text, second->text);
}

/* Numbers rise, in whatever order they were typed: so do the rows of a table and the points of a
 * line. */
static void sort_numbers(struct sweep_dimension *dimension)
{
    for (size_t i = 0; i < dimension->value_count; i++) {
        if (isnan(dimension->values[i].number)) {
            return;
        }
    }
    qsort(dimension->values, dimension->value_count, sizeof *dimension->values, compare_numbers);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_unique(struct reader *reader)
{
    const struct sweep_dimension *dimension = reader->dimension;
    const char **texts = calloc(dimension->value_count, sizeof *texts);
    int result = texts ? 0 : refuse_memory(reader);
    for (size_t i = 0; texts && i < dimension->value_count; i++) {
        texts[i] = dimension->values[i].text;
    }
    if (texts) {
        qsort(texts, dimension->value_count, sizeof *texts, compare_texts);
    }
    for (size_t i = 1; result == 0 && i < dimension->value_count; i++) {
        if (strcmp(texts[i - 1], texts[i]) == 0) {
            result = refuse(reader, "the same value twice:", texts[i], "--repeat repeats runs");
        }
    }
    free(texts);
    return result;
}

/* "buffer" or "@2" */
static int parse_name(struct reader *reader, const char *name)
{
    struct sweep_dimension *dimension = reader->dimension;
    uint64_t position;
    name += strspn(name, "-") == 2 ? 2 : 0;
    if (name[0] == '@') {
        if (units_parse_count(name + 1, &position) < 0 || position < 1 || position > 64) {
            return refuse(reader, "no such argument:", name, "@1 is the first that is no option");
        }
        dimension->position = position;
    } else if (!name[0]) {
        return refuse(reader, "no name", NULL, "write NAME=VALUES");
    } else {
        dimension->row = sweep_find_row(reader->sets, reader->set_count, name);
        if (!dimension->row || strncmp(name, "no-", 3) == 0) {
            return refuse_name(reader, name);
        }
        name = dimension->row->name;
    }
    dimension->name = strdup(name);
    return dimension->name ? 0 : refuse_memory(reader);
}

int sweep_values_parse(struct sweep_dimension *dimension, const struct opt_set *sets,
                       size_t set_count, const char *text, size_t length, struct err *error)
{
    char *whole = strndup(text, length), *work = strndup(text, length);
    struct reader reader = {dimension, sets, set_count, whole, error};
    char *equals = work ? strchr(work, '=') : NULL;
    int result = 0;
    *dimension = (struct sweep_dimension){0};
    if (!whole || !work) {
        reader.shown = "";
        result = refuse_memory(&reader);
    } else if (!equals) {
        result = refuse(&reader, "no values", NULL, "write NAME=VALUES, such as size=1..64*8");
    } else {
        *equals = '\0';
        result = parse_name(&reader, work);
    }
    for (char *item = equals ? equals + 1 : NULL; result == 0 && item;) {
        char *end = part_end(item, ',');
        bool last = !*end;
        *end = '\0';
        result = add_item(&reader, item);
        item = last ? NULL : end + 1;
    }
    if (result == 0) {
        sort_numbers(dimension);
        result = check_unique(&reader);
    }
    free(whole);
    free(work);
    return result;
}

void sweep_values_release(struct sweep_dimension *dimension)
{
    for (size_t i = 0; i < dimension->value_count; i++) {
        struct sweep_value *value = &dimension->values[i];
        for (size_t w = 0; w < value->word_count; w++) {
            free(value->words[w]);
        }
        free(value->words);
        free(value->text);
    }
    free(dimension->values);
    free(dimension->name);
    *dimension = (struct sweep_dimension){0};
}
