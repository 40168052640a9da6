/* What a reader of HTTP says, in a form in which two ways of cutting the same bytes can be
 * compared: where the pieces of a body were cut is not in it. For the fuzzers. */
#ifndef SONDE_FUZZ_HTTP_H
#define SONDE_FUZZ_HTTP_H

#include <stdlib.h>
#include <string.h>

#include "codec/http.h"
#include "judge.h"

enum { HEARD_MESSAGES = JUDGE_MESSAGES_MOST };

struct heard {
    uint64_t sum; /* over all that was said */
    uint64_t body_bytes, body_sum, wire_bytes;
    size_t heads, ends;
    struct judge_message messages[HEARD_MESSAGES];
    int error;
};

static inline void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static inline void hear_slice(struct heard *heard, struct slice slice)
{
    judge_sum(&heard->sum, &slice.length, sizeof slice.length);
    judge_sum(&heard->sum, slice.at, slice.length);
}

static inline void hear_numbers(struct heard *heard, const struct http_event *event)
{
    const uint64_t numbers[] = {
        event->kind,         event->framing,       event->status,         event->minor,
        event->close,        event->has_length,    event->content_length, event->expects_continue,
        event->header_bytes, event->framing_bytes, event->body_bytes};
    judge_sum(&heard->sum, numbers, sizeof numbers);
}

static inline void hear_end(struct heard *heard, const struct http_event *event)
{
    require(event->body_bytes == heard->body_bytes);
    require(event->framing != HTTP_BY_LENGTH || event->body_bytes == event->content_length);
    require((event->framing != HTTP_NO_BODY && event->framing != HTTP_TUNNEL) ||
            event->body_bytes == 0);
    heard->wire_bytes += event->header_bytes + event->framing_bytes + event->body_bytes;
    if (heard->ends < HEARD_MESSAGES) {
        heard->messages[heard->ends] = (struct judge_message){.status = event->status,
                                                              .body_bytes = heard->body_bytes,
                                                              .body_sum = heard->body_sum,
                                                              .whole = true};
    }
    judge_sum(&heard->sum, &heard->body_sum, sizeof heard->body_sum);
    heard->body_bytes = heard->body_sum = 0;
    heard->ends++;
}

/* An event of a read of `length` bytes from `data`. */
static inline void hear(struct heard *heard, const struct http_event *event, const uint8_t *data,
                        size_t length)
{
    if (event->kind == HTTP_BODY) {
        require(event->length > 0 && event->data >= data &&
                event->data + event->length <= data + length);
        judge_sum(&heard->body_sum, event->data, event->length);
        heard->body_bytes += event->length;
    } else if (event->kind != HTTP_NOTHING) {
        hear_numbers(heard, event);
        hear_slice(heard, event->method);
        hear_slice(heard, event->target);
        heard->heads += event->kind == HTTP_HEAD;
        if (event->kind == HTTP_END) {
            hear_end(heard, event);
        }
    }
}

/* Both say the same, up to the same error. */
static inline void alike(const struct heard *one, const struct heard *other)
{
    require(one->sum == other->sum && one->error == other->error && one->heads == other->heads &&
            one->ends == other->ends && one->body_bytes == other->body_bytes &&
            one->body_sum == other->body_sum && one->wire_bytes == other->wire_bytes);
}

/* llhttp 8.1 does not know "chunked" again, nor a length, behind which a tab stands, which is white
 * space around a value (RFC 9110, section 5.6.3) like a blank. */
static inline bool judge_misses_tab(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        size_t at = i;
        while (at < size && (data[at] == ' ' || data[at] == '\t')) {
            at++;
        }
        if (data[i] == '\t' && at < size && data[at] == '\r') {
            return true;
        }
    }
    return false;
}

/* What was taken whole, llhttp understands alike. */
static inline void judged_alike(const struct heard *heard, const struct judge *judge)
{
    require(!judge->failed);
    require(judge->count == heard->ends);
    for (size_t i = 0; i < heard->ends; i++) {
        const struct judge_message *ours = &heard->messages[i], *theirs = &judge->messages[i];
        require(theirs->whole && ours->status == theirs->status &&
                ours->body_bytes == theirs->body_bytes && ours->body_sum == theirs->body_sum);
    }
}

#endif
