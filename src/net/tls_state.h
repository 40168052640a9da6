/* What the files of TLS share, and nobody else. */
#ifndef SONDE_NET_TLS_STATE_H
#define SONDE_NET_TLS_STATE_H

#include "net/tls.h"

#if SONDE_HAVE_TLS

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <pthread.h>

#define TLS_KEY_BYTES 32
/* Sessions that are kept to be offered once. */
#define TLS_SESSIONS_MOST 1024

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *bytes; /* the layer between OpenSSL and its caller's bytes */
    enum tls_side side;
    bool insecure;
    bool by_address; /* name is one */
    char name[256];  /* client: of the server; empty: none */
    X509 *certificate;
    pthread_mutex_t lock; /* of sessions */
    SSL_SESSION *session; /* client: the latest that a server has given */
    SSL_SESSION **unused; /* client: those of TLS 1.3 that have not been offered yet; NULL: none */
    size_t unused_count;
    bool resume;
};

struct tls {
    struct tls_context *context;
    struct tls_context *own; /* made for this connection alone (by a secret); NULL: none */
    SSL *ssl;
    enum tls_side side;
    bool heard;        /* the peer has said something */
    int failure;       /* enum tls_failure */
    const uint8_t *in; /* unread, of `in_left` bytes: lent, or in `kept` */
    size_t in_left;
    uint8_t *kept;
    size_t kept_room;
    struct tls_output own_output, *output;
    uint8_t key[TLS_KEY_BYTES];
    char peer[128];
};

/* A BIO whose bytes are those of the struct tls that is its data. */
BIO_METHOD *tls_bytes_method(void);

/* An empty context with what holds for both ways of proof. NULL without memory. */
struct tls_context *tls_context_new(enum tls_side side);

/* The struct tls of a connection of OpenSSL's. */
struct tls *tls_of(const SSL *ssl);

/* Sets up a context that proves a secret. 0 or -1. */
int tls_secret_configure(struct tls *tls, const struct tls_secret *secret);

/* What went wrong, from OpenSSL's queue of errors, which is emptied: tls->failure and *error.
 * Returns -1. */
int tls_explain(struct tls *tls, struct err *error);

#endif

#endif
