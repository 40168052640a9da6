#include "cli/rarely.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

bool rarely(struct rarely *lines, uint64_t now_ns, char more[RARELY_TEXT])
{
    uint64_t last_ns = atomic_load(&lines->said_ns);
    more[0] = '\0';
    if (now_ns < last_ns + NS_PER_SECOND ||
        !atomic_compare_exchange_strong(&lines->said_ns, &last_ns, now_ns)) {
        atomic_fetch_add(&lines->left_out, 1);
        return false;
    }
    uint64_t left_out = atomic_exchange(&lines->left_out, 0);
    if (left_out) {
        snprintf(more, RARELY_TEXT, " (and %" PRIu64 " more)", left_out);
    }
    return true;
}
