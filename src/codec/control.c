#include "codec/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt_value.h"
#include "base/plain.h"

/* Of a text in an object or a list. */
#define COUNT_MOST ((json_int_t)1 << 60)
#define ITEM_BYTES 255
/* Of a key of an object. */
#define KEY_BYTES 64

static const char subject[] = "control";

static const char *const names[] = {
#define X(name, text) text,
    CONTROL_KINDS(X)
#undef X
};

const char *control_name(enum control_kind kind)
{
    return names[kind];
}

int control_frame(const uint8_t *data, size_t length, const char **text, size_t *text_length,
                  struct err *error)
{
    if (length < CONTROL_HEADER_BYTES) {
        /* What it has of the length may say already that it is none. */
        if (length && data[0]) {
            return err_set(error, ERR_PROTOCOL, subject, "what was sent is no message of sonde");
        }
        return 0;
    }
    uint32_t wanted = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 |
                      (uint32_t)data[3];
    if (wanted == 0 || wanted > CONTROL_TEXT_MOST) {
        return err_set(error, ERR_PROTOCOL, subject, "a message of %u bytes: it may have 1 to %d",
                       wanted, CONTROL_TEXT_MOST);
    }
    if (length - CONTROL_HEADER_BYTES < wanted) {
        return 0;
    }
    *text = (const char *)data + CONTROL_HEADER_BYTES;
    *text_length = wanted;
    return 1;
}

/* How deep objects and arrays lie in each other; looked at before they are parsed, since parsing
 * recurses. Brackets in strings are no brackets. */
static bool too_deep(const char *text, size_t length)
{
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (inside) {
            i += c == '\\';
            inside = c != '"';
        } else if (c == '"') {
            inside = true;
        } else if (c == '{' || c == '[') {
            if (++depth > CONTROL_DEPTH_MOST) {
                return true;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

/* ---- one value ---- */

static bool is_text(const json_t *value, uint64_t least, uint64_t most)
{
    size_t length = json_string_length(value);
    return json_is_string(value) && length >= least && length <= most &&
           plain_text(json_string_value(value));
}

static bool is_chosen(const struct control_field *field, const json_t *value)
{
    for (size_t i = 0; field->choices[i]; i++) {
        if (strcmp(field->choices[i], json_string_value(value)) == 0) {
            return true;
        }
    }
    return false;
}

static int wrong(const struct control_field *field, const char *what, struct err *error)
{
    return err_set(error, ERR_PROTOCOL, subject, "%s: \"%s\" %s", names[field->kind], field->name,
                   what);
}

static int check_count(const struct control_field *field, const json_t *value, struct err *error)
{
    char text[80];
    if (!json_is_integer(value)) {
        return wrong(field, "is no whole number", error);
    }
    json_int_t number = json_integer_value(value);
    if (number < 0 || (uint64_t)number < field->least || (uint64_t)number > field->most) {
        snprintf(text, sizeof text, "is not in %lu to %lu", field->least, field->most);
        return wrong(field, text, error);
    }
    return 0;
}

static int check_text(const struct control_field *field, const json_t *value, struct err *error)
{
    char text[80];
    if (!json_is_string(value)) {
        return wrong(field, "is no text", error);
    }
    if (!is_text(value, field->least, field->most)) {
        snprintf(text, sizeof text, "is no plain text of %lu to %lu bytes", field->least,
                 field->most);
        return wrong(field, text, error);
    }
    if (field->choices && !is_chosen(field, value)) {
        return wrong(field, "is none of those that it may be", error);
    }
    return 0;
}

static int check_texts(const struct control_field *field, json_t *value, struct err *error)
{
    const char *key;
    json_t *item;
    if (!json_is_object(value)) {
        return wrong(field, "is no object", error);
    }
    if (json_object_size(value) > field->most) {
        return wrong(field, "has too many members", error);
    }
    json_object_foreach(value, key, item)
    {
        if (!is_text(item, 0, ITEM_BYTES) || strlen(key) > KEY_BYTES || !plain_text(key)) {
            return err_set(error, ERR_PROTOCOL, subject, "%s: \"%s\": \"%s\" is no plain text",
                           names[field->kind], field->name, opt_quote(key, strlen(key)).text);
        }
    }
    return 0;
}

static int check_list(const struct control_field *field, const json_t *value, struct err *error)
{
    if (!json_is_array(value)) {
        return wrong(field, "is no array", error);
    }
    if (json_array_size(value) > field->most) {
        return wrong(field, "has too many elements", error);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (!is_text(json_array_get(value, i), 0, 4 * ITEM_BYTES)) {
            return wrong(field, "holds what is no plain text", error);
        }
    }
    return 0;
}

static int check_counts(const struct control_field *field, const json_t *value, struct err *error)
{
    if (!json_is_array(value) || json_array_size(value) > field->most) {
        return wrong(field, "is no array, or one of too many", error);
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        json_int_t number = json_integer_value(item);
        if (!json_is_integer(item) || number < 0 || number > COUNT_MOST) {
            return wrong(field, "holds what is no whole number, or too large", error);
        }
    }
    return 0;
}

static int check_value(const struct control_field *field, json_t *value, struct err *error)
{
    switch (field->type) {
    case CONTROL_COUNT:
        return check_count(field, value, error);
    case CONTROL_FLAG:
        return json_is_boolean(value) ? 0 : wrong(field, "is neither true nor false", error);
    case CONTROL_TEXT:
        return check_text(field, value, error);
    case CONTROL_TEXTS:
        return check_texts(field, value, error);
    case CONTROL_LIST:
        return check_list(field, value, error);
    case CONTROL_COUNTS:
        return check_counts(field, value, error);
    case CONTROL_OBJECT:
        return json_is_object(value) ? 0 : wrong(field, "is no object", error);
    }
    return -1;
}

static void *member(const struct control_message *message, const struct control_field *field)
{
    return (char *)(uintptr_t)message + field->offset;
}

static void take_value(const struct control_field *field, json_t *value,
                       struct control_message *message)
{
    switch (field->type) {
    case CONTROL_COUNT:
        *(uint64_t *)member(message, field) = (uint64_t)json_integer_value(value);
        break;
    case CONTROL_FLAG:
        *(bool *)member(message, field) = json_is_true(value);
        break;
    case CONTROL_TEXT:
        *(const char **)member(message, field) = json_string_value(value);
        break;
    case CONTROL_TEXTS:
    case CONTROL_LIST:
    case CONTROL_COUNTS:
    case CONTROL_OBJECT:
        *(json_t **)member(message, field) = value;
        break;
    }
}

/* ---- reading ---- */

static int find_kind(const json_t *json, enum control_kind *kind, struct err *error)
{
    const json_t *name = json_object_get(json, "message");
    if (!json_is_string(name)) {
        return err_set(error, ERR_PROTOCOL, subject, "a message does not say which one it is");
    }
    for (size_t i = 0; i < CONTROL_KIND_COUNT; i++) {
        if (strcmp(names[i], json_string_value(name)) == 0) {
            *kind = (enum control_kind)i;
            return 0;
        }
    }
    return err_set(error, ERR_PROTOCOL, subject, "there is no message \"%s\"",
                   opt_quote(json_string_value(name), strlen(json_string_value(name))).text);
}

static const struct control_field *find_field(enum control_kind kind, const char *name)
{
    for (size_t i = 0; i < control_field_count; i++) {
        if (control_fields[i].kind == kind && strcmp(control_fields[i].name, name) == 0) {
            return &control_fields[i];
        }
    }
    return NULL;
}

static int read_fields(json_t *json, struct control_message *message, struct err *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        const struct control_field *field = find_field(message->kind, key);
        if (strcmp(key, "message") == 0) {
            continue;
        }
        if (!field) {
            return err_set(error, ERR_PROTOCOL, subject, "%s: unknown field \"%s\"",
                           names[message->kind], opt_quote(key, strlen(key)).text);
        }
        if (check_value(field, value, error) < 0) {
            return -1;
        }
        take_value(field, value, message);
    }
    for (size_t i = 0; i < control_field_count; i++) {
        const struct control_field *field = &control_fields[i];
        if (field->kind == message->kind && field->required &&
            !json_object_get(json, field->name)) {
            return wrong(field, "is missing", error);
        }
    }
    return 0;
}

int control_read(const char *text, size_t length, struct control_message *message,
                 struct err *error)
{
    json_error_t where;
    *message = (struct control_message){0};
    if (length > CONTROL_TEXT_MOST || too_deep(text, length)) {
        return err_set(error, ERR_PROTOCOL, subject, "a message is nested too deep or too long");
    }
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (!json) {
        return err_set(error, ERR_PROTOCOL, subject, "a message is no JSON: column %d: %s",
                       where.column, opt_quote(where.text, strlen(where.text)).text);
    }
    message->json = json;
    if (!json_is_object(json)) {
        err_set(error, ERR_PROTOCOL, subject, "a message is no JSON object");
    } else if (find_kind(json, &message->kind, error) == 0 &&
               read_fields(json, message, error) == 0) {
        return 0;
    }
    control_release(message);
    return -1;
}

void control_release(struct control_message *message)
{
    json_decref(message->json);
    *message = (struct control_message){0};
}

/* ---- writing ---- */

/* The value of a field as JSON, a new reference; NULL where it has none. */
static json_t *make_value(const struct control_message *message, const struct control_field *field)
{
    switch (field->type) {
    case CONTROL_COUNT:
        return json_integer((json_int_t) * (const uint64_t *)member(message, field));
    case CONTROL_FLAG:
        return json_boolean(*(const bool *)member(message, field));
    case CONTROL_TEXT: {
        const char *text = *(const char **)member(message, field);
        return text ? json_string(text) : NULL;
    }
    case CONTROL_TEXTS:
    case CONTROL_LIST:
    case CONTROL_COUNTS:
    case CONTROL_OBJECT:
        return json_incref(*(json_t **)member(message, field));
    }
    return NULL;
}

static json_t *make_message(const struct control_message *message, struct err *error)
{
    json_t *json = json_object();
    if (json_object_set_new(json, "message", json_string(names[message->kind])) < 0) {
        json_decref(json);
        err_system(error, ENOMEM, subject, "a message cannot be made");
        return NULL;
    }
    for (size_t i = 0; i < control_field_count; i++) {
        const struct control_field *field = &control_fields[i];
        json_t *value = field->kind == message->kind ? make_value(message, field) : NULL;
        if (field->kind != message->kind || (!value && !field->required)) {
            continue;
        }
        if (!value) {
            wrong(field, "is missing", error);
        }
        if (!value || check_value(field, value, error) < 0) {
            json_decref(value);
            json_decref(json);
            return NULL;
        }
        if (json_object_set_new(json, field->name, value) < 0) {
            json_decref(json);
            err_system(error, ENOMEM, subject, "a message cannot be made");
            return NULL;
        }
    }
    return json;
}

uint8_t *control_write(const struct control_message *message, size_t *length, struct err *error)
{
    json_t *json = make_message(message, error);
    if (!json) {
        return NULL;
    }
    size_t bytes = json_dumpb(json, NULL, 0, JSON_COMPACT);
    uint8_t *data =
        bytes && bytes <= CONTROL_TEXT_MOST ? malloc(CONTROL_HEADER_BYTES + bytes) : NULL;
    if (bytes > CONTROL_TEXT_MOST) {
        err_set(error, ERR_LIMIT, subject, "the message %s would have %zu bytes: at most %d",
                names[message->kind], bytes, CONTROL_TEXT_MOST);
    } else if (!data) {
        err_system(error, ENOMEM, subject, "a message cannot be made");
    } else {
        for (int i = 0; i < CONTROL_HEADER_BYTES; i++) {
            data[i] = (uint8_t)(bytes >> (8 * (CONTROL_HEADER_BYTES - 1 - i)));
        }
        json_dumpb(json, (char *)data + CONTROL_HEADER_BYTES, bytes, JSON_COMPACT);
        *length = CONTROL_HEADER_BYTES + bytes;
    }
    json_decref(json);
    return data;
}
