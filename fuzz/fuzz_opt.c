/* Command lines: the input's words (split at newlines and zero bytes) are parsed against rows of
 * every type. What was accepted is printed as options, parsed again, and must print the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"
#include "stats/goal.h"
#include "stats/rate_course.h"

#define WORDS_MAX 64
#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct values {
    uint64_t count, size, duration;
    double rate;
    const char *text, *optional;
    uint32_t choice;
    bool on, off;
    struct opt_list list, known;
    char custom;
    struct rate_course course;
    struct goal goal;
};

static int parse_letter(const char *text, void *member, struct err *error)
{
    if (text[0] == '\0' || text[1] != '\0') {
        return err_set(error, ERR_USAGE, text, "is not one letter");
    }
    *(char *)member = text[0];
    return 0;
}

static void print_letter(const void *member, FILE *out)
{
    fputc(*(const char *)member, out);
}

static const char *const choices[] = {"threads", "poll", "epoll", "uring", "null", NULL};

static const struct opt rows[] = {
    OPT_COUNT(struct values, count, .name = "count", .letter = 'n', .initial = "20k", .least = 1,
              .most = 1000000),
    OPT_SIZE(struct values, size, .name = "size", .letter = 'm', .initial = "64"),
    OPT_DURATION(struct values, duration, .name = "duration", .letter = 'd', .initial = "5s"),
    OPT_RATE(struct values, rate, .name = "rate", .letter = 'r'),
    OPT_TEXT(struct values, text, .name = "text", .letter = 't', .argument = "FILE",
             .initial = "none"),
    OPT_TEXT(struct values, optional, .name = "json", .letter = 'j', .initial = "none",
             .optional = "-"),
    OPT_CHOICE(struct values, choice, .name = "choice", .letter = 'c', .choices = choices),
};
static const struct opt more_rows[] = {
    OPT_BOOL(struct values, on, .name = "on", .initial = "yes"),
    OPT_BOOL(struct values, off, .name = "off", .letter = 'o'),
    OPT_LIST(struct values, list, .name = "list", .letter = 'l', .initial = "a,b"),
    OPT_LIST(struct values, known, .name = "known", .letter = 'k', .initial = "poll",
             .choices = choices),
    OPT_CUSTOM(struct values, custom, char, .name = "custom", .initial = "x", .parse = parse_letter,
               .print = print_letter),
    OPT_CUSTOM(struct values, course, struct rate_course, .name = "course", .initial = "",
               .parse = rate_course_parse, .print = rate_course_print),
    OPT_CUSTOM(struct values, goal, struct goal, .name = "goal", .initial = "", .parse = goal_parse,
               .print = goal_print),
};
#define ROWS (sizeof rows / sizeof rows[0])
#define MORE_ROWS (sizeof more_rows / sizeof more_rows[0])

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void prepare(struct opt_set *sets, struct values *values)
{
    struct err error = {0};
    sets[0] = (struct opt_set){"Some", rows, ROWS, values, 0};
    sets[1] = (struct opt_set){"More", more_rows, MORE_ROWS, values, 0};
    must(opt_defaults(sets, 2, &error) == 0);
}

/* All values as "--name=VALUE" words. */
static void print_all(const struct opt_set *sets, char **words)
{
    size_t count = 1, size;
    for (size_t s = 0; s < 2; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            FILE *out = open_memstream(&words[count++], &size);
            must(out != NULL);
            fprintf(out, "--%s=", sets[s].rows[r].name);
            opt_print_value(&sets[s].rows[r], sets[s].target, out);
            must(fclose(out) == 0);
        }
    }
}

static void check_round_trip(const struct opt_set *sets)
{
    char *words[ROWS + MORE_ROWS + 2] = {(char *)"sonde"}, *again[ROWS + MORE_ROWS + 2] = {0};
    const int count = ROWS + MORE_ROWS + 1;
    struct values values;
    struct opt_set fresh[2];
    struct opt_arguments arguments;
    struct err error = {0};
    print_all(sets, words);
    prepare(fresh, &values);
    must(opt_parse(fresh, 2, count, words, &arguments, &error) == 0);
    print_all(fresh, again);
    for (int i = 1; i < count; i++) {
        must(strcmp(words[i], again[i]) == 0);
        free(words[i]);
        free(again[i]);
    }
    opt_release(fresh, 2, &arguments);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[WORDS_MAX + 2] = {(char *)"sonde"};
    int argc = 1;
    size = size < INPUT_MAX ? size : INPUT_MAX;
    char *input = malloc(size + 1);
    must(input != NULL);
    if (size > 0) {
        memcpy(input, data, size);
    }
    input[size] = '\0';
    for (size_t at = 0; at < size && argc <= WORDS_MAX; at += strlen(input + at) + 1) {
        char *end = strchr(input + at, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        argv[argc++] = input + at;
    }
    struct values values;
    struct opt_set sets[2];
    struct opt_arguments arguments;
    struct err error = {0};
    prepare(sets, &values);
    if (opt_parse(sets, 2, argc, argv, &arguments, &error) == 0) {
        must(error.code == ERR_NONE && arguments.count < (size_t)argc);
        check_round_trip(sets);
    } else {
        must(error.code == ERR_USAGE && error.subject[0] != '\0' && error.what[0] != '\0');
        must(arguments.items == NULL);
    }
    (void)opt_wants_help(argc, argv);
    opt_release(sets, 2, &arguments);
    opt_release(sets, 2, &arguments);
    free(input);
    return 0;
}
