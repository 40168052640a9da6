/* TLS 1.3 as a layer of bytes over whatever stream: no file inside. Bytes from the peer are put in,
 * bytes for the peer are taken out, and between them plain text is read and written.
 *
 * Who the peer is, is proved by a secret that both ends hold (an external PSK, RFC 8446, section
 * 2.2, with ephemeral keys: a secret that leaks later opens no old recording). */
#ifndef SONDE_NET_TLS_H
#define SONDE_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct tls;

enum { TLS_SECRET_LEAST = 16, TLS_SECRET_MOST = 4096 };

struct tls_secret {
    uint8_t bytes[TLS_SECRET_MOST];
    size_t length;
};

enum tls_side { TLS_CLIENT, TLS_SERVER };

/* How one end proves who it is, and wants it proved. Certificates would be further members. */
struct tls_config {
    enum tls_side side;
    const struct tls_secret *secret; /* required; only read by tls_open */
    const char *peer;                /* the subject of errors */
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
/* Takes at most `room` bytes for the peer; how many there are: tls_waiting. */
size_t tls_take(struct tls *tls, void *bytes, size_t room);
size_t tls_waiting(struct tls *tls);

/* 1: both ends are who they should be; 0: more bytes of the peer are needed (there may be some to
 * be taken); -1 with *error (there may be an alert to be taken). */
int tls_handshake(struct tls *tls, struct err *error);

/* Reads plain text. > 0: so many bytes; 0: more bytes of the peer are needed; -1 with *error, where
 * the peer has ended in order with code ERR_NONE. */
ssize_t tls_read(struct tls *tls, void *bytes, size_t room, struct err *error);
/* Writes all of it, after the handshake. */
int tls_write(struct tls *tls, const void *bytes, size_t length, struct err *error);
/* Says to the peer that nothing more comes. */
void tls_end(struct tls *tls);

#endif
