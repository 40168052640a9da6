/* sonde's transfers (src/transfer) in the frame of the bare loop: what a method's own loop costs,
 * without anything around it. */
#include "bare_ipc.h"

#include "transfer/transfer.h"

struct loop_end {
    struct transfer_end *transfer;
    struct transfer_counts counts;
    bool sender;
};

static _Noreturn void fail(const struct err *error)
{
    fprintf(stderr, "%s: %s%s%s\n", error->subject, error->what, error->hint[0] ? ": " : "",
            error->hint);
    exit(1);
}

static const struct transport_ops *transport_of(const char *name)
{
    for (size_t i = 0; transports[i]; i++) {
        if (strcmp(transports[i]->scheme, name) == 0) {
            return transports[i];
        }
    }
    fprintf(stderr, "%s: no transport\n", name);
    exit(2);
}

static void *end_open(const struct ipc_options *options, int fd, bool sender)
{
    struct transfer_config config = {.transport = transport_of(options->transport),
                                     .fd = fd,
                                     .buffer_bytes = options->buffer_bytes,
                                     .verify = options->verify};
    const struct method_ops *method = method_find(options->method);
    struct loop_end *end = calloc(1, sizeof *end);
    struct err error = {0};
    if (!end || !method) {
        bare_die(options->method);
    }
    end->sender = sender;
    if (method->open(&end->transfer, sender, &config, &end->counts, &error) < 0) {
        fail(&error);
    }
    return end;
}

static void end_run(void *end, uint64_t bytes)
{
    struct loop_end *loop = end;
    const struct method_ops *method = loop->transfer->ops;
    struct err error = {0};
    if ((loop->sender ? method->send : method->receive)(loop->transfer, bytes, &error) < 0) {
        fail(&error);
    }
}

static void end_close(void *end)
{
    struct loop_end *loop = end;
    loop->transfer->ops->close(loop->transfer);
    free(loop);
}

int main(int argc, char **argv)
{
    return ipc_main(argc, argv);
}
