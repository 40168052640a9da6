/* VALUES of --vary: each line of the input is one. Where a plan is accepted, the command takes the
 * command line of every point, and the rows of a dimension differ. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "run/sweep_plan.h"

#define INPUT_MAX 512
#define POINTS_TRIED 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct values {
    uint64_t size, count, wait;
    double rate;
    const char *text;
    bool on, off;
    struct opt_list list;
};

static const struct opt rows[] = {
    OPT_SIZE(struct values, size, .name = "size", .letter = 's', .least = 1, .most = 1 << 20),
    OPT_COUNT(struct values, count, .name = "count"),
    OPT_DURATION(struct values, wait, .name = "wait"),
    OPT_RATE(struct values, rate, .name = "rate"),
    OPT_TEXT(struct values, text, .name = "text"),
    OPT_BOOL(struct values, on, .name = "on", .initial = "yes"),
    OPT_BOOL(struct values, off, .name = "off"),
    OPT_LIST(struct values, list, .name = "list"),
};

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void try_point(const struct sweep_plan *plan, struct opt_set *set, size_t point)
{
    char **words = sweep_plan_arguments(plan, point);
    struct opt_arguments arguments = {0};
    struct err error = {0};
    int count = 0;
    must(words != NULL);
    while (words[count]) {
        count++;
    }
    must(opt_defaults(set, 1, &error) == 0);
    must(opt_parse(set, 1, count, words, &arguments, &error) == 0);
    opt_release(set, 1, &arguments);
    free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct values values = {0};
    struct opt_set set = {"Some", rows, sizeof rows / sizeof *rows, &values, 0};
    char *base[] = {"call", "target", "--wait=1s", "--", "rest", NULL};
    struct sweep_vary vary = {.count = 0};
    struct sweep_plan plan;
    struct err error = {0};
    char text[INPUT_MAX + 1];
    size = size < INPUT_MAX ? size : INPUT_MAX;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *at = text; vary.count < SWEEP_DIMENSIONS_MAX; at += vary.length[vary.count++] + 1) {
        vary.text[vary.count] = at;
        vary.length[vary.count] = strcspn(at, "\n");
        if (!at[vary.length[vary.count]]) {
            vary.count++;
            break;
        }
    }
    if (sweep_plan_init(&plan, &set, 1, base, &vary, &error) == 0) {
        must(error.code == ERR_NONE && plan.points > 0);
        for (size_t d = 0; d < plan.dimension_count; d++) {
            const struct sweep_dimension *dimension = &plan.dimensions[d];
            for (size_t i = 1; i < dimension->value_count; i++) {
                must(strcmp(dimension->values[i - 1].text, dimension->values[i].text) != 0);
            }
        }
        for (size_t p = 0; p < plan.points; p += plan.points / POINTS_TRIED + 1) {
            try_point(&plan, &set, p);
        }
    } else {
        must(error.code == ERR_USAGE && error.what[0] != '\0');
    }
    sweep_plan_release(&plan);
    sweep_plan_release(&plan);
    return 0;
}
