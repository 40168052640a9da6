#include "base/opt_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"
#include "base/units.h"

struct opt_label opt_label(const struct opt *row, bool by_letter)
{
    struct opt_label label;
    if (by_letter) {
        snprintf(label.text, sizeof label.text, "-%c/--%s", row->letter, row->name);
    } else {
        snprintf(label.text, sizeof label.text, "--%s", row->name);
    }
    return label;
}

struct opt_quoted opt_quote(const char *text, size_t length)
{
    struct opt_quoted quoted;
    size_t kept = length <= OPT_NAME_MAX ? length : OPT_NAME_MAX;
    while (kept < length && kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80) {
        kept--; /* not in the middle of a UTF-8 character */
    }
    memcpy(quoted.text, text, kept);
    quoted.text[kept] = '\0';
    char *to = quoted.text;
    for (const char *from = quoted.text; *from;) {
        size_t shown = plain_utf8(from), control = plain_control(from);
        if (shown == 0 || control) {
            *to++ = '?';
            from += control ? control : 1;
        } else {
            memmove(to, from, shown);
            to += shown;
            from += shown;
        }
    }
    snprintf(to, 4, "%s", kept < length ? "..." : "");
    return quoted;
}

void *opt_member(const struct opt *row, void *target)
{
    return (char *)target + row->offset;
}

static size_t count_choices(const struct opt *row)
{
    size_t count = 0;
    while (row->choices != NULL && row->choices[count] != NULL) {
        count++;
    }
    return count;
}

int opt_hint_accepts(const struct opt *row, const char *nearest, struct err *error)
{
    char accepts[sizeof error->hint];
    opt_accepts(row, accepts, sizeof accepts);
    if (nearest != NULL) {
        return err_hint(error, "did you mean %s? accepts %s", nearest, accepts);
    }
    return err_hint(error, "accepts %s", accepts);
}

static const char *what_it_should_be(const struct opt *row)
{
    switch (row->type) {
    case OPT_TYPE_COUNT:
        return "a whole number";
    case OPT_TYPE_SIZE:
        return "a size";
    case OPT_TYPE_DURATION:
        return "a duration";
    case OPT_TYPE_RATE:
        return "a rate";
    case OPT_TYPE_BOOL:
        return "yes or no";
    default:
        return "a value that it takes";
    }
}

static int refuse_value(const struct opt *row, const char *label, const char *value,
                        struct err *error)
{
    struct opt_quoted shown = opt_quote(value, strlen(value));
    err_set(error, ERR_USAGE, label, "\"%s\" is not %s", shown.text, what_it_should_be(row));
    return opt_hint_accepts(row, NULL, error);
}

static int refuse_bound(const struct opt *row, const char *label, const char *value,
                        const char *problem, struct err *error)
{
    struct opt_quoted shown = opt_quote(value, strlen(value));
    err_set(error, ERR_USAGE, label, "%s is too %s", shown.text, problem);
    return opt_hint_accepts(row, NULL, error);
}

static int refuse_choice(const struct opt *row, const char *label, const char *value,
                         struct err *error)
{
    struct opt_quoted shown = opt_quote(value, strlen(value));
    const char *nearest = opt_nearest(value, row->choices, count_choices(row));
    err_set(error, ERR_USAGE, label, "unknown value \"%s\"", shown.text);
    return opt_hint_accepts(row, nearest, error);
}

static int refuse_memory(const char *label, struct err *error)
{
    return err_system(error, ENOMEM, label, "cannot store the value");
}

static int set_bool(const struct opt *row, bool *member, const char *label, const char *value,
                    struct err *error)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        return refuse_value(row, label, value, error);
    }
    *member = value[0] == 'y';
    return 0;
}

static int set_whole(const struct opt *row, uint64_t *member, const char *label, const char *value,
                     struct err *error)
{
    uint64_t number = 0;
    int result = row->type == OPT_TYPE_COUNT  ? units_parse_count(value, &number)
                 : row->type == OPT_TYPE_SIZE ? units_parse_size(value, &number)
                                              : units_parse_duration(value, &number);
    if (result != 0 && errno != ERANGE) {
        return refuse_value(row, label, value, error);
    }
    if (result != 0 || (row->most != 0 && number > row->most)) {
        return refuse_bound(row, label, value, "large", error);
    }
    if (number < row->least) {
        return refuse_bound(row, label, value, "small", error);
    }
    *member = number;
    return 0;
}

static int set_rate(const struct opt *row, double *member, const char *label, const char *value,
                    struct err *error)
{
    double number = 0;
    int result = units_parse_rate(value, &number);
    if (result != 0 && errno != ERANGE) {
        return refuse_value(row, label, value, error);
    }
    if (result != 0 || (row->most != 0 && number > (double)row->most)) {
        return refuse_bound(row, label, value, "large", error);
    }
    if (number < (double)row->least) {
        return refuse_bound(row, label, value, "small", error);
    }
    *member = number;
    return 0;
}

static int set_choice(const struct opt *row, uint32_t *member, const char *label, const char *value,
                      struct err *error)
{
    for (uint32_t i = 0; row->choices[i] != NULL; i++) {
        if (strcmp(value, row->choices[i]) == 0) {
            *member = i;
            return 0;
        }
    }
    return refuse_choice(row, label, value, error);
}

void opt_list_release(struct opt_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct opt_list){0};
}

static int list_add(struct opt_list *list, const char *text, size_t length, const char *label,
                    struct err *error)
{
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (items == NULL) {
        return refuse_memory(label, error);
    }
    list->items = items;
    char *item = strndup(text, length);
    if (item == NULL) {
        return refuse_memory(label, error);
    }
    items[list->count++] = item;
    return 0;
}

/* Appends the comma-separated items of `value`. */
static int add_items(const struct opt *row, struct opt_list *list, const char *label,
                     const char *value, struct err *error)
{
    const char *at = value;
    for (;;) {
        size_t length = strcspn(at, row->whole ? "\n" : ",");
        if (length == 0) {
            err_set(error, ERR_USAGE, label, "\"%s\" holds an empty item",
                    opt_quote(value, strlen(value)).text);
            return opt_hint_accepts(row, NULL, error);
        }
        if (list_add(list, at, length, label, error) != 0) {
            return -1;
        }
        const char *item = list->items[list->count - 1];
        bool known = row->choices == NULL;
        for (size_t i = 0; !known && row->choices[i] != NULL; i++) {
            known = strcmp(item, row->choices[i]) == 0;
        }
        if (!known) {
            return refuse_choice(row, label, item, error);
        }
        if (at[length] == '\0') {
            return 0;
        }
        at += length + 1;
    }
}

/* The row's own parser says what is wrong; the option that it stands for is added here. */
static int set_custom(const struct opt *row, void *member, const char *label, const char *value,
                      struct err *error)
{
    struct err inner = {0};
    if (row->parse(value, member, &inner) == 0) {
        return 0;
    }
    if (inner.what[0] == '\0') {
        return refuse_value(row, label, value, error);
    }
    const char *separator = inner.subject[0] != '\0' ? ": " : "";
    err_set(error, ERR_USAGE, label, "%s%s%s", inner.subject, separator, inner.what);
    if (inner.hint[0] != '\0') {
        return err_hint(error, "%s", inner.hint);
    }
    return -1;
}

int opt_set_value(const struct opt *row, void *target, const char *label, const char *value,
                  struct err *error)
{
    void *member = opt_member(row, target);
    switch (row->type) {
    case OPT_TYPE_BOOL:
        return set_bool(row, member, label, value, error);
    case OPT_TYPE_COUNT:
    case OPT_TYPE_SIZE:
    case OPT_TYPE_DURATION:
        return set_whole(row, member, label, value, error);
    case OPT_TYPE_RATE:
        return set_rate(row, member, label, value, error);
    case OPT_TYPE_TEXT:
        *(const char **)member = value;
        return 0;
    case OPT_TYPE_CHOICE:
        return set_choice(row, member, label, value, error);
    case OPT_TYPE_LIST:
        return add_items(row, member, label, value, error);
    case OPT_TYPE_CUSTOM:
        return set_custom(row, member, label, value, error);
    }
    return err_set(error, ERR_UNSUPPORTED, label, "programming error: no such type of option");
}

void opt_clear_member(const struct opt *row, void *target)
{
    void *member = opt_member(row, target);
    switch (row->type) {
    case OPT_TYPE_BOOL:
        *(bool *)member = false;
        break;
    case OPT_TYPE_COUNT:
    case OPT_TYPE_SIZE:
    case OPT_TYPE_DURATION:
        *(uint64_t *)member = 0;
        break;
    case OPT_TYPE_RATE:
        *(double *)member = 0;
        break;
    case OPT_TYPE_TEXT:
        *(const char **)member = NULL;
        break;
    case OPT_TYPE_CHOICE:
        *(uint32_t *)member = 0;
        break;
    case OPT_TYPE_LIST:
        *(struct opt_list *)member = (struct opt_list){0};
        break;
    case OPT_TYPE_CUSTOM:
        break;
    }
}
