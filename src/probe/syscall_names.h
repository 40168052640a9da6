/* Names of system calls and io_uring operations, whatever the headers of the building machine know.
 */
#ifndef SONDE_PROBE_SYSCALL_NAMES_H
#define SONDE_PROBE_SYSCALL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Name of a system call of this architecture; NULL where unknown. */
const char *syscall_name(uint32_t number);

/* Its number; -1 where this architecture has no such call. */
int syscall_number(const char *name);

/* True where a positive result of the call is a number of bytes moved: through a file, socket, pipe
 * or queue, or from memory to memory. Not of sendmmsg and recvmmsg, which return messages. */
bool syscall_moves_bytes(uint32_t number);

/* Name of a number that BPF programs count by (bpf/calls_shared.h), never NULL. */
const char *syscall_label(uint32_t number, char *storage, size_t size);
const char *uring_label(uint32_t operation, char *storage, size_t size);

/* Name of an io_uring operation, without IORING_OP_; NULL where unknown. */
const char *uring_name(uint32_t operation);

/* True where a positive result of the operation is a number of bytes moved. */
bool uring_moves_bytes(uint32_t operation);

#endif
