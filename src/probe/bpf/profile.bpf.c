/* Samples stacks: runs at each overflow of a CPU's event (a clock, or cycles), counts which code an
 * observed process was in. */
#include "targets.bpf.h"

#include "profile_shared.h"

char license_name[] SEC("license") = "Dual MIT/GPL";

enum { MAP_TYPE_HASH = 1, MAP_TYPE_PERCPU_ARRAY = 6 }; /* linux/bpf.h */
enum { UPDATE_ANY = 0, UPDATE_NEW = 1 };
#define USER_STACK (1u << 8) /* BPF_F_USER_STACK */
#define EXISTS 17            /* EEXIST */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct profile_memory);
} memory SEC(".maps");

/* Where the stack of this sample is read to. */
struct {
    __uint(type, MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct profile_stack);
} present SEC(".maps");

/* Stacks by their hash. A map of kind STACK_TRACE would drop a stack whenever another one has
 * taken the same bucket, long before it is full. */
struct {
    __uint(type, MAP_TYPE_HASH);
    __uint(max_entries, PROFILE_STACKS);
    __type(key, __u64);
    __type(value, struct profile_stack);
} stacks SEC(".maps");

struct {
    __uint(type, MAP_TYPE_HASH);
    __uint(max_entries, PROFILE_COUNTS);
    __type(key, struct profile_key);
    __type(value, __u64);
} counts SEC(".maps");

/* ---- behind code without frame pointers ---- */

#define STACK_SPAN (8ull << 20) /* farther from the stack pointer is no frame */
#define MORE_FRAMES 48

struct frame {
    __u64 next, caller;
};

static __always_inline bool is_own_code(__u64 address, __u64 start, __u64 end)
{
    return address >= start && address < end;
}

/* Follows a frame pointer that was found on the stack: frames behind those that are there. */
static __always_inline void follow(struct profile_stack *stack, __u64 pointer, __u64 top)
{
    for (__u32 i = 0; i < MORE_FRAMES; i++) {
        struct frame frame;
        __u32 at = stack->count + i;
        if (at >= PROFILE_FRAMES || bpf_probe_read_user(&frame, sizeof frame, (void *)pointer) ||
            !frame.caller) {
            break;
        }
        stack->frames[at & PROFILE_FRAMES] = frame.caller; /* one less than a power of two */
        stack->more = i + 1;
        if (frame.next <= pointer || frame.next - top >= STACK_SPAN || frame.next & 7) {
            break;
        }
        pointer = frame.next;
    }
}

/* Keeps the words that may be a caller's address, and follows the first that may be its frame
 * pointer: both are only believed where unwind information says that they are. */
static __always_inline void keep_words(struct profile_stack *stack, struct task_struct *task)
{
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
    struct mm_struct *mm = task->mm;
    if (!regs || !mm) {
        return;
    }
    __u64 top = regs->sp, start = mm->start_code, end = mm->end_code;
    if (bpf_probe_read_user(stack->words, sizeof stack->words, (void *)top)) {
        __builtin_memset(stack->words, 0, sizeof stack->words);
        return;
    }
    for (__u32 i = 0; i < PROFILE_WORDS; i++) {
        __u64 word = stack->words[i];
        struct frame frame;
        if (stack->count <= PROFILE_FEW_FRAMES && !stack->saved && word > top &&
            word - top < STACK_SPAN && !(word & 7) &&
            !bpf_probe_read_user(&frame, sizeof frame, (void *)word) &&
            is_own_code(frame.caller, start, end)) {
            stack->saved = i + 1;
            follow(stack, word, top);
        }
        if (!is_own_code(word, start, end)) {
            stack->words[i] = 0;
        }
    }
}

/* ---- stacks ---- */

static __always_inline __u64 mix(__u64 hash, __u64 value)
{
    hash = (hash ^ value) * 0xff51afd7ed558ccdull;
    return hash ^ hash >> 32;
}

static __always_inline __u64 hash_of(const struct profile_stack *stack)
{
    __u64 hash = mix((__u64)stack->count << 32 | stack->more, stack->saved);
    for (__u32 i = 0; i < PROFILE_WORDS; i++) {
        hash = mix(hash, stack->words[i]);
    }
    for (__u32 i = 0; i < PROFILE_FRAMES; i++) {
        if (i >= stack->count + stack->more) {
            break;
        }
        hash = mix(hash, stack->frames[i]);
    }
    return hash < PROFILE_FIRST_HASH ? hash + PROFILE_FIRST_HASH : hash;
}

/* Keeps the stack of one side of this sample, and returns its hash. */
static __always_inline __u64 keep_stack(void *context, struct task_struct *task,
                                        struct profile_memory *counted, __u64 side)
{
    __u32 zero = 0;
    struct profile_stack *stack = bpf_map_lookup_elem(&present, &zero);
    if (!stack) {
        return PROFILE_LOST_STACK;
    }
    long bytes =
        bpf_get_stack(context, stack->frames, PROFILE_FRAMES * sizeof stack->frames[0], side);
    if (bytes == 0) {
        return PROFILE_NO_STACK;
    }
    if (bytes > 0) {
        stack->count = (__u32)bytes / sizeof stack->frames[0];
        stack->more = stack->saved = 0;
        if (side) {
            keep_words(stack, task);
        } else {
            __builtin_memset(stack->words, 0, sizeof stack->words);
        }
        __u64 hash = hash_of(stack);
        if (bpf_map_lookup_elem(&stacks, &hash)) {
            return hash;
        }
        long status = bpf_map_update_elem(&stacks, &hash, stack, UPDATE_NEW);
        if (status == 0 || status == -EXISTS) {
            return hash;
        }
    }
    __sync_fetch_and_add(&counted->lost_stacks, 1);
    return PROFILE_LOST_STACK;
}

static __always_inline void count_sample(struct profile_memory *counted,
                                         const struct profile_key *key)
{
    __u64 one = 1;
    __u64 *count = bpf_map_lookup_elem(&counts, key);
    if (!count) {
        if (bpf_map_update_elem(&counts, key, &one, UPDATE_NEW) == 0) {
            return;
        }
        count = bpf_map_lookup_elem(&counts, key); /* another CPU may have come first */
    }
    if (count) {
        __sync_fetch_and_add(count, 1);
    } else {
        __sync_fetch_and_add(&counted->lost, 1);
    }
}

SEC("perf_event")
int on_sample(void *context)
{
    __u32 zero = 0, slot;
    struct targets_state *state = targets_get();
    struct profile_memory *counted = bpf_map_lookup_elem(&memory, &zero);
    struct task_struct *task = bpf_get_current_task_btf();
    if (!state || !counted || !targets_gate_open(state)) {
        return 0;
    }
    __sync_fetch_and_add(&counted->ticks, 1);
    struct profile_key key = {.tgid = (__u32)task->tgid};
    if (!targets_counted(state, task) || !targets_find(state, key.tgid, &slot)) {
        return 0;
    }
    bpf_get_current_comm(key.name, sizeof key.name);
    __sync_fetch_and_add(&counted->samples, 1);
    key.kernel = keep_stack(context, task, counted, 0);
    key.user = keep_stack(context, task, counted, USER_STACK);
    count_sample(counted, &key);
    return 0;
}
