#include "run/load.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/collect.h"

/* What the measured window cuts off an interval at its ends is an estimate: they are short. */
#define INTERVAL_NS (100 * NS_PER_MS)
/* Beyond what the plan itself allows for connecting and draining. */
#define PATIENCE_NS (10 * NS_PER_SECOND)
/* A load that moves nothing for so long after its warm-up will not begin any more. */
#define STANDSTILL_NS (2 * NS_PER_SECOND)
#define ENDLESS_NS (366 * 24 * 3600 * NS_PER_SECOND)

/* In memory that the load's process shares. Written by one side, and read by the other only once
 * an eventfd or the end of the process has said that it is there. */
struct shared {
    uint64_t from_ns, until_ns; /* by whoever stops it */
    bool stands;                /* it has begun and moves nothing */
    struct load_figures figures;
    struct err failure;
};

struct load {
    pid_t pid;     /* 0: it has ended and was waited for */
    int exit_file; /* a pidfd; readable once it has ended */
    int stop_file, ready_file;
    struct shared *shared;
    uint64_t patience_ns; /* to start, and to end */
};

static const char subject[] = "load";

double load_overlap(const struct record_run *run, uint64_t from_ns, uint64_t until_ns,
                    double *covered)
{
    double sum = 0, sum_ns = 0;
    for (size_t i = 0; i < run->interval_count; i++) {
        const struct record_interval *interval = &run->intervals[i];
        uint64_t start_ns = run->window_start_ns + interval->start_ns;
        uint64_t end_ns = start_ns + interval->duration_ns;
        start_ns = start_ns > from_ns ? start_ns : from_ns;
        end_ns = end_ns < until_ns ? end_ns : until_ns;
        if (start_ns < end_ns && interval->value_count && interval->values[0].available) {
            sum += interval->values[0].value * (double)(end_ns - start_ns);
            sum_ns += (double)(end_ns - start_ns);
        }
    }
    double share = until_ns > from_ns ? sum_ns / (double)(until_ns - from_ns) : 0;
    *covered = share < 1 ? share : 1; /* neighbours may overlap by a moment */
    return sum_ns > 0 ? sum / sum_ns : 0;
}

/* ---- in the load's own process --------------------------------------------------------------- */

/* Of the process that is the load. */
struct beginning {
    struct shared *shared;
    int ready_file; /* -1: it has been said */
};

/* The first interval in which something moved: whoever waits may begin. Or none did. */
static void note_progress(void *owner, const struct run_progress *progress)
{
    struct beginning *beginning = owner;
    const uint64_t one = 1;
    bool moved = progress->bank->counters[progress->workload->bytes];
    if (beginning->ready_file >= 0 && !progress->drain &&
        (moved || progress->end_ns >= STANDSTILL_NS)) {
        beginning->shared->stands = !moved;
        (void)!write(beginning->ready_file, &one, sizeof one);
        beginning->ready_file = -1; /* once */
    }
}

/* A value of the run by its key; NaN where it has none. */
static double value_of(const struct record_run *run, const char *key)
{
    for (size_t i = 0; i < run->value_count; i++) {
        if (run->values[i].available && strcmp(run->values[i].metric->key, key) == 0) {
            return run->values[i].value;
        }
    }
    return NAN;
}

/* What a session's client sends is counted here, in its intervals too; what arrived of it is known
 * of the whole alone. */
static double arrived_share(const struct run_plan *plan, const struct record_run *run, double lost)
{
    return plan->session && value_of(run, "sent_bytes") > 0 && isfinite(lost) ? 1 - lost : 1;
}

/* A process's figures without what lies in this process's own memory. */
static void keep_processes(struct load_figures *figures, const struct record_run *run)
{
    for (size_t i = 0; i < run->process_count && i < LOAD_PROCESSES; i++) {
        struct record_process *process = &figures->processes[figures->process_count++];
        *process = run->processes[i];
        process->cpu_operations = 0;
        process->engine_calls = process->kernel_calls =
            (struct record_calls){.reason = "not kept of a load"};
    }
}

__attribute__((noreturn)) static void become(const struct load *load, const struct run_plan *plan,
                                             pid_t parent)
{
    struct shared *shared = load->shared;
    struct run_options options = *plan->options;
    struct run_plan own = *plan;
    struct record record;
    struct err failure = {0};
    struct beginning beginning = {.shared = shared, .ready_file = load->ready_file};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "sonde-load");
    signal(SIGINT, SIG_IGN); /* Ctrl-C goes to the whole group: the parent ends the load in order */
    if (getppid() != parent) {
        _exit(1);
    }
    options.count = 0;
    options.duration_ns = ENDLESS_NS;
    options.interval_ns = INTERVAL_NS;
    own.options = &options;
    own.stop_fd = load->stop_file;
    own.progress = note_progress;
    own.owner = &beginning;
    own.skip_ceiling = true;
    if (record_init(&record, 0, NULL, &failure) == 0 && run_execute(&own, &record, &failure) < 0 &&
        failure.code == ERR_INTERRUPTED) {
        failure = (struct err){0}; /* that is how it ends */
        const struct record_run *run = &record.runs[0];
        struct load_figures *figures = &shared->figures;
        figures->lost = value_of(run, "client_lost_share");
        figures->lost = isfinite(figures->lost) ? figures->lost : value_of(run, "lost_share");
        figures->rate = load_overlap(run, shared->from_ns, shared->until_ns, &figures->covered) *
                        arrived_share(plan, run, figures->lost);
        keep_processes(&shared->figures, run);
    }
    shared->failure = failure;
    _exit(failure.code == ERR_NONE ? 0 : 1);
}

/* ---- beside it ------------------------------------------------------------------------------- */

static void close_file(int *file)
{
    if (*file >= 0) {
        close(*file);
        *file = -1;
    }
}

static void load_free(struct load **load)
{
    if (*load) {
        if ((*load)->pid > 0) {
            kill((*load)->pid, SIGKILL);
            while (waitpid((*load)->pid, NULL, 0) < 0 && errno == EINTR) {
            }
        }
        close_file(&(*load)->exit_file);
        close_file(&(*load)->stop_file);
        close_file(&(*load)->ready_file);
        shared_release((*load)->shared, sizeof *(*load)->shared);
        free(*load);
        *load = NULL;
    }
}

/* Once its process has ended: why. -1 with *error where that was no good end. */
static int take_end(struct load *load, bool asked, struct err *error)
{
    int status = 0;
    while (waitpid(load->pid, &status, 0) < 0 && errno == EINTR) {
    }
    load->pid = 0;
    if (load->shared->failure.code != ERR_NONE) {
        *error = load->shared->failure;
        return -1;
    }
    if (WIFSIGNALED(status)) {
        return err_set(error, ERR_SYSTEM, subject, "died of signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    }
    if (!asked || WEXITSTATUS(status) != 0) {
        return err_set(error, ERR_SYSTEM, subject, "ended before it was asked to (status %d)",
                       WEXITSTATUS(status));
    }
    return 0;
}

/* Waits until the load moves something. */
static int await_start(struct load *load, int stop_fd, struct err *error)
{
    uint64_t until_ns = clock_now_ns() + load->patience_ns;
    for (;;) {
        struct pollfd files[] = {{.fd = load->exit_file, .events = POLLIN},
                                 {.fd = stop_fd, .events = POLLIN},
                                 {.fd = load->ready_file, .events = POLLIN}};
        uint64_t now_ns = clock_now_ns();
        struct timespec wait = clock_timespec(until_ns > now_ns ? until_ns - now_ns : 0);
        int ready = ppoll(files, sizeof files / sizeof *files, &wait, NULL);
        if (ready < 0 && errno != EINTR) {
            return err_system(error, errno, subject, "cannot be waited for");
        }
        if (ready > 0 && files[0].revents) {
            return take_end(load, false, error);
        }
        if (ready > 0 && files[1].revents) {
            return err_set(error, ERR_INTERRUPTED, subject, "interrupted before it had begun");
        }
        if (ready > 0 && load->shared->stands) {
            err_set(error, ERR_SYSTEM, subject, "moved nothing within %u s of its start",
                    (unsigned)(STANDSTILL_NS / NS_PER_SECOND));
            return err_hint(error, "its server has to read everything and to answer nothing: sonde "
                                   "serve sonde://HOST:PORT or discard+tcp://HOST:PORT does");
        }
        if (ready > 0) {
            return 0;
        }
        if (ready == 0) {
            return err_set(error, ERR_LIMIT, subject, "moved nothing within %u s",
                           (unsigned)(load->patience_ns / NS_PER_SECOND));
        }
    }
}

int load_start(struct load **to, const struct run_plan *plan, int stop_fd, struct err *error)
{
    const struct run_options *options = plan->options;
    struct load *load = calloc(1, sizeof *load);
    *to = load;
    if (!load) {
        return err_system(error, ENOMEM, subject, "cannot be started");
    }
    load->exit_file = -1;
    load->stop_file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    load->ready_file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    load->shared = shared_memory(sizeof *load->shared, error);
    load->patience_ns =
        options->connect_timeout_ns + options->warmup_ns + options->drain_ns + PATIENCE_NS;
    pid_t parent = getpid();
    if (load->stop_file < 0 || load->ready_file < 0) {
        err_system(error, errno, subject, "cannot be started");
    } else if (load->shared && (load->pid = fork()) == 0) {
        become(load, plan, parent);
    } else if (load->pid < 0) {
        load->pid = 0;
        err_system(error, errno, subject, "cannot start a process");
    } else if (load->pid > 0) {
        load->exit_file = (int)syscall(SYS_pidfd_open, load->pid, 0);
        if (load->exit_file < 0) {
            err_system(error, errno, subject, "cannot be waited for");
        } else if (await_start(load, stop_fd, error) == 0) {
            return 0;
        }
    }
    load_free(to);
    return -1;
}

bool load_ended(const void *member)
{
    const struct load *load = member;
    struct pollfd ended = {.fd = load->exit_file, .events = POLLIN};
    return poll(&ended, 1, 0) > 0;
}

int load_stop(struct load **to, uint64_t from_ns, uint64_t until_ns, struct load_figures *figures,
              struct err *error)
{
    struct load *load = *to;
    const uint64_t one = 1;
    int result = 0;
    *figures = (struct load_figures){.lost = NAN};
    if (!load) {
        return 0;
    }
    struct pollfd ended = {.fd = load->exit_file, .events = POLLIN};
    bool asked = !load_ended(load);
    load->shared->from_ns = from_ns;
    load->shared->until_ns = until_ns;
    (void)!write(load->stop_file, &one, sizeof one);
    int ready;
    do {
        ready = poll(&ended, 1, (int)(load->patience_ns / NS_PER_MS));
    } while (ready < 0 && errno == EINTR);
    if (ready > 0) {
        result = take_end(load, asked, error);
        *figures = load->shared->figures;
    } else {
        result = err_set(error, ERR_SYSTEM, subject, "did not stop in time and was killed");
    }
    load_free(to);
    return result;
}
