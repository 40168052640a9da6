/* The command line of `sonde as sockperf`. What the program itself would turn away ends as there:
 * its usage, and exit status 0. What only this stand-in cannot do is refused by name, with 1. */
#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/as_sockperf.h"
#include "codec/sockperf.h"

enum {
    LONG_TCP = 256,
    LONG_FULL_RTT,
    LONG_FULL_LOG,
    LONG_PRE_WARMUP_WAIT,
    LONG_NOTHING, /* taken, and without effect here */
    LONG_MPS,
    LONG_REPLY_EVERY,
    LONG_NAGLE,
    LONG_BUFFER_SIZE,
    LONG_CLIENT_IP,
    LONG_GIGA,
    LONG_PRECISE,
    LONG_NONBLOCKED,
    LONG_REFUSED,
};

static const struct option names[] = {
    {"help", no_argument, NULL, 'h'},
    {"usage", no_argument, NULL, 'h'},
    {"tcp", no_argument, NULL, LONG_TCP},
    {"ip", required_argument, NULL, 'i'},
    {"port", required_argument, NULL, 'p'},
    {"msg-size", required_argument, NULL, 'm'},
    {"time", required_argument, NULL, 't'},
    {"burst", required_argument, NULL, 'b'},
    {"mps", required_argument, NULL, LONG_MPS},
    {"pps", required_argument, NULL, LONG_MPS},
    {"reply-every", required_argument, NULL, LONG_REPLY_EVERY},
    {"full-rtt", no_argument, NULL, LONG_FULL_RTT},
    {"full-log", required_argument, NULL, LONG_FULL_LOG},
    {"pre-warmup-wait", required_argument, NULL, LONG_PRE_WARMUP_WAIT},
    {"tcp-avoid-nodelay", no_argument, NULL, LONG_NAGLE},
    {"buffer-size", required_argument, NULL, LONG_BUFFER_SIZE},
    {"client_ip", required_argument, NULL, LONG_CLIENT_IP},
    {"giga-size", no_argument, NULL, LONG_GIGA},
    {"increase_output_precision", no_argument, NULL, LONG_PRECISE},
    {"nonblocked", no_argument, NULL, LONG_NONBLOCKED},
    {"no-rdtsc", no_argument, NULL, LONG_NOTHING}, /* its clock is ours anyway */
    {"dontwarmup", no_argument, NULL, LONG_NOTHING},
    {"uc-reuseaddr", no_argument, NULL, LONG_NOTHING},
#define REFUSED(name, argument)                                                                    \
    {                                                                                              \
        name, argument, NULL, LONG_REFUSED                                                         \
    }
    REFUSED("file", required_argument),
    REFUSED("iomux-type", required_argument),
    REFUSED("timeout", required_argument),
    REFUSED("activity", required_argument),
    REFUSED("Activity", required_argument),
    REFUSED("tcp-skip-blocking-send", no_argument),
    REFUSED("tos", required_argument),
    REFUSED("mc-rx-if", required_argument),
    REFUSED("mc-tx-if", required_argument),
    REFUSED("mc-loopback-enable", no_argument),
    REFUSED("mc-ttl", required_argument),
    REFUSED("mc-source-filter", required_argument),
    REFUSED("lls", required_argument),
    REFUSED("recv_looping_num", required_argument),
    REFUSED("vmazcopyread", no_argument),
    REFUSED("daemonize", no_argument),
    REFUSED("load-vma", optional_argument),
    REFUSED("rate-limit", required_argument),
    REFUSED("set-sock-accl", no_argument),
    REFUSED("debug", no_argument),
    REFUSED("srv-num", required_argument),
    REFUSED("sender-affinity", required_argument),
    REFUSED("receiver-affinity", required_argument),
    REFUSED("dummy-send", optional_argument),
    REFUSED("client_port", required_argument),
    REFUSED("range", required_argument),
    REFUSED("data-integrity", no_argument),
    REFUSED("threads-num", required_argument),
    REFUSED("cpu-affinity", required_argument),
    REFUSED("vmarxfiltercb", no_argument),
    REFUSED("force-unicast-reply", no_argument),
    REFUSED("dont-reply", no_argument),
    REFUSED("gap-detection", no_argument),
#undef REFUSED
    {NULL, 0, NULL, 0},
};
static const char letters[] = "h?i:p:m:t:b:f:F:a:A:dr:g";
static const char refused_letters[] = "fFaAdrg";

static const struct mode_names {
    const char *name, *brief, *summary;
} modes[] = {
    [AS_SOCKPERF_PING_PONG] = {"ping-pong", "pp", "latency, one message after the other"},
    [AS_SOCKPERF_UNDER_LOAD] = {"under-load", "ul", "latency at a rate"},
    [AS_SOCKPERF_THROUGHPUT] = {"throughput", "tp", "messages in one direction"},
    [AS_SOCKPERF_SERVER] = {"server", "sr", "the other end"},
};
#define MODES (sizeof modes / sizeof *modes)

static int list_modes(void)
{
    puts("sockperf is a tool for testing network latency and throughput.\n"
         "version 3.7-no.git (stand-in: sonde as sockperf)\n"
         "\n"
         "Usage: sockperf <subcommand> [options] [args]\n"
         "\n"
         "Available subcommands:");
    for (size_t i = 0; i < MODES; i++) {
        printf("   %s (%s)\t%s\n", modes[i].name, modes[i].brief, modes[i].summary);
    }
    return 0;
}

static int usage(enum as_sockperf_mode mode)
{
    printf("%s (%s): %s\n"
           "\n"
           "Usage: sockperf %s [options]\n"
           "\n"
           " -i  --ip IP                  address of the server\n"
           " -p  --port PORT              its port (11111)\n"
           "     --tcp                    TCP instead of UDP\n"
           "     --buffer-size BYTES      socket buffers\n"
           "     --nonblocked             spin instead of waiting\n"
           "     --no-rdtsc, --dontwarmup, --uc-reuseaddr: taken, of no effect here\n",
           modes[mode].name, modes[mode].brief, modes[mode].summary, modes[mode].name);
    if (mode != AS_SOCKPERF_SERVER) {
        printf(" -m  --msg-size BYTES         of a message (14 and more)\n"
               " -t  --time SECONDS           of the test (1)\n"
               " -b  --burst N                messages at once\n"
               "     --mps N|max              messages a second\n"
               "     --pre-warmup-wait SECONDS\n"
               "     --client_ip IP           where messages come from\n"
               "     --tcp-avoid-nodelay      %s\n",
               mode == AS_SOCKPERF_THROUGHPUT ? "do not gather" : "gather small messages");
    }
    if (mode == AS_SOCKPERF_PING_PONG || mode == AS_SOCKPERF_UNDER_LOAD) {
        printf("     --full-rtt               round trips instead of half of them\n"
               "     --full-log FILE          every message, in CSV\n");
    }
    if (mode == AS_SOCKPERF_UNDER_LOAD) {
        printf("     --reply-every N          messages to an answer (100)\n");
    } else if (mode == AS_SOCKPERF_THROUGHPUT) {
        printf("     --giga-size, --increase_output_precision\n");
    }
    printf("\nOther options of sockperf 3.7 are refused by name.\n");
    return 0;
}

/* As the program answers a wrong value. */
static int wrong(const struct as_sockperf_options *options, const char *option, const char *what,
                 const char *value)
{
    printf("sockperf: '%s' Invalid %s: %s\n", option, what, value);
    return usage(options->mode);
}

static int refuse(const char *option)
{
    fprintf(stderr, "sockperf: %s is not supported by this stand-in\n", option);
    return 1;
}

static bool take_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *rest;
    *value = isdigit((unsigned char)*text) ? strtoull(text, &rest, 10) : 0;
    return isdigit((unsigned char)*text) && *rest == '\0' && *value >= least && *value <= most;
}

static int take_load(int letter, const char *value, struct as_sockperf_options *options)
{
    switch (letter) {
    case 't':
        return take_number(value, 1, 36000000, &options->time_s)
                   ? -1
                   : wrong(options, "-t", "duration", value);
    case 'b':
        return take_number(value, 1, 1 << 16, &options->burst)
                   ? -1
                   : wrong(options, "-b", "burst", value);
    case LONG_MPS:
        if (strcmp(value, "max") == 0) {
            options->per_second = 0;
            return -1;
        }
        return take_number(value, 1, 1000000000, &options->per_second)
                   ? -1
                   : wrong(options, "--mps", "value", value);
    case LONG_REPLY_EVERY:
        if (options->mode != AS_SOCKPERF_UNDER_LOAD) {
            return usage(options->mode);
        }
        return take_number(value, 1, 1U << 30, &options->reply_every)
                   ? -1
                   : wrong(options, "--reply-every", "value", value);
    case LONG_PRE_WARMUP_WAIT:
        return take_number(value, 0, 86400, &options->pre_warmup_wait_s)
                   ? -1
                   : wrong(options, "--pre-warmup-wait", "value", value);
    default:
        return -2;
    }
}

static int take(int letter, const char *value, struct as_sockperf_options *options)
{
    switch (letter) {
    case LONG_NOTHING:
        return -1;
    case LONG_TCP:
        options->tcp = true;
        return -1;
    case 'i':
        options->ip = value;
        return -1;
    case 'p':
        return take_number(value, 1, 65535, &options->port) ? -1
                                                            : wrong(options, "-p", "port", value);
    case 'm':
        return take_number(value, SOCKPERF_HEADER_BYTES, SOCKPERF_MESSAGE_MAX, &options->size_bytes)
                   ? -1
                   : wrong(options, "-m", "message size", value);
    case LONG_FULL_RTT:
        options->full_rtt = true;
        return -1;
    case LONG_FULL_LOG:
        options->full_log = value;
        return -1;
    case LONG_NAGLE:
        options->nagle = !options->nagle;
        return -1;
    case LONG_BUFFER_SIZE:
        return take_number(value, 1, 1 << 30, &options->buffer_bytes)
                   ? -1
                   : wrong(options, "--buffer-size", "value", value);
    case LONG_CLIENT_IP:
        options->client_ip = value;
        return -1;
    case LONG_GIGA:
        options->giga = true;
        return -1;
    case LONG_NONBLOCKED:
        options->spins = true;
        return -1;
    case LONG_PRECISE:
        options->precise = true;
        return -1;
    default:
        return take_load(letter, value, options);
    }
}

static int take_options(int argc, char **argv, struct as_sockperf_options *options)
{
    int letter, index = 0;
    char name[64];

    optind = 0;
    opterr = 1;
    while ((letter = getopt_long(argc, argv, letters, names, &index)) != -1) {
        if (letter == '?' || letter == 'h') { /* getopt has named an unknown one */
            return usage(options->mode);
        }
        if (letter == LONG_REFUSED) {
            snprintf(name, sizeof name, "--%s", names[index].name);
            return refuse(name);
        }
        if (letter < 256 && strchr(refused_letters, letter)) {
            snprintf(name, sizeof name, "-%c", letter);
            return refuse(name);
        }
        int status = take(letter, optarg, options);
        if (status != -1) {
            return status;
        }
    }
    return optind < argc ? usage(options->mode) : -1;
}

int as_sockperf_parse(int argc, char **argv, struct as_sockperf_options *options)
{
    size_t mode = 0;

    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        puts("sockperf, version 3.7-no.git (stand-in: sonde as sockperf)");
        return 0;
    }
    while (argc >= 2 && mode < MODES && strcmp(argv[1], modes[mode].name) != 0 &&
           strcmp(argv[1], modes[mode].brief) != 0) {
        mode++;
    }
    if (argc >= 2 && (strcmp(argv[1], "playback") == 0 || strcmp(argv[1], "pb") == 0)) {
        return refuse("playback");
    }
    if (argc < 2 || mode == MODES) {
        return list_modes();
    }
    *options = (struct as_sockperf_options){
        .mode = (enum as_sockperf_mode)mode,
        .ip = "0.0.0.0",
        .port = 11111,
        .size_bytes = SOCKPERF_HEADER_BYTES,
        .time_s = 1,
        .burst = 1,
        .reply_every = mode == AS_SOCKPERF_UNDER_LOAD ? 100 : 1,
        .per_second = mode == AS_SOCKPERF_UNDER_LOAD ? 10000 : 0,
        .nagle = mode == AS_SOCKPERF_THROUGHPUT,
    };
    return take_options(argc - 1, argv + 1, options);
}
