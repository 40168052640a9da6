/* Names for the addresses of a sampled stack. */
#include <stdio.h>
#include <string.h>

#include "probe/profile_reading.h"

/* ---- whose ---- */

const struct slot *profile_slot_of(const struct targets *targets, pid_t pid)
{
    bool shared;
    uint32_t used = targets_slots_used(targets, &shared);
    for (uint32_t i = used; i-- > 0;) {
        if (targets->state->slots[i].tgid == (uint32_t)pid) {
            return &targets->state->slots[i];
        }
    }
    return NULL;
}

pid_t profile_parent_of(const struct targets *targets, const struct slot *slot)
{
    bool known = slot != NULL && slot->parent > 0 && slot->parent <= targets->slots;
    return known ? (pid_t)targets->state->slots[slot->parent - 1].tgid : 0;
}

/* ---- names ---- */

void profile_add_frame(struct profile_reading *reading, const char *object, const char *symbol,
                       bool kernel, bool named)
{
    size_t at = reading->frame_count++;
    reading->frames[at] = (struct fold_frame){.object = object, .symbol = symbol, .kernel = kernel};
    reading->named[at] = named;
}

static void add_address(struct profile_reading *reading, const char *object, uint64_t address,
                        bool kernel)
{
    char *text = reading->texts[reading->frame_count];
    snprintf(text, PROFILE_NAME_MOST, "+0x%lx", (unsigned long)address);
    profile_add_frame(reading, object, text, kernel, false);
}

static int read_kernel(struct profile_reading *reading, struct err *error)
{
    FILE *file = fopen("/proc/kallsyms", "re");
    int status = 0;
    reading->kernel_read = true;
    if (file != NULL) {
        status = kernel_symbols_read(&reading->kernel, file, error);
        fclose(file);
    }
    reading->kernel_hidden = reading->kernel.count == 0;
    return status;
}

/* Callers are at the instruction behind their call, which may be another function's already. */
static uint64_t called_from(uint64_t address, size_t level)
{
    return level > 0 && address > 0 ? address - 1 : address;
}

int profile_add_kernel_frames(struct profile_reading *reading, const struct profile_stack *stack,
                              struct err *error)
{
    if (!reading->kernel_read && read_kernel(reading, error) != 0) {
        return -1;
    }
    if (reading->kernel_hidden) {
        profile_add_frame(reading, "[kernel]", "[kernel]", true, false);
        return 0;
    }
    for (size_t i = 0; i < stack->count && i < PROFILE_FRAMES; i++) {
        uint64_t address = called_from(stack->frames[i], i);
        const struct symbol *symbol = symbol_table_find(&reading->kernel, address);
        if (symbol == NULL) {
            add_address(reading, "[kernel]", address, true);
            continue;
        }
        const char *module = symbol_table_owner(&reading->kernel, symbol);
        profile_add_frame(reading, module[0] != '\0' ? module : "[kernel]",
                          symbol_table_name(&reading->kernel, symbol), true, true);
    }
    return 0;
}

/* Where the address lies: in what the process maps itself, or since it was forked, in what its
 * parents do. */
static enum code_found find_code(const struct profile_reading *reading,
                                 const struct profile_process *process, uint64_t address,
                                 size_t *object, uint64_t *offset)
{
    struct code_maps *maps = &reading->probe->maps;
    pid_t pid = process->pid, parent = process->parent;
    enum code_found found = code_maps_find(maps, pid, address, object, offset);
    for (int i = 0; i < 64 && found == CODE_NONE && parent > 0; i++) {
        if (code_maps_is_whole(maps, pid)) {
            return CODE_NONE;
        }
        found = code_maps_find(maps, parent, address, object, offset);
        pid = parent;
        parent = profile_parent_of(reading->probe->targets,
                                   profile_slot_of(reading->probe->targets, parent));
    }
    return found;
}

static void add_user_frame(struct profile_reading *reading, const struct profile_process *process,
                           uint64_t address)
{
    uint64_t offset;
    size_t index;
    enum code_found found = find_code(reading, process, address, &index, &offset);
    if (found != CODE_FOUND) {
        profile_add_frame(reading, "[unknown]", found == CODE_SEVERAL ? "[ambiguous]" : "[unknown]",
                          false, false);
        return;
    }
    const struct code_object *object = &reading->probe->maps.objects[index];
    const char *name = reading->symbols == NULL
                           ? NULL
                           : symbols_find(reading->symbols, object, index, process->pid, offset);
    if (name != NULL) {
        profile_add_frame(reading, object->path, name, false, true);
    } else if (strncmp(object->path, "//", 2) == 0) {
        profile_add_frame(reading, "[anon]", "[unknown]", false, false);
    } else {
        add_address(reading, object->path, offset, false);
    }
}

/* Where the innermost function keeps no frame pointer of its own: its caller, which the kernel has
 * skipped (0: not known, it has not), and with which of the frames it goes on. */
static uint64_t find_caller(const struct profile_reading *reading,
                            const struct profile_process *process,
                            const struct profile_stack *stack, size_t *next, size_t *end)
{
    struct symbols_frame frame;
    uint64_t offset;
    size_t index;
    *next = 1;
    *end = stack->count;
    if (reading->symbols == NULL ||
        find_code(reading, process, stack->frames[0], &index, &offset) != CODE_FOUND ||
        !symbols_find_frame(reading->symbols, &reading->probe->maps.objects[index], index,
                            process->pid, offset, &frame) ||
        frame.caller >= PROFILE_WORDS || stack->words[frame.caller] == 0) {
        return 0;
    }
    if (frame.pushed && stack->count <= PROFILE_FEW_FRAMES) { /* by now it may hold anything */
        bool followed = stack->saved == frame.saved + 1;
        *next = stack->count;
        *end = stack->count + (followed ? stack->more : 0);
    }
    return stack->words[frame.caller];
}

void profile_add_user_frames(struct profile_reading *reading, const struct profile_process *process,
                             const struct profile_stack *stack)
{
    size_t next, end;
    if (stack->count == 0 || stack->count + stack->more > PROFILE_FRAMES) {
        return;
    }
    uint64_t caller = find_caller(reading, process, stack, &next, &end);
    add_user_frame(reading, process, stack->frames[0]);
    if (caller != 0) {
        add_user_frame(reading, process, called_from(caller, 1));
    }
    for (; next < end; next++) {
        add_user_frame(reading, process, called_from(stack->frames[next], 1));
    }
}

/* True where the outermost frame is one that a thread begins with. The C library's own part before
 * main has names in its debug file only; that a stack ends in the library is taken for that, unless
 * it is all there is. */
bool profile_reaches_start(const struct fold_frame *frames, size_t count)
{
    static const char *const starts[] = {"_start", "start_thread", "clone",
                                         "clone3", "__clone3",     "__clone"};
    const struct fold_frame *last = &frames[count - 1];
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        if (strcmp(last->symbol, starts[i]) == 0) {
            return true;
        }
    }
    const char *slash = strrchr(last->object, '/');
    const char *name = slash != NULL ? slash + 1 : last->object;
    return count > 1 && (strncmp(name, "libc.so", 7) == 0 || strncmp(name, "libc-", 5) == 0 ||
                         strncmp(name, "ld-", 3) == 0);
}
