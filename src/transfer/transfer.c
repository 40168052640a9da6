#include "transfer/transfer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define X(name) &method_##name,
const struct method_ops *const methods[] = {METHODS(X) NULL};
#undef X

#define X(name) #name,
const char *const method_names[] = {METHODS(X) NULL};
#undef X

const struct method_ops *method_find(const char *name)
{
    for (size_t i = 0; methods[i]; i++) {
        if (strcmp(methods[i]->name, name) == 0) {
            return methods[i];
        }
    }
    return NULL;
}

/* How often a wait for nothing looks whether it is to be left. */
#define LOOK_S 1

/* Waits until an end can go on, or a while. An end with nothing left is not looked
 * at. A hang-up wakes too: the next call says what it is. */
static int wait_for_either(const struct transfer_end *sender, bool sends,
                           struct transfer_end *receiver, struct err *error)
{
    struct pollfd files[2] = {
        {.fd = sends ? sender->config.fd : -1, .events = POLLOUT},
        {.fd = receiver->config.fd, .events = POLLIN},
    };
    receiver->counts->waits++;
    const struct timespec look = {.tv_sec = LOOK_S};
    int ready = ppoll(files, 2, &look, NULL);
    call_counted(&receiver->counts->calls, CALL_PPOLL, ready, false);
    if (ready < 0 && errno != EINTR) {
        return err_system(error, errno, receiver->config.transport->scheme, "waiting failed");
    }
    return 0;
}

int transfer_both(struct transfer_end *sender, struct transfer_end *receiver, uint64_t bytes,
                  const _Atomic uint32_t *stop, struct err *error)
{
    uint64_t sent = 0, received = 0;
    while (received < bytes) {
        ssize_t out = 0;
        if (stop && atomic_load_explicit(stop, memory_order_relaxed)) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted in a transfer");
        }
        if (sent < bytes) {
            out = sender->ops->send_some(sender, bytes - sent, error);
            if (out < 0) {
                return -1;
            }
            sent += (uint64_t)out;
        }
        ssize_t in = receiver->ops->receive_some(receiver, bytes - received, error);
        if (in < 0) {
            return -1;
        }
        received += (uint64_t)in;
        if (in == 0 && out == 0 && wait_for_either(sender, sent < bytes, receiver, error) < 0) {
            return -1;
        }
    }
    return 0;
}
