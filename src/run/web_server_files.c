/* The private directory of a web server: made, filled, and removed in any case. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/units.h"
#include "run/web_server_state.h"

/* Beside the payload: configurations, logs, and what the file system takes for them. */
#define REST_BYTES ((uint64_t)1 << 20)
#define PATTERN_PERIOD 251
/* Whole periods, so that each write begins as the first one does. */
#define WRITE_BYTES ((size_t)PATTERN_PERIOD * 4096)
#define DEPTH_FILES 8

int web_files_path(const struct web_server *server, const char *name, char *path, size_t size,
                   struct err *error)
{
    int used = snprintf(path, size, "%s/%s", server->directory, name);
    return used > 0 && (size_t)used < size
               ? 0
               : err_set(error, ERR_LIMIT, "TMPDIR", "its path is too long");
}

void web_files_read(const struct web_server *server, const char *name, char *text, size_t size)
{
    char path[PATH_MAX];
    struct err ignored;
    text[0] = '\0';
    if (web_files_path(server, name, path, sizeof path, &ignored) < 0) {
        return;
    }
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file >= 0 ? read(file, text, size - 1) : 0;
    text[got > 0 ? got : 0] = '\0';
    if (file >= 0) {
        close(file);
    }
}

bool web_interrupted(int stop_fd)
{
    struct pollfd stop = {.fd = stop_fd, .events = POLLIN};
    return stop_fd >= 0 && poll(&stop, 1, 0) > 0;
}

/* ---- removing -------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    remove(path); /* what cannot be removed is no reason to leave the rest */
    return 0;
}

static void remove_tree(const char *directory)
{
    nftw(directory, remove_one, DEPTH_FILES, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- the keeper ------------------------------------------------------------------------------ */

/* A process that does nothing but wait at a socket of which only this process, which is not to be
 * relied on once it is killed, has the other end. */
_Noreturn static void keep(const char *directory, int file)
{
    char byte;
    ssize_t got;
    int nothing = open("/dev/null", O_RDWR);
    prctl(PR_SET_NAME, "sonde-keeper");
    setsid(); /* no key of the terminal's, and not its end */
    for (int i = 0; nothing >= 0 && i <= STDERR_FILENO; i++) {
        dup2(nothing, i);
    }
    (void)!chdir("/");
    if (file > STDERR_FILENO + 1) {
        close_range(STDERR_FILENO + 1, (unsigned)file - 1, 0);
    }
    close_range((unsigned)file + 1, ~0u, 0);
    do {
        got = read(file, &byte, 1);
    } while (got < 0 && errno == EINTR);
    if (got != 1) {
        remove_tree(directory);
    }
    _exit(0);
}

static int start_keeper(struct web_server *server, struct err *error)
{
    int files[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, files) < 0) {
        return err_system(error, errno, server->name, "cannot be started");
    }
    pid_t pid = fork();
    if (pid == 0) {
        keep(server->directory, files[1]);
    }
    int number = errno;
    close(files[1]);
    if (pid < 0) {
        close(files[0]);
        return err_system(error, number, server->name, "cannot be started");
    }
    server->keeper = pid;
    server->keeper_file = files[0];
    return 0;
}

static void end_keeper(struct web_server *server)
{
    struct err ignored;
    if (server->keeper > 0) {
        (void)!send(server->keeper_file, "x", 1, MSG_NOSIGNAL);
        close(server->keeper_file);
        process_await(server->keeper, "keeper", &ignored);
        server->keeper = 0;
    }
}

void web_files_remove(struct web_server *server)
{
    if (server->directory[0]) {
        remove_tree(server->directory);
    }
    end_keeper(server);
    server->directory[0] = '\0';
}

/* ---- making ---------------------------------------------------------------------------------- */

static int check_room(const struct web_server *server, uint64_t payload_bytes, struct err *error)
{
    struct statvfs system;
    char needed[UNITS_TEXT_MAX], there[UNITS_TEXT_MAX];
    if (statvfs(server->directory, &system) < 0) {
        return err_system(error, errno, server->directory, "its free space cannot be read");
    }
    uint64_t room = (uint64_t)system.f_bavail * system.f_frsize;
    if (payload_bytes < room && room - payload_bytes >= REST_BYTES) {
        return 0;
    }
    units_bytes(needed, (double)payload_bytes);
    units_bytes(there, (double)room);
    err_set(error, ERR_LIMIT, "--size", "a payload of %s does not fit where %s is free (%.80s)",
            needed, there, server->directory);
    return err_hint(error, "TMPDIR names another directory");
}

static int write_pattern(int file, uint64_t bytes, int stop_fd, struct err *error)
{
    uint8_t *block = malloc(WRITE_BYTES);
    int result = block ? 0 : err_system(error, ENOMEM, "--size", "cannot make the payload");
    for (size_t i = 0; block && i < WRITE_BYTES; i++) {
        block[i] = (uint8_t)(i % PATTERN_PERIOD);
    }
    for (uint64_t done = 0; done < bytes && result == 0;) {
        size_t at = done % WRITE_BYTES, some = WRITE_BYTES - at;
        some = bytes - done < some ? (size_t)(bytes - done) : some;
        ssize_t put = write(file, block + at, some);
        done += put > 0 ? (uint64_t)put : 0;
        if (put < 0 && errno != EINTR) {
            result = err_system(error, errno, "--size", "cannot write the payload");
        } else if (web_interrupted(stop_fd)) {
            result = err_set(error, ERR_INTERRUPTED, "run", "interrupted while writing a payload");
        }
    }
    free(block);
    return result;
}

static int write_payload(const struct web_server_plan *plan, const struct web_server *server,
                         struct err *error)
{
    char path[PATH_MAX];
    if (web_files_path(server, WEB_ROOT WEB_SERVER_PATH, path, sizeof path, error) < 0) {
        return -1;
    }
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) {
        return err_system(error, errno, path, "cannot be made");
    }
    int result = 0;
    /* Where the file system can, all of its space is there before the first byte is. */
    if (plan->payload_bytes && fallocate(file, 0, 0, (off_t)plan->payload_bytes) < 0 &&
        errno != EOPNOTSUPP && errno != EINTR) {
        result = err_system(error, errno, "--size", "no room for a payload of %lu bytes",
                            plan->payload_bytes);
    }
    result = result < 0 ? result : write_pattern(file, plan->payload_bytes, plan->stop_fd, error);
    /* Else the kernel would write it while the run is measured. */
    if (result == 0 && fdatasync(file) < 0 && errno != EINVAL) {
        result = err_system(error, errno, path, "cannot be written");
    }
    if (close(file) < 0 && result == 0) {
        result = err_system(error, errno, path, "cannot be written");
    }
    return result;
}

static int make_directory(struct web_server *server, struct err *error)
{
    static const char name[] = "/sonde-web-XXXXXX";
    const char *parent = getenv("TMPDIR");
    char whole[PATH_MAX];
    parent = parent && parent[0] ? parent : "/tmp";
    if (!realpath(parent, whole)) {
        return err_system(error, errno, "TMPDIR", "%.120s cannot be used", parent);
    }
    if (strlen(whole) + sizeof name > sizeof server->directory) {
        return err_set(error, ERR_LIMIT, "TMPDIR", "its path is too long");
    }
    snprintf(server->directory, sizeof server->directory, "%s%s", whole, name);
    if (!mkdtemp(server->directory)) { /* mode 0700 */
        int number = errno;
        server->directory[0] = '\0';
        return err_system(error, number, whole, "no directory can be made in it");
    }
    return 0;
}

int web_files_make(const struct web_server_plan *plan, struct web_server *server, struct err *error)
{
    static const char *const folders[] = {WEB_ROOT, "temporary"};
    if (make_directory(server, error) < 0 || start_keeper(server, error) < 0 ||
        check_room(server, plan->payload_bytes, error) < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[PATH_MAX];
        if (web_files_path(server, folders[i], path, sizeof path, error) < 0) {
            return -1;
        }
        if (mkdir(path, 0700) < 0) {
            return err_system(error, errno, path, "cannot be made");
        }
    }
    return write_payload(plan, server, error);
}
