#include "run/observe_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define GRACE_MS 2000
#define INTERVALS_MOST 3600 /* then neighbours are merged */

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

static void take_baseline(struct observation *self, pid_t pid)
{
    struct baseline *baseline = &self->baselines[self->baseline_count];
    struct err gone = {0};
    baseline->pid = pid;
    if (process_sample(pid, &baseline->sample, &gone) == 0) {
        self->baseline_count++;
    }
}

/* What every process that is observed now has used so far. */
static int take_baselines(struct observation *self, struct err *error)
{
    struct target_process *list = NULL;
    size_t count = 0;
    if (targets_list(self->probes.targets, &list, &count, error) != 0) {
        return -1;
    }
    self->baselines = calloc(count + 2, sizeof *self->baselines);
    for (size_t i = 0; self->baselines != NULL && i < count; i++) {
        take_baseline(self, list[i].pid);
    }
    if (self->baselines != NULL && self->command.pid > 0) {
        take_baseline(self, self->command.pid); /* it waits for its execve, after a fork */
    }
    free(list);
    return self->baselines != NULL ? 0 : no_memory(error);
}

static int read_calls(struct observation *self, struct record_run *run, struct err *error)
{
    const struct probe_scope scope = {0};
    return self->calls->ops->read(self->calls->probe, &scope, run, error);
}

/* The counts with which the first interval begins. */
static int begin_intervals(struct observation *self, struct err *error)
{
    self->interval_start_ns = self->start_ns;
    if (self->calls == NULL) {
        return 0;
    }
    struct record_run *now = record_add_run(&self->last, "start");
    return now != NULL ? read_calls(self, now, error) : no_memory(error);
}

/* Targets and probes are there, and every probe counts once the gate is open. */
static int open_probes(struct observation *self, struct err *error)
{
    struct targets_config whom = {
        .targets = self->targets, .target_count = self->target_count, .follow = self->plan->follow};
    struct probe_set *set = &self->probes;
    if (probe_set_open(set, &whom, self->plan->options, false, error) != 0) {
        return -1;
    }
    self->calls = probe_set_find_calls(set);
    for (size_t i = 0; i < set->count; i++) {
        struct chosen_probe *chosen = &set->chosen[i];
        if (chosen->probe != NULL && chosen->ops->start(chosen->probe, error) != 0) {
            return -1;
        }
    }
    return 0;
}

static int open_gate(struct observation *self, struct err *error)
{
    for (size_t i = 0; i < self->probes.count; i++) {
        struct chosen_probe *chosen = &self->probes.chosen[i];
        if (chosen->probe != NULL && chosen->ops->begin != NULL &&
            chosen->ops->begin(chosen->probe, error) != 0) {
            return -1;
        }
    }
    self->start_ns = clock_now_ns();
    gate_open(targets_gate(self->probes.targets), self->start_ns);
    return 0;
}

/* Ends the window and detaches everything. */
static int close_gate(struct observation *self, uint64_t *end_ns, struct err *error)
{
    int status = 0;
    *end_ns = clock_now_ns();
    gate_close(targets_gate(self->probes.targets), *end_ns);
    for (size_t i = 0; i < self->probes.count; i++) {
        struct chosen_probe *chosen = &self->probes.chosen[i];
        if (chosen->probe != NULL && chosen->ops->end != NULL) {
            status |= chosen->ops->end(chosen->probe, error);
        }
    }
    for (size_t i = 0; i < self->probes.count; i++) {
        struct chosen_probe *chosen = &self->probes.chosen[i];
        if (chosen->probe != NULL) {
            status |= chosen->ops->stop(chosen->probe, error);
        }
    }
    return status;
}

static int begin(struct observation *self, struct err *error)
{
    const struct observe_plan *plan = self->plan;
    if (probe_set_choose(&self->probes, plan->probes, plan->known ? plan->known : probes, error) !=
            0 ||
        take_signals(self, error) != 0) {
        return -1;
    }
    if (plan->command != NULL &&
        held_start(&self->command, &self->mask, plan->command, error) != 0) {
        return -1;
    }
    self->end->command_pid = self->command.pid;
    if (set_targets(self, error) != 0 ||
        series_init(&self->series, INTERVALS_MOST, TOTAL_COUNT, error) != 0 ||
        open_probes(self, error) != 0 || watch_targets(self, error) != 0 ||
        take_baselines(self, error) != 0 || open_gate(self, error) != 0 ||
        begin_intervals(self, error) != 0) {
        return -1;
    }
    return plan->command == NULL ? 0 : held_release(&self->command, plan->command[0], error);
}

/* ---- while it runs ---- */

/* Ends an interval: its difference goes to the series and to whoever prints it. */
static int end_interval(struct observation *self, uint64_t now_ns, struct err *error)
{
    struct record fresh = {0};
    struct record_run *now = record_add_run(&fresh, "interval");
    if (now == NULL) {
        return no_memory(error);
    }
    if (read_calls(self, now, error) != 0) {
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
    observe_totals(interval.before, before);
    observe_totals(now, after);
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
    bool intervals = plan->interval_ns && self->calls != NULL;
    uint64_t next_ns = intervals ? self->start_ns + plan->interval_ns : UINT64_MAX;
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
    probe_set_close(&self->probes);
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
    uint64_t end_ns = 0;
    if (status == 0) {
        status = close_gate(&self, &end_ns, error);
    }
    if (status == 0 && self.calls != NULL && plan->interval_ns != 0 &&
        end_ns > self.interval_start_ns) {
        status = end_interval(&self, end_ns, error);
    }
    if (status == 0) {
        status = observe_fill(&self, run, end_ns, error);
    }
    if (status == 0) {
        status = end_command(&self, run, error);
    }
    release(&self);
    return status;
}
