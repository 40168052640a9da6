#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "codec/knock.h"
#include "run/control_run.h"

int control_run_take(struct control_run *run, const struct hello *hello, int fd)
{
    uint64_t one = 1;
    bool same = knock_same_token(run->token, hello->token);
    if (!same || !run->token_valid || hello->number >= run->wanted ||
        run->ends[hello->number].read_fd >= 0) {
        return -1;
    }
    run->ends[hello->number] = (struct net_end){fd, fd};
    if (++run->come == run->wanted) {
        run->token_valid = false;
        (void)!write(run->wake_fd, &one, sizeof one);
    }
    return 0;
}

void control_run_refuse_more(struct control_run *run)
{
    pthread_mutex_lock(run->config.lock);
    run->token_valid = false;
    pthread_mutex_unlock(run->config.lock);
}

void control_run_close_ends(struct control_run *run)
{
    for (uint32_t i = 0; i < run->wanted; i++) {
        net_end_close(run->ends[i]);
        run->ends[i] = (struct net_end){-1, -1};
    }
}

static void release_run(struct control_run *run)
{
    if (run->wake_fd >= 0) {
        close(run->wake_fd);
    }
    free(run->ends);
    free(run);
}

struct control_run *control_run_start(struct control_link *link, struct control_message *prepare,
                                      const struct control_run_config *config, struct err *error)
{
    struct control_run *run = calloc(1, sizeof *run);
    if (!run) {
        err_system(error, ENOMEM, "serve", "cannot take a client");
        return NULL;
    }
    run->wanted = (uint32_t)prepare->connections;
    run->ends = calloc(run->wanted, sizeof *run->ends);
    run->wake_fd = eventfd(0, EFD_CLOEXEC);
    for (uint32_t i = 0; run->ends && i < run->wanted; i++) {
        run->ends[i] = (struct net_end){-1, -1};
    }
    run->config = *config;
    if (!run->ends || run->wake_fd < 0 ||
        getrandom(run->token, sizeof run->token, 0) != sizeof run->token) {
        err_system(error, errno, "serve", "cannot take a client");
        release_run(run);
        return NULL;
    }
    run->link = *link;
    run->prepare = *prepare;
    int failed = pthread_create(&run->thread, NULL, control_run_thread, run);
    if (failed) {
        err_system(error, failed, "serve", "cannot start a thread");
        release_run(run);
        return NULL;
    }
    *link = (struct control_link){.fd = -1};
    *prepare = (struct control_message){0};
    return run;
}

void control_run_free(struct control_run *run)
{
    pthread_join(run->thread, NULL);
    control_release(&run->prepare);
    release_run(run);
}
