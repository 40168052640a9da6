#include "run/observe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/process.h"
#include "run/held.h"
#include "stats/series.h"

#define GRACE_MS 2000
#define INTERVALS_MOST 3600 /* then neighbours are merged */

enum { TOTAL_CALLS, TOTAL_ERRORS, TOTAL_BYTES, TOTAL_COUNT };

static const struct metric metrics[] = {
    {"system_calls", "1", "system calls", "system calls that returned in the window", METRIC_COUNT,
     TOTAL_CALLS, 0, false},
    {"system_calls_per_second", "1/s", "system calls/s", "system calls that returned, per second",
     METRIC_PER_SECOND, TOTAL_CALLS, 0, true},
    {"system_call_errors", "1", "of them errors", "system calls that returned an error",
     METRIC_COUNT, TOTAL_ERRORS, 0, false},
    {"system_call_bytes", "bytes", "bytes moved",
     "sum of the results of the system calls that return a number of bytes moved", METRIC_COUNT,
     TOTAL_BYTES, 0, false},
};
#define METRIC_COUNT_ALL (sizeof metrics / sizeof metrics[0])

static const struct metric command_user = {
    "command_cpu_user_ns",
    "ns",
    "CPU time, user",
    "CPU time in user space of the command and the children that it waited for",
    METRIC_VALUE,
    0,
    0,
    false};
static const struct metric command_system = {
    "command_cpu_system_ns",
    "ns",
    "CPU time, system",
    "CPU time in the kernel of the command and the children that it waited for",
    METRIC_VALUE,
    0,
    0,
    false};

/* CPU time that an observed process had used when the window began. */
struct baseline {
    pid_t pid;
    struct process_sample sample;
};

struct observation {
    const struct observe_plan *plan;
    struct observe_end *end;
    struct probe_target *targets; /* the plan's, and the command */
    size_t target_count;
    struct targets *followed;
    struct probe *probe;
    struct held_command command;
    int signals;   /* signalfd */
    sigset_t mask; /* before */
    bool masked;
    struct pollfd *watched; /* [0] signals, [1] command or -1, then a pidfd for each pid target */
    size_t watched_count;
    struct baseline *baselines;
    size_t baseline_count;
    struct record last; /* its run 0: totals at the end of the last interval */
    struct series series;
    uint64_t start_ns, interval_start_ns;
};

uint64_t observe_calls(const struct record_process *process)
{
    uint64_t calls = 0;
    for (size_t i = 0; process != NULL && i < process->kernel_calls.syscall_count; i++) {
        calls += process->kernel_calls.syscalls[i].calls;
    }
    return calls;
}

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "observe", "no memory");
}

/* ---- setting up ---- */

static int take_signals(struct observation *self, struct err *error)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGHUP);
    int number = pthread_sigmask(SIG_BLOCK, &wanted, &self->mask);
    if (number != 0) {
        return err_system(error, number, "observe", "cannot take signals");
    }
    self->masked = true;
    self->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self->signals < 0) {
        return err_system(error, errno, "observe", "cannot take signals");
    }
    return 0;
}

static int set_targets(struct observation *self, struct err *error)
{
    const struct observe_plan *plan = self->plan;
    self->targets = calloc(plan->target_count + 1, sizeof *self->targets);
    self->watched = calloc(plan->target_count + 2, sizeof *self->watched);
    if (self->targets == NULL || self->watched == NULL) {
        return no_memory(error);
    }
    if (plan->target_count > 0) {
        memcpy(self->targets, plan->targets, plan->target_count * sizeof *self->targets);
    }
    self->target_count = plan->target_count;
    if (self->command.pid > 0) {
        struct probe_target *command = &self->targets[self->target_count++];
        *command = (struct probe_target){.pid = self->command.pid, .at_exec = true};
        snprintf(command->role, sizeof command->role, "observed");
    }
    self->watched[0] = (struct pollfd){.fd = self->signals, .events = POLLIN};
    self->watched[1] = (struct pollfd){.fd = self->command.pid_file, .events = POLLIN};
    self->watched_count = 2;
    return 0;
}

/* A pidfd for each target by pid: readable when the process has ended. */
static int watch_targets(struct observation *self, struct err *error)
{
    for (size_t i = 0; i < self->plan->target_count; i++) {
        pid_t pid = self->targets[i].pid;
        if (pid == 0) {
            continue;
        }
        int file = (int)syscall(SYS_pidfd_open, pid, 0);
        if (file < 0) {
            int number = errno;
            char subject[32];
            snprintf(subject, sizeof subject, "pid=%d", (int)pid);
            return number == ESRCH ? err_set(error, ERR_SYSTEM, subject, "there is no such process")
                                   : err_system(error, number, subject, "cannot be watched");
        }
        self->watched[self->watched_count++] = (struct pollfd){.fd = file, .events = POLLIN};
    }
    return 0;
}

static int read_probe(struct observation *self, struct record_run *run, struct err *error)
{
    const struct probe_scope scope = {0};
    return probe_syscalls.read(self->probe, &scope, run, error);
}

/* What every process that is observed now has used so far. */
static int take_baselines(struct observation *self, struct err *error)
{
    struct record_run *now = record_add_run(&self->last, "start");
    if (now == NULL) {
        return no_memory(error);
    }
    if (read_probe(self, now, error) != 0) {
        return -1;
    }
    self->baselines = calloc(now->process_count + 1, sizeof *self->baselines);
    if (self->baselines == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < now->process_count; i++) {
        struct baseline *baseline = &self->baselines[self->baseline_count];
        struct err gone = {0};
        baseline->pid = now->processes[i].pid;
        if (process_sample(baseline->pid, &baseline->sample, &gone) == 0) {
            self->baseline_count++;
        }
    }
    return 0;
}

static int begin(struct observation *self, struct err *error)
{
    struct targets_config whom = {.follow = self->plan->follow, .bpf = true};
    struct probe_config config = {0};
    if (take_signals(self, error) != 0) {
        return -1;
    }
    if (self->plan->command != NULL &&
        held_start(&self->command, &self->mask, self->plan->command, error) != 0) {
        return -1;
    }
    self->end->command_pid = self->command.pid;
    if (set_targets(self, error) != 0 ||
        series_init(&self->series, INTERVALS_MOST, TOTAL_COUNT, error) != 0) {
        return -1;
    }
    whom.targets = self->targets;
    whom.target_count = self->target_count;
    if (targets_open(&self->followed, &whom, error) != 0) {
        return -1;
    }
    config.targets = self->followed;
    if (probe_syscalls.open(&self->probe, &config, error) != 0 || watch_targets(self, error) != 0 ||
        take_baselines(self, error) != 0 || probe_syscalls.start(self->probe, error) != 0) {
        return -1;
    }
    self->start_ns = clock_now_ns();
    gate_open(targets_gate(self->followed), self->start_ns);
    self->interval_start_ns = self->start_ns;
    if (self->plan->command != NULL &&
        held_release(&self->command, self->plan->command[0], error) != 0) {
        return -1;
    }
    return 0;
}

/* ---- while it runs ---- */

static void totals_of(const struct record_run *run, uint64_t *totals)
{
    memset(totals, 0, TOTAL_COUNT * sizeof *totals);
    for (size_t i = 0; i < run->process_count; i++) {
        const struct record_calls *calls = &run->processes[i].kernel_calls;
        for (size_t j = 0; j < calls->syscall_count; j++) {
            const struct record_syscall *call = &calls->syscalls[j];
            totals[TOTAL_CALLS] += call->calls;
            totals[TOTAL_BYTES] += call->bytes;
            for (size_t k = 0; k < call->error_count; k++) {
                totals[TOTAL_ERRORS] += call->errors[k].count;
            }
        }
    }
}

/* Ends an interval: its difference goes to the series and to whoever prints it. */
static int end_interval(struct observation *self, uint64_t now_ns, struct err *error)
{
    struct record fresh = {0};
    struct record_run *now = record_add_run(&fresh, "interval");
    if (now == NULL) {
        return no_memory(error);
    }
    if (read_probe(self, now, error) != 0) {
        record_release(&fresh);
        return -1;
    }
    /* What is left at the end, after the last whole interval, is no line of its own. */
    bool sliver = now_ns - self->interval_start_ns < self->plan->interval_ns / 10;
    struct observe_interval interval = {.start_ns = self->interval_start_ns - self->start_ns,
                                        .duration_ns = now_ns - self->interval_start_ns,
                                        .before = &self->last.runs[0],
                                        .now = now};
    struct series_point point = {.start_ns = interval.start_ns,
                                 .duration_ns = interval.duration_ns};
    uint64_t before[TOTAL_COUNT], after[TOTAL_COUNT];
    totals_of(interval.before, before);
    totals_of(now, after);
    for (int i = 0; i < TOTAL_COUNT; i++) {
        point.counters[i] = after[i] - before[i];
    }
    series_append(&self->series, &point);
    if (self->plan->on_interval != NULL && !(sliver && self->series.count > 1)) {
        self->plan->on_interval(self->plan->context, &interval);
    }
    record_release(&self->last);
    self->last = fresh;
    self->interval_start_ns = now_ns;
    return 0;
}

/* Targets by pid that have ended are no longer polled. True where one is left, or one by name. */
static bool targets_left(struct observation *self)
{
    bool left = false;
    for (size_t i = 2; i < self->watched_count; i++) {
        struct pollfd *target = &self->watched[i];
        if (target->fd >= 0 && target->revents != 0) {
            close(target->fd);
            target->fd = -1;
        }
        left = left || target->fd >= 0;
    }
    for (size_t i = 0; i < self->plan->target_count; i++) {
        left = left || self->plan->targets[i].pid == 0;
    }
    return left;
}

/* Takes a signal. A terminal has sent it to the command too (it is in the same process group);
 * anyone else has not. */
static bool signalled(struct observation *self)
{
    struct signalfd_siginfo taken;
    if (read(self->signals, &taken, sizeof taken) != sizeof taken) {
        return false;
    }
    self->end->signal = (int)taken.ssi_signo;
    if (self->command.pid > 0 && taken.ssi_code != SI_KERNEL) {
        kill(self->command.pid, (int)taken.ssi_signo);
    }
    return true;
}

static int timeout_ms(uint64_t now_ns, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) {
        return -1;
    }
    uint64_t left = until_ns > now_ns ? until_ns - now_ns : 0;
    uint64_t ms = (left + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 60000 ? 60000 : (int)ms;
}

/* Until the command or the last target has ended, the duration is over, or a signal came. */
static int watch(struct observation *self, struct err *error)
{
    const struct observe_plan *plan = self->plan;
    uint64_t end_ns = plan->duration_ns ? self->start_ns + plan->duration_ns : UINT64_MAX;
    uint64_t next_ns = plan->interval_ns ? self->start_ns + plan->interval_ns : UINT64_MAX;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= next_ns) {
            if (end_interval(self, now_ns, error) != 0) {
                return -1;
            }
            while (next_ns <= now_ns) {
                next_ns += plan->interval_ns;
            }
        }
        if (now_ns >= end_ns) {
            return 0;
        }
        int wait = timeout_ms(now_ns, end_ns < next_ns ? end_ns : next_ns);
        if (poll(self->watched, self->watched_count, wait) < 0) {
            if (errno == EINTR) {
                continue;
            }
            return err_system(error, errno, "observe", "cannot wait");
        }
        if (self->watched[0].revents != 0 && signalled(self)) {
            if (self->command.pid == 0) {
                return 0;
            }
            uint64_t grace_ns = clock_now_ns() + GRACE_MS * NS_PER_MS;
            end_ns = grace_ns < end_ns ? grace_ns : end_ns;
        }
        if (self->command.pid > 0) {
            if (self->watched[1].revents != 0) {
                self->end->command_ended = true;
                return 0;
            }
        } else if (!targets_left(self)) {
            return 0;
        }
    }
}

/* ---- the record ---- */

/* CPU time of a process within the window, where it can be known exactly: it still runs, or is the
 * command, which nobody but us reaps. */
static void add_cpu(struct observation *self, struct record_process *process, uint64_t window_ns)
{
    struct process_sample now, before = {0};
    struct err gone = {0};
    bool command = process->pid == self->command.pid && self->end->command_ended;
    bool known = false;
    process->busiest_thread = -1;
    if ((!command && !targets_observes(self->followed, process->pid)) ||
        process_sample(process->pid, &now, &gone) != 0 ||
        (!command && !targets_observes(self->followed, process->pid))) {
        return;
    }
    for (size_t i = 0; i < self->baseline_count && !known; i++) {
        known = self->baselines[i].pid == process->pid &&
                self->baselines[i].sample.started_ns == now.started_ns;
        before = known ? self->baselines[i].sample : before;
    }
    /* One that began within the window has used all of its time in it. */
    if (!known && now.age_ns > now.at_ns - self->start_ns && !command) {
        return;
    }
    process->cpu_available = true;
    process->cpu_window_ns = window_ns;
    /* The split follows tick samples and may go back a little; the sum does not. */
    uint64_t total =
        now.cpu_user_ns + now.cpu_system_ns - before.cpu_user_ns - before.cpu_system_ns;
    uint64_t system =
        now.cpu_system_ns > before.cpu_system_ns ? now.cpu_system_ns - before.cpu_system_ns : 0;
    process->cpu_system_ns = system < total ? system : total;
    process->cpu_user_ns = total - process->cpu_system_ns;
    process->switches_voluntary = now.switches_voluntary > before.switches_voluntary
                                      ? now.switches_voluntary - before.switches_voluntary
                                      : 0;
    process->switches_involuntary = now.switches_involuntary > before.switches_involuntary
                                        ? now.switches_involuntary - before.switches_involuntary
                                        : 0;
    process->rss_bytes = now.rss_bytes;
}

static int add_values(struct record_run *run, const uint64_t *totals)
{
    for (size_t i = 0; i < METRIC_COUNT_ALL; i++) {
        struct record_value *value = record_add_value(run, &metrics[i]);
        if (value == NULL) {
            return -1;
        }
        value->available = metric_compute(&metrics[i], totals, run->window_ns, &value->value);
    }
    return 0;
}

static int add_intervals(const struct observation *self, struct record_run *run)
{
    for (size_t i = 0; i < self->series.count; i++) {
        const struct series_point *point = &self->series.points[i];
        struct record_interval *interval = record_add_interval(run);
        if (interval == NULL) {
            return -1;
        }
        interval->start_ns = point->start_ns;
        interval->duration_ns = point->duration_ns;
        for (size_t j = 0; j < METRIC_COUNT_ALL; j++) {
            if (!metrics[j].per_interval) {
                continue;
            }
            struct record_value *value = record_interval_add_value(interval, &metrics[j]);
            if (value == NULL) {
                return -1;
            }
            value->available =
                metric_compute(&metrics[j], point->counters, point->duration_ns, &value->value);
        }
    }
    return 0;
}

static void describe(const struct observation *self, struct record_run *run)
{
    size_t used = 0;
    snprintf(run->mode, sizeof run->mode, "observed");
    if (self->plan->command == NULL) {
        for (size_t i = 0; i < self->plan->target_count && used < sizeof run->detail; i++) {
            const struct probe_target *target = &self->plan->targets[i];
            int length = target->pid != 0 ? snprintf(run->detail + used, sizeof run->detail - used,
                                                     "%spid=%d", i > 0 ? " " : "", (int)target->pid)
                                          : snprintf(run->detail + used, sizeof run->detail - used,
                                                     "%scomm=%s", i > 0 ? " " : "", target->name);
            used += length > 0 ? (size_t)length : 0;
        }
    }
    for (char **word = self->plan->command; word != NULL && *word != NULL; word++) {
        if (used < sizeof run->detail) {
            int length = snprintf(run->detail + used, sizeof run->detail - used, "%s%s",
                                  used > 0 ? " " : "", *word);
            used += length > 0 ? (size_t)length : 0;
        }
    }
    snprintf(run->observation, sizeof run->observation, "system calls and io_uring (bpf), %s",
             self->plan->follow ? "children followed" : "children not followed");
}

static int fill_run(struct observation *self, struct record_run *run, uint64_t end_ns,
                    struct err *error)
{
    uint64_t totals[TOTAL_COUNT];
    run->window_ns = end_ns - self->start_ns;
    run->wall_ns = run->window_ns;
    if (read_probe(self, run, error) != 0) {
        return -1;
    }
    totals_of(run, totals);
    for (size_t i = 0; i < run->process_count; i++) {
        struct record_process *process = &run->processes[i];
        process->kernel_calls.window_ns = run->window_ns;
        add_cpu(self, process, run->window_ns);
    }
    describe(self, run);
    if (add_values(run, totals) != 0 || add_intervals(self, run) != 0) {
        return no_memory(error);
    }
    run->complete = true;
    if (self->end->signal != 0 && (self->plan->duration_ns != 0 || self->plan->command != NULL)) {
        run->complete = false;
        err_set(&run->failure, ERR_INTERRUPTED, "observe", "ended by %s",
                self->end->signal == SIGINT   ? "SIGINT"
                : self->end->signal == SIGHUP ? "SIGHUP"
                                              : "SIGTERM");
    }
    return 0;
}

static uint64_t time_ns(struct timeval time)
{
    return (uint64_t)time.tv_sec * NS_PER_SECOND + (uint64_t)time.tv_usec * NS_PER_US;
}

/* Ends the command where it still runs, reaps it, and adds what it and its children used. */
static int end_command(struct observation *self, struct record_run *run, struct err *error)
{
    struct rusage usage = {0};
    if (self->command.pid == 0) {
        return 0;
    }
    self->end->command_killed = held_end(&self->command, SIGTERM, self->end->signal ? 0 : GRACE_MS,
                                         &self->end->command_status, &usage);
    if (!self->end->command_ended) {
        return 0; /* its usage goes beyond the window */
    }
    struct record_value *user = record_add_value(run, &command_user);
    if (user == NULL) {
        return no_memory(error);
    }
    user->available = true;
    user->value = (double)time_ns(usage.ru_utime);
    struct record_value *system = record_add_value(run, &command_system);
    if (system == NULL) {
        return no_memory(error);
    }
    system->available = true;
    system->value = (double)time_ns(usage.ru_stime);
    return 0;
}

static void release(struct observation *self)
{
    int status;
    probe_syscalls.close(self->probe);
    targets_close(self->followed);
    held_end(&self->command, SIGKILL, 0, &status, NULL);
    for (size_t i = 2; i < self->watched_count; i++) {
        if (self->watched[i].fd >= 0) {
            close(self->watched[i].fd);
        }
    }
    if (self->signals >= 0) {
        close(self->signals);
    }
    if (self->masked) {
        pthread_sigmask(SIG_SETMASK, &self->mask, NULL);
    }
    record_release(&self->last);
    series_release(&self->series);
    free(self->baselines);
    free(self->watched);
    free(self->targets);
}

int observe_run(const struct observe_plan *plan, struct record_run *run, struct observe_end *end,
                struct err *error)
{
    struct observation self = {
        .plan = plan,
        .end = end,
        .signals = -1,
        .command = {.pid_file = -1, .go = -1, .trouble = -1},
    };
    *end = (struct observe_end){0};
    int status = begin(&self, error);
    if (status == 0) {
        status = watch(&self, error);
    }
    if (status == 0) {
        status = probe_syscalls.stop(self.probe, error);
    }
    uint64_t end_ns = clock_now_ns();
    if (status == 0 && plan->interval_ns != 0 && end_ns > self.interval_start_ns) {
        status = end_interval(&self, end_ns, error);
    }
    if (status == 0) {
        status = fill_run(&self, run, end_ns, error);
    }
    if (status == 0) {
        status = end_command(&self, run, error);
    }
    release(&self);
    return status;
}
