#include "stats/rate_course.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/units.h"

#define NS 1e9L
#define RATE_MOST 1e9
/* What a window may last. */
#define LENGTH_MOST_NS (366 * UINT64_C(24) * 3600 * 1000000000)
#define LENGTH_LEAST_NS UINT64_C(1000000)
/* Holds one piece of a course as it may be typed. */
#define PIECE_TEXT_MAX 120

static long double slope(const struct rate_piece *piece)
{
    return ((long double)piece->to - (long double)piece->from) / (long double)piece->length_ns;
}

/* Arrivals of a piece until `ns` behind its beginning. */
static long double count_in(const struct rate_piece *piece, long double ns)
{
    return ((long double)piece->from * ns + slope(piece) * ns * ns / 2) / NS;
}

/* What follows from the pieces. */
static void add_up(struct rate_course *course)
{
    uint64_t start_ns = 0;
    long double before = 0;
    course->highest = 0;
    for (uint32_t i = 0; i < course->count; i++) {
        struct rate_piece *piece = &course->pieces[i];
        piece->start_ns = start_ns;
        piece->before = before;
        start_ns += piece->length_ns;
        before += piece->length_ns ? count_in(piece, (long double)piece->length_ns) : 0;
        course->highest = fmax(course->highest, fmax(piece->from, piece->to));
    }
    course->all_ns = start_ns;
}

static int refuse(struct err *error, const char *part, const char *problem)
{
    err_set(error, ERR_USAGE, part, "%s", problem);
    return err_hint(error, "write 1k..50k, or steps and ramps with their times: 1k:5s,1k..20k:10s");
}

static int parse_rate(const char *text, double *rate, struct err *error)
{
    if (units_parse_rate(text, rate) < 0) {
        return refuse(error, text, errno == ERANGE ? "is too large for a rate" : "is not a rate");
    }
    return *rate > RATE_MOST ? refuse(error, text, "is more than 1G a second") : 0;
}

/* RATE[..RATE][:TIME], which is cut into its parts. */
static int parse_piece(char *text, struct rate_piece *piece, struct err *error)
{
    char whole[PIECE_TEXT_MAX];
    char *time = strchr(text, ':');
    snprintf(whole, sizeof whole, "%s", text);
    *piece = (struct rate_piece){0};
    if (time) {
        *time++ = '\0';
        if (units_parse_duration(time, &piece->length_ns) < 0) {
            return refuse(error, whole, "what follows the colon is not a time");
        }
        if (piece->length_ns < LENGTH_LEAST_NS || piece->length_ns > LENGTH_MOST_NS) {
            return refuse(error, whole, "takes less than 1ms or more than 366 days");
        }
    }
    char *dots = strstr(text, "..");
    if (dots) {
        *dots = '\0';
        dots += 2;
    }
    if (!*text || (dots && !*dots)) {
        return refuse(error, whole, "a rate is missing");
    }
    if (parse_rate(text, &piece->from, error) < 0 ||
        parse_rate(dots ? dots : text, &piece->to, error) < 0) {
        return -1;
    }
    return time || dots ? 0 : refuse(error, whole, "for how long?");
}

int rate_course_parse(const char *text, void *member, struct err *error)
{
    struct rate_course *course = member;
    *course = (struct rate_course){0};
    if (!*text) {
        return 0; /* none */
    }
    for (const char *at = text;; at++) {
        char part[PIECE_TEXT_MAX];
        size_t length = strcspn(at, ",");
        if (length >= sizeof part) {
            return refuse(error, "", "a part of it is far too long");
        }
        snprintf(part, sizeof part, "%.*s", (int)length, at);
        if (course->count == RATE_PIECES_MAX) {
            return refuse(error, "", "has more than 64 parts");
        }
        struct rate_piece *piece = &course->pieces[course->count++];
        if (parse_piece(part, piece, error) < 0) {
            return -1;
        }
        if (piece->length_ns == 0 && (course->count > 1 || at[length])) {
            snprintf(part, sizeof part, "%.*s", (int)length, at);
            return refuse(error, part, "one of several parts needs its time");
        }
        at += length;
        if (!*at) {
            break;
        }
    }
    add_up(course);
    if (course->all_ns > LENGTH_MOST_NS) {
        return refuse(error, "", "takes more than 366 days");
    }
    return course->highest > 0 ? 0 : refuse(error, "", "nothing would ever start");
}

void rate_course_print(const void *member, FILE *out)
{
    const struct rate_course *course = member;
    for (uint32_t i = 0; i < course->count; i++) {
        const struct rate_piece *piece = &course->pieces[i];
        char text[UNITS_TEXT_MAX];
        fprintf(out, "%s%s", i ? "," : "", units_exact_rate(text, piece->from));
        if (piece->from < piece->to || piece->from > piece->to || piece->length_ns == 0) {
            fprintf(out, "..%s", units_exact_rate(text, piece->to));
        }
        if (piece->length_ns) {
            fprintf(out, ":%s", units_exact_duration(text, piece->length_ns));
        }
    }
}

/* The longest interval of at most *interval_ns that divides all pieces. */
static void fit_interval(const struct rate_course *course, uint64_t *interval_ns, uint64_t least_ns)
{
    uint64_t common = 0;
    for (uint32_t i = 0; i < course->count; i++) {
        uint64_t other = course->pieces[i].length_ns;
        while (other) {
            uint64_t rest = common % other;
            common = other;
            other = rest;
        }
    }
    uint64_t parts = (common + *interval_ns - 1) / *interval_ns;
    while (parts && common / parts >= least_ns && common % parts) {
        parts++;
    }
    if (parts && common / parts >= least_ns) {
        *interval_ns = common / parts;
    }
}

int rate_course_fit(struct rate_course *course, uint64_t *duration_ns, bool given_duration,
                    uint64_t *interval_ns, bool given_interval, uint64_t least_ns,
                    struct err *error)
{
    char sum[UNITS_TEXT_MAX], window[UNITS_TEXT_MAX];
    if (course->count == 0) {
        return 0;
    }
    if (course->all_ns == 0) {
        course->pieces[0].length_ns = *duration_ns;
        add_up(course);
    }
    if (given_duration && *duration_ns != course->all_ns) {
        err_set(error, ERR_USAGE, "--rate-course", "its times add up to %s, and --duration is %s",
                units_exact_duration(sum, course->all_ns),
                units_exact_duration(window, *duration_ns));
        return err_hint(error, "leave --duration out");
    }
    *duration_ns = course->all_ns;
    if (!given_interval && course->count > 1) {
        fit_interval(course, interval_ns, least_ns);
    }
    return 0;
}

long double rate_course_count(const struct rate_course *course, long double ns)
{
    uint32_t i = 0;
    if (ns <= 0) {
        return (long double)course->pieces[0].from * ns / NS;
    }
    while (i + 1 < course->count && ns >= (long double)course->pieces[i + 1].start_ns) {
        i++;
    }
    const struct rate_piece *piece = &course->pieces[i];
    long double into = ns - (long double)piece->start_ns, length = (long double)piece->length_ns;
    if (into <= length) {
        return piece->before + count_in(piece, into);
    }
    return piece->before + count_in(piece, length) + (long double)piece->to * (into - length) / NS;
}

long double rate_course_time(const struct rate_course *course, long double count, uint32_t *at)
{
    if (count < 0) {
        return count * NS / (long double)course->pieces[0].from;
    }
    while (*at + 1 < course->count && course->pieces[*at + 1].before <= count) {
        ++*at;
    }
    const struct rate_piece *piece = &course->pieces[*at];
    long double start = (long double)piece->start_ns, length = (long double)piece->length_ns;
    long double rest = count - piece->before, all = count_in(piece, length);
    long double from = (long double)piece->from, to = (long double)piece->to;
    if (rest >= all) { /* only behind the last one */
        return to > 0 ? start + length + (rest - all) * NS / to : INFINITY;
    }
    if (rest <= 0) {
        return start;
    }
    /* rest = from t + slope t²/2, by the formula that does not cancel. */
    long double root = from * from + 2 * slope(piece) * rest * NS;
    long double into = 2 * rest * NS / (from + sqrtl(root > 0 ? root : 0));
    return start + (into < length ? into : length);
}
