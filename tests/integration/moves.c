/* Threads that move known amounts, each by calls of its own kind. Built by test_sizes.py.
 *   moves threads  for each thread of `works`, what stands there, and what fails
 *   moves many N   N threads, one after the other, each with a write of 100 bytes
 *   moves blocked  says "ready" and waits in a read for bytes; then reads 300 bytes, 100 at a time
 *   moves uring    reads and writes of a ring, some of which fail
 *   moves exec     a thread that is not the first one replaces the program by `moves after` */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef WITH_URING
#include <liburing.h>
#endif

#define BIGGEST (1 << 20)

static void expect(long got, long wanted)
{
    if (got != wanted) {
        fprintf(stderr, "moves: %ld, not %ld: %s\n", got, wanted, strerror(errno));
        exit(1);
    }
}

static void open_pipe(int ends[2])
{
    expect(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, BIGGEST);
}

/* Both sides of every class limit up to a MiB. */
static void *powers(void *data)
{
    int ends[2];
    open_pipe(ends);
    for (long size = 1; size <= BIGGEST; size *= 2) {
        for (long by = -1; by <= 1; by++) {
            long bytes = size + by;
            if (bytes >= 1 && bytes <= BIGGEST) {
                expect(write(ends[1], data, (size_t)bytes), bytes);
                expect(read(ends[0], data, (size_t)bytes), bytes);
            }
        }
    }
    return NULL;
}

/* Calls that fail, and that return nothing. */
static void *failures(void *data)
{
    int ends[2], pair[2], null = open("/dev/null", O_RDWR);
    open_pipe(ends);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    expect(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    for (int i = 0; i < 17; i++) {
        expect(read(ends[0], data, 10), -1);               /* EAGAIN */
        expect(write(-1, data, 10), -1);                   /* EBADF */
        expect(recv(pair[0], data, 10, MSG_DONTWAIT), -1); /* EAGAIN */
        expect(pread(ends[0], data, 10, 0), -1);           /* ESPIPE */
        expect(read(null, data, 10), 0);
        expect(write(null, data, 0), 0);
    }
    return NULL;
}

/* The calls that are not read and write. */
static void *others(void *data)
{
    char path[] = "/tmp/moves.XXXXXX";
    int file = mkstemp(path), pair[2], ends[2], more[2], null = open("/dev/null", O_RDWR);
    struct iovec parts[2] = {{data, 3000}, {data, 700}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    expect(unlink(path), 0);
    expect(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    open_pipe(ends);
    open_pipe(more);
    for (int i = 0; i < 23; i++) {
        off_t from = 0;
        expect(pwrite(file, data, 5000, 0), 5000);
        expect(pread(file, data, 5000, 1000), 4000);
        expect(pwritev(file, parts, 2, 0), 3700);
        expect(preadv(file, parts, 2, 0), 3700);
        expect(writev(ends[1], parts, 2), 3700);
        expect(readv(ends[0], parts, 2), 3700);
        expect(sendmsg(pair[0], &message, 0), 3700);
        expect(recvmsg(pair[1], &message, 0), 3700);
        expect(send(pair[0], data, 0, 0), 0);
        expect(recv(pair[1], data, 10, 0), 0);
        expect(sendfile(null, file, &from, 5000), 5000);
        expect(vmsplice(ends[1], parts, 2, 0), 3700);
        expect(tee(ends[0], more[1], 3700, 0), 3700);
        expect(splice(ends[0], NULL, null, NULL, 3700, 0), 3700);
        expect(splice(more[0], NULL, null, NULL, 3700, 0), 3700);
    }
    return NULL;
}

static int threads(void)
{
    static void *(*const works[])(void *) = {powers, failures, others, powers};
    enum { WORKS = sizeof works / sizeof works[0] };
    pthread_t started[WORKS];
    for (int i = 0; i < WORKS; i++) {
        expect(pthread_create(&started[i], NULL, works[i], calloc(1, BIGGEST)), 0);
    }
    for (int i = 0; i < WORKS; i++) {
        pthread_join(started[i], NULL);
    }
    return 0;
}

static void *one_write(void *data)
{
    expect(write(*(int *)data, "", 1), 1);
    return NULL;
}

static int many(int count)
{
    int null = open("/dev/null", O_WRONLY);
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        expect(pthread_create(&thread, NULL, one_write, &null), 0);
        pthread_join(thread, NULL);
    }
    return 0;
}

static int blocked(void)
{
    char data[100];
    for (int i = 0; i < 4; i++) {
        if (read(0, data, sizeof data) <= 0) {
            return 1;
        }
    }
    return 0;
}

static void *replace(void *path)
{
    char byte;
    expect(read(open("/dev/zero", O_RDONLY), &byte, 1), 1);
    execl(path, path, "after", NULL);
    return NULL;
}

static int after(void)
{
    char data[64];
    expect(read(open("/dev/zero", O_RDONLY), data, sizeof data), sizeof data);
    return 0;
}

#ifdef WITH_URING
static void one(struct io_uring *ring, int wanted)
{
    struct io_uring_cqe *completion;
    expect(io_uring_submit_and_wait(ring, 1), 1);
    expect(io_uring_wait_cqe(ring, &completion), 0);
    expect(completion->res, wanted);
    io_uring_cqe_seen(ring, completion);
}

static int uring(void)
{
    static char data[5000];
    struct io_uring ring;
    int zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR);
    expect(io_uring_queue_init(8, &ring, 0), 0);
    for (int i = 0; i < 40; i++) {
        io_uring_prep_read(io_uring_get_sqe(&ring), zero, data, 5000, 0);
        one(&ring, 5000);
        io_uring_prep_read(io_uring_get_sqe(&ring), null, data, 10, 0);
        one(&ring, 0);
        io_uring_prep_read(io_uring_get_sqe(&ring), -1, data, 10, 0);
        one(&ring, -EBADF);
        io_uring_prep_write(io_uring_get_sqe(&ring), zero, data, 64, 0);
        one(&ring, 64);
        io_uring_prep_nop(io_uring_get_sqe(&ring));
        one(&ring, 0);
    }
    io_uring_queue_exit(&ring);
    return 0;
}
#endif

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    pthread_t thread;
    if (!strcmp(what, "threads")) {
        return threads();
    }
    if (!strcmp(what, "many")) {
        return many(argc > 2 ? atoi(argv[2]) : 0);
    }
    if (!strcmp(what, "blocked")) {
        return blocked();
    }
    if (!strcmp(what, "after")) {
        return after();
    }
    if (!strcmp(what, "exec")) {
        return pthread_create(&thread, NULL, replace, argv[0]) || pthread_join(thread, NULL);
    }
#ifdef WITH_URING
    if (!strcmp(what, "uring")) {
        return uring();
    }
#endif
    fprintf(stderr, "moves: not built for '%s'\n", what);
    return 2;
}
