/* Every socket setting, read back from the kernel; and those that a transport does not have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/net_tstamp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#include "net_world.h"

static int number_of(int fd, int level, int option)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
    return value;
}

static uint64_t pacing_of(int fd)
{
    uint64_t value = 0;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &value, &length), 0);
    assert_int_equal(length, sizeof value);
    return value;
}

/* What both transports over IP have: everything at once, so that none undoes another. */
static void check_inet(const char *url, const struct net_tuning *more)
{
    const int stamps = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE |
                       SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY;
    struct address address = parsed(url, false);
    struct net_tuning tuning = *more, read;
    struct err error = {0};
    tuning.send_buffer = 20000;
    tuning.receive_buffer = 30000;
    tuning.dscp_plus_1 = 46 + 1;
    tuning.pacing_bytes_per_second = UINT64_C(10) << 30; /* needs more than 32 bits */
    tuning.busy_poll_us = 1;
    tuning.stamps = tuning.zerocopy = true;
    int fd = opened(&address, &tuning);
    bool six = address.socket_address.ss_family == AF_INET6;
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_SNDBUF), 40000);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_RCVBUF), 60000);
    assert_int_equal(number_of(fd, IPPROTO_IP, IP_TOS), 46 << 2);
    if (six) {
        assert_int_equal(number_of(fd, IPPROTO_IPV6, IPV6_TCLASS), 46 << 2);
    }
    assert_true(pacing_of(fd) == tuning.pacing_bytes_per_second);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_BUSY_POLL), 1);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_TIMESTAMPING), stamps);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_ZEROCOPY), 1);

    assert_int_equal(net_tuning_read(fd, &read, &error), 0);
    assert_int_equal(read.send_buffer, 40000);
    assert_int_equal(read.receive_buffer, 60000);
    assert_int_equal(read.dscp_plus_1, 47);
    assert_true(read.pacing_bytes_per_second == tuning.pacing_bytes_per_second);
    assert_int_equal(read.busy_poll_us, 1);
    assert_true(read.stamps && read.zerocopy);
    assert_int_equal(read.mss, more->mss);
    assert_int_equal(read.segments, more->segments);
    assert_int_equal(read.nodelay, more->nodelay);
    close(fd);
}

static void settings_reach_the_socket(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip(); /* kernels differ in whether SO_BUSY_POLL needs CAP_NET_ADMIN */
    }
    const struct net_tuning tcp = {.nodelay = true, .mss = 1000}, udp = {.segments = true};
    check_inet("tcp://127.0.0.1:9", &tcp);
    check_inet("udp://127.0.0.1:9", &udp);
    if (have_ipv6()) {
        check_inet("tcp://[::1]:9", &tcp);
        check_inet("udp://[::1]:9", &udp);
    }
}

/* Each of them alone sets itself and nothing else. */
static void settings_are_independent(void **state)
{
    (void)state;
    struct address address = parsed("udp://127.0.0.1:9", false);
    struct net_tuning read;
    struct err error = {0};
    int fd = opened(&address, &(struct net_tuning){.nodelay = true});
    assert_int_equal(number_of(fd, IPPROTO_UDP, UDP_GRO), 0);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_TIMESTAMPING), 0);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_ZEROCOPY), 0);
    assert_int_equal(number_of(fd, IPPROTO_IP, IP_TOS), 0);
    assert_true(pacing_of(fd) == UINT64_MAX);
    assert_int_equal(net_tuning_read(fd, &read, &error), 0);
    assert_true(read.send_buffer > 0 && read.receive_buffer > 0);
    assert_false(read.nodelay || read.segments || read.stamps || read.zerocopy);
    assert_int_equal(read.dscp_plus_1, 0);
    assert_int_equal(read.mss, 0);
    assert_true(read.pacing_bytes_per_second == 0);
    close(fd);

    fd = opened(&address, &(struct net_tuning){.segments = true});
    assert_int_equal(number_of(fd, IPPROTO_UDP, UDP_GRO), 1);
    assert_int_equal(number_of(fd, SOL_SOCKET, SO_TIMESTAMPING), 0);
    close(fd);
    fd = opened(&address, &(struct net_tuning){.dscp_plus_1 = 63 + 1});
    assert_int_equal(number_of(fd, IPPROTO_IP, IP_TOS), 63 << 2);
    close(fd);
    /* DSCP 0 is a value, too, on a socket that had another. */
    fd = opened(&address, &(struct net_tuning){.dscp_plus_1 = 8 + 1});
    assert_int_equal(transport_udp.tune(fd, &(struct net_tuning){.dscp_plus_1 = 1}, &error), 0);
    assert_int_equal(number_of(fd, IPPROTO_IP, IP_TOS), 0);
    close(fd);
    assert_int_equal(net_tuning_read(fd, &read, &error), -1);
    assert_int_equal(error.number, EBADF);
}

/* A listener's settings are its connections': what server_listen relies on. */
static void accepted_sockets_inherit(void **state)
{
    (void)state;
    struct address address = parsed("tcp://127.0.0.1:0", true);
    struct err error = {0};
    struct net_tuning read;
    const struct net_tuning tuning = {
        .nodelay = true, .mss = 500, .dscp_plus_1 = 11, .pacing_bytes_per_second = 1 << 30};
    int listener = listening(&address, false);
    assert_int_equal(transport_tcp.tune(listener, &tuning, &error), 0);
    int client = opened(&address, &(struct net_tuning){0});
    if (connect(client, (const struct sockaddr *)&address.socket_address, address.length)) {
        assert_int_equal(errno, EINPROGRESS);
    }
    assert_ready(listener, POLLIN);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    assert_int_equal(net_tuning_read(peer, &read, &error), 0);
    assert_true(read.nodelay);
    assert_int_equal(read.dscp_plus_1, 11);
    assert_int_equal(read.pacing_bytes_per_second, 1 << 30);
    assert_in_range(read.mss, 400, 500); /* less what options take */
    /* Its advertisement holds the client's segments down as well. */
    assert_int_equal(net_tuning_read(client, &read, &error), 0);
    assert_in_range(read.mss, 400, 500);
    close(peer);
    close(client);
    close(listener);
}

static void strange_settings_are_refused_by_name(void **state)
{
    static const struct sockaddr_storage source = {.ss_family = AF_INET};
    static const struct {
        struct net_tuning tuning;
        const char *what;
        bool tcp, udp;
    } rows[] = {
        {{.congestion = "reno"}, "congestion control", true, false},
        {{.mss = 1000}, "maximum segment size", true, false},
        {{.dscp_plus_1 = 1}, "DSCP", true, true},
        {{.pacing_bytes_per_second = 1 << 30}, "paced", true, true},
        {{.busy_poll_us = 1}, "poll their device", true, true},
        {{.segments = true}, "joined and cut", false, true},
        {{.stamps = true}, "time stamps", true, true},
        {{.zerocopy = true}, "without a copy", true, true},
        {{.source = &source, .source_length = sizeof(struct sockaddr_in)},
         "source address",
         true,
         true},
    };
    static const struct {
        const char *url;
        bool tcp, udp;
    } targets[] = {{"tcp://127.0.0.1:9", true, false},
                   {"udp://127.0.0.1:9", false, true},
                   {"unix:@x", false, false},
                   {"unix-dgram:@x", false, false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof targets / sizeof *targets; j++) {
            struct address address = parsed(targets[j].url, false);
            struct err error = {0};
            bool fits = (rows[i].tcp && targets[j].tcp) || (rows[i].udp && targets[j].udp);
            int fd = address.transport->open(&address, &rows[i].tuning, &error);
            if (fits) { /* but for what this user may not do */
                assert_true(fd >= 0 || error.number == EPERM);
                close(fd);
                continue;
            }
            assert_int_equal(fd, -1);
            assert_int_equal(error.code, ERR_USAGE);
            assert_string_equal(error.subject, address.transport->scheme);
            assert_non_null(strstr(error.what, rows[i].what));
        }
        struct net_end client, server;
        struct err error = {0};
        const struct transport_ops *const pairs[] = {&transport_local, &transport_pipe};
        for (size_t j = 0; j < 2; j++) {
            assert_int_equal(pairs[j]->pair(&client, &server, &error), 0);
            assert_int_equal(pairs[j]->tune(client.write_fd, &rows[i].tuning, &error), -1);
            assert_int_equal(error.code, ERR_USAGE);
            assert_non_null(strstr(error.what, rows[i].what));
            net_end_close(client);
            net_end_close(server);
        }
    }
}

static void wrong_values_say_what_would_be_right(void **state)
{
    struct address address = parsed("tcp://127.0.0.1:9", false);
    struct err error = {0};
    (void)state;
    assert_int_equal(transport_tcp.open(&address, &(struct net_tuning){.mss = 87}, &error), -1);
    assert_int_equal(error.number, EINVAL);
    assert_non_null(strstr(error.hint, "88 to 32767"));
    close(opened(&address, &(struct net_tuning){.mss = 88}));
    close(opened(&address, &(struct net_tuning){.mss = 32767}));
    assert_int_equal(transport_tcp.open(&address, &(struct net_tuning){.mss = UINT32_MAX}, &error),
                     -1);
    assert_int_equal(error.number, EINVAL);
    for (int wrong = -1; wrong <= 65; wrong += 66) {
        error = (struct err){0};
        assert_int_equal(
            transport_tcp.open(&address, &(struct net_tuning){.dscp_plus_1 = wrong}, &error), -1);
        assert_int_equal(error.code, ERR_USAGE);
        assert_non_null(strstr(error.what, "from 0 to 63"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_reach_the_socket),
        cmocka_unit_test(settings_are_independent),
        cmocka_unit_test(accepted_sockets_inherit),
        cmocka_unit_test(strange_settings_are_refused_by_name),
        cmocka_unit_test(wrong_values_say_what_would_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
