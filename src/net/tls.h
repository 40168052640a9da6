/* TLS as a layer of bytes over whatever stream: no file inside. Bytes from the peer are put in,
 * bytes for the peer are taken out, and between them plain text is read and written.
 *
 * Who the peer is, is proved in one of two ways: by certificates (TLS 1.2 and 1.3), or by a secret
 * that both ends hold (an external PSK, RFC 8446, section 2.2, with ephemeral keys: a secret that
 * leaks later opens no old recording). */
#ifndef SONDE_NET_TLS_H
#define SONDE_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct tls;
struct tls_context;

enum { TLS_SECRET_LEAST = 16, TLS_SECRET_MOST = 4096 };

/* Most plain text that one record carries (RFC 8446, section 5.1). */
enum { TLS_RECORD_BYTES = 16384 };

struct tls_secret {
    uint8_t bytes[TLS_SECRET_MOST];
    size_t length;
};

enum tls_side { TLS_CLIENT, TLS_SERVER };

enum { TLS_1_2 = 1, TLS_1_3 = 2 };

/* What fails by TLS rather than by the system: numbers above every errno, so that a result can be
 * either (-number). Above TLS_FAILED_ALERT + 0 stand the alerts of the other end by their own
 * numbers (RFC 8446, section 6). */
#define TLS_FAILURES(X)                                                                            \
    X(TRUNCATED, "ended without close_notify: truncated")                                          \
    X(ENDED, "the other end closed in the TLS handshake")                                          \
    X(NOT_TLS, "the other end does not speak TLS")                                                 \
    X(NAME, "the certificate is for another name")                                                 \
    X(EXPIRED, "the certificate has expired")                                                      \
    X(NOT_YET, "the certificate is not valid yet")                                                 \
    X(SELF_SIGNED, "the certificate is self-signed")                                               \
    X(UNTRUSTED, "the certificate's authority is not trusted")                                     \
    X(CERTIFICATE, "the certificate cannot be verified")                                           \
    X(VERSION, "no TLS version in common")                                                         \
    X(CIPHER, "no TLS cipher in common")                                                           \
    X(RECORD, "a TLS record was damaged")                                                          \
    X(FLOOD, "TLS control messages without end")                                                   \
    X(PROTOCOL, "TLS protocol error")

enum tls_failure {
    TLS_FAILED_NONE = 4096, /* above the kernel's MAX_ERRNO */
#define X(name, text) TLS_FAILED_##name,
    TLS_FAILURES(X)
#undef X
        TLS_FAILED_ALERT = 8192,
};

/* In words, at most 47 bytes; NULL where the number is no TLS failure. */
const char *tls_failure_name(int number);

/* What many connections share: certificates, whom to trust, versions, ciphers, tickets. */
struct tls_settings {
    enum tls_side side;
    uint32_t versions;   /* TLS_1_2 | TLS_1_3; 0: both */
    const char *ciphers; /* names with ':' between them, of both versions; NULL: OpenSSL's own. A
                            version of which it names none is left out */
    bool resume;         /* client: keep sessions and offer them; server: give tickets */
    /* Client: */
    const char *name;                  /* of the server: SNI, and what is verified; a name or an
                                          address */
    bool insecure;                     /* do not verify */
    const char *authorities;           /* PEM file; NULL: the system's */
    const struct tls_context *trusted; /* trust exactly the certificate of this server; NULL: no */
    /* Server: */
    const char *certificate, *key; /* PEM files; both NULL: makes a self-signed certificate for
                                      localhost, 127.0.0.1, ::1 and `names` */
    const char *const *names;
    size_t name_count;
};

int tls_context_open(struct tls_context **context, const struct tls_settings *settings,
                     struct err *error);
void tls_context_close(struct tls_context *context); /* NULL is allowed */

/* Whether a client has a session to offer: some connection has been given one. */
bool tls_context_has_session(struct tls_context *context);
/* Whether it keeps sessions and has none yet; false for NULL. */
bool tls_context_awaits_session(struct tls_context *context);

/* How one end proves who it is, and wants it proved: by `context`, or else by `secret`. */
struct tls_config {
    enum tls_side side;
    const struct tls_secret *secret; /* only read by tls_open */
    const char *peer;                /* the subject of errors */
    struct tls_context *context;     /* outlives the connection; NULL: by the secret */
};

/* 0 where TLS can be had; else -1, in words why not. */
int tls_why_not(char *reason, size_t size);

/* Reads a secret: the file must be a regular one of this user's that nobody else may read (mode
 * 0600 or stricter), of 16 to 4,096 bytes; a newline at its end does not count. */
int tls_secret_read(const char *path, struct tls_secret *secret, struct err *error);
void tls_secret_clear(struct tls_secret *secret);

int tls_open(struct tls **tls, const struct tls_config *config, struct err *error);
void tls_close(struct tls *tls); /* NULL is allowed */

/* Puts in what came from the peer. 0, or -1 without memory. */
int tls_feed(struct tls *tls, const void *bytes, size_t length, struct err *error);
/* The same without a copy, where nothing is unread: the bytes stay where they are until they have
 * been read or tls_keep has copied the rest. */
void tls_lend(struct tls *tls, const void *bytes, size_t length);
int tls_keep(struct tls *tls, struct err *error);
/* Whether something is left that tls_read may return without more from the peer. */
bool tls_unread(const struct tls *tls);

/* Bytes for the peer; grows as needed. */
struct tls_output {
    uint8_t *bytes; /* malloc'ed; NULL: none yet */
    size_t length, room;
};

/* Where bytes for the peer are put from now on; NULL: where tls_take takes them from. */
void tls_put_into(struct tls *tls, struct tls_output *output);
/* Takes at most `room` bytes for the peer; how many there are: tls_waiting. */
size_t tls_take(struct tls *tls, void *bytes, size_t room);
size_t tls_waiting(struct tls *tls);

/* 1: both ends are who they should be; 0: more bytes of the peer are needed (there may be some to
 * be taken); -1 with *error (there may be an alert to be taken). */
int tls_handshake(struct tls *tls, struct err *error);

/* What the handshake has come to. */
struct tls_facts {
    const char *version, *cipher; /* static: "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
    bool resumed;
    bool verified; /* client: the server is who it should be; server: false */
};
void tls_facts(const struct tls *tls, struct tls_facts *facts);

/* Reads plain text. > 0: so many bytes; 0: more bytes of the peer are needed; -1 with *error, where
 * the peer has ended in order with code ERR_NONE. */
ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error);
/* Looks at what is unread without taking plain text: sessions are taken up, for one. */
void tls_look(struct tls *tls);
/* Writes all of it, after the handshake. */
int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error);
/* Says to the peer that nothing more comes. */
void tls_end(struct tls *tls);

/* Of the last call that returned -1 for a reason of TLS: enum tls_failure, or an alert. */
int tls_failure(const struct tls *tls);

#endif
