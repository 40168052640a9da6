/* What is served where: the addresses of `sonde serve`. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/serve_state.h"
#include "codec/websocket_handshake.h"
#include "run/control_server.h"

/* The members that all have. */
#define SERVICE(prefix_, does_, role_, metrics_, count, member)                                    \
    .prefix = (prefix_), .does = (does_), .role = (role_), .metrics = (metrics_),                  \
    .metric_count = (count), .options_offset = offsetof(struct serving, member)

static const struct service echo_service = {
    SERVICE("", "echoes every byte", &echo_server, echo_metrics, ECHO_METRICS, echo)};
static const struct service discard_service = {
    SERVICE("discard+", "answers nothing", &echo_server, discard_metrics, DISCARD_METRICS, echo)};
/* In the order of enum ping_format. */
static const struct service ping_services[] = {
    {SERVICE("ping+", "answers message by message", &ping_server, ping_server_metrics,
             PING_SERVER_METRICS, ping)},
    {SERVICE("sockperf+", "answers sockperf's messages", &ping_server, ping_server_metrics,
             PING_SERVER_METRICS, ping)},
};
/* Those with schemes of their own. */
static const struct service protocols[] = {
    {SERVICE("ws+", "is a WebSocket server", &ws_server, ws_server_metrics, WS_SERVER_METRICS, ws),
     .plain = "ws", .secure = "wss", .name = "WebSocket", .why_not = websocket_why_not},
    {SERVICE("http+", "is an HTTP server", &http_server, http_server_metrics, HTTP_SERVER_METRICS,
             http),
     .plain = "http", .secure = "https", .name = "HTTP"},
};

static bool is_bytes(const struct service *service)
{
    return service == &echo_service || service == &discard_service;
}

/* Forms beside the transports'. */
static const char *const further[] = {"ping+tcp://HOST:PORT",
                                      "sockperf+udp://HOST[:PORT]",
                                      "sockperf+tcp://HOST[:PORT]",
                                      "discard+tcp://HOST:PORT",
                                      "ws://HOST:PORT",
                                      "wss://HOST:PORT",
                                      "http://HOST:PORT",
                                      "https://HOST:PORT",
                                      "sonde://HOST:PORT",
                                      "iperf3://HOST[:PORT]",
                                      NULL};

const void *serve_options_of(const struct serving *serving)
{
    return (const char *)serving + serving->service->options_offset;
}

/* What the scheme of a transport is called where it carries the service's protocol; NULL: it has no
 * such name. */
static const char *own_scheme(const struct serving *serving, const struct address *address)
{
    const struct transport_ops *transport = address->transport;
    return transport == &transport_tcp   ? serving->service->plain
           : transport == &transport_tls ? serving->service->secure
                                         : NULL;
}

const char *serve_text_of(const struct serving *serving, const struct address *address)
{
    return address->text + (own_scheme(serving, address) ? strlen(address->transport->scheme) : 0);
}

const char *serve_prefix_of(const struct serving *serving, const struct address *address)
{
    const char *scheme = own_scheme(serving, address);
    if (scheme) {
        return scheme;
    }
    bool plain = serving->service == &ping_services[PING_OWN] &&
                 address->transport->caps & TRANSPORT_DATAGRAMS;
    return plain ? "" : serving->service->prefix;
}

/* Takes the prefix of a service off a URL; which one that is, NULL where there is none. */
static const struct service *take_prefix(const char **url)
{
    uint32_t format = PING_OWN;
    size_t length = strlen(discard_service.prefix);
    if (strncmp(*url, discard_service.prefix, length) == 0) {
        *url += length;
        return &discard_service;
    }
    return ping_take_format(url, &format) ? &ping_services[format] : NULL;
}

/* What is to be served at an address: its prefix says it; datagrams are answered one by one. */
static int take_service(struct serving *serving, const char *url, const struct service *prefixed,
                        const struct address *address, struct err *error)
{
    bool datagrams = address->transport->caps & TRANSPORT_DATAGRAMS;
    const struct service *service = prefixed    ? prefixed
                                    : datagrams ? &ping_services[PING_OWN]
                                                : &echo_service;
    if (datagrams && service->name) {
        return err_set(error, ERR_USAGE, url, "%s needs a stream of bytes", service->name);
    }
    if (datagrams && is_bytes(service)) {
        err_set(error, ERR_USAGE, url, "only streams are read to their end");
        return err_hint(error, "write discard+tcp://HOST:PORT or discard+unix:PATH");
    }
    if (serving->service && serving->service != service) {
        err_set(error, ERR_USAGE, url,
                "%s, the address before it %s: one process serves one kind, so that its figures "
                "are of one thing",
                service->does, serving->service->does);
        return err_hint(error, "start another sonde serve for it");
    }
    serving->service = service;
    bool messages = service == &ping_services[PING_OWN] || service == &ping_services[PING_SOCKPERF];
    serving->ping.format = messages ? (uint32_t)(service - ping_services) : PING_OWN;
    serving->echo.echo.discard = service == &discard_service;
    return 0;
}

/* Behind "sonde://" and the like; NULL where it is another address. */
static const char *rest_of(const char *text, const char *scheme)
{
    size_t length = strlen(scheme);
    return strncasecmp(text, scheme, length) == 0 ? text + length : NULL;
}

static int take_control(struct serving *serving, const char *rest, struct err *error)
{
    const char *file = serving->options.secret;
    char reason[80];
    if (file && serving->control_count == 0) {
        if (tls_why_not(reason, sizeof reason) < 0) {
            return err_set(error, ERR_UNSUPPORTED, "--secret", "%s", reason);
        }
        if (tls_secret_read(file, &serving->secret, error) < 0) {
            return -1;
        }
    }
    return control_address_parse(rest, file ? &serving->secret : NULL, true,
                                 &serving->controls[serving->control_count++], error);
}

/* Schemes of clients' that a server of another name serves. */
static int refuse_client_scheme(const char *url, struct err *error)
{
    static const char *const schemes[][2] = {{"sonde+udp://", "sonde://HOST:PORT"},
                                             {"iperf3+udp://", "iperf3://HOST[:PORT]"}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (rest_of(url, schemes[i][0])) {
            err_set(error, ERR_USAGE, url, "one address serves both, with TCP and with UDP");
            return err_hint(error, "write %s", schemes[i][1]);
        }
    }
    return 0;
}

/* Behind "ws:" where that is the scheme; NULL: it is another. */
static const char *behind_scheme(const char *url, const char *scheme)
{
    const char *rest = rest_of(url, scheme);
    return rest && strncmp(rest, "://", 3) == 0 ? rest + 3 : NULL;
}

/* What a URL with a protocol's own scheme or prefix comes to. */
struct protocol_url {
    const struct service *service; /* NULL: it is another address */
    const char *scheme;            /* as it was written; NULL: a prefix was */
    const char *path;              /* what is left out, "" too */
    const char *rest;              /* the address of the transport */
    char plain[sizeof((struct address *)0)->text];
};

/* "ws://HOST:PORT/PATH" or "wss:", at any path, or "ws+" and an address of a stream; likewise of
 * the other protocols. 0 or -1 with *error. */
static int take_protocol(const char *url, struct protocol_url *taken, struct err *error)
{
    char reason[160];
    const char *plain = NULL, *secure = NULL, *prefixed = NULL;
    *taken = (struct protocol_url){.path = "", .rest = url};
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols && !taken->service; i++) {
        plain = behind_scheme(url, protocols[i].plain);
        secure = behind_scheme(url, protocols[i].secure);
        prefixed = rest_of(url, protocols[i].prefix);
        taken->service = plain || secure || prefixed ? &protocols[i] : NULL;
    }
    if (!taken->service) {
        return 0;
    }
    if (taken->service->why_not && taken->service->why_not(reason, sizeof reason) < 0) {
        return err_set(error, ERR_UNSUPPORTED, url, "%s", reason);
    }
    if (prefixed) {
        taken->rest = prefixed;
        return 0;
    }
    const char *rest = plain ? plain : secure;
    int host = (int)strcspn(rest, "/?#");
    taken->scheme = secure ? taken->service->secure : taken->service->plain;
    taken->path = rest + host;
    taken->rest = taken->plain;
    if (memchr(rest, '@', (size_t)host)) {
        return err_set(error, ERR_USAGE, url, "a server has no user's name");
    }
    snprintf(taken->plain, sizeof taken->plain, "%s://%.*s", secure ? "tls" : "tcp", host, rest);
    return 0;
}

/* An error of the address behind a prefix: about what was written. */
static int error_of(struct err *error, const char *rest, const struct service *prefixed,
                    const char *own_scheme_given)
{
    char scheme[24], whole[48];
    snprintf(scheme, sizeof scheme, "%.*s", (int)strcspn(rest, ":"), rest);
    snprintf(whole, sizeof whole, "%s%s", prefixed ? prefixed->prefix : "", scheme);
    return address_error_of(error, scheme, own_scheme_given ? own_scheme_given : whole);
}

static int take_address(struct serving *serving, const char *url, struct err *error)
{
    struct address *address = &serving->addresses[serving->address_count];
    const char *rest = url;
    char ported[sizeof address->text];
    struct protocol_url protocol;
    if (take_protocol(url, &protocol, error) < 0) {
        return -1;
    }
    const struct service *prefixed = protocol.service ? protocol.service : take_prefix(&rest);
    rest = protocol.service ? protocol.rest : rest;
    if (prefixed == &ping_services[PING_SOCKPERF]) {
        rest = ping_sockperf_port(rest, ported, sizeof ported);
    }
    if (refuse_client_scheme(url, error) < 0) {
        return -1;
    }
    if (address_parse_among(rest, ADDRESS_TO_LISTEN, further, address, error) < 0) {
        return error_of(error, rest, prefixed, protocol.scheme);
    }
    if (take_service(serving, url, prefixed, address, error) < 0) {
        return -1;
    }
    if (!address->transport->listen) {
        err_set(error, ERR_USAGE, url, "nobody could connect to it");
        return err_hint(error, "serve tcp: or unix:; for local: and pipe: sonde call makes "
                               "both ends itself");
    }
    if (protocol.path[0] && strcmp(protocol.path, "/") != 0) {
        serving->pathless |= UINT64_C(1) << serving->address_count;
    }
    serving->address_count++;
    return 0;
}

int serve_take_addresses(struct serving *serving, const struct opt_arguments *arguments,
                         struct err *error)
{
    if (arguments->count == 0 || arguments->count > LISTEN_MAX || arguments->rest) {
        err_set(error, ERR_USAGE, "serve",
                arguments->count ? "too many addresses" : "no address to listen on");
        return err_hint(error, "such as tcp://127.0.0.1:7000, unix:/tmp/echo.sock or "
                               "sonde://127.0.0.1:7001");
    }
    for (size_t i = 0; i < arguments->count; i++) {
        const char *url = arguments->items[i], *rest = rest_of(url, "sonde://");
        const char *iperf3 = rest_of(url, "iperf3://");
        if (rest) {
            if (take_control(serving, rest, error) < 0) {
                return -1;
            }
            continue;
        }
        if (iperf3) {
            if (serve_iperf3_parse(iperf3, &serving->iperf3[serving->iperf3_count++], error) < 0) {
                return -1;
            }
            continue;
        }
        if (take_address(serving, url, error) < 0) {
            return -1;
        }
    }
    if (!serving->service) {
        serving->service = &echo_service; /* of nobody */
    }
    return 0;
}
