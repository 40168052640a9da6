#include "run/options.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/units.h"
#include "engine/engine.h"
#include "net/tls.h"
#include "run/processes.h"
#include "workload/workload.h"

/* As the kernel's documentation of SO_BUSY_POLL has it (Documentation/admin-guide/sysctl/net.rst).
 */
#define BUSY_POLL_US 50

#define INTERVAL_LEAST_NS (100 * NS_PER_MS)

enum { MSS_LEAST = 88 }; /* TCP_MIN_MSS, as the kernel checks TCP_MAXSEG */

static const char *const uring_receive_names[] = {"auto", "multishot", "single", NULL};
static const char *const arrivals[] = {"fixed", "poisson", NULL};

#define RUN struct run_options

const struct opt run_load_rows[RUN_OPTIONS_LOAD] = {
    OPT_COUNT(RUN, connections, .name = "connections", .letter = 'c', .initial = "1", .least = 1,
              .most = 1000000, .argument = "N", .help = "connections in all"),
    OPT_COUNT(RUN, count, .name = "count", .letter = 'n', .initial = "0", .argument = "N",
              .help = "stop after so many operations instead, without --warmup (0: by --duration)"),
    OPT_RATE(RUN, rate, .name = "rate", .letter = 'r', .initial = "0", .most = 1000000000,
             .argument = "RATE",
             .help = "open loop: start so many operations a second, whatever the answers do "
                     "(0: closed loop)"),
    OPT_CUSTOM(RUN, course, struct rate_course, .name = "rate-course", .initial = "",
               .argument = "COURSE", .parse = rate_course_parse, .print = rate_course_print,
               .help = "open loop whose rate changes: 1k..50k in the whole window, or steps and "
                       "ramps with their times, 1k:5s,10k:5s,1k..20k:10s, which are the window"),
    OPT_CHOICE(RUN, arrival, .name = "arrival", .choices = arrivals, .initial = "fixed",
               .argument = "KIND", .help = "open loop: evenly spaced or random (Poisson) starts"),
};

const struct opt run_course_rows[RUN_OPTIONS_COURSE] = {
    OPT_COUNT(RUN, threads, .name = "threads", .letter = 't', .initial = "1", .least = 1,
              .most = 1024, .argument = "N",
              .help = "client threads (the threads engine has one for each connection)"),
    OPT_COUNT(RUN, workers, .name = "workers", .initial = "1", .least = 1, .most = PROCESSES_MOST,
              .argument = "N",
              .help = "client processes, with --threads in each (more by themselves where one may "
                      "not open enough files)"),
    OPT_DURATION(RUN, duration_ns, .name = "duration", .letter = 'd', .initial = "5s",
                 .least = 10 * NS_PER_MS, .most = 366 * 24 * 3600 * NS_PER_SECOND,
                 .argument = "TIME", .help = "length of the measured window"),
    OPT_DURATION(RUN, warmup_ns, .name = "warmup", .letter = 'w', .initial = "500ms",
                 .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "run so long first and discard what is measured"),
    OPT_DURATION(RUN, interval_ns, .name = "interval", .letter = 'i', .initial = "1s",
                 .least = INTERVAL_LEAST_NS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",
                 .help = "report a line for each such stretch"),
    OPT_DURATION(
        RUN, drain_ns, .name = "drain", .initial = "2s", .most = 60 * NS_PER_SECOND,
        .argument = "TIME",
        .help = "wait at most so long for what is in flight at the end; what is not answered "
                "then fails the run, unless this is 0 or it is an answer that was still coming "
                "in (ws --mode hold: 100us more for each connection)"),
};

/* Rows that workloads share, but for their defaults. */
#define ROW_ENGINE(default_engine)                                                                 \
    OPT_LIST(RUN, engines, .name = "engine", .letter = 'e', .choices = engine_names,               \
             .initial = default_engine, .argument = "LIST",                                        \
             .help = "kernel interface of the client and of sonde's own server; several: a run "   \
                     "with each")
#define ROW_SERVER_ENGINE                                                                          \
    OPT_TEXT(RUN, server_engine, .name = "server-engine", .argument = "NAME",                      \
             .help = "engine of sonde's own server, where it is to differ")
#define ROW_SERVER_THREADS                                                                         \
    OPT_COUNT(RUN, server_threads, .name = "server-threads", .initial = "1", .least = 1,           \
              .most = 1024, .argument = "N", .help = "threads of sonde's own server")
#define ROW_SOCKET_BUFFER                                                                          \
    OPT_SIZE(RUN, socket_buffer_bytes, .name = "socket-buffer", .initial = "0", .most = 1 << 30,   \
             .argument = "SIZE",                                                                   \
             .help = "SO_SNDBUF and SO_RCVBUF of the client's sockets (0: the kernel's default)")
#define ROW_CONNECT_TIMEOUT                                                                        \
    OPT_DURATION(RUN, connect_timeout_ns, .name = "connect-timeout", .initial = "5s",              \
                 .least = NS_PER_MS, .most = 3600 * NS_PER_SECOND, .argument = "TIME",             \
                 .help = "give up where connections are not established in this time")
#define ROW_SOURCE                                                                                 \
    OPT_TEXT(RUN, sources, .name = "source", .argument = "LIST",                                   \
             .help = "source addresses, for more local ports: 127.0.0.2-127.0.0.9")
#define ROW_SECRET                                                                                 \
    OPT_TEXT(RUN, secret, .name = "secret", .argument = "FILE",                                    \
             .help = "prove to sonde://HOST:PORT with the secret in this file who you are, and "   \
                     "encrypt the control channel (required for other hosts)")
#define ROW_PIN(default_value)                                                                     \
    OPT_BOOL(RUN, pin, .name = "pin", .initial = default_value,                                    \
             .help = "pin sonde's own server and the client's threads to different CPUs (only "    \
                     "with sonde's own server)")
#define ROW_CPU                                                                                    \
    OPT_TEXT(RUN, cpus, .name = "cpu", .argument = "LIST",                                         \
             .help = "pin the client's threads to these CPUs in turn: 0,2-5 (default: --pin)")
#define ROW_SERVER_CPU                                                                             \
    OPT_TEXT(RUN, server_cpus, .name = "server-cpu", .argument = "LIST",                           \
             .help = "likewise the threads of sonde's own server")

const struct opt run_wire_rows[RUN_OPTIONS_WIRE] = {
    ROW_ENGINE("epoll"), ROW_SERVER_ENGINE, ROW_SERVER_THREADS, ROW_SOCKET_BUFFER,
    ROW_CONNECT_TIMEOUT, ROW_SOURCE,        ROW_PIN("yes"),     ROW_CPU,
    ROW_SERVER_CPU,      ROW_SECRET,
};

const struct opt run_blocking_rows[RUN_OPTIONS_WIRE] = {
    ROW_ENGINE("threads"), ROW_SERVER_ENGINE, ROW_SERVER_THREADS, ROW_SOCKET_BUFFER,
    ROW_CONNECT_TIMEOUT,   ROW_SOURCE,        ROW_PIN("yes"),     ROW_CPU,
    ROW_SERVER_CPU,        ROW_SECRET,
};

const struct opt bulk_run_rows[BULK_OPTIONS_WIRE] = {
    ROW_ENGINE("threads"), ROW_SERVER_ENGINE, ROW_SERVER_THREADS, ROW_CONNECT_TIMEOUT, ROW_SOURCE,
    ROW_PIN(NULL),         ROW_CPU,           ROW_SERVER_CPU,     ROW_SECRET,
};

#define WIRE struct wire_options

#define ROW_RECEIVE_BUFFER(bytes)                                                                  \
    OPT_SIZE(WIRE, receive_bytes, .name = "receive-buffer", .initial = bytes, .least = 1,          \
             .most = 16 << 20, .argument = "SIZE", .help = "most that one receive takes")
#define ROW_URING_RECEIVE                                                                          \
    OPT_CHOICE(WIRE, uring_receive, .name = "uring-receive", .choices = uring_receive_names,       \
               .initial = "auto", .argument = "HOW",                                               \
               .help = "uring: receive with one lasting request or one for each")
#define ROW_NODELAY(default_value)                                                                 \
    OPT_BOOL(WIRE, nodelay, .name = "nodelay", .initial = default_value,                           \
             .help = "TCP_NODELAY on sonde's sockets")
#define ROW_CONGESTION                                                                             \
    OPT_TEXT(WIRE, congestion, .name = "congestion", .argument = "NAME",                           \
             .help = "TCP congestion control of the client and of sonde's own server, such as "    \
                     "cubic (default: the kernel's)")

#define ROW_BUSY_POLL                                                                              \
    OPT_BOOL(WIRE, busy_poll, .name = "busy-poll",                                                 \
             .help = "never wait: look again and again, in the kernel too where the device can "   \
                     "(SO_BUSY_POLL)")

const struct opt wire_rows[WIRE_OPTIONS] = {
    ROW_RECEIVE_BUFFER("64k"), ROW_URING_RECEIVE, ROW_NODELAY("yes"), ROW_CONGESTION, ROW_BUSY_POLL,
};

/* The names of RFC 2474 (cs), 2597 (af), 3246 (ef) and 8622 (le), or a number. */
static int parse_dscp(const char *text, void *member, struct err *error)
{
    uint32_t *plus_1 = member;
    uint64_t value;
    char rest;
    unsigned class, drop;
    if (strcmp(text, "") == 0) {
        *plus_1 = 0;
        return 0;
    }
    if (strcasecmp(text, "ef") == 0) {
        value = 46;
    } else if (strcasecmp(text, "le") == 0) {
        value = 1;
    } else if (sscanf(text, "%*[cC]%*[sS]%1u%c", &class, &rest) == 1 && class <= 7) {
        value = class * 8;
    } else if (sscanf(text, "%*[aA]%*[fF]%1u%1u%c", &class, &drop, &rest) == 2 && class >= 1 &&
               class <= 4 && drop >= 1 && drop <= 3) {
        value = class * 8 + drop * 2;
    } else if (units_parse_count(text, &value) != 0 || value > 63) {
        err_set(error, ERR_USAGE, text, "is no DSCP");
        return err_hint(error, "accepts 0 to 63, ef, le, cs0 to cs7, af11 to af43");
    }
    *plus_1 = (uint32_t)value + 1;
    return 0;
}

static void print_dscp(const void *member, FILE *out)
{
    uint32_t plus_1 = *(const uint32_t *)member;
    if (plus_1) {
        fprintf(out, "%u", plus_1 - 1);
    }
}

const struct opt bulk_wire_rows[BULK_OPTIONS] = {
    ROW_RECEIVE_BUFFER("128k"),
    ROW_URING_RECEIVE,
    ROW_NODELAY(NULL),
    ROW_CONGESTION,
    OPT_SIZE(WIRE, window_bytes, .name = "window", .initial = "0", .most = 1 << 30,
             .argument = "SIZE",
             .help = "SO_SNDBUF and SO_RCVBUF of both ends (0: the kernel's own sizing)"),
    OPT_COUNT(WIRE, mss, .name = "mss", .letter = 'M', .initial = "0", .most = 32767,
              .argument = "BYTES", .help = "TCP_MAXSEG of both ends, 88 to 32767 (0: the path's)"),
    OPT_CUSTOM(WIRE, dscp_plus_1, uint32_t, .name = "dscp", .initial = "", .argument = "NAME",
               .parse = parse_dscp, .print = print_dscp,
               .help = "mark packets: 0 to 63, ef, le, cs0 to cs7, af11 to af43"),
    ROW_BUSY_POLL,
};

void wire_tuning(const struct wire_options *options, const struct workload *workload,
                 const void *workload_options, bool network, struct net_tuning *tuning,
                 uint8_t *channel_options)
{
    *tuning = (struct net_tuning){
        .nodelay = options->nodelay,
        .congestion = options->congestion,
        .send_buffer = options->window_bytes,
        .receive_buffer = options->window_bytes,
        .mss = (uint32_t)options->mss,
        .dscp_plus_1 = (int)options->dscp_plus_1,
    };
    *channel_options = 0;
    if (workload->tune) {
        workload->tune(workload_options, tuning, channel_options);
    }
    if (network) {
        tuning->busy_poll_us = options->busy_poll ? BUSY_POLL_US : 0;
    } else {
        tuning->stamps = false;
        *channel_options &= (uint8_t)~CHANNEL_STAMPS;
    }
}

#define TLS struct tls_options

static const char *const tls_version_names[] = {"1.2-1.3", "1.2", "1.3", NULL};

uint32_t tls_versions(const struct tls_options *options)
{
    static const uint32_t versions[] = {TLS_1_2 | TLS_1_3, TLS_1_2, TLS_1_3};
    return versions[options->versions];
}

#define ROW_TLS_VERSION                                                                            \
    OPT_CHOICE(TLS, versions, .name = "tls-version", .choices = tls_version_names,                 \
               .initial = "1.2-1.3", .argument = "VERSION", .help = "versions of TLS to speak")
#define ROW_CIPHERS                                                                                \
    OPT_TEXT(TLS, ciphers, .name = "ciphers", .argument = "LIST",                                  \
             .help = "ciphers to allow, by OpenSSL's names with ':' between them; those of TLS "   \
                     "1.3 begin with TLS_, and a version of which none is named is not spoken")

const struct opt tls_client_rows[TLS_CLIENT_OPTIONS] = {
    OPT_TEXT(TLS, authorities, .name = "cacert", .argument = "FILE",
             .help = "trust the certificates in this PEM file (default: the system's authorities; "
                     "of sonde's own server exactly its certificate)"),
    OPT_BOOL(TLS, insecure, .name = "insecure",
             .help = "do not verify the server's certificate; the record says so"),
    OPT_TEXT(TLS, server_name, .name = "server-name", .argument = "NAME",
             .help = "the server's name, to be asked for (SNI) and verified (default: the target's "
                     "host)"),
    ROW_TLS_VERSION,
    ROW_CIPHERS,
    OPT_BOOL(TLS, resume, .name = "resume",
             .help = "resume the TLS session of the first connection, or one given since, with all "
                     "others (default: a whole handshake for each)"),
};

const struct opt tls_server_rows[TLS_SERVER_OPTIONS] = {
    OPT_TEXT(TLS, certificate, .name = "cert", .argument = "FILE",
             .help = "certificate of tls:// addresses, with its chain (PEM; default: a self-signed "
                     "one, made at the start)"),
    OPT_TEXT(TLS, key, .name = "key", .argument = "FILE",
             .help = "its private key (PEM; default: in the file of --cert)"),
    ROW_TLS_VERSION,
    ROW_CIPHERS,
    OPT_BOOL(TLS, resume, .name = "resume", .initial = "yes",
             .help = "give clients tickets to resume their TLS sessions with"),
};

#define WATCH struct watch_options

const struct opt watch_rows[WATCH_OPTIONS] = {
    OPT_LIST(WATCH, observe, .name = "observe", .letter = 'o', .argument = "WHO",
             .help = "see what the kernel does for self, an end of the run (server, if it is "
                     "sonde's own; of ipc sender or receiver), pid=N or comm=NAME; several "
                     "allowed"),
    OPT_LIST(WATCH, probes, .name = "probe", .argument = "LIST",
             .help = "look with these probes, which take turns (default: syscalls; sonde doctor "
                     "lists them); without --observe at all that sonde itself runs"),
    OPT_BOOL(WATCH, require, .name = "require-observe",
             .help = "fail where observing is not possible"),
    OPT_BOOL(WATCH, follow, .name = "follow", .initial = "yes",
             .help = "observe the children of observed processes too"),
};

/* A course is the window's, and the only rate. */
static int check_course(struct run_options *options, struct run_given given, const char *counted,
                        struct err *error)
{
    if (options->course.count == 0) {
        return 0;
    }
    if (options->rate > 0 || options->count) {
        return err_set(error, ERR_USAGE, "--rate-course", "cannot be combined with %s",
                       options->count ? counted : "--rate");
    }
    return rate_course_fit(&options->course, &options->duration_ns, given.duration,
                           &options->interval_ns, given.interval, INTERVAL_LEAST_NS, error);
}

int run_options_check(struct run_options *options, struct run_given given, const char *counted,
                      struct err *error)
{
    if (check_course(options, given, counted, error) < 0) {
        return -1;
    }
    if (options->count) {
        if (given.warmup && options->warmup_ns) {
            err_set(error, ERR_USAGE, counted, "cannot be combined with --warmup");
            return err_hint(error, "a counted run measures from its beginning");
        }
        options->warmup_ns = 0;
    }
    if (options->wire.mss && options->wire.mss < MSS_LEAST) {
        err_set(error, ERR_USAGE, "--mss", "%lu bytes are no segment", options->wire.mss);
        return err_hint(error, "the kernel takes %d to 32767, 0: the path's", MSS_LEAST);
    }
    if (options->interval_ns > options->duration_ns && options->count == 0) {
        options->interval_ns = options->duration_ns;
    }
    return 0;
}
