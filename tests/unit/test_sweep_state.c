/* The state of a sweep on disk: what it takes back, and what it refuses. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/sweep_state.h"

static char path[] = "/tmp/sonde-test-state-XXXXXX";

static json_t *outcome(int value)
{
    return json_pack("{s:[], s:i}", "runs", "value", value);
}

static int open_it(struct sweep_state *state, const char *plan, bool restart, struct err *error)
{
    *error = (struct err){0};
    return sweep_state_open(state, path, plan, 4, restart, error);
}

static void expect_refusal(const char *plan, bool restart, const char *what)
{
    struct sweep_state state;
    struct err error, ignored;
    assert_int_equal(open_it(&state, plan, restart, &error), -1);
    if (!strstr(error.what, what)) {
        fail_msg("%s", error.what);
    }
    sweep_state_close(&state, false, &ignored);
}

/* A state with the outcomes of turns 2 and 0. */
static void write_two(void)
{
    struct sweep_state state;
    struct err error;
    unlink(path);
    assert_int_equal(open_it(&state, "plan", false, &error), 0);
    assert_int_equal(state.resumed, 0);
    assert_int_equal(sweep_state_add(&state, 2, outcome(12), &error), 0);
    assert_int_equal(sweep_state_add(&state, 0, outcome(10), &error), 0);
    assert_int_equal(sweep_state_close(&state, false, &error), 0);
    assert_int_equal(sweep_state_close(&state, false, &error), 0);
}

static void append(const char *text)
{
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void check_two(struct sweep_state *state)
{
    assert_int_equal(state->resumed, 2);
    assert_int_equal(state->done, 2);
    assert_null(state->outcomes[1]);
    assert_null(state->outcomes[3]);
    assert_int_equal(json_integer_value(json_object_get(state->outcomes[0], "value")), 10);
    assert_int_equal(json_integer_value(json_object_get(state->outcomes[2], "value")), 12);
}

static void goes_on(void **unused)
{
    (void)unused;
    struct sweep_state state;
    struct err error;
    write_two();
    assert_int_equal(open_it(&state, "plan", false, &error), 0);
    check_two(&state);
    expect_refusal("plan", false, "in use by another");
    assert_int_equal(sweep_state_add(&state, 3, outcome(13), &error), 0);
    assert_int_equal(sweep_state_close(&state, false, &error), 0);
    assert_int_equal(open_it(&state, "plan", false, &error), 0);
    assert_int_equal(state.resumed, 3);
    assert_int_equal(sweep_state_close(&state, true, &error), 0);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Every cut of the file at a byte of its last line loses that line and nothing else. */
static void a_line_cut_off_is_dropped(void **unused)
{
    (void)unused;
    struct stat status;
    struct err error;
    write_two();
    assert_int_equal(stat(path, &status), 0);
    static const char last[] = "{\"runs\":[],\"value\":10,\"turn\":0}\n";
    for (off_t cut = 1; cut < (off_t)sizeof last - 1; cut++) {
        struct sweep_state state;
        write_two();
        assert_int_equal(truncate(path, status.st_size - cut), 0);
        assert_int_equal(open_it(&state, "plan", false, &error), 0);
        assert_int_equal(state.resumed, 1);
        /* What comes next is a line of its own. */
        assert_int_equal(sweep_state_add(&state, 0, outcome(10), &error), 0);
        assert_int_equal(sweep_state_close(&state, false, &error), 0);
        assert_int_equal(open_it(&state, "plan", false, &error), 0);
        check_two(&state);
        assert_int_equal(sweep_state_close(&state, false, &error), 0);
    }
}

static void others_are_refused(void **unused)
{
    (void)unused;
    struct sweep_state state;
    struct err error;
    write_two();
    expect_refusal("another plan", false, "of another sweep");
    write_two();
    append("{\"turn\":9,\"runs\":[]}\n");
    expect_refusal("plan", false, "damaged: line 4");
    write_two();
    append("{\"turn\":2,\"runs\":[]}\n"); /* twice */
    expect_refusal("plan", false, "damaged: line 4");
    write_two();
    append("nonsense\n");
    expect_refusal("plan", false, "damaged: line 4");
    unlink(path);
    append("my notes\n");
    expect_refusal("plan", false, "no state of a sweep");
    expect_refusal("plan", true, "no state of a sweep"); /* and they are still there: */
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 9);
    unlink(path);
    append("my notes without a newline");
    expect_refusal("plan", false, "no state of a sweep");
    write_two();
    assert_int_equal(open_it(&state, "another plan", true, &error), 0);
    assert_int_equal(state.resumed, 0);
    assert_int_equal(sweep_state_close(&state, true, &error), 0);
}

static void in_memory(void **unused)
{
    (void)unused;
    struct sweep_state state;
    struct err error = {0};
    assert_int_equal(sweep_state_open(&state, NULL, "plan", 2, false, &error), 0);
    assert_int_equal(sweep_state_add(&state, 1, outcome(1), &error), 0);
    assert_int_equal(sweep_state_add(&state, 1, outcome(1), &error), -1);
    assert_int_equal(sweep_state_add(&state, 2, outcome(1), &error), -1);
    assert_int_equal(sweep_state_add(&state, 0, NULL, &error), -1);
    assert_int_equal(state.done, 1);
    assert_int_equal(sweep_state_close(&state, true, &error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),
        cmocka_unit_test(a_line_cut_off_is_dropped),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(in_memory),
    };
    int file = mkstemp(path);
    if (file < 0) {
        return 1;
    }
    close(file);
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return result;
}
