/* The transports of datagrams: bound sockets, messages and their answers, sharing, time stamps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <linux/errqueue.h> /* which needs time.h before it */

#include "net_world.h"

static const struct net_tuning untuned;

static int type_of(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length), 0);
    return type;
}

static int connected(const struct address *address, const struct net_tuning *tuning)
{
    int fd = opened(address, tuning);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&address->socket_address, address->length),
        0); /* at once: nothing is said to the peer */
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_DONTWAIT), strlen(text));
}

/* Takes one message and answers its sender with "re: " before it. */
static void answer(int fd)
{
    char text[80] = "re: ";
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    assert_ready(fd, POLLIN);
    ssize_t got = recvfrom(fd, text + 4, sizeof text - 5, 0, (struct sockaddr *)&peer, &length);
    assert_true(got >= 0);
    assert_int_equal(sendto(fd, text, (size_t)got + 4, 0, (struct sockaddr *)&peer, length),
                     got + 4);
}

static void expect_text(int fd, const char *text)
{
    char got[80] = "";
    assert_ready(fd, POLLIN);
    assert_int_equal(recv(fd, got, sizeof got - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

/* Two clients who name no address of their own: each hears its own answers. */
static void check_answers(const char *url, const char *prefix)
{
    struct address address = parsed(url, true);
    int server = listening(&address, false);
    assert_int_equal(type_of(server), SOCK_DGRAM);
    assert_memory_equal(address.text, prefix, strlen(prefix));
    struct address target = parsed(address.text, false);
    int first = connected(&target, &untuned), second = connected(&target, &untuned);
    send_text(first, "one");
    send_text(second, "two");
    send_text(first, "");
    for (int i = 0; i < 3; i++) {
        answer(server);
    }
    expect_text(second, "re: two");
    expect_text(first, "re: one");
    expect_text(first, "re: ");
    close(first);
    close(second);
    close(server);
    address_unlink(&address);
}

static void udp_answers(void **state)
{
    (void)state;
    check_answers("udp://127.0.0.1:0", "udp://127.0.0.1:");
    if (have_ipv6()) {
        check_answers("udp://[::1]:0", "udp://[::1]:");
    }
}

static void unix_answers(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", url[80];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof url, "unix-dgram:%s/socket", folder);
    check_answers(url, url);
    assert_int_equal(rmdir(folder), 0); /* nothing was left behind */
    snprintf(url, sizeof url, "unix-dgram:@sonde-test-%d", getpid());
    check_answers(url, url);
}

/* Sonde's own server: a bare target listens where the kernel has room. */
static void bare_targets_listen(void **state)
{
    static const char *const urls[] = {"tcp:", "udp:", "unix:", "unix-dgram:"};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct address address = parsed(urls[i], false), other = address;
        int listener = listening(&address, false), second = listening(&other, false);
        assert_true(address.own);
        assert_string_not_equal(address.text, other.text);
        struct address target = parsed(address.text, false);
        assert_false(target.own);
        assert_int_equal(target.length, address.length);
        assert_memory_equal(&target.socket_address, &address.socket_address, target.length);
        int client = opened(&target, &untuned);
        if (connect(client, (const struct sockaddr *)&target.socket_address, target.length)) {
            assert_int_equal(errno, EINPROGRESS);
        }
        if (address.transport->caps & TRANSPORT_DATAGRAMS) {
            send_text(client, "x");
        }
        assert_ready(listener, POLLIN);
        close(client);
        close(listener);
        close(second);
    }
}

static void a_port_is_taken_once(void **state)
{
    struct err error = {0};
    (void)state;
    struct address address = parsed("udp://127.0.0.1:0", true);
    int first = listening(&address, false);
    struct address again = parsed(address.text, true);
    assert_int_equal(transport_udp.listen(&again, 0, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_string_equal(error.subject, address.text);
    assert_non_null(strstr(error.hint, "is free"));
    /* Nor by one that would share it, with one that does not. */
    assert_int_equal(transport_udp.listen(&again, 0, true, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    /* TCP has ports of its own. */
    char url[64];
    snprintf(url, sizeof url, "tcp%s", strchr(address.text, ':'));
    struct address stream = parsed(url, true);
    int listener = transport_tcp.listen(&stream, 1, false, &error);
    assert_true(listener >= 0 || error.number == EADDRINUSE);
    close(listener);
    close(first);
}

/* One socket a thread: both sockets of a shared port get their part of the peers. */
static void shared_port_spreads_peers(void **state)
{
    enum { CLIENTS = 64 };
    int sockets[2], clients[CLIENTS], got[2] = {0, 0};
    (void)state;
    struct address address = parsed("udp:", false);
    sockets[0] = listening(&address, true);
    struct address again = parsed(address.text, true);
    sockets[1] = listening(&again, true);
    assert_string_equal(again.text, address.text);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = connected(&address, &untuned);
        send_text(clients[i], "x");
    }
    for (int i = 0; i < 2; i++) {
        char text[4];
        while (recv(sockets[i], text, sizeof text, MSG_DONTWAIT) == 1) {
            got[i]++;
        }
        close(sockets[i]);
    }
    assert_int_equal(got[0] + got[1], CLIENTS);
    assert_true(got[0] > 0 && got[1] > 0);
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
}

static void source_is_the_peer_that_is_seen(void **state)
{
    struct sockaddr_storage *sources;
    struct sockaddr_in seen;
    socklen_t length = sizeof seen;
    struct err error = {0};
    size_t count;
    char text[4];
    (void)state;
    struct address address = parsed("udp:", false);
    int server = listening(&address, false);
    assert_int_equal(address_parse_sources("127.0.0.77", &sources, &count, &error), 0);
    struct net_tuning tuning = {.source = sources, .source_length = address_source_length(sources)};
    int fd = connected(&address, &tuning);
    send_text(fd, "x");
    assert_ready(server, POLLIN);
    assert_int_equal(recvfrom(server, text, 4, 0, (struct sockaddr *)&seen, &length), 1);
    assert_int_equal(ntohl(seen.sin_addr.s_addr), 0x7f00004d);
    close(fd);
    close(server);
    free(sources);
}

static void stale_files_are_replaced(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", path[64], url[80];
    struct sockaddr_un stream = {.sun_family = AF_UNIX};
    struct err error = {0};
    struct stat file;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(url, sizeof url, "unix-dgram:%s", path);
    struct address address = parsed(url, true), again = address;
    int server = listening(&address, false);
    /* Somebody's: refused, also where it hears one peer alone. */
    assert_int_equal(transport_unix_dgram.listen(&again, 0, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_int_equal(transport_unix_dgram.listen(&again, 0, true, &error), -1);
    assert_int_equal(error.code, ERR_UNSUPPORTED);
    struct address bare = parsed("unix-dgram:", false);
    int peer = listening(&bare, false);
    assert_int_equal(connect(server, (struct sockaddr *)&bare.socket_address, bare.length), 0);
    error = (struct err){0};
    assert_int_equal(transport_unix_dgram.listen(&again, 0, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_int_equal(stat(path, &file), 0);
    close(peer);
    close(server);
    /* Nobody's any more. */
    server = listening(&again, false);
    int client = connected(&again, &untuned);
    send_text(client, "x");
    answer(server);
    expect_text(client, "re: x");
    close(client);
    close(server);
    address_unlink(&again);
    assert_int_equal(stat(path, &file), -1);
    /* A stream's listener is somebody's too. */
    memcpy(stream.sun_path, path, strlen(path));
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(other >= 0);
    assert_int_equal(bind(other, (struct sockaddr *)&stream, sizeof stream), 0);
    assert_int_equal(listen(other, 1), 0);
    assert_int_equal(transport_unix_dgram.listen(&again, 0, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    close(other);
    unlink(path);
    rmdir(folder);
}

/* The SCM_TIMESTAMPING of a message, in ns; 0: none. */
static uint64_t stamp_of(int fd, int flags)
{
    char text[64];
    _Alignas(struct cmsghdr) char control[256];
    struct iovec data = {text, sizeof text};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    assert_ready(fd, flags & MSG_ERRQUEUE ? 0 : POLLIN); /* POLLERR comes unasked */
    ssize_t got = recvmsg(fd, &message, flags);
    assert_int_equal(got, flags & MSG_ERRQUEUE ? 0 : 5); /* a sent one's comes without its data */
    uint64_t stamp_ns = 0;
    bool origin = !(flags & MSG_ERRQUEUE);
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_TIMESTAMPING) {
            struct scm_timestamping stamps;
            memcpy(&stamps, CMSG_DATA(at), sizeof stamps);
            stamp_ns = (uint64_t)stamps.ts[0].tv_sec * 1000000000 + (uint64_t)stamps.ts[0].tv_nsec;
        }
        if ((at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_RECVERR) ||
            (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_RECVERR)) {
            struct sock_extended_err extended;
            memcpy(&extended, CMSG_DATA(at), sizeof extended);
            origin = extended.ee_origin == SO_EE_ORIGIN_TIMESTAMPING;
        }
    }
    assert_true(origin);
    return stamp_ns;
}

static void check_stamps(const char *url)
{
    const struct net_tuning tuning = {.stamps = true};
    struct timespec before, after;
    struct err error = {0};
    struct address address = parsed(url, true);
    int server = listening(&address, false);
    assert_int_equal(transport_udp.tune(server, &tuning, &error), 0);
    int client = connected(&address, &tuning);
    uint64_t received_ns = 0, sent_ns = 0;
    clock_gettime(CLOCK_REALTIME, &before);
    /* The kernel begins to stamp what comes a moment after the first socket has asked for it. */
    for (int i = 0; i < 5000 && received_ns == 0; i++) {
        if (i) {
            usleep(1000);
        }
        send_text(client, "stamp");
        sent_ns = stamp_of(client, MSG_ERRQUEUE);
        received_ns = stamp_of(server, 0);
    }
    clock_gettime(CLOCK_REALTIME, &after);
    uint64_t before_ns = (uint64_t)before.tv_sec * 1000000000 + (uint64_t)before.tv_nsec;
    uint64_t after_ns = (uint64_t)after.tv_sec * 1000000000 + (uint64_t)after.tv_nsec;
    assert_in_range(sent_ns, before_ns, after_ns);
    assert_in_range(received_ns, before_ns, after_ns);
    close(client);
    close(server);
}

static void stamps_come_both_ways(void **state)
{
    (void)state;
    check_stamps("udp://127.0.0.1:0");
    if (have_ipv6()) {
        check_stamps("udp://[::1]:0");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(udp_answers),
        cmocka_unit_test(unix_answers),
        cmocka_unit_test(bare_targets_listen),
        cmocka_unit_test(a_port_is_taken_once),
        cmocka_unit_test(shared_port_spreads_peers),
        cmocka_unit_test(source_is_the_peer_that_is_seen),
        cmocka_unit_test(stale_files_are_replaced),
        cmocka_unit_test(stamps_come_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
