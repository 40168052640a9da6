/* Messages of the control channel: framing in pieces, and every way in which one can be wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/control.h"

/* The bytes at the end of a page, behind which nothing may be read. */
static uint8_t *before_a_wall(const uint8_t *bytes, size_t length, uint8_t **pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(*pages, MAP_FAILED);
    assert_int_equal(mprotect(*pages + page, page, PROT_NONE), 0);
    uint8_t *at = *pages + page - length;
    memcpy(at, bytes, length);
    return at;
}

static void remove_wall(uint8_t *pages)
{
    munmap(pages, 2 * (size_t)sysconf(_SC_PAGESIZE));
}

static int read_text(const char *text, struct control_message *message, struct err *error)
{
    *error = (struct err){0};
    return control_read(text, strlen(text), message, error);
}

/* ---- framing ---- */

static void test_frames_in_pieces(void **state)
{
    (void)state;
    const struct control_message block = {.kind = CONTROL_BLOCK,
                                          .probe_name = "syscalls",
                                          .plain_operations = 1,
                                          .plain_ns = 2,
                                          .seen_operations = 3,
                                          .seen_ns = (uint64_t)1 << 60};
    struct control_message back;
    struct err error = {0};
    size_t length, text_length;
    const char *text;
    uint8_t *bytes = control_write(&block, &length, &error);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++) {
        uint8_t *pages, *part = before_a_wall(bytes, i, &pages);
        assert_int_equal(control_frame(part, i, &text, &text_length, &error), 0);
        remove_wall(pages);
    }
    uint8_t *pages, *whole = before_a_wall(bytes, length, &pages);
    assert_int_equal(control_frame(whole, length, &text, &text_length, &error), 1);
    assert_int_equal(text_length + CONTROL_HEADER_BYTES, length);
    assert_int_equal(control_read(text, text_length, &back, &error), 0);
    assert_int_equal(back.kind, CONTROL_BLOCK);
    assert_string_equal(back.probe_name, "syscalls");
    assert_int_equal(back.plain_operations, 1);
    assert_int_equal(back.plain_ns, 2);
    assert_int_equal(back.seen_operations, 3);
    assert_true(back.seen_ns == (uint64_t)1 << 60);
    control_release(&back);
    control_release(&back); /* twice is safe */
    remove_wall(pages);
    free(bytes);
}

static void test_frames_that_are_none(void **state)
{
    (void)state;
    static const uint8_t frames[][4] = {{0, 0, 0, 0},
                                        {0, 0x10, 0, 1},
                                        {0xff, 0xff, 0xff, 0xff},
                                        {0x80, 0, 0, 0},
                                        {'G', 'E', 'T', ' '}};
    const char *text;
    size_t length;
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        struct err error = {0};
        assert_int_equal(control_frame(frames[i], 4, &text, &length, &error), -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
    }
    struct err error = {0}; /* its first byte says it */
    assert_int_equal(control_frame((const uint8_t *)"G", 1, &text, &length, &error), -1);
    static const uint8_t longest[4] = {0, 0x10, 0, 0};
    assert_int_equal(control_frame(longest, 4, &text, &length, &error), 0);
}

static void test_json_that_is_cut(void **state)
{
    (void)state;
    static const char text[] = "{\"message\":\"cut\",\"part\":\"plain\",\"gate\":\"keep\"}";
    struct control_message message;
    struct err error = {0};
    for (size_t i = 0; i < strlen(text); i++) {
        uint8_t *pages, *part = before_a_wall((const uint8_t *)text, i, &pages);
        assert_int_equal(control_read((const char *)part, i, &message, &error), -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
        assert_null(message.json);
        remove_wall(pages);
    }
    assert_int_equal(control_read(text, strlen(text), &message, &error), 0);
    control_release(&message);
}

/* ---- what a message may hold ---- */

#define HELLO "{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":\"x\""
#define PREPARE                                                                                    \
    "{\"message\":\"prepare\",\"workload\":\"call\",\"engine\":\"epoll\",\"transport\":\"tcp\","   \
    "\"wire\":{},\"connections\":1,\"threads\":1,\"observe\":false,\"options\":"

static void test_what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *what;
    } wrong[] = {
        {"[]", "is no JSON object"},
        {"17", "is no JSON"},
        {"{}", "does not say which one"},
        {"{\"message\":3}", "does not say which one"},
        {"{\"message\":\"steal\"}", "no message \"steal\""},
        {"{\"message\":\"go\",\"message\":\"go\"}", "is no JSON"},
        {"{\"message\":\"go\",\"now\":true}", "go: unknown field \"now\""},
        {"{\"message\":\"go\"} {}", "is no JSON"},
        {"{\"message\":\"go\\u0000\"}", "is no JSON"},
        {HELLO ",\"program\":\"y\"}", "is no JSON"},
        {"{\"message\":\"hello\",\"version_most\":1,\"program\":\"x\"}",
         "hello: \"version_least\" is missing"},
        {"{\"message\":\"hello\",\"version_least\":\"1\",\"version_most\":1,\"program\":\"x\"}",
         "hello: \"version_least\" is no whole number"},
        {"{\"message\":\"hello\",\"version_least\":1.5,\"version_most\":1,\"program\":\"x\"}",
         "hello: \"version_least\" is no whole number"},
        {"{\"message\":\"hello\",\"version_least\":0,\"version_most\":1,\"program\":\"x\"}",
         "hello: \"version_least\" is not in 1 to 65535"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":-1,\"program\":\"x\"}",
         "hello: \"version_most\" is not in"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":7}",
         "hello: \"program\" is no text"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":\"\"}",
         "hello: \"program\" is no plain text of 1 to 64 bytes"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":\"\\u001b["
         "2J\"}",
         "hello: \"program\" is no plain text"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":\"\\u009b2J\"}",
         "hello: \"program\" is no plain text"},
        {"{\"message\":\"hello\",\"version_least\":1,\"version_most\":1,\"program\":\"\\u202eJ\"}",
         "hello: \"program\" is no plain text"},
        {PREPARE "{\"\\u009b2J\":\"1\"}}", "prepare: \"options\": \"?2J\" is no plain text"},
        {PREPARE "[]}", "prepare: \"options\" is no object"},
        {PREPARE "{\"size\":64}}", "prepare: \"options\": \"size\" is no plain text"},
        {PREPARE "{\"size\":\"1\",\"size\":\"2\"}}", "is no JSON"},
        {PREPARE "{},\"watch\":3}", "prepare: \"watch\" is no object"},
        {PREPARE "{},\"observe\":1}", "is no JSON"}, /* twice */
        {"{\"message\":\"cut\",\"part\":\"all\",\"gate\":\"keep\"}",
         "cut: \"part\" is none of those"},
        {"{\"message\":\"cut\",\"part\":\"plain\",\"gate\":null}", "cut: \"gate\" is no text"},
        {"{\"message\":\"seen\",\"counters\":[1152921504606846977],\"window_ns\":0}",
         "seen: \"counters\" holds what is no whole number"},
        {"{\"message\":\"seen\",\"counters\":[1,-1],\"window_ns\":0}",
         "seen: \"counters\" holds what is no whole number"},
        {"{\"message\":\"seen\",\"counters\":[1.5],\"window_ns\":0}",
         "seen: \"counters\" holds what is no whole number"},
        {"{\"message\":\"seen\",\"counters\":3,\"window_ns\":0}", "is no array"},
        {"{\"message\":\"seen\",\"window_ns\":99999999999999999999}", "is no JSON"},
        {"{\"message\":\"record\",\"run\":[],\"warnings\":[]}", "record: \"run\" is no object"},
        {"{\"message\":\"record\",\"run\":{},\"warnings\":[3]}",
         "record: \"warnings\" holds what is no plain text"},
        {"{\"message\":\"record\",\"run\":{},\"warnings\":{}}", "record: \"warnings\" is no array"},
        {"{\"message\":\"error\",\"code\":\"fun\",\"subject\":\"\",\"what\":\"x\"}",
         "error: \"code\" is none of those"},
        {"{\"message\":\"ready\",\"token\":\"00\",\"port\":1,\"machine\":{}}",
         "ready: \"token\" is no plain text of 32 to 32 bytes"},
        {"{\"message\":\"ready\",\"token\":\"00000000000000000000000000000000\",\"port\":65536,"
         "\"machine\":{}}",
         "ready: \"port\" is not in 1 to 65535"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct control_message message;
        struct err error;
        assert_int_equal(read_text(wrong[i].text, &message, &error), -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
        if (!strstr(error.what, wrong[i].what)) {
            fail_msg("%s: \"%s\" does not say \"%s\"", wrong[i].text, error.what, wrong[i].what);
        }
        assert_null(message.json);
    }
}

static void test_what_is_right(void **state)
{
    (void)state;
    struct control_message message;
    struct err error;
    assert_int_equal(read_text(HELLO "}", &message, &error), 0);
    assert_string_equal(message.program, "x");
    control_release(&message);
    assert_int_equal(read_text(PREPARE "{\"size\":\"64k\"},\"watch\":{}}", &message, &error), 0);
    assert_string_equal(json_string_value(json_object_get(message.options, "size")), "64k");
    assert_false(message.observe);
    assert_null(message.probe);
    control_release(&message);
}

static void test_depth(void **state)
{
    (void)state;
    char text[4096] = "{\"message\":\"record\",\"warnings\":[],\"run\":";
    struct control_message message;
    struct err error;
    size_t used = strlen(text);
    for (int depth = 0; depth < 200; depth++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "{\"a\":");
    }
    assert_int_equal(read_text(text, &message, &error), -1);
    assert_non_null(strstr(error.what, "nested too deep"));
    /* In a text they are no brackets. */
    assert_int_equal(
        read_text("{\"message\":\"record\",\"run\":{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
                  "\\\"[[[[[[[[[[[[[[[[[[[[\"},\"warnings\":[],\"totals\":{}}",
                  &message, &error),
        0);
    control_release(&message);
}

/* What is written keeps to the same table. */
static void test_what_cannot_be_written(void **state)
{
    (void)state;
    struct err error = {0};
    size_t length;
    struct control_message message = {.kind = CONTROL_CUT, .part = "plain"};
    assert_null(control_write(&message, &length, &error));
    assert_non_null(strstr(error.what, "cut: \"gate\" is missing"));
    message = (struct control_message){.kind = CONTROL_HELLO, .version_most = 1, .program = "x"};
    assert_null(control_write(&message, &length, &error));
    assert_non_null(strstr(error.what, "\"version_least\" is not in"));
    char *large = malloc(CONTROL_TEXT_MOST);
    memset(large, 'x', CONTROL_TEXT_MOST - 1);
    large[CONTROL_TEXT_MOST - 1] = '\0';
    message = (struct control_message){.kind = CONTROL_RECORD,
                                       .run = json_object(),
                                       .totals = json_object(),
                                       .warnings = json_array()};
    json_object_set_new(message.run, "large", json_string(large));
    assert_null(control_write(&message, &length, &error));
    assert_int_equal(error.code, ERR_LIMIT);
    json_decref(message.run);
    json_decref(message.totals);
    json_decref(message.warnings);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_in_pieces),
        cmocka_unit_test(test_frames_that_are_none),
        cmocka_unit_test(test_json_that_is_cut),
        cmocka_unit_test(test_what_is_wrong_is_named),
        cmocka_unit_test(test_what_is_right),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_what_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
