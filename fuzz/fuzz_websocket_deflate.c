/* Messages of any bytes as compressed ones: the first byte says how they are cut and agreed on.
 * Never more is made than the limit, cut or not makes no difference, and what was made can be
 * deflated and inflated again. */
#include <stdlib.h>
#include <string.h>

#include "codec/websocket_deflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST = 1 << 16, MESSAGES = 2 };

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct made {
    uint8_t bytes[MOST];
    size_t length;
    int error;
};

static int inflate_message(struct websocket_inflater *inflater, const uint8_t *data, size_t size,
                           size_t chop, size_t room, bool text, struct made *made)
{
    uint8_t some[1024];
    size_t at = 0;
    made->length = 0;
    do {
        size_t piece = chop && size - at > chop ? chop : size - at;
        struct websocket_flow flow = {.from = data + at, .length = piece, .to = some, .room = room};
        int more;
        at += piece;
        do {
            more = websocket_inflate(inflater, &flow, text, at == size);
            if (more < 0) {
                return more;
            }
            require(flow.made <= room && made->length + flow.made <= MOST);
            memcpy(made->bytes + made->length, some, flow.made);
            made->length += flow.made;
        } while (more);
        require(flow.length == 0);
    } while (at < size);
    return 0;
}

/* The input is two messages, so that the second finds the window of the first. */
static void inflate_all(const uint8_t *data, size_t size, uint8_t how, size_t chop, size_t room,
                        struct made *made)
{
    struct websocket_inflater inflater;
    size_t half = size / 2;
    require(websocket_inflater_open(&inflater, 8 + how % 8, how & 8, MOST) == 0);
    made->error = inflate_message(&inflater, data, half, chop, room, how & 16, made);
    if (!made->error) {
        made->error =
            inflate_message(&inflater, data + half, size - half, chop, room, how & 16, made);
    }
    websocket_inflater_close(&inflater);
}

static void around(const struct made *made, uint8_t how)
{
    static struct made again;
    struct websocket_deflater deflater;
    struct websocket_inflater inflater;
    require(websocket_deflater_open(&deflater, 8 + how % 8, how & 8, 1 + how % 9, 1 + how % 9) ==
            0);
    require(websocket_inflater_open(&inflater, 8 + how % 8, how & 8, MOST) == 0);
    size_t bound = 2 * made->length + 1000;
    uint8_t *packed = malloc(bound);
    require(packed != NULL);
    for (int i = 0; i < MESSAGES; i++) {
        size_t length = 0;
        struct websocket_flow flow = {.from = made->bytes,
                                      .length = made->length,
                                      .to = packed,
                                      .room = WEBSOCKET_DEFLATE_ROOM + how};
        int more;
        do {
            require(length + flow.room <= bound);
            flow.to = packed + length;
            more = websocket_deflate(&deflater, &flow, true);
            require(more >= 0);
            length += flow.made;
        } while (more);
        require(length >= 1 && flow.length == 0);
        require(inflate_message(&inflater, packed, length, 0, 1024, false, &again) == 0);
        require(again.length == made->length &&
                memcmp(again.bytes, made->bytes, made->length) == 0);
    }
    free(packed);
    websocket_deflater_close(&deflater);
    websocket_inflater_close(&inflater);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct made whole, pieces;
    if (size == 0) {
        return 0;
    }
    uint8_t how = data[0];
    inflate_all(data + 1, size - 1, how, 0, 1024, &whole);
    inflate_all(data + 1, size - 1, how, 1 + how % 7, 1 + how, &pieces);
    /* What refers back past a smaller window is an error to zlib only where one call has not made
     * all of it. */
    require(whole.error == pieces.error || how % 8 < 7);
    if (whole.error != pieces.error) {
        return 0;
    }
    if (!whole.error) {
        require(whole.length == pieces.length &&
                memcmp(whole.bytes, pieces.bytes, whole.length) == 0);
        around(&whole, how);
    }
    return 0;
}
