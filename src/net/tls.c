#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if SONDE_HAVE_TLS

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

#define IDENTITY "sonde"
#define KEY_BYTES 32

struct tls {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in, *out; /* memory; owned by ssl */
    enum tls_side side;
    uint8_t key[KEY_BYTES];
    char peer[128];
};

int tls_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "%s", "");
    return 0;
}

static int tls_index(void)
{
    return 0; /* SSL_get_ex_data's application slot 0 (SSL_set_app_data) */
}

static struct tls *tls_of(SSL *ssl)
{
    return SSL_get_ex_data(ssl, tls_index());
}

/* The key as a session that both ends pretend to resume: how OpenSSL takes an external PSK. */
static SSL_SESSION *make_session(struct tls *tls)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01}; /* RFC 8446, B.4 */
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = SSL_CIPHER_find(tls->ssl, aes_128_gcm_sha256);
    if (!session || !cipher || !SSL_SESSION_set1_master_key(session, tls->key, KEY_BYTES) ||
        !SSL_SESSION_set_cipher(session, cipher) ||
        !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

static int use_session(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                       size_t *length, SSL_SESSION **session)
{
    (void)digest;
    *identity = (const unsigned char *)IDENTITY;
    *length = strlen(IDENTITY);
    *session = make_session(tls_of(ssl));
    return *session != NULL;
}

static int find_session(SSL *ssl, const unsigned char *identity, size_t length,
                        SSL_SESSION **session)
{
    *session = NULL;
    if (length != strlen(IDENTITY) || memcmp(identity, IDENTITY, length) != 0) {
        return 1; /* a handshake without it, which fails for want of a certificate */
    }
    *session = make_session(tls_of(ssl));
    return *session != NULL;
}

/* One length for every secret: the key is what the handshake's own hash makes of it. */
static int make_key(struct tls *tls, const struct tls_secret *secret)
{
    static const char label[] = "sonde control channel, version 1";
    unsigned int length = 0;
    return HMAC(EVP_sha256(), label, (int)strlen(label), secret->bytes, secret->length, tls->key,
                &length) &&
                   length == KEY_BYTES
               ? 0
               : -1;
}

static int configure(struct tls *tls)
{
    SSL_CTX *context = tls->context;
    if (!SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_num_tickets(context, 0)) {
        return -1;
    }
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (tls->side == TLS_CLIENT) {
        SSL_CTX_set_psk_use_session_callback(context, use_session);
        /* A server without the secret has to show a certificate: none is trusted. */
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    } else {
        SSL_CTX_set_psk_find_session_callback(context, find_session);
    }
    return 0;
}

int tls_open(struct tls **opened, const struct tls_config *config, struct err *error)
{
    struct tls *tls = *opened = calloc(1, sizeof *tls);
    if (!tls) {
        return err_system(error, ENOMEM, config->peer, "cannot begin TLS");
    }
    snprintf(tls->peer, sizeof tls->peer, "%s", config->peer);
    tls->side = config->side;
    tls->context =
        SSL_CTX_new(config->side == TLS_CLIENT ? TLS_client_method() : TLS_server_method());
    if (tls->context && make_key(tls, config->secret) == 0 && configure(tls) == 0) {
        tls->ssl = SSL_new(tls->context);
    }
    if (tls->ssl && SSL_set_ex_data(tls->ssl, tls_index(), tls)) {
        tls->in = BIO_new(BIO_s_mem());
        tls->out = BIO_new(BIO_s_mem());
    }
    if (!tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        tls_close(tls);
        *opened = NULL;
        return err_set(error, ERR_SYSTEM, config->peer, "cannot begin TLS");
    }
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    if (config->side == TLS_CLIENT) {
        SSL_set_connect_state(tls->ssl);
    } else {
        SSL_set_accept_state(tls->ssl);
    }
    return 0;
}

void tls_close(struct tls *tls)
{
    if (!tls) {
        return;
    }
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    explicit_bzero(tls->key, sizeof tls->key);
    free(tls);
}

int tls_feed(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    size_t written = 0;
    if (length && (!BIO_write_ex(tls->in, bytes, length, &written) || written != length)) {
        return err_system(error, ENOMEM, tls->peer, "TLS");
    }
    return 0;
}

size_t tls_take(struct tls *tls, void *bytes, size_t room)
{
    size_t taken = 0;
    return room && BIO_read_ex(tls->out, bytes, room, &taken) ? taken : 0;
}

size_t tls_waiting(struct tls *tls)
{
    return BIO_ctrl_pending(tls->out);
}

/* What went wrong, in words: that the secrets differ is the likely thing, and is said as such. */
static int explain(struct tls *tls, struct err *error)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    char text[128] = "it ended";
    if (code) {
        const char *words = ERR_reason_error_string(code);
        snprintf(text, sizeof text, "%s", words ? words : "unknown");
    }
    ERR_clear_error();
    /* The server finds that the client's proof does not hold; the client hears that as an alert. */
    bool differ = reason == SSL_R_BINDER_DOES_NOT_VERIFY ||
                  reason == SSL_AD_REASON_OFFSET + SSL_AD_ILLEGAL_PARAMETER ||
                  reason == SSL_AD_REASON_OFFSET + SSL_AD_DECRYPT_ERROR ||
                  reason == SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE ||
                  reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM ||
                  reason == SSL_R_NO_SHARED_CIPHER;
    if (differ && !SSL_is_init_finished(tls->ssl)) {
        err_set(error, ERR_PROTOCOL, tls->peer, "the secrets of the two ends differ");
        return err_hint(error, "--secret must name files of the same content");
    }
    return err_set(error, ERR_PROTOCOL, tls->peer, "TLS: %s", text);
}

int tls_handshake(struct tls *tls, struct err *error)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        /* Only the secret proves anything here. */
        if (!SSL_session_reused(tls->ssl)) {
            return err_set(error, ERR_PROTOCOL, tls->peer, "the peer did not prove the secret");
        }
        return 1;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ) {
        return 0;
    }
    return explain(tls, error);
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error)
{
    size_t got = 0;
    ERR_clear_error();
    if (SSL_read_ex(tls->ssl, bytes, room, &got)) {
        return (ssize_t)got;
    }
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        *error = (struct err){0};
        return -1;
    default:
        return explain(tls, error);
    }
}

int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    size_t written = 0;
    ERR_clear_error();
    if (length && (!SSL_write_ex(tls->ssl, bytes, length, &written) || written != length)) {
        return explain(tls, error);
    }
    return 0;
}

void tls_end(struct tls *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

#else

int tls_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "built without TLS (OpenSSL)");
    return -1;
}

int tls_open(struct tls **tls, const struct tls_config *config, struct err *error)
{
    *tls = NULL;
    return err_set(error, ERR_UNSUPPORTED, config->peer, "built without TLS (OpenSSL)");
}

void tls_close(struct tls *tls)
{
    (void)tls;
}

int tls_feed(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    (void)tls, (void)bytes, (void)length;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS");
}

size_t tls_take(struct tls *tls, void *bytes, size_t room)
{
    (void)tls, (void)bytes, (void)room;
    return 0;
}

size_t tls_waiting(struct tls *tls)
{
    (void)tls;
    return 0;
}

int tls_handshake(struct tls *tls, struct err *error)
{
    (void)tls;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS");
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error)
{
    (void)tls, (void)bytes, (void)room;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS");
}

int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    (void)tls, (void)bytes, (void)length;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS");
}

void tls_end(struct tls *tls)
{
    (void)tls;
}

#endif
