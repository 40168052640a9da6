/* What the bare loops of HTTP share: the same request again and again, and answers that are told by
 * their length alone, which the head of the first one says. */
#ifndef SONDE_BENCH_BARE_HTTP_H
#define SONDE_BENCH_BARE_HTTP_H

#include "bare_websocket.h"

#define BARE_HTTP_BUFFER_BYTES (64 * 1024)
#define BARE_HTTP_HEAD_MOST 4096

struct bare_http {
    struct bare_options options;
    const char *host, *port, *path;
    char request[512];
    size_t request_bytes;
    uint64_t answer_bytes; /* head and body */
    struct bare_count count;
};

struct bare_http_connection {
    int fd;
    uint64_t left; /* of the answer that is awaited */
    uint64_t sent_ns;
};

/* Asks once, with its own blocking socket, for the length of an answer. */
static inline uint64_t bare_http_ask(const struct bare_http *http)
{
    char head[BARE_HTTP_HEAD_MOST + 1];
    size_t length = 0;
    const char *end = NULL;
    int fd = bare_connect(&http->options);
    if (fcntl(fd, F_SETFL, 0) < 0 || send(fd, http->request, http->request_bytes, MSG_NOSIGNAL) !=
                                         (ssize_t)http->request_bytes) {
        bare_die("first request");
    }
    while (!end && length < BARE_HTTP_HEAD_MOST) {
        ssize_t received = recv(fd, head + length, BARE_HTTP_HEAD_MOST - length, 0);
        if (received <= 0) {
            bare_die("first answer");
        }
        length += (size_t)received;
        head[length] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *said = strcasestr(head, "\r\nContent-Length: ");
    if (!end || !said || said > end || strncmp(head, "HTTP/1.1 200 ", 13) != 0) {
        fprintf(stderr, "the first answer is no 200 with a Content-Length\n");
        exit(1);
    }
    close(fd);
    return (uint64_t)(end + 4 - head) + strtoull(said + strlen("\r\nContent-Length: "), NULL, 10);
}

/* Reads the command line, and learns the answer's length. */
static inline void bare_http_begin(struct bare_http *http, int argc, char **argv)
{
    if (argc < 6 || argc > 7) {
        fprintf(stderr, "usage: %s ADDRESS PORT PATH CONNECTIONS SECONDS [multishot]\n", argv[0]);
        exit(2);
    }
    *http = (struct bare_http){.host = argv[1], .port = argv[2], .path = argv[3]};
    http->options.address = bare_address(argv[1], argv[2]);
    http->options.connections = (unsigned)bare_number(argv[4]);
    http->options.seconds = strtod(argv[5], NULL);
    http->options.multishot = argc == 7 && strcmp(argv[6], "multishot") == 0;
    int length =
        snprintf(http->request, sizeof http->request, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n\r\n",
                 http->path, http->host, http->port);
    if (length < 0 || (size_t)length >= sizeof http->request || http->options.connections == 0) {
        bare_die("arguments");
    }
    http->request_bytes = (size_t)length;
    http->answer_bytes = bare_http_ask(http);
}

/* True where the answer is whole: the next request is due. */
static inline bool bare_http_received(struct bare_http *http,
                                      struct bare_http_connection *connection, ssize_t bytes)
{
    if (bytes <= 0 || (uint64_t)bytes > connection->left) {
        errno = bytes < 0 ? errno : EPROTO;
        bare_die("answer");
    }
    http->count.bytes += (uint64_t)bytes;
    connection->left -= (uint64_t)bytes;
    if (connection->left) {
        return false;
    }
    uint64_t now = bare_now();
    bare_record(now - connection->sent_ns);
    http->count.calls++;
    connection->sent_ns = now;
    connection->left = http->answer_bytes;
    return true;
}

#endif
