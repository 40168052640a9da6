/* A process to be observed, with known system calls. Built by test_observe.py.
 *   observed calls N    waits for a line on standard input, then makes N getppid calls
 *   observed signal     one pause(), interrupted by a timer
 *   observed uring N    N asynchronous writes of 4096 bytes by worker threads, and N NOPs, on a
 * ring whose completions run in the submitting thread observed multishot  100 messages of 1000
 * bytes through a multishot receive observed moves      known results: readv, sendto, sendmmsg,
 * splice, failed calls */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef WITH_URING
#include <liburing.h>
#endif

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int calls(long count)
{
    char line[16];
    if (!fgets(line, sizeof line, stdin)) {
        return fail("fgets");
    }
    for (long i = 0; i < count; i++) {
        syscall(SYS_getppid);
    }
    return 0;
}

static void nothing(int number)
{
    (void)number;
}

static int interrupted(void)
{
    struct sigaction action = {.sa_handler = nothing};
    struct itimerval timer = {.it_value = {.tv_usec = 100000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    pause();
    return 0;
}

static int moves(void)
{
    static char data[4096];
    struct iovec parts[2] = {{data, 1000}, {data, 500}};
    struct mmsghdr messages[3] = {0};
    int zero = open("/dev/zero", O_RDONLY), pair[2], pipes[2];
    if (zero < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || pipe(pipes)) {
        return fail("open");
    }
    for (int i = 0; i < 10; i++) {
        if (readv(zero, parts, 2) != 1500 || send(pair[0], data, 700, 0) != 700 ||
            recv(pair[1], data, sizeof data, 0) != 700) {
            return fail("move");
        }
        if (recv(pair[1], data, 1, MSG_DONTWAIT) != -1 || close(-1) != -1) {
            return fail("an error was expected");
        }
    }
    for (int i = 0; i < 3; i++) {
        messages[i].msg_hdr.msg_iov = parts;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    if (sendmmsg(pair[0], messages, 3, 0) != 3 || write(pipes[1], data, 4000) != 4000) {
        return fail("sendmmsg");
    }
    int null = open("/dev/null", O_WRONLY);
    return splice(pipes[0], NULL, null, NULL, 4000, 0) == 4000 ? 0 : fail("splice");
}

#ifdef WITH_URING
static int finish(struct io_uring *ring, int count)
{
    for (int i = 0; i < count; i++) {
        struct io_uring_cqe *completion;
        if (io_uring_wait_cqe(ring, &completion) || completion->res < 0) {
            return fail("completion");
        }
        io_uring_cqe_seen(ring, completion);
    }
    return 0;
}

static int operations(int count)
{
    static char data[4096];
    char path[] = "/tmp/observed.XXXXXX";
    struct io_uring ring;
    struct io_uring_params parameters = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                                  IORING_SETUP_DEFER_TASKRUN};
    int file = mkstemp(path);
    if (file < 0 || unlink(path) || io_uring_queue_init_params(64, &ring, &parameters)) {
        return fail("ring");
    }
    for (int i = 0; i < count; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        io_uring_prep_write(entry, file, data, sizeof data, 0);
        entry->flags |= IOSQE_ASYNC;
        io_uring_prep_nop(io_uring_get_sqe(&ring));
        if (io_uring_submit(&ring) != 2 || finish(&ring, 2)) {
            return fail("submit");
        }
    }
    io_uring_queue_exit(&ring);
    return 0;
}

static int multishot(void)
{
    static char data[1000], buffers[128][2048];
    struct io_uring ring;
    struct io_uring_cqe *completion;
    int pair[2], received = 0;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || io_uring_queue_init(64, &ring, 0)) {
        return fail("ring");
    }
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_provide_buffers(entry, buffers, 2048, 128, 1, 0);
    if (io_uring_submit(&ring) != 1 || finish(&ring, 1)) {
        return fail("buffers");
    }
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_recv_multishot(entry, pair[1], NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = 1;
    if (io_uring_submit(&ring) != 1) {
        return fail("submit");
    }
    for (int i = 0; i < 100; i++) {
        if (send(pair[0], data, sizeof data, 0) != sizeof data ||
            io_uring_wait_cqe(&ring, &completion) || completion->res != sizeof data) {
            return fail("receive");
        }
        received += completion->res;
        io_uring_cqe_seen(&ring, completion);
    }
    io_uring_queue_exit(&ring);
    return received == 100 * (int)sizeof data ? 0 : 1;
}
#endif

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    int count = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "calls")) {
        return calls(count);
    }
    if (!strcmp(what, "signal")) {
        return interrupted();
    }
    if (!strcmp(what, "moves")) {
        return moves();
    }
#ifdef WITH_URING
    if (!strcmp(what, "uring")) {
        return operations(count);
    }
    if (!strcmp(what, "multishot")) {
        return multishot();
    }
#endif
    fprintf(stderr, "observed: not built for '%s'\n", what);
    return 2;
}
