/* Transfers that go wrong: content that is not what was sent, ends that go away, signals, and what
 * cannot be opened at all. */
#include "transfer_world.h"

#define PERIOD 65521 /* of the content, as transfer/stream.h says */

/* Writes bytes as they are, then closes: what a receiver gets to see. */
struct writer {
    int fd;
    const uint8_t *bytes;
    size_t length;
    pthread_t thread;
};

static void *write_all(void *argument)
{
    struct writer *writer = argument;
    for (size_t done = 0; done < writer->length;) {
        ssize_t written = write(writer->fd, writer->bytes + done, writer->length - done);
        if (written <= 0) {
            break; /* the receiver has seen enough and closed */
        }
        done += (size_t)written;
    }
    close(writer->fd);
    return NULL;
}

/* What a method's sender puts into a pipe. */
static uint8_t *captured(const struct method_ops *method, uint64_t buffer, size_t length,
                         bool verify)
{
    struct wire wire = wire_open(&transport_pipe);
    struct side sender = side_of(method, &transport_pipe, wire.send, true, buffer, length, verify);
    uint8_t *bytes = malloc(length + 1);
    size_t got = 0;
    assert_non_null(bytes);
    sender.closes = true;
    side_start(&sender);
    for (ssize_t part = 1; part > 0;) {
        part = read(wire.receive, bytes + got, length + 1 - got);
        got += part > 0 ? (size_t)part : 0;
    }
    side_join(&sender);
    side_succeeded(&sender);
    assert_int_equal(got, length);
    close(wire.receive);
    return bytes;
}

/* What each receiver makes of a stream that stands in memory. */
static struct side receive_from(const struct method_ops *method,
                                const struct transport_ops *transport, uint64_t buffer,
                                uint64_t wanted, const uint8_t *bytes, size_t length, bool verify)
{
    struct wire wire = wire_open(transport);
    struct writer writer = {.fd = wire.send, .bytes = bytes, .length = length};
    struct side receiver = side_of(method, transport, wire.receive, false, buffer, wanted, verify);
    receiver.closes = true;
    assert_int_equal(pthread_create(&writer.thread, NULL, write_all, &writer), 0);
    side_start(&receiver);
    side_join(&receiver);
    assert_int_equal(pthread_join(writer.thread, NULL), 0);
    return receiver;
}

static void test_content(void **state)
{
    (void)state;
    /* All senders put the same into the file, whatever their calls. */
    size_t length = 3 * PERIOD + 4000;
    uint8_t *copy = captured(&method_copy, 4096, length, true);
    for (size_t m = 0; methods[m]; m++) {
        if (serves(methods[m], &transport_pipe) && (methods[m]->flags & METHOD_VERIFY)) {
            uint8_t *other = captured(methods[m], 1500, length, true);
            assert_memory_equal(copy, other, length);
            free(other);
        }
    }
    /* Its period is that one, and there is none that is shorter. */
    assert_memory_equal(copy, copy + PERIOD, length - PERIOD);
    for (size_t shift = 1; shift < PERIOD; shift += shift < 20 ? 1 : shift / 8) {
        size_t equal = 0;
        for (size_t i = 0; i < PERIOD; i++) {
            equal += copy[i] == copy[i + shift];
        }
        assert_true(equal < PERIOD / 100);
    }
    free(copy);
    /* Without verify each block is the same memory, as ipc-static's is. */
    uint8_t *plain = captured(&method_copy, 1000, 5500, false);
    for (size_t i = 1000; i < 5500; i += 1000) {
        assert_memory_equal(plain, plain + i, i == 5000 ? 500 : 1000);
    }
    free(plain);
}

/* Where two streams differ first. */
static size_t first_difference(const uint8_t *one, const uint8_t *other, size_t length)
{
    size_t i = 0;
    while (i < length && one[i] == other[i]) {
        i++;
    }
    return i;
}

static void expect_difference(const uint8_t *right, const uint8_t *wrong, size_t length)
{
    char place[64];
    size_t first = first_difference(right, wrong, length);
    assert_true(first < length);
    snprintf(place, sizeof place, "byte %zu of the stream differs", first);
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            if (!(methods[m]->flags & METHOD_VERIFY) || !serves(methods[m], transports[t])) {
                continue;
            }
            struct side side =
                receive_from(methods[m], transports[t], 3000, length, wrong, length, true);
            assert_int_equal(side.result, -1);
            assert_int_equal(side.error.code, ERR_PROTOCOL);
            if (!strstr(side.error.what, place)) {
                fail_msg("%s: \"%s\", not \"%s\"", methods[m]->name, side.error.what, place);
            }
            /* Who does not compare does not complain. */
            side = receive_from(methods[m], transports[t], 3000, length, wrong, length, false);
            side_succeeded(&side);
        }
    }
}

static void test_verify_finds(void **state)
{
    (void)state;
    size_t length = 2 * PERIOD + 12345, place = PERIOD + 777;
    uint8_t *right = captured(&method_copy, 3000, length, true);
    uint8_t *wrong = malloc(length + 1);
    assert_non_null(wrong);

    memcpy(wrong, right, length); /* one bit of one byte */
    wrong[place] ^= 1;
    expect_difference(right, wrong, length);
    memcpy(wrong, right, length);
    wrong[length - 1] ^= 0x80;
    expect_difference(right, wrong, length);
    memcpy(wrong, right, length);
    wrong[0]++;
    expect_difference(right, wrong, length);

    memcpy(wrong, right, place); /* one byte lost, and one more at the end */
    memcpy(wrong + place, right + place + 1, length - place - 1);
    wrong[length - 1] = 0;
    expect_difference(right, wrong, length);

    memcpy(wrong, right, place); /* doubled */
    memcpy(wrong + place, right + place - 1, length - place);
    expect_difference(right, wrong, length);

    memcpy(wrong, right, length); /* two blocks swapped */
    memcpy(wrong + 3000, right + 6000, 3000);
    memcpy(wrong + 6000, right + 3000, 3000);
    expect_difference(right, wrong, length);
    free(right);
    free(wrong);
}

static void test_stream_ends_early(void **state)
{
    (void)state;
    uint8_t *right = captured(&method_copy, 3000, 10001, true);
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            if (!serves(methods[m], transports[t])) {
                continue;
            }
            bool verify = methods[m]->flags & METHOD_VERIFY;
            struct side side =
                receive_from(methods[m], transports[t], 3000, 10002, right, 10001, verify);
            assert_int_equal(side.result, -1);
            assert_int_equal(side.error.code, ERR_PROTOCOL);
            assert_string_equal(side.error.what,
                                "the stream ended at byte 10001, 1 bytes too early");
            assert_int_equal(side.counts.bytes, 10001);
            assert_int_equal(side.counts.blocks, 3);
            side = receive_from(methods[m], transports[t], 3000, 1, right, 0, verify);
            assert_int_equal(side.result, -1);
            assert_int_equal(side.error.code, ERR_PROTOCOL);
        }
    }
    free(right);
}

/* A sender that is blocked, or will be, when its peer goes. */
static void test_receiver_goes(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            if (!serves(methods[m], transports[t])) {
                continue;
            }
            uint8_t some[5000];
            struct wire wire = wire_open(transports[t]);
            struct side sender = side_of(methods[m], transports[t], wire.send, true, 40000,
                                         UINT64_C(1) << 40, false);
            side_start(&sender);
            assert_true(read(wire.receive, some, sizeof some) > 0);
            usleep(2000); /* mostly it is blocked by now; it must fail either way */
            close(wire.receive);
            side_join(&sender);
            assert_int_equal(sender.result, -1);
            assert_int_equal(sender.error.code, ERR_SYSTEM);
            assert_true(sender.error.number == EPIPE || sender.error.number == ECONNRESET);
            assert_true(sender.error.hint[0]);
            close(wire.send);
        }
    }
}

/* The same in one thread. */
static void test_one_thread_fails(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        if (!(methods[m]->flags & METHOD_SOME) || !serves(methods[m], &transport_pipe)) {
            continue;
        }
        struct wire wire = wire_open(&transport_pipe);
        struct transfer_counts counts = {0};
        struct transfer_end *end = NULL;
        struct err error = {0};
        struct transfer_config config = {.transport = &transport_pipe,
                                         .fd = wire.receive,
                                         .buffer_bytes = 1000,
                                         .nonblocking = true};
        make_nonblocking(wire.receive);
        make_nonblocking(wire.send);
        assert_int_equal(methods[m]->open(&end, false, &config, &counts, &error), 0);
        assert_int_equal(methods[m]->receive_some(end, 5, &error), 0);
        close(wire.send);
        assert_int_equal(methods[m]->receive_some(end, 5, &error), -1);
        assert_int_equal(error.code, ERR_PROTOCOL);
        methods[m]->close(end);
        close(wire.receive);

        wire = wire_open(&transport_pipe);
        config.fd = wire.send;
        assert_int_equal(methods[m]->open(&end, true, &config, &counts, &error), 0);
        close(wire.receive);
        assert_int_equal(methods[m]->send_some(end, 5, &error), -1);
        assert_int_equal(error.number, EPIPE);
        methods[m]->close(end);
        close(wire.send);
    }
}

static void handle(int number)
{
    (void)number;
}

/* Signals until a call of the thread has been interrupted. Reads counts that the thread writes. */
static void interrupt(struct side *side)
{
    for (uint64_t errors = 0; errors == 0;) {
        assert_int_equal(pthread_kill(side->thread, SIGUSR1), 0);
        usleep(500);
        for (int i = 0; i < CALL_KINDS; i++) {
            errors += __atomic_load_n(&side->counts.calls.of[i].errors, __ATOMIC_RELAXED);
        }
    }
}

static void test_interrupted(void **state)
{
    struct sigaction action = {.sa_handler = handle}; /* without SA_RESTART */
    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    for (size_t m = 0; methods[m]; m++) {
        const struct transport_ops *transport =
            serves(methods[m], &transport_pipe) ? &transport_pipe : &transport_tcp;
        if (!serves(methods[m], transport)) {
            continue;
        }
        bool verify = methods[m]->flags & METHOD_VERIFY;
        uint64_t total = UINT64_C(20) << 20;
        struct wire wire = wire_open(transport);
        struct side sender = side_of(methods[m], transport, wire.send, true, 50000, total, verify);
        struct side receiver =
            side_of(methods[m], transport, wire.receive, false, 50000, total, verify);
        side_start(&receiver); /* blocked from the start */
        interrupt(&receiver);
        side_start(&sender);
        side_join(&sender);
        side_join(&receiver);
        side_succeeded(&sender);
        side_succeeded(&receiver);
        assert_int_equal(receiver.counts.bytes, total);

        sender = side_of(methods[m], transport, wire.send, true, 50000, total, verify);
        receiver = side_of(methods[m], transport, wire.receive, false, 50000, total, verify);
        side_start(&sender); /* blocked once the file is full */
        interrupt(&sender);
        side_start(&receiver);
        side_join(&sender);
        side_join(&receiver);
        side_succeeded(&sender);
        side_succeeded(&receiver);
        assert_int_equal(sender.counts.bytes, total);
        assert_int_equal(sender.counts.blocks, (total + 49999) / 50000);
        wire_close(wire);
    }
}

static void test_impossible_memory(void **state)
{
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX / 2, UINT64_C(1) << 62,
                                     UINT64_C(1) << 60, UINT64_C(1) << 48};
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        const struct transport_ops *transport =
            serves(methods[m], &transport_pipe) ? &transport_pipe : &transport_tcp;
        if (!serves(methods[m], transport)) {
            continue;
        }
        struct wire wire = wire_open(transport);
        for (size_t i = 0; i < 4 * sizeof sizes / sizeof *sizes; i++) {
            struct transfer_counts counts = {0};
            struct transfer_end *end = (struct transfer_end *)&counts;
            struct err error = {0};
            bool sender = i & 1;
            struct transfer_config config = {.transport = transport,
                                             .fd = sender ? wire.send : wire.receive,
                                             .buffer_bytes = sizes[i / 4],
                                             .verify = i & 2};
            assert_int_equal(methods[m]->open(&end, sender, &config, &counts, &error), -1);
            assert_null(end);
            bool refused = (i & 2) && !(methods[m]->flags & METHOD_VERIFY);
            assert_int_equal(error.code, refused ? ERR_USAGE : ERR_SYSTEM);
            assert_int_equal(error.number, refused ? 0 : ENOMEM);
        }
        wire_close(wire);
    }
}

static void test_refused(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            bool only_pipe = methods[m] == &method_vmsplice || methods[m] == &method_splice;
            bool only_tcp = methods[m] == &method_zerocopy;
            char reason[256] = "";
            int result = methods[m]->why_not(transports[t], reason, sizeof reason);
            if ((only_pipe && transports[t] != &transport_pipe) ||
                (only_tcp && transports[t] != &transport_tcp)) {
                struct transfer_counts counts = {0};
                struct transfer_end *end = NULL;
                struct err error = {0};
                struct transfer_config config = {
                    .transport = transports[t], .fd = 0, .buffer_bytes = 1};
                assert_int_equal(result, -1);
                assert_non_null(
                    strstr(reason, only_pipe ? "serves pipe alone: " : "serves tcp alone: "));
                assert_int_equal(methods[m]->open(&end, true, &config, &counts, &error), -1);
                assert_int_equal(error.code, ERR_UNSUPPORTED);
                assert_null(end);
            } else if (methods[m] != &method_uring) {
                assert_int_equal(result, 0);
            }
        }
    }
    struct transfer_counts counts = {0};
    struct transfer_end *end = NULL;
    struct err error = {0};
    struct transfer_config config = {.transport = &transport_pipe, .fd = 0, .buffer_bytes = 0};
    for (size_t m = 0; methods[m]; m++) {
        assert_int_equal(methods[m]->open(&end, true, &config, &counts, &error), -1);
        assert_null(end);
    }
    config = (struct transfer_config){
        .transport = &transport_tcp, .buffer_bytes = 1, .nonblocking = true};
    assert_int_equal(method_zerocopy.open(&end, true, &config, &counts, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_content),           cmocka_unit_test(test_verify_finds),
        cmocka_unit_test(test_stream_ends_early), cmocka_unit_test(test_receiver_goes),
        cmocka_unit_test(test_one_thread_fails),  cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_impossible_memory), cmocka_unit_test(test_refused),
    };
    world_prepare();
    return cmocka_run_group_tests(cases, NULL, NULL);
}
