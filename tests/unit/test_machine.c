#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/machine.h"
#include "run/sysfile.h"

static const struct record_pair *pair(const struct record *record, const char *key)
{
    for (size_t i = 0; i < record->machine_count; i++) {
        if (!strcmp(record->machine[i].key, key)) {
            return &record->machine[i];
        }
    }
    fail_msg("no %s", key);
    return NULL;
}

static void test_describe(void **state)
{
    static const char *const numbers[] = {"cores",        "cores_allowed",          "numa_nodes",
                                          "memory_bytes", "memory_available_bytes", "clock_cost_ns",
                                          "clock_step_ns"};
    static const char *const texts[] = {
        "cpu",        "governor",  "clock_source",     "mitigations",
        "hypervisor", "container", "cgroup_cpu_quota", "congestion_control"};
    char *arguments[] = {"sonde", NULL};
    struct record record;
    struct err error = {0};
    struct utsname name;
    (void)state;
    assert_int_equal(record_init(&record, 1, arguments, &error), 0);
    assert_int_equal(machine_describe(&record, &error), 0);
    assert_int_equal(uname(&name), 0);
    assert_non_null(strstr(pair(&record, "kernel")->text, name.release));
    assert_string_equal(pair(&record, "architecture")->text, name.machine);
    assert_int_equal(strtol(pair(&record, "cores")->text, NULL, 10), sysconf(_SC_NPROCESSORS_ONLN));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char *end;
        assert_true(pair(&record, numbers[i])->numeric);
        assert_true(strtod(pair(&record, numbers[i])->text, &end) > 0);
        assert_int_equal(*end, '\0');
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_true(pair(&record, texts[i])->text[0]);
    }
    for (size_t i = 0; i < record.machine_count; i++) {
        assert_ptr_equal(pair(&record, record.machine[i].key), &record.machine[i]); /* none twice */
    }
    record_release(&record);
}

static void test_noise(void **state)
{
    struct machine_noise noise;
    struct machine_warnings warnings;
    struct machine_sample before = {.throttle_known = true,
                                    .throttled_ns = 5,
                                    .throttled_times = 1,
                                    .system = {.load_1m = 1e6, .idle_ns = 1000}};
    struct machine_sample after = before;
    (void)state;
    after.system.load_1m = 0;
    after.system.user_ns += 200;
    after.system.softirq_ns += 50;
    after.system.steal_ns += 50;
    after.system.idle_ns += 700;
    after.throttled_ns += 3000000;
    after.throttled_times += 2;
    machine_noise(&before, &after, &noise);
    assert_true(noise.busy_share > 0.2499 && noise.busy_share < 0.2501);
    assert_true(noise.steal_share > 0.0499 && noise.steal_share < 0.0501);
    assert_true(noise.load_1m == 1e6);
    assert_int_equal(noise.all_ns, 1000);
    assert_int_equal(noise.throttled_ns, 3000000);
    assert_int_equal(noise.throttled_times, 2);
    snprintf(noise.governor, sizeof noise.governor, "powersave");
    machine_noise_warnings(&noise, &warnings);
    assert_int_equal(warnings.count, 4);
    assert_non_null(strstr(warnings.text[0], "load is 1000000.00"));
    assert_non_null(strstr(warnings.text[1], "5.0 %"));
    assert_non_null(strstr(warnings.text[2], "powersave"));
    assert_non_null(strstr(warnings.text[3], "2 times, 3.0 ms"));

    noise = (struct machine_noise){
        .load_1m = 2, .cpus = 2, .steal_share = 0.01, .governor = "performance"};
    machine_noise_warnings(&noise, &warnings);
    assert_int_equal(warnings.count, 0);
    snprintf(noise.governor, sizeof noise.governor, "n/a (no cpufreq)");
    noise.steal_share = -1;
    machine_noise_warnings(&noise, &warnings);
    assert_int_equal(warnings.count, 0);
    /* No time passed, or an idle counter that stepped back: nothing is known. */
    machine_noise(&after, &before, &noise);
    assert_true(noise.busy_share < 0 && noise.steal_share < 0);
}

static void test_sample(void **state)
{
    struct machine_sample sample;
    struct err error = {0};
    (void)state;
    assert_int_equal(machine_sample(&sample, &error), 0);
    assert_true(sample.system.idle_ns + sample.system.user_ns > 0);
}

static void test_pick(void **state)
{
    struct machine_cpus cpus;
    struct err error = {0};
    cpu_set_t allowed;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    assert_int_equal(machine_pick_cpus(&cpus, &error), 0);
    if (CPU_COUNT(&allowed) < 2) {
        assert_false(cpus.pinned);
        return;
    }
    assert_true(cpus.pinned);
    assert_int_equal(cpus.client_count, CPU_COUNT(&allowed) - 1);
    cpu_set_t seen;
    CPU_ZERO(&seen);
    CPU_SET(cpus.server, &seen);
    for (int cpu = 0; cpu < cpus.server; cpu++) {
        assert_false(CPU_ISSET(cpu, &allowed));
    }
    for (size_t i = 0; i < cpus.client_count; i++) {
        assert_false(CPU_ISSET(cpus.clients[i], &seen));
        CPU_SET(cpus.clients[i], &seen);
    }
    assert_true(CPU_EQUAL(&seen, &allowed));
}

/* In a child: a pinned process has one CPU left, so nothing is to be pinned any more. */
static void test_pin(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct machine_cpus cpus;
        struct err error = {0};
        if (machine_pick_cpus(&cpus, &error)) {
            _exit(1);
        }
        int cpu = cpus.pinned ? cpus.clients[cpus.client_count - 1] : cpus.server;
        if (machine_pin(cpu, &error) || sched_getcpu() != cpu) {
            _exit(2);
        }
        if (machine_pick_cpus(&cpus, &error) || cpus.pinned || cpus.client_count ||
            !strstr(cpus.reason, "1 CPU")) {
            _exit(3);
        }
        if (machine_pin(-1, &error) != -1 || machine_pin(8191, &error) != -1) {
            _exit(4);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_sysfile(void **state)
{
    char path[] = "/tmp/sonde-test-XXXXXX", line[8];
    uint64_t value = 0;
    static const char text[] = "max 100000\nkey: 12 kB\nkeys 13\nhuge 99999999999999999999\n";
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    assert_int_equal(sysfile_line(path, line, sizeof line), 0);
    assert_string_equal(line, "max 100");
    assert_int_equal(sysfile_number(path, &value), -1);
    assert_int_equal(sysfile_field(path, "key:", &value), 0);
    assert_int_equal(value, 12);
    assert_int_equal(sysfile_field(path, "keys", &value), 0);
    assert_int_equal(value, 13);
    assert_int_equal(sysfile_field(path, "ke", &value), -1);
    assert_int_equal(sysfile_field(path, "huge", &value), -1);
    unlink(path);
    assert_int_equal(sysfile_line(path, line, sizeof line), -1);
    assert_string_equal(line, "");

    /* Up to the mount point, and no further. */
    struct sysfile_cgroup group = {.folder = "/sys/fs/cgroup/a/b", .root_length = 14};
    assert_true(sysfile_cgroup_up(&group));
    assert_string_equal(group.folder, "/sys/fs/cgroup/a");
    assert_true(sysfile_cgroup_up(&group));
    assert_string_equal(group.folder, "/sys/fs/cgroup");
    assert_false(sysfile_cgroup_up(&group));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_describe), cmocka_unit_test(test_noise),
        cmocka_unit_test(test_sample),   cmocka_unit_test(test_pick),
        cmocka_unit_test(test_pin),      cmocka_unit_test(test_sysfile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
