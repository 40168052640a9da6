/* Preloaded by flat_memory.py: counts each thread's allocations into a file that it has mapped.
 * Format of the file, in native order: for each thread int32 process, int32 thread, uint64 count;
 * a row of process 0 is unused. Only counts: the allocations are made by the C library as ever. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROWS 4096

struct row {
    _Atomic int32_t process;
    _Atomic int32_t thread;
    _Atomic uint64_t count;
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static _Atomic(struct row *) rows;
static __thread struct row *mine __attribute__((tls_model("initial-exec")));
static __thread int32_t mine_of __attribute__((tls_model("initial-exec"))); /* after a fork the
                                                          thread-local row is the parent's */

static struct row *map_rows(void)
{
    const char *path = getenv("COUNT_ALLOCATIONS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) {
        return NULL;
    }
    struct row *mapped =
        mmap(NULL, ROWS * sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void count_one(void)
{
    int saved = errno;
    struct row *all = atomic_load(&rows);
    if (!all) {
        all = map_rows();
        atomic_store(&rows, all);
    }
    int32_t process = (int32_t)getpid();
    if (all && (!mine || mine_of != process)) {
        for (int i = 0; i < ROWS; i++) {
            int32_t unused = 0;
            if (atomic_compare_exchange_strong(&all[i].process, &unused, process)) {
                atomic_store(&all[i].thread, (int32_t)syscall(SYS_gettid));
                mine = &all[i];
                mine_of = process;
                break;
            }
        }
    }
    if (mine && mine_of == process) {
        atomic_fetch_add(&mine->count, 1);
    }
    errno = saved;
}

void *malloc(size_t size)
{
    count_one();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    count_one();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    count_one();
    return __libc_realloc(memory, size);
}

void *reallocarray(void *memory, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(memory, bytes);
}

void *memalign(size_t alignment, size_t size)
{
    count_one();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *made = memalign(alignment, size);
    *memory = made ? made : *memory;
    return made ? 0 : ENOMEM;
}
