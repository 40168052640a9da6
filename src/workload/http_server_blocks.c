/* The bytes of generated bodies. They lie in the program's file, so that all workers of all
 * processes send the same memory. */
#include "workload/http_server.h"

#define LINE "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"
#define FOUR(text) text text text text
#define SIXTEEN(text) FOUR(FOUR(text))
#define CHUNK "4000\r\n" SIXTEEN(SIXTEEN(LINE)) "\r\n"

_Static_assert(sizeof LINE - 1 == HTTP_LINE_BYTES, "one line");
_Static_assert(sizeof CHUNK - 1 == HTTP_CHUNK_WIRE, "one chunk");

const char http_block[HTTP_BLOCK_BYTES + 1] = SIXTEEN(SIXTEEN(SIXTEEN(LINE)));
const char http_chunks[HTTP_CHUNKS * HTTP_CHUNK_WIRE + 1] = SIXTEEN(CHUNK);
