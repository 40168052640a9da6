/* The kernel's functions, as /proc/kallsyms has them. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "probe/symbol_table.h"

/* "ffffffff81000000 T name" and for a module "\t[name]" behind it. False where it is none of code.
 */
static bool parse_line(char *line, struct symbol *symbol, const char **name, const char **owner)
{
    char *end;
    errno = 0;
    symbol->start = strtoull(line, &end, 16);
    if (end == line || line[0] == '-' || errno != 0 || end[0] != ' ' || end[1] == '\0' ||
        end[2] != ' ') {
        return false;
    }
    char kind = end[1];
    if (strchr("tTwW", kind) == NULL) {
        return false;
    }
    symbol->rank = kind == 't' ? SYMBOL_LOCAL : kind == 'T' ? SYMBOL_GLOBAL : SYMBOL_WEAK;
    char *text = end + 3;
    size_t length = strcspn(text, "\t\n ");
    char *module = text + length;
    module += strspn(module, "\t ");
    module[strcspn(module, "\n")] = '\0';
    text[length] = '\0';
    *name = text;
    *owner = module;
    return length > 0;
}

int kernel_symbols_read(struct symbol_table *table, FILE *from, struct err *error)
{
    char *line = NULL;
    size_t size = 0;
    int status = 0;
    while (status == 0 && getline(&line, &size, from) >= 0) {
        struct symbol symbol = {0};
        const char *name, *owner;
        /* Hidden addresses are 0. */
        if (parse_line(line, &symbol, &name, &owner) && symbol.start != 0) {
            status = symbol_table_add(table, &symbol, name, owner, error);
        }
    }
    if (status == 0 && ferror(from)) {
        status = err_system(error, errno, "/proc/kallsyms", "cannot be read");
    }
    free(line);
    symbol_table_finish(table);
    return status;
}
