/* What the two client roles of ws share: a connection from the request to the answered close
 * frame. */
#ifndef SONDE_WORKLOAD_WS_CLIENT_H
#define SONDE_WORKLOAD_WS_CLIENT_H

#include "codec/websocket_deflate.h"
#include "codec/websocket_handshake.h"
#include "workload/ws.h"

/* What a worker's connections share. */
struct ws_worker {
    struct rng rng;
    struct websocket_deflate deflate; /* the offer */
    struct websocket_offer offer;
    uint8_t *pattern;    /* payload; message n begins at n modulo the period */
    uint8_t *compressed; /* one message, while it is framed; NULL without deflate */
    size_t compressed_room;
    uint8_t *inflated; /* a piece of one */
    struct websocket_hash *hash;
};

enum { WS_INFLATED_ROOM = 64 << 10 };

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

struct ws_times {
    uint64_t intended_ns, sent_ns;
};

struct ws_client {
    struct connection base;
    uint8_t state; /* enum ws_state */
    bool sending;
    bool pong_wanted, close_wanted;
    uint8_t pong_bytes;
    uint8_t pong[WEBSOCKET_CONTROL_MOST]; /* to the latest ping */
    char accept[WEBSOCKET_ACCEPT_TEXT + 1];
    uint8_t *out; /* frames under way, at first the request */
    uint32_t out_room, out_begin, out_end;
    struct ws_head *head; /* NULL: the answer came whole, or not at all */
    struct websocket_reader reader;
    struct ws_compression *compression; /* NULL: permessage-deflate was not agreed upon */
    uint64_t started_ns, open_ns;
    struct ws_record *record; /* of a journal; NULL: there is none */
    bool settled;             /* counted in context->settled */
    /* Messages: numbers begin with 0. */
    struct ws_times *ring; /* of a power of two */
    uint64_t mask;
    uint64_t issued, begun, completed;
    uint64_t taken_bytes; /* of the answer that comes in */
    bool mismatched;      /* which is not what was sent */
};

static inline const struct ws_options *ws_options_of(const struct role_context *context)
{
    return context->options;
}

static inline struct ws_client *ws_client_of(struct connection *connection)
{
    return (struct ws_client *)(void *)connection;
}

/* What the roles differ in. */
struct ws_ways {
    /* The upgrade was answered. */
    void (*opened)(struct role_context *context, struct ws_client *client, uint64_t now_ns);
    /* A piece of a message, or a pong. NULL, or what is wrong with it. */
    const char *(*took)(struct role_context *context, struct ws_client *client,
                        const struct websocket_event *event, uint64_t now_ns);
    /* Appends frames to client->out, before a close frame that is wanted. */
    void (*fill)(struct role_context *context, struct ws_client *client);
    /* The close frame was answered. */
    void (*closed)(struct role_context *context, struct ws_client *client, uint64_t now_ns);
    /* The connection has failed. */
    void (*failed)(struct role_context *context, struct ws_client *client);
    /* Whether the connection is closed once its end is there. */
    bool leaves;
};

/* Of struct role. */
void *ws_open_worker(const void *options, uint32_t connections, struct err *error);
void ws_close_worker(void *shared);

/* Makes room for frames of `frames` bytes, and the request; 0 or -errno. */
int ws_client_open(struct role_context *context, struct ws_client *client, size_t frames);
void ws_client_close(struct ws_client *client);

/* Handles what both roles handle alike: start, send, receive, timer. */
void ws_client_step(struct role_context *context, struct ws_client *client, const struct op *op,
                    const struct ws_ways *ways);

/* Sends what is there to be sent, unless a send is under way. */
void ws_client_send(struct role_context *context, struct ws_client *client,
                    const struct ws_ways *ways);

/* Wants the connection closed, with the code of the options. */
void ws_client_end(struct role_context *context, struct ws_client *client);

/* Appends a frame. The room was made before. */
void ws_client_append(struct role_context *context, struct ws_client *client,
                      struct websocket_frame frame, const uint8_t *payload);

/* Bytes that one message's frames take at most. */
size_t ws_message_room(const struct ws_options *options);

#endif
