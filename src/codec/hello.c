#include "codec/hello.h"

#include <stdbool.h>
#include <string.h>

static const uint8_t magic[4] = {'s', 'O', 'n', 'd'};

enum {
    AT_VERSION = 4,
    AT_FLAGS = 5,
    AT_RESERVED = 6,
    AT_NUMBER = 8,
    AT_RESERVED2 = 12,
    AT_TOKEN = 16
};

void hello_encode(uint8_t *to, const struct hello *hello)
{
    memset(to, 0, HELLO_BYTES);
    memcpy(to, magic, sizeof magic);
    to[AT_VERSION] = HELLO_VERSION;
    to[AT_FLAGS] = hello->flags;
    for (int i = 0; i < 4; i++) {
        to[AT_NUMBER + i] = (uint8_t)(hello->number >> (24 - 8 * i));
    }
    memcpy(to + AT_TOKEN, hello->token, HELLO_TOKEN_BYTES);
}

/* What is wrong with the byte at `at`; NULL where it may stand there. */
static const char *wrong(const uint8_t *data, size_t at)
{
    if (at < sizeof magic) {
        return data[at] == magic[at] ? NULL : "not a hello of sonde's";
    }
    if (at == AT_VERSION) {
        return data[at] == HELLO_VERSION ? NULL : "hello of another version";
    }
    if (at == AT_FLAGS) {
        return data[at] & ~HELLO_FLAGS ? "hello with unknown flags" : NULL;
    }
    bool reserved = (at >= AT_RESERVED && at < AT_NUMBER) || (at >= AT_RESERVED2 && at < AT_TOKEN);
    return reserved && data[at] ? "hello with reserved bytes set" : NULL;
}

int hello_decode(const uint8_t *data, size_t length, struct hello *hello, const char **reason)
{
    for (size_t i = 0; i < length && i < HELLO_BYTES; i++) {
        *reason = wrong(data, i);
        if (*reason) {
            return -1;
        }
    }
    *reason = NULL;
    if (length < HELLO_BYTES) {
        return 0;
    }
    *hello = (struct hello){.flags = data[AT_FLAGS]};
    for (int i = 0; i < 4; i++) {
        hello->number = hello->number << 8 | data[AT_NUMBER + i];
    }
    memcpy(hello->token, data + AT_TOKEN, HELLO_TOKEN_BYTES);
    return HELLO_BYTES;
}
