#include "workload/stream_payload.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

size_t stream_payload_memory(size_t bytes)
{
    return bytes + STREAM_PATTERN_PERIOD;
}

static size_t room_of(const struct stream_payload *payload)
{
    return stream_payload_memory(payload->bytes);
}

/* -1 with errno. */
static int open_file(struct stream_payload *payload)
{
    int fd = memfd_create("sonde-payload", MFD_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    void *mapped = MAP_FAILED;
    if (ftruncate(fd, (off_t)room_of(payload)) == 0) {
        mapped = mmap(NULL, room_of(payload), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (mapped == MAP_FAILED) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    payload->pattern = mapped;
    payload->file = (struct op_file){.fd = fd, .mapped = mapped};
    return 0;
}

int stream_payload_open(struct stream_payload *payload, size_t bytes, bool in_file,
                        struct err *error)
{
    *payload = (struct stream_payload){.bytes = bytes, .file.fd = -1};
    if (in_file) {
        if (open_file(payload) < 0) {
            return err_system(error, errno, "stream", "cannot make a file of %zu bytes in memory",
                              bytes);
        }
    } else {
        payload->pattern = malloc(room_of(payload));
    }
    if (!payload->pattern) {
        return err_system(error, ENOMEM, "stream", "cannot make %zu bytes of payload", bytes);
    }
    for (size_t i = 0; i < room_of(payload); i++) {
        payload->pattern[i] = (uint8_t)(i % STREAM_PATTERN_PERIOD);
    }
    return 0;
}

void stream_payload_close(struct stream_payload *payload)
{
    if (payload->file.fd >= 0) {
        munmap(payload->pattern, room_of(payload));
        close(payload->file.fd);
    } else {
        free(payload->pattern);
    }
    *payload = (struct stream_payload){.file.fd = -1};
}
