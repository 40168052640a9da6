/* What the files that read a run back share. Private to report/. */
#ifndef SONDE_REPORT_RECORD_READER_H
#define SONDE_REPORT_RECORD_READER_H

#include "report/record.h"
#include "report/result_read.h"

struct run_reader {
    struct result_reader checks; /* its first failure is the result */
    struct record_run *run;      /* what is read goes here */
    const json_t *titles;        /* {key: title}; may be NULL */
};

/* Bounds: no record of sonde comes near, and no peer fills the memory. */
enum { READ_PROCESSES_MOST = 1024, READ_ROWS_MOST = 65536 };

/* The metric of this key and unit, kept with the run; NULL after a failure. */
const struct record_kept *read_metric(struct run_reader *reader, const char *key, const char *unit);

/* Members as the record holds them; 0 or empty where there is none. A count is a whole number. */
uint64_t read_count(struct run_reader *reader, const json_t *object, const char *key);
bool read_flag(struct run_reader *reader, const json_t *object, const char *key);
void read_text(struct run_reader *reader, const json_t *object, const char *key, char *to,
               size_t size);
/* An array of at most so many objects; NULL where there is none. */
json_t *read_objects(struct run_reader *reader, const json_t *object, const char *key, size_t most);

/* {key: quantity} into values that `add` makes. */
typedef struct record_value *(*read_add_value)(void *to, const struct metric *metric);
void read_values(struct run_reader *reader, const json_t *object, const char *key,
                 read_add_value add, void *to);

void read_effect(struct run_reader *reader, const json_t *object, const char *key,
                 struct record_effect *effect);
void read_probes(struct run_reader *reader, const json_t *run);

#endif
