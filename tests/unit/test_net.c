#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net_world.h"

static const struct net_tuning untuned;

/* Connects and accepts; returns the accepted socket. */
static int connected(int fd, const struct address *address, int listener)
{
    int reason = 0;
    socklen_t length = sizeof reason;
    if (connect(fd, (const struct sockaddr *)&address->socket_address, address->length)) {
        assert_int_equal(errno, EINPROGRESS);
    }
    assert_ready(listener, POLLIN);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
    assert_ready(fd, POLLOUT);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &length), 0);
    assert_int_equal(reason, 0);
    return peer;
}

static void check_tcp(const char *url, const char *prefix)
{
    struct address address = parsed(url, true);
    int on = 0, listener = listening(&address, false);
    socklen_t length = sizeof on;

    assert_memory_equal(address.text, prefix, strlen(prefix));
    assert_string_not_equal(address.text + strlen(prefix), "0");
    assert_int_equal(getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, &length), 0);
    assert_int_equal(on, 1);

    struct address target = parsed(address.text, false);
    int client = opened(&target, &(struct net_tuning){.nodelay = true});
    int peer = connected(client, &target, listener);
    assert_int_equal(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    assert_int_not_equal(on, 0);
    struct err error = {0};
    assert_int_equal(getsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    assert_int_equal(on, 0);
    assert_int_equal(transport_tcp.tune(peer, &(struct net_tuning){.nodelay = true}, &error), 0);
    assert_int_equal(getsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    assert_int_not_equal(on, 0);
    close(peer);
    close(client);
    close(listener);
}

static void test_tcp(void **state)
{
    (void)state;
    check_tcp("tcp://127.0.0.1:0", "tcp://127.0.0.1:");
    check_tcp("tcp://:0", "tcp://127.0.0.1:");
}

static void test_tcp_ipv6(void **state)
{
    (void)state;
    if (!have_ipv6()) {
        skip();
    }
    check_tcp("tcp://[::1]:0", "tcp://[::1]:");
}

static void test_port_in_use(void **state)
{
    char part[64];
    unsigned other = 0;
    struct err error = {0};
    struct address address = parsed("tcp://127.0.0.1:0", true);
    int listener = listening(&address, false);
    unsigned port = ntohs(((struct sockaddr_in *)&address.socket_address)->sin_port);
    (void)state;

    struct address again = parsed(address.text, true);
    assert_int_equal(transport_tcp.listen(&again, 16, false, &error), -1);
    assert_int_equal(error.code, ERR_SYSTEM);
    assert_int_equal(error.number, EADDRINUSE);
    assert_string_equal(error.subject, address.text);
    snprintf(part, sizeof part, "cannot listen: port %u is in use", port);
    assert_string_equal(error.what, part);
    const char *offer = strstr(error.hint, "port: ");
    assert_non_null(offer);
    assert_int_equal(sscanf(offer, "port: %u is free", &other), 1);
    assert_true(other > 0 && other != port);
    close(listener);

    /* One listener a thread: the same port twice, when both ask for it. */
    address = parsed("tcp://127.0.0.1:0", true);
    listener = listening(&address, true);
    again = parsed(address.text, true);
    int second = listening(&again, true);
    assert_string_equal(again.text, address.text);
    close(second);
    close(listener);
}

static void test_listen_refused(void **state)
{
    struct err error = {0};
    struct address address = parsed("tcp://192.0.2.1:0", true); /* TEST-NET-1: nobody has it */
    (void)state;
    assert_int_equal(transport_tcp.listen(&address, 16, false, &error), -1);
    assert_int_equal(error.number, EADDRNOTAVAIL);
    assert_non_null(strstr(error.what, "cannot listen: Cannot assign requested address"));
    assert_non_null(strstr(error.hint, "ip address"));
}

/* A port below net.ipv4.ip_unprivileged_port_start, as a user without privilege. */
static void test_listen_privileged(void **state)
{
    unsigned start = 0;
    int status;
    (void)state;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &start), 1);
    fclose(file);
    if (start < 2) {
        skip();
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err error = {0};
        struct address address;
        if (geteuid() == 0 && (setgid(65534) || setuid(65534))) {
            _exit(10);
        }
        if (address_parse("tcp://127.0.0.1:1", true, &address, &error)) {
            _exit(11);
        }
        if (transport_tcp.listen(&address, 16, false, &error) != -1) {
            _exit(12);
        }
        bool right = error.number == EACCES && !strcmp(error.subject, "tcp://127.0.0.1:1") &&
                     !strcmp(error.what, "cannot listen: Permission denied") &&
                     strstr(error.hint, "CAP_NET_BIND_SERVICE");
        _exit(right ? 0 : 13);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_source(void **state)
{
    struct sockaddr_storage *sources;
    size_t count;
    struct err error = {0};
    struct sockaddr_in seen;
    socklen_t length = sizeof seen;
    struct address address = parsed("tcp://127.0.0.1:0", true);
    int listener = listening(&address, false);
    (void)state;

    assert_int_equal(address_parse_sources("127.0.0.77", &sources, &count, &error), 0);
    struct net_tuning tuning = {.source = sources, .source_length = address_source_length(sources)};
    int fd = opened(&address, &tuning);
    /* The port is taken at connect, not at bind. */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&seen, &length), 0);
    assert_int_equal(seen.sin_port, 0);
    int peer = connected(fd, &address, listener);
    length = sizeof seen;
    assert_int_equal(getpeername(peer, (struct sockaddr *)&seen, &length), 0);
    assert_int_equal(ntohl(seen.sin_addr.s_addr), 0x7f00004d);
    close(peer);
    close(fd);
    free(sources);

    assert_int_equal(address_parse_sources("::1", &sources, &count, &error), 0);
    tuning =
        (struct net_tuning){.source = sources, .source_length = address_source_length(sources)};
    assert_int_equal(transport_tcp.open(&address, &tuning, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_non_null(strstr(error.what, "source address ::1"));
    free(sources);

    assert_int_equal(address_parse_sources("192.0.2.1", &sources, &count, &error), 0);
    tuning =
        (struct net_tuning){.source = sources, .source_length = address_source_length(sources)};
    assert_int_equal(transport_tcp.open(&address, &tuning, &error), -1);
    assert_int_equal(error.number, EADDRNOTAVAIL);
    assert_non_null(strstr(error.what, "192.0.2.1"));
    free(sources);
    close(listener);
}

static void test_source_ipv6(void **state)
{
    struct sockaddr_storage *sources;
    size_t count;
    struct err error = {0};
    (void)state;
    if (!have_ipv6()) {
        skip();
    }
    struct address address = parsed("tcp://[::1]:0", true);
    int listener = listening(&address, false);
    assert_int_equal(address_parse_sources("[::1]", &sources, &count, &error), 0);
    struct net_tuning tuning = {.source = sources, .source_length = address_source_length(sources)};
    int fd = opened(&address, &tuning);
    close(connected(fd, &address, listener));
    close(fd);
    close(listener);
    free(sources);
}

static void test_congestion(void **state)
{
    char name[32] = "";
    socklen_t length = sizeof name;
    struct err error = {0};
    struct address address = parsed("tcp://127.0.0.1:9", false);
    (void)state;
    int fd = opened(&address, &(struct net_tuning){.congestion = "reno"});
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
    assert_string_equal(name, "reno");
    close(fd);
    assert_int_equal(
        transport_tcp.open(&address, &(struct net_tuning){.congestion = "nosuch"}, &error), -1);
    assert_int_equal(error.number, ENOENT);
    assert_non_null(strstr(error.what, "\"nosuch\""));
    assert_non_null(strstr(error.hint, "reno"));
}

static void test_buffers(void **state)
{
    uint64_t send = 0, receive = 0, most = 0;
    struct err error = {0};
    struct address address = parsed("tcp://127.0.0.1:9", false);
    (void)state;
    int fd = opened(&address, &(struct net_tuning){.send_buffer = 20000, .receive_buffer = 30000});
    assert_int_equal(net_buffer_sizes(fd, &send, &receive, &error), 0);
    assert_int_equal(send, 40000); /* the kernel doubles: socket(7) */
    assert_int_equal(receive, 60000);
    close(fd);
    /* Cut to net.core.wmem_max. */
    FILE *file = fopen("/proc/sys/net/core/wmem_max", "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &most), 1);
    fclose(file);
    fd = opened(&address, &(struct net_tuning){.send_buffer = UINT64_MAX});
    assert_int_equal(net_buffer_sizes(fd, &send, NULL, &error), 0);
    assert_int_equal(send, 2 * most);
    close(fd);
    assert_int_equal(net_buffer_sizes(fd, &send, &receive, &error), -1);
    assert_int_equal(error.number, EBADF);
}

static void test_unix_abstract(void **state)
{
    char url[64];
    struct err error = {0};
    (void)state;
    snprintf(url, sizeof url, "unix:@sonde-test-%d", getpid());
    struct address address = parsed(url, true);
    int listener = listening(&address, false);
    int fd = opened(&address, &(struct net_tuning){.nodelay = true});
    close(connected(fd, &address, listener));
    close(fd);
    struct address again = parsed(url, true);
    assert_int_equal(transport_unix.listen(&again, 16, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_int_equal(transport_unix.listen(&again, 16, true, &error), -1);
    assert_int_equal(error.code, ERR_UNSUPPORTED);
    address_unlink(&address);
    close(listener);
}

static void bound_file(char *folder, char *path, size_t size)
{
    assert_non_null(mkdtemp(folder));
    snprintf(path, size, "%s/socket", folder);
}

static void test_unix_stale(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", path[64], url[80];
    struct err error = {0};
    struct stat file;
    (void)state;
    bound_file(folder, path, sizeof path);
    snprintf(url, sizeof url, "unix:%s", path);

    struct address address = parsed(url, true);
    int listener = listening(&address, false);
    /* Somebody listens: refused, and the file stays theirs. */
    struct address again = parsed(url, true);
    assert_int_equal(transport_unix.listen(&again, 16, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_non_null(strstr(error.what, "another process listens there"));
    int fd = opened(&address, &untuned);
    close(connected(fd, &address, listener));
    close(fd);

    /* Nobody listens any more: the file is left behind and replaced. */
    close(listener);
    assert_int_equal(stat(path, &file), 0);
    listener = listening(&again, false);
    fd = opened(&again, &untuned);
    close(connected(fd, &again, listener));
    close(fd);
    address_unlink(&again);
    assert_int_equal(stat(path, &file), -1);
    address_unlink(&again);
    close(listener);
    rmdir(folder);
}

static void test_unix_full_backlog(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", path[64], url[80];
    struct err error = {0};
    int clients[8], count = 0;
    (void)state;
    bound_file(folder, path, sizeof path);
    snprintf(url, sizeof url, "unix:%s", path);
    struct address address = parsed(url, true);
    int listener = transport_unix.listen(&address, 1, false, &error);
    assert_true(listener >= 0);
    bool full = false;
    while (!full && count < 8) {
        clients[count] = opened(&address, &untuned);
        full = connect(clients[count++], (struct sockaddr *)&address.socket_address,
                       address.length) == -1 &&
               errno == EAGAIN;
    }
    assert_true(full);
    /* A busy server is a server: its file is not removed. */
    struct address again = parsed(url, true);
    assert_int_equal(transport_unix.listen(&again, 16, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
    while (count) {
        close(clients[--count]);
    }
    close(listener);
    address_unlink(&address);
    rmdir(folder);
}

static void test_unix_other_files(void **state)
{
    char folder[] = "/tmp/sonde-test-XXXXXX", path[64], url[80];
    struct err error = {0};
    struct sockaddr_un other = {.sun_family = AF_UNIX};
    (void)state;
    bound_file(folder, path, sizeof path);
    snprintf(url, sizeof url, "unix:%s", path);
    struct address address = parsed(url, true);

    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(transport_unix.listen(&address, 16, false, &error), -1);
    assert_non_null(strstr(error.what, "no socket"));
    address_unlink(&address); /* not a socket: stays */
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);

    /* A datagram socket is somebody's too. */
    memcpy(other.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&other, sizeof other), 0);
    assert_int_equal(transport_unix.listen(&address, 16, false, &error), -1);
    assert_int_equal(error.number, EADDRINUSE);
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
    unlink(path);
    rmdir(folder);

    assert_int_equal(transport_unix.listen(&address, 16, false, &error), -1);
    assert_int_equal(error.number, ENOENT);
    assert_non_null(strstr(error.hint, "folder"));
    assert_int_equal(
        transport_unix.open(&address, &(struct net_tuning){.congestion = "reno"}, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
}

static void check_pair(const struct transport_ops *transport, bool one_file)
{
    struct net_end client, server;
    struct err error = {0};
    char text[4] = "";

    assert_int_equal(transport->caps & TRANSPORT_PAIRS, TRANSPORT_PAIRS);
    assert_int_equal(transport->pair(&client, &server, &error), 0);
    assert_int_equal(client.read_fd == client.write_fd, one_file);
    assert_int_equal(server.read_fd == server.write_fd, one_file);
    const int fds[] = {client.read_fd, client.write_fd, server.read_fd, server.write_fd};
    for (int i = 0; i < 4; i++) {
        assert_flags(fds[i]);
    }
    assert_int_equal(write(client.write_fd, "abc", 3), 3);
    assert_int_equal(read(server.read_fd, text, sizeof text), 3);
    assert_memory_equal(text, "abc", 3);
    assert_int_equal(write(server.write_fd, "de", 2), 2);
    assert_int_equal(read(client.read_fd, text, sizeof text), 2);
    assert_int_equal(read(client.read_fd, text, sizeof text), -1);
    assert_int_equal(errno, EAGAIN);

    uint64_t send = 0, receive = 0;
    assert_int_equal(transport->tune(client.write_fd, &untuned, &error), 0);
    assert_int_equal(
        transport->tune(client.write_fd, &(struct net_tuning){.send_buffer = 32768}, &error), 0);
    assert_int_equal(
        transport->tune(client.write_fd, &(struct net_tuning){.congestion = "reno"}, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_int_equal(net_buffer_sizes(client.write_fd, &send, &receive, &error), 0);
    assert_int_equal(send, one_file ? 65536 : 32768);
    if (!one_file) {
        assert_int_equal(receive, 32768);
        /* The other end is of the same pipe. */
        assert_int_equal(net_buffer_sizes(server.read_fd, &send, NULL, &error), 0);
        assert_int_equal(send, 32768);
    }
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0 || !one_file) {
            close(fds[i]);
        }
    }
}

static void test_pairs(void **state)
{
    (void)state;
    check_pair(&transport_local, true);
    check_pair(&transport_pipe, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_tcp_ipv6),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_listen_refused),
        cmocka_unit_test(test_listen_privileged),
        cmocka_unit_test(test_source),
        cmocka_unit_test(test_source_ipv6),
        cmocka_unit_test(test_congestion),
        cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_unix_abstract),
        cmocka_unit_test(test_unix_stale),
        cmocka_unit_test(test_unix_full_backlog),
        cmocka_unit_test(test_unix_other_files),
        cmocka_unit_test(test_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
