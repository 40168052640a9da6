/* What stands at the head of a datagram, by who is to understand it. */
#ifndef SONDE_WORKLOAD_DATAGRAM_FORMAT_H
#define SONDE_WORKLOAD_DATAGRAM_FORMAT_H

#include "codec/datagram.h"

enum datagram_format { DATAGRAM_FORMAT_OWN, DATAGRAM_FORMAT_IPERF3, DATAGRAM_FORMATS };

/* Writes a head of at most DATAGRAM_BYTES; takes one: false where it is none. */
struct datagram_format_ops {
    void (*encode)(uint8_t *to, const struct datagram *head);
    bool (*decode)(const uint8_t *data, size_t length, struct datagram *head);
};

extern const struct datagram_format_ops datagram_formats[DATAGRAM_FORMATS];

#endif
