/* What a client asks a serving sonde to prepare: the message "prepare", checked by the same rows as
 * a command line. */
#ifndef SONDE_RUN_CONTROL_PLAN_H
#define SONDE_RUN_CONTROL_PLAN_H

#include <stdatomic.h>

#include "codec/control.h"
#include "run/options.h"
#include "run/run.h"
#include "workload/workload.h"

enum { CONTROL_PLAN_SETS = 5 };

struct control_plan {
    const struct workload *workload;
    const struct engine_ops *engine;
    const struct transport_ops *transport; /* of the data connections */
    void *options;                         /* the workload's; owned */
    struct wire_options wire;
    struct watch_options watch;
    bool observe;
    uint32_t connections, threads;
    uint64_t memory_bytes; /* that its server will keep; reserved */
    _Atomic uint64_t *reserved_bytes;
    struct opt_set sets[CONTROL_PLAN_SETS];
    size_t set_count;
};

/* From a message that outlives the plan (texts stay in it). *reserved_bytes: what all plans that
 * are not released take of LIMITS_SERVED_BYTES; it outlives them. -1 with *error, which says what
 * is not acceptable; the plan is to be released in any case. */
int control_plan_read(struct control_plan *plan, const struct control_message *message,
                      _Atomic uint64_t *reserved_bytes, struct err *error);
void control_plan_release(struct control_plan *plan); /* safe to call twice */

/* The message that asks for the server's side of a plan, with JSON values that
 * control_plan_message_release frees. */
int control_plan_message(const struct run_plan *plan, bool observe, struct control_message *message,
                         struct err *error);
void control_plan_message_release(struct control_message *message);

#endif
