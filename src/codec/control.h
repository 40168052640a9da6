/* What two sondes say to each other about a run: messages of JSON, each behind its length (4 bytes
 * in network order). Which fields a message has, of what type and in what bounds, stands in one
 * table (control_fields.c), which reads and writes them. Nothing of a message is looked at before
 * all of it has been checked.
 *
 *   client                           server
 *   hello                            hello
 *   prepare                          ready (or error, then or at any later time)
 *   … data connections …             connected
 *   cut, go                          going: the server's sums begin with what comes now
 *   attach                           attached        around each observed stretch
 *   cut, seen, block                                 no answers: the client measures meanwhile
 *   sync                             synced          everything before it has been done
 *   finish                           record
 *   bye */
#ifndef SONDE_CODEC_CONTROL_H
#define SONDE_CODEC_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    CONTROL_VERSION = 1,
    CONTROL_HEADER_BYTES = 4,
    CONTROL_TEXT_MOST = 1 << 20, /* bytes of a message's JSON */
    CONTROL_DEPTH_MOST = 24,     /* objects and arrays in each other */
    CONTROL_TOKEN_TEXT = 32,     /* hexadecimal digits of a token */
};

#define CONTROL_KINDS(X)                                                                           \
    X(HELLO, "hello")                                                                              \
    X(PREPARE, "prepare")                                                                          \
    X(READY, "ready")                                                                              \
    X(CONNECTED, "connected")                                                                      \
    X(GO, "go")                                                                                    \
    X(GOING, "going")                                                                              \
    X(ATTACH, "attach")                                                                            \
    X(ATTACHED, "attached")                                                                        \
    X(CUT, "cut")                                                                                  \
    X(SYNC, "sync")                                                                                \
    X(SYNCED, "synced")                                                                            \
    X(SEEN, "seen")                                                                                \
    X(BLOCK, "block")                                                                              \
    X(FINISH, "finish")                                                                            \
    X(RECORD, "record")                                                                            \
    X(BYE, "bye")                                                                                  \
    X(ERROR, "error")

enum control_kind {
#define X(name, text) CONTROL_##name,
    CONTROL_KINDS(X)
#undef X
        CONTROL_KIND_COUNT
};

/* To which sum a part of the window belongs that a cut closes; "part" of the message cut. */
#define CONTROL_PART_NONE "none"
#define CONTROL_PART_PLAIN "plain"
#define CONTROL_PART_SEEN "seen"
/* What becomes of the gate of the server's probes with that cut; "gate". */
#define CONTROL_GATE_KEEP "keep"
#define CONTROL_GATE_OPEN "open"
#define CONTROL_GATE_CLOSE "close"

/* A message. Which members count, its kind says. Texts and values that were read lie in `json`;
 * those to be written are the caller's. Absent: NULL, 0, false. */
struct control_message {
    enum control_kind kind;
    json_t *json; /* owned, of a message that was read; NULL otherwise */
    /* hello */
    uint64_t version_least, version_most;
    const char *program; /* "sonde 0.1.0" */
    /* prepare */
    const char *workload, *engine, *transport;
    json_t *options, *wire, *watch, *probe; /* {long name of an option: text} */
    uint64_t connections, threads;
    bool observe;
    /* ready */
    const char *token;
    uint64_t port;
    json_t *machine; /* {text: text} */
    /* connected */
    json_t *probes;          /* [names] of those that take turns at the server */
    const char *observation; /* who is observed there, or why nobody */
    /* attach: empty for none; also seen and block */
    const char *probe_name;
    /* cut */
    const char *part, *gate;
    /* seen: what the client counted in the observed part that was cut last, and how long that was;
     * finish: likewise, in all unobserved ones */
    json_t *counters; /* [of the workload's client] */
    uint64_t window_ns;
    /* block: what the client finished in a block's unobserved and observed parts */
    uint64_t plain_operations, plain_ns, seen_operations, seen_ns;
    /* record */
    json_t *run;    /* of the schema of a record's run */
    json_t *totals; /* what the server counted (run/control_totals.h) */
    json_t *warnings;
    /* error */
    const char *code, *subject, *what, *hint;
};

/* Whether a whole message stands at the beginning of data[0..length). 1: its JSON is *text of
 * *text_length bytes, and so many behind the header are taken; 0: more bytes are needed; -1 with
 * *error where it can be none. */
int control_frame(const uint8_t *data, size_t length, const char **text, size_t *text_length,
                  struct err *error);

/* Reads a message's JSON. -1 with *error (ERR_PROTOCOL, subject "control") where it is not
 * acceptable, by the name of what is wrong; nothing is kept then. Else control_release frees it. */
int control_read(const char *text, size_t length, struct control_message *message,
                 struct err *error);
void control_release(struct control_message *message); /* safe to call twice */

/* The message with its header, malloc'ed, of *length bytes; NULL with *error where it is too long
 * (ERR_LIMIT), does not keep to its own schema, or memory is short. The message's JSON values stay
 * the caller's. */
uint8_t *control_write(const struct control_message *message, size_t *length, struct err *error);

/* "prepare". */
const char *control_name(enum control_kind kind);

/* ---- the schema: for control.c ---- */

enum control_type {
    CONTROL_COUNT,  /* uint64_t: a whole number */
    CONTROL_FLAG,   /* bool */
    CONTROL_TEXT,   /* const char *: printable, of so many bytes */
    CONTROL_TEXTS,  /* json_t *: an object whose values are such texts, at most so many of them */
    CONTROL_LIST,   /* json_t *: an array of such texts, at most so many */
    CONTROL_COUNTS, /* json_t *: an array of whole numbers up to 2^60, at most so many */
    CONTROL_OBJECT  /* json_t *: whatever object; who takes it checks it */
};

struct control_field {
    enum control_kind kind;
    const char *name;
    enum control_type type;
    bool required;
    size_t offset; /* in struct control_message */
    uint64_t least, most;
    const char *const *choices; /* of a text: one of these, NULL-terminated */
};

extern const struct control_field control_fields[];
extern const size_t control_field_count;

#endif
