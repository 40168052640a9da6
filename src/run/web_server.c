#include "run/web_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/http.h"
#include "run/child.h"
#include "run/limits.h"
#include "run/server.h"
#include "run/web_server_state.h"

/* From its start until it answers. */
#define START_NS (5 * NS_PER_SECOND)
#define LOOK_NS (2 * NS_PER_MS)
/* A connection has its socket and the file that it is sent. */
#define FILES_EACH 2
/* Listener, epoll, logs, and what else a program has open. */
#define FILES_BESIDE 32
/* Connections that are closing while others are dialed in their place. */
#define CONNECTIONS_BESIDE 64
#define SAID_BYTES 4096
#define ANSWER_BYTES 4096

/* What a process is started with. */
struct start {
    const struct web_server_plan *plan;
    const struct web_program_ops *program;
    struct web_server *server;
    char path[PATH_MAX];
    uint32_t left_out;
    uint64_t until_ns;
};

static uint64_t connections_each(const struct web_server_plan *plan)
{
    const struct process_need need = {.connections = plan->connections, .spread = true};
    return processes_share(&need, plan->processes) + CONNECTIONS_BESIDE;
}

uint64_t web_server_files(const struct web_server_plan *plan)
{
    return connections_each(plan) * FILES_EACH + FILES_BESIDE;
}

static int check_files(const struct web_server_plan *plan, struct err *error)
{
    uint64_t needed = web_server_files(plan), allowed = limits_files_raise(needed);
    if (allowed >= needed) {
        return 0;
    }
    err_set(error, ERR_LIMIT, "--connections", "%s would need %lu open files, it may have %lu",
            web_server_name(plan->program), needed, allowed);
    return err_hint(error, "fewer of them, more --server-threads, or a higher ulimit -n");
}

/* A bound socket that nobody connects to keeps the port for those who share it. */
static int reserve(struct web_server *server, struct err *error)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int one = 1;
    int file = server->reservation = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0 || setsockopt(file, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0 ||
        bind(file, (struct sockaddr *)&at, sizeof at) < 0 ||
        getsockname(file, (struct sockaddr *)&at, &length) < 0) {
        return err_system(error, errno, server->name, "there is no free port of 127.0.0.1");
    }
    char url[40];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    return address_parse(url, false, &server->address, error);
}

static uint16_t port_of(const struct web_server *server)
{
    const void *at = &server->address.socket_address;
    return ntohs(((const struct sockaddr_in *)at)->sin_port);
}

/* ---- what it says ---------------------------------------------------------------------------- */

/* The line that says why it did not start, or ended. */
static void reason_of(const struct web_server *server, uint32_t process, bool last, char *to,
                      size_t size)
{
    char name[32], said[SAID_BYTES];
    snprintf(name, sizeof name, "%u.output", process);
    web_files_read(server, name, said, sizeof said);
    if (!said[0]) {
        web_files_read(server, WEB_ERROR_LOG, said, sizeof said);
        last = true;
    }
    size_t length = strlen(said);
    while (length && said[length - 1] == '\n') {
        said[--length] = '\0';
    }
    const char *newline = last ? strrchr(said, '\n') : NULL;
    const char *line = newline ? newline + 1 : said;
    snprintf(to, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static bool has_ended(pid_t pid, siginfo_t *how)
{
    *how = (siginfo_t){.si_pid = 0};
    return waitid(P_PID, (id_t)pid, how, WEXITED | WNOHANG | WNOWAIT) == 0 && how->si_pid;
}

static void say_ended(const struct web_server *server, uint32_t process, bool last, siginfo_t how,
                      struct err *error)
{
    char line[160];
    line[0] = '\0';
    if (how.si_code == CLD_EXITED) { /* of a signal its log knows nothing */
        reason_of(server, process, last, line, sizeof line);
    }
    err_set(error, ERR_SYSTEM, server->name, "ended with %s %d%s%s",
            how.si_code == CLD_EXITED ? "status" : "signal", how.si_status, line[0] ? ": " : "",
            line);
}

/* ---- a process ------------------------------------------------------------------------------- */

static int write_config(const struct start *start, const struct web_config *config,
                        const char *name, struct err *error)
{
    char path[PATH_MAX];
    if (web_files_path(start->server, name, path, sizeof path, error) < 0) {
        return -1;
    }
    FILE *out = fopen(path, "we");
    if (out) {
        start->program->write_config(config, out);
    }
    bool failed = !out || ferror(out);
    if ((out && fclose(out) != 0) || failed) {
        return err_system(error, errno, path, "cannot be written");
    }
    return 0;
}

/* Of two ends that are looked at apart, each has its own CPU from its first instruction on. */
static void pin(const struct web_server_plan *plan, uint32_t process, pid_t pid)
{
    int cpu = plan->cpus ? placement_cpu(plan->cpus, process) : -1;
    if (cpu >= 0) {
        cpu_set_t only[MACHINE_CPU_SETS];
        memset(only, 0, sizeof only);
        CPU_SET_S((size_t)cpu, sizeof only, only);
        sched_setaffinity(pid, sizeof only, only);
    }
}

static int spawn(const struct start *start, uint32_t process, const char *config, int listener,
                 struct err *error)
{
    struct web_server *server = start->server;
    const char *arguments[WEB_ARGUMENTS_MOST];
    char name[32], path[PATH_MAX];
    int number = 0, refused;
    snprintf(name, sizeof name, "%u.output", process);
    if (web_files_path(server, name, path, sizeof path, error) < 0) {
        return -1;
    }
    int output = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (output < 0) {
        return err_system(error, errno, path, "cannot be made");
    }
    start->program->arguments(config, arguments);
    const struct child_program program = {.path = start->path,
                                          .arguments = (char **)arguments,
                                          .directory = server->directory,
                                          .input = listener,
                                          .output = output,
                                          .errors = output};
    pid_t pid = child_spawn_program(&program, &refused);
    close(output);
    if (pid < 0) {
        return err_system(error, -pid, server->name, "cannot be started");
    }
    server->processes.pids[process] = pid;
    server->processes.count = process + 1;
    pin(start->plan, process, pid);
    if (read(refused, &number, sizeof number) != (ssize_t)sizeof number) {
        number = 0; /* it is that program now */
    }
    close(refused);
    return number ? err_system(error, number, start->path, "cannot be started") : 0;
}

/* It listens once it has written its pid. 0, 1: it ended before, or -1 with *error. */
static int await_pid(const struct start *start, uint32_t process, siginfo_t *how, struct err *error)
{
    struct web_server *server = start->server;
    char name[32], text[32], line[160];
    snprintf(name, sizeof name, "%u.pid", process);
    for (;;) {
        struct timespec pause = clock_timespec(LOOK_NS);
        struct pollfd stop = {.fd = start->plan->stop_fd, .events = POLLIN};
        web_files_read(server, name, text, sizeof text);
        if (strchr(text, '\n')) {
            return 0;
        }
        if (has_ended(server->processes.pids[process], how)) {
            return 1;
        }
        if (clock_now_ns() > start->until_ns) {
            reason_of(server, process, start->program->last_line, line, sizeof line);
            return err_set(error, ERR_SYSTEM, server->name, "did not start within %lu s%s%s",
                           START_NS / NS_PER_SECOND, line[0] ? ": " : "", line);
        }
        if (ppoll(&stop, 1, &pause, NULL) > 0) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted while starting %s",
                           server->name);
        }
    }
}

static int listen_for(const struct start *start, int *listener, struct err *error)
{
    const struct net_tuning tuning = {.congestion = start->plan->congestion};
    int *files;
    *listener = -1;
    if (!start->program->takes_listener) {
        return 0;
    }
    if (server_listen(&start->server->address, 1, 1, true, SERVER_BACKLOG, &tuning, &files, error) <
        0) {
        return -1;
    }
    *listener = files[0];
    free(files);
    return 0;
}

/* Once; 1: it ended at once. */
static int try_one(struct start *start, const struct web_config *config, siginfo_t *how,
                   struct err *error)
{
    char name[32];
    int listener;
    snprintf(name, sizeof name, "%u.conf", config->process);
    if (write_config(start, config, name, error) < 0 || listen_for(start, &listener, error) < 0) {
        return -1;
    }
    int result = spawn(start, config->process, name, listener, error);
    if (listener >= 0) {
        close(listener);
    }
    return result < 0 ? -1 : await_pid(start, config->process, how, error);
}

/* With less in its configuration as long as that is what it ends for. */
static int start_one(struct start *start, uint32_t process, struct err *error)
{
    struct web_server *server = start->server;
    struct web_config config = {.process = process,
                                .port = port_of(server),
                                .connections = connections_each(start->plan),
                                .files = web_server_files(start->plan),
                                .left_out = start->left_out};
    char line[256];
    for (;;) {
        siginfo_t how;
        int result = try_one(start, &config, &how, error);
        if (result <= 0) {
            start->left_out = config.left_out;
            return result;
        }
        reason_of(server, process, start->program->last_line, line, sizeof line);
        if (!start->program->mend || !start->program->mend(&config, line)) {
            say_ended(server, process, start->program->last_line, how, error);
            return -1;
        }
        waitpid(server->processes.pids[process], NULL, 0);
        server->processes.pids[process] = 0;
    }
}

/* ---- its first answer ------------------------------------------------------------------------ */

/* The answer to a HEAD as far as it has come; its length, 0: not yet, -1: none comes. */
static ssize_t exchange(const struct start *start, int file, char *answer, size_t size)
{
    static const char request[] =
        "HEAD " WEB_SERVER_PATH " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    size_t length = 0;
    if (send(file, request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1) {
        return -1;
    }
    while (length < size - 1 && clock_now_ns() < start->until_ns) {
        struct pollfd ready[] = {{.fd = file, .events = POLLIN},
                                 {.fd = start->plan->stop_fd, .events = POLLIN}};
        if (poll(ready, 2, 100) < 0 || ready[1].revents) {
            break;
        }
        ssize_t got = ready[0].revents ? recv(file, answer + length, size - 1 - length, 0) : 0;
        if (ready[0].revents && got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    answer[length] = '\0';
    return (ssize_t)length;
}

/* How the program calls itself in its answers. */
static void take_name(const char *answer, char *to, size_t size)
{
    static const char header[] = "\r\nServer: ";
    const char *at = strcasestr(answer, header);
    at = at ? at + sizeof header - 1 : "";
    snprintf(to, size, "%.*s", (int)strcspn(at, "\r\n"), at);
}

/* That it is the payload, and all of it, that its clients will get. */
static int judge_answer(const struct start *start, const char *answer, struct err *error)
{
    struct web_server *server = start->server;
    struct http_response_reader reader;
    struct http_event event = {.kind = HTTP_NOTHING};
    http_response_reader_init(&reader, &http_limits_usual);
    http_response_asked(&reader, "HEAD");
    ssize_t taken = http_response_read(&reader, (const uint8_t *)answer, strlen(answer), &event);
    if (taken < 0 || event.kind != HTTP_HEAD) {
        return err_set(error, ERR_PROTOCOL, server->name, "does not answer for its payload%s%s",
                       taken < 0 ? ": " : "", taken < 0 ? http_error_text((int)taken) : "");
    }
    if (event.status != 200 || event.content_length != start->plan->payload_bytes) {
        return err_set(error, ERR_PROTOCOL, server->name,
                       "answers for its payload with status %u and %lu bytes, not 200 and %lu",
                       event.status, event.content_length, start->plan->payload_bytes);
    }
    take_name(answer, server->software, sizeof server->software);
    return 0;
}

static int ask(const struct start *start, struct err *error)
{
    const struct address *address = &start->server->address;
    char answer[ANSWER_BYTES] = "";
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0 ||
        connect(file, (const struct sockaddr *)&address->socket_address, address->length) < 0) {
        err_system(error, errno, start->server->name, "does not listen");
        if (file >= 0) {
            close(file);
        }
        return -1;
    }
    exchange(start, file, answer, sizeof answer);
    close(file);
    if (web_interrupted(start->plan->stop_fd)) {
        return err_set(error, ERR_INTERRUPTED, "run", "interrupted while starting %s",
                       start->server->name);
    }
    return judge_answer(start, answer, error);
}

/* ---------------------------------------------------------------------------------------------- */

static int start_all(struct start *start, struct err *error)
{
    const struct web_server_plan *plan = start->plan;
    struct web_server *server = start->server;
    if (check_files(plan, error) < 0 ||
        web_program_path(start->program, start->path, sizeof start->path, error) < 0 ||
        reserve(server, error) < 0 || web_files_make(plan, server, error) < 0) {
        return -1;
    }
    start->until_ns = clock_now_ns() + START_NS;
    for (uint32_t i = 0; i < plan->processes; i++) {
        if (start_one(start, i, error) < 0) {
            return -1;
        }
    }
    return ask(start, error);
}

int web_server_start(const struct web_server_plan *plan, struct web_server *server,
                     struct err *error)
{
    struct start *start = calloc(1, sizeof *start);
    *server = (struct web_server){.name = web_server_name(plan->program), .reservation = -1};
    if (!start) {
        return err_system(error, ENOMEM, server->name, "cannot be started");
    }
    *start =
        (struct start){.plan = plan, .program = web_program_find(plan->program), .server = server};
    server->holds_files = true;
    int result = start_all(start, error);
    free(start);
    if (result < 0) {
        struct err ignored;
        web_server_stop(server, &ignored);
    }
    return result;
}

int web_server_stop(struct web_server *server, struct err *error)
{
    int result = 0;
    for (uint32_t i = 0; i < server->processes.count; i++) {
        pid_t pid = server->processes.pids[i];
        siginfo_t how;
        struct err ignored; /* lighttpd's status is 1 where it was told to end */
        if (pid <= 0) {
            continue;
        }
        if (has_ended(pid, &how)) {
            say_ended(server, i, true, how, error);
            result = -1;
        } else {
            kill(pid, SIGTERM);
        }
        process_await(pid, server->name, &ignored);
        server->processes.pids[i] = 0;
    }
    server->processes.count = 0;
    if (server->holds_files && server->reservation >= 0) {
        close(server->reservation);
        server->reservation = -1;
    }
    web_files_remove(server);
    server->holds_files = false;
    return result;
}
