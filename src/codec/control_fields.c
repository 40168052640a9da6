/* One row for each field of each message. */
#include "codec/control.h"

static const char *const parts[] = {CONTROL_PART_NONE, CONTROL_PART_PLAIN, CONTROL_PART_SEEN, NULL};
static const char *const gates[] = {CONTROL_GATE_KEEP, CONTROL_GATE_OPEN, CONTROL_GATE_CLOSE, NULL};
static const char *const codes[] = {"usage",       "system",      "protocol", "limit",
                                    "unsupported", "interrupted", NULL};

/* Far above what anybody measures, far below where sums overflow. */
#define MANY ((uint64_t)1 << 60)
#define TEXT_BYTES 255
#define OPTIONS_MOST 64
#define WARNINGS_MOST 64
#define COUNTERS_MOST 32

/* 0, or does not compile: the member must have the type that the row says. */
#define CHECK(member, expected)                                                                    \
    (0 * sizeof(char[_Generic(((struct control_message *)0)->member, expected : 1, default : -1)]))
#define ROW(kind, name, type, expected, required, member, ...)                                     \
    {                                                                                              \
        CONTROL_##kind, name, CONTROL_##type, required,                                            \
            offsetof(struct control_message, member) + CHECK(member, expected), __VA_ARGS__        \
    }
#define COUNT(kind, name, member, least, most)                                                     \
    ROW(kind, name, COUNT, uint64_t, true, member, least, most, NULL)
#define TEXT(kind, name, required, member, least, most)                                            \
    ROW(kind, name, TEXT, const char *, required, member, least, most, NULL)
#define CHOICE(kind, name, member, choices)                                                        \
    ROW(kind, name, TEXT, const char *, true, member, 0, TEXT_BYTES, choices)
#define VALUES(kind, name, type, required, member, most)                                           \
    ROW(kind, name, type, json_t *, required, member, 0, most, NULL)

const struct control_field control_fields[] = {
    COUNT(HELLO, "version_least", version_least, 1, 65535),
    COUNT(HELLO, "version_most", version_most, 1, 65535),
    TEXT(HELLO, "program", true, program, 1, 64),

    TEXT(PREPARE, "workload", true, workload, 1, 32),
    TEXT(PREPARE, "engine", true, engine, 1, 32),
    TEXT(PREPARE, "transport", true, transport, 1, 16),
    VALUES(PREPARE, "options", TEXTS, true, options, OPTIONS_MOST),
    VALUES(PREPARE, "wire", TEXTS, true, wire, OPTIONS_MOST),
    VALUES(PREPARE, "watch", TEXTS, false, watch, OPTIONS_MOST),
    VALUES(PREPARE, "probe", TEXTS, false, probe, OPTIONS_MOST),
    COUNT(PREPARE, "connections", connections, 1, 1000000),
    COUNT(PREPARE, "threads", threads, 1, 1024),
    ROW(PREPARE, "observe", FLAG, bool, true, observe, 0, 0, NULL),

    TEXT(READY, "token", true, token, CONTROL_TOKEN_TEXT, CONTROL_TOKEN_TEXT),
    COUNT(READY, "port", port, 1, 65535),
    VALUES(READY, "machine", TEXTS, true, machine, 64),

    VALUES(CONNECTED, "probes", LIST, true, probes, 16),
    TEXT(CONNECTED, "observation", true, observation, 0, TEXT_BYTES),

    TEXT(ATTACH, "probe", true, probe_name, 0, 32),

    CHOICE(CUT, "part", part, parts),
    CHOICE(CUT, "gate", gate, gates),

    VALUES(SEEN, "counters", COUNTS, true, counters, COUNTERS_MOST),
    COUNT(SEEN, "window_ns", window_ns, 0, MANY),

    TEXT(BLOCK, "probe", true, probe_name, 1, 32),
    COUNT(BLOCK, "plain_operations", plain_operations, 0, MANY),
    COUNT(BLOCK, "plain_ns", plain_ns, 0, MANY),
    COUNT(BLOCK, "seen_operations", seen_operations, 0, MANY),
    COUNT(BLOCK, "seen_ns", seen_ns, 0, MANY),

    /* The client's unobserved part of the window: what the server's own counts are divided by. */
    VALUES(FINISH, "counters", COUNTS, true, counters, COUNTERS_MOST),
    COUNT(FINISH, "window_ns", window_ns, 0, MANY),

    VALUES(RECORD, "run", OBJECT, true, run, 0),
    VALUES(RECORD, "totals", OBJECT, true, totals, 0),
    VALUES(RECORD, "warnings", LIST, true, warnings, WARNINGS_MOST),

    CHOICE(ERROR, "code", code, codes),
    TEXT(ERROR, "subject", true, subject, 0, 127),
    TEXT(ERROR, "what", true, what, 1, TEXT_BYTES),
    TEXT(ERROR, "hint", false, hint, 0, TEXT_BYTES),
};

const size_t control_field_count = sizeof control_fields / sizeof *control_fields;
