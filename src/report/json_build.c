#include "report/json_build.h"

#include <math.h>
#include <stdlib.h>

#include "report/figures.h"

/* Whole numbers up to here are exact in a double. */
#define EXACT_DOUBLE 9007199254740992.0

static json_t *checked(struct builder *builder, json_t *value)
{
    builder->failed |= value == NULL;
    return value;
}

json_t *build_object(struct builder *builder)
{
    return checked(builder, json_object());
}

json_t *build_array(struct builder *builder)
{
    return checked(builder, json_array());
}

void build_set(struct builder *builder, json_t *object, const char *key, json_t *value)
{
    char *valid = figures_valid_text(key);
    if (valid && json_object_get(object, valid)) {
        builder->duplicate = key;
    }
    builder->failed |= json_object_set_new(object, valid, value) != 0;
    free(valid);
}

void build_append(struct builder *builder, json_t *array, json_t *value)
{
    builder->failed |= json_array_append_new(array, value) != 0;
}

json_t *build_text(struct builder *builder, const char *text)
{
    char *valid = figures_valid_text(text);
    json_t *value = checked(builder, valid ? json_string(valid) : NULL);
    free(valid);
    return value;
}

json_t *build_text_or_null(struct builder *builder, const char *text)
{
    return text && *text ? build_text(builder, text) : json_null();
}

json_t *build_count(struct builder *builder, uint64_t value)
{
    return checked(builder,
                   value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value));
}

json_t *build_number(struct builder *builder, double value)
{
    if (!isfinite(value)) {
        return json_null();
    }
    if (fabs(value) < EXACT_DOUBLE && value == trunc(value)) {
        return checked(builder, json_integer((json_int_t)value));
    }
    return checked(builder, json_real(value));
}

json_t *build_quantity(struct builder *builder, double value, const char *unit, const char *reason)
{
    json_t *object = build_object(builder);
    build_set(builder, object, "value", build_number(builder, value));
    build_set(builder, object, "unit", build_text(builder, unit));
    if (!isfinite(value)) {
        build_set(builder, object, "reason", build_text(builder, reason));
    }
    return object;
}
