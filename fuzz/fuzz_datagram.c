/* Any bytes: what is a head of a datagram is written back as the same bytes, and a part is none. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "codec/datagram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct datagram datagram;
    uint8_t again[DATAGRAM_BYTES];
    if (datagram_decode(data, size, &datagram)) {
        datagram_encode(again, &datagram);
        assert(memcmp(again, data, sizeof again) == 0);
        assert(!datagram_decode(data, DATAGRAM_BYTES - 1, &datagram));
    }
    return 0;
}
