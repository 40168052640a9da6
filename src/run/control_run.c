#include "run/control_run.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "report/record_read.h"
#include "run/collect.h"
#include "run/control_door.h"
#include "run/control_plan.h"
#include "run/control_totals.h"
#include "run/fill.h"
#include "run/machine.h"
#include "run/server.h"
#include "run/watch.h"

/* From "ready" until all data connections are there. */
#define CONNECT_NS (30 * NS_PER_SECOND)
/* How often it is looked whether something has to be said again to who comes by datagrams. */
#define DOOR_NS (50 * NS_PER_MS)
/* The client's next message, before it measures and after. */
#define ANSWER_NS (60 * NS_PER_SECOND)
/* While it measures: twice the longest interval that it may have. Its death is noticed earlier, by
 * the socket. */
#define MEASURE_NS (2 * 3600 * NS_PER_SECOND)
#define READY_NS (10 * NS_PER_SECOND)

/* What the thread has. */
struct conduct {
    struct control_run *run;
    struct control_plan plan;
    struct run_control *control; /* shared with the server's process */
    struct worker_slot *slots;
    uint32_t slot_count;
    pid_t server_pid;
    struct tally part, plain, seen;
    uint64_t whole[BANK_COUNTERS]; /* since the first connection */
    struct control_door *door;     /* of a run over datagrams; NULL: of streams, or all are in */
    uint16_t port;                 /* where data connections are taken */
    struct watch *watch;
    struct record record; /* one run */
    bool measuring, finished;
    uint64_t asked_ns;      /* when the last cut was asked for */
    uint64_t go_ns, end_ns; /* of the session; 0: not yet */
};

/* ---- data connections ---- */

/* What the client says before all are there. 1: that they are, of datagrams; streams have nothing
 * to say. */
static int hear_early(struct conduct *conduct, struct err *error)
{
    struct control_run *run = conduct->run;
    struct control_message message;
    if (control_link_move(&run->link, error) < 0) {
        return -1;
    }
    int found = control_link_next(&run->link, &message, error);
    if (found <= 0) {
        return found;
    }
    bool all_in =
        message.kind == CONTROL_SYNC && conduct->door && control_door_all_in(conduct->door);
    control_release(&message);
    return all_in ? 1 : err_set(error, ERR_PROTOCOL, run->link.peer, "a message out of turn");
}

/* Waits until all are there, and meanwhile whether the client still is. */
static int await_connections(struct conduct *conduct, struct err *error)
{
    struct control_run *run = conduct->run;
    uint64_t until_ns = clock_now_ns() + CONNECT_NS;
    for (;;) {
        uint64_t now_ns = clock_now_ns(), count;
        if (now_ns >= until_ns) {
            return err_set(error, ERR_PROTOCOL, run->link.peer,
                           "not all data connections came in time");
        }
        uint64_t most_ns = conduct->door ? DOOR_NS : until_ns - now_ns;
        struct timespec wait =
            clock_timespec(most_ns < until_ns - now_ns ? most_ns : until_ns - now_ns);
        struct pollfd files[] = {
            {.fd = conduct->door ? control_door_file(conduct->door) : run->wake_fd,
             .events = POLLIN},
            {.fd = run->link.fd, .events = POLLIN},
            {.fd = run->config.stop_fd, .events = POLLIN}};
        if (ppoll(files, 3, &wait, NULL) < 0 && errno != EINTR) {
            return err_system(error, errno, run->link.peer, "cannot wait");
        }
        if (files[2].revents) {
            return err_set(error, ERR_SYSTEM, "serve", "the server is closing");
        }
        if (files[0].revents && !conduct->door) {
            return read(run->wake_fd, &count, sizeof count) == sizeof count
                       ? 0
                       : err_system(error, errno, run->link.peer, "cannot wait");
        }
        if (conduct->door && control_door_serve(conduct->door, error) < 0) {
            return -1;
        }
        int heard = files[1].revents ? hear_early(conduct, error) : 0;
        if (heard != 0) {
            return heard < 0 ? -1 : 0;
        }
    }
}

/* All are in: nobody else is served, and nothing of before is taken for payload. */
static void close_door(struct conduct *conduct)
{
    if (conduct->door) {
        control_door_close(conduct->door);
        conduct->door = NULL;
    }
}

/* ---- the server's process ---- */

static int start_server(struct conduct *conduct, struct err *error)
{
    struct control_run *run = conduct->run;
    const struct control_plan *plan = &conduct->plan;
    struct net_tuning tuning;
    uint8_t channel_options;
    if (conduct->door) {
        control_door_clear(conduct->door);
    }
    close_door(conduct);
    wire_tuning(&plan->wire, plan->workload, plan->options, true, &tuning, &channel_options);
    bool each = plan->engine->flags & ENGINE_ONE_CHANNEL;
    for (uint32_t i = 0; i < run->wanted; i++) {
        if (plan->transport->tune(run->ends[i].read_fd, &tuning, error) < 0) {
            return -1;
        }
    }
    struct server_config config = {
        .engine = plan->engine,
        .role = plan->workload->server,
        .options = plan->options,
        .control = conduct->control,
        .slots = conduct->slots,
        .slot_count = conduct->slot_count,
        .threads = each ? 1 : plan->threads,
        .ends = run->ends,
        .end_count = run->wanted,
        .connections_max = UINT32_MAX / 2,
        .tuning = tuning,
        .receive_bytes = (uint32_t)plan->wire.receive_bytes,
        .receive_mode = plan->wire.uring_receive,
        .busy_poll = plan->wire.busy_poll,
        .channel_options = channel_options,
        .greeted = true,
        .await_go = plan->workload->bulk, /* its server may be the one that begins */
        .close_others = true,
    };
    conduct->server_pid = server_spawn(&config, error);
    control_run_close_ends(run);
    return conduct->server_pid < 0 ? -1 : 0;
}

/* Until its workers serve, or have: a connection may end at once, and with it the thread that had
 * no other. Meanwhile whether the client still is there. */
static int await_ready(struct conduct *conduct, struct err *error)
{
    const struct control_plan *plan = &conduct->plan;
    bool each = plan->engine->flags & ENGINE_ONE_CHANNEL;
    uint32_t wanted = each ? plan->connections : plan->threads;
    uint64_t until_ns = clock_now_ns() + READY_NS;
    struct timespec pause = clock_timespec(NS_PER_MS);
    struct pollfd files[] = {{.fd = conduct->run->link.fd, .events = POLLIN},
                             {.fd = conduct->run->config.stop_fd, .events = POLLIN}};
    for (;;) {
        uint32_t served = 0;
        for (uint32_t i = 0; i < conduct->slot_count; i++) {
            struct worker_slot *slot = &conduct->slots[i];
            uint32_t state = atomic_load(&slot->state);
            if (state == SLOT_ENDED && slot->failure.code != ERR_NONE) {
                *error = slot->failure;
                return -1;
            }
            served += atomic_load(&slot->served);
        }
        if (served >= wanted) {
            return 0;
        }
        if (clock_now_ns() > until_ns) {
            return err_set(error, ERR_SYSTEM, "server", "did not start in time");
        }
        if (ppoll(files, 2, &pause, NULL) < 0 && errno != EINTR) {
            return err_system(error, errno, conduct->run->link.peer, "cannot wait");
        }
        if (files[1].revents) {
            return err_set(error, ERR_SYSTEM, "serve", "the server is closing");
        }
        if (files[0].revents && hear_early(conduct, error) != 0) {
            return -1;
        }
    }
}

static int prepare(struct conduct *conduct, struct err *error)
{
    const struct control_plan *plan = &conduct->plan;
    char *argv[] = {"sonde", NULL};
    if (control_plan_read(&conduct->plan, &conduct->run->prepare,
                          conduct->run->config.reserved_bytes, error) < 0 ||
        record_init(&conduct->record, 1, argv, error) < 0) {
        return -1;
    }
    conduct->slot_count = server_slots(plan->engine, plan->threads, 0, plan->connections + 8);
    conduct->control = shared_memory(sizeof *conduct->control, error);
    conduct->slots = conduct->control
                         ? shared_memory(conduct->slot_count * sizeof *conduct->slots, error)
                         : NULL;
    uint32_t flows = plan->workload->server->flow_counters ? plan->connections : 0;
    if (!conduct->slots || tally_init(&conduct->part, conduct->slot_count, flows, error) < 0 ||
        tally_init(&conduct->plain, conduct->slot_count, flows, error) < 0 ||
        tally_init(&conduct->seen, conduct->slot_count, flows, error) < 0) {
        return -1;
    }
    conduct->port = conduct->run->config.port;
    if (plan->transport->caps & TRANSPORT_DATAGRAMS) {
        struct control_run *run = conduct->run;
        conduct->door = control_door_open(run->link.fd, run->token, run->ends, run->wanted,
                                          &conduct->port, error);
        if (!conduct->door) {
            return -1;
        }
    }
    return machine_describe(&conduct->record, error);
}

static int send_ready(struct conduct *conduct, struct err *error)
{
    struct control_run *run = conduct->run;
    char token[CONTROL_TOKEN_TEXT + 1];
    for (size_t i = 0; i < HELLO_TOKEN_BYTES; i++) {
        snprintf(token + 2 * i, 3, "%02x", run->token[i]);
    }
    struct control_message ready = {
        .kind = CONTROL_READY, .token = token, .port = conduct->port, .machine = json_object()};
    for (size_t i = 0; i < conduct->record.machine_count; i++) {
        const struct record_pair *pair = &conduct->record.machine[i];
        json_object_set_new(ready.machine, pair->key, json_string(pair->text));
    }
    pthread_mutex_lock(run->config.lock);
    run->token_valid = !conduct->door;
    pthread_mutex_unlock(run->config.lock);
    int result = control_link_send(&run->link, &ready, error);
    json_decref(ready.machine);
    return result;
}

static int open_watch(struct conduct *conduct, struct err *error)
{
    const struct watch_name names[] = {
        {.word = "server", .target = {.pid = conduct->server_pid, .role = "server"}}};
    const struct watch_config config = {
        .options = &conduct->plan.watch, .names = names, .name_count = 1};
    return watch_open(&conduct->watch, &config, error);
}

static int send_connected(struct conduct *conduct, struct err *error)
{
    struct control_message connected = {.kind = CONTROL_CONNECTED,
                                        .probes = json_array(),
                                        .observation = watch_state(conduct->watch)};
    for (size_t i = 0; i < watch_probes(conduct->watch); i++) {
        json_array_append_new(connected.probes,
                              json_string(watch_probe_name(conduct->watch, (int)i)));
    }
    int result = control_link_send(&conduct->run->link, &connected, error);
    json_decref(connected.probes);
    return result;
}

/* ---- measuring ---- */

static int find_probe(const struct conduct *conduct, const char *name)
{
    for (size_t i = 0; i < watch_probes(conduct->watch); i++) {
        if (strcmp(watch_probe_name(conduct->watch, (int)i), name) == 0) {
            return (int)i;
        }
    }
    return WATCH_OFF; /* one that serves at the client alone */
}

static int attach(struct conduct *conduct, const struct control_message *message, struct err *error)
{
    const struct control_message answer = {.kind = CONTROL_ATTACHED};
    int probe = find_probe(conduct, message->probe_name);
    if (watch_attach(conduct->watch, probe, error) < 0) {
        return -1;
    }
    return control_link_send(&conduct->run->link, &answer, error);
}

/* Cuts the server's workers: what they did since the last cut. `opens`: counting begins with it. */
static void collect_part(struct conduct *conduct, bool opens)
{
    collect_ask(conduct->slots, conduct->slot_count);
    conduct->asked_ns = clock_now_ns();
    if (opens) { /* not once an idle worker has been waited for */
        gate_open(watch_gate(conduct->watch), clock_now_ns());
    }
    collect_take(conduct->slots, conduct->slot_count, &conduct->part);
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        conduct->whole[i] += conduct->part.bank->counters[i];
    }
}

static int cut(struct conduct *conduct, const struct control_message *message, struct err *error)
{
    struct watch *watch = conduct->watch;
    bool on = watch_attached(watch) != WATCH_OFF;
    bool opens = on && strcmp(message->gate, CONTROL_GATE_OPEN) == 0;
    bool closes = on && strcmp(message->gate, CONTROL_GATE_CLOSE) == 0;
    if (opens && watch_begin(watch, error) < 0) {
        return -1;
    }
    if (closes) {
        gate_close(watch_gate(watch), clock_now_ns()); /* before an idle worker is waited for */
    }
    collect_part(conduct, opens);
    if (strcmp(message->part, CONTROL_PART_PLAIN) == 0) {
        tally_add(&conduct->plain, &conduct->part);
    } else if (strcmp(message->part, CONTROL_PART_SEEN) == 0) {
        tally_add(&conduct->seen, &conduct->part);
    }
    return closes ? watch_end(watch, error) : 0;
}

static uint64_t scaled(uint64_t count, double scale)
{
    double share = (double)count * scale + 0.5;
    return share < 1e18 ? (uint64_t)share : (uint64_t)1e18; /* a client's window may be anything */
}

/* What was finished while the server counted `server`, as both ends' counts together say: the
 * client's, over its own time, which was cut a little earlier or later, and the server's. */
static struct probe_scope scope_of(const struct conduct *conduct, const struct tally *server,
                                   const struct control_message *message)
{
    const struct workload *workload = conduct->plan.workload;
    uint64_t counters[BANK_COUNTERS];
    double scale = message->window_ns ? (double)server->window_ns / (double)message->window_ns : 0;
    control_counters_read(message->counters, counters);
    if (workload->join) {
        workload->join(conduct->plan.options, counters, server->bank->counters,
                       scale > 0 ? 1 / scale : 1);
    }
    return (struct probe_scope){.window_ns = server->window_ns,
                                .operations = scaled(counters[workload->operations], scale),
                                .bytes = scaled(counters[workload->bytes], scale)};
}

static void seen(struct conduct *conduct, const struct control_message *message)
{
    struct probe_scope scope = scope_of(conduct, &conduct->part, message);
    const struct gated_part gated = {conduct->part.first_ns, conduct->part.last_ns,
                                     conduct->asked_ns};
    watch_gated(conduct->watch, &gated, &scope);
    watch_seen(conduct->watch, &scope);
}

static void block(struct conduct *conduct, const struct control_message *message)
{
    watch_block(conduct->watch, find_probe(conduct, message->probe_name), message->plain_operations,
                message->plain_ns, message->seen_operations, message->seen_ns);
}

static int fill(struct conduct *conduct, const struct control_message *message, struct err *error)
{
    const struct workload *workload = conduct->plan.workload;
    struct record_run *run = record_add_run(&conduct->record, "server");
    const struct tally *plain = &conduct->plain;
    if (!run) {
        return err_system(error, ENOMEM, "memory", "cannot keep the record");
    }
    run->window_ns = plain->window_ns;
    if (fill_server(run, workload->server, workload->server_metrics, workload->server_metric_count,
                    plain, &(const struct processes){.pids = {conduct->server_pid}, .count = 1},
                    error) < 0) {
        return -1;
    }
    fill_leave_out(run, workload, conduct->plan.options);
    struct record_process *server = &run->processes[run->process_count - 1];
    server->cpu_operations = server->engine_calls.operations =
        scope_of(conduct, plain, message).operations;
    return watch_fill(conduct->watch, workload->metrics[0].key, &conduct->record, run, error);
}

static int finish(struct conduct *conduct, const struct control_message *message, struct err *error)
{
    struct control_run *run = conduct->run;
    if (conduct->record.run_count) {
        return err_set(error, ERR_PROTOCOL, run->link.peer, "the run is finished already");
    }
    conduct->end_ns = clock_now_ns();
    collect_part(conduct, false); /* until the last connection ended */
    bank_add_errors(conduct->plain.bank, conduct->part.bank);
    if (watch_attach(conduct->watch, WATCH_OFF, error) < 0 || fill(conduct, message, error) < 0) {
        return -1;
    }
    struct control_message record = {.kind = CONTROL_RECORD, .warnings = json_array()};
    const struct session_totals totals = {.plain = &conduct->plain,
                                          .seen = &conduct->seen,
                                          .whole = conduct->whole,
                                          .pid = conduct->server_pid};
    record.run = record_run_json(&conduct->record.runs[0], error);
    record.totals = record.run ? control_totals_json(&totals, error) : NULL;
    for (size_t i = 0; i < conduct->record.warning_count; i++) {
        json_array_append_new(record.warnings, json_string(conduct->record.warnings[i]));
    }
    int result = record.totals ? control_link_send(&run->link, &record, error) : -1;
    json_decref(record.run);
    json_decref(record.totals);
    json_decref(record.warnings);
    conduct->measuring = false;
    conduct->finished = result == 0;
    return result;
}

/* One message. 1: that was the last one. */
static int follow(struct conduct *conduct, const struct control_message *message, struct err *error)
{
    const struct control_message going = {.kind = CONTROL_GOING};
    const struct control_message synced = {.kind = CONTROL_SYNCED};
    switch (message->kind) {
    case CONTROL_GO:
        conduct->measuring = true;
        conduct->go_ns = clock_now_ns();
        atomic_store(&conduct->control->phase, RUN_GO);
        return control_link_send(&conduct->run->link, &going, error);
    case CONTROL_ATTACH:
        return attach(conduct, message, error);
    case CONTROL_CUT:
        return cut(conduct, message, error);
    case CONTROL_SYNC:
        return control_link_send(&conduct->run->link, &synced, error);
    case CONTROL_SEEN:
        seen(conduct, message);
        return 0;
    case CONTROL_BLOCK:
        block(conduct, message);
        return 0;
    case CONTROL_FINISH:
        return finish(conduct, message, error);
    case CONTROL_BYE:
        return 1;
    default:
        return err_set(error, ERR_PROTOCOL, conduct->run->link.peer,
                       "the message \"%s\" out of turn", control_name(message->kind));
    }
}

static int follow_all(struct conduct *conduct, struct err *error)
{
    struct control_run *run = conduct->run;
    for (;;) {
        struct control_message message;
        uint64_t wait_ns = conduct->measuring ? MEASURE_NS : ANSWER_NS;
        /* Who does not take the answers is asked no further: they would pile up here. */
        if (control_link_flush(&run->link, clock_now_ns() + ANSWER_NS, run->config.stop_fd, error) <
                0 ||
            control_link_await(&run->link, &message, clock_now_ns() + wait_ns, run->config.stop_fd,
                               error) < 0) {
            return -1;
        }
        int result = follow(conduct, &message, error);
        control_release(&message);
        if (result != 0) {
            return result < 0 ? -1 : 0;
        }
    }
}

/* ---- the thread ---- */

static int conduct_run(struct conduct *conduct, struct err *error)
{
    if (prepare(conduct, error) < 0 || send_ready(conduct, error) < 0 ||
        await_connections(conduct, error) < 0 || start_server(conduct, error) < 0 ||
        await_ready(conduct, error) < 0 || open_watch(conduct, error) < 0 ||
        send_connected(conduct, error) < 0) {
        return -1;
    }
    return follow_all(conduct, error);
}

static void release(struct conduct *conduct)
{
    struct err ignored;
    control_run_refuse_more(conduct->run);
    if (conduct->server_pid > 0) {
        server_stop(conduct->server_pid, conduct->control, &ignored);
    }
    close_door(conduct);
    control_run_close_ends(conduct->run);
    watch_close(conduct->watch);
    tally_release(&conduct->part);
    tally_release(&conduct->plain);
    tally_release(&conduct->seen);
    shared_release(conduct->slots, conduct->slot_count * sizeof *conduct->slots);
    shared_release(conduct->control, sizeof *conduct->control);
    record_release(&conduct->record);
    control_plan_release(&conduct->plan);
}

/* What the workload's server counts in all: its first number of anything, or bytes received. */
static void count_all(const struct conduct *conduct, struct control_session *session)
{
    const struct workload *workload = conduct->plan.workload;
    if (workload->bulk) {
        session->received_bytes = conduct->whole[workload->received_bytes];
        session->sent_bytes = conduct->whole[workload->sent_bytes];
        return;
    }
    for (size_t i = 0; i < workload->server_metric_count; i++) {
        const struct metric *metric = &workload->server_metrics[i];
        if (metric->kind == METRIC_COUNT) {
            session->count = conduct->whole[metric->numerator];
            session->counted = metric->title;
            session->operation = workload->operation;
            return;
        }
        if (metric->kind == METRIC_PER_SECOND && strcmp(metric->unit, "bytes/s") == 0) {
            session->received_bytes = conduct->whole[metric->numerator];
        }
    }
}

/* Told once nobody waits for it any more. */
static void tell_end(const struct conduct *conduct, const struct err *failure)
{
    const struct control_run *run = conduct->run;
    uint64_t end_ns = conduct->end_ns ? conduct->end_ns : clock_now_ns();
    bool finished = conduct->finished && failure->code == ERR_NONE;
    struct control_session session = {
        .peer = run->link.peer,
        .workload = run->prepare.workload,
        .transport = run->prepare.transport,
        .engine = run->prepare.engine,
        .connections = run->wanted,
        .duration_ns = conduct->go_ns ? end_ns - conduct->go_ns : 0,
        .failure = finished ? NULL : failure,
    };
    if (finished) {
        count_all(conduct, &session);
    }
    if (run->config.ended) {
        run->config.ended(run->config.owner, &session);
    }
}

/* At both ends. */
static void say_failure(struct control_run *run, struct err *error)
{
    struct control_message message;
    struct err ignored;
    if (error->code == ERR_INTERRUPTED) {
        err_set(error, ERR_SYSTEM, "serve", "the server is closing");
    }
    control_error_message(error, &message);
    control_link_send(&run->link, &message, &ignored);
}

void *control_run_thread(void *argument)
{
    struct control_run *run = argument;
    struct conduct *conduct = calloc(1, sizeof *conduct);
    struct err error = {0}, ignored;
    if (!conduct) {
        err_system(&error, ENOMEM, "memory", "cannot conduct a run");
        say_failure(run, &error);
    } else {
        conduct->run = run;
        if (conduct_run(conduct, &error) < 0) {
            say_failure(run, &error);
        }
        if (!conduct->finished && error.code == ERR_NONE) {
            err_set(&error, ERR_PROTOCOL, run->link.peer, "the client left early");
        }
        tell_end(conduct, &error);
        release(conduct);
        free(conduct);
    }
    control_link_flush(&run->link, clock_now_ns() + NS_PER_SECOND, -1, &ignored);
    control_link_close(&run->link);
    atomic_store(&run->over, true);
    return NULL;
}
