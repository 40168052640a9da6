/* Notices of sends with MSG_ZEROCOPY, as a socket's error queue brings them. */
#ifndef SONDE_NET_NOTICE_H
#define SONDE_NET_NOTICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The network no longer reads the memory of these sends; the kernel numbers a socket's from 0 up,
 * modulo 2^32. */
struct net_notice {
    bool valid; /* false: the message was of something else */
    uint32_t first, last;
    bool copied; /* the kernel copied their data after all */
};

/* Reads one message of the error queue, without waiting: the result of recvmsg, -1 with errno
 * (EAGAIN: the queue is empty). */
ssize_t net_notice_read(int fd, struct net_notice *notice);

#endif
