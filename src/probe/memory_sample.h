/* What /proc and the kernel's socket diagnosis say of a process's memory. */
#ifndef SONDE_PROBE_MEMORY_SAMPLE_H
#define SONDE_PROBE_MEMORY_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Each returns 0, or the errno of what failed: ENOENT or ESRCH where the process is gone, ENODATA
 * where it has no memory any more (it waits for its parent). */

/* A read of one line: a few microseconds. */
int memory_resident(pid_t pid, uint64_t *resident_bytes, uint64_t *virtual_bytes);

/* The kernel walks the process's page tables: milliseconds for gigabytes. */
int memory_proportional(pid_t pid, uint64_t *bytes);

/* Memory of its page tables. */
int memory_page_tables(pid_t pid, uint64_t *bytes);

/* What the TCP sockets of all network namespaces hold, as the kernel accounts it (whole pages). */
int memory_tcp_machine(uint64_t *bytes);

/* Memory of sockets by inode number. */
struct socket_memory {
    uint64_t inode, bytes;
};

struct socket_table {
    struct socket_memory *sockets; /* owned, sorted by inode */
    size_t count, capacity;
    bool without_udp; /* this kernel does not tell of UDP sockets */
};

/* For qsort and bsearch over struct socket_memory. */
int socket_memory_by_inode(const void *left, const void *right);

/* All TCP, UDP and local sockets of this network namespace, asked of the kernel's sock_diag
 * (netlink): what each holds for data that waits, in the kernel's own account. */
int socket_table_read(struct socket_table *table);
void socket_table_release(struct socket_table *table); /* safe to call twice */

/* The sum over the sockets that the process has open. EXDEV where it lives in another network
 * namespace. A socket that several processes have open counts with each. */
int memory_sockets(pid_t pid, const struct socket_table *table, uint64_t *bytes);

#endif
