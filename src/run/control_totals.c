#include "run/control_totals.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "run/sysfile.h"

/* As in the messages: far above what anybody measures, far below where sums overflow. */
#define MANY ((json_int_t)1 << 60)

/* What rows of a connection hold of TCP. */
static const struct {
    const char *name;
    size_t offset;
} figures[] = {
    {"at_ns", offsetof(struct tcp_figures, at_ns)},
    {"covered_ns", offsetof(struct tcp_figures, covered_ns)},
    {"retransmits", offsetof(struct tcp_figures, retransmits)},
    {"bytes_acked", offsetof(struct tcp_figures, bytes_acked)},
    {"busy_ns", offsetof(struct tcp_figures, busy_ns)},
    {"receive_window_ns", offsetof(struct tcp_figures, receive_window_ns)},
    {"send_buffer_ns", offsetof(struct tcp_figures, send_buffer_ns)},
    {"rtt_ns", offsetof(struct tcp_figures, rtt_ns)},
    {"rtt_least_ns", offsetof(struct tcp_figures, rtt_least_ns)},
    {"congestion_window_bytes", offsetof(struct tcp_figures, congestion_window_bytes)},
    {"delivery_bytes_per_second", offsetof(struct tcp_figures, delivery_bytes_per_second)},
};
enum { FIGURES = sizeof figures / sizeof *figures };

static void boot_id(char *id, size_t size)
{
    if (sysfile_line("/proc/sys/kernel/random/boot_id", id, size) < 0) {
        id[0] = '\0';
    }
}

/* ---- to JSON ---- */

static json_t *list_of(const uint64_t *counters, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++) {
        if (json_array_append_new(list, json_integer((json_int_t)counters[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *control_counters_json(const uint64_t *counters)
{
    return list_of(counters, BANK_COUNTERS);
}

static json_t *flow_json(const struct tally_flow *flow, uint32_t number)
{
    json_t *tcp = json_object();
    for (size_t i = 0; flow->tcp.at_ns && i < FIGURES; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&flow->tcp + figures[i].offset, sizeof value);
        json_object_set_new(tcp, figures[i].name,
                            json_integer(value < (uint64_t)MANY ? (json_int_t)value : MANY));
    }
    return json_pack("{s:I, s:o, s:o}", "number", (json_int_t)number, "counters",
                     list_of(flow->counters, FLOW_COUNTERS), "tcp", tcp);
}

static json_t *sum_json(const struct tally *tally)
{
    json_t *flows = json_array();
    for (uint32_t i = 0; i < tally->flow_count; i++) {
        if (tally->flows[i].seen &&
            json_array_append_new(flows, flow_json(&tally->flows[i], i)) < 0) {
            json_decref(flows);
            return NULL;
        }
    }
    return json_pack("{s:I, s:I, s:I, s:o, s:o}", "window_ns", (json_int_t)tally->window_ns,
                     "cpu_user_ns", (json_int_t)tally->bank->cpu_user_ns, "cpu_system_ns",
                     (json_int_t)tally->bank->cpu_system_ns, "counters",
                     control_counters_json(tally->bank->counters), "flows", flows);
}

json_t *control_totals_json(const struct session_totals *totals, struct err *error)
{
    char id[64];
    boot_id(id, sizeof id);
    json_t *json = json_pack("{s:s, s:I, s:o, s:o, s:o}", "boot_id", id, "pid",
                             (json_int_t)totals->pid, "plain", sum_json(totals->plain), "seen",
                             sum_json(totals->seen), "whole", control_counters_json(totals->whole));
    if (!json) {
        err_system(error, ENOMEM, "memory", "cannot say what was counted");
    }
    return json;
}

/* ---- back ---- */

static bool take_count(const json_t *value, uint64_t *to)
{
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > MANY) {
        return false;
    }
    *to = (uint64_t)number;
    return true;
}

static bool take_list(const json_t *list, uint64_t *counters, size_t count)
{
    bool good = json_is_array(list) && json_array_size(list) <= count;
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        good = take_count(json_array_get(list, i), &counters[i]);
    }
    return good;
}

void control_counters_read(const json_t *list, uint64_t *counters)
{
    memset(counters, 0, BANK_COUNTERS * sizeof *counters);
    take_list(list, counters, BANK_COUNTERS);
}

static bool take_flow(const json_t *json, struct tally *tally)
{
    struct tally_flow flow = {.seen = true};
    const json_t *tcp = json_object_get(json, "tcp");
    uint64_t number;
    if (!take_count(json_object_get(json, "number"), &number) ||
        !take_list(json_object_get(json, "counters"), flow.counters, FLOW_COUNTERS) ||
        !json_is_object(tcp)) {
        return false;
    }
    for (size_t i = 0; i < FIGURES; i++) {
        const json_t *figure = json_object_get(tcp, figures[i].name);
        uint64_t value = 0;
        if (figure && !take_count(figure, &value)) {
            return false;
        }
        memcpy((char *)&flow.tcp + figures[i].offset, &value, sizeof value);
    }
    if (number < tally->flow_count) {
        tally->flows[number] = flow;
    }
    return true;
}

static bool take_sum(const json_t *json, struct tally *tally)
{
    const json_t *flows = json_object_get(json, "flows");
    bool good =
        take_count(json_object_get(json, "window_ns"), &tally->window_ns) &&
        take_count(json_object_get(json, "cpu_user_ns"), &tally->bank->cpu_user_ns) &&
        take_count(json_object_get(json, "cpu_system_ns"), &tally->bank->cpu_system_ns) &&
        take_list(json_object_get(json, "counters"), tally->bank->counters, BANK_COUNTERS) &&
        json_is_array(flows) && json_array_size(flows) <= TALLY_FLOWS;
    for (size_t i = 0; good && i < json_array_size(flows); i++) {
        good = take_flow(json_array_get(flows, i), tally);
    }
    return good;
}

int control_totals_read(const json_t *json, const char *name, struct session_totals *totals,
                        struct err *error)
{
    const char *there = json_string_value(json_object_get(json, "boot_id"));
    char here[64];
    uint64_t pid = 0;
    boot_id(here, sizeof here);
    if (!there || !take_count(json_object_get(json, "pid"), &pid) || pid > INT32_MAX ||
        !take_sum(json_object_get(json, "plain"), totals->plain) ||
        !take_sum(json_object_get(json, "seen"), totals->seen) ||
        !take_list(json_object_get(json, "whole"), totals->whole, BANK_COUNTERS)) {
        return err_set(error, ERR_PROTOCOL, name, "what the server counted is not acceptable");
    }
    totals->pid = (pid_t)pid;
    totals->same_host = here[0] && strcmp(here, there) == 0;
    return 0;
}
