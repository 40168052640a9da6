#if SONDE_HAVE_URING

#include "engine/uring_setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/uring_buffers.h"

#define SQ_ENTRIES_MIN 64
#define SQ_ENTRIES_MAX 4096
#define CQ_ENTRIES_MIN 1024

/* DEFER_TASKRUN: completions are worked off when this thread enters to wait, not by interrupting
 * it. It needs SINGLE_ISSUER, and came (Linux 6.1) after multishot accept and receive (6.0). */
#define SETUP_FLAGS                                                                                \
    (IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL |           \
     IORING_SETUP_CQSIZE)

uint32_t uring_power_of_two(uint64_t wanted, uint32_t least, uint32_t most)
{
    uint32_t power = least;
    while (power < wanted && power < most) {
        power *= 2;
    }
    return power;
}

int uring_open(struct io_uring *ring, uint32_t channels)
{
    /* A send and a receive of each channel, and all of their completions, fit at once. */
    uint32_t entries = uring_power_of_two(2 * (uint64_t)channels, SQ_ENTRIES_MIN, SQ_ENTRIES_MAX);
    struct io_uring_params parameters = {
        .flags = SETUP_FLAGS,
        .cq_entries = entries * 2 > CQ_ENTRIES_MIN ? entries * 2 : CQ_ENTRIES_MIN,
    };
    int result = io_uring_queue_init_params(entries, ring, &parameters);
    if (result < 0) {
        return result;
    }
    /* Saves the look-up of the ring's file at every entry; where it fails, that is all. */
    io_uring_register_ring_fd(ring);
    return 0;
}

/* kernel.io_uring_disabled (Linux 6.6): 0 where absent. */
static int disabled_by_sysctl(void)
{
    int value = 0;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file) {
        if (fscanf(file, "%d", &value) != 1) {
            value = 0;
        }
        fclose(file);
    }
    return value;
}

const char *uring_explain(int number)
{
    switch (number) {
    case ENOSYS:
        return "this kernel has no io_uring, or a seccomp filter hides it (Linux 6.1 or newer with "
               "CONFIG_IO_URING is needed)";
    case EPERM:
    case EACCES:
        return disabled_by_sysctl()
                   ? "kernel.io_uring_disabled forbids it (sysctl kernel.io_uring_disabled=0)"
                   : "a seccomp filter or security policy forbids it (container profiles often do)";
    case EINVAL:
        return "this kernel's io_uring is too old: deferred task work is missing (Linux 6.1)";
    case ENOMEM:
        return "not enough memory that may be locked (ulimit -l)";
    case EMFILE:
    case ENFILE:
        return "too many open files (ulimit -n)";
    default:
        return "see the error";
    }
}

int uring_why_not(char *reason, size_t size)
{
    struct io_uring ring;
    int result = uring_open(&ring, 1);
    const char *what = "io_uring_setup";
    if (result == 0) {
        struct uring_buffers buffers;
        struct err error = {0};
        if (uring_buffers_open(&buffers, &ring, URING_BUFFER_GROUP, 1, 1, sizeof(uint64_t),
                               &error) < 0) {
            result = -error.number;
            what = "a buffer ring";
        }
        io_uring_queue_exit(&ring);
        uring_buffers_close(&buffers);
    }
    if (result < 0) {
        snprintf(reason, size, "%s: %s: %s", what, strerror(-result), uring_explain(-result));
        return -1;
    }
    return 0;
}

#else

/* An empty translation unit is no valid C. */
typedef int uring_setup_is_absent;

#endif
