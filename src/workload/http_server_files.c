/* Static files. A path is resolved by the kernel below the root alone: neither ".." nor a symbolic
 * link leads out of it (openat2). */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "workload/http_server.h"

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {"html", "text/html; charset=utf-8"},
        {"htm", "text/html; charset=utf-8"},
        {"txt", "text/plain; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"json", "application/json"},
        {"xml", "application/xml"},
        {"svg", "image/svg+xml"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},
        {"gif", "image/gif"},
        {"webp", "image/webp"},
        {"ico", "image/x-icon"},
        {"woff2", "font/woff2"},
        {"wasm", "application/wasm"},
        {"pdf", "application/pdf"},
        {"mp4", "video/mp4"},
    };
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
        if (strcasecmp(dot + 1, types[i][0]) == 0) {
            return types[i][1];
        }
    }
    return "application/octet-stream";
}

static unsigned status_of(int number)
{
    switch (number) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ENXIO: /* a socket */
        return 404;
    case EACCES:
    case EPERM:
    case EXDEV: /* it leads out of the root */
    case ELOOP:
        return 403;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return 503;
    default:
        return 500;
    }
}

/* A file, or -1 with errno. */
static int open_below(struct http_pool *pool, int directory, const char *path)
{
    struct open_how how = {
        /* Without waiting for the writer of a FIFO. */
        .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, directory, path, &how, sizeof how);
    call_counted(pool->calls, CALL_OPENAT2, fd, false);
    return (int)fd;
}

static int look(struct http_pool *pool, int fd, struct statx *found)
{
    int result = statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE | STATX_INO, found);
    return (int)call_counted(pool->calls, CALL_STATX, result, false);
}

void http_file_close(struct http_pool *pool, int fd)
{
    call_counted(pool->calls, CALL_CLOSE, close(fd), false);
}

/* The root, or -1 with errno. */
static int open_root(struct http_pool *pool)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC};
    long fd = syscall(SYS_openat2, AT_FDCWD, pool->options->root, &how, sizeof how);
    return (int)call_counted(pool->calls, CALL_OPENAT2, fd, false);
}

/* What is to be sent of a path below the root, or -1 with errno: of a folder its index. */
static int open_path(struct http_pool *pool, int root, const char **name, struct statx *found)
{
    static const char index[] = "/index.html";
    char path[URL_MOST + sizeof index];
    int fd = open_below(pool, root, *name);
    if (fd < 0 || look(pool, fd, found) < 0 || !S_ISDIR(found->stx_mode)) {
        return fd;
    }
    http_file_close(pool, fd);
    snprintf(path, sizeof path, "%s%s", *name, index);
    *name = index;
    fd = open_below(pool, root, path);
    if (fd >= 0 && look(pool, fd, found) < 0) {
        found->stx_mode = 0;
    }
    return fd;
}

struct http_found http_file_open(struct http_pool *pool, const char *path)
{
    struct statx found = {0};
    const char *name = path[0] == '/' ? path + 1 : path;
    name = name[0] ? name : ".";
    int root = open_root(pool);
    if (root < 0) {
        return (struct http_found){.status = status_of(errno), .fd = -1};
    }
    int fd = open_path(pool, root, &name, &found);
    int number = errno;
    http_file_close(pool, root);
    if (fd < 0) {
        return (struct http_found){.status = status_of(number), .fd = -1};
    }
    if (!S_ISREG(found.stx_mode)) {
        http_file_close(pool, fd);
        return (struct http_found){.status = 403, .fd = -1};
    }
    return (struct http_found){.status = 200,
                               .fd = fd,
                               .bytes = found.stx_size,
                               .device = (uint64_t)found.stx_dev_major << 32 | found.stx_dev_minor,
                               .inode = found.stx_ino,
                               .type = type_of(name)};
}

ssize_t http_file_read(struct http_pool *pool, int fd, void *to, size_t bytes, uint64_t at)
{
    ssize_t result;
    do {
        result = call_counted(pool->calls, CALL_PREAD64, pread(fd, to, bytes, (off_t)at), true);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

int http_server_check(const struct http_server_options *options, struct err *error)
{
    struct call_table calls = {0};
    struct http_pool pool = {.options = options, .calls = &calls};
    if (!options->root) {
        return 0;
    }
    int root = open_root(&pool);
    int fd = root < 0 ? -1 : open_below(&pool, root, ".");
    int number = errno;
    if (root >= 0) {
        close(root);
    }
    if (fd < 0) {
        err_system(error, number, "--root",
                   number == ENOSYS ? "needs openat2 (Linux 5.6 or newer)" : "cannot serve \"%s\"",
                   options->root);
        return err_hint(error, "it takes a directory that this user may read");
    }
    close(fd);
    return 0;
}
