/* Where results go: --json, --csv, --profile-folded, and the text on standard output. */
#ifndef SONDE_CLI_OUTPUT_H
#define SONDE_CLI_OUTPUT_H

#include <stdbool.h>

#include "base/opt.h"
#include "report/record.h"

enum live_choice { LIVE_AUTO, LIVE_ON, LIVE_OFF };

struct output_options {
    const char *json; /* "-": standard output, instead of the text; NULL: no JSON */
    const char *csv;
    bool quiet;         /* no line for each interval */
    const char *folded; /* where the stacks of the probe profile go; NULL: nowhere */
    const char *openmetrics, *hlog, *hgrm; /* files; NULL: none */
    uint32_t live;                         /* enum live_choice */
};

/* The first OUTPUT_FILE_OPTIONS of them are files. */
enum { OUTPUT_OPTIONS = 3, OUTPUT_FILE_OPTIONS = 2 };
extern const struct opt output_rows[OUTPUT_OPTIONS];

/* Of commands that measure; of those without latencies only the first OUTPUT_FIGURES_OPTIONS. */
enum { OUTPUT_MEASURE_OPTIONS = 3, OUTPUT_FIGURES_OPTIONS = 1 };
extern const struct opt output_measure_rows[OUTPUT_MEASURE_OPTIONS];

/* Of commands that can be looked at while they measure. */
enum { OUTPUT_LIVE_OPTIONS = 1 };
extern const struct opt output_live_rows[OUTPUT_LIVE_OPTIONS];

/* Of commands that have probes. */
enum { OUTPUT_FOLDED_OPTIONS = 1 };
extern const struct opt output_folded_rows[OUTPUT_FOLDED_OPTIONS];

/* True where the text report goes to standard output. */
bool output_text(const struct output_options *options);

/* Whether the files that are to be written can be: asked before hours of measuring, not after. */
int output_check(const struct output_options *options, struct err *error);

/* Whether there will be stacks, where they are wanted: with these probes. */
int output_check_folded(const struct output_options *options, const struct opt_list *probes,
                        struct err *error);

/* Writes the record everywhere it is wanted. The first failure is returned, the others are tried
 * all the same. */
int output_write(const struct output_options *options, const struct record *record,
                 struct err *error);

/* The same without the text, for a command that prints its own. */
int output_write_files(const struct output_options *options, const struct record *record,
                       struct err *error);

/* Adds all options with their values to the record. */
int output_options_to_record(const struct opt_set *sets, size_t set_count, struct record *record,
                             struct err *error);

/* Blocks SIGINT, SIGTERM and SIGHUP and returns a file that is readable once one has come; -1 with
 * *error. Threads and children made afterwards inherit the blocked signals. */
/* The same for what stood without an option's name: a target, a mode, a command. Words are joined
 * by blanks; none: an empty text. */
int output_words_to_record(const char *name, char *const *words, size_t count,
                           struct record *record, struct err *error);

int output_stop_file(struct err *error);
/* Where a result is written as a file of its own (not a device, a pipe or standard output). */
bool output_is_file(const char *path);
bool output_same_file(const char *one, const char *other);
/* Ends that before outputs are written, which may take for ever (a pipe that nobody reads): what
 * came has been heeded, what comes now ends the program as usual. A negative file is allowed. */
void output_stop_end(int *file);

#endif
