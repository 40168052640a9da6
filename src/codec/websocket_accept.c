/* What of the handshake needs a hash: OpenSSL's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/websocket_handshake.h"

#if SONDE_HAVE_TLS

#include <openssl/evp.h>

/* RFC 6455, section 1.3. */
#define IDENTIFIER "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum { SHA1_BYTES = 20 };

int websocket_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "%s", "");
    return 0;
}

int websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_BYTES], char key[WEBSOCKET_KEY_TEXT + 1])
{
    EVP_EncodeBlock((unsigned char *)key, nonce, WEBSOCKET_NONCE_BYTES);
    return 0;
}

struct websocket_hash {
    EVP_MD *algorithm; /* looking it up costs more than hashing a key */
    EVP_MD_CTX *context;
};

struct websocket_hash *websocket_hash_open(void)
{
    struct websocket_hash *hash = calloc(1, sizeof *hash);
    if (hash) {
        hash->algorithm = EVP_MD_fetch(NULL, "SHA1", NULL);
        hash->context = EVP_MD_CTX_new();
    }
    if (hash && (!hash->algorithm || !hash->context)) {
        websocket_hash_close(hash);
        return NULL;
    }
    return hash;
}

void websocket_hash_close(struct websocket_hash *hash)
{
    if (hash) {
        EVP_MD_CTX_free(hash->context);
        EVP_MD_free(hash->algorithm);
    }
    free(hash);
}

static bool digest(struct websocket_hash *hash, const unsigned char *text, size_t length,
                   unsigned char result[SHA1_BYTES])
{
    return hash ? EVP_DigestInit_ex(hash->context, hash->algorithm, NULL) == 1 &&
                      EVP_DigestUpdate(hash->context, text, length) == 1 &&
                      EVP_DigestFinal_ex(hash->context, result, NULL) == 1
                : EVP_Digest(text, length, result, NULL, EVP_sha1(), NULL) == 1;
}

int websocket_accept(struct websocket_hash *hash, const char *key,
                     char accept[WEBSOCKET_ACCEPT_TEXT + 1])
{
    unsigned char text[WEBSOCKET_KEY_TEXT + sizeof IDENTIFIER - 1], result[SHA1_BYTES];
    memcpy(text, key, WEBSOCKET_KEY_TEXT);
    memcpy(text + WEBSOCKET_KEY_TEXT, IDENTIFIER, sizeof IDENTIFIER - 1);
    if (!digest(hash, text, sizeof text, result)) {
        return WEBSOCKET_BAD_MEMORY;
    }
    EVP_EncodeBlock((unsigned char *)accept, result, SHA1_BYTES);
    return 0;
}

#else

int websocket_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "%s", websocket_error_text(WEBSOCKET_BAD_BUILD));
    return -1;
}

int websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_BYTES], char key[WEBSOCKET_KEY_TEXT + 1])
{
    (void)nonce;
    memset(key, 0, WEBSOCKET_KEY_TEXT + 1);
    return WEBSOCKET_BAD_BUILD;
}

struct websocket_hash *websocket_hash_open(void)
{
    return NULL;
}

void websocket_hash_close(struct websocket_hash *hash)
{
    (void)hash;
}

int websocket_accept(struct websocket_hash *hash, const char *key,
                     char accept[WEBSOCKET_ACCEPT_TEXT + 1])
{
    (void)hash;
    (void)key;
    memset(accept, 0, WEBSOCKET_ACCEPT_TEXT + 1);
    return WEBSOCKET_BAD_BUILD;
}

#endif
