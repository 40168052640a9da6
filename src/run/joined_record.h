/* One record of the runs of many: what children of sonde measured (run/child.h), put together. */
#ifndef SONDE_RUN_JOINED_RECORD_H
#define SONDE_RUN_JOINED_RECORD_H

#include <jansson.h>
#include <stddef.h>

#include "report/record.h"

struct joined_record {
    json_t *json;                    /* owned */
    struct joined_warning *warnings; /* owned: of all parts, each kind once */
    size_t warning_count;
    size_t parts;
};

/* A record as the JSON printer gives it, parsed: one definition of every member. NULL without
 * memory. */
json_t *joined_record_json(const struct record *record);

/* Begins with what this record says as a whole. -1 without memory; release it also then. */
int joined_record_init(struct joined_record *joined, const struct record *record);
/* Appends the runs of a part ({"runs", "warnings", "operation"}, as in a record), with its errors
 * added to those of the whole. -1 without memory. */
int joined_record_add(struct joined_record *joined, json_t *part);
/* Appends the warnings, with how many parts had each. -1 without memory. */
int joined_record_finish(struct joined_record *joined);
void joined_record_release(struct joined_record *joined); /* safe to call twice */

/* Writes it to a file, "-" being standard output. */
int joined_record_write(const json_t *json, const char *path, struct err *error);

#endif
