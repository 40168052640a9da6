/* Blocks through a pipe or a socket, written and read by hand: blocking writes of one buffer, reads
 * that fill one. What `sonde ipc` with --method copy is held against. */
#include "bare_ipc.h"

struct bare_end {
    uint8_t *buffer;
    uint64_t buffer_bytes;
    int fd;
    bool sender;
};

static void *end_open(const struct ipc_options *options, int fd, bool sender)
{
    struct bare_end *end = malloc(sizeof *end);
    if (!end) {
        bare_die("malloc");
    }
    *end = (struct bare_end){.buffer = mmap(NULL, options->buffer_bytes, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                             .buffer_bytes = options->buffer_bytes,
                             .fd = fd,
                             .sender = sender};
    if (end->buffer == MAP_FAILED) {
        bare_die("mmap");
    }
    memset(end->buffer, 0x5a, options->buffer_bytes);
    return end;
}

static void send_blocks(const struct bare_end *end, uint64_t left)
{
    uint64_t at = 0;
    while (left > 0) {
        uint64_t asked = end->buffer_bytes - at < left ? end->buffer_bytes - at : left;
        ssize_t sent = write(end->fd, end->buffer + at, asked);
        if (sent < 0) {
            bare_die("write");
        }
        left -= (uint64_t)sent;
        at += (uint64_t)sent;
        if (at == end->buffer_bytes) {
            at = 0;
        }
    }
}

static void receive_blocks(const struct bare_end *end, uint64_t left)
{
    uint64_t at = 0;
    while (left > 0) {
        uint64_t asked = end->buffer_bytes - at < left ? end->buffer_bytes - at : left;
        ssize_t received = read(end->fd, end->buffer + at, asked);
        if (received <= 0) {
            bare_die("read");
        }
        left -= (uint64_t)received;
        at += (uint64_t)received;
        if (at == end->buffer_bytes) {
            at = 0;
        }
    }
}

static void end_run(void *end, uint64_t bytes)
{
    const struct bare_end *bare = end;
    if (bare->sender) {
        send_blocks(bare, bytes);
    } else {
        receive_blocks(bare, bytes);
    }
}

static void end_close(void *end)
{
    struct bare_end *bare = end;
    munmap(bare->buffer, bare->buffer_bytes);
    free(bare);
}

int main(int argc, char **argv)
{
    return ipc_main(argc, argv);
}
