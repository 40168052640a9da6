#include <math.h>

#include "report/figures.h"
#include "report/json_build.h"
#include "report/record.h"

static json_t *build_call_errors(struct builder *builder, const struct record_syscall *syscall)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < syscall->error_count; i++) {
        const struct record_error_count *error = &syscall->errors[i];
        char storage[16];
        bool first = true;
        for (size_t k = 0; k < i; k++) {
            first = first && syscall->errors[k].number != error->number;
        }
        if (first) {
            build_set(builder, object, figures_error_name(error, storage, sizeof storage),
                      build_count(builder, figures_errors(syscall, error->number)));
        }
    }
    return object;
}

static json_t *build_syscall(struct builder *builder, const struct record_syscall *syscall,
                             uint64_t operations)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "name", build_text(builder, syscall->name));
    build_set(builder, object, "calls", build_count(builder, syscall->calls));
    build_set(builder, object, "calls_per_operation",
              build_number(builder, figures_ratio((double)syscall->calls, (double)operations)));
    build_set(builder, object, "bytes", build_count(builder, syscall->bytes));
    build_set(builder, object, "errors", build_call_errors(builder, syscall));
    return object;
}

static json_t *build_uring(struct builder *builder, const struct record_uring *uring)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "name", build_text(builder, uring->name));
    build_set(builder, object, "submitted", build_count(builder, uring->submitted));
    build_set(builder, object, "completed", build_count(builder, uring->completed));
    build_set(builder, object, "bytes", build_count(builder, uring->bytes));
    return object;
}

static json_t *build_calls(struct builder *builder, const struct record_calls *calls)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "available", json_boolean(calls->available));
    if (!calls->available) {
        build_set(builder, object, "reason",
                  build_text(builder, calls->reason[0] ? calls->reason : "not counted"));
        return object;
    }
    json_t *syscalls = build_array(builder);
    json_t *uring = build_array(builder);
    for (size_t i = 0; i < calls->syscall_count; i++) {
        build_append(builder, syscalls,
                     build_syscall(builder, &calls->syscalls[i], calls->operations));
    }
    for (size_t i = 0; i < calls->uring_count; i++) {
        build_append(builder, uring, build_uring(builder, &calls->uring[i]));
    }
    build_set(builder, object, "source", build_text(builder, calls->source));
    build_set(builder, object, "window_ns", build_count(builder, calls->window_ns));
    build_set(builder, object, "operations",
              calls->operations ? build_count(builder, calls->operations) : json_null());
    build_set(builder, object, "syscalls", syscalls);
    build_set(builder, object, "io_uring", uring);
    build_set(builder, object, "lost", build_count(builder, calls->lost));
    return object;
}

static json_t *build_count_or_null(struct builder *builder, bool known, uint64_t value)
{
    return known ? build_count(builder, value) : json_null();
}

static void set_cpu(struct builder *builder, json_t *object, const struct record_process *process)
{
    bool known = process->cpu_available;
    double operations = known ? (double)process->cpu_operations : 0;
    double user = (double)process->cpu_user_ns, system = (double)process->cpu_system_ns;
    double window = known ? (double)process->cpu_window_ns : 0;
    const char *reason = known ? "no operations to divide by" : "CPU time not measured";
    json_t *each = build_object(builder);

    build_set(builder, object, "cpu_window_ns",
              build_count_or_null(builder, known, process->cpu_window_ns));
    build_set(builder, object, "cpu_operations",
              build_count_or_null(builder, operations > 0, process->cpu_operations));
    build_set(builder, object, "cpu_user_ns",
              build_count_or_null(builder, known, process->cpu_user_ns));
    build_set(builder, object, "cpu_system_ns",
              build_count_or_null(builder, known, process->cpu_system_ns));
    build_set(builder, each, "user",
              build_quantity(builder, figures_ratio(user, operations), "ns", reason));
    build_set(builder, each, "system",
              build_quantity(builder, figures_ratio(system, operations), "ns", reason));
    build_set(builder, object, "cpu_per_operation", each);
    build_set(builder, object, "cpu_busy",
              build_quantity(builder, figures_ratio(user + system, window), "1",
                             known ? "no time to divide by" : reason));
    build_set(builder, object, "busiest_thread",
              build_quantity(builder, process->busiest_thread < 0 ? NAN : process->busiest_thread,
                             "1", "not measured"));
}

static json_t *build_switches(struct builder *builder, const struct record_process *process)
{
    bool known = process->cpu_available; /* both come from one sample */
    json_t *object = build_object(builder);
    double all = (double)process->switches_voluntary + (double)process->switches_involuntary;
    build_set(builder, object, "voluntary",
              build_count_or_null(builder, known, process->switches_voluntary));
    build_set(builder, object, "involuntary",
              build_count_or_null(builder, known, process->switches_involuntary));
    build_set(builder, object, "per_operation",
              build_quantity(builder,
                             figures_ratio(all, known ? (double)process->cpu_operations : 0), "1",
                             known ? "no operations to divide by" : "not measured"));
    return object;
}

json_t *build_process(struct builder *builder, const struct record_process *process)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "role", build_text(builder, process->role));
    build_set(builder, object, "pid", json_integer(process->pid));
    build_set(builder, object, "processes", build_count(builder, process->processes));
    build_set(builder, object, "tid", build_id(builder, process->tid));
    build_set(builder, object, "name", build_text(builder, process->name));
    set_cpu(builder, object, process);
    build_set(builder, object, "context_switches", build_switches(builder, process));
    build_set(builder, object, "rss_bytes",
              build_count_or_null(builder, process->rss_bytes != 0, process->rss_bytes));
    build_set(builder, object, "engine_calls", build_calls(builder, &process->engine_calls));
    build_set(builder, object, "kernel_calls", build_calls(builder, &process->kernel_calls));
    return object;
}
