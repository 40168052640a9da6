/* The command line of `sonde as iperf3`. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "cli/as_iperf3.h"
#include "codec/iperf3_json.h"

/* Options without a letter, and letters whose option is refused. */
enum {
    LONG_BIDIR = 256,
    LONG_DSCP,
    LONG_SERVER_OUTPUT,
    LONG_LOG_FILE,
    LONG_CONNECT_TIMEOUT,
    LONG_COUNTERS_64BIT,
    LONG_DONT_FRAGMENT,
    LONG_FQ_RATE,
    LONG_FLUSH,
    LONG_TIMESTAMPS,
    LONG_CLIENT_PORT,
    LONG_EXTRA_DATA,
    LONG_REFUSED, /* those from here on: iperf3 3.12 has them, this has not */
};

static const struct option names[] = {
    {"port", required_argument, NULL, 'p'},
    {"format", required_argument, NULL, 'f'},
    {"interval", required_argument, NULL, 'i'},
    {"affinity", required_argument, NULL, 'A'},
    {"bind", required_argument, NULL, 'B'},
    {"verbose", no_argument, NULL, 'V'},
    {"json", no_argument, NULL, 'J'},
    {"logfile", required_argument, NULL, LONG_LOG_FILE},
    {"forceflush", no_argument, NULL, LONG_FLUSH},
    {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"server", no_argument, NULL, 's'},
    {"one-off", no_argument, NULL, '1'},
    {"client", required_argument, NULL, 'c'},
    {"udp", no_argument, NULL, 'u'},
    {"connect-timeout", required_argument, NULL, LONG_CONNECT_TIMEOUT},
    {"bitrate", required_argument, NULL, 'b'},
    {"bandwidth", required_argument, NULL, 'b'},
    {"fq-rate", required_argument, NULL, LONG_FQ_RATE},
    {"time", required_argument, NULL, 't'},
    {"bytes", required_argument, NULL, 'n'},
    {"blockcount", required_argument, NULL, 'k'},
    {"length", required_argument, NULL, 'l'},
    {"parallel", required_argument, NULL, 'P'},
    {"reverse", no_argument, NULL, 'R'},
    {"bidir", no_argument, NULL, LONG_BIDIR},
    {"window", required_argument, NULL, 'w'},
    {"congestion", required_argument, NULL, 'C'},
    {"linux-congestion", required_argument, NULL, 'C'},
    {"set-mss", required_argument, NULL, 'M'},
    {"no-delay", no_argument, NULL, 'N'},
    {"version4", no_argument, NULL, '4'},
    {"version6", no_argument, NULL, '6'},
    {"tos", required_argument, NULL, 'S'},
    {"dscp", required_argument, NULL, LONG_DSCP},
    {"zerocopy", no_argument, NULL, 'Z'},
    {"omit", required_argument, NULL, 'O'},
    {"title", required_argument, NULL, 'T'},
    {"get-server-output", no_argument, NULL, LONG_SERVER_OUTPUT},
    {"timestamps", optional_argument, NULL, LONG_TIMESTAMPS},
    {"pidfile", required_argument, NULL, 'I'},
    {"daemon", no_argument, NULL, 'D'},
    {"extra-data", required_argument, NULL, LONG_EXTRA_DATA},
    {"cport", required_argument, NULL, LONG_CLIENT_PORT},
    {"udp-counters-64bit", no_argument, NULL, LONG_COUNTERS_64BIT},
    {"dont-fragment", no_argument, NULL, LONG_DONT_FRAGMENT},
#define REFUSED(name, argument)                                                                    \
    {                                                                                              \
        name, argument, NULL, LONG_REFUSED                                                         \
    }
    REFUSED("file", required_argument),
    REFUSED("bind-dev", required_argument),
    REFUSED("rcv-timeout", required_argument),
    REFUSED("snd-timeout", required_argument),
    REFUSED("debug", optional_argument),
    REFUSED("server-bitrate-limit", required_argument),
    REFUSED("idle-timeout", required_argument),
    REFUSED("rsa-private-key-path", required_argument),
    REFUSED("authorized-users-path", required_argument),
    REFUSED("time-skew-threshold", required_argument),
    REFUSED("sctp", no_argument),
    REFUSED("xbind", required_argument),
    REFUSED("nstreams", required_argument),
    REFUSED("pacing-timer", required_argument),
    REFUSED("flowlabel", required_argument),
    REFUSED("repeating-payload", no_argument),
    REFUSED("username", required_argument),
    REFUSED("rsa-public-key-path", required_argument),
#undef REFUSED
    {NULL, 0, NULL, 0},
};
static const char letters[] = "p:f:i:A:B:VJvhs1c:ub:t:n:k:l:P:Rw:C:M:N46S:ZO:T:I:F:d::DX:L:";
static const char refused_letters[] = "FdXL";

static void print_usage(FILE *out)
{
    fputs("Usage: iperf3 [-s|-c host] [options]\n"
          "       iperf3 [-h|--help] [-v|--version]\n"
          "\n"
          "Both ends:\n"
          "  -p, --port #              port to listen on or connect to (5201)\n"
          "  -f, --format [kmgtKMGT]   unit of rates\n"
          "  -i, --interval #          seconds between reports, 0 for none (1)\n"
          "  -A, --affinity n          run on this CPU\n"
          "  -B, --bind host           address to listen at or to come from\n"
          "  -V, --verbose   -J, --json   --logfile f   --forceflush\n"
          "  -I, --pidfile f   --timestamps[=format]\n"
          "  -v, --version   -h, --help\n"
          "Server:\n"
          "  -s, --server              serve\n"
          "  -1, --one-off             end after one test\n"
          "  -D, --daemon              go into the background\n"
          "Client:\n"
          "  -c, --client host         connect to this host\n"
          "  -u, --udp                 datagrams\n"
          "  --connect-timeout ms   --cport port (of the first stream here)\n"
          "  -b, --bitrate #[KMG][/#]  bits/s of each stream, 0 for no limit, /burst\n"
          "                            (1 Mbit/s for UDP, no limit for TCP)\n"
          "  --fq-rate #[KMG]          bits/s that the kernel paces each stream to\n"
          "  -t, --time #              seconds (10)\n"
          "  -n, --bytes #[KMG]        bytes, or\n"
          "  -k, --blockcount #[KMG]   blocks to send instead\n"
          "  -l, --length #[KMG]       bytes of a block\n"
          "  -P, --parallel #          streams\n"
          "  -R, --reverse   --bidir   the server sends; both send\n"
          "  -w, --window #[KMG]       socket buffers\n"
          "  -C, --congestion name   -M, --set-mss #   -N, --no-delay\n"
          "  -4, --version4   -6, --version6\n"
          "  -S, --tos N   --dscp N|name\n"
          "  -Z, --zerocopy            send with sendfile\n"
          "  -O, --omit N              leave out the first seconds\n"
          "  -T, --title str           put this before every line\n"
          "  --extra-data str          told to the server\n"
          "  --get-server-output   --udp-counters-64bit   --dont-fragment\n"
          "\n"
          "Stands in for iperf3 3.12; its other options are refused by name.\n",
          out);
}

static int bad(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong, then the usage, as the program does; its exit status. */
static int bad(const char *format, ...)
{
    va_list arguments;
    fputs("iperf3: parameter error - ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputs("\n\n", stderr);
    print_usage(stderr);
    return 1;
}

/* What the program can and this cannot: in one line, the usage would not help. */
static int refuse(const char *dashes, const char *name)
{
    fprintf(stderr, "iperf3: parameter error - %s%s is not supported by this stand-in\n", dashes,
            name);
    return 1;
}

/* A number with K, M, G or T behind it, which are powers of `step`. */
static bool take_scaled(const char *text, double step, double most, double *value)
{
    char *rest;
    *value = strtod(text, &rest);
    const char *found = *rest ? strchr("KMGT", toupper((unsigned char)*rest)) : NULL;
    if (rest == text || (*rest && (!found || rest[1]))) {
        return false;
    }
    for (int i = 0; found && i <= (int)(found - "KMGT"); i++) {
        *value *= step;
    }
    return *value >= 0 && *value <= most;
}

static bool take_whole(const char *text, double most, uint64_t *value)
{
    double number;
    bool good = take_scaled(text, 1024, most, &number);
    *value = good ? (uint64_t)number : 0;
    return good;
}

static bool take_small(const char *text, long least, long most, uint32_t *value)
{
    char *rest;
    errno = 0;
    long number = strtol(text, &rest, 0);
    *value = (uint32_t)number;
    return rest != text && *rest == '\0' && errno == 0 && number >= least && number <= most;
}

static bool take_dscp(const char *text, uint32_t *tos)
{
    static const struct {
        const char *name;
        uint32_t value;
    } known[] = {{"ef", 46}, {"le", 1}, {"lephb", 1}, {"va", 44}, {"voice-admit", 44}};
    unsigned class, drop;
    char rest;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcasecmp(text, known[i].name) == 0) {
            *tos = known[i].value << 2;
            return true;
        }
    }
    if (sscanf(text, "%*[cC]%*[sS]%1u%c", &class, &rest) == 1 && class <= 7) {
        *tos = class << 5;
        return true;
    }
    if (sscanf(text, "%*[aA]%*[fF]%1u%1u%c", &class, &drop, &rest) == 2 && class >= 1 &&
        class <= 4 && drop >= 1 && drop <= 3) {
        *tos = (class * 8 + drop * 2) << 2;
        return true;
    }
    bool good = take_small(text, 0, 63, tos);
    *tos <<= 2;
    return good;
}

/* "50M" or "50M/10". */
static bool take_rate(char *text, struct iperf3_test *test)
{
    double rate;
    char *slash = strchr(text, '/');
    if (slash) {
        *slash = '\0';
        if (!take_small(slash + 1, 1, IPERF3_BURST_MOST, &test->burst)) {
            return false;
        }
    }
    bool good = take_scaled(text, 1000, 1e15, &rate);
    test->rate_bits_per_second = good ? (uint64_t)rate : 0;
    return good;
}

/* What stood on the command line, beside its values. */
struct given {
    bool time, rate, client_only, server_only;
    char first_client_only[24];
};

static int take_course(int letter, char *value, struct as_iperf3_options *options,
                       struct given *given)
{
    struct iperf3_test *test = &options->test;
    uint32_t small = 0;
    double number;

    switch (letter) {
    case 't':
        given->time = true;
        /* As the program reads it: digits at the head, 0 where there are none, which is no end. */
        small = (uint32_t)strtoul(value, NULL, 10);
        if (strtol(value, NULL, 10) < 0 || strtol(value, NULL, 10) > IPERF3_TIME_MOST_S) {
            return bad("test duration too long (maximum = %d seconds)", IPERF3_TIME_MOST_S);
        }
        test->duration_ns = small * NS_PER_SECOND;
        return -1;
    case 'O':
        if (!take_small(value, 0, IPERF3_OMIT_MOST_S, &small)) {
            return bad("bogus value for --omit");
        }
        test->omit_ns = small * NS_PER_SECOND;
        return -1;
    case 'n':
        return take_whole(value, 9e15, &test->bytes) ? -1
                                                     : bad("-n: %s is no number of bytes", value);
    case 'k':
        return take_whole(value, 9e15, &test->blocks) ? -1
                                                      : bad("-k: %s is no number of blocks", value);
    case 'b':
        given->rate = true;
        return take_rate(value, test) ? -1
                                      : bad("-b: %s is no bitrate, or its burst is above %d", value,
                                            IPERF3_BURST_MOST);
    case LONG_FQ_RATE:
        if (!take_scaled(value, 1000, 1e15, &number)) {
            return bad("--fq-rate: %s is no bitrate", value);
        }
        test->pacing_bits_per_second = (uint64_t)number;
        return -1;
    case 'P':
        return take_small(value, 1, IPERF3_STREAMS_MOST, &test->streams)
                   ? -1
                   : bad("number of parallel streams too large (maximum = %d)",
                         IPERF3_STREAMS_MOST);
    default:
        return -2;
    }
}

static int take_socket(int letter, const char *value, struct as_iperf3_options *options)
{
    struct iperf3_test *test = &options->test;
    uint64_t whole = 0;

    switch (letter) {
    case 'l':
        if (!take_whole(value, IPERF3_BLOCK_MOST, &whole) || whole == 0) {
            return bad("block size too large (maximum = %u bytes)", IPERF3_BLOCK_MOST);
        }
        test->length_bytes = (uint32_t)whole;
        return -1;
    case 'w':
        if (!take_whole(value, IPERF3_WINDOW_MOST, &whole)) {
            return bad("socket buffer size too large (maximum = %u bytes)", IPERF3_WINDOW_MOST);
        }
        test->window_bytes = (uint32_t)whole;
        return -1;
    case 'M':
        return take_small(value, 1, IPERF3_MSS_MOST, &test->mss)
                   ? -1
                   : bad("TCP MSS too large (maximum = %d bytes)", IPERF3_MSS_MOST);
    case 'S':
        return take_small(value, 0, 255, &test->tos)
                   ? -1
                   : bad("bad TOS value (must be between 0 and 255 inclusive)");
    case LONG_DSCP:
        return take_dscp(value, &test->tos) ? -1 : bad("--dscp: %s is no DSCP", value);
    case 'C':
        if (strlen(value) >= sizeof test->congestion) {
            return bad("-C: %s is no congestion control", value);
        }
        snprintf(test->congestion, sizeof test->congestion, "%s", value);
        return -1;
    case LONG_CONNECT_TIMEOUT:
        if (!take_whole(value, 1e9, &whole) || whole == 0) {
            return bad("--connect-timeout: %s is no number of milliseconds", value);
        }
        options->connect_timeout_ns = whole * NS_PER_MS;
        return -1;
    case LONG_CLIENT_PORT:
        return take_whole(value, 65535, &options->client_port) && options->client_port
                   ? -1
                   : bad("port number must be between 1 and 65535 inclusive");
    case LONG_EXTRA_DATA:
        snprintf(test->extra_data, sizeof test->extra_data, "%s", value);
        return -1;
    case 'T':
        options->title = value;
        snprintf(test->title, sizeof test->title, "%s", value);
        return -1;
    default:
        return -2;
    }
}

/* Options that say only yes. */
static bool take_flag(int letter, struct as_iperf3_options *options)
{
    struct iperf3_test *test = &options->test;
    switch (letter) {
    case 'u':
        test->udp = true;
        return true;
    case 'R':
        test->reverse = true;
        return true;
    case LONG_BIDIR:
        test->bidirectional = true;
        return true;
    case 'N':
        test->nodelay = true;
        return true;
    case 'Z':
        test->zerocopy = true;
        return true;
    case LONG_SERVER_OUTPUT:
        test->server_output = true;
        return true;
    case LONG_COUNTERS_64BIT:
        test->counters_64bit = true;
        return true;
    case LONG_DONT_FRAGMENT:
        test->dont_fragment = true;
        return true;
    default:
        return false;
    }
}

/* Options of both ends. */
static int take_common(int letter, const char *value, struct as_iperf3_options *options)
{
    char *rest;

    switch (letter) {
    case 'p':
        return take_whole(value, 65535, &options->port) && options->port
                   ? -1
                   : bad("port number must be between 1 and 65535 inclusive");
    case 'f':
        if (strlen(value) != 1 || !strchr("kmgtKMGT", value[0])) {
            return bad("bad format specifier (valid formats are in the set [kmgtKMGT])");
        }
        options->format = value[0];
        return -1;
    case 'i':
        options->interval_s = strtod(value, &rest);
        return rest != value && *rest == '\0' &&
                       (options->interval_s == 0 ||
                        (options->interval_s >= 0.1 && options->interval_s <= 60))
                   ? -1
                   : bad("invalid report interval (min = 0.1, max = 60 seconds)");
    case 'A':
        options->affinity = value;
        return strchr(value, ',') ? refuse("-A n,m: ", "a server's CPU") : -1;
    case 'B':
        options->source = value;
        return strchr(value, '%') ? refuse("-B ", "host%dev") : -1;
    case 'V':
        options->verbose = true;
        return -1;
    case 'J':
        options->json = true;
        return -1;
    case LONG_LOG_FILE:
        options->log_file = value;
        return -1;
    case LONG_FLUSH: /* every line is */
        return -1;
    case LONG_TIMESTAMPS:
        options->timestamps = value ? value : "%c ";
        return -1;
    case 'I':
        options->pid_file = value;
        return -1;
    case '4':
    case '6':
        options->family = letter == '4' ? AF_INET : AF_INET6;
        return -1;
    default:
        return -2;
    }
}

static int take_role(int letter, const char *value, struct as_iperf3_options *options)
{
    if ((letter == 's' && options->host) || (letter == 'c' && options->server)) {
        return bad("cannot be both server and client");
    }
    options->server = options->server || letter == 's';
    options->host = letter == 'c' ? value : options->host;
    return -1;
}

/* -1: go on. */
static int take(int letter, int index, char *value, struct as_iperf3_options *options,
                struct given *given)
{
    if (letter == 's' || letter == 'c') {
        return take_role(letter, value, options);
    }
    if (letter == 'v' || letter == 'h') {
        if (letter == 'v') {
            puts(AS_IPERF3_VERSION " (stand-in: sonde as iperf3)");
        } else {
            print_usage(stdout);
        }
        return 0;
    }
    if (letter == LONG_REFUSED) {
        return refuse("--", names[index].name);
    }
    if (letter < 256 && strchr(refused_letters, letter)) {
        const char name[] = {(char)letter, '\0'};
        return refuse("-", name);
    }
    if (letter == '1' || letter == 'D') {
        given->server_only = true;
        *(letter == '1' ? &options->one_off : &options->daemon) = true;
        return -1;
    }
    int status = take_common(letter, value, options);
    if (status != -2) {
        return status;
    }
    given->client_only = true;
    status = take_flag(letter, options) ? -1 : take_course(letter, value, options, given);
    return status != -2 ? status : take_socket(letter, value, options);
}

/* What the options say together. */
static int check(struct as_iperf3_options *options, const struct given *given)
{
    struct iperf3_test *test = &options->test;
    struct err error = {0};

    if (!options->server && !options->host) {
        return bad("must either be a client (-c) or server (-s)");
    }
    if (options->server && given->client_only) {
        return bad("some option you are trying to set is client only");
    }
    if (options->host && given->server_only) {
        return bad("some option you are trying to set is server only");
    }
    if ((test->bytes && test->blocks) || (given->time && (test->bytes || test->blocks))) {
        return bad("only one test end condition (-t, -n, -k) may be specified");
    }
    if (test->reverse && test->bidirectional) {
        return bad("cannot be both reverse and bidirectional");
    }
    if (!given->time && !test->bytes && !test->blocks) {
        test->duration_ns = 10 * NS_PER_SECOND;
    }
    if (test->udp && !given->rate) {
        test->rate_bits_per_second = 1 << 20;
    }
    return options->host && iperf3_test_check(test, &error) ? bad("%s", error.what) : -1;
}

int as_iperf3_parse(int argc, char **argv, struct as_iperf3_options *options)
{
    struct given given = {0};
    int letter, index = 0;

    *options = (struct as_iperf3_options){
        .port = 5201, .interval_s = 1, .format = 'a', .test = {.streams = 1}};
    optind = 0;
    opterr = 1;
    while ((letter = getopt_long(argc, argv, letters, names, &index)) != -1) {
        if (letter == '?') { /* getopt has named it */
            print_usage(stderr);
            return 1;
        }
        int status = take(letter, index, optarg, options, &given);
        if (status != -1) {
            return status;
        }
    }
    if (optind < argc) {
        return bad("%s is no option", argv[optind]);
    }
    return check(options, &given);
}
