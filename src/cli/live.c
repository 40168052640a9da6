#include "cli/live.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/plain.h"
#include "base/units.h"

#define HISTORY 256  /* rates that the graph can show: as many as a wide terminal has columns */
#define LINES_MOST 4 /* of the block */
#define COLUMNS_MOST 160
#define COLUMNS_USUAL 80 /* of a terminal that does not say */
#define LINE_BYTES (4 * COLUMNS_MOST + 256)
/* A block that was not redrawn for so long may not be where it was: the program was stopped. */
#define STALE_NS (2 * NS_PER_SECOND)

struct live {
    int file;
    bool utf8;
    double rates[HISTORY]; /* a ring, the newest at rate_count - 1 */
    size_t rate_count;
    const void *workload; /* and label of the run that they are of */
    char label[48];
    /* What stands on the terminal: */
    size_t lines;
    size_t columns[LINES_MOST]; /* that each took */
    uint64_t drawn_ns;
};

/* ---- whether, and where ---------------------------------------------------------------------- */

static bool can_redraw(int file)
{
    const char *terminal = getenv("TERM");
    return isatty(file) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

/* As the environment says: a program does not know what its terminal takes. */
static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) {
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
        }
    }
    return false;
}

int live_open(struct live **to, enum live_choice choice, bool report, bool quiet, struct err *error)
{
    const char *plain = getenv("NO_COLOR");
    int file = report ? STDOUT_FILENO : STDERR_FILENO;
    bool wanted =
        choice == LIVE_AUTO ? !quiet && !(plain && *plain) && can_redraw(file) : choice == LIVE_ON;
    *to = NULL;
    if (!wanted) {
        return 0;
    }
    if (!isatty(file)) {
        file = STDERR_FILENO;
        if (!isatty(file)) {
            err_set(error, ERR_USAGE, "--live",
                    "neither standard output nor standard error is a terminal");
            return err_hint(error, "leave it out: there is a line for each interval");
        }
    }
    struct live *live = calloc(1, sizeof *live);
    if (!live) {
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    live->file = file;
    live->utf8 = speaks_utf8();
    *to = live;
    return 0;
}

void live_close(struct live *live)
{
    live_clear(live);
    free(live);
}

bool live_takes_output(const struct live *live)
{
    return live && live->file == STDOUT_FILENO;
}

/* ---- what the block says --------------------------------------------------------------------- */

/* A line that is being made; what does not fit is left out. */
struct line {
    char text[LINE_BYTES];
    size_t bytes, columns, most;
};

/* Appends text, a column for each character. */
static void put_text(struct line *line, const char *text)
{
    while (*text && line->columns < line->most) {
        size_t length = plain_control(text) ? 0 : plain_utf8(text);
        if (line->bytes + 4 >= sizeof line->text) {
            return;
        }
        memcpy(line->text + line->bytes, length ? text : "?", length ? length : 1);
        line->bytes += length ? length : 1;
        line->columns++;
        text += length ? length : 1;
    }
}

__attribute__((format(printf, 2, 3))) static void put(struct line *line, const char *format, ...)
{
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    put_text(line, text);
}

/* The latest rates as bars of eight heights, the highest of them the full one. */
static void put_graph(struct line *line, const struct live *live, size_t columns)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const letters[] = {"_", ".", ",", "-", "=", "+", "*", "#"};
    size_t kept = live->rate_count < HISTORY ? live->rate_count : HISTORY;
    size_t shown = kept < columns ? kept : columns;
    double most = 0;
    for (size_t i = live->rate_count - shown; i < live->rate_count; i++) {
        double rate = live->rates[i % HISTORY];
        most = rate > most ? rate : most;
    }
    for (size_t i = live->rate_count - shown; i < live->rate_count; i++) {
        double height = most > 0 ? live->rates[i % HISTORY] / most * 7 + 0.5 : 0;
        put_text(line, (live->utf8 ? bars : letters)[(size_t)height]);
    }
}

static void put_rate(struct line *line, const struct live *live, const struct run_look *look,
                     bool known, double rate)
{
    const struct metric *metric = &look->workload->metrics[0];
    char text[UNITS_TEXT_MAX];
    if (!known) {
        put(line, "  - %s", metric->title);
    } else if (strcmp(metric->unit, "bytes/s") == 0) {
        put(line, "  %s/s", units_bytes(text, rate));
    } else if (strcmp(metric->unit, "bit/s") == 0) {
        put(line, "  %s", units_si(text, rate, metric->unit));
    } else {
        put(line, "  %s %s", units_count(text, rate), metric->title);
    }
    put_text(line, "  ");
    while (line->columns < 26 && line->columns < line->most) {
        put_text(line, " "); /* so that the graph stays where it is */
    }
    put_graph(line, live, line->most - line->columns);
}

static void put_head(struct line *line, const struct run_look *look)
{
    char text[UNITS_TEXT_MAX];
    put(line, "%s: ", look->label);
    if (look->stage == RUN_BEFORE) {
        put_text(line, "warming up");
    } else if (look->stage == RUN_AFTER) {
        put_text(line, "winding down");
    } else {
        put(line, "%.1f s", (double)look->elapsed_ns / 1e9);
    }
    if (look->count && look->stage == RUN_WINDOW) {
        double share = (double)look->done / (double)look->count;
        put(line, ", %.0f %% of %s", share < 1 ? 100 * share : 100,
            look->workload->bulk ? units_bytes(text, (double)look->count)
                                 : units_count(text, (double)look->count));
    } else if (look->left_ns) {
        put(line, ", %.1f s left", (double)look->left_ns / 1e9);
    }
    if (look->observed) {
        put_text(line, ", observed");
    }
}

static void put_latencies(struct line *line, const struct run_look *look)
{
    static const struct {
        double percentile;
        const char *text;
    } shown[] = {{50, "p50"}, {90, "p90"}, {99, "p99"}, {99.9, "p99.9"}};
    char text[UNITS_TEXT_MAX];
    bool time = strcmp(look->workload->client->histograms[0].unit, "ns") == 0;
    for (size_t i = 0; i < sizeof shown / sizeof *shown && time; i++) {
        uint64_t value;
        bool known = histogram_percentile(look->latencies, shown[i].percentile, &value);
        put(line, "  %s %s", shown[i].text, known ? units_duration(text, (double)value) : "-");
    }
}

static void put_busy(struct line *line, const char *whose, double busy)
{
    if (busy < 0) {
        put(line, "  %s -", whose);
    } else {
        put(line, "  %s %.0f %%", whose, 100 * busy);
    }
}

static void put_ends(struct line *line, const struct run_look *look)
{
    char text[UNITS_TEXT_MAX];
    put_text(line, "  CPU");
    put_busy(line, "client", look->client_busy);
    put_busy(line, "server", look->server_busy);
    put(line, "  errors %s", units_count(text, (double)look->errors));
}

/* ---- drawing --------------------------------------------------------------------------------- */

static struct winsize window_of(int file)
{
    struct winsize window = {0};
    if (ioctl(file, TIOCGWINSZ, &window) < 0 || window.ws_col == 0) {
        window = (struct winsize){.ws_col = COLUMNS_USUAL, .ws_row = 24};
    }
    return window;
}

/* Lines that the block takes on a terminal of this width: one that became narrower has wrapped
 * them. */
static size_t lines_taken(const struct live *live, size_t width)
{
    size_t lines = 0;
    for (size_t i = 0; i < live->lines; i++) {
        lines += live->columns[i] > width ? (live->columns[i] + width - 1) / width : 1;
    }
    return lines;
}

/* All at once: a terminal never shows half of it. */
static void write_out(int file, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(file, text, length);
        if (written <= 0) {
            return; /* nothing that a run would have to end for */
        }
        text += written;
        length -= (size_t)written;
    }
}

static bool has_room(int file)
{
    struct pollfd row = {.fd = file, .events = POLLOUT};
    return poll(&row, 1, 0) == 1 && row.revents & POLLOUT;
}

/* What is written at once. */
struct update {
    char text[LINES_MOST * (LINE_BYTES + 8) + 256];
    size_t bytes;
};

static void add(struct update *update, const char *text, size_t bytes)
{
    memcpy(update->text + update->bytes, text, bytes);
    update->bytes += bytes;
}

#define ADD(update, literal) add(update, literal, sizeof(literal) - 1)

/* To the block's first line from below it, where the cursor stands between two redraws. */
static void add_way_up(struct update *update, size_t lines)
{
    char text[32];
    if (lines) {
        add(update, text, (size_t)snprintf(text, sizeof text, "\r\033[%zuA", lines));
    }
}

/* Line by line: where the block begins the screen, a terminal may take erasing all from there on
 * for the end of a page, and keep that. */
static void draw(struct live *live, const struct line *lines, size_t count, size_t width)
{
    struct update update = {.bytes = 0};
    uint64_t now_ns = clock_now_ns();
    if (now_ns - live->drawn_ns > STALE_NS) {
        live->lines = 0;
    }
    size_t before = lines_taken(live, width);
    ADD(&update, "\033[?25l");
    add_way_up(&update, before);
    for (size_t i = 0; i < count; i++) {
        add(&update, lines[i].text, lines[i].bytes);
        ADD(&update, "\033[K\r\n");
        live->columns[i] = lines[i].columns;
    }
    if (before > count) {
        ADD(&update, "\033[J");
    }
    ADD(&update, "\033[?25h");
    write_out(live->file, update.text, update.bytes);
    live->lines = count;
    live->drawn_ns = now_ns;
}

/* Another run has a graph of its own. */
static void keep_rate(struct live *live, const struct run_look *look, double rate)
{
    if (live->workload != look->workload || strcmp(live->label, look->label) != 0) {
        live->rate_count = 0;
        live->workload = look->workload;
        snprintf(live->label, sizeof live->label, "%s", look->label);
    }
    live->rates[live->rate_count++ % HISTORY] = rate > 0 ? rate : 0;
}

void live_look(struct live *live, const struct run_look *look)
{
    double rate = 0;
    const struct metric *metric = &look->workload->metrics[0];
    const uint64_t *counters = metric->kind == METRIC_LEVEL ? look->so_far : look->counters;
    bool known = metric_compute(metric, counters, look->since_ns, &rate);
    keep_rate(live, look, known ? rate : 0);
    if (!has_room(live->file)) {
        return;
    }
    struct winsize window = window_of(live->file);
    /* The last column stays free: some terminals wrap as soon as it is written. */
    size_t most = window.ws_col > 1 ? window.ws_col - 1u : 1;
    struct line lines[LINES_MOST];
    for (size_t i = 0; i < LINES_MOST; i++) {
        lines[i].bytes = lines[i].columns = 0;
        lines[i].most = most < COLUMNS_MOST ? most : COLUMNS_MOST;
    }
    put_head(&lines[0], look);
    put_rate(&lines[1], live, look, known, rate);
    put_latencies(&lines[2], look);
    put_ends(&lines[3], look);
    size_t room = window.ws_row > 1 ? window.ws_row - 1u : 1;
    draw(live, lines, room < LINES_MOST ? room : LINES_MOST, window.ws_col);
}

void live_clear(struct live *live)
{
    if (live && live->lines) {
        struct update update = {.bytes = 0};
        size_t lines = lines_taken(live, window_of(live->file).ws_col);
        ADD(&update, "\r");
        for (size_t i = 0; i < lines && i < 4 * LINES_MOST; i++) {
            ADD(&update, "\033[A\033[2K");
        }
        write_out(live->file, update.text, update.bytes);
        live->lines = 0;
        live->rate_count = 0;
    }
}
