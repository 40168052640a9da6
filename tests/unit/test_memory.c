#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "counted_world.h"
#include "probe/memory_sample.h"

#define MIB (1024.0 * 1024.0)

/* A child that grows by so many MiB whenever it is told to, answers, and stands still. */
struct grower {
    pid_t pid;
    int ask, answer;
};

static void grow(int ask, int answer)
{
    unsigned char mib;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read(ask, &mib, 1) == 1) {
        size_t bytes = (size_t)mib << 20;
        char *memory =
            mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            break;
        }
        memset(memory, 1, bytes);
        if (write(answer, &mib, 1) != 1) {
            break;
        }
    }
    _exit(0);
}

static void grower_start(struct grower *grower)
{
    int ask[2], answer[2];
    assert_int_equal(pipe(ask), 0);
    assert_int_equal(pipe(answer), 0);
    grower->pid = fork();
    if (grower->pid == 0) {
        close(ask[1]);
        close(answer[0]);
        grow(ask[0], answer[1]);
    }
    assert_true(grower->pid > 0);
    close(ask[0]);
    close(answer[1]);
    grower->ask = ask[1];
    grower->answer = answer[0];
}

static void grower_grow(struct grower *grower, unsigned char mib)
{
    assert_int_equal(write(grower->ask, &mib, 1), 1);
    assert_int_equal(read(grower->answer, &mib, 1), 1);
}

static void grower_end(struct grower *grower)
{
    kill(grower->pid, SIGKILL);
    waitpid(grower->pid, NULL, 0);
    close(grower->ask);
    close(grower->answer);
}

/* The witness: what /proc says, read here. */
static double proc_kib(pid_t pid, const char *file, const char *key)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *from = fopen(path, "re");
    assert_non_null(from);
    while (fgets(line, sizeof line, from) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtoull(line + strlen(key), NULL, 10);
        }
    }
    fclose(from);
    assert_true(kib > 0);
    return (double)kib * 1024;
}

static double value_of(const struct record_probe *probe, pid_t pid, const char *what,
                       const char *key)
{
    const struct record_value *value = world_value(probe, pid, 0, what, key);
    assert_non_null(value);
    if (!value->available) {
        fail_msg("%s %s: %s", what, key, value->reason);
    }
    return value->value;
}

static void rest_ms(int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * (long)NS_PER_MS};
    nanosleep(&pause, NULL);
}

static void expect_steady(const struct record_probe *probe, pid_t pid, const char *what,
                          double bytes)
{
    assert_true(value_of(probe, pid, what, "samples") >= 1);
    if (value_of(probe, pid, what, "average") != bytes ||
        value_of(probe, pid, what, "peak") != bytes) {
        fail_msg("%s: average %.0f, peak %.0f, witness %.0f", what,
                 value_of(probe, pid, what, "average"), value_of(probe, pid, what, "peak"), bytes);
    }
}

/* A process that stands still: every sample is what /proc says. */
static void standing_still(void **state)
{
    (void)state;
    struct counted_world world = {0};
    struct grower grower;
    const struct probe_scope scope = {.window_ns = 1};
    grower_start(&grower);
    grower_grow(&grower, 32);
    struct probe_target target = {.pid = grower.pid, .role = "server"};
    world_open(&world, &probe_memory, &target, false);
    for (int i = 0; i < 3; i++) {
        world_begin(&world);
        rest_ms(30);
        world_end(&world);
    }
    const struct record_probe *probe = world_read(&world, &scope);
    assert_true(probe->available);
    expect_steady(probe, grower.pid, "resident (RSS)", proc_kib(grower.pid, "status", "VmRSS:"));
    expect_steady(probe, grower.pid, "virtual", proc_kib(grower.pid, "status", "VmSize:"));
    expect_steady(probe, grower.pid, "page tables", proc_kib(grower.pid, "status", "VmPTE:"));
    assert_true(value_of(probe, grower.pid, "resident (RSS)", "average") > 32 * MIB);
    /* What it shares with this process weighs less than when nobody shared it. */
    double proportional = value_of(probe, grower.pid, "proportional (PSS)", "peak");
    assert_true(proportional > 32 * MIB);
    assert_true(proportional <= value_of(probe, grower.pid, "resident (RSS)", "peak") + MIB);
    assert_true(value_of(probe, grower.pid, "sockets", "peak") == 0);
    const struct record_probe_row *machine = world_row(probe, 0, 0, "TCP sockets of the machine");
    assert_non_null(machine);
    assert_string_equal(machine->scope.role, "");
    world_close(&world);
    grower_end(&grower);
}

/* Until the resident memory's figure is at least that; not for ever. */
static void wait_for(struct counted_world *world, pid_t pid, const char *key, double least)
{
    const struct probe_scope scope = {.window_ns = 1};
    for (int i = 0; i < 1000; i++) {
        const struct record_value *value =
            world_value(world_read(world, &scope), pid, 0, "resident (RSS)", key);
        if (value != NULL && value->available && value->value >= least) {
            return;
        }
        rest_ms(5);
    }
    fail_msg("%s never came to %.0f", key, least);
}

/* One that grows within stretches and between them: the peak is that of the stretches. */
static void growing(void **state)
{
    (void)state;
    struct counted_world world = {0};
    struct grower grower;
    const struct probe_scope scope = {.window_ns = 1};
    grower_start(&grower);
    double before = proc_kib(grower.pid, "status", "VmRSS:");
    struct probe_target target = {.pid = grower.pid, .role = "server"};
    world_open(&world, &probe_memory, &target, false);
    world_begin(&world);
    wait_for(&world, grower.pid, "samples", 2);
    grower_grow(&grower, 40);
    double after = proc_kib(grower.pid, "status", "VmRSS:");
    wait_for(&world, grower.pid, "peak", after);
    world_end(&world);
    grower_grow(&grower, 100);
    rest_ms(20);
    const struct record_probe *probe = world_read(&world, &scope);
    double peak = value_of(probe, grower.pid, "resident (RSS)", "peak");
    double average = value_of(probe, grower.pid, "resident (RSS)", "average");
    assert_true(peak == after);
    assert_true(average > before + MIB && average < after - MIB);
    assert_true(value_of(probe, grower.pid, "resident (RSS)", "samples") >= 3);
    world_close(&world);
    grower_end(&grower);
}

/* ---- sockets ---- */

static uint64_t sockets_now(pid_t pid)
{
    struct socket_table table = {0};
    uint64_t bytes = 0;
    int number = socket_table_read(&table);
    assert_int_equal(number, 0);
    assert_int_equal(memory_sockets(pid, &table, &bytes), 0);
    socket_table_release(&table);
    socket_table_release(&table);
    return bytes;
}

static void tcp_pair(int *ends)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&address, length), 0);
    ends[1] = accept(listener, NULL, NULL);
    assert_true(ends[1] >= 0);
    close(listener);
}

static bool has_diagnosis(void)
{
    struct socket_table table = {0};
    int number = socket_table_read(&table);
    socket_table_release(&table);
    return number == 0;
}

/* Data that waits to be read is what the sockets hold, and no more once it is read. */
static void waiting_data(void **state)
{
    (void)state;
    static char data[40000], taken[sizeof data];
    if (!has_diagnosis()) {
        print_message("skipped: this kernel has no sock_diag\n");
        skip();
    }
    for (int kind = 0; kind < 2; kind++) {
        int ends[2], twin;
        uint64_t before = sockets_now(getpid());
        if (kind == 0) {
            tcp_pair(ends);
        } else {
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        }
        twin = dup(ends[1]); /* two descriptors of one socket count once */
        assert_true(twin >= 0);
        assert_int_equal(write(ends[0], data, sizeof data), sizeof data);
        if (kind == 0) { /* it travels */
            assert_int_equal(recv(ends[1], taken, sizeof taken, MSG_PEEK | MSG_WAITALL),
                             sizeof taken);
        }
        uint64_t full, seen = sockets_now(getpid());
        do { /* the sender's part goes once it has been acknowledged */
            full = seen;
            usleep(50000);
            seen = sockets_now(getpid());
        } while (seen != full);
        assert_true(full >= before + sizeof data);
        close(twin);
        assert_int_equal(sockets_now(getpid()), full);
        assert_int_equal(recv(ends[1], taken, sizeof taken, MSG_WAITALL), sizeof taken);
        assert_true(sockets_now(getpid()) <= full - sizeof data / 2);
        close(ends[0]);
        close(ends[1]);
    }
}

/* ---- the sampler ---- */

static int own_threads(unsigned long long *blocked)
{
    DIR *entries = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;
    assert_non_null(entries);
    while ((entry = readdir(entries)) != NULL) {
        char path[300], line[256];
        if (entry->d_name[0] == '.') {
            continue;
        }
        count++;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            if (strncmp(line, "SigBlk:", 7) == 0 && strtol(entry->d_name, NULL, 10) != getpid()) {
                *blocked = strtoull(line + 7, NULL, 16);
            }
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(entries);
    return count;
}

/* It exists in stretches only, takes no signal, and does not wait out a long period to end. */
static void sampler_stays_out(void **state)
{
    (void)state;
    struct counted_world world = {.options.memory_period_ns = 60 * NS_PER_SECOND};
    struct probe_target target = {.pid = getpid(), .role = "client"};
    const struct probe_scope scope = {.window_ns = 1};
    unsigned long long blocked = 0;
    sigset_t mask;
    int before = own_threads(&blocked);
    world_open(&world, &probe_memory, &target, false);
    assert_int_equal(own_threads(&blocked), before);
    uint64_t start_ns = clock_now_ns();
    for (int i = 0; i < 2; i++) {
        world_begin(&world);
        rest_ms(50);
        blocked = 0;
        assert_int_equal(own_threads(&blocked), before + 1);
        assert_true(blocked & 1ull << (SIGINT - 1));
        assert_true(blocked & 1ull << (SIGTERM - 1));
        world_end(&world);
    }
    assert_true(clock_now_ns() - start_ns < 30 * NS_PER_SECOND);
    assert_int_equal(own_threads(&blocked), before);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM));
    /* The period goes on from stretch to stretch. */
    const struct record_probe *probe = world_read(&world, &scope);
    assert_true(value_of(probe, getpid(), "virtual", "samples") == 1);
    world_close(&world);
}

/* A command that begins within the stretch is found; its process has not the memory of before. */
static void from_execve_on(void **state)
{
    (void)state;
    struct counted_world world = {0};
    const struct probe_scope scope = {.window_ns = 1};
    int go[2];
    char byte = 0;
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(go[0], &byte, 1) == 1) {
            execl("/bin/sleep", "sleep", "30", NULL);
        }
        _exit(1);
    }
    struct probe_target target = {.pid = child, .role = "observed", .at_exec = true};
    world_open(&world, &probe_memory, &target, true);
    world_begin(&world);
    rest_ms(20);
    assert_int_equal(world_read(&world, &scope)->row_count, 1); /* the machine's */
    assert_int_equal(write(go[1], &byte, 1), 1);
    const struct record_probe *probe = world_read(&world, &scope);
    for (int i = 0; i < 500 && probe->row_count == 1; i++) {
        rest_ms(10);
        probe = world_read(&world, &scope);
    }
    rest_ms(20);
    world_end(&world);
    probe = world_read(&world, &scope);
    const struct record_probe_row *row = world_row(probe, child, 0, "virtual");
    assert_non_null(row);
    assert_string_equal(row->scope.name, "sleep");
    /* The kernel keeps the most that this program has had; what was there before was another's. */
    assert_true(value_of(probe, child, "virtual", "peak") <= proc_kib(child, "status", "VmPeak:"));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(go[0]);
    close(go[1]);
    world_close(&world);
}

/* Another user's process: what is public is there, the rest says why not. */
static void not_allowed(void **state)
{
    (void)state;
    uint64_t bytes = 0, other = 0;
    int status;
    if (geteuid() != 0) {
        print_message("skipped: not root\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        struct socket_table table = {0};
        _exit(setgid(65534) != 0 || setuid(65534) != 0                        ? 1
              : memory_resident(getppid(), &bytes, &other) != 0 || bytes == 0 ? 2
              : memory_proportional(getppid(), &bytes) != EACCES              ? 3
              : memory_sockets(getppid(), &table, &bytes) != EACCES           ? 4
                                                                              : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(memory_resident(child, &bytes, &other), ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standing_still), cmocka_unit_test(growing),
        cmocka_unit_test(waiting_data),   cmocka_unit_test(sampler_stays_out),
        cmocka_unit_test(from_execve_on), cmocka_unit_test(not_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
