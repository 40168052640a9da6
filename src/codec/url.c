#include "codec/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <strings.h>

static const struct {
    const char *name, *text;
} errors[] = {
#define X(name, text) {#name, text},
    URL_ERRORS(X)
#undef X
};

static const struct {
    const char *name;
    uint16_t port;
    bool secure;
    uint8_t family;
} schemes[] = {{"http", 80, false, URL_HTTP},
               {"https", 443, true, URL_HTTP},
               {"ws", 80, false, URL_WEBSOCKET},
               {"wss", 443, true, URL_WEBSOCKET}};

enum {
    NAME_MOST = 253, /* characters of a host's name */
    LABEL_MOST = 63, /* between two dots of it */
    PORT_DIGITS_MOST = 5,
    IPV6_MOST = INET6_ADDRSTRLEN,
};

static bool is_error(int error)
{
    return error > URL_ERROR_BASE && error < URL_ERROR_END;
}

const char *url_error_text(int error)
{
    return is_error(error) ? errors[error - URL_ERROR_BASE - 1].text : "unknown error";
}

const char *url_error_name(int error)
{
    return is_error(error) ? errors[error - URL_ERROR_BASE - 1].name : "unknown";
}

/* ---- characters ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int hexadecimal(char c)
{
    return is_digit(c)            ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Whether it may stand anywhere in a URL (RFC 3986, section 2). */
static bool is_of_url(char c)
{
    return c > 0x20 && c < 0x7f && !strchr("\"<>\\^`{|}", c);
}

static struct slice cut(struct slice *text, size_t length)
{
    struct slice before = {text->at, length};
    text->at += length;
    text->length -= length;
    return before;
}

/* How many characters stand before the first one of a set. */
static size_t before(struct slice text, const char *set)
{
    size_t length = 0;
    while (length < text.length && !strchr(set, text.at[length])) {
        length++;
    }
    return length;
}

/* ---- parts ---- */

static int check_characters(struct slice text)
{
    if (text.length == 0) {
        return URL_BAD_EMPTY;
    }
    if (text.length > URL_MOST) {
        return URL_BAD_LONG;
    }
    for (size_t i = 0; i < text.length; i++) {
        if (!is_of_url(text.at[i])) {
            return URL_BAD_CHARACTER;
        }
    }
    return 0;
}

static int take_scheme(enum url_family family, struct slice *rest, struct url *url)
{
    size_t length = before(*rest, ":/?#[]@");
    if (length == 0 || rest->length - length < 3 || memcmp(rest->at + length, "://", 3) != 0) {
        return URL_BAD_SCHEME_MISSING;
    }
    url->scheme = cut(rest, length);
    cut(rest, 3);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (schemes[i].family == (uint8_t)family && strlen(schemes[i].name) == length &&
            strncasecmp(schemes[i].name, url->scheme.at, length) == 0) {
            url->secure = schemes[i].secure;
            url->port = schemes[i].port;
            url->usual = true;
            return 0;
        }
    }
    return URL_BAD_SCHEME;
}

/* Four numbers without zeros before them. */
static bool is_ipv4(struct slice host)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    if (host.length >= sizeof text) {
        return false;
    }
    memcpy(text, host.at, host.length);
    text[host.length] = '\0';
    return inet_pton(AF_INET, text, &address) == 1;
}

static bool is_ipv6(struct slice host)
{
    char text[IPV6_MOST];
    struct in6_addr address;
    if (host.length >= sizeof text) {
        return false;
    }
    memcpy(text, host.at, host.length);
    text[host.length] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool all_digits(struct slice text, bool sixteen)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_digit(text.at[i]) && !(sixteen && hexadecimal(text.at[i]) >= 0)) {
            return false;
        }
    }
    return true;
}

/* What ends with a number ("1", "10.1", "0x7f.1") could be read as an address in many ways. */
static bool ends_with_number(struct slice host)
{
    host.length -= host.at[host.length - 1] == '.';
    const char *dot = memrchr(host.at, '.', host.length);
    if (dot) {
        cut(&host, (size_t)(dot - host.at) + 1);
    }
    if (host.length >= 2 && host.at[0] == '0' && (host.at[1] | 0x20) == 'x') {
        cut(&host, 2);
        return all_digits(host, true);
    }
    return all_digits(host, false);
}

static int check_name(struct slice host)
{
    size_t label = 0;
    if (host.length > NAME_MOST) {
        return URL_BAD_HOST;
    }
    for (size_t i = 0; i < host.length; i++) {
        char c = host.at[i];
        if (c == '.' && label > 0) {
            label = 0;
        } else if (!(is_digit(c) || is_letter(c) || c == '-' || c == '_') || ++label > LABEL_MOST) {
            return URL_BAD_HOST;
        }
    }
    return ends_with_number(host) && !is_ipv4(host) ? URL_BAD_IPV4 : 0;
}

static int take_host(struct slice *rest, struct url *url)
{
    if (rest->length == 0 || strchr(":/?", rest->at[0])) {
        return URL_BAD_HOST_MISSING;
    }
    if (rest->at[0] != '[') {
        url->host = cut(rest, before(*rest, ":/?"));
        return check_name(url->host);
    }
    cut(rest, 1);
    url->host = cut(rest, before(*rest, "]/?"));
    url->ipv6 = true;
    if (rest->length == 0 || rest->at[0] != ']' || !is_ipv6(url->host)) {
        return URL_BAD_IPV6;
    }
    cut(rest, 1);
    return rest->length == 0 || strchr(":/?", rest->at[0]) ? 0 : URL_BAD_IPV6;
}

static int take_port(struct slice *rest, struct url *url)
{
    if (rest->length == 0 || rest->at[0] != ':') {
        return 0;
    }
    cut(rest, 1);
    struct slice text = cut(rest, before(*rest, "/?"));
    uint32_t port = 0;
    for (size_t i = 0; i < text.length && i < PORT_DIGITS_MOST + 1; i++) {
        if (!is_digit(text.at[i])) {
            return URL_BAD_PORT;
        }
        port = port * 10 + (uint32_t)(text.at[i] - '0');
    }
    if (text.length > PORT_DIGITS_MOST || port == 0 || port > UINT16_MAX) {
        return URL_BAD_PORT;
    }
    url->usual = port == url->port;
    url->port = (uint16_t)port;
    return 0;
}

static int check_target(struct slice target)
{
    for (size_t i = 0; i < target.length; i++) {
        if (strchr("[]", target.at[i])) {
            return URL_BAD_CHARACTER;
        }
        if (target.at[i] == '%' && (target.length - i < 3 || hexadecimal(target.at[i + 1]) < 0 ||
                                    hexadecimal(target.at[i + 2]) < 0)) {
            return URL_BAD_PERCENT;
        }
    }
    return 0;
}

static int parse(enum url_family family, struct slice rest, struct url *url)
{
    int error = check_characters(rest);
    error = error ? error : take_scheme(family, &rest, url);
    if (error) {
        return error;
    }
    size_t length = before(rest, "#");
    if (length < rest.length && family == URL_WEBSOCKET) {
        return URL_BAD_FRAGMENT;
    }
    rest.length = length;
    struct slice authority = {rest.at, before(rest, "/?")};
    if (authority.length && memchr(authority.at, '@', authority.length)) {
        return URL_BAD_USER;
    }
    error = take_host(&rest, url);
    error = error ? error : take_port(&rest, url);
    url->target = rest;
    return error ? error : check_target(rest);
}

int url_parse(enum url_family family, struct slice text, struct url *url)
{
    *url = (struct url){0};
    int error = parse(family, text, url);
    if (error) {
        *url = (struct url){0};
    }
    return error;
}

int url_path_parse(struct slice text, struct url *url)
{
    *url = (struct url){0};
    int error = check_characters(text);
    if (error) {
        return error;
    }
    if (text.at[0] != '/') {
        return URL_BAD_SCHEME_MISSING;
    }
    struct slice target = {text.at, before(text, "#")};
    error = check_target(target);
    url->target = error ? (struct slice){0} : target;
    return error;
}

/* ---- writing ---- */

static ssize_t fits(int length, size_t room)
{
    return length >= 0 && (size_t)length < room ? length : URL_BAD_ROOM;
}

ssize_t url_target_write(const struct url *url, char *to, size_t room)
{
    bool rooted = url->target.length && url->target.at[0] == '/';
    return fits(snprintf(to, room, "%s%.*s", rooted ? "" : "/", (int)url->target.length,
                         url->target.length ? url->target.at : ""),
                room);
}

ssize_t url_host_write(const struct url *url, char *to, size_t room)
{
    char port[sizeof ":65535"] = "";
    if (!url->usual) {
        snprintf(port, sizeof port, ":%u", url->port);
    }
    return fits(snprintf(to, room, "%s%.*s%s%s", url->ipv6 ? "[" : "", (int)url->host.length,
                         url->host.at, url->ipv6 ? "]" : "", port),
                room);
}

/* One character of a path; *at moves behind it. */
static int decode(struct slice path, size_t *at)
{
    char c = path.at[(*at)++];
    if (c != '%') {
        return c == '\0' ? URL_BAD_ZERO : (uint8_t)c;
    }
    int high = path.length - *at < 2 ? -1 : hexadecimal(path.at[*at]);
    int low = high < 0 ? -1 : hexadecimal(path.at[*at + 1]);
    if (low < 0) {
        return URL_BAD_PERCENT;
    }
    *at += 2;
    int value = high << 4 | low;
    return value == 0 ? URL_BAD_ZERO : value == '/' ? URL_BAD_SLASH : value;
}

static bool climbs(const char *name, size_t length)
{
    return length == 2 && name[0] == '.' && name[1] == '.';
}

ssize_t url_path_decode(struct slice target, char *to, size_t room)
{
    const char *query = target.length ? memchr(target.at, '?', target.length) : NULL;
    struct slice path = {target.at, query ? (size_t)(query - target.at) : target.length};
    size_t length = 0, name = 0; /* where the last name begins */
    for (size_t at = 0; at < path.length;) {
        int c = decode(path, &at);
        if (c < 0) {
            return c;
        }
        if (length + 1 >= room) {
            return URL_BAD_ROOM;
        }
        if (c == '/') {
            if (climbs(to + name, length - name)) {
                return URL_BAD_DOTS;
            }
            name = length + 1;
        }
        to[length++] = (char)c;
    }
    if (length >= room) {
        return URL_BAD_ROOM;
    }
    to[length] = '\0';
    return climbs(to + name, length - name) ? URL_BAD_DOTS : (ssize_t)length;
}
