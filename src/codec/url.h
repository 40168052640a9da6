/* URLs of http, https, ws and wss (RFC 3986; RFC 6455, section 3). Strict; no memory of its own:
 * what is found lies in the text. */
#ifndef SONDE_CODEC_URL_H
#define SONDE_CODEC_URL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "codec/slice.h"

/* What can be wrong, in the order in which it is looked for. */
#define URL_ERRORS(X)                                                                              \
    X(EMPTY, "empty")                                                                              \
    X(LONG, "longer than 8,000 characters")                                                        \
    X(CHARACTER, "a character that a URL writes as %XX: blanks, controls, quotes, what is not "    \
                 "ASCII")                                                                          \
    X(SCHEME_MISSING, "no scheme before \"://\"")                                                  \
    X(SCHEME, "a scheme that is not spoken here")                                                  \
    X(FRAGMENT, "a fragment (#...), which a WebSocket's URL cannot have")                          \
    X(USER, "a user's name before the host: name and password belong into a header")               \
    X(HOST_MISSING, "no host")                                                                     \
    X(HOST, "a host that is no name: letters, digits, '-' and '_' between dots")                   \
    X(IPV4, "a host that is no IPv4 address of four numbers from 0 to 255")                        \
    X(IPV6, "a host in brackets that is no IPv6 address")                                          \
    X(PORT, "a port that is no number from 1 to 65535")                                            \
    X(PERCENT, "a '%' without two hexadecimal digits behind it")                                   \
    /* of a path that is decoded */                                                                \
    X(ZERO, "a path with a zero byte (%00)")                                                       \
    X(SLASH, "a path with a '/' inside a name (%2F)")                                              \
    X(DOTS, "a path that climbs (..)")                                                             \
    X(ROOM, "a path longer than is allowed")

enum url_error {
    URL_ERROR_BASE = -4000, /* errors are negative, and no errno */
#define X(name, text) URL_BAD_##name,
    URL_ERRORS(X)
#undef X
        URL_ERROR_END
};

/* What an enum url_error says, for people. */
const char *url_error_text(int error);

/* "PORT"; "unknown" for what is no error. */
const char *url_error_name(int error);

enum { URL_MOST = 8000 };

enum url_family { URL_HTTP, URL_WEBSOCKET };

struct url {
    bool secure;
    bool ipv6;           /* the host is an address, without its brackets */
    uint16_t port;       /* the scheme's own where none is named */
    bool usual;          /* it is the scheme's own */
    struct slice scheme; /* as it is written */
    struct slice host;
    struct slice target; /* path and query, without a fragment; where there is no path, the query
                            or nothing, and url_target_write puts "/" before it */
};

/* 0, or a negative enum url_error. A fragment is no part of what is asked for, and passed over
 * (ws and wss: an error). */
int url_parse(enum url_family family, struct slice text, struct url *url);

/* A path with its query alone, "/a?x=1", as url_parse judges that of http: in url->target, all else
 * is zero. What does not begin with '/' is URL_BAD_SCHEME_MISSING. */
int url_path_parse(struct slice text, struct url *url);

/* Write "/a?x=1", and "example.org:8080" or "[::1]:8080" as Host has it (without the scheme's own
 * port), with a zero behind them. The length, or URL_BAD_ROOM. */
ssize_t url_target_write(const struct url *url, char *to, size_t room);
ssize_t url_host_write(const struct url *url, char *to, size_t room);

/* Decodes the path of a target, up to its query, for a name among files: what decoding it could
 * hide (zero bytes, slashes, "..") is an error. The length, or a negative enum url_error. */
ssize_t url_path_decode(struct slice target, char *to, size_t room);

#endif
