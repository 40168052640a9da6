#include "codec/hello.h"

#include <string.h>

static const uint8_t magic[4] = {'S', 'N', 'D', 'E'};

static void put(uint8_t *to, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
}

static uint32_t get(const uint8_t *from, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

void hello_write(uint8_t to[HELLO_BYTES], const struct hello *hello)
{
    memset(to, 0, HELLO_BYTES);
    memcpy(to, magic, sizeof magic);
    put(to + 4, HELLO_VERSION, 2);
    put(to + 8, hello->flow, 4);
    memcpy(to + 16, hello->token, HELLO_TOKEN_BYTES);
}

int hello_read(const uint8_t from[HELLO_BYTES], struct hello *hello, struct err *error)
{
    if (!hello_begins(from)) {
        return err_set(error, ERR_PROTOCOL, "data connection", "does not begin as one of sonde's");
    }
    if (get(from + 4, 2) != HELLO_VERSION) {
        return err_set(error, ERR_PROTOCOL, "data connection", "is of version %u, not %d",
                       get(from + 4, 2), HELLO_VERSION);
    }
    if (get(from + 6, 2) || get(from + 12, 4)) {
        return err_set(error, ERR_PROTOCOL, "data connection", "has flags that nobody knows");
    }
    hello->flow = get(from + 8, 4);
    memcpy(hello->token, from + 16, HELLO_TOKEN_BYTES);
    return 0;
}

int hello_begins(const uint8_t from[4])
{
    return memcmp(from, magic, sizeof magic) == 0;
}
