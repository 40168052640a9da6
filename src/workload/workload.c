#include "workload/workload.h"

const struct workload *const workloads[] = {&workload_call, &workload_stream, NULL};
