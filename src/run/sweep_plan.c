#include "run/sweep_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "run/sweep_values.h"

static const char option_name[] = "--vary";

/* What the sweep itself decides: each run is one run, and its record is the sweep's to write. */
static const char *const reserved[] = {"json",        "csv",  "repeat", "warmup-runs",
                                       "openmetrics", "hlog", "hgrm"};

static int refuse_memory(struct err *error)
{
    return err_system(error, ENOMEM, option_name, "cannot keep the plan");
}

static bool is_given(const struct sweep_plan *plan, const struct opt *row)
{
    for (size_t s = 0; s < plan->set_count; s++) {
        const struct opt_set *set = &plan->sets[s];
        if (row >= set->rows && row < set->rows + set->count) {
            return set->given >> (row - set->rows) & 1;
        }
    }
    return false;
}

/* Parses the command's words as the command itself would; leaves the `given` bits. Where it goes
 * well and positionals is not NULL, the indexes of the positional words go there. */
static int try_words(struct sweep_plan *plan, char **words, size_t count, size_t *positionals,
                     size_t *positional_count, struct err *error)
{
    struct opt_arguments arguments = {0};
    int result = opt_defaults(plan->sets, plan->set_count, error);
    if (result == 0) {
        result = opt_parse(plan->sets, plan->set_count, (int)count, words, &arguments, error);
    }
    for (size_t i = 0, word = 0; result == 0 && positionals && i < arguments.count; i++) {
        while (words[word] != arguments.items[i]) {
            word++;
        }
        positionals[i] = word;
    }
    if (positional_count) {
        *positional_count = arguments.count;
    }
    opt_release(plan->sets, plan->set_count, &arguments);
    return result;
}

static int parse_base(struct sweep_plan *plan, struct err *error)
{
    plan->positionals = calloc(plan->base_count + 1, sizeof *plan->positionals);
    if (!plan->positionals) {
        return refuse_memory(error);
    }
    if (try_words(plan, plan->base, plan->base_count, plan->positionals, &plan->positional_count,
                  error) < 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        const struct opt *row = sweep_find_row(plan->sets, plan->set_count, reserved[i]);
        if (row && is_given(plan, row)) {
            char label[80];
            snprintf(label, sizeof label, "--%s", reserved[i]);
            err_set(error, ERR_USAGE, label, "is the sweep's own");
            return err_hint(error, "put it before the --");
        }
    }
    return 0;
}

/* Which dimension (1..) has used a row: no option may be set twice, since the last would win, and
 * a list would grow. */
struct uses {
    const struct opt *row;
    size_t dimension;
};

/* An option that a value sets may be set nowhere else. `used` collects the rows of dimensions. */
static int check_word(struct sweep_plan *plan, size_t dimension, const char *word,
                      struct uses *used, size_t *used_count, struct err *error)
{
    char name[OPT_SET_ROWS_MAX + 1];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const struct opt *row = sweep_find_row(plan->sets, plan->set_count, name);
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (strcmp(row->name, reserved[i]) == 0) {
            return err_set(error, ERR_USAGE, option_name, "%s cannot be varied", name);
        }
    }
    if (is_given(plan, row)) {
        err_set(error, ERR_USAGE, option_name, "%s also stands after the --", name);
        return err_hint(error, "leave it out there");
    }
    for (size_t i = 0; i < *used_count; i++) {
        if (used[i].row == row) {
            return used[i].dimension == dimension
                       ? 0
                       : err_set(error, ERR_USAGE, option_name, "%s is set by two of them", name);
        }
    }
    used[(*used_count)++] = (struct uses){row, dimension};
    return 0;
}

static int check_value(struct sweep_plan *plan, size_t dimension, const struct sweep_value *value,
                       struct uses *used, size_t *used_count, struct err *error)
{
    size_t first = plan->dimensions[dimension].row ? 0 : 1;
    for (size_t w = first; w < value->word_count; w++) {
        size_t length = strcspn(value->words[w], "=");
        for (size_t v = first; v < w; v++) {
            if (strcspn(value->words[v], "=") == length &&
                strncmp(value->words[v], value->words[w], length) == 0) {
                return err_set(error, ERR_USAGE, option_name, "\"%s\" sets an option twice",
                               value->text);
            }
        }
        if (check_word(plan, dimension + 1, value->words[w], used, used_count, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* All rows of all sets. */
static size_t row_count(const struct sweep_plan *plan)
{
    size_t count = 0;
    for (size_t s = 0; s < plan->set_count; s++) {
        count += plan->sets[s].count;
    }
    return count;
}

static int check_conflicts(struct sweep_plan *plan, struct err *error)
{
    struct uses *used = calloc(row_count(plan) + 1, sizeof *used);
    size_t used_count = 0;
    int result = used ? 0 : refuse_memory(error);
    for (size_t d = 0; result == 0 && d < plan->dimension_count; d++) {
        const struct sweep_dimension *dimension = &plan->dimensions[d];
        for (size_t e = 0; result == 0 && e < d; e++) {
            if (strcmp(plan->dimensions[e].name, dimension->name) == 0) {
                result = err_set(error, ERR_USAGE, option_name, "%s stands in two of them",
                                 dimension->name);
            }
        }
        if (result == 0 && dimension->position > plan->positional_count + 1) {
            err_set(error, ERR_USAGE, option_name, "%s: the command has %zu arguments",
                    dimension->name, plan->positional_count);
            result = err_hint(error, "the next one would be @%zu", plan->positional_count + 1);
        }
        for (size_t i = 0; result == 0 && i < dimension->value_count; i++) {
            result = check_value(plan, d, &dimension->values[i], used, &used_count, error);
        }
    }
    free(used);
    return result;
}

/* The options of a value, then the command's own words. */
static int try_value(struct sweep_plan *plan, const struct sweep_dimension *dimension,
                     const struct sweep_value *value, struct err *error)
{
    size_t skipped = dimension->row ? 0 : 1, count = 0;
    char **words = calloc(value->word_count + plan->base_count + 1, sizeof *words);
    if (!words) {
        return refuse_memory(error);
    }
    words[count++] = plan->base[0];
    for (size_t w = skipped; w < value->word_count; w++) {
        words[count++] = value->words[w];
    }
    for (size_t w = 1; w < plan->base_count; w++) {
        words[count++] = plan->base[w];
    }
    int result = try_words(plan, words, count, NULL, NULL, error);
    free(words);
    return result;
}

/* Values do not influence how others are parsed: each is tried once, not each point. */
static int try_all(struct sweep_plan *plan, struct err *error)
{
    for (size_t d = 0; d < plan->dimension_count; d++) {
        const struct sweep_dimension *dimension = &plan->dimensions[d];
        for (size_t i = 0; i < dimension->value_count; i++) {
            if (try_value(plan, dimension, &dimension->values[i], error) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static int span(struct sweep_plan *plan, const struct sweep_vary *vary, struct err *error)
{
    plan->points = 1;
    for (size_t i = 0; i < vary->count; i++) {
        struct sweep_dimension *dimension = &plan->dimensions[plan->dimension_count++];
        if (sweep_values_parse(dimension, plan->sets, plan->set_count, vary->text[i],
                               vary->length[i], error) < 0) {
            return -1;
        }
        if (dimension->value_count > SWEEP_POINTS_MAX / plan->points) {
            err_set(error, ERR_USAGE, option_name, "more than %d points", SWEEP_POINTS_MAX);
            return err_hint(error, "take larger steps, or several sweeps");
        }
        plan->points *= dimension->value_count;
    }
    return 0;
}

int sweep_plan_init(struct sweep_plan *plan, struct opt_set *sets, size_t set_count, char **base,
                    const struct sweep_vary *vary, struct err *error)
{
    *plan = (struct sweep_plan){.sets = sets, .set_count = set_count, .base = base};
    while (base[plan->base_count]) {
        plan->base_count++;
    }
    while (plan->before_rest < plan->base_count && strcmp(base[plan->before_rest], "--") != 0) {
        plan->before_rest++;
    }
    int result = vary->count ? 0 : -1;
    if (result < 0) {
        err_set(error, ERR_USAGE, option_name, "nothing to vary");
        err_hint(error, "write --vary NAME=VALUES, such as --vary size=1..64*8");
    }
    if (result < 0 || parse_base(plan, error) < 0 || span(plan, vary, error) < 0 ||
        check_conflicts(plan, error) < 0 || try_all(plan, error) < 0) {
        sweep_plan_release(plan);
        return -1;
    }
    return 0;
}

void sweep_plan_release(struct sweep_plan *plan)
{
    for (size_t d = 0; d < plan->dimension_count; d++) {
        sweep_values_release(&plan->dimensions[d]);
    }
    free(plan->positionals);
    *plan = (struct sweep_plan){0};
}

const struct sweep_value *sweep_plan_value(const struct sweep_plan *plan, size_t point,
                                           size_t dimension)
{
    for (size_t d = plan->dimension_count; d-- > dimension + 1;) {
        point /= plan->dimensions[d].value_count;
    }
    const struct sweep_dimension *own = &plan->dimensions[dimension];
    return &own->values[point % own->value_count];
}

char **sweep_plan_arguments(const struct sweep_plan *plan, size_t point)
{
    size_t most = plan->base_count + 1, count = 0;
    char *replaced[SWEEP_DIMENSIONS_MAX + 1] = {NULL}, *appended = NULL;
    for (size_t d = 0; d < plan->dimension_count; d++) {
        most += sweep_plan_value(plan, point, d)->word_count;
    }
    char **words = calloc(most, sizeof *words);
    if (!words) {
        return NULL;
    }
    words[count++] = plan->base[0];
    for (size_t d = 0; d < plan->dimension_count; d++) {
        const struct sweep_value *value = sweep_plan_value(plan, point, d);
        size_t position = plan->dimensions[d].position;
        for (size_t w = position ? 1 : 0; w < value->word_count; w++) {
            words[count++] = value->words[w];
        }
        if (position > plan->positional_count) {
            appended = value->words[0];
        }
        replaced[d] = position && position <= plan->positional_count ? value->words[0] : NULL;
    }
    for (size_t w = 1; w < plan->base_count; w++) {
        if (w == plan->before_rest && appended) {
            words[count++] = appended;
        }
        words[count] = plan->base[w];
        for (size_t d = 0; d < plan->dimension_count; d++) {
            size_t position = plan->dimensions[d].position;
            if (replaced[d] && plan->positionals[position - 1] == w) {
                words[count] = replaced[d];
            }
        }
        count++;
    }
    if (plan->before_rest == plan->base_count && appended) {
        words[count++] = appended;
    }
    return words;
}

static void shuffle(struct sweep_turn *turns, size_t count, struct rng *rng)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = (size_t)rng_below(rng, i);
        struct sweep_turn kept = turns[i - 1];
        turns[i - 1] = turns[other];
        turns[other] = kept;
    }
}

/* Points of one random order get their repetitions counted up as they come. */
static void number_repetitions(struct sweep_turn *turns, size_t count, uint32_t *seen)
{
    for (size_t i = 0; i < count; i++) {
        turns[i].repetition = ++seen[turns[i].point];
    }
}

int sweep_plan_order(size_t points, uint64_t repeat, uint64_t discarded, enum sweep_order order,
                     uint64_t seed, struct sweep_turn **turns, size_t *count, struct err *error)
{
    uint64_t rounds = repeat + discarded;
    struct rng rng;
    if (rounds < repeat || !points || rounds > SWEEP_RUNS_MAX / points) {
        err_set(error, ERR_USAGE, "--repeat", "more than %d runs in all", SWEEP_RUNS_MAX);
        return err_hint(error, "there are %zu points", points);
    }
    *count = (size_t)rounds * points;
    *turns = calloc(*count, sizeof **turns);
    uint32_t *seen = calloc(points, sizeof *seen);
    if (!*turns || !seen) {
        free(*turns);
        free(seen);
        *turns = NULL;
        return refuse_memory(error);
    }
    rng_seed(&rng, seed);
    for (size_t i = 0; i < *count; i++) {
        bool by_point = order == SWEEP_SEQUENTIAL;
        size_t point = by_point ? i / rounds : i % points;
        (*turns)[i].point = (uint32_t)point;
        (*turns)[i].discarded = (by_point ? i % rounds : i / points) < discarded;
    }
    if (order == SWEEP_INTERLEAVED) {
        for (size_t round = 0; round < rounds; round++) {
            shuffle(*turns + round * points, points, &rng);
        }
    } else if (order == SWEEP_SHUFFLED) {
        shuffle(*turns, (size_t)discarded * points, &rng);
        shuffle(*turns + discarded * points, (size_t)repeat * points, &rng);
    }
    number_repetitions(*turns, *count, seen);
    free(seen);
    return 0;
}
