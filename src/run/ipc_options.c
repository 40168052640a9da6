/* Options of `sonde ipc`, and what they may not be. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "run/ipc_state.h"
#include "run/limits.h"

static const char *const transports_of_ipc[] = {"pipe", "local", "tcp", "unix", NULL};
const char *const ipc_mode_names[] = {"1thread", "2thread", "2proc", NULL};

#define IPC struct ipc_options

const struct opt ipc_option_rows[IPC_OPTIONS] = {
    OPT_CHOICE(IPC, transport, .name = "transport", .letter = 'i', .choices = transports_of_ipc,
               .initial = "pipe", .argument = "WHAT",
               .help = "pipe, local (a socket pair), tcp (loopback) or unix (a socket by name)"),
    OPT_SIZE(IPC, buffer_bytes, .name = "buffer", .letter = 'b', .initial = "128k", .least = 1,
             .most = UINT64_C(1) << 40, .argument = "SIZE",
             .help = "buffer of each end, and what one write is given"),
    OPT_SIZE(IPC, total_bytes, .name = "total", .letter = 'T', .initial = "16m", .least = 1,
             .most = UINT64_C(1) << 50, .argument = "SIZE", .help = "bytes of one transfer"),
    OPT_BOOL(IPC, socket_buffers, .name = "socket-buffers", .letter = 's',
             .help = "set SO_SNDBUF and SO_RCVBUF to the size of the buffer"),
    OPT_SIZE(IPC, pipe_size_bytes, .name = "pipe-size", .initial = "0", .most = UINT64_C(1) << 31,
             .argument = "SIZE", .help = "capacity of the pipe (0: the kernel's default, 64k)"),
    OPT_LIST(IPC, methods, .name = "method", .choices = method_names, .initial = "copy",
             .argument = "LIST",
             .help = "kernel interface that moves the bytes; several: a run with each"),
    OPT_LIST(IPC, cpus, .name = "cpu", .argument = "LIST",
             .help = "CPU of the sender and of the receiver: 0,1; one for both (default: the "
                     "scheduler's choice)"),
    OPT_BOOL(IPC, prepare, .name = "prepare",
             .help = "before a run write the file systems' caches out and wait a second"),
    OPT_BOOL(IPC, verify, .name = "verify",
             .help = "the receiver compares every byte with what was sent"),
    OPT_COUNT(IPC, port, .name = "port", .letter = 'p', .initial = "0", .most = 65535,
              .argument = "N", .help = "TCP port (0: any that is free)"),
    OPT_TEXT(IPC, congestion, .name = "congestion", .argument = "NAME",
             .help = "TCP congestion control, such as cubic (default: the kernel's)"),
    OPT_COUNT(IPC, transfers, .name = "count", .letter = 'n', .initial = "0", .argument = "N",
              .help = "measure so many transfers (0: by --duration)"),
    OPT_DURATION(IPC, duration_ns, .name = "duration", .letter = 'd', .initial = "1s",
                 .least = NS_PER_MS, .most = 366 * 24 * 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "measure transfers, one after the other, for so long; at least one"),
    OPT_DURATION(IPC, warmup_ns, .name = "warmup", .letter = 'w', .initial = "100ms",
                 .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "discard the transfers of so long first, at least one (0: none)"),
};

int ipc_mode_parse(const char *text, enum ipc_mode *mode, struct err *error)
{
    size_t count = 0;
    for (; ipc_mode_names[count]; count++) {
        if (strcmp(ipc_mode_names[count], text) == 0) {
            *mode = (enum ipc_mode)count;
            return 0;
        }
    }
    const char *nearest = opt_nearest(text, ipc_mode_names, count);
    err_set(error, ERR_USAGE, text, "no such mode");
    return nearest ? err_hint(error, "did you mean %s?", nearest)
                   : err_hint(error, "accepts 1thread, 2thread, 2proc");
}

static int check_transport(const struct ipc_options *options, struct err *error)
{
    if (options->socket_buffers && options->transport == IPC_PIPE) {
        err_set(error, ERR_USAGE, "--socket-buffers", "a pipe has none");
        return err_hint(error, "--pipe-size sets its capacity, or take --transport local");
    }
    if (options->socket_buffers && options->buffer_bytes > INT32_MAX) {
        return err_set(error, ERR_USAGE, "--socket-buffers",
                       "a socket's buffer is below 2 GiB, which --buffer is not");
    }
    if (options->pipe_size_bytes && options->transport != IPC_PIPE) {
        err_set(error, ERR_USAGE, "--pipe-size", "--transport %s is no pipe",
                transports_of_ipc[options->transport]);
        return err_hint(error, "--socket-buffers sets a socket's");
    }
    if ((options->congestion || options->port) && options->transport != IPC_TCP) {
        return err_set(error, ERR_USAGE, options->port ? "--port" : "--congestion",
                       "only --transport tcp has one");
    }
    return 0;
}

static int check_cpus(const struct ipc_options *options, struct err *error)
{
    cpu_set_t allowed;
    if (options->cpus.count > 2) {
        return err_set(error, ERR_USAGE, "--cpu", "takes one CPU or two, not %zu",
                       options->cpus.count);
    }
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        CPU_ZERO(&allowed);
    }
    for (size_t i = 0; i < options->cpus.count; i++) {
        uint64_t cpu;
        if (units_parse_count(options->cpus.items[i], &cpu) != 0 || cpu >= CPU_SETSIZE ||
            !CPU_ISSET(cpu, &allowed)) {
            err_set(error, ERR_USAGE, "--cpu", "\"%s\" is no CPU that sonde may use",
                    options->cpus.items[i]);
            return err_hint(error, "%d are allowed here, numbered from 0 on", CPU_COUNT(&allowed));
        }
    }
    return 0;
}

int ipc_cpu(const struct ipc_options *options, bool sender)
{
    uint64_t cpu;
    size_t index = sender || options->cpus.count < 2 ? 0 : 1;
    if (options->cpus.count == 0 || units_parse_count(options->cpus.items[index], &cpu) != 0) {
        return -1;
    }
    return (int)cpu;
}

/* A method that serves another transport here is asked for wrongly; else it is the machine. */
static bool serves_any(const struct method_ops *method)
{
    char reason[160];
    for (size_t i = 0; transports_of_ipc[i]; i++) {
        if (method->why_not(ipc_transports[i], reason, sizeof reason) == 0) {
            return true;
        }
    }
    return false;
}

static int check_methods(const struct ipc_options *options, enum ipc_mode mode, struct err *error)
{
    for (size_t i = 0; i < options->methods.count; i++) {
        const struct method_ops *method = method_find(options->methods.items[i]);
        char reason[160] = "";
        for (size_t k = 0; k < i; k++) {
            if (strcmp(options->methods.items[k], options->methods.items[i]) == 0) {
                return err_set(error, ERR_USAGE, "--method", "%s stands twice",
                               options->methods.items[i]);
            }
        }
        if (!method) {
            return err_set(error, ERR_USAGE, "--method", "\"%s\" is no method",
                           options->methods.items[i]);
        }
        if (mode == IPC_1THREAD && !(method->flags & METHOD_SOME)) {
            err_set(error, ERR_USAGE, "--method", "%s waits for the other end, which 1thread is",
                    method->name);
            return err_hint(error, "take 2thread or 2proc");
        }
        if (options->verify && !(method->flags & METHOD_VERIFY)) {
            return err_set(error, ERR_USAGE, "--verify", "the receiver of %s never sees the bytes",
                           method->name);
        }
        if (method->why_not(ipc_transports[options->transport], reason, sizeof reason) != 0) {
            return err_set(error, serves_any(method) ? ERR_USAGE : ERR_UNSUPPORTED, "--method",
                           "%s cannot serve %s: %s", method->name,
                           transports_of_ipc[options->transport], reason);
        }
    }
    return 0;
}

int ipc_check(const struct ipc_options *options, enum ipc_mode mode, struct err *error)
{
    struct limits_need need = {.files = 8, .threads = 2};
    if (check_transport(options, error) != 0 || check_cpus(options, error) != 0 ||
        check_methods(options, mode, error) != 0) {
        return -1;
    }
    uint64_t buffers = options->methods.count ? 0 : 2;
    for (size_t i = 0; i < options->methods.count; i++) {
        const struct method_ops *method = method_find(options->methods.items[i]);
        buffers = method->buffers > buffers ? method->buffers : buffers;
    }
    /* Verifying, the receiver has one more: what it expects. */
    need.memory_bytes = (buffers + options->verify) * options->buffer_bytes;
    if (limits_check(&need, NULL, error) < 0) {
        return err_hint(error, "both ends have a buffer: a smaller --buffer");
    }
    return 0;
}
