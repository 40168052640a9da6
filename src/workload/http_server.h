/* What the files of the HTTP server share. Private to them. */
#ifndef SONDE_WORKLOAD_HTTP_SERVER_H
#define SONDE_WORKLOAD_HTTP_SERVER_H

#include "codec/http.h"
#include "codec/url.h"
#include "workload/http.h"

enum {
    HTTP_PAGES = 32,             /* answers that a worker keeps ready */
    HTTP_FILES = 8,              /* of them, those with an open file */
    HTTP_HEAD_ROOM = 1024,       /* for the head of an answer */
    HTTP_SMALL_BODY = 16 << 10,  /* of a body: it goes in one send with its head */
    HTTP_ANSWER_MOST = 64 << 10, /* of answers that are sent together; the last may go beyond it */
    HTTP_FILE_PIECE = 64 << 10,  /* of a file that is read */
    HTTP_LINE_BYTES = 64,        /* every generated body is one line, again and again */
    HTTP_BLOCK_BYTES = 256 << 10,
    HTTP_CHUNK_BYTES = 16 << 10,
    HTTP_CHUNK_HEAD = 6, /* "4000\r\n" */
    HTTP_CHUNK_WIRE = HTTP_CHUNK_HEAD + HTTP_CHUNK_BYTES + 2,
    HTTP_CHUNKS = 16,
};

/* Bytes of all generated bodies: whole lines; and whole chunks of them. */
extern const char http_block[HTTP_BLOCK_BYTES + 1];
extern const char http_chunks[HTTP_CHUNKS * HTTP_CHUNK_WIRE + 1];

/* ---- memory (http_server_pool.c) ---- */

struct http_buffer {
    struct http_buffer *next;
    size_t begin, end, room;
    uint8_t data[];
};

/* What a worker's connections share. */
struct http_pool {
    struct http_buffer *answer; /* what a step makes; NULL: nothing yet */
    struct http_buffer *spare;
    uint64_t used_bytes, most_bytes; /* of all buffers */
    uint64_t now_ns;                 /* of the step */
    uint64_t date_until_ns;
    uint64_t date_number; /* counts the texts that have been in `date` */
    char date[48];        /* the header line */
    struct http_limits limits;
    const struct http_server_options *options;
    struct call_table *calls;
    struct http_page *pages[HTTP_PAGES];
    struct http_page *loose; /* the latest that has no place among them */
    uint32_t files_kept;     /* files that are open for pages that have one */
    uint32_t peers;          /* connections that there have been: of one alone no more is kept */
    char target[URL_MOST];   /* of the request that is read */
};

struct http_pool *http_pool_open(const struct http_server_options *options, struct err *error);
void http_pool_close(struct http_pool *pool);

/* Room for `bytes` more behind what is in *buffer, which is made where it is NULL. False: there is
 * no memory, or no more may be used. */
bool http_buffer_reserve(struct http_pool *pool, struct http_buffer **buffer, size_t bytes);
bool http_buffer_append(struct http_pool *pool, struct http_buffer **buffer, const void *data,
                        size_t bytes);

/* Gives it back. */
void http_buffer_give(struct http_pool *pool, struct http_buffer **buffer);

static inline size_t http_buffer_bytes(const struct http_buffer *buffer)
{
    return buffer ? buffer->end - buffer->begin : 0;
}

/* Makes pool->date that of now. */
void http_pool_date(struct http_pool *pool);

/* ---- answers (http_server_answers.c) ---- */

/* How an answer is asked for. */
enum {
    HTTP_ASKS_HEAD = 1,  /* without the body */
    HTTP_ASKS_OLD = 2,   /* by HTTP/1.0 */
    HTTP_ASKS_CLOSE = 4, /* the connection ends behind it */
};

enum http_rest { HTTP_REST_NONE, HTTP_REST_BLOCK, HTTP_REST_CHUNKS, HTTP_REST_FILE };

/* An answer that is ready: a text with the head and the beginning of the body; then `rest_bytes` of
 * what all of its kind share, or of a file; then a tail. */
struct http_page {
    uint32_t users; /* the worker's cache, and who sends it */
    uint8_t asks;
    uint8_t rest;                  /* enum http_rest */
    bool closes;                   /* its end is that of the connection */
    uint64_t until_ns;             /* it is not asked for later */
    uint64_t delay_ns;             /* before it is sent */
    uint64_t rest_bytes;           /* on the wire */
    uint64_t date_number;          /* of the text */
    uint32_t date_at;              /* in the text; 0: there is none */
    uint32_t text_body, tail_body; /* of the texts: bytes of the body */
    struct op_file file;           /* of HTTP_REST_FILE; else its fd is -1 */
    uint64_t device, inode;        /* likewise */
    struct slice key, text, tail;  /* behind the struct */
};

/* The answer to a target, which stays until the next is asked for, or as long as it has users.
 * NULL: no memory. */
struct http_page *http_page_find(struct http_pool *pool, struct slice target, uint8_t asks);

/* One user less. */
void http_page_leave(struct http_page *page);

/* Of so many bytes on the wire of the rest, how many are the body's. */
uint64_t http_page_rest_body(const struct http_page *page, uint64_t position);

/* Puts an answer of a text behind what a step has made, and says how long its body is. False: no
 * memory. headers: as in struct http_answer. */
bool http_text_append(struct http_pool *pool, unsigned status, const char *headers,
                      const char *text, uint8_t asks, size_t *body_bytes);

/* ---- files (http_server_files.c) ---- */

struct http_found {
    unsigned status; /* 200, or why not */
    int fd;          /* of 200 */
    uint64_t bytes, device, inode;
    const char *type; /* "text/html" */
};

/* Opens what a decoded path names below the root. */
struct http_found http_file_open(struct http_pool *pool, const char *path);

/* Bytes read at a place; 0: there are none any more; -errno. */
ssize_t http_file_read(struct http_pool *pool, int fd, void *to, size_t bytes, uint64_t at);

void http_file_close(struct http_pool *pool, int fd);

/* ---- connections ---- */

enum peer_state { PEER_OPEN, PEER_LINGERS, PEER_CLOSED };

/* Of the page that is being sent. */
enum page_phase { PAGE_DELAYED, PAGE_TEXT, PAGE_REST, PAGE_TAIL };

struct http_peer {
    struct connection base;
    uint8_t state; /* enum peer_state */
    uint8_t phase; /* enum page_phase */
    uint8_t asks;  /* HTTP_ASKS_*, of the request that is read */
    uint8_t row;   /* sends that were done at once */
    bool in_body;  /* between a request's head and its end */
    bool paused;   /* nothing is received */
    bool end_only; /* nothing but the end is expected */
    bool ended;    /* by the peer: nothing more comes */
    bool sending;
    bool last;               /* nothing is answered any more behind what is under way */
    bool lingers;            /* then the peer's end is waited for, so that it can read that */
    bool unaware;            /* the peer has not said that its request is the last */
    uint16_t status;         /* of the answer to the request that is read, where it is no page */
    struct http_page *asked; /* the answer to the request that is read; NULL: a text */
    struct http_page *page;  /* the answer that is sent; NULL: none, or only buffers */
    uint64_t position;       /* in the page's rest */
    struct http_buffer *in;  /* requests that wait */
    struct http_buffer *out; /* answers that have not gone */
    char *target;            /* of a request that comes in pieces */
    uint64_t active_ns;
    uint64_t wake_ns; /* of PAGE_DELAYED */
    uint64_t requests;
    uint32_t unsent_requests; /* their answers end in what is being sent */
    uint64_t unsent_body;     /* bytes of bodies in it */
    struct http_request_reader reader;
};

/* Of http_server.c: closes it; counts an error, too; and has it stepped at a time. */
void http_peer_leave(struct role_context *context, struct http_peer *peer);
void http_peer_fail(struct role_context *context, struct http_peer *peer, enum bank_phase phase,
                    int number, const char *name);
void http_peer_fail_memory(struct role_context *context, struct http_peer *peer);
void http_peer_set_timer(struct role_context *context, uint64_t at_ns);

/* ---- requests (http_server_requests.c) ---- */

/* Reads requests and puts their answers behind what the step makes, as far as that goes; the bytes
 * taken. */
size_t http_peer_take(struct role_context *context, struct http_peer *peer, const uint8_t *data,
                      size_t length);

/* There are bytes behind the last request of a connection. */
void http_peer_take_after_last(struct role_context *context, struct http_peer *peer);

/* What the peer did wrong is counted and, where it has a status, said to it. */
void http_peer_refuse(struct role_context *context, struct http_peer *peer, int error);

/* Puts a page's text, or its tail with which the answer is whole, behind what the step makes. */
void http_peer_put_text(struct role_context *context, struct http_peer *peer,
                        const struct http_page *page);
void http_peer_put_tail(struct role_context *context, struct http_peer *peer,
                        const struct http_page *page);

void http_peer_forget_target(struct http_pool *pool, struct http_peer *peer);

/* Whether more answers may be put behind what the step has made. */
static inline bool http_answers_fit(const struct http_pool *pool)
{
    return http_buffer_bytes(pool->answer) < HTTP_ANSWER_MOST;
}

static inline const struct http_server_options *
http_server_options_of(const struct role_context *context)
{
    return &((const struct http_options *)context->options)->server;
}

#endif
