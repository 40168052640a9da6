/* SHA-256 (FIPS 180-4) of bytes that come in pieces: OpenSSL's. A build without it says so. */
#ifndef SONDE_CODEC_SHA256_H
#define SONDE_CODEC_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_TEXT = 2 * SHA256_BYTES };

/* 0 where this build has it, else -1 and in words why not. */
int sha256_why_not(char *reason, size_t size);

struct sha256;

/* NULL: there is no memory, or this build does not have it. sha256_close takes NULL. */
struct sha256 *sha256_open(void);
void sha256_close(struct sha256 *hash);

/* Begins anew, takes a piece, gives the digest of all pieces. False: OpenSSL failed. */
bool sha256_begin(struct sha256 *hash);
bool sha256_add(struct sha256 *hash, const void *data, size_t length);
bool sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES]);

/* Reads a digest as sha256sum prints it, in 64 hexadecimal digits. */
bool sha256_parse(const char *text, uint8_t digest[SHA256_BYTES]);

#endif
