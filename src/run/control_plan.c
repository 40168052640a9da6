#include "run/control_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "engine/engine.h"
#include "engine/message.h"
#include "run/limits.h"
#include "run/session.h"

/* Buffers that an engine of ENGINE_BUFFERS has at least. */
#define ENGINE_BUFFERS_LEAST 16
/* More threads than this serve no connection better, whoever asks for them. */
#define THREADS_MOST 256

static int no_memory(struct err *error)
{
    return err_system(error, ENOMEM, "memory", "cannot prepare a run");
}

/* The rows of a workload's sockets. */
static const struct opt *wire_rows_of(const struct workload *workload, size_t *count)
{
    *count = workload->bulk ? BULK_OPTIONS : WIRE_OPTIONS;
    return workload->bulk ? bulk_wire_rows : wire_rows;
}

/* ---- at the server ---- */

static int find_parts(struct control_plan *plan, const struct control_message *message,
                      struct err *error)
{
    char reason[160] = "";
    struct err ignored;
    bool datagrams = strcmp(message->transport, transport_udp.scheme) == 0;
    plan->transport = datagrams ? &transport_udp : &transport_tcp;
    const struct address through = {.transport = plan->transport, .text = "sonde://"};
    /* Of streams and of datagrams there may be two of the same name. */
    for (size_t i = 0; workloads[i]; i++) {
        bool fits =
            plan->workload && workload_check_transport(plan->workload, &through, &ignored) == 0;
        if (!fits && !workloads[i]->own_protocol &&
            strcmp(workloads[i]->name, message->workload) == 0) {
            plan->workload = workloads[i];
        }
    }
    for (size_t i = 0; engines[i] && !plan->engine; i++) {
        if (strcmp(engines[i]->name, message->engine) == 0) {
            plan->engine = engines[i];
        }
    }
    if (!plan->workload) {
        return err_set(error, ERR_UNSUPPORTED, message->workload,
                       "the server has no such workload");
    }
    if (!plan->engine || plan->engine->flags & ENGINE_NO_KERNEL) {
        return err_set(error, ERR_UNSUPPORTED, message->engine,
                       "the server has no such engine that serves");
    }
    if (plan->engine->why_not(reason, sizeof reason) < 0) {
        err_set(error, ERR_UNSUPPORTED, message->engine, "cannot serve there: %s", reason);
        return err_hint(error, "--server-engine names another one");
    }
    if (workload_check_transport(plan->workload, &through, error) < 0) {
        return -1;
    }
    if (strcmp(message->transport, plan->transport->scheme) != 0) {
        return err_set(error, ERR_UNSUPPORTED, message->transport,
                       "the server takes no data connections through it");
    }
    if (message->threads > THREADS_MOST) {
        return err_set(error, ERR_LIMIT, "--server-threads", "at most %d", THREADS_MOST);
    }
    return 0;
}

static int set_all(struct opt_set *sets, size_t count, json_t *values, struct err *error)
{
    const char *name;
    json_t *value;
    json_object_foreach(values, name, value)
    {
        if (opt_set_text(sets, count, name, json_string_value(value), error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Which rows of the observation a client may set here: whom to observe, it may not. */
static int set_watch(struct control_plan *plan, struct opt_set *sets, json_t *watch,
                     struct err *error)
{
    if (json_object_get(watch, "observe")) {
        return err_set(error, ERR_USAGE, "--observe", "is not for the peer to choose");
    }
    if (set_all(sets, 1, watch, error) < 0) {
        return -1;
    }
    return plan->observe ? opt_set_text(sets, 1, "observe", "server", error) : 0;
}

/* Buffers that the workers receive into. */
static uint64_t receive_buffers(const struct control_plan *plan, uint64_t workers)
{
    bool datagrams = plan->transport->caps & TRANSPORT_DATAGRAMS;
    uint64_t each = datagrams ? MESSAGES_RECEIVED_AT_ONCE : 1;
    if (plan->engine->flags & ENGINE_BUFFERS) {
        uint64_t channels = (plan->connections + workers - 1) / workers;
        each = channels > ENGINE_BUFFERS_LEAST ? channels : ENGINE_BUFFERS_LEAST;
    }
    return workers * each;
}

/* What the server's process will keep, as far as the client chooses how much. */
static uint64_t memory_of(const struct control_plan *plan)
{
    const struct role *server = plan->workload->server;
    uint64_t workers = plan->engine->flags & ENGINE_ONE_CHANNEL ? plan->connections : plan->threads;
    uint64_t of_worker = server->worker_memory ? server->worker_memory(plan->options) : 0;
    return workers * of_worker + receive_buffers(plan, workers) * plan->wire.receive_bytes +
           plan->connections * server->connection_memory(plan->options);
}

static int reserve(struct control_plan *plan, _Atomic uint64_t *reserved_bytes, struct err *error)
{
    char most[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX], taken[UNITS_TEXT_MAX];
    uint64_t bytes = memory_of(plan);
    uint64_t before = atomic_fetch_add(reserved_bytes, bytes);
    plan->memory_bytes = bytes;
    plan->reserved_bytes = reserved_bytes;
    if (before + bytes <= LIMITS_SERVED_BYTES) {
        return 0;
    }
    err_set(error, ERR_LIMIT, "memory",
            "the server keeps at most %s for its clients: this needs %s, %s are in use",
            units_bytes(most, (double)LIMITS_SERVED_BYTES), units_bytes(wanted, (double)bytes),
            units_bytes(taken, (double)before));
    return err_hint(error, "smaller blocks, batches or --receive-buffer, or fewer "
                           "--server-threads");
}

int control_plan_read(struct control_plan *plan, const struct control_message *message,
                      _Atomic uint64_t *reserved_bytes, struct err *error)
{
    *plan = (struct control_plan){0};
    if (find_parts(plan, message, error) < 0) {
        return -1;
    }
    const struct workload *workload = plan->workload;
    plan->options = calloc(1, workload->options_bytes);
    if (!plan->options) {
        return no_memory(error);
    }
    plan->observe = message->observe;
    plan->connections = (uint32_t)message->connections;
    plan->threads = /* one without a connection would have nothing to do */
        (uint32_t)(message->threads < message->connections ? message->threads
                                                           : message->connections);
    plan->sets[0] = (struct opt_set){
        .rows = workload->options, .count = workload->option_count, .target = plan->options};
    plan->sets[1] =
        (struct opt_set){.rows = workload->server_options,
                         .count = workload->server_option_count,
                         .target = (char *)plan->options + workload->server_options_offset};
    plan->sets[2] = (struct opt_set){.target = &plan->wire};
    plan->sets[2].rows = wire_rows_of(workload, &plan->sets[2].count);
    plan->sets[3] =
        (struct opt_set){.rows = watch_rows, .count = WATCH_OPTIONS, .target = &plan->watch};
    plan->sets[4] = (struct opt_set){
        .rows = probe_option_rows, .count = PROBE_OPTIONS, .target = &plan->watch.probe};
    plan->set_count = CONTROL_PLAN_SETS;
    if (opt_defaults(plan->sets, plan->set_count, error) < 0 ||
        set_all(&plan->sets[0], 2, message->options, error) < 0 ||
        set_all(&plan->sets[2], 1, message->wire, error) < 0 ||
        set_watch(plan, &plan->sets[3], message->watch, error) < 0 ||
        set_all(&plan->sets[4], 1, message->probe, error) < 0) {
        return -1;
    }
    if (workload->check && workload->check(plan->options, plan->wire.receive_bytes, error) < 0) {
        return -1;
    }
    if (workload->fits &&
        workload->fits(plan->options, NULL, plan->engine, plan->transport, error) < 0) {
        return -1;
    }
    return reserve(plan, reserved_bytes, error);
}

void control_plan_release(struct control_plan *plan)
{
    opt_release(plan->sets, plan->set_count, NULL);
    free(plan->options);
    if (plan->reserved_bytes) {
        atomic_fetch_sub(plan->reserved_bytes, plan->memory_bytes);
    }
    *plan = (struct control_plan){0};
}

/* ---- at the client ---- */

/* A row's value as text, malloc'ed; NULL without memory. */
static char *value_of(const struct opt *row, const void *target)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        return NULL;
    }
    opt_print_value(row, target, out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static int add_rows(json_t *object, const struct opt *rows, size_t count, const void *target)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        char *text = value_of(&rows[i], target);
        if (!text) {
            return -1;
        }
        /* One that is not set has no text: there it has none either. */
        if (text[0]) {
            result = json_object_set_new(object, rows[i].name, json_string(text));
        }
        free(text);
    }
    return result;
}

int control_plan_message(const struct run_plan *plan, bool observe, struct control_message *message,
                         struct err *error)
{
    const struct workload *workload = plan->workload;
    const struct run_options *options = plan->options;
    const char *own = plan->workload_options;
    size_t wire_count;
    const struct opt *wire = wire_rows_of(workload, &wire_count);
    *message = (struct control_message){
        .kind = CONTROL_PREPARE,
        .workload = workload->name,
        .engine = plan->server_engine->name,
        .transport = plan->session->datagrams ? transport_udp.scheme : transport_tcp.scheme,
        .options = json_object(),
        .wire = json_object(),
        .watch = json_object(),
        .probe = json_object(),
        .connections = options->connections,
        .threads = options->server_threads,
        .observe = observe,
    };
    if (add_rows(message->options, workload->options, workload->option_count, own) < 0 ||
        add_rows(message->options, workload->server_options, workload->server_option_count,
                 own + workload->server_options_offset) < 0 ||
        add_rows(message->wire, wire, wire_count, &options->wire) < 0 ||
        add_rows(message->watch, watch_rows, WATCH_OPTIONS, &options->watch) < 0 ||
        add_rows(message->probe, probe_option_rows, PROBE_OPTIONS, &options->watch.probe) < 0) {
        control_plan_message_release(message);
        return no_memory(error);
    }
    json_object_del(message->watch, "observe");
    if (!observe) { /* what cannot be had at this end alone is no matter of the peer's */
        json_object_clear(message->watch);
        json_object_clear(message->probe);
    }
    return 0;
}

void control_plan_message_release(struct control_message *message)
{
    json_decref(message->options);
    json_decref(message->wire);
    json_decref(message->watch);
    json_decref(message->probe);
    *message = (struct control_message){0};
}
