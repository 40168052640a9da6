/* Summaries of repetitions as JSON. */
#include "report/json_build.h"
#include "report/record.h"

static json_t *build_value(struct builder *builder, const struct record_summary_value *value)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "median", build_number(builder, value->median.value));
    build_set(builder, object, "low", build_number(builder, value->median.low));
    build_set(builder, object, "high", build_number(builder, value->median.high));
    build_set(builder, object, "least", build_number(builder, value->least));
    build_set(builder, object, "most", build_number(builder, value->most));
    build_set(builder, object, "deviation", build_number(builder, value->deviation));
    build_set(builder, object, "count", build_count(builder, value->count));
    build_set(builder, object, "unit", build_text(builder, value->metric->unit));
    return object;
}

json_t *build_summaries(struct builder *builder, const struct record *record)
{
    json_t *array = build_array(builder);
    for (size_t i = 0; i < record->summary_count; i++) {
        const struct record_summary *summary = &record->summaries[i];
        json_t *object = build_object(builder), *metrics = build_object(builder);
        for (size_t k = 0; k < summary->value_count; k++) {
            build_set(builder, metrics, summary->values[k].metric->key,
                      build_value(builder, &summary->values[k]));
        }
        build_set(builder, object, "label", build_text(builder, summary->label));
        build_set(builder, object, "runs", build_count(builder, summary->runs));
        build_set(builder, object, "metrics", metrics);
        build_append(builder, array, object);
    }
    return array;
}
