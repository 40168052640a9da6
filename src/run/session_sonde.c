/* A session with another sonde: `sonde serve sonde://HOST:PORT`. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "codec/hello.h"
#include "report/record_read.h"
#include "run/control_knock.h"
#include "run/control_link.h"
#include "run/control_plan.h"
#include "run/control_server.h"
#include "run/control_totals.h"
#include "run/session.h"

/* What the server answers at once; what it has to load probes for; its record. */
#define ANSWER_NS (15 * NS_PER_SECOND)
#define PREPARE_NS (60 * NS_PER_SECOND)
#define RECORD_NS (20 * NS_PER_SECOND)
/* The end of the window: all that the server has to do is to cut its workers, which it waits 2 s
 * for. A path that broke in the window is noticed here, and the user sees nothing meanwhile. */
#define SYNC_NS (5 * NS_PER_SECOND)
/* Data connections that are being established at the same time: less than its backlog. */
#define CONNECTING_MOST 128u

struct session {
    struct session_config config;
    struct tls_secret secret;
    bool secured;
    struct address address; /* of the server; text: sonde://HOST:PORT */
    struct address data;    /* where its data connections go */
    struct control_link link;
    struct control_message ready, connected, record; /* owned */
    struct sockaddr_storage *sources;                /* owned; NULL: the kernel's choice */
    size_t source_count;
    struct err failure; /* the first of what does not wait: it is told at the next that does */
};

static int stop_of(const struct session *session)
{
    return session->config.stop_fd;
}

/* Sends; an error is kept for later. What the server said before it hung up says more than that
 * it did. */
static void tell(struct session *session, const struct control_message *message)
{
    struct control_message said;
    struct err failed = {0};
    if (session->failure.code != ERR_NONE ||
        control_link_send(&session->link, message, &failed) == 0) {
        return;
    }
    while (control_link_await(&session->link, &said, 0, -1, &session->failure) == 0) {
        control_release(&said);
    }
    if (!session->link.refused) {
        session->failure = failed;
    }
}

static int tell_or_fail(struct session *session, const struct control_message *message,
                        struct err *error)
{
    tell(session, message);
    if (session->failure.code != ERR_NONE) {
        *error = session->failure;
        return -1;
    }
    return 0;
}

/* What fails here fails for ever: whoever asks next is told the same. */
static int expect(struct session *session, enum control_kind kind, struct control_message *message,
                  uint64_t wait_ns, struct err *error)
{
    int result = control_link_expect(&session->link, kind, message, clock_now_ns() + wait_ns,
                                     stop_of(session), error);
    if (result < 0 && session->failure.code == ERR_NONE) {
        session->failure = *error;
    }
    return result;
}

/* ---- connecting ---- */

/* Whether a socket that was told to connect has, until an instant. */
static int await_connect(const struct session *session, int fd, uint64_t until_ns,
                         struct err *error)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns) {
            err_set(error, ERR_SYSTEM, session->address.text, "does not answer");
            return err_hint(error, "is sonde serve running there? see --connect-timeout");
        }
        struct timespec wait = clock_timespec(until_ns - now_ns);
        struct pollfd files[] = {{.fd = fd, .events = POLLOUT},
                                 {.fd = stop_of(session), .events = POLLIN}};
        if (ppoll(files, 2, &wait, NULL) < 0 && errno != EINTR) {
            return err_system(error, errno, session->address.text, "cannot wait");
        }
        if (files[1].revents) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted while connecting");
        }
        if (files[0].revents) {
            break;
        }
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) < 0 || failed) {
        err_system(error, failed ? failed : errno, session->address.text, "cannot connect");
        return failed == ECONNREFUSED ? err_hint(error, "is sonde serve running there?") : -1;
    }
    return 0;
}

static int begin_connect(const struct address *address, const struct net_tuning *tuning,
                         struct err *error)
{
    int fd = address->transport->open(address, tuning, error);
    if (fd >= 0 &&
        connect(fd, (const struct sockaddr *)&address->socket_address, address->length) < 0 &&
        errno != EINPROGRESS) {
        err_system(error, errno, address->text, "cannot connect");
        close(fd);
        return -1;
    }
    return fd;
}

static int open_link(struct session *session, struct err *error)
{
    const struct net_tuning tuning = {.nodelay = true};
    uint64_t until_ns = clock_now_ns() + session->config.plan->options->connect_timeout_ns;
    int fd = begin_connect(&session->address, &tuning, error);
    if (fd < 0) {
        return -1;
    }
    if (await_connect(session, fd, until_ns, error) < 0) {
        close(fd);
        return -1;
    }
    return control_link_open(&session->link, fd, TLS_CLIENT,
                             session->secured ? &session->secret : NULL, CONTROL_TEXT_MOST,
                             session->address.text, error);
}

static int say_hello(struct session *session, struct err *error)
{
    const struct control_message hello = {.kind = CONTROL_HELLO,
                                          .version_least = CONTROL_VERSION,
                                          .version_most = CONTROL_VERSION,
                                          .program = "sonde " SONDE_VERSION};
    struct control_message answer;
    /* TLS has to be over before anything can be said in it. */
    if (control_link_secure(&session->link, clock_now_ns() + ANSWER_NS, stop_of(session), error) <
            0 ||
        control_link_send(&session->link, &hello, error) < 0 ||
        expect(session, CONTROL_HELLO, &answer, ANSWER_NS, error) < 0) {
        return -1;
    }
    bool known = answer.version_least <= CONTROL_VERSION && answer.version_most >= CONTROL_VERSION;
    if (!known) {
        err_set(error, ERR_UNSUPPORTED, session->address.text,
                "speaks versions %lu to %lu of the control channel, not %d", answer.version_least,
                answer.version_most, CONTROL_VERSION);
    }
    control_release(&answer);
    return known ? 0 : -1;
}

static bool wants_observation(const struct run_options *options)
{
    for (size_t i = 0; i < options->watch.observe.count; i++) {
        if (strcmp(options->watch.observe.items[i], "server") == 0) {
            return true;
        }
    }
    /* Probes without --observe look at all that is sonde's. */
    return options->watch.observe.count == 0 && options->watch.probes.count > 0;
}

static int agree(struct session *session, struct err *error)
{
    const struct run_plan *plan = session->config.plan;
    struct control_message prepare;
    if (control_plan_message(plan, wants_observation(plan->options), &prepare, error) < 0) {
        return -1;
    }
    int result = control_link_send(&session->link, &prepare, error);
    control_plan_message_release(&prepare);
    return result < 0 ? -1 : expect(session, CONTROL_READY, &session->ready, ANSWER_NS, error);
}

/* What the server's machine is, beside what this one is; of several runs only once. */
static int describe_machine(struct session *session, struct err *error)
{
    struct record *record = session->config.record;
    const char *name;
    json_t *value;
    json_object_foreach(session->ready.machine, name, value)
    {
        char key[80];
        bool known = false;
        snprintf(key, sizeof key, "server_%.64s", name);
        for (size_t i = 0; i < record->machine_count; i++) {
            known |= strcmp(record->machine[i].key, key) == 0;
        }
        if (!known && record_add_machine(record, key, false, "%s", json_string_value(value)) < 0) {
            return err_system(error, ENOMEM, "memory", "cannot keep the record");
        }
    }
    return 0;
}

static void close_session(struct session *session);

static int open_session(struct session **opened, const struct session_config *config,
                        struct err *error)
{
    const struct run_options *options = config->plan->options;
    struct session *session = *opened = calloc(1, sizeof *session);
    if (!session) {
        return err_system(error, ENOMEM, "memory", "cannot start");
    }
    session->config = *config;
    session->link.fd = -1;
    session->secured = options->secret != NULL;
    if (options->sources && config->plan->session->datagrams) {
        close_session(session);
        *opened = NULL;
        err_set(error, ERR_USAGE, "--source", "cannot be combined with sonde+udp://");
        return err_hint(error, "its datagrams come from where the control channel does");
    }
    if ((options->sources && address_parse_sources(options->sources, &session->sources,
                                                   &session->source_count, error) < 0) ||
        (session->secured && tls_secret_read(options->secret, &session->secret, error) < 0) ||
        control_address_parse(config->target, session->secured ? &session->secret : NULL, false,
                              &session->address, error) < 0 ||
        open_link(session, error) < 0 || say_hello(session, error) < 0 ||
        agree(session, error) < 0 || describe_machine(session, error) < 0) {
        close_session(session);
        *opened = NULL;
        return -1;
    }
    return 0;
}

/* ---- data connections ---- */

static void read_token(const char *text, uint8_t token[HELLO_TOKEN_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HELLO_TOKEN_BYTES; i++) {
        const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);
        token[i] = (uint8_t)((high ? (unsigned)(high - digits) : 0) << 4 |
                             (low ? (unsigned)(low - digits) : 0));
    }
}

/* The server's data port at the address where it is reached already. */
static void aim_at_data(struct session *session)
{
    struct sockaddr_storage *to = &session->data.socket_address;
    session->data = session->address;
    session->data.transport =
        session->config.plan->session->datagrams ? &transport_udp : &transport_tcp;
    in_port_t port = htons((uint16_t)session->ready.port);
    if (to->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)to)->sin6_port = port;
    } else {
        ((struct sockaddr_in *)to)->sin_port = port;
    }
}

static void choose_source(const struct session *session, uint32_t number, struct net_tuning *tuning)
{
    if (session->source_count) {
        tuning->source = &session->sources[number % session->source_count];
        tuning->source_length = address_source_length(tuning->source);
    }
}

/* Data connections of datagrams: knocks with all of them until each has been let in. */
static int knock_all(struct session *session, struct net_end *ends, uint32_t count,
                     uint64_t until_ns, struct err *error)
{
    const struct control_message sync = {.kind = CONTROL_SYNC};
    struct net_tuning tuning;
    uint8_t ignored, token[KNOCK_TOKEN_BYTES];
    run_tuning(session->config.plan, &tuning, &ignored);
    for (uint32_t i = 0; i < count; i++) {
        int fd = begin_connect(&session->data, &tuning, error);
        if (fd < 0) {
            return -1;
        }
        ends[i] = (struct net_end){fd, fd};
    }
    read_token(session->ready.token, token);
    return control_knock(ends, count, token, session->address.text, until_ns, stop_of(session),
                         error) < 0
               ? -1
               : control_link_send(&session->link, &sync, error);
}

/* Some connections at a time, each of which says whose it is. */
static int connect_some(struct session *session, struct net_end *ends, uint32_t first,
                        uint32_t count, uint64_t until_ns, struct err *error)
{
    struct net_tuning tuning;
    uint8_t ignored;
    struct hello hello = {0};
    uint8_t bytes[HELLO_BYTES];
    run_tuning(session->config.plan, &tuning, &ignored);
    read_token(session->ready.token, hello.token);
    for (uint32_t i = first; i < first + count; i++) {
        choose_source(session, i, &tuning);
        int fd = begin_connect(&session->data, &tuning, error);
        if (fd < 0) {
            return -1;
        }
        ends[i] = (struct net_end){fd, fd};
    }
    for (uint32_t i = first; i < first + count; i++) {
        hello.number = i;
        hello_encode(bytes, &hello);
        if (await_connect(session, ends[i].write_fd, until_ns, error) < 0) {
            return -1;
        }
        if (send(ends[i].write_fd, bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes) {
            return err_system(error, errno, session->address.text, "a data connection broke down");
        }
    }
    return 0;
}

static int connect_session(struct session *session, struct net_end *ends, uint32_t count,
                           struct err *error)
{
    uint64_t until_ns = clock_now_ns() + session->config.plan->options->connect_timeout_ns;
    int result = 0;
    for (uint32_t i = 0; i < count; i++) {
        ends[i] = (struct net_end){-1, -1};
    }
    aim_at_data(session);
    bool datagrams = session->data.transport->caps & TRANSPORT_DATAGRAMS;
    if (datagrams) {
        result = knock_all(session, ends, count, until_ns, error);
    }
    for (uint32_t done = 0; done < count && !datagrams && result == 0; done += CONNECTING_MOST) {
        uint32_t some = count - done < CONNECTING_MOST ? count - done : CONNECTING_MOST;
        result = connect_some(session, ends, done, some, until_ns, error);
    }
    if (result == 0) {
        result = expect(session, CONTROL_CONNECTED, &session->connected, PREPARE_NS, error);
    }
    for (uint32_t i = 0; i < count && result < 0; i++) {
        net_end_close(ends[i]);
        ends[i] = (struct net_end){-1, -1};
    }
    return result;
}

/* ---- the run ---- */

static int start_session(struct session *session, struct err *error)
{
    const struct control_message go = {.kind = CONTROL_GO};
    struct control_message answer;
    /* Its cut before this one has to be over: else the first operations would be in no sum. */
    if (tell_or_fail(session, &go, error) < 0 ||
        expect(session, CONTROL_GOING, &answer, ANSWER_NS, error) < 0) {
        return -1;
    }
    control_release(&answer);
    return 0;
}

/* The server says nothing while it is measured with, unless something is wrong. */
static bool peer_ended(struct session *session)
{
    struct control_message message;
    struct pollfd file = {.fd = session->link.fd, .events = POLLIN};
    if (session->failure.code != ERR_NONE) {
        return true;
    }
    if (poll(&file, 1, 0) <= 0) {
        return false;
    }
    if (control_link_await(&session->link, &message, clock_now_ns() + NS_PER_SECOND, -1,
                           &session->failure) == 0) {
        err_set(&session->failure, ERR_PROTOCOL, session->address.text,
                "the message \"%s\" out of turn", control_name(message.kind));
        control_release(&message);
    }
    return true;
}

static void cut(struct session *session, enum session_part part, enum session_gate gate)
{
    static const char *const parts[] = {CONTROL_PART_NONE, CONTROL_PART_PLAIN, CONTROL_PART_SEEN};
    static const char *const gates[] = {CONTROL_GATE_KEEP, CONTROL_GATE_OPEN, CONTROL_GATE_CLOSE};
    const struct control_message message = {
        .kind = CONTROL_CUT, .part = parts[part], .gate = gates[gate]};
    tell(session, &message);
}

static size_t probe_count(const struct session *session)
{
    return json_array_size(session->connected.probes);
}

static const char *probe_name(const struct session *session, size_t index)
{
    return json_string_value(json_array_get(session->connected.probes, index));
}

static int attach(struct session *session, const char *probe, struct err *error)
{
    const struct control_message message = {.kind = CONTROL_ATTACH,
                                            .probe_name = probe ? probe : ""};
    struct control_message answer;
    if (tell_or_fail(session, &message, error) < 0 ||
        expect(session, CONTROL_ATTACHED, &answer, ANSWER_NS, error) < 0) {
        return -1;
    }
    control_release(&answer);
    return 0;
}

static void seen(struct session *session, const uint64_t *counters, uint64_t window_ns)
{
    struct control_message message = {
        .kind = CONTROL_SEEN, .counters = control_counters_json(counters), .window_ns = window_ns};
    tell(session, &message);
    json_decref(message.counters);
}

static int sync_session(struct session *session, struct err *error)
{
    const struct control_message sync = {.kind = CONTROL_SYNC};
    struct control_message answer;
    if (tell_or_fail(session, &sync, error) < 0 ||
        expect(session, CONTROL_SYNCED, &answer, SYNC_NS, error) < 0) {
        /* Who does not say so little has no record either: it is not waited for. */
        if (session->failure.code == ERR_NONE && error->code != ERR_INTERRUPTED) {
            session->failure = *error;
        }
        return -1;
    }
    control_release(&answer);
    return 0;
}

static void block(struct session *session, const char *probe, uint64_t plain_operations,
                  uint64_t plain_ns, uint64_t seen_operations, uint64_t seen_ns)
{
    const struct control_message message = {.kind = CONTROL_BLOCK,
                                            .probe_name = probe,
                                            .plain_operations = plain_operations,
                                            .plain_ns = plain_ns,
                                            .seen_operations = seen_operations,
                                            .seen_ns = seen_ns};
    tell(session, &message);
}

static int finish(struct session *session, const struct session_own *own, struct err *error)
{
    const struct control_message message = {.kind = CONTROL_FINISH,
                                            .counters = control_counters_json(own->counters),
                                            .window_ns = own->window_ns};
    const struct control_message bye = {.kind = CONTROL_BYE};
    int told = tell_or_fail(session, &message, error);
    json_decref(message.counters);
    if (told < 0 || expect(session, CONTROL_RECORD, &session->record, RECORD_NS, error) < 0) {
        return -1;
    }
    return control_link_send(&session->link, &bye, error);
}

static int totals(struct session *session, struct session_totals *totals, struct err *error)
{
    return control_totals_read(session->record.totals, session->address.text, totals, error);
}

/* What the server has timed is made of the same parts as with an own server, which the text shows
 * within the client's. */
static void name_parts(struct record_run *run, const struct role *server)
{
    for (size_t i = 0; i < run->histogram_count; i++) {
        struct record_histogram *row = &run->histograms[i];
        for (size_t k = 0; k < server->histogram_count; k++) {
            const struct histogram_metric *metric = &server->histograms[k];
            if (strcmp(row->role, "server") == 0 && strcmp(row->metric->key, metric->key) == 0 &&
                strcmp(row->metric->unit, metric->unit) == 0) {
                row->metric = metric;
            }
        }
    }
}

static int fill(struct session *session, struct record_run *run, struct err *error)
{
    struct record *record = session->config.record;
    char own[sizeof run->observation];
    bool observing = run->observing;
    struct record_effect effect = run->effect;
    snprintf(own, sizeof own, "%s", run->observation);
    if (record_run_read(run, session->record.run, session->address.text, error) < 0) {
        return -1;
    }
    name_parts(run, session->config.plan->workload->server);
    if (!wants_observation(session->config.plan->options)) {
        snprintf(run->observation, sizeof run->observation, "%s", own);
    } else if (observing) { /* both ends: what the client says of itself leads */
        char there[sizeof run->observation];
        snprintf(there, sizeof there, "%s", run->observation);
        snprintf(run->observation, sizeof run->observation, "%.110s; there: %.100s", own, there);
    }
    if (observing || !run->observing) {
        run->effect = effect;
    }
    run->observing |= observing;
    json_t *warning;
    size_t i;
    json_array_foreach(session->record.warnings, i, warning)
    {
        if (record_add_warning(record, "server: %s", json_string_value(warning)) < 0) {
            return err_system(error, ENOMEM, "memory", "cannot keep the record");
        }
    }
    return 0;
}

static void close_session(struct session *session)
{
    if (!session) {
        return;
    }
    control_link_close(&session->link);
    control_release(&session->ready);
    control_release(&session->connected);
    control_release(&session->record);
    tls_secret_clear(&session->secret);
    free(session->sources);
    free(session);
}

#define BOTH                                                                                       \
    .own_server = true, .open = open_session, .connect = connect_session, .start = start_session,  \
    .peer_ended = peer_ended, .cut = cut, .probe_count = probe_count, .probe_name = probe_name,    \
    .attach = attach, .seen = seen, .block = block, .sync = sync_session, .finish = finish,        \
    .totals = totals, .fill = fill, .close = close_session

const struct session_ops session_sonde = {
    .scheme = "sonde",
    .form = "sonde://HOST:PORT",
    .help = "another sonde (sonde serve sonde://HOST:PORT): its side is measured too",
    BOTH,
};

const struct session_ops session_sonde_udp = {
    .scheme = "sonde+udp",
    .form = "sonde+udp://HOST:PORT",
    .help = "the same, with UDP for the data",
    .datagrams = true,
    BOTH,
};
