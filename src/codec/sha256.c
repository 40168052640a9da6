#include "codec/sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int digit_value(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

bool sha256_parse(const char *text, uint8_t digest[SHA256_BYTES])
{
    if (strlen(text) != SHA256_TEXT) {
        return false;
    }
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

#if SONDE_HAVE_TLS

#include <openssl/evp.h>

struct sha256 {
    EVP_MD *algorithm;
    EVP_MD_CTX *context;
};

int sha256_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "%s", "");
    return 0;
}

struct sha256 *sha256_open(void)
{
    struct sha256 *hash = calloc(1, sizeof *hash);
    if (hash) {
        hash->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
        hash->context = EVP_MD_CTX_new();
    }
    if (hash && (!hash->algorithm || !hash->context)) {
        sha256_close(hash);
        return NULL;
    }
    return hash;
}

void sha256_close(struct sha256 *hash)
{
    if (hash) {
        EVP_MD_CTX_free(hash->context);
        EVP_MD_free(hash->algorithm);
    }
    free(hash);
}

bool sha256_begin(struct sha256 *hash)
{
    return EVP_DigestInit_ex(hash->context, hash->algorithm, NULL) == 1;
}

bool sha256_add(struct sha256 *hash, const void *data, size_t length)
{
    return EVP_DigestUpdate(hash->context, data, length) == 1;
}

bool sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES])
{
    return EVP_DigestFinal_ex(hash->context, digest, NULL) == 1;
}

#else

int sha256_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "this build has no OpenSSL, which SHA-256 is taken from");
    return -1;
}

struct sha256 *sha256_open(void)
{
    return NULL;
}

void sha256_close(struct sha256 *hash)
{
    (void)hash;
}

bool sha256_begin(struct sha256 *hash)
{
    (void)hash;
    return false;
}

bool sha256_add(struct sha256 *hash, const void *data, size_t length)
{
    (void)hash;
    (void)data;
    (void)length;
    return false;
}

bool sha256_end(struct sha256 *hash, uint8_t digest[SHA256_BYTES])
{
    (void)hash;
    (void)digest;
    return false;
}

#endif
