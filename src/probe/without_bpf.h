/* What a BPF probe is where sonde was built without BPF. targets_why_not has said so before: none
 * of it is reached. Included by each such probe in place of its own functions. */
#ifndef SONDE_PROBE_WITHOUT_BPF_H
#define SONDE_PROBE_WITHOUT_BPF_H

#include "probe/probe.h"

#define WITHOUT_BPF __attribute__((unused)) static

WITHOUT_BPF int open_probe(struct probe **probe, const struct probe_config *config,
                           struct err *error)
{
    (void)config;
    *probe = NULL;
    return err_set(error, ERR_UNSUPPORTED, "observe", "built without BPF");
}

WITHOUT_BPF int start(struct probe *probe, struct err *error)
{
    (void)probe;
    return err_set(error, ERR_UNSUPPORTED, "observe", "built without BPF");
}

WITHOUT_BPF int stop(struct probe *probe, struct err *error)
{
    (void)probe;
    (void)error;
    return 0;
}

WITHOUT_BPF int read_nothing(struct probe *probe, const struct probe_scope *scope,
                             struct record_run *run, struct err *error)
{
    (void)scope;
    (void)run;
    return start(probe, error);
}

WITHOUT_BPF void close_probe(struct probe *probe)
{
    (void)probe;
}

#endif
