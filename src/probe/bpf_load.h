/* What loading and attaching BPF programs has in common. Private to probe/; only where
 * SONDE_HAVE_BPF. */
#ifndef SONDE_PROBE_BPF_LOAD_H
#define SONDE_PROBE_BPF_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bpf_link;
struct bpf_object_skeleton;
struct bpf_program;

/* 0 where BPF tracing can serve here; else -1 and in words why not. `lacking` asks only what costs
 * nothing to know; `refused` also tries to load a program. */
int bpf_load_lacking(char *reason, size_t reason_size, char *fix, size_t fix_size);
int bpf_load_refused(char *reason, size_t reason_size, char *fix, size_t fix_size);

/* Sets *error (ERR_UNSUPPORTED, error->number = the errno) for what the kernel or libbpf refused,
 * with libbpf's last words, and returns -1. `number`: an errno, of either sign. */
int bpf_load_failed(struct err *error, int number, const char *what);

/* bpf_object__load_skeleton with libbpf kept quiet: 0 or a negative errno. */
int bpf_load_skeleton(struct bpf_object_skeleton *skeleton);

/* How the kernel's io_uring_complete passes the completion, newest first. */
enum uring_shape { URING_CURRENT, URING_OLD, URING_NONE };

/* Loads a probe's programs, by its own `load`, for the newest shape that the kernel takes. The
 * shape is found by trying, which costs nothing on a current kernel: asking for it would mean to
 * read the kernel's BTF once more (40 ms). */
struct probe;
int bpf_load_uring(struct probe *probe,
                   int (*load)(struct probe *probe, enum uring_shape shape, struct err *error),
                   enum uring_shape *shape, struct err *error);
extern const char bpf_load_no_uring[]; /* what URING_NONE means */

/* Attaches a program where *link is NULL. Detaching is safe to repeat. */
int bpf_load_attach(struct bpf_link **link, struct bpf_program *program, struct err *error);
void bpf_load_detach(struct bpf_link **link);

/* Times that a program was skipped because another of the same kind ran on that CPU. */
uint64_t bpf_load_misses(const struct bpf_program *program);

/* Maps a map's memory for reading, or for writing too; NULL with *error set. Unmapping NULL is
 * allowed. */
struct bpf_map;
void *bpf_load_map(const struct bpf_map *map, size_t bytes, struct err *error);
void *bpf_load_map_writable(const struct bpf_map *map, size_t bytes, struct err *error);
void bpf_load_unmap(void *memory, size_t bytes);

/* Bytes rounded up to whole pages, as array maps are mapped. */
size_t bpf_load_pages(size_t bytes);

#endif
