/* What the data port of a run over datagrams reads from anybody. */
#include <stdlib.h>
#include <string.h>

#include "codec/knock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct knock knock;
    uint8_t again[KNOCK_BYTES];
    if (knock_decode(data, size, &knock)) {
        knock_encode(again, &knock);
        if (size != KNOCK_BYTES || memcmp(again, data, KNOCK_BYTES) != 0) {
            abort();
        }
    }
    return 0;
}
