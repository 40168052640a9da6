#include "stats/hdr_text.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "stats/hdr_codec.h"

#define NS_PER_SECOND 1e9
/* Writers give the largest value of a line in milliseconds, and readers take it from the histogram:
 * where values are no times it is a millionth all the same. */
#define LOG_UNIT 1e6

#define STEPS_PER_HALVING 5

void hdr_log_begin(FILE *out, uint64_t start_ns, const char *by)
{
    time_t seconds = (time_t)(start_ns / 1000000000);
    struct tm broken_down;
    char date[48] = "";
    if (gmtime_r(&seconds, &broken_down)) {
        strftime(date, sizeof date, ", %a %b %d %H:%M:%S UTC %Y", &broken_down);
    }
    double start = (double)start_ns / NS_PER_SECOND;
    fprintf(out, "#[Logged with %s]\n", by);
    fputs("#[Histogram log format version 1.3]\n", out);
    fprintf(out, "#[StartTime: %.3f (seconds since epoch)%s]\n", start, date);
    fprintf(out, "#[BaseTime: %.3f (seconds since epoch)]\n", start);
    fputs("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
          "\"Interval_Compressed_Histogram\"\n",
          out);
}

int hdr_log_line(FILE *out, const char *tag, uint64_t start_ns, uint64_t length_ns,
                 const struct histogram *histogram)
{
    char *encoded = hdr_encode(histogram);
    if (!encoded) {
        return -1;
    }
    if (tag && *tag) {
        fputs("Tag=", out);
        for (; *tag; tag++) {
            fputc(isgraph((unsigned char)*tag) && *tag != ',' ? *tag : '_', out);
        }
        fputc(',', out);
    }
    fprintf(out, "%.6f,%.6f,%.6f,%s\n", (double)start_ns / NS_PER_SECOND,
            (double)length_ns / NS_PER_SECOND, (double)histogram->maximum / LOG_UNIT, encoded);
    free(encoded);
    return 0;
}

/* The percentile after this one: with every halving of the distance to 100 % steps become half as
 * long. */
static double next_percentile(double percentile)
{
    double halvings = floor(log(100 / (100 - percentile)) / log(2)) + 1;
    return percentile + 100 / (STEPS_PER_HALVING * pow(2, halvings));
}

/* HdrHistogram rounds what lies in the middle of two texts up, C to the even one. */
static double nudged(double value)
{
    return nextafter(value, INFINITY);
}

static void print_step(FILE *out, uint64_t value, double unit, double percentile, uint64_t count)
{
    fprintf(out, "%12.*f %2.12f %10lu", HISTOGRAM_DIGITS, (double)value / unit,
            nudged(percentile / 100), count);
    if (percentile < 100) {
        fprintf(out, " %14.2f", nudged(1 / (1 - percentile / 100)));
    }
    fputc('\n', out);
}

void hdr_distribution(FILE *out, const struct histogram *histogram, double unit)
{
    uint64_t total = histogram_count(histogram), sum = 0, low, high, count;
    double percentile = 0;
    uint32_t index = 0;
    fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    while (histogram_next(histogram, &index, &low, &high, &count)) {
        sum += count;
        bool last = sum == total;
        /* Several steps may end in one bucket; what reaches the whole is said once, as 100 %. */
        double reached = 100 * (double)sum / (double)total;
        bool stepped = false;
        while (percentile <= reached && !(last && stepped)) {
            print_step(out, high, unit, percentile, sum);
            percentile = next_percentile(percentile);
            stepped = true;
        }
        if (last) {
            print_step(out, high, unit, 100, sum);
        }
    }
    uint64_t most = total ? histogram_highest_equivalent(histogram->maximum) : 0;
    fprintf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", histogram_mean(histogram) / unit,
            histogram_deviation(histogram) / unit);
    fprintf(out, "#[Max     = %12.3f, Total count    = %12lu]\n", (double)most / unit, total);
    fprintf(out, "#[Buckets = %12d, SubBuckets     = %12d]\n", HISTOGRAM_BUCKETS,
            1 << HISTOGRAM_SUB_BUCKET_BITS);
}
