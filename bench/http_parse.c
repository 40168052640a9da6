/* What reading an answer of 200 bytes costs: `http_parse ROUNDS`. Each round measures, there and
 * back again: answers, one at a time; the same 16 behind one another; each in two pieces; chunked
 * ones; requests at the server's end; copying a prepared request; and llhttp on the first of these
 * (0 where it is not there). It prints what each took in ns for one message.
 *
 * The messages differ in what they hold and in how long it is, so that no branch can be learned by
 * heart, as it could be if the same one came again and again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "codec/http.h"
#include "judge.h"

enum {
    BODY_BYTES = 200,
    KINDS = 512, /* different messages */
    PIPELINED = 16,
    PASSES = 40,
    TURNS = 10,
    ROOM = 1 << 10
};

/* As nginx 1.22 answers, and others do. */
static const char *const fields[] = {
    "Server: nginx/1.22.1\r\n",
    "Date: Wed, 25 Nov 2026 22:00:54 GMT\r\n",
    "Content-Type: application/octet-stream\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Last-Modified: Wed, 25 Nov 2026 21:00:54 GMT\r\n",
    "Connection: keep-alive\r\n",
    "ETag: \"6565c0a6-c8\"\r\n",
    "ETag: W/\"5f-18bf2\"\r\n",
    "Accept-Ranges: bytes\r\n",
    "Vary: Accept-Encoding\r\n",
    "Cache-Control: max-age=3600, public\r\n",
    "X-Request-Id: 1f0b2c44\r\n",
};
enum { FIELDS = sizeof fields / sizeof fields[0], FIELDS_OF_ONE = 8 };

struct text {
    char at[ROOM];
    size_t length;
};

struct bench {
    struct http_response_reader reader;
    struct http_request_reader server;
    struct text answers[KINDS], chunked[KINDS], requests[KINDS];
    char together[KINDS * ROOM], copy[ROOM], target[256];
    size_t begins[KINDS + 1]; /* in `together` */
    uint64_t ends;
};

static void read_piece(struct bench *bench, const char *data, size_t length)
{
    struct http_event event;
    do {
        ssize_t taken = http_response_read(&bench->reader, (const uint8_t *)data, length, &event);
        if (taken < 0) {
            abort();
        }
        data += taken;
        length -= (size_t)taken;
        bench->ends += event.kind == HTTP_END;
    } while (event.kind != HTTP_NOTHING);
}

static void ask(struct bench *bench)
{
    if (!http_response_asked(&bench->reader, "GET")) {
        abort();
    }
}

static void one(struct bench *bench, size_t kind)
{
    ask(bench);
    read_piece(bench, bench->answers[kind].at, bench->answers[kind].length);
}

static void pipelined(struct bench *bench, size_t kind)
{
    if (kind % PIPELINED) {
        return;
    }
    for (int i = 0; i < PIPELINED; i++) {
        ask(bench);
    }
    read_piece(bench, bench->together + bench->begins[kind],
               bench->begins[kind + PIPELINED] - bench->begins[kind]);
}

static void two_pieces(struct bench *bench, size_t kind)
{
    const struct text *answer = &bench->answers[kind];
    size_t cut = 1 + kind * 7 % (answer->length - BODY_BYTES);
    ask(bench);
    read_piece(bench, answer->at, cut);
    read_piece(bench, answer->at + cut, answer->length - cut);
}

static void chunked(struct bench *bench, size_t kind)
{
    ask(bench);
    read_piece(bench, bench->chunked[kind].at, bench->chunked[kind].length);
}

static void request(struct bench *bench, size_t kind)
{
    struct http_event event;
    const char *data = bench->requests[kind].at;
    size_t length = bench->requests[kind].length;
    do {
        ssize_t taken = http_request_read(&bench->server, (const uint8_t *)data, length, &event);
        if (taken < 0) {
            abort();
        }
        data += taken;
        length -= (size_t)taken;
        bench->ends += event.kind == HTTP_END;
    } while (event.kind != HTTP_NOTHING);
}

static void copy(struct bench *bench, size_t kind)
{
    memcpy(bench->copy, bench->requests[kind].at, bench->requests[kind].length);
    bench->ends++;
}

static void other(struct bench *bench, size_t kind)
{
    const struct text *answer = &bench->answers[kind];
    if (SONDE_HAVE_LLHTTP && !judge_read_answer(answer->at, answer->length)) {
        abort();
    }
    bench->ends++;
}

static void (*const steps[])(struct bench *bench, size_t kind) = {
    one, pipelined, two_pieces, chunked, request, copy, other};
enum { STEPS = sizeof steps / sizeof steps[0] };

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double measure(struct bench *bench, int step)
{
    bench->ends = 0;
    double begin_ns = now_ns();
    for (size_t i = 0; i < PASSES * KINDS; i++) {
        steps[step](bench, i % KINDS);
        __asm__ volatile("" : : "r"(bench) : "memory");
    }
    double took_ns = now_ns() - begin_ns;
    if (bench->ends != PASSES * KINDS) {
        abort();
    }
    return took_ns / (double)bench->ends;
}

/* Some of the fields, in any order, with `own` among them. */
static void put_head(struct text *to, struct rng *rng, const char *first, const char *own)
{
    uint64_t place = rng_next(rng) % FIELDS_OF_ONE, from = rng_next(rng) % FIELDS;
    to->length = (size_t)snprintf(to->at, ROOM, "%s", first);
    for (uint64_t i = 0; i < FIELDS_OF_ONE; i++) {
        to->length += (size_t)snprintf(to->at + to->length, ROOM - to->length, "%s%s",
                                       i == place ? own : "", fields[(from + 5 * i) % FIELDS]);
    }
    to->length += (size_t)snprintf(to->at + to->length, ROOM - to->length, "\r\n");
}

static void prepare(struct bench *bench)
{
    char body[BODY_BYTES + 1];
    struct rng rng;
    rng_seed(&rng, 1);
    memset(body, 'x', BODY_BYTES);
    body[BODY_BYTES] = '\0';
    for (size_t kind = 0; kind < KINDS; kind++) {
        struct text *answer = &bench->answers[kind], *chunks = &bench->chunked[kind];
        put_head(answer, &rng, "HTTP/1.1 200 OK\r\n", "Content-Length: 200\r\n");
        put_head(chunks, &rng, "HTTP/1.1 200 OK\r\n", "Transfer-Encoding: chunked\r\n");
        answer->length +=
            (size_t)snprintf(answer->at + answer->length, ROOM - answer->length, "%s", body);
        chunks->length += (size_t)snprintf(chunks->at + chunks->length, ROOM - chunks->length,
                                           "%x\r\n%s\r\n0\r\n\r\n", BODY_BYTES, body);
        memcpy(bench->together + bench->begins[kind], answer->at, answer->length);
        bench->begins[kind + 1] = bench->begins[kind] + answer->length;
        bench->requests[kind].length = (size_t)snprintf(
            bench->requests[kind].at, ROOM,
            "GET /%.*s HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: sonde\r\n%s\r\n",
            (int)(rng_next(&rng) % 32), body, kind % 3 ? "Accept: */*\r\n" : "");
    }
    http_response_reader_init(&bench->reader, &http_limits_usual);
    http_request_reader_init(&bench->server, &http_limits_usual, bench->target,
                             sizeof bench->target);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 15;
    if (rounds < 1) {
        fputs("usage: http_parse ROUNDS\n", stderr);
        return 2;
    }
    prepare(&bench);
    for (long round = 0; round < rounds; round++) {
        double ns[STEPS] = {0};
        for (int i = 0; i < TURNS * STEPS; i++) {
            int step = i / STEPS % 2 ? STEPS - 1 - i % STEPS : i % STEPS;
            double took_ns = measure(&bench, step);
            ns[step] = ns[step] == 0 || took_ns < ns[step] ? took_ns : ns[step];
        }
        for (int step = 0; step < STEPS; step++) {
            printf("%f%s", !SONDE_HAVE_LLHTTP && step == STEPS - 1 ? 0 : ns[step],
                   step == STEPS - 1 ? "\n" : " ");
        }
        fflush(stdout);
    }
    return 0;
}
