/* One end of a control channel where the other does not do its part. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/control_link.h"

struct ends {
    struct control_link link;
    int other;
};

static void open_ends(struct ends *ends, bool secured)
{
    struct tls_secret secret = {.length = TLS_SECRET_LEAST};
    struct err error;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(control_link_open(&ends->link, pair[0], TLS_CLIENT, secured ? &secret : NULL,
                                       65536, "the peer", &error),
                     0);
    ends->other = pair[1];
}

static void close_ends(struct ends *ends)
{
    control_link_close(&ends->link);
    close(ends->other);
}

static bool has_tls(void)
{
    char reason[80];
    return tls_why_not(reason, sizeof reason) == 0;
}

struct drip {
    pthread_t thread;
    int fd;
    _Atomic bool over;
};

/* A byte of a record of TLS now and then, for as long as it is listened to. */
static void *drip_bytes(void *argument)
{
    struct drip *drip = argument;
    const struct timespec pause = clock_timespec(5 * NS_PER_MS);
    (void)!send(drip->fd, "\x16\x03\x03\x40\x00", 5, MSG_NOSIGNAL);
    while (!atomic_load(&drip->over)) {
        (void)!send(drip->fd, "", 1, MSG_NOSIGNAL);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return NULL;
}

/* What ends the waiting, with a byte coming every few milliseconds. */
static void secure(struct ends *ends, uint64_t wait_ns, int stop_fd, struct err *error)
{
    struct drip drip = {.fd = ends->other};
    assert_int_equal(pthread_create(&drip.thread, NULL, drip_bytes, &drip), 0);
    int result = control_link_secure(&ends->link, clock_now_ns() + wait_ns, stop_fd, error);
    atomic_store(&drip.over, true);
    pthread_join(drip.thread, NULL);
    assert_int_equal(result, -1);
}

static void test_tls_has_one_deadline(void **state)
{
    (void)state;
    struct ends ends;
    struct err error = {0};
    if (!has_tls()) {
        skip();
    }
    open_ends(&ends, true);
    secure(&ends, 100 * NS_PER_MS, -1, &error);
    assert_string_equal(error.what, "the peer did not answer in time");
    assert_string_equal(error.hint, "was it started with --secret?");
    close_ends(&ends);
}

static void test_tls_can_be_stopped(void **state)
{
    (void)state;
    struct ends ends;
    struct err error = {0};
    if (!has_tls()) {
        skip();
    }
    open_ends(&ends, true);
    int stop = eventfd(1, EFD_CLOEXEC);
    assert_true(stop >= 0);
    secure(&ends, 3600 * NS_PER_SECOND, stop, &error);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    close(stop);
    close_ends(&ends);
}

static void test_without_tls_it_is_secured(void **state)
{
    (void)state;
    struct ends ends;
    struct err error = {0};
    open_ends(&ends, false);
    assert_int_equal(control_link_secure(&ends.link, 0, -1, &error), 0);
    close_ends(&ends);
}

static void test_what_is_not_taken_is_waited_for(void **state)
{
    (void)state;
    const struct control_message sync = {.kind = CONTROL_SYNC};
    struct ends ends;
    struct err error = {0};
    open_ends(&ends, false);
    while (!control_link_waits(&ends.link)) {
        assert_int_equal(control_link_send(&ends.link, &sync, &error), 0);
    }
    assert_int_equal(control_link_flush(&ends.link, clock_now_ns() + 10 * NS_PER_MS, -1, &error),
                     -1);
    assert_string_equal(error.what, "the peer did not answer in time");
    int stop = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(
        control_link_flush(&ends.link, clock_now_ns() + 3600 * NS_PER_SECOND, stop, &error), -1);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    close(stop);
    char taken[65536];
    while (recv(ends.other, taken, sizeof taken, 0) > 0) {
    }
    assert_int_equal(control_link_flush(&ends.link, clock_now_ns() + NS_PER_SECOND, -1, &error), 0);
    assert_false(control_link_waits(&ends.link));
    close_ends(&ends);
}

static void test_failures_are_of_the_peer(void **state)
{
    (void)state;
    struct ends ends;
    struct err failure = {0}, named;
    open_ends(&ends, false);
    err_set(&failure, ERR_LIMIT, "memory", "too much");
    err_hint(&failure, "less");
    control_error_of_peer(&ends.link, &failure, &named);
    assert_string_equal(named.subject, "the peer");
    assert_string_equal(named.what, "memory: too much");
    assert_string_equal(named.hint, "less");
    failure = named;
    control_error_of_peer(&ends.link, &failure, &named);
    assert_string_equal(named.what, "memory: too much");
    close_ends(&ends);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_has_one_deadline),
        cmocka_unit_test(test_tls_can_be_stopped),
        cmocka_unit_test(test_without_tls_it_is_secured),
        cmocka_unit_test(test_what_is_not_taken_is_waited_for),
        cmocka_unit_test(test_failures_are_of_the_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
