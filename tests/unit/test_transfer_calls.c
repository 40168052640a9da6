/* What a transfer counts against what strace sees of the same threads: the same calls, as often,
 * and no other call at all. The program runs itself under strace. */
#include "transfer_world.h"

#include <sys/wait.h>

#define BUFFER_BYTES 30000
#define TOTAL_BYTES 1000000

static const char *program;

static void print_counts(pid_t thread, const struct call_table *table)
{
    for (int i = 0; i < CALL_KINDS; i++) {
        if (table->of[i].calls) {
            printf("%d %s %lu\n", thread, engine_call_name((enum engine_call)i),
                   table->of[i].calls);
        }
    }
}

/* Both ends in this thread; both count in one table. */
static int trace_both(const struct method_ops *method, const struct transport_ops *transport)
{
    struct wire wire = wire_open(transport);
    struct transfer_counts counts = {0};
    struct transfer_end *sender = NULL, *receiver = NULL;
    struct transfer_config config = {
        .transport = transport, .fd = wire.send, .buffer_bytes = BUFFER_BYTES, .nonblocking = true};
    struct err error = {0};
    make_nonblocking(wire.send);
    make_nonblocking(wire.receive);
    int result = method->open(&sender, true, &config, &counts, &error);
    config.fd = wire.receive;
    if (result == 0) {
        result = method->open(&receiver, false, &config, &counts, &error);
    }
    mark();
    if (result == 0) {
        result = transfer_both(sender, receiver, TOTAL_BYTES, NULL, &error);
    }
    mark();
    method->close(sender);
    method->close(receiver);
    print_counts(gettid(), &counts.calls);
    return result;
}

/* The traced process: prints a line "thread call count" for each. */
static int traced(const char *kind, const struct method_ops *method,
                  const struct transport_ops *transport)
{
    world_prepare();
    if (strcmp(kind, "both") == 0) {
        return trace_both(method, transport) ? 1 : 0;
    }
    struct wire wire = wire_open(transport);
    struct side sender =
        side_of(method, transport, wire.send, true, BUFFER_BYTES, TOTAL_BYTES, false);
    struct side receiver =
        side_of(method, transport, wire.receive, false, BUFFER_BYTES, TOTAL_BYTES, false);
    side_start(&receiver);
    side_start(&sender);
    side_join(&sender);
    side_join(&receiver);
    print_counts(sender.thread_id, &sender.counts.calls);
    print_counts(receiver.thread_id, &receiver.counts.calls);
    return sender.result || receiver.result;
}

/* Calls of a thread, as counted and as seen. */
struct tally {
    struct row {
        int thread;
        char name[32];
        unsigned long count;
    } rows[32];
    size_t length;
};

static void tally_add(struct tally *tally, int thread, const char *name, unsigned long count)
{
    size_t i = 0;
    while (i < tally->length &&
           (tally->rows[i].thread != thread || strcmp(tally->rows[i].name, name) != 0)) {
        i++;
    }
    assert_true(i < sizeof tally->rows / sizeof *tally->rows);
    if (i == tally->length) {
        tally->rows[tally->length].thread = thread;
        snprintf(tally->rows[i].name, sizeof tally->rows[i].name, "%s", name);
        tally->length++;
    }
    tally->rows[i].count += count;
}

static unsigned long tally_of(const struct tally *tally, const struct row *row)
{
    for (size_t i = 0; i < tally->length; i++) {
        if (tally->rows[i].thread == row->thread && strcmp(tally->rows[i].name, row->name) == 0) {
            return tally->rows[i].count;
        }
    }
    return 0;
}

/* Lines "THREAD name(…": the begin of each call, whole or not, between a thread's marks. */
static struct tally tally_trace(FILE *file)
{
    struct tally tally = {0};
    int marked[8] = {0}, thread;
    size_t marked_count = 0;
    char line[1024], name[32];
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%d %31[a-z0-9_](", &thread, name) != 2) {
            continue;
        }
        size_t at = 0;
        while (at < marked_count && marked[at] != thread) {
            at++;
        }
        if (strcmp(name, "getppid") == 0 && at == marked_count) {
            assert_true(marked_count < 8);
            marked[marked_count++] = thread;
        } else if (strcmp(name, "getppid") == 0) {
            marked[at] = -1;
        } else if (at < marked_count) {
            tally_add(&tally, thread, name, 1);
        }
    }
    return tally;
}

static struct tally tally_counted(FILE *file)
{
    struct tally tally = {0};
    char name[32];
    unsigned long count;
    int thread;
    while (fscanf(file, "%d %31s %lu", &thread, name, &count) == 3) {
        tally_add(&tally, thread, name, count);
    }
    return tally;
}

/* Runs this program under strace; what it printed and what strace wrote. */
static void run_traced(const char *kind, const struct method_ops *method,
                       const struct transport_ops *transport, FILE *printed, FILE *trace)
{
    char output[64];
    int status;
    snprintf(output, sizeof output, "/dev/fd/%d", fileno(trace));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const char *options = getenv("ASAN_OPTIONS");
        char changed[512];
        /* The leak check cannot run under strace. */
        snprintf(changed, sizeof changed, "%s:detect_leaks=0", options ? options : "");
        setenv("ASAN_OPTIONS", changed, 1);
        dup2(fileno(printed), 1);
        execlp("strace", "strace", "-f", "-qq", "-o", output, program, kind, method->name,
               transport->scheme, NULL);
        _exit(99);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("%s %s %s: status 0x%x", kind, method->name, transport->scheme, status);
    }
    rewind(printed);
    rewind(trace);
}

static void check(const char *kind, const struct method_ops *method,
                  const struct transport_ops *transport)
{
    FILE *printed = tmpfile(), *trace = tmpfile();
    assert_non_null(printed);
    assert_non_null(trace);
    run_traced(kind, method, transport, printed, trace);
    struct tally counted = tally_counted(printed), seen = tally_trace(trace);
    assert_true(counted.length >= 1);
    assert_int_equal(counted.length, seen.length);
    for (size_t i = 0; i < seen.length; i++) {
        const struct row *row = &seen.rows[i];
        if (tally_of(&counted, row) != row->count) {
            fail_msg("%s %s %s: %s: strace saw %lu, %lu were counted", kind, method->name,
                     transport->scheme, row->name, row->count, tally_of(&counted, row));
        }
    }
    fclose(printed);
    fclose(trace);
}

static bool have_strace(void)
{
    return system("strace -qq -o /dev/null true >/dev/null 2>&1") == 0;
}

static void test_two_threads(void **state)
{
    (void)state;
    if (!have_strace()) {
        skip();
    }
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            if (serves(methods[m], transports[t])) {
                check("two", methods[m], transports[t]);
            }
        }
    }
}

static void test_one_thread(void **state)
{
    (void)state;
    if (!have_strace()) {
        skip();
    }
    for (size_t m = 0; methods[m]; m++) {
        for (size_t t = 0; transports[t]; t++) {
            if (methods[m]->flags & METHOD_SOME && serves(methods[m], transports[t])) {
                check("both", methods[m], transports[t]);
            }
        }
    }
}

static const struct transport_ops *transport_of(const char *scheme)
{
    size_t i = 0;
    while (transports[i] && strcmp(transports[i]->scheme, scheme) != 0) {
        i++;
    }
    return transports[i];
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest cases[] = {
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_one_thread),
    };
    program = argv[0];
    if (argc == 4) {
        return traced(argv[1], method_find(argv[2]), transport_of(argv[3]));
    }
    world_prepare();
    return cmocka_run_group_tests(cases, NULL, NULL);
}
