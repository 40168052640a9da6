#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/tls.h"

static int check_file(int fd, const char *path, struct err *error)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return err_system(error, errno, path, "cannot be looked at");
    }
    if (!S_ISREG(status.st_mode)) {
        return err_set(error, ERR_USAGE, path, "the secret is no regular file");
    }
    if (status.st_uid != geteuid()) {
        err_set(error, ERR_USAGE, path, "the secret belongs to another user");
        return err_hint(error, "chown it to the user that runs sonde");
    }
    if (status.st_mode & (S_IRWXG | S_IRWXO)) {
        err_set(error, ERR_USAGE, path, "others may read or change the secret (mode %03o)",
                status.st_mode & 0777u);
        return err_hint(error, "chmod 600 %s", path);
    }
    return 0;
}

/* All of the file; a byte more than may be, where it is too long. */
static ssize_t read_all(int fd, uint8_t *to, size_t room)
{
    size_t length = 0;
    while (length < room) {
        ssize_t got = read(fd, to + length, room - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        length += (size_t)got;
    }
    return (ssize_t)length;
}

int tls_secret_read(const char *path, struct tls_secret *secret, struct err *error)
{
    uint8_t bytes[TLS_SECRET_MOST + 2];
    secret->length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        err_system(error, errno, path, "the secret cannot be read");
        error->code = ERR_USAGE;
        return -1;
    }
    int result = check_file(fd, path, error);
    ssize_t length = result == 0 ? read_all(fd, bytes, sizeof bytes) : 0;
    if (length < 0) {
        result = err_system(error, errno, path, "the secret cannot be read");
    }
    close(fd);
    if (result == 0 && length > 0 && bytes[length - 1] == '\n') {
        length--;
    }
    if (result == 0 && (length < TLS_SECRET_LEAST || length > TLS_SECRET_MOST)) {
        result = err_set(error, ERR_USAGE, path, "the secret has %s than %d bytes",
                         length < TLS_SECRET_LEAST ? "less" : "more",
                         length < TLS_SECRET_LEAST ? TLS_SECRET_LEAST : TLS_SECRET_MOST);
        err_hint(error, "head -c 32 /dev/urandom | base64 > FILE makes one");
    }
    if (result == 0) {
        memcpy(secret->bytes, bytes, (size_t)length);
        secret->length = (size_t)length;
    }
    explicit_bzero(bytes, sizeof bytes);
    return result;
}

void tls_secret_clear(struct tls_secret *secret)
{
    explicit_bzero(secret, sizeof *secret);
}
