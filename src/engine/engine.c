#include "engine/engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define X(name) &engine_##name,
const struct engine_ops *const engines[] = {ENGINES(X) NULL};
#undef X

#define X(name) #name,
const char *const engine_names[] = {ENGINES(X) NULL};
#undef X

const struct engine_ops *engine_find(const char *name)
{
    for (size_t i = 0; engines[i]; i++) {
        if (strcmp(engines[i]->name, name) == 0) {
            return engines[i];
        }
    }
    return NULL;
}

const char *engine_call_name(enum engine_call call)
{
    static const char *const names[CALL_KINDS] = {
#define X(name, text) text,
        ENGINE_CALLS(X)
#undef X
    };
    return names[call];
}

ssize_t call_counted(struct call_table *table, enum engine_call call, ssize_t result, bool bytes)
{
    struct call_count *count = &table->of[call];
    count->calls++;
    if (__builtin_expect(result < 0, 0)) {
        if (errno == EAGAIN) {
            count->again++;
        } else {
            count->error = count->errors && count->error != errno ? CALL_ERRORS_DIFFER : errno;
            count->errors++;
        }
    } else if (bytes) {
        count->bytes += (uint64_t)result;
    }
    return result;
}

void engine_push(struct engine *engine, const struct channel *channel)
{
    int one = 1;
    int result = setsockopt(channel->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    call_counted(engine->calls, CALL_SETSOCKOPT, result, false);
}
