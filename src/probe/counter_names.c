#include "probe/counter_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/opt.h"

#if SONDE_HAVE_PFM
#include <perfmon/pfmlib.h>
#include <perfmon/pfmlib_perf_event.h>
#endif

/* ---- events ---- */

struct named_event {
    const char *name;
    uint32_t type;
    uint64_t config;
};

/* PERF_TYPE_HW_CACHE: include/uapi/linux/perf_event.h, enum perf_hw_cache_id and after. */
#define CACHE(cache, operation, result)                                                            \
    PERF_TYPE_HW_CACHE, (PERF_COUNT_HW_CACHE_##cache | PERF_COUNT_HW_CACHE_OP_##operation << 8 |   \
                         PERF_COUNT_HW_CACHE_RESULT_##result << 16)
#define HARDWARE(event) PERF_TYPE_HARDWARE, PERF_COUNT_HW_##event
#define SOFTWARE(event) PERF_TYPE_SOFTWARE, PERF_COUNT_SW_##event

/* The names are those of perf. */
static const struct named_event named_events[] = {
    {"task-clock", SOFTWARE(TASK_CLOCK)},
    {"cpu-clock", SOFTWARE(CPU_CLOCK)},
    {"context-switches", SOFTWARE(CONTEXT_SWITCHES)},
    {"cs", SOFTWARE(CONTEXT_SWITCHES)},
    {"cpu-migrations", SOFTWARE(CPU_MIGRATIONS)},
    {"migrations", SOFTWARE(CPU_MIGRATIONS)},
    {"page-faults", SOFTWARE(PAGE_FAULTS)},
    {"faults", SOFTWARE(PAGE_FAULTS)},
    {"minor-faults", SOFTWARE(PAGE_FAULTS_MIN)},
    {"major-faults", SOFTWARE(PAGE_FAULTS_MAJ)},
    {"alignment-faults", SOFTWARE(ALIGNMENT_FAULTS)},
    {"emulation-faults", SOFTWARE(EMULATION_FAULTS)},
    {"cycles", HARDWARE(CPU_CYCLES)},
    {"cpu-cycles", HARDWARE(CPU_CYCLES)},
    {"ref-cycles", HARDWARE(REF_CPU_CYCLES)},
    {"bus-cycles", HARDWARE(BUS_CYCLES)},
    {"instructions", HARDWARE(INSTRUCTIONS)},
    {"branches", HARDWARE(BRANCH_INSTRUCTIONS)},
    {"branch-instructions", HARDWARE(BRANCH_INSTRUCTIONS)},
    {"branch-misses", HARDWARE(BRANCH_MISSES)},
    {"cache-references", HARDWARE(CACHE_REFERENCES)},
    {"cache-misses", HARDWARE(CACHE_MISSES)},
    {"stalled-cycles-frontend", HARDWARE(STALLED_CYCLES_FRONTEND)},
    {"stalled-cycles-backend", HARDWARE(STALLED_CYCLES_BACKEND)},
    {"L1-dcache-loads", CACHE(L1D, READ, ACCESS)},
    {"L1-dcache-load-misses", CACHE(L1D, READ, MISS)},
    {"L1-dcache-stores", CACHE(L1D, WRITE, ACCESS)},
    {"L1-dcache-store-misses", CACHE(L1D, WRITE, MISS)},
    {"L1-icache-loads", CACHE(L1I, READ, ACCESS)},
    {"L1-icache-load-misses", CACHE(L1I, READ, MISS)},
    {"LLC-loads", CACHE(LL, READ, ACCESS)},
    {"LLC-load-misses", CACHE(LL, READ, MISS)},
    {"LLC-stores", CACHE(LL, WRITE, ACCESS)},
    {"LLC-store-misses", CACHE(LL, WRITE, MISS)},
    {"dTLB-loads", CACHE(DTLB, READ, ACCESS)},
    {"dTLB-load-misses", CACHE(DTLB, READ, MISS)},
    {"dTLB-stores", CACHE(DTLB, WRITE, ACCESS)},
    {"dTLB-store-misses", CACHE(DTLB, WRITE, MISS)},
    {"iTLB-loads", CACHE(ITLB, READ, ACCESS)},
    {"iTLB-load-misses", CACHE(ITLB, READ, MISS)},
    {"node-loads", CACHE(NODE, READ, ACCESS)},
    {"node-load-misses", CACHE(NODE, READ, MISS)},
    {"node-stores", CACHE(NODE, WRITE, ACCESS)},
    {"node-store-misses", CACHE(NODE, WRITE, MISS)},
};

enum { NAMED_EVENTS = sizeof named_events / sizeof named_events[0] };

const char *const counter_default_names[] = {"task-clock",  "context-switches", "cpu-migrations",
                                             "page-faults", "cycles",           "instructions",
                                             NULL};

/* ---- sets ---- */

#define ANYWHERE COUNTER_CPU_OTHER
#define INTEL COUNTER_CPU_INTEL
#define ZEN COUNTER_CPU_ZEN
#define ARM COUNTER_CPU_ARM

/* Raw numbers: ARM's are those of the architecture (PMUv3 common events, Arm ARM D13.12); Zen's
 * stand in the Processor Programming Reference of each family from 17h on: PMCx064 requests to L2
 * by result, PMCx029 dispatched loads and stores (an operation that does both is in both), PMCx043
 * demand fills by source. Intel's differ from model to model: libpfm4 knows them by name. */
static const struct counter_set_row set_rows[] = {
    {.set = {"l1d", {"l1d accesses", "l1d refills", "instructions", "cycles"}},
     .choices = {{"l1d accesses",
                  {{"L1-dcache-loads", ANYWHERE, 0}, {"L1D_CACHE", ARM, 0x04}},
                  "no event known for this CPU"},
                 {"l1d refills",
                  {{"L1-dcache-load-misses", ANYWHERE, 0}, {"L1D_CACHE_REFILL", ARM, 0x03}},
                  "no event known for this CPU"}},
     .ratios = {{"l1d refills per access", 1, 0}}},
    {.set = {"l1i", {"l1i accesses", "l1i refills", "instructions", "cycles"}},
     .choices = {{"l1i accesses",
                  {{"L1-icache-loads", ANYWHERE, 0}, {"L1I_CACHE", ARM, 0x14}},
                  "no event known for this CPU"},
                 {"l1i refills",
                  {{"L1-icache-load-misses", ANYWHERE, 0}, {"L1I_CACHE_REFILL", ARM, 0x01}},
                  "no event known for this CPU"}},
     .ratios = {{"l1i refills per access", 1, 0}}},
    {.set = {"l2", {"l2 accesses", "l2 refills", "instructions", "cycles"}},
     .choices = {{"l2 accesses",
                  {{"L2_RQSTS:REFERENCES", INTEL, 0},
                   {"l2_cache_req_stat, all", ZEN, 0xff64},
                   {"L2D_CACHE", ARM, 0x16}},
                  "no event known for this CPU"},
                 {"l2 refills",
                  {{"L2_RQSTS:MISS", INTEL, 0},
                   {"l2_cache_req_stat, misses", ZEN, 0x0964},
                   {"L2D_CACHE_REFILL", ARM, 0x17}},
                  "no event known for this CPU"}},
     .ratios = {{"l2 refills per access", 1, 0}}},
    {.set = {"mem", {"memory reads", "memory writes", "instructions", "cycles"}},
     .choices = {{"memory reads",
                  {{"MEM_INST_RETIRED:ALL_LOADS", INTEL, 0},
                   {"MEM_UOPS_RETIRED:ALL_LOADS", INTEL, 0},
                   {"ls_dispatch, loads", ZEN, 0x0529},
                   {"MEM_ACCESS_RD", ARM, 0x66}},
                  "no event known for this CPU"},
                 {"memory writes",
                  {{"MEM_INST_RETIRED:ALL_STORES", INTEL, 0},
                   {"MEM_UOPS_RETIRED:ALL_STORES", INTEL, 0},
                   {"ls_dispatch, stores", ZEN, 0x0629},
                   {"MEM_ACCESS_WR", ARM, 0x67}},
                  "no event known for this CPU"}},
     .ratios = {{"memory reads per instruction", 0, 2}, {"memory writes per instruction", 1, 2}}},
    {.set = {"tlb", {"itlb refills", "dtlb refills", "instructions", "cycles"}},
     .choices = {{"itlb refills",
                  {{"iTLB-load-misses", ANYWHERE, 0}, {"L1I_TLB_REFILL", ARM, 0x02}},
                  "no event known for this CPU"},
                 {"dtlb refills",
                  {{"dTLB-load-misses", ANYWHERE, 0}, {"L1D_TLB_REFILL", ARM, 0x05}},
                  "no event known for this CPU"}},
     .ratios = {{"itlb refills per instruction", 0, 2}, {"dtlb refills per instruction", 1, 2}}},
    /* The bus between ARM cores and memory. The nearest elsewhere: what the last cache did not
     * have and so came from memory. */
    {.set = {"axi", {"bus reads", "bus writes", "instructions", "cycles"}},
     .choices = {{"bus reads",
                  {{"BUS_ACCESS_RD", ARM, 0x60},
                   {"ls_dmnd_fills_from_sys, dram", ZEN, 0x4843},
                   {"LLC-load-misses", INTEL, 0}},
                  "the AXI bus is ARM's; nothing near it is known for this CPU"},
                 {"bus writes",
                  {{"BUS_ACCESS_WR", ARM, 0x61}, {"LLC-store-misses", INTEL, 0}},
                  "the AXI bus is ARM's; this CPU's cores do not count writes to memory"}},
     .ratios = {{"bus reads per instruction", 0, 2}, {"bus writes per instruction", 1, 2}}},
};

enum { SET_ROWS = sizeof set_rows / sizeof set_rows[0] };

const struct counter_set_row *counter_set_row(const char *name)
{
    for (size_t i = 0; i < SET_ROWS; i++) {
        if (strcmp(set_rows[i].set.name, name) == 0) {
            return &set_rows[i];
        }
    }
    return NULL;
}

const struct counter_set *counter_set_find(const char *name)
{
    const struct counter_set_row *row = counter_set_row(name);
    return row != NULL ? &row->set : NULL;
}

/* ---- names ---- */

int counter_name_find(const char *name, struct perf_event_attr *attr)
{
    for (size_t i = 0; i < NAMED_EVENTS; i++) {
        if (strcmp(named_events[i].name, name) == 0) {
            attr->type = named_events[i].type;
            attr->config = named_events[i].config;
            return 0;
        }
    }
    return -1;
}

#if SONDE_HAVE_PFM

/* Into the same fields as our own table, and the levels that the name asks for ("cycles:u"). */
static int encode(const char *name, struct perf_event_attr *attr)
{
    struct perf_event_attr encoded = {.size = sizeof encoded};
    pfm_perf_encode_arg_t argument = {.size = sizeof argument, .attr = &encoded};
    int status = pfm_initialize();
    if (status == PFM_SUCCESS) {
        status =
            pfm_get_os_event_encoding(name, PFM_PLM0 | PFM_PLM3, PFM_OS_PERF_EVENT_EXT, &argument);
    }
    if (status == PFM_SUCCESS) {
        attr->type = encoded.type;
        attr->config = encoded.config;
        attr->config1 = encoded.config1;
        attr->config2 = encoded.config2;
        attr->exclude_user = encoded.exclude_user;
        attr->exclude_kernel = encoded.exclude_kernel;
    }
    return status;
}

static const char *encode_failure(int status)
{
    return status == PFM_ERR_NOTFOUND ? "neither sonde nor libpfm4 knows it on this CPU"
                                      : pfm_strerror(status);
}

#else

static int encode(const char *name, struct perf_event_attr *attr)
{
    (void)name;
    (void)attr;
    return -1;
}

static const char *encode_failure(int status)
{
    (void)status;
    return "sonde is built without libpfm4, which knows the CPU's own";
}

#endif

int counter_name_pfm(const char *name, struct perf_event_attr *attr, struct err *error)
{
    const char *names[NAMED_EVENTS + SET_ROWS + 1];
    size_t count = 0;
    int status = encode(name, attr);
    if (status == 0) {
        return 0;
    }
    for (size_t i = 0; i < SET_ROWS; i++) {
        names[count++] = set_rows[i].set.name;
    }
    for (size_t i = 0; i < NAMED_EVENTS; i++) {
        names[count++] = named_events[i].name;
    }
    names[count++] = "default";
    const char *nearest = opt_nearest(name, names, count);
    err_set(error, ERR_USAGE, "--counters", "there is no counter \"%.40s\" (%s)", name,
            encode_failure(status));
    return nearest != NULL
               ? err_hint(error, "did you mean %s?", nearest)
               : err_hint(error, "sets are l1d, l1i, l2, mem, tlb, axi; events are named as in "
                                 "`perf list`: cycles, page-faults, LLC-loads");
}

int counter_candidate_attr(const struct counter_candidate *candidate, struct perf_event_attr *attr)
{
    if (candidate->raw != 0) {
        attr->type = PERF_TYPE_RAW;
        attr->config = candidate->raw;
        return 0;
    }
    return counter_name_find(candidate->name, attr) == 0 ? 0 : encode(candidate->name, attr);
}
