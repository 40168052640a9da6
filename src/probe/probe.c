#include "probe/probe.h"

const struct probe_ops *const probes[] = {&probe_syscalls, NULL};
