/* What the HTTP server answers to a target. What was asked for lately is kept ready, so that a
 * request costs a look into a table and one copy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "workload/http_server.h"

#define TEXT_TYPE "text/plain; charset=utf-8"
#define BYTES_MOST ((uint64_t)1 << 40)
#define DELAY_MOST_NS (UINT64_C(3600) * NS_PER_SECOND)
/* A file that has changed is seen after so long. */
#define FILE_AGE_NS NS_PER_SECOND
#define DATE_BYTES (sizeof "Thu, 01 Jan 1970 00:00:00 GMT" - 1)
#define HEADERS_ROOM 256

enum source { SOURCE_TEXT, SOURCE_BYTES, SOURCE_CHUNKED, SOURCE_CLOSE, SOURCE_FILE };

/* What a target means. */
struct route {
    enum source source;
    unsigned status;
    uint64_t bytes;
    uint64_t delay_ns;
    const char *type;
    struct http_found file; /* of SOURCE_FILE; else its fd is -1 */
    bool ages;              /* it depends on files */
    char text[512];
};

static const char contents[] =
    "sonde serves here:\n"
    "/bytes/SIZE      a body of so many bytes, up to 1t (200, 16k, 200m)\n"
    "/chunked/SIZE    the same in chunks\n"
    "/close/SIZE      the same without a length, up to the end of the connection\n"
    "/delay/TIME      an answer after a while (20ms); /delay/TIME/bytes/SIZE and others\n"
    "/status/CODE     an answer with this status, 200 to 599\n";

/* ---- routes ---- */

static void say(struct route *route, unsigned status, const char *text)
{
    route->source = SOURCE_TEXT;
    route->status = status;
    route->type = TEXT_TYPE;
    snprintf(route->text, sizeof route->text, "%s", text);
    route->bytes = strlen(route->text);
}

static void say_status(struct route *route, unsigned status)
{
    char text[80];
    snprintf(text, sizeof text, "%u %s\n", status, http_status_text(status));
    say(route, status, text);
}

/* Behind "/bytes/" and the like; NULL where the path begins otherwise. */
static const char *behind(const char *path, const char *beginning)
{
    size_t length = strlen(beginning);
    return strncmp(path, beginning, length) == 0 ? path + length : NULL;
}

static bool route_body(const char *path, struct route *route)
{
    static const struct {
        const char *beginning;
        enum source source;
    } bodies[] = {
        {"/bytes/", SOURCE_BYTES}, {"/chunked/", SOURCE_CHUNKED}, {"/close/", SOURCE_CLOSE}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const char *rest = behind(path, bodies[i].beginning);
        if (!rest) {
            continue;
        }
        if (units_parse_size(rest, &route->bytes) < 0 || route->bytes > BYTES_MOST) {
            say(route, 400, "a size is wanted, up to 1t, such as /bytes/200 or /bytes/1.5m\n");
            return true;
        }
        route->source = bodies[i].source;
        route->status = 200;
        route->type = "application/octet-stream";
        return true;
    }
    return false;
}

static bool route_status(const char *path, struct route *route)
{
    const char *rest = behind(path, "/status/");
    uint64_t status;
    if (!rest) {
        return false;
    }
    if (units_parse_count(rest, &status) < 0 || status < 200 || status > 599) {
        say(route, 400, "a status is wanted, from 200 to 599, such as /status/503\n");
    } else {
        say_status(route, (unsigned)status);
    }
    return true;
}

static bool route_made(const char *path, struct route *route)
{
    return route_body(path, route) || route_status(path, route);
}

/* "/delay/TIME", and what may follow. */
static bool route_delay(char *path, struct route *route)
{
    char *rest = (char *)(uintptr_t)behind(path, "/delay/");
    if (!rest) {
        return false;
    }
    char *slash = strchr(rest, '/');
    if (slash) {
        *slash = '\0';
    }
    bool known =
        units_parse_duration(rest, &route->delay_ns) == 0 && route->delay_ns <= DELAY_MOST_NS;
    if (slash) {
        *slash = '/';
    }
    if (!known || (slash && !route_made(slash, route))) {
        route->delay_ns = 0;
        say(route, 400, "a time is wanted, up to 1h, such as /delay/20ms or /delay/1s/bytes/1k\n");
    } else if (!slash) {
        say(route, 200, "done\n");
    } else if (route->status == 400) {
        route->delay_ns = 0;
    }
    return true;
}

static void route_file(struct http_pool *pool, const char *path, struct route *route)
{
    struct http_found found = http_file_open(pool, path);
    route->ages = true;
    if (found.status != 200) {
        say_status(route, found.status);
        return;
    }
    route->source = SOURCE_FILE;
    route->status = 200;
    route->file = found;
    route->bytes = found.bytes;
    route->type = found.type;
}

static void find_route(struct http_pool *pool, struct slice target, struct route *route)
{
    char path[URL_MOST];
    ssize_t length = url_path_decode(target, path, sizeof path);
    *route = (struct route){.file.fd = -1};
    if (length < 0) {
        char text[160];
        snprintf(text, sizeof text, "%s\n", url_error_text((int)length));
        say(route, 400, text);
        return;
    }
    if (route_made(path, route) || route_delay(path, route)) {
        return;
    }
    if (pool->options->root) {
        route_file(pool, path, route);
    } else {
        say_status(route, 404);
    }
    if (route->status == 404 && strcmp(path, "/") == 0) {
        say(route, 200, contents);
    }
}

/* ---- pages ---- */

/* What is made of a route, before there is memory for it. */
struct draft {
    char head[HTTP_HEAD_ROOM];
    size_t head_bytes;
    uint64_t text_body, rest_body; /* the tail has what is left */
    enum http_framing framing;
    enum http_rest rest;
};

static bool bodiless(unsigned status)
{
    return status == 204 || status == 304;
}

static enum http_framing framing_of(const struct route *route, uint8_t asks)
{
    switch (route->source) {
    case SOURCE_CHUNKED:
        return asks & HTTP_ASKS_OLD ? HTTP_UNTIL_CLOSE : HTTP_CHUNKED;
    case SOURCE_CLOSE:
        return HTTP_UNTIL_CLOSE;
    default:
        return bodiless(route->status) ? HTTP_NO_BODY : HTTP_BY_LENGTH;
    }
}

static bool draft_head(struct http_pool *pool, const struct route *route, uint8_t asks,
                       struct draft *draft)
{
    char headers[HEADERS_ROOM];
    http_pool_date(pool);
    snprintf(headers, sizeof headers, "%sContent-Type: %s\r\n", pool->date, route->type);
    const struct http_answer answer = {
        .status = route->status,
        .headers = bodiless(route->status) ? pool->date : headers,
        .framing = draft->framing,
        .content_length = route->bytes,
        .close = asks & HTTP_ASKS_CLOSE || draft->framing == HTTP_UNTIL_CLOSE,
        .keep = asks & HTTP_ASKS_OLD,
    };
    ssize_t length = http_answer_write(&answer, draft->head, sizeof draft->head);
    draft->head_bytes = length > 0 ? (size_t)length : 0;
    return length > 0;
}

/* Divides the body among text, rest and tail. */
static void draft_body(const struct route *route, uint8_t asks, struct draft *draft)
{
    if (asks & HTTP_ASKS_HEAD || draft->framing == HTTP_NO_BODY) {
        return;
    }
    bool chunked = draft->framing == HTTP_CHUNKED;
    if (route->bytes <= HTTP_SMALL_BODY) {
        draft->text_body = chunked ? 0 : route->bytes; /* one chunk is a tail */
        return;
    }
    if (chunked) {
        draft->rest = HTTP_REST_CHUNKS;
        draft->rest_body = route->bytes / HTTP_CHUNK_BYTES * HTTP_CHUNK_BYTES;
        return;
    }
    bool file = route->source == SOURCE_FILE;
    draft->rest = file ? HTTP_REST_FILE : HTTP_REST_BLOCK;
    draft->text_body = file ? 0 : HTTP_SMALL_BODY;
    draft->rest_body = route->bytes - draft->text_body;
}

/* The last chunk and what ends them; its length. */
static size_t write_tail(char *to, uint64_t body)
{
    size_t length = 0;
    if (body) {
        length = http_chunk_write(body, to);
        memcpy(to + length, http_block, body);
        length += body;
        memcpy(to + length, "\r\n", 2);
        length += 2;
    }
    memcpy(to + length, HTTP_LAST_CHUNK, sizeof HTTP_LAST_CHUNK - 1);
    return length + sizeof HTTP_LAST_CHUNK - 1;
}

static void note_date(const struct http_pool *pool, struct http_page *page, size_t head_bytes)
{
    static const char name[] = "\r\nDate: ";
    const char *found = memmem(page->text.at, head_bytes, name, sizeof name - 1);
    page->date_at = found ? (uint32_t)(found - page->text.at + (ptrdiff_t)sizeof name - 1) : 0;
    page->date_number = pool->date_number;
}

/* The body's bytes that stand in the text. False: a file was shorter than it had been. */
static bool fill_text(struct http_pool *pool, const struct route *route, char *to, uint64_t bytes)
{
    for (uint64_t at = 0; route->source == SOURCE_FILE && at < bytes;) {
        ssize_t got = http_file_read(pool, route->file.fd, to + at, bytes - at, at);
        if (got <= 0) {
            return false;
        }
        at += (uint64_t)got;
    }
    if (route->source != SOURCE_FILE && bytes) {
        memcpy(to, route->source == SOURCE_TEXT ? route->text : http_block, bytes);
    }
    return true;
}

static struct http_page *make_page(struct http_pool *pool, struct slice target, uint8_t asks,
                                   const struct route *route)
{
    struct draft draft = {.framing = framing_of(route, asks)};
    if (!draft_head(pool, route, asks, &draft)) {
        return NULL;
    }
    draft_body(route, asks, &draft);
    bool body = !(asks & HTTP_ASKS_HEAD) && draft.framing != HTTP_NO_BODY;
    uint64_t tail_body = body ? route->bytes - draft.text_body - draft.rest_body : 0;
    size_t text_bytes = draft.head_bytes + draft.text_body;
    size_t room = target.length + text_bytes + tail_body + HTTP_CHUNK_HEAD_MOST + 8;
    struct http_page *page = calloc(1, sizeof *page + room);
    if (!page) {
        return NULL;
    }
    char *key = (char *)(page + 1), *text = key + target.length, *tail = text + text_bytes;
    memcpy(key, target.at, target.length);
    memcpy(text, draft.head, draft.head_bytes);
    bool chunked = body && draft.framing == HTTP_CHUNKED;
    page->users = 1;
    page->asks = asks;
    page->rest = (uint8_t)draft.rest;
    page->closes = asks & HTTP_ASKS_CLOSE || draft.framing == HTTP_UNTIL_CLOSE;
    page->until_ns = route->ages ? pool->now_ns + FILE_AGE_NS : UINT64_MAX;
    page->delay_ns = route->delay_ns;
    page->rest_bytes = draft.rest == HTTP_REST_CHUNKS
                           ? draft.rest_body / HTTP_CHUNK_BYTES * HTTP_CHUNK_WIRE
                           : draft.rest_body;
    page->text_body = (uint32_t)draft.text_body;
    page->tail_body = (uint32_t)tail_body;
    page->key = (struct slice){key, target.length};
    page->text = (struct slice){text, text_bytes};
    page->tail = (struct slice){tail, chunked ? write_tail(tail, tail_body) : 0};
    page->file.fd = -1;
    note_date(pool, page, draft.head_bytes);
    if (!fill_text(pool, route, text + draft.head_bytes, draft.text_body)) {
        http_page_leave(page);
        return NULL;
    }
    page->file.fd = draft.rest == HTTP_REST_FILE ? route->file.fd : -1;
    page->device = route->file.device;
    page->inode = route->file.inode;
    return page;
}

void http_page_leave(struct http_page *page)
{
    if (page && --page->users == 0) {
        if (page->file.fd >= 0) {
            close(page->file.fd);
        }
        free(page);
    }
}

uint64_t http_page_rest_body(const struct http_page *page, uint64_t position)
{
    if (page->rest != HTTP_REST_CHUNKS) {
        return position;
    }
    uint64_t in_chunk = position % HTTP_CHUNK_WIRE;
    in_chunk = in_chunk > HTTP_CHUNK_HEAD ? in_chunk - HTTP_CHUNK_HEAD : 0;
    return position / HTTP_CHUNK_WIRE * HTTP_CHUNK_BYTES +
           (in_chunk < HTTP_CHUNK_BYTES ? in_chunk : HTTP_CHUNK_BYTES);
}

/* ---- the ones that are ready ---- */

static struct http_page **place_of(struct http_pool *pool, struct slice target, uint8_t asks)
{
    uint64_t word = 0;
    size_t bytes = target.length < sizeof word ? target.length : sizeof word;
    memcpy(&word, target.at + target.length - bytes, bytes);
    word = (word + target.length * 8 + asks) * UINT64_C(0x9e3779b97f4a7c15);
    return &pool->pages[word >> 59]; /* HTTP_PAGES is 32 */
}

static bool is_of(const struct http_page *page, struct slice target, uint8_t asks)
{
    return page && page->asks == asks && page->key.length == target.length &&
           memcmp(page->key.at, target.at, target.length) == 0;
}

/* The file is the one that is open already, so that many slow connections hold one file. */
static bool same_file(const struct http_page *page, const struct route *route)
{
    return page->file.fd >= 0 && route->file.fd >= 0 && page->device == route->file.device &&
           page->inode == route->file.inode && page->rest_bytes == route->bytes;
}

static void refresh_date(struct http_pool *pool, struct http_page *page)
{
    http_pool_date(pool);
    if (page->date_number != pool->date_number && page->date_at) {
        memcpy((char *)(uintptr_t)page->text.at + page->date_at, pool->date + sizeof "Date: " - 1,
               DATE_BYTES);
        page->date_number = pool->date_number;
    }
}

/* Takes the place of another, or none where enough files are open: a worker of one connection (of
 * an engine with a thread for each) holds one file at most. */
static void keep_page(struct http_pool *pool, struct http_page **place, struct http_page *page)
{
    bool file = page && page->file.fd >= 0;
    if (*place) {
        pool->files_kept -= (*place)->file.fd >= 0;
        http_page_leave(*place);
        *place = NULL;
    }
    if (file && pool->files_kept >= (pool->peers > 1 ? HTTP_FILES : 0)) {
        http_page_leave(pool->loose);
        pool->loose = page;
        return;
    }
    pool->files_kept += file;
    *place = page;
}

struct http_page *http_page_find(struct http_pool *pool, struct slice target, uint8_t asks)
{
    struct http_page **place = place_of(pool, target, asks), *page = *place;
    if (!is_of(page, target, asks)) {
        page = is_of(pool->loose, target, asks) ? pool->loose : NULL;
    }
    if (page && pool->now_ns < page->until_ns) {
        refresh_date(pool, page);
        return page;
    }
    struct route route;
    find_route(pool, target, &route);
    if (page && same_file(page, &route)) {
        page->until_ns = pool->now_ns + FILE_AGE_NS;
        refresh_date(pool, page);
    } else {
        page = make_page(pool, target, asks, &route);
        keep_page(pool, place, page);
    }
    if (route.file.fd >= 0 && (!page || page->file.fd != route.file.fd)) {
        http_file_close(pool, route.file.fd);
    }
    return page;
}

bool http_text_append(struct http_pool *pool, unsigned status, const char *headers,
                      const char *text, uint8_t asks, size_t *body_bytes)
{
    char lines[HEADERS_ROOM];
    size_t length = strlen(text);
    http_pool_date(pool);
    snprintf(lines, sizeof lines, "%s%sContent-Type: " TEXT_TYPE "\r\n", pool->date,
             headers ? headers : "");
    const struct http_answer answer = {
        .status = status,
        .headers = lines,
        .framing = HTTP_BY_LENGTH,
        .content_length = length,
        .close = asks & HTTP_ASKS_CLOSE,
        .keep = asks & HTTP_ASKS_OLD,
    };
    if (!http_buffer_reserve(pool, &pool->answer, HTTP_HEAD_ROOM + length)) {
        return false;
    }
    ssize_t bytes =
        http_answer_write(&answer, (char *)pool->answer->data + pool->answer->end, HTTP_HEAD_ROOM);
    if (bytes < 0) {
        return false;
    }
    pool->answer->end += (size_t)bytes;
    *body_bytes = asks & HTTP_ASKS_HEAD ? 0 : length;
    return *body_bytes == 0 || http_buffer_append(pool, &pool->answer, text, length);
}
