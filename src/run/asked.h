/* What an open loop asked for: operations a second that were due, whether or not they came about.
 */
#ifndef SONDE_RUN_ASKED_H
#define SONDE_RUN_ASKED_H

#include "run/conductor.h"

/* On average between two instants, from the start of the window; NaN where the rate does not
 * change. */
double asked_between(const struct conductor *conductor, uint64_t from_ns, uint64_t until_ns);

/* Adds what an unobserved part asked for. */
void asked_take(struct conductor *conductor, const struct tally *part);

/* On average of the window's unobserved time; 0: a closed loop. */
double asked_rate(const struct conductor *conductor);

/* Of a rate that changes, by how much the answers' rate may lie below it and be all that was asked
 * for: answers come later than what is asked, so those to a rate that rises come in part behind the
 * window. A share, of at most 2 %. */
double asked_lag(const struct conductor *conductor, double mean_response_ns);

#endif
