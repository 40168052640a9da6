/* Requests of any bytes: whole, byte for byte and in pieces they are judged alike; and what is
 * taken, llhttp understands alike. The first bytes say how much is allowed and where the pieces are
 * cut. */
#include "fuzz_http.h"

enum { SETTINGS = 2, TARGET_MOST = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct heard play(bool less, const uint8_t *data, size_t length, size_t chop)
{
    static const struct http_limits few = {.head_bytes = 100, .lines = 4, .body_bytes = 20};
    struct http_request_reader reader;
    struct http_event event;
    struct heard heard = {0};
    char *target = malloc(TARGET_MOST);
    require(target != NULL);
    http_request_reader_init(&reader, less ? &few : &http_limits_usual, target, TARGET_MOST);
    for (size_t at = 0; at < length && !heard.error;) {
        size_t piece = chop && length - at > chop ? chop : length - at;
        uint8_t *copy = malloc(piece);
        require(copy != NULL);
        memcpy(copy, data + at, piece);
        size_t used = 0;
        do {
            ssize_t taken = http_request_read(&reader, copy + used, piece - used, &event);
            require(taken <= (ssize_t)(piece - used));
            heard.error = taken < 0 ? (int)taken : 0;
            hear(&heard, &event, copy, piece);
            used += taken > 0 ? (size_t)taken : 0;
            require(heard.error || event.kind != HTTP_NOTHING || used == piece);
            require(event.kind != HTTP_HEAD || (event.method.length && event.target.length));
        } while (event.kind != HTTP_NOTHING);
        free(copy);
        at += piece;
    }
    if (!heard.error) {
        heard.error = http_request_finish(&reader);
    }
    free(target);
    return heard;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS) {
        return 0;
    }
    bool less = data[0] & 1;
    size_t chop = 2 + data[1];
    data += SETTINGS;
    size -= SETTINGS;
    struct heard whole = play(less, data, size, 0);
    struct heard bytes = play(less, data, size, 1);
    struct heard pieces = play(less, data, size, chop);
    alike(&whole, &bytes);
    alike(&whole, &pieces);
    require(whole.wire_bytes <= size);
    if (!whole.error) {
        require(whole.wire_bytes == size || whole.wire_bytes + 2 == size);
        struct judge judge = {.ended = true};
        if (SONDE_HAVE_LLHTTP && whole.ends < JUDGE_MESSAGES_MOST) {
            judge_read(&judge, (const char *)data, size);
            if (!judge.failed) { /* it has a list of methods, and ends with an upgrade */
                judged_alike(&whole, &judge);
            }
        }
    }
    return 0;
}
