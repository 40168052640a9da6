/* The socket of a connection that a worker dials: made by its transport, counted like the engine's
 * calls. */
#include <errno.h>

#include "run/worker_state.h"

int worker_open_socket(struct worker *worker, const struct dial *dial)
{
    static const enum engine_call names[NET_CALL_KINDS] = {
        [NET_SOCKET] = CALL_SOCKET,
        [NET_BIND] = CALL_BIND,
        [NET_SETSOCKOPT] = CALL_SETSOCKOPT,
        [NET_GETSOCKOPT] = CALL_GETSOCKOPT,
    };
    struct net_calls calls = {0};
    struct net_tuning tuning = worker->config->tuning;
    tuning.calls = &calls;
    tuning.source = dial->source;
    tuning.source_length = dial->source ? address_source_length(dial->source) : 0;
    int fd = dial->address->transport->open(dial->address, &tuning, &worker->failure);
    for (enum net_call call = 0; call < NET_CALL_KINDS; call++) {
        for (uint32_t i = 0; i < calls.made[call]; i++) {
            bool failed = fd < 0 && call == calls.last && i + 1 == calls.made[call];
            errno = worker->failure.number;
            call_counted(worker->engine->calls, names[call], failed ? -1 : 0, false);
        }
    }
    return fd;
}
