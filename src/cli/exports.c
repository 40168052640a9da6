#include "cli/exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "stats/hdr_text.h"

struct exports {
    const struct output_options *options;
    const struct record *record;
    bool several;
    struct err failure; /* the first */
    FILE *log;
    uint64_t started_ns; /* CLOCK_MONOTONIC of the log's start */
    /* The run that goes on: */
    char label[48];
    uint32_t repetition;
    bool discarded;
    uint64_t logged[2]; /* bit i: there are lines of histogram i of the client, of the server */
    /* What it has counted so far, for OpenMetrics: */
    const struct workload *workload; /* NULL: no interval has ended yet */
    struct bank *banks[2];           /* of both ends; owned */
    uint64_t window_ns;
    bool server_known;
};

static const char *const roles[] = {"client", "server"};

static void keep(struct exports *exports, const struct err *failure)
{
    if (exports->failure.code == ERR_NONE) {
        exports->failure = *failure;
    }
}

static void keep_errno(struct exports *exports, const char *path)
{
    struct err failure = {0};
    err_system(&failure, errno ? errno : EIO, path, "cannot be written");
    keep(exports, &failure);
}

/* ---- the log --------------------------------------------------------------------------------- */

static int open_log(struct exports *exports, struct err *error)
{
    const char *path = exports->options->hlog;
    exports->log = fopen(path, "we");
    if (!exports->log) {
        return err_system(error, errno, path, "cannot be written");
    }
    exports->started_ns = clock_now_ns();
    hdr_log_begin(exports->log, clock_real_ns(), "sonde");
    return 0;
}

/* The name that a histogram has in the record, behind those of its run where there are several:
 * "epoll.2.server_received_size". */
static void log_line(struct exports *exports, const char *role,
                     const struct histogram_metric *metric, const struct histogram *histogram,
                     uint64_t start_ns, uint64_t length_ns)
{
    char tag[128], number[16] = "";
    if (exports->repetition) {
        snprintf(number, sizeof number, "%u.", exports->repetition);
    }
    snprintf(tag, sizeof tag, "%s%s%s%s%s", exports->several ? exports->label : "",
             exports->several ? "." : "", number, strcmp(role, "server") == 0 ? "server_" : "",
             metric->key);
    uint64_t since_ns = start_ns > exports->started_ns ? start_ns - exports->started_ns : 0;
    errno = ENOMEM;
    if (hdr_log_line(exports->log, tag, since_ns, length_ns, histogram) < 0 ||
        ferror(exports->log)) {
        keep_errno(exports, exports->options->hlog);
    }
}

/* An interval in which no operation ended has a line of their times all the same: a gap would look
 * like one that nobody measured. */
static void log_end(struct exports *exports, size_t end, const struct role *role,
                    const struct bank *bank, const struct run_progress *progress)
{
    for (size_t i = 0; i < role->histogram_count; i++) {
        const struct histogram *histogram = &bank->histograms[i];
        bool times = i == 0 && end == 0 && strcmp(role->histograms[i].unit, "ns") == 0;
        if (histogram_count(histogram) || (times && !progress->drain)) {
            exports->logged[end] |= UINT64_C(1) << i;
            log_line(exports, roles[end], &role->histograms[i], histogram,
                     progress->window_start_ns + progress->start_ns, progress->window_ns);
        }
    }
}

static void log_progress(struct exports *exports, const struct run_progress *progress)
{
    const struct workload *workload = progress->workload;
    log_end(exports, 0, workload->client, progress->bank, progress);
    if (progress->server) {
        log_end(exports, 1, workload->server, progress->server, progress);
    }
    if (fflush(exports->log) != 0) {
        keep_errno(exports, exports->options->hlog);
    }
}

/* Whether its intervals are in the log. */
static bool is_logged(const struct exports *exports, const struct record_histogram *entry)
{
    if (!exports->workload) {
        return false;
    }
    bool server = strcmp(entry->role, roles[1]) == 0;
    const struct role *role = server ? exports->workload->server : exports->workload->client;
    for (size_t i = 0; i < role->histogram_count; i++) {
        const char *key =
            role->histograms[i].key; /* NULL: another of its workload's roles has it */
        if (key && strcmp(key, entry->metric->key) == 0) {
            return exports->logged[server] >> i & 1;
        }
    }
    return false;
}

/* Histograms that are known of the whole run alone: of connections, of a server elsewhere. */
static void log_rest(struct exports *exports, const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (!is_logged(exports, entry)) {
            log_line(exports, entry->role, entry->metric, entry->histogram, run->window_start_ns,
                     run->wall_ns);
        }
    }
    if (fflush(exports->log) != 0) {
        keep_errno(exports, exports->options->hlog);
    }
}

/* ---- percentile distributions ---------------------------------------------------------------- */

/* "FILE" for the only label; else "out.epoll.hgrm" of "out.hgrm". */
static char *distribution_path(const struct exports *exports, const char *label)
{
    const char *path = exports->options->hgrm;
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    char *name = NULL;
    if (!exports->several) {
        return strdup(path);
    }
    bool suffix = dot && dot > (slash ? slash + 1 : path);
    int stem = suffix ? (int)(dot - path) : (int)strlen(path);
    if (asprintf(&name, "%.*s.%s%s", stem, path, label, suffix ? dot : "") < 0) {
        return NULL;
    }
    for (char *at = name + stem; *at; at++) {
        *at = *at == ' ' || *at == '/' ? '-' : *at;
    }
    return name;
}

static int write_distribution(const char *path, const char *label,
                              const struct record_histogram *entry,
                              const struct histogram *histogram, struct err *error)
{
    const char *unit = entry->metric->unit;
    bool time = strcmp(unit, "ns") == 0;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        return err_system(error, errno, path, "cannot be written");
    }
    hdr_distribution(out, histogram, time ? 1000 : 1);
    fprintf(out, "#[%s, %s %s, in %s]\n", label, entry->role, entry->metric->key,
            time ? "microseconds" : unit);
    int result = fclose(out) != 0 ? err_system(error, errno, path, "cannot be written")
                                  : record_write_text(text, length, path, error);
    free(text);
    return result;
}

/* The client's first histogram that holds something, or where none does the server's; NULL: no end
 * has one. */
static const struct record_histogram *first_histogram(const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count && !run->discarded; i++) {
        if (strcmp(run->histograms[i].role, roles[0]) == 0) {
            return &run->histograms[i];
        }
    }
    return run->discarded || run->histogram_count == 0 ? NULL : &run->histograms[0];
}

/* All runs of the label of this one together. */
static int write_label(const struct exports *exports, size_t first, struct err *error)
{
    const struct record *record = exports->record;
    const struct record_run *run = &record->runs[first];
    const struct record_histogram *entry = first_histogram(run);
    struct histogram *sum = histogram_new();
    char *path = distribution_path(exports, run->label);
    int result = sum && path ? 0 : err_system(error, ENOMEM, "memory", "cannot keep the results");
    for (size_t i = first; i < record->run_count && result == 0; i++) {
        const struct record_histogram *other = first_histogram(&record->runs[i]);
        if (other && strcmp(record->runs[i].label, run->label) == 0 &&
            strcmp(other->metric->key, entry->metric->key) == 0) {
            histogram_add(sum, other->histogram);
        }
    }
    if (result == 0) {
        result = write_distribution(path, run->label, entry, sum, error);
    }
    free(path);
    histogram_free(sum);
    return result;
}

static void write_distributions(struct exports *exports)
{
    const struct record *record = exports->record;
    for (size_t i = 0; i < record->run_count; i++) {
        bool new = first_histogram(&record->runs[i]);
        for (size_t k = 0; k < i && new; k++) {
            new = !first_histogram(&record->runs[k]) ||
                  strcmp(record->runs[k].label, record->runs[i].label) != 0;
        }
        struct err failure = {0};
        if (new &&write_label(exports, i, &failure) < 0) {
            keep(exports, &failure);
        }
    }
}

/* ---- figures so far -------------------------------------------------------------------------- */

static int fill_end(const struct exports *exports, size_t end, struct record_run *run)
{
    const struct workload *workload = exports->workload;
    const struct role *role = end ? workload->server : workload->client;
    const struct metric *metrics = end ? workload->server_metrics : workload->metrics;
    size_t count = end ? workload->server_metric_count : workload->metric_count;
    const struct bank *bank = exports->banks[end];
    for (size_t i = 0; i < count; i++) {
        struct record_value *value = record_add_value(run, &metrics[i]);
        if (!value) {
            return -1;
        }
        value->available =
            metric_compute(&metrics[i], bank->counters, exports->window_ns, &value->value);
    }
    for (size_t i = 0; i < role->histogram_count; i++) {
        if (histogram_count(&bank->histograms[i]) == 0) {
            continue;
        }
        struct record_histogram *row = record_add_histogram(run, &role->histograms[i], roles[end]);
        if (!row) {
            return -1;
        }
        histogram_add(row->histogram, &bank->histograms[i]);
    }
    struct record_process *process = record_add_process(run, roles[end], 0, "");
    if (!process) {
        return -1;
    }
    process->cpu_available = true;
    process->cpu_user_ns = bank->cpu_user_ns;
    process->cpu_system_ns = bank->cpu_system_ns;
    process->switches_voluntary = bank->switches_voluntary;
    process->switches_involuntary = bank->switches_involuntary;
    return 0;
}

static int fill_errors(const struct bank *bank, struct record_run *run)
{
    for (size_t i = 0; i < BANK_ERRORS && bank->errors[i].count; i++) {
        const struct bank_error *error = &bank->errors[i];
        struct record_error_count *row =
            record_add_error(run, bank_phase_name(error->phase), error->number, error->name);
        if (!row) {
            return -1;
        }
        row->count += error->count;
    }
    return 0;
}

/* The record with what the run that goes on has measured until now in the place of its own entry,
 * which is filled once it has ended. */
static void write_so_far(struct exports *exports)
{
    const struct record *record = exports->record;
    struct record own = {0}, now = *record;
    struct err failure = {0};
    struct record_run *run = record_add_run(&own, exports->label);
    now.runs = calloc(record->run_count + 1, sizeof *now.runs);
    int result = run && now.runs ? 0 : -1;
    for (size_t end = 0; end < 2 && result == 0 && exports->workload; end++) {
        if (end == 0 || exports->server_known) {
            result = fill_end(exports, end, run);
        }
    }
    if (result == 0 && fill_errors(exports->banks[0], run) == 0) {
        run->repetition = exports->repetition;
        run->discarded = exports->discarded;
        run->window_ns = exports->window_ns;
        memcpy(now.runs, record->runs, record->run_count * sizeof *now.runs);
        /* Before anything has been measured it is not there yet. */
        now.run_count = record->run_count ? record->run_count : 1;
        now.runs[now.run_count - 1] = *run;
        result = record_write_passing(&now, &printer_openmetrics, exports->options->openmetrics,
                                      &failure);
    } else {
        err_system(&failure, ENOMEM, "memory", "cannot write %s", exports->options->openmetrics);
    }
    if (result < 0) {
        keep(exports, &failure);
    }
    free(now.runs);
    record_release(&own);
}

static void add_figures(struct exports *exports, const struct run_progress *progress)
{
    if (progress->drain) {
        return; /* the record comes next, which has it all */
    }
    bank_add(exports->banks[0], progress->bank);
    if (progress->server) {
        bank_add(exports->banks[1], progress->server);
        exports->server_known = true;
    }
    exports->window_ns += progress->window_ns;
    if (!exports->discarded) {
        write_so_far(exports);
    }
}

/* ---- all of them ----------------------------------------------------------------------------- */

int exports_open(struct exports **to, const struct output_options *options,
                 const struct record *record, bool several, struct err *error)
{
    *to = NULL;
    if (!options->openmetrics && !options->hlog && !options->hgrm) {
        return 0;
    }
    struct exports *exports = calloc(1, sizeof *exports);
    bool ready = exports;
    for (size_t end = 0; end < 2 && ready && options->openmetrics; end++) {
        exports->banks[end] = calloc(1, sizeof *exports->banks[end]);
        ready = exports->banks[end];
    }
    if (!ready) {
        exports_close(exports, error);
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    exports->options = options;
    exports->record = record;
    exports->several = several;
    if (options->hlog && open_log(exports, error) < 0) {
        struct err ignored;
        exports_close(exports, &ignored);
        return -1;
    }
    *to = exports;
    return 0;
}

void exports_begin(struct exports *exports, const char *label, uint32_t repetition, bool discarded)
{
    if (!exports) {
        return;
    }
    snprintf(exports->label, sizeof exports->label, "%s", label);
    exports->repetition = repetition;
    exports->discarded = discarded;
    exports->workload = NULL;
    exports->server_known = false;
    exports->window_ns = 0;
    memset(exports->logged, 0, sizeof exports->logged);
    for (size_t end = 0; end < 2 && exports->banks[end]; end++) {
        bank_clear(exports->banks[end]);
    }
}

void exports_progress(struct exports *exports, const struct run_progress *progress)
{
    if (!exports) {
        return;
    }
    exports->workload = progress->workload;
    if (exports->log && !exports->discarded) {
        log_progress(exports, progress);
    }
    if (exports->banks[0]) {
        add_figures(exports, progress);
    }
}

void exports_end(struct exports *exports, const struct record_run *run)
{
    struct err failure = {0};
    if (!exports) {
        return;
    }
    if (exports->log && !run->discarded) {
        log_rest(exports, run);
    }
    if (exports->options->openmetrics && !run->discarded &&
        record_write_passing(exports->record, &printer_openmetrics, exports->options->openmetrics,
                             &failure) < 0) {
        keep(exports, &failure);
    }
}

int exports_close(struct exports *exports, struct err *error)
{
    if (!exports) {
        return 0;
    }
    if (exports->log && fclose(exports->log) != 0) {
        keep_errno(exports, exports->options->hlog);
    }
    if (exports->options && exports->options->hgrm) {
        write_distributions(exports);
    }
    int result = exports->failure.code == ERR_NONE ? 0 : -1;
    if (result < 0) {
        *error = exports->failure;
    }
    free(exports->banks[0]);
    free(exports->banks[1]);
    free(exports);
    return result;
}
