/* The session of iperf3: what stands behind iperf3://, and what a client asks for, without a peer.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/iperf3.h"
#include "run/options.h"
#include "workload/stream.h"

static int open_target(const char *target, struct err *error)
{
    const struct run_options options = {.connections = 1, .duration_ns = NS_PER_SECOND};
    const struct stream_options stream = {.streams = 1, .length_bytes = STREAM_LENGTH};
    const struct run_plan plan = {
        .workload = &workload_stream, .workload_options = &stream, .options = &options};
    const struct session_config config = {.plan = &plan, .target = target, .stop_fd = -1};
    struct session *session = NULL;

    memset(error, 0, sizeof *error);
    int status = session_iperf3.open(&session, &config, error);
    assert_true(status ? session == NULL : session != NULL);
    session_iperf3.close(session);
    return status;
}

static void is_found_by_its_scheme(void **state)
{
    (void)state;
    const char *rest = NULL;
    assert_ptr_equal(session_find("iperf3://host:1", &rest), &session_iperf3);
    assert_string_equal(rest, "host:1");
    assert_ptr_equal(session_find("IPERF3://[::1]", &rest), &session_iperf3);
    assert_null(session_find("iperf3:host", &rest));
    assert_null(session_find("iperf://host", &rest));
}

static void refuses_what_is_no_target(void **state)
{
    (void)state;
    static const char *const targets[] = {"",        ":1",      "[::1",   "[]:1",
                                          "[::1]x",  "host:",   "host:0", "host:65536",
                                          "host:-1", "host:1x", "host:+1"};
    struct err error;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        assert_int_equal(open_target(targets[i], &error), -1);
        if (error.code != ERR_USAGE) {
            fail_msg("%s: %s", targets[i], error.what);
        }
    }
}

/* A port that is taken, but not listened at. */
static int closed_port(int family, uint16_t *port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    bool is_six = family == AF_INET6;
    struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t length = is_six ? sizeof six : sizeof four;

    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, address, length) || getsockname(fd, address, &length)) {
        skip();
    }
    *port = ntohs(is_six ? six.sin6_port : four.sin_port);
    return fd;
}

static void reaches_for_the_right_address(void **state)
{
    (void)state;
    static const struct {
        int family;
        const char *form, *subject;
    } forms[] = {{AF_INET, "127.0.0.1:%u", "iperf3://127.0.0.1:%u"},
                 {AF_INET6, "[::1]:%u", "iperf3://[::1]:%u"}};
    char target[40], subject[60];
    struct err error;

    for (int i = 0; i < 2; i++) {
        uint16_t port = 0;
        int fd = closed_port(forms[i].family, &port);
        snprintf(target, sizeof target, forms[i].form, port);
        snprintf(subject, sizeof subject, forms[i].subject, port);
        assert_int_equal(open_target(target, &error), -1);
        assert_int_equal(error.code, ERR_SYSTEM);
        assert_string_equal(error.subject, subject);
        close(fd);
    }
}

static void checks_what_the_protocol_can_say(void **state)
{
    (void)state;
    static const struct iperf3_test wrong[] = {
        {.streams = 0},
        {.streams = 129},
        {.streams = 1, .reverse = true, .bidirectional = true},
        {.streams = 1, .duration_ns = UINT64_C(86401) * 1000000000},
        {.streams = 1, .omit_ns = 500000000},
        {.streams = 1, .omit_ns = UINT64_C(601) * 1000000000},
        {.streams = 1, .length_bytes = (1 << 20) + 1},
        {.streams = 1, .udp = true, .length_bytes = 15},
        {.streams = 1, .udp = true, .length_bytes = 65508},
        {.streams = 1, .window_bytes = (512 << 20) + 1},
        {.streams = 1, .mss = 32768},
        {.streams = 1, .burst = 1001},
        {.streams = 1, .tos = 256},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err error = {0};
        struct iperf3_client *client;
        const struct iperf3_client_config config = {
            .test = &wrong[i], .host = "127.0.0.1", .stop_fd = -1};
        assert_int_equal(iperf3_client_open(&client, &config, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_null(client);
    }
}

/* Whoever wants to end does not wait for a peer that says nothing. */
static void gives_up_when_told_to(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    const struct iperf3_test test = {.streams = 1};
    struct iperf3_client *client;
    struct err error = {0};
    int stop[2];

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(pipe(stop), 0);
    assert_int_equal(write(stop[1], "", 1), 1);
    const struct iperf3_client_config config = {.test = &test,
                                                .host = "127.0.0.1",
                                                .port = ntohs(address.sin_port),
                                                .stop_fd = stop[0],
                                                .deadline_ns = UINT64_C(3600) * 1000000000,
                                                .patience_ns = UINT64_C(3600) * 1000000000};
    assert_int_equal(iperf3_client_open(&client, &config, &error), -1);
    assert_int_equal(error.code, ERR_INTERRUPTED);
    close(stop[0]);
    close(stop[1]);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_found_by_its_scheme),
        cmocka_unit_test(refuses_what_is_no_target),
        cmocka_unit_test(reaches_for_the_right_address),
        cmocka_unit_test(checks_what_the_protocol_can_say),
        cmocka_unit_test(gives_up_when_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
