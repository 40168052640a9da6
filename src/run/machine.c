#include "run/machine.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/sysfile.h"

enum { TEXT_BYTES = 160 };

/* The value of the first line "key : value" of /proc/cpuinfo. */
static int cpuinfo(const char *key, char *to, size_t size)
{
    char line[8192]; /* "flags" is long */
    int result = -1;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/cpuinfo", "re");

    to[0] = '\0';
    if (!file) {
        return -1;
    }
    while (result && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (colon && !strncmp(line, key, length) && strchr(" \t:", line[length])) {
            snprintf(to, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
            to[strcspn(to, "\n")] = '\0';
            result = 0;
        }
    }
    fclose(file);
    return result;
}

static void cpu_model(char *to, size_t size)
{
    /* x86, some arm64 and others, s390, RISC-V: whichever the architecture has. */
    static const char *const keys[] = {"model name", "Processor", "cpu model", "uarch",
                                       "CPU implementer"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (!cpuinfo(keys[i], to, size) && to[0]) {
            return;
        }
    }
    snprintf(to, size, "n/a (/proc/cpuinfo does not name it)");
}

/* Folders NAME0, NAME1, … below `path`. */
static unsigned count_numbered(const char *path, const char *name)
{
    unsigned count = 0;
    size_t length = strlen(name);
    struct dirent *entry;
    DIR *folder = opendir(path);

    if (!folder) {
        return 0;
    }
    while ((entry = readdir(folder))) {
        const char *rest = entry->d_name + length;
        count += !strncmp(entry->d_name, name, length) && *rest &&
                 rest[strspn(rest, "0123456789")] == '\0';
    }
    closedir(folder);
    return count;
}

/* The governor of all CPUs, or how they differ. */
static void governor(char *to, size_t size)
{
    char first[32] = "", path[96], here[32];
    long cpus = sysconf(_SC_NPROCESSORS_CONF);

    for (long cpu = 0; cpu < cpus; cpu++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cpufreq/scaling_governor", cpu);
        if (sysfile_line(path, here, sizeof here) || !here[0]) {
            continue;
        }
        if (!first[0]) {
            memcpy(first, here, sizeof first);
        } else if (strcmp(first, here)) {
            snprintf(to, size, "mixed (%s, %s)", first, here);
            return;
        }
    }
    snprintf(to, size, "%s", first[0] ? first : "n/a (no cpufreq)");
}

double machine_frequency(void)
{
    double most = 0;
    uint64_t khz;
    char path[96], line[8192];
    long cpus = sysconf(_SC_NPROCESSORS_CONF);

    for (long cpu = 0; cpu < cpus; cpu++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cpufreq/scaling_cur_freq", cpu);
        if (!sysfile_number(path, &khz) && (double)khz * 1e3 > most) {
            most = (double)khz * 1e3;
        }
    }
    FILE *file = most > 0 ? NULL : fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        double mhz;
        if (sscanf(line, "cpu MHz : %lf", &mhz) == 1 && mhz * 1e6 > most) {
            most = mhz * 1e6;
        }
    }
    if (file) {
        fclose(file);
    }
    return most;
}

/* Appends a name to a list; one that does not fit stands as "...". */
static void add_name(char *list, size_t size, const char *name)
{
    static const char more[] = ", ...";
    size_t used = strlen(list), length = strlen(name);

    if (used + 2 + length + sizeof more <= size) {
        size_t comma = used ? 2 : 0;
        memcpy(list + used, ", ", comma);
        memcpy(list + used + comma, name, length + 1);
    } else if (used + sizeof more <= size && !strstr(list, "...")) {
        memcpy(list + used, more, sizeof more);
    }
}

/* "3 mitigated, 2 vulnerable (retbleed, mds), 12 not affected". */
static void mitigations(char *to, size_t size)
{
    static const char folder_path[] = "/sys/devices/system/cpu/vulnerabilities";
    unsigned mitigated = 0, vulnerable = 0, unaffected = 0;
    char names[96] = "", path[sizeof folder_path + 256], line[64];
    struct dirent *entry;
    DIR *folder = opendir(folder_path);

    if (!folder) {
        snprintf(to, size, "n/a (the kernel does not say)");
        return;
    }
    while ((entry = readdir(folder))) {
        snprintf(path, sizeof path, "%s/%s", folder_path, entry->d_name);
        if (entry->d_name[0] == '.' || sysfile_line(path, line, sizeof line)) {
            continue;
        }
        if (!strncmp(line, "Not affected", 12)) {
            unaffected++;
        } else if (!strncmp(line, "Vulnerable", 10)) {
            vulnerable++;
            add_name(names, sizeof names, entry->d_name);
        } else {
            mitigated++;
        }
    }
    closedir(folder);
    snprintf(to, size, "%u mitigated, %u vulnerable%s%s%s, %u not affected", mitigated, vulnerable,
             vulnerable ? " (" : "", names, vulnerable ? ")" : "", unaffected);
}

static void hypervisor(char *to, size_t size)
{
    char flags[8192], vendor[64] = "";

    if (cpuinfo("flags", flags, sizeof flags)) {
        snprintf(to, size, "n/a (this architecture does not say)");
        return;
    }
    if (!strstr(flags, " hypervisor")) {
        snprintf(to, size, "no");
        return;
    }
    if (sysfile_line("/sys/class/dmi/id/sys_vendor", vendor, sizeof vendor)) {
        sysfile_line("/sys/hypervisor/type", vendor, sizeof vendor);
    }
    snprintf(to, size, vendor[0] ? "yes (%s)" : "yes", vendor);
}

static const char *container(void)
{
    char line[64];
    if (!access("/.dockerenv", F_OK)) {
        return "docker";
    }
    if (!access("/run/.containerenv", F_OK)) {
        return "podman";
    }
    if (!sysfile_line("/run/systemd/container", line, sizeof line)) {
        return "yes";
    }
    return "no sign of one";
}

/* The smallest CPU quota of the cgroup and those above it. */
static void cpu_quota(char *to, size_t size)
{
    struct sysfile_cgroup group;
    char path[SYSFILE_PATH_BYTES + 64], line[64];
    double least = 0;

    if (sysfile_cgroup("cpu", &group)) {
        snprintf(to, size, "n/a (no cgroup)");
        return;
    }
    do {
        uint64_t quota = 0, period = 0;
        if (group.version_2) {
            if (sysfile_cgroup_file(&group, "cpu.max", path, sizeof path) ||
                sysfile_line(path, line, sizeof line) ||
                sscanf(line, "%" SCNu64 " %" SCNu64, &quota, &period) != 2) {
                continue;
            }
        } else if (sysfile_cgroup_file(&group, "cpu.cfs_quota_us", path, sizeof path) ||
                   sysfile_number(path, &quota) ||
                   sysfile_cgroup_file(&group, "cpu.cfs_period_us", path, sizeof path) ||
                   sysfile_number(path, &period)) {
            continue; /* -1: no quota */
        }
        double cpus = period ? (double)quota / (double)period : 0;
        if (cpus > 0 && (least == 0 || cpus < least)) {
            least = cpus;
        }
    } while (sysfile_cgroup_up(&group));
    if (least > 0) {
        snprintf(to, size, "%.2f CPUs", least);
    } else {
        snprintf(to, size, "none");
    }
}

unsigned machine_allowed_cpus(void)
{
    cpu_set_t sets[MACHINE_CPU_SETS];
    memset(sets, 0, sizeof sets);
    return sched_getaffinity(0, sizeof sets, sets) ? 0 : (unsigned)CPU_COUNT_S(sizeof sets, sets);
}

/* Adds a number from a file, or why there is none. */
static int add_number(struct record *record, const char *key, const char *path)
{
    uint64_t value;
    if (sysfile_number(path, &value)) {
        return record_add_machine(record, key, false, "n/a (%s cannot be read)", path);
    }
    return record_add_machine(record, key, true, "%" PRIu64, value);
}

static int add_line(struct record *record, const char *key, const char *path)
{
    char line[TEXT_BYTES];
    if (sysfile_line(path, line, sizeof line)) {
        return record_add_machine(record, key, false, "n/a (%s cannot be read)", path);
    }
    return record_add_machine(record, key, false, "%s", line);
}

static int add_memory(struct record *record, const char *key, const char *field)
{
    uint64_t kib;
    if (sysfile_field("/proc/meminfo", field, &kib)) {
        return record_add_machine(record, key, false, "n/a (/proc/meminfo cannot be read)");
    }
    return record_add_machine(record, key, true, "%" PRIu64, kib * 1024);
}

static int add_clock(struct record *record)
{
    struct clock_quality clock = clock_measure();
    return add_line(record, "clock_source",
                    "/sys/devices/system/clocksource/clocksource0/current_clocksource") ||
           record_add_machine(record, "clock_cost_ns", true, "%.1f", clock.cost_ns) ||
           record_add_machine(record, "clock_step_ns", true, "%" PRIu64, clock.step_ns);
}

/* Load, and the share of CPU time that was stolen since the machine started. */
static int add_load(struct record *record)
{
    struct system_sample sample;
    struct err ignored = {0};

    if (system_sample(&sample, &ignored)) {
        return record_add_machine(record, "load_1m", false, "n/a (%s)", ignored.what) ||
               record_add_machine(record, "steal_share", false, "n/a (%s)", ignored.what);
    }
    uint64_t all = sample.user_ns + sample.system_ns + sample.idle_ns + sample.irq_ns +
                   sample.softirq_ns + sample.steal_ns;
    return record_add_machine(record, "load_1m", true, "%.2f", sample.load_1m) ||
           record_add_machine(record, "steal_share", true, "%.6f",
                              all ? (double)sample.steal_ns / (double)all : 0);
}

static int add_cpus(struct record *record)
{
    char text[TEXT_BYTES];
    struct utsname name;
    unsigned nodes = count_numbered("/sys/devices/system/node", "node");

    if (uname(&name)) {
        memset(&name, 0, sizeof name);
    }
    if (record_add_machine(record, "kernel", false, "%s %s", name.sysname, name.release) ||
        record_add_machine(record, "architecture", false, "%s", name.machine)) {
        return -1;
    }
    cpu_model(text, sizeof text);
    if (record_add_machine(record, "cpu", false, "%s", text) ||
        record_add_machine(record, "cores", true, "%ld", sysconf(_SC_NPROCESSORS_ONLN)) ||
        record_add_machine(record, "cores_allowed", true, "%u", machine_allowed_cpus()) ||
        record_add_machine(record, "numa_nodes", true, "%u", nodes ? nodes : 1)) {
        return -1;
    }
    governor(text, sizeof text);
    if (record_add_machine(record, "governor", false, "%s", text)) {
        return -1;
    }
    mitigations(text, sizeof text);
    if (record_add_machine(record, "mitigations", false, "%s", text)) {
        return -1;
    }
    hypervisor(text, sizeof text);
    if (record_add_machine(record, "hypervisor", false, "%s", text) ||
        record_add_machine(record, "container", false, "%s", container())) {
        return -1;
    }
    cpu_quota(text, sizeof text);
    return record_add_machine(record, "cgroup_cpu_quota", false, "%s", text);
}

int machine_describe(struct record *record, struct err *error)
{
    if (add_cpus(record) || add_clock(record) || add_memory(record, "memory_bytes", "MemTotal:") ||
        add_memory(record, "memory_available_bytes", "MemAvailable:") || add_load(record) ||
        add_line(record, "congestion_control", "/proc/sys/net/ipv4/tcp_congestion_control") ||
        add_number(record, "receive_buffer_max_bytes", "/proc/sys/net/core/rmem_max") ||
        add_number(record, "send_buffer_max_bytes", "/proc/sys/net/core/wmem_max")) {
        return err_system(error, ENOMEM, "machine", "cannot describe it");
    }
    return 0;
}

static void sample_throttle(struct machine_sample *sample)
{
    struct sysfile_cgroup group;
    char path[SYSFILE_PATH_BYTES + 64];
    uint64_t time;

    if (sysfile_cgroup("cpu", &group) ||
        sysfile_cgroup_file(&group, "cpu.stat", path, sizeof path) ||
        sysfile_field(path, "nr_throttled", &sample->throttled_times) ||
        sysfile_field(path, group.version_2 ? "throttled_usec" : "throttled_time", &time)) {
        return;
    }
    sample->throttled_ns = group.version_2 ? time * NS_PER_US : time;
    sample->throttle_known = true;
}

int machine_sample(struct machine_sample *sample, struct err *error)
{
    memset(sample, 0, sizeof *sample);
    sample_throttle(sample);
    return system_sample(&sample->system, error);
}

void machine_noise(const struct machine_sample *before, const struct machine_sample *after,
                   struct machine_noise *noise)
{
    const struct system_sample *from = &before->system, *to = &after->system;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    /* The kernel's idle counters may step back a little: differences below 0 are 0. */
    uint64_t busy, steal, idle;
#define DIFFERENCE(member) (to->member > from->member ? to->member - from->member : 0)
    busy =
        DIFFERENCE(user_ns) + DIFFERENCE(system_ns) + DIFFERENCE(irq_ns) + DIFFERENCE(softirq_ns);
    steal = DIFFERENCE(steal_ns);
    idle = DIFFERENCE(idle_ns);
#undef DIFFERENCE
    uint64_t all_ns = busy + steal + idle;
    double all = (double)all_ns;

    *noise = (struct machine_noise){
        .load_1m = from->load_1m,
        .cpus = online > 0 ? (double)online : 1,
        .busy_share = all > 0 ? (double)busy / all : -1,
        .steal_share = all > 0 ? (double)steal / all : -1,
        .all_ns = all_ns,
    };
    if (before->throttle_known && after->throttle_known) {
        noise->throttled_ns = after->throttled_ns - before->throttled_ns;
        noise->throttled_times = after->throttled_times - before->throttled_times;
    }
    governor(noise->governor, sizeof noise->governor);
}

void machine_noise_warnings(const struct machine_noise *noise, struct machine_warnings *warnings)
{
    warnings->count = 0;
#define WARN(...) snprintf(warnings->text[warnings->count++], MACHINE_WARNING_BYTES, __VA_ARGS__)
    if (noise->load_1m > noise->cpus) {
        WARN("load is %.2f on %.0f CPUs before the run: other programs compete for them",
             noise->load_1m, noise->cpus);
    }
    if (noise->steal_share > 0.01) {
        WARN("the hypervisor took %.1f %% of the CPU time for others (steal)",
             100 * noise->steal_share);
    }
    if (strncmp(noise->governor, "n/a", 3) && strcmp(noise->governor, "performance")) {
        WARN("CPU governor is %s, not performance: clock rates change during a run",
             noise->governor);
    }
    if (noise->throttled_times > 0 || noise->throttled_ns > 0) {
        WARN("the cgroup's CPU quota stopped this process %" PRIu64 " times, %.1f ms in all",
             noise->throttled_times, (double)noise->throttled_ns / (double)NS_PER_MS);
    }
#undef WARN
}
