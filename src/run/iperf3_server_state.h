/* Inside of iperf3_server.
 *
 * A connection is GREETING until its cookie is there. Then it is a data connection of the test that
 * has this cookie and waits for streams, and its struct goes; or it becomes the control connection
 * of a new test:
 *
 *   GREETING -> PARAMETERS -> [TURN ->] STREAMS -> RUNNING -> RESULTS -> LAST
 *
 * TURN is for datagrams: their greeting names no test, so of the tests of one peer's address one at
 * a time makes its streams. Whoever is turned away is CLOSING until it has read why. */
#ifndef SONDE_RUN_IPERF3_SERVER_STATE_H
#define SONDE_RUN_IPERF3_SERVER_STATE_H

#include "base/timers.h"
#include "run/iperf3_server.h"

#define SERVER_CLIENT_RESULTS_MOST (256U << 10) /* bytes of JSON; 256 streams need some 60 KiB */
#define SERVER_GRACE_NS (UINT64_C(30) * 1000000000)
#define SERVER_STALL_NS (UINT64_C(60) * 1000000000)
#define SERVER_STREAMS_NS                                                                          \
    (UINT64_C(60) * 1000000000)                       /* for all of them, and to wait for a turn   \
                                                       */
#define SERVER_GREETING_NS (UINT64_C(5) * 1000000000) /* for one more datagram's greeting */
#define SERVER_CLOSING_NS (UINT64_C(1) * 1000000000)
#define SERVER_PATIENCE_NS (UINT64_C(1) * 1000000000) /* before it makes room for another one */

enum server_phase {
    PHASE_GREETING,
    PHASE_PARAMETERS,
    PHASE_TURN,
    PHASE_STREAMS,
    PHASE_RUNNING,
    PHASE_RESULTS,
    PHASE_LAST,
    PHASE_CLOSING,
};

struct iperf3_server;

struct server_control {
    struct iperf3_server *server;
    struct server_control *next, *previous;
    int fd; /* -1: closed, and freed once the loop has come round */
    enum server_phase phase;
    uint32_t timer;
    uint64_t phase_ns; /* when the phase began */
    bool writing;      /* waits until it can be written to */
    struct sockaddr_storage peer;
    char peer_text[72], cookie[IPERF3_COOKIE_BYTES];
    uint8_t small[IPERF3_COOKIE_BYTES + 3]; /* what is being read, */
    uint8_t *in;                            /* or here where it is larger */
    size_t in_used, in_wanted;
    uint8_t *out;
    size_t out_used, out_sent;
    /* The test, from TURN on. */
    uint64_t number; /* 0: none */
    struct iperf3_test test;
    uint32_t end_count, end_room;
    struct net_end *ends;
    void *run;
    uint64_t start_ns, tick_ns, moved, moved_ns;
    struct iperf3_side *own, *its; /* `its`: the client's results */
};

struct iperf3_server {
    struct iperf3_server_config config;
    int epoll_fd, listen_fd, datagram_fd;
    bool listening; /* false while there is nothing left to accept with */
    uint64_t listen_again_ns;
    struct timers timers;
    struct server_control *first, *last; /* oldest first */
    struct server_control *dead;
    uint32_t pending, tests, streams;
    uint64_t buffer_bytes, numbers;
    struct iperf3_results results; /* scratch */
};

static inline bool server_is_pending(const struct server_control *control)
{
    return control->phase == PHASE_GREETING || control->phase == PHASE_PARAMETERS ||
           control->phase == PHASE_CLOSING;
}

/* iperf3_server.c */

/* Enters a phase, which has to be over in so much time. */
void server_enter(struct server_control *control, enum server_phase phase, uint64_t within_ns);

/* Sets the deadline of the phase anew. */
void server_due(struct server_control *control, uint64_t within_ns);

/* Closes the connection and whatever belongs to it. */
void server_close(struct server_control *control);

/* Makes the oldest test that still waits for its streams give way; false where none waits. */
bool server_evict_test(struct iperf3_server *server);

bool server_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

/* iperf3_server_control.c */

/* The connection can be read or written to, or is broken. */
void server_control_ready(struct server_control *control, uint32_t events);

/* The phase has taken too long, or a running test's second is over. */
void server_control_late(struct server_control *control);

/* Says so many bytes; what cannot be written now is kept. */
void server_say(struct server_control *control, const void *bytes, size_t length);
void server_say_state(struct server_control *control, enum iperf3_state state);

/* Turns the client away: with iperf3's number of a reason, or as busy where that is 0. */
void server_refuse(struct server_control *control, int32_t reason, int number, const char *why);

/* Stops what moves and tells of the end; `why` NULL: all went well. Safe to call twice. */
void server_end_test(struct server_control *control, const struct err *why);

/* iperf3_server_streams.c */

/* Takes the test that a client asks for, and its turn. */
void server_take_test(struct server_control *control, const struct iperf3_parameters *parameters);

/* A connection that brings the cookie of another one: true where it has become its data connection
 * or was turned away. */
bool server_adopt(struct server_control *control);

/* Datagrams that greet have arrived. */
void server_greetings(struct iperf3_server *server);

/* Somebody's turn has come, perhaps. */
void server_next_turn(struct iperf3_server *server, const struct sockaddr_storage *peer);

/* What it is called in events. */
struct iperf3_server_test server_test_of(const struct server_control *control);

#endif
