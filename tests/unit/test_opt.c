#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"

static const char *const engines[] = {"threads", "poll", "epoll", "uring", "null", NULL};
static const char *const modes[] = {"gather", "each", NULL};

struct pair {
    uint32_t left, right;
};

struct load {
    uint64_t count, size, duration;
    double rate;
    const char *csv, *json;
    uint32_t mode;
    bool nodelay, cork;
};

struct other {
    struct opt_list engines, observe;
    struct pair pair;
    bool verbose;
};

static int parse_pair(const char *text, void *member, struct err *error)
{
    struct pair *pair = member;
    char left, right, end;
    if (sscanf(text, "%c:%c%c", &left, &right, &end) != 2) {
        err_set(error, ERR_SYSTEM, text, "not a pair");
        return err_hint(error, "accepts X:Y");
    }
    *pair = (struct pair){(uint32_t)left, (uint32_t)right};
    return 0;
}

static void print_pair(const void *member, FILE *out)
{
    const struct pair *pair = member;
    fprintf(out, "%c:%c", (char)pair->left, (char)pair->right);
}

static const struct opt load_rows[] = {
    OPT_COUNT(struct load, count, .name = "high", .letter = 'n', .initial = "20k", .least = 1,
              .most = 1000000, .help = "calls in flight at which sending stops"),
    OPT_SIZE(struct load, size, .name = "size", .letter = 'm', .initial = "64", .least = 1,
             .most = UINT64_C(1) << 30, .help = "bytes of a call"),
    OPT_DURATION(struct load, duration, .name = "duration", .letter = 'd', .initial = "5s",
                 .help = "length of the window"),
    OPT_RATE(struct load, rate, .name = "rate", .letter = 'r', .least = 1,
             .help = "calls per second, open loop"),
    OPT_TEXT(struct load, csv, .name = "csv", .argument = "FILE", .help = "write CSV here"),
    OPT_TEXT(struct load, json, .name = "json", .letter = 'j', .argument = "FILE", .optional = "-",
             .help = "write JSON"),
    OPT_CHOICE(struct load, mode, .name = "write", .initial = "each", .choices = modes,
               .help = "when calls are written"),
    OPT_BOOL(struct load, nodelay, .name = "nodelay", .initial = "yes", .help = "TCP_NODELAY"),
    OPT_BOOL(struct load, cork, .name = "cork", .letter = 'k', .help = "TCP_CORK"),
};
static const struct opt other_rows[] = {
    OPT_LIST(struct other, engines, .name = "engine", .letter = 'e', .initial = "epoll,uring",
             .choices = engines, .help = "engines, one run each"),
    OPT_LIST(struct other, observe, .name = "observe", .letter = 'o', .help = "what to observe"),
    OPT_CUSTOM(struct other, pair, struct pair, .name = "pair", .initial = "a:b",
               .parse = parse_pair, .print = print_pair, .help = "two letters"),
    OPT_BOOL(struct other, verbose, .name = "verbose", .letter = 'v', .help = "say more"),
};

struct fixture {
    struct load load;
    struct other other;
    struct opt_set sets[2];
    struct opt_arguments arguments;
    struct err error;
    char *argv[32];
    int argc;
};

static void prepare(struct fixture *f)
{
    memset(f, 0xa5, sizeof *f); /* defaults must not read what was there */
    f->error = (struct err){0};
    f->arguments = (struct opt_arguments){0};
    f->sets[0] =
        (struct opt_set){"Load", load_rows, sizeof load_rows / sizeof *load_rows, &f->load, 0};
    f->sets[1] =
        (struct opt_set){"Other", other_rows, sizeof other_rows / sizeof *other_rows, &f->other, 0};
    assert_int_equal(opt_defaults(f->sets, 2, &f->error), 0);
}

static int parse(struct fixture *f, ...)
{
    va_list list;
    const char *word;
    prepare(f);
    f->argc = 0;
    f->argv[f->argc++] = (char *)"call";
    va_start(list, f);
    while ((word = va_arg(list, const char *)) != NULL) {
        f->argv[f->argc++] = (char *)word;
    }
    va_end(list);
    f->argv[f->argc] = NULL;
    return opt_parse(f->sets, 2, f->argc, f->argv, &f->arguments, &f->error);
}

#define PARSE(f, ...) parse(f, __VA_ARGS__, (const char *)NULL)

static void release(struct fixture *f)
{
    opt_release(f->sets, 2, &f->arguments);
    opt_release(f->sets, 2, &f->arguments);
    assert_null(f->arguments.items);
    assert_int_equal(f->other.engines.count, 0);
}

/* Parses words that must be refused, and compares the error. */
#define REFUSED(subject_text, what_text, hint_text, ...)                                           \
    do {                                                                                           \
        struct fixture refused;                                                                    \
        assert_int_equal(PARSE(&refused, __VA_ARGS__), -1);                                        \
        assert_int_equal(refused.error.code, ERR_USAGE);                                           \
        assert_string_equal(refused.error.subject, subject_text);                                  \
        assert_string_equal(refused.error.what, what_text);                                        \
        assert_string_equal(refused.error.hint, hint_text);                                        \
        assert_null(refused.arguments.items);                                                      \
        release(&refused);                                                                         \
    } while (0)

static void test_defaults(void **state)
{
    (void)state;
    struct fixture f;
    prepare(&f);
    assert_int_equal(f.load.count, 20000);
    assert_int_equal(f.load.size, 64);
    assert_true(f.load.duration == UINT64_C(5000000000));
    assert_true(f.load.rate == 0);
    assert_null(f.load.csv);
    assert_null(f.load.json);
    assert_int_equal(f.load.mode, 1);
    assert_true(f.load.nodelay);
    assert_false(f.load.cork);
    assert_int_equal(f.other.engines.count, 2);
    assert_string_equal(f.other.engines.items[1], "uring");
    assert_int_equal(f.other.observe.count, 0);
    assert_int_equal(f.other.pair.left, 'a');
    assert_false(opt_given(&f.sets[0], offsetof(struct load, count)));
    release(&f);
}

static void test_all_forms(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(PARSE(&f, "one", "--high", "30k", "--size=1.5m", "-d", "10ms", "-r2.5M", "two",
                           "-kv", "--write=gather", "-", "--pair", "x:y"),
                     0);
    assert_int_equal(f.load.count, 30000);
    assert_int_equal(f.load.size, 1572864);
    assert_int_equal(f.load.duration, 10000000);
    assert_true(f.load.rate == 2.5e6);
    assert_true(f.load.cork);
    assert_true(f.other.verbose);
    assert_int_equal(f.load.mode, 0);
    assert_int_equal(f.other.pair.right, 'y');
    assert_int_equal(f.arguments.count, 3);
    assert_string_equal(f.arguments.items[0], "one");
    assert_string_equal(f.arguments.items[1], "two");
    assert_string_equal(f.arguments.items[2], "-");
    assert_null(f.arguments.rest);
    assert_true(opt_given(&f.sets[0], offsetof(struct load, count)));
    assert_true(opt_given(&f.sets[1], offsetof(struct other, verbose)));
    assert_false(opt_given(&f.sets[0], offsetof(struct load, nodelay)));
    assert_false(opt_given(&f.sets[1], offsetof(struct other, engines)));
    release(&f);

    assert_int_equal(PARSE(&f, "-vkm64k", "-m=2k", "--csv=a=b", "--csv", "--", "-x"), -1);
    release(&f);
    assert_int_equal(PARSE(&f, "-vkm64k", "--csv=a=b", "--", "-x", "--"), 0);
    assert_int_equal(f.load.size, 65536);
    assert_string_equal(f.load.csv, "a=b");
    assert_int_equal(f.arguments.count, 0);
    assert_ptr_equal(f.arguments.rest, f.argv + 4);
    assert_string_equal(f.arguments.rest[1], "--");
    assert_null(f.arguments.rest[2]);
    release(&f);
    assert_int_equal(PARSE(&f, "--size", "1", "-m=2", "--"), 0);
    assert_int_equal(f.load.size, 2);
    assert_non_null(f.arguments.rest);
    assert_null(f.arguments.rest[0]);
    release(&f);
    f.argc = 0;
    prepare(&f);
    assert_int_equal(opt_parse(f.sets, 2, 0, f.argv, &f.arguments, &f.error), 0);
    release(&f);
}

static void test_bounds_are_accepted(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(PARSE(&f, "--high=1M", "--size=1g", "--rate=1"), 0);
    assert_int_equal(f.load.count, 1000000);
    assert_true(f.load.size == UINT64_C(1) << 30);
    release(&f);
    assert_int_equal(PARSE(&f, "--high=1", "--size=1"), 0);
    release(&f);
}

static void test_booleans(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(PARSE(&f, "--no-nodelay", "--cork=yes"), 0);
    assert_false(f.load.nodelay);
    assert_true(f.load.cork);
    assert_true(opt_given(&f.sets[0], offsetof(struct load, nodelay)));
    release(&f);
    assert_int_equal(PARSE(&f, "--nodelay=no", "--cork", "--cork=no"), 0);
    assert_false(f.load.nodelay);
    assert_false(f.load.cork);
    release(&f);
    assert_int_equal(PARSE(&f, "--nodelay", "no"), 0); /* "no" is an argument of its own */
    assert_true(f.load.nodelay);
    assert_int_equal(f.arguments.count, 1);
    release(&f);
    REFUSED("--nodelay", "\"maybe\" is not yes or no", "accepts yes or no", "--nodelay=maybe");
    REFUSED("--nodelay", "\"\" is not yes or no", "accepts yes or no", "--nodelay=");
    REFUSED("--no-nodelay", "takes no value, got \"yes\"", "", "--no-nodelay=yes");
    assert_int_equal(PARSE(&f, "--cork", "--no-cork"), 0); /* also where no is the default */
    assert_false(f.load.cork);
    release(&f);
}

static void test_unknown_options(void **state)
{
    (void)state;
    REFUSED("--hihg", "unknown option", "did you mean --high?", "--hihg");
    REFUSED("--hihg", "unknown option", "did you mean --high?", "--hihg=3", "x");
    REFUSED("--dur", "unknown option", "did you mean --duration?", "--dur");
    REFUSED("--hepl", "unknown option", "did you mean --help?", "--hepl");
    REFUSED("--bananas", "unknown option", "--help lists the options", "--bananas");
    REFUSED("--no-bananas", "unknown option", "--help lists the options", "--no-bananas");
    REFUSED("--no-", "unknown option", "--help lists the options", "--no-");
    REFUSED("--no-high", "unknown option", "--help lists the options", "--no-high");
    REFUSED("--", "unknown option", "--help lists the options", "--=3");
    REFUSED("-x", "unknown option", "--help lists the options", "-x");
    REFUSED("-x", "unknown option", "--help lists the options", "-vx");
    REFUSED("-high", "unknown option", "did you mean --high?", "-high");
    REFUSED("-5", "unknown option", "--help lists the options", "-5");
    REFUSED("--a?[31mb", "unknown option", "--help lists the options", "--a\x1b[31mb");
    struct fixture f;
    char word[5000];
    memset(word, 'a', sizeof word);
    memcpy(word, "--", 2);
    word[sizeof word - 1] = '\0';
    assert_int_equal(PARSE(&f, word), -1);
    assert_int_equal(strlen(f.error.subject), 64 + 3);
    release(&f);
}

static void test_wrong_values(void **state)
{
    (void)state;
    const char *size = "accepts a size such as 64k, 1 to 1g";
    const char *count = "accepts a whole number such as 20k, 1 to 1M";
    const char *duration = "accepts a duration such as 5s or 10ms";
    const char *rate = "accepts a rate per second such as 10k, 1 or more";
    REFUSED("--size", "\"abc\" is not a size", size, "--size", "abc");
    REFUSED("-m/--size", "\"abc\" is not a size", size, "-m", "abc");
    REFUSED("--size", "\"-5\" is not a size", size, "--size", "-5");
    REFUSED("-m/--size", "\"-5\" is not a size", size, "-m-5");
    REFUSED("--size", "\"-.5\" is not a size", size, "--size", "-.5");
    REFUSED("--size", "\"\" is not a size", size, "--size", "");
    REFUSED("--size", "\"\" is not a size", size, "--size=");
    REFUSED("--size", "\"64kx\" is not a size", size, "--size=64kx");
    REFUSED("--size", "0 is too small", size, "--size", "0");
    REFUSED("--size", "2g is too large", size, "--size", "2g");
    REFUSED("--size", "99999999999999999999 is too large", size, "--size", "99999999999999999999");
    REFUSED("-n/--high", "\"1.5\" is not a whole number", count, "-n", "1.5");
    REFUSED("--high", "1000001 is too large", count, "--high=1000001");
    REFUSED("--duration", "\"5x\" is not a duration", duration, "--duration", "5x");
    REFUSED("--rate", "\"nan\" is not a rate", rate, "--rate", "nan");
    REFUSED("--rate", "\"inf\" is not a rate", rate, "--rate", "inf");
    REFUSED("--rate", "0.5 is too small", rate, "--rate", "0.5");
    REFUSED("--csv", "the value is empty", "accepts FILE", "--csv", "");
    REFUSED("--write", "unknown value \"gathre\"", "did you mean gather? accepts gather, each",
            "--write", "gathre");
    REFUSED("--write", "unknown value \"\"", "accepts gather, each", "--write=");
    REFUSED("--pair", "xyz: not a pair", "accepts X:Y", "--pair", "xyz");
}

/* An example that the row would refuse helps nobody. */
static void test_examples_fit(void **state)
{
    (void)state;
    static const struct {
        struct opt row;
        const char *accepts;
    } rows[] = {
        {{.type = OPT_TYPE_DURATION, .least = 10000000},
         "a duration such as 5s or 10ms, 10ms or more"},
        {{.type = OPT_TYPE_DURATION, .least = 100000000, .most = 3600000000000},
         "a duration such as 5s, 100ms to 1h"},
        {{.type = OPT_TYPE_DURATION, .most = 1000000000}, "a duration such as 10ms, 0s to 1s"},
        {{.type = OPT_TYPE_SIZE, .least = 1, .most = 1 << 10}, "a size, 1 to 1k"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        assert_string_equal(opt_accepts(&rows[i].row, text, sizeof text), rows[i].accepts);
    }
}

static void test_missing_values(void **state)
{
    (void)state;
    const char *size = "accepts a size such as 64k, 1 to 1g";
    REFUSED("--size", "needs a value", size, "--size");
    REFUSED("-m/--size", "needs a value", size, "-vm");
    REFUSED("--size", "needs a value", size, "--size", "--high", "3");
    REFUSED("--size", "needs a value", size, "--size", "-v");
    REFUSED("--size", "needs a value", size, "--size", "--", "3");
    REFUSED("--csv", "needs a value", "accepts FILE", "--csv", "-v");
    struct fixture f;
    assert_int_equal(PARSE(&f, "--csv", "-", "-o", "-1"), 0);
    assert_string_equal(f.load.csv, "-");
    assert_string_equal(f.other.observe.items[0], "-1");
    release(&f);
    assert_int_equal(PARSE(&f, "--csv=-v"), 0);
    assert_string_equal(f.load.csv, "-v");
    release(&f);
}

static void test_optional_value(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(PARSE(&f, "--json", "target"), 0);
    assert_string_equal(f.load.json, "-");
    assert_int_equal(f.arguments.count, 1);
    release(&f);
    assert_int_equal(PARSE(&f, "--json=out.json"), 0);
    assert_string_equal(f.load.json, "out.json");
    release(&f);
    assert_int_equal(PARSE(&f, "-jv", "target"), 0);
    assert_string_equal(f.load.json, "-");
    assert_true(f.other.verbose);
    release(&f);
    assert_int_equal(PARSE(&f, "-j=x"), 0);
    assert_string_equal(f.load.json, "x");
    release(&f);
    REFUSED("--json", "the value is empty", "accepts FILE", "--json=");
}

static void test_lists(void **state)
{
    (void)state;
    const char *accepts = "accepts a comma-separated list of threads, poll, epoll, uring, null";
    struct fixture f;
    assert_int_equal(PARSE(&f, "-e", "poll,null", "x", "--engine=threads"), 0);
    assert_int_equal(f.other.engines.count, 3);
    assert_string_equal(f.other.engines.items[0], "poll");
    assert_string_equal(f.other.engines.items[1], "null");
    assert_string_equal(f.other.engines.items[2], "threads");
    release(&f);
    assert_int_equal(PARSE(&f, "-o", "self", "-oserver,pid=5"), 0);
    assert_int_equal(f.other.observe.count, 3);
    assert_string_equal(f.other.observe.items[2], "pid=5");
    release(&f);
    REFUSED("--engine", "\"\" holds an empty item", accepts, "--engine=");
    REFUSED("--engine", "\"poll,\" holds an empty item", accepts, "--engine", "poll,");
    REFUSED("--engine", "\",poll\" holds an empty item", accepts, "--engine", ",poll");
    REFUSED("--engine", "\"poll,,null\" holds an empty item", accepts, "--engine", "poll,,null");
    REFUSED("-e/--engine", "unknown value \"epol\"",
            "did you mean epoll? accepts a comma-separated list of threads, poll, epoll, uring, "
            "null",
            "-e", "poll,epol");
    REFUSED("--observe", "\"a,,b\" holds an empty item", "accepts a comma-separated list",
            "--observe=a,,b");
}

/* What a wrong table of rows must give; the table is a programming error. */
static void assert_wrong_rows(const struct opt *first, size_t first_count, const struct opt *second,
                              size_t second_count, const char *says)
{
    struct load load;
    struct other other;
    struct opt_set sets[] = {{"One", first, first_count, &load, 0},
                             {"Two", second, second_count, &other, 0}};
    struct err error = {0};
    assert_int_equal(opt_defaults(sets, 2, &error), -1);
    assert_int_equal(error.code, ERR_UNSUPPORTED);
    assert_int_equal(err_exit_status(&error), 1);
    if (strstr(error.what, "programming error") == NULL || strstr(error.what, says) == NULL) {
        fail_msg("says \"%s\"", error.what);
    }
    opt_release(sets, 2, NULL);
}

static void test_programming_errors(void **state)
{
    (void)state;
    static const struct opt same_name[] = {
        OPT_BOOL(struct other, verbose, .name = "size", .help = "x")};
    static const struct opt same_letter[] = {
        OPT_BOOL(struct other, verbose, .name = "new", .letter = 'm', .help = "x")};
    static const struct opt bad_default[] = {
        OPT_LIST(struct other, engines, .name = "new", .initial = "epoll,nil", .choices = engines)};
    static const struct opt out_of_bounds[] = {
        OPT_SIZE(struct load, size, .name = "new", .initial = "0", .least = 1)};
    static const struct opt no_choices[] = {OPT_CHOICE(struct load, mode, .name = "new")};
    static const struct opt no_parse[] = {
        OPT_CUSTOM(struct other, pair, struct pair, .name = "new")};
    static const struct opt help[] = {OPT_BOOL(struct other, verbose, .name = "help")};
    static const struct opt nameless[] = {OPT_BOOL(struct other, verbose, .letter = 'x')};
    static const struct opt bounds[] = {
        OPT_SIZE(struct load, size, .name = "new", .least = 5, .most = 4)};
    static const struct opt twice[] = {OPT_BOOL(struct other, verbose, .name = "new"),
                                       OPT_BOOL(struct other, verbose, .name = "new")};
    size_t count = sizeof load_rows / sizeof *load_rows;
    assert_wrong_rows(load_rows, count, same_name, 1, "--size");
    assert_wrong_rows(load_rows, count, same_letter, 1, "--size");
    assert_wrong_rows(twice, 2, NULL, 0, "--new");
    assert_wrong_rows(load_rows, count, bad_default, 1, "unknown value \"nil\"");
    assert_wrong_rows(out_of_bounds, 1, NULL, 0, "too small");
    assert_wrong_rows(no_choices, 1, NULL, 0, "no choices");
    assert_wrong_rows(NULL, 0, no_parse, 1, "no parse");
    assert_wrong_rows(NULL, 0, help, 1, "help");
    assert_wrong_rows(NULL, 0, nameless, 1, "name");
    assert_wrong_rows(bounds, 1, NULL, 0, "least");
    struct opt_set too_many = {"Many", load_rows, OPT_SET_ROWS_MAX + 1, NULL, 0};
    struct load load;
    struct opt *rows = calloc(OPT_SET_ROWS_MAX + 1, sizeof *rows);
    assert_non_null(rows);
    too_many.rows = rows;
    too_many.target = &load;
    struct err error = {0};
    assert_int_equal(opt_defaults(&too_many, 1, &error), -1);
    assert_int_equal(error.code, ERR_UNSUPPORTED);
    free(rows);
}

static void test_wants_help(void **state)
{
    (void)state;
    assert_true(opt_wants_help(2, (char *[]){"call", "--help", NULL}));
    assert_true(opt_wants_help(3, (char *[]){"call", "x", "-h", NULL}));
    assert_false(opt_wants_help(3, (char *[]){"call", "--", "-h", NULL}));
    assert_false(opt_wants_help(2, (char *[]){"call", "--helpful", NULL}));
    assert_false(opt_wants_help(1, (char *[]){"--help", NULL}));
    assert_false(opt_wants_help(0, (char *[]){NULL}));
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(opt_nearest("hihg", (const char *[]){"low", "high"}, 2), "high");
    assert_string_equal(opt_nearest("connectoins", (const char *[]){"connections"}, 1),
                        "connections");
    assert_string_equal(opt_nearest("epol", (const char *[]){"poll", "epoll"}, 2), "epoll");
    assert_string_equal(opt_nearest("xonnxctixns", (const char *[]){"connections"}, 1),
                        "connections"); /* 3 of 11 */
    assert_null(opt_nearest("xoxnxctixns", (const char *[]){"connections"}, 1));
    assert_null(opt_nearest("lo1", (const char *[]){"high"}, 1));
    assert_string_equal(opt_nearest("ab", (const char *[]){"abc"}, 1), "abc");
    assert_null(opt_nearest("ab", (const char *[]){"abcd"}, 1));
    assert_null(opt_nearest("", (const char *[]){"a"}, 1));
    assert_null(opt_nearest("a", NULL, 0));
    char word[200];
    memset(word, 'a', sizeof word);
    word[199] = '\0';
    assert_null(opt_nearest(word, (const char *[]){word}, 1));
    word[64] = '\0';
    assert_ptr_equal(opt_nearest(word, (const char *[]){word}, 1), word);
}

/* What `print` writes for all rows, as one argv, parsed again must give the same text. */
static void test_printed_values_parse_back(void **state)
{
    (void)state;
    struct fixture f, again;
    assert_int_equal(PARSE(&f, "--high=12345", "-m", "1.5m", "-d", "250ms", "-r", "0.1k", "--csv",
                           "x y", "--json", "--write=gather", "--no-nodelay", "-k", "-e",
                           "null,poll", "--pair=p:q", "-oself", "-v"),
                     0);
    char *words[16];
    int count = 0;
    words[count++] = strdup("call");
    for (size_t s = 0; s < 2; s++) {
        for (size_t r = 0; r < f.sets[s].count; r++) {
            size_t size;
            FILE *out = open_memstream(&words[count++], &size);
            fprintf(out, "--%s=", f.sets[s].rows[r].name);
            opt_print_value(&f.sets[s].rows[r], f.sets[s].target, out);
            assert_int_equal(fclose(out), 0);
        }
    }
    assert_string_equal(words[1], "--high=12345");
    assert_string_equal(words[2], "--size=1.5m");
    assert_string_equal(words[3], "--duration=250ms");
    assert_string_equal(words[4], "--rate=100");
    assert_string_equal(words[5], "--csv=x y");
    assert_string_equal(words[6], "--json=-");
    assert_string_equal(words[7], "--write=gather");
    assert_string_equal(words[8], "--nodelay=no");
    assert_string_equal(words[9], "--cork=yes");
    assert_string_equal(words[10], "--engine=null,poll");
    assert_string_equal(words[11], "--observe=self");
    assert_string_equal(words[12], "--pair=p:q");
    assert_string_equal(words[13], "--verbose=yes");
    prepare(&again);
    assert_int_equal(opt_parse(again.sets, 2, count, words, &again.arguments, &again.error), 0);
    assert_int_equal(again.load.size, f.load.size);
    assert_int_equal(again.load.duration, f.load.duration);
    assert_true(again.load.rate == f.load.rate);
    assert_int_equal(again.load.mode, f.load.mode);
    assert_int_equal(again.other.pair.right, 'q');
    release(&f);
    release(&again);
    while (count > 0) {
        free(words[--count]);
    }
}

static void test_help(void **state)
{
    (void)state;
    struct fixture f;
    prepare(&f);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    opt_print_help(f.sets, 2, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(
        text, "Load:\n"
              "  -n, --high=N         calls in flight at which sending stops (1 to 1M) [20k]\n"
              "  -m, --size=SIZE      bytes of a call (1 to 1g) [64]\n"
              "  -d, --duration=TIME  length of the window [5s]\n"
              "  -r, --rate=RATE      calls per second, open loop\n"
              "      --csv=FILE       write CSV here\n"
              "  -j, --json[=FILE]    write JSON\n"
              "      --write=NAME     when calls are written (gather, each) [each]\n"
              "      --[no-]nodelay   TCP_NODELAY [yes]\n"
              "  -k, --cork           TCP_CORK\n"
              "\n"
              "Other:\n"
              "  -e, --engine=NAME    engines, one run each (threads, poll, epoll, uring, null) "
              "[epoll,uring]\n"
              "  -o, --observe=NAME   what to observe\n"
              "      --pair=TEXT      two letters [a:b]\n"
              "  -v, --verbose        say more\n");
    free(text);
    release(&f);
}

static void test_help_wraps(void **state)
{
    (void)state;
    static const struct opt rows[] = {
        OPT_COUNT(struct load, count, .name = "a-name-that-is-much-too-long-for-the-column",
                  .help = "one two three four five six seven eight nine ten eleven twelve "
                          "thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"),
        OPT_COUNT(struct load, size, .name = "b", .help = "short"),
    };
    struct load load;
    struct opt_set set = {"Long", rows, 2, &load, 0};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    opt_print_help(&set, 1, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text,
                        "Long:\n"
                        "      --a-name-that-is-much-too-long-for-the-column=N\n"
                        "             one two three four five six seven eight nine ten eleven "
                        "twelve thirteen fourteen\n"
                        "             fifteen sixteen seventeen eighteen nineteen twenty\n"
                        "      --b=N  short\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_forms),
        cmocka_unit_test(test_bounds_are_accepted),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_unknown_options),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_examples_fit),
        cmocka_unit_test(test_missing_values),
        cmocka_unit_test(test_optional_value),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_programming_errors),
        cmocka_unit_test(test_wants_help),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_printed_values_parse_back),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
