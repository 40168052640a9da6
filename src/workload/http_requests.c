#include "workload/http_requests.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/http.h"
#include "codec/request_list.h"

/* A body of at most so many bytes goes out with its head in one send. */
#define BODY_WITH_HEAD ((size_t)16384)
#define BODY_MOST ((size_t)256 << 20)
#define LIST_MOST ((size_t)64 << 20)
#define HEAD_ROOM ((size_t)65536)
#define ASKS_MOST 1000000

/* Reads a whole file of at most `most` bytes; malloc'ed. NULL with *error. */
static uint8_t *read_file(const char *option, const char *path, size_t most, size_t *length,
                          struct err *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    uint8_t *data = NULL;
    size_t used = 0, room = 65536;
    ssize_t got = -1;
    if (fd < 0 || fstat(fd, &status) < 0) {
        err_system(error, errno, path, "cannot open the file of %s", option);
        error->code = ERR_USAGE;
        goto out;
    }
    if (!S_ISREG(status.st_mode)) { /* each worker reads it anew */
        err_set(error, ERR_USAGE, path, "%s needs a regular file", option);
        goto out;
    }
    if ((size_t)status.st_size < most) {
        room = (size_t)status.st_size + 1;
    }
    do {
        uint8_t *more =
            used == room || !data ? realloc(data, used == room ? room *= 2 : room) : data;
        if (!more) {
            err_system(error, ENOMEM, path, "cannot read");
            break;
        }
        data = more;
        got = read(fd, data + used, room - used);
        used += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && used <= most) || (got < 0 && errno == EINTR));
    if (got < 0 && error->code == ERR_NONE) {
        err_system(error, errno, path, "cannot read the file of %s", option);
        error->code = ERR_USAGE;
    } else if (used > most) {
        err_set(error, ERR_USAGE, path, "the file of %s has more than %zu bytes", option, most);
    }
out:
    if (fd >= 0) {
        close(fd);
    }
    if (error->code != ERR_NONE) {
        free(data);
        return NULL;
    }
    *length = used;
    return data;
}

/* ---- what is expected ------------------------------------------------------------------------ */

static void expect(struct http_requests *requests, unsigned first, unsigned last)
{
    for (unsigned status = first; status <= last; status++) {
        requests->expected[status / 8] |= (uint8_t)(1 << status % 8);
    }
}

/* "200", "2xx" or "any"; false where it is none. */
static bool expect_item(struct http_requests *requests, const char *text, size_t length)
{
    if (length == 3 && memcmp(text, "any", 3) == 0) {
        expect(requests, 100, 599);
        return true;
    }
    bool class = length == 3 && (text[1] | 32) == 'x' && (text[2] | 32) == 'x';
    if (length != 3 || text[0] < '1' || text[0] > '5') {
        return false;
    }
    unsigned hundreds = (unsigned)(text[0] - '0') * 100;
    if (class) {
        expect(requests, hundreds, hundreds + 99);
        return true;
    }
    if (text[1] < '0' || text[1] > '9' || text[2] < '0' || text[2] > '9') {
        return false;
    }
    unsigned status = hundreds + (unsigned)(text[1] - '0') * 10 + (unsigned)(text[2] - '0');
    expect(requests, status, status);
    return true;
}

static int take_expected(struct http_requests *requests, const char *text, struct err *error)
{
    const char *at = text;
    for (;;) {
        size_t length = strcspn(at, ",");
        if (!expect_item(requests, at, length)) {
            err_set(error, ERR_USAGE, "--expect-status", "\"%.*s\" is no status",
                    (int)(length < 40 ? length : 40), at);
            return err_hint(error, "such as 200, 2xx, 200,304 or any");
        }
        if (at[length] == '\0') {
            return 0;
        }
        at += length + 1;
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static int refuse_own(int failed, const char *option, const char *what, struct err *error)
{
    return err_set(error, ERR_USAGE, option, "\"%.60s\": %s", what, http_error_text(failed));
}

/* What a Host among the headers says, instead of the target's own; NULL: it is no Host. */
static const char *host_in(const char *header)
{
    if (strncasecmp(header, "host:", 5) != 0) {
        return NULL;
    }
    return header + 5 + strspn(header + 5, " \t");
}

static const char *given_host(const struct opt_list *headers)
{
    const char *host = NULL;
    for (size_t i = 0; i < headers->count; i++) {
        const char *given = host_in(headers->items[i]);
        host = given ? given : host;
    }
    return host;
}

/* All headers but Host with their line ends; malloc'ed, NULL with *error. */
static char *join_headers(const struct opt_list *headers, struct err *error)
{
    size_t bytes = 1, at = 0;
    for (size_t i = 0; i < headers->count; i++) {
        int failed = http_header_check(slice_of(headers->items[i]));
        if (failed && !host_in(headers->items[i])) {
            refuse_own(failed, "--header", headers->items[i], error);
            return NULL;
        }
        bytes += strlen(headers->items[i]) + 2;
    }
    char *text = malloc(bytes);
    if (!text) {
        err_system(error, ENOMEM, "http", "cannot make the request");
        return NULL;
    }
    for (size_t i = 0; i < headers->count; i++) {
        if (!host_in(headers->items[i])) {
            at += (size_t)snprintf(text + at, bytes - at, "%s\r\n", headers->items[i]);
        }
    }
    text[at] = '\0';
    return text;
}

/* Writes one request, so many times as may go out together. */
static int make_ask(struct http_requests *requests, const struct http_options *options,
                    struct http_request *request, uint32_t weight, struct http_ask *ask,
                    struct err *error)
{
    char *head = malloc(HEAD_ROOM);
    ssize_t head_bytes = head ? http_request_write(request, head, HEAD_ROOM) : 0;
    if (head_bytes <= 0) {
        free(head);
        return head_bytes < 0 ? refuse_own((int)head_bytes,
                                           head_bytes == HTTP_BAD_OWN_METHOD ? "--method"
                                           : head_bytes == HTTP_BAD_OWN_HOST ? "--header"
                                                                             : "request",
                                           head_bytes == HTTP_BAD_OWN_METHOD ? request->method
                                           : head_bytes == HTTP_BAD_OWN_HOST ? request->host
                                                                             : request->target,
                                           error)
                              : err_system(error, ENOMEM, "http", "cannot make the request");
    }
    bool apart = requests->body_bytes > BODY_WITH_HEAD;
    size_t one = (size_t)head_bytes + (apart ? 0 : requests->body_bytes);
    size_t fit = HTTP_GATHER_BYTES / one;
    /* Those of a list are gathered one by one. */
    uint64_t copies = apart || options->url_file ? 1 : options->pipeline;
    copies = copies < fit ? copies : fit;
    copies = copies ? copies : 1;
    snprintf(ask->method, sizeof ask->method, "%s", request->method);
    ask->head = malloc(one * copies);
    ask->head_bytes = one;
    ask->copies = (uint32_t)copies;
    ask->body_apart = apart;
    requests->weight += weight;
    ask->upto = requests->weight;
    for (uint64_t i = 0; i < copies && ask->head; i++) {
        memcpy(ask->head + i * one, head, (size_t)head_bytes);
        if (!apart && requests->body_bytes) {
            memcpy(ask->head + i * one + head_bytes, requests->body, requests->body_bytes);
        }
    }
    free(head);
    return ask->head ? 0 : err_system(error, ENOMEM, "http", "cannot make the request");
}

/* Room for another request; NULL with *error. */
static struct http_ask *more_room(struct http_requests *requests, struct err *error)
{
    if ((requests->count & (requests->count - 1)) == 0) { /* a power of two is full */
        size_t room = requests->count ? 2 * (size_t)requests->count : 1;
        struct http_ask *asks = realloc(requests->asks, room * sizeof *asks);
        if (!asks) {
            err_system(error, ENOMEM, "http", "cannot make the requests");
            return NULL;
        }
        requests->asks = asks;
    }
    struct http_ask *ask = &requests->asks[requests->count++];
    *ask = (struct http_ask){0};
    return ask;
}

static int refuse_line(const struct http_options *options, const struct request_list_line *line,
                       const char *why, struct err *error)
{
    return err_set(error, ERR_USAGE, options->url_file, "line %zu: %s", line->number, why);
}

static int take_line(struct http_requests *requests, const struct http_options *options,
                     const struct request_list_line *line, struct http_request request,
                     struct err *error)
{
    char method[HTTP_METHOD_MOST + 1], target[WEB_PATH_MOST];
    if (line->url.host.at && !web_target_same(&options->where, &line->url)) {
        refuse_line(options, line, "a URL of another server than the target", error);
        return err_hint(error, "all requests of a run go to one server: its scheme, host and port");
    }
    if (url_target_write(&line->url, target, sizeof target) < 0) {
        return refuse_line(options, line, url_error_text(URL_BAD_LONG), error);
    }
    if (line->method.at) {
        snprintf(method, sizeof method, "%.*s", (int)line->method.length, line->method.at);
        request.method = method;
    }
    request.target = target;
    struct http_ask *ask = more_room(requests, error);
    return ask ? make_ask(requests, options, &request, line->weight, ask, error) : -1;
}

static int take_list(struct http_requests *requests, const struct http_options *options,
                     const struct http_request *request, struct err *error)
{
    size_t length = 0;
    uint8_t *text = read_file("--urls", options->url_file, LIST_MOST, &length, error);
    if (!text) {
        return -1;
    }
    struct request_list list = request_list_of((struct slice){(const char *)text, length});
    struct request_list_line line;
    int found, failed = 0;
    while (failed == 0 && (found = request_list_next(&list, &line)) != 0) {
        if (found < 0) {
            failed = refuse_line(options, &line, request_list_error_text(found), error);
        } else if (requests->count == ASKS_MOST) {
            failed = refuse_line(options, &line, "more than a million requests", error);
        } else {
            failed = take_line(requests, options, &line, *request, error);
        }
    }
    free(text);
    return failed            ? -1
           : requests->count ? 0
                             : err_set(error, ERR_USAGE, options->url_file, "no request in it");
}

/* The target's own path; of sonde's own server as many bytes as were asked for. */
static const char *target_of(const struct http_options *options, char own[64])
{
    if (options->where.path[0]) {
        return options->where.path;
    }
    snprintf(own, 64, "/bytes/%lu", options->size_bytes);
    return own;
}

int http_requests_open(struct http_requests *requests, const struct http_options *options,
                       struct err *error)
{
    char own[64];
    *requests = (struct http_requests){0};
    if (take_expected(requests, options->expect_status, error) < 0) {
        return -1;
    }
    if (options->body_file) {
        requests->body =
            read_file("--body", options->body_file, BODY_MOST, &requests->body_bytes, error);
        if (!requests->body) {
            return -1;
        }
    }
    const char *host = given_host(&options->headers);
    char *headers = join_headers(&options->headers, error);
    if (!headers) {
        return -1;
    }
    struct http_request request = {
        .method = options->method      ? options->method
                  : options->body_file ? "POST"
                                       : "GET",
        .target = target_of(options, own),
        .host = host                     ? host
                : options->where.host[0] ? options->where.host
                                         : "localhost",
        .headers = headers,
        .old = options->version == HTTP_1_0,
        .close = !options->keep_alive,
        .has_body = options->body_file,
        .body_bytes = requests->body_bytes,
    };
    int failed;
    if (options->url_file) {
        failed = take_list(requests, options, &request, error);
    } else {
        struct http_ask *ask = more_room(requests, error);
        failed = ask ? make_ask(requests, options, &request, 1, ask, error) : -1;
    }
    free(headers);
    return failed;
}

void http_requests_close(struct http_requests *requests)
{
    for (uint32_t i = 0; i < requests->count; i++) {
        free(requests->asks[i].head);
    }
    free(requests->asks);
    free(requests->body);
    *requests = (struct http_requests){0};
}
