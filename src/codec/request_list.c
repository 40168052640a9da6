#include "codec/request_list.h"

#include <stdbool.h>

#include "codec/http.h"

static const struct {
    const char *name, *text;
} errors[] = {
#define X(name, text) {#name, text},
    REQUEST_LIST_ERRORS(X)
#undef X
};

static bool is_error(int error)
{
    return error > REQUEST_LIST_ERROR_BASE && error < REQUEST_LIST_ERROR_END;
}

const char *request_list_error_text(int error)
{
    return is_error(error) ? errors[error - REQUEST_LIST_ERROR_BASE - 1].text
                           : url_error_text(error);
}

const char *request_list_error_name(int error)
{
    return is_error(error) ? errors[error - REQUEST_LIST_ERROR_BASE - 1].name
                           : url_error_name(error);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool begins_with(struct slice text, const char *start)
{
    size_t length = strlen(start);
    return text.length >= length && memcmp(text.at, start, length) == 0;
}

static bool is(struct slice text, const char *other)
{
    return text.length == strlen(other) && begins_with(text, other);
}

/* The next line without its end. */
static struct slice take_line(struct request_list *list)
{
    struct slice line = {list->text.at + list->at, list->text.length - list->at};
    const char *end = memchr(line.at, '\n', line.length);
    line.length = end ? (size_t)(end - line.at) : line.length;
    list->at += line.length + (end != NULL);
    list->line++;
    if (end && line.length && end[-1] == '\r') {
        line.length--;
    }
    return line;
}

/* The next word; empty: there is none. */
static struct slice take_word(struct slice *line)
{
    while (line->length && is_blank(line->at[0])) {
        line->at++;
        line->length--;
    }
    struct slice word = {line->at, 0};
    while (word.length < line->length && !is_blank(line->at[word.length])) {
        word.length++;
    }
    line->at += word.length;
    line->length -= word.length;
    return word;
}

static int check_characters(struct slice line)
{
    if (line.length > REQUEST_LIST_LINE_MOST) {
        return REQUEST_LIST_BAD_LINE_LONG;
    }
    for (size_t i = 0; i < line.length; i++) {
        unsigned char c = (unsigned char)line.at[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return REQUEST_LIST_BAD_CONTROL;
        }
    }
    return 0;
}

#define WEIGHT "weight="

/* Passes over a weight, where there is one. */
static int take_weight(struct slice *word, struct slice *rest, uint32_t *weight)
{
    *weight = 1;
    if (!begins_with(*word, WEIGHT)) {
        return 0;
    }
    struct slice digits = {word->at + strlen(WEIGHT), word->length - strlen(WEIGHT)};
    uint32_t value = 0;
    for (size_t i = 0; i < digits.length; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9') {
            return REQUEST_LIST_BAD_WEIGHT;
        }
        if (value <= REQUEST_LIST_WEIGHT_MOST) { /* more digits do not make it less */
            value = value * 10 + (uint32_t)(digits.at[i] - '0');
        }
    }
    if (digits.length == 0) {
        return REQUEST_LIST_BAD_WEIGHT;
    }
    if (value < 1 || value > REQUEST_LIST_WEIGHT_MOST) {
        return REQUEST_LIST_BAD_WEIGHT_RANGE;
    }
    *weight = value;
    *word = take_word(rest);
    return 0;
}

static bool is_target(struct slice word)
{
    return begins_with(word, "/") || (word.length && memmem(word.at, word.length, "://", 3));
}

static bool is_method(struct slice word)
{
    char text[HTTP_METHOD_MOST + 1];
    if (word.length > HTTP_METHOD_MOST) {
        return false;
    }
    memcpy(text, word.at, word.length);
    text[word.length] = '\0';
    return http_method_valid(text);
}

static int check_method(struct slice method)
{
    return !is_method(method)      ? REQUEST_LIST_BAD_METHOD
           : is(method, "CONNECT") ? REQUEST_LIST_BAD_METHOD_CONNECT
                                   : 0;
}

/* A word alone that could be a method lacks its target. */
static int parse_target(struct slice word, bool alone, struct request_list_line *line)
{
    if (word.length == 0 || (alone && !is_target(word) && is_method(word))) {
        return REQUEST_LIST_BAD_TARGET_MISSING;
    }
    if (!is_target(word)) {
        return REQUEST_LIST_BAD_TARGET;
    }
    const char *fragment = memchr(word.at, '#', word.length);
    line->target = (struct slice){word.at, fragment ? (size_t)(fragment - word.at) : word.length};
    return word.at[0] == '/' ? url_path_parse(word, &line->url)
                             : url_parse(URL_HTTP, word, &line->url);
}

static int parse(struct slice word, struct slice rest, struct request_list_line *line)
{
    int error = take_weight(&word, &rest, &line->weight);
    if (error) {
        return error;
    }
    struct slice second = take_word(&rest), third = take_word(&rest);
    if (begins_with(word, WEIGHT) || begins_with(second, WEIGHT) || begins_with(third, WEIGHT)) {
        return REQUEST_LIST_BAD_WEIGHT_PLACE;
    }
    struct slice extra = third.length || !is_target(word) ? third : second;
    if (extra.length) {
        return is_target(extra) ? REQUEST_LIST_BAD_TARGETS : REQUEST_LIST_BAD_WORDS;
    }
    if (second.length == 0) {
        return parse_target(word, true, line);
    }
    line->method = word;
    error = check_method(word);
    return error ? error : parse_target(second, false, line);
}

int request_list_next(struct request_list *list, struct request_list_line *line)
{
    while (list->at < list->text.length) {
        struct slice rest = take_line(list);
        *line = (struct request_list_line){.number = list->line};
        int error = check_characters(rest);
        struct slice word = error ? (struct slice){0} : take_word(&rest);
        if (!error && (word.length == 0 || word.at[0] == '#')) {
            continue;
        }
        error = error ? error : parse(word, rest, line);
        if (error) {
            *line = (struct request_list_line){.number = list->line};
        }
        return error ? error : 1;
    }
    *line = (struct request_list_line){.number = list->line};
    return 0;
}
