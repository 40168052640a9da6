/* CPU time of observed processes that are not sonde's own: sampled around the parts of a run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "run/watch_state.h"

static void add_pid(struct watch *watch, pid_t pid, const char *role)
{
    struct err ignored;
    if (watch->foreign_count < WATCH_TARGETS) {
        struct foreign *foreign = &watch->foreign[watch->foreign_count++];
        foreign->pid = pid;
        snprintf(foreign->role, sizeof foreign->role, "%s", role);
        foreign->threads_at_ns = clock_now_ns();
        process_threads(pid, &foreign->threads, &foreign->thread_count, &ignored);
    }
}

/* Every target that is there when they are first asked for. */
static void add_pids(struct watch *watch)
{
    if (watch->foreign_found) {
        return;
    }
    watch->foreign_found = true;
    for (size_t i = 0; i < watch->target_count; i++) {
        const struct probe_target *target = &watch->targets[i];
        pid_t *pids = NULL;
        size_t count = 0;
        struct err ignored;
        if (strcmp(target->role, "observed") != 0) {
            continue; /* sonde's own: its workers know better */
        }
        if (target->pid) {
            add_pid(watch, target->pid, target->role);
        } else if (process_find(target->name, &pids, &count, &ignored) == 0) {
            for (size_t j = 0; j < count; j++) {
                add_pid(watch, pids[j], target->role);
            }
        }
        free(pids);
    }
}

void watch_sample(struct watch *watch, const struct watch_name *name)
{
    if (name->sampled && name->target.pid) {
        add_pid(watch, name->target.pid, name->target.role);
        for (size_t i = 0; i < name->more_count; i++) {
            add_pid(watch, name->more[i], name->target.role);
        }
    }
}

size_t watch_foreign(struct watch *watch, pid_t *pids, size_t most)
{
    add_pids(watch);
    size_t count = watch->foreign_count < most ? watch->foreign_count : most;
    for (size_t i = 0; i < count; i++) {
        pids[i] = watch->foreign[i].pid;
    }
    return count;
}

void watch_part_begins(struct watch *watch)
{
    if (watch->probe_count) {
        add_pids(watch);
    }
    for (size_t i = 0; i < watch->foreign_count; i++) {
        struct foreign *foreign = &watch->foreign[i];
        struct err ignored;
        foreign->known = process_sample(foreign->pid, &foreign->last, &ignored) == 0;
    }
}

/* Their sum is exact and rises; how it is split is the kernel's estimate of all the time since the
 * process began, so that either part may fall. */
static void add_cpu(struct process_sample *sum, const struct process_sample *last,
                    const struct process_sample *now)
{
    uint64_t all_ns =
        now->cpu_user_ns + now->cpu_system_ns - last->cpu_user_ns - last->cpu_system_ns;
    uint64_t user_ns =
        now->cpu_user_ns > last->cpu_user_ns ? now->cpu_user_ns - last->cpu_user_ns : 0;
    user_ns = user_ns < all_ns ? user_ns : all_ns;
    sum->cpu_user_ns += user_ns;
    sum->cpu_system_ns += all_ns - user_ns;
}

void watch_part_ends(struct watch *watch, bool seen, uint64_t operations)
{
    for (size_t i = 0; i < watch->foreign_count; i++) {
        struct foreign *foreign = &watch->foreign[i];
        struct process_sample now;
        struct err ignored;
        if (!foreign->known || process_sample(foreign->pid, &now, &ignored) < 0) {
            continue;
        }
        if (!seen) {
            struct process_sample *sum = &foreign->sum;
            const struct process_sample *last = &foreign->last;
            foreign->window_ns += now.at_ns - last->at_ns;
            foreign->operations += operations;
            add_cpu(sum, last, &now);
            sum->switches_voluntary += now.switches_voluntary - last->switches_voluntary;
            sum->switches_involuntary += now.switches_involuntary - last->switches_involuntary;
        }
        foreign->sum.rss_bytes = now.rss_bytes;
        memcpy(foreign->sum.name, now.name, sizeof now.name);
        foreign->last = now;
    }
}

/* How busy its busiest thread was; -1: not known. */
static double busiest(const struct foreign *foreign)
{
    struct thread_sample *now = NULL;
    size_t count = 0;
    struct err ignored;
    double share = -1;
    if (foreign->threads && process_threads(foreign->pid, &now, &count, &ignored) == 0) {
        share = process_busiest(foreign->threads, foreign->thread_count, now, count,
                                clock_now_ns() - foreign->threads_at_ns);
    }
    free(now);
    return share;
}

/* Its row of the record; NULL: no memory. *again: the row is that of other processes of the same
 * end already. */
static struct record_process *row_of(const struct foreign *foreign, struct record_run *run,
                                     bool *again)
{
    bool observed = strcmp(foreign->role, "observed") == 0;
    *again = false;
    for (size_t i = 0; i < run->process_count; i++) {
        struct record_process *process = &run->processes[i];
        if (observed ? process->pid == foreign->pid : strcmp(process->role, foreign->role) == 0) {
            *again = !observed;
            return process;
        }
    }
    return record_add_process(run, foreign->role, foreign->pid, foreign->sum.name);
}

static int fill(const struct foreign *foreign, struct record_run *run)
{
    bool again;
    struct record_process *process = row_of(foreign, run, &again);
    if (!process) {
        return -1;
    }
    if (strcmp(process->role, foreign->role) != 0) {
        return 0; /* one of sonde's own ends, named by its pid */
    }
    double share = busiest(foreign);
    if (!again) {
        process->cpu_available = foreign->window_ns > 0;
        process->cpu_window_ns = foreign->window_ns;
        process->cpu_operations = foreign->operations;
        process->cpu_user_ns = process->cpu_system_ns = 0;
        process->switches_voluntary = process->switches_involuntary = process->rss_bytes = 0;
        process->busiest_thread = -1;
    }
    process->processes += again;
    process->cpu_user_ns += foreign->sum.cpu_user_ns;
    process->cpu_system_ns += foreign->sum.cpu_system_ns;
    process->switches_voluntary += foreign->sum.switches_voluntary;
    process->switches_involuntary += foreign->sum.switches_involuntary;
    process->rss_bytes += foreign->sum.rss_bytes;
    process->busiest_thread = share > process->busiest_thread ? share : process->busiest_thread;
    return 0;
}

int watch_fill_foreign(const struct watch *watch, struct record_run *run)
{
    for (size_t i = 0; i < watch->foreign_count; i++) {
        if (fill(&watch->foreign[i], run) < 0) {
            return -1;
        }
    }
    return 0;
}

void watch_release_foreign(struct watch *watch)
{
    for (size_t i = 0; i < watch->foreign_count; i++) {
        free(watch->foreign[i].threads);
        watch->foreign[i].threads = NULL;
    }
}
