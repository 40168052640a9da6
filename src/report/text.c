/* The record as an engineer reads it in a terminal. */
#include "report/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "report/figures.h"

#define INTERVALS_LISTED 30
#define LIMIT_WIDTH 24       /* of what limited a run, in the comparison */
#define LIMIT_WIDTH_LEAST 10 /* without the mark of what is cut */

static void print_failure(struct text *text, const char *label, const struct err *failure)
{
    if (failure->code != ERR_NONE) {
        text_paragraph(text, 2, 4, "%s%s%s%s%s%s", label, failure->subject,
                       failure->subject[0] ? ": " : "", failure->what, failure->hint[0] ? ": " : "",
                       failure->hint);
    }
}

/* How many operations the headline counts: the counter behind it where the run has that, else
 * worked back from the rate; NaN where neither is possible. */
static double headline_count(const struct record_run *run)
{
    const struct record_value *headline = &run->values[0];
    for (size_t i = 1; i < run->value_count; i++) {
        const struct record_value *value = &run->values[i];
        if (value->metric->kind == METRIC_COUNT && figures_shown(value) &&
            value->metric->numerator == headline->metric->numerator) {
            return value->value;
        }
    }
    return headline->metric->kind == METRIC_PER_SECOND && figures_shown(headline)
               ? round(headline->value * (double)run->window_ns / 1e9)
               : NAN;
}

/* "21,406,118 calls/s   32,117,996 calls"; nothing where the run has no metrics. */
static void format_rate(char *to, size_t size, const struct text *text,
                        const struct record_run *run)
{
    char number[64], count[UNITS_TEXT_MAX];
    to[0] = '\0';
    if (run->value_count == 0) {
        return;
    }
    const struct record_value *value = &run->values[0];
    bool plain = strcmp(value->metric->unit, "1/s") == 0;
    bool bare = plain || strcmp(value->metric->unit, "1") == 0; /* its title is its unit */
    double all = headline_count(run);
    if (!figures_shown(value)) {
        snprintf(to, size, "%s: n/a (%s) ", text_title(value->metric), figures_reason(value));
        return;
    }
    text_value(number, sizeof number, value->value, value->metric->unit);
    int used = snprintf(to, size, bare ? "%s %s " : "%s (%s) ", number, text_title(value->metric));
    if (plain && isfinite(all) && used > 0 && (size_t)used < size) {
        snprintf(to + used, size - (size_t)used, "  %s %ss ", units_count(count, all),
                 text->operation);
    }
}

static void print_tls(struct text *text, const struct record_tls *tls)
{
    char handshakes[UNITS_TEXT_MAX], resumed[UNITS_TEXT_MAX];
    char trust[sizeof tls->name + 64] = "";
    if (tls->handshakes == 0) {
        return;
    }
    if (tls->name[0]) {
        snprintf(trust, sizeof trust,
                 tls->verified ? ", certificate verified for %s"
                               : ", certificate NOT verified (for %s)",
                 tls->name);
    }
    text_paragraph(text, 2, 4, "TLS: %s, %s%s; %s handshake%s, %s resumed", tls->version,
                   tls->cipher, trust, units_count(handshakes, (double)tls->handshakes),
                   tls->handshakes == 1 ? "" : "s", units_count(resumed, (double)tls->resumed));
}

static void print_headline(struct text *text, const struct record_run *run)
{
    char rate[320], window[UNITS_TEXT_MAX], wall[UNITS_TEXT_MAX], of[2 * UNITS_TEXT_MAX] = "";
    text_paragraph(text, 0, 2, "%s%s%s", run->label, run->label[0] && run->detail[0] ? ": " : "",
                   run->detail);
    if (run->window_ns == 0 && run->failure.code != ERR_NONE) {
        print_failure(text, "NOTHING MEASURED: ", &run->failure);
        return;
    }
    format_rate(rate, sizeof rate, text, run);
    units_duration(window, (double)run->window_ns);
    if (run->wall_ns > run->window_ns && run->wall_ns - run->window_ns > run->wall_ns / 100) {
        /* The rest of the time was observed, or lay between transfers, and does not count. */
        snprintf(of, sizeof of, run->observing ? " (the unobserved part of %s)" : " of %s",
                 units_duration(wall, (double)run->wall_ns));
    }
    text_paragraph(text, 2, 4, "%sin %s%s%s%s", rate, window, of, run->mode[0] ? ", " : "",
                   run->mode);
    print_tls(text, &run->tls);
    if (run->failure.code != ERR_NONE) {
        print_failure(text, "PARTIAL: ", &run->failure);
    } else if (!run->complete) {
        text_paragraph(text, 2, 4, "PARTIAL: it did not run to its end");
    }
}

/* All metrics but the headline, two beside each other; those without a value below, with why. */
static void print_metrics(struct text *text, const struct record_run *run)
{
    struct table table;
    char number[64];
    table_init(&table, "lrlr");
    for (size_t i = 1; i < run->value_count; i++) {
        const struct record_value *value = &run->values[i];
        bool quiet = value->metric->rare && value->value == 0;
        if (figures_shown(value) && !quiet) {
            bool right_half = table.cell_count % 4 != 0;
            table_cell(&table, "%s%s", right_half ? "    " : "", text_title(value->metric));
            table_cell(&table, "%s",
                       text_value(number, sizeof number, value->value, value->metric->unit));
        }
    }
    if (run->value_count > 1) {
        fputc('\n', text->out);
    }
    table_print(&table, text);
    for (size_t i = 1; i < run->value_count; i++) {
        const struct record_value *value = &run->values[i];
        if (!figures_shown(value)) {
            text_paragraph(text, 2, 4, "%s  n/a (%s)", text_title(value->metric),
                           figures_reason(value));
        }
    }
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void print_rates(struct text *text, const struct metric *metric, double *rates, size_t count,
                        double typical_ns)
{
    char least[64], middle[64], most[64], length[UNITS_TEXT_MAX];
    char listed[INTERVALS_LISTED * 32] = "";
    units_duration(length, typical_ns);
    if (count <= INTERVALS_LISTED) {
        size_t used = 0;
        for (size_t i = 0; i < count; i++) {
            used += (size_t)snprintf(listed + used, sizeof listed - used, "  %.24s",
                                     text_value(least, sizeof least, rates[i], metric->unit));
        }
        text_paragraph(text, 2, 4, "%s in each %s:%s", text_title(metric), length, listed);
        return;
    }
    qsort(rates, count, sizeof *rates, compare_doubles);
    text_paragraph(text, 2, 4, "%s in each %s: least %s, median %s, most %s (%zu intervals)",
                   text_title(metric), length,
                   text_value(least, sizeof least, rates[0], metric->unit),
                   text_value(middle, sizeof middle, rates[count / 2], metric->unit),
                   text_value(most, sizeof most, rates[count - 1], metric->unit), count);
}

/* A value of an interval by its metric's key; NULL where it is not there. */
static const struct record_value *interval_value(const struct record_interval *interval,
                                                 const char *key)
{
    for (size_t k = 0; k < interval->value_count; k++) {
        if (figures_shown(&interval->values[k]) &&
            strcmp(interval->values[k].metric->key, key) == 0) {
            return &interval->values[k];
        }
    }
    return NULL;
}

/* Of a rate that changes: what was asked for in each interval, beside what it was. */
static void print_asked(struct text *text, const struct record_run *run)
{
    struct table table;
    const struct metric *metric = run->values[0].metric;
    char start[UNITS_TEXT_MAX], asked_text[64], number[64], share[16];
    size_t step = (run->interval_count + INTERVALS_LISTED - 1) / INTERVALS_LISTED;
    table_init(&table, "rrrr");
    table_cell(&table, "from");
    table_cell(&table, "rate asked for");
    table_cell(&table, "%s", text_title(metric));
    table_cell(&table, "share");
    for (size_t i = 0; i < run->interval_count; i += step) {
        const struct record_interval *interval = &run->intervals[i];
        const struct record_value *asked = interval_value(interval, "rate_asked");
        const struct record_value *reached = interval_value(interval, metric->key);
        double wanted = asked ? asked->value : NAN, rate = reached ? reached->value : NAN;
        table_cell(&table, "%s", units_duration(start, (double)interval->start_ns));
        table_cell(&table, "%s", text_value(asked_text, sizeof asked_text, wanted, "1/s"));
        table_cell(&table, "%s", text_value(number, sizeof number, rate, metric->unit));
        table_cell(&table, "%s", text_share(share, sizeof share, figures_ratio(rate, wanted)));
    }
    fputc('\n', text->out);
    table_print(&table, text);
    if (step > 1) {
        text_paragraph(text, 2, 4, "(each %zuth of %zu intervals)", step, run->interval_count);
    }
}

/* The headline metric over time. */
static void print_intervals(struct text *text, const struct record_run *run)
{
    if (run->interval_count == 0 || run->value_count == 0) {
        return;
    }
    if (interval_value(&run->intervals[0], "rate_asked")) {
        print_asked(text, run);
        return;
    }
    const struct metric *metric = run->values[0].metric, *named = metric;
    double *rates = calloc(run->interval_count, sizeof *rates);
    size_t count = 0;
    if (!rates) {
        text->failed = true;
        return;
    }
    for (size_t i = 0; i < run->interval_count; i++) {
        const struct record_value *value = interval_value(&run->intervals[i], metric->key);
        /* What is left of a window at its end has no rate that could be compared. */
        bool rest = i > 0 && i + 1 == run->interval_count &&
                    run->intervals[i].duration_ns < run->intervals[0].duration_ns / 2;
        if (value && !rest) {
            rates[count++] = value->value;
            named = value->metric; /* may count something else than the whole */
        }
    }
    if (count && run->interval_count > 1) {
        double typical_ns = (double)(run->intervals[1].start_ns - run->intervals[0].start_ns);
        fputc('\n', text->out);
        print_rates(text, named, rates, count, typical_ns);
    }
    free(rates);
}

static void cost_row(struct table *table, const struct record_process *process, bool divide)
{
    bool known = process->cpu_available;
    double operations = divide ? (double)process->cpu_operations : 1;
    double divisor = known ? operations : 0;
    double user = (double)process->cpu_user_ns, system = (double)process->cpu_system_ns;
    double switches = (double)process->switches_voluntary + (double)process->switches_involuntary;
    double busy = figures_ratio(user + system, known ? (double)process->cpu_window_ns : 0);
    double busiest = process->busiest_thread < 0 ? NAN : process->busiest_thread;
    double rss = process->rss_bytes ? (double)process->rss_bytes : NAN;
    char to[64];
    if (process->processes > 1) {
        table_cell(table, "%s %s (%u processes)", process->role, process->name, process->processes);
    } else {
        table_cell(table, "%s %s", process->role, process->name);
    }
    table_cell(table, "%s", figures_id(to, sizeof to, process->pid, process->tid));
    table_cell(table, "%s", text_share(to, sizeof to, busy));
    table_cell(table, "%s", text_share(to, sizeof to, busiest));
    table_cell(table, "%s", text_value(to, sizeof to, figures_ratio(user, divisor), "ns"));
    table_cell(table, "%s", text_value(to, sizeof to, figures_ratio(system, divisor), "ns"));
    table_cell(table, "%s", text_value(to, sizeof to, figures_ratio(switches, divisor), "1"));
    table_cell(table, "%s", text_value(to, sizeof to, rss, "bytes"));
}

/* CPU, context switches and memory, a line a process: for each operation where there are any to
 * divide by, else in all. */
void text_costs(struct text *text, const struct record_run *run)
{
    struct table table;
    bool divide = false;
    if (run->process_count == 0) {
        return;
    }
    for (size_t i = 0; i < run->process_count; i++) {
        divide = divide || run->processes[i].cpu_operations;
    }
    char title[64] = "in all";
    if (divide) {
        snprintf(title, sizeof title, "per %s", text->operation);
    }
    table_init(&table, "lrrrrrrr");
    table_span(&table, 4, 3, title);
    table_cell(&table, "process");
    table_cell(&table, "pid");
    table_cell(&table, "CPU busy");
    table_cell(&table, "busiest thread");
    table_cell(&table, "user CPU");
    table_cell(&table, "system CPU");
    table_cell(&table, "switches");
    table_cell(&table, "RSS");
    for (size_t i = 0; i < run->process_count; i++) {
        cost_row(&table, &run->processes[i], divide);
    }
    fputc('\n', text->out);
    table_print(&table, text);
}

static void print_errors(struct text *text, const struct record_run *run)
{
    struct table table;
    char number[UNITS_TEXT_MAX], storage[16];
    if (run->error_count == 0) {
        return;
    }
    table_init(&table, "llrl");
    table_cell(&table, "errors in");
    table_cell(&table, "what");
    table_cell(&table, "count");
    table_cell(&table, "%s", "");
    for (size_t i = 0; i < run->error_count; i++) {
        const struct record_error_count *error = &run->errors[i];
        table_cell(&table, "%s", error->phase);
        table_cell(&table, "%s", figures_error_name(error, storage, sizeof storage));
        table_cell(&table, "%s", units_count(number, (double)error->count));
        table_cell(&table, "%s", error->number ? strerrordesc_np(error->number) : "");
    }
    fputc('\n', text->out);
    table_print(&table, text);
    if (run->observing) {
        text_paragraph(text, 2, 4,
                       "errors: of the whole window, its observed parts too, and of the "
                       "drain; counts above may be of its other parts alone");
    }
}

static void print_closing(struct text *text, const struct record_run *run)
{
    char number[UNITS_TEXT_MAX], share[16];
    fputc('\n', text->out);
    if (run->observing) {
        text_effects(text, run);
    }
    if (run->observation[0]) {
        text_paragraph(text, 2, 4, "observation: %s", run->observation);
    }
    if (run->limited_by[0]) {
        text_paragraph(text, 2, 4, "limited by: %s", run->limited_by);
    }
    if (run->null_ceiling > 0) {
        struct figures_cost cost = figures_cost(run, "client");
        double reached = figures_ratio(1e9, cost.cpu_user_ns + cost.cpu_system_ns);
        bool comparable = isfinite(reached);
        text_paragraph(text, 2, 4,
                       "without the kernel (null engine) this client reaches %s %ss/s of CPU "
                       "time%s%s%s",
                       units_count(number, run->null_ceiling), text->operation,
                       comparable ? "; per second of its own CPU time this run reached " : "",
                       comparable ? text_share(share, sizeof share, reached / run->null_ceiling)
                                  : "",
                       comparable ? " of that" : "");
    }
}

void text_run(struct text *text, const struct record_run *run)
{
    print_headline(text, run);
    text_histograms(text, run);
    print_metrics(text, run);
    if (!text->compact) {
        print_intervals(text, run);
        text_sizes(text, run);
    }
    text_flows(text, run);
    text_costs(text, run);
    text_calls(text, run);
    text_probes(text, run);
    print_errors(text, run);
    print_closing(text, run);
}

/* The client's latency that a comparison shows: the first measured; NULL where there is none. */
static const struct record_histogram *main_latency(const struct record_run *run)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (strcmp(entry->role, "client") == 0 && strcmp(entry->metric->unit, "ns") == 0 &&
            histogram_count(entry->histogram)) {
            return entry;
        }
    }
    return NULL;
}

/* What all the runs' latencies are called, "latency" where they differ. */
static const char *latency_title(const struct record *record)
{
    const char *title = NULL;
    for (size_t i = 0; i < record->run_count; i++) {
        const struct record_histogram *entry = main_latency(&record->runs[i]);
        if (entry && title && strcmp(title, entry->metric->title) != 0) {
            return "latency";
        }
        title = entry ? entry->metric->title : title;
    }
    return title ? title : "latency";
}

static bool any_latency(const struct record *record)
{
    for (size_t i = 0; i < record->run_count; i++) {
        if (main_latency(&record->runs[i])) {
            return true;
        }
    }
    return false;
}

static void latency_cell(struct table *table, const struct record_run *run, double percentile)
{
    const struct record_histogram *entry = main_latency(run);
    uint64_t value;
    char number[64];
    bool shown = entry && histogram_percentile(entry->histogram, percentile, &value);
    table_cell(table, "%s", text_value(number, sizeof number, shown ? (double)value : NAN, "ns"));
}

static void comparison_row(struct table *table, const struct record_run *run,
                           const struct figures_ends *ends, bool latencies, int limit_width)
{
    struct figures_cost first = figures_cost(run, ends->roles[0]);
    struct figures_cost second = figures_cost(run, ends->roles[1]);
    char number[64];
    double rate = run->value_count && figures_shown(&run->values[0]) ? run->values[0].value : NAN;
    /* The evidence in parentheses stands with the run's details. */
    int limit = (int)strcspn(run->limited_by, "(:;");
    while (limit && run->limited_by[limit - 1] == ' ') {
        limit--;
    }
    bool cut = limit > limit_width;
    if (cut) { /* between words */
        limit = limit_width;
        while (limit && run->limited_by[limit] != ' ') {
            limit--;
        }
    }
    table_cell(table, "%s%s", run->label, figures_run_complete(run) ? "" : " PARTIAL");
    table_cell(table, "%s",
               text_value(number, sizeof number, rate,
                          run->value_count ? run->values[0].metric->unit : "1/s"));
    if (latencies) {
        latency_cell(table, run, 50);
        latency_cell(table, run, 99);
    }
    table_cell(table, "%s", text_value(number, sizeof number, first.engine_calls, "1"));
    table_cell(table, "%s",
               text_value(number, sizeof number, first.cpu_user_ns + first.cpu_system_ns, "ns"));
    table_cell(table, "%s",
               text_value(number, sizeof number, second.cpu_user_ns + second.cpu_system_ns, "ns"));
    table_cell(table, "%.*s%s", limit, run->limited_by, cut ? " ..." : "");
}

static void fill_comparison(struct table *table, const struct text *text,
                            const struct record *record, int limit_width)
{
    char title[64];
    const char *rate = "rate";
    bool latencies = any_latency(record); /* of streams there are none */
    size_t costs = latencies ? 4 : 2;
    struct figures_ends ends = figures_ends(record);
    for (size_t i = 0; i < record->run_count; i++) {
        if (record->runs[i].value_count) {
            rate = text_title(record->runs[i].values[0].metric);
        }
    }
    table_init(table, latencies ? "lrrrrrrl" : "lrrrrl");
    if (latencies) {
        table_span(table, 2, 2, latency_title(record));
    }
    snprintf(title, sizeof title, "%s / %s", ends.roles[0], text->operation);
    table_span(table, costs, 2, title);
    snprintf(title, sizeof title, "%s / %s", ends.roles[1], text->operation);
    table_span(table, costs + 2, 1, title);
    table_cell(table, "run");
    table_cell(table, "%.*s", (int)strcspn(rate, ",:"), rate); /* how it was counted: below */
    if (latencies) {
        table_cell(table, "p50");
        table_cell(table, "p99");
    }
    table_cell(table, "syscalls");
    table_cell(table, "CPU");
    table_cell(table, "CPU");
    table_cell(table, "limited by");
    for (size_t i = 0; i < record->run_count; i++) {
        comparison_row(table, &record->runs[i], &ends, latencies, limit_width);
    }
}

/* One line a run. The last column gives way where the width does not suffice. */
static void print_comparison(struct text *text, const struct record *record)
{
    struct table table;
    for (int limit_width = LIMIT_WIDTH;; limit_width--) {
        fill_comparison(&table, text, record, limit_width);
        if (limit_width == LIMIT_WIDTH_LEAST || table_width(&table) + 2 <= TEXT_COLUMNS) {
            break;
        }
        table_release(&table);
    }
    table_print(&table, text);
    fputc('\n', text->out);
}

static int print_text(const struct record *record, FILE *out, struct err *error)
{
    struct text text = {.out = out,
                        .operation = record->operation ? record->operation : "operation",
                        .compact = record->run_count > 1};
    bool repeated = text_is_repeated(record), searched = record->find_max.found_count;
    if (searched) {
        text_find_max(&text, record);
    } else if (repeated) {
        text_repetitions(&text, record);
    } else if (record->run_count > 1) {
        print_comparison(&text, record);
        text_loads(&text, record);
    }
    for (size_t i = 0; i < record->run_count && !repeated && !searched; i++) {
        if (i) {
            fputc('\n', out);
        }
        text_run(&text, &record->runs[i]);
    }
    /* What the only run has said already is not said again. */
    bool said = record->run_count == 1 && !repeated && record->failure.code != ERR_NONE &&
                record->runs[0].failure.code == record->failure.code &&
                strcmp(record->runs[0].failure.what, record->failure.what) == 0;
    if (said) {
    } else if (record->failure.code != ERR_NONE) {
        print_failure(&text, "NOT COMPLETE: ", &record->failure);
    } else if (!record->complete) {
        text_paragraph(&text, 2, 4, "NOT COMPLETE: it did not run to its end");
    }
    for (size_t i = 0; i < record->warning_count; i++) {
        text_paragraph(&text, 2, 4, "warning: %s", record->warnings[i]);
    }
    if (text.failed) {
        return err_system(error, ENOMEM, "text", "cannot be made");
    }
    return figures_finish(out, "text", error);
}

const struct printer printer_text = {"text", print_text};
