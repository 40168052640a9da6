/* What the streams of a worker send: bytes that follow from their position in the stream, in memory
 * or in a file that is nothing but memory (memfd), which sendfile reads. */
#ifndef SONDE_WORKLOAD_STREAM_PAYLOAD_H
#define SONDE_WORKLOAD_STREAM_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"

/* Every byte of a stream is its position modulo this prime. */
enum { STREAM_PATTERN_PERIOD = 251 };

struct stream_payload {
    uint8_t *pattern;    /* `bytes` of it from any position within the first period on */
    size_t bytes;        /* most that one send offers */
    struct op_file file; /* fd -1: it is in no file */
};

/* What it takes where one send offers so many bytes. */
size_t stream_payload_memory(size_t bytes);

/* 0 or -1 with *error. */
int stream_payload_open(struct stream_payload *payload, size_t bytes, bool in_file,
                        struct err *error);

/* Safe to call twice. */
void stream_payload_close(struct stream_payload *payload);

#endif
