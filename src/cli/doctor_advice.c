#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/doctor.h"

/* Below these a common run is refused, cut or disturbed. */
enum {
    FILES_ENOUGH = 65536,    /* tens of thousands of connections */
    PORTS_ENOUGH = 28232,    /* the kernel's own default range */
    BACKLOG_ENOUGH = 4096,   /* the kernel's own default since 5.4 */
    BUFFER_ENOUGH = 212992,  /* the kernel's own default */
    CLOCK_COST_NS_MOST = 150 /* a vDSO read costs 20 to 50 ns, a system call several hundred */
};

static const double OTHERS_MOST = 0.05; /* share of all CPU time, beside sonde */

__attribute__((format(printf, 2, 3))) static void add(json_t *list, const char *format, ...)
{
    char line[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    json_t *string = json_string(line);
    json_array_append_new(list, string ? string : json_string("(unreadable)"));
}

static void advise_items(json_t *list, const json_t *report, const char *section, const char *kind)
{
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(report, section), i, item)
    {
        if (json_is_true(json_object_get(item, "serves"))) {
            continue;
        }
        const char *fix = json_string_value(json_object_get(item, "fix"));
        const char *reason = json_string_value(json_object_get(item, "reason"));
        add(list, "%s %s: %s", kind, json_string_value(json_object_get(item, "name")),
            fix ? fix : reason);
    }
}

/* True where the object has this number and it is below `enough`. */
static bool below(const json_t *object, const char *key, json_int_t enough, json_int_t *value)
{
    const json_t *number = json_object_get(object, key);
    *value = json_integer_value(number);
    return json_is_integer(number) && *value < enough;
}

static void advise_limits(json_t *list, const json_t *limits)
{
    static const char *const buffers[][2] = {
        {"receive_buffer_max_bytes", "net.core.rmem_max"},
        {"send_buffer_max_bytes", "net.core.wmem_max"},
    };
    json_int_t value;

    if (below(limits, "open_files_hard", FILES_ENOUGH, &value)) {
        add(list,
            "open files: %" JSON_INTEGER_FORMAT " at most; for more connections, as root: prlimit "
            "--pid $$ --nofile=%d",
            value, FILES_ENOUGH * 16);
    }
    if (below(limits, "local_ports", PORTS_ENOUGH, &value)) {
        add(list,
            "local ports: %" JSON_INTEGER_FORMAT " for each source address and destination; "
            "sysctl net.ipv4.ip_local_port_range=\"32768 60999\", or more --source addresses",
            value);
    }
    if (below(limits, "listen_backlog_max", BACKLOG_ENOUGH, &value)) {
        add(list, "listen backlog: cut to %" JSON_INTEGER_FORMAT "; sysctl net.core.somaxconn=%d",
            value, BACKLOG_ENOUGH);
    }
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        if (below(limits, buffers[i][0], BUFFER_ENOUGH, &value)) {
            add(list, "socket buffers: cut to %" JSON_INTEGER_FORMAT " bytes; sysctl %s=%d", value,
                buffers[i][1], BUFFER_ENOUGH);
        }
    }
}

static void advise_machine(json_t *list, const json_t *machine)
{
    json_int_t cpus;
    double cost_ns = json_number_value(json_object_get(machine, "clock_cost_ns"));
    const char *governor = json_string_value(json_object_get(machine, "governor"));

    if (below(machine, "cores_allowed", 2, &cpus)) {
        add(list, "CPUs: one only; client and server take turns on it, which costs both");
    }
    if (cost_ns > CLOCK_COST_NS_MOST) {
        const char *source = json_string_value(json_object_get(machine, "clock_source"));
        add(list,
            "clock: one read costs %.0f ns through %s; boot with a clock source that the vDSO "
            "serves (tsc, kvm-clock, arch_sys_counter)",
            cost_ns, source ? source : "an unknown source");
    }
    if (governor && strncmp(governor, "n/a", 3) && strcmp(governor, "performance")) {
        add(list, "governor: as root: cpupower frequency-set -g performance");
    }
}

static void advise_noise(json_t *list, const json_t *noise)
{
    size_t i;
    json_t *warning;
    double others = json_number_value(json_object_get(noise, "used_by_others_share"));

    json_array_foreach(json_object_get(noise, "warnings"), i, warning)
    {
        add(list, "noise: %s", json_string_value(warning));
    }
    if (others > OTHERS_MOST) {
        add(list, "noise: other programs use %.0f %% of the CPU time now: stop them to measure",
            100 * others);
    }
}

int doctor_advise(json_t *report)
{
    json_t *list = json_array();

    if (!list) {
        return -1;
    }
    advise_items(list, report, "engines", "engine");
    advise_items(list, report, "probes", "probe");
    advise_items(list, report, "build", "build");
    advise_limits(list, json_object_get(report, "limits"));
    advise_machine(list, json_object_get(report, "machine"));
    advise_noise(list, json_object_get(report, "noise"));
    return json_object_set_new(report, "advice", list);
}
