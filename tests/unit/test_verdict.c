/* What limits a run of streams, by what is known of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "run/verdict.h"

#define IDLE                                                                                       \
    {                                                                                              \
        .known = true, .busy = 0.3, .cpus = 0.3                                                    \
    }
#define BUSY                                                                                       \
    {                                                                                              \
        .known = true, .busy = 0.97, .cpus = 0.97                                                  \
    }

static const struct {
    const char *begins, *has;
    struct verdict_stream facts;
} cases[] = {
    {"the path or its congestion window",
     "99%",
     {.client = IDLE, .server = IDLE, .tcp = true, .tcp_busy = 0.99}},
    {"the receiver's window",
     "80%",
     {.client = IDLE, .server = IDLE, .tcp = true, .tcp_busy = 0.99, .receive_window = 0.8}},
    {"the send buffer",
     "--window",
     {.client = IDLE, .server = IDLE, .tcp = true, .tcp_busy = 0.99, .send_buffer = 0.7}},
    {"waiting: TCP had something to send for 40%",
     "wake-ups",
     {.client = IDLE, .server = IDLE, .tcp = true, .tcp_busy = 0.4}},
    {"client CPU",
     "client 97%, server 30%",
     {.client = BUSY, .server = IDLE, .tcp = true, .tcp_busy = 0.99, .receive_window = 0.8}},
    {"server CPU", "server 97%", {.client = IDLE, .server = BUSY}},
    {"both ends", "97%", {.client = BUSY, .server = BUSY}},
    {"client CPU", "not observed", {.client = BUSY}},
    {"waiting: no end is out of CPU", "30%", {.client = IDLE, .server = IDLE}},
    {"other programs",
     "65%",
     {.client = {.known = true, .busy = 0.33, .runnable = 0.65}, .server = IDLE}},
    /* The same base as the table of processes. */
    {"all CPUs are full",
     "client 56%, server 56% of a CPU; other programs 40%",
     {.client = {.known = true, .busy = 0.28, .cpus = 0.56, .waited = 0.2},
      .server = {.known = true, .busy = 0.28, .cpus = 0.56},
      .host_busy = 0.99,
      .others = 0.4,
      .tcp = true,
      .tcp_busy = 0.9}},
    {"all CPUs are full",
     "client 98%, server 98%",
     {.client = {.known = true, .busy = 0.49, .cpus = 0.98, .waited = 0.5},
      .server = {.known = true, .busy = 0.49, .cpus = 0.98},
      .host_busy = 0.99,
      .others = 0.01}},
    {"the rate asked for: --rate",
     "30%",
     {.client = IDLE, .server = IDLE, .asked = 100, .reached = 98, .tcp = true, .tcp_busy = 0.99}},
    {"the path",
     "99%",
     {.client = IDLE, .server = IDLE, .asked = 100, .reached = 90, .tcp = true, .tcp_busy = 0.99}},
    {"the receive buffer of the server: 55%",
     "--window",
     {.client = BUSY,
      .server = IDLE,
      .receiver = "server",
      .expected = 100,
      .arrived = 45,
      .drops = 55}},
    {"the receive buffer of the client: 50%",
     "--rate",
     {.client = IDLE,
      .server = IDLE,
      .receiver = "client",
      .expected = 320,
      .arrived = 160,
      .drops = 10,
      .joined = 16}},
    {"the path: 20% of the datagrams",
     "not in the server's receive buffer",
     {.client = IDLE,
      .server = IDLE,
      .receiver = "server",
      .expected = 100,
      .arrived = 80,
      .drops = 1}},
    {"the rate asked for",
     "",
     {.client = IDLE,
      .server = IDLE,
      .receiver = "server",
      .expected = 100,
      .arrived = 97,
      .drops = 3,
      .asked = 100,
      .reached = 100}},
};

static void each(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256]; /* as in the record */
        verdict_stream(&cases[i].facts, text, sizeof text);
        if (strncmp(text, cases[i].begins, strlen(cases[i].begins)) != 0 ||
            !strstr(text, cases[i].has) || strstr(text, "calls")) {
            fail_msg("case %zu: %s", i, text);
        }
        assert_in_range(strlen(text), 1, sizeof text - 2);
    }
}

static void reached_means_nearly_all_of_it(void **state)
{
    (void)state;
    assert_true(verdict_rate_reached(&(struct verdict_stream){.asked = 100, .reached = 97}));
    assert_false(verdict_rate_reached(&(struct verdict_stream){.asked = 100, .reached = 96}));
    assert_false(verdict_rate_reached(&(struct verdict_stream){.reached = 96})); /* none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each),
        cmocka_unit_test(reached_means_nearly_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
