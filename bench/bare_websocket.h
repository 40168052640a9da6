/* What the bare loops of WebSocket share: canned bytes, no codec. The key and the mask are always
 * the same, answers are counted by their length, and nothing that a peer says is looked at. */
#ifndef SONDE_BENCH_BARE_WEBSOCKET_H
#define SONDE_BENCH_BARE_WEBSOCKET_H

#include "bare.h"

#define BARE_REQUEST                                                                               \
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"           \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/* A masked close frame of code 1001, its mask 1, 2, 3, 4. */
static const uint8_t bare_close[] = {0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2};

/* Whether a head has ended with what was received (one piece). */
static inline bool bare_head_ends(const uint8_t *data, ssize_t length)
{
    return length >= 4 && memmem(data, (size_t)length, "\r\n\r\n", 4) != NULL;
}

static inline uint64_t bare_number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*end || end == text) {
        fprintf(stderr, "%s is no number\n", text);
        exit(2);
    }
    return value;
}

static inline struct sockaddr_in bare_address(const char *host, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)bare_number(port))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "%s is no IPv4 address\n", host);
        exit(2);
    }
    return address;
}

#endif
