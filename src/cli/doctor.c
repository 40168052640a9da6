#include "cli/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "net/net.h"
#include "probe/probe.h"
#include "run/limits.h"
#include "run/machine.h"
#include "run/sysfile.h"

enum { NOISE_MS = 200, REASON_BYTES = 256 };

/* A text that jansson takes: reasons may hold bytes that are no UTF-8. */
static json_t *text(const char *value)
{
    json_t *string = json_string(value);
    return string ? string : json_string("(unreadable)");
}

static json_t *item(const char *name, bool serves, const char *help, const char *reason,
                    const char *fix)
{
    json_t *object = json_object();
    int failed = json_object_set_new(object, "name", text(name)) |
                 json_object_set_new(object, "serves", json_boolean(serves)) |
                 json_object_set_new(object, "help", text(help));
    if (reason && !serves) {
        failed |= json_object_set_new(object, "reason", text(reason));
    }
    if (fix && fix[0] && !serves) {
        failed |= json_object_set_new(object, "fix", text(fix));
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *gather_engines(void)
{
    json_t *list = json_array();
    for (size_t i = 0; engines[i]; i++) {
        char reason[REASON_BYTES] = "";
        bool serves = engines[i]->why_not(reason, sizeof reason) == 0;
        json_array_append_new(list, item(engines[i]->name, serves, engines[i]->help, reason, NULL));
    }
    return list;
}

static json_t *gather_transports(void)
{
    json_t *list = json_array();
    for (size_t i = 0; transports[i]; i++) {
        json_array_append_new(list,
                              item(transports[i]->form, true, transports[i]->help, NULL, NULL));
    }
    return list;
}

static json_t *gather_probes(void)
{
    json_t *list = json_array();
    for (size_t i = 0; probes[i]; i++) {
        char reason[REASON_BYTES] = "", fix[REASON_BYTES] = "";
        bool serves = probes[i]->why_not(reason, sizeof reason, fix, sizeof fix) == 0;
        json_array_append_new(list, item(probes[i]->name, serves, probes[i]->help, reason, fix));
    }
    return list;
}

static json_t *gather_build(void)
{
    json_t *list = json_array();
    json_array_append_new(list,
                          item("io_uring", SONDE_HAVE_URING, "the uring engine",
                               "built without liburing", "install liburing-dev and build again"));
    json_array_append_new(list, item("BPF", SONDE_HAVE_BPF, "the probes that look into the kernel",
                                     "built without libbpf, clang or bpftool",
                                     "install libbpf-dev, clang and bpftool and build again"));
    json_array_append_new(list,
                          item("elfutils", SONDE_HAVE_ELFUTILS, "names of functions in profiles",
                               "built without libdw", "install libdw-dev and build again"));
    return list;
}

static json_t *limit_value(rlim_t value)
{
    return value == RLIM_INFINITY ? json_string("unlimited") : json_integer((json_int_t)value);
}

static int set_rlimit(json_t *object, __rlimit_resource_t resource, const char *soft,
                      const char *hard)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit)) {
        return json_object_set_new(object, soft, json_string("n/a (getrlimit failed)"));
    }
    return json_object_set_new(object, soft, limit_value(limit.rlim_cur)) |
           json_object_set_new(object, hard, limit_value(limit.rlim_max));
}

static int set_number(json_t *object, const char *key, const char *path)
{
    uint64_t value;
    if (sysfile_number(path, &value)) {
        return json_object_set_new(object, key, json_string("n/a (cannot be read)"));
    }
    return json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *gather_limits(void)
{
    json_t *object = json_object();
    uint64_t ports = limits_local_ports();
    int failed =
        set_rlimit(object, RLIMIT_NOFILE, "open_files_soft", "open_files_hard") |
        set_rlimit(object, RLIMIT_NPROC, "threads_soft", "threads_hard") |
        set_number(object, "threads_of_all", "/proc/sys/kernel/threads-max") |
        set_rlimit(object, RLIMIT_MEMLOCK, "locked_memory_soft_bytes", "locked_memory_hard_bytes") |
        json_object_set_new(object, "local_ports",
                            ports ? json_integer((json_int_t)ports)
                                  : json_string("n/a (cannot be read)")) |
        set_number(object, "listen_backlog_max", "/proc/sys/net/core/somaxconn") |
        set_number(object, "receive_buffer_max_bytes", "/proc/sys/net/core/rmem_max") |
        set_number(object, "send_buffer_max_bytes", "/proc/sys/net/core/wmem_max");
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *pair_value(const struct record_pair *pair)
{
    if (!pair->numeric) {
        return text(pair->text);
    }
    return strchr(pair->text, '.') ? json_real(strtod(pair->text, NULL))
                                   : json_integer(strtoll(pair->text, NULL, 10));
}

static json_t *gather_machine(struct err *error)
{
    char *arguments[] = {"sonde", "doctor", NULL};
    struct record record;
    json_t *object = json_object();

    if (record_init(&record, 2, arguments, error)) {
        json_decref(object);
        return NULL;
    }
    int failed = machine_describe(&record, error);
    for (size_t i = 0; i < record.machine_count && !failed; i++) {
        failed = json_object_set_new(object, record.machine[i].key, pair_value(&record.machine[i]));
    }
    record_release(&record);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static void wait_ms(unsigned ms)
{
    struct timespec left = clock_timespec(ms * NS_PER_MS);
    while (nanosleep(&left, &left) && errno == EINTR) {
    }
}

/* What a share is, or null where no time was accounted. */
static json_t *share(double value)
{
    return value < 0 ? json_null() : json_real(value);
}

/* sonde itself sleeps meanwhile: what the CPUs do is others' work. */
static json_t *gather_noise(void)
{
    struct machine_sample before, after;
    struct machine_noise noise;
    struct machine_warnings warnings;
    struct err error = {0};
    json_t *object = json_object(), *list = json_array();

    if (machine_sample(&before, &error)) {
        json_object_set_new(object, "reason", text(error.what));
        json_object_set_new(object, "warnings", list);
        return object;
    }
    wait_ms(NOISE_MS);
    if (machine_sample(&after, &error)) {
        json_object_set_new(object, "reason", text(error.what));
        json_object_set_new(object, "warnings", list);
        return object;
    }
    machine_noise(&before, &after, &noise);
    machine_noise_warnings(&noise, &warnings);
    for (size_t i = 0; i < warnings.count; i++) {
        json_array_append_new(list, text(warnings.text[i]));
    }
    int failed =
        json_object_set_new(object, "window_ns",
                            json_integer((json_int_t)(after.system.at_ns - before.system.at_ns))) |
        json_object_set_new(object, "load_1m", json_real(noise.load_1m)) |
        json_object_set_new(object, "used_by_others_share", share(noise.busy_share)) |
        json_object_set_new(object, "steal_share", share(noise.steal_share)) |
        json_object_set_new(object, "throttled_ns",
                            before.throttle_known && after.throttle_known
                                ? json_integer((json_int_t)noise.throttled_ns)
                                : json_null()) |
        json_object_set_new(object, "warnings", list);
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *doctor_gather(struct err *error)
{
    json_t *report = json_object();
    *error = (struct err){0};
    int failed = json_object_set_new(report, "schema", json_string("sonde.doctor/1")) |
                 json_object_set_new(report, "version", json_string(SONDE_VERSION)) |
                 json_object_set_new(report, "engines", gather_engines()) |
                 json_object_set_new(report, "transports", gather_transports()) |
                 json_object_set_new(report, "probes", gather_probes()) |
                 json_object_set_new(report, "build", gather_build()) |
                 json_object_set_new(report, "limits", gather_limits()) |
                 json_object_set_new(report, "machine", gather_machine(error)) |
                 json_object_set_new(report, "noise", gather_noise());
    if (failed || doctor_advise(report)) {
        json_decref(report);
        if (error->code == ERR_NONE) {
            err_system(error, ENOMEM, "doctor", "cannot hold the report");
        }
        return NULL;
    }
    return report;
}
