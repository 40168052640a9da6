/* TLS as a layer over any engine: an engine of its own, with the same operations, around another.
 *
 * Channels with CHANNEL_SECURE go through TLS, all others pass through. A send is encrypted and
 * completes when the engine below has taken all of that; a receive delivers plain text; OP_CONNECT
 * and OP_SECURE complete when the handshake has. OP_SHUTDOWN and OP_CLOSE say close_notify first,
 * and a peer that ends without it is an error of the receive (TLS_FAILED_TRUNCATED).
 *
 * What a send takes at most is 64 KiB; more than that is a short send. OP_TRY takes what can be
 * encrypted while nothing else waits to be sent; closing then waits up to a second until that has
 * gone. OP_ZEROCOPY and op->file cannot be: the network would have to read what was never written.
 *
 * Memory: a channel that waits owns its TLS state and no buffer. Plain text is delivered from one
 * buffer of the engine's; what is sent lies in buffers that the engine lends while it is on its way
 * (1 KiB, 17 KiB or 66 KiB); what came in while nobody wanted it is kept, at most one receive. */
#ifndef SONDE_ENGINE_SECURE_H
#define SONDE_ENGINE_SECURE_H

#include "engine/engine.h"
#include "net/tls.h"

/* Most that one secured connection takes, during its handshake; while it waits OpenSSL 3.0 holds
 * about 20 KiB for a client and 16 KiB for a server, and this layer less than 1 KiB. For the plan's
 * check of memory. */
enum { SECURE_CONNECTION_BYTES = 40 * 1024 };

/* Most plain text that one send takes. */
enum { SECURE_SEND_BYTES = 4 * TLS_RECORD_BYTES };

/* What such an engine is to be over: the ENGINE_* flags of it, from those of the engine below. */
uint32_t secure_flags(uint32_t flags);

/* An engine around `inner`, as its engine_ops.init would make it. `client`, `server`: of the
 * channels that connect, and that are accepted; either may be NULL where there are none. peer: the
 * subject of errors; all of them outlive the engine. */
struct secure_config {
    struct tls_context *client, *server;
    const char *peer;
};
int secure_open(struct engine **engine, const struct engine_ops *inner,
                const struct secure_config *secure, const struct engine_config *config,
                struct call_table *calls, struct err *error);

/* When TCP was connected, or accepted; 0: it is not yet. Of a channel with CHANNEL_SECURE that has
 * been added to such an engine and not been closed. */
uint64_t secure_connected_ns(const struct channel *channel);

#endif
