#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/web_server.h"

/* A folder of each test's own, in which every server's directory is made. */
struct world {
    char folder[64];
    char outer[64]; /* what TMPDIR was; "" */
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    const char *outer = getenv("TMPDIR");
    assert_non_null(world);
    snprintf(world->outer, sizeof world->outer, "%s", outer ? outer : "");
    snprintf(world->folder, sizeof world->folder, "/tmp/sonde test $1;\"XXXXXX");
    assert_non_null(mkdtemp(world->folder));
    assert_int_equal(setenv("TMPDIR", world->folder, 1), 0);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    int result = rmdir(world->folder); /* fails where anything is left */
    if (world->outer[0]) {
        setenv("TMPDIR", world->outer, 1);
    } else {
        unsetenv("TMPDIR");
    }
    free(world);
    return result;
}

static size_t entries(const char *folder)
{
    size_t count = 0;
    DIR *opened = opendir(folder);
    assert_non_null(opened);
    while (readdir(opened)) {
        count++;
    }
    closedir(opened);
    return count - 2;
}

static bool there(uint32_t program)
{
    char path[64];
    snprintf(path, sizeof path, "/usr/sbin/%s", web_server_name(program));
    return access(path, X_OK) == 0;
}

static struct web_server_plan plan_of(uint32_t program, uint64_t bytes, uint32_t processes)
{
    return (struct web_server_plan){.program = program,
                                    .payload_bytes = bytes,
                                    .connections = 100,
                                    .processes = processes,
                                    .stop_fd = -1};
}

static void start(const struct web_server_plan *plan, struct web_server *server)
{
    struct err error = {0};
    if (web_server_start(plan, server, &error) < 0) {
        fail_msg("%s: %s: %s", error.subject, error.what, error.hint);
    }
}

static void stop(struct web_server *server)
{
    struct err error = {0};
    if (web_server_stop(server, &error) < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
    assert_int_equal(web_server_stop(server, &error), 0);
}

static int dial(const struct web_server *server)
{
    int file = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(file >= 0);
    assert_int_equal(connect(file, (const struct sockaddr *)&server->address.socket_address,
                             server->address.length),
                     0);
    return file;
}

/* The whole answer to a GET; its length. */
static size_t fetch(const struct web_server *server, const char *path, char *to, size_t size)
{
    char request[128];
    size_t length = 0;
    ssize_t got;
    int file = dial(server);
    int asked = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\n\r\n", path);
    assert_int_equal(send(file, request, (size_t)asked, MSG_NOSIGNAL), asked);
    while ((got = recv(file, to + length, size - 1 - length, 0)) > 0) {
        length += (size_t)got;
    }
    to[length] = '\0';
    close(file);
    return length;
}

static void check_payload(const struct web_server *server, uint64_t bytes)
{
    size_t size = bytes + 4096;
    char *answer = malloc(size);
    assert_non_null(answer);
    size_t length = fetch(server, WEB_SERVER_PATH, answer, size);
    char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    assert_non_null(strstr(answer, " 200 "));
    char *body = end + 4;
    assert_int_equal(length - (size_t)(body - answer), bytes);
    for (uint64_t i = 0; i < bytes; i++) {
        if ((uint8_t)body[i] != i % 251) {
            fail_msg("byte %lu is %u", i, (uint8_t)body[i]);
        }
    }
    free(answer);
}

static void check_gone(const struct web_server_plan *plan, const pid_t *pids)
{
    for (uint32_t i = 0; i < plan->processes; i++) {
        assert_int_equal(kill(pids[i], 0), -1);
        assert_int_equal(errno, ESRCH);
    }
}

/* Starts it, fetches the payload, stops it; nothing is left. */
static void serve(const struct world *world, uint32_t program, uint64_t bytes, uint32_t processes)
{
    struct web_server_plan plan = plan_of(program, bytes, processes);
    struct web_server server;
    struct stat status;
    char missing[2048];
    if (!there(program)) {
        skip();
    }
    start(&plan, &server);
    assert_int_equal(server.processes.count, processes);
    assert_int_equal(strncmp(server.software, server.name, strlen(server.name)), 0);
    assert_int_equal(stat(server.directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    assert_int_equal(entries(world->folder), 1);
    pid_t pids[PROCESSES_MOST];
    memcpy(pids, server.processes.pids, sizeof pids);
    for (int i = 0; i < 8; i++) { /* whichever of them answers */
        check_payload(&server, bytes);
    }
    fetch(&server, "/../0.conf", missing, sizeof missing);
    assert_null(strstr(missing, " 200 "));
    stop(&server);
    check_gone(&plan, pids);
    assert_int_equal(entries(world->folder), 0);
}

static void test_lighttpd(void **state)
{
    serve(*state, WEB_SERVER_LIGHTTPD, 200, 1);
    serve(*state, WEB_SERVER_LIGHTTPD, 0, 1);
    serve(*state, WEB_SERVER_LIGHTTPD, 3000001, 3);
}

static void test_nginx(void **state)
{
    serve(*state, WEB_SERVER_NGINX, 200, 1);
    serve(*state, WEB_SERVER_NGINX, 0, 1);
    serve(*state, WEB_SERVER_NGINX, 3000001, 3);
}

/* All of them accept: no connection waits for one that does not. */
static void test_every_process_answers(void **state)
{
    (void)state;
    for (uint32_t program = WEB_SERVER_LIGHTTPD; program <= WEB_SERVER_NGINX; program++) {
        struct web_server_plan plan = plan_of(program, 64, 4);
        struct web_server server;
        char answer[2048];
        if (!there(program)) {
            continue;
        }
        start(&plan, &server);
        for (uint32_t i = 1; i < plan.processes; i++) {
            kill(server.processes.pids[i], SIGSTOP);
        }
        size_t answered = 0;
        for (int i = 0; i < 32; i++) {
            struct timeval most = {.tv_usec = 20000};
            int file = dial(&server);
            setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
            assert_int_equal(send(file, "HEAD / HTTP/1.0\r\n\r\n", 19, MSG_NOSIGNAL), 19);
            answered += recv(file, answer, sizeof answer, 0) > 0;
            close(file);
        }
        assert_in_range(answered, 1, 31); /* the others' connections wait at them */
        for (uint32_t i = 1; i < plan.processes; i++) {
            kill(server.processes.pids[i], SIGCONT);
        }
        stop(&server);
    }
}

static void test_pinned(void **state)
{
    (void)state;
    cpu_set_t allowed, only;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET((size_t)last, &allowed)) {
        last--;
    }
    const struct cpu_list cpus = {.of = {last}, .count = 1};
    struct web_server_plan plan = plan_of(WEB_SERVER_NGINX, 10, 1);
    struct web_server server;
    if (!there(plan.program)) {
        skip();
    }
    plan.cpus = &cpus;
    start(&plan, &server);
    assert_int_equal(sched_getaffinity(server.processes.pids[0], sizeof only, &only), 0);
    assert_int_equal(CPU_COUNT(&only), 1);
    assert_true(CPU_ISSET((size_t)last, &only));
    stop(&server);
}

static void refuse(const struct web_server_plan *plan, enum err_code code, const char *what)
{
    struct web_server server;
    struct err error = {0};
    assert_int_equal(web_server_start(plan, &server, &error), -1);
    assert_int_equal(error.code, code);
    if (!strstr(error.what, what)) {
        fail_msg("\"%s\" is not in: %s", what, error.what);
    }
    assert_int_equal(web_server_stop(&server, &error), 0);
}

static void test_no_room(void **state)
{
    struct world *world = *state;
    struct web_server_plan plan = plan_of(WEB_SERVER_NGINX, (uint64_t)1 << 60, 1);
    if (!there(plan.program)) {
        skip();
    }
    refuse(&plan, ERR_LIMIT, "a payload of 1.00 EiB does not fit where ");
    if (mount("none", world->folder, "tmpfs", 0, "size=4m") < 0) {
        skip();
    }
    plan.payload_bytes = 4 << 20;
    refuse(&plan, ERR_LIMIT, "4.00 MiB is free");
    plan.payload_bytes = 2 << 20;
    struct web_server server;
    start(&plan, &server);
    stop(&server);
    assert_int_equal(entries(world->folder), 0);
    assert_int_equal(umount(world->folder), 0);
}

static void test_interrupted(void **state)
{
    (void)state;
    int files[2];
    assert_int_equal(pipe(files), 0);
    assert_int_equal(write(files[1], "x", 1), 1);
    for (uint32_t program = WEB_SERVER_LIGHTTPD; program <= WEB_SERVER_NGINX; program++) {
        struct web_server_plan plan = plan_of(program, 1 << 20, 1);
        plan.stop_fd = files[0];
        if (there(program)) {
            refuse(&plan, ERR_INTERRUPTED, "interrupted");
        }
    }
    close(files[0]);
    close(files[1]);
}

static void test_too_many_connections(void **state)
{
    (void)state;
    struct web_server_plan plan = plan_of(WEB_SERVER_NGINX, 10, 1);
    plan.connections = 1000000000;
    refuse(&plan, ERR_LIMIT, "open files");
}

/* One that ends by itself is told of, with how it ended. */
static void test_ended_by_itself(void **state)
{
    struct world *world = *state;
    for (uint32_t program = WEB_SERVER_LIGHTTPD; program <= WEB_SERVER_NGINX; program++) {
        struct web_server_plan plan = plan_of(program, 10, 2);
        struct web_server server;
        struct err error = {0};
        siginfo_t how;
        if (!there(program)) {
            continue;
        }
        start(&plan, &server);
        pid_t pid = server.processes.pids[1];
        kill(pid, SIGKILL);
        assert_int_equal(waitid(P_PID, (id_t)pid, &how, WEXITED | WNOWAIT), 0);
        assert_int_equal(processes_broken(&server.processes), 1);
        assert_int_equal(web_server_stop(&server, &error), -1);
        assert_non_null(strstr(error.what, "ended with signal 9"));
        assert_int_equal(entries(world->folder), 0);
    }
}

static void wait_until(bool (*so)(const void *of), const void *of, const char *what)
{
    uint64_t until_ns = clock_now_ns() + 20 * NS_PER_SECOND;
    while (!so(of)) {
        if (clock_now_ns() > until_ns) {
            fail_msg("%s", what);
        }
        usleep(2000);
    }
}

static bool is_empty(const void *folder)
{
    return entries(folder) == 0;
}

/* Nobody answers at the port any more. */
static bool is_silent(const void *of)
{
    const struct web_server *server = of;
    int file = socket(AF_INET, SOCK_STREAM, 0);
    bool refused = connect(file, (const struct sockaddr *)&server->address.socket_address,
                           server->address.length) < 0;
    close(file);
    return refused;
}

/* Whoever started it is killed, and can do nothing any more. */
static void test_parent_killed(void **state)
{
    struct world *world = *state;
    for (uint32_t program = WEB_SERVER_LIGHTTPD; program <= WEB_SERVER_NGINX; program++) {
        struct web_server_plan plan = plan_of(program, 1 << 20, 2);
        struct web_server server = {0};
        int files[2];
        if (!there(program)) {
            continue;
        }
        assert_int_equal(pipe(files), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct err error;
            int result = web_server_start(&plan, &server, &error);
            (void)!write(files[1], &server, result < 0 ? 1 : sizeof server);
            pause();
            _exit(0);
        }
        if (read(files[0], &server, sizeof server) != sizeof server) {
            kill(pid, SIGKILL);
            fail();
        }
        assert_false(is_silent(&server));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        wait_until(is_silent, &server, "the server goes on");
        wait_until(is_empty, world->folder, "the directory is left");
        close(files[0]);
        close(files[1]);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_lighttpd),
        CASE(test_nginx),
        CASE(test_every_process_answers),
        CASE(test_pinned),
        CASE(test_no_room),
        CASE(test_interrupted),
        CASE(test_too_many_connections),
        CASE(test_ended_by_itself),
        CASE(test_parent_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
