#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Decimals kept after the point: 10^19 is the last power of ten in 64 bits. */
#define DECIMALS_MAX 19

/* Holds any number that write_digits or units_count writes. */
#define DIGITS_MAX 32

struct unit {
    const char *suffix;
    uint64_t factor;
};

#define KIBI (UINT64_C(1) << 10)
#define MEBI (UINT64_C(1) << 20)
#define GIBI (UINT64_C(1) << 30)
#define TEBI (UINT64_C(1) << 40)
#define KILO UINT64_C(1000)
#define MEGA UINT64_C(1000000)
#define GIGA UINT64_C(1000000000)
#define TERA UINT64_C(1000000000000)

/* What is read. Suffixes are compared without regard to case: none of these units has a sibling
 * that differs in case only. "kB" is absent on purpose: it means 1,000 to some and 1,024 to others.
 */
static const struct unit size_units[] = {
    {"", 1},       {"b", 1},     {"k", KIBI},   {"ki", KIBI},  {"kib", KIBI},
    {"m", MEBI},   {"mi", MEBI}, {"mib", MEBI}, {"g", GIBI},   {"gi", GIBI},
    {"gib", GIBI}, {"t", TEBI},  {"ti", TEBI},  {"tib", TEBI}, {NULL, 0},
};
static const struct unit si_units[] = {
    {"", 1}, {"k", KILO}, {"M", MEGA}, {"G", GIGA}, {"T", TERA}, {NULL, 0},
};
static const struct unit duration_units[] = {
    {"", GIGA},         {"ns", 1},   {"us", KILO},     {"\u00b5s", KILO}, /* micro sign */
    {"\u03bcs", KILO}, /* Greek small letter mu */
    {"ms", MEGA},       {"s", GIGA}, {"m", 60 * GIGA}, {"min", 60 * GIGA},
    {"h", 3600 * GIGA}, {NULL, 0},
};

/* A number as typed: (whole + fraction / scale) * factor. */
struct decimal {
    uint64_t whole, fraction, scale, factor;
};

static int refuse(int number)
{
    errno = number;
    return -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int scan_whole(const char **text, uint64_t *whole)
{
    *whole = 0;
    for (; is_digit(**text); (*text)++) {
        if (__builtin_mul_overflow(*whole, 10, whole) ||
            __builtin_add_overflow(*whole, (uint64_t)(**text - '0'), whole)) {
            return refuse(ERANGE);
        }
    }
    return 0;
}

/* The digits after the point; trailing zeros mean nothing and do not count. */
static int scan_fraction(const char **text, struct decimal *decimal)
{
    const char *end = *text;
    while (is_digit(*end)) {
        end++;
    }
    const char *last = end;
    while (last > *text && last[-1] == '0') {
        last--;
    }
    if (end == *text || last - *text > DECIMALS_MAX) {
        return refuse(EINVAL);
    }
    for (; *text < last; (*text)++) {
        decimal->fraction = decimal->fraction * 10 + (uint64_t)(**text - '0');
        decimal->scale *= 10;
    }
    *text = end;
    return 0;
}

/* Reads digits[.digits][suffix]: no sign, space, exponent, hexadecimal, "inf" or "nan". */
static int scan(const char *text, const struct unit *units, struct decimal *decimal)
{
    *decimal = (struct decimal){.scale = 1};
    if (!is_digit(text[0]) && !(text[0] == '.' && is_digit(text[1]))) {
        return refuse(EINVAL);
    }
    /* Trailing junk is worse than a number that is too large: look at the suffix first. */
    const char *suffix = text + strspn(text, "0123456789.");
    for (; units->suffix != NULL && strcasecmp(suffix, units->suffix) != 0; units++) {
    }
    if (units->suffix == NULL) {
        return refuse(EINVAL);
    }
    decimal->factor = units->factor;
    if (scan_whole(&text, &decimal->whole) != 0) {
        return -1;
    }
    if (*text == '.') {
        text++;
        if (scan_fraction(&text, decimal) != 0) {
            return -1;
        }
    }
    return text == suffix ? 0 : refuse(EINVAL);
}

/* A whole number, exactly: 1.5k is 1,500 but 1.0001k is refused. */
static int parse_whole(const char *text, const struct unit *units, uint64_t *value)
{
    struct decimal decimal;
    if (scan(text, units, &decimal) != 0) {
        return -1;
    }
    unsigned __int128 parts = (unsigned __int128)decimal.fraction * decimal.factor;
    if (parts % decimal.scale != 0) {
        return refuse(EINVAL);
    }
    uint64_t result;
    if (__builtin_mul_overflow(decimal.whole, decimal.factor, &result) ||
        __builtin_add_overflow(result, (uint64_t)(parts / decimal.scale), &result)) {
        return refuse(ERANGE);
    }
    *value = result;
    return 0;
}

int units_parse_count(const char *text, uint64_t *value)
{
    return parse_whole(text, si_units, value);
}

int units_parse_bytes(const char *text, double *bytes)
{
    char compact[UNITS_TEXT_MAX];
    struct decimal decimal;
    size_t length = strlen(text);
    if (length > 2 && strcmp(text + length - 2, "/s") == 0) {
        length -= 2;
    }
    size_t digits = strspn(text, "0123456789."), blank = strspn(text + digits, " ");
    if (length >= sizeof compact || digits + blank > length) {
        return refuse(EINVAL);
    }
    snprintf(compact, sizeof compact, "%.*s%.*s", (int)digits, text, (int)(length - digits - blank),
             text + digits + blank);
    if (scan(compact, size_units, &decimal) != 0) {
        return -1;
    }
    *bytes = ((double)decimal.whole + (double)decimal.fraction / (double)decimal.scale) *
             (double)decimal.factor;
    return 0;
}

int units_parse_size(const char *text, uint64_t *bytes)
{
    return parse_whole(text, size_units, bytes);
}

int units_parse_duration(const char *text, uint64_t *ns)
{
    return parse_whole(text, duration_units, ns);
}

int units_parse_rate(const char *text, double *per_second)
{
    struct decimal decimal;
    if (scan(text, si_units, &decimal) != 0) {
        return -1;
    }
    uint64_t whole;
    if (__builtin_mul_overflow(decimal.whole, decimal.factor, &whole)) {
        return refuse(ERANGE);
    }
    unsigned __int128 parts = (unsigned __int128)decimal.fraction * decimal.factor;
    *per_second = (double)((long double)whole + (long double)parts / (long double)decimal.scale);
    return 0;
}

/* Writes three significant digits without an exponent ("5.31", "12.0", "1010"). Whole values of
 * an unscaled unit are counts and carry no decimals ("7"). */
static void write_digits(char *to, size_t size, double value, bool unscaled)
{
    if (value == 0 || (unscaled && value < 1e15 && value == floor(value))) {
        snprintf(to, size, "%.0f", value);
        return;
    }
    /* The exponent after rounding: 9.996 is written as 10.0. */
    char rounded[DIGITS_MAX];
    snprintf(rounded, sizeof rounded, "%.2e", value);
    int exponent = 0;
    sscanf(strchr(rounded, 'e') + 1, "%d", &exponent);
    if (exponent > 15 || exponent < -3) {
        snprintf(to, size, "%s", rounded);
        return;
    }
    snprintf(to, size, "%.*f", exponent < 2 ? 2 - exponent : 0, value);
}

/* Sets *to and returns true where the value is none that digits can show. */
static bool write_odd(char *to, double value)
{
    if (isfinite(value)) {
        return false;
    }
    snprintf(to, UNITS_TEXT_MAX, "%s", isnan(value) ? "-" : value > 0 ? "inf" : "-inf");
    return true;
}

const char *units_count(char *to, double value)
{
    if (write_odd(to, value)) {
        return to;
    }
    char digits[DIGITS_MAX];
    const char *sign = value < 0 ? "-" : "";
    value = fabs(value);
    if (value < 99.95 || value >= 1e18) {
        write_digits(digits, sizeof digits, value, true);
        snprintf(to, UNITS_TEXT_MAX, "%s%s", sign, digits);
        return to;
    }
    size_t length = (size_t)snprintf(digits, sizeof digits, "%.0f", value);
    size_t at = (size_t)snprintf(to, UNITS_TEXT_MAX, "%s", sign);
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            to[at++] = ',';
        }
        to[at++] = digits[i];
    }
    to[at] = '\0';
    return to;
}

struct scale {
    const char *prefix;
    double factor;
};

/* The largest scale that the value reaches once it is rounded to three digits. */
static const struct scale *pick_scale(const struct scale *scales, size_t count, double value)
{
    size_t i = count - 1;
    while (i > 0) {
        double step = scales[i].factor / scales[i - 1].factor;
        double rounded_up = step > 1000 ? step - 0.5 : step == 1000 ? 999.5 : step;
        if (value >= rounded_up * scales[i - 1].factor) {
            break;
        }
        i--;
    }
    return &scales[i];
}

static const char *write_scaled(char *to, const struct scale *scales, size_t count, double value,
                                const char *unit)
{
    if (write_odd(to, value)) {
        return to;
    }
    char digits[DIGITS_MAX];
    const char *sign = value < 0 ? "-" : "";
    const struct scale *scale = pick_scale(scales, count, fabs(value));
    write_digits(digits, sizeof digits, fabs(value) / scale->factor, scale == scales);
    const char *space = scale->prefix[0] != '\0' || unit[0] != '\0' ? " " : "";
    snprintf(to, UNITS_TEXT_MAX, "%s%s%s%s%s", sign, digits, space, scale->prefix, unit);
    return to;
}

const char *units_si(char *to, double value, const char *unit)
{
    static const struct scale scales[] = {
        {"", 1}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"E", 1e18},
    };
    return write_scaled(to, scales, sizeof scales / sizeof scales[0], value, unit);
}

const char *units_bytes(char *to, double bytes)
{
    static const struct scale scales[] = {
        {"B", 1},        {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
        {"TiB", 0x1p40}, {"PiB", 0x1p50}, {"EiB", 0x1p60},
    };
    return write_scaled(to, scales, sizeof scales / sizeof scales[0], bytes, "");
}

const char *units_duration(char *to, double ns)
{
    static const struct scale scales[] = {
        {"ns", 1}, {"\u00b5s", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}, {"h", 3600e9},
    };
    /* Seconds are the unit of every option and table: minutes only where seconds need four
     * digits. */
    size_t count = fabs(ns) < 999.5e9 ? 4 : sizeof scales / sizeof scales[0];
    return write_scaled(to, scales, count, ns, "");
}

/* Writes value / factor exactly; false where that takes more decimals than can be read back. */
static bool write_exact(char *to, uint64_t value, const struct unit *unit)
{
    uint64_t rest = value % unit->factor;
    size_t at = (size_t)snprintf(to, UNITS_TEXT_MAX, "%" PRIu64, value / unit->factor);
    if (rest != 0) {
        to[at++] = '.';
    }
    for (int i = 0; rest != 0; i++) {
        if (i == DECIMALS_MAX) {
            return false;
        }
        unsigned __int128 shifted = (unsigned __int128)rest * 10;
        to[at++] = (char)('0' + (char)(shifted / unit->factor));
        rest = (uint64_t)(shifted % unit->factor);
    }
    snprintf(to + at, UNITS_TEXT_MAX - at, "%s", unit->suffix);
    return true;
}

/* The shortest of all units that the value reaches; the larger unit where two are as short. */
static const char *write_shortest(char *to, uint64_t value, const struct unit *units)
{
    char candidate[UNITS_TEXT_MAX];
    to[0] = '\0';
    for (; units->suffix != NULL; units++) {
        if (value >= units->factor && write_exact(candidate, value, units) &&
            (to[0] == '\0' || strlen(candidate) <= strlen(to))) {
            memcpy(to, candidate, UNITS_TEXT_MAX);
        }
    }
    return to;
}

const char *units_exact_count(char *to, uint64_t value)
{
    if (value == 0) {
        snprintf(to, UNITS_TEXT_MAX, "0");
        return to;
    }
    return write_shortest(to, value, si_units);
}

const char *units_exact_size(char *to, uint64_t bytes)
{
    static const struct unit written[] = {
        {"", 1}, {"k", KIBI}, {"m", MEBI}, {"g", GIBI}, {"t", TEBI}, {NULL, 0},
    };
    if (bytes == 0) {
        snprintf(to, UNITS_TEXT_MAX, "0");
        return to;
    }
    return write_shortest(to, bytes, written);
}

const char *units_exact_duration(char *to, uint64_t ns)
{
    static const struct unit written[] = {
        {"ns", 1},        {"us", KILO},       {"ms", MEGA}, {"s", GIGA},
        {"m", 60 * GIGA}, {"h", 3600 * GIGA}, {NULL, 0},
    };
    if (ns == 0) {
        snprintf(to, UNITS_TEXT_MAX, "0s");
        return to;
    }
    return write_shortest(to, ns, written);
}

const char *units_exact_rate(char *to, double per_second)
{
    /* Fixed notation with as few decimals as bring the same number back. */
    for (int decimals = 0; decimals < DECIMALS_MAX; decimals++) {
        double back;
        int length = snprintf(to, UNITS_TEXT_MAX, "%.*f", decimals, per_second);
        if (length < UNITS_TEXT_MAX && units_parse_rate(to, &back) == 0 && back == per_second) {
            return to;
        }
    }
    snprintf(to, UNITS_TEXT_MAX, "%.*f", DECIMALS_MAX, per_second);
    return to;
}
