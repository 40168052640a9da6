/* Bytes of any content on a control channel: as a server reads them, up to the plan of a run, and
 * as a client reads a server's record. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/control.h"
#include "report/record_read.h"
#include "run/control_plan.h"
#include "run/control_totals.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void plan(const struct control_message *message)
{
    struct control_plan plan;
    _Atomic uint64_t reserved_bytes = 0;
    struct err error = {0};
    if (control_plan_read(&plan, message, &reserved_bytes, &error) < 0) {
        require(error.code != ERR_NONE && error.what[0]);
    } else {
        require(plan.workload && plan.engine && plan.options);
    }
    control_plan_release(&plan);
    require(reserved_bytes == 0);
}

static void take_record(const json_t *json)
{
    struct record record = {0};
    struct err error = {0};
    struct record_run *run = record_add_run(&record, "fuzz");
    if (run && record_run_read(run, json, "peer", &error) == 0) {
        json_t *again = record_run_json(run, &error); /* what was taken can be printed */
        json_decref(again);
    } else {
        require(error.code != ERR_NONE && error.what[0]);
    }
    record_release(&record);
}

static void take_totals(const json_t *json)
{
    struct tally plain = {0}, seen = {0};
    uint64_t whole[BANK_COUNTERS] = {0};
    struct session_totals totals = {.plain = &plain, .seen = &seen, .whole = whole};
    struct err error = {0};
    if (tally_init(&plain, 0, 8, &error) == 0 && tally_init(&seen, 0, 8, &error) == 0 &&
        control_totals_read(json, "peer", &totals, &error) < 0) {
        require(error.code == ERR_PROTOCOL);
    }
    tally_release(&plain);
    tally_release(&seen);
}

/* What was read can be written, and is then read as the same. */
static void write_back(const struct control_message *message)
{
    struct control_message again;
    struct err error = {0};
    const char *text;
    size_t length, text_length;
    uint8_t *bytes = control_write(message, &length, &error);
    if (!bytes) {
        return; /* escapes may make it longer than may be */
    }
    require(control_frame(bytes, length, &text, &text_length, &error) == 1);
    require(control_read(text, text_length, &again, &error) == 0);
    require(again.kind == message->kind && json_equal(again.json, message->json));
    control_release(&again);
    free(bytes);
}

static void take_message(const char *text, size_t length)
{
    struct control_message message;
    struct err error = {0};
    if (control_read(text, length, &message, &error) < 0) {
        require(error.code != ERR_NONE && error.what[0] && !message.json);
        return;
    }
    write_back(&message);
    if (message.kind == CONTROL_PREPARE) {
        plan(&message);
    } else if (message.kind == CONTROL_RECORD) {
        take_record(message.run);
        take_totals(message.totals);
    }
    control_release(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text;
    size_t length, at = 0;
    struct err error = {0};
    while (control_frame(data + at, size - at, &text, &length, &error) > 0) {
        take_message(text, length);
        at += CONTROL_HEADER_BYTES + length;
    }
    take_message((const char *)data, size); /* or it would only ever guess lengths */
    return 0;
}
