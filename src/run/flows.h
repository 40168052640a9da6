/* What single connections did, in the record: rows for each of them at each end. */
#ifndef SONDE_RUN_FLOWS_H
#define SONDE_RUN_FLOWS_H

#include "report/record.h"
#include "run/collect.h"

enum flow_end { FLOW_CLIENT, FLOW_SERVER, FLOW_ENDS };

/* The flows of intervals, kept until the record is filled. Their memory is bounded: where a long
 * run with many connections has more, the later intervals are without. */
struct interval_flows {
    struct interval_flow {
        uint64_t start_ns, window_ns;
        uint32_t number;
        uint32_t end; /* enum flow_end */
        struct tally_flow flow;
    } * items;
    size_t count, capacity;
    bool dropped;
};

/* Keeps the flows of one end in one interval. Where memory is short they are dropped. */
void flows_keep(struct interval_flows *kept, uint64_t start_ns, enum flow_end end,
                const struct tally *interval);
void flows_release(struct interval_flows *kept); /* safe to call twice */

struct conductor;

/* Bytes that one end sent and the other did not receive, over the whole run. 0 where that cannot be
 * said: it is not known what the server counted, or the workload counts no such thing. */
int64_t flows_lost(const struct conductor *conductor);

/* Whether the measured connections are TCP's. */
bool flows_are_tcp(const struct conductor *conductor);

/* Fills the rows of the whole window and of the intervals, and what bulk workloads have besides.
 * 0 or -1 without memory. */
int flows_fill(struct conductor *conductor);

/* What a connection's rows hold besides the workload's own, for TCP. */
enum { FLOW_TCP_METRICS = 9, BULK_METRICS = 5 };
extern const struct metric flow_tcp_metrics[FLOW_TCP_METRICS];
/* What a run of a bulk workload has besides. CPU time for each GiB others have too. */
enum bulk_metric { BULK_LOST, BULK_CPU, BULK_CLIENT_CPU, BULK_SERVER_CPU, BULK_RETRANSMITS };
extern const struct metric bulk_metrics[BULK_METRICS];

#endif
