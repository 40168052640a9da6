/* A worker's cuts: its banks change hands, with what the kernel says of its thread and its
 * connections until then. */
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "run/worker_state.h"

/* Closes the present bank's account of CPU time at now_ns. */
void worker_account(struct worker *worker, struct bank *bank, uint64_t now_ns)
{
    struct thread_usage now;
    const struct thread_usage *last = &worker->usage;
    bank->end_ns = now_ns;
    if (worker->finished) {
        return;
    }
    thread_usage_end(last, &now);
    bank->cpu_user_ns += now.user_ns - last->user_ns;
    bank->cpu_system_ns += now.system_ns - last->system_ns;
    bank->runnable_ns += now.runnable_ns - last->runnable_ns;
    bank->switches_voluntary += now.switches_voluntary - last->switches_voluntary;
    bank->switches_involuntary += now.switches_involuntary - last->switches_involuntary;
    worker->usage = now;
}

static void use_bank(struct worker *worker, struct bank *bank, uint64_t now_ns)
{
    bank->start_ns = now_ns;
    worker->context.bank = bank;
    worker->engine->calls = &bank->calls;
}

void worker_read_flow(struct worker *worker, const struct connection *connection)
{
    struct bank *bank = worker->context.bank;
    if (worker->role->flow_counters == 0 || connection->flow >= BANK_FLOWS ||
        connection->flagged & CONNECTION_LISTENER || connection->channel.kind != CHANNEL_SOCKET ||
        connection->channel.fd < 0) {
        return;
    }
    struct bank_flow *flow = &bank->flows[connection->flow];
    if (tcp_figures_read(connection->channel.fd, &flow->tcp) == 0 &&
        bank->flow_count <= connection->flow) {
        bank->flow_count = connection->flow + 1u;
    }
}

/* What a datagram socket has dropped since it was last looked at: its buffer was full. */
static void count_drops(struct worker *worker, struct connection *connection)
{
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t size = sizeof memory;
    bool datagrams =
        connection->channel.kind == CHANNEL_DATAGRAM || connection->channel.kind == CHANNEL_MANY;
    if (datagrams && connection->channel.fd >= 0 &&
        getsockopt(connection->channel.fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 &&
        size >= (SK_MEMINFO_DROPS + 1) * sizeof *memory) {
        uint32_t dropped = memory[SK_MEMINFO_DROPS] - connection->drops;
        worker->context.bank->counters[worker->role->drops_counter] += dropped;
        connection->drops = memory[SK_MEMINFO_DROPS];
    }
}

/* Closes the flows of the present bank; what they have come to is where those of the next begin. */
static void cut_flows(struct worker *worker, struct bank *next)
{
    if (worker->role->flow_counters == 0) {
        return;
    }
    for (struct connection *connection = worker->first; connection; connection = connection->next) {
        if (worker->role->drops_counter) {
            count_drops(worker, connection);
        }
        worker_read_flow(worker, connection);
        if (connection->flow < BANK_FLOWS) {
            const struct bank_flow *flow = &worker->context.bank->flows[connection->flow];
            next->flows[connection->flow].number_plus_1 = flow->number_plus_1; /* also if idle */
            next->flows[connection->flow].tcp_before = flow->tcp;
            next->flow_count =
                next->flow_count > connection->flow ? next->flow_count : connection->flow + 1u;
        }
    }
}

/* The window's ends are where its cuts are. Without a warm-up no cut begins it: it has no beginning
 * then but that of the work. */
static void follow_stage(struct worker *worker, uint64_t now_ns)
{
    struct role_context *context = &worker->context;
    uint32_t stage = atomic_load_explicit(&worker->config->control->stage, memory_order_relaxed);
    if (stage == RUN_WINDOW && context->measured_from_ns == 0) {
        context->measured_from_ns = now_ns;
    }
    if (stage == RUN_AFTER && context->measured_until_ns == 0) {
        context->measured_until_ns = now_ns;
    }
}

static uint64_t outstanding(const struct worker *worker)
{
    uint64_t sum = 0;
    for (const struct connection *connection = worker->first; connection;
         connection = connection->next) {
        sum += worker->role->outstanding ? worker->role->outstanding(connection) : 0;
    }
    return sum;
}

void worker_cut(struct worker *worker, uint64_t now_ns)
{
    struct worker_slot *slot = worker->config->slot;
    uint32_t done = atomic_load_explicit(&slot->cut_done, memory_order_relaxed);
    follow_stage(worker, now_ns);
    if (worker->context.draining) {
        atomic_store_explicit(&slot->outstanding, outstanding(worker), memory_order_relaxed);
    }
    cut_flows(worker, &slot->banks[(done + 1) & 1]);
    worker_account(worker, &slot->banks[done & 1], now_ns);
    use_bank(worker, &slot->banks[(done + 1) & 1], now_ns);
    atomic_store_explicit(&slot->cut_done, done + 1, memory_order_release);
}
