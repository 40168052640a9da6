/* Characters of somebody else's. */
#ifndef SONDE_CODEC_SLICE_H
#define SONDE_CODEC_SLICE_H

#include <stddef.h>
#include <string.h>

struct slice {
    const char *at; /* NULL: there is none */
    size_t length;
};

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

#endif
