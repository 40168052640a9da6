/* One call of one byte in flight on each connection, through io_uring: all sends and receives of a
 * round and the wait in one io_uring_enter; receives into a provided buffer ring. Single-shot
 * receives (-f: POLL_FIRST) or multishot (-m). */
#include <liburing.h>
#include <sys/mman.h>

#include "bare.h"

#define BUFFER_BYTES (64 * 1024)
#define BUFFER_STRIDE (BUFFER_BYTES + 64)
#define SEND UINT64_C(1) /* in user_data: a send; connections are aligned to 8 */

struct connection {
    int fd;
    uint64_t sent_ns;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static uint8_t *buffers;
static unsigned buffer_count = 16;
static struct bare_options options;

static struct io_uring_sqe *entry_for(uint64_t user_data)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    if (!entry) {
        bare_die("submission queue full");
    }
    entry->user_data = user_data;
    return entry;
}

static void give(unsigned buffer)
{
    io_uring_buf_ring_add(buffer_ring, buffers + (size_t)buffer * BUFFER_STRIDE, BUFFER_BYTES,
                          (unsigned short)buffer, io_uring_buf_ring_mask(buffer_count), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
}

static void receive(struct connection *connection)
{
    struct io_uring_sqe *entry = entry_for(0);
    if (options.multishot) {
        io_uring_prep_recv_multishot(entry, connection->fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv(entry, connection->fd, NULL, 0, 0);
        entry->ioprio |= options.poll_first ? IORING_RECVSEND_POLL_FIRST : 0;
    }
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->user_data = (uintptr_t)connection;
}

static void call(struct connection *connection)
{
    static const uint8_t byte = 'x';
    struct io_uring_sqe *entry = entry_for(0);
    connection->sent_ns = bare_now();
    io_uring_prep_send(entry, connection->fd, &byte, 1,
                       MSG_NOSIGNAL | MSG_WAITALL | (options.quiet ? MSG_DONTWAIT : 0));
    /* A quiet send completes as it is submitted and tells only of failure, so that the wait in the
     * same entry is for an answer. */
    entry->flags |= options.quiet ? IOSQE_CQE_SKIP_SUCCESS : 0;
    entry->user_data = (uintptr_t)connection | SEND;
}

static void completed(const struct io_uring_cqe *entry, struct bare_count *count)
{
    struct connection *connection = (struct connection *)(uintptr_t)(entry->user_data & ~SEND);
    if (entry->res != 1 && entry->res != -ENOBUFS) {
        errno = -entry->res;
        bare_die(entry->user_data & SEND ? "send" : "recv");
    }
    if (entry->user_data & SEND) {
        return;
    }
    if (entry->res == 1) {
        bare_record(bare_now() - connection->sent_ns);
        count->calls++;
        call(connection);
        give(entry->flags >> IORING_CQE_BUFFER_SHIFT);
    }
    if (!(entry->flags & IORING_CQE_F_MORE)) {
        receive(connection);
    }
}

static struct bare_count run(uint64_t until_ns, struct bare_count count)
{
    for (uint64_t now = bare_now(); now < until_ns; now = bare_now()) {
        struct timespec left = bare_left(until_ns, now);
        struct __kernel_timespec wait = {left.tv_sec, left.tv_nsec};
        struct io_uring_cqe *entry;
        unsigned head, seen = 0;
        int result = io_uring_submit_and_wait_timeout(&ring, &entry, 1, &wait, NULL);
        count.kernel_calls++;
        if (result < 0 && result != -ETIME && result != -EINTR) {
            errno = -result;
            bare_die("io_uring_enter");
        }
        io_uring_for_each_cqe(&ring, head, entry)
        {
            completed(entry, &count);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
    return count;
}

static void set_up(void)
{
    struct io_uring_params parameters = {.flags = IORING_SETUP_DEFER_TASKRUN |
                                                  IORING_SETUP_SINGLE_ISSUER |
                                                  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP};
    int result = io_uring_queue_init_params(4 * options.connections + 8, &ring, &parameters);
    while (buffer_count < options.connections && buffer_count < 32768) {
        buffer_count *= 2;
    }
    size_t ring_bytes = buffer_count * sizeof(struct io_uring_buf);
    buffer_ring =
        mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buffers = mmap(NULL, (size_t)buffer_count * BUFFER_STRIDE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)buffer_ring,
                                            .ring_entries = buffer_count};
    if (result < 0 || buffer_ring == MAP_FAILED || buffers == MAP_FAILED ||
        io_uring_register_buf_ring(&ring, &registration, 0) < 0) {
        bare_die("io_uring set-up");
    }
    io_uring_register_ring_fd(&ring);
    for (unsigned i = 0; i < buffer_count; i++) {
        give(i);
    }
}

int main(int argc, char **argv)
{
    options = bare_parse(argc, argv);
    struct connection *connections = calloc(options.connections, sizeof *connections);
    struct bare_count count = {0};
    if (!connections) {
        bare_die("calloc");
    }
    set_up();
    for (unsigned i = 0; i < options.connections; i++) {
        connections[i].fd = bare_connect(&options);
        call(&connections[i]);
        receive(&connections[i]);
    }
    run(bare_now() + BARE_WARMUP_NS, count);
    count = bare_start();
    count = run(count.start_ns + (uint64_t)(options.seconds * 1e9), count);
    bare_print(options.multishot    ? "bare_call_uring_multishot"
               : options.poll_first ? "bare_call_uring_poll_first"
                                    : "bare_call_uring_single",
               &count);
    return 0;
}
