/* Reading members of a record with their types checked; the first thing that is wrong is kept, and
 * everything after it is a no-op. Private to report/. */
#ifndef SONDE_REPORT_RESULT_READ_H
#define SONDE_REPORT_RESULT_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "report/result.h"

enum result_kind { RESULT_OBJECT, RESULT_ARRAY, RESULT_TEXT, RESULT_NUMBER, RESULT_BOOL };

struct result_reader {
    const char *name; /* the file: the error's subject */
    struct err *error;
    bool failed;
    char where[96];        /* "runs[3].processes[0]"; empty: the top */
    const char *operation; /* "call" */

    struct result_run *run; /* whose figures are being collected, and what that takes: */
    size_t room;            /* allocated figures */
    json_t *indexes;        /* key -> index into run->figures */
};

/* Sets "NAME: WHERE: …" once; returns -1. */
int result_wrong(struct result_reader *reader, const char *what, ...)
    __attribute__((format(printf, 2, 3)));
int result_no_memory(struct result_reader *reader);

/* A member that must be of this kind. NULL where it is absent or null (an error where it is
 * required), and after a failure. */
json_t *result_member(struct result_reader *reader, const json_t *object, const char *key,
                      enum result_kind kind, bool required);
/* An element of an array or a value of an object, likewise; `what` names it. */
json_t *result_element(struct result_reader *reader, json_t *value, const char *what,
                       enum result_kind kind);
/* A number, NaN where there is none; negative ones are wrong in result_count. */
double result_number(struct result_reader *reader, const json_t *object, const char *key);
double result_count(struct result_reader *reader, const json_t *object, const char *key);
/* A text that may become part of a key: printable, without spaces at its ends. NULL where there
 * is none or an empty one. */
const char *result_name(struct result_reader *reader, const json_t *object, const char *key);

/* Collects the figures of one run (reader->run) from its JSON. */
void result_read_figures(struct result_reader *reader, const json_t *run);

#endif
