#include "net/tcp_figures.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/clock.h"

int tcp_figures_read(int fd, struct tcp_figures *figures)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    *figures = (struct tcp_figures){0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) {
        return -errno;
    }
    *figures = (struct tcp_figures){
        .at_ns = clock_now_ns(),
        .retransmits = info.tcpi_total_retrans,
        .bytes_sent = info.tcpi_bytes_sent,
        .bytes_acked = info.tcpi_bytes_acked,
        .bytes_received = info.tcpi_bytes_received,
        .bytes_retransmitted = info.tcpi_bytes_retrans,
        .segments_sent = info.tcpi_segs_out,
        .segments_received = info.tcpi_segs_in,
        .reordered = info.tcpi_reord_seen,
        .busy_ns = info.tcpi_busy_time * NS_PER_US,
        .receive_window_ns = info.tcpi_rwnd_limited * NS_PER_US,
        .send_buffer_ns = info.tcpi_sndbuf_limited * NS_PER_US,
        .rtt_ns = info.tcpi_rtt * NS_PER_US,
        .rtt_deviation_ns = info.tcpi_rttvar * NS_PER_US,
        /* UINT32_MAX until there is one (tcp_min_rtt). */
        .rtt_least_ns = info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt * NS_PER_US,
        .congestion_window_bytes = (uint64_t)info.tcpi_snd_cwnd * info.tcpi_snd_mss,
        .delivery_bytes_per_second = info.tcpi_delivery_rate,
        .pacing_bytes_per_second = info.tcpi_pacing_rate,
        .send_window_bytes = info.tcpi_snd_wnd,
        .mss = info.tcpi_snd_mss,
        .path_mtu = info.tcpi_pmtu,
        .application_limited = info.tcpi_delivery_rate_app_limited,
    };
    return 0;
}

/* Members that are totals, as offsets. */
static const size_t totals[] = {
    offsetof(struct tcp_figures, covered_ns),
    offsetof(struct tcp_figures, retransmits),
    offsetof(struct tcp_figures, bytes_sent),
    offsetof(struct tcp_figures, bytes_acked),
    offsetof(struct tcp_figures, bytes_received),
    offsetof(struct tcp_figures, bytes_retransmitted),
    offsetof(struct tcp_figures, segments_sent),
    offsetof(struct tcp_figures, segments_received),
    offsetof(struct tcp_figures, reordered),
    offsetof(struct tcp_figures, busy_ns),
    offsetof(struct tcp_figures, receive_window_ns),
    offsetof(struct tcp_figures, send_buffer_ns),
};

static uint64_t *total(struct tcp_figures *figures, size_t i)
{
    return (uint64_t *)(void *)((char *)figures + totals[i]);
}

static uint64_t total_of(const struct tcp_figures *figures, size_t i)
{
    return *(const uint64_t *)(const void *)((const char *)figures + totals[i]);
}

void tcp_figures_since(struct tcp_figures *figures, const struct tcp_figures *before)
{
    bool both = before->at_ns && figures->at_ns > before->at_ns;
    uint64_t covered_ns = both ? figures->at_ns - before->at_ns : 0;
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        uint64_t earlier = total_of(before, i);
        uint64_t *member = total(figures, i);
        *member = *member > earlier ? *member - earlier : 0;
    }
    figures->covered_ns = covered_ns;
}

void tcp_figures_add(struct tcp_figures *to, const struct tcp_figures *from)
{
    struct tcp_figures sum = from->at_ns > to->at_ns ? *from : *to;
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        *total(&sum, i) = total_of(to, i) + total_of(from, i);
    }
    uint64_t least = to->rtt_least_ns, other = from->rtt_least_ns;
    sum.rtt_least_ns = least && (least < other || !other) ? least : other;
    *to = sum;
}
