/* One end of a control channel: a socket, TLS where there is a secret, and messages (codec). */
#ifndef SONDE_RUN_CONTROL_LINK_H
#define SONDE_RUN_CONTROL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "codec/control.h"
#include "net/tls.h"

/* Bytes under way in one direction; the first `done` of them are finished with. */
struct control_bytes {
    uint8_t *data; /* owned */
    size_t length, room, done;
};

struct control_link {
    int fd;          /* non-blocking; owned; -1: none */
    struct tls *tls; /* owned; NULL: plain */
    bool secured;    /* the handshake is over */
    bool ended;      /* the peer sends nothing more */
    bool refused;    /* it has said why, in a message "error" that was awaited */
    size_t text_most;
    char peer[128];               /* the subject of errors */
    struct control_bytes in, out; /* plain text read; bytes for the socket */
};

/* Takes fd over, and begins TLS where there is a secret. text_most: longest message that is taken.
 * On failure the link is to be closed too. */
int control_link_open(struct control_link *link, int fd, enum tls_side side,
                      const struct tls_secret *secret, size_t text_most, const char *peer,
                      struct err *error);
void control_link_close(struct control_link *link); /* safe to call twice */

/* Puts in bytes that were read from the socket before it was known what they are. */
int control_link_feed(struct control_link *link, const void *bytes, size_t length,
                      struct err *error);
/* Reads and writes what is possible without waiting. 0, or -1 with *error. */
int control_link_move(struct control_link *link, struct err *error);
/* True where bytes wait for room in the socket. */
bool control_link_waits(const struct control_link *link);

/* The next message that is there. 1: *message, to be released; 0: none yet; -1 with *error, also
 * where the peer has gone. */
int control_link_next(struct control_link *link, struct control_message *message,
                      struct err *error);
/* Queues a message and writes what there is room for. */
int control_link_send(struct control_link *link, const struct control_message *message,
                      struct err *error);

/* Waits until TLS is over, at most until an instant; where there is none it is. stop_fd: as struct
 * session_config's. 0 or -1. */
int control_link_secure(struct control_link *link, uint64_t until_ns, int stop_fd,
                        struct err *error);
/* Waits for a message until an instant; stop_fd: as struct session_config's. The peer's message
 * "error" becomes *error. 0 or -1. */
int control_link_await(struct control_link *link, struct control_message *message,
                       uint64_t until_ns, int stop_fd, struct err *error);
/* The same, for a message of this kind: any other is a breach of the protocol. */
int control_link_expect(struct control_link *link, enum control_kind kind,
                        struct control_message *message, uint64_t until_ns, int stop_fd,
                        struct err *error);
/* Writes everything that is queued, waiting at most until then; stop_fd as above. */
int control_link_flush(struct control_link *link, uint64_t until_ns, int stop_fd,
                       struct err *error);

/* What is said here of a failure, whatever its subject: its subject becomes the peer. */
void control_error_of_peer(const struct control_link *link, const struct err *failure,
                           struct err *named);
/* An error as a message for the peer (texts point into *error), and back. */
void control_error_message(const struct err *error, struct control_message *message);
int control_error_adopt(const struct control_link *link, const struct control_message *message,
                        struct err *error);

#endif
