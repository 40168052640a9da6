#include "run/session.h"

#include <string.h>
#include <strings.h>

const struct session_ops *const sessions[] = {
#define X(name) &session_##name,
    SESSIONS(X)
#undef X
        NULL,
};

const struct session_ops *session_find(const char *url, const char **rest)
{
    const char *end = strstr(url, "://");
    size_t length = end ? (size_t)(end - url) : 0;
    for (size_t i = 0; length && sessions[i] != NULL; i++) {
        if (strlen(sessions[i]->scheme) == length &&
            strncasecmp(url, sessions[i]->scheme, length) == 0) {
            *rest = end + 3;
            return sessions[i];
        }
    }
    return NULL;
}
