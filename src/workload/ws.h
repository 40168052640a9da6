/* WebSocket (RFC 6455): opening and closing handshakes, one connection after the other, connections
 * that are held open, or messages on connections that stay. All modes have the same client
 * underneath and the same server. */
#ifndef SONDE_WORKLOAD_WS_H
#define SONDE_WORKLOAD_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workload/web_target.h"
#include "workload/workload.h"

#define WS_SIZE_MAX (16 << 20)

enum ws_mode { WS_HANDSHAKE, WS_HOLD, WS_MESSAGE };
enum ws_message { WS_BINARY, WS_TEXT, WS_PING };
enum ws_payload { WS_PATTERN, WS_RANDOM };

/* Options of the server's role; also those of `sonde serve`. */
struct ws_server_options {
    uint64_t frame_most, message_most; /* bytes; of a message also once inflated */
    bool deflate;                      /* agree to permessage-deflate where it is offered */
    uint64_t memory_bytes;             /* no row: most that one worker's answers may hold */
    uint64_t idle_timeout_ns;          /* no row: close what is silent for so long; 0: never */
};

/* What became of one handshake. Its connection's worker writes it, and nobody else; instants of
 * CLOCK_MONOTONIC, 0 where it did not come so far. */
struct ws_record {
    uint64_t dialed_ns, connected_ns, opened_ns;
    uint64_t tls_ns; /* of the time before connected_ns, or without it ended_ns: TLS's handshake */
    uint64_t ended_ns; /* the connection: in order, or when it had failed */
    bool closed;       /* the close frame was answered: else it has failed */
};

/* Handshakes in the order in which they were dialed; those that find no room are not kept. */
struct ws_journal {
    struct ws_record *records; /* zeroed */
    uint64_t room;
    _Atomic uint64_t dialed;
};

struct ws_options {
    uint32_t mode;    /* enum ws_mode */
    uint32_t message; /* enum ws_message */
    uint32_t payload; /* enum ws_payload */
    uint64_t size_bytes, fragment_bytes;
    uint64_t high; /* messages in flight on a connection */
    uint64_t low;  /* handshakes in flight of a thread's, or: */
    uint64_t
        low_of; /* no row; `low` is of so many connections, and a thread has its share; 0: not */
    uint64_t timeout_ns;
    uint64_t code;                   /* to close with */
    uint64_t ramp_ns, ping_every_ns; /* connections that are held: opened in; 0: ws_ramp_ns, none */
    bool deflate;
    bool verify;
    struct ws_server_options server;
    struct web_target where; /* no row */
    /* No rows; of whoever measures: */
    struct ws_journal *journal; /* handshake; NULL: none is kept */
    bool until_open; /* handshake: one that is open counts no more against the most and --low */
};

/* Counters of the client's roles. */
enum ws_counter {
    WS_COUNT_COMPLETED,     /* messages answered; handshakes whose close was answered; upgrades */
    WS_COUNT_STARTED,       /* handshakes dialed; messages begun */
    WS_COUNT_FAILED,        /* handshakes; messages lost with their connection; never open */
    WS_COUNT_BYTES,         /* payload of messages, both ways */
    WS_COUNT_WIRE_SENT,     /* bytes of messages' frames, with their headers */
    WS_COUNT_WIRE_RECEIVED, /* behind the upgrade, of all frames */
    WS_COUNT_UPGRADED,
    WS_COUNT_CLOSED, /* closing handshakes */
    WS_COUNT_SERVER_FIRST,
    WS_COUNT_CLIENT_FIRST,
    WS_COUNT_THROTTLED,
    WS_COUNT_RESUMED,
    WS_COUNT_TLS_RESUMED,
    WS_COUNT_PINGED, /* the server's pings, answered or followed by another */
    WS_COUNT_LOST,   /* held connections, before they were to be closed */
    WS_COUNT_PINGS,  /* of this end, and those that were answered */
    WS_COUNT_PONGS,
    WS_COUNT_RESET, /* by the server, behind its close frame */
};

/* Of all client roles; the first ones of each are the same instants of another operation. */
enum ws_histogram {
    WS_RESPONSE_TIME,
    WS_SERVICE_TIME,
    WS_SEND_LAG,
    WS_UPGRADE,
    WS_CLOSE,
    WS_CONNECT,
    WS_TLS,
    WS_OPEN_TIME,
    WS_PONG,
};

enum ws_server_histogram {
    WS_SERVER_TLS,
};

enum ws_server_counter {
    WS_SERVER_ACCEPTED,
    WS_SERVER_REFUSED,
    WS_SERVER_UPGRADED,
    WS_SERVER_REQUESTS_REFUSED,
    WS_SERVER_MESSAGES,
    WS_SERVER_BYTES,
    WS_SERVER_PINGS,
    WS_SERVER_CLOSED,
    WS_SERVER_IDLE_CLOSED,
};

extern const struct role ws_handshake_client, ws_hold_client, ws_message_client, ws_server;

/* The workload of the mode that the options ask for. */
const struct workload *ws_choose(const void *options);

/* In how long so many held connections are dialed. */
uint64_t ws_ramp_ns(const void *options, uint64_t connections);

enum { WS_HOLD_METRICS = 12 };
extern const struct metric ws_hold_metrics[WS_HOLD_METRICS];

enum { WS_SERVER_METRICS = 9, WS_SERVER_METRICS_OF_RUN = 7, WS_SERVER_OPTIONS = 3 };
extern const struct metric ws_server_metrics[WS_SERVER_METRICS];

/* Option rows over struct ws_server_options. */
extern const struct opt ws_server_rows[WS_SERVER_OPTIONS];

#endif
