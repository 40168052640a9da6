#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/doctor.h"

static const char QUIET[] =
    "{'version':'9','engines':[{'name':'poll','serves':true,'help':'one loop'}],"
    "'transports':[],'probes':[],'build':[],"
    "'limits':{'open_files_hard':1000000,'local_ports':28232,'listen_backlog_max':4096,"
    "'receive_buffer_max_bytes':212992,'send_buffer_max_bytes':'n/a (cannot be read)'},"
    "'machine':{'cores_allowed':2,'clock_cost_ns':30.5,'governor':'performance'},"
    "'noise':{'load_1m':0.5,'used_by_others_share':0.01,'steal_share':null,'warnings':[]}}";

/* JSON in single quotes. */
static json_t *parse(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    for (char *at = copy; *at; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    json_error_t error;
    json_t *report = json_loads(copy, 0, &error);
    if (!report) {
        fail_msg("%s", error.text);
    }
    free(copy);
    return report;
}

/* The text of a report; the caller frees it. No line of it may be longer than 100 columns. */
static char *printed(const json_t *report)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    doctor_print(report, out);
    assert_int_equal(fclose(out), 0);
    for (const char *line = text; *line;) {
        size_t columns = 0, length = strcspn(line, "\n");
        for (size_t i = 0; i < length; i++) {
            columns += ((unsigned char)line[i] & 0xc0) != 0x80;
        }
        assert_in_range(columns, 0, 100);
        line += length + (line[length] == '\n');
    }
    return text;
}

static const char *advice(const json_t *report, size_t i)
{
    const char *line = json_string_value(json_array_get(json_object_get(report, "advice"), i));
    return line ? line : "";
}

static void test_quiet(void **state)
{
    json_t *report = parse(QUIET);
    (void)state;
    assert_int_equal(doctor_advise(report), 0);
    assert_int_equal(json_array_size(json_object_get(report, "advice")), 0);
    char *text = printed(report);
    assert_non_null(strstr(text, "sonde 9\n"));
    assert_non_null(strstr(text, "  poll  yes  one loop\n"));
    assert_non_null(strstr(text, "\nWhat to change\n  nothing\n"));
    assert_non_null(strstr(text, "  receive buffer max        208 KiB\n"));
    assert_non_null(strstr(text, "  send buffer max           n/a (cannot be read)\n"));
    assert_non_null(strstr(text, "  clock cost                30.5 ns\n"));
    assert_non_null(strstr(text, "  used by others            1.0 % of CPU time\n"));
    assert_non_null(strstr(text, "  steal                     n/a"));
    free(text);
    json_decref(report);
}

static void test_everything_wrong(void **state)
{
    static const char *const expected[] = {
        "engine uring: io_uring is off",
        "probe syscalls: become root",
        "build BPF: install it",
        "open files: 1024 at most",
        "local ports: 100 for each",
        "listen backlog: cut to 128",
        "socket buffers: cut to 1000",
        "CPUs: one only",
        "clock: one read costs 900 ns",
        "governor: ",
        "noise: it is loud",
        "noise: other programs use 50 %",
    };
    json_t *report =
        parse("{'version':'9','engines':[{'name':'uring','serves':false,'help':'ring',"
              "'reason':'io_uring is off'}],'transports':[],"
              "'probes':[{'name':'syscalls','serves':false,'help':'calls','reason':'no CAP_BPF',"
              "'fix':'become root'}],'build':[{'name':'BPF','serves':false,'help':'x','reason':'r',"
              "'fix':'install it'}],'limits':{'open_files_hard':1024,'local_ports':100,"
              "'listen_backlog_max':128,'send_buffer_max_bytes':1000},"
              "'machine':{'cores_allowed':1,'clock_cost_ns':900.0,'clock_source':'hpet',"
              "'governor':'powersave'},"
              "'noise':{'used_by_others_share':0.5,'warnings':['it is loud']}}");
    (void)state;
    assert_int_equal(doctor_advise(report), 0);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        if (strncmp(advice(report, i), expected[i], strlen(expected[i]))) {
            fail_msg("\"%s\" is not \"%s\"", advice(report, i), expected[i]);
        }
    }
    assert_int_equal(json_array_size(json_object_get(report, "advice")),
                     sizeof expected / sizeof expected[0]);
    char *text = printed(report);
    assert_non_null(strstr(text, "  uring  no   ring\n              why not: io_uring is off\n"));
    assert_non_null(strstr(text, "why not: no CAP_BPF\n"));
    assert_non_null(strstr(text, "to fix:  become root\n"));
    assert_non_null(strstr(text, "  - noise: it is loud\n"));
    free(text);
    json_decref(report);
}

/* Long reasons: words move to the next line, words without end are cut, UTF-8 stays whole. */
static void test_wrapping(void **state)
{
    char reason[900];
    json_t *report = parse(QUIET);
    json_t *item = json_array_get(json_object_get(report, "engines"), 0);
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        size_t used = 0;
        while (used + 8 < sizeof reason) {
            static const char *const parts[] = {"word ", "endless", "µµµ"};
            used += (size_t)snprintf(reason + used, sizeof reason - used, "%s", parts[kind]);
        }
        assert_int_equal(json_object_set_new(item, "reason", json_string(reason)), 0);
        char *text = printed(report);
        size_t from = (size_t)(strstr(text, "why not: ") - text) + 9, at = 0;
        /* Nothing is lost: the same characters, but for blanks and line ends. */
        for (const char *c = reason; *c; c++) {
            if (*c == ' ') {
                continue;
            }
            while (text[from + at] == ' ' || text[from + at] == '\n') {
                at++;
            }
            assert_int_equal(text[from + at++], *c);
        }
        free(text);
    }
    json_decref(report);
}

/* The machine that runs the test. */
static void test_gather(void **state)
{
    static const char *const keys[] = {"engines", "transports", "probes", "build",  "limits",
                                       "machine", "noise",      "advice", "version"};
    struct err error = {0};
    json_t *report = doctor_gather(&error);
    (void)state;
    assert_non_null(report);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(json_object_get(report, keys[i]));
    }
    assert_int_equal(json_array_size(json_object_get(report, "engines")), 5);
    assert_int_equal(json_array_size(json_object_get(report, "transports")), 7);
    assert_true(json_array_size(json_object_get(report, "probes")) >= 1);
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(report, "probes"), i, item)
    {
        /* What does not serve says why. */
        assert_true(json_is_true(json_object_get(item, "serves")) ||
                    json_string_length(json_object_get(item, "reason")) > 0);
    }
    char *text = printed(report);
    assert_non_null(strstr(text, "\nWhat to change\n  "));
    free(text);
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_everything_wrong),
        cmocka_unit_test(test_wrapping),
        cmocka_unit_test(test_gather),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
