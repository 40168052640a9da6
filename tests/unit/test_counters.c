#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "counted_world.h"
#include "probe/counters.h"

static const char *why_impossible(void)
{
    static char reason[96];
    const struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = 3, .disabled = 1};
    int number = counter_try_here(&attr, NULL);
    return number ? counter_reason(number, &attr, reason, sizeof reason) : NULL;
}

#define NEEDS_COUNTERS()                                                                           \
    do {                                                                                           \
        if (why_impossible() != NULL) {                                                            \
            print_message("skipped: %s\n", why_impossible());                                      \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static struct probe_target own_process(void)
{
    return (struct probe_target){.pid = getpid(), .role = "observed"};
}

static double number(const struct record_probe *probe, pid_t tid, const char *what)
{
    const struct record_value *value = world_value(probe, getpid(), tid, what, "value");
    assert_non_null(value);
    if (!value->available) {
        fail_msg("%s: %s", what, value->reason);
    }
    return value->value;
}

static unsigned long long switches(pid_t tid)
{
    char path[64], line[256];
    unsigned long long sum = 0, count;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)tid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %llu", &count) == 1) {
            sum += count;
        }
    }
    fclose(file);
    return sum;
}

static unsigned long long faults(pid_t tid)
{
    char state;
    return worker_stat(tid, 7, &state) + worker_stat(tid, 9, &state);
}

static void sleep_often(void *argument)
{
    struct timespec pause = {.tv_nsec = 100 * NS_PER_US};
    for (int i = 0; i < *(const int *)argument; i++) {
        nanosleep(&pause, NULL);
    }
}

static uint64_t clock_of(clockid_t clock)
{
    struct timespec used;
    assert_int_equal(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

static void burn(void *argument)
{
    uint64_t until_ns =
        clock_of(CLOCK_THREAD_CPUTIME_ID) + (uint64_t) * (const int *)argument * NS_PER_MS;
    while (clock_of(CLOCK_THREAD_CPUTIME_ID) < until_ns) {
    }
}

/* Threads apart, exactly what the kernel says of each, over two stretches and not between them. */
static void exact_by_thread(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    struct worker workers[2] = {0};
    unsigned long long switched[2] = {0}, faulted[2] = {0};
    const int pages[] = {300, 700}, naps[] = {40, 20};
    struct probe_target target = own_process();
    worker_start(&workers[0]);
    worker_start(&workers[1]);
    world_open(&world, &probe_counters, &target, false);
    for (int stretch = 0; stretch < 2; stretch++) {
        for (int i = 0; i < 2; i++) {
            switched[i] -= switches(workers[i].tid);
            faulted[i] -= faults(workers[i].tid);
        }
        world_begin(&world);
        for (int i = 0; i < 2; i++) {
            worker_do(&workers[i], touch_pages, (void *)&pages[i]);
            worker_do(&workers[i], sleep_often, (void *)&naps[i]);
        }
        world_end(&world);
        for (int i = 0; i < 2; i++) {
            switched[i] += switches(workers[i].tid);
            faulted[i] += faults(workers[i].tid);
            worker_do(&workers[i], touch_pages, (void *)&pages[i]); /* not counted */
            worker_do(&workers[i], sleep_often, (void *)&naps[i]);
        }
    }
    const struct probe_scope scope = {.window_ns = 1, .operations = 7, .bytes = 1000};
    const struct record_probe *probe = world_read(&world, &scope);
    assert_true(probe->available);
    double sum = number(probe, getpid(), "page-faults");
    for (int i = 0; i < 2; i++) {
        assert_true(switched[i] >= (unsigned long long)naps[i] * 2);
        assert_true(number(probe, workers[i].tid, "context-switches") == (double)switched[i]);
        assert_true(number(probe, workers[i].tid, "page-faults") == (double)faulted[i]);
        sum += (double)faulted[i];
    }
    assert_true(number(probe, 0, "page-faults") == sum);
    const struct record_value *value =
        world_value(probe, getpid(), 0, "page-faults", "per_operation");
    assert_true(value->available && value->value == sum / 7);
    value = world_value(probe, getpid(), 0, "page-faults", "per_byte");
    assert_true(value->available && value->value == sum / 1000);
    worker_end(&workers[0]);
    worker_end(&workers[1]);
    world_close(&world);
}

/* Counts a worker's work, in the middle of the stretch and after it. True where the task-clock is
 * within a hundredth of the thread's own CPU clock. */
static bool clocks_agree(struct worker *worker)
{
    struct counted_world world = {0};
    clockid_t clock;
    const int ms = 60;
    struct probe_target target = own_process();
    const struct probe_scope scope = {.window_ns = 1};
    assert_int_equal(pthread_getcpuclockid(worker->thread, &clock), 0);
    world_open(&world, &probe_counters, &target, false);
    uint64_t before = clock_of(clock);
    world_begin(&world);
    worker_do(worker, burn, (void *)&ms);
    double used = (double)(clock_of(clock) - before);
    double middle = number(world_read(&world, &scope), worker->tid, "task-clock");
    world_end(&world);
    const struct record_probe *probe = world_read(&world, &scope);
    double after = number(probe, worker->tid, "task-clock");
    assert_true(after == middle); /* it stood still */
    /* Without operations and bytes there is nothing to divide by. */
    assert_null(world_value(probe, getpid(), worker->tid, "task-clock", "per_operation"));
    assert_null(world_value(probe, getpid(), worker->tid, "task-clock", "per_byte"));
    const struct record_value *value = world_value(probe, getpid(), 0, "task-clock", "value");
    assert_string_equal(value->metric->unit, "ns");
    assert_ptr_equal(counters_find(probe, "observed", "task-clock", NULL), value);
    assert_null(counters_find(probe, "nobody", "task-clock", NULL));
    assert_null(counters_find(probe, NULL, "task", NULL));
    world_close(&world);
    return after > 0.99 * used && after < 1.01 * used;
}

/* The task-clock runs on through interrupts and stolen time, the thread's clock need not: they
 * agree where nothing else happened, so once of many times. */
static void task_clock(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct worker worker = {0};
    bool agreed = false;
    worker_start(&worker);
    for (int i = 0; i < 40 && !agreed; i++) {
        agreed = clocks_agree(&worker);
    }
    assert_true(agreed);
    worker_end(&worker);
}

static void *burn_until(void *stop)
{
    while (!__atomic_load_n((const int *)stop, __ATOMIC_RELAXED)) {
    }
    return NULL;
}

/* Threads that run while they are switched on and off: what is always counted is never called
 * partly counted, and never more than the time that there was. */
static void busy_threads(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    struct probe_target target = own_process();
    const struct probe_scope scope = {.window_ns = 1};
    pthread_t threads[3];
    int stop = 0;
    uint64_t outside_ns = 0;
    const struct timespec pause = {.tv_nsec = NS_PER_MS};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, burn_until, &stop), 0);
    }
    world_open(&world, &probe_counters, &target, false);
    for (int i = 0; i < 50; i++) {
        uint64_t before_ns = clock_of(CLOCK_MONOTONIC);
        world_begin(&world);
        nanosleep(&pause, NULL);
        world_end(&world);
        outside_ns += clock_of(CLOCK_MONOTONIC) - before_ns;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    const struct record_probe *probe = world_read(&world, &scope);
    static const char *const always[] = {"task-clock", "context-switches", "cpu-migrations",
                                         "page-faults"};
    for (size_t i = 0; i < probe->row_count; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        for (size_t j = 0; j < sizeof always / sizeof always[0]; j++) {
            if (strcmp(row->scope.what, always[j]) == 0 && !row->values[0].available) {
                fail_msg("%s: %s", always[j], row->values[0].reason);
            }
        }
        if (strcmp(row->scope.what, "task-clock") == 0 && row->scope.tid != 0) {
            assert_true(row->values[0].value <= (double)outside_ns);
        }
    }
    assert_true(number(probe, 0, "task-clock") > 20.0 * (double)NS_PER_MS);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    world_close(&world);
}

/* Where the machine has no such counter, there is a reason and no number. */
static void hardware_or_reason(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    char *names[] = {"l1d", "axi"};
    world.options.counters = (struct opt_list){names, 2};
    const int ms = 20;
    struct probe_target target = own_process();
    const struct probe_scope scope = {.window_ns = 1};
    world_open(&world, &probe_counters, &target, false);
    world_begin(&world);
    burn((void *)&ms);
    world_end(&world);
    const struct record_probe *probe = world_read(&world, &scope);
    static const char *const counters[] = {"l1d accesses", "instructions", "cycles", "bus reads"};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        const struct record_value *value = counters_find(probe, NULL, counters[i], NULL);
        assert_non_null(value);
        assert_true(value->available ? value->value > 0 : value->reason[0] != '\0');
    }
    const struct record_value *cycles = counters_find(probe, NULL, "cycles", NULL);
    const struct record_value *ratio = counters_find(probe, NULL, "instructions per cycle", NULL);
    const char *source = NULL;
    assert_non_null(ratio);
    assert_int_equal(ratio->available, cycles->available);
    assert_non_null(counters_find(probe, NULL, "l1d accesses", &source));
    assert_string_equal(source, "L1-dcache-loads");
    if (!cycles->available) {
        assert_false(probe->available);
        assert_string_equal(ratio->reason, cycles->reason);
        assert_non_null(strstr(probe->reason, "no such hardware counter"));
    }
    world_close(&world);
}

/* ---- threads and processes that come later ---- */

static void *touch_once(void *argument)
{
    touch_pages(argument);
    return NULL;
}

static void with_their_parent(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    struct probe_target target = own_process();
    const struct probe_scope scope = {.window_ns = 1};
    const int pages = 2000;
    double counted[2];
    for (int follow = 0; follow < 2; follow++) {
        pthread_t thread;
        world_open(&world, &probe_counters, &target, follow);
        world_begin(&world);
        assert_int_equal(pthread_create(&thread, NULL, touch_once, (void *)&pages), 0);
        pthread_join(thread, NULL);
        world_end(&world);
        double threads = number(world_read(&world, &scope), 0, "page-faults");
        assert_true(threads >= pages && threads < 2 * pages);
        world_begin(&world);
        pid_t child = fork();
        if (child == 0) {
            touch_pages((void *)&pages);
            _exit(0);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        world_end(&world);
        counted[follow] = number(world_read(&world, &scope), 0, "page-faults") - threads;
        world_close(&world);
    }
    assert_true(counted[0] < pages);
    assert_true(counted[1] >= pages && counted[1] < 2 * pages);
}

/* A child that is there when a stretch begins has rows of its own, and is counted once. */
static void children_apart(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    struct probe_target target = own_process();
    const struct probe_scope scope = {.window_ns = 1};
    int go[2], done[2];
    char byte = 0;
    const int pages = 1500;
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (read(go[0], &byte, 1) == 1) {
            touch_pages((void *)&pages);
            if (write(done[1], &byte, 1) != 1) {
                break;
            }
        }
        _exit(0);
    }
    world_open(&world, &probe_counters, &target, true);
    for (int i = 0; i < 2; i++) {
        world_begin(&world);
        assert_int_equal(write(go[1], &byte, 1), 1);
        assert_int_equal(read(done[0], &byte, 1), 1);
        world_end(&world);
    }
    const struct record_probe *probe = world_read(&world, &scope);
    const struct record_value *value = world_value(probe, child, 0, "page-faults", "value");
    assert_non_null(value);
    assert_true(value->available && value->value >= 2 * pages && value->value < 3 * pages);
    assert_true(number(probe, 0, "page-faults") < pages);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    world_close(&world);
    for (int i = 0; i < 2; i++) {
        close(go[i]);
        close(done[i]);
    }
}

/* What a command does before its execve is not its own. */
static void from_execve_on(void **state)
{
    (void)state;
    NEEDS_COUNTERS();
    struct counted_world world = {0};
    const struct probe_scope scope = {.window_ns = 1};
    const int before = 100000;
    int go[2], status;
    char byte = 0;
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(go[0], &byte, 1) == 1) {
            touch_pages((void *)&before);
            execl("/bin/sh", "sh", "-c", "read x < /proc/self/stat; exit 7", NULL);
        }
        _exit(1);
    }
    struct probe_target target = {.pid = child, .role = "observed", .at_exec = true};
    world_open(&world, &probe_counters, &target, true);
    world_begin(&world);
    assert_int_equal(write(go[1], &byte, 1), 1);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    world_end(&world);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    const struct record_probe *probe = world_read(&world, &scope);
    const struct record_probe_row *row = world_row(probe, child, 0, "page-faults");
    assert_non_null(row);
    assert_string_equal(row->scope.name, "sh");
    assert_true(row->values[0].available);
    assert_true(row->values[0].value > 10 && row->values[0].value < before / 10);
    close(go[0]);
    close(go[1]);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_by_thread),   cmocka_unit_test(task_clock),
        cmocka_unit_test(busy_threads),      cmocka_unit_test(hardware_or_reason),
        cmocka_unit_test(with_their_parent), cmocka_unit_test(children_apart),
        cmocka_unit_test(from_execve_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
