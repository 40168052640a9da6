/* A result file of wsperf, read as a stream: pieces of any size go in, connections come out one by
 * one, in constant memory, however long the file is. Members may stand in any order; what is not
 * known here is checked to be JSON and passed over. No files, no memory of its own. */
#ifndef SONDE_CODEC_WSPERF_H
#define SONDE_CODEC_WSPERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What can be wrong with a file. */
#define WSPERF_ERRORS(X)                                                                           \
    X(SYNTAX, "is no JSON")                                                                        \
    X(LITERAL, "has a word that is none of true, false and null")                                  \
    X(NUMBER, "has a number that JSON does not have, or of more than 63 characters")               \
    X(STRING, "has a string with a control character or an escape that JSON does not have")        \
    X(DEPTH, "is nested deeper than 64 levels")                                                    \
    X(NO_OBJECT, "is no object: no result of wsperf")                                              \
    X(BEHIND, "goes on behind its end")                                                            \
    X(TRUNCATED, "ends in the middle")                                                             \
    X(EMPTY, "is empty")                                                                           \
    X(TWICE, "has a member twice")                                                                 \
    X(NO_INTEGER, "has a time or count that is no whole number of 64 bits")                        \
    X(NO_BOOLEAN, "has a \"failed\" that is neither true nor false")                               \
    X(NO_LIST, "has \"connection_stats\" that are no list of objects")                             \
    X(NO_OPEN, "has a connection without \"open\"")                                                \
    X(NO_FAILED, "has a connection without \"failed\"")                                            \
    X(IMPOSSIBLE, "has a connection that did not fail and took less than 0 or over 30 days")       \
    X(NO_STARTED, "has no \"started\"")                                                            \
    X(NO_ENDED, "has no \"ended\"")                                                                \
    X(NO_STATS, "has no \"connection_stats\"")                                                     \
    X(ENDED_EARLY, "ended before it started")

enum wsperf_error {
    WSPERF_FINE,
#define X(name, text) WSPERF_##name,
    WSPERF_ERRORS(X)
#undef X
};

/* Its text: "FILE …". */
const char *wsperf_error_text(int error);

struct wsperf_connection {
    int64_t tcp_pre_init_us, tcp_post_init_us, open_us, close_us;
    bool failed;
};

struct wsperf_head {
    int64_t total_duration_us;
    int64_t started_ns, ended_ns; /* since the epoch */
    int64_t throttled, resumed;
};

/* Members that are known, as bits. */
enum {
    WSPERF_TOTAL_DURATION = 1,
    WSPERF_STARTED = 2,
    WSPERF_ENDED = 4,
    WSPERF_THROTTLED = 8,
    WSPERF_RESUMED = 16,
    WSPERF_STATS = 32,
    WSPERF_PRE_INIT = 1, /* of a connection */
    WSPERF_POST_INIT = 2,
    WSPERF_OPEN = 4,
    WSPERF_CLOSE = 8,
    WSPERF_FAILED = 16,
};

/* Longest time that a connection which did not fail may have taken to open. */
#define WSPERF_OPEN_MOST_US (INT64_C(30) * 24 * 3600 * 1000000)

enum { WSPERF_KEY_ROOM = 32, WSPERF_NUMBER_ROOM = 64 };

/* Zero-initialise it. */
struct wsperf_reader {
    struct wsperf_head head; /* members that were there: `seen` */
    struct wsperf_connection connection;
    uint64_t position; /* of the byte that is read next, or where the error is; from 0 */
    uint64_t line;     /* newlines before it */
    /* Its own: */
    uint32_t seen, connection_seen;
    uint32_t member; /* whose value comes next; 0: one that is not known */
    uint32_t depth;
    uint64_t objects; /* bit i: level i is an object, else a list */
    uint8_t expects, token;
    uint8_t escape; /* hexadecimal digits that are still to come, or 255: what is escaped */
    bool in_stats, in_connection;
    bool is_key;
    uint8_t text_length; /* of a key or number; beyond its room: long */
    char text[WSPERF_NUMBER_ROOM];
    uint32_t unicode;
    int error;
};

/* Reads up to the end of the next connection: bytes that were taken, with *found set, or all of
 * them without; -enum wsperf_error, from then on at every call. */
ssize_t wsperf_read(struct wsperf_reader *reader, const char *data, size_t length, bool *found);

/* The file has ended: 0, or what was missing as -enum wsperf_error. */
int wsperf_end(struct wsperf_reader *reader);

#endif
