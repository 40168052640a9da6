/* Creating a ring, and saying why that is not possible. */
#ifndef SONDE_ENGINE_URING_SETUP_H
#define SONDE_ENGINE_URING_SETUP_H

#include <stddef.h>
#include <stdint.h>

#include <liburing.h>

/* The smallest power of two that is at least `wanted`, within two powers of two. */
uint32_t uring_power_of_two(uint64_t wanted, uint32_t least, uint32_t most);

/* Creates a ring for about so many channels. 0 or -errno. */
int uring_open(struct io_uring *ring, uint32_t channels);

/* In words, what the errno of a failure to set up means and what would help. */
const char *uring_explain(int number);

/* engine_ops.why_not: tries what the engine needs. */
int uring_why_not(char *reason, size_t size);

#endif
