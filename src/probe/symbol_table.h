/* Names of address ranges: of the kernel, or of one object. */
#ifndef SONDE_PROBE_SYMBOL_TABLE_H
#define SONDE_PROBE_SYMBOL_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Which of several names of one place is taken: the highest. */
enum symbol_rank { SYMBOL_LOCAL, SYMBOL_WEAK, SYMBOL_GLOBAL };

struct symbol {
    uint64_t start, bytes; /* 0 bytes: up to the next symbol */
    size_t name, owner;    /* offsets in the table's texts */
    enum symbol_rank rank;
};

/* Zeroed: empty. */
struct symbol_table {
    struct symbol *symbols; /* owned */
    size_t count, capacity;
    char *texts; /* owned: names, each with its 0 */
    size_t text_bytes, text_capacity;
    size_t last_owner; /* offset of the owner that came last */
};

/* `owner`: whose it is, such as a module's name; "" where that is clear. */
int symbol_table_add(struct symbol_table *table, const struct symbol *symbol, const char *name,
                     const char *owner, struct err *error);

/* Once all have been added: from then on they can be found. Of several at one place one stays. */
void symbol_table_finish(struct symbol_table *table);

/* The symbol that the address lies in; NULL where it lies in none. */
const struct symbol *symbol_table_find(const struct symbol_table *table, uint64_t address);

const char *symbol_table_name(const struct symbol_table *table, const struct symbol *symbol);
const char *symbol_table_owner(const struct symbol_table *table, const struct symbol *symbol);

void symbol_table_release(struct symbol_table *table); /* safe to call twice */

/* Reads the kernel's functions, in the format of /proc/kallsyms, and finishes the table. What is no
 * line of that format is passed over. The table stays empty where the kernel hides all addresses
 * (kernel.kptr_restrict). The owner of a module's function is the module. */
int kernel_symbols_read(struct symbol_table *table, FILE *from, struct err *error);

#endif
