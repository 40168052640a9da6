/* The worker's loop. */
#include "run/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "engine/secure.h"
#include "run/machine.h"
#include "run/worker_state.h"

/* Longest wait: how late an idle worker may notice a cut or the end. */
#define LOOK_NS (20 * NS_PER_MS)
/* As above for a client that waits to be told to go: less than the notice that it is given, so that
 * workers start together. Where they are many, so many wake-ups would cost more than a late one. */
#define LOOK_START_NS NS_PER_MS
#define LOOK_START_WORKERS 64
/* Before a scheduled arrival the last stretch is spun: a wake-up from a wait costs about this. */
#define SPIN_NS (60 * NS_PER_US)
/* Of more arrivals that were never issued only so many enter the send lag, the oldest. */
#define BEHIND_RECORDED 1000000
/* Arrivals taken before completions get their turn. */
#define ARRIVALS_IN_A_ROW 256
/* Of datagrams no more than an engine receives in a row: or the answers to a backlog would find no
 * room in the socket while it is being worked off. */
#define DATAGRAM_ARRIVALS_IN_A_ROW 16
/* Connections that are started, or drained, before completions get their turn: so few that the end
 * of thousands is timed like that of a few. */
#define SWEPT_IN_A_ROW 64

/* Its connections start together, once they are told to: else each by itself. */
static bool starts_with_go(const struct worker_config *config)
{
    return config->dial_count > 0 || config->await_go;
}

static void set_state(struct worker *worker, enum slot_state state)
{
    if (worker->failure.code != ERR_NONE) {
        worker->config->slot->failure = worker->failure;
    }
    atomic_store_explicit(&worker->config->slot->state, (uint32_t)state, memory_order_release);
}

/* One connection's turn of a sweep. */
static void visit(struct worker *worker, struct connection *connection, enum op_kind kind)
{
    uint64_t now_ns = clock_now_ns();
    struct op op = {.kind = kind, .channel = &connection->channel, .now_ns = now_ns};
    if (kind == OP_START) {
        if (!(connection->flagged & CONNECTION_STARTED)) {
            connection->dialed_ns = worker->role->redials ? 0 : connection->dialed_ns;
            worker_start(worker, connection, NULL, now_ns);
        }
    } else if (connection->flagged & CONNECTION_SECURING) { /* nobody has been served there yet */
        worker_give_up_securing(worker, connection, 0);
    } else if (!(connection->flagged & CONNECTION_DIALING)) {
        worker_feed(worker, connection, &op);
    }
}

/* All connections are started, or drained: so many in a round of the loop, which looks for cuts. */
static void sweep_on(struct worker *worker)
{
    for (uint32_t i = 0; i < SWEPT_IN_A_ROW && worker->sweep; i++) {
        struct connection *connection = worker->sweep;
        worker->sweep = connection->next;
        visit(worker, connection, worker->sweep_kind);
    }
}

static void sweep(struct worker *worker, enum op_kind kind)
{
    worker->sweep = worker->first;
    worker->sweep_kind = kind;
    sweep_on(worker);
}

static void go(struct worker *worker, uint64_t now_ns)
{
    const struct worker_config *config = worker->config;
    worker->started = true;
    worker->context.bank->start_ns = now_ns; /* until now there was nothing to measure */
    worker->turn = worker->first;
    if (config->engine->flags & ENGINE_ONE_CHANNEL) {
        worker->thread_start_ns = config->thread_start_ns;
    }
    if (worker->role->redials) {
        worker->renew_below = config->dial_count;
        worker->throttled = worker->reached = true;
    }
    /* From the agreed instant on: a worker that is late lags, and shares the others' schedule. */
    struct arrival_share share = {config->first_number, config->dial_count, config->dials_in_all};
    uint64_t start_ns = atomic_load_explicit(&config->control->start_ns, memory_order_relaxed);
    if (config->course) {
        arrival_init_course(&worker->arrival, config->arrival, config->course,
                            config->course_after_ns, share, start_ns, config->seed);
    } else if (config->rate > 0) {
        arrival_init(&worker->arrival, config->arrival, config->rate, share, start_ns,
                     config->seed);
    }
    sweep(worker, OP_START);
}

/* Arrivals of the window that were due and never issued. Their lateness so far enters the send lag:
 * left out, a stall that reaches the end of the window would hide in it. */
static void count_behind(struct worker *worker, uint64_t now_ns)
{
    const struct role_context *context = &worker->context;
    struct histogram *lag = &context->bank->histograms[worker->config->send_lag];
    uint64_t until_ns = context->measured_until_ns ? context->measured_until_ns : UINT64_MAX;
    uint64_t backlog = arrival_backlog(&worker->arrival, now_ns);
    uint64_t left = backlog < context->quota ? backlog : context->quota, behind = left;
    for (uint64_t i = 0; i < left && i < BEHIND_RECORDED; i++) {
        uint64_t intended_ns = arrival_peek(&worker->arrival);
        if (intended_ns >= context->measured_from_ns && intended_ns <= until_ns) {
            histogram_record(lag, now_ns > intended_ns ? now_ns - intended_ns : 0, 1);
        } else {
            behind--;
        }
        arrival_take(&worker->arrival);
    }
    atomic_store(&worker->config->slot->behind, behind);
}

static void drain(struct worker *worker, uint64_t now_ns)
{
    worker->context.draining = true;
    if (worker->started && worker->config->rate > 0) {
        count_behind(worker, now_ns);
    }
    worker->started = true; /* or what was never begun would never be finished */
    sweep(worker, OP_DRAIN);
}

/* Follows the conductor's phase; true where it changed and connections were stepped. */
static bool follow_phase(struct worker *worker, uint64_t now_ns)
{
    struct run_control *control = worker->config->control;
    uint32_t phase = atomic_load_explicit(&control->phase, memory_order_acquire);
    bool stepped = false;
    if (!worker->started && phase == RUN_GO &&
        now_ns >= atomic_load_explicit(&control->start_ns, memory_order_relaxed)) {
        go(worker, now_ns);
        stepped = true;
    }
    if (phase != worker->phase) {
        worker->phase = phase;
        if (phase == RUN_DRAIN) {
            drain(worker, now_ns);
            stepped = true;
        }
    }
    return stepped;
}

/* The connection whose turn it is among those that can take an arrival; NULL where none can. */
static struct connection *next_taker(struct worker *worker)
{
    struct connection *candidate = worker->turn ? worker->turn : worker->first;
    for (uint32_t i = 0; i < worker->open && candidate; i++) {
        struct connection *after = candidate->next ? candidate->next : worker->first;
        if (worker->role->can_take(&worker->context, candidate)) {
            worker->turn = after;
            return candidate;
        }
        candidate = after;
    }
    return NULL;
}

/* An arrival is a connection to be dialed, and goes to none that is there. */
static bool arrivals_dial(const struct worker *worker)
{
    return worker->renew_below && !worker->role->redials;
}

static void take_arrivals(struct worker *worker, uint64_t now_ns)
{
    bool datagrams = worker->first && worker->first->channel.kind == CHANNEL_DATAGRAM;
    int most = datagrams ? DATAGRAM_ARRIVALS_IN_A_ROW : ARRIVALS_IN_A_ROW;
    for (int i = 0; i < most && worker->context.quota && !worker->blocked; i++) {
        uint64_t intended_ns = arrival_peek(&worker->arrival);
        if (intended_ns > now_ns) {
            return;
        }
        if (arrivals_dial(worker)) {
            if (!worker_may_dial(worker, now_ns)) {
                return;
            }
            if (!worker_dial(worker, intended_ns)) {
                return; /* there was no socket to dial with: it stays due */
            }
            arrival_take(&worker->arrival);
            continue;
        }
        struct connection *taker = next_taker(worker);
        if (!taker) {
            worker->blocked = true; /* until something completes */
            return;
        }
        arrival_take(&worker->arrival);
        struct op op = {.kind = OP_ARRIVAL, .channel = &taker->channel, .now_ns = intended_ns};
        worker_feed(worker, taker, &op);
    }
}

static bool open_loop_active(const struct worker *worker)
{
    return worker->started && !worker->sweep && worker->config->rate > 0 &&
           !worker->context.draining && worker->context.quota;
}

static void expire_timers(struct worker *worker, uint64_t now_ns)
{
    struct connection *connection;
    while ((connection = timers_expire(&worker->timers, now_ns))) {
        if (connection->flagged & CONNECTION_SECURING) {
            worker_give_up_securing(worker, connection, ETIMEDOUT);
            continue;
        }
        if (connection->flagged & CONNECTION_DIALING) {
            worker_give_up(worker, connection);
            continue;
        }
        struct op op = {.kind = OP_TIMER, .channel = &connection->channel, .now_ns = now_ns};
        worker_feed(worker, connection, &op);
    }
}

/* Steps every connection of a list once; those that ask again stand on the new list. */
static void run_flush(struct worker *worker, uint64_t now_ns)
{
    struct connection *connection = worker->flush;
    worker->flush = NULL;
    while (connection) {
        struct connection *next = connection->next_flush;
        connection->flagged &= (uint16_t)~CONNECTION_IN_FLUSH;
        if (!(connection->flagged & CONNECTION_DEAD)) {
            struct op op = {.kind = OP_FLUSH, .channel = &connection->channel, .now_ns = now_ns};
            worker_feed(worker, connection, &op);
        }
        connection = next;
    }
}

static void run_resume(struct worker *worker, uint64_t now_ns)
{
    struct connection *connection = worker->resume;
    worker->resume = NULL;
    while (connection) {
        struct connection *next = connection->next_resume;
        connection->flagged &= (uint16_t)~CONNECTION_IN_RESUME;
        if (!(connection->flagged & CONNECTION_DEAD)) {
            struct op op = {.kind = OP_RESUME, .channel = &connection->channel, .now_ns = now_ns};
            worker_feed(worker, connection, &op);
        }
        connection = next;
    }
}

static void retry_busy(struct worker *worker)
{
    size_t count = worker->busy_count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct op op = worker->busy[i];
        if (op.channel->closing && op.kind != OP_CLOSE) {
            continue;
        }
        enum submit_result result = worker->engine->ops->submit(worker->engine, &op);
        if (result == SUBMIT_BUSY) {
            worker->busy[kept++] = op;
        } else if (result == SUBMIT_DONE) {
            op.now_ns = clock_now_ns();
            worker_deliver(worker, &op);
        }
    }
    /* Operations that came in meanwhile stand behind the old ones. */
    memmove(worker->busy + kept, worker->busy + count,
            (worker->busy_count - count) * sizeof *worker->busy);
    worker->busy_count = kept + worker->busy_count - count;
}

/* Until when the engine may wait; 0: not at all. */
static uint64_t wait_until_ns(const struct worker *worker, uint64_t now_ns)
{
    if (worker->resume || worker->flush || worker->busy_count || worker->sweep ||
        (worker->config->busy_poll && worker->started && worker->first)) { /* else nobody speaks */
        return 0;
    }
    bool waits_to_start = !worker->started;
    bool soon = waits_to_start && worker->config->workers <= LOOK_START_WORKERS;
    uint64_t until_ns = now_ns + (soon ? LOOK_START_NS : LOOK_NS);
    uint64_t timer_ns = timers_next_ns(&worker->timers);
    until_ns = timer_ns < until_ns ? timer_ns : until_ns;
    if (waits_to_start &&
        atomic_load_explicit(&worker->config->control->phase, memory_order_relaxed) == RUN_GO) {
        uint64_t start_ns = atomic_load(&worker->config->control->start_ns);
        until_ns = start_ns < until_ns ? start_ns : until_ns;
    }
    if (worker->renew_below && worker->dial_after_ns > now_ns) {
        until_ns = worker->dial_after_ns < until_ns ? worker->dial_after_ns : until_ns;
    } else if ((worker->config->rate == 0 || worker->role->redials) &&
               worker_may_dial(worker, now_ns)) {
        return 0;
    }
    if (worker->renew_below && worker_awaits_session(worker, now_ns)) {
        /* Another worker's connection brings it: nothing here says when. */
        until_ns = now_ns + NS_PER_MS < until_ns ? now_ns + NS_PER_MS : until_ns;
    }
    bool waits = arrivals_dial(worker) && !worker_may_dial(worker, now_ns);
    if (open_loop_active(worker) && !worker->blocked && !waits) {
        uint64_t arrival_ns = arrival_peek(&worker->arrival);
        /* A ramp is as good where dials are late by a wake-up, which leaves the server the CPU. */
        uint64_t spin_ns = worker->role->once ? 0 : SPIN_NS;
        if (arrival_ns <= now_ns + spin_ns) {
            return 0;
        }
        until_ns = arrival_ns - spin_ns < until_ns ? arrival_ns - spin_ns : until_ns;
    }
    return until_ns;
}

/* Whether an operation has been issued and not answered. */
static bool is_outstanding(const struct worker *worker)
{
    bool some = false;
    for (const struct connection *connection = worker->first; connection && !some;
         connection = connection->next) {
        some = worker->role->outstanding && worker->role->outstanding(connection) > 0;
    }
    return some;
}

/* Notices that nothing is left to do: everything was issued and answered, or everybody is gone. */
static void check_finished(struct worker *worker)
{
    struct worker_slot *slot = worker->config->slot;
    bool ending = worker->context.quota == 0 || worker->context.draining;
    bool going_on = worker->open || worker->renew_below;
    if (!worker->started || worker->sweep || (going_on && !ending)) {
        return;
    }
    if (!is_outstanding(worker) &&
        atomic_load_explicit(&slot->state, memory_order_relaxed) == SLOT_READY) {
        uint64_t now_ns = clock_now_ns();
        worker_account(worker, worker->context.bank, now_ns);
        worker->finished = true; /* what it uses from now on is waiting for the end */
        atomic_store_explicit(&slot->finished_ns, now_ns, memory_order_relaxed);
        set_state(worker, SLOT_FINISHED);
    }
}

/* One round of the loop; false where the worker has to leave. */
static bool round_trip(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    struct worker_slot *slot = config->slot;
    uint64_t now_ns = clock_now_ns();

    bool worked = follow_phase(worker, now_ns); /* since now_ns was read */
    if (worker->phase == RUN_STOP || worker->failure.code != ERR_NONE ||
        (worker->given && worker->open == 0)) {
        return false;
    }
    if (atomic_load_explicit(&slot->cut_wanted, memory_order_acquire) !=
        atomic_load_explicit(&slot->cut_done, memory_order_relaxed)) {
        worker_cut(worker, now_ns);
    }
    if (worker->sweep) {
        worked = true;
        sweep_on(worker);
    }
    if (timers_next_ns(&worker->timers) <= now_ns) {
        worked = true;
        expire_timers(worker, now_ns);
    }
    if (worker->resume) {
        worked = true;
        run_resume(worker, now_ns);
    }
    worker_look_at_marks(worker);
    bool arrive = open_loop_active(worker);
    if ((!arrive || worker->role->redials) && worker_may_dial(worker, now_ns)) {
        worked = true;
        worker_renew(worker, now_ns);
    }
    if (arrive) {
        worked = true;
        take_arrivals(worker, now_ns);
    }
    if (worker->flush) {
        run_flush(worker, worked ? clock_now_ns() : now_ns);
    }
    if (worker->engine->ops->reap(worker->engine, wait_until_ns(worker, now_ns), &worker->failure) <
        0) {
        return false;
    }
    if (worker->busy_count) {
        retry_busy(worker);
    }
    if (worker->dead) {
        worker_bury(worker);
    }
    if (config->dial_count &&
        (worker->context.quota == 0 || worker->context.draining || worker->open == 0)) {
        check_finished(worker);
    }
    return true;
}

int worker_await_connects(struct worker *worker, uint32_t most)
{
    uint64_t until_ns = clock_now_ns() + worker->config->connect_timeout_ns;
    while (worker->connecting > most && worker->failure.code == ERR_NONE) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns) {
            err_set(&worker->failure, ERR_SYSTEM, worker->config->dials[0].address->text,
                    "%u connections were not established in time%s", worker->connecting,
                    worker->config->client_tls ? " (TCP and the TLS handshake)" : "");
            return err_hint(&worker->failure, "is the host reachable? see --connect-timeout");
        }
        if (atomic_load_explicit(&worker->config->control->phase, memory_order_relaxed) >=
            RUN_DRAIN) {
            return err_set(&worker->failure, ERR_INTERRUPTED, "connecting", "stopped");
        }
        uint64_t look_ns = now_ns + LOOK_NS;
        if (worker->engine->ops->reap(worker->engine, look_ns < until_ns ? look_ns : until_ns,
                                      &worker->failure) < 0) {
            return -1;
        }
    }
    worker_bury(worker);
    return worker->failure.code == ERR_NONE ? 0 : -1;
}

static int open_worker(struct worker *worker)
{
    const struct worker_config *config = worker->config;
    struct bank *bank =
        &config->slot
             ->banks[atomic_load_explicit(&config->slot->cut_done, memory_order_relaxed) & 1];
    if (config->cpu >= 0 && machine_pin(config->cpu, &worker->failure) < 0) {
        return -1;
    }
    uint32_t expected = config->dial_count + config->end_count + config->listener_count;
    if (config->role->renew_below && config->dial_count) {
        worker->renew_below = config->role->renew_below(config->options, config->dial_count);
    }
    if (worker->renew_below && config->role->once && worker_order_dials(worker) < 0) {
        return -1;
    }
    worker->context.shared = config->role->open_worker(config->options, expected, &worker->failure);
    if (!worker->context.shared) {
        return -1;
    }
    struct engine_config engine = {.owner = worker,
                                   .deliver = worker_deliver,
                                   .receive_bytes = config->receive_bytes,
                                   .channels = expected,
                                   .receive_mode = config->receive_mode,
                                   .spins = config->busy_poll};
    const struct secure_config secure = {
        .client = config->client_tls,
        .server = config->server_tls,
        .peer = config->dial_count && config->dials[0].address ? config->dials[0].address->text
                                                               : "a client",
    };
    bool secures = config->client_tls || config->server_tls;
    int result =
        secures ? secure_open(&worker->engine, config->engine, &secure, &engine, &bank->calls,
                              &worker->failure)
                : config->engine->init(&worker->engine, &engine, &bank->calls, &worker->failure);
    if (result < 0) {
        worker->engine = NULL;
        return -1;
    }
    worker->context.bank = bank;
    if (worker_open_all(worker) < 0 || worker_await_connects(worker, 0) < 0) {
        return -1;
    }
    return 0;
}

/* Zeroed memory is no empty bank (a histogram's minimum). A slot that was used before may hold what
 * has not been collected yet: that stays. */
static void clear_unused(struct worker_slot *slot)
{
    for (size_t i = 0; i < 2; i++) {
        if (slot->banks[i].end_ns == 0) {
            bank_clear(&slot->banks[i]);
        }
    }
    if (!slot->security.begun) {
        slot->security.begun = true;
        histogram_clear(&slot->security.connect_time);
        histogram_clear(&slot->security.handshake_time);
    }
}

void worker_run(const struct worker_config *config)
{
    struct worker worker = {.config = config, .role = config->role, .reserve_fd = -1};
    worker.context = (struct role_context){
        .options = config->options,
        .open_loop = config->rate > 0,
        .sends_at_once = (config->engine->flags & ENGINE_SENDS_AT_ONCE) != 0,
        .sends_files = (config->engine->flags & ENGINE_FILES) != 0,
        .quota = config->quota,
        .receive_bytes = config->receive_bytes,
        .foreign_peer = config->foreign_peer,
        .greeted = config->greeted,
        .ends_apart = config->ends_apart,
        .first_number = config->first_number,
    };
    worker.started = !starts_with_go(config);
    set_state(&worker, SLOT_STARTING);
    clear_unused(config->slot);
    if (open_worker(&worker) == 0) {
        uint64_t now_ns = clock_now_ns();
        struct bank *bank = worker.context.bank;
        thread_usage_begin(&worker.usage); /* starting is not the work */
        if (bank->start_ns == 0) { /* or another thread used this slot before: its time counts on */
            bank->start_ns = now_ns;
        }
        set_state(&worker, SLOT_READY);
        atomic_fetch_add(&config->slot->served, 1);
        while (round_trip(&worker)) {
        }
    }
    if (worker.failure.code != ERR_NONE && open_loop_active(&worker)) {
        count_behind(&worker, clock_now_ns());
    }
    if (worker.engine) {
        worker_account(&worker, worker.context.bank, clock_now_ns());
        worker_close_all(&worker);
    }
    if (worker.context.shared) {
        config->role->close_worker(worker.context.shared);
    }
    timers_release(&worker.timers);
    free(worker.busy);
    free(worker.order);
    set_state(&worker, SLOT_ENDED);
}
