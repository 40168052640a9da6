/* URLs of any bytes. What parses is, written down again, the same URL; what is decoded of its path
 * cannot leave a folder. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/http.h"
#include "codec/url.h"

enum { TEXT_MOST = 2 * URL_MOST };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool same(struct slice one, struct slice other)
{
    return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}

static void again(enum url_family family, const struct url *url)
{
    char host[TEXT_MOST], target[TEXT_MOST], text[3 * TEXT_MOST], request[3 * TEXT_MOST];
    struct url other;
    require(url_host_write(url, host, sizeof host) > 0);
    require(url_target_write(url, target, sizeof target) > 0);
    int length = snprintf(text, sizeof text, "%.*s://%s%s", (int)url->scheme.length, url->scheme.at,
                          host, target);
    require(length > 0 && (size_t)length < sizeof text);
    if (length > URL_MOST) {
        return;
    }
    require(url_parse(family, slice_of(text), &other) == 0);
    require(other.secure == url->secure && other.port == url->port && other.ipv6 == url->ipv6);
    require(same(other.host, url->host) && same(other.target, slice_of(target)));
    struct http_request asked = {.target = target, .host = host};
    require(http_request_write(&asked, request, sizeof request) > 0);
}

static void decode(struct slice target)
{
    char path[URL_MOST];
    ssize_t length = url_path_decode(target, path, sizeof path);
    if (length < 0) {
        require(strcmp(url_error_name((int)length), "unknown") != 0);
        return;
    }
    require(strlen(path) == (size_t)length);
    for (char *name = path; name; name = strchr(name, '/')) {
        name += *name == '/';
        size_t name_length = strcspn(name, "/");
        require(name_length != 2 || memcmp(name, "..", 2) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* exactly as long as it is: overruns are seen */
    require(text != NULL);
    if (size) {
        memcpy(text, data, size);
    }
    for (int family = URL_HTTP; family <= URL_WEBSOCKET; family++) {
        struct url url;
        int error = url_parse((enum url_family)family, (struct slice){text, size}, &url);
        require(error == 0 || (strcmp(url_error_name(error), "unknown") != 0 && !url.host.at));
        if (error == 0) {
            again((enum url_family)family, &url);
            decode(url.target);
        }
    }
    decode((struct slice){text, size});
    free(text);
    return 0;
}
