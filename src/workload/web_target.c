#include "workload/web_target.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/net.h"

struct scheme {
    enum url_family family;
    const char *text; /* with its colon */
    const char *transport;
    bool secure;
};

static const struct scheme schemes[] = {
    {URL_HTTP, "http:", "tcp:", false},
    {URL_HTTP, "https:", "tls:", true},
    {URL_WEBSOCKET, "ws:", "tcp:", false},
    {URL_WEBSOCKET, "wss:", "tls:", true},
};

/* "http+unix:PATH": its rest; NULL where it is none. */
static const char *prefixed(enum url_family family, const char *target)
{
    const char *prefix = family == URL_HTTP ? "http+" : "ws+";
    size_t length = strlen(prefix);
    return strncasecmp(target, prefix, length) == 0 ? target + length : NULL;
}

/* What is wrong, or NULL. */
static const char *take_url(const struct scheme *scheme, const char *target, struct web_target *to)
{
    struct url url;
    int failed = url_parse(scheme->family, slice_of(target), &url);
    if (failed) {
        return url_error_text(failed);
    }
    if (url_host_write(&url, to->host, sizeof to->host) < 0) {
        return "a host longer than any that there is";
    }
    if (url_target_write(&url, to->path, sizeof to->path) < 0) {
        return url_error_text(URL_BAD_LONG);
    }
    snprintf(to->plain, sizeof to->plain, "%s//%s%.*s%s:%u", scheme->transport, url.ipv6 ? "[" : "",
             (int)url.host.length, url.host.at, url.ipv6 ? "]" : "", url.port);
    to->named = true;
    return NULL;
}

/* A text without a scheme, such as "127.0.0.1:9000/chat". */
static bool is_bare_host(const char *target)
{
    size_t bracket = target[0] == '[' ? strcspn(target, "]") : 0;
    size_t length = bracket + strcspn(target + bracket, ":/?");
    for (size_t i = 0; transports[i]; i++) {
        if (strlen(transports[i]->scheme) == length &&
            strncasecmp(target, transports[i]->scheme, length) == 0) {
            return false;
        }
    }
    bool port = length > 0 && target[length] == ':' && target[length + 1] >= '0' &&
                target[length + 1] <= '9';
    bool path = length > 0 && target[length] == '/' && strchr(target, ':') == NULL;
    return port || path;
}

/* Texts that are nearly the URL of a family. */
static void look_nearby(enum url_family family, const char *target, struct web_target *to)
{
    const char *names[2][2] = {[URL_HTTP] = {"http", "https"}, [URL_WEBSOCKET] = {"ws", "wss"}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const struct scheme *scheme = &schemes[i];
        size_t length = strlen(scheme->text);
        if (scheme->family != family && strncasecmp(target, scheme->text, length) == 0 &&
            strncmp(target + length, "//", 2) == 0) {
            to->wrong =
                family == URL_HTTP ? "it is a URL of a WebSocket" : "it is no URL of a WebSocket";
            snprintf(to->meant, sizeof to->meant, "%s:%s", names[family][scheme->secure],
                     target + length);
            return;
        }
    }
    if (is_bare_host(target)) {
        to->wrong = family == URL_HTTP ? "it says neither http:// nor https://"
                                       : "it says neither ws:// nor wss://";
        snprintf(to->meant, sizeof to->meant, "%s://%s", names[family][0], target);
    }
}

const char *web_target_take(enum url_family family, const char *target, struct web_target *to)
{
    to->given = target;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const struct scheme *scheme = &schemes[i];
        size_t length = strlen(scheme->text);
        if (scheme->family != family || strncasecmp(target, scheme->text, length) != 0) {
            continue;
        }
        to->secure = scheme->secure;
        if (target[length] == '\0') {
            return scheme->transport; /* sonde's own server */
        }
        to->wrong = strncmp(target + length, "//", 2) != 0 ? "no // behind its scheme"
                                                           : take_url(scheme, target, to);
        return to->wrong ? scheme->transport : to->plain;
    }
    const char *rest = prefixed(family, target);
    target = rest ? rest : target;
    size_t length = strlen(target);
    if (length && target[length - 1] != ':') { /* else sonde's own server is meant */
        snprintf(to->path, sizeof to->path, "/");
    }
    to->secure = strncasecmp(target, "tls:", 4) == 0;
    look_nearby(family, target, to);
    return to->wrong ? "tcp:" : target;
}

int web_target_check(enum url_family family, const struct web_target *target, struct err *error)
{
    if (!target->wrong) {
        return 0;
    }
    err_set(error, ERR_USAGE, target->given, "%s", target->wrong);
    return target->meant[0] ? err_hint(error, "did you mean %s?", target->meant)
           : family == URL_HTTP
               ? err_hint(error, "write http://HOST:PORT/PATH?QUERY or, through TLS, https://...")
               : err_hint(error, "write ws://HOST:PORT/PATH?QUERY or, through TLS, wss://...");
}

bool web_target_same(const struct web_target *target, const struct url *url)
{
    char host[WEB_HOST_MOST];
    return target->named && target->secure == url->secure &&
           url_host_write(url, host, sizeof host) >= 0 && strcasecmp(host, target->host) == 0;
}
