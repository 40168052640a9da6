#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/doctor.h"

enum { COLUMNS = 100, KEY_BYTES = 64 };

/* Columns that a text takes: its UTF-8 characters. */
static int columns(const char *text, size_t length)
{
    int count = 0;
    for (size_t i = 0; i < length; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

/* Writes words from column `at` on, further lines indented as much. A word that is longer than a
 * line is cut where the line ends. */
static void print_wrapped(FILE *out, int at, const char *text)
{
    int column = at;
    while (*text) {
        size_t length = strcspn(text, " ");
        int width = columns(text, length);
        if (column > at && column + 1 + width > COLUMNS) {
            fprintf(out, "\n%*s", at, "");
            column = at;
        } else if (column > at) {
            fputc(' ', out);
            column++;
        }
        while (width > COLUMNS - at) {
            size_t part = 0;
            int taken = 0;
            while (taken < COLUMNS - at || ((unsigned char)text[part] & 0xc0) == 0x80) {
                taken += ((unsigned char)text[part++] & 0xc0) != 0x80;
            }
            fprintf(out, "%.*s\n%*s", (int)part, text, at, "");
            text += part;
            length -= part;
            width -= taken;
        }
        fprintf(out, "%.*s", (int)length, text);
        column += width;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_items(const json_t *report, const char *section, const char *title, FILE *out)
{
    size_t i;
    json_t *item;
    int width = 0;
    const json_t *list = json_object_get(report, section);

    json_array_foreach(list, i, item)
    {
        int length = (int)json_string_length(json_object_get(item, "name"));
        width = length > width ? length : width;
    }
    fprintf(out, "\n%s\n", title);
    json_array_foreach(list, i, item)
    {
        const char *reason = json_string_value(json_object_get(item, "reason"));
        const char *fix = json_string_value(json_object_get(item, "fix"));
        bool serves = json_is_true(json_object_get(item, "serves"));
        int indent = 2 + width + 2 + 5;
        fprintf(out, "  %-*s  %-5s", width, json_string_value(json_object_get(item, "name")),
                serves ? "yes" : "no");
        print_wrapped(out, indent, json_string_value(json_object_get(item, "help")));
        if (reason) {
            fprintf(out, "%*swhy not: ", indent, "");
            print_wrapped(out, indent + 9, reason);
        }
        if (fix) {
            fprintf(out, "%*sto fix:  ", indent, "");
            print_wrapped(out, indent + 9, fix);
        }
    }
}

static bool cut_suffix(char *key, const char *suffix)
{
    size_t length = strlen(key), cut = strlen(suffix);
    if (length <= cut || strcmp(key + length - cut, suffix)) {
        return false;
    }
    key[length - cut] = '\0';
    return true;
}

/* Turns "clock_cost_ns" and its number into "clock cost" and "33.1 ns": the unit stands in the
 * key's suffix. */
static const char *describe(const char *name, const json_t *value, char *key, char *number)
{
    double real = json_number_value(value);
    const char *shown = number;

    snprintf(key, KEY_BYTES, "%s", name);
    bool bytes = cut_suffix(key, "_bytes"), ns = !bytes && cut_suffix(key, "_ns");
    bool share = !bytes && !ns && cut_suffix(key, "_share");
    for (char *at = key; *at; at++) {
        *at = *at == '_' ? ' ' : *at;
    }
    if (json_is_string(value)) {
        shown = json_string_value(value);
    } else if (!json_is_number(value)) {
        shown = "n/a (the kernel does not say)";
    } else if (bytes) {
        shown = units_bytes(number, real);
    } else if (ns) {
        shown = units_duration(number, real);
    } else if (share) {
        snprintf(number, UNITS_TEXT_MAX, "%.1f %% of CPU time", 100 * real);
    } else if (json_is_integer(value)) {
        snprintf(number, UNITS_TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        snprintf(number, UNITS_TEXT_MAX, "%.2f", real);
    }
    return shown;
}

static void print_pairs(const json_t *report, const char *section, const char *title, FILE *out)
{
    const char *name;
    json_t *value;
    char key[KEY_BYTES], number[UNITS_TEXT_MAX];

    fprintf(out, "\n%s\n", title);
    json_object_foreach((json_t *)json_object_get(report, section), name, value)
    {
        if (json_is_array(value)) {
            continue; /* warnings: they stand in the advice */
        }
        const char *shown = describe(name, value, key, number);
        fprintf(out, "  %-24s  ", key);
        print_wrapped(out, 28, shown);
    }
}

void doctor_print(const json_t *report, FILE *out)
{
    size_t i;
    json_t *line;
    const json_t *advice = json_object_get(report, "advice");

    fprintf(out, "sonde %s\n", json_string_value(json_object_get(report, "version")));
    print_items(report, "engines", "Engines (--engine)", out);
    print_items(report, "transports", "Transports (TARGET)", out);
    print_items(report, "probes", "Probes (--observe)", out);
    print_items(report, "build", "Build", out);
    print_pairs(report, "limits", "Limits", out);
    print_pairs(report, "machine", "Machine", out);
    print_pairs(report, "noise", "Noise", out);
    fprintf(out, "\nWhat to change\n");
    if (json_array_size(advice) == 0) {
        fprintf(out, "  nothing\n");
    }
    json_array_foreach(advice, i, line)
    {
        fprintf(out, "  - ");
        print_wrapped(out, 4, json_string_value(line));
    }
}
