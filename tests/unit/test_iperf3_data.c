/* What moves the bytes of iperf3's tests: until when a number of bytes was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "run/iperf3_data.h"

#define WAIT_NS (400 * NS_PER_MS)

/* Whoever looks late does not make the sending longer. */
static void sent_until_the_last_byte(void **state)
{
    (void)state;
    for (int by_blocks = 0; by_blocks < 2; by_blocks++) {
        struct iperf3_test test = {.streams = 1, .length_bytes = 1000};
        *(by_blocks ? &test.blocks : &test.bytes) = by_blocks ? 50 : 50000;
        int pair[2];
        struct iperf3_side side;
        struct err error = {0};
        void *run;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        const struct net_end end = {.read_fd = pair[0], .write_fd = pair[0]};
        const struct iperf3_data_ops *data = &iperf3_data_threads;
        assert_int_equal(data->begin(NULL, &test, false, &end, 1, &run, &error), 0);
        uint64_t start_ns = clock_now_ns();
        assert_int_equal(data->start(run, &error), 0);
        while (!data->reached(run)) { /* the socket has room for all of it */
            const struct timespec pause = clock_timespec(NS_PER_MS);
            nanosleep(&pause, NULL);
        }
        uint64_t reached_ns = clock_now_ns() - start_ns;
        const struct timespec wait = clock_timespec(WAIT_NS);
        nanosleep(&wait, NULL);
        data->stop(run, &side);
        assert_int_equal(side.flows[0].window.bytes, 50000);
        assert_true(side.flows[0].duration_ns > 0);
        assert_true(side.flows[0].duration_ns < reached_ns + WAIT_NS / 2);
        data->end(run);
        close(pair[0]);
        close(pair[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sent_until_the_last_byte)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
