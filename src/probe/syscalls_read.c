/* Reads the counts of the system call probe: plain memory, no call to the kernel. */
#include "probe/syscalls_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/syscall_names.h"

static uint64_t load(const __u64 *cell)
{
    return (uint64_t)__atomic_load_n(cell, __ATOMIC_RELAXED);
}

static const struct slot_counts *counts_on(const struct probe *probe, uint32_t cpu, uint32_t slot)
{
    return &probe->counts[(size_t)cpu * probe->targets->slots + slot];
}

/* ---- system calls ---- */

/* Kernel-internal results, as strace names them: the call was interrupted by a signal, and is
 * made again or fails with EINTR, depending on the handler. */
static const char *restart_name(int number)
{
    switch (number) {
    case 512:
        return "ERESTARTSYS";
    case 513:
        return "ERESTARTNOINTR";
    case 514:
        return "ERESTARTNOHAND";
    case 516:
        return "ERESTART_RESTARTBLOCK";
    default:
        return NULL;
    }
}

static struct record_error_count *error_entry(struct record_syscall *call, int number)
{
    for (size_t i = 0; i < call->error_count; i++) {
        if (call->errors[i].number == number) {
            return &call->errors[i];
        }
    }
    struct record_error_count *entry = record_syscall_add_error(call, number);
    if (entry != NULL && restart_name(number) != NULL) {
        snprintf(entry->name, sizeof entry->name, "%s", restart_name(number));
    }
    return entry;
}

/* place[number]: index of the call in *to, +1; 0: not there. An error whose call is not there was
 * counted after its call was read: it is left for the next read. */
static int read_errors(const struct probe *probe, uint32_t slot, const uint16_t *place,
                       struct record_calls *to)
{
    for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
        const struct error_cell *cells = counts_on(probe, cpu, slot)->errors;
        for (uint32_t i = 0; i < ERROR_CELLS; i++) {
            uint32_t key = __atomic_load_n(&cells[i].key, __ATOMIC_RELAXED);
            uint32_t number = key >> 16;
            if (key == 0 || number >= NUMBERS || place[number] == 0) {
                continue;
            }
            struct record_error_count *entry =
                error_entry(&to->syscalls[place[number] - 1], (int)(key & 0xffff));
            if (entry == NULL) {
                return -1;
            }
            entry->count += load(&cells[i].count);
        }
    }
    return 0;
}

static int read_calls(const struct probe *probe, uint32_t slot, struct record_calls *to)
{
    char storage[32];
    uint16_t place[NUMBERS] = {0};
    for (uint32_t number = 0; number < NUMBERS; number++) {
        uint64_t calls = 0, bytes = 0;
        for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
            const struct call_cell *cell = &counts_on(probe, cpu, slot)->calls[number];
            calls += load(&cell->calls);
            bytes += load(&cell->bytes);
        }
        if (calls == 0) {
            continue;
        }
        struct record_syscall *call =
            record_add_syscall(to, syscall_label(number, storage, sizeof storage));
        if (call == NULL) {
            return -1;
        }
        call->calls = calls;
        call->bytes = bytes;
        place[number] = (uint16_t)to->syscall_count;
    }
    if (read_errors(probe, slot, place, to) != 0) {
        return -1;
    }
    record_sort_calls(to);
    return 0;
}

/* ---- io_uring ---- */

static int read_operations(const struct probe *probe, uint32_t slot, struct record_calls *to)
{
    char storage[32];
    for (uint32_t operation = 0; operation < OPERATIONS; operation++) {
        struct operation_cell sum = {0};
        for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
            const struct operation_cell *cell = &counts_on(probe, cpu, slot)->operations[operation];
            sum.submitted += load(&cell->submitted);
            sum.completed += load(&cell->completed);
            sum.bytes += load(&cell->bytes);
        }
        if (sum.submitted == 0 && sum.completed == 0) {
            continue;
        }
        struct record_uring *entry =
            record_add_uring(to, uring_label(operation, storage, sizeof storage));
        if (entry == NULL) {
            return -1;
        }
        entry->submitted = sum.submitted;
        entry->completed = sum.completed;
        entry->bytes = sum.bytes;
    }
    return 0;
}

/* ---- processes ---- */

static void clear_calls(struct record_calls *calls)
{
    for (size_t i = 0; i < calls->syscall_count; i++) {
        free(calls->syscalls[i].errors);
    }
    free(calls->syscalls);
    free(calls->uring);
    calls->syscalls = NULL;
    calls->uring = NULL;
    calls->syscall_count = 0;
    calls->uring_count = 0;
}

static uint64_t slot_lost(const struct probe *probe, uint32_t slot)
{
    uint64_t lost = 0;
    for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
        lost += load(&counts_on(probe, cpu, slot)->lost);
    }
    return lost;
}

/* The first entry of this process that this read has not filled yet: a reused pid is another
 * process and gets another entry. */
static struct record_process *process_entry(struct record_run *run, const struct slot *slot,
                                            const char *role, const bool *filled, size_t known)
{
    for (size_t i = 0; i < known; i++) {
        const struct record_process *process = &run->processes[i];
        if (process->pid == (pid_t)slot->tgid && !filled[i] &&
            (process->tid == 0 || strcmp(process->role, role) == 0)) {
            return &run->processes[i];
        }
    }
    char name[NAME_BYTES + 1] = {0};
    memcpy(name, slot->name, NAME_BYTES);
    return record_add_process(run, role, (pid_t)slot->tgid, name);
}

static int read_slot(struct probe *probe, uint32_t index, const struct probe_scope *scope,
                     struct record_process *process, struct err *error)
{
    struct record_calls *calls = &process->kernel_calls;
    clear_calls(calls);
    calls->available = true;
    calls->window_ns = scope->window_ns;
    calls->operations = scope->operations;
    snprintf(calls->source, sizeof calls->source, "bpf");
    snprintf(calls->reason, sizeof calls->reason, "%s%s%s",
             index == probe->targets->slots - 1
                 ? "more processes than the probe has places: the last ones "
                   "are counted together"
                 : "",
             index == probe->targets->slots - 1 && !probe->uring ? "; " : "",
             probe->uring ? "" : probe->uring_reason);
    calls->lost = slot_lost(probe, index);
    if (read_calls(probe, index, calls) != 0 || read_operations(probe, index, calls) != 0) {
        return err_set(error, ERR_LIMIT, "syscalls", "no memory for the counts");
    }
    return 0;
}

int syscalls_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                  struct err *error)
{
    bool shared;
    uint32_t used = targets_slots_used(probe->targets, &shared);
    size_t known = run->process_count; /* entries after these are this read's own */
    bool *filled = calloc(known + 1, sizeof *filled);
    if (filled == NULL) {
        return err_set(error, ERR_LIMIT, "syscalls", "no memory for the counts");
    }
    int status = 0;
    for (uint32_t i = 0; i < probe->targets->slots && status == 0; i++) {
        bool last = i == probe->targets->slots - 1;
        const struct slot *slot = &probe->targets->state->slots[i];
        uint32_t state = __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE);
        if (last ? !shared : i >= used || state == SLOT_FREE || state == SLOT_WAITING) {
            continue;
        }
        const char *role = targets_role(probe->targets, slot);
        struct record_process *process = process_entry(run, slot, role, filled, known);
        if (process == NULL) {
            status = err_set(error, ERR_LIMIT, "syscalls", "no memory for the counts");
            break;
        }
        size_t place = (size_t)(process - run->processes);
        if (place < known) {
            filled[place] = true;
        }
        status = read_slot(probe, i, scope, process, error);
    }
    free(filled);
    /* What no process can be charged with is shown with the first one, never dropped. */
    if (status == 0 && run->process_count > 0) {
        run->processes[0].kernel_calls.lost += syscalls_lost(probe);
    }
    return status;
}

uint64_t syscalls_total(struct probe *probe, const char *role)
{
    bool shared;
    uint32_t used = targets_slots_used(probe->targets, &shared);
    uint64_t total = 0;
    for (uint32_t slot = 0; slot < probe->targets->slots; slot++) {
        bool last = slot == probe->targets->slots - 1;
        const char *of = targets_role(probe->targets, &probe->targets->state->slots[slot]);
        if ((last ? !shared : slot >= used) || (role != NULL && strcmp(of, role) != 0)) {
            continue;
        }
        for (uint32_t cpu = 0; cpu < probe->cpus; cpu++) {
            const struct call_cell *calls = counts_on(probe, cpu, slot)->calls;
            for (uint32_t number = 0; number < NUMBERS; number++) {
                total += load(&calls[number].calls);
            }
        }
    }
    return total;
}
