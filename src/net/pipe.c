#include "net/tune.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipe_parse(const char *rest, uint32_t flags, struct address *address, struct err *error)
{
    if (rest[0]) {
        return err_set(error, ERR_USAGE, address->text, "nothing follows \"pipe:\"");
    }
    if (flags & ADDRESS_TO_LISTEN) {
        err_set(error, ERR_USAGE, address->text, "no other process could connect to it");
        return err_hint(error, "listen on tcp:// or unix:");
    }
    snprintf(address->text, sizeof address->text, "pipe:");
    return 0;
}

/* A pipe has one buffer, its capacity, which both ends share. */
static int pipe_tune(int fd, const struct net_tuning *tuning, struct err *error)
{
    uint64_t wanted =
        tuning->send_buffer > tuning->receive_buffer ? tuning->send_buffer : tuning->receive_buffer;
    if (net_tune_check(&transport_pipe, tuning, error)) {
        return -1;
    }
    if (wanted == 0) {
        return 0;
    }
    if (fcntl(fd, F_SETPIPE_SZ, wanted > INT_MAX ? INT_MAX : (int)wanted) < 0) {
        int number = errno;
        err_system(error, number, "pipe", "cannot set its capacity to %llu bytes",
                   (unsigned long long)wanted);
        return number == EPERM ? err_hint(error, "more than fs.pipe-max-size needs "
                                                 "CAP_SYS_RESOURCE")
                               : -1;
    }
    return 0;
}

static int pipe_pair(struct net_end *client, struct net_end *server, struct err *error)
{
    int to_server[2], to_client[2];

    if (pipe2(to_server, O_NONBLOCK | O_CLOEXEC)) {
        return err_system(error, errno, "pipe:", "cannot make a pipe");
    }
    if (pipe2(to_client, O_NONBLOCK | O_CLOEXEC)) {
        int number = errno;
        close(to_server[0]);
        close(to_server[1]);
        return err_system(error, number, "pipe:", "cannot make a pipe");
    }
    *client = (struct net_end){.read_fd = to_client[0], .write_fd = to_server[1]};
    *server = (struct net_end){.read_fd = to_server[0], .write_fd = to_client[1]};
    return 0;
}

const struct transport_ops transport_pipe = {
    .scheme = "pipe",
    .form = "pipe:",
    .help = "two pipes, one each way, to a server that sonde starts",
    .caps = TRANSPORT_PAIRS,
    .parse = pipe_parse,
    .tune = pipe_tune,
    .pair = pipe_pair,
};
