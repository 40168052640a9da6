#include "run/limits.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/units.h"
#include "run/sysfile.h"

__attribute__((format(printf, 2, 3))) static void warn(struct limits_warnings *warnings,
                                                       const char *format, ...)
{
    va_list list;
    if (!warnings || warnings->count >= LIMITS_WARNINGS_MAX) {
        return;
    }
    va_start(list, format);
    vsnprintf(warnings->text[warnings->count++], LIMITS_WARNING_BYTES, format, list);
    va_end(list);
}

/* Files that this process has open: /proc/self/fd without ".", ".." and the look itself. */
static uint64_t open_files(void)
{
    uint64_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (!folder) {
        return 3; /* standard input, output and error */
    }
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count > 3 ? count - 3 : 0;
}

/* Raises the soft limit to the hard one where `needed` asks for it. The limit that holds then in
 * *allowed. */
static int raise_limit(__rlimit_resource_t resource, const char *subject, uint64_t needed,
                       uint64_t *allowed, struct err *error)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit)) {
        return err_system(error, errno, subject, "cannot read the limit");
    }
    if (limit.rlim_cur < needed && limit.rlim_cur < limit.rlim_max) {
        rlim_t soft = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(resource, &limit)) {
            limit.rlim_cur = soft;
        }
    }
    *allowed = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    return 0;
}

/* a + b, or the largest number. */
static uint64_t sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t limits_files_left(void)
{
    struct rlimit limit;
    uint64_t opened = open_files();

    if (getrlimit(RLIMIT_NOFILE, &limit)) {
        return 0;
    }
    return limit.rlim_cur > opened ? limit.rlim_cur - opened : 0;
}

uint64_t limits_files_raise(uint64_t needed)
{
    uint64_t allowed, opened = open_files();
    struct err ignored;

    if (raise_limit(RLIMIT_NOFILE, "open files", sum(needed, opened), &allowed, &ignored)) {
        return 0;
    }
    return allowed > opened ? allowed - opened : 0;
}

static int check_files(const struct limits_need *need, struct err *error)
{
    uint64_t allowed, opened = open_files(), all = sum(need->files, opened);

    if (need->files == 0) {
        return 0;
    }
    if (raise_limit(RLIMIT_NOFILE, "open files", all, &allowed, error)) {
        return -1;
    }
    if (all > allowed) {
        err_set(error, ERR_LIMIT, "open files",
                "%" PRIu64 " needed (%" PRIu64 " open now), %" PRIu64
                " allowed (RLIMIT_NOFILE, hard limit)",
                all, opened, allowed);
        return err_hint(error,
                        "ask for fewer connections, or raise it as root: prlimit --pid $$ "
                        "--nofile=%" PRIu64,
                        all);
    }
    return 0;
}

/* How many ports of [low, high] are reserved: net.ipv4.ip_local_reserved_ports, "8080,9148-9150".
 */
static uint64_t reserved_ports(uint64_t low, uint64_t high)
{
    char line[4096];
    uint64_t count = 0;

    if (sysfile_line("/proc/sys/net/ipv4/ip_local_reserved_ports", line, sizeof line)) {
        return 0;
    }
    for (char *at = line; isdigit((unsigned char)*at);) {
        uint64_t from = strtoull(at, &at, 10), to = from;
        if (*at == '-') {
            to = strtoull(at + 1, &at, 10);
        }
        from = from > low ? from : low;
        to = to < high ? to : high;
        count += to >= from ? to - from + 1 : 0;
        at += *at == ',';
    }
    return count;
}

uint64_t limits_local_ports(void)
{
    char line[64];
    uint64_t low, high;

    if (sysfile_line("/proc/sys/net/ipv4/ip_local_port_range", line, sizeof line) ||
        sscanf(line, "%" SCNu64 " %" SCNu64, &low, &high) != 2 || high < low) {
        return 0;
    }
    return high - low + 1 - reserved_ports(low, high);
}

static int check_ports(const struct limits_need *need, struct limits_warnings *warnings,
                       struct err *error)
{
    uint64_t sources = need->sources ? need->sources : 1;
    uint64_t ports = limits_local_ports();

    if (!need->ports || need->connections == 0) {
        return 0;
    }
    if (ports == 0) {
        warn(warnings, "local ports: net.ipv4.ip_local_port_range cannot be read, not checked");
        return 0;
    }
    ports -= need->port_taken && ports > 1 ? 1 : 0;
    if ((need->connections - 1) / sources < ports) {
        if ((need->connections - 1) / sources >= ports / 2) {
            warn(warnings,
                 "local ports: more than half of the %" PRIu64
                 " for each source address are needed: with each further connection the kernel "
                 "looks through all that are taken (more addresses: --source)",
                 ports);
        }
        return 0;
    }
    uint64_t enough = (need->connections - 1) / ports + 1;
    err_set(error, ERR_LIMIT, "local ports",
            "%" PRIu64 " connections to one destination, %" PRIu64 " ports for each of %" PRIu64
            " source address%s (net.ipv4.ip_local_port_range)",
            need->connections, ports, sources, sources == 1 ? "" : "es");
    if (enough < 250) {
        return err_hint(error,
                        "give %" PRIu64 " source addresses: --source, on loopback for instance "
                        "--source=127.0.0.2-127.0.0.%" PRIu64,
                        enough, enough + 1);
    }
    return err_hint(error, "give %" PRIu64 " source addresses (--source), or fewer connections",
                    enough);
}

/* Memory that the cgroup leaves, or the largest number. */
static uint64_t cgroup_memory_left(void)
{
    struct sysfile_cgroup group;
    char path[SYSFILE_PATH_BYTES + 64];
    uint64_t left = UINT64_MAX;

    if (sysfile_cgroup("memory", &group)) {
        return left;
    }
    const char *most = group.version_2 ? "memory.max" : "memory.limit_in_bytes";
    const char *used = group.version_2 ? "memory.current" : "memory.usage_in_bytes";
    do {
        uint64_t limit, current, cache = 0;
        if (sysfile_cgroup_file(&group, most, path, sizeof path) || sysfile_number(path, &limit) ||
            sysfile_cgroup_file(&group, used, path, sizeof path) ||
            sysfile_number(path, &current)) {
            continue;
        }
        /* File pages that the kernel would drop count as used, but are to be had. */
        if (!sysfile_cgroup_file(&group, "memory.stat", path, sizeof path)) {
            sysfile_field(path, group.version_2 ? "inactive_file" : "total_inactive_file", &cache);
        }
        current = current > cache ? current - cache : 0;
        uint64_t here = limit > current ? limit - current : 0;
        left = here < left ? here : left;
    } while (sysfile_cgroup_up(&group));
    return left;
}

static int check_memory(const struct limits_need *need, struct limits_warnings *warnings,
                        struct err *error)
{
    char wanted[UNITS_TEXT_MAX], had[UNITS_TEXT_MAX];
    uint64_t kib, available;

    if (need->memory_bytes == 0) {
        return 0;
    }
    if (sysfile_field("/proc/meminfo", "MemAvailable:", &kib)) {
        warn(warnings, "memory: MemAvailable cannot be read, not checked");
        return 0;
    }
    available = kib * 1024;
    uint64_t group = cgroup_memory_left();
    const char *source = group < available ? "the cgroup leaves" : "MemAvailable";
    available = group < available ? group : available;
    units_bytes(wanted, (double)need->memory_bytes);
    units_bytes(had, (double)available);
    if (need->memory_bytes > available) {
        err_set(error, ERR_LIMIT, "memory", "%s needed, %s available (%s)", wanted, had, source);
        return err_hint(error, "ask for fewer connections or smaller ones");
    }
    if (need->memory_bytes > available / 10 * 8) {
        warn(warnings, "memory: %s needed of %s available: the machine may begin to reclaim",
             wanted, had);
    }
    return 0;
}

/* Threads of the real user, whom RLIMIT_NPROC counts. */
static uint64_t user_threads(void)
{
    uint64_t count = 0;
    struct dirent *entry;
    DIR *folder = opendir("/proc");

    if (!folder) {
        return 0;
    }
    while ((entry = readdir(folder))) {
        char path[sizeof entry->d_name + 16];
        uint64_t user, threads;
        if (!isdigit((unsigned char)entry->d_name[0])) {
            continue;
        }
        snprintf(path, sizeof path, "/proc/%s/status", entry->d_name);
        if (!sysfile_field(path, "Uid:", &user) && user == getuid() &&
            !sysfile_field(path, "Threads:", &threads)) {
            count += threads;
        }
    }
    closedir(folder);
    return count;
}

static int short_of_threads(uint64_t needed, uint64_t now, uint64_t allowed, const char *source,
                            struct err *error)
{
    err_set(error, ERR_LIMIT, "threads",
            "%" PRIu64 " needed beside the %" PRIu64 " that run now, %" PRIu64 " allowed (%s)",
            needed, now, allowed, source);
    return err_hint(error, "ask for fewer threads or connections, or take an engine that serves "
                           "many connections on one thread");
}

static int check_cgroup_threads(uint64_t needed, struct err *error)
{
    struct sysfile_cgroup group;
    char path[SYSFILE_PATH_BYTES + 64];

    if (sysfile_cgroup("pids", &group)) {
        return 0;
    }
    do {
        uint64_t most, now;
        if (!sysfile_cgroup_file(&group, "pids.max", path, sizeof path) &&
            !sysfile_number(path, &most) &&
            !sysfile_cgroup_file(&group, "pids.current", path, sizeof path) &&
            !sysfile_number(path, &now) && sum(now, needed) > most) {
            return short_of_threads(needed, now, most, "pids.max of the cgroup", error);
        }
    } while (sysfile_cgroup_up(&group));
    return 0;
}

static int check_threads(const struct limits_need *need, struct err *error)
{
    static const char *const files[] = {"kernel.threads-max", "kernel.pid_max"};
    static const char *const paths[] = {"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"};
    uint64_t allowed, now = 0, most;
    char line[128];

    if (need->threads == 0) {
        return 0;
    }
    /* "0.20 0.18 0.12 1/80 11206": running / all threads. */
    if (!sysfile_line("/proc/loadavg", line, sizeof line)) {
        sscanf(line, "%*s %*s %*s %*u/%" SCNu64, &now);
    }
    for (size_t i = 0; i < 2; i++) {
        if (!sysfile_number(paths[i], &most) && sum(now, need->threads) > most) {
            return short_of_threads(need->threads, now, most, files[i], error);
        }
    }
    if (check_cgroup_threads(need->threads, error)) {
        return -1;
    }
    if (raise_limit(RLIMIT_NPROC, "threads", UINT64_MAX, &allowed, error)) {
        return -1;
    }
    /* The kernel does not hold the superuser to it. */
    if (getuid() != 0 && geteuid() != 0 && allowed != UINT64_MAX) {
        now = user_threads();
        if (sum(now, need->threads) > allowed) {
            return short_of_threads(need->threads, now, allowed, "RLIMIT_NPROC, hard limit", error);
        }
    }
    return 0;
}

static void check_backlog(const struct limits_need *need, struct limits_warnings *warnings)
{
    uint64_t most;

    if (!sysfile_number("/proc/sys/net/core/somaxconn", &most) && need->backlog > most) {
        warn(warnings,
             "listen backlog: %" PRIu64 " asked for, the kernel cuts it to %" PRIu64
             " (net.core.somaxconn): connections that come faster than they are accepted wait or "
             "fail",
             need->backlog, most);
    }
}

int limits_check(const struct limits_need *need, struct limits_warnings *warnings,
                 struct err *error)
{
    if (warnings) {
        warnings->count = 0;
    }
    if (check_files(need, error) || check_ports(need, warnings, error) ||
        check_memory(need, warnings, error) || check_threads(need, error)) {
        return -1;
    }
    check_backlog(need, warnings);
    return 0;
}
