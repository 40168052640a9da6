#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/record.h"

/* A record as a printer gives it, in memory: printing can then only fail for lack of memory, and
 * every failure to write has its own errno. *text is malloc'ed. */
static int print_to_memory(const struct record *record, const struct printer *printer, char **text,
                           size_t *length, struct err *error)
{
    *text = NULL;
    FILE *memory = open_memstream(text, length);
    if (!memory) {
        return err_system(error, errno, printer->name, "cannot be printed");
    }
    int result = printer->print(record, memory, error);
    if (fclose(memory) != 0 && result == 0) {
        result = err_system(error, errno, printer->name, "cannot be printed");
    }
    if (result != 0) {
        free(*text);
        *text = NULL;
    }
    return result;
}

/* Waits where the file is a non-blocking pipe or terminal: its other users may have made it so. */
static int write_all(int file, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(file, text, length);
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        } else if (written < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = file, .events = POLLOUT};
            if (poll(&room, 1, -1) < 0 && errno != EINTR) {
                return -1;
            }
        } else if (written == 0) {
            errno = EIO; /* no progress and no reason: not to be tried for ever */
            return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* Past stdio's buffer: what cannot be written must not be tried again when the program exits. */
static int write_standard_output(const char *text, size_t length, struct err *error)
{
    if (fflush(stdout) != 0 || write_all(STDOUT_FILENO, text, length) != 0) {
        return err_system(error, errno, "standard output", "cannot be written");
    }
    return 0;
}

/* Devices, pipes and sockets are written in place: a rename would replace them. */
static int write_in_place(const char *path, const char *text, size_t length, struct err *error)
{
    int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file < 0) {
        return err_system(error, errno, path, "cannot be opened for writing");
    }
    int result = write_all(file, text, length);
    int number = errno;
    if (close(file) != 0 && result == 0) {
        result = -1;
        number = errno;
    }
    return result ? err_system(error, number, path, "cannot be written") : 0;
}

/* Creates a file with a name of its own in the folder of `path`; its name goes to `name`. */
static int create_beside(const char *path, char *name, size_t size)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    for (unsigned attempt = 0; attempt < 1000; attempt++) {
        int length =
            snprintf(name, size, "%.*s.sonde-%d-%u.tmp", folder, path, (int)getpid(), attempt);
        if (length < 0 || (size_t)length >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int file = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0 || errno != EEXIST) {
            return file;
        }
    }
    return -1;
}

/* Fills the temporary file; `old` is the file that it will replace, NULL where there is none;
 * `lasting`: it survives a crash of the machine, for which the disk is waited for. */
static int fill(int file, const struct stat *old, const char *text, size_t length, bool lasting)
{
    if (old) {
        /* Only root may give a file away; anyone else becomes the owner of the new one. */
        if (fchown(file, old->st_uid, old->st_gid) != 0 && errno != EPERM) {
            return -1;
        }
        if (fchmod(file, old->st_mode & 07777) != 0) {
            return -1;
        }
    }
    return write_all(file, text, length) != 0 || (lasting && fsync(file) != 0) ? -1 : 0;
}

static int replace(const char *path, const struct stat *old, const char *text, size_t length,
                   bool lasting, struct err *error)
{
    char temporary[PATH_MAX];
    int file = create_beside(path, temporary, sizeof temporary);
    if (file < 0) {
        return err_system(error, errno, path, "cannot be created");
    }
    int number = 0;
    if (fill(file, old, text, length, lasting) != 0) {
        number = errno;
    }
    if (close(file) != 0 && number == 0) {
        number = errno;
    }
    if (number == 0 && rename(temporary, path) != 0) {
        number = errno;
    }
    if (number != 0) {
        unlink(temporary);
        return err_system(error, number, path, "cannot be written");
    }
    return 0;
}

static int write_file(const char *path, const char *text, size_t length, bool lasting,
                      struct err *error)
{
    struct stat old;
    if (stat(path, &old) != 0) {
        if (errno != ENOENT) {
            return err_system(error, errno, path, "cannot be written");
        }
        return replace(path, NULL, text, length, lasting, error);
    }
    if (S_ISDIR(old.st_mode)) {
        return err_system(error, EISDIR, path, "cannot be written");
    }
    if (!S_ISREG(old.st_mode)) {
        return write_in_place(path, text, length, error);
    }
    /* Through symbolic links, so that they stay links. */
    char *target = realpath(path, NULL);
    if (!target) {
        return err_system(error, errno, path, "cannot be written");
    }
    int result = replace(target, &old, text, length, lasting, error);
    free(target);
    return result;
}

static int write_text(const char *text, size_t length, const char *path, bool lasting,
                      struct err *error)
{
    return strcmp(path, "-") == 0 ? write_standard_output(text, length, error)
                                  : write_file(path, text, length, lasting, error);
}

int record_write_text(const char *text, size_t length, const char *path, struct err *error)
{
    return write_text(text, length, path, true, error);
}

static int print_and_write(const struct record *record, const struct printer *printer,
                           const char *path, bool lasting, struct err *error)
{
    char *text;
    size_t length;
    if (print_to_memory(record, printer, &text, &length, error) != 0) {
        return -1;
    }
    int result = write_text(text, length, path, lasting, error);
    free(text);
    return result;
}

int record_write(const struct record *record, const struct printer *printer, const char *path,
                 struct err *error)
{
    return print_and_write(record, printer, path, true, error);
}

int record_write_passing(const struct record *record, const struct printer *printer,
                         const char *path, struct err *error)
{
    return print_and_write(record, printer, path, false, error);
}
