/* Lines of `sonde as sockperf`, as sockperf 3.7 words and colours them. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "cli/as_sockperf.h"

#define COLOUR "\033[2;35m"
#define RED "\033[31m"
#define PLAIN "\033[0m"
#define FRAGMENT_BYTES 1472 /* payload of a datagram in one packet of Ethernet */

void as_sockperf_print_head(const struct as_sockperf_options *options, FILE *out)
{
    fprintf(out, "sockperf: " COLOUR "== version #3.7-no.git == " PLAIN "\n");
    if (options->mode == AS_SOCKPERF_SERVER) {
        fprintf(out, "sockperf: [SERVER] listen on:");
    } else {
        fprintf(out, "sockperf[CLIENT] send on:");
    }
    if (options->mode != AS_SOCKPERF_SERVER && options->mode != AS_SOCKPERF_THROUGHPUT) {
        fprintf(out, "sockperf: using recvfrom() to block on socket(s)\n");
    }
    fprintf(out, "\n[ 0] IP = %-15s PORT = %5" PRIu64 " # %s\n", options->ip, options->port,
            options->tcp ? "TCP" : "UDP");
    fprintf(out, "sockperf: Warmup stage (sending a few dummy messages)...\n");
    fflush(out);
}

/* The observation of a rank from 1 on, in the unit that is reported. */
static double observation(const struct as_sockperf_result *result, uint64_t rank, uint64_t count,
                          double divisor)
{
    double percentile = 100 * ((double)rank - 0.5) / (double)count;
    return (double)histogram_percentile_any(result->round_trip_ns, percentile) / divisor;
}

static void print_percentiles(const struct as_sockperf_result *result, uint64_t count,
                              double divisor, FILE *out)
{
    static const double percentiles[] = {99.999, 99.99, 99.9, 99, 90, 75, 50, 25};

    fprintf(out,
            "sockperf: " COLOUR "Total %" PRIu64 " observations" PLAIN
            "; each percentile contains %.2f observations\n",
            count, (double)count / 100);
    fprintf(out, "sockperf: ---> <MAX> observation = %8.3f\n",
            (double)result->round_trip_ns->maximum / divisor);
    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        uint64_t rank = (uint64_t)(0.5 + percentiles[i] / 100 * (double)count);
        if (rank > 0) {
            fprintf(out, "sockperf: ---> percentile %6.3f = %8.3f\n", percentiles[i],
                    observation(result, rank, count, divisor));
        }
    }
    fprintf(out, "sockperf: ---> <MIN> observation = %8.3f\n",
            (double)result->round_trip_ns->minimum / divisor);
}

void as_sockperf_print_latency(const struct as_sockperf_options *options,
                               const struct as_sockperf_result *result, FILE *out)
{
    double divisor = options->full_rtt ? NS_PER_US : 2 * NS_PER_US; /* one way is half of it */
    uint64_t count = histogram_count(result->round_trip_ns);
    double average = histogram_mean(result->round_trip_ns) / divisor;
    bool lost = result->dropped || result->duplicated || result->out_of_order;

    if (result->all_received == 0) {
        fprintf(out, "sockperf: No messages were received from the server. Is the server down?\n");
        return;
    }
    fprintf(out,
            "sockperf: [Total Run] RunTime=%.3f sec; Warm up time=%d msec; SentMessages=%" PRIu64
            "; ReceivedMessages=%" PRIu64 "\n",
            result->total_s, AS_SOCKPERF_WARMUP_MS, result->all_sent, result->all_received);
    fprintf(out, "sockperf: ========= Printing statistics for Server No: 0\n");
    if (count == 0) {
        fprintf(out, "sockperf: No valid observations found. Try tune parameters: "
                     "--time/--mps/--reply-every\n");
        return;
    }
    fprintf(out,
            "sockperf: [Valid Duration] RunTime=%.3f sec; SentMessages=%" PRIu64
            "; ReceivedMessages=%" PRIu64 "\n",
            result->valid_s, result->sent, count);
    fprintf(out, "sockperf: " COLOUR "====> avg-%s=%.3f (std-dev=%.3f)" PLAIN "\n",
            options->full_rtt ? "rtt" : "latency", average,
            histogram_deviation(result->round_trip_ns) / divisor);
    fprintf(out,
            "sockperf: %s# dropped messages = %" PRIu64 "; # duplicated messages = %" PRIu64
            "; # out-of-order messages = %" PRIu64 "%s\n",
            lost ? RED : "", result->dropped, result->duplicated, result->out_of_order,
            lost ? PLAIN : "");
    if (out == stdout) { /* the log has no summary */
        fprintf(out, "sockperf: Summary: %s is %.3f usec\n",
                options->full_rtt ? "Round trip" : "Latency", average);
    }
    print_percentiles(result, count, divisor, out);
}

static void print_note(const struct as_sockperf_options *options, FILE *out)
{
    if (options->per_second) {
        fprintf(out,
                "sockperf: " COLOUR "NOTE: test was performed, using msg-size=%" PRIu64
                ", mps=%" PRIu64 ". For getting maximum throughput use --mps=max (and consider "
                "--msg-size=1472 or --msg-size=4096)" PLAIN "\n",
                options->size_bytes, options->per_second);
    } else if (options->size_bytes != FRAGMENT_BYTES) {
        fprintf(out,
                "sockperf: " COLOUR "NOTE: test was performed, using msg-size=%" PRIu64
                ". For getting maximum throughput consider using --msg-size=1472" PLAIN "\n",
                options->size_bytes);
    }
}

void as_sockperf_print_throughput(const struct as_sockperf_options *options,
                                  const struct as_sockperf_result *result, FILE *out)
{
    double rate = floor(0.5 + (double)result->all_sent / result->total_s);
    double megabytes = rate * (double)options->size_bytes / 1024 / 1024;
    uint64_t fragments = (options->size_bytes + FRAGMENT_BYTES - 1) / FRAGMENT_BYTES;

    fprintf(out, "sockperf: Total of %" PRIu64 " messages sent in %.3f sec\n\n", result->all_sent,
            result->total_s);
    print_note(options, out);
    if (fragments == 1) {
        fprintf(out, "sockperf: Summary: Message Rate is %.0f [msg/sec]\n", rate);
    } else {
        fprintf(out,
                "sockperf: Summary: Message Rate is %.0f [msg/sec], Packet Rate is about %.0f "
                "[pkt/sec] (%" PRIu64 " ip frags / msg)\n",
                rate, rate * (double)fragments, fragments);
    }
    if (options->giga) {
        fprintf(out, "sockperf: Summary: BandWidth is %.3f GBps (%.3f Gbps)\n", megabytes / 1000,
                megabytes * 8 / 1000);
    } else {
        int digits = options->precise ? 9 : 3;
        fprintf(out, "sockperf: Summary: BandWidth is %.*f MBps (%.*f Mbps)\n", digits, megabytes,
                digits, megabytes * 8);
    }
}

/* The messages of the valid duration, by when they were sent. */
static void write_messages(const struct as_sockperf_options *options, const struct ping_log *log,
                           FILE *file)
{
    static const char line[] = "------------------------------\n";
    double divisor = options->full_rtt ? NS_PER_US : 2 * NS_PER_US;
    uint64_t from_ns = 0, until_ns = 0, number = 0;

    if (log->count) {
        from_ns = log->entries[0].sent_ns + AS_SOCKPERF_WARMUP_MS * NS_PER_MS;
        until_ns = log->entries[log->count - 1].sent_ns - AS_SOCKPERF_COOLDOWN_MS * NS_PER_MS;
    }
    fprintf(file, "%spacket, txTime(sec), rxTime(sec), %s(usec)\n", line,
            options->full_rtt ? "rtt" : "latency");
    for (uint64_t i = 0; i < log->count; i++) {
        const struct ping_log_entry *entry = &log->entries[i];
        if (entry->sent_ns >= from_ns && entry->sent_ns <= until_ns) {
            fprintf(file, "%" PRIu64 ", %.9f, %.9f, %.3f\n", number++,
                    (double)(entry->sent_ns - log->entries[0].sent_ns) / 1e9,
                    (double)(entry->received_ns - log->entries[0].sent_ns) / 1e9,
                    (double)(entry->received_ns - entry->sent_ns) / divisor);
        }
    }
    fputs(line, file);
}

int as_sockperf_write_log(const struct as_sockperf_options *options,
                          const struct as_sockperf_result *result, const struct ping_log *log,
                          struct err *error)
{
    static const char line[] = "------------------------------\n";
    FILE *file = fopen(options->full_log, "w");
    if (!file) {
        return err_system(error, errno, options->full_log, "cannot write the log");
    }
    fprintf(file, "%stest was performed using the following parameters: ", line);
    if (options->per_second) {
        fprintf(file, "--mps=%" PRIu64 " ", options->per_second);
    } else {
        fprintf(file, "--mps=max ");
    }
    fprintf(file,
            "--burst=%" PRIu64 " --reply-every=%" PRIu64 " --msg-size=%" PRIu64 " --time=%" PRIu64
            "%s\n%s",
            options->burst, options->reply_every, options->size_bytes, options->time_s,
            options->full_rtt ? " --full-rtt" : "", line);
    as_sockperf_print_latency(options, result, file);
    write_messages(options, log, file);
    int failed = ferror(file);
    return fclose(file) || failed
               ? err_system(error, errno, options->full_log, "cannot write the log")
               : 0;
}
