/* Every method over every transport that it serves: all bytes arrive, and all is counted. */
#include "transfer_world.h"

static const uint64_t buffers[] = {1, 3, 4096, 65537, 1 << 20};

/* Some whole blocks and a shorter last one. */
static uint64_t total_of(uint64_t buffer)
{
    uint64_t total = buffer * 3 + buffer / 2;
    return total < 1001 ? 1001 : total;
}

static uint64_t blocks_of(uint64_t total, uint64_t buffer)
{
    return (total + buffer - 1) / buffer;
}

static void check_counts(const struct side *side, uint64_t total)
{
    const struct call_table *calls = &side->counts.calls;
    bool by_ring = side->method == &method_uring;
    assert_int_equal(side->counts.bytes, total);
    assert_int_equal(side->counts.blocks, blocks_of(total, side->config.buffer_bytes));
    assert_int_equal(side->counts.waits, 0);
    assert_int_equal(calls_in(calls).bytes, by_ring ? 0 : total);
    assert_int_equal(calls_in(calls).again, 0 + calls->of[CALL_RECVMSG].again);
    assert_int_equal(calls->uring_submitted, calls->uring_completed);
    if (by_ring) {
        assert_true(calls->uring_completed >= side->counts.blocks);
        assert_true(calls->of[CALL_IO_URING_ENTER].calls > 0);
        assert_int_equal(calls_in(calls).calls, calls->of[CALL_IO_URING_ENTER].calls);
    } else {
        assert_int_equal(calls->uring_completed, 0);
    }
}

/* The kernel's own counts of the thread: exact for what goes through read and write, and no such
 * call for anything else. */
static void check_witness(const struct side *side, uint64_t total)
{
    const struct call_count *of = side->counts.calls.of;
    uint64_t reads = of[CALL_READ].calls + of[CALL_READV].calls;
    uint64_t writes = of[CALL_WRITE].calls + of[CALL_WRITEV].calls;
    assert_int_equal(side->io.syscr, reads);
    assert_int_equal(side->io.syscw, writes);
    if (side->method != &method_uring) { /* which counts the bytes of a thread, too */
        assert_int_equal(side->io.rchar, reads ? total : 0);
        assert_int_equal(side->io.wchar, writes ? total : 0);
    }
}

static void transfer(const struct method_ops *method, const struct transport_ops *transport,
                     uint64_t buffer, bool verify)
{
    uint64_t total = total_of(buffer);
    struct wire wire = wire_open(transport);
    struct side sender = side_of(method, transport, wire.send, true, buffer, total, verify);
    struct side receiver = side_of(method, transport, wire.receive, false, buffer, total, verify);
    side_start(&receiver);
    side_start(&sender);
    side_join(&sender);
    side_join(&receiver);
    side_succeeded(&sender);
    side_succeeded(&receiver);
    check_counts(&sender, total);
    check_counts(&receiver, total);
    check_witness(&sender, total);
    check_witness(&receiver, total);
    if (method == &method_copy) {
        /* Each call moves what it was asked for, or is counted as short. */
        uint64_t blocks = blocks_of(total, buffer);
        assert_int_equal(sender.counts.calls.of[CALL_WRITE].calls,
                         blocks + sender.counts.short_calls);
        assert_int_equal(receiver.counts.calls.of[CALL_READ].calls,
                         blocks + receiver.counts.short_calls);
    }
    wire_close(wire);
}

static void test_every_method(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        assert_string_equal(methods[m]->name, method_names[m]);
        assert_ptr_equal(method_find(method_names[m]), methods[m]);
        for (size_t t = 0; transports[t]; t++) {
            for (size_t b = 0; b < sizeof buffers / sizeof *buffers; b++) {
                if (serves(methods[m], transports[t])) {
                    transfer(methods[m], transports[t], buffers[b], false);
                    if (methods[m]->flags & METHOD_VERIFY) {
                        transfer(methods[m], transports[t], buffers[b], true);
                    }
                }
            }
        }
    }
    assert_null(method_find("teleport"));
    assert_ptr_equal(methods[0], &method_copy);
}

/* Both ends in this thread. */
static void both(const struct method_ops *method, const struct transport_ops *transport,
                 uint64_t buffer, bool verify)
{
    /* More than what files hold, but for the smallest buffers: those only take longer. */
    uint64_t total = total_of(buffer) + (buffer < 4096 ? 3000 : 300000);
    struct wire wire = wire_open(transport);
    struct pair pair;
    struct err error = {0};
    pair_open(
        &pair, method,
        (struct transfer_config){
            .transport = transport, .buffer_bytes = buffer, .verify = verify, .nonblocking = true},
        wire);
    struct task_io before = task_io_now();
    if (transfer_both(pair.sender, pair.receiver, total, NULL, &error) < 0) {
        fail_msg("%s %s %lu: %s: %s", method->name, transport->scheme, buffer, error.subject,
                 error.what);
    }
    struct task_io io = task_io_between(before, task_io_now());
    assert_int_equal(pair.sent.bytes, total);
    assert_int_equal(pair.received.bytes, total);
    assert_int_equal(pair.sent.blocks, blocks_of(total, buffer));
    assert_int_equal(pair.received.blocks, blocks_of(total, buffer));
    assert_int_equal(pair.received.waits, pair.received.calls.of[CALL_PPOLL].calls);
    assert_int_equal(io.syscr, pair.received.calls.of[CALL_READ].calls +
                                   pair.received.calls.of[CALL_READV].calls);
    assert_int_equal(io.syscw,
                     pair.sent.calls.of[CALL_WRITE].calls + pair.sent.calls.of[CALL_WRITEV].calls);
    /* Nothing is lost between calls: what was neither short nor refused was whole. */
    if (method == &method_copy) {
        const struct call_count *write = &pair.sent.calls.of[CALL_WRITE];
        const struct call_count *read = &pair.received.calls.of[CALL_READ];
        assert_int_equal(write->calls - write->again - pair.sent.short_calls, pair.sent.blocks);
        assert_int_equal(read->calls - read->again - pair.received.short_calls,
                         pair.received.blocks);
    }
    pair_close(&pair);
    wire_close(wire);
}

static void test_both_in_one_thread(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            for (size_t b = 0; b < sizeof buffers / sizeof *buffers; b++) {
                if ((methods[m]->flags & METHOD_SOME) && serves(methods[m], transports[t])) {
                    both(methods[m], transports[t], buffers[b], false);
                    if (methods[m]->flags & METHOD_VERIFY) {
                        both(methods[m], transports[t], buffers[b], true);
                    }
                }
            }
        }
    }
}

/* What transfer_both counts where nothing can be left to chance: a pipe that is full after 16 whole
 * writes, and buffers of the receiver that take them all. */
static void test_both_would_block(void **state)
{
    struct wire wire = wire_open(&transport_pipe);
    struct pair pair;
    struct err error = {0};
    (void)state;
    assert_int_equal(fcntl(wire.send, F_SETPIPE_SZ, 65536), 65536);
    pair_open(&pair, &method_copy,
              (struct transfer_config){
                  .transport = &transport_pipe, .buffer_bytes = 4096, .nonblocking = true},
              wire);
    assert_int_equal(method_copy.receive_some(pair.receiver, 1 << 20, &error), 0);
    assert_int_equal(pair.received.calls.of[CALL_READ].again, 1);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(method_copy.send_some(pair.sender, 1 << 20, &error), 4096);
    }
    assert_int_equal(method_copy.send_some(pair.sender, 1 << 20, &error), 0);
    assert_int_equal(pair.sent.calls.of[CALL_WRITE].calls, 17);
    assert_int_equal(pair.sent.calls.of[CALL_WRITE].again, 1);
    assert_int_equal(pair.sent.blocks, 16);
    assert_int_equal(method_copy.receive_some(pair.receiver, 100, &error), 100);
    assert_int_equal(pair.received.blocks, 1); /* the last one, and shorter */
    assert_int_equal(pair.received.short_calls, 0);
    pair_close(&pair);
    method_copy.close(NULL);
    wire_close(wire);
}

/* Carries bytes from one pipe to another, but only once the thread waits in ppoll. */
struct relay {
    int from, to;
    pid_t waiting;
    bool seen; /* in ppoll */
    pthread_t thread;
};

static void *relay_run(void *argument)
{
    struct relay *relay = argument;
    char path[64], bytes[5000];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", relay->waiting);
    for (int i = 0; i < 20000 && !relay->seen; i++) {
        long number = -1;
        FILE *file = fopen(path, "re");
        if (file) {
            relay->seen = fscanf(file, "%ld", &number) == 1 && number == SYS_ppoll;
            fclose(file);
        }
        usleep(1000);
    }
    ssize_t length;
    while ((length = read(relay->from, bytes, sizeof bytes)) > 0) {
        if (write(relay->to, bytes, (size_t)length) != length) {
            break;
        }
    }
    close(relay->to);
    return NULL;
}

/* ppoll, and its count, only when neither end moves. */
static void test_both_wait(void **state)
{
    struct wire first = wire_open(&transport_pipe), second = wire_open(&transport_pipe);
    struct relay relay = {.from = first.receive, .to = second.send, .waiting = gettid()};
    struct pair pair;
    struct err error = {0};
    (void)state;
    assert_int_equal(fcntl(first.send, F_SETPIPE_SZ, 65536), 65536);
    pair_open(&pair, &method_copy,
              (struct transfer_config){.transport = &transport_pipe,
                                       .buffer_bytes = 4096,
                                       .verify = true,
                                       .nonblocking = true},
              (struct wire){.send = first.send, .receive = second.receive});
    assert_int_equal(pthread_create(&relay.thread, NULL, relay_run, &relay), 0);
    assert_int_equal(transfer_both(pair.sender, pair.receiver, 1 << 20, NULL, &error), 0);
    close(first.send);
    assert_int_equal(pthread_join(relay.thread, NULL), 0);
    assert_true(relay.seen);
    assert_true(pair.received.waits >= 1);
    assert_int_equal(pair.received.waits, pair.received.calls.of[CALL_PPOLL].calls);
    assert_int_equal(pair.sent.waits, 0);
    /* While the first pipe took 16 blocks, 16 reads found nothing, without a wait. */
    assert_true(pair.received.calls.of[CALL_READ].again >= pair.received.waits + 16);
    assert_int_equal(pair.received.bytes, 1 << 20);
    pair_close(&pair);
    close(first.receive);
    close(second.receive);
}

/* The stream goes on over several calls, cut differently at both ends. */
static void test_several_calls(void **state)
{
    (void)state;
    for (size_t m = 0; methods[m]; m++) {
        const struct transport_ops *transport =
            serves(methods[m], &transport_pipe) ? &transport_pipe : &transport_tcp;
        if (!serves(methods[m], transport)) {
            continue;
        }
        bool verify = methods[m]->flags & METHOD_VERIFY;
        struct wire wire = wire_open(transport);
        struct side sender = side_of(methods[m], transport, wire.send, true, 1000, 0, verify);
        struct side receiver = side_of(methods[m], transport, wire.receive, false, 1000, 0, verify);
        memcpy(sender.bytes, (uint64_t[4]){1500, 200001, 7}, sizeof sender.bytes);
        memcpy(receiver.bytes, (uint64_t[4]){1, 200500, 1007}, sizeof receiver.bytes);
        side_start(&receiver);
        side_start(&sender);
        side_join(&sender);
        side_join(&receiver);
        side_succeeded(&sender);
        side_succeeded(&receiver);
        assert_int_equal(sender.counts.bytes, 201508);
        assert_int_equal(sender.counts.blocks, 2 + 201 + 1);
        assert_int_equal(receiver.counts.bytes, 201508);
        assert_int_equal(receiver.counts.blocks, 1 + 201 + 2);
        close(wire.send);
        close(wire.receive);
    }
}

/* On loopback the kernel copies after all, and the counts say so; a send has one notice. */
static void zerocopy_over(struct wire wire)
{
    struct side sender =
        side_of(&method_zerocopy, &transport_tcp, wire.send, true, 100000, 10000000, true);
    struct side receiver =
        side_of(&method_zerocopy, &transport_tcp, wire.receive, false, 100000, 10000000, true);
    side_start(&receiver);
    side_start(&sender);
    side_join(&sender);
    side_join(&receiver);
    side_succeeded(&sender);
    side_succeeded(&receiver);
    const struct call_count *sends = &sender.counts.calls.of[CALL_SENDTO];
    assert_true(sends->calls >= 100);
    assert_int_equal(sender.counts.zerocopy_sent, sends->calls - sends->again - sends->errors);
    assert_int_equal(sender.counts.zerocopy_copied, sender.counts.zerocopy_sent);
    assert_int_equal(receiver.counts.zerocopy_sent, 0);
    wire_close(wire);
}

static void test_zerocopy_notices(void **state)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    (void)state;
    zerocopy_over(wire_open(&transport_tcp));
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool have_ipv6 = probe >= 0 && !bind(probe, (struct sockaddr *)&six, sizeof six);
    if (probe >= 0) {
        close(probe);
    }
    if (have_ipv6) {
        zerocopy_over(wire_connect((struct sockaddr *)&six, sizeof six));
    }
}

/* How many calls gathering saves: 100 blocks of 1 KiB, 16 a call, into a pipe that holds them. */
static void test_writev_gathers(void **state)
{
    struct wire wire = wire_open(&transport_pipe);
    struct pair pair;
    struct err error = {0};
    (void)state;
    assert_true(fcntl(wire.send, F_SETPIPE_SZ, 1 << 18) >= 1 << 18);
    pair_open(&pair, &method_writev,
              (struct transfer_config){
                  .transport = &transport_pipe, .buffer_bytes = 1024, .verify = true},
              wire);
    assert_int_equal(method_writev.send(pair.sender, 102400, &error), 0);
    assert_int_equal(method_writev.receive(pair.receiver, 102400, &error), 0);
    assert_int_equal(pair.sent.calls.of[CALL_WRITEV].calls, 7);
    assert_int_equal(pair.received.calls.of[CALL_READV].calls, 7);
    assert_int_equal(pair.sent.blocks, 100);
    assert_int_equal(pair.received.blocks, 100);
    pair_close(&pair);
    wire_close(wire);
}

int main(void)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_every_method),     cmocka_unit_test(test_both_in_one_thread),
        cmocka_unit_test(test_both_would_block), cmocka_unit_test(test_both_wait),
        cmocka_unit_test(test_several_calls),    cmocka_unit_test(test_zerocopy_notices),
        cmocka_unit_test(test_writev_gathers),
    };
    world_prepare();
    return cmocka_run_group_tests(cases, NULL, NULL);
}
