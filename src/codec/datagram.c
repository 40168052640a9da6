#include "codec/datagram.h"

#include <string.h>

static const uint8_t magic[4] = {'s', 'O', 'd', 'g'};

enum { AT_KIND = 4, AT_NUMBER = 8, AT_SEQUENCE = 16, AT_SENT = 24 };

static void put(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        to[i] = (uint8_t)value;
        value >>= 8;
    }
}

static uint64_t get(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

void datagram_encode(uint8_t *to, const struct datagram *datagram)
{
    memset(to, 0, DATAGRAM_BYTES);
    memcpy(to, magic, sizeof magic);
    to[AT_KIND] = datagram->kind;
    put(to + AT_NUMBER, datagram->number, 4);
    put(to + AT_SEQUENCE, datagram->sequence, 8);
    put(to + AT_SENT, datagram->sent_ns, 8);
}

bool datagram_decode(const uint8_t *data, size_t length, struct datagram *datagram)
{
    static const uint8_t zeros[4] = {0};
    if (length < DATAGRAM_BYTES || memcmp(data, magic, sizeof magic) != 0 ||
        data[AT_KIND] >= DATAGRAM_KINDS || memcmp(data + AT_KIND + 1, zeros, 3) != 0 ||
        memcmp(data + AT_NUMBER + 4, zeros, 4) != 0) {
        return false;
    }
    *datagram = (struct datagram){.kind = data[AT_KIND],
                                  .number = (uint32_t)get(data + AT_NUMBER, 4),
                                  .sequence = get(data + AT_SEQUENCE, 8),
                                  .sent_ns = get(data + AT_SENT, 8)};
    return true;
}
