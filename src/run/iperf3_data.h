/* The plain way to move an iperf3 test's bytes: a thread for each connection, one block or datagram
 * a call, at either end. */
#ifndef SONDE_RUN_IPERF3_DATA_H
#define SONDE_RUN_IPERF3_DATA_H

#include "run/iperf3.h"

/* `owner` is not used. */
extern const struct iperf3_data_ops iperf3_data_threads;

#endif
