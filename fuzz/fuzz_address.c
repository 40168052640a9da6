/* address_parse and address_parse_sources over any text, without name look-ups. What parses must
 * parse again from its own canonical text, to the same address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct address address, again;
    struct sockaddr_storage *sources = NULL;
    size_t count = 0;
    struct err error = {0};
    char *text = malloc(size + 1); /* exactly as long as it is: overruns are seen */

    if (!text) {
        return 0;
    }
    if (size) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    for (uint32_t listen = 0; listen <= ADDRESS_TO_LISTEN; listen++) {
        if (address_parse_with(text, listen | ADDRESS_NUMERIC, &address, &error)) {
            check(error.code == ERR_USAGE && error.what[0] && !address.transport);
            continue;
        }
        check(address.length <= sizeof address.socket_address);
        check(!address_parse_with(address.text, listen | ADDRESS_NUMERIC, &again, &error));
        check(
            !strcmp(again.text, address.text) && again.length == address.length &&
            again.transport == address.transport &&
            !memcmp(&again.socket_address, &address.socket_address, sizeof address.socket_address));
    }
    if (address_parse_sources(text, &sources, &count, &error)) {
        check(error.code == ERR_USAGE && !sources && count == 0);
    } else {
        check(count > 0 && count <= 65536);
    }
    free(sources);
    free(text);
    return 0;
}
