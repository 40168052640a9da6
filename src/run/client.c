/* The client's workers: threads of this process, or of several that are forked for them. Their
 * slots lie in memory that all of these share, so that the conductor cuts and reads them alike. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/conductor.h"

#define STACK_BYTES ((size_t)256 * 1024)
/* How often to look whether a process has ended. */
#define LOOK_NS (20 * NS_PER_MS)

__extension__ typedef unsigned __int128 wide;

/* Workers of one process. */
struct share {
    uint32_t first, count;
};

static struct share share_of(const struct conductor *conductor, uint32_t process)
{
    uint64_t workers = conductor->worker_count, processes = conductor->clients.count;
    uint32_t first = (uint32_t)(workers * process / processes);
    return (struct share){first, (uint32_t)(workers * (process + 1) / processes) - first};
}

/* Of a counted run's operations those of the first `dialed` connections. By connections, so that
 * all workers end together; in an open loop exactly those whose turn it is in the schedule, of
 * whose arrivals each is operations_per_start operations and the last one the rest. */
static uint64_t operations_of(const struct run_plan *plan, uint32_t dialed)
{
    const struct run_options *options = plan->options;
    uint64_t count = options->count, connections = options->connections;
    if (run_rate_most(options) == 0) {
        return (uint64_t)((wide)count * dialed / connections);
    }
    uint64_t each = workload_operations_per_start(plan->workload, plan->workload_options);
    uint64_t arrivals = count / each, rest = count % each;
    uint64_t last_turn = arrivals % connections;
    return (arrivals / connections * dialed + (last_turn < dialed ? last_turn : dialed)) * each +
           (last_turn < dialed ? rest : 0);
}

/* Connections and operations are dealt out to all workers alike, in whatever process. */
static void configure(struct conductor *conductor)
{
    const struct run_options *options = conductor->plan->options;
    uint32_t workers = conductor->worker_count;
    uint32_t connections = (uint32_t)options->connections;
    uint32_t dialed = 0;
    uint64_t issued = 0;
    for (uint32_t i = 0; i < workers; i++) {
        struct worker_config *config = &conductor->configs[i];
        setup_worker(conductor->plan, config);
        config->client_tls = conductor->client_tls;
        config->control = &conductor->shared->client;
        config->slot = &conductor->slots[i];
        config->index = i;
        config->workers = workers;
        config->dials = conductor->dials + dialed;
        config->first_number = dialed;
        config->dials_in_all = connections;
        config->dial_count = (connections - dialed) / (workers - i);
        dialed += config->dial_count;
        if (options->count) {
            uint64_t upto = operations_of(conductor->plan, dialed);
            config->quota = upto - issued;
            issued = upto;
        }
        config->cpu = placement_cpu(&conductor->placement.clients, i);
        atomic_store(&config->slot->state, SLOT_STARTING);
    }
    for (uint32_t i = 0; i < conductor->clients.count; i++) {
        struct share share = share_of(conductor, i);
        for (uint32_t j = 1; j < share.count; j++) {
            conductor->configs[share.first + j].follows = true;
        }
    }
}

static void *client_thread(void *argument)
{
    worker_run(argument);
    return NULL;
}

static int start_threads(struct conductor *conductor, struct share share, struct err *error)
{
    pthread_attr_t attributes;
    int failed = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (uint32_t i = 0; i < share.count && !failed; i++) {
        uint64_t begun_ns = clock_now_ns();
        failed = pthread_create(&conductor->threads[i], &attributes, client_thread,
                                &conductor->configs[share.first + i]);
        conductor->configs[share.first + i].thread_start_ns = clock_now_ns() - begun_ns;
        if (failed) {
            err_system(error, failed, "client", "cannot start thread %u of %u", i + 1, share.count);
        }
        conductor->started += !failed;
    }
    pthread_attr_destroy(&attributes);
    return failed ? -1 : 0;
}

static void join_threads(struct conductor *conductor)
{
    for (uint32_t i = 0; i < conductor->started; i++) {
        pthread_join(conductor->threads[i], NULL);
    }
}

/* Ends the slots of a share whose threads are not there, so that nobody waits for them. */
static void end_slots(struct worker_slot *slots, struct share share, const struct err *failure)
{
    for (uint32_t i = 0; i < share.count; i++) {
        struct worker_slot *slot = &slots[share.first + i];
        if (atomic_load(&slot->state) != SLOT_ENDED) {
            slot->failure = *failure;
            atomic_store(&slot->state, SLOT_ENDED);
        }
    }
}

/* A process of the client's, until it is told to leave. No file of the conductor's is its own: what
 * it dials it opens itself. */
_Noreturn static void run_process(struct conductor *conductor, struct share share)
{
    struct err failure;
    if (close_range(STDERR_FILENO + 1, ~0u, 0) < 0) {
        err_system(&failure, errno, "client", "cannot close the files of others");
        end_slots(conductor->slots, share, &failure);
    } else if (start_threads(conductor, share, &failure) < 0) {
        end_slots(
            conductor->slots,
            (struct share){share.first + conductor->started, share.count - conductor->started},
            &failure);
    }
    join_threads(conductor);
    _exit(0);
}

int client_start(struct conductor *conductor, struct err *error)
{
    uint32_t workers = conductor->worker_count;
    struct processes *clients = &conductor->clients;
    conductor->configs = calloc(workers, sizeof *conductor->configs);
    conductor->threads = calloc(workers, sizeof *conductor->threads);
    if (!conductor->configs || !conductor->threads) {
        return err_system(error, ENOMEM, "memory", "cannot start the workers");
    }
    configure(conductor);
    if (!client_apart(conductor)) {
        return start_threads(conductor, share_of(conductor, 0), error);
    }
    for (uint32_t i = 0; i < clients->count; i++) {
        clients->pids[i] = process_fork("sonde-client", "client", error);
        if (clients->pids[i] == 0) {
            run_process(conductor, share_of(conductor, i));
        }
        if (clients->pids[i] < 0) {
            return -1;
        }
    }
    return 0;
}

static void say_broken(const struct conductor *conductor, uint32_t process, struct err *error)
{
    const struct processes *clients = &conductor->clients;
    siginfo_t ended = {.si_pid = 0};
    waitid(P_PID, (id_t)clients->pids[process], &ended, WEXITED | WNOHANG | WNOWAIT);
    bool exited = ended.si_code == CLD_EXITED;
    err_set(error, ERR_SYSTEM, "client", "process %u of %u (pid %d) ended with %s %d", process + 1,
            clients->count, (int)clients->pids[process], exited ? "status" : "signal",
            ended.si_status);
}

bool run_broken(struct conductor *conductor, bool now)
{
    uint64_t now_ns = clock_now_ns();
    if (conductor->broken || (!now && now_ns < conductor->looked_ns + LOOK_NS)) {
        return conductor->broken;
    }
    conductor->looked_ns = now_ns;
    int client = processes_broken(&conductor->clients);
    int server = processes_broken(&conductor->servers);
    struct err failure = {0};
    if (server >= 0) { /* why is said by whoever waits for its end */
        uint32_t each = conductor->server_slot_count / conductor->servers.count;
        end_slots(conductor->server_slots, (struct share){(uint32_t)server * each, each}, &failure);
    }
    if (client >= 0) {
        say_broken(conductor, (uint32_t)client, &failure);
        end_slots(conductor->slots, share_of(conductor, (uint32_t)client), &failure);
    }
    conductor->broken = client >= 0 || server >= 0;
    return conductor->broken;
}

int client_await(struct conductor *conductor, struct err *error)
{
    for (uint32_t i = 0; i < conductor->worker_count; i++) {
        struct worker_slot *slot = &conductor->slots[i];
        while (atomic_load(&slot->state) == SLOT_STARTING) {
            window_wait(conductor, clock_now_ns() + 200 * NS_PER_US);
            if (conductor->interrupted) {
                return err_set(error, ERR_INTERRUPTED, "run", "interrupted while connecting");
            }
        }
        if (atomic_load(&slot->state) == SLOT_ENDED) {
            *error = slot->failure;
            return -1;
        }
    }
    return 0;
}

void client_stop(struct conductor *conductor, struct err *error)
{
    struct err failure = {0};
    join_threads(conductor);
    for (uint32_t i = 0; client_apart(conductor) && i < conductor->clients.count; i++) {
        struct err process_error = {0};
        process_await(conductor->clients.pids[i], "client", &process_error);
        failure = failure.code == ERR_NONE ? process_error : failure;
    }
    for (uint32_t i = 0; i < conductor->worker_count && conductor->configs; i++) {
        if (error->code == ERR_NONE) {
            *error = conductor->slots[i].failure;
        }
    }
    if (error->code == ERR_NONE) {
        *error = failure;
    }
}
