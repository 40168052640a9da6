/* Lines of `sonde as iperf3`: units, widths and columns of iperf3 3.12. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/as_iperf3.h"

void as_iperf3_unit(char *to, size_t size, double bytes, char format)
{
    static const char prefixes[] = " KMGT";
    bool bits = islower((unsigned char)format);
    double value = bits ? bytes * 8 : bytes, step = bits ? 1000 : 1024;
    char name = (char)toupper((unsigned char)format);
    const char *found = name == 'A' ? NULL : strchr(prefixes, name);
    int prefix = 0;

    while (found ? prefix < found - prefixes : value >= step && prefix < 4) {
        value /= step;
        prefix++;
    }
    int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    char letter[2] = {prefix ? prefixes[prefix] : '\0', '\0'};
    snprintf(to, size, "%4.*f %s%s", digits, value, letter, bits ? "bit" : "Byte");
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100 * (double)part / (double)whole : 0;
}

/* What stands behind the rate. */
static void columns(char *to, size_t size, const struct as_iperf3_row *row,
                    enum as_iperf3_shape shape)
{
    const struct as_iperf3_counts *counts = &row->counts;
    char window[32];

    switch (shape) {
    case AS_IPERF3_PLAIN:
        snprintf(to, size, "%18s%s", "", row->note);
        break;
    case AS_IPERF3_RETRANSMITS:
        snprintf(to, size, "  %3" PRIu64 "%13s%s", counts->retransmits, "", row->note);
        break;
    case AS_IPERF3_RETRANSMITS_WINDOW:
        as_iperf3_unit(window, sizeof window, (double)row->congestion_window_bytes, 'A');
        snprintf(to, size, "  %3" PRIu64 "   %ss       %s", counts->retransmits, window, row->note);
        break;
    case AS_IPERF3_DATAGRAMS_SENT:
        snprintf(to, size, "  %" PRId64 "  %s", counts->packets, row->note);
        break;
    case AS_IPERF3_DATAGRAMS_SENT_BIDIR:
        snprintf(to, size, "%12s%" PRId64 "  %s", "", counts->packets, row->note);
        break;
    case AS_IPERF3_DATAGRAMS:
        snprintf(to, size, "  %5.3f ms  %" PRId64 "/%" PRId64 " (%.2g%%)  %s", counts->jitter_ms,
                 counts->lost, counts->packets, percent(counts->lost, counts->packets), row->note);
        break;
    }
}

void as_iperf3_line(char *to, size_t size, const struct as_iperf3_row *row,
                    enum as_iperf3_shape shape, char format)
{
    char transfer[32], rate[32], head[16] = "SUM", rest[128];
    double duration_s = row->end_s - row->start_s;

    if (row->socket) {
        snprintf(head, sizeof head, "%3d", row->socket);
    }
    as_iperf3_unit(transfer, sizeof transfer, (double)row->counts.bytes, 'A');
    as_iperf3_unit(rate, sizeof rate, duration_s > 0 ? (double)row->counts.bytes / duration_s : 0,
                   format);
    columns(rest, sizeof rest, row, shape);
    snprintf(to, size, "[%s]%s %6.2f-%-6.2f sec  %ss  %ss/sec%s", head, row->role, row->start_s,
             row->end_s, transfer, rate, rest);
}
