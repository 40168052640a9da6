/* A second opinion on where messages end: llhttp reads the same bytes. What sonde's own codec
 * takes, llhttp has to understand alike; the other way round it may be more lenient. */
#ifndef SONDE_TESTS_JUDGE_H
#define SONDE_TESTS_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JUDGE_MESSAGES_MOST = 16 };

struct judge_message {
    unsigned status; /* of an answer */
    uint64_t body_bytes, body_sum;
    bool whole;
};

struct judge {
    bool failed;     /* there was something that llhttp takes for wrong */
    char reason[64]; /* llhttp's name of it */
    bool too_many;   /* messages */
    size_t count;    /* messages that were begun, but for interim answers */
    struct judge_message messages[JUDGE_MESSAGES_MOST];
    /* Of answers: bit i of `heads` says that request i was HEAD. */
    bool responses;
    uint32_t heads;
    bool ended; /* the connection has, behind these bytes */
};

/* Fills the judgement from `responses`, `heads` and `ended` on. */
void judge_read(struct judge *judge, const char *data, size_t length);

/* A sum that depends on each byte and on its place, over pieces: it goes on from *sum. */
static inline void judge_sum(uint64_t *sum, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < length; i++) {
        *sum = (*sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
}

/* llhttp alone, for measuring: reads one answer; false where it was none. */
bool judge_read_answer(const char *data, size_t length);

#endif
