/* What the client roles of ws share: a connection from the request to the answered close
 * frame. */
#ifndef SONDE_WORKLOAD_WS_CLIENT_H
#define SONDE_WORKLOAD_WS_CLIENT_H

#include "codec/websocket_deflate.h"
#include "codec/websocket_handshake.h"
#include "workload/ws.h"

/* What a worker's connections share. */
struct ws_worker {
    uint32_t connections; /* at most */
    uint32_t begun;       /* of --count: connections that have their part, of so many messages */
    uint64_t count;
    struct rng rng;
    struct websocket_deflate deflate; /* the offer */
    struct websocket_offer offer;
    uint8_t *pattern;    /* payloads: each message begins somewhere else (ws_payload) */
    uint8_t *compressed; /* one message, while it is framed; NULL without deflate */
    size_t compressed_room;
    uint8_t *inflated; /* a piece of one */
    struct websocket_hash *hash;
    uint8_t
        last[WEBSOCKET_HEADER_MOST + WEBSOCKET_CONTROL_MOST]; /* a close frame, while it is tried */
};

enum {
    WS_INFLATED_ROOM = 64 << 10,
    /* A ping, a pong and a close frame, which find room behind any message. */
    WS_CONTROL_ROOM = 3 * (WEBSOCKET_HEADER_MOST + WEBSOCKET_CONTROL_MOST),
};

enum ws_state {
    WS_DIALED,    /* not established yet, or not begun */
    WS_UPGRADING, /* the request is on its way */
    WS_OPEN,
    WS_CLOSING, /* a close frame is on its way, or was sent */
    WS_CLOSED,  /* and was answered: the server is to end the connection */
    WS_GONE,    /* ended, or failed */
};

/* An answer to the upgrade that comes in pieces. */
struct ws_head {
    struct websocket_head read;
    size_t bytes, room;
    char data[];
};

struct ws_compression {
    struct websocket_inflater inflater;
    struct websocket_deflater deflater;
};

/* The payload of the latest ping that is to be answered. */
struct ws_pong {
    uint8_t bytes;
    uint8_t data[WEBSOCKET_CONTROL_MOST];
};

/* A role may embed it at the head of its own. A connection that says nothing holds no memory but
 * this, where its role is lean. */
struct ws_client {
    struct connection base;
    uint8_t state; /* enum ws_state */
    bool sending, close_wanted;
    uint32_t out_room, out_begin, out_end;
    uint8_t *out;                       /* frames under way, at first the request */
    struct ws_pong *pong;               /* NULL: there is none to be sent */
    struct ws_head *head;               /* NULL: the answer came whole, or not at all */
    struct ws_compression *compression; /* NULL: permessage-deflate was not agreed upon */
    uint64_t since_ns; /* when the request was sent; it was open; its close frame was sent */
    union {
        char accept[WEBSOCKET_ACCEPT_TEXT + 1]; /* until the upgrade is answered */
        struct websocket_reader reader;         /* from then on */
    };
};

static inline const struct ws_options *ws_options_of(const struct role_context *context)
{
    return context->options;
}

static inline struct ws_client *ws_client_of(struct connection *connection)
{
    return (struct ws_client *)(void *)connection;
}

/* What the roles differ in. Each function may be NULL. */
struct ws_ways {
    /* The upgrade was answered. */
    void (*opened)(struct role_context *context, struct ws_client *client, uint64_t now_ns);
    /* A piece of a message, or a pong. NULL, or what is wrong with it. */
    const char *(*took)(struct role_context *context, struct ws_client *client,
                        const struct websocket_event *event, uint64_t now_ns);
    /* Appends frames (ws_client_append); true where nothing is left that a close frame would have
     * to wait for. */
    bool (*fill)(struct role_context *context, struct ws_client *client);
    /* A timer that the role has set for an open connection. NULL, or why that has failed. */
    const char *(*due)(struct role_context *context, struct ws_client *client, uint64_t now_ns);
    /* The close frame was answered. */
    void (*closed)(struct role_context *context, struct ws_client *client, uint64_t now_ns);
    /* The connection has failed; in client->state: where. */
    void (*failed)(struct role_context *context, struct ws_client *client);
    /* Connections come and go: each is dialed while the role runs, and closed once its end is
     * there. */
    bool dials;
    /* There is no room for frames while none is under way. */
    bool lean;
};

/* Of struct role. */
void *ws_open_worker(const void *options, uint32_t connections, struct err *error);
void ws_close_worker(void *shared);
uint64_t ws_client_outstanding(const struct connection *connection); /* it is not closed yet */

/* Of roles that dial: a connection is an operation, and no arrival is taken by one. */
int ws_client_dial(struct role_context *context, struct connection *connection);
void ws_client_release(struct role_context *context, struct connection *connection);
bool ws_client_takes_none(const struct role_context *context, const struct connection *connection);

/* Makes room for frames of `frames` bytes, and control frames; 0 or -errno. */
int ws_client_room(struct ws_client *client, size_t frames);
void ws_client_close(struct ws_client *client);

/* Writes the request to client->out; 0 or -errno. */
int ws_client_request(struct role_context *context, struct ws_client *client);

/* Handles what all roles handle alike: start, send, receive, timer, drain. */
void ws_client_step(struct role_context *context, struct ws_client *client, const struct op *op,
                    const struct ws_ways *ways);

/* Sends what is there to be sent, unless a send is under way. */
void ws_client_send(struct role_context *context, struct ws_client *client,
                    const struct ws_ways *ways);

/* Wants the connection closed, with the code of the options. */
void ws_client_end(struct ws_client *client);

/* Appends a frame. The room was made before. */
void ws_client_append(struct role_context *context, struct ws_client *client,
                      struct websocket_frame frame, const uint8_t *payload);

/* Sets the connection's timer; 0: none. */
void ws_client_timer(struct role_context *context, uint64_t at_ns);

/* What message `number` of a connection consists of. */
const uint8_t *ws_payload(const struct ws_worker *worker, const struct ws_options *options,
                          uint64_t number);

/* Bytes that one message's frames take at most. */
size_t ws_message_room(const struct ws_options *options);

/* Most that one connection of a lean role comes to need, and of one that is not with no frames but
 * the request and control frames. */
size_t ws_client_memory(const void *options);

/* Phases of a connection, which each mode has. */
#define WS_PHASES                                                                                  \
    [WS_UPGRADE] = {"upgrade", "ns", "upgrade",                                                    \
                    "from the request to the receive that completed the answer 101", PART_NONE},   \
    [WS_OPEN_TIME] = {"open", "ns", "held open",                                                   \
                      "how long a connection was open: from that answer to the close frame of "    \
                      "this end, or until it was lost",                                            \
                      PART_NONE},                                                                  \
    [WS_CLOSE] = {"close", "ns", "close",                                                          \
                  "from the close frame of this end to the receive of the answer to it",           \
                  PART_NONE}

/* Of a mode that dials. */
#define WS_PHASES_OF_DIALING                                                                       \
    [WS_CONNECT] = {"connect", "ns", "TCP connect",                                                \
                    "from making the socket to the established connection", PART_NONE},            \
    [WS_TLS] = {"tls_handshake", "ns", "TLS handshake",                                            \
                "from the established connection to the end of TLS's handshake, as this end saw "  \
                "it",                                                                              \
                PART_NONE}
#define WS_ROLE_THAT_DIALS                                                                         \
    .open_worker = ws_open_worker, .close_worker = ws_close_worker,                                \
    .can_take = ws_client_takes_none, .times_security = true,                                      \
    .throttled_counter = WS_COUNT_THROTTLED, .resumed_counter = WS_COUNT_RESUMED,                  \
    .undialed_counter = WS_COUNT_FAILED

#endif
