#include "probe/profile_fold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "profile", "no memory for the samples");
}

/* ---- finding ---- */

struct fold_index {
    size_t *places; /* index + 1; 0: free */
    uint64_t *hashes;
    size_t size, used; /* size: a power of two */
};

static uint64_t hash_bytes(uint64_t hash, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    }
    return hash;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

static uint64_t hash_group(uint32_t group)
{
    return hash_bytes(UINT64_C(0xcbf29ce484222325), (const char *)&group, sizeof group);
}

static void release_index(struct fold_index *index)
{
    if (index != NULL) {
        free(index->places);
        free(index->hashes);
        free(index);
    }
}

static void place(struct fold_index *index, uint64_t hash, size_t value)
{
    size_t at = (size_t)hash & (index->size - 1);
    while (index->places[at] != 0) {
        at = (at + 1) & (index->size - 1);
    }
    index->places[at] = value;
    index->hashes[at] = hash;
}

/* Room for one more, half of it at least free. */
static int grow_index(struct fold_index **index, struct err *error)
{
    struct fold_index *old = *index;
    if (old != NULL && 2 * (old->used + 1) <= old->size) {
        return 0;
    }
    struct fold_index *larger = calloc(1, sizeof *larger);
    if (larger != NULL) {
        larger->size = old != NULL ? 2 * old->size : 1024;
        larger->places = calloc(larger->size, sizeof *larger->places);
        larger->hashes = calloc(larger->size, sizeof *larger->hashes);
    }
    if (larger == NULL || larger->places == NULL || larger->hashes == NULL) {
        release_index(larger);
        return no_memory(error);
    }
    for (size_t i = 0; old != NULL && i < old->size; i++) {
        if (old->places[i] != 0) {
            place(larger, old->hashes[i], old->places[i]);
        }
    }
    larger->used = old != NULL ? old->used : 0;
    release_index(old);
    *index = larger;
    return 0;
}

/* ---- rows ---- */

static bool is_row(const struct fold_row *row, uint32_t group, const struct fold_frame *frame)
{
    return row->group == group && strcmp(row->symbol, frame->symbol) == 0 &&
           strcmp(row->object, frame->object) == 0;
}

static struct fold_row *take_row(struct profile_fold *fold, uint32_t group,
                                 const struct fold_frame *frame, struct err *error)
{
    uint64_t hash = hash_text(hash_text(hash_group(group), frame->object), frame->symbol);
    if (grow_index(&fold->row_index, error) != 0) {
        return NULL;
    }
    struct fold_index *index = fold->row_index;
    for (size_t at = (size_t)hash & (index->size - 1); index->places[at] != 0;
         at = (at + 1) & (index->size - 1)) {
        struct fold_row *row = &fold->rows[index->places[at] - 1];
        if (index->hashes[at] == hash && is_row(row, group, frame)) {
            return row;
        }
    }
    if (fold->row_count == fold->row_capacity) {
        size_t capacity = 2 * fold->row_capacity + 256;
        struct fold_row *larger = reallocarray(fold->rows, capacity, sizeof *larger);
        if (larger == NULL) {
            no_memory(error);
            return NULL;
        }
        fold->rows = larger;
        fold->row_capacity = capacity;
    }
    struct fold_row *row = &fold->rows[fold->row_count];
    *row = (struct fold_row){
        .group = group, .object = strdup(frame->object), .symbol = strdup(frame->symbol)};
    if (row->object == NULL || row->symbol == NULL) {
        free(row->object);
        free(row->symbol);
        no_memory(error);
        return NULL;
    }
    fold->row_count++;
    index->used++;
    place(index, hash, fold->row_count);
    return row;
}

/* ---- stacks ---- */

/* Appends a name: what separates frames and ends a line may not stand in it. */
static int append(struct profile_fold *fold, size_t *used, const char *text, const char *after,
                  struct err *error)
{
    size_t bytes = strlen(text), more = strlen(after);
    if (fold->text_capacity - *used < bytes + more + 2) {
        size_t capacity = 2 * fold->text_capacity + bytes + more + 1024;
        char *larger = realloc(fold->text, capacity);
        if (larger == NULL) {
            return no_memory(error);
        }
        fold->text = larger;
        fold->text_capacity = capacity;
    }
    char *to = fold->text + *used;
    if (*used > 0) {
        *to++ = ';';
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char letter = (unsigned char)text[i];
        *to++ = letter == ';' ? ':' : letter < 0x20 || letter == 0x7f ? '?' : text[i];
    }
    memcpy(to, after, more + 1);
    *used = (size_t)(to - fold->text) + more;
    return 0;
}

static int write_stack(struct profile_fold *fold, const char *root, const struct fold_frame *frames,
                       size_t frame_count, struct err *error)
{
    size_t used = 0;
    if (append(fold, &used, root[0] != '\0' ? root : "?", "", error) != 0) {
        return -1;
    }
    for (size_t i = frame_count; i-- > 0;) {
        char named[256];
        const char *name = frames[i].symbol;
        if (name[0] == '+') { /* an address in the object */
            const char *slash = strrchr(frames[i].object, '/');
            snprintf(named, sizeof named, "%.200s%.50s",
                     slash != NULL ? slash + 1 : frames[i].object, name);
            name = named;
        }
        if (append(fold, &used, name, frames[i].kernel ? "_[k]" : "", error) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Counts the stack that stands in fold->text. */
static int count_stack(struct profile_fold *fold, uint32_t group, uint64_t samples,
                       struct err *error)
{
    uint64_t hash = hash_text(hash_group(group), fold->text);
    if (grow_index(&fold->stack_index, error) != 0) {
        return -1;
    }
    struct fold_index *index = fold->stack_index;
    for (size_t at = (size_t)hash & (index->size - 1); index->places[at] != 0;
         at = (at + 1) & (index->size - 1)) {
        struct fold_stack *stack = &fold->stacks[index->places[at] - 1];
        if (index->hashes[at] == hash && stack->group == group &&
            strcmp(stack->text, fold->text) == 0) {
            stack->samples += samples;
            return 0;
        }
    }
    if (fold->stack_count == fold->stack_capacity) {
        size_t capacity = 2 * fold->stack_capacity + 256;
        struct fold_stack *larger = reallocarray(fold->stacks, capacity, sizeof *larger);
        if (larger == NULL) {
            return no_memory(error);
        }
        fold->stacks = larger;
        fold->stack_capacity = capacity;
    }
    char *text = strdup(fold->text);
    if (text == NULL) {
        return no_memory(error);
    }
    fold->stacks[fold->stack_count++] =
        (struct fold_stack){.group = group, .text = text, .samples = samples};
    index->used++;
    place(index, hash, fold->stack_count);
    return 0;
}

int profile_fold_add(struct profile_fold *fold, uint32_t group, const char *root,
                     const struct fold_frame *frames, size_t frame_count, uint64_t samples,
                     struct err *error)
{
    fold->stacks_added++;
    for (size_t i = 0; i < frame_count; i++) {
        struct fold_row *row = take_row(fold, group, &frames[i], error);
        if (row == NULL) {
            return -1;
        }
        row->self += i == 0 ? samples : 0;
        if (row->seen != fold->stacks_added) { /* a recursive function counts once */
            row->seen = fold->stacks_added;
            row->total += samples;
        }
    }
    if (write_stack(fold, root, frames, frame_count, error) != 0 ||
        count_stack(fold, group, samples, error) != 0) {
        return -1;
    }
    fold->samples += samples;
    return 0;
}

/* ---- the end ---- */

static int by_self(const void *left, const void *right)
{
    const struct fold_row *a = left, *b = right;
    if (a->self != b->self) {
        return a->self > b->self ? -1 : 1;
    }
    if (a->total != b->total) {
        return a->total > b->total ? -1 : 1;
    }
    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    int order = strcmp(a->object, b->object);
    return order != 0 ? order : strcmp(a->symbol, b->symbol);
}

static int by_samples(const void *left, const void *right)
{
    const struct fold_stack *a = left, *b = right;
    if (a->samples != b->samples) {
        return a->samples > b->samples ? -1 : 1;
    }
    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    return strcmp(a->text, b->text);
}

void profile_fold_sort(struct profile_fold *fold)
{
    if (fold->row_count > 0) {
        qsort(fold->rows, fold->row_count, sizeof *fold->rows, by_self);
    }
    if (fold->stack_count > 0) {
        qsort(fold->stacks, fold->stack_count, sizeof *fold->stacks, by_samples);
    }
    /* Places have changed: nothing is added after this. */
    release_index(fold->row_index);
    release_index(fold->stack_index);
    fold->row_index = fold->stack_index = NULL;
}

void profile_fold_release(struct profile_fold *fold)
{
    for (size_t i = 0; i < fold->row_count; i++) {
        free(fold->rows[i].object);
        free(fold->rows[i].symbol);
    }
    for (size_t i = 0; i < fold->stack_count; i++) {
        free(fold->stacks[i].text);
    }
    release_index(fold->row_index);
    release_index(fold->stack_index);
    free(fold->rows);
    free(fold->stacks);
    free(fold->text);
    *fold = (struct profile_fold){0};
}
