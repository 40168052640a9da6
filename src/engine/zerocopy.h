/* Sends of a stream without a copy, through plain calls: MSG_ZEROCOPY with its notices, and
 * sendfile. */
#ifndef SONDE_ENGINE_ZEROCOPY_H
#define SONDE_ENGINE_ZEROCOPY_H

#include "engine/engine.h"

/* A send of a plain channel with OP_ZEROCOPY, or with `file`. `blocking`: MSG_DONTWAIT, or 0 where
 * the send may wait; sendfile has no such flag, there the file's own mode decides. The bytes taken,
 * or -1 with errno. */
ssize_t zerocopy_send(struct engine *engine, struct channel *channel, const struct op *op,
                      int blocking);

/* Reads the notices that are there, as long as the channel is owed any. */
void zerocopy_read_notices(struct engine *engine, struct channel *channel);

#endif
