/* What the kernel knows of a TCP connection (TCP_INFO, linux/tcp.h). */
#ifndef SONDE_NET_TCP_FIGURES_H
#define SONDE_NET_TCP_FIGURES_H

#include <stdint.h>

/* Totals since the connection began, but for those that say "now". */
struct tcp_figures {
    uint64_t at_ns;       /* CLOCK_MONOTONIC of the reading; 0: never read */
    uint64_t covered_ns;  /* of a difference: between its readings; 0: there was no earlier one */
    uint64_t retransmits; /* segments sent again (tcpi_total_retrans) */
    uint64_t bytes_sent, bytes_acked, bytes_received, bytes_retransmitted;
    uint64_t segments_sent, segments_received;
    uint64_t reordered;                         /* tcpi_reord_seen */
    uint64_t busy_ns;                           /* had something to send */
    uint64_t receive_window_ns, send_buffer_ns; /* of that: waited for the peer's window, for room
                                                   in its own send buffer */
    uint64_t rtt_ns, rtt_deviation_ns, rtt_least_ns; /* now (smoothed, mean deviation); the least */
    uint64_t congestion_window_bytes;                /* now */
    uint64_t delivery_bytes_per_second;              /* now: most recent measured */
    uint64_t pacing_bytes_per_second;                /* now; UINT64_MAX: not paced */
    uint64_t send_window_bytes;                      /* now: what the peer advertises */
    uint32_t mss, path_mtu;
    uint32_t application_limited; /* now: the rate was bounded by what was given to send */
};

/* Reads them of a TCP socket. 0, or -errno where it is none or the kernel does not say. Members
 * that an older kernel does not know stay 0. */
int tcp_figures_read(int fd, struct tcp_figures *figures);

/* Takes the totals of an earlier reading of the same connection off (zero: nothing). Where there
 * was none later (at_ns 0), nothing remains. */
void tcp_figures_since(struct tcp_figures *figures, const struct tcp_figures *before);

/* Adds the totals of another part; what says "now" becomes that of the later reading, the least RTT
 * the lesser one. */
void tcp_figures_add(struct tcp_figures *to, const struct tcp_figures *from);

#endif
