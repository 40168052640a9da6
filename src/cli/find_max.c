#include "cli/find_max.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "engine/engine.h"
#include "report/figures.h"
#include "report/text.h"
#include "run/fill.h"
#include "stats/rate_search.h"
#include "stats/repeat.h"

/* In this mode, unless given. */
#define PROBE_NS (2 * NS_PER_SECOND)
#define PROBE_WARMUP_NS (200 * NS_PER_MS)
#define SEARCHES 3
/* What a run takes besides its warm-up and window: server, connections. */
#define AROUND_NS (100 * NS_PER_MS)
/* About how many probes a search takes. */
#define PROBES_USUAL 14
#define RATE_MOST 1e9
/* Where the scale is known by a closed loop, the search begins at this part of it. */
#define START_SHARE 0.5
/* The first step of the first search, and of others, which begin at what was found. */
#define FIRST_STEP 2
#define LATER_STEP 1.25
/* What reaches so little of its rate fails, whatever the noise. */
#define REACHED_CLEARLY 0.9
#define REACHED_LEAST 0.99
/* What needs no more than this part of each limit passes, whatever the noise. */
#define PASSES_CLEARLY 0.5
/* Room above the lowest rate at which percentiles are known. */
#define LOWEST_ROOM 1.2
/* In a steady state rate × mean response time are in flight; of a backlog that grows evenly, twice
 * that at the end. */
#define BACKLOG_GROWS 1.5
#define BACKLOG_LEAST 20
#define BACKLOG_SHARE 0.005

static const char option[] = "--find-max";

const struct opt find_max_rows[FIND_MAX_OPTIONS] = {
    OPT_CUSTOM(struct find_max_options, goal, struct goal, .name = "find-max", .initial = "",
               .argument = "LIMIT", .parse = goal_parse, .print = goal_print,
               .help = "the highest rate under a limit on the response time: 'p99 < 5ms', "
                       "'p50 <= 200us, max < 10ms, errors < 0.1%'; --repeat searches (3) of probes "
                       "of --duration (2s) after --warmup (200ms), up to --rate"),
};

static int refuse_with(struct err *error, const char *other, const char *hint)
{
    err_set(error, ERR_USAGE, option, "cannot be combined with %s", other);
    return err_hint(error, "%s", hint);
}

int find_max_settle(const struct find_max_options *options, struct run_options *run,
                    struct repeat_options *repeat, const struct workload *workload,
                    const struct find_max_given *given, struct err *error)
{
    if (options->goal.count == 0) {
        return 0;
    }
    const struct histogram_metric *first = workload->client->histograms;
    if (run->count) {
        return refuse_with(error, "--count", "its probes are as long as --duration says");
    }
    if (run->course.count) {
        return refuse_with(error, "--rate-course", "it finds the rate by itself");
    }
    if (workload->ramp_ns || workload->bulk) {
        return refuse_with(error, workload->ramp_ns ? "--mode hold" : "streams",
                           "it is about operations that are answered, at a rate");
    }
    if (given->during || given->hgrm) {
        return refuse_with(error, given->during ? "--during" : "--hgrm",
                           "measure at the rate that was found: --rate");
    }
    if (workload->client->histogram_count == 0 || strcmp(first->key, "response_time") != 0) {
        return refuse_with(error, "this mode", "it has no response times");
    }
    for (size_t i = 0; i < run->engines.count; i++) {
        const struct engine_ops *engine = engine_find(run->engines.items[i]);
        if (engine && engine->flags & ENGINE_NO_KERNEL) {
            return refuse_with(error, "--engine null", "there is no server that could bear less");
        }
    }
    run->duration_ns = given->run.duration ? run->duration_ns : PROBE_NS;
    run->warmup_ns = given->run.warmup ? run->warmup_ns : PROBE_WARMUP_NS;
    repeat->repeat = given->repeat ? repeat->repeat : SEARCHES;
    if (given->warmup_runs && repeat->warmup_runs) {
        return refuse_with(error, "--warmup-runs", "each search begins with probes that are easy");
    }
    repeat->warmup_runs = 0;
    return 0;
}

static double duration_s(const struct find_max *find_max)
{
    return (double)find_max->run->duration_ns / 1e9;
}

/* Operations that one start begins. */
static double each(const struct find_max *find_max)
{
    return (double)workload_operations_per_start(find_max->workload, find_max->workload_options);
}

/* Below this rate a probe has too few answers to be judged. */
static double lowest_rate(const struct find_max *find_max)
{
    return ceil(LOWEST_ROOM * goal_operations_least(&find_max->options->goal) /
                duration_s(find_max) / each(find_max));
}

int find_max_check(const struct find_max *find_max, struct err *error)
{
    char rate[UNITS_TEXT_MAX], window[UNITS_TEXT_MAX], lowest[UNITS_TEXT_MAX];
    double least = lowest_rate(find_max), most = find_max->upper > 0 ? find_max->upper : RATE_MOST;
    if (least <= most) {
        return 0;
    }
    err_set(error, ERR_USAGE, option, "%s/s in %s are too few answers to tell",
            units_count(rate, most), units_exact_duration(window, find_max->run->duration_ns));
    return err_hint(error,
                    "a longer --duration, a --rate of %s or more, or a percentile that is "
                    "less far out",
                    units_count(lowest, least));
}

/* ---- one probe ---- */

static double value_of(const struct record_run *run, const char *key)
{
    const struct record_value *value = record_find_value(run, key);
    return value && value->available ? value->value : 0;
}

/* The client's; NULL where it has none. */
static const struct histogram *find_times(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        const struct record_histogram *entry = &run->histograms[i];
        if (strcmp(entry->role, "client") == 0 && strcmp(entry->metric->key, key) == 0) {
            return entry->histogram;
        }
    }
    return NULL;
}

/* Share of the rate by which chance alone may leave a probe below it: the ends of the window cut
 * single operations off, and random starts are more or fewer. */
static double chance(const struct find_max *find_max, double asked)
{
    double starts = asked * duration_s(find_max);
    return 1.5 / starts + (find_max->run->arrival ? 3 / sqrt(starts) : 0);
}

/* More is in flight at the end than a steady state has. */
static bool has_backlog(const struct record_run *run, const struct histogram *latencies)
{
    double rate = run->value_count ? run->values[0].value : 0;
    double steady = latencies ? rate * histogram_mean(latencies) / 1e9 : 0;
    double left = value_of(run, "send_behind") + value_of(run, "finished_after") +
                  value_of(run, "unfinished");
    double noise = fmax(BACKLOG_LEAST, BACKLOG_SHARE * rate * (double)run->window_ns / 1e9);
    return left > BACKLOG_GROWS * steady + noise;
}

/* Operations that did not go well, whether or not an error says why. */
static uint64_t errors_of(const struct record_run *run)
{
    static const char *const unanswered[] = {"unfinished", "messages_lost", "calls_lost"};
    /* Where operations that failed are counted: one error may have ended several, or none. */
    static const char *const failed[] = {"requests_failed", "handshakes_failed"};
    for (size_t i = 0; i < sizeof failed / sizeof *failed; i++) {
        if (record_find_value(run, failed[i])) {
            return (uint64_t)value_of(run, failed[i]) + (uint64_t)value_of(run, "unfinished");
        }
    }
    uint64_t errors = 0;
    for (size_t i = 0; i < sizeof unanswered / sizeof *unanswered; i++) {
        errors += (uint64_t)value_of(run, unanswered[i]);
    }
    for (size_t i = 0; i < run->error_count; i++) {
        errors += run->errors[i].count;
    }
    return errors;
}

/* Judges a run, and says why where it does not pass. */
static enum rate_verdict judge(const struct find_max *find_max, const struct record_run *run,
                               struct record_search_probe *probe)
{
    const struct goal *goal = &find_max->options->goal;
    const struct histogram *latencies = find_times(run, "response_time");
    const struct goal_measured measured = {
        .latencies = latencies,
        .operations = latencies ? histogram_count(latencies) : 0,
        .errors = errors_of(run),
    };
    char name[GOAL_NAME_MAX];
    bool clear = true, lossy = find_max->workload->lossy;
    probe->reached = value_of(run, "rate_reached");
    for (uint32_t i = goal->count; i-- > 0;) {
        struct goal_value value = goal_judge(&goal->terms[i], &measured);
        probe->values[i] = value.value;
        clear = clear && value.met && value.value <= PASSES_CLEARLY * goal->terms[i].limit;
        if (!value.met) {
            snprintf(probe->why, sizeof probe->why, "%s%s", goal_term_name(&goal->terms[i], name),
                     value.known ? "" : ": too few answers");
        }
    }
    double allowed = chance(find_max, probe->asked);
    if (run->window_ns == 0 || run->failure.code != ERR_NONE) {
        snprintf(probe->why, sizeof probe->why, "%s",
                 run->failure.code == ERR_NONE ? "nothing was measured" : "the run failed");
        return RATE_FAILS;
    }
    if (probe->reached < REACHED_LEAST - allowed) {
        snprintf(probe->why, sizeof probe->why, "the rate");
        return probe->reached < REACHED_CLEARLY - allowed ? RATE_FAILS_CLEARLY : RATE_FAILS;
    }
    if (value_of(run, "unfinished") > 0 && !lossy) {
        snprintf(probe->why, sizeof probe->why, "unanswered");
    } else if (probe->why[0] == '\0' && has_backlog(run, latencies)) {
        snprintf(probe->why, sizeof probe->why, "backlog");
    }
    probe->passed = probe->why[0] == '\0';
    return !probe->passed ? RATE_FAILS : clear ? RATE_PASSES_CLEARLY : RATE_PASSES;
}

/* ---- searches ---- */

/* With one engine. */
struct seeker {
    struct rate_search search;
    double start;
    double *low, *high; /* owned: of each search that ended: what passed, what failed */
    bool broken;        /* no run can be made */
};

struct drive {
    struct find_max *find_max;
    struct experiment_course *course;
    struct seeker *seekers;
    size_t count;
    bool ends;
};

/* Warnings that this run has made, but for those of every run of its kind. */
static void drop_warnings(struct record *record, size_t first)
{
    while (record->warning_count > first) {
        free(record->warnings[--record->warning_count]);
    }
}

static struct record_found *found_of(const struct drive *drive, size_t engine)
{
    return &experiment_record(drive->course)->find_max.found[engine];
}

static void tell(const struct drive *drive, const struct record_found *found,
                 const struct record_search_probe *probe)
{
    FILE *lines = experiment_lines(drive->course);
    const struct goal *goal = &drive->find_max->options->goal;
    char asked[UNITS_TEXT_MAX], share[16], value[64], name[GOAL_NAME_MAX];
    if (!lines) {
        return;
    }
    fprintf(lines, "%s search %u: %s/s: reached %s", found->label, probe->search,
            units_count(asked, probe->asked), text_share(share, sizeof share, probe->reached));
    for (uint32_t i = 0; i < goal->count; i++) {
        fprintf(lines, ", %s %s", goal_term_name(&goal->terms[i], name),
                goal->terms[i].kind == GOAL_ERRORS
                    ? text_share(share, sizeof share, probe->values[i])
                    : text_value(value, sizeof value, probe->values[i], "ns"));
    }
    fprintf(lines, ": %s%s\n", probe->passed ? "passes" : "fails: ", probe->why);
    fflush(lines);
}

/* Rates that a person may type again: three digits. */
static double round_rate(double rate)
{
    double unit = pow(10, floor(log10(rate)) - 2);
    return rate < 100 ? ceil(rate) : round(rate / unit) * unit;
}

/* What its run's row has of it in CSV and JSON. */
static void note_probe(struct record_run *run, const struct record_search_probe *probe,
                       double operations_per_start)
{
    static const struct metric passed = {
        "passed",     "1", "passed", "--find-max: 1 where this probe kept to the limit",
        METRIC_VALUE, 0,   0,        false};
    fill_value(run, &run_extra_metrics[RUN_EXTRA_ASKED], probe->asked * operations_per_start);
    fill_value(run, &passed, probe->passed);
}

static void probe(struct drive *drive, size_t engine, uint32_t number)
{
    struct find_max *find_max = drive->find_max;
    struct seeker *seeker = &drive->seekers[engine];
    struct record *record = experiment_record(drive->course);
    struct record_search_probe *row = record_add_search_probe(found_of(drive, engine));
    size_t first_warning = record->warning_count;
    if (!row) {
        drive->ends = seeker->broken = true;
        return;
    }
    double rate = round_rate(seeker->search.rate);
    /* Rounding must not leave the bounds, nor come back to what was decided. */
    if (rate <= seeker->search.low || rate >= seeker->search.high || rate < seeker->search.lowest ||
        rate > seeker->search.highest) {
        rate = seeker->search.rate;
    }
    seeker->search.rate = rate;
    *row = (struct record_search_probe){.search = number, .asked = rate};
    find_max->run->rate = rate;
    snprintf(find_max->label, sizeof find_max->label, "%.20s %u.%u", found_of(drive, engine)->label,
             number, seeker->search.probes + 1);
    long run = experiment_take(drive->course, engine, &drive->ends);
    if (run < 0 || record->runs[run].failure.code == ERR_INTERRUPTED) {
        found_of(drive, engine)->probe_count--;
        seeker->broken = run < 0;
        return;
    }
    row->run = (size_t)run;
    enum rate_verdict verdict = judge(find_max, &record->runs[run], row);
    if (!row->passed) {
        drop_warnings(record, first_warning); /* it was to find out whether it can be borne */
    }
    note_probe(&record->runs[run], row, each(drive->find_max));
    tell(drive, found_of(drive, engine), row);
    rate_search_tell(&seeker->search, verdict);
}

/* The closed loop with one engine. */
static void find_scale(struct drive *drive, size_t engine)
{
    struct find_max *find_max = drive->find_max;
    struct record *record = experiment_record(drive->course);
    struct record_found *found = found_of(drive, engine);
    struct seeker *seeker = &drive->seekers[engine];
    char rate[UNITS_TEXT_MAX];
    found->lowest = lowest_rate(find_max);
    found->highest = find_max->upper > 0 ? find_max->upper : RATE_MOST;
    seeker->start = find_max->upper;
    if (find_max->upper > 0) {
        return;
    }
    find_max->run->rate = 0;
    find_max->closed = true;
    snprintf(find_max->label, sizeof find_max->label, "%.20s closed loop", found->label);
    long run = experiment_take(drive->course, engine, &drive->ends);
    find_max->closed = false;
    const struct record_run *closed = run < 0 ? NULL : &record->runs[run];
    if (!closed || closed->value_count == 0 || !(closed->values[0].value > 0)) {
        seeker->broken = true;
        return;
    }
    found->closed = closed->values[0].value / each(find_max);
    seeker->start = found->closed * START_SHARE;
    if (experiment_lines(drive->course)) {
        fprintf(experiment_lines(drive->course), "%s closed loop: %s/s\n", found->label,
                units_count(rate, found->closed));
    }
}

/* A search has ended, or (`partly`) was ended with something known. */
static void keep(struct drive *drive, size_t engine)
{
    struct record_found *found = found_of(drive, engine);
    struct seeker *seeker = &drive->seekers[engine];
    const struct rate_search *search = &seeker->search;
    seeker->low[found->searches] = search->low;
    seeker->high[found->searches] = isfinite(search->high) ? search->high : search->highest;
    found->searches++;
    found->never += search->end == RATE_SEARCH_NEVER;
    found->always += search->end == RATE_SEARCH_ALWAYS;
    found->given_up += search->end == RATE_SEARCH_GIVEN_UP;
    /* The next one begins there, and looks at both sides. */
    seeker->start = search->low > 0 ? search->low : search->lowest;
}

static void search(struct drive *drive, size_t engine, uint32_t number)
{
    const struct record_found *found = found_of(drive, engine);
    struct seeker *seeker = &drive->seekers[engine];
    rate_search_init(&seeker->search, seeker->start, number > 1 ? LATER_STEP : FIRST_STEP,
                     found->lowest, found->highest);
    while (!drive->ends && !seeker->broken && seeker->search.end == RATE_SEARCH_GOES_ON) {
        probe(drive, engine, number);
    }
    if (seeker->search.end != RATE_SEARCH_GOES_ON) {
        keep(drive, engine);
    }
}

/* ---- what it comes to ---- */

/* The probe nearest to the limit: of those that failed the one of the lowest rate, of those that
 * passed the one of the highest; NULL where there is none. */
static const struct record_search_probe *nearest(const struct record_found *found, bool passed)
{
    const struct record_search_probe *best = NULL;
    for (size_t i = 0; i < found->probe_count; i++) {
        const struct record_search_probe *row = &found->probes[i];
        bool nearer = !best || (passed ? row->asked > best->asked : row->asked < best->asked);
        /* A rate below the result that failed once was outvoted: it is not the boundary. */
        bool beyond = passed || !(row->asked <= found->rate.value);
        if (row->passed == passed && nearer && beyond) {
            best = row;
        }
    }
    return best;
}

/* Whether nothing but the rate itself failed. */
static bool only_the_rate(const struct record_found *found)
{
    bool some = false;
    for (size_t i = 0; i < found->probe_count; i++) {
        const char *why = found->probes[i].why;
        bool rate = strcmp(why, "the rate") == 0 || strcmp(why, "backlog") == 0 ||
                    strcmp(why, "unanswered") == 0;
        some = some || rate;
        if (!found->probes[i].passed && !rate) {
            return false;
        }
    }
    return some;
}

/* What a probe near the limit failed by, and whose doing that was. */
static void say_failed(const struct record *record, const struct record_found *found,
                       const struct record_search_probe *failed, FILE *out)
{
    const struct record_run *run = &record->runs[failed->run];
    const struct histogram *lags = find_times(run, "send_lag");
    const struct histogram *responses = find_times(run, "response_time");
    char text[UNITS_TEXT_MAX];
    uint64_t lag_ns, response_ns;
    fprintf(out, "the lowest rate %sthat failed, %s/s, failed by %s",
            found->rate.value > 0 ? "above it " : "", units_count(text, failed->asked),
            failed->why);
    fprintf(out, "%s%s", run->limited_by[0] ? "; limited by: " : "", run->limited_by);
    if (strncmp(run->limited_by, "client", 6) == 0) {
        fprintf(out, ": the client was the limit, not the server");
    } else if (lags && responses && histogram_percentile(lags, 99, &lag_ns) &&
               histogram_percentile(responses, 99, &response_ns) && lag_ns > response_ns / 2) {
        fprintf(out, "; its starts were late by p99 %s, so the client or its CPU was the limit",
                units_duration(text, (double)lag_ns));
    }
}

static void say(const struct find_max *find_max, const struct record *record,
                struct record_found *found)
{
    char text[UNITS_TEXT_MAX], window[UNITS_TEXT_MAX];
    FILE *out = fmemopen(found->verdict, sizeof found->verdict, "w");
    const struct record_search_probe *failed = nearest(found, false);
    if (!out) {
        return;
    }
    if (found->never) {
        fprintf(out,
                "in %u of %u searches even the lowest rate failed that can be judged in %s, "
                "%s/s; they count as 0. ",
                found->never, found->searches,
                units_exact_duration(window, find_max->run->duration_ns),
                units_count(text, found->lowest));
    }
    if (found->always) {
        fprintf(out, "in %u of %u searches even --rate %s passed: the limit lies above it. ",
                found->always, found->searches, units_count(text, found->highest));
    }
    if (found->given_up) {
        fprintf(out, "%u of %u searches had not come to an end after %d probes. ", found->given_up,
                found->searches, RATE_SEARCH_PROBES);
    }
    if (only_the_rate(found)) {
        fprintf(out, "the limit was never what failed: above, the rate itself was not reached. ");
    }
    if (failed) {
        say_failed(record, found, failed, out);
    }
    fclose(out);
    for (size_t end = strlen(found->verdict); end && found->verdict[end - 1] == ' '; end--) {
        found->verdict[end - 1] = '\0';
    }
}

/* The median of what passed; its interval reaches from what passed to what failed. */
static void conclude(const struct find_max *find_max, const struct seeker *seeker,
                     const struct record *record, struct record_found *found)
{
    size_t n = found->searches;
    const struct rate_search *search = &seeker->search;
    if (n) {
        struct repeat_summary low = repeat_summarise(seeker->low, n);
        struct repeat_summary high = repeat_summarise(seeker->high, n);
        found->rate = (struct interval){low.median.value, low.median.low,
                                        found->always ? (double)NAN : high.median.high};
    } else if (search->low > 0) { /* it was stopped on its way: as far as is known */
        found->rate = (struct interval){search->low, search->low,
                                        isfinite(search->high) ? search->high : NAN};
    }
    say(find_max, record, found);
}

static void announce(const struct drive *drive)
{
    FILE *lines = experiment_lines(drive->course);
    const struct find_max *find_max = drive->find_max;
    const struct run_options *run = find_max->run;
    char one[UNITS_TEXT_MAX], usual[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
    if (!lines) {
        return;
    }
    double probe_ns = (double)(run->duration_ns + run->warmup_ns + AROUND_NS);
    double searches = (double)(find_max->repeat->repeat * drive->count);
    double closed = find_max->upper > 0 ? 0 : (double)drive->count;
    double longest_ns = probe_ns + (double)run->drain_ns;
    fprintf(lines, "find-max: ");
    goal_print(&find_max->options->goal, lines);
    fprintf(lines, ": %s%.0f search%s of at most %d probes of %s each: usually %s, at most %s\n",
            closed > 0 ? "a closed loop for the scale, then " : "", searches,
            searches > 1 ? "es" : "", RATE_SEARCH_PROBES, units_duration(one, probe_ns),
            units_duration(usual, (closed + searches * PROBES_USUAL) * probe_ns),
            units_duration(most, (closed + searches * RATE_SEARCH_PROBES) * longest_ns));
    fflush(lines);
}

/* Memory for what each engine's searches find; false without. */
static bool prepare(struct drive *drive)
{
    const struct find_max *find_max = drive->find_max;
    struct record *record = experiment_record(drive->course);
    bool ready = (drive->seekers = calloc(drive->count, sizeof *drive->seekers)) != NULL;
    record->find_max.goal = find_max->options->goal;
    record->find_max.searches = (uint32_t)find_max->repeat->repeat;
    for (size_t i = 0; i < drive->count && ready; i++) {
        struct seeker *seeker = &drive->seekers[i];
        seeker->low = calloc(find_max->repeat->repeat, sizeof *seeker->low);
        seeker->high = calloc(find_max->repeat->repeat, sizeof *seeker->high);
        ready = seeker->low && seeker->high &&
                record_add_found(record, find_max->run->engines.items[i]);
    }
    return ready;
}

void find_max_drive(struct find_max *find_max, struct experiment_course *course)
{
    struct drive drive = {
        .find_max = find_max, .course = course, .count = find_max->run->engines.count};
    bool ready = prepare(&drive);
    if (ready) {
        announce(&drive);
    }
    for (size_t i = 0; i < drive.count && ready && !drive.ends; i++) {
        find_scale(&drive, i);
    }
    /* Engines in turn, every second time backwards: a drift of the machine meets them alike. */
    for (uint32_t number = 1; number <= find_max->repeat->repeat && ready; number++) {
        for (size_t i = 0; i < drive.count && !drive.ends; i++) {
            size_t engine = number % 2 ? i : drive.count - 1 - i;
            if (!drive.seekers[engine].broken) {
                search(&drive, engine, number);
            }
        }
    }
    for (size_t i = 0; i < drive.count && ready; i++) {
        conclude(find_max, &drive.seekers[i], experiment_record(course), found_of(&drive, i));
    }
    for (size_t i = 0; i < drive.count && drive.seekers; i++) {
        free(drive.seekers[i].low);
        free(drive.seekers[i].high);
    }
    free(drive.seekers);
}
