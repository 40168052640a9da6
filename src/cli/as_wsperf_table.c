/* The table of wsperf's driver over any number of result files. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/as_wsperf.h"

#define PIECE_BYTES (64 << 10)

int as_wsperf_totals_open(struct as_wsperf_totals *totals, struct err *error)
{
    *totals = (struct as_wsperf_totals){.minimum_us = UINT64_MAX};
    totals->exact = calloc(AS_WSPERF_EXACT_US, sizeof *totals->exact);
    totals->longer = histogram_new();
    if (!totals->exact || !totals->longer) {
        as_wsperf_totals_close(totals);
        return err_system(error, ENOMEM, "results", "cannot be counted");
    }
    return 0;
}

void as_wsperf_totals_close(struct as_wsperf_totals *totals)
{
    free(totals->exact);
    histogram_free(totals->longer);
    totals->exact = NULL;
    totals->longer = NULL;
}

void as_wsperf_add_connection(struct as_wsperf_totals *totals,
                              const struct wsperf_connection *connection)
{
    if (connection->failed) {
        totals->fail++;
        return;
    }
    uint64_t open_us = (uint64_t)connection->open_us;
    totals->success++;
    totals->sum_us += open_us;
    totals->sum_of_squares += (as_wsperf_wide)open_us * open_us;
    totals->minimum_us = open_us < totals->minimum_us ? open_us : totals->minimum_us;
    totals->maximum_us = open_us > totals->maximum_us ? open_us : totals->maximum_us;
    if (open_us < AS_WSPERF_EXACT_US) {
        totals->exact[open_us]++;
    } else {
        histogram_record(totals->longer, open_us, 1);
    }
}

void as_wsperf_add_head(struct as_wsperf_totals *totals, const struct wsperf_head *head)
{
    if (!totals->any || head->started_ns < totals->started_ns) {
        totals->started_ns = head->started_ns;
    }
    if (!totals->any || head->ended_ns > totals->ended_ns) {
        totals->ended_ns = head->ended_ns;
    }
    totals->any = true;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int wrong(const struct wsperf_reader *reader, const char *path, struct err *error)
{
    return err_set(error, ERR_SYSTEM, path, "%s (byte %" PRIu64 ", line %" PRIu64 ")",
                   wsperf_error_text(-reader->error), reader->position + 1, reader->line + 1);
}

static int add_piece(struct as_wsperf_totals *totals, struct wsperf_reader *reader,
                     const char *piece, size_t length)
{
    while (length) {
        bool found;
        ssize_t taken = wsperf_read(reader, piece, length, &found);
        if (taken < 0) {
            return -1;
        }
        if (found) {
            as_wsperf_add_connection(totals, &reader->connection);
        }
        piece += taken;
        length -= (size_t)taken;
    }
    return 0;
}

int as_wsperf_load(struct as_wsperf_totals *totals, const char *path, struct err *error)
{
    struct wsperf_reader reader = {0};
    int result = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return err_system(error, errno, path, "cannot be opened");
    }
    char *piece = malloc(PIECE_BYTES);
    if (!piece) {
        result = err_system(error, ENOMEM, path, "cannot be read");
    }
    for (bool more = true; more && result == 0;) {
        ssize_t got = read(file, piece, PIECE_BYTES);
        if (got < 0 && errno != EINTR) {
            result = err_system(error, errno, path, "cannot be read");
        } else if (got > 0 && add_piece(totals, &reader, piece, (size_t)got) < 0) {
            result = wrong(&reader, path, error);
        }
        more = got != 0;
    }
    if (result == 0 && wsperf_end(&reader) < 0) {
        result = wrong(&reader, path, error);
    }
    if (result == 0) {
        as_wsperf_add_head(totals, &reader.head);
    }
    free(piece);
    close(file);
    return result;
}

/* ---- figures --------------------------------------------------------------------------------- */

uint64_t as_wsperf_at(const struct as_wsperf_totals *totals, uint64_t place)
{
    uint64_t before = 0, longest_us = totals->maximum_us;
    for (uint32_t value = 0; value < AS_WSPERF_EXACT_US && value <= longest_us; value++) {
        before += totals->exact[value];
        if (before > place) {
            return value;
        }
    }
    for (uint32_t i = 0; i < HISTOGRAM_COUNTS; i++) {
        before += totals->longer->counts[i];
        if (before > place) {
            uint64_t value = histogram_highest_equivalent(histogram_value(i));
            return value < longest_us ? value : longest_us;
        }
    }
    return longest_us;
}

double as_wsperf_mean_us(const struct as_wsperf_totals *totals)
{
    return totals->success ? (double)((long double)totals->sum_us / totals->success) : (double)NAN;
}

double as_wsperf_deviation_us(const struct as_wsperf_totals *totals)
{
    uint64_t count = totals->success;
    as_wsperf_wide scaled, squared;
    if (count < 2) {
        return (double)NAN;
    }
    /* In whole numbers, or the difference of two large ones would be lost; too large for that they
     * are only where times are of days. */
    if (__builtin_mul_overflow(totals->sum_of_squares, count, &scaled) ||
        __builtin_mul_overflow(totals->sum_us, totals->sum_us, &squared)) {
        long double mean = (long double)totals->sum_us / count;
        long double squares = (long double)totals->sum_of_squares / count - mean * mean;
        return squares > 0 ? (double)sqrtl(squares * count / (count - 1)) : 0;
    }
    return (double)sqrtl((long double)(scaled - squared) / count / (count - 1));
}

/* Where the value lies that one in `part` reach or exceed: as the program counts it, at least one.
 */
static uint64_t place_of(uint64_t count, uint64_t part)
{
    return count - (count / part + (count % part != 0));
}

static void print_time(FILE *out, const char *label, double time_us)
{
    if (isfinite(time_us)) {
        fprintf(out, "%8s: %9.1f ms\n", label, time_us / 1000);
    } else {
        fprintf(out, "%8s: %9s ms\n", label, "n/a");
    }
}

static void print_times(const struct as_wsperf_totals *totals, FILE *out)
{
    static const struct {
        const char *label;
        uint64_t part;
    } tails[] = {
        {"q90   ", 10}, {"q95   ", 20}, {"q99   ", 100}, {"q99.9 ", 1000}, {"q99.99", 10000},
    };
    uint64_t count = totals->success;
    double none = (double)NAN;
    print_time(out, "Min", count ? (double)totals->minimum_us : none);
    print_time(out, "SD", as_wsperf_deviation_us(totals));
    print_time(out, "Avg", as_wsperf_mean_us(totals));
    print_time(out, "Median", count ? (double)as_wsperf_at(totals, count / 2) : none);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        uint64_t place = count ? place_of(count, tails[i].part) : 0;
        print_time(out, tails[i].label, count ? (double)as_wsperf_at(totals, place) : none);
    }
    print_time(out, "Max", count ? (double)totals->maximum_us : none);
}

void as_wsperf_print(const struct as_wsperf_totals *totals, FILE *out)
{
    uint64_t total = totals->success + totals->fail;
    /* No file ends before it starts. */
    double seconds = (double)((uint64_t)totals->ended_ns - (uint64_t)totals->started_ns) / 1e9;
    fprintf(out,
            "\nAggregate results (WebSocket Opening+Closing Handshake)\n\n"
            "          Duration: %9.1f s\n"
            "             Total: %9" PRIu64 "\n"
            "           Success: %9" PRIu64 "\n"
            "              Fail: %9" PRIu64 "\n",
            seconds, total, totals->success, totals->fail);
    if (total) {
        fprintf(out, "            Fail %%: %9.2f\n", 100 * (double)totals->fail / (double)total);
    } else {
        fprintf(out, "            Fail %%: %9s\n", "n/a");
    }
    if (seconds > 0) {
        fprintf(out, "    Handshakes/sec: %9.0f\n\n", (double)totals->success / seconds);
    } else {
        fprintf(out, "    Handshakes/sec: %9s\n\n", "n/a");
    }
    print_times(totals, out);
    fputs("\n\n", out);
}

int as_wsperf_analyze(char *const *files, size_t count, struct err *error)
{
    struct as_wsperf_totals totals;
    int result = as_wsperf_totals_open(&totals, error);
    for (size_t i = 0; i < count && result == 0; i++) {
        printf("Loading wsperf result file %s ..\n", files[i]);
        fflush(stdout);
        result = as_wsperf_load(&totals, files[i], error);
    }
    if (result == 0) {
        as_wsperf_print(&totals, stdout);
        puts("Analyze done.");
    }
    as_wsperf_totals_close(&totals);
    return result;
}
