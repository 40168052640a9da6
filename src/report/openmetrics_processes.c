/* The families of OpenMetrics about the ends of a run. What is told of a role is the sum over its
 * processes: their numbers are others in every run, and no labels. */
#include <string.h>

#include "report/figures.h"
#include "report/openmetrics.h"

/* ---- CPU time, switches, memory -------------------------------------------------------------- */

/* One figure of a process. */
struct process_figure {
    struct exposition_label label; /* of its samples; no name: none */
    double (*of)(const struct record_process *process);
    bool with_cpu; /* it is known where the CPU time is */
};

static double user_seconds(const struct record_process *process)
{
    return (double)process->cpu_user_ns / 1e9;
}

static double system_seconds(const struct record_process *process)
{
    return (double)process->cpu_system_ns / 1e9;
}

static double voluntary(const struct record_process *process)
{
    return (double)process->switches_voluntary;
}

static double involuntary(const struct record_process *process)
{
    return (double)process->switches_involuntary;
}

static double resident(const struct record_process *process)
{
    return (double)process->rss_bytes;
}

/* True for the first process of its role. */
static bool is_first(const struct record_run *run, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(run->processes[i].role, run->processes[index].role) == 0) {
            return false;
        }
    }
    return true;
}

static bool is_known(const struct process_figure *figure, const struct record_process *process)
{
    return figure->with_cpu ? process->cpu_available : figure->of(process) > 0;
}

static void put_roles(struct exposition *exposition, const char *name, const char *suffix,
                      const struct record_run *run, const struct process_figure *figure)
{
    for (size_t i = 0; i < run->process_count; i++) {
        const char *role = run->processes[i].role;
        bool known = is_first(run, i);
        double sum = 0;
        for (size_t k = i; k < run->process_count && known; k++) {
            const struct record_process *process = &run->processes[k];
            if (strcmp(process->role, role) == 0) {
                known = is_known(figure, process);
                sum += figure->of(process);
            }
        }
        if (known) {
            const struct exposition_label labels[] = {{"role", role}, figure->label};
            exposition_sample(exposition, name, suffix, run, labels, figure->label.name ? 2 : 1,
                              sum);
        }
    }
}

static void put_figures(struct exposition *exposition, const char *name, const char *suffix,
                        const struct process_figure *figures, size_t count)
{
    const struct record_run *run;
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < count; k++) {
            put_roles(exposition, name, suffix, run, &figures[k]);
        }
    }
}

/* ---- calls to the kernel --------------------------------------------------------------------- */

static const struct record_calls *calls_of(const struct record_process *process, bool kernel)
{
    return kernel ? &process->kernel_calls : &process->engine_calls;
}

static const struct record_syscall *find_call(const struct record_calls *calls, const char *name)
{
    for (size_t i = 0; calls->available && i < calls->syscall_count; i++) {
        if (strcmp(calls->syscalls[i].name, name) == 0) {
            return &calls->syscalls[i];
        }
    }
    return NULL;
}

/* Calls by this name of all processes of the role; 0 where one before `index` has them, with which
 * they have been put. */
static uint64_t sum_calls(const struct record_run *run, size_t index, bool kernel, const char *name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < run->process_count; i++) {
        if (strcmp(run->processes[i].role, run->processes[index].role) == 0) {
            const struct record_syscall *call =
                find_call(calls_of(&run->processes[i], kernel), name);
            if (call && i < index) {
                return 0;
            }
            sum += call ? call->calls : 0;
        }
    }
    return sum;
}

static void put_calls(struct exposition *exposition, const struct record_run *run, size_t index,
                      bool kernel)
{
    const struct record_process *process = &run->processes[index];
    const struct record_calls *calls = calls_of(process, kernel);
    for (size_t i = 0; calls->available && i < calls->syscall_count; i++) {
        const char *name = calls->syscalls[i].name;
        uint64_t sum = sum_calls(run, index, kernel, name);
        const struct exposition_label labels[] = {
            {"role", process->role}, {"source", calls->source}, {"call", name}};
        if (sum) {
            exposition_sample(exposition, "sonde_system_calls", "_total", run, labels, 3,
                              (double)sum);
        }
    }
}

void exposition_of_processes(struct exposition *exposition)
{
    static const struct process_figure cpu[] = {{{"mode", "user"}, user_seconds, true},
                                                {{"mode", "system"}, system_seconds, true}};
    static const struct process_figure switches[] = {{{"kind", "voluntary"}, voluntary, true},
                                                     {{"kind", "involuntary"}, involuntary, true}};
    static const struct process_figure memory[] = {{{NULL, NULL}, resident, false}};
    const struct record_run *run;
    exposition_begin(exposition, "sonde_cpu_seconds", "counter", "seconds",
                     "CPU time of an end in the measured, unobserved time.");
    put_figures(exposition, "sonde_cpu_seconds", "_total", cpu, 2);
    exposition_begin(exposition, "sonde_context_switches", "counter", "",
                     "Context switches of an end's threads in that time.");
    put_figures(exposition, "sonde_context_switches", "_total", switches, 2);
    exposition_begin(exposition, "sonde_resident_memory_bytes", "gauge", "bytes",
                     "Resident memory of an end when its run ended.");
    put_figures(exposition, "sonde_resident_memory_bytes", "", memory, 1);
    exposition_begin(
        exposition, "sonde_system_calls", "counter", "",
        "Calls to the kernel: source engine, counted by sonde itself in the unobserved "
        "time; source bpf, seen by the kernel in the observed time.");
    for (size_t i = 0; (run = exposition_run(exposition, &i));) {
        for (size_t k = 0; k < run->process_count; k++) {
            put_calls(exposition, run, k, false);
            put_calls(exposition, run, k, true);
        }
    }
}
