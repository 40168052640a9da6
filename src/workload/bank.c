#include "workload/bank.h"

#include <stdio.h>
#include <string.h>

const char *bank_phase_name(enum bank_phase phase)
{
    static const char *const names[PHASE_KINDS] = {
#define X(name, text) text,
        BANK_PHASES(X)
#undef X
    };
    return names[phase];
}

static void add_error(struct bank *bank, uint32_t phase, int number, const char *name,
                      uint64_t count)
{
    for (size_t i = 0; i < BANK_ERRORS; i++) {
        struct bank_error *row = &bank->errors[i];
        if (row->count == 0) {
            row->phase = phase;
            row->number = number;
            snprintf(row->name, sizeof row->name, "%s", name ? name : "");
        } else if (row->phase != phase || row->number != number ||
                   strncmp(row->name, name ? name : "", sizeof row->name - 1) != 0) {
            continue;
        }
        row->count += count;
        return;
    }
    bank->errors_beyond += count;
}

void bank_error(struct bank *bank, enum bank_phase phase, int number, const char *name)
{
    const char *failure = number ? engine_failure_name(number) : NULL;
    add_error(bank, phase, failure ? 0 : number, failure ? failure : name, 1);
}

static void add_calls(struct call_table *to, const struct call_table *from)
{
    for (size_t i = 0; i < CALL_KINDS; i++) {
        to->of[i].calls += from->of[i].calls;
        to->of[i].again += from->of[i].again;
        if (from->of[i].errors) {
            bool differ = to->of[i].errors && to->of[i].error != from->of[i].error;
            to->of[i].error = differ ? CALL_ERRORS_DIFFER : from->of[i].error;
        }
        to->of[i].errors += from->of[i].errors;
        to->of[i].bytes += from->of[i].bytes;
    }
    to->uring_submitted += from->uring_submitted;
    to->uring_completed += from->uring_completed;
    to->zerocopy_sends += from->zerocopy_sends;
    to->zerocopy_reported += from->zerocopy_reported;
    to->zerocopy_copied += from->zerocopy_copied;
}

void bank_add_errors(struct bank *to, const struct bank *from)
{
    for (size_t i = 0; i < BANK_ERRORS && from->errors[i].count; i++) {
        const struct bank_error *row = &from->errors[i];
        add_error(to, row->phase, row->number, row->name, row->count);
    }
    to->errors_beyond += from->errors_beyond;
}

uint64_t bank_errors(const struct bank *bank)
{
    uint64_t sum = bank->errors_beyond;
    for (size_t i = 0; i < BANK_ERRORS; i++) {
        sum += bank->errors[i].count;
    }
    return sum;
}

void bank_silence_add(struct bank_silence *to, const struct bank_silence *from)
{
    to->all_lost += from->all_lost;
    to->all_answered += from->all_answered;
    if (from->answered_ns == 0) {
        to->lost += from->lost;
        to->refused += from->refused;
    } else if (from->answered_ns >= to->answered_ns) {
        to->answered_ns = from->answered_ns;
        to->lost = from->lost;
        to->refused = from->refused;
    }
}

void bank_add(struct bank *to, const struct bank *from)
{
    if (to->start_ns == 0 || (from->start_ns && from->start_ns < to->start_ns)) {
        to->start_ns = from->start_ns;
    }
    if (from->end_ns > to->end_ns) {
        to->end_ns = from->end_ns;
    }
    to->cpu_user_ns += from->cpu_user_ns;
    to->cpu_system_ns += from->cpu_system_ns;
    to->runnable_ns += from->runnable_ns;
    to->switches_voluntary += from->switches_voluntary;
    to->switches_involuntary += from->switches_involuntary;
    for (size_t i = 0; i < BANK_COUNTERS; i++) {
        to->counters[i] += from->counters[i];
    }
    add_calls(&to->calls, &from->calls);
    bank_silence_add(&to->silence, &from->silence);
    to->opened_ns = from->opened_ns > to->opened_ns ? from->opened_ns : to->opened_ns;
    bank_add_errors(to, from);
    for (size_t i = 0; i < BANK_HISTOGRAMS; i++) {
        histogram_add(&to->histograms[i], &from->histograms[i]);
    }
}

void bank_clear(struct bank *bank)
{
    memset(bank, 0, offsetof(struct bank, histograms));
    for (size_t i = 0; i < BANK_HISTOGRAMS; i++) {
        histogram_clear(&bank->histograms[i]);
    }
    uint32_t used = bank->flow_count < BANK_FLOWS ? bank->flow_count : BANK_FLOWS;
    memset(bank->flows, 0, used * sizeof *bank->flows); /* the rest was never touched */
    bank->flow_count = 0;
}
