/* Requests of HTTP through io_uring: one in flight on each connection, the next one sent when the
 * answer is whole. All sends and receives of a round and the wait are one io_uring_enter; receives
 * into a provided buffer ring, single-shot or (multishot) lasting; a send completes as it is
 * submitted and tells only of failure. */
#include <liburing.h>
#include <sys/mman.h>

#include "bare_http.h"

#define BUFFER_STRIDE (BARE_HTTP_BUFFER_BYTES + 64)
#define BUFFERS_MOST 1024
#define SEND UINT64_C(1) /* in user_data: a send; connections are aligned to 8 */

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static uint8_t *buffers;
static unsigned buffer_count = 16;
static struct bare_http http;

static void submit(const struct bare_http_connection *connection, uint64_t tag)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    if (!entry) {
        bare_die("submission queue full");
    }
    if (tag == SEND) {
        io_uring_prep_send(entry, connection->fd, http.request, http.request_bytes,
                           MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    } else {
        if (http.options.multishot) {
            io_uring_prep_recv_multishot(entry, connection->fd, NULL, 0, 0);
        } else {
            io_uring_prep_recv(entry, connection->fd, NULL, 0, 0);
        }
        entry->flags |= IOSQE_BUFFER_SELECT;
    }
    entry->user_data = (uintptr_t)connection | tag;
}

static void give(unsigned buffer)
{
    io_uring_buf_ring_add(buffer_ring, buffers + (size_t)buffer * BUFFER_STRIDE,
                          BARE_HTTP_BUFFER_BYTES, (unsigned short)buffer,
                          io_uring_buf_ring_mask(buffer_count), 0);
    io_uring_buf_ring_advance(buffer_ring, 1);
}

static void completed(const struct io_uring_cqe *entry)
{
    struct bare_http_connection *connection =
        (struct bare_http_connection *)(uintptr_t)(entry->user_data & ~SEND);
    if (entry->user_data & SEND || (entry->res <= 0 && entry->res != -ENOBUFS)) {
        errno = -entry->res;
        bare_die(entry->user_data & SEND ? "send" : "recv");
    }
    if (entry->res > 0) {
        if (bare_http_received(&http, connection, entry->res)) {
            submit(connection, SEND);
        }
        give(entry->flags >> IORING_CQE_BUFFER_SHIFT);
    }
    if (!(entry->flags & IORING_CQE_F_MORE)) {
        submit(connection, 0);
    }
}

static void run(uint64_t until_ns)
{
    for (uint64_t now = bare_now(); now < until_ns; now = bare_now()) {
        struct timespec left = bare_left(until_ns, now);
        struct __kernel_timespec wait = {left.tv_sec, left.tv_nsec};
        struct io_uring_cqe *entry;
        unsigned head, seen = 0;
        int result = io_uring_submit_and_wait_timeout(&ring, &entry, 1, &wait, NULL);
        http.count.kernel_calls++;
        if (result < 0 && result != -ETIME && result != -EINTR) {
            errno = -result;
            bare_die("io_uring_enter");
        }
        io_uring_for_each_cqe(&ring, head, entry)
        {
            completed(entry);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}

static void set_up(void)
{
    struct io_uring_params parameters = {.flags = IORING_SETUP_DEFER_TASKRUN |
                                                  IORING_SETUP_SINGLE_ISSUER |
                                                  IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP};
    int result = io_uring_queue_init_params(4 * http.options.connections + 8, &ring, &parameters);
    while (buffer_count < http.options.connections && buffer_count < BUFFERS_MOST) {
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
    bare_http_begin(&http, argc, argv);
    struct bare_http_connection *all = calloc(http.options.connections, sizeof *all);
    if (!all) {
        bare_die("calloc");
    }
    set_up();
    for (unsigned i = 0; i < http.options.connections; i++) {
        all[i].fd = bare_connect(&http.options);
    }
    http.count = bare_start();
    for (unsigned i = 0; i < http.options.connections; i++) {
        all[i].left = http.answer_bytes;
        all[i].sent_ns = bare_now();
        submit(&all[i], SEND);
        submit(&all[i], 0);
    }
    run(http.count.start_ns + (uint64_t)(http.options.seconds * 1e9));
    bare_print(http.options.multishot ? "bare_http_uring_multishot" : "bare_http_uring_single",
               &http.count);
    return 0;
}
