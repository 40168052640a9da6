/* The two ends of `sonde ipc`: threads, or a thread and a child, that wait for a turn and then move
 * one transfer. What is measured begins with the sender's clock reading right before its first
 * write and ends with the receiver's right after its last read, as in ipc-static; waiting for a
 * turn and reading CPU clocks lie outside. While it is observed, an end makes no system call
 * between the gate's opening and closing but those of its method:
 *
 * - The receiver says that it is ready by a store, and the sender looks for it: the receiver has
 *   returned from its futex before the gate opens.
 * - Whoever ends last closes the gate, before it wakes the conductor. The other one goes to wait
 * for its next turn, a call that does not return before the gate is closed.
 * - CPU clocks are read only in turns that are not observed: the sender's right before its first
 *   clock reading, the receiver's before it says that it is ready, so that its going to sleep for
 *   the first byte is in them. */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/ipc_state.h"
#include "run/machine.h"
#include "run/usage.h"

/* How often a transfer looks whether it is to be left: after so many bytes, or blocks. */
#define CHUNK_BYTES (UINT64_C(64) << 20)
#define CHUNK_BLOCKS UINT64_C(4096)
/* How often the conductor looks after the user and the child. */
#define LOOK_NS (50 * NS_PER_MS)
/* An end that has been told to leave and does not within this time is stuck. */
#define LEAVE_NS (3 * NS_PER_SECOND)
#define READY_SPINS 2000

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t wait_ns)
{
    struct timespec wait = clock_timespec(wait_ns);
    syscall(SYS_futex, word, FUTEX_WAIT, value, &wait, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* ---- what an end used ---- */

static void add_usage(struct ipc_sum *sum, const struct thread_usage *from,
                      const struct thread_usage *to)
{
    sum->cpu_ns = to->cpu_ns - from->cpu_ns;
    sum->user_ns = to->user_ns - from->user_ns;
    sum->system_ns = to->system_ns - from->system_ns;
    sum->switches_voluntary = to->switches_voluntary - from->switches_voluntary;
    sum->switches_involuntary = to->switches_involuntary - from->switches_involuntary;
    sum->runnable_ns = to->runnable_ns - from->runnable_ns;
}

/* ---- one transfer, as its ends see it ---- */

struct end {
    struct ipc_conductor *conductor;
    struct ipc_shared *shared;
    struct ipc_side *side;
    struct transfer_end *transfer, *other; /* other: the receiver of a thread that is both */
    struct transfer_counts other_counts;
    struct thread_usage before;
};

/* The last one to finish closes the gate, and only then tells the conductor. */
static void finish_turn(struct end *end, uint32_t turn)
{
    struct ipc_shared *shared = end->shared;
    if (atomic_fetch_add(&shared->finished, 1) + 1 < end->conductor->end_count) {
        return;
    }
    if (shared->observed) {
        gate_close(end->conductor->gate, clock_now_ns());
    }
    atomic_store(&shared->done, turn + 1);
    futex_wake(&shared->done);
}

/* In pieces, so that a long transfer can be left. 0, or -1 with *error. */
static int move(struct end *end, int (*piece)(struct transfer_end *, uint64_t, struct err *),
                struct err *error)
{
    const struct ipc_options *options = end->conductor->plan->options;
    uint64_t block = options->buffer_bytes, blocks = CHUNK_BYTES / block;
    blocks = blocks < 1 ? 1 : blocks > CHUNK_BLOCKS ? CHUNK_BLOCKS : blocks;
    uint64_t chunk = blocks * block;
    for (uint64_t left = options->total_bytes; left > 0;) {
        uint64_t now = left < chunk ? left : chunk;
        if (piece(end->transfer, now, error) != 0) {
            return -1;
        }
        left -= now;
        if (left && atomic_load_explicit(&end->shared->stop, memory_order_relaxed)) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted in a transfer");
        }
    }
    return 0;
}

static void begin_usage(struct end *end)
{
    if (!end->shared->observed) {
        thread_usage_begin(&end->before);
    }
}

/* `sends`: its usage is to be read later, when the other end is ready. */
static void begin(struct end *end, uint32_t turn, bool sends)
{
    memset(&end->side->sum, 0, sizeof end->side->sum);
    end->transfer->counts = &end->side->sum.counts;
    end->side->clock_ns = 0;
    if (!sends) {
        begin_usage(end);
    }
    atomic_store(&end->side->ready, turn);
}

static void end_usage(struct end *end)
{
    struct thread_usage after;
    if (!end->shared->observed) {
        thread_usage_end(&end->before, &after);
        add_usage(&end->side->sum, &end->before, &after);
    }
}

static void open_gate(const struct end *end, uint64_t now_ns)
{
    if (end->shared->observed) {
        gate_open(end->conductor->gate, now_ns);
    }
}

static int send_turn(struct end *end, uint32_t turn, struct err *error)
{
    const struct ipc_side *receiver = &end->shared->sides[SIDE_RECEIVER];
    const struct timespec pause = clock_timespec(20 * NS_PER_US);
    begin(end, turn, true);
    for (uint32_t spins = 0; atomic_load(&receiver->ready) != turn; spins++) {
        if (atomic_load(&end->shared->leave)) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted before a transfer");
        }
        if (spins > READY_SPINS) { /* it may need this very CPU */
            clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
    }
    begin_usage(end);
    end->side->clock_ns = clock_now_ns();
    open_gate(end, end->side->clock_ns);
    int result = move(end, end->transfer->ops->send, error);
    end_usage(end);
    return result;
}

static int receive_turn(struct end *end, uint32_t turn, struct err *error)
{
    begin(end, turn, false);
    int result = move(end, end->transfer->ops->receive, error);
    end->side->clock_ns = clock_now_ns();
    end_usage(end);
    return result;
}

static int both_turn(struct end *end, uint32_t turn, struct err *error)
{
    memset(&end->shared->sides[SIDE_RECEIVER].sum, 0, sizeof(struct ipc_sum));
    end->other->counts = &end->shared->sides[SIDE_RECEIVER].sum.counts;
    begin(end, turn, false);
    end->side->clock_ns = clock_now_ns();
    open_gate(end, end->side->clock_ns);
    int result =
        transfer_both(end->transfer, end->other, end->conductor->plan->options->total_bytes,
                      &end->shared->stop, error);
    end->shared->sides[SIDE_RECEIVER].clock_ns = clock_now_ns();
    end_usage(end);
    return result;
}

/* ---- the life of an end ---- */

static int open_end(struct end *end, int side, struct err *error)
{
    struct ipc_conductor *conductor = end->conductor;
    const struct ipc_plan *plan = conductor->plan;
    bool both = plan->mode == IPC_1THREAD;
    struct transfer_config config = {
        .transport = ipc_transports[plan->options->transport],
        .fd = conductor->channel.fds[side],
        .buffer_bytes = plan->options->buffer_bytes,
        .verify = plan->options->verify,
        .nonblocking = both,
    };
    int cpu = ipc_cpu(plan->options, side == SIDE_SENDER);
    if ((cpu >= 0 && machine_pin(cpu, error) != 0) ||
        plan->method->open(&end->transfer, side == SIDE_SENDER, &config, &end->side->sum.counts,
                           error) != 0) {
        return -1;
    }
    config.fd = conductor->channel.fds[SIDE_RECEIVER];
    return both ? plan->method->open(&end->other, false, &config, &end->other_counts, error) : 0;
}

/* A failure ends the stream, so that the other end does not wait for what never comes. */
static void give_up(struct end *end, int side)
{
    shutdown(end->conductor->channel.fds[side], SHUT_RDWR); /* does nothing to a pipe */
    ipc_channel_close(&end->conductor->channel, side);
}

static void run_end(struct ipc_conductor *conductor, int side)
{
    struct ipc_shared *shared = conductor->shared;
    struct end end = {.conductor = conductor, .shared = shared, .side = &shared->sides[side]};
    end.side->tid = (pid_t)syscall(SYS_gettid);
    int result = open_end(&end, side, &end.side->failure);
    uint32_t turn = 0;
    for (;;) {
        if (result != 0) {
            give_up(&end, side);
        }
        finish_turn(&end, turn);
        while (atomic_load(&shared->turn) == turn && !atomic_load(&shared->leave)) {
            futex_wait(&shared->turn, turn, NS_PER_SECOND);
        }
        if (result != 0 || atomic_load(&shared->leave)) {
            break;
        }
        turn++;
        result = conductor->plan->mode == IPC_1THREAD ? both_turn(&end, turn, &end.side->failure)
                 : side == SIDE_SENDER                ? send_turn(&end, turn, &end.side->failure)
                                       : receive_turn(&end, turn, &end.side->failure);
    }
    conductor->plan->method->close(end.other);
    conductor->plan->method->close(end.transfer);
}

static void *end_thread(void *argument)
{
    const struct ipc_end_config *config = argument;
    run_end(config->conductor, config->side);
    return NULL;
}

/* ---- the conductor's side ---- */

static int start_child(struct ipc_conductor *conductor, struct err *error)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        return err_system(error, errno, "sender", "cannot start a process");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "sonde-sender");
        signal(SIGINT, SIG_IGN); /* Ctrl-C goes to the whole group: the parent ends the run */
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL); /* but a SIGTERM to it alone is meant for it */
        if (getppid() != parent) {
            _exit(1);
        }
        ipc_channel_close(&conductor->channel, SIDE_RECEIVER);
        run_end(conductor, SIDE_SENDER);
        _exit(0);
    }
    conductor->child = pid;
    ipc_channel_close(&conductor->channel, SIDE_SENDER);
    return 0;
}

static int start_thread(struct ipc_conductor *conductor, int side, struct err *error)
{
    conductor->ends[side].conductor = conductor;
    conductor->ends[side].side = side;
    int failed =
        pthread_create(&conductor->threads[side], NULL, end_thread, &conductor->ends[side]);
    if (failed) {
        return err_system(error, failed, "ipc", "cannot start a thread");
    }
    conductor->started[side] = true;
    return 0;
}

/* The child is gone: whatever it was to send never comes, so the receiver ends by itself. */
static void look_after_child(struct ipc_conductor *conductor)
{
    if (conductor->child > 0 && !conductor->child_ended) {
        pid_t left = waitpid(conductor->child, &conductor->child_status, WNOHANG);
        conductor->child_ended = left == conductor->child || (left < 0 && errno == ECHILD);
    }
}

static void look_after_user(struct ipc_conductor *conductor)
{
    struct pollfd stop = {.fd = conductor->plan->stop_fd, .events = POLLIN};
    if (!conductor->interrupted && stop.fd >= 0 && poll(&stop, 1, 0) > 0) {
        conductor->interrupted = true;
        atomic_store(&conductor->shared->stop, 1);
    }
}

/* Waits until all ends have finished this turn. */
static void await_ends(struct ipc_conductor *conductor)
{
    struct ipc_shared *shared = conductor->shared;
    uint32_t wanted = atomic_load(&shared->turn) + 1;
    uint64_t leave_ns = UINT64_MAX;
    for (;;) {
        uint32_t done = atomic_load(&shared->done);
        if (done == wanted || (conductor->child_ended && atomic_load(&shared->finished) > 0)) {
            return;
        }
        futex_wait(&shared->done, done, LOOK_NS);
        look_after_child(conductor);
        look_after_user(conductor);
        ipc_report(conductor);
        if (conductor->interrupted && leave_ns == UINT64_MAX) {
            leave_ns = clock_now_ns() + LEAVE_NS;
        }
        if (clock_now_ns() > leave_ns && conductor->child > 0 && !conductor->child_ended) {
            kill(conductor->child, SIGKILL); /* stopped, perhaps: it heeds nothing else */
        }
    }
}

/* Why an end failed: what it said itself, unless that only follows from what the other one said. */
static int failure_of(struct ipc_conductor *conductor, struct err *error)
{
    const struct ipc_side *sides = conductor->shared->sides;
    const struct err *first = &sides[SIDE_SENDER].failure;
    const struct err *second = &sides[SIDE_RECEIVER].failure;
    bool failed = conductor->child_ended || first->code != ERR_NONE || second->code != ERR_NONE;
    if (failed && conductor->interrupted) { /* a stuck sender was killed for it, perhaps */
        return err_set(error, ERR_INTERRUPTED, "run",
                       "interrupted: the last transfer was not finished");
    }
    if (conductor->child_ended) {
        int status = conductor->child_status;
        return err_set(error, ERR_SYSTEM, "sender", "its process ended in mid-run: %s %d",
                       WIFSIGNALED(status) ? "signal" : "exit status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    if (!failed) {
        return 0;
    }
    bool broken = first->number == EPIPE || first->number == ECONNRESET;
    *error = first->code == ERR_NONE || (broken && second->code != ERR_NONE) ? *second : *first;
    return -1;
}

int ipc_ends_start(struct ipc_conductor *conductor, struct err *error)
{
    enum ipc_mode mode = conductor->plan->mode;
    conductor->end_count = mode == IPC_1THREAD ? 1 : 2;
    int result = mode == IPC_2PROC ? start_child(conductor, error) : 0;
    if (result == 0 && mode != IPC_1THREAD) {
        result = start_thread(conductor, SIDE_RECEIVER, error);
    }
    if (result == 0 && mode != IPC_2PROC) {
        result = start_thread(conductor, SIDE_SENDER, error);
    }
    if (result != 0) {
        return -1;
    }
    await_ends(conductor);
    return failure_of(conductor, error);
}

int ipc_ends_transfer(struct ipc_conductor *conductor, bool observed, struct err *error)
{
    struct ipc_shared *shared = conductor->shared;
    struct ipc_tally *last = &conductor->last;
    shared->observed = observed;
    atomic_store(&shared->finished, 0);
    atomic_fetch_add(&shared->turn, 1);
    futex_wake(&shared->turn);
    await_ends(conductor);
    if (observed && conductor->gate->open) { /* an end failed before it could close it */
        gate_close(conductor->gate, clock_now_ns());
    }
    if (failure_of(conductor, error) != 0) {
        return -1;
    }
    const struct ipc_side *sender = &shared->sides[SIDE_SENDER];
    const struct ipc_side *receiver = &shared->sides[SIDE_RECEIVER];
    uint64_t total = conductor->plan->options->total_bytes;
    if (sender->sum.counts.bytes != total || receiver->sum.counts.bytes != total) {
        return err_set(error, ERR_PROTOCOL, "ipc",
                       "%lu bytes were sent and %lu received of %lu: bytes were lost",
                       sender->sum.counts.bytes, receiver->sum.counts.bytes, total);
    }
    last->sides[SIDE_SENDER] = sender->sum;
    last->sides[SIDE_RECEIVER] = receiver->sum;
    last->transfers = 1;
    last->bytes = total;
    last->blocks = receiver->sum.counts.blocks;
    last->time_ns =
        receiver->clock_ns > sender->clock_ns ? receiver->clock_ns - sender->clock_ns : 1;
    look_after_user(conductor);
    return 0;
}

bool ipc_ends_unfinished(struct ipc_conductor *conductor)
{
    const struct ipc_side *sides = conductor->shared->sides;
    struct ipc_tally *last = &conductor->last;
    uint64_t bytes = sides[SIDE_RECEIVER].sum.counts.bytes;
    uint64_t begin_ns = sides[SIDE_SENDER].clock_ns, end_ns = sides[SIDE_RECEIVER].clock_ns;
    if (bytes == 0 || begin_ns == 0 || end_ns <= begin_ns || conductor->shared->observed) {
        return false;
    }
    last->sides[SIDE_SENDER] = sides[SIDE_SENDER].sum;
    last->sides[SIDE_RECEIVER] = sides[SIDE_RECEIVER].sum;
    last->transfers = 1;
    last->bytes = bytes;
    last->blocks = sides[SIDE_RECEIVER].sum.counts.blocks;
    last->time_ns = end_ns - begin_ns;
    return last->blocks > 0;
}

void ipc_ends_stop(struct ipc_conductor *conductor)
{
    if (conductor->shared) {
        atomic_store(&conductor->shared->leave, 1);
        atomic_store(&conductor->shared->stop, 1);
        atomic_fetch_add(&conductor->shared->turn, 1);
        futex_wake(&conductor->shared->turn);
    }
    for (int side = 0; side < SIDES; side++) {
        if (conductor->started[side]) {
            pthread_join(conductor->threads[side], NULL);
            conductor->started[side] = false;
        }
    }
    if (conductor->child > 0 && !conductor->child_ended) {
        kill(conductor->child, SIGKILL); /* it holds nothing that must be put in order */
        waitpid(conductor->child, &conductor->child_status, 0);
        conductor->child_ended = true;
    }
    conductor->child = 0;
}
