#include "net/tcp_figures.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
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
