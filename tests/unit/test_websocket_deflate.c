/* permessage-deflate over bytes: RFC 7692's own examples, every cut, and what must not be inflated.
 */
#include "websocket_world.h"

#define D(text) (const uint8_t *)text, sizeof text - 1

/* Inflates one message in pieces of `chop` into rooms of `room`. 0, or the error. */
static int inflate_message(struct websocket_inflater *inflater, const uint8_t *data, size_t length,
                           size_t chop, size_t room, bool text, struct ws_bytes *out)
{
    uint8_t some[4096];
    size_t at = 0;
    do {
        size_t piece = chop && length - at > chop ? chop : length - at;
        struct websocket_flow flow = {
            .from = ws_at_the_edge(data + at, piece), .length = piece, .to = some, .room = room};
        int more;
        at += piece;
        do {
            more = websocket_inflate(inflater, &flow, text, at == length);
            if (more < 0) {
                return more;
            }
            assert_true(flow.made <= room);
            ws_append(out, some, flow.made);
        } while (more);
        assert_int_equal(flow.length, 0);
    } while (at < length);
    return 0;
}

/* Messages of one connection, one after the other. */
static void expect_messages(bool no_context, const struct ws_frame *messages, size_t count,
                            const char *expected)
{
    for (size_t chop = 0; chop < 8; chop++) {
        for (size_t room = 1; room < 20; room += 3) {
            struct websocket_inflater inflater;
            assert_int_equal(websocket_inflater_open(&inflater, 15, no_context, 1000), 0);
            for (size_t i = 0; i < count; i++) {
                struct ws_bytes out = {0};
                assert_int_equal(inflate_message(&inflater, (const uint8_t *)messages[i].payload,
                                                 messages[i].length, chop, room, true, &out),
                                 0);
                assert_int_equal(out.length, strlen(expected));
                if (out.length) {
                    assert_memory_equal(out.data, expected, out.length);
                }
                ws_free(&out);
            }
            websocket_inflater_close(&inflater);
            websocket_inflater_close(&inflater);
        }
    }
}

#define M(text)                                                                                    \
    {                                                                                              \
        0, text, sizeof text - 1, 0                                                                \
    }
#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"

/* RFC 7692, section 7.2.3. */
static void examples(void **state)
{
    (void)state;
    static const struct ws_frame once[] = {M(HELLO)};
    static const struct ws_frame shared[] = {M(HELLO), M("\xf2\x00\x11\x00\x00")};
    static const struct ws_frame apart[] = {M(HELLO), M(HELLO)};
    static const struct ws_frame stored[] = {M("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")};
    static const struct ws_frame final[] = {M("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
                                            M("\xf2\x00\x11\x00\x00")}; /* and its window remains */
    static const struct ws_frame two_blocks[] = {
        M("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")};
    static const struct ws_frame empty[] = {M("\x00"), M("\x00")};
    expect_messages(false, once, 1, "Hello");
    expect_messages(false, shared, 2, "Hello");
    expect_messages(true, apart, 2, "Hello");
    expect_messages(false, stored, 1, "Hello");
    expect_messages(false, final, 2, "Hello");
    expect_messages(false, two_blocks, 1, "Hello");
    expect_messages(false, empty, 2, "");
}

static int inflate_once(const uint8_t *data, size_t length, uint64_t most, bool text, size_t *made)
{
    struct websocket_inflater inflater;
    struct ws_bytes out = {0};
    assert_int_equal(websocket_inflater_open(&inflater, 15, false, most), 0);
    int error = inflate_message(&inflater, data, length, 0, 4096, text, &out);
    websocket_inflater_close(&inflater);
    *made = out.length;
    ws_free(&out);
    return error;
}

static void bad(void **state)
{
    (void)state;
    size_t made;
    assert_int_equal(inflate_once(D("\xff"), 100, false, &made), WEBSOCKET_BAD_DEFLATE);
    assert_int_equal(inflate_once(D("\x07"), 100, false, &made), WEBSOCKET_BAD_DEFLATE);
    assert_int_equal(inflate_once(D("\x00\x05\x00\xfa\xfe"), 100, false, &made),
                     WEBSOCKET_BAD_DEFLATE);
    /* back to before the beginning */
    assert_int_equal(inflate_once(D("\xf2\x00\x11\x00\x00"), 100, false, &made),
                     WEBSOCKET_BAD_DEFLATE);
    /* without the byte that has to stand between a final block and the end */
    assert_int_equal(inflate_once(D("\xf3\x48\xcd\xc9\xc9\x07\x00"), 100, false, &made),
                     WEBSOCKET_BAD_DEFLATE_CUT);
    /* the end that is not to be sent, sent: an empty block more */
    assert_int_equal(inflate_once(D(HELLO "\x00\x00\xff\xff\x00"), 100, false, &made), 0);
    assert_int_equal(made, 5);
    assert_int_equal(inflate_once(D("\x00\x02\x00\xfd\xff\xc3\xc3\x00"), 100, true, &made),
                     WEBSOCKET_BAD_TEXT);
    assert_int_equal(inflate_once(D("\x00\x02\x00\xfd\xff\x61\xc3\x00"), 100, true, &made),
                     WEBSOCKET_BAD_TEXT_CUT);
    /* of two things that are wrong the first */
    assert_int_equal(inflate_once(D("\x00\x01\x00\xfe\xff\xff\x07"), 100, true, &made),
                     WEBSOCKET_BAD_TEXT);
    assert_int_equal(inflate_once(D("\x00\x02\x00\xfd\xff\x61\xc3\x00"), 100, false, &made), 0);
    assert_int_equal(inflate_once(D(HELLO), 5, false, &made), 0);
    assert_int_equal(inflate_once(D(HELLO), 4, false, &made), WEBSOCKET_BAD_DEFLATE_LONG);
    assert_int_equal(made, 0);
}

/* A peer that agreed to begin each message with an empty window keeps to it. */
static void no_context(void **state)
{
    (void)state;
    struct websocket_inflater inflater;
    struct ws_bytes out = {0};
    assert_int_equal(websocket_inflater_open(&inflater, 15, true, 100), 0);
    assert_int_equal(inflate_message(&inflater, D(HELLO), 0, 100, true, &out), 0);
    assert_int_equal(inflate_message(&inflater, D("\xf2\x00\x11\x00\x00"), 0, 100, true, &out),
                     WEBSOCKET_BAD_DEFLATE);
    websocket_inflater_close(&inflater);
    ws_free(&out);
}

/* A message that is cut anywhere is not taken for a whole one. */
static void truncated(void **state)
{
    (void)state;
    size_t made;
    for (size_t length = 0; length < sizeof HELLO - 1; length++) {
        int error = inflate_once((const uint8_t *)HELLO, length, 100, false, &made);
        if (error != WEBSOCKET_BAD_DEFLATE && error != WEBSOCKET_BAD_DEFLATE_CUT) {
            fail_msg("%zu bytes: %s", length, websocket_error_text(error));
        }
    }
}

static void deflate_message(struct websocket_deflater *deflater, const uint8_t *data, size_t length,
                            size_t chop, size_t room, struct ws_bytes *out)
{
    uint8_t some[4096];
    size_t at = 0;
    do {
        size_t piece = chop && length - at > chop ? chop : length - at;
        struct websocket_flow flow = {.from = data + at, .length = piece, .to = some, .room = room};
        int more;
        at += piece;
        do {
            more = websocket_deflate(deflater, &flow, at == length);
            assert_true(more >= 0);
            ws_append(out, some, flow.made);
        } while (more);
        assert_int_equal(flow.length, 0);
    } while (at < length);
}

/* 64 MiB of zeros in 64 KiB: never more than the limit comes out, and the error is prompt. */
static void bomb(void **state)
{
    (void)state;
    enum { MIB = 1 << 20, MOST = 100000 };
    struct websocket_deflater deflater;
    struct websocket_inflater inflater;
    struct ws_bytes small = {0};
    uint8_t *zeros = calloc(1, 64 * MIB), some[4096];
    assert_non_null(zeros);
    assert_int_equal(websocket_deflater_open(&deflater, 15, false, 9, 8), 0);
    deflate_message(&deflater, zeros, 64 * MIB, 0, sizeof some, &small);
    websocket_deflater_close(&deflater);
    websocket_deflater_close(&deflater);
    assert_true(small.length < 100000);
    assert_int_equal(websocket_inflater_open(&inflater, 15, false, MOST), 0);
    struct websocket_flow flow = {
        .from = small.data, .length = small.length, .to = some, .room = sizeof some};
    size_t made = 0;
    int more;
    while ((more = websocket_inflate(&inflater, &flow, false, true)) > 0) {
        made += flow.made;
        assert_true(made <= MOST);
    }
    assert_int_equal(more, WEBSOCKET_BAD_DEFLATE_LONG);
    assert_true(made > MOST - 2 * sizeof some);
    websocket_inflater_close(&inflater);
    free(zeros);
    ws_free(&small);
}

static void deflated_examples(void **state)
{
    (void)state;
    struct websocket_deflater deflater;
    struct ws_bytes out = {0};
    assert_int_equal(websocket_deflater_open(&deflater, 15, false, 6, 8), 0);
    deflate_message(&deflater, D("Hello"), 0, 64, &out);
    assert_int_equal(out.length, 7);
    assert_memory_equal(out.data, HELLO, 7);
    out.length = 0;
    deflate_message(&deflater, D("Hello"), 0, 64, &out);
    assert_int_equal(out.length, 5);
    assert_memory_equal(out.data, "\xf2\x00\x11\x00\x00", 5);
    for (int i = 0; i < 3; i++) {
        out.length = 0;
        deflate_message(&deflater, D(""), 0, 64, &out);
        assert_int_equal(out.length, 1);
        assert_int_equal(out.data[0], 0);
    }
    out.length = 0;
    deflate_message(&deflater, D("Hello"), 0, 64, &out);
    assert_true(out.length <= 5); /* they take nothing from the window */
    websocket_deflater_close(&deflater);

    assert_int_equal(websocket_deflater_open(&deflater, 15, true, 6, 8), 0);
    for (int i = 0; i < 3; i++) {
        out.length = 0;
        deflate_message(&deflater, D("Hello"), 0, 64, &out);
        assert_int_equal(out.length, 7);
    }
    struct websocket_flow flow = {.from = NULL, .to = out.data, .room = WEBSOCKET_DEFLATE_ROOM - 1};
    assert_int_equal(websocket_deflate(&deflater, &flow, true), WEBSOCKET_BAD_ROOM);
    websocket_deflater_close(&deflater);
    /* The first message of all is empty. */
    assert_int_equal(websocket_deflater_open(&deflater, 15, false, 6, 8), 0);
    out.length = 0;
    deflate_message(&deflater, D(""), 0, 64, &out);
    assert_true(out.length >= 1 && out.length <= 2);
    size_t made;
    assert_int_equal(inflate_once(out.data, out.length, 10, true, &made), 0);
    assert_int_equal(made, 0);
    websocket_deflater_close(&deflater);
    ws_free(&out);
}

/* What a peer with a window of `bits` inflates: zlib itself, which knows the real bound. */
static void expect_in_window(const struct ws_bytes *packed, int bits, const uint8_t *data,
                             size_t length)
{
    z_stream stream = {0};
    uint8_t *out = malloc(length + 1);
    assert_non_null(out);
    assert_int_equal(inflateInit2(&stream, -bits), Z_OK);
    stream.next_in = packed->data;
    stream.avail_in = (uInt)packed->length;
    /* A small step at a time, so that only what the window holds can be referred to. */
    for (size_t made = 0; made < length;) {
        size_t step = length - made < 16 ? length - made : 16;
        stream.next_out = out + made;
        stream.avail_out = (uInt)step;
        assert_int_equal(inflate(&stream, Z_SYNC_FLUSH), Z_OK);
        made += step;
    }
    assert_memory_equal(out, data, length);
    inflateEnd(&stream);
    free(out);
}

/* Every window, cut in every way: what is deflated is inflated again, and stays in its window. */
static void windows(void **state)
{
    (void)state;
    enum { BYTES = 40000 };
    static uint8_t data[BYTES];
    struct rng rng;
    rng_seed(&rng, 4);
    /* Repeats at every distance, and runs. */
    for (size_t i = 0; i < BYTES; i++) {
        uint64_t random = rng_next(&rng);
        size_t back = 1 + random % 20000;
        size_t run = 3 + (random >> 40) % 60;
        if (i % 2000 < 300 || back > i) {
            data[i] = (uint8_t)(random >> 32);
        } else {
            for (size_t end = i + run < BYTES ? i + run : BYTES - 1; i < end; i++) {
                data[i] = data[i - back];
            }
            data[i] = 'x';
        }
    }
    for (int bits = 8; bits <= 15; bits++) {
        for (int no_context = 0; no_context < 2; no_context++) {
            struct websocket_deflater deflater;
            struct websocket_inflater inflater;
            struct ws_bytes packed = {0}, out = {0};
            assert_int_equal(websocket_deflater_open(&deflater, bits, no_context, 6, 8), 0);
            assert_int_equal(websocket_inflater_open(&inflater, bits, no_context, BYTES), 0);
            for (size_t i = 0; i < 6; i++) {
                static const size_t chops[] = {0, 1, 3, 100, 5000, 39999};
                packed.length = out.length = 0;
                deflate_message(&deflater, data, BYTES, chops[i], 64 + 200 * i, &packed);
                assert_int_equal(inflate_message(&inflater, packed.data, packed.length,
                                                 1 + i * 1000, 1 + 500 * i, false, &out),
                                 0);
                assert_int_equal(out.length, BYTES);
                assert_memory_equal(out.data, data, BYTES);
                if (i == 0) {
                    expect_in_window(&packed, bits, data, BYTES);
                }
            }
            websocket_deflater_close(&deflater);
            websocket_inflater_close(&inflater);
            ws_free(&packed);
            ws_free(&out);
        }
    }
}

/* Blocks that say that they are the last, hundreds of thousands of them, cost no more than others.
 */
static void many_final_blocks(void **state)
{
    (void)state;
    enum { BLOCKS = 300000 };
    uint8_t *data = malloc(2 * BLOCKS + 1);
    size_t made;
    assert_non_null(data);
    for (size_t i = 0; i < BLOCKS; i++) {
        memcpy(data + 2 * i, "\x03\x00", 2);
    }
    data[2 * BLOCKS] = 0;
    struct websocket_inflater inflater;
    uint8_t some[64];
    assert_int_equal(websocket_inflater_open(&inflater, 15, false, 10), 0);
    struct websocket_flow flow = {
        .from = data, .length = 2 * BLOCKS + 1, .to = some, .room = sizeof some};
    assert_int_equal(websocket_inflate(&inflater, &flow, true, true), 0);
    made = flow.made;
    assert_int_equal(made, 0);
    websocket_inflater_close(&inflater);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),          cmocka_unit_test(bad),
        cmocka_unit_test(truncated),         cmocka_unit_test(bomb),
        cmocka_unit_test(deflated_examples), cmocka_unit_test(windows),
        cmocka_unit_test(many_final_blocks), cmocka_unit_test(no_context),
    };
    return cmocka_run_group_tests_name("websocket_deflate", tests, NULL, NULL);
}
