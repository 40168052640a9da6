#include "net/net.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/opt.h"

enum { FORMS_MAX = 24, SCHEME_MAX = 32, SOURCES_MAX = 65536 };

const struct transport_ops *const transports[] = {
    &transport_tcp,        &transport_tls,   &transport_udp,  &transport_unix,
    &transport_unix_dgram, &transport_local, &transport_pipe, NULL};

/* What may be written in one place. */
struct choice {
    uint32_t flags;
    const char *const *further; /* forms beside the transports', NULL-terminated; NULL: none */
};

/* All of its forms; how many. */
static size_t collect_forms(const struct choice *choice, const char *forms[FORMS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; transports[i] && count < FORMS_MAX; i++) {
        if (!(choice->flags & ADDRESS_TO_LISTEN) || transports[i]->listen) {
            forms[count++] = transports[i]->form;
        }
    }
    for (size_t i = 0; choice->further && choice->further[i] && count < FORMS_MAX; i++) {
        forms[count++] = choice->further[i];
    }
    return count;
}

/* "write one of tcp://HOST:PORT, unix:PATH, ..." */
static int hint_forms(const struct choice *choice, struct err *error)
{
    const char *forms[FORMS_MAX];
    char list[sizeof error->hint] = "";
    size_t count = collect_forms(choice, forms), used = 0;
    for (size_t i = 0; i < count && used < sizeof list; i++) {
        int length = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", forms[i]);
        used += length > 0 ? (size_t)length : 0;
    }
    return err_hint(error, "write one of %s", list);
}

static bool is_number(const char *text)
{
    return text[0] && text[strspn(text, "0123456789")] == '\0';
}

/* A text that names no transport: says so, with the form that was most likely meant. */
static int no_scheme(const char *url, const struct choice *choice, struct err *error)
{
    const char *colon = strrchr(url, ':');

    err_set(error, ERR_USAGE, url, "no transport named");
    for (size_t i = 0; transports[i]; i++) {
        size_t length = strlen(transports[i]->scheme);
        if (!strncasecmp(url, transports[i]->scheme, length) &&
            !isalnum((unsigned char)url[length]) && url[length] != '.' && url[length] != '-') {
            return err_hint(error, "did you mean %s?", transports[i]->form);
        }
    }
    if (colon && is_number(colon + 1)) {
        return err_hint(error, "did you mean tcp://%s?", url);
    }
    if (strchr("/.@", url[0])) {
        return err_hint(error, "did you mean unix:%s?", url);
    }
    return hint_forms(choice, error);
}

static int unknown_scheme(const char *url, size_t length, const struct choice *choice,
                          struct err *error)
{
    const char *names[FORMS_MAX], *forms[FORMS_MAX];
    char typed[SCHEME_MAX], schemes[FORMS_MAX][SCHEME_MAX];

    if (is_number(url + length + 1) || strcspn(url, "/[.@") < length) {
        return no_scheme(url, choice, error);
    }
    snprintf(typed, sizeof typed, "%.*s", (int)length, url);
    size_t count = collect_forms(choice, forms);
    for (size_t i = 0; i < count; i++) {
        snprintf(schemes[i], SCHEME_MAX, "%.*s", (int)strcspn(forms[i], ":"), forms[i]);
        names[i] = schemes[i];
    }
    err_set(error, ERR_USAGE, url, "no transport \"%s\"", typed);
    const char *nearest = opt_nearest(typed, names, count);
    for (size_t i = 0; nearest && i < count; i++) {
        if (names[i] == nearest) {
            return err_hint(error, "did you mean %s?", forms[i]);
        }
    }
    if (!strcasecmp(typed, "ws") || !strcasecmp(typed, "wss")) {
        return err_hint(error, "sonde ws speaks WebSocket: sonde ws %s", url);
    }
    return hint_forms(choice, error);
}

/* Control characters and outer white space never belong to an address; inner blanks may stand in
 * the path of a unix socket. */
static int check_characters(const char *url, const struct choice *choice, struct err *error)
{
    size_t length = strlen(url);

    if (length == 0) {
        err_set(error, ERR_USAGE, "address", "empty");
        return hint_forms(choice, error);
    }
    for (size_t i = 0; i < length; i++) {
        if (iscntrl((unsigned char)url[i])) {
            return err_set(error, ERR_USAGE, "address", "holds a control character (code %d)",
                           (unsigned char)url[i]);
        }
    }
    if (url[0] == ' ' || url[length - 1] == ' ') {
        return err_set(error, ERR_USAGE, url, "white space around the address");
    }
    return 0;
}

int address_parse_among(const char *url, uint32_t flags, const char *const *further,
                        struct address *address, struct err *error)
{
    const struct choice choice = {.flags = flags, .further = further};
    *address = (struct address){0};
    if (check_characters(url, &choice, error)) {
        return -1;
    }
    const char *colon = strchr(url, ':');
    if (!colon || colon == url) {
        return no_scheme(url, &choice, error);
    }
    size_t length = (size_t)(colon - url);
    for (size_t i = 0; transports[i]; i++) {
        if (strlen(transports[i]->scheme) == length &&
            !strncasecmp(url, transports[i]->scheme, length)) {
            snprintf(address->text, sizeof address->text, "%s", url);
            address->transport = transports[i];
            address->own = transports[i]->caps & TRANSPORT_PAIRS;
            if (transports[i]->parse(colon + 1, flags, address, error)) {
                *address = (struct address){0};
                return -1;
            }
            return 0;
        }
    }
    return unknown_scheme(url, length, &choice, error);
}

int address_parse_with(const char *url, uint32_t flags, struct address *address, struct err *error)
{
    return address_parse_among(url, flags, NULL, address, error);
}

/* In place, as far as there is room; where the scheme is the end of a longer one, it stays. */
static void replace_scheme(char *text, size_t size, const char *from, const char *to)
{
    char before[sizeof((struct err *)NULL)->hint], scheme[SCHEME_MAX];
    size_t used = 0, length = (size_t)snprintf(scheme, sizeof scheme, "%s://", from);
    snprintf(before, sizeof before, "%s", text);
    for (const char *at = before; *at && used + 1 < size;) {
        bool begins = at == before || !(isalnum((unsigned char)at[-1]) || strchr("+-", at[-1]));
        bool here = begins && strncmp(at, scheme, length) == 0;
        int written = here ? snprintf(text + used, size - used, "%s://", to)
                           : snprintf(text + used, size - used, "%c", *at);
        used += written > 0 ? (size_t)written : 0;
        at += here ? length : 1;
    }
}

int address_error_of(struct err *error, const char *from, const char *to)
{
    replace_scheme(error->subject, sizeof error->subject, from, to);
    replace_scheme(error->hint, sizeof error->hint, from, to);
    return -1;
}

int address_parse(const char *url, bool to_listen, struct address *address, struct err *error)
{
    return address_parse_with(url, to_listen ? ADDRESS_TO_LISTEN : 0, address, error);
}

/* One numeric address, IPv6 with or without brackets. 0, or -1 where it is none. */
static int parse_numeric(const char *text, size_t length, struct sockaddr_storage *to)
{
    char host[INET6_ADDRSTRLEN + 2];

    *to = (struct sockaddr_storage){0};
    if (length >= sizeof host) {
        return -1;
    }
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        to->ss_family = AF_INET;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        to->ss_family = AF_INET6;
        return 0;
    }
    return -1;
}

/* One item of the list: "A" or, for IPv4, "A-B". Sets the first address and how many follow. */
static int parse_source_item(const char *item, size_t length, struct sockaddr_storage *first,
                             uint64_t *count, struct err *error)
{
    struct sockaddr_storage last;
    char subject[96];
    const char *dash = memchr(item, '-', length);
    size_t first_length = dash ? (size_t)(dash - item) : length;

    snprintf(subject, sizeof subject, "source address \"%.*s\"", (int)(length < 64 ? length : 64),
             item);
    if (parse_numeric(item, first_length, first)) {
        err_set(error, ERR_USAGE, subject, "not a numeric IPv4 or IPv6 address");
        return err_hint(error, "write for instance 127.0.0.2 or 127.0.0.2-127.0.0.9");
    }
    *count = 1;
    if (!dash) {
        return 0;
    }
    if (first->ss_family != AF_INET || parse_numeric(dash + 1, length - first_length - 1, &last) ||
        last.ss_family != AF_INET) {
        return err_set(error, ERR_USAGE, subject, "a range goes from one IPv4 address to another");
    }
    uint32_t from = ntohl(((struct sockaddr_in *)first)->sin_addr.s_addr);
    uint32_t to = ntohl(((struct sockaddr_in *)&last)->sin_addr.s_addr);
    if (to < from) {
        return err_set(error, ERR_USAGE, subject, "the range ends before it begins");
    }
    *count = (uint64_t)to - from + 1;
    return 0;
}

/* Appends `count` addresses from `first` on. */
static int append_sources(struct sockaddr_storage **sources, size_t *used,
                          const struct sockaddr_storage *first, uint64_t count, struct err *error)
{
    if (*used && (*sources)[0].ss_family != first->ss_family) {
        return err_set(error, ERR_USAGE, "source addresses", "IPv4 and IPv6 do not mix");
    }
    if (count > SOURCES_MAX - *used) {
        return err_set(error, ERR_USAGE, "source addresses", "more than %d", SOURCES_MAX);
    }
    struct sockaddr_storage *grown = realloc(*sources, (*used + count) * sizeof *grown);
    if (!grown) {
        return err_system(error, ENOMEM, "source addresses", "cannot hold them");
    }
    *sources = grown;
    for (uint64_t i = 0; i < count; i++) {
        struct sockaddr_storage *source = &grown[(*used)++];
        *source = *first;
        if (source->ss_family == AF_INET) {
            struct sockaddr_in *four = (struct sockaddr_in *)source;
            four->sin_addr.s_addr = htonl(ntohl(four->sin_addr.s_addr) + (uint32_t)i);
        }
    }
    return 0;
}

/* Bytewise: the storage is zeroed around the address, which is in network byte order. */
static int compare_sources(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct sockaddr_storage));
}

int address_parse_sources(const char *text, struct sockaddr_storage **sources, size_t *count,
                          struct err *error)
{
    struct sockaddr_storage *found = NULL;
    size_t used = 0;
    const char *item = text;

    *sources = NULL;
    *count = 0;
    for (;;) {
        struct sockaddr_storage first;
        uint64_t following = 0;
        size_t length = strcspn(item, ",");
        if (parse_source_item(item, length, &first, &following, error) ||
            append_sources(&found, &used, &first, following, error)) {
            free(found);
            return -1;
        }
        if (item[length] == '\0') {
            break;
        }
        item += length + 1;
    }
    /* A source that stands twice would be counted twice where local ports are planned. */
    qsort(found, used, sizeof *found, compare_sources);
    for (size_t i = 1; i < used; i++) {
        if (!compare_sources(&found[i - 1], &found[i])) {
            free(found);
            return err_set(error, ERR_USAGE, "source addresses", "\"%s\" names one of them twice",
                           text);
        }
    }
    *sources = found;
    *count = used;
    return 0;
}

socklen_t address_source_length(const struct sockaddr_storage *source)
{
    return source->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

bool address_is_loopback(const struct address *address)
{
    const struct sockaddr_storage *storage = &address->socket_address;
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)storage;
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    if (storage->ss_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)storage)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
    }
    return address->transport != NULL;
}

bool address_is_any(const struct address *address)
{
    const struct sockaddr_storage *storage = &address->socket_address;
    if (storage->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)storage)->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    if (storage->ss_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)storage)->sin6_addr;
        return IN6_IS_ADDR_UNSPECIFIED(six) ||
               (IN6_IS_ADDR_V4MAPPED(six) && !memcmp(six->s6_addr + 12, "\0\0\0\0", 4));
    }
    return false;
}

void address_unlink(const struct address *address)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)&address->socket_address;
    struct stat file;

    if (local->sun_family == AF_UNIX && local->sun_path[0] && !lstat(local->sun_path, &file) &&
        S_ISSOCK(file.st_mode)) {
        unlink(local->sun_path);
    }
}
