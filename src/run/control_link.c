#include "run/control_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define READ_BYTES ((size_t)16 << 10)

/* ---- bytes ---- */

static size_t left(const struct control_bytes *bytes)
{
    return bytes->length - bytes->done;
}

/* Room for more at the end; NULL without memory. */
static uint8_t *make_room(struct control_bytes *bytes, size_t more)
{
    if (bytes->done) {
        memmove(bytes->data, bytes->data + bytes->done, left(bytes));
        bytes->length -= bytes->done;
        bytes->done = 0;
    }
    if (bytes->room - bytes->length < more) {
        size_t room = bytes->length + more;
        uint8_t *data = realloc(bytes->data, room);
        if (!data) {
            return NULL;
        }
        bytes->data = data;
        bytes->room = room;
    }
    return bytes->data + bytes->length;
}

static int append(struct control_link *link, struct control_bytes *bytes, const void *data,
                  size_t length, struct err *error)
{
    uint8_t *to = make_room(bytes, length);
    if (!to) {
        return err_system(error, ENOMEM, link->peer, "control channel");
    }
    memcpy(to, data, length);
    bytes->length += length;
    return 0;
}

/* ---- opening ---- */

/* A peer that has died without a word is noticed within half a minute. A data connection is none of
 * this: what its sockets are set to belongs to the measurement. */
static void watch_life(int fd)
{
    const int on = 1, idle_s = 5, every_s = 5, times = 4, unheard_ms = 15000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof unheard_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int control_link_open(struct control_link *link, int fd, enum tls_side side,
                      const struct tls_secret *secret, size_t text_most, const char *peer,
                      struct err *error)
{
    *link = (struct control_link){.fd = fd, .text_most = text_most, .secured = secret == NULL};
    snprintf(link->peer, sizeof link->peer, "%s", peer);
    watch_life(fd);
    if (!secret) {
        return 0;
    }
    const struct tls_config config = {.side = side, .secret = secret, .peer = link->peer};
    return tls_open(&link->tls, &config, error);
}

void control_link_close(struct control_link *link)
{
    struct err ignored;
    if (link->fd >= 0) {
        if (link->tls && link->secured) {
            tls_end(link->tls);
            control_link_move(link, &ignored);
        }
        close(link->fd);
    }
    tls_close(link->tls);
    free(link->in.data);
    free(link->out.data);
    *link = (struct control_link){.fd = -1};
}

/* ---- moving bytes ---- */

/* What TLS has for the peer goes to the socket's bytes. */
static int take_encrypted(struct control_link *link, struct err *error)
{
    size_t waiting = link->tls ? tls_waiting(link->tls) : 0;
    uint8_t *to = waiting ? make_room(&link->out, waiting) : NULL;
    if (waiting && !to) {
        return err_system(error, ENOMEM, link->peer, "control channel");
    }
    link->out.length += waiting ? tls_take(link->tls, to, waiting) : 0;
    return 0;
}

static int decrypt(struct control_link *link, struct err *error)
{
    if (!link->secured) {
        int done = tls_handshake(link->tls, error);
        link->secured = done > 0;
        if (done <= 0) {
            return done;
        }
    }
    for (;;) {
        uint8_t *to = make_room(&link->in, READ_BYTES);
        if (!to) {
            return err_system(error, ENOMEM, link->peer, "control channel");
        }
        ssize_t got = tls_read(link->tls, to, READ_BYTES, error);
        if (got < 0 && error->code == ERR_NONE) {
            link->ended = true;
            return 0;
        }
        if (got <= 0) {
            return (int)got;
        }
        link->in.length += (size_t)got;
        if (left(&link->in) > link->text_most + CONTROL_HEADER_BYTES + READ_BYTES) {
            return 0; /* the next message says that it is too long */
        }
    }
}

int control_link_feed(struct control_link *link, const void *bytes, size_t length,
                      struct err *error)
{
    if (!link->tls) {
        return append(link, &link->in, bytes, length, error);
    }
    if (tls_feed(link->tls, bytes, length, error) < 0) {
        return -1;
    }
    int result = decrypt(link, error);
    struct err ignored;
    return take_encrypted(link, result < 0 ? &ignored : error) < 0 ? -1 : result;
}

static int write_out(struct control_link *link, struct err *error)
{
    while (left(&link->out)) {
        ssize_t sent = send(link->fd, link->out.data + link->out.done, left(&link->out),
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            link->out.done += (size_t)sent;
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            return err_system(error, errno, link->peer, "the control channel broke down");
        }
    }
    link->out.length = link->out.done = 0;
    return 0;
}

static int read_in(struct control_link *link, struct err *error)
{
    uint8_t bytes[READ_BYTES];
    while (!link->ended && left(&link->in) <= link->text_most + CONTROL_HEADER_BYTES) {
        ssize_t got = recv(link->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0) {
            if (control_link_feed(link, bytes, (size_t)got, error) < 0) {
                return -1;
            }
        } else if (got == 0) {
            link->ended = true;
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            return err_system(error, errno, link->peer, "the control channel broke down");
        }
    }
    return 0;
}

int control_link_move(struct control_link *link, struct err *error)
{
    struct err ignored;
    int result = 0;
    if (link->tls && !link->secured) {
        result = decrypt(link, error); /* a client speaks first */
    }
    if (result == 0 && !link->ended) {
        result = read_in(link, error);
    }
    /* Also after a failure: the alert tells the peer why. */
    struct err *of_writing = result < 0 ? &ignored : error;
    if (take_encrypted(link, of_writing) < 0 || write_out(link, of_writing) < 0) {
        return -1;
    }
    return result;
}

bool control_link_waits(const struct control_link *link)
{
    return left(&link->out) > 0;
}

/* ---- messages ---- */

static int gone(const struct control_link *link, struct err *error)
{
    if (!link->secured) {
        err_set(error, ERR_PROTOCOL, link->peer, "the peer closed the control channel during TLS");
        return err_hint(error, "was it started with --secret?");
    }
    return err_set(error, ERR_SYSTEM, link->peer, "the peer closed the control channel");
}

int control_link_next(struct control_link *link, struct control_message *message, struct err *error)
{
    const char *text;
    size_t length;
    int whole =
        control_frame(link->in.data + link->in.done, left(&link->in), &text, &length, error);
    if (whole == 0) {
        if (left(&link->in) > link->text_most + CONTROL_HEADER_BYTES) {
            return err_set(error, ERR_PROTOCOL, link->peer,
                           "a message is longer than is taken here");
        }
        return link->ended ? gone(link, error) : 0;
    }
    if (whole > 0 && length > link->text_most) {
        whole = err_set(error, ERR_PROTOCOL, link->peer, "a message of %zu bytes is too long here",
                        length);
    }
    if (whole > 0) {
        whole = control_read(text, length, message, error) < 0 ? -1 : 1;
        link->in.done += CONTROL_HEADER_BYTES + length;
    }
    if (whole < 0) {
        snprintf(error->subject, sizeof error->subject, "%s", link->peer);
    }
    return whole;
}

int control_link_send(struct control_link *link, const struct control_message *message,
                      struct err *error)
{
    size_t length = 0;
    uint8_t *bytes = control_write(message, &length, error);
    if (!bytes) {
        return -1;
    }
    int result = link->tls ? tls_write(link->tls, bytes, length, error)
                           : append(link, &link->out, bytes, length, error);
    free(bytes);
    return result < 0 || take_encrypted(link, error) < 0 ? -1 : write_out(link, error);
}

/* Waits for the socket or the user. 0, or -1 with *error. */
static int wait_for(struct control_link *link, short events, uint64_t until_ns, int stop_fd,
                    struct err *error)
{
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= until_ns) {
        return err_set(error, ERR_SYSTEM, link->peer, "the peer did not answer in time");
    }
    struct timespec wait = clock_timespec(until_ns - now_ns);
    struct pollfd files[] = {{.fd = link->fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
    if (ppoll(files, 2, &wait, NULL) < 0 && errno != EINTR) {
        return err_system(error, errno, link->peer, "cannot wait for the peer");
    }
    if (files[1].revents) {
        return err_set(error, ERR_INTERRUPTED, "run", "interrupted while waiting for %s",
                       link->peer);
    }
    return 0;
}

int control_link_secure(struct control_link *link, uint64_t until_ns, int stop_fd,
                        struct err *error)
{
    static const char hint[] = "was it started with --secret?";
    while (!link->secured) {
        if (control_link_move(link, error) < 0) {
            return error->hint[0] ? -1 : err_hint(error, hint);
        }
        if (link->secured) {
            break;
        }
        if (link->ended) {
            err_set(error, ERR_PROTOCOL, link->peer, "the server does not speak TLS here");
            return err_hint(error, hint);
        }
        short events = (short)(POLLIN | (control_link_waits(link) ? POLLOUT : 0));
        if (wait_for(link, events, until_ns, stop_fd, error) < 0) {
            return error->code == ERR_INTERRUPTED ? -1 : err_hint(error, hint);
        }
    }
    return 0;
}

int control_link_await(struct control_link *link, struct control_message *message,
                       uint64_t until_ns, int stop_fd, struct err *error)
{
    for (;;) {
        /* What came before the channel broke down is heard first: it may say why. */
        int moved = control_link_move(link, error);
        struct err of_reading;
        int found = control_link_next(link, message, moved < 0 ? &of_reading : error);
        if (found > 0 && message->kind == CONTROL_ERROR) {
            control_error_adopt(link, message, error);
            control_release(message);
            link->refused = true;
            return -1;
        }
        if (found > 0) {
            return 0;
        }
        short events = (short)(POLLIN | (control_link_waits(link) ? POLLOUT : 0));
        if (moved < 0 || found < 0 || wait_for(link, events, until_ns, stop_fd, error) < 0) {
            return -1;
        }
    }
}

int control_link_expect(struct control_link *link, enum control_kind kind,
                        struct control_message *message, uint64_t until_ns, int stop_fd,
                        struct err *error)
{
    if (control_link_await(link, message, until_ns, stop_fd, error) < 0) {
        return -1;
    }
    if (message->kind != kind) {
        err_set(error, ERR_PROTOCOL, link->peer, "the message \"%s\" came instead of \"%s\"",
                control_name(message->kind), control_name(kind));
        control_release(message);
        return -1;
    }
    return 0;
}

int control_link_flush(struct control_link *link, uint64_t until_ns, int stop_fd, struct err *error)
{
    while (control_link_waits(link)) {
        if (wait_for(link, POLLOUT, until_ns, stop_fd, error) < 0 || write_out(link, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- errors ---- */

static const char *const codes[] = {
    [ERR_USAGE] = "usage", [ERR_SYSTEM] = "system",           [ERR_PROTOCOL] = "protocol",
    [ERR_LIMIT] = "limit", [ERR_UNSUPPORTED] = "unsupported", [ERR_INTERRUPTED] = "interrupted",
};

void control_error_of_peer(const struct control_link *link, const struct err *failure,
                           struct err *named)
{
    *named = *failure;
    if (strcmp(failure->subject, link->peer) != 0) {
        err_set(named, failure->code, link->peer, "%s: %s", failure->subject, failure->what);
        err_hint(named, "%s", failure->hint);
    }
}

void control_error_message(const struct err *error, struct control_message *message)
{
    *message = (struct control_message){
        .kind = CONTROL_ERROR,
        .code = codes[error->code ? error->code : ERR_SYSTEM],
        .subject = error->subject,
        .what = error->what[0] ? error->what : "failed",
        .hint = error->hint,
    };
}

int control_error_adopt(const struct control_link *link, const struct control_message *message,
                        struct err *error)
{
    enum err_code code = ERR_SYSTEM;
    for (size_t i = ERR_USAGE; i < sizeof codes / sizeof *codes; i++) {
        code = strcmp(codes[i], message->code) == 0 ? (enum err_code)i : code;
    }
    /* Interrupted is who was interrupted: here nobody was. */
    code = code == ERR_INTERRUPTED ? ERR_SYSTEM : code;
    err_set(error, code, link->peer, "%s%s%s", message->subject, message->subject[0] ? ": " : "",
            message->what);
    return message->hint && message->hint[0] ? err_hint(error, "%s", message->hint) : -1;
}
