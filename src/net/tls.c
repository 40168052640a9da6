#include "net/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls_state.h"

#if SONDE_HAVE_TLS

#include <openssl/err.h>

#define OUTPUT_LEAST ((size_t)1024)

int tls_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "%s", "");
    return 0;
}

/* ---- bytes from and for the peer ------------------------------------------------------------- */

static int read_bytes(BIO *bio, char *to, int room)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (room <= 0 || tls->in_left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t length = tls->in_left < (size_t)room ? tls->in_left : (size_t)room;
    memcpy(to, tls->in, length);
    tls->in += length;
    tls->in_left -= length;
    return (int)length;
}

/* Room for so many more bytes; -1 without memory. */
static int grow(struct tls_output *output, size_t more)
{
    size_t room = output->room ? output->room : OUTPUT_LEAST;
    while (room - output->length < more) {
        room *= 2;
    }
    if (room > output->room) {
        uint8_t *bytes = realloc(output->bytes, room);
        if (!bytes) {
            return -1;
        }
        output->bytes = bytes;
        output->room = room;
    }
    return 0;
}

static int write_bytes(BIO *bio, const char *bytes, int length)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (length <= 0 || grow(tls->output, (size_t)length) < 0) {
        return -1;
    }
    memcpy(tls->output->bytes + tls->output->length, bytes, (size_t)length);
    tls->output->length += (size_t)length;
    return length;
}

static long control_bytes(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bytes_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "bytes");
    if (method &&
        (!BIO_meth_set_read(method, read_bytes) || !BIO_meth_set_write(method, write_bytes) ||
         !BIO_meth_set_ctrl(method, control_bytes))) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

void tls_lend(struct tls *tls, const void *bytes, size_t length)
{
    tls->in = bytes;
    tls->in_left = length;
}

/* What is unread, and room behind it, in memory of its own. */
static int keep(struct tls *tls, size_t more, struct err *error)
{
    size_t wanted = tls->in_left + more;
    if (wanted > tls->kept_room) {
        uint8_t *kept = malloc(wanted);
        if (!kept) {
            return err_system(error, ENOMEM, tls->peer, "TLS");
        }
        if (tls->in_left) {
            memcpy(kept, tls->in, tls->in_left);
        }
        free(tls->kept);
        tls->kept = kept;
        tls->kept_room = wanted;
    } else if (tls->in_left) {
        memmove(tls->kept, tls->in, tls->in_left);
    }
    tls->in = tls->kept;
    return 0;
}

/* Nobody waits with something unread for long: its memory goes with it. */
static void forget_kept(struct tls *tls)
{
    if (tls->kept && tls->in_left == 0) {
        free(tls->kept);
        tls->kept = NULL;
        tls->kept_room = 0;
        tls->in = NULL;
    }
}

int tls_keep(struct tls *tls, struct err *error)
{
    return tls->in_left ? keep(tls, 0, error) : 0;
}

int tls_feed(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    if (length == 0) {
        return 0;
    }
    if (keep(tls, length, error) < 0) {
        return -1;
    }
    memcpy(tls->kept + tls->in_left, bytes, length);
    tls->in_left += length;
    return 0;
}

bool tls_unread(const struct tls *tls)
{
    return tls->in_left > 0 || SSL_pending(tls->ssl) > 0;
}

void tls_put_into(struct tls *tls, struct tls_output *output)
{
    tls->output = output ? output : &tls->own_output;
}

size_t tls_take(struct tls *tls, void *bytes, size_t room)
{
    struct tls_output *output = tls->output;
    size_t length = output->length < room ? output->length : room;
    if (length) {
        memcpy(bytes, output->bytes, length);
        output->length -= length;
        memmove(output->bytes, output->bytes + length, output->length);
    }
    return length;
}

size_t tls_waiting(struct tls *tls)
{
    return tls->output->length;
}

/* ---- opening --------------------------------------------------------------------------------- */

struct tls *tls_of(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, 0); /* the application's slot (SSL_set_app_data) */
}

/* One that has not been offered yet; else the latest, again: a server that takes it resumes it, and
 * any other makes a whole handshake and gives more. NULL: there is none. */
static SSL_SESSION *choose_session(struct tls_context *context)
{
    SSL_SESSION *session = context->session;
    if (context->unused_count) {
        session = context->unused[--context->unused_count];
        if (session != context->session) {
            return session;
        }
        SSL_SESSION_free(session); /* the context has it still */
    }
    /* A copy: a session that has been used once is marked by whoever used it. */
    return session ? SSL_SESSION_dup(session) : NULL;
}

/* A session that a server has given is offered to it. */
static void offer_session(struct tls *tls)
{
    struct tls_context *context = tls->context;
    if (tls->side == TLS_CLIENT && context->resume) {
        pthread_mutex_lock(&context->lock);
        SSL_SESSION *session = choose_session(context);
        pthread_mutex_unlock(&context->lock);
        if (session) {
            SSL_set_session(tls->ssl, session); /* else a whole handshake */
            SSL_SESSION_free(session);
        }
    }
}

static int make_ssl(struct tls *tls)
{
    struct tls_context *context = tls->context;
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = tls->ssl ? BIO_new(context->bytes) : NULL;
    if (!bio || !SSL_set_ex_data(tls->ssl, 0, tls)) {
        BIO_free(bio);
        return -1;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (tls->side == TLS_SERVER) {
        SSL_set_accept_state(tls->ssl);
        return 0;
    }
    SSL_set_connect_state(tls->ssl);
    if (context->name[0] && !context->by_address &&
        !SSL_set_tlsext_host_name(tls->ssl, context->name)) {
        return -1;
    }
    offer_session(tls);
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
    tls->output = &tls->own_output;
    tls->context = config->context;
    if (!tls->context) {
        tls->context = tls->own = tls_context_new(config->side);
    }
    bool made = tls->context && (!tls->own || tls_secret_configure(tls, config->secret) == 0) &&
                make_ssl(tls) == 0;
    ERR_clear_error();
    if (!made) {
        tls_close(tls);
        *opened = NULL;
        return err_set(error, ERR_SYSTEM, config->peer, "cannot begin TLS");
    }
    return 0;
}

void tls_close(struct tls *tls)
{
    if (!tls) {
        return;
    }
    SSL_free(tls->ssl);
    tls_context_close(tls->own);
    free(tls->kept);
    free(tls->own_output.bytes);
    explicit_bzero(tls->key, sizeof tls->key);
    free(tls);
}

/* ---- plain text ------------------------------------------------------------------------------ */

/* What the first byte of a record says it is (RFC 8446, section 5.1): an end that sends anything
 * else than a handshake or an alert does not speak TLS. */
static bool speaks_tls(struct tls *tls)
{
    enum { ALERT = 21, HANDSHAKE = 22 };
    if (tls->heard || tls->in_left == 0) {
        return true;
    }
    tls->heard = true;
    return tls->in[0] == HANDSHAKE || tls->in[0] == ALERT;
}

int tls_handshake(struct tls *tls, struct err *error)
{
    ERR_clear_error();
    if (!speaks_tls(tls)) {
        tls->failure = TLS_FAILED_NOT_TLS;
        return err_set(error, ERR_PROTOCOL, tls->peer, "%s", tls_failure_name(tls->failure));
    }
    int result = SSL_do_handshake(tls->ssl);
    forget_kept(tls);
    if (result == 1) {
        /* Only the secret proves anything there. */
        if (tls->own && !SSL_session_reused(tls->ssl)) {
            return err_set(error, ERR_PROTOCOL, tls->peer, "the peer did not prove the secret");
        }
        return 1;
    }
    if (SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ) {
        return 0;
    }
    return tls_explain(tls, error);
}

void tls_facts(const struct tls *tls, struct tls_facts *facts)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
    *facts = (struct tls_facts){
        .version = SSL_get_version(tls->ssl),
        .cipher = cipher ? SSL_CIPHER_get_name(cipher) : "none",
        .resumed = SSL_session_reused(tls->ssl),
        .verified = tls->side == TLS_CLIENT && !tls->context->insecure,
    };
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error)
{
    size_t got = 0;
    ERR_clear_error();
    if (SSL_read_ex(tls->ssl, bytes, room, &got)) {
        forget_kept(tls);
        return (ssize_t)got;
    }
    forget_kept(tls);
    switch (SSL_get_error(tls->ssl, 0)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        *error = (struct err){0};
        return -1;
    default:
        return tls_explain(tls, error);
    }
}

void tls_look(struct tls *tls)
{
    char byte;
    size_t got;
    ERR_clear_error();
    SSL_peek_ex(tls->ssl, &byte, 1, &got); /* what fails will fail again where it is read */
    ERR_clear_error();
}

int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    size_t written = 0;
    ERR_clear_error();
    if (length && (!SSL_write_ex(tls->ssl, bytes, length, &written) || written != length)) {
        return tls_explain(tls, error);
    }
    return 0;
}

void tls_end(struct tls *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

int tls_failure(const struct tls *tls)
{
    return tls->failure;
}

#else

int tls_why_not(char *reason, size_t size)
{
    snprintf(reason, size, "built without TLS (OpenSSL)");
    return -1;
}

static int absent(struct err *error)
{
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS (OpenSSL)");
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
    return absent(error);
}

void tls_lend(struct tls *tls, const void *bytes, size_t length)
{
    (void)tls, (void)bytes, (void)length;
}

int tls_keep(struct tls *tls, struct err *error)
{
    (void)tls;
    return absent(error);
}

bool tls_unread(const struct tls *tls)
{
    (void)tls;
    return false;
}

void tls_put_into(struct tls *tls, struct tls_output *output)
{
    (void)tls, (void)output;
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
    return absent(error);
}

void tls_facts(const struct tls *tls, struct tls_facts *facts)
{
    (void)tls;
    *facts = (struct tls_facts){.version = "none", .cipher = "none"};
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error)
{
    (void)tls, (void)bytes, (void)room;
    return absent(error);
}

void tls_look(struct tls *tls)
{
    (void)tls;
}

int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error)
{
    (void)tls, (void)bytes, (void)length;
    return absent(error);
}

void tls_end(struct tls *tls)
{
    (void)tls;
}

int tls_failure(const struct tls *tls)
{
    (void)tls;
    return TLS_FAILED_NONE;
}

#endif
