/* From what was observed to its record. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/observe_state.h"

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

void observe_totals(const struct record_run *run, uint64_t *totals)
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

/* CPU time of a process within the window, where it can be known exactly: it still runs, or is the
 * command, which nobody but us reaps. */
static void add_cpu(struct observation *self, struct record_process *process, uint64_t window_ns)
{
    struct process_sample now, before = {0};
    struct err gone = {0};
    bool command = process->pid == self->command.pid && self->end->command_ended;
    bool known = false;
    process->busiest_thread = -1;
    if ((!command && !targets_observes(self->probes.targets, process->pid)) ||
        process_sample(process->pid, &now, &gone) != 0 ||
        (!command && !targets_observes(self->probes.targets, process->pid))) {
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
    used = 0;
    for (size_t i = 0; i < self->probes.count && used < sizeof run->observation; i++) {
        const struct chosen_probe *chosen = &self->probes.chosen[i];
        used += (size_t)snprintf(run->observation + used, sizeof run->observation - used, "%s%s%s",
                                 i > 0 ? ", " : "probes ", chosen->ops->name,
                                 chosen->probe != NULL ? "" : " (n/a)");
    }
    if (used < sizeof run->observation) {
        snprintf(run->observation + used, sizeof run->observation - used, "%s, %s",
                 self->probes.count > 1 ? " at the same time" : "",
                 self->plan->follow ? "children followed" : "children not followed");
    }
}

/* The observed processes, where the system call probe does not bring them. */
static int add_processes(struct observation *self, struct record_run *run, struct err *error)
{
    struct target_process *list = NULL;
    size_t count = 0;
    if (targets_list(self->probes.targets, &list, &count, error) != 0) {
        return -1;
    }
    struct record_process *process = NULL;
    for (size_t i = 0; i < count && (i == 0 || process != NULL); i++) {
        process = record_add_process(run, list[i].role, list[i].pid, list[i].name);
        if (process != NULL) {
            snprintf(process->kernel_calls.reason, sizeof process->kernel_calls.reason,
                     "the probe syscalls was not on");
        }
    }
    free(list);
    return count == 0 || process != NULL ? 0 : err_set(error, ERR_LIMIT, "observe", "no memory");
}

static int add_probes(struct observation *self, struct record_run *run, struct err *error)
{
    struct probe_scope scope = {.window_ns = run->window_ns};
    if (self->calls == NULL && add_processes(self, run, error) != 0) {
        return -1;
    }
    for (size_t i = 0; i < self->probes.count; i++) {
        struct chosen_probe *chosen = &self->probes.chosen[i];
        struct record_probe *entry = probe_set_read(chosen, &scope, run, error);
        if (entry == NULL) {
            return -1;
        }
        struct record_effect *effect = &entry->effect;
        snprintf(effect->reason, sizeof effect->reason, "%s",
                 chosen->probe != NULL ? "it was on from start to end: only the --observe of a "
                                         "workload measures it"
                                       : "it was not on");
    }
    return 0;
}

int observe_fill(struct observation *self, struct record_run *run, uint64_t end_ns,
                 struct err *error)
{
    uint64_t totals[TOTAL_COUNT];
    run->window_ns = end_ns - self->start_ns;
    run->wall_ns = run->window_ns;
    run->observing = true;
    if (add_probes(self, run, error) != 0) {
        return -1;
    }
    observe_totals(run, totals);
    for (size_t i = 0; i < run->process_count; i++) {
        struct record_process *process = &run->processes[i];
        add_cpu(self, process, run->window_ns);
    }
    describe(self, run);
    if (self->calls != NULL && (add_values(run, totals) != 0 || add_intervals(self, run) != 0)) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
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
