/* What the probes of a run saw and cost, as JSON. */
#include <math.h>
#include <string.h>

#include "report/figures.h"
#include "report/json_build.h"
#include "report/record.h"

/* Of the stacks of one probe, so that the record of a run still fits in one message between two
 * sondes. */
#define STACKS_TEXT_MOST (128u << 10)

json_t *build_values(struct builder *builder, const struct record_value *values, size_t count)
{
    json_t *object = build_object(builder);
    for (size_t i = 0; i < count; i++) {
        const struct record_value *value = &values[i];
        build_set(builder, object, value->metric->key,
                  build_quantity(builder, figures_shown(value) ? value->value : NAN,
                                 value->metric->unit, figures_reason(value)));
    }
    return object;
}

json_t *build_effect(struct builder *builder, const struct record_effect *effect)
{
    bool shown = effect->available && isfinite(effect->ratio.value);
    json_t *object = build_object(builder);
    build_set(builder, object, "metric", build_text_or_null(builder, effect->metric));
    build_set(builder, object, "ratio", build_number(builder, shown ? effect->ratio.value : NAN));
    build_set(builder, object, "low", build_number(builder, shown ? effect->ratio.low : NAN));
    build_set(builder, object, "high", build_number(builder, shown ? effect->ratio.high : NAN));
    build_set(builder, object, "blocks", build_count(builder, effect->blocks));
    if (!shown) {
        build_set(builder, object, "reason",
                  build_text(builder, effect->reason[0] ? effect->reason : "not measured"));
    }
    return object;
}

json_t *build_id(struct builder *builder, pid_t id)
{
    return id ? build_count(builder, (uint64_t)id) : json_null();
}

static json_t *build_scope(struct builder *builder, const struct record_scope *scope)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "role", build_text_or_null(builder, scope->role));
    build_set(builder, object, "pid", build_id(builder, scope->pid));
    build_set(builder, object, "tid", build_id(builder, scope->tid));
    build_set(builder, object, "name", build_text_or_null(builder, scope->name));
    build_set(builder, object, "what", build_text_or_null(builder, scope->what));
    return object;
}

static json_t *build_class(struct builder *builder, size_t class, uint64_t count)
{
    json_t *object = build_object(builder);
    /* Whole numbers, exact also where a double is not. */
    uint64_t low = figures_class_low(class);
    uint64_t high = class < 2 ? 0 : low - 1 + low;
    build_set(builder, object, "low", class == 0 ? json_null() : build_count(builder, low));
    build_set(builder, object, "high", class == 0 ? json_integer(-1) : build_count(builder, high));
    build_set(builder, object, "count", build_count(builder, count));
    return object;
}

static json_t *build_distribution(struct builder *builder,
                                  const struct record_distribution *distribution)
{
    json_t *object = build_scope(builder, &distribution->scope);
    json_t *classes = build_array(builder);
    for (size_t i = 0; i < DISTRIBUTION_CLASSES; i++) {
        if (distribution->classes[i]) {
            build_append(builder, classes, build_class(builder, i, distribution->classes[i]));
        }
    }
    build_set(builder, object, "key", build_text(builder, distribution->metric->key));
    build_set(builder, object, "unit", build_text(builder, distribution->metric->unit));
    build_set(builder, object, "sum", build_number(builder, distribution->sum));
    build_set(builder, object, "classes", classes);
    return object;
}

json_t *build_rows(struct builder *builder, const struct record_probe_row *rows, size_t count)
{
    json_t *array = build_array(builder);
    for (size_t i = 0; i < count; i++) {
        const struct record_probe_row *row = &rows[i];
        json_t *entry = build_scope(builder, &row->scope);
        if (row->symbol) {
            build_set(builder, entry, "object", build_text(builder, row->object));
            build_set(builder, entry, "symbol", build_text(builder, row->symbol));
        }
        build_set(builder, entry, "metrics", build_values(builder, row->values, row->value_count));
        build_append(builder, array, entry);
    }
    return array;
}

static json_t *build_stack(struct builder *builder, const struct record_scope *scope,
                           const char *frames, uint64_t samples)
{
    json_t *object = build_scope(builder, scope);
    build_set(builder, object, "frames", build_text_or_null(builder, frames));
    build_set(builder, object, "samples", build_count(builder, samples));
    return object;
}

/* Those with the most samples, and the sum of all others, without frames. */
static json_t *build_stacks(struct builder *builder, const struct record_probe *probe)
{
    const struct record_scope nobody = {0};
    json_t *array = build_array(builder);
    size_t bytes = 0;
    uint64_t others = 0;
    for (size_t i = 0; i < probe->stack_count; i++) {
        const struct record_stack *stack = &probe->stacks[i];
        bytes += strlen(stack->frames) + 100; /* what stands beside them */
        if (bytes <= STACKS_TEXT_MOST) {
            build_append(builder, array,
                         build_stack(builder, &stack->scope, stack->frames, stack->samples));
        } else {
            others += stack->samples;
        }
    }
    if (others) {
        build_append(builder, array, build_stack(builder, &nobody, "", others));
    }
    return array;
}

json_t *build_probe(struct builder *builder, const struct record_probe *probe)
{
    json_t *object = build_object(builder);
    json_t *distributions = build_array(builder);
    for (size_t i = 0; i < probe->distribution_count; i++) {
        build_append(builder, distributions, build_distribution(builder, &probe->distributions[i]));
    }
    const char *reason = probe->reason;
    build_set(builder, object, "name", build_text(builder, probe->name));
    build_set(builder, object, "available", json_boolean(probe->available));
    build_set(builder, object, "reason",
              build_text_or_null(builder, reason[0] || probe->available ? reason : "not measured"));
    build_set(builder, object, "window_ns", build_count(builder, probe->window_ns));
    build_set(builder, object, "operations",
              probe->operations ? build_count(builder, probe->operations) : json_null());
    build_set(builder, object, "bytes",
              probe->bytes ? build_count(builder, probe->bytes) : json_null());
    build_set(builder, object, "lost", build_count(builder, probe->lost));
    build_set(builder, object, "effect", build_effect(builder, &probe->effect));
    build_set(builder, object, "rows", build_rows(builder, probe->rows, probe->row_count));
    build_set(builder, object, "distributions", distributions);
    if (probe->stack_count) {
        build_set(builder, object, "stacks", build_stacks(builder, probe));
    }
    return object;
}
