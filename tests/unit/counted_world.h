/* A probe over processes that a test makes, and threads of its own that do exactly so much and
 * stand still in between. */
#ifndef SONDE_TESTS_COUNTED_WORLD_H
#define SONDE_TESTS_COUNTED_WORLD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "probe/probe.h"

struct counted_world {
    const struct probe_ops *ops;
    struct probe_options options;
    struct targets *targets;
    struct probe *probe;
    struct record record;
};

static inline void world_open(struct counted_world *world, const struct probe_ops *ops,
                              const struct probe_target *target, bool follow)
{
    struct err error = {0};
    struct targets_config config = {.targets = target, .target_count = 1, .follow = follow};
    static char *argv[] = {"test", NULL};
    world->ops = ops;
    if (world->options.memory_period_ns == 0) {
        world->options.memory_period_ns = 2 * NS_PER_MS;
    }
    assert_int_equal(record_init(&world->record, 1, argv, &error), 0);
    assert_int_equal(targets_open(&world->targets, &config, &error), 0);
    struct probe_config probe = {.targets = world->targets, .options = &world->options};
    if (ops->open(&world->probe, &probe, &error) != 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
    assert_int_equal(ops->start(world->probe, &error), 0);
}

static inline void world_begin(struct counted_world *world)
{
    struct err error = {0};
    assert_int_equal(world->ops->begin(world->probe, &error), 0);
    gate_open(targets_gate(world->targets), clock_now_ns());
}

static inline void world_end(struct counted_world *world)
{
    struct err error = {0};
    gate_close(targets_gate(world->targets), clock_now_ns());
    assert_int_equal(world->ops->end(world->probe, &error), 0);
}

/* What has been counted so far: valid until world_close. */
static inline const struct record_probe *world_read(struct counted_world *world,
                                                    const struct probe_scope *scope)
{
    struct err error = {0};
    struct record_run *run = record_add_run(&world->record, "run");
    assert_non_null(run);
    assert_int_equal(world->ops->read(world->probe, scope, run, &error), 0);
    assert_int_equal(run->probe_count, 1);
    return &run->probes[0];
}

static inline void world_close(struct counted_world *world)
{
    struct err error = {0};
    assert_int_equal(world->ops->stop(world->probe, &error), 0);
    world->ops->close(world->probe);
    targets_close(world->targets);
    record_release(&world->record);
    *world = (struct counted_world){0};
}

/* The row of a process (tid 0) or a thread that names it so. */
static inline const struct record_probe_row *world_row(const struct record_probe *probe, pid_t pid,
                                                       pid_t tid, const char *what)
{
    for (size_t i = 0; i < probe->row_count; i++) {
        const struct record_scope *scope = &probe->rows[i].scope;
        if (scope->pid == pid && scope->tid == tid && strcmp(scope->what, what) == 0) {
            return &probe->rows[i];
        }
    }
    return NULL;
}

static inline const struct record_value *world_value(const struct record_probe *probe, pid_t pid,
                                                     pid_t tid, const char *what, const char *key)
{
    const struct record_probe_row *row = world_row(probe, pid, tid, what);
    for (size_t i = 0; row != NULL && i < row->value_count; i++) {
        if (strcmp(row->values[i].metric->key, key) == 0) {
            return &row->values[i];
        }
    }
    return NULL;
}

/* ---- threads that wait ---- */

struct worker {
    pthread_t thread;
    pid_t tid;
    sem_t go, done;
    void (*work)(void *argument); /* NULL: ends */
    void *argument;
};

static inline void *worker_main(void *context)
{
    struct worker *worker = context;
    worker->tid = (pid_t)syscall(SYS_gettid);
    sem_post(&worker->done);
    for (;;) {
        while (sem_wait(&worker->go) != 0) {
        }
        if (worker->work == NULL) {
            return NULL;
        }
        worker->work(worker->argument);
        sem_post(&worker->done);
    }
}

/* Field after the name of /proc/PID/task/TID/stat, counted from the state = 0. */
static inline unsigned long long worker_stat(pid_t tid, int field, char *state)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    char *at = strrchr(text, ')') + 2;
    *state = *at;
    for (int i = 0; i < field; i++) {
        at = strchr(at, ' ') + 1;
    }
    return strtoull(at, NULL, 10);
}

/* Returns once the worker is off the CPU: a thread's state says so a moment too early, while this
 * file is "running" until the kernel has seen it switched out (task_current_syscall in
 * lib/syscall.c).
 */
static inline void worker_stands_still(struct worker *worker)
{
    char path[64], text[32] = "running";
    struct timespec pause = {.tv_nsec = NS_PER_MS};
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)worker->tid);
    while (strncmp(text, "running", 7) == 0) {
        FILE *file = fopen(path, "re");
        assert_non_null(file);
        assert_non_null(fgets(text, sizeof text, file));
        fclose(file);
        nanosleep(&pause, NULL);
    }
}

static inline void worker_start(struct worker *worker)
{
    sem_init(&worker->go, 0, 0);
    sem_init(&worker->done, 0, 0);
    assert_int_equal(pthread_create(&worker->thread, NULL, worker_main, worker), 0);
    while (sem_wait(&worker->done) != 0) {
    }
    worker_stands_still(worker);
}

/* Works, and returns once the worker waits again. */
static inline void worker_do(struct worker *worker, void (*work)(void *), void *argument)
{
    worker->work = work;
    worker->argument = argument;
    sem_post(&worker->go);
    while (sem_wait(&worker->done) != 0) {
    }
    worker_stands_still(worker);
}

static inline void worker_end(struct worker *worker)
{
    worker->work = NULL;
    sem_post(&worker->go);
    pthread_join(worker->thread, NULL);
    sem_destroy(&worker->go);
    sem_destroy(&worker->done);
}

/* Touches so many fresh pages. */
static inline void touch_pages(void *argument)
{
    size_t bytes = (size_t) * (const int *)argument * 4096;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    for (size_t i = 0; i < bytes; i += 4096) {
        *(volatile char *)(memory + i) = 1;
    }
    munmap(memory, bytes);
}

#endif
