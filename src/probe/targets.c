/* Whom the probes look at: adding processes, finding their children, listing them. */
#include "probe/targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe/proc_file.h"
#include "probe/process.h"
#include "probe/targets_state.h"

/* So many processes have counts of their own: as many as probes can keep within this memory, at
 * about so much for each process and CPU. */
#define SLOT_BYTES_ALL (UINT64_C(64) << 20)
#define SLOT_BYTES (UINT64_C(16) << 10)
#define SLOTS_LEAST 8

/* The gate is read by BPF programs through the other declaration. */
_Static_assert(sizeof(struct gate) == sizeof(struct shared_gate), "the same memory");

/* ---- whom to observe ---- */

static void name_slot(struct slot *slot, const char *name)
{
    memset(slot->name, 0, sizeof slot->name);
    memcpy(slot->name, name, strnlen(name, NAME_BYTES - 1));
}

/* Adds one process; one that is observed already is left as it is. 0, or an errno: ESRCH where it
 * is gone. */
static int add_process(struct targets *targets, pid_t pid, uint32_t target, bool waiting)
{
    struct targets_state *state = targets->state;
    struct process_sample sample;
    struct err ignored = {0};
    uint32_t tgid = (uint32_t)pid;
    if (table_find(state->table, tgid) != ENTRY_NONE) {
        return 0;
    }
    if (process_sample(pid, &sample, &ignored) != 0) {
        return ESRCH;
    }
    uint32_t slot = slot_take(state, targets->slots);
    if (slot != targets->slots - 1) {
        struct slot *to = &state->slots[slot];
        to->tgid = tgid;
        to->target = target;
        name_slot(to, sample.name);
        __atomic_store_n(&to->state, waiting ? SLOT_WAITING : SLOT_ACTIVE, __ATOMIC_RELEASE);
    }
    if (!table_insert(state->table, tgid, (waiting ? 0 : ENTRY_ACTIVE) | slot)) {
        __sync_fetch_and_add(&state->lost_processes, 1);
        return ENOSPC;
    }
    /* Gone before its exit could be seen: its entry would wait for a process of the same id. */
    if (process_sample(pid, &sample, &ignored) != 0 || sample.threads == 0) {
        table_remove(state->table, tgid);
        return ESRCH;
    }
    return 0;
}

/* Existing descendants: what /proc shows as children, level by level. */
static void add_children(struct targets *targets, pid_t parent, uint32_t target, int depth)
{
    pid_t *children = NULL;
    size_t count = 0;
    struct err ignored = {0};
    if (depth == 0 || process_children(parent, &children, &count, &ignored) != 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (add_process(targets, children[i], target, false) == 0) {
            add_children(targets, children[i], target, depth - 1);
        }
    }
    free(children);
}

static int add_name(struct targets *targets, uint32_t target, struct err *error)
{
    pid_t *pids = NULL;
    size_t count = 0;
    if (process_find(targets->targets[target].name, &pids, &count, error) != 0) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (pids[i] != getpid() && add_process(targets, pids[i], target, false) == 0 &&
            targets->follow) {
            add_children(targets, pids[i], target, 64);
        }
    }
    free(pids);
    return 0;
}

/* The process that a thread belongs to: /proc serves a thread's id like a process's, but the table
 * knows processes only. 0 where there is none. */
static pid_t process_of(pid_t pid)
{
    char path[64], text[1024];
    struct err gone = {0};
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (proc_file_read(path, text, sizeof text, &gone) < 0) {
        return 0;
    }
    const char *line = strstr(text, "\nTgid:");
    return line != NULL ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

/* The slot of a process that is observed; NULL where it is not, or shares the last one. */
static struct slot *slot_of(struct targets *targets, uint32_t tgid)
{
    uint64_t entry = table_find(targets->state->table, tgid);
    uint32_t slot = (uint32_t)entry & ~ENTRY_ACTIVE;
    return entry == ENTRY_NONE || slot >= targets->slots - 1 ? NULL : &targets->state->slots[slot];
}

/* Who is named has the role that it is named with, also where it was found as a child before. */
static void claim(struct targets *targets, uint32_t tgid, uint32_t index)
{
    struct slot *slot = slot_of(targets, tgid);
    if (slot != NULL) {
        slot->target = index;
    }
}

void targets_drop(struct targets *targets, pid_t pid)
{
    struct slot *slot = slot_of(targets, (uint32_t)pid);
    table_remove(targets->state->table, (uint32_t)pid);
    if (slot != NULL) {
        __atomic_store_n(&slot->state, SLOT_FREE, __ATOMIC_RELEASE);
    }
}

/* True while the process is a fork of this one that has not called execve yet: both have the same
 * auxiliary vector. Each execve makes a new one, with addresses chosen at random. */
static bool before_exec(pid_t pid)
{
    char path[64], own[1024], other[1024];
    struct err ignored = {0};
    snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
    ssize_t own_bytes = proc_file_read("/proc/self/auxv", own, sizeof own, &ignored);
    ssize_t other_bytes = proc_file_read(path, other, sizeof other, &ignored);
    return own_bytes > 0 && own_bytes == other_bytes && memcmp(own, other, (size_t)own_bytes) == 0;
}

static int add_one(struct targets *targets, uint32_t index, struct err *error)
{
    const struct probe_target *target = &targets->targets[index];
    if (target->pid == 0) {
        return add_name(targets, index, error);
    }
    char subject[32];
    snprintf(subject, sizeof subject, "pid=%d", (int)target->pid);
    pid_t process = process_of(target->pid);
    if (process != 0 && process != target->pid) {
        return err_set(error, ERR_USAGE, subject, "is a thread of process %d", (int)process);
    }
    bool waiting = target->at_exec && (targets->programs || before_exec(target->pid));
    int number = add_process(targets, target->pid, index, waiting);
    if (number != 0) {
        return err_set(error, ERR_SYSTEM, subject, "%s",
                       number == ESRCH ? "there is no such process" : strerror(number));
    }
    claim(targets, (uint32_t)target->pid, index);
    if (targets->follow && !target->at_exec) {
        add_children(targets, target->pid, index, 64);
    }
    return 0;
}

int targets_add(struct targets *targets, const struct probe_target *target, struct err *error)
{
    struct probe_target *larger =
        reallocarray(targets->targets, targets->target_count + 1, sizeof *larger);
    if (larger == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    targets->targets = larger;
    larger[targets->target_count++] = *target;
    return add_one(targets, (uint32_t)(targets->target_count - 1), error);
}

/* ---- opening ---- */

/* Without BPF the state is plain memory. */
static int map_state(struct targets *targets, struct err *error)
{
    targets->state_bytes = sizeof *targets->state;
    void *memory =
        mmap(NULL, targets->state_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_system(error, errno, "observe", "no memory");
    }
    targets->state = memory;
    return 0;
}

static int prepare(struct targets *targets, const struct targets_config *config, struct err *error)
{
    if ((config->bpf ? targets_bpf_open : map_state)(targets, error) != 0) {
        return -1;
    }
    struct targets_state *state = targets->state;
    state->slot_limit = targets->slots;
    state->follow = targets->follow;
    snprintf(state->slots[targets->slots - 1].name, NAME_BYTES, "(others)");
    snprintf(state->threads[THREADS_MOST - 1].name, NAME_BYTES, "(others)");
    /* The programs that follow processes come first, so that none slips by unseen. */
    if (config->bpf && targets_bpf_attach(targets, error) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < targets->target_count; i++) {
        if (add_one(targets, i, error) != 0) {
            return -1;
        }
    }
    return 0;
}

int targets_open(struct targets **targets, const struct targets_config *config, struct err *error)
{
    *targets = NULL;
    struct targets *opened = calloc(1, sizeof *opened);
    if (opened != NULL) {
        opened->targets = calloc(config->target_count + 1, sizeof *opened->targets);
    }
    if (opened == NULL || opened->targets == NULL) {
        free(opened);
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    if (config->target_count > 0) {
        memcpy(opened->targets, config->targets, config->target_count * sizeof *opened->targets);
    }
    opened->target_count = config->target_count;
    opened->looking = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    opened->follow = config->follow;
    opened->call_chain = -1;
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    uint64_t slots = SLOT_BYTES_ALL / (SLOT_BYTES * (uint64_t)(cpus > 0 ? cpus : 1));
    slots = slots < SLOTS_LEAST ? SLOTS_LEAST : slots > SLOTS_MOST ? SLOTS_MOST : slots;
    opened->slots = (uint32_t)slots;
    if (prepare(opened, config, error) != 0) {
        targets_close(opened);
        return -1;
    }
    *targets = opened;
    return 0;
}

void targets_close(struct targets *targets)
{
    if (targets == NULL) {
        return;
    }
    targets_bpf_close(targets);
    if (targets->state != NULL) {
        munmap(targets->state, targets->state_bytes);
    }
    free(targets->targets);
    free(targets);
}

/* ---- reading ---- */

struct gate *targets_gate(struct targets *targets)
{
    return (struct gate *)&targets->state->gate;
}

const char *targets_role(const struct targets *targets, const struct slot *slot)
{
    return slot->target < targets->target_count ? targets->targets[slot->target].role : "observed";
}

static uint32_t places_used(const uint32_t *next, const __u64 *crowded, uint32_t last, bool *shared)
{
    uint32_t own = __atomic_load_n(next, __ATOMIC_ACQUIRE);
    *shared = __atomic_load_n(crowded, __ATOMIC_RELAXED) != 0;
    return own < last ? own : last;
}

uint32_t targets_slots_used(const struct targets *targets, bool *shared)
{
    const struct targets_state *state = targets->state;
    return places_used(&state->next_slot, &state->crowded, targets->slots - 1, shared);
}

uint32_t targets_threads_used(const struct targets *targets, bool *shared)
{
    const struct targets_state *state = targets->state;
    return places_used(&state->next_thread, &state->crowded_threads, THREADS_MOST - 1, shared);
}

const char *targets_thread_name(const struct thread_slot *thread, char *to, size_t size)
{
    char path[64];
    struct err gone = {0};
    snprintf(path, sizeof path, "/proc/%u/task/%u/comm", thread->tgid, thread->tid);
    if (thread->tid == 0 || thread->state == SLOT_EXITED ||
        proc_file_read(path, to, size, &gone) <= 0) {
        snprintf(to, size, "%.*s", NAME_BYTES, thread->name);
    }
    to[strcspn(to, "\n")] = '\0';
    return to;
}

void targets_process_scope(const struct targets *targets, uint32_t slot, struct record_scope *scope)
{
    const struct slot *of = &targets->state->slots[slot];
    *scope = (struct record_scope){.pid = (pid_t)of->tgid}; /* 0: the shared one */
    snprintf(scope->role, sizeof scope->role, "%s", targets_role(targets, of));
    snprintf(scope->name, sizeof scope->name, "%.*s", NAME_BYTES, of->name);
}

void targets_thread_scope(const struct targets *targets, uint32_t thread,
                          struct record_scope *scope)
{
    const struct thread_slot *of = &targets->state->threads[thread];
    const struct slot *process = &targets->state->slots[of->slot & (SLOTS_MOST - 1)];
    *scope = (struct record_scope){.pid = (pid_t)of->tgid, .tid = (pid_t)of->tid};
    snprintf(scope->role, sizeof scope->role, "%s", targets_role(targets, process));
    targets_thread_name(of, scope->name, sizeof scope->name);
}

/* Without BPF nobody says that a process has called execve, has ended, or has children: looked up
 * here. */
static void look_up(struct targets *targets)
{
    bool shared;
    uint32_t used = targets_slots_used(targets, &shared);
    for (uint32_t i = 0; i < used; i++) {
        struct slot *slot = &targets->state->slots[i];
        struct process_sample sample;
        struct err gone = {0};
        if (slot->state == SLOT_EXITED) {
            continue;
        }
        bool waits = slot->state == SLOT_WAITING && before_exec((pid_t)slot->tgid);
        bool there = process_sample((pid_t)slot->tgid, &sample, &gone) == 0;
        if (there) {
            name_slot(slot, sample.name); /* that of its last execve, also once it has ended */
        }
        if (!there || sample.threads == 0) {
            slot->state = SLOT_EXITED;
            table_remove(targets->state->table, slot->tgid);
            continue;
        }
        if (waits) {
            continue;
        }
        slot->state = SLOT_ACTIVE;
        if (targets->follow) {
            add_children(targets, (pid_t)slot->tgid, slot->target, 64);
        }
    }
}

static int list_slots(struct targets *targets, bool waiting, struct target_process **list,
                      size_t *count, struct err *error)
{
    bool shared;
    if (targets->programs == NULL) {
        pthread_mutex_lock(&targets->looking);
        look_up(targets);
        pthread_mutex_unlock(&targets->looking);
    }
    uint32_t used = targets_slots_used(targets, &shared);
    *count = 0;
    *list = calloc((size_t)used + 1, sizeof **list);
    if (*list == NULL) {
        return err_set(error, ERR_LIMIT, "observe", "no memory");
    }
    for (uint32_t i = 0; i < used; i++) {
        const struct slot *slot = &targets->state->slots[i];
        uint32_t state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
        if (state == SLOT_FREE || waiting != (state == SLOT_WAITING)) {
            continue;
        }
        struct target_process *process = &(*list)[(*count)++];
        *process = (struct target_process){.pid = (pid_t)slot->tgid,
                                           .slot = i,
                                           .ended = state == SLOT_EXITED,
                                           .role = targets_role(targets, slot)};
        snprintf(process->name, sizeof process->name, "%.*s", NAME_BYTES, slot->name);
    }
    return 0;
}

int targets_list(struct targets *targets, struct target_process **list, size_t *count,
                 struct err *error)
{
    return list_slots(targets, false, list, count, error);
}

int targets_list_waiting(struct targets *targets, struct target_process **list, size_t *count,
                         struct err *error)
{
    return list_slots(targets, true, list, count, error);
}

bool targets_alive(struct targets *targets)
{
    if (targets->programs == NULL) {
        pthread_mutex_lock(&targets->looking);
        look_up(targets);
        pthread_mutex_unlock(&targets->looking);
    }
    for (size_t i = 0; i < targets->target_count; i++) {
        uint32_t tgid = (uint32_t)targets->targets[i].pid;
        if (tgid == 0 || table_find(targets->state->table, tgid) != ENTRY_NONE) {
            return true; /* processes of a name may come at any time */
        }
    }
    return false;
}

bool targets_observes(struct targets *targets, pid_t pid)
{
    return table_find(targets->state->table, (uint32_t)pid) != ENTRY_NONE;
}

uint64_t targets_lost(struct targets *targets)
{
    return targets->state->lost_processes + targets->state->lost_events + targets_bpf_lost(targets);
}
