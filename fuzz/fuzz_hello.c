/* Any bytes: what is a hello is written back as the same bytes, and what is one in pieces is one.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "codec/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello hello;
    const char *reason;
    uint8_t again[HELLO_BYTES];
    int whole = hello_decode(data, size, &hello, &reason);
    assert((whole < 0) == (reason != NULL));
    for (size_t length = 0; length < size && length < HELLO_BYTES; length++) {
        int part = hello_decode(data, length, &hello, &reason);
        assert(part <= 0 && (part == 0 || whole < 0));
    }
    if (whole > 0) {
        assert(hello_decode(data, size, &hello, &reason) == HELLO_BYTES);
        hello_encode(again, &hello);
        assert(memcmp(again, data, HELLO_BYTES) == 0);
    }
    return 0;
}
