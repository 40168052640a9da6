#include "run/joined_record.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct joined_warning {
    char *text; /* owned: the first of its kind */
    size_t parts;
};

json_t *joined_record_json(const struct record *record)
{
    char *text = NULL;
    size_t length = 0;
    struct err ignored;
    FILE *memory = open_memstream(&text, &length);
    if (!memory) {
        return NULL;
    }
    int printed = printer_json.print(record, memory, &ignored);
    json_t *json = fclose(memory) == 0 && printed == 0 ? json_loadb(text, length, 0, NULL) : NULL;
    free(text);
    return json;
}

int joined_record_init(struct joined_record *joined, const struct record *record)
{
    *joined = (struct joined_record){.json = joined_record_json(record)};
    return joined->json ? 0 : -1;
}

/* The same but for its digits: "load 2.31" and "load 1.07" are one warning. */
static bool same_warning(const char *a, const char *b)
{
    static const char digits[] = "0123456789.,";
    while (*a && *b) {
        size_t in_a = strspn(a, digits), in_b = strspn(b, digits);
        if ((in_a > 0) != (in_b > 0) || (in_a == 0 && *a != *b)) {
            return false;
        }
        a += in_a ? in_a : 1;
        b += in_b ? in_b : 1;
    }
    return *a == *b;
}

static int add_warning(struct joined_record *joined, const char *text)
{
    size_t i = 0;
    while (i < joined->warning_count && !same_warning(joined->warnings[i].text, text)) {
        i++;
    }
    if (i == joined->warning_count) {
        struct joined_warning *rows = reallocarray(joined->warnings, i + 1, sizeof *rows);
        char *copy = strdup(text);
        joined->warnings = rows ? rows : joined->warnings;
        if (!rows || !copy) {
            free(copy);
            return -1;
        }
        rows[joined->warning_count++] = (struct joined_warning){copy, 0};
    }
    joined->warnings[i].parts++;
    return 0;
}

static bool same_error(json_t *a, json_t *b)
{
    return json_equal(json_object_get(a, "phase"), json_object_get(b, "phase")) &&
           json_equal(json_object_get(a, "errno"), json_object_get(b, "errno")) &&
           json_equal(json_object_get(a, "name"), json_object_get(b, "name"));
}

/* Equal ones added up. */
static int add_errors(json_t *sums, json_t *run)
{
    size_t index, at;
    json_t *row, *sum;
    json_array_foreach(json_object_get(run, "errors"), index, row)
    {
        json_t *found = NULL;
        json_array_foreach(sums, at, sum)
        {
            found = found || !same_error(sum, row) ? found : sum;
        }
        json_int_t count = json_integer_value(json_object_get(row, "count"));
        count += json_integer_value(json_object_get(found, "count"));
        if (!found) {
            found = json_copy(row);
            if (json_array_append_new(sums, found) < 0) {
                return -1;
            }
        }
        if (json_object_set_new(found, "count", json_integer(count)) < 0) {
            return -1;
        }
    }
    return 0;
}

int joined_record_add(struct joined_record *joined, json_t *part)
{
    json_t *runs = json_object_get(joined->json, "runs");
    json_t *errors = json_object_get(joined->json, "errors");
    json_t *operation = json_object_get(part, "operation"), *value;
    size_t index;
    joined->parts++;
    json_array_foreach(json_object_get(part, "runs"), index, value)
    {
        if (add_errors(errors, value) < 0 || json_array_append(runs, value) < 0) {
            return -1;
        }
    }
    json_array_foreach(json_object_get(part, "warnings"), index, value)
    {
        if (json_is_string(value) && add_warning(joined, json_string_value(value)) < 0) {
            return -1;
        }
    }
    return json_is_string(operation) ? json_object_set(joined->json, "operation", operation) : 0;
}

int joined_record_finish(struct joined_record *joined)
{
    json_t *list = json_object_get(joined->json, "warnings");
    int result = 0;
    for (size_t i = 0; result == 0 && i < joined->warning_count; i++) {
        const struct joined_warning *row = &joined->warnings[i];
        result = json_array_append_new(
            list, json_sprintf("%zu of %zu runs: %s", row->parts, joined->parts, row->text));
    }
    return result;
}

void joined_record_release(struct joined_record *joined)
{
    for (size_t i = 0; i < joined->warning_count; i++) {
        free(joined->warnings[i].text);
    }
    free(joined->warnings);
    json_decref(joined->json);
    *joined = (struct joined_record){.json = NULL};
}

int joined_record_write(const json_t *json, const char *path, struct err *error)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    if (!text) {
        return err_system(error, ENOMEM, "JSON", "cannot be made");
    }
    size_t length = strlen(text);
    text[length++] = '\n'; /* in place of the terminator */
    int status = record_write_text(text, length, path, error);
    free(text);
    return status;
}
