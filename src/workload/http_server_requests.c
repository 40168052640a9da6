/* Requests, and the decision what is answered. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workload/http_server.h"

void http_peer_refuse(struct role_context *context, struct http_peer *peer, int error)
{
    struct http_pool *pool = context->shared;
    unsigned status = http_error_answer(error);
    char text[120];
    size_t body = 0;
    bank_error(context->bank, PHASE_PROTOCOL, 0, http_error_text(error));
    context->bank->counters[HTTP_SERVER_REJECTED]++;
    peer->last = peer->lingers = true;
    snprintf(text, sizeof text, "%s\n", http_error_text(error));
    if (status && http_text_append(pool, status, NULL, text, HTTP_ASKS_CLOSE, &body)) {
        peer->unsent_body += body;
    }
}

void http_peer_forget_target(struct http_pool *pool, struct http_peer *peer)
{
    if (peer->target) {
        http_request_move(&peer->reader, pool->target);
        free(peer->target);
        peer->target = NULL;
        pool->used_bytes -= sizeof pool->target;
    }
}

/* ---- requests ---- */

static bool method_is(const struct http_event *head, const char *method)
{
    return head->method.length == strlen(method) &&
           memcmp(head->method.at, method, head->method.length) == 0;
}

static bool is_made(struct slice target)
{
    static const char *const made[] = {"/bytes/", "/chunked/", "/close/", "/delay/", "/status/"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        size_t length = strlen(made[i]);
        if (target.length >= length && memcmp(target.at, made[i], length) == 0) {
            return true;
        }
    }
    return false;
}

/* Decides upon the answer. */
static void take_head(struct role_context *context, struct http_peer *peer,
                      const struct http_event *head)
{
    struct http_pool *pool = context->shared;
    uint64_t most = http_server_options_of(context)->requests_most;
    bool gets = method_is(head, "GET"), asks_head = method_is(head, "HEAD");
    bool posts = method_is(head, "POST") || method_is(head, "PUT");
    bool closes = head->close || context->draining || (most && peer->requests + 1 >= most);
    peer->requests++;
    peer->unaware = !head->close;
    peer->asks = (uint8_t)((asks_head ? HTTP_ASKS_HEAD : 0) |
                           (head->minor == 0 ? HTTP_ASKS_OLD : 0) | (closes ? HTTP_ASKS_CLOSE : 0));
    peer->in_body = true;
    peer->status = gets || asks_head ? 500 : posts ? 200 : 405;
    if (gets || asks_head || (posts && is_made(head->target))) {
        peer->asked = http_page_find(pool, head->target, peer->asks);
    }
    if (peer->asked) {
        peer->asked->users++;
    }
    if (head->expects_continue) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        if (!http_buffer_append(pool, &pool->answer, go_on, sizeof go_on - 1)) {
            http_peer_fail_memory(context, peer);
        }
    }
}

/* With what a step has made, an answer is whole. */
static void note_whole(struct http_peer *peer, uint64_t body_bytes, bool last)
{
    peer->unsent_requests++;
    peer->unsent_body += body_bytes;
    peer->last = last;
    peer->lingers = last && peer->unaware;
}

static void answer_text(struct role_context *context, struct http_peer *peer, uint64_t body_bytes)
{
    char text[64] = "";
    size_t made = 0;
    const char *headers = NULL;
    if (peer->status == 200) {
        snprintf(text, sizeof text, "%llu bytes received\n", (unsigned long long)body_bytes);
    } else {
        snprintf(text, sizeof text, "%u %s\n", peer->status, http_status_text(peer->status));
        headers = peer->status == 405 ? "Allow: GET, HEAD, POST, PUT\r\n" : NULL;
    }
    if (!http_text_append(context->shared, peer->status, headers, text, peer->asks, &made)) {
        http_peer_fail_memory(context, peer);
        return;
    }
    note_whole(peer, made, peer->asks & HTTP_ASKS_CLOSE);
}

void http_peer_put_text(struct role_context *context, struct http_peer *peer,
                        const struct http_page *page)
{
    struct http_pool *pool = context->shared;
    peer->unsent_body += page->text_body;
    if (!http_buffer_append(pool, &pool->answer, page->text.at, page->text.length)) {
        http_peer_fail_memory(context, peer);
    }
}

void http_peer_put_tail(struct role_context *context, struct http_peer *peer,
                        const struct http_page *page)
{
    struct http_pool *pool = context->shared;
    note_whole(peer, page->tail_body, page->closes);
    if (page->tail.length &&
        !http_buffer_append(pool, &pool->answer, page->tail.at, page->tail.length)) {
        http_peer_fail_memory(context, peer);
    }
}

/* The request is whole: what is short is put behind what the step has made, else it is begun. */
static void answer(struct role_context *context, struct http_peer *peer,
                   const struct http_event *end)
{
    struct http_page *page = peer->asked;
    peer->in_body = false;
    peer->asked = NULL;
    if (!page) {
        answer_text(context, peer, end->body_bytes);
        return;
    }
    if (page->delay_ns == 0 && page->rest_bytes == 0) {
        http_peer_put_text(context, peer, page);
        http_peer_put_tail(context, peer, page);
        http_page_leave(page);
        return;
    }
    peer->page = page;
    peer->position = 0;
    peer->phase = PAGE_TEXT;
    if (page->delay_ns) {
        const struct http_pool *pool = context->shared;
        peer->phase = PAGE_DELAYED;
        peer->wake_ns = pool->now_ns + page->delay_ns;
        http_peer_set_timer(context, peer->wake_ns);
    }
}

/* A target whose request has not come whole gets memory of its own. */
static void keep_target(struct role_context *context, struct http_peer *peer)
{
    struct http_pool *pool = context->shared;
    if (peer->in_body || peer->target || peer->reader.target_bytes == 0) {
        return;
    }
    if (pool->used_bytes + sizeof pool->target <= pool->most_bytes) {
        peer->target = malloc(sizeof pool->target);
    }
    if (!peer->target) {
        http_peer_fail(context, peer, PHASE_RECEIVE, 0, "out of memory for requests");
        return;
    }
    pool->used_bytes += sizeof pool->target;
    http_request_move(&peer->reader, peer->target);
}

size_t http_peer_take(struct role_context *context, struct http_peer *peer, const uint8_t *data,
                      size_t length)
{
    struct http_pool *pool = context->shared;
    size_t taken = 0;
    while (peer->state == PEER_OPEN && !peer->last && !peer->page && http_answers_fit(pool)) {
        struct http_event event;
        ssize_t bytes = http_request_read(&peer->reader, data + taken, length - taken, &event);
        if (bytes < 0) {
            http_peer_refuse(context, peer, (int)bytes);
            return length;
        }
        taken += (size_t)bytes;
        switch (event.kind) {
        case HTTP_HEAD:
            take_head(context, peer, &event);
            http_peer_forget_target(pool, peer);
            break;
        case HTTP_BODY:
            peer->active_ns = pool->now_ns;
            break;
        case HTTP_END:
            answer(context, peer, &event);
            break;
        default:
            keep_target(context, peer);
            return taken;
        }
    }
    return taken;
}

void http_peer_take_after_last(struct role_context *context, struct http_peer *peer)
{
    struct http_event ignored;
    static const uint8_t byte = 0;
    if (!peer->lingers &&
        http_request_read(&peer->reader, &byte, 1, &ignored) == HTTP_BAD_AFTER_LAST) {
        http_peer_refuse(context, peer, HTTP_BAD_AFTER_LAST);
    }
    peer->lingers = true;
}
