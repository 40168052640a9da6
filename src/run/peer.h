/* The session of a run, where it has one (run/session.h), as the conductor calls it. Without a
 * session all of these do nothing. */
#ifndef SONDE_RUN_PEER_H
#define SONDE_RUN_PEER_H

#include "run/conductor.h"
#include "run/session.h"

/* Reaches the peer; and makes the connections: conductor->client_ends. 0 or -1 with *error. */
int peer_open(struct conductor *conductor, struct err *error);
int peer_connect(struct conductor *conductor, struct err *error);
/* Once one of start, attach and sync has failed, the peer is asked nothing more: finish fails at
 * once, for the same reason. */
int peer_start(struct conductor *conductor, struct err *error);
bool peer_ended(struct conductor *conductor);

/* The warm-up is over: from here on counts what the peer is told of the connections. */
void peer_count_begins(struct conductor *conductor);
/* Adds what the client's workers were just cut at. */
void peer_count(struct conductor *conductor, const struct tally *client);

void peer_cut(struct conductor *conductor, enum session_part part, enum session_gate gate);
/* Tells what the client counted in the observed part that was just cut. */
void peer_seen(struct conductor *conductor);
/* Waits until the peer has made the cuts that it was told of. */
int peer_sync(struct conductor *conductor, struct err *error);
/* Attaches and detaches the probe of a turn (WATCH_OFF: none) there. */
int peer_attach(struct conductor *conductor, int turn, struct err *error);
void peer_block(struct conductor *conductor, int turn);

/* How many probes take turns: this side's, else the peer's. */
size_t peer_turns(const struct conductor *conductor);

/* Nothing moves any more. */
void peer_stop(struct conductor *conductor);
/* Ends the session's test, and takes what the peer's server counted where it says that. */
int peer_finish(struct conductor *conductor, struct err *error);
/* Adds the peer's side to the run, whose own is filled; nothing where it could not be finished. */
int peer_fill(struct conductor *conductor, struct err *error);
void peer_close(struct conductor *conductor);

#endif
