/* What masking costs beside a memcpy of as many bytes: `mask SIZE ROUNDS`. Each round measures
 * memcpy, masking from one buffer to another, masking in place, and validating ASCII as UTF-8,
 * there and back again, and prints what each took in ns for one pass over SIZE bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/websocket.h"

enum { BLOCK_BYTES = 4 << 20, TURNS = 40, SIZE_MOST = 64 << 20 };

struct bench {
    uint8_t *from, *to;
    size_t size;
    uint8_t mask[WEBSOCKET_MASK_BYTES];
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void copy(struct bench *bench)
{
    memcpy(bench->to, bench->from, bench->size);
}

static void mask_over(struct bench *bench)
{
    websocket_mask(bench->to, bench->from, bench->size, bench->mask, 0);
}

static void mask_in_place(struct bench *bench)
{
    websocket_mask(bench->to, bench->to, bench->size, bench->mask, 0);
}

static void validate(struct bench *bench)
{
    struct websocket_utf8 utf8 = {0};
    if (!websocket_utf8_feed(&utf8, bench->from, bench->size)) {
        abort();
    }
}

static void (*const steps[])(struct bench *) = {copy, mask_over, mask_in_place, validate};
enum { STEPS = sizeof steps / sizeof steps[0] };

static double measure(struct bench *bench, void (*step)(struct bench *))
{
    size_t passes = BLOCK_BYTES / bench->size + 1;
    double begin_ns = now_ns();
    for (size_t i = 0; i < passes; i++) {
        step(bench);
        /* Neither thrown away nor merged with the next pass. */
        __asm__ volatile("" : : "r"(bench->to) : "memory");
    }
    return (now_ns() - begin_ns) / (double)passes;
}

int main(int argc, char **argv)
{
    struct bench bench = {.size = argc > 1 ? strtoul(argv[1], NULL, 10) : 64 << 10,
                          .mask = {0x37, 0xfa, 0x21, 0x3d}};
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 15;
    if (bench.size == 0 || bench.size > SIZE_MOST || rounds < 1) {
        fputs("usage: mask SIZE ROUNDS\n", stderr);
        return 2;
    }
    bench.from = aligned_alloc(4096, (bench.size + 4095) / 4096 * 4096);
    bench.to = aligned_alloc(4096, (bench.size + 4095) / 4096 * 4096);
    if (!bench.from || !bench.to) {
        return 1;
    }
    memset(bench.from, 'a', bench.size);
    memset(bench.to, 'b', bench.size);
    for (long round = 0; round < rounds; round++) {
        double ns[STEPS] = {0};
        for (int i = 0; i < TURNS * STEPS; i++) {
            int step = i / STEPS % 2 ? STEPS - 1 - i % STEPS : i % STEPS;
            double took_ns = measure(&bench, steps[step]);
            ns[step] = ns[step] == 0 || took_ns < ns[step] ? took_ns : ns[step];
        }
        printf("%f %f %f %f\n", ns[0], ns[1], ns[2], ns[3]);
        fflush(stdout);
    }
    free(bench.from);
    free(bench.to);
    return 0;
}
