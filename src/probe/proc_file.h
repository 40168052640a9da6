/* Reading a file of /proc whole. */
#ifndef SONDE_PROBE_PROC_FILE_H
#define SONDE_PROBE_PROC_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads up to size - 1 bytes and terminates them. Returns the length, or -1 with *error; what does
 * not fit is cut off. */
ssize_t proc_file_read(const char *path, char *text, size_t size, struct err *error);

#endif
