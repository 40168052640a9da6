/* The memory probe: a thread of its own looks at the observed processes during stretches. What is
 * cheap it reads every period; what makes the kernel walk page tables or lists it reads as often as
 * costs at most a small share of a CPU. It runs at normal priority: one that held a lock of the
 * observed process and had to wait for a CPU would hold up the process too. */
#include "probe/probe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "probe/memory_sample.h"

/* Each kind of looking rests so many times the CPU time that it took: together they take at most
 * about one hundredth of a CPU. */
#define REST 400

enum figure { RSS, PSS, VIRTUAL, PAGE_TABLES, SOCKETS, FIGURES };

static const char *const figure_names[FIGURES] = {
    "resident (RSS)", "proportional (PSS)", "virtual", "page tables", "sockets",
};

/* Kinds of looking, in the order of a turn. */
enum look { LOOK_PROCESSES, LOOK_RESIDENT, LOOK_PROPORTIONAL, LOOK_SOCKETS, LOOKS };

/* One figure of one process over its samples. */
struct figure_total {
    uint64_t samples, peak;
    double sum;
    int number; /* errno of the last sample that failed */
};

struct observed_memory {
    pid_t pid;
    const char *role; /* the targets' */
    char name[20];
    bool ended;
    struct figure_total figures[FIGURES];
};

struct probe {
    struct targets *targets;
    uint64_t period_ns;
    pthread_t sampler;
    bool sampling;
    uint64_t next_ns[LOOKS]; /* the sampler's: when to look again */
    pthread_mutex_t lock;    /* of all below */
    pthread_cond_t wake;
    bool stopping;
    bool without_udp;
    struct observed_memory *processes;
    size_t process_count, process_capacity;
    struct figure_total machine; /* TCP sockets of the whole machine */
    struct socket_table sockets; /* the sampler's */
    int failure;                 /* errno for which the sampler had to give up; 0 */
};

/* ---- samples ---- */

static void add_sample(struct figure_total *total, int number, uint64_t bytes)
{
    if (number != 0) {
        total->number = number;
        return;
    }
    total->samples++;
    total->sum += (double)bytes;
    total->peak = bytes > total->peak ? bytes : total->peak;
}

/* Gone, or waiting for its parent: no sample, and no failure. */
static bool is_gone(int number)
{
    return number == ENOENT || number == ESRCH || number == ENODATA;
}

static int take_process(struct probe *probe, const struct target_process *found)
{
    for (size_t i = 0; i < probe->process_count; i++) {
        struct observed_memory *process = &probe->processes[i];
        if (process->pid == found->pid) {
            memcpy(process->name, found->name, sizeof process->name);
            process->ended = found->ended;
            return 0;
        }
    }
    if (probe->process_count == probe->process_capacity) {
        size_t capacity = probe->process_capacity ? probe->process_capacity * 2 : 16;
        struct observed_memory *larger = reallocarray(probe->processes, capacity, sizeof *larger);
        if (larger == NULL) {
            return -1;
        }
        probe->processes = larger;
        probe->process_capacity = capacity;
    }
    struct observed_memory *process = &probe->processes[probe->process_count++];
    *process = (struct observed_memory){.pid = found->pid, .role = found->role};
    memcpy(process->name, found->name, sizeof process->name);
    process->ended = found->ended;
    return 0;
}

/* Who is observed now. */
static int look_processes(struct probe *probe)
{
    struct target_process *list = NULL;
    size_t count = 0;
    struct err ignored = {0};
    if (targets_list(probe->targets, &list, &count, &ignored) != 0) {
        return ENOMEM;
    }
    int number = 0;
    pthread_mutex_lock(&probe->lock);
    for (size_t i = 0; i < count && number == 0; i++) {
        number = take_process(probe, &list[i]) == 0 ? 0 : ENOMEM;
    }
    pthread_mutex_unlock(&probe->lock);
    free(list);
    return number;
}

/* Only the sampler changes the list, so it reads it without the lock; a sample is added under it.
 */
static void add_figure(struct probe *probe, size_t process, enum figure figure, int number,
                       uint64_t bytes)
{
    if (is_gone(number)) {
        return;
    }
    pthread_mutex_lock(&probe->lock);
    add_sample(&probe->processes[process].figures[figure], number, bytes);
    pthread_mutex_unlock(&probe->lock);
}

static int look_resident(struct probe *probe)
{
    for (size_t i = 0; i < probe->process_count; i++) {
        uint64_t resident = 0, virtual = 0;
        if (!probe->processes[i].ended) {
            int number = memory_resident(probe->processes[i].pid, &resident, &virtual);
            add_figure(probe, i, RSS, number, resident);
            add_figure(probe, i, VIRTUAL, number, virtual);
        }
    }
    return 0;
}

static int look_proportional(struct probe *probe)
{
    for (size_t i = 0; i < probe->process_count; i++) {
        uint64_t bytes = 0;
        if (!probe->processes[i].ended) {
            int number = memory_proportional(probe->processes[i].pid, &bytes);
            add_figure(probe, i, PSS, number, bytes);
            number = memory_page_tables(probe->processes[i].pid, &bytes);
            add_figure(probe, i, PAGE_TABLES, number, bytes);
        }
    }
    return 0;
}

static int look_sockets(struct probe *probe)
{
    uint64_t machine = 0;
    int table = socket_table_read(&probe->sockets);
    for (size_t i = 0; i < probe->process_count; i++) {
        uint64_t bytes = 0;
        if (!probe->processes[i].ended) {
            /* ENOENT of the table is the kernel's lack of sock_diag, not the process's end. */
            int number = table == ENOENT ? EOPNOTSUPP : table;
            if (number == 0) {
                number = memory_sockets(probe->processes[i].pid, &probe->sockets, &bytes);
            }
            add_figure(probe, i, SOCKETS, number, bytes);
        }
    }
    int number = memory_tcp_machine(&machine);
    pthread_mutex_lock(&probe->lock);
    add_sample(&probe->machine, number, machine);
    probe->without_udp = probe->sockets.without_udp;
    pthread_mutex_unlock(&probe->lock);
    return 0;
}

/* ---- the sampler ---- */

/* Waits until then; true where the stretch is over. */
static bool wait_until(struct probe *probe, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_SECOND),
                                   .tv_nsec = (long)(until_ns % NS_PER_SECOND)};
    pthread_mutex_lock(&probe->lock);
    int status = 0;
    while (!probe->stopping && status == 0) {
        status = pthread_cond_timedwait(&probe->wake, &probe->lock, &until);
    }
    bool stopping = probe->stopping;
    pthread_mutex_unlock(&probe->lock);
    return stopping;
}

static bool any_living(const struct probe *probe)
{
    for (size_t i = 0; i < probe->process_count; i++) {
        if (!probe->processes[i].ended) {
            return true;
        }
    }
    return false;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec used = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * NS_PER_SECOND + (uint64_t)used.tv_nsec;
}

/* Looks, and says when to look again. */
static void look(struct probe *probe, enum look kind)
{
    static int (*const looks[LOOKS])(struct probe *) = {
        [LOOK_PROCESSES] = look_processes,
        [LOOK_RESIDENT] = look_resident,
        [LOOK_PROPORTIONAL] = look_proportional,
        [LOOK_SOCKETS] = look_sockets,
    };
    uint64_t start_ns = clock_now_ns(), cpu_ns = own_cpu_ns();
    int number = looks[kind](probe);
    uint64_t rest_ns = (own_cpu_ns() - cpu_ns) * REST;
    /* While nobody is there, nobody is disturbed; and a command may begin at any time. */
    bool idle = kind == LOOK_PROCESSES && !any_living(probe);
    probe->next_ns[kind] =
        start_ns + (idle || rest_ns < probe->period_ns ? probe->period_ns : rest_ns);
    if (number != 0) {
        pthread_mutex_lock(&probe->lock);
        probe->failure = number;
        pthread_mutex_unlock(&probe->lock);
    }
}

static void *sample(void *context)
{
    struct probe *probe = context;
    uint64_t next_ns;
    do {
        next_ns = UINT64_MAX;
        for (enum look kind = 0; kind < LOOKS; kind++) {
            if (clock_now_ns() >= probe->next_ns[kind] &&
                (kind == LOOK_PROCESSES || any_living(probe))) {
                look(probe, kind);
            }
            uint64_t kind_ns = probe->next_ns[kind];
            next_ns = kind_ns != 0 && kind_ns < next_ns ? kind_ns : next_ns;
        }
    } while (!wait_until(probe, next_ns));
    return NULL;
}

static int begin(struct probe *probe, struct err *error)
{
    sigset_t all, before;
    if (probe->sampling) {
        return 0;
    }
    probe->stopping = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&probe->sampler, NULL, sample, probe);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) {
        return err_system(error, number, "memory", "cannot start its sampler");
    }
    probe->sampling = true;
    return 0;
}

static int end(struct probe *probe, struct err *error)
{
    (void)error;
    if (!probe->sampling) {
        return 0;
    }
    pthread_mutex_lock(&probe->lock);
    probe->stopping = true;
    pthread_cond_signal(&probe->wake);
    pthread_mutex_unlock(&probe->lock);
    pthread_join(probe->sampler, NULL);
    probe->sampling = false;
    return 0;
}

/* ---- rows ---- */

static const struct metric metrics[] = {
    {"average", "bytes", "average", "Mean over the samples", METRIC_VALUE, 0, 0, false},
    {"peak", "bytes", "peak", "The largest sample", METRIC_VALUE, 0, 0, false},
    {"samples", "1", "samples", "How often it was looked at", METRIC_VALUE, 0, 0, false},
};
enum { AVERAGE, PEAK, SAMPLES, METRICS };
/* What is dear to look at is looked at this many times more rarely than the rest, or more: an
 * average of such other moments would not go with theirs. */
#define RARELY 8
#define MANY 32

/* Why there is no sample. */
static void explain(const struct figure_total *total, char *to, size_t size)
{
    switch (total->number) {
    case 0:
        snprintf(to, size, "no sample: the stretches were too short");
        break;
    case EACCES:
    case EPERM:
        snprintf(to, size, "not allowed: another user's process needs CAP_SYS_PTRACE");
        break;
    case EXDEV:
        snprintf(to, size, "the process is in another network namespace");
        break;
    case EOPNOTSUPP:
        snprintf(to, size, "this kernel has no sock_diag");
        break;
    default:
        snprintf(to, size, "cannot be read: %s", strerror(total->number));
    }
}

/* `most`: how often the process was looked at. */
static int add_row(struct record_probe *probe, const struct record_scope *scope,
                   const struct figure_total *total, uint64_t most)
{
    struct record_probe_row *row = record_add_probe_row(probe, scope);
    const double values[METRICS] = {total->samples ? total->sum / (double)total->samples : 0,
                                    (double)total->peak, (double)total->samples};
    for (size_t i = 0; row != NULL && i < METRICS; i++) {
        struct record_value *value = record_row_add_value(row, &metrics[i]);
        if (value == NULL) {
            return -1;
        }
        value->available = total->samples > 0 || i == SAMPLES;
        value->value = values[i];
        if (!value->available) {
            explain(total, value->reason, sizeof value->reason);
        } else if (i == AVERAGE && most > MANY && total->samples * RARELY < most) {
            value->available = false;
            snprintf(value->reason, sizeof value->reason,
                     "looked at %lu times where others were %lu", (unsigned long)total->samples,
                     (unsigned long)most);
        }
    }
    return row != NULL ? 0 : -1;
}

static int add_rows(const struct probe *self, struct record_probe *probe)
{
    for (size_t i = 0; i < self->process_count; i++) {
        const struct observed_memory *process = &self->processes[i];
        struct record_scope scope = {.pid = process->pid};
        snprintf(scope.role, sizeof scope.role, "%s", process->role);
        snprintf(scope.name, sizeof scope.name, "%s", process->name);
        uint64_t most = 0;
        for (int figure = 0; figure < FIGURES; figure++) {
            uint64_t samples = process->figures[figure].samples;
            most = samples > most ? samples : most;
        }
        for (int figure = 0; figure < FIGURES; figure++) {
            snprintf(scope.what, sizeof scope.what, "%s", figure_names[figure]);
            if (add_row(probe, &scope, &process->figures[figure], most) != 0) {
                return -1;
            }
            probe->available = probe->available || process->figures[figure].samples > 0;
        }
    }
    if (!probe->available) { /* a command may be over before it is looked at */
        snprintf(probe->reason, sizeof probe->reason, "no process was there to be looked at");
    }
    probe->available = probe->available || self->machine.samples > 0;
    const struct record_scope machine = {.what = "TCP sockets of the machine"};
    return add_row(probe, &machine, &self->machine, self->machine.samples);
}

static int read_probe(struct probe *self, const struct probe_scope *scope, struct record_run *run,
                      struct err *error)
{
    struct record_probe *probe = record_add_probe(run, "memory");
    pthread_mutex_lock(&self->lock);
    int status = probe != NULL ? add_rows(self, probe) : -1;
    int failure = self->failure;
    bool without_udp = self->without_udp;
    pthread_mutex_unlock(&self->lock);
    if (status != 0) {
        return err_set(error, ERR_LIMIT, "memory", "no memory");
    }
    probe->window_ns = scope->window_ns;
    probe->operations = scope->operations;
    probe->bytes = scope->bytes;
    probe->lost = targets_lost(self->targets);
    if (failure != 0) {
        snprintf(probe->reason, sizeof probe->reason, "some samples are missing: %s",
                 strerror(failure));
    } else if (!probe->reason[0] && without_udp) {
        snprintf(probe->reason, sizeof probe->reason,
                 "sockets are those of TCP and local ones: "
                 "this kernel does not tell of UDP");
    }
    return 0;
}

/* ---- the operations ---- */

/* Every process can be looked at somehow: what is not allowed is said row by row. */
static int why_not(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    (void)reason;
    (void)reason_size;
    (void)fix;
    (void)fix_size;
    return 0;
}

static void close_probe(struct probe *probe)
{
    struct err ignored = {0};
    if (probe == NULL) {
        return;
    }
    end(probe, &ignored);
    pthread_cond_destroy(&probe->wake);
    pthread_mutex_destroy(&probe->lock);
    socket_table_release(&probe->sockets);
    free(probe->processes);
    free(probe);
}

static int open_probe(struct probe **probe, const struct probe_config *config, struct err *error)
{
    pthread_condattr_t attributes;
    *probe = NULL;
    struct probe *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return err_set(error, ERR_LIMIT, "memory", "no memory");
    }
    opened->targets = config->targets;
    opened->period_ns = config->options->memory_period_ns;
    /* glibc: none of these can fail with these arguments. */
    pthread_mutex_init(&opened->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&opened->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    *probe = opened;
    return 0;
}

/* There is nothing to attach: samples are taken within stretches only. */
static int start(struct probe *probe, struct err *error)
{
    (void)probe;
    (void)error;
    return 0;
}

const struct probe_ops probe_memory = {
    .name = "memory",
    .help = "memory of the processes and their sockets: average and peak of samples",
    .metrics = metrics,
    .metric_count = METRICS,
    .why_not = why_not,
    .open = open_probe,
    .start = start,
    .begin = begin,
    .end = end,
    .stop = end,
    .read = read_probe,
    .close = close_probe,
};
