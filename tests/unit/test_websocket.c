/* WebSocket frames, masks and text over bytes: RFC 6455's own examples, every cut, every bound. */
#include "websocket_world.h"

static const struct websocket_limits wide = {.frame_most = INT64_MAX, .message_most = INT64_MAX};

/* ---- text ---- */

/* Whether all of it is UTF-8, decoded the slow way. */
static bool reference(const uint8_t *data, size_t length)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    for (size_t at = 0; at < length;) {
        uint8_t byte = data[at];
        int more = byte < 0x80       ? 0
                   : byte >> 5 == 6  ? 1
                   : byte >> 4 == 14 ? 2
                   : byte >> 3 == 30 ? 3
                                     : 4;
        if (more == 4 || at + (size_t)more >= length) {
            return false;
        }
        uint32_t value = more ? byte & (0x3fu >> more) : byte;
        for (int i = 1; i <= more; i++) {
            if (data[at + (size_t)i] >> 6 != 2) {
                return false;
            }
            value = value << 6 | (data[at + (size_t)i] & 0x3f);
        }
        if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
            return false;
        }
        at += (size_t)more + 1;
    }
    return true;
}

static bool whole(const uint8_t *data, size_t length, size_t cut)
{
    struct websocket_utf8 utf8 = {0};
    return websocket_utf8_feed(&utf8, data, cut) &&
           websocket_utf8_feed(&utf8, data + cut, length - cut) && websocket_utf8_whole(&utf8);
}

/* Every sequence of three bytes, and every beginning of four that a character can have. */
static void utf8_all(void **state)
{
    (void)state;
    uint8_t bytes[4];
    for (uint32_t value = 0; value < 1u << 24; value += value < 0xc00000 ? 7 : 1) {
        bytes[0] = (uint8_t)(value >> 16);
        bytes[1] = (uint8_t)(value >> 8);
        bytes[2] = (uint8_t)value;
        if (whole(bytes, 3, value % 4) != reference(bytes, 3)) {
            fail_msg("%06x", value);
        }
    }
    for (uint32_t value = 0; value < 1u << 24; value += 3) {
        bytes[0] = (uint8_t)(0xf0 | (value >> 20));
        bytes[1] = (uint8_t)(value >> 12);
        bytes[2] = (uint8_t)(0x80 | (value >> 4 & 0x7f));
        bytes[3] = (uint8_t)(value << 4 | (value & 0xf));
        if (whole(bytes, 4, value % 5) != reference(bytes, 4)) {
            fail_msg("%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3]);
        }
    }
}

/* One byte that is not ASCII, anywhere among those that are taken by words. */
static void utf8_places(void **state)
{
    (void)state;
    uint8_t text[200];
    for (size_t length = 0; length < sizeof text; length++) {
        for (size_t place = 0; place < length; place++) {
            memset(text, 'a', sizeof text);
            text[place] = 0x80;
            assert_false(whole(ws_at_the_edge(text, length), length, place / 2));
            text[place] = 0xc3;
            bool good = place + 1 < length;
            text[good ? place + 1 : place] = good ? 0xa4 : 0xc3;
            assert_int_equal(whole(ws_at_the_edge(text, length), length, place / 2), good);
        }
    }
}

/* ---- masks ---- */

static void masks(void **state)
{
    (void)state;
    static const uint8_t mask[] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t from[700], to[700];
    for (size_t i = 0; i < sizeof from; i++) {
        from[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (size_t length = 0; length < 600; length++) {
        size_t phase = length * 13 % 9, offset = length % 33;
        uint8_t *edge = ws_at_the_edge(from + offset, length);
        memset(to, 0xee, sizeof to);
        websocket_mask(to + 1, edge, length, mask, phase);
        for (size_t i = 0; i < length; i++) {
            assert_int_equal(to[1 + i], from[offset + i] ^ mask[(phase + i) % 4]);
        }
        assert_int_equal(to[0], 0xee);
        assert_int_equal(to[1 + length], 0xee);
        websocket_mask(edge, edge, length, mask, phase);
        assert_memory_equal(edge, to + 1, length);
    }
}

static void masks_drawn(void **state)
{
    (void)state;
    struct rng rng;
    uint8_t mask[WEBSOCKET_MASK_BYTES], last[WEBSOCKET_MASK_BYTES] = {0};
    rng_seed(&rng, 1);
    for (int i = 0; i < 1000; i++) {
        websocket_mask_draw(&rng, mask);
        assert_memory_not_equal(mask, last, sizeof mask);
        memcpy(last, mask, sizeof mask);
    }
}

/* ---- frames ---- */

/* Reads all of it, in pieces, as text of what was said: "T(Hello)". The error, or 0. */
static int read_all(struct websocket_reader *reader, const uint8_t *wire, size_t length,
                    size_t chop, char *said, size_t room)
{
    size_t written = strlen(said);
    for (size_t at = 0; at < length;) {
        size_t piece = chop && length - at > chop ? chop : length - at;
        uint8_t *copy = ws_at_the_edge(wire + at, piece);
        for (size_t used = 0; used < piece;) {
            struct websocket_event event;
            ssize_t taken = websocket_read(reader, copy + used, piece - used, &event);
            if (taken <= 0) {
                assert_int_equal(event.kind, WEBSOCKET_NOTHING);
                return (int)taken;
            }
            used += (size_t)taken;
            const char *names = "?TPpC";
            if (event.kind != WEBSOCKET_NOTHING) {
                if (event.kind != WEBSOCKET_DATA || event.first) {
                    said[written++] =
                        event.kind == WEBSOCKET_DATA && !event.text ? 'B' : names[event.kind];
                    said[written++] = '(';
                }
                assert_true(written + event.length + 4 < room);
                memcpy(said + written, event.data, event.length);
                written += event.length;
                if (event.kind != WEBSOCKET_DATA || event.last) {
                    said[written++] = ')';
                }
                said[written] = '\0';
            }
        }
        at += piece;
    }
    return 0;
}

struct example {
    enum websocket_role role; /* who reads it */
    const char *wire;
    size_t length;
    const char *said;
    int error;
};

#define W(text) text, sizeof text - 1
#define READ(role, wire, said)                                                                     \
    {                                                                                              \
        WEBSOCKET_##role, W(wire), said, 0                                                         \
    }
#define BAD(role, wire, error)                                                                     \
    {                                                                                              \
        WEBSOCKET_##role, W(wire), "", WEBSOCKET_BAD_##error                                       \
    }

static const struct example examples[] = {
    /* RFC 6455, section 5.7 */
    READ(CLIENT, "\x81\x05\x48\x65\x6c\x6c\x6f", "T(Hello)"),
    READ(SERVER, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "T(Hello)"),
    READ(CLIENT, "\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f", "T(Hello)"),
    READ(CLIENT, "\x89\x05\x48\x65\x6c\x6c\x6f", "P(Hello)"),
    READ(SERVER, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "p(Hello)"),
    /* others */
    READ(CLIENT, "\x81\x00\x02\x00\x80\x00", "T()B()"),
    READ(CLIENT, "\x02\x01x\x89\x01y\x8a\x00\x80\x01z", "B(xP(y)p()z)"),
    READ(SERVER, "\x88\x80\1\2\3\4", "C()"),
    READ(SERVER, "\x88\x84\0\0\0\0\x03\xe8ok", "C(ok)"),
    /* what follows a close frame is ignored, whatever it is */
    READ(CLIENT, "\x88\x02\x03\xe9\xff\xff\xff\xff", "C()"),
    BAD(CLIENT, "\xa1", RESERVED_BITS),
    BAD(CLIENT, "\xc1", RESERVED_BITS),
    BAD(CLIENT, "\x90", RESERVED_BITS),
    BAD(CLIENT, "\x83", OPCODE),
    BAD(CLIENT, "\x07", OPCODE),
    BAD(CLIENT, "\x8b", OPCODE),
    BAD(CLIENT, "\x8f", OPCODE),
    BAD(CLIENT, "\x09", CONTROL_FRAGMENT),
    BAD(CLIENT, "\x08", CONTROL_FRAGMENT),
    BAD(CLIENT, "\x80", CONTINUATION),
    BAD(CLIENT, "\x00", CONTINUATION),
    BAD(CLIENT, "\x01\x00\x81", INTERLEAVED),
    BAD(CLIENT, "\x01\x00\x02", INTERLEAVED),
    BAD(CLIENT, "\x81\x80", MASK_FORBIDDEN),
    BAD(SERVER, "\x81\x00", MASK_MISSING),
    BAD(SERVER, "\x81\x7f", MASK_MISSING),
    BAD(CLIENT, "\x89\x7e", CONTROL_LONG),
    BAD(CLIENT, "\x8a\x7f", CONTROL_LONG),
    BAD(SERVER, "\x88\xfe", CONTROL_LONG),
    BAD(CLIENT, "\x88\x01", CLOSE_SHORT),
    BAD(CLIENT, "\x81\x7e\x00\x00", LENGTH_FORM),
    BAD(CLIENT, "\x81\x7e\x00\x7d", LENGTH_FORM),
    BAD(CLIENT, "\x82\x7f\0\0\0\0\0\0\xff\xff", LENGTH_FORM),
    BAD(CLIENT, "\x82\x7f\x80\0\0\0\0\0\0\0", LENGTH_RANGE),
    BAD(CLIENT, "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", LENGTH_RANGE),
    BAD(SERVER, "\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", LENGTH_RANGE),
    BAD(CLIENT, "\x88\x02\x03\xe7", CLOSE_CODE),
    BAD(CLIENT, "\x88\x02\x03\xed", CLOSE_CODE),
    BAD(CLIENT, "\x88\x03\x03\xe8\xff", CLOSE_TEXT),
    BAD(CLIENT, "\x88\x03\x03\xe8\xc3", CLOSE_TEXT),
    BAD(CLIENT, "\x81\x01\xff", TEXT),
    BAD(CLIENT, "\x81\x01\xc3", TEXT_CUT),
    BAD(CLIENT, "\x01\x01\xc3\x80\x00", TEXT_CUT),
};

static void examples_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        const struct example *one = &examples[i];
        for (size_t chop = 0; chop <= one->length; chop++) {
            struct websocket_reader reader;
            struct websocket_event event;
            char said[300] = "";
            websocket_reader_init(&reader, one->role, &wide, false);
            int error =
                read_all(&reader, (const uint8_t *)one->wire, one->length, chop, said, sizeof said);
            if (error != one->error || (!error && strcmp(said, one->said) != 0)) {
                fail_msg("example %zu in pieces of %zu: %s, %s", i, chop, said,
                         websocket_error_text(error));
            }
            if (error) { /* and nothing else from then on */
                uint8_t byte = 0x81;
                assert_int_equal(websocket_read(&reader, &byte, 1, &event), error);
            }
        }
    }
}

/* Of a good stream every beginning is good; of a bad one every beginning but the whole. */
static void truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        for (size_t there = 0; there < examples[i].length; there++) {
            struct websocket_reader reader;
            char said[300] = "";
            websocket_reader_init(&reader, examples[i].role, &wide, false);
            assert_int_equal(
                read_all(&reader, (const uint8_t *)examples[i].wire, there, 0, said, sizeof said),
                0);
            if (!examples[i].error) {
                assert_memory_equal(said, examples[i].said, strlen(said));
            }
        }
    }
}

/* A payload is given where it lies, unmasked, in one piece if all of it is there. */
static void in_place(void **state)
{
    (void)state;
    uint8_t wire[] = {0x82, 0x83, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3, 0x89};
    struct websocket_reader reader;
    struct websocket_event event;
    websocket_reader_init(&reader, WEBSOCKET_SERVER, &wide, false);
    assert_int_equal(websocket_read(&reader, wire, 6, &event), 6);
    assert_int_equal(event.kind, WEBSOCKET_NOTHING);
    websocket_reader_init(&reader, WEBSOCKET_SERVER, &wide, false);
    assert_int_equal(websocket_read(&reader, wire, sizeof wire, &event), 9);
    assert_int_equal(event.kind, WEBSOCKET_DATA);
    assert_ptr_equal(event.data, wire + 6);
    assert_memory_equal(event.data, "abc", 3);
    assert_int_equal(event.length, 3);
    assert_true(event.first && event.last && event.frame_end && !event.text && !event.compressed);
    assert_int_equal(wire[9], 0x89);
    assert_int_equal(websocket_read(&reader, wire + 9, 0, &event), 0);
    assert_int_equal(websocket_read(&reader, wire + 9, 1, &event), 1);
    assert_int_equal(event.kind, WEBSOCKET_NOTHING);
}

static int read_header(const struct websocket_limits *limits, const char *wire, size_t length)
{
    struct websocket_reader reader;
    char said[300] = "";
    websocket_reader_init(&reader, WEBSOCKET_CLIENT, limits, false);
    return read_all(&reader, (const uint8_t *)wire, length, 0, said, sizeof said);
}

/* Limits are kept as soon as a length is there, whatever arithmetic it tempts to. */
static void limits(void **state)
{
    (void)state;
    const struct websocket_limits small = {.frame_most = 200, .message_most = 300};
    assert_int_equal(read_header(&small, W("\x82\x7e\x00\xc8")), 0);
    assert_int_equal(read_header(&small, W("\x82\x7e\x00\xc9")), WEBSOCKET_BAD_FRAME_LONG);
    assert_int_equal(read_header(&small, W("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")),
                     WEBSOCKET_BAD_FRAME_LONG);
    assert_int_equal(read_header(&wide, W("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")), 0);
    /* the first frame of a message whose second would pass 2^63 */
    assert_int_equal(read_header(&wide, W("\x02\x01x\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff")),
                     WEBSOCKET_BAD_MESSAGE_LONG);
    const struct websocket_limits ten = {.frame_most = 200, .message_most = 10};
    assert_int_equal(read_header(&ten, W("\x02\x05hello\x00\x04worl\x80\x01")), 0);
    assert_int_equal(read_header(&ten, W("\x02\x05hello\x00\x04worl\x80\x02")),
                     WEBSOCKET_BAD_MESSAGE_LONG);
    /* a new message counts anew; control frames do not count */
    assert_int_equal(read_header(&ten, W("\x82\x05hello\x82\x06hello!\x89\x0bhello world")), 0);
    assert_int_equal(read_header(&ten, W("\x82\x0b")), WEBSOCKET_BAD_MESSAGE_LONG);
}

/* RSV1 is for the first frame of a message, and only where it was agreed upon. */
static void compressed(void **state)
{
    (void)state;
    static const struct example rows[] = {
        READ(CLIENT, "\xc1\x01x\xc2\x00\x82\x01y", "T(x)B()B(y)"),
        READ(CLIENT, "\x41\x01\xff\x80\x01\xff", "T(\xff\xff)"),
        BAD(CLIENT, "\x41\x00\xc0", RESERVED_BITS),
        BAD(CLIENT, "\xc9", RESERVED_BITS),
        BAD(CLIENT, "\xc8", RESERVED_BITS),
        BAD(CLIENT, "\xe1", RESERVED_BITS),
        BAD(CLIENT, "\xc3", RESERVED_BITS),
        BAD(CLIENT, "\xc1\x00\x81\x01\xff", TEXT),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct websocket_reader reader;
        char said[300] = "";
        websocket_reader_init(&reader, rows[i].role, &wide, true);
        assert_int_equal(read_all(&reader, (const uint8_t *)rows[i].wire, rows[i].length, i % 2,
                                  said, sizeof said),
                         rows[i].error);
        assert_true(rows[i].error || strcmp(said, rows[i].said) == 0);
    }
}

/* ---- writing ---- */

static void headers_written(void **state)
{
    (void)state;
    static const uint8_t mask[] = {1, 2, 3, 4};
    static const struct {
        struct websocket_frame frame;
        const char *wire;
        size_t length;
    } rows[] = {
        {{.opcode = WEBSOCKET_TEXT}, W("\x81\x00")},
        {{.opcode = WEBSOCKET_BINARY, .more = true, .length = 125}, W("\x02\x7d")},
        {{.opcode = WEBSOCKET_CONTINUATION, .length = 126}, W("\x80\x7e\x00\x7e")},
        {{.opcode = WEBSOCKET_TEXT, .compressed = true, .length = 65535}, W("\xc1\x7e\xff\xff")},
        {{.opcode = WEBSOCKET_BINARY, .length = 65536}, W("\x82\x7f\0\0\0\0\0\1\0\0")},
        {{.opcode = WEBSOCKET_PING, .mask = mask}, W("\x89\x80\1\2\3\4")},
        {{.opcode = WEBSOCKET_BINARY, .mask = mask, .length = INT64_MAX},
         W("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t header[WEBSOCKET_HEADER_MOST];
        assert_int_equal(websocket_header_write(header, &rows[i].frame), rows[i].length);
        assert_memory_equal(header, rows[i].wire, rows[i].length);
    }
    uint8_t wire[WEBSOCKET_HEADER_MOST + 5];
    struct websocket_frame hello = {
        .opcode = WEBSOCKET_TEXT, .mask = (const uint8_t *)"\x37\xfa\x21\x3d", .length = 5};
    assert_int_equal(websocket_frame_write(wire, &hello, (const uint8_t *)"Hello"), 11);
    assert_memory_equal(wire, examples[1].wire, 11);
    hello.mask = NULL;
    assert_int_equal(websocket_frame_write(wire, &hello, (const uint8_t *)"Hello"), 7);
    assert_memory_equal(wire, examples[0].wire, 7);
}

static void closes_written(void **state)
{
    (void)state;
    uint8_t body[WEBSOCKET_CONTROL_MOST];
    char reason[200];
    assert_int_equal(websocket_close_write(body, WEBSOCKET_NO_CODE, "ignored"), 0);
    assert_int_equal(websocket_close_write(body, 1001, NULL), 2);
    assert_memory_equal(body, "\x03\xe9", 2);
    assert_int_equal(websocket_close_write(body, 4000, "bye"), 5);
    assert_memory_equal(body,
                        "\x0f\xa0"
                        "bye",
                        5);
    memset(reason, 'a', sizeof reason);
    reason[199] = '\0';
    assert_int_equal(websocket_close_write(body, 1000, reason), 125);
    for (size_t i = 0; i + 1 < 199; i += 2) {
        memcpy(reason + i, "\xc3\xa4", 2);
    }
    assert_int_equal(websocket_close_write(body, 1000, reason), 2 + 122);
}

static void errors(void **state)
{
    (void)state;
    unsigned answers = 0;
    for (int error = WEBSOCKET_ERROR_BASE; error <= WEBSOCKET_ERROR_END; error++) {
        bool known = error > WEBSOCKET_ERROR_BASE && error < WEBSOCKET_ERROR_END;
        unsigned answer = websocket_error_answer(error);
        assert_int_equal(strcmp(websocket_error_text(error), "unknown error") != 0, known);
        assert_int_equal(strcmp(websocket_error_name(error), "unknown") != 0, known);
        assert_true(answer == 0 || websocket_code_valid(answer) ||
                    (answer >= 400 && answer <= 505));
        answers += websocket_code_valid(answer);
    }
    assert_true(answers >= 15);
    assert_string_equal(websocket_error_name(WEBSOCKET_BAD_MEMORY), "MEMORY");
    assert_int_equal(websocket_error_answer(WEBSOCKET_BAD_RESERVED_BITS), 1002);
    assert_int_equal(websocket_error_answer(WEBSOCKET_BAD_TEXT_CUT), 1007);
    assert_int_equal(websocket_error_answer(WEBSOCKET_BAD_FRAME_LONG), 1009);
}

static void codes(void **state)
{
    (void)state;
    unsigned valid = 0;
    for (unsigned code = 0; code < 65536; code++) {
        valid += websocket_code_valid(code);
    }
    assert_int_equal(valid, 4 + 8 + 2000);
    for (unsigned code = 1004; code <= 1006; code++) {
        assert_false(websocket_code_valid(code));
    }
    assert_false(websocket_code_valid(1015));
    assert_true(websocket_code_valid(1014) && websocket_code_valid(3000) &&
                websocket_code_valid(4999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_all),       cmocka_unit_test(utf8_places),
        cmocka_unit_test(masks),          cmocka_unit_test(masks_drawn),
        cmocka_unit_test(examples_read),  cmocka_unit_test(truncated),
        cmocka_unit_test(in_place),       cmocka_unit_test(limits),
        cmocka_unit_test(compressed),     cmocka_unit_test(headers_written),
        cmocka_unit_test(closes_written), cmocka_unit_test(errors),
        cmocka_unit_test(codes),
    };
    return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
