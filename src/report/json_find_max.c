/* What searches for the highest rate found, as JSON. */
#include <math.h>

#include "report/json_build.h"
#include "report/record.h"

static json_t *build_limit(struct builder *builder, const struct goal *goal)
{
    char text[GOAL_TEXT_MAX] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    if (!out) {
        builder->failed = true;
        return json_null();
    }
    goal_print(goal, out);
    fclose(out);
    return build_text(builder, text);
}

static json_t *build_search_probe(struct builder *builder, const struct goal *goal,
                                  const struct record_search_probe *probe)
{
    json_t *object = build_object(builder), *values = build_object(builder);
    for (uint32_t i = 0; i < goal->count; i++) {
        char name[GOAL_NAME_MAX];
        const char *unit = goal->terms[i].kind == GOAL_ERRORS ? "1" : "ns";
        build_set(builder, values, goal_term_name(&goal->terms[i], name),
                  build_quantity(builder, probe->values[i], unit, "too few values"));
    }
    build_set(builder, object, "search", build_count(builder, probe->search));
    build_set(builder, object, "run", build_count(builder, probe->run));
    build_set(builder, object, "rate_asked", build_number(builder, probe->asked));
    build_set(builder, object, "reached", build_number(builder, probe->reached));
    build_set(builder, object, "values", values);
    build_set(builder, object, "passed", json_boolean(probe->passed));
    build_set(builder, object, "why", build_text_or_null(builder, probe->why));
    return object;
}

static json_t *build_found(struct builder *builder, const struct goal *goal,
                           const struct record_found *found)
{
    json_t *object = build_object(builder), *probes = build_array(builder);
    json_t *rate = build_object(builder);
    for (size_t i = 0; i < found->probe_count; i++) {
        build_append(builder, probes, build_search_probe(builder, goal, &found->probes[i]));
    }
    build_set(builder, rate, "value", build_number(builder, found->rate.value));
    build_set(builder, rate, "low", build_number(builder, found->rate.low));
    build_set(builder, rate, "high", build_number(builder, found->rate.high));
    build_set(builder, rate, "unit", build_text(builder, "1/s"));
    build_set(builder, object, "label", build_text(builder, found->label));
    build_set(builder, object, "rate", rate);
    build_set(builder, object, "searches", build_count(builder, found->searches));
    build_set(builder, object, "below_lowest", build_count(builder, found->never));
    build_set(builder, object, "above_highest", build_count(builder, found->always));
    build_set(builder, object, "given_up", build_count(builder, found->given_up));
    build_set(builder, object, "lowest", build_number(builder, found->lowest));
    build_set(builder, object, "highest", build_number(builder, found->highest));
    build_set(builder, object, "closed_loop", build_number(builder, found->closed));
    build_set(builder, object, "verdict", build_text_or_null(builder, found->verdict));
    build_set(builder, object, "probes", probes);
    return object;
}

json_t *build_find_max(struct builder *builder, const struct record *record)
{
    const struct record_find_max *find_max = &record->find_max;
    json_t *object = build_object(builder), *results = build_array(builder);
    for (size_t i = 0; i < find_max->found_count; i++) {
        build_append(builder, results, build_found(builder, &find_max->goal, &find_max->found[i]));
    }
    build_set(builder, object, "limit", build_limit(builder, &find_max->goal));
    build_set(builder, object, "searches", build_count(builder, find_max->searches));
    build_set(builder, object, "results", results);
    return object;
}
