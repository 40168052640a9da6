/* The HTTP server's memory: what the connections of a worker share. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "workload/http_server.h"

#define MEMORY_BYTES ((uint64_t)64 << 20)

enum {
    ROOM_LEAST = 4 << 10,
    ROOM_KEPT = 32 << 10, /* larger ones are not kept for the next connection */
    LINES_MOST = 128,
};

struct http_pool *http_pool_open(const struct http_server_options *options, struct err *error)
{
    struct http_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        err_system(error, ENOMEM, "http", "cannot make what connections share");
        return NULL;
    }
    pool->options = options;
    pool->most_bytes = options->memory_bytes ? options->memory_bytes : MEMORY_BYTES;
    pool->limits = (struct http_limits){.head_bytes = (uint32_t)options->head_most,
                                        .lines = LINES_MOST,
                                        .body_bytes = options->body_most};
    return pool;
}

void http_pool_close(struct http_pool *pool)
{
    if (!pool) {
        return;
    }
    for (size_t i = 0; i < HTTP_PAGES; i++) {
        http_page_leave(pool->pages[i]);
    }
    http_page_leave(pool->loose);
    free(pool->answer);
    for (struct http_buffer *next, *buffer = pool->spare; buffer; buffer = next) {
        next = buffer->next;
        free(buffer);
    }
    free(pool);
}

/* ---- buffers ---- */

static void take_spare(struct http_pool *pool, struct http_buffer **buffer)
{
    *buffer = pool->spare;
    if (*buffer) {
        pool->spare = (*buffer)->next;
        (*buffer)->begin = (*buffer)->end = 0;
    }
}

bool http_buffer_reserve(struct http_pool *pool, struct http_buffer **buffer, size_t bytes)
{
    if (!*buffer) {
        take_spare(pool, buffer);
    }
    size_t before = *buffer ? (*buffer)->room : 0;
    size_t wanted = (*buffer ? (*buffer)->end : 0) + bytes;
    if (*buffer && wanted <= before) {
        return true;
    }
    size_t room = before ? 2 * before : ROOM_LEAST;
    room = room < wanted ? wanted : room;
    if (pool->used_bytes + room - before > pool->most_bytes) {
        return false;
    }
    struct http_buffer *larger = realloc(*buffer, sizeof *larger + room);
    if (!larger) {
        return false;
    }
    if (!*buffer) {
        larger->begin = larger->end = 0;
    }
    larger->room = room;
    pool->used_bytes += room - before;
    *buffer = larger;
    return true;
}

bool http_buffer_append(struct http_pool *pool, struct http_buffer **buffer, const void *data,
                        size_t bytes)
{
    if (!http_buffer_reserve(pool, buffer, bytes)) {
        return false;
    }
    if (bytes) {
        memcpy((*buffer)->data + (*buffer)->end, data, bytes);
    }
    (*buffer)->end += bytes;
    return true;
}

void http_buffer_give(struct http_pool *pool, struct http_buffer **buffer)
{
    struct http_buffer *given = *buffer;
    *buffer = NULL;
    if (!given) {
        return;
    }
    if (given->room > ROOM_KEPT || pool->used_bytes > pool->most_bytes / 2) {
        pool->used_bytes -= given->room;
        free(given);
        return;
    }
    given->next = pool->spare;
    pool->spare = given;
}

/* ---- the date ---- */

void http_pool_date(struct http_pool *pool)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    if (pool->now_ns < pool->date_until_ns) {
        return;
    }
    uint64_t real_ns = clock_real_ns();
    time_t seconds = (time_t)(real_ns / NS_PER_SECOND);
    struct tm day;
    if (!gmtime_r(&seconds, &day)) {
        return;
    }
    pool->date_until_ns = pool->now_ns + NS_PER_SECOND - real_ns % NS_PER_SECOND;
    pool->date_number++;
    snprintf(pool->date, sizeof pool->date, "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n",
             days[day.tm_wday % 7], (unsigned)day.tm_mday % 100, months[day.tm_mon % 12],
             (unsigned)(day.tm_year + 1900) % 10000, (unsigned)day.tm_hour % 100,
             (unsigned)day.tm_min % 100, (unsigned)day.tm_sec % 100);
}
