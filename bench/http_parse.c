/* What reading an answer of 200 bytes costs: `http_parse ROUNDS`. Each round measures, there and
 * back again, an answer at a time, 16 of them that lie behind one another, one in two pieces, a
 * chunked one, a request at the server's end, copying a prepared request, and llhttp on the first
 * of these (0 where it is not there), and prints what each took in ns for one message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/http.h"
#include "judge.h"

enum { BODY_BYTES = 200, PIPELINED = 16, PASSES = 20000, TURNS = 10, ROOM = 16 << 10 };

/* As nginx 1.22 answers. */
#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 22:00:54 GMT\r\n"           \
    "Content-Type: application/octet-stream\r\n"
#define HEAD_REST                                                                                  \
    "Last-Modified: Wed, 25 Nov 2026 21:00:54 GMT\r\nConnection: keep-alive\r\n"                   \
    "ETag: \"6565c0a6-c8\"\r\nAccept-Ranges: bytes\r\n\r\n"
#define REQUEST                                                                                    \
    "GET /200 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: sonde\r\nAccept: */*\r\n\r\n"

struct bench {
    struct http_response_reader reader;
    struct http_request_reader server;
    char answers[ROOM], chunked[ROOM], request[ROOM], copy[ROOM], target[256];
    size_t answer_bytes, chunked_bytes, request_bytes;
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

static void one(struct bench *bench)
{
    ask(bench);
    read_piece(bench, bench->answers, bench->answer_bytes);
}

static void pipelined(struct bench *bench)
{
    for (int i = 0; i < PIPELINED; i++) {
        ask(bench);
    }
    read_piece(bench, bench->answers, PIPELINED * bench->answer_bytes);
}

static void two_pieces(struct bench *bench)
{
    ask(bench);
    read_piece(bench, bench->answers, 120);
    read_piece(bench, bench->answers + 120, bench->answer_bytes - 120);
}

static void chunked(struct bench *bench)
{
    ask(bench);
    read_piece(bench, bench->chunked, bench->chunked_bytes);
}

static void request(struct bench *bench)
{
    struct http_event event;
    const char *data = bench->request;
    size_t length = bench->request_bytes;
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

static void copy(struct bench *bench)
{
    memcpy(bench->copy, bench->request, bench->request_bytes);
    bench->ends++;
}

static void other(struct bench *bench)
{
    if (SONDE_HAVE_LLHTTP && !judge_read_answer(bench->answers, bench->answer_bytes)) {
        abort();
    }
    bench->ends++;
}

static const struct {
    void (*run)(struct bench *bench);
    int messages;
} steps[] = {{one, 1},     {pipelined, PIPELINED}, {two_pieces, 1},
             {chunked, 1}, {request, 1},           {copy, 1},
             {other, 1}};
enum { STEPS = sizeof steps / sizeof steps[0] };

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double measure(struct bench *bench, int step)
{
    int passes = PASSES / steps[step].messages;
    bench->ends = 0;
    double begin_ns = now_ns();
    for (int i = 0; i < passes; i++) {
        steps[step].run(bench);
        __asm__ volatile("" : : "r"(bench) : "memory");
    }
    double took_ns = now_ns() - begin_ns;
    if (bench->ends != (uint64_t)passes * (uint64_t)steps[step].messages) {
        abort();
    }
    return took_ns / (double)bench->ends;
}

static void prepare(struct bench *bench)
{
    char body[BODY_BYTES + 1];
    memset(body, 'x', BODY_BYTES);
    body[BODY_BYTES] = '\0';
    bench->answer_bytes = (size_t)snprintf(
        bench->answers, ROOM, HEAD "Content-Length: %d\r\n" HEAD_REST "%s", BODY_BYTES, body);
    for (size_t i = 1; i < PIPELINED; i++) {
        memcpy(bench->answers + i * bench->answer_bytes, bench->answers, bench->answer_bytes);
    }
    bench->chunked_bytes = (size_t)snprintf(
        bench->chunked, ROOM,
        HEAD "Transfer-Encoding: chunked\r\n" HEAD_REST "%x\r\n%s\r\n0\r\n\r\n", BODY_BYTES, body);
    bench->request_bytes = (size_t)snprintf(bench->request, ROOM, "%s", REQUEST);
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
