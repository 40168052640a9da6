/* io_uring operations by code (include/uapi/linux/io_uring.h, up to Linux 6.19): name, and whether
 * a positive result is a number of bytes. */
#include "probe/syscall_names.h"

#include <stdio.h>
#include <linux/types.h>

#include "probe/bpf/calls_shared.h"

struct operation {
    const char *name;
    bool moves_bytes;
};

static const struct operation operations[] = {
    {"NOP", false},
    {"READV", true},
    {"WRITEV", true},
    {"FSYNC", false},
    {"READ_FIXED", true},
    {"WRITE_FIXED", true},
    {"POLL_ADD", false},
    {"POLL_REMOVE", false},
    {"SYNC_FILE_RANGE", false},
    {"SENDMSG", true},
    {"RECVMSG", true},
    {"TIMEOUT", false},
    {"TIMEOUT_REMOVE", false},
    {"ACCEPT", false},
    {"ASYNC_CANCEL", false},
    {"LINK_TIMEOUT", false},
    {"CONNECT", false},
    {"FALLOCATE", false},
    {"OPENAT", false},
    {"CLOSE", false},
    {"FILES_UPDATE", false},
    {"STATX", false},
    {"READ", true},
    {"WRITE", true},
    {"FADVISE", false},
    {"MADVISE", false},
    {"SEND", true},
    {"RECV", true},
    {"OPENAT2", false},
    {"EPOLL_CTL", false},
    {"SPLICE", true},
    {"PROVIDE_BUFFERS", false},
    {"REMOVE_BUFFERS", false},
    {"TEE", true},
    {"SHUTDOWN", false},
    {"RENAMEAT", false},
    {"UNLINKAT", false},
    {"MKDIRAT", false},
    {"SYMLINKAT", false},
    {"LINKAT", false},
    {"MSG_RING", false},
    {"FSETXATTR", false},
    {"SETXATTR", false},
    {"FGETXATTR", false},
    {"GETXATTR", false},
    {"SOCKET", false},
    {"URING_CMD", false},
    {"SEND_ZC", true},
    {"SENDMSG_ZC", true},
    {"READ_MULTISHOT", true},
    {"WAITID", false},
    {"FUTEX_WAIT", false},
    {"FUTEX_WAKE", false},
    {"FUTEX_WAITV", false},
    {"FIXED_FD_INSTALL", false},
    {"FTRUNCATE", false},
    {"BIND", false},
    {"LISTEN", false},
    {"RECV_ZC", true},
    {"EPOLL_WAIT", false},
    {"READV_FIXED", true},
    {"WRITEV_FIXED", true},
    {"PIPE", false},
    {"NOP128", false},
    {"URING_CMD128", false},
};

#define OPERATION_COUNT (sizeof operations / sizeof operations[0])

const char *uring_name(uint32_t operation)
{
    return operation < OPERATION_COUNT ? operations[operation].name : NULL;
}

bool uring_moves_bytes(uint32_t operation)
{
    return operation < OPERATION_COUNT && operations[operation].moves_bytes;
}

const char *uring_label(uint32_t operation, char *storage, size_t size)
{
    if (operation == OPERATION_MULTISHOT) {
        return "multishot";
    }
    if (operation == OPERATION_NOTICE) {
        return "notification";
    }
    const char *name = uring_name(operation);
    if (name == NULL) {
        snprintf(storage, size, "OP_%u", operation);
        name = storage;
    }
    return name;
}
