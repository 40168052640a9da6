/* What the tour measures, what it shows of it, and what that teaches. */
#include "cli/tour.h"
#include "engine/engine.h"
#include "net/tls.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define FIGURE(group, title, key, unit, scale)                                                     \
    {                                                                                              \
        group, title, tour_figure, NULL, key, unit, scale                                          \
    }
#define CALLS(group, title, write, role, name)                                                     \
    {                                                                                              \
        group, title, write, role, name, "1", 1                                                    \
    }

static int uring_why_not(char *reason, size_t size)
{
    return engine_uring.why_not(reason, size);
}

/* ---- call ---- */

static const struct tour_stop call_stops[] = {
    {"--write gather", "gathered, sent when the loop waits", NULL},
    {"--write each", "one send a call, the loop after each", NULL},
    {"--write queue=10ms", "queued, flushed by a timer", NULL},
};

static const struct tour_column call_columns[] = {
    FIGURE(NULL, "calls/s", "calls_per_second", "1/s", 1),
    FIGURE(NULL, "calls/send", "calls_per_send", "1", 1),
    CALLS("server", "recvfrom/s", tour_calls_per_second, "server", "recvfrom"),
    CALLS("server", "sendto/s", tour_calls_per_second, "server", "sendto"),
    CALLS("server", "all syscalls/s", tour_calls_per_second, "server", NULL),
    FIGURE(NULL, "response p50", "response_time.p50", "ns", 1),
};

static const struct tour_part call_parts[] = {{
    .command = "call",
    .common = "-d 1500ms -w 200ms --observe server",
    .milliseconds = 2000,
    .observation = "the server's system calls",
    .stops = call_stops,
    .stop_count = LENGTH(call_stops),
    .columns = call_columns,
    .column_count = LENGTH(call_columns),
    .lesson = "Every call is one byte, answered by one byte, timed and matched one by one; one TCP "
              "connection, at most 20,000 calls in flight. What differs is only when the client "
              "writes: a call that needs a system call of its own at both ends costs microseconds, "
              "a gathered one nanoseconds. The queue gathers as well, but its timer lets at most "
              "20,000 calls go every 10 ms: 2,000,000 a second, each after waiting about 10 ms.",
}};

/* ---- ws ---- */

/* The answer of the handshake is a hash, which OpenSSL makes. */
static const struct tour_stop ws_stops[] = {
    {"-c 1", "one at a time: what a handshake takes", tls_why_not},
    {"-c 64", "64 in flight, one dialed for each that ends", tls_why_not},
    {"-c 64 --low 32", "64 in flight, then none until fewer than 32 are", tls_why_not},
    {"wss: -c 64", "through TLS", tls_why_not},
    {"wss: -c 64 --resume", "through TLS, the first connection's session resumed", tls_why_not},
};

static const struct tour_column ws_columns[] = {
    FIGURE(NULL, "handshakes/s", "handshakes_per_second", "1/s", 1),
    FIGURE(NULL, "p50", "response_time.p50", "ns", 1),
    FIGURE(NULL, "p99", "response_time.p99", "ns", 1),
    FIGURE("CPU/handshake", "client", "client.cpu_ns_per_handshake", "ns", 1),
    FIGURE("CPU/handshake", "server", "server.cpu_ns_per_handshake", "ns", 1),
    CALLS("calls/handshake", "client", tour_calls_per_operation, "client", NULL),
    CALLS("calls/handshake", "server", tour_calls_per_operation, "server", NULL),
};

static const struct tour_part ws_parts[] = {{
    .command = "ws",
    .common = "-d 1s -w 100ms --observe server",
    .milliseconds = 1400,
    .observation = "the server's system calls",
    .stops = ws_stops,
    .stop_count = LENGTH(ws_stops),
    .columns = ws_columns,
    .column_count = LENGTH(ws_columns),
    .lesson = "A handshake here is a whole life: connect, the upgrade and its answer, the close "
              "and its answer. With one connection at a time both ends mostly wait for each other, "
              "with many the rate is what CPU time allows, and further connections add waiting, "
              "not handshakes. TLS adds round trips, a key exchange and a signature; a resumed "
              "session does without the signature.",
}};

/* ---- http ---- */

static const struct tour_stop http_stops[] = {
    {"-e threads", "a blocking thread for each connection", NULL},
    {"-e poll", "one loop around poll", NULL},
    {"-e epoll", "one loop around epoll", NULL},
    {"-e uring", "one loop around io_uring", uring_why_not},
};

static const struct tour_column http_columns[] = {
    FIGURE(NULL, "all together", "body_bytes_per_second", "bytes/s", 1),
    FIGURE("p50 of one", "socket", "socket.p50", "ns", 1),
    FIGURE("p50 of one", "set-up", "set_up.p50", "ns", 1),
    FIGURE("p50 of one", "answer", "service_time.p50", "ns", 1),
    FIGURE("CPU/GiB", "client", "client_cpu_ns_per_gib", "ns", 1),
    FIGURE("CPU/GiB", "server", "server_cpu_ns_per_gib", "ns", 1),
    FIGURE("client", "calls/MiB", "client_calls_per_mib", "1", 1),
    FIGURE("client's memory", "before", "memory_before", "bytes", 1),
    FIGURE("client's memory", "peak", "client_memory_peak", "bytes", 1),
};

static const struct tour_stop request_stops[] = {
    {"-m 200 -c 64", "a small answer at a time on connections that stay", NULL},
    {"-m 200 -c 64 --no-keep-alive", "a connection for each small answer", NULL},
};

static const struct tour_column request_columns[] = {
    FIGURE(NULL, "requests/s", "requests_per_second", "1/s", 1),
    FIGURE(NULL, "p50", "response_time.p50", "ns", 1),
    FIGURE(NULL, "p99", "response_time.p99", "ns", 1),
    FIGURE("CPU/request", "client", "client.cpu_ns_per_request", "ns", 1),
    FIGURE("CPU/request", "server", "server.cpu_ns_per_request", "ns", 1),
    CALLS("calls/request", "client", tour_calls_per_operation, "client", NULL),
    CALLS("calls/request", "server", tour_calls_per_operation, "server", NULL),
};

static const struct tour_part http_parts[] = {
    {
        .command = "http -m 4m -c 20 --no-keep-alive",
        .common = "-d 1s -w 100ms",
        .milliseconds = 1200,
        .stops = http_stops,
        .stop_count = LENGTH(http_stops),
        .columns = http_columns,
        .column_count = LENGTH(http_columns),
        .lesson =
            "20 downloads at a time, each on a connection of its own. The kernel copies the same "
            "bytes whichever way it is asked, so look at what comes on top: threads need a stack "
            "each, and a switch wherever one of them blocks; a loop pays for the calls in which it "
            "waits, and has none of that. The loops read into one buffer for all connections of a "
            "thread; with --buffer each has its own, and the memory to show for it. Nobody "
            "observes here: that would be memory of the client's.",
    },
    {
        .command = "http",
        .common = "-d 1s -w 100ms --observe server",
        .milliseconds = 1400,
        .observation = "the server's system calls",
        .stops = request_stops,
        .stop_count = LENGTH(request_stops),
        .columns = request_columns,
        .column_count = LENGTH(request_columns),
        .lesson = "Of small answers the bytes cost nothing, the calls everything: a connection "
                  "that stays needs a send and a receive at each end, a new one also those that "
                  "make and end it.",
    },
};

/* ---- stream and ping ---- */

static const struct tour_stop stream_stops[] = {
    {"-P 4", "four streams", NULL},
    {"-P 4 -l 8k", "in writes and reads of 8 KiB", NULL},
};

static const struct tour_column stream_columns[] = {
    FIGURE(NULL, "all together", "bits_per_second", "bit/s", 1),
    FIGURE(NULL, "retransmits", "stream_retransmits", "1", 1),
    FIGURE("CPU/GiB", "client", "client_cpu_ns_per_gib", "ns", 1),
    FIGURE("CPU/GiB", "server", "server_cpu_ns_per_gib", "ns", 1),
    CALLS(NULL, "client's syscalls/s", tour_calls_by_name, "client", NULL),
    CALLS(NULL, "server's syscalls/s", tour_calls_by_name, "server", NULL),
};

static const struct tour_stop ping_stops[] = {
    {"udp: -m 64", "a datagram there and back", NULL},
    {"tcp: -m 64", "the same through TCP", NULL},
};

static const struct tour_column ping_columns[] = {
    FIGURE(NULL, "pings/s", "round_trips_per_second", "1/s", 1),
    FIGURE("full round trip", "p50", "response_time.p50", "ns", 1),
    FIGURE("full round trip", "p99", "response_time.p99", "ns", 1),
    FIGURE(NULL, "lost", "messages_lost", "1", 1),
    CALLS(NULL, "client's syscalls/s", tour_calls_by_name, "client", NULL),
    CALLS(NULL, "server's syscalls/s", tour_calls_by_name, "server", NULL),
};

static const struct tour_part stream_parts[] = {
    {
        .command = "stream",
        .common = "-d 1s -w 200ms --observe self,server",
        .milliseconds = 1500,
        .observation = "system calls",
        .stops = stream_stops,
        .stop_count = LENGTH(stream_stops),
        .columns = stream_columns,
        .column_count = LENGTH(stream_columns),
        .lesson = "Throughput is bytes a call times calls a second: with small writes more of the "
                  "CPU time of each GiB goes into entering the kernel, less into copying.",
    },
    {
        .command = "ping",
        .common = "-d 1s -w 100ms --observe self,server",
        .milliseconds = 1400,
        .observation = "system calls",
        .stops = ping_stops,
        .stop_count = LENGTH(ping_stops),
        .columns = ping_columns,
        .column_count = LENGTH(ping_columns),
        .lesson = "A message there and back needs one send and one receive at each end, whatever "
                  "the protocol; the rest of the time are the stack and two threads that are "
                  "woken. The times are of the full round trip: some tools print half of it.",
    },
};

/* ---- ipc ---- */

static const struct tour_stop ipc_stops[] = {
    {"-i pipe -b 1k", "a pipe, small buffers", NULL},
    {"-i pipe -b 16k", "larger ones", NULL},
    {"-i pipe -b 128k", "more than a pipe holds", NULL},
    {"-i pipe -b 1m", "much more", NULL},
    {"-i local -b 1k", "a socket pair, small buffers", NULL},
    {"-i local -b 16k", "larger ones", NULL},
    {"-i local -b 128k", "larger than the socket's own", NULL},
    {"-i local -b 1m", "much more", NULL},
    {"-i local -s -b 1k", "the socket's buffers are as small", NULL},
    {"-i local -s -b 16k", "and grow", NULL},
    {"-i local -s -b 128k", "with those", NULL},
    {"-i local -s -b 1m", "of the program", NULL},
};

#define KIB_IN_MIB 1024
static const struct tour_column ipc_columns[] = {
    FIGURE(NULL, "moved", "bytes_per_second", "bytes/s", 1),
    FIGURE("on-CPU time/MiB", "sender", "sender_cpu_ns_per_kib", "ns", KIB_IN_MIB),
    FIGURE("on-CPU time/MiB", "receiver", "receiver_cpu_ns_per_kib", "ns", KIB_IN_MIB),
    CALLS("calls/MiB", "write", tour_calls_per_mib, "sender", NULL),
    CALLS("calls/MiB", "read", tour_calls_per_mib, "receiver", NULL),
    /* The kernel saw every byte twice. */
    {"calls/MiB", "both, seen", tour_calls_per_mib, "both", NULL, "1", 2},
    FIGURE(NULL, "send buffer", "send_buffer_bytes", "bytes", 1),
};

static const struct tour_part ipc_parts[] = {{
    .command = "ipc",
    .common = "-d 500ms -w 50ms --observe self",
    .milliseconds = 850,
    .observation = "calls of both ends, seen",
    .stops = ipc_stops,
    .stop_count = LENGTH(ipc_stops),
    .columns = ipc_columns,
    .column_count = LENGTH(ipc_columns),
    .lesson = "16 MiB a transfer between two threads. A small buffer spends its time in entering "
              "the kernel and in waking the other end; the on-CPU time for each MiB falls as the "
              "buffer grows, until it no longer fits into the CPU's caches. What the kernel holds "
              "between the ends counts as well: a pipe so many pages, a socket pair its send "
              "buffer, which with -s is the program's: then each write is taken whole, and a small "
              "one is all that is ever under way.",
}};

const struct tour_chapter tour_chapters[] = {
    {"call", "calls: when to write", call_parts, LENGTH(call_parts)},
    {"ws", "WebSocket: what opening and closing costs", ws_parts, LENGTH(ws_parts)},
    {"http", "HTTP: threads, poll, epoll and io_uring", http_parts, LENGTH(http_parts)},
    {"stream", "streams and pings: bytes a second, and time there and back", stream_parts,
     LENGTH(stream_parts)},
    {"ipc", "pipes and socket pairs: how large a buffer", ipc_parts, LENGTH(ipc_parts)},
};
const size_t tour_chapter_count = LENGTH(tour_chapters);
