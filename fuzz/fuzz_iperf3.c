/* iperf3's decoders on any bytes. The first byte chooses; what is accepted must be within what the
 * protocol allows, and survive being written and read again. */
#include <stdlib.h>
#include <string.h>

#include "run/iperf3.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void parameters(const char *text, size_t length)
{
    static struct iperf3_parameters first, second;
    struct iperf3_test test;
    const char *member;

    int status = iperf3_parameters_decode(text, length, &first, &member);
    require(status <= 0 && member != NULL);
    if (status) {
        require(strcmp(iperf3_error_text(status), "unknown error") != 0);
        return;
    }
    require(first.parallel >= 1 && first.parallel <= IPERF3_STREAMS_MOST);
    require(first.length_bytes >= 1 && first.length_bytes <= IPERF3_BLOCK_MOST);
    char *again = iperf3_parameters_encode(&first);
    require(again != NULL);
    require(iperf3_parameters_decode(again, strlen(again), &second, &member) == 0);
    free(again);
    second.token = first.token; /* it is not kept */
    require(memcmp(&first, &second, sizeof first) == 0);
    if (iperf3_test_from_parameters(&first, &test) == 0) {
        struct err error = {0};
        require(iperf3_flow_count(&test) <= IPERF3_FLOWS_MOST);
        require(iperf3_test_check(&test, &error) == 0);
    }
}

static void results(const char *text, size_t length)
{
    static struct iperf3_results first, second;
    static struct iperf3_side side;
    const char *member;

    int status = iperf3_results_decode(text, length, &first, &member);
    require(status <= 0 && member != NULL);
    if (status) {
        return;
    }
    require(first.stream_count <= IPERF3_FLOWS_MOST);
    char *again = iperf3_results_encode(&first);
    require(again != NULL);
    require(iperf3_results_decode(again, strlen(again), &second, &member) == 0);
    free(again);
    require(first.stream_count == second.stream_count);
    struct iperf3_test test = {.udp = true, .streams = first.stream_count};
    for (int server = 0; server < 2; server++) {
        struct err error = {0};
        int known = iperf3_side_from_results(&test, &first, server, "", &side, &error);
        require(known == 0 || error.code == ERR_PROTOCOL);
    }
}

static void bytes(const uint8_t *data, size_t size)
{
    char cookie[IPERF3_COOKIE_BYTES];
    enum iperf3_state state;
    enum iperf3_greeting greeting;
    struct iperf3_refusal refusal;
    struct iperf3_datagram datagram;
    const char *body;
    uint32_t length;

    int status = iperf3_cookie_decode(data, size, cookie);
    require(status <= 0 || (size >= 37 && strlen(cookie) >= 1));
    status = iperf3_state_decode(data, size, &state);
    require(status <= 0 || strcmp(iperf3_state_name(state), "unknown") != 0);
    iperf3_refusal_decode(data, size, &refusal);
    iperf3_hello_decode(data, size, &greeting);
    iperf3_reply_decode(data, size, &greeting);
    for (int wide = 0; wide < 2; wide++) {
        uint8_t again[IPERF3_DATAGRAM_MOST];
        if (iperf3_datagram_decode(data, size, wide, &datagram) > 0) {
            size_t bytes = iperf3_datagram_encode(again, wide, &datagram);
            require(bytes == iperf3_datagram_bytes(wide) && memcmp(again, data, bytes) == 0);
        }
    }
    status = iperf3_frame_decode(data, size, IPERF3_PARAMETERS_MOST, &body, &length);
    if (status > 0) {
        require((size_t)status <= size && length <= IPERF3_PARAMETERS_MOST);
        parameters(body, length);
        results(body, length);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t kind = size ? data[0] % 3 : 0;
    data += size ? 1 : 0;
    size -= size ? 1 : 0;
    if (kind == 0) {
        bytes(data, size);
    } else if (kind == 1) {
        parameters((const char *)data, size);
    } else {
        results((const char *)data, size);
    }
    return 0;
}
