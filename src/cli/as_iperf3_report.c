/* A test of `sonde as iperf3` while it runs and at its end, as text or into JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "cli/as_iperf3.h"

#define LINE_MOST 512
static const char separator[] = "- - - - - - - - - - - - - - - - - - - - - - - - -";

/* The time of day before a line, where it is asked for. */
static void print_time(const char *format)
{
    char text[160];
    struct tm broken;
    time_t now = time(NULL);
    if (format && localtime_r(&now, &broken) && strftime(text, sizeof text, format, &broken)) {
        fputs(text, stdout);
    }
}

void as_iperf3_say(struct as_iperf3_report *report, const char *format, ...)
{
    char line[LINE_MOST];
    va_list arguments;

    if (report->json) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    const char *title = report->options->title;
    print_time(report->options->timestamps);
    printf("%s%s%s\n", title ? title : "", title ? ":  " : "", line);
    fflush(stdout);
    if (report->also) {
        fprintf(report->also, "%s\n", line);
    }
}

int as_iperf3_report_begin(struct as_iperf3_report *report, const struct as_iperf3_options *options,
                           bool server, struct err *error)
{
    struct utsname system;

    *report = (struct as_iperf3_report){.options = options, .server = server};
    if (options->json) {
        report->json = as_iperf3_json_begin();
        return report->json ? 0 : err_system(error, ENOMEM, "iperf3", "cannot make JSON");
    }
    if (options->verbose && uname(&system) == 0) {
        as_iperf3_say(report, "%s", AS_IPERF3_VERSION);
        as_iperf3_say(report, "%s %s %s %s %s", system.sysname, system.nodename, system.release,
                      system.version, system.machine);
    }
    return 0;
}

void as_iperf3_report_peer(struct as_iperf3_report *report, const char *host, int port,
                           const char *cookie, uint32_t mss)
{
    const struct as_iperf3_options *options = report->options;
    char text[64];
    time_t now = time(NULL);
    struct tm parts;

    if (report->json) {
        as_iperf3_json_peer(report->json, report->server, host, port, cookie, report->test->udp,
                            mss);
        return;
    }
    if (options->verbose && !report->server) {
        as_iperf3_say(report, "Control connection MSS %u", mss);
    }
    if (options->verbose && gmtime_r(&now, &parts)) {
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        as_iperf3_say(report, "Time: %s", text);
    }
    as_iperf3_say(report,
                  report->server ? "Accepted connection from %s, port %d"
                                 : "Connecting to host %s, port %d",
                  host, port);
    if (!report->server && report->test->reverse) {
        as_iperf3_say(report, "Reverse mode, remote host %s is sending", host);
    }
    if (options->verbose) {
        as_iperf3_say(report, "      Cookie: %s", cookie);
        if (!report->test->udp) {
            as_iperf3_say(report, "      TCP MSS: %u%s",
                          report->test->mss ? report->test->mss : mss,
                          report->test->mss ? "" : " (default)");
        }
        if (report->test->rate_bits_per_second) {
            as_iperf3_say(report, "      Target Bitrate: %llu",
                          (unsigned long long)report->test->rate_bits_per_second);
        }
    }
}

static void name_end(const struct sockaddr_storage *address, char *host, size_t size, int *port)
{
    char service[8] = "0";
    socklen_t length =
        address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

    if (getnameinfo((const struct sockaddr *)address, length, host, (socklen_t)size, service,
                    sizeof service, NI_NUMERICHOST | NI_NUMERICSERV | NI_DGRAM)) {
        snprintf(host, size, "?");
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        memmove(host, host + 7, strlen(host + 7) + 1); /* without "::ffff:" */
    }
    *port = (int)strtoul(service, NULL, 10);
}

static void say_test(struct as_iperf3_report *report)
{
    const struct iperf3_test *test = report->test;
    char what[64];

    if (test->bytes || test->blocks) {
        snprintf(what, sizeof what, "%llu %s to send",
                 (unsigned long long)(test->bytes ? test->bytes : test->blocks),
                 test->bytes ? "bytes" : "blocks");
    } else {
        snprintf(what, sizeof what, "%llu second test",
                 (unsigned long long)(test->duration_ns / 1000000000));
    }
    as_iperf3_say(report,
                  "Starting Test: protocol: %s, %u streams, %u byte blocks, omitting %llu seconds, "
                  "%s, tos %u",
                  test->udp ? "UDP" : "TCP", test->streams, iperf3_length(test),
                  (unsigned long long)(test->omit_ns / 1000000000), what, test->tos);
}

int as_iperf3_report_streams(struct as_iperf3_report *report, const struct iperf3_test *test,
                             const struct net_end *ends, uint32_t count, struct err *error)
{
    report->test = test;
    report->streams = calloc(count, sizeof *report->streams);
    if (report->streams == NULL) {
        return err_system(error, ENOMEM, "iperf3", "cannot report %u streams", count);
    }
    report->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct as_iperf3_stream *stream = &report->streams[i];
        struct sockaddr_storage local = {0}, remote = {0};
        socklen_t local_length = sizeof local, remote_length = sizeof remote;
        stream->fd = stream->socket = ends[i].read_fd;
        stream->sends = iperf3_flow_sends(test, i, report->server);
        if (getsockname(stream->fd, (struct sockaddr *)&local, &local_length) ||
            getpeername(stream->fd, (struct sockaddr *)&remote, &remote_length)) {
            return err_system(error, errno, "iperf3", "cannot name a connection");
        }
        name_end(&local, stream->local_host, sizeof stream->local_host, &stream->local_port);
        name_end(&remote, stream->remote_host, sizeof stream->remote_host, &stream->remote_port);
        as_iperf3_say(report, "[%3d] local %s port %d connected to %s port %d", stream->socket,
                      stream->local_host, stream->local_port, stream->remote_host,
                      stream->remote_port);
    }
    if (report->json) {
        as_iperf3_json_streams(report);
    } else if (report->options->verbose) {
        say_test(report);
    }
    return 0;
}

const char *as_iperf3_role(const struct as_iperf3_report *report, bool sends)
{
    if (!report->test->bidirectional) {
        return "";
    }
    return report->server ? (sends ? "[TX-S]" : "[RX-S]") : (sends ? "[TX-C]" : "[RX-C]");
}

/* Reads a connection's totals; what it did since the last cut becomes a row. */
static void read_stream(struct as_iperf3_report *report, const struct iperf3_data_ops *data,
                        void *run, uint32_t index, struct as_iperf3_row *row)
{
    struct as_iperf3_stream *stream = &report->streams[index];
    struct session_flow totals;

    data->read(run, index, &totals);
    stream->before = stream->now;
    stream->now = (struct as_iperf3_counts){
        .bytes = totals.bytes,
        .packets = (int64_t)(totals.messages + totals.lost),
        .lost = (int64_t)totals.lost,
        .out_of_order = (int64_t)totals.out_of_order,
        .jitter_ms = totals.jitter_ns / 1e6,
    };
    if (!report->test->udp && stream->sends &&
        tcp_figures_read(stream->fd, &stream->figures) == 0) {
        const struct tcp_figures *figures = &stream->figures;
        uint64_t rtt_us = figures->rtt_ns / 1000;
        stream->now.retransmits = figures->retransmits;
#define MOST(member, value) stream->member = stream->member > (value) ? stream->member : (value)
        MOST(most_window, figures->congestion_window_bytes);
        MOST(most_peer_window, figures->send_window_bytes);
        MOST(most_rtt_us, rtt_us);
#undef MOST
        stream->least_rtt_us =
            stream->samples && stream->least_rtt_us < rtt_us ? stream->least_rtt_us : rtt_us;
        stream->sum_rtt_us += rtt_us;
        stream->samples++;
    }
    row->counts = (struct as_iperf3_counts){
        .bytes = stream->now.bytes - stream->before.bytes,
        .retransmits = stream->now.retransmits - stream->before.retransmits,
        .packets = stream->now.packets - stream->before.packets,
        .lost = stream->now.lost - stream->before.lost,
        .out_of_order = stream->now.out_of_order - stream->before.out_of_order,
        .jitter_ms = stream->now.jitter_ms,
    };
    row->congestion_window_bytes = stream->figures.congestion_window_bytes;
    row->socket = stream->socket;
    row->role = as_iperf3_role(report, stream->sends);
}

void as_iperf3_add(struct as_iperf3_row *sum, const struct as_iperf3_row *row, uint32_t count)
{
    sum->counts.bytes += row->counts.bytes;
    sum->counts.retransmits += row->counts.retransmits;
    sum->counts.packets += row->counts.packets;
    sum->counts.lost += row->counts.lost;
    sum->counts.out_of_order += row->counts.out_of_order;
    sum->counts.jitter_ms += row->counts.jitter_ms / count;
}

static void say_head(struct as_iperf3_report *report, bool end)
{
    const struct iperf3_test *test = report->test;
    bool sends = test->bidirectional || test->reverse == report->server;
    const char *columns = "";

    if (test->udp) {
        columns = end || test->bidirectional || !sends ? "         Jitter    Lost/Total Datagrams"
                                                       : "         Total Datagrams";
    } else if (sends || (!report->server && (end || test->reverse))) {
        columns = end ? "         Retr" : "         Retr  Cwnd";
    }
    as_iperf3_say(report, "[ ID]%s Interval           Transfer     Bitrate%s",
                  test->bidirectional ? "[Role]" : "", columns);
}

static void say_row(struct as_iperf3_report *report, const struct as_iperf3_row *row,
                    enum as_iperf3_shape shape)
{
    char line[LINE_MOST];
    as_iperf3_line(line, sizeof line, row, shape, report->options->format);
    as_iperf3_say(report, "%s", line);
}

static enum as_iperf3_shape shape_of(const struct as_iperf3_report *report, bool sends, bool sum)
{
    if (report->test->udp) {
        return !sends                        ? AS_IPERF3_DATAGRAMS
               : report->test->bidirectional ? AS_IPERF3_DATAGRAMS_SENT_BIDIR
                                             : AS_IPERF3_DATAGRAMS_SENT;
    }
    return !sends ? AS_IPERF3_PLAIN : sum ? AS_IPERF3_RETRANSMITS : AS_IPERF3_RETRANSMITS_WINDOW;
}

static void say_interval(struct as_iperf3_report *report, const struct as_iperf3_row *rows)
{
    uint32_t each = report->test->streams;

    if (!report->head_printed) {
        say_head(report, false);
        report->head_printed = true;
    } else if (each > 1) {
        as_iperf3_say(report, "%s", separator);
    }
    for (uint32_t first = 0; first < report->count; first += each) {
        struct as_iperf3_row sum = rows[first];
        bool sends = report->streams[first].sends;
        sum.socket = 0;
        sum.counts = (struct as_iperf3_counts){0};
        for (uint32_t i = first; i < first + each; i++) {
            say_row(report, &rows[i], shape_of(report, sends, false));
            as_iperf3_add(&sum, &rows[i], each);
        }
        if (each > 1) {
            say_row(report, &sum, shape_of(report, sends, true));
        }
    }
}

void as_iperf3_report_cut(struct as_iperf3_report *report, const struct iperf3_data_ops *data,
                          void *run, double end_s, bool omitted)
{
    struct as_iperf3_row rows[IPERF3_FLOWS_MOST] = {{0}};
    double start_s = report->cut_omitted == omitted ? report->cut_s : 0;

    for (uint32_t i = 0; i < report->count; i++) {
        rows[i].start_s = start_s;
        rows[i].end_s = end_s;
        rows[i].note = omitted ? "(omitted)" : "";
        read_stream(report, data, run, i, &rows[i]);
    }
    report->cut_s = end_s;
    report->cut_omitted = omitted;
    if (report->json) {
        as_iperf3_json_interval(report, rows, omitted);
    } else {
        say_interval(report, rows);
    }
}

void as_iperf3_report_last(struct as_iperf3_report *report, const struct iperf3_data_ops *data,
                           void *run, const struct iperf3_side *own)
{
    double end_s = (double)own->flows[0].duration_ns / 1e9;
    double start_s = report->cut_omitted ? 0 : report->cut_s;
    double whole_s = report->options->interval_s;
    uint64_t moved = 0;

    for (uint32_t i = 0; i < report->count; i++) {
        struct session_flow totals;
        data->read(run, i, &totals);
        moved += totals.bytes - report->streams[i].now.bytes;
    }
    if (end_s > start_s && (moved || end_s - start_s >= whole_s / 10)) {
        as_iperf3_report_cut(report, data, run, end_s, false);
    }
}

bool as_iperf3_side_row(const struct as_iperf3_report *report, uint32_t index, bool receiver,
                        const struct iperf3_side *own, const struct iperf3_side *peer,
                        struct as_iperf3_row *row)
{
    bool sends = report->streams[index].sends;
    const struct iperf3_side *side = sends == receiver ? peer : own;
    uint64_t duration_ns = own->flows[index].duration_ns;

    *row = (struct as_iperf3_row){
        .end_s = (double)duration_ns / 1e9,
        .socket = report->streams[index].socket,
        .role = as_iperf3_role(report, sends),
        .note = receiver ? "receiver" : "sender",
    };
    if (side == NULL) {
        return false;
    }
    const struct iperf3_flow *flow = &side->flows[index];
    row->end_s = flow->duration_ns ? (double)flow->duration_ns / 1e9 : row->end_s;
    row->counts = (struct as_iperf3_counts){
        .bytes = flow->window.bytes,
        .retransmits = flow->window.retransmits == UINT64_MAX ? 0 : flow->window.retransmits,
        .packets = (int64_t)(flow->window.messages + flow->window.lost),
        .lost = (int64_t)flow->window.lost,
        .out_of_order = (int64_t)flow->window.out_of_order,
        .jitter_ms = flow->window.jitter_ns / 1e6,
    };
    if (flow->omitted_within && side == peer) {
        /* The real one takes off what it has itself left out, at whichever end it is. */
        const struct iperf3_flow *here = &own->flows[index];
        row->counts.packets -= (int64_t)(here->omitted_messages + here->omitted_lost);
        row->counts.lost -= (int64_t)here->omitted_lost;
        row->counts.packets = row->counts.packets > 0 ? row->counts.packets : 0;
        row->counts.lost = row->counts.lost > 0 ? row->counts.lost : 0;
    }
    return true;
}

/* Both rows of one connection, or of all that go one way (`last` above `first`). */
static void say_both(struct as_iperf3_report *report, uint32_t first, uint32_t last,
                     const struct iperf3_side *own, const struct iperf3_side *peer)
{
    for (int receiver = 0; receiver < 2; receiver++) {
        struct as_iperf3_row sum, row;
        bool known = as_iperf3_side_row(report, first, receiver, own, peer, &sum);
        enum as_iperf3_shape shape = report->test->udp ? AS_IPERF3_DATAGRAMS
                                     : receiver        ? AS_IPERF3_PLAIN
                                                       : AS_IPERF3_RETRANSMITS;
        if (last > first) {
            sum.socket = 0;
            sum.counts = (struct as_iperf3_counts){0};
        }
        for (uint32_t i = first; last > first && i <= last; i++) {
            as_iperf3_side_row(report, i, receiver, own, peer, &row);
            as_iperf3_add(&sum, &row, last - first + 1);
        }
        if (known) {
            say_row(report, &sum, shape);
        }
    }
}

static void say_processor(struct as_iperf3_report *report, const struct iperf3_side *own,
                          const struct iperf3_side *peer)
{
    bool sends = report->streams[0].sends;
    const char *sender = sends ? own->congestion : peer ? peer->congestion : "";
    const char *receiver = !sends ? own->congestion : peer ? peer->congestion : "";

    as_iperf3_say(report,
                  "CPU Utilization: local/%s %.1f%% (%.1f%%u/%.1f%%s), remote/%s %.1f%% "
                  "(%.1f%%u/%.1f%%s)",
                  sends ? "sender" : "receiver", own->cpu_user + own->cpu_system, own->cpu_user,
                  own->cpu_system, sends ? "receiver" : "sender",
                  peer ? peer->cpu_user + peer->cpu_system : 0, peer ? peer->cpu_user : 0,
                  peer ? peer->cpu_system : 0);
    if (sender[0]) {
        as_iperf3_say(report, "snd_tcp_congestion %s", sender);
    }
    if (receiver[0]) {
        as_iperf3_say(report, "rcv_tcp_congestion %s", receiver);
    }
}

void as_iperf3_report_end(struct as_iperf3_report *report, const struct iperf3_side *own,
                          const struct iperf3_side *peer)
{
    uint32_t each = report->test->streams;

    if (report->json) {
        as_iperf3_json_end(report, own, peer);
        return;
    }
    as_iperf3_say(report, "%s", separator);
    if (report->options->verbose) {
        as_iperf3_say(report, "Test Complete. Summary Results:");
    }
    say_head(report, true);
    for (uint32_t first = 0; first < report->count; first += each) {
        for (uint32_t i = first; i < first + each; i++) {
            say_both(report, i, i, own, peer);
        }
        if (each > 1) {
            say_both(report, first, first + each - 1, own, peer);
        }
    }
    if (report->options->verbose) {
        say_processor(report, own, peer);
    }
}

void as_iperf3_report_fail(struct as_iperf3_report *report, const char *what)
{
    char text[LINE_MOST];

    if (report->json) {
        snprintf(text, sizeof text, "%s", strncmp(what, "error - ", 8) == 0 ? what + 8 : what);
        json_object_set_new(report->json, "error", json_string(text));
        return;
    }
    fflush(stdout);
    fprintf(stderr, "iperf3: %s\n", what);
}

void as_iperf3_report_finish(struct as_iperf3_report *report)
{
    if (report->json) {
        as_iperf3_json_print(report->json, stdout);
    }
    fflush(stdout);
}

void as_iperf3_report_release(struct as_iperf3_report *report)
{
    free(report->streams);
    json_decref(report->json);
    report->streams = NULL;
    report->json = NULL;
    report->count = 0;
}
