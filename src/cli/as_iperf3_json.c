/* The JSON of `sonde as iperf3`: keys and shape of iperf3 3.12. */
#include <math.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>

#include "cli/as_iperf3.h"

static void set(json_t *object, const char *key, double value)
{
    if (value == floor(value) && fabs(value) < 9e15) {
        json_object_set_new(object, key, json_integer((json_int_t)value));
    } else {
        json_object_set_new(object, key, json_real(value));
    }
}

static void set_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, json_string(text));
}

static json_t *start_of(const json_t *json)
{
    return json_object_get(json, "start");
}

json_t *as_iperf3_json_begin(void)
{
    struct utsname system;
    char text[512] = "";

    if (uname(&system) == 0) {
        snprintf(text, sizeof text, "%s %s %s %s %s", system.sysname, system.nodename,
                 system.release, system.version, system.machine);
    }
    return json_pack("{s:{s:[],s:s,s:s},s:[],s:{}}", "start", "connected", "version",
                     AS_IPERF3_VERSION, "system_info", text, "intervals", "end");
}

void as_iperf3_json_peer(json_t *json, bool server, const char *host, int port, const char *cookie,
                         bool datagrams, uint32_t mss)
{
    json_t *start = start_of(json), *stamp = json_object(), *peer = json_object();
    time_t now = time(NULL);
    struct tm parts;
    char text[64] = "";

    if (gmtime_r(&now, &parts)) {
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    }
    set_text(stamp, "time", text);
    set(stamp, "timesecs", (double)now);
    json_object_set_new(start, "timestamp", stamp);
    set_text(peer, "host", host);
    set(peer, "port", port);
    json_object_set_new(start, server ? "accepted_connection" : "connecting_to", peer);
    set_text(start, "cookie", cookie);
    if (!datagrams) {
        set(start, "tcp_mss_default", mss);
    }
}

void as_iperf3_json_streams(const struct as_iperf3_report *report)
{
    const struct iperf3_test *test = report->test;
    json_t *start = start_of(report->json), *about = json_object();
    json_t *connected = json_object_get(start, "connected");
    uint64_t send_bytes = 0, receive_bytes = 0;
    struct err ignored = {0};

    for (uint32_t i = 0; i < report->count; i++) {
        const struct as_iperf3_stream *stream = &report->streams[i];
        json_t *one = json_object();
        set(one, "socket", stream->socket);
        set_text(one, "local_host", stream->local_host);
        set(one, "local_port", stream->local_port);
        set_text(one, "remote_host", stream->remote_host);
        set(one, "remote_port", stream->remote_port);
        json_array_append_new(connected, one);
    }
    net_buffer_sizes(report->streams[0].fd, &send_bytes, &receive_bytes, &ignored);
    if (test->mss) {
        json_object_del(start, "tcp_mss_default");
        set(start, "tcp_mss", test->mss);
    }
    set(start, "target_bitrate", (double)test->rate_bits_per_second);
    set(start, "sock_bufsize", test->window_bytes);
    set(start, "sndbuf_actual", (double)send_bytes);
    set(start, "rcvbuf_actual", (double)receive_bytes);
    set_text(about, "protocol", test->udp ? "UDP" : "TCP");
    set(about, "num_streams", test->streams);
    set(about, "blksize", iperf3_length(test));
    set(about, "omit", (double)(test->omit_ns / 1000000000));
    set(about, "duration", (double)(test->duration_ns / 1000000000));
    set(about, "bytes", (double)test->bytes);
    set(about, "blocks", (double)test->blocks);
    set(about, "reverse", test->reverse);
    set(about, "tos", test->tos);
    set(about, "target_bitrate", (double)test->rate_bits_per_second);
    json_object_set_new(start, "test_start", about);
}

/* What every object of figures begins with. */
static json_t *figures_of(const struct as_iperf3_row *row)
{
    json_t *object = json_object();
    double seconds = row->end_s - row->start_s;

    if (row->socket) {
        set(object, "socket", row->socket);
    }
    set(object, "start", row->start_s);
    set(object, "end", row->end_s);
    set(object, "seconds", seconds);
    set(object, "bytes", (double)row->counts.bytes);
    set(object, "bits_per_second", seconds > 0 ? (double)row->counts.bytes * 8 / seconds : 0);
    return object;
}

static void set_datagrams(json_t *object, const struct as_iperf3_counts *counts)
{
    set(object, "jitter_ms", counts->jitter_ms);
    set(object, "lost_packets", (double)counts->lost);
    set(object, "packets", (double)counts->packets);
    set(object, "lost_percent",
        counts->packets > 0 ? 100 * (double)counts->lost / (double)counts->packets : 0);
}

static void set_protocol(json_t *object, const struct as_iperf3_report *report,
                         const struct as_iperf3_row *row, bool sends)
{
    if (!report->test->udp) {
        if (sends) {
            set(object, "retransmits", (double)row->counts.retransmits);
        }
    } else if (sends) {
        set(object, "packets", (double)row->counts.packets);
    } else {
        set_datagrams(object, &row->counts);
    }
}

static json_t *interval_stream(const struct as_iperf3_report *report, uint32_t index,
                               const struct as_iperf3_row *row, bool omitted)
{
    const struct as_iperf3_stream *stream = &report->streams[index];
    const struct tcp_figures *figures = &stream->figures;
    json_t *object = figures_of(row);

    set_protocol(object, report, row, stream->sends);
    if (!report->test->udp && stream->sends) {
        set(object, "snd_cwnd", (double)figures->congestion_window_bytes);
        set(object, "snd_wnd", (double)figures->send_window_bytes);
        set(object, "rtt", floor((double)figures->rtt_ns / 1000));
        set(object, "rttvar", floor((double)figures->rtt_deviation_ns / 1000));
        set(object, "pmtu", figures->path_mtu);
    }
    json_object_set_new(object, "omitted", json_boolean(omitted));
    json_object_set_new(object, "sender", json_boolean(stream->sends));
    return object;
}

void as_iperf3_json_interval(const struct as_iperf3_report *report,
                             const struct as_iperf3_row *rows, bool omitted)
{
    json_t *interval = json_object(), *streams = json_array();
    uint32_t each = report->test->streams;

    json_object_set_new(interval, "streams", streams);
    for (uint32_t first = 0; first < report->count; first += each) {
        struct as_iperf3_row sum = rows[first];
        bool sends = report->streams[first].sends;
        sum.socket = 0;
        sum.counts = (struct as_iperf3_counts){0};
        for (uint32_t i = first; i < first + each; i++) {
            json_array_append_new(streams, interval_stream(report, i, &rows[i], omitted));
            as_iperf3_add(&sum, &rows[i], each);
        }
        json_t *object = figures_of(&sum);
        set_protocol(object, report, &sum, sends);
        json_object_set_new(object, "omitted", json_boolean(omitted));
        json_object_set_new(object, "sender", json_boolean(sends));
        json_object_set_new(interval, first ? "sum_bidir_reverse" : "sum", object);
    }
    json_array_append_new(json_object_get(report->json, "intervals"), interval);
}

/* A datagram stream has one object for both sides: what was sent, and what the receiver says. */
static json_t *datagram_stream(const struct as_iperf3_report *report, uint32_t index,
                               const struct as_iperf3_row *sender,
                               const struct as_iperf3_row *receiver)
{
    struct as_iperf3_row row = *sender;
    row.counts = receiver->counts;
    row.counts.bytes = sender->counts.bytes;
    row.counts.packets = sender->counts.packets;
    json_t *object = figures_of(&row), *both = json_object();
    set_datagrams(object, &row.counts);
    set(object, "out_of_order", (double)row.counts.out_of_order);
    json_object_set_new(object, "sender", json_boolean(report->streams[index].sends));
    json_object_set_new(both, "udp", object);
    return both;
}

static json_t *byte_stream(const struct as_iperf3_report *report, uint32_t index,
                           const struct as_iperf3_row *sender, const struct as_iperf3_row *receiver)
{
    const struct as_iperf3_stream *stream = &report->streams[index];
    json_t *both = json_object(), *one = figures_of(sender), *other = figures_of(receiver);

    if (stream->sends || !report->server) {
        set(one, "retransmits", (double)sender->counts.retransmits);
        set(one, "max_snd_cwnd", (double)stream->most_window);
        set(one, "max_snd_wnd", (double)stream->most_peer_window);
        set(one, "max_rtt", (double)stream->most_rtt_us);
        set(one, "min_rtt", (double)stream->least_rtt_us);
        set(one, "mean_rtt",
            stream->samples ? floor((double)stream->sum_rtt_us / (double)stream->samples) : 0);
    }
    json_object_set_new(one, "sender", json_boolean(stream->sends));
    json_object_set_new(other, "sender", json_boolean(stream->sends));
    json_object_set_new(both, "sender", one);
    json_object_set_new(both, "receiver", other);
    return both;
}

/* The sums of one direction: "sum_sent", "sum_received" and, of datagrams, "sum". */
static void set_sums(const struct as_iperf3_report *report, json_t *end, bool sends,
                     const struct as_iperf3_row *sent, const struct as_iperf3_row *received,
                     const char *suffix)
{
    json_t *one = figures_of(sent), *other = figures_of(received);
    char key[32];

    if (report->test->udp) {
        struct as_iperf3_row both = *received;
        both.counts.bytes = sent->counts.bytes;
        json_t *all = figures_of(&both);
        struct as_iperf3_counts of_sender = {.packets = sent->counts.packets};
        set_datagrams(all, &both.counts);
        set_datagrams(one, &of_sender);
        set_datagrams(other, &received->counts);
        json_object_set_new(all, "sender", json_boolean(sends));
        snprintf(key, sizeof key, "sum%s", suffix);
        json_object_set_new(end, key, all);
    } else if (sends || !report->server) {
        set(one, "retransmits", (double)sent->counts.retransmits);
    }
    json_object_set_new(one, "sender", json_boolean(report->test->udp || sends));
    json_object_set_new(other, "sender", json_boolean(!report->test->udp && sends));
    snprintf(key, sizeof key, "sum_sent%s", suffix);
    json_object_set_new(end, key, one);
    snprintf(key, sizeof key, "sum_received%s", suffix);
    json_object_set_new(end, key, other);
}

static void set_processor(json_t *end, const struct iperf3_side *own,
                          const struct iperf3_side *peer)
{
    json_t *object = json_object();
    set(object, "host_total", own->cpu_user + own->cpu_system);
    set(object, "host_user", own->cpu_user);
    set(object, "host_system", own->cpu_system);
    set(object, "remote_total", peer ? peer->cpu_user + peer->cpu_system : 0);
    set(object, "remote_user", peer ? peer->cpu_user : 0);
    set(object, "remote_system", peer ? peer->cpu_system : 0);
    json_object_set_new(end, "cpu_utilization_percent", object);
}

void as_iperf3_json_end(const struct as_iperf3_report *report, const struct iperf3_side *own,
                        const struct iperf3_side *peer)
{
    json_t *end = json_object_get(report->json, "end"), *streams = json_array();
    uint32_t each = report->test->streams;

    json_object_set_new(end, "streams", streams);
    for (uint32_t first = 0; first < report->count; first += each) {
        struct as_iperf3_row sent, received, sender, receiver;
        as_iperf3_side_row(report, first, false, own, peer, &sent);
        as_iperf3_side_row(report, first, true, own, peer, &received);
        sent.socket = received.socket = 0;
        sent.counts = received.counts = (struct as_iperf3_counts){0};
        for (uint32_t i = first; i < first + each; i++) {
            as_iperf3_side_row(report, i, false, own, peer, &sender);
            as_iperf3_side_row(report, i, true, own, peer, &receiver);
            json_array_append_new(streams, (report->test->udp ? datagram_stream : byte_stream)(
                                               report, i, &sender, &receiver));
            as_iperf3_add(&sent, &sender, each);
            as_iperf3_add(&received, &receiver, each);
        }
        set_sums(report, end, report->streams[first].sends, &sent, &received,
                 first ? "_bidir_reverse" : "");
    }
    set_processor(end, own, peer);
    if (!report->test->udp) {
        bool sends = report->streams[0].sends || (report->server && report->test->bidirectional);
        const struct iperf3_side *sender = sends ? own : peer, *receiver = sends ? peer : own;
        /* A server says only what it knows by itself. */
        sender = report->server && !sends ? NULL : sender;
        receiver = report->server && sends ? NULL : receiver;
        if (sender && sender->congestion[0]) {
            set_text(end, "sender_tcp_congestion", sender->congestion);
        }
        if (receiver && receiver->congestion[0]) {
            set_text(end, "receiver_tcp_congestion", receiver->congestion);
        }
    }
}

static void indent(FILE *out, int depth)
{
    for (int i = 0; i < depth; i++) {
        fputc('\t', out);
    }
}

static void print_number(FILE *out, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%1.15g", value);
    double back = strtod(text, NULL);
    if (!(back >= value && back <= value)) {
        snprintf(text, sizeof text, "%1.17g", value);
    }
    fputs(text, out);
}

static void print_value(const json_t *value, FILE *out, int depth);

static void print_object(const json_t *object, FILE *out, int depth)
{
    const char *key;
    json_t *value;
    size_t left = json_object_size(object);

    fputs("{\n", out);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        indent(out, depth + 1);
        fprintf(out, "\"%s\":\t", key);
        print_value(value, out, depth + 1);
        fputs(--left ? ",\n" : "\n", out);
    }
    indent(out, depth);
    fputc('}', out);
}

static void print_value(const json_t *value, FILE *out, int depth)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        print_object(value, out, depth);
        break;
    case JSON_ARRAY:
        fputc('[', out);
        for (size_t i = 0; i < json_array_size(value); i++) {
            fputs(i ? ", " : "", out);
            print_value(json_array_get(value, i), out, depth + 1);
        }
        fputc(']', out);
        break;
    case JSON_INTEGER:
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        print_number(out, json_real_value(value));
        break;
    default:
        json_dumpf(value, out, JSON_ENCODE_ANY);
        break;
    }
}

void as_iperf3_json_print(const json_t *json, FILE *out)
{
    print_value(json, out, 0);
    fputc('\n', out);
}
