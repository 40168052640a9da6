/* What a client's WebSocket connections are made of: what a worker's share, and each one's request
 * and memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "workload/ws_client.h"

/* Of a request what is neither its path nor its host. */
#define REQUEST_BESIDE 512
#define REQUEST_ROOM (WEB_PATH_MOST + WEB_HOST_MOST + REQUEST_BESIDE)
/* The periods of the payload: primes, so that an answer to another message is found out. */
#define BINARY_PERIOD 251
#define TEXT_PERIOD 89

/* Random payloads are taken one behind the other, modulo this: what comes again is further away
 * than zlib's window of 32 KiB. */
#define RANDOM_PERIOD 65537
#define RANDOM_SEED 6455

static void make_pattern(const struct ws_options *options, uint8_t *pattern, size_t bytes)
{
    struct rng rng;
    rng_seed(&rng, RANDOM_SEED);
    for (size_t i = 0; i < bytes; i++) {
        uint64_t value = options->payload == WS_RANDOM ? rng_next(&rng) >> 32 : i;
        pattern[i] = (uint8_t)(options->message == WS_TEXT     ? '!' + value % TEXT_PERIOD
                               : options->payload == WS_RANDOM ? value
                                                               : value % BINARY_PERIOD);
    }
}

const uint8_t *ws_payload(const struct ws_worker *worker, const struct ws_options *options,
                          uint64_t number)
{
    if (options->payload == WS_RANDOM) {
        return worker->pattern + number * options->size_bytes % RANDOM_PERIOD;
    }
    return worker->pattern + number % (options->message == WS_TEXT ? TEXT_PERIOD : BINARY_PERIOD);
}

void ws_close_worker(void *shared)
{
    struct ws_worker *worker = shared;
    if (worker) {
        free(worker->pattern);
        free(worker->compressed);
        free(worker->inflated);
        websocket_hash_close(worker->hash);
    }
    free(worker);
}

void *ws_open_worker(const void *member, uint32_t connections, struct err *error)
{
    const struct ws_options *options = member;
    struct ws_worker *worker = calloc(1, sizeof *worker);
    size_t pattern_bytes =
        options->size_bytes + (options->payload == WS_RANDOM ? RANDOM_PERIOD : BINARY_PERIOD);
    if (worker) {
        worker->connections = connections;
        worker->pattern = malloc(pattern_bytes);
        if (options->deflate) {
            /* Of what cannot be compressed zlib makes a little more. */
            worker->compressed_room = options->size_bytes + options->size_bytes / 8 + 1024;
            worker->compressed = malloc(worker->compressed_room);
            worker->inflated = malloc(WS_INFLATED_ROOM);
        }
    }
    if (!worker || !worker->pattern ||
        (options->deflate && (!worker->compressed || !worker->inflated))) {
        ws_close_worker(worker);
        err_system(error, ENOMEM, "ws", "cannot make the messages");
        return NULL;
    }
    make_pattern(options, worker->pattern, pattern_bytes);
    worker->hash = websocket_hash_open();
    rng_seed(&worker->rng, clock_now_ns() ^ (uint64_t)(uintptr_t)worker);
    worker->deflate = (struct websocket_deflate){.client_max_window_bits = WEBSOCKET_WINDOW_ANY};
    worker->offer = (struct websocket_offer){
        .target = options->where.path[0] ? options->where.path : "/",
        .host = options->where.host[0] ? options->where.host : "localhost",
        .deflate = &worker->deflate,
        .deflate_count = options->deflate,
    };
    return worker;
}

size_t ws_message_room(const struct ws_options *options)
{
    size_t bytes = options->size_bytes;
    bytes += options->deflate ? bytes / 8 + 1024 : 0;
    size_t frames = options->fragment_bytes ? bytes / options->fragment_bytes + 1 : 1;
    return bytes + frames * WEBSOCKET_HEADER_MOST;
}

/* Makes at least so much room for what is sent. */
static int have_room(struct ws_client *client, size_t room)
{
    if (client->out_room >= room) {
        return 0;
    }
    free(client->out); /* it holds nothing yet */
    client->out = malloc(room);
    client->out_room = client->out ? (uint32_t)room : 0;
    return client->out ? 0 : -ENOMEM;
}

int ws_client_room(struct ws_client *client, size_t frames)
{
    return have_room(client, frames + WS_CONTROL_ROOM);
}

int ws_client_request(struct role_context *context, struct ws_client *client)
{
    struct ws_worker *worker = context->shared;
    uint8_t nonce[WEBSOCKET_NONCE_BYTES];
    char key[WEBSOCKET_KEY_TEXT + 1];
    char request[REQUEST_ROOM];
    for (size_t i = 0; i < sizeof nonce; i += sizeof(uint64_t)) {
        uint64_t random = rng_next(&worker->rng);
        memcpy(nonce + i, &random, sizeof random);
    }
    if (websocket_key(nonce, key) < 0 || websocket_accept(worker->hash, key, client->accept) < 0) {
        return -ENOTSUP;
    }
    ssize_t bytes = websocket_request_write(&worker->offer, key, request, sizeof request);
    if (bytes < 0) {
        return -EINVAL;
    }
    int failed = ws_client_room(client, 0);
    failed = failed ? failed : have_room(client, (size_t)bytes);
    if (failed == 0) {
        memcpy(client->out, request, (size_t)bytes);
        client->out_begin = 0;
        client->out_end = (uint32_t)bytes;
    }
    return failed;
}

void ws_client_close(struct ws_client *client)
{
    if (client->compression) {
        websocket_inflater_close(&client->compression->inflater);
        websocket_deflater_close(&client->compression->deflater);
    }
    free(client->compression);
    free(client->head);
    free(client->pong);
    free(client->out);
    client->compression = NULL;
    client->head = NULL;
    client->pong = NULL;
    client->out = NULL;
}

int ws_client_dial(struct role_context *context, struct connection *connection)
{
    context->quota -= context->quota == UINT64_MAX ? 0 : 1;
    context->bank->counters[WS_COUNT_STARTED]++;
    (void)connection; /* it is zeroed: its memory comes with the request */
    return 0;
}

void ws_client_release(struct role_context *context, struct connection *connection)
{
    (void)context;
    ws_client_close(ws_client_of(connection));
}

bool ws_client_takes_none(const struct role_context *context, const struct connection *connection)
{
    (void)context;
    (void)connection;
    return false; /* arrivals dial */
}

/* Also of one that is being established. */
uint64_t ws_client_outstanding(const struct connection *connection)
{
    const struct ws_client *client = (const struct ws_client *)(const void *)connection;
    return client->state != WS_CLOSED && client->state != WS_GONE;
}

size_t ws_client_memory(const void *member)
{
    const struct ws_options *options = member;
    return sizeof(struct ws_client) + strlen(options->where.path) + strlen(options->where.host) +
           REQUEST_BESIDE;
}
