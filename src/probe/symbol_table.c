#include "probe/symbol_table.h"

#include <stdlib.h>
#include <string.h>

/* A function without a size that is longer is the end of a section, or no function. */
#define UNSIZED_MOST (1u << 20)

static int no_memory(struct err *error)
{
    return err_set(error, ERR_LIMIT, "profile", "no memory for the symbols");
}

/* Appends a text; its offset in *at. */
static int add_text(struct symbol_table *table, const char *text, size_t *at, struct err *error)
{
    size_t bytes = strlen(text) + 1;
    if (table->text_capacity - table->text_bytes < bytes) {
        size_t capacity = 2 * table->text_capacity + bytes + 4096;
        char *larger = realloc(table->texts, capacity);
        if (larger == NULL) {
            return no_memory(error);
        }
        table->texts = larger;
        table->text_capacity = capacity;
    }
    memcpy(table->texts + table->text_bytes, text, bytes);
    *at = table->text_bytes;
    table->text_bytes += bytes;
    return 0;
}

int symbol_table_add(struct symbol_table *table, const struct symbol *symbol, const char *name,
                     const char *owner, struct err *error)
{
    struct symbol added = *symbol;
    if (table->count == table->capacity) {
        size_t capacity = 2 * table->capacity + 256;
        struct symbol *larger = reallocarray(table->symbols, capacity, sizeof *larger);
        if (larger == NULL) {
            return no_memory(error);
        }
        table->symbols = larger;
        table->capacity = capacity;
    }
    /* Those of one owner come one after the other. */
    if (table->texts == NULL || strcmp(table->texts + table->last_owner, owner) != 0) {
        if (add_text(table, owner, &table->last_owner, error) != 0) {
            return -1;
        }
    }
    added.owner = table->last_owner;
    if (add_text(table, name, &added.name, error) != 0) {
        return -1;
    }
    table->symbols[table->count++] = added;
    return 0;
}

/* By start; of one start the best first: with a size, then by rank, then the first that came. */
static int by_start(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    if (a->start != b->start) {
        return a->start < b->start ? -1 : 1;
    }
    if ((a->bytes > 0) != (b->bytes > 0)) {
        return a->bytes > 0 ? -1 : 1;
    }
    if (a->rank != b->rank) {
        return a->rank > b->rank ? -1 : 1;
    }
    return a->name < b->name ? -1 : a->name > b->name;
}

void symbol_table_finish(struct symbol_table *table)
{
    size_t kept = 0;
    if (table->count == 0) {
        return;
    }
    qsort(table->symbols, table->count, sizeof *table->symbols, by_start);
    for (size_t i = 1; i < table->count; i++) {
        if (table->symbols[i].start != table->symbols[kept].start) {
            table->symbols[++kept] = table->symbols[i];
        }
    }
    table->count = kept + 1;
}

const struct symbol *symbol_table_find(const struct symbol_table *table, uint64_t address)
{
    size_t low = 0, high = table->count; /* the first that begins behind it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table->symbols[middle].start <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return NULL;
    }
    const struct symbol *symbol = &table->symbols[low - 1];
    uint64_t bytes = symbol->bytes > 0 ? symbol->bytes : UNSIZED_MOST;
    return address - symbol->start < bytes ? symbol : NULL;
}

const char *symbol_table_name(const struct symbol_table *table, const struct symbol *symbol)
{
    return table->texts + symbol->name;
}

const char *symbol_table_owner(const struct symbol_table *table, const struct symbol *symbol)
{
    return table->texts + symbol->owner;
}

void symbol_table_release(struct symbol_table *table)
{
    free(table->symbols);
    free(table->texts);
    *table = (struct symbol_table){0};
}
