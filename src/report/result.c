/* A record read back from JSON. What a file says is not trusted: every member's type is checked
 * before it is used, and no text of it reaches a message unless it is a plain name. */
#include "report/result.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/record.h"
#include "report/result_read.h"

#define FILE_BYTES_MOST ((size_t)1 << 30)
#define FAMILY "sonde.record/"

int result_wrong(struct result_reader *reader, const char *what, ...)
{
    char text[160];
    va_list list;
    if (!reader->failed) {
        reader->failed = true;
        va_start(list, what);
        vsnprintf(text, sizeof text, what, list);
        va_end(list);
        err_set(reader->error, ERR_USAGE, reader->name, "%s%s%s", reader->where,
                reader->where[0] ? ": " : "", text);
    }
    return -1;
}

int result_no_memory(struct result_reader *reader)
{
    if (!reader->failed) {
        reader->failed = true;
        err_system(reader->error, ENOMEM, reader->name, "cannot be read");
    }
    return -1;
}

static bool is_kind(const json_t *value, enum result_kind kind)
{
    switch (kind) {
    case RESULT_OBJECT:
        return json_is_object(value);
    case RESULT_ARRAY:
        return json_is_array(value);
    case RESULT_TEXT:
        return json_is_string(value);
    case RESULT_NUMBER:
        return json_is_number(value);
    case RESULT_BOOL:
        return json_is_boolean(value);
    }
    return false;
}

static const char *name_of_kind(enum result_kind kind)
{
    static const char *const names[] = {"an object", "an array", "a text", "a number",
                                        "true or false"};
    return names[kind];
}

static const char *name_of_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return name_of_kind(RESULT_OBJECT);
    case JSON_ARRAY:
        return name_of_kind(RESULT_ARRAY);
    case JSON_STRING:
        return name_of_kind(RESULT_TEXT);
    case JSON_INTEGER:
    case JSON_REAL:
        return name_of_kind(RESULT_NUMBER);
    case JSON_NULL:
        return "null";
    case JSON_TRUE:
    case JSON_FALSE:
        break;
    }
    return name_of_kind(RESULT_BOOL);
}

json_t *result_element(struct result_reader *reader, json_t *value, const char *what,
                       enum result_kind kind)
{
    if (reader->failed) {
        return NULL;
    }
    if (!is_kind(value, kind)) {
        result_wrong(reader, "%s is %s, not %s", what, name_of_type(value), name_of_kind(kind));
        return NULL;
    }
    return value;
}

json_t *result_member(struct result_reader *reader, const json_t *object, const char *key,
                      enum result_kind kind, bool required)
{
    json_t *value = json_object_get(object, key);
    if (reader->failed) {
        return NULL;
    }
    if (!value || json_is_null(value)) {
        if (required) {
            result_wrong(reader, "has no \"%s\"", key);
        }
        return NULL;
    }
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    return result_element(reader, value, quoted, kind);
}

double result_number(struct result_reader *reader, const json_t *object, const char *key)
{
    json_t *value = result_member(reader, object, key, RESULT_NUMBER, false);
    return value ? json_number_value(value) : NAN;
}

double result_count(struct result_reader *reader, const json_t *object, const char *key)
{
    double value = result_number(reader, object, key);
    if (value < 0) {
        result_wrong(reader, "\"%s\" is below 0", key);
    }
    return value;
}

/* ASCII that can be seen, so that a key fits a terminal, a table and the command line. */
static bool is_name(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            return false;
        }
    }
    return length > 0 && length <= 100 && text[0] != ' ' && text[length - 1] != ' ';
}

const char *result_name(struct result_reader *reader, const json_t *object, const char *key)
{
    json_t *value = result_member(reader, object, key, RESULT_TEXT, false);
    if (!value || json_string_length(value) == 0) {
        return NULL;
    }
    if (!is_name(json_string_value(value))) {
        result_wrong(reader, "\"%s\" is no plain name", key);
        return NULL;
    }
    return json_string_value(value);
}

/* ---- the record ---- */

static int check_schema(struct result_reader *reader, const json_t *json)
{
    if (!json_is_object(json)) {
        return result_wrong(reader, "is no result of sonde: it holds %s", name_of_type(json));
    }
    const char *schema = json_string_value(json_object_get(json, "schema"));
    if (!schema || !is_name(schema)) {
        return result_wrong(reader, "is no result of sonde: it names no schema");
    }
    if (strcmp(schema, RECORD_SCHEMA) == 0) {
        return 0;
    }
    const char *version = schema + strlen(FAMILY);
    if (strncmp(schema, FAMILY, strlen(FAMILY)) == 0 && version[0] >= '1' && version[0] <= '9' &&
        version[strspn(version, "0123456789")] == '\0') {
        result_wrong(reader, "was written by a newer sonde: its schema is %s", schema);
        return err_hint(reader->error, "this one reads %s", RECORD_SCHEMA);
    }
    result_wrong(reader, "is no result of sonde's runs: its schema is %s", schema);
    return err_hint(reader->error, "%s is expected", RECORD_SCHEMA);
}

/* "buffer=4k transport=pipe"; NULL where there is none. */
static char *read_point(struct result_reader *reader, const json_t *run)
{
    json_t *point = result_member(reader, run, "point", RESULT_OBJECT, false);
    json_t *value;
    const char *key;
    char *text = NULL;
    size_t length = 0;
    FILE *out = point && json_object_size(point) ? open_memstream(&text, &length) : NULL;
    if (!out) {
        if (point && json_object_size(point)) {
            result_no_memory(reader);
        }
        return NULL;
    }
    const char *gap = "";
    json_object_foreach(point, key, value)
    {
        if (!result_element(reader, value, "a part of \"point\"", RESULT_TEXT)) {
            break;
        }
        if (!is_name(key) || !is_name(json_string_value(value))) {
            result_wrong(reader, "a part of \"point\" is no plain text");
            break;
        }
        fprintf(out, "%s%s=%s", gap, key, json_string_value(value));
        gap = " ";
    }
    if (fclose(out) != 0) {
        result_no_memory(reader);
    }
    return text;
}

static bool read_bool(struct result_reader *reader, const json_t *object, const char *key,
                      bool required)
{
    return json_is_true(result_member(reader, object, key, RESULT_BOOL, required));
}

static void read_run(struct result_reader *reader, const json_t *json, struct result_run *run)
{
    const char *label = result_name(reader, json, "label");
    double repetition = result_count(reader, json, "repetition");
    run->complete = read_bool(reader, json, "complete", true);
    run->discarded = read_bool(reader, json, "discarded", false);
    run->point = read_point(reader, json);
    if (repetition > UINT32_MAX) {
        result_wrong(reader, "\"repetition\" is too large");
    }
    if (!label) {
        result_wrong(reader, "has no \"label\"");
    }
    if (reader->failed) {
        return;
    }
    run->repetition = isfinite(repetition) ? (unsigned)repetition : 0;
    run->label = strdup(label);
    if (!run->label) {
        result_no_memory(reader);
        return;
    }
    reader->run = run;
    reader->room = 0;
    reader->indexes = json_object();
    if (!reader->indexes) {
        result_no_memory(reader);
    }
    result_read_figures(reader, json);
    json_decref(reader->indexes);
    reader->indexes = NULL;
}

static void read_runs(struct result_reader *reader, struct result *result)
{
    json_t *runs = result_member(reader, result->json, "runs", RESULT_ARRAY, true);
    size_t count = runs ? json_array_size(runs) : 0;
    result->runs = count ? calloc(count, sizeof *result->runs) : NULL;
    if (count && !result->runs) {
        result_no_memory(reader);
        return;
    }
    for (size_t i = 0; i < count && !reader->failed; i++) {
        snprintf(reader->where, sizeof reader->where, "runs[%zu]", i);
        json_t *run = result_element(reader, json_array_get(runs, i), "it", RESULT_OBJECT);
        result->run_count++; /* before it is read: what it owns by then is released with it */
        if (run) {
            read_run(reader, run, &result->runs[i]);
        }
    }
}

int result_from_json(json_t *json, const char *name, struct result *result, struct err *error)
{
    struct result_reader reader = {.name = name, .error = error};
    *result = (struct result){.json = json_incref(json)};
    if (check_schema(&reader, json) == 0) {
        const char *operation = result_name(&reader, json, "operation");
        reader.operation = operation ? operation : "operation";
        result->name = strdup(name);
        result->operation = strdup(reader.operation);
        if (!result->name || !result->operation) {
            result_no_memory(&reader);
        }
        read_runs(&reader, result);
    }
    if (reader.failed) {
        result_release(result);
        return -1;
    }
    return 0;
}

void result_release(struct result *result)
{
    for (size_t i = 0; i < result->run_count; i++) {
        struct result_run *run = &result->runs[i];
        for (size_t k = 0; k < run->figure_count; k++) {
            free(run->figures[k].key);
        }
        free(run->figures);
        free(run->label);
        free(run->point);
    }
    free(result->runs);
    free(result->name);
    free(result->operation);
    json_decref(result->json);
    *result = (struct result){0};
}

const struct figure *result_find(const struct result_run *run, const char *key)
{
    for (size_t i = 0; i < run->figure_count; i++) {
        if (strcmp(run->figures[i].key, key) == 0) {
            return &run->figures[i];
        }
    }
    return NULL;
}

double result_value(const struct result_run *run, const char *key)
{
    const struct figure *figure = result_find(run, key);
    const char *dot = strrchr(key, '.'), *per = dot ? strstr(dot, "_per_") : NULL;
    if (figure || !per) {
        return figure ? figure->value : NAN;
    }
    char all[256];
    const char *uring = ".uring"; /* counted where the system calls are */
    size_t end = (size_t)(dot - key), tail = strlen(uring);
    if (end > tail && strncmp(dot - tail, uring, tail) == 0) {
        end -= tail;
    }
    snprintf(all, sizeof all, "%.*s.syscalls%s", (int)end, key, per);
    bool of_calls = strncmp(dot, ".cpu_", 5) != 0 && strncmp(dot, ".switches_", 10) != 0;
    return of_calls && result_find(run, all) ? 0 : NAN;
}

/* ---- the file ---- */

struct source {
    int file;
    int number; /* errno of a failed read */
    size_t bytes;
    bool ended;
};

/* For jansson: it parses while it reads, so that what is no JSON ends early, also from a device. */
static size_t read_some(void *to, size_t size, void *data)
{
    struct source *source = data;
    ssize_t count;
    do {
        count = read(source->file, to, size);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        source->number = errno;
        return (size_t)-1;
    }
    source->bytes += (size_t)count;
    source->ended = count == 0;
    return source->bytes > FILE_BYTES_MOST ? (size_t)-1 : (size_t)count;
}

/* Our own words: the library's quote what the file holds. */
static int parse_error(const json_error_t *problem, const struct source *source, const char *path,
                       struct err *error)
{
    const char *what = "is no JSON";
    enum json_error_code code = json_error_code(problem);
    /* A word that is cut ("tru") is a wrong word to the library; a wrong first byte the end. */
    bool at_end = source->ended && (size_t)problem->position >= source->bytes;
    if (source->number) {
        err_system(error, source->number, path, "cannot be read");
        error->code = ERR_USAGE;
        return -1;
    }
    if (source->bytes == 0) {
        return err_set(error, ERR_USAGE, path, "is empty");
    }
    if (source->bytes > FILE_BYTES_MOST) {
        return err_set(error, ERR_USAGE, path, "is larger than 1 GiB: no result of sonde");
    }
    switch (code) {
    case json_error_out_of_memory:
        return err_system(error, ENOMEM, path, "cannot be read");
    case json_error_premature_end_of_input:
    case json_error_invalid_syntax:
        what = at_end ? "is truncated: it ends" : what;
        break;
    case json_error_stack_overflow:
        what = "is nested too deeply";
        break;
    case json_error_duplicate_key:
        what = "is damaged: a key stands twice in one object";
        break;
    case json_error_numeric_overflow:
        what = "is damaged: a number is too large";
        break;
    case json_error_invalid_utf8:
    case json_error_null_character:
    case json_error_null_byte_in_key:
        what = "is damaged: a text is no valid one";
        break;
    case json_error_end_of_input_expected:
        what = "is damaged: something follows its end";
        break;
    default:
        break;
    }
    return err_set(error, ERR_USAGE, path, "%s at line %d, column %d", what, problem->line,
                   problem->column);
}

int result_load(const char *path, struct result *result, struct err *error)
{
    json_error_t problem;
    struct stat status;
    struct source source = {.file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)};
    *result = (struct result){0};
    if (source.file < 0 || fstat(source.file, &status) != 0) {
        err_system(error, errno, path, "cannot be read");
        error->code = ERR_USAGE; /* the command line names no file that there is */
        if (source.file >= 0) {
            close(source.file);
        }
        return -1;
    }
    if (S_ISREG(status.st_mode) && (uint64_t)status.st_size > FILE_BYTES_MOST) {
        close(source.file);
        return err_set(error, ERR_USAGE, path, "is larger than 1 GiB: no result of sonde");
    }
    json_t *json =
        json_load_callback(read_some, &source, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    close(source.file);
    if (!json) {
        return parse_error(&problem, &source, path, error);
    }
    int outcome = result_from_json(json, path, result, error);
    json_decref(json);
    return outcome;
}
