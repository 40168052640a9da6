/* What of the handshake needs a hash: OpenSSL's. */
#include <stdio.h>
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

int websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_TEXT + 1])
{
    unsigned char text[WEBSOCKET_KEY_TEXT + sizeof IDENTIFIER - 1], hash[SHA1_BYTES];
    memcpy(text, key, WEBSOCKET_KEY_TEXT);
    memcpy(text + WEBSOCKET_KEY_TEXT, IDENTIFIER, sizeof IDENTIFIER - 1);
    if (EVP_Digest(text, sizeof text, hash, NULL, EVP_sha1(), NULL) != 1) {
        return WEBSOCKET_BAD_MEMORY;
    }
    EVP_EncodeBlock((unsigned char *)accept, hash, SHA1_BYTES);
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

int websocket_accept(const char *key, char accept[WEBSOCKET_ACCEPT_TEXT + 1])
{
    (void)key;
    memset(accept, 0, WEBSOCKET_ACCEPT_TEXT + 1);
    return WEBSOCKET_BAD_BUILD;
}

#endif
