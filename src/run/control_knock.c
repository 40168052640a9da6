#include "run/control_knock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* After so long without an answer it is said again. */
#define AGAIN_NS (100 * NS_PER_MS)
/* Said in a row: less than what a receive buffer has room for. */
#define IN_A_ROW 128

/* Where one connection is. */
struct caller {
    bool in;
    struct knock say; /* until something else is answered */
    uint64_t said_ns;
};

static void say(int fd, struct caller *caller, uint64_t now_ns)
{
    uint8_t bytes[KNOCK_BYTES];
    knock_encode(bytes, &caller->say);
    caller->said_ns = now_ns;
    (void)send(fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL); /* lost: said again */
}

/* Says what is due; how many are not in yet. */
static uint32_t say_all(const struct net_end *ends, struct caller *callers, uint32_t count,
                        uint64_t now_ns)
{
    uint32_t outside = 0, said = 0;
    for (uint32_t i = 0; i < count; i++) {
        outside += !callers[i].in;
        bool due = now_ns - callers[i].said_ns >= AGAIN_NS;
        if (!callers[i].in && due && said < IN_A_ROW) {
            say(ends[i].write_fd, &callers[i], now_ns);
            said++;
        }
    }
    return outside;
}

/* What the server has said on one of them. */
static void hear(int fd, uint32_t number, struct caller *caller)
{
    uint8_t bytes[KNOCK_BYTES + 1];
    struct knock heard;
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0) {
        if (!knock_decode(bytes, (size_t)got, &heard) || heard.number != number) {
            continue;
        }
        if (heard.kind == KNOCK_CHALLENGE && caller->say.kind == KNOCK_CALL) {
            caller->say = heard;
            caller->say.kind = KNOCK_ECHO;
            say(fd, caller, clock_now_ns());
        } else if (heard.kind == KNOCK_WELCOME && caller->say.kind == KNOCK_ECHO &&
                   knock_same_token(heard.token, caller->say.token)) {
            caller->in = true;
        }
    }
}

static int knock_until_in(const struct net_end *ends, struct caller *callers, struct pollfd *files,
                          uint32_t count, const char *name, uint64_t until_ns, struct err *error)
{
    const struct timespec look = clock_timespec(AGAIN_NS / 4);
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint32_t outside = say_all(ends, callers, count, now_ns);
        if (outside == 0) {
            return 0;
        }
        if (now_ns >= until_ns) {
            err_set(error, ERR_SYSTEM, name, "%u of %u UDP connections were not answered", outside,
                    count);
            return err_hint(error, "does a firewall let its UDP through?");
        }
        if (ppoll(files, count + 1, &look, NULL) < 0 && errno != EINTR) {
            return err_system(error, errno, name, "cannot wait");
        }
        if (files[count].revents) {
            return err_set(error, ERR_INTERRUPTED, "run", "interrupted while connecting");
        }
        for (uint32_t i = 0; i < count; i++) {
            if (files[i].revents) {
                hear(ends[i].read_fd, i, &callers[i]);
            }
        }
    }
}

int control_knock(const struct net_end *ends, uint32_t count, const uint8_t *token,
                  const char *name, uint64_t until_ns, int stop_fd, struct err *error)
{
    struct caller *callers = calloc(count, sizeof *callers);
    struct pollfd *files = calloc((size_t)count + 1, sizeof *files);
    int result = -1;
    if (!callers || !files) {
        err_system(error, ENOMEM, "memory", "cannot make the connections");
    } else {
        for (uint32_t i = 0; i < count; i++) {
            callers[i].say = (struct knock){.kind = KNOCK_CALL, .number = i};
            memcpy(callers[i].say.token, token, KNOCK_TOKEN_BYTES);
            files[i] = (struct pollfd){.fd = ends[i].read_fd, .events = POLLIN};
        }
        files[count] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
        result = knock_until_in(ends, callers, files, count, name, until_ns, error);
    }
    free(callers);
    free(files);
    return result;
}
