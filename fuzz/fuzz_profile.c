/* What the profile probe reads of the kernel about any process: symbols, mappings, records. */
#include <stdint.h>
#include <stdio.h>

#include "probe/code_events.h"
#include "probe/code_maps.h"
#include "probe/symbol_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_text(uint8_t kind, const uint8_t *data, size_t size, struct code_maps *maps,
                      struct symbol_table *table)
{
    struct err error = {0};
    FILE *file = size > 0 ? fmemopen((void *)data, size, "r") : NULL;
    if (file == NULL) {
        return;
    }
    if (kind == 0) {
        (void)kernel_symbols_read(table, file, &error);
    } else {
        (void)code_maps_read(maps, 1, file, &error);
    }
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct code_maps maps = {0};
    struct symbol_table table = {0};
    struct err error = {0};
    uint64_t lost = 0, offset;
    size_t object;
    if (size == 0) {
        return 0;
    }
    if (data[0] % 3 == 2) {
        (void)code_events_parse(data + 1, size - 1, &maps, &lost, &error);
    } else {
        read_text(data[0] % 3, data + 1, size - 1, &maps, &table);
    }
    for (size_t i = 0; i < maps.mapping_count; i++) {
        (void)code_maps_find(&maps, maps.mappings[i].pid, maps.mappings[i].end - 1, &object,
                             &offset);
    }
    for (size_t i = 0; i < table.count; i++) {
        (void)symbol_table_find(&table, table.symbols[i].start + size);
    }
    code_maps_release(&maps);
    symbol_table_release(&table);
    return 0;
}
