/* The client of `sonde ping` as a state machine. */
#include "ping_world.h"

#include "codec/sockperf.h"

static void one_message_at_a_time(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t first[64], second[64];
    pinger_open(&pinger, ping_options(64), CHANNEL_SOCKET);
    pinger_event(&pinger, OP_START, clock_now_ns());
    assert_non_null(world_asked(&pinger.world, OP_RECEIVE));
    pinger_send(&pinger, first);
    assert_false(asks_to_send(&pinger));
    assert_int_equal(world_outstanding(&pinger.world), 1);
    pinger_receive(&pinger, first, 64);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    assert_int_equal(timed(&pinger, PING_RESPONSE_TIME), 1);
    assert_int_equal(timed(&pinger, PING_SERVICE_TIME), 1);
    pinger_send(&pinger, second);
    assert_memory_not_equal(first, second, 8); /* each has a number of its own */
    assert_memory_equal(first + 8, second + 8, 56);
    assert_int_equal(pinged(&pinger, PING_COUNT_SENT), 2);
    assert_int_equal(pinged(&pinger, PING_COUNT_BYTES), 3 * 64);
    pinger_close(&pinger);
}

static void answers_in_pieces(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 7, 8, 9, 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pinger pinger;
        uint8_t message[64];
        pinger_open(&pinger, ping_options(sizes[i]), CHANNEL_SOCKET);
        pinger_event(&pinger, OP_START, clock_now_ns());
        for (int round = 0; round < 3; round++) {
            pinger_send(&pinger, message);
            for (size_t at = 0; at < sizes[i]; at++) {
                assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), round);
                pinger_receive(&pinger, message + at, 1);
            }
            assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), round + 1);
        }
        pinger_close(&pinger);
    }
}

/* Starts a burst and collects its messages. */
static void send_burst(struct pinger *pinger, uint8_t *messages, size_t size, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pinger_send(pinger, messages + i * size);
    }
    assert_false(asks_to_send(pinger));
}

static void several_answers_together(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(10);
    uint8_t messages[5 * 10];
    options.burst = 5;
    pinger_open(&pinger, options, CHANNEL_SOCKET);
    pinger_event(&pinger, OP_START, clock_now_ns());
    send_burst(&pinger, messages, 10, 5);
    pinger_receive(&pinger, messages, 25); /* two and a half */
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 2);
    assert_false(asks_to_send(&pinger));
    pinger_receive(&pinger, messages + 25, 25);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 5);
    send_burst(&pinger, messages, 10, 5); /* the next one */
    pinger_close(&pinger);
}

static void short_sends_are_completed(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[16];
    pinger_open(&pinger, ping_options(16), CHANNEL_SOCKET);
    pinger_event(&pinger, OP_START, clock_now_ns());
    for (size_t at = 0; at < 16; at++) {
        const struct op *send = world_asked(&pinger.world, OP_SEND);
        assert_non_null(send);
        assert_int_equal(send->length, 16 - at);
        message[at] = send->data[0];
        struct op copy = *send;
        world_sent(&pinger.world, &copy, 1, clock_now_ns());
    }
    assert_int_equal(pinged(&pinger, PING_COUNT_SENT), 1);
    pinger_receive(&pinger, message, 16);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    pinger_close(&pinger);
}

/* The connection has failed with one error row, and everything in flight is lost. */
static void assert_failed(const struct pinger *pinger, enum bank_phase phase, uint64_t lost)
{
    const struct bank_error *row = &pinger->world.bank->errors[0];
    assert_non_null(world_asked(&pinger->world, OP_CLOSE));
    assert_int_equal(row->phase, phase);
    assert_int_equal(row->count, 1);
    assert_int_equal(pinged(pinger, PING_COUNT_LOST), lost);
    assert_int_equal(world_outstanding(&pinger->world), 0);
}

static void a_stream_that_is_wrong(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) {
        struct pinger pinger;
        struct ping_options options = ping_options(8);
        uint8_t messages[24] = {0};
        options.burst = 2;
        pinger_open(&pinger, options, CHANNEL_SOCKET);
        pinger_event(&pinger, OP_START, clock_now_ns());
        send_burst(&pinger, messages, 8, 2);
        switch (which) {
        case 0: /* in another order */
            pinger_receive(&pinger, messages + 8, 8);
            assert_failed(&pinger, PHASE_PROTOCOL, 1);
            break;
        case 1: /* a number that was never sent */
            messages[0] = 99;
            pinger_receive(&pinger, messages, 8);
            assert_failed(&pinger, PHASE_PROTOCOL, 2);
            break;
        case 2: /* the end */
            pinger_receive(&pinger, messages, 0);
            assert_failed(&pinger, PHASE_RECEIVE, 2);
            break;
        default: /* more than was asked for: three answers to two messages */
            pinger_receive(&pinger, messages, 24);
            assert_failed(&pinger, PHASE_PROTOCOL, 0);
            assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 2);
            break;
        }
        pinger_close(&pinger);
    }
}

static void a_lost_datagram_is_given_up(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t lost[32], next[32];
    uint64_t begin_ns = clock_now_ns();
    pinger_open(&pinger, ping_options(32), CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, begin_ns);
    uint64_t due_ns = pinger.timer_ns;
    assert_true(due_ns >= begin_ns + TIMEOUT_NS);
    pinger_send(&pinger, lost);
    pinger_expire(&pinger, due_ns - 1); /* too early: asks again */
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 0);
    assert_int_equal(pinger.timer_ns, due_ns);
    pinger_expire(&pinger, due_ns);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 1);
    pinger_send(&pinger, next); /* it does not stall */
    pinger_receive(&pinger, lost, 32);
    assert_int_equal(pinged(&pinger, PING_COUNT_LATE), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 0);
    assert_int_equal(timed(&pinger, PING_RESPONSE_TIME), 0); /* in no latency */
    pinger_receive(&pinger, lost, 32);
    assert_int_equal(pinged(&pinger, PING_COUNT_DUPLICATED), 1);
    pinger_receive(&pinger, next, 32);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_LATE), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), 0);
    pinger_close(&pinger);
}

static void a_stream_waits_for_ever(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_SOCKET);
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_send(&pinger, message);
    assert_int_equal(pinger.timer_ns, 0);
    pinger_close(&pinger);
}

static void datagrams_in_any_order(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(9);
    uint8_t m[4 * 9];
    options.burst = 4;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, clock_now_ns());
    send_burst(&pinger, m, 9, 4);
    pinger_receive(&pinger, m + 2 * 9, 9);
    pinger_receive(&pinger, m, 9);         /* out of order */
    pinger_receive(&pinger, m, 9);         /* again */
    pinger_receive(&pinger, m + 3 * 9, 9); /* in order */
    pinger_receive(&pinger, m + 3 * 9, 8); /* too short */
    pinger_receive(&pinger, m + 3 * 9, 0); /* empty, and no end */
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 3);
    pinger_receive(&pinger, m + 9, 9); /* out of order */
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 4);
    assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), 2);
    assert_int_equal(pinged(&pinger, PING_COUNT_DUPLICATED), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 2);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 0);
    assert_true(asks_to_send(&pinger)); /* the next burst */
    memset(m, 0xff, 9);
    pinger_receive(&pinger, m, 9); /* a number from nowhere */
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 3);
    pinger_close(&pinger);
}

/* Everything that one-byte numbers can say, several times over. */
static void short_numbers_wrap(void **state)
{
    (void)state;
    for (uint64_t size = 1; size <= 2; size++) {
        uint64_t rounds = size == 1 ? 1000 : 70000;
        struct pinger pinger;
        uint8_t message[2], before[2] = {0};
        pinger_open(&pinger, ping_options(size), CHANNEL_DATAGRAM);
        pinger_event(&pinger, OP_START, clock_now_ns());
        for (uint64_t i = 1; i <= rounds; i++) {
            pinger_send(&pinger, message);
            if (i % 100 == 50) { /* the one before once more */
                pinger_receive(&pinger, before, size);
                assert_int_equal(pinged(&pinger, PING_COUNT_DUPLICATED), i / 100 + 1);
            }
            pinger_receive(&pinger, message, size);
            assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), i);
            memcpy(before, message, size);
        }
        assert_int_equal(pinged(&pinger, PING_COUNT_OUT_OF_ORDER), 0);
        assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 0);
        pinger_close(&pinger);
    }
}

static void errors_of_datagrams(void **state)
{
    (void)state;
    struct pinger pinger;
    uint8_t message[8];
    pinger_open(&pinger, ping_options(8), CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_send(&pinger, message);
    world_received(&pinger.world, NULL, -ECONNREFUSED, clock_now_ns());
    assert_null(world_asked(&pinger.world, OP_CLOSE));
    pinger_expire(&pinger, clock_now_ns() + 2 * TIMEOUT_NS);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 1);
    struct op copy = *world_asked(&pinger.world, OP_SEND);
    world_sent(&pinger.world, &copy, -ECONNREFUSED, 0);
    assert_null(world_asked(&pinger.world, OP_CLOSE));
    assert_false(asks_to_send(&pinger)); /* no hot loop of failing sends */
    assert_int_equal(pinged(&pinger, PING_COUNT_SENT), 1);
    assert_int_equal(pinger.world.bank->errors[0].count, 1);
    assert_int_equal(pinger.world.bank->errors[1].count, 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_UNSENT), 1);
    pinger_expire(&pinger, clock_now_ns() + 2 * TIMEOUT_NS);
    assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 1); /* what was not sent is not lost */
    assert_int_equal(pinger.world.bank->silence.lost, 2);
    assert_int_equal(pinger.world.bank->silence.refused, 2);
    copy = *world_asked(&pinger.world, OP_SEND);
    world_sent(&pinger.world, &copy, -EMSGSIZE, 0); /* never will go */
    assert_non_null(world_asked(&pinger.world, OP_CLOSE));
    pinger_close(&pinger);
}

static void quota_and_drain(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(8);
    uint8_t messages[3 * 8];
    options.burst = 3;
    pinger_open(&pinger, options, CHANNEL_SOCKET);
    pinger.world.context.quota = 5;
    pinger_event(&pinger, OP_START, clock_now_ns());
    send_burst(&pinger, messages, 8, 3);
    pinger_receive(&pinger, messages, 24);
    send_burst(&pinger, messages, 8, 2);
    assert_int_equal(pinger.world.context.quota, 0);
    pinger.world.context.quota = UINT64_MAX;
    pinger.world.context.draining = true;
    pinger_event(&pinger, OP_DRAIN, clock_now_ns());
    pinger_receive(&pinger, messages, 16);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 5);
    assert_int_equal(world_outstanding(&pinger.world), 0);
    assert_false(asks_to_send(&pinger));
    pinger_close(&pinger);
}

/* An engine that blocks may do so as long as the timer is far ahead: it is set anew before that. */
static void the_timer_stays_ahead(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(8);
    uint8_t message[8];
    unsigned set = 0;
    options.timeout_ns = 20 * NS_PER_MS;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, clock_now_ns());
    uint64_t end_ns = clock_now_ns() + 200 * NS_PER_MS;
    unsigned rounds = 0;
    for (uint64_t before_ns = pinger.timer_ns; clock_now_ns() < end_ns; rounds++) {
        pinger_send(&pinger, message);
        pinger_receive(&pinger, message, 8);
        set += pinger.timer_ns != before_ns;
        before_ns = pinger.timer_ns;
        assert_int_equal(pinged(&pinger, PING_COUNT_LOST), 0);
    }
    assert_true(set >= 1);
    assert_true(set <= 25); /* not with every message */
    pinger_close(&pinger);
}

static void the_format_of_sockperf(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(20);
    struct sockperf_header header;
    uint8_t message[20], wrong[20];
    options.format = PING_SOCKPERF;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_send(&pinger, message);
    assert_int_equal(sockperf_decode(message, 20, &header), SOCKPERF_OK);
    assert_int_equal(header.sequence, 1);
    assert_int_equal(header.length, 20);
    assert_int_equal(header.flags, SOCKPERF_CLIENT | SOCKPERF_PONG);
    pinger_receive(&pinger, message, 20); /* not an answer */
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 1);
    sockperf_make_answer(message);
    memcpy(wrong, message, 20);
    wrong[13]++; /* another length */
    pinger_receive(&pinger, wrong, 20);
    assert_int_equal(pinged(&pinger, PING_COUNT_INVALID), 2);
    pinger_receive(&pinger, message, 20);
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 1);
    pinger_close(&pinger);
}

static void round_trips_are_split(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(8);
    uint8_t message[8];
    options.stamps = true;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    pinger_event(&pinger, OP_START, clock_now_ns());
    pinger_send(&pinger, message);
    uint64_t sent_ns = clock_real_ns();
    struct op_stamps stamps = {.sent_ns = sent_ns, .received_ns = sent_ns + 1};
    while (clock_real_ns() < stamps.received_ns) {
    }
    world_step(&pinger.world, (struct op){.kind = OP_RECEIVE,
                                          .data = message,
                                          .result = 8,
                                          .now_ns = clock_now_ns(),
                                          .stamps = &stamps});
    const struct histogram *histograms = pinger.world.bank->histograms;
    assert_int_equal(timed(&pinger, PING_SEND_CALL), 1);
    assert_int_equal(timed(&pinger, PING_NETWORK), 1);
    assert_int_equal(timed(&pinger, PING_WAKE_UP), 1);
    assert_int_equal(histograms[PING_NETWORK].maximum, 1);
    /* The parts make up the whole, but for what reading two clocks takes. */
    uint64_t sum_ns = histograms[PING_SEND_CALL].maximum + histograms[PING_NETWORK].maximum +
                      histograms[PING_WAKE_UP].maximum;
    assert_true(sum_ns <= histograms[PING_SERVICE_TIME].maximum + NS_PER_MS);
    pinger_send(&pinger, message);
    stamps.sent_ns = 0; /* not known: no split */
    world_step(&pinger.world, (struct op){.kind = OP_RECEIVE,
                                          .data = message,
                                          .result = 8,
                                          .now_ns = clock_now_ns(),
                                          .stamps = &stamps});
    assert_int_equal(pinged(&pinger, PING_COUNT_COMPLETED), 2);
    assert_int_equal(timed(&pinger, PING_SEND_CALL), 1);
    assert_int_equal(pinged(&pinger, PING_COUNT_TO_SPLIT), 2);
    assert_int_equal(pinged(&pinger, PING_COUNT_UNSTAMPED), 1);
    pinger_close(&pinger);
}

/* At every size and beyond the wrap of every number: a message is a request, its answer is none and
 * bears the same number, and so does a plain echo. */
static void an_answer_is_no_request(void **state)
{
    (void)state;
    for (uint64_t size = 1; size <= 10; size++) {
        const struct ping_options options = {.size_bytes = size};
        for (uint64_t sequence = 1; sequence < 70000; sequence += 1 + sequence / 300) {
            uint8_t message[10] = {0};
            uint64_t wire, again, whole;
            ping_put_head(&options, message, sequence);
            assert_true(ping_is_request(message, size));
            assert_null(ping_take_head(&options, message, &wire));
            ping_make_answer(message);
            assert_false(ping_is_request(message, size));
            assert_null(ping_take_head(&options, message, &again));
            assert_true(wire == again);
            assert_true(ping_whole_sequence(&options, again, sequence, &whole));
            assert_true(whole == sequence);
        }
    }
    const uint8_t nothing[1] = {0};
    assert_false(ping_is_request(nothing, 0));
}

/* Only every third message asks for an answer; the others are in no flight. */
static void answers_to_some(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_log_entry entries[1];
    struct ping_log log = {.entries = entries, .room = 1};
    struct ping_options options = ping_options(16);
    uint8_t message[16];
    options.format = PING_SOCKPERF;
    options.answer_every = 3;
    options.log = &log;
    pinger_open(&pinger, options, CHANNEL_DATAGRAM);
    world_event(&pinger.world, OP_START, 0);
    assert_non_null(world_asked(&pinger.world, OP_RECEIVE));
    for (uint64_t i = 1; i <= 6; i++) {
        struct sockperf_header header;
        struct op send = *world_asked(&pinger.world, OP_SEND);
        memcpy(message, send.data, sizeof message);
        assert_int_equal(sockperf_decode(message, sizeof message, &header), SOCKPERF_OK);
        assert_int_equal(header.sequence, i);
        assert_int_equal(sockperf_wants_answer(&header), i % 3 == 0);
        /* What is answered may be sent without a word; what is not brings the next one. */
        assert_int_equal(send.flags, i % 3 == 0 ? OP_QUIET : 0);
        world_sent(&pinger.world, &send, 16, 0);
        /* After the second of three, the third has been issued. */
        assert_int_equal(world_outstanding(&pinger.world), i % 3 != 1);
        if (i % 3 == 0) {
            assert_null(world_asked(&pinger.world, OP_SEND));
            sockperf_make_answer(message);
            pinger_receive(&pinger, message, sizeof message);
        }
    }
    const uint64_t *counters = pinger.world.context.bank->counters;
    assert_int_equal(counters[PING_COUNT_SENT], 6);
    assert_int_equal(counters[PING_COUNT_COMPLETED], 2);
    assert_int_equal(log.count, 1);
    assert_int_equal(log.missed, 1);
    pinger_close(&pinger);
}

/* Without any answer nothing is received, and others have their turn now and then. */
static void no_answers(void **state)
{
    (void)state;
    struct pinger pinger;
    struct ping_options options = ping_options(16);
    options.format = PING_SOCKPERF;
    options.answer_every = PING_ANSWER_NONE;
    pinger_open(&pinger, options, CHANNEL_SOCKET);
    world_event(&pinger.world, OP_START, 0);
    assert_null(world_asked(&pinger.world, OP_RECEIVE));
    for (int turn = 0; turn < 3; turn++) {
        int sends = 0;
        for (const struct op *send; (send = world_asked(&pinger.world, OP_SEND)) != NULL; sends++) {
            struct op copy = *send;
            world_sent(&pinger.world, &copy, 16, 0);
        }
        assert_int_equal(sends, 64);
        assert_true(pinger.world.context.out.resume);
        world_event(&pinger.world, OP_RESUME, 0);
    }
    assert_int_equal(pinger.world.context.bank->counters[PING_COUNT_SENT], 192);
    pinger.world.context.draining = true;
    struct op last = *world_asked(&pinger.world, OP_SEND);
    world_sent(&pinger.world, &last, 16, 0);
    assert_null(world_asked(&pinger.world, OP_SEND));
    assert_int_equal(ping_client.outstanding(pinger.world.connection), 0);
    pinger_close(&pinger);
}

static void options_are_checked(void **state)
{
    (void)state;
    static const struct {
        struct ping_options options;
        bool good;
    } rows[] = {
        {{.size_bytes = 1, .burst = 1}, true},
        {{.size_bytes = 1, .burst = 64}, true}, /* a bit is the answers' */
        {{.size_bytes = 1, .burst = 65}, false},
        {{.size_bytes = 1, .burst = 1, .high = 65}, false},
        {{.size_bytes = 2, .burst = 1, .high = 16384}, true},
        {{.size_bytes = 2, .burst = 1, .high = 16385}, false},
        {{.size_bytes = 1, .burst = 128, .format = PING_SOCKPERF}, false},
        {{.size_bytes = 64, .burst = 9, .high = 8}, false},
        {{.size_bytes = 13, .burst = 1, .format = PING_SOCKPERF}, false},
        {{.size_bytes = 14, .burst = 1, .format = PING_SOCKPERF}, true},
        {{.size_bytes = 65507, .burst = 1, .format = PING_SOCKPERF}, true},
        {{.size_bytes = 65508, .burst = 1, .format = PING_SOCKPERF}, false},
        {{.size_bytes = 65537, .burst = 1}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ping_options options = rows[i].options;
        struct err error = {0};
        int result = workload_ping.check(&options, 65536, &error);
        assert_int_equal(result, rows[i].good ? 0 : -1);
        assert_true(!rows[i].good || options.high >= options.burst);
    }
}

static void formats_in_targets(void **state)
{
    (void)state;
    const char *url = "sockperf+udp://h:1";
    uint32_t format = PING_OWN;
    assert_true(ping_take_format(&url, &format));
    assert_string_equal(url, "udp://h:1");
    assert_int_equal(format, PING_SOCKPERF);
    url = "ping+tcp://h:1";
    assert_true(ping_take_format(&url, &format));
    assert_string_equal(url, "tcp://h:1");
    assert_int_equal(format, PING_OWN);
    url = "sockperf://h:1";
    assert_false(ping_take_format(&url, &format));
    assert_string_equal(url, "sockperf://h:1");
}

static void sockperf_has_a_port_of_its_own(void **state)
{
    static const struct {
        const char *url, *ported;
    } rows[] = {
        {"udp://10.0.0.1", "udp://10.0.0.1:11111"},
        {"udp://[::1]", "udp://[::1]:11111"},
        {"udp://10.0.0.1:7", "udp://10.0.0.1:7"},
        {"udp://[::1]:7", "udp://[::1]:7"},
        {"udp://", "udp://:11111"},
        {"unix:x", "unix:x"},
    };
    char to[32];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_string_equal(ping_sockperf_port(rows[i].url, to, sizeof to), rows[i].ported);
    }
    /* What does not fit stays as it is. */
    assert_string_equal(ping_sockperf_port("udp://10.0.0.1", to, 8), "udp://10.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_message_at_a_time),
        cmocka_unit_test(answers_in_pieces),
        cmocka_unit_test(several_answers_together),
        cmocka_unit_test(short_sends_are_completed),
        cmocka_unit_test(a_stream_that_is_wrong),
        cmocka_unit_test(a_lost_datagram_is_given_up),
        cmocka_unit_test(a_stream_waits_for_ever),
        cmocka_unit_test(datagrams_in_any_order),
        cmocka_unit_test(short_numbers_wrap),
        cmocka_unit_test(errors_of_datagrams),
        cmocka_unit_test(quota_and_drain),
        cmocka_unit_test(the_timer_stays_ahead),
        cmocka_unit_test(the_format_of_sockperf),
        cmocka_unit_test(round_trips_are_split),
        cmocka_unit_test(an_answer_is_no_request),
        cmocka_unit_test(answers_to_some),
        cmocka_unit_test(no_answers),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(formats_in_targets),
        cmocka_unit_test(sockperf_has_a_port_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
