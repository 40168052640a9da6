/* Answers of any bytes: whole, byte for byte and in pieces they are judged alike, in all states of
 * a connection; and what is taken, llhttp understands alike. The first bytes say what was asked
 * for, how much is allowed and where the pieces are cut. */
#include "fuzz_http.h"

enum { SETTINGS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
    size_t asked, chop;
    uint32_t heads; /* which of them are HEAD */
    bool connect;   /* the last one is CONNECT */
    bool few;
};

static struct settings settings_of(const uint8_t *data)
{
    return (struct settings){.asked = data[0] % (JUDGE_MESSAGES_MOST - 1),
                             .connect = data[0] & 0x80,
                             .few = data[0] & 0x40,
                             .heads = data[1] | (uint32_t)data[2] << 8,
                             .chop = 2 + data[3]};
}

static void finish(struct http_response_reader *reader, struct heard *heard)
{
    struct http_event event;
    do {
        heard->error = http_response_finish(reader, &event);
        hear(heard, &event, NULL, 0);
    } while (event.kind != HTTP_NOTHING);
}

static struct heard play(const struct settings *settings, const uint8_t *data, size_t length,
                         size_t chop)
{
    static const struct http_limits few = {
        .head_bytes = 100, .lines = 4, .interim = 2, .body_bytes = 20};
    struct http_response_reader reader;
    struct http_event event;
    struct heard heard = {0};
    http_response_reader_init(&reader, settings->few ? &few : &http_limits_usual);
    for (size_t i = 0; i < settings->asked; i++) {
        bool last = i + 1 == settings->asked;
        require(http_response_asked(&reader, settings->heads >> i & 1    ? "HEAD"
                                             : last && settings->connect ? "CONNECT"
                                                                         : "GET"));
    }
    for (size_t at = 0; at < length && !heard.error;) {
        size_t piece = chop && length - at > chop ? chop : length - at;
        uint8_t *copy = malloc(piece); /* overruns, and what is kept too long, are seen */
        require(copy != NULL);
        memcpy(copy, data + at, piece);
        size_t used = 0;
        do {
            ssize_t taken = http_response_read(&reader, copy + used, piece - used, &event);
            require(taken <= (ssize_t)(piece - used));
            heard.error = taken < 0 ? (int)taken : 0;
            hear(&heard, &event, copy, piece);
            used += taken > 0 ? (size_t)taken : 0;
            require(heard.error || event.kind != HTTP_NOTHING || used == piece);
        } while (event.kind != HTTP_NOTHING);
        free(copy);
        at += piece;
    }
    if (!heard.error) {
        finish(&reader, &heard);
    }
    return heard;
}

/* llhttp 8.1 has no second chunk extension behind one with a value. */
static bool refuses_extensions(const struct judge *judge, const uint8_t *data, size_t size)
{
    return judge->failed && strcmp(judge->reason, "HPE_INVALID_CHUNK_SIZE") == 0 &&
           memchr(data, ';', size) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS) {
        return 0;
    }
    struct settings settings = settings_of(data);
    data += SETTINGS;
    size -= SETTINGS;
    struct heard whole = play(&settings, data, size, 0);
    struct heard bytes = play(&settings, data, size, 1);
    struct heard pieces = play(&settings, data, size, settings.chop);
    alike(&whole, &bytes);
    alike(&whole, &pieces);
    require(whole.ends <= settings.asked);
    require(whole.wire_bytes <= size);
    if (!whole.error) {
        require(whole.wire_bytes == size && whole.ends == settings.asked);
        struct judge judge = {.responses = true, .heads = settings.heads, .ended = true};
        if (SONDE_HAVE_LLHTTP && !settings.connect) {
            judge_read(&judge, (const char *)data, size);
            if (!refuses_extensions(&judge, data, size) && !judge_misses_tab(data, size)) {
                judged_alike(&whole, &judge);
            }
        }
    }
    return 0;
}
