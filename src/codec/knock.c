#include "codec/knock.h"

#include <string.h>

static const uint8_t magic[4] = {'s', 'O', 'k', 'n'};

enum { AT_VERSION = 4, AT_KIND = 5, AT_NUMBER = 8, AT_TOKEN = 16 };

void knock_encode(uint8_t *to, const struct knock *knock)
{
    memset(to, 0, KNOCK_BYTES);
    memcpy(to, magic, sizeof magic);
    to[AT_VERSION] = KNOCK_VERSION;
    to[AT_KIND] = knock->kind;
    for (int i = 0; i < 4; i++) {
        to[AT_NUMBER + i] = (uint8_t)(knock->number >> (24 - 8 * i));
    }
    memcpy(to + AT_TOKEN, knock->token, KNOCK_TOKEN_BYTES);
}

bool knock_decode(const uint8_t *data, size_t length, struct knock *knock)
{
    uint8_t again[KNOCK_BYTES];
    if (length != KNOCK_BYTES || data[AT_KIND] >= KNOCK_KINDS) {
        return false;
    }
    *knock = (struct knock){.kind = data[AT_KIND]};
    for (int i = 0; i < 4; i++) {
        knock->number = knock->number << 8 | data[AT_NUMBER + i];
    }
    memcpy(knock->token, data + AT_TOKEN, KNOCK_TOKEN_BYTES);
    knock_encode(again, knock); /* whatever else is in it has to be as it is written */
    return memcmp(again, data, KNOCK_BYTES) == 0;
}

bool knock_same_token(const uint8_t *a, const uint8_t *b)
{
    volatile uint8_t different = 0;
    for (size_t i = 0; i < KNOCK_TOKEN_BYTES; i++) {
        different = (uint8_t)(different | (a[i] ^ b[i]));
    }
    return different == 0;
}
