#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/record.h"

static const struct metric rate = {.key = "calls_per_second", .unit = "1/s", .title = "calls/s"};
static const struct metric other = {.key = "calls", .unit = "1", .title = "calls"};
static const struct histogram_metric latency = {"service_time", "ns", "service time", ""};

static void init(struct record *record)
{
    static char *arguments[] = {"sonde", "call", NULL};
    struct err error = {0};
    assert_int_equal(record_init(record, 2, arguments, &error), 0);
}

static void test_init_copies_the_command_line_and_states_the_time(void **state)
{
    (void)state;
    struct record record;
    struct err error = {0};
    char first[] = "sonde";
    char *arguments[] = {first, NULL};
    int year, month, day, hour, minute, second, milli;
    char zone;
    assert_int_equal(record_init(&record, 1, arguments, &error), 0);
    first[0] = 'X';
    assert_string_equal(record.command[0], "sonde");
    assert_null(record.command[1]);
    assert_false(record.complete);
    assert_int_equal(sscanf(record.started, "%4d-%2d-%2dT%2d:%2d:%2d.%3d%c", &year, &month, &day,
                            &hour, &minute, &second, &milli, &zone),
                     8);
    assert_int_equal(zone, 'Z');
    record_release(&record);
    record_release(&record);
}

/* 33 elements cross several powers of two, at which the arrays move. */
static void test_arrays_grow_and_keep_what_they_hold(void **state)
{
    (void)state;
    struct record record;
    init(&record);
    for (int i = 0; i < 33; i++) {
        char text[16];
        snprintf(text, sizeof text, "n%d", i);
        struct record_run *run = record_add_run(&record, text);
        assert_non_null(run);
        record_add_value(run, i % 2 ? &rate : &other)->value = i;
        struct record_histogram *histogram = record_add_histogram(run, &latency, "client");
        histogram_record(histogram->histogram, 1000, (uint64_t)i + 1);
        struct record_process *process = record_add_process(run, "server", i, text);
        assert_true(process->busiest_thread < 0);
        record_syscall_add_error(record_add_syscall(&process->kernel_calls, text), EAGAIN)->count =
            (uint64_t)i;
        record_add_uring(&process->engine_calls, text);
        record_interval_add_value(record_add_interval(run), &rate);
        assert_int_equal(record_add_option(&record, text, i ? "v" : NULL, i % 2), 0);
        assert_int_equal(record_add_machine(&record, text, true, "%d", i), 0);
        assert_int_equal(record_add_warning(&record, "warning %d", i), 0);
    }
    assert_int_equal(record.run_count, 33);
    for (int i = 0; i < 33; i++) {
        char text[16];
        snprintf(text, sizeof text, "n%d", i);
        const struct record_run *run = &record.runs[i];
        assert_string_equal(run->label, text);
        assert_true(run->values[0].metric == (i % 2 ? &rate : &other));
        assert_int_equal(histogram_count(run->histograms[0].histogram), i + 1);
        assert_int_equal(run->processes[0].pid, i);
        assert_string_equal(run->processes[0].kernel_calls.syscalls[0].errors[0].name, "EAGAIN");
        assert_int_equal(run->processes[0].kernel_calls.syscalls[0].errors[0].count, i);
        assert_string_equal(record.options[i].value, i ? "v" : "");
        assert_string_equal(record.machine[i].key, text);
    }
    assert_string_equal(record.warnings[32], "warning 32");
    record_release(&record);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    struct record record;
    char text[300];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    init(&record);
    struct record_run *run = record_add_run(&record, text);
    assert_int_equal(strlen(run->label), sizeof run->label - 1);
    struct record_process *process = record_add_process(run, text, 1, text);
    assert_int_equal(strlen(process->name), sizeof process->name - 1);
    assert_int_equal(strlen(record_add_error(run, text, 0, text)->name), 79);
    record_release(&record);
}

static void test_errors_are_named(void **state)
{
    (void)state;
    char storage[16];
    struct record record;
    init(&record);
    struct record_run *run = record_add_run(&record, "epoll");
    assert_string_equal(record_add_error(run, "connect", ECONNREFUSED, NULL)->name, "ECONNREFUSED");
    assert_string_equal(record_add_error(run, "protocol", 0, "short answer")->name, "short answer");
    /* Again: the same row, to add to. */
    struct record_error_count *row = record_add_error(run, "connect", ECONNREFUSED, NULL);
    assert_ptr_equal(row, &run->errors[0]);
    row = record_add_error(run, "protocol", 0, "short answer");
    assert_ptr_equal(row, &run->errors[1]);
    assert_int_equal(run->error_count, 2);
    record_add_error(run, "send", ECONNREFUSED, NULL);
    record_add_error(run, "protocol", 0, "long answer");
    assert_int_equal(run->error_count, 4);
    assert_string_equal(record_errno_name(EPIPE, storage, sizeof storage), "EPIPE");
    assert_string_equal(record_errno_name(4000, storage, sizeof storage), "E4000");
    assert_string_equal(record_errno_name(0, storage, sizeof storage), "E0");
    record_release(&record);
}

static void test_calls_are_sorted_by_count_then_name(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t calls;
    } given[] = {{"write", 5}, {"close", 1}, {"read", 5}, {"futex", UINT64_MAX}};
    static const char *const expected[] = {"futex", "read", "write", "close"};
    struct record_calls calls = {0};
    record_sort_calls(&calls);
    for (int i = 0; i < 4; i++) {
        record_add_syscall(&calls, given[i].name)->calls = given[i].calls;
    }
    record_sort_calls(&calls);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(calls.syscalls[i].name, expected[i]);
    }
    free(calls.syscalls);
}

static void test_values_are_found_by_key(void **state)
{
    (void)state;
    struct record record;
    init(&record);
    struct record_run *run = record_add_run(&record, "epoll");
    record_add_value(run, &other);
    record_add_value(run, &rate)->value = 7;
    assert_true(record_find_value(run, "calls_per_second")->value == 7);
    assert_null(record_find_value(run, "calls_per"));
    record_release(&record);
}

/* Writing. A printer that prints its record's first option, or fails. */

static int print_option(const struct record *record, FILE *out, struct err *error)
{
    (void)error;
    fputs(record->options[0].value, out);
    return 0;
}

static int print_half(const struct record *record, FILE *out, struct err *error)
{
    (void)record;
    fputs("half", out);
    return err_set(error, ERR_LIMIT, "printer", "it failed");
}

static const struct printer whole = {"whole", print_option}, failing = {"failing", print_half};

struct folder {
    struct record record;
    char path[64], file[96];
};

static int set_up(void **state)
{
    static struct folder folder;
    folder = (struct folder){.path = "/tmp/sonde-test-XXXXXX"};
    init(&folder.record);
    assert_int_equal(record_add_option(&folder.record, "text", "new content\n", true), 0);
    assert_non_null(mkdtemp(folder.path));
    snprintf(folder.file, sizeof folder.file, "%s/out", folder.path);
    *state = &folder;
    return 0;
}

/* Removes the folder and returns how many entries it had. */
static size_t remove_folder(struct folder *folder)
{
    size_t count = 0;
    DIR *directory = opendir(folder->path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(dirfd(directory), entry->d_name, 0);
            count++;
        }
    }
    if (directory) {
        closedir(directory);
    }
    rmdir(folder->path);
    return count;
}

static int tear_down(void **state)
{
    struct folder *folder = *state;
    record_release(&folder->record);
    remove_folder(folder);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *expected)
{
    char text[64];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, expected);
}

static void assert_refused(struct folder *folder, const struct printer *printer, const char *path,
                           int number, const char *subject)
{
    struct err error = {0};
    assert_int_equal(record_write(&folder->record, printer, path, &error), -1);
    assert_int_equal(error.number, number);
    assert_string_equal(error.subject, subject);
}

static void test_write_makes_a_file(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    struct stat status;
    mode_t mask = umask(027);
    int result = record_write(&folder->record, &whole, folder->file, &error);
    umask(mask);
    assert_int_equal(result, 0);
    assert_content(folder->file, "new content\n");
    assert_int_equal(stat(folder->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_int_equal(remove_folder(folder), 1);
}

static void test_write_replaces_a_file_and_keeps_its_mode(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    struct stat status;
    put(folder->file, "old content, which is longer than the new\n");
    assert_int_equal(chmod(folder->file, 0604), 0);
    assert_int_equal(record_write(&folder->record, &whole, folder->file, &error), 0);
    assert_content(folder->file, "new content\n");
    assert_int_equal(stat(folder->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0604);
    assert_int_equal(remove_folder(folder), 1);
}

static void test_write_follows_a_link(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    struct stat status;
    char link[128];
    put(folder->file, "old");
    snprintf(link, sizeof link, "%s/link", folder->path);
    assert_int_equal(symlink(folder->file, link), 0);
    assert_int_equal(record_write(&folder->record, &whole, link, &error), 0);
    assert_content(folder->file, "new content\n");
    assert_int_equal(lstat(link, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

static void test_a_printer_that_fails_leaves_the_old_file(void **state)
{
    struct folder *folder = *state;
    put(folder->file, "old");
    assert_refused(folder, &failing, folder->file, 0, "printer");
    assert_content(folder->file, "old");
    assert_int_equal(remove_folder(folder), 1);
}

/* The limit on the size of files stands for a full disk: the write itself fails. */
static void test_a_write_that_fails_leaves_the_old_file(void **state)
{
    struct folder *folder = *state;
    struct rlimit before, small;
    struct err error = {0};
    put(folder->file, "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 5, .rlim_max = before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int result = record_write(&folder->record, &whole, folder->file, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(result, -1);
    assert_int_equal(error.number, EFBIG);
    assert_string_equal(error.subject, folder->file);
    assert_content(folder->file, "old");
    assert_int_equal(remove_folder(folder), 1);
}

static void test_write_refuses_folders_and_missing_folders(void **state)
{
    struct folder *folder = *state;
    char missing[128];
    snprintf(missing, sizeof missing, "%s/none/out", folder->path);
    assert_refused(folder, &whole, folder->path, EISDIR, folder->path);
    assert_refused(folder, &whole, missing, ENOENT, missing);
    assert_refused(folder, &whole, "", ENOENT, "");
    assert_int_equal(remove_folder(folder), 0);
}

static void test_devices_are_written_in_place(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    struct stat status;
    assert_int_equal(record_write(&folder->record, &whole, "/dev/null", &error), 0);
    assert_int_equal(stat("/dev/null", &status), 0);
    assert_true(S_ISCHR(status.st_mode));
    assert_refused(folder, &whole, "/dev/full", ENOSPC, "/dev/full");
}

/* Runs record_write with file as standard output. */
static int write_to_output(struct folder *folder, int file, struct err *error)
{
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0 && dup2(file, STDOUT_FILENO) >= 0);
    int result = record_write(&folder->record, &whole, "-", error);
    fflush(stdout); /* nothing may be left to be written elsewhere later */
    assert_true(dup2(saved, STDOUT_FILENO) >= 0);
    close(saved);
    return result;
}

static void test_standard_output_gets_the_text(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    char text[64];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write_to_output(folder, ends[1], &error), 0);
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    assert_int_equal(length, 12);
    assert_memory_equal(text, "new content\n", 12);
}

static void test_standard_output_that_fails_is_an_error(void **state)
{
    struct folder *folder = *state;
    struct err error = {0};
    int ends[2];
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    assert_int_equal(write_to_output(folder, full, &error), -1);
    close(full);
    assert_int_equal(error.number, ENOSPC);
    assert_string_equal(error.subject, "standard output");

    error = (struct err){0};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    assert_int_equal(write_to_output(folder, ends[1], &error), -1);
    close(ends[1]);
    signal(SIGPIPE, SIG_DFL);
    assert_int_equal(error.number, EPIPE);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_copies_the_command_line_and_states_the_time),
        cmocka_unit_test(test_arrays_grow_and_keep_what_they_hold),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_errors_are_named),
        cmocka_unit_test(test_calls_are_sorted_by_count_then_name),
        cmocka_unit_test(test_values_are_found_by_key),
        IN_FOLDER(test_write_makes_a_file),
        IN_FOLDER(test_write_replaces_a_file_and_keeps_its_mode),
        IN_FOLDER(test_write_follows_a_link),
        IN_FOLDER(test_a_printer_that_fails_leaves_the_old_file),
        IN_FOLDER(test_a_write_that_fails_leaves_the_old_file),
        IN_FOLDER(test_write_refuses_folders_and_missing_folders),
        IN_FOLDER(test_devices_are_written_in_place),
        IN_FOLDER(test_standard_output_gets_the_text),
        IN_FOLDER(test_standard_output_that_fails_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
