#include "run/server.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* Kernel memory for stacks of threads that do little on them. */
#define STACK_BYTES ((size_t)256 * 1024)

uint32_t server_slots(const struct engine_ops *engine, uint32_t threads, uint32_t listeners,
                      uint32_t connections_max)
{
    /* A thread a connection: one slot each, and one for each acceptor. */
    return engine->flags & ENGINE_ONE_CHANNEL ? listeners + connections_max : threads;
}

struct server;

/* What one thread of the server is started with. */
struct member {
    struct server *server;
    struct worker_config worker;
    int listeners[64];
    struct net_end end;
};

struct server {
    const struct server_config *config;
    struct member *members; /* one a slot */
    pthread_mutex_t lock;
    pthread_cond_t left; /* a thread has left */
    uint32_t live;       /* threads that have not */
};

static void count_thread(struct server *server, int change)
{
    pthread_mutex_lock(&server->lock);
    server->live += (uint32_t)change;
    pthread_cond_signal(&server->left);
    pthread_mutex_unlock(&server->lock);
}

static void *member_run(void *argument)
{
    struct member *member = argument;
    struct worker_slot *slot = member->worker.slot;
    worker_run(&member->worker);
    bool failed = slot->failure.code != ERR_NONE;
    uint32_t ended = SLOT_ENDED;
    /* A conductor that is reading the slot holds it as COLLECTED and puts ENDED back. */
    while (!failed && !atomic_compare_exchange_weak(&slot->state, &ended, SLOT_FREE)) {
        ended = SLOT_ENDED;
        sched_yield();
    }
    if (failed) { /* one part of a server that does not work is no server: all leave */
        atomic_store(&member->server->config->control->phase, RUN_STOP);
    }
    count_thread(member->server, -1);
    return NULL;
}

static int start_member(struct server *server, struct member *member)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    count_thread(server, 1);
    int failed = pthread_create(&thread, &attributes, member_run, member);
    pthread_attr_destroy(&attributes);
    if (failed) {
        count_thread(server, -1);
    }
    return failed;
}

/* Takes a free slot, waiting out a conductor that is reading it; NULL where all are in use. */
static struct member *take_slot(struct server *server)
{
    for (uint32_t i = 0; i < server->config->slot_count; i++) {
        struct worker_slot *slot = &server->config->slots[i];
        uint32_t state = SLOT_FREE;
        while (!atomic_compare_exchange_weak(&slot->state, &state, SLOT_STARTING)) {
            if (state != SLOT_FREE && state != SLOT_COLLECTED) {
                break;
            }
            state = SLOT_FREE;
        }
        if (state == SLOT_FREE) {
            return &server->members[i];
        }
    }
    return NULL;
}

static void fill_worker(struct server *server, struct member *member)
{
    const struct server_config *config = server->config;
    member->server = server;
    member->worker = (struct worker_config){
        .engine = config->engine,
        .role = config->role,
        .options = config->options,
        .control = config->control,
        .slot = &config->slots[member - server->members],
        .tuning = config->tuning,
        .receive_bytes = config->receive_bytes,
        .receive_mode = config->receive_mode,
        .channel_options = config->channel_options,
        .busy_poll = config->busy_poll,
        .greeted = config->greeted,
        .await_go = config->await_go,
        .workers = config->slot_count,
        .cpu = config->cpus ? placement_cpu(config->cpus,
                                            config->first_slot + (size_t)(member - server->members))
                            : -1,
        .quota = UINT64_MAX,
        .connections_max = config->connections_max,
        .connections = &config->control->connections,
        .refused = &config->control->refused,
        .server_tls = config->tls,
        .listeners = member->listeners,
        .ends = &member->end,
    };
}

/* A thread for one connection, with its number; takes the files over. */
static int serve_alone(struct server *server, struct net_end end, uint32_t number, bool secure)
{
    struct member *member = take_slot(server);
    if (member) {
        fill_worker(server, member);
        member->end = end;
        member->worker.end_count = 1;
        member->worker.first_number = number;
        member->worker.secure_ends = secure;
        if (!secure) {
            member->worker.server_tls = NULL;
        }
        if (start_member(server, member) == 0) {
            return 0;
        }
        atomic_store(&member->worker.slot->state, SLOT_FREE);
    } else {
        atomic_fetch_add(&server->config->control->refused, 1);
    }
    net_end_close(end);
    return -1;
}

static void accepted(void *owner, int fd, bool secure)
{
    struct member *acceptor = owner;
    if (serve_alone(acceptor->server, (struct net_end){fd, fd}, 0, secure) < 0) {
        struct worker_slot *slot = acceptor->worker.slot;
        struct bank *bank = &slot->banks[atomic_load(&slot->cut_done) & 1];
        bank->counters[acceptor->worker.role->refused_counter]++;
    }
}

/* A thread a connection: acceptors, threads for sockets of datagrams, which serve those themselves,
 * and threads for the connections given at the start. */
static int start_threads(struct server *server, struct err *error)
{
    const struct server_config *config = server->config;
    for (uint32_t i = 0; i < config->listener_count; i++) {
        struct member *member = take_slot(server);
        if (!member) {
            return err_set(error, ERR_LIMIT, "serve", "no place for an acceptor");
        }
        fill_worker(server, member);
        member->listeners[0] = config->listeners[i];
        member->worker.listener_count = 1;
        member->worker.secure_listeners = config->secure_addresses >> (i / config->threads) & 1;
        member->worker.accepted = accepted;
        member->worker.owner = member;
        int failed = start_member(server, member);
        if (failed) {
            return err_system(error, failed, "serve", "cannot start a thread");
        }
    }
    for (uint32_t i = 0; i < config->end_count; i++) {
        if (serve_alone(server, config->ends[i], i, false) < 0) {
            return err_system(error, EAGAIN, "serve", "cannot start a thread");
        }
    }
    return 0;
}

/* Event loops: each thread has a listener for each address and its share of the given pairs. */
static int start_loops(struct server *server, struct net_end *ends, struct err *error)
{
    const struct server_config *config = server->config;
    uint32_t addresses = config->listener_count / config->threads;
    uint32_t given = 0;
    for (uint32_t i = 0; i < config->threads; i++) {
        struct member *member = take_slot(server);
        if (!member || addresses > sizeof member->listeners / sizeof *member->listeners) {
            return err_set(error, ERR_LIMIT, "serve", "too many addresses or threads");
        }
        fill_worker(server, member);
        for (uint32_t j = 0; j < addresses; j++) {
            member->listeners[j] = config->listeners[j * config->threads + i];
        }
        member->worker.listener_count = addresses;
        member->worker.secure_listeners = config->secure_addresses;
        uint32_t share = (config->end_count - given) / (config->threads - i);
        member->worker.ends = ends + given;
        member->worker.end_count = share;
        member->worker.first_number = given;
        given += share;
        int failed = start_member(server, member);
        if (failed) {
            return err_system(error, failed, "serve", "cannot start a thread");
        }
    }
    return 0;
}

/* The first failure of a worker, if any. */
static int collect_failure(const struct server_config *config, struct err *error)
{
    for (uint32_t i = 0; i < config->slot_count; i++) {
        struct worker_slot *slot = &config->slots[i];
        if (atomic_load(&slot->state) == SLOT_ENDED && slot->failure.code != ERR_NONE) {
            *error = slot->failure;
            return -1;
        }
    }
    return 0;
}

int server_run(const struct server_config *config, struct err *error)
{
    struct server server = {
        .config = config, .lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};
    server.members = calloc(config->slot_count, sizeof *server.members);
    struct net_end *ends = calloc(config->end_count + 1, sizeof *ends);
    int result = -1;
    if (!server.members || !ends) {
        err_system(error, ENOMEM, "serve", "cannot start");
    } else {
        if (config->end_count) {
            memcpy(ends, config->ends, config->end_count * sizeof *ends);
        }
        result = config->engine->flags & ENGINE_ONE_CHANNEL ? start_threads(&server, error)
                                                            : start_loops(&server, ends, error);
    }
    if (result < 0) {
        atomic_store(&config->control->phase, RUN_STOP);
    }
    /* Asleep until all have left: this thread's own calls must not show among the server's. */
    pthread_mutex_lock(&server.lock);
    while (server.live) {
        pthread_cond_wait(&server.left, &server.lock);
    }
    pthread_mutex_unlock(&server.lock);
    if (result == 0) {
        result = collect_failure(config, error);
    }
    free(server.members);
    free(ends);
    return result;
}

static int by_number(const void *left, const void *right)
{
    return *(const int *)left - *(const int *)right;
}

/* The files of other clients are none of this child's: one that stays open here would not end where
 * its owner closes it. */
static int close_others(const struct server_config *config)
{
    uint32_t count = 0;
    int *own = calloc(config->listener_count + 2 * (size_t)config->end_count + 1, sizeof *own);
    if (!own) {
        return -1;
    }
    for (uint32_t i = 0; i < config->listener_count; i++) {
        own[count++] = config->listeners[i];
    }
    for (uint32_t i = 0; i < config->end_count; i++) {
        own[count++] = config->ends[i].read_fd;
        own[count++] = config->ends[i].write_fd;
    }
    qsort(own, count, sizeof *own, by_number);
    unsigned from = STDERR_FILENO + 1;
    int result = 0;
    for (uint32_t i = 0; i < count && result == 0; i++) {
        unsigned fd = (unsigned)own[i];
        result = fd > from ? close_range(from, fd - 1, 0) : 0;
        from = fd >= from ? fd + 1 : from;
    }
    free(own);
    return result < 0 ? -1 : close_range(from, ~0u, 0);
}

pid_t server_spawn(const struct server_config *config, struct err *error)
{
    pid_t pid = process_fork("sonde-server", "server", error);
    if (pid != 0) {
        return pid;
    }
    struct err failure = {0};
    for (uint32_t i = 0; i < config->foreign_count; i++) {
        net_end_close(config->foreign[i]);
    }
    int result = 0;
    if (config->close_others && close_others(config) < 0) {
        result = err_system(&failure, errno, "server", "cannot close the files of others");
    }
    result = result < 0 ? result : server_run(config, &failure);
    if (result < 0 && failure.code != ERR_NONE) { /* the parent reads it there */
        config->slots[0].failure = failure;
        atomic_store(&config->slots[0].state, SLOT_ENDED);
    }
    _exit(result < 0 ? 1 : 0);
}

/* One of several processes; its listeners are open here only until it has them. */
static pid_t spawn_one(struct server_config *config, bool several, struct err *error)
{
    int *listeners = NULL;
    if (config->address_count &&
        server_listen(config->addresses, config->address_count, config->threads, several,
                      SERVER_BACKLOG, &config->tuning, &listeners, error) < 0) {
        return -1;
    }
    config->listeners = listeners;
    config->listener_count = config->address_count * config->threads;
    pid_t pid = server_spawn(config, error);
    for (uint32_t i = 0; i < config->listener_count; i++) {
        close(listeners[i]);
    }
    free(listeners);
    return pid;
}

int server_spawn_all(const struct server_config *all, struct processes *processes,
                     struct err *error)
{
    uint32_t count = processes->count;
    for (uint32_t i = 0; i < count; i++) {
        struct server_config config = *all;
        config.threads = all->threads / count;
        config.slot_count = all->slot_count / count;
        config.first_slot = i * config.slot_count;
        config.slots = all->slots + config.first_slot;
        config.close_others = all->close_others || count > 1;
        processes->pids[i] = spawn_one(&config, count > 1, error);
        if (processes->pids[i] < 0) {
            return -1;
        }
    }
    return 0;
}

int server_stop(pid_t pid, struct run_control *control, struct err *error)
{
    if (pid <= 0) {
        return 0;
    }
    atomic_store(&control->phase, RUN_STOP);
    return process_await(pid, "server", error);
}

int server_listen(struct address *addresses, uint32_t address_count, uint32_t threads, bool reuse,
                  int backlog, const struct net_tuning *tuning, int **listeners, struct err *error)
{
    int *files = calloc((size_t)address_count * threads + 1, sizeof *files);
    uint32_t opened = 0;
    if (!files) {
        return err_system(error, ENOMEM, "listen", "cannot start");
    }
    for (uint32_t i = 0; i < address_count; i++) {
        struct address *address = &addresses[i];
        bool many = address->transport->caps & TRANSPORT_PORTS;
        for (uint32_t j = 0; j < threads; j++) {
            int fd = j == 0 || many ? address->transport->listen(
                                          address, backlog, many && (reuse || threads > 1), error)
                                    : fcntl(files[opened - j], F_DUPFD_CLOEXEC, 0);
            if (fd < 0 && j > 0 && !many) {
                err_system(error, errno, address->text, "cannot share the socket");
            }
            if (fd >= 0) {
                files[opened++] = fd;
            }
            /* What a unix stream listener is told, its connections do not inherit. */
            bool tuned = address->transport->caps & (TRANSPORT_PORTS | TRANSPORT_DATAGRAMS);
            if (fd < 0 || (tuned && address->transport->tune(fd, tuning, error) < 0)) {
                while (opened) {
                    close(files[--opened]);
                }
                free(files);
                return -1;
            }
        }
    }
    *listeners = files;
    return 0;
}
