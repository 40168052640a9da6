/* Probes that only note what is done to them, for the tests of those who use probes. They need no
 * privilege: first, second, third serve; absent does not, and broken does not open. */
#ifndef SONDE_TESTS_FAKE_PROBE_H
#define SONDE_TESTS_FAKE_PROBE_H

#include <stdio.h>
#include <string.h>

#include "probe/probe.h"

static char fake_log[4096]; /* "first:open first:start …"; "!" after what met an open gate */
static bool fake_start_fails;
static struct targets *fake_targets;

struct probe {
    const char *name;
    uint64_t stretches;
};

static void fake_note(const char *name, const char *event)
{
    size_t used = strlen(fake_log);
    const struct gate *gate = fake_targets ? targets_gate(fake_targets) : NULL;
    snprintf(fake_log + used, sizeof fake_log - used, "%s%s:%s%s", used ? " " : "", name, event,
             gate && gate->open ? "!" : "");
}

static int fake_open(struct probe **probe, const struct probe_config *config, const char *name)
{
    *probe = calloc(1, sizeof **probe);
    (*probe)->name = name;
    fake_targets = config->targets;
    fake_note(name, "open");
    return 0;
}

static int fake_start(struct probe *probe, struct err *error)
{
    fake_note(probe->name, "start");
    return fake_start_fails ? err_set(error, ERR_SYSTEM, "fake", "does not start") : 0;
}

static int fake_begin(struct probe *probe, struct err *error)
{
    (void)error;
    probe->stretches++;
    fake_note(probe->name, "begin");
    return 0;
}

static int fake_end(struct probe *probe, struct err *error)
{
    (void)error;
    fake_note(probe->name, "end");
    return 0;
}

static int fake_stop(struct probe *probe, struct err *error)
{
    (void)error;
    fake_note(probe->name, "stop");
    return 0;
}

static int fake_read(struct probe *probe, const struct probe_scope *scope, struct record_run *run,
                     struct err *error)
{
    static const struct metric stretches = {
        .key = "stretches", .unit = "1", .title = "stretches", .kind = METRIC_VALUE};
    (void)error;
    (void)scope;
    struct record_probe *entry = record_add_probe(run, probe->name);
    const struct record_scope machine = {.what = "all"};
    struct record_value *value =
        record_row_add_value(record_add_probe_row(entry, &machine), &stretches);
    value->available = true;
    value->value = (double)probe->stretches;
    entry->available = true;
    return 0;
}

static void fake_close(struct probe *probe)
{
    if (probe != NULL) {
        fake_note(probe->name, "close");
        free(probe);
    }
}

static int fake_serves(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    (void)reason;
    (void)reason_size;
    (void)fix;
    (void)fix_size;
    return 0;
}

static int fake_is_absent(char *reason, size_t reason_size, char *fix, size_t fix_size)
{
    snprintf(reason, reason_size, "no such hardware");
    snprintf(fix, fix_size, "buy it");
    return -1;
}

static int fake_does_not_open(struct probe **probe, const struct probe_config *config,
                              struct err *error)
{
    (void)config;
    *probe = NULL;
    return err_set(error, ERR_UNSUPPORTED, "observe", "it is broken");
}

#define FAKE_OPEN(which)                                                                           \
    static int fake_open_##which(struct probe **probe, const struct probe_config *config,          \
                                 struct err *error)                                                \
    {                                                                                              \
        (void)error;                                                                               \
        return fake_open(probe, config, #which);                                                   \
    }
FAKE_OPEN(first)
FAKE_OPEN(second)
FAKE_OPEN(third)

#define FAKE(which, ask, opens)                                                                    \
    static const struct probe_ops fake_##which = {.name = #which,                                  \
                                                  .help = "notes what is done to it",              \
                                                  .why_not = (ask),                                \
                                                  .open = (opens),                                 \
                                                  .start = fake_start,                             \
                                                  .begin = fake_begin,                             \
                                                  .end = fake_end,                                 \
                                                  .stop = fake_stop,                               \
                                                  .read = fake_read,                               \
                                                  .close = fake_close};
FAKE(first, fake_serves, fake_open_first)
FAKE(second, fake_serves, fake_open_second)
FAKE(third, fake_serves, fake_open_third)
FAKE(absent, fake_is_absent, fake_open_third)
FAKE(broken, fake_serves, fake_does_not_open)

static const struct probe_ops *const fakes[] = {&fake_first,  &fake_second, &fake_third,
                                                &fake_absent, &fake_broken, NULL};

static void fake_reset(void)
{
    fake_log[0] = '\0';
    fake_start_fails = false;
    fake_targets = NULL;
}

#endif
