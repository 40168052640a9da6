#include "codec/wsperf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum expects {
    AN_OBJECT, /* the result */
    A_VALUE,
    A_VALUE_OR_END, /* of an empty list */
    A_KEY,
    A_KEY_OR_END,
    A_COLON,
    A_COMMA_OR_END,
    NOTHING, /* the result has ended */
};

enum token { NO_TOKEN, IN_STRING, IN_NUMBER, IN_WORD };

#define MOST_DEPTH 64
#define ESCAPED 255
#define LONG 255 /* text_length of what is longer than its room */

const char *wsperf_error_text(int error)
{
    static const char *const texts[] = {[WSPERF_FINE] = "is as it should be",
#define X(name, text) [WSPERF_##name] = (text),
                                        WSPERF_ERRORS(X)
#undef X
    };
    return texts[error];
}

static int fail(struct wsperf_reader *reader, enum wsperf_error error)
{
    reader->error = -(int)error;
    return reader->error;
}

/* ---- meaning --------------------------------------------------------------------------------- */

struct member {
    const char *name;
    uint32_t bit;
    size_t offset; /* of an int64_t in the head or the connection; `failed` and the list: unused */
};

static const struct member of_head[] = {
    {"total_duration", WSPERF_TOTAL_DURATION, offsetof(struct wsperf_head, total_duration_us)},
    {"started", WSPERF_STARTED, offsetof(struct wsperf_head, started_ns)},
    {"ended", WSPERF_ENDED, offsetof(struct wsperf_head, ended_ns)},
    {"handshake_throttle_count", WSPERF_THROTTLED, offsetof(struct wsperf_head, throttled)},
    {"handshake_resume_count", WSPERF_RESUMED, offsetof(struct wsperf_head, resumed)},
    {"connection_stats", WSPERF_STATS, 0},
    {NULL, 0, 0},
};

static const struct member of_connection[] = {
    {"tcp_pre_init", WSPERF_PRE_INIT, offsetof(struct wsperf_connection, tcp_pre_init_us)},
    {"tcp_post_init", WSPERF_POST_INIT, offsetof(struct wsperf_connection, tcp_post_init_us)},
    {"open", WSPERF_OPEN, offsetof(struct wsperf_connection, open_us)},
    {"close", WSPERF_CLOSE, offsetof(struct wsperf_connection, close_us)},
    {"failed", WSPERF_FAILED, 0},
    {NULL, 0, 0},
};

/* Whether it is the result's own members, or a connection's, that are read now. */
static bool at_head(const struct wsperf_reader *reader)
{
    return reader->depth == 1;
}

static bool at_connection(const struct wsperf_reader *reader)
{
    return reader->in_connection && reader->depth == 3;
}

static const struct member *members(const struct wsperf_reader *reader)
{
    return at_connection(reader) ? of_connection : of_head;
}

static int take_key(struct wsperf_reader *reader)
{
    reader->member = 0;
    reader->expects = A_COLON;
    if ((!at_head(reader) && !at_connection(reader)) || reader->text_length >= WSPERF_KEY_ROOM) {
        return 0;
    }
    uint32_t *seen = at_connection(reader) ? &reader->connection_seen : &reader->seen;
    for (const struct member *row = members(reader); row->name; row++) {
        if (strlen(row->name) == reader->text_length &&
            memcmp(row->name, reader->text, reader->text_length) == 0) {
            reader->member = row->bit;
        }
    }
    if (*seen & reader->member) {
        return fail(reader, WSPERF_TWICE);
    }
    *seen |= reader->member;
    return 0;
}

/* What a value has to be that means something, before it is read. kind: its first byte. */
static int check_kind(struct wsperf_reader *reader, char kind)
{
    bool boolean = kind == 't' || kind == 'f';
    if (reader->in_stats && reader->depth == 2 && kind != '{') {
        return fail(reader, WSPERF_NO_LIST);
    }
    if (reader->member == 0) {
        return 0;
    }
    if (at_connection(reader) && reader->member == WSPERF_FAILED) {
        return boolean ? 0 : fail(reader, WSPERF_NO_BOOLEAN);
    }
    if (at_head(reader) && reader->member == WSPERF_STATS) {
        return kind == '[' ? 0 : fail(reader, WSPERF_NO_LIST);
    }
    bool number = kind == '-' || (kind >= '0' && kind <= '9');
    return number ? 0 : fail(reader, WSPERF_NO_INTEGER);
}

static int connection_ended(struct wsperf_reader *reader)
{
    const struct wsperf_connection *connection = &reader->connection;
    reader->in_connection = false;
    if (!(reader->connection_seen & WSPERF_FAILED)) {
        return fail(reader, WSPERF_NO_FAILED);
    }
    if (!(reader->connection_seen & WSPERF_OPEN)) {
        return fail(reader, WSPERF_NO_OPEN);
    }
    /* Of one that failed the program itself may write times that mean nothing. */
    bool possible = connection->open_us >= 0 && connection->open_us <= WSPERF_OPEN_MOST_US;
    return connection->failed || possible ? 0 : fail(reader, WSPERF_IMPOSSIBLE);
}

static int result_ended(struct wsperf_reader *reader)
{
    const struct wsperf_head *head = &reader->head;
    enum wsperf_error missing = !(reader->seen & WSPERF_STARTED)    ? WSPERF_NO_STARTED
                                : !(reader->seen & WSPERF_ENDED)    ? WSPERF_NO_ENDED
                                : !(reader->seen & WSPERF_STATS)    ? WSPERF_NO_STATS
                                : head->ended_ns < head->started_ns ? WSPERF_ENDED_EARLY
                                                                    : WSPERF_FINE;
    reader->expects = NOTHING;
    return missing ? fail(reader, missing) : 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void value_ended(struct wsperf_reader *reader)
{
    reader->member = 0;
    reader->expects = A_COMMA_OR_END;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_number(const char *text, bool *whole)
{
    static const char digits[] = "0123456789";
    text += *text == '-';
    size_t count = strspn(text, digits);
    if (count == 0 || (count > 1 && *text == '0')) {
        return false;
    }
    text += count;
    *whole = *text == '\0';
    if (*text == '.') {
        count = strspn(++text, digits);
        text += count;
        if (count == 0) {
            return false;
        }
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        count = strspn(text, digits);
        text += count;
        if (count == 0) {
            return false;
        }
    }
    return *text == '\0';
}

static int number_ended(struct wsperf_reader *reader)
{
    bool whole = false;
    if (reader->text_length >= sizeof reader->text) {
        return fail(reader, WSPERF_NUMBER);
    }
    reader->text[reader->text_length] = '\0';
    if (!is_number(reader->text, &whole)) {
        return fail(reader, WSPERF_NUMBER);
    }
    if (reader->member) {
        char *at = at_connection(reader) ? (char *)&reader->connection : (char *)&reader->head;
        errno = 0;
        int64_t value = strtoll(reader->text, NULL, 10);
        if (!whole || errno) {
            return fail(reader, WSPERF_NO_INTEGER);
        }
        for (const struct member *row = members(reader); row->name; row++) {
            if (row->bit == reader->member) {
                memcpy(at + row->offset, &value, sizeof value);
            }
        }
    }
    value_ended(reader);
    return 0;
}

static int word_ended(struct wsperf_reader *reader)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        if (reader->text_length == strlen(words[i]) &&
            memcmp(reader->text, words[i], reader->text_length) == 0) {
            if (reader->member) { /* `failed` alone may be a word */
                reader->connection.failed = i == 0;
            }
            value_ended(reader);
            return 0;
        }
    }
    return fail(reader, WSPERF_LITERAL);
}

static void begin_token(struct wsperf_reader *reader, enum token token)
{
    reader->token = (uint8_t)token;
    reader->text_length = 0;
    reader->escape = 0;
}

static void keep_byte(struct wsperf_reader *reader, char byte)
{
    if (reader->text_length < sizeof reader->text) {
        reader->text[reader->text_length++] = byte;
    } else {
        reader->text_length = LONG;
    }
}

/* ---- strings --------------------------------------------------------------------------------- */

static int hexadecimal(char byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                        : -1;
}

/* A byte behind a backslash, or one of four digits. */
static int take_escaped(struct wsperf_reader *reader, char byte)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (reader->escape == ESCAPED) {
        const char *name = byte ? strchr(names, byte) : NULL;
        reader->escape = 0;
        if (byte == 'u') {
            reader->escape = 4;
            reader->unicode = 0;
        } else if (name) {
            keep_byte(reader, meant[name - names]);
        } else {
            return fail(reader, WSPERF_STRING);
        }
        return 0;
    }
    int digit = hexadecimal(byte);
    if (digit < 0) {
        return fail(reader, WSPERF_STRING);
    }
    reader->unicode = reader->unicode << 4 | (uint32_t)digit;
    if (--reader->escape == 0) {
        /* No name that is known here has any other character. */
        keep_byte(reader, reader->unicode < 0x80 ? (char)reader->unicode : '\x7f');
    }
    return 0;
}

static int take_in_string(struct wsperf_reader *reader, char byte)
{
    if (reader->escape) {
        return take_escaped(reader, byte);
    }
    if ((unsigned char)byte < ' ') {
        return fail(reader, WSPERF_STRING);
    }
    if (byte == '\\') {
        reader->escape = ESCAPED;
    } else if (byte != '"') {
        keep_byte(reader, byte);
    } else {
        reader->token = NO_TOKEN;
        if (reader->is_key) {
            return take_key(reader);
        }
        value_ended(reader);
    }
    return 0;
}

/* ---- structure ------------------------------------------------------------------------------- */

static bool in_object(const struct wsperf_reader *reader)
{
    return reader->depth && reader->objects >> (reader->depth - 1) & 1;
}

static int enter(struct wsperf_reader *reader, bool object)
{
    if (reader->depth == MOST_DEPTH) {
        return fail(reader, WSPERF_DEPTH);
    }
    if (at_head(reader) && reader->member == WSPERF_STATS) {
        reader->in_stats = true;
    } else if (reader->in_stats && reader->depth == 2) {
        reader->in_connection = true;
        reader->connection_seen = 0;
        reader->connection = (struct wsperf_connection){0};
    }
    uint64_t bit = UINT64_C(1) << reader->depth++;
    reader->objects = object ? reader->objects | bit : reader->objects & ~bit;
    reader->member = 0;
    reader->expects = object ? A_KEY_OR_END : A_VALUE_OR_END;
    return 0;
}

static int leave(struct wsperf_reader *reader, bool object, bool *found)
{
    if (in_object(reader) != object) {
        return fail(reader, WSPERF_SYNTAX);
    }
    reader->depth--;
    value_ended(reader);
    if (reader->depth == 0) {
        return result_ended(reader);
    }
    if (reader->depth == 1) {
        reader->in_stats = false;
    }
    if (reader->depth == 2 && reader->in_connection) {
        *found = true;
        return connection_ended(reader);
    }
    return 0;
}

static int begin_value(struct wsperf_reader *reader, char byte)
{
    if (check_kind(reader, byte)) {
        return reader->error;
    }
    if (byte == '{' || byte == '[') {
        return enter(reader, byte == '{');
    }
    if (byte == '"') {
        reader->is_key = false;
        begin_token(reader, IN_STRING);
        return 0;
    }
    bool word = byte >= 'a' && byte <= 'z';
    if (!word && byte != '-' && (byte < '0' || byte > '9')) {
        return fail(reader, WSPERF_SYNTAX);
    }
    begin_token(reader, word ? IN_WORD : IN_NUMBER);
    keep_byte(reader, byte);
    return 0;
}

/* A byte between tokens, which is no white space. */
static int take_between(struct wsperf_reader *reader, char byte, bool *found)
{
    bool ends = byte == '}' || byte == ']';
    switch ((enum expects)reader->expects) {
    case AN_OBJECT:
        return byte == '{' ? enter(reader, true) : fail(reader, WSPERF_NO_OBJECT);
    case A_VALUE_OR_END:
        if (ends) {
            return leave(reader, byte == '}', found);
        }
        return begin_value(reader, byte);
    case A_VALUE:
        return begin_value(reader, byte);
    case A_KEY_OR_END:
        if (ends) {
            return leave(reader, byte == '}', found);
        }
        __attribute__((fallthrough));
    case A_KEY:
        if (byte != '"') {
            return fail(reader, WSPERF_SYNTAX);
        }
        reader->is_key = true;
        begin_token(reader, IN_STRING);
        return 0;
    case A_COLON:
        reader->expects = A_VALUE;
        return byte == ':' ? 0 : fail(reader, WSPERF_SYNTAX);
    case A_COMMA_OR_END:
        if (ends) {
            return leave(reader, byte == '}', found);
        }
        reader->expects = in_object(reader) ? A_KEY : A_VALUE;
        return byte == ',' ? 0 : fail(reader, WSPERF_SYNTAX);
    case NOTHING:
        break;
    }
    return fail(reader, WSPERF_BEHIND);
}

static bool is_white(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/* Whether a byte goes on with the number or word that is being read. */
static bool goes_on(enum token token, char byte)
{
    bool digit = byte >= '0' && byte <= '9', letter = byte >= 'a' && byte <= 'z';
    return token == IN_WORD
               ? letter
               : digit || byte == '.' || byte == '-' || byte == '+' || byte == 'e' || byte == 'E';
}

static int take_byte(struct wsperf_reader *reader, char byte, bool *found)
{
    enum token token = reader->token;
    if (token == IN_STRING) {
        return take_in_string(reader, byte);
    }
    if (token != NO_TOKEN) {
        if (goes_on(token, byte)) {
            keep_byte(reader, byte);
            return 0;
        }
        reader->token = NO_TOKEN;
        if (token == IN_WORD ? word_ended(reader) : number_ended(reader)) {
            return reader->error;
        }
    }
    return is_white(byte) ? 0 : take_between(reader, byte, found);
}

ssize_t wsperf_read(struct wsperf_reader *reader, const char *data, size_t length, bool *found)
{
    *found = false;
    for (size_t i = 0; i < length && reader->error == 0; i++) {
        if (take_byte(reader, data[i], found)) {
            *found = false;
            break;
        }
        reader->position++;
        reader->line += data[i] == '\n';
        if (*found) {
            return (ssize_t)i + 1;
        }
    }
    return reader->error ? reader->error : (ssize_t)length;
}

int wsperf_end(struct wsperf_reader *reader)
{
    if (reader->error == 0 && reader->expects != NOTHING) {
        bool nothing = reader->expects == AN_OBJECT && reader->token == NO_TOKEN;
        fail(reader, nothing ? WSPERF_EMPTY : WSPERF_TRUNCATED);
    }
    return reader->error;
}
