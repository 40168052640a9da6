/* Files of requests of any bytes. What is taken of a line lies in it and, written down again, is
 * the same request; and it can be asked for. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/http.h"
#include "codec/request_list.h"

enum { LINE_ROOM = 2 * REQUEST_LIST_LINE_MOST };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool same(struct slice one, struct slice other)
{
    return one.length == other.length &&
           (one.length == 0 || memcmp(one.at, other.at, one.length) == 0);
}

static void inside(struct slice part, struct slice text)
{
    require(part.length == 0 || (part.at >= text.at && part.length <= text.length &&
                                 (size_t)(part.at - text.at) <= text.length - part.length));
}

static void again(const struct request_list_line *line)
{
    char text[LINE_ROOM];
    struct request_list_line other;
    int length = snprintf(text, sizeof text, "weight=%u %.*s %.*s\n", line->weight,
                          (int)line->method.length, line->method.length ? line->method.at : "",
                          (int)line->target.length, line->target.at);
    require(length > 0 && (size_t)length < sizeof text);
    struct request_list list = request_list_of((struct slice){text, (size_t)length});
    require(request_list_next(&list, &other) == 1);
    require(other.weight == line->weight && same(other.method, line->method));
    require(same(other.target, line->target) && same(other.url.target, line->url.target));
    require(same(other.url.host, line->url.host) && other.url.port == line->url.port);
    require(request_list_next(&list, &other) == 0);
}

static void ask(const struct request_list_line *line)
{
    char method[HTTP_METHOD_MOST + 1], target[LINE_ROOM], host[LINE_ROOM] = "h", to[3 * LINE_ROOM];
    require(line->method.length < sizeof method);
    memcpy(method, line->method.length ? line->method.at : "", line->method.length);
    method[line->method.length] = '\0';
    require(url_target_write(&line->url, target, sizeof target) > 0);
    require(!line->url.host.at || url_host_write(&line->url, host, sizeof host) > 0);
    struct http_request request = {
        .method = line->method.length ? method : NULL, .target = target, .host = host};
    require(http_request_write(&request, to, sizeof to) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* exactly as long as it is: overruns are seen */
    require(text != NULL);
    if (size) {
        memcpy(text, data, size);
    }
    struct request_list list = request_list_of((struct slice){text, size});
    struct request_list_line line;
    size_t number = 0;
    for (int result; (result = request_list_next(&list, &line)) != 0;) {
        require(line.number > number && list.at <= size);
        number = line.number;
        if (result < 0) {
            require(strcmp(request_list_error_name(result), "unknown") != 0);
            require(!line.target.at && !line.method.at && !line.url.host.at);
            continue;
        }
        require(result == 1 && line.weight >= 1 && line.weight <= REQUEST_LIST_WEIGHT_MOST);
        require(line.target.length && line.url.secure <= 1);
        inside(line.method, list.text);
        inside(line.target, list.text);
        inside(line.url.target, line.target);
        again(&line);
        ask(&line);
    }
    require(list.at == size);
    free(text);
    return 0;
}
