/* What a URL as a target says: whom to connect to through which transport, and what to ask there.
 */
#ifndef SONDE_WORKLOAD_WEB_TARGET_H
#define SONDE_WORKLOAD_WEB_TARGET_H

#include <stdbool.h>

#include "base/err.h"
#include "codec/url.h"

#define WEB_HOST_MOST 270
#define WEB_PATH_MOST 8008

struct web_target {
    char host[WEB_HOST_MOST];       /* as the header has it; empty where nothing names one */
    char path[WEB_PATH_MOST];       /* with its query; empty where sonde's own server is meant */
    char plain[WEB_HOST_MOST + 16]; /* "tcp://HOST:PORT", or "tls://HOST:PORT" */
    bool secure;                    /* it is spoken with through TLS */
    bool named;                     /* it was a URL with a host */
    const char *given;              /* as it was typed; NULL: there is none */
    const char *wrong;              /* with it; NULL: nothing */
    char meant[160];                /* instead of it, perhaps; or empty */
};

/* Takes a target apart and returns the transport's address of it: of "http://HOST:PORT/PATH" and
 * "https:", with `ws` and `wss` for URL_WEBSOCKET, also "http+unix:PATH"; everything else is
 * returned as it is. What is wrong stands in to->wrong, for web_target_check; what is returned then
 * means nothing. */
const char *web_target_take(enum url_family family, const char *target, struct web_target *to);

/* 0, or -1 (ERR_USAGE) with what was wrong and what is meant. */
int web_target_check(enum url_family family, const struct web_target *target, struct err *error);

/* Whether a URL names the same server: scheme, host and port. */
bool web_target_same(const struct web_target *target, const struct url *url);

#endif
