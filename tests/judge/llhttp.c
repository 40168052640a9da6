#include "judge.h"

#include <llhttp.h>
#include <stdio.h>

static struct judge *judge_of(llhttp_t *parser)
{
    return parser->data;
}

static struct judge_message *message_of(llhttp_t *parser)
{
    struct judge *judge = judge_of(parser);
    return &judge->messages[judge->count ? judge->count - 1 : 0];
}

static bool is_interim(const llhttp_t *parser, const struct judge *judge)
{
    return judge->responses && parser->status_code >= 100 && parser->status_code < 200;
}

/* 1: there is no body. */
static int on_head(llhttp_t *parser)
{
    struct judge *judge = judge_of(parser);
    if (is_interim(parser, judge)) {
        return 0;
    }
    if (judge->count == JUDGE_MESSAGES_MOST) {
        judge->too_many = true;
        return -1;
    }
    bool none = judge->responses && (judge->heads >> judge->count & 1 ||
                                     parser->status_code == 204 || parser->status_code == 304);
    judge->messages[judge->count++] = (struct judge_message){.status = parser->status_code};
    return none;
}

static int on_body(llhttp_t *parser, const char *data, size_t length)
{
    struct judge_message *message = message_of(parser);
    message->body_bytes += length;
    judge_sum(&message->body_sum, data, length);
    return 0;
}

static int on_end(llhttp_t *parser)
{
    if (!is_interim(parser, judge_of(parser))) {
        message_of(parser)->whole = true;
    }
    return 0;
}

void judge_read(struct judge *judge, const char *data, size_t length)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    *judge =
        (struct judge){.responses = judge->responses, .heads = judge->heads, .ended = judge->ended};
    llhttp_settings_init(&settings);
    settings.on_headers_complete = on_head;
    settings.on_body = on_body;
    settings.on_message_complete = on_end;
    llhttp_init(&parser, judge->responses ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    parser.data = judge;
    llhttp_errno_t error = llhttp_execute(&parser, data, length);
    if (error == HPE_OK && judge->ended) {
        error = llhttp_finish(&parser);
    }
    judge->failed = error != HPE_OK && !judge->too_many;
    snprintf(judge->reason, sizeof judge->reason, "%s", llhttp_errno_name(error));
}

static int count_end(llhttp_t *parser)
{
    ++*(unsigned *)parser->data;
    return 0;
}

static int take_body(llhttp_t *parser, const char *data, size_t length)
{
    (void)parser;
    __asm__ volatile("" : : "r"(data), "r"(length));
    return 0;
}

bool judge_read_answer(const char *data, size_t length)
{
    static llhttp_settings_t settings;
    static llhttp_t parser;
    static unsigned ends;
    if (!parser.data) {
        llhttp_settings_init(&settings);
        settings.on_message_complete = count_end;
        settings.on_body = take_body;
        llhttp_init(&parser, HTTP_RESPONSE, &settings);
        parser.data = &ends;
    }
    unsigned before = ends;
    return llhttp_execute(&parser, data, length) == HPE_OK && ends == before + 1;
}
