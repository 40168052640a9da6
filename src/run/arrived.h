/* What the headline of a bulk run counts where the other end is not sonde's: what its TCP
 * acknowledged, or what it says itself at the end, or, where nobody knows better, what was sent. */
#ifndef SONDE_RUN_ARRIVED_H
#define SONDE_RUN_ARRIVED_H

#include <stdbool.h>
#include <stdint.h>

#include "report/record.h"
#include "stats/metric.h"

struct conductor;
struct tally;

/* What the client's sending counts as delivered. */
enum arrived_basis {
    ARRIVED_COUNTED,      /* sonde's own receiving end counted it, or the client sends nothing */
    ARRIVED_PEER,         /* the peer counted it and said so at the end */
    ARRIVED_ACKNOWLEDGED, /* the peer's TCP acknowledged it */
    ARRIVED_SENT,         /* this end's kernel took it: nobody knows what became of it */
};

/* Sets the counter of what arrived in a part that was just cut (workload->arrived_bytes), before
 * both ends are joined. Nothing for workloads without it. */
void arrived_take(struct conductor *conductor, struct tally *client);

/* Of the headline, once the peer has finished; of intervals. */
enum arrived_basis arrived_basis(const struct conductor *conductor);
enum arrived_basis arrived_basis_of_intervals(const struct conductor *conductor);

/* The peer has finished: where its session says what arrived, the headline counts that. */
void arrived_finish(struct conductor *conductor);

/* A metric of the workload as it is called on that basis: itself but for the headline. */
const struct metric *arrived_metric(const struct conductor *conductor, const struct metric *metric,
                                    enum arrived_basis basis);

/* Says where the headline counts what was sent. */
void arrived_warn(struct conductor *conductor);

#endif
