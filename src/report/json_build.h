/* Building JSON values whose failures are looked at once, at the end. Private to report/.
 * Every value handed in is consumed, also on failure. */
#ifndef SONDE_REPORT_JSON_BUILD_H
#define SONDE_REPORT_JSON_BUILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct builder {
    bool failed;           /* some allocation failed: the whole must be thrown away */
    const char *duplicate; /* a key that came twice in one object, NULL where none did */
};

json_t *build_object(struct builder *builder);
json_t *build_array(struct builder *builder);
/* Adds to an object or an array. A key that is there already is a failure. */
void build_set(struct builder *builder, json_t *object, const char *key, json_t *value);
void build_append(struct builder *builder, json_t *array, json_t *value);

/* A text, made valid UTF-8; build_text_or_null gives null for an empty one. */
json_t *build_text(struct builder *builder, const char *text);
json_t *build_text_or_null(struct builder *builder, const char *text);
json_t *build_count(struct builder *builder, uint64_t value);
/* A number, whole ones without a fraction; null where it is not finite. */
json_t *build_number(struct builder *builder, double value);
/* {"value": number, "unit": unit}; where it is not finite {"value": null, "unit", "reason"}. */
json_t *build_quantity(struct builder *builder, double value, const char *unit, const char *reason);

/* Of a process or thread; null for none. */
json_t *build_id(struct builder *builder, pid_t id);

struct record_effect;
struct record_probe;
struct record_probe_row;
struct record_process;
struct record_run;
struct record_value;
json_t *build_run(struct builder *builder, const struct record_run *run);
json_t *build_process(struct builder *builder, const struct record_process *process);
json_t *build_probe(struct builder *builder, const struct record_probe *probe);
json_t *build_rows(struct builder *builder, const struct record_probe_row *rows, size_t count);
json_t *build_effect(struct builder *builder, const struct record_effect *effect);
/* {key: quantity} */
json_t *build_values(struct builder *builder, const struct record_value *values, size_t count);

/* Printed by json_repeat.c: what the repetitions say together. */
struct record;
json_t *build_summaries(struct builder *builder, const struct record *record);
/* Printed by json_find_max.c: what searches found. */
json_t *build_find_max(struct builder *builder, const struct record *record);

#endif
