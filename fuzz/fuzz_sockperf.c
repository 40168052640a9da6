/* The sockperf codec, and both servers behind it: any bytes as a header, as a datagram, and as a
 * stream cut by its first byte. Answers are never longer, and never more, than what was asked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "codec/sockperf.h"
#include "workload/ping.h"

#define RECEIVE_BYTES 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct peer {
    struct role_context context;
    struct bank *bank;
    struct ping_options options;
    struct connection *connection;
    uint64_t received, sent;
    bool closed;
};

/* Steps and completes every send at once, in two pieces where it can be cut. */
static void step(struct peer *peer, struct op op)
{
    struct step_out *out = &peer->context.out;
    for (bool more = true; more && !peer->closed;) {
        out->count = 0;
        out->flush = out->resume = out->set_timer = false;
        op.channel = &peer->connection->channel;
        ping_server.step(&peer->context, peer->connection, &op);
        require(out->count <= OUT_OPS);
        more = false;
        for (uint32_t i = 0; i < out->count; i++) {
            struct op next = out->ops[i];
            peer->closed = peer->closed || next.kind == OP_CLOSE;
            if (next.kind == OP_SEND) {
                bool stream = peer->connection->channel.kind == CHANNEL_SOCKET;
                next.result = (int64_t)(stream ? (next.length + 1) / 2 : next.length);
                peer->sent += (uint64_t)next.result;
                op = next;
                more = true;
            }
        }
        require(peer->sent <= peer->received);
    }
}

static void open_peer(struct peer *peer, enum channel_kind kind)
{
    struct err error;
    *peer = (struct peer){.bank = calloc(1, sizeof *peer->bank),
                          .options = {.format = PING_SOCKPERF},
                          .connection = calloc(1, ping_server.connection_bytes)};
    require(peer->bank && peer->connection);
    bank_clear(peer->bank);
    peer->context = (struct role_context){
        .bank = peer->bank, .quota = UINT64_MAX, .receive_bytes = RECEIVE_BYTES};
    peer->context.options = &peer->options;
    peer->context.shared = ping_server.open_worker(&peer->options, 1, &error);
    peer->connection->channel.kind = (uint8_t)kind;
    require(peer->context.shared != NULL);
    step(peer, (struct op){.kind = OP_START, .now_ns = 1});
}

static void close_peer(struct peer *peer)
{
    ping_server.close(&peer->context, peer->connection);
    ping_server.close_worker(peer->context.shared);
    free(peer->connection);
    free(peer->bank);
}

static void receive(struct peer *peer, const uint8_t *data, size_t length)
{
    uint8_t *exact = malloc(length ? length : 1);
    require(exact != NULL);
    memcpy(exact, data, length);
    peer->received += length;
    step(peer,
         (struct op){.kind = OP_RECEIVE, .data = exact, .result = (int64_t)length, .now_ns = 2});
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sockperf_header header;
    struct peer peer;
    if (sockperf_decode(data, size, &header) == SOCKPERF_OK) {
        uint8_t again[SOCKPERF_HEADER_BYTES];
        sockperf_encode(again, &header);
        require(memcmp(again, data, sizeof again) == 0);
    }
    open_peer(&peer, CHANNEL_MANY);
    receive(&peer, data, size < SOCKPERF_MESSAGE_MAX ? size : SOCKPERF_MESSAGE_MAX);
    require(!peer.closed);
    close_peer(&peer);
    if (size < 2) {
        return 0;
    }
    open_peer(&peer, CHANNEL_SOCKET);
    size_t piece = data[0] + (size_t)1;
    for (size_t at = 1; at < size && !peer.closed; at += piece) {
        receive(&peer, data + at, piece < size - at ? piece : size - at);
    }
    close_peer(&peer);
    return 0;
}
