/* What breaks HTTP, through the client's role: never a success, in whatever pieces it comes. */
#include "http_hostile_answers.h"

#include "http_talk.h"

/* A talk in which these requests, a letter each, have been sent, by the corpus' own limits. */
static void begin(struct talk *talk, const char *asked)
{
    talk_init(talk);
    talk->world.http.pipeline = 64;
    talk->world.http.expect_status = "any";
    talk_open(talk, strlen(asked));
    struct http_worker *worker = talk->world.context.shared;
    worker->limits = http_few;
    talk_start(talk);
    struct http_connection *http = http_client_of(talk->world.connection);
    http_response_reader_init(&http->reader, &worker->limits);
    for (const char *at = asked; *at; at++) {
        assert_true(http_response_asked(&http->reader, *at == 'H'   ? "HEAD"
                                                       : *at == 'C' ? "CONNECT"
                                                                    : "GET"));
    }
}

static void play(const struct http_case *row, size_t chop)
{
    struct talk talk;
    unsigned asked = (unsigned)strlen(row->asked);
    begin(&talk, row->asked);
    talk_hear_bytes(&talk, row->text, row->length, chop);
    if (!talk.closed) {
        talk_end(&talk, 0);
    }
    uint64_t completed = talk_count(&talk, HTTP_COUNT_COMPLETED);
    uint64_t failed = talk_count(&talk, HTTP_COUNT_FAILED);
    uint64_t repeated = talk_count(&talk, HTTP_COUNT_REPEATED);
    bool ended = row->error == HTTP_BAD_UNANSWERED && repeated; /* as it had said */
    bool behind = row->error == HTTP_BAD_UNASKED || row->error == HTTP_BAD_AFTER_LAST;
    if (completed > row->ends ||
        (!ended && bank_errors(talk.world.bank) != 1 && bank_errors(talk.world.bank) != failed)) {
        print_error("\"%.60s\", in pieces of %zu\n", row->text, chop);
    }
    assert_true(talk.closed);
    assert_true(completed <= row->ends);
    assert_true(completed == row->ends || (behind && completed + 1 == row->ends));
    assert_int_equal(completed + failed + repeated, asked);
    if (!ended) {
        assert_int_equal(talk_errors(&talk, PHASE_PROTOCOL, 0, http_error_text(row->error)), 1);
    }
    if (chop == 0 && behind && row->ends == asked && asked) {
        assert_int_equal(completed, row->ends - 1); /* nor is what it stands behind */
    }
    assert_int_equal(world_outstanding(&talk.world), 0);
    talk_over(&talk);
}

static void play_rows(const struct http_case *rows, size_t count)
{
    static const size_t chops[] = {0, 1, 2, 7, 64};
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < sizeof chops / sizeof chops[0]; j++) {
            play(&rows[i], chops[j]);
        }
    }
}

#define PLAY(name)                                                                                 \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        play_rows(hostile_##name, sizeof hostile_##name / sizeof hostile_##name[0]);               \
    }
PLAY(first_lines)
PLAY(lines)
PLAY(lengths)
PLAY(chunks)
PLAY(ends)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_lines), cmocka_unit_test(lines), cmocka_unit_test(lengths),
        cmocka_unit_test(chunks),      cmocka_unit_test(ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
