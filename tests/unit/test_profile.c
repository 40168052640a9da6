/* What the profile probe makes of stacks, mappings and symbols, whatever they look like. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probe/code_events.h"
#include "probe/code_maps.h"
#include "probe/profile_fold.h"
#include "probe/symbol_table.h"
#include "probe/symbols.h"

/* ---- folding ---- */

static const struct fold_frame leaf = {"/bin/a", "leaf", false};
static const struct fold_frame middle = {"/bin/a", "middle", false};
static const struct fold_frame root = {"/bin/a", "main", false};
static const struct fold_frame call = {"[kernel]", "vfs_read", true};

static const struct fold_row *row_of(const struct profile_fold *fold, uint32_t group,
                                     const char *symbol)
{
    for (size_t i = 0; i < fold->row_count; i++) {
        if (fold->rows[i].group == group && strcmp(fold->rows[i].symbol, symbol) == 0) {
            return &fold->rows[i];
        }
    }
    fail_msg("no row of %s", symbol);
    return NULL;
}

static uint64_t samples_of(const struct profile_fold *fold, uint32_t group, const char *text)
{
    for (size_t i = 0; i < fold->stack_count; i++) {
        if (fold->stacks[i].group == group && strcmp(fold->stacks[i].text, text) == 0) {
            return fold->stacks[i].samples;
        }
    }
    fail_msg("no stack %s", text);
    return 0;
}

static void samples_are_summed_by_function_and_stack(void **state)
{
    (void)state;
    struct profile_fold fold = {0};
    struct err error = {0};
    const struct fold_frame deep[] = {call, leaf, middle, root}, flat[] = {middle, root};
    /* In itself through another one: counts once. */
    const struct fold_frame recursive[] = {middle, leaf, middle, root};
    assert_int_equal(profile_fold_add(&fold, 0, "a", deep, 4, 10, &error), 0);
    assert_int_equal(profile_fold_add(&fold, 0, "a", flat, 2, 5, &error), 0);
    assert_int_equal(profile_fold_add(&fold, 0, "a", deep, 4, 1, &error), 0);
    assert_int_equal(profile_fold_add(&fold, 0, "a", recursive, 4, 100, &error), 0);
    assert_int_equal(profile_fold_add(&fold, 1, "b", flat, 2, 7, &error), 0);
    profile_fold_sort(&fold);
    assert_int_equal(fold.samples, 123);
    assert_int_equal(row_of(&fold, 0, "vfs_read")->self, 11);
    assert_int_equal(row_of(&fold, 0, "leaf")->self, 0);
    assert_int_equal(row_of(&fold, 0, "leaf")->total, 111);
    assert_int_equal(row_of(&fold, 0, "middle")->self, 105);
    assert_int_equal(row_of(&fold, 0, "middle")->total, 116);
    assert_int_equal(row_of(&fold, 0, "main")->total, 116);
    assert_int_equal(row_of(&fold, 1, "middle")->self, 7);
    assert_int_equal(samples_of(&fold, 0, "a;main;middle;leaf;vfs_read_[k]"), 11);
    assert_int_equal(samples_of(&fold, 0, "a;main;middle"), 5);
    assert_int_equal(samples_of(&fold, 1, "b;main;middle"), 7);
    assert_string_equal(fold.rows[0].symbol, "middle");
    assert_string_equal(fold.stacks[0].text, "a;main;middle;leaf;middle");
    profile_fold_release(&fold);
    profile_fold_release(&fold);
}

static void names_cannot_break_a_folded_line(void **state)
{
    (void)state;
    struct profile_fold fold = {0};
    struct err error = {0};
    const struct fold_frame frames[] = {{"/lib/x.so", "+0x12", false}, {"/bin/a", "a;b\nc", false}};
    assert_int_equal(profile_fold_add(&fold, 0, "x;y\t", frames, 2, 1, &error), 0);
    assert_int_equal(profile_fold_add(&fold, 0, "", NULL, 0, 2, &error), 0);
    assert_int_equal(samples_of(&fold, 0, "x:y?;a:b?c;x.so+0x12"), 1);
    assert_int_equal(samples_of(&fold, 0, "?"), 2);
    assert_int_equal(fold.row_count, 2);
    profile_fold_release(&fold);
}

static void many_stacks_are_told_apart(void **state)
{
    (void)state;
    enum { STACKS = 5000 };
    struct profile_fold fold = {0};
    struct err error = {0};
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < STACKS; i++) {
            char name[32];
            snprintf(name, sizeof name, "f%lu", (unsigned long)i);
            const struct fold_frame frames[] = {{"/bin/a", name, false}, root};
            assert_int_equal(profile_fold_add(&fold, 3, "a", frames, 2, i + 1, &error), 0);
        }
    }
    assert_int_equal(fold.stack_count, STACKS);
    assert_int_equal(fold.row_count, STACKS + 1);
    profile_fold_sort(&fold);
    uint64_t self = 0, folded = 0;
    for (size_t i = 0; i < fold.row_count; i++) {
        self += fold.rows[i].self;
        assert_true(i == 0 || fold.rows[i - 1].self >= fold.rows[i].self);
    }
    for (size_t i = 0; i < fold.stack_count; i++) {
        folded += fold.stacks[i].samples;
    }
    assert_int_equal(self, fold.samples);
    assert_int_equal(folded, fold.samples);
    assert_int_equal(row_of(&fold, 3, "main")->total, fold.samples);
    profile_fold_release(&fold);
}

/* ---- symbols ---- */

static void read_kernel(struct symbol_table *table, const char *text)
{
    struct err error = {0};
    FILE *file = fmemopen((char *)text, strlen(text), "r");
    assert_non_null(file);
    assert_int_equal(kernel_symbols_read(table, file, &error), 0);
    fclose(file);
}

static const char *name_at(const struct symbol_table *table, uint64_t address)
{
    const struct symbol *symbol = symbol_table_find(table, address);
    return symbol != NULL ? symbol_table_name(table, symbol) : "";
}

static void kernel_functions_are_read(void **state)
{
    (void)state;
    struct symbol_table table = {0};
    read_kernel(&table, "ffffffff81000200 t second\n"
                        "ffffffff81000100 T first\n"
                        "ffffffff81000100 t __alias\n"
                        "ffffffff81000180 D a_variable\n"
                        "ffffffffc0000000 t of_module\t[nf_tables]\n"
                        "ffffffffc0000100 t bpf_prog_1_x\t[bpf]\n");
    assert_string_equal(name_at(&table, 0xffffffff810000ff), "");
    assert_string_equal(name_at(&table, 0xffffffff81000100), "first");
    assert_string_equal(name_at(&table, 0xffffffff810001ff), "first");
    assert_string_equal(name_at(&table, 0xffffffff81000200), "second");
    const struct symbol *module = symbol_table_find(&table, 0xffffffffc0000010);
    assert_non_null(module);
    assert_string_equal(symbol_table_owner(&table, module), "[nf_tables]");
    assert_string_equal(symbol_table_owner(&table, symbol_table_find(&table, 0xffffffff81000200)),
                        "");
    /* Far behind the last one is nothing's. */
    assert_string_equal(name_at(&table, 0xffffffffd0000000), "");
    symbol_table_release(&table);
    symbol_table_release(&table);
}

static void hidden_or_broken_kernel_symbols_are_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n",
        "0000000000000000 T hidden\n0000000000000000 t hidden_too\n",
        "ffffffff81000000\n",
        "ffffffff81000000 T\n",
        "ffffffff81000000 T \n",
        "ffffffff81000000 TT name\n",
        "-1 T name\n",
        "zzz T name\n",
        "fffffffffffffffff1 T too_large\n",
        "ffffffff81000000T name\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct symbol_table table = {0};
        if (texts[i][0] != '\0') {
            read_kernel(&table, texts[i]);
        }
        assert_int_equal(table.count, 0);
        assert_null(symbol_table_find(&table, 0xffffffff81000000));
        symbol_table_release(&table);
    }
}

static void sizes_of_symbols_are_kept_to(void **state)
{
    (void)state;
    struct symbol_table table = {0};
    struct err error = {0};
    const struct symbol symbols[] = {{.start = 100, .bytes = 10, .rank = SYMBOL_LOCAL},
                                     {.start = 100, .bytes = 10, .rank = SYMBOL_GLOBAL},
                                     {.start = 100, .bytes = 0, .rank = SYMBOL_GLOBAL},
                                     {.start = 200, .bytes = 0, .rank = SYMBOL_WEAK}};
    static const char *const names[] = {"local", "global", "label", "unsized"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(symbol_table_add(&table, &symbols[i], names[i], "", &error), 0);
    }
    symbol_table_finish(&table);
    assert_string_equal(name_at(&table, 100), "global");
    assert_string_equal(name_at(&table, 109), "global");
    assert_string_equal(name_at(&table, 110), "");
    assert_string_equal(name_at(&table, 250), "unsized");
    symbol_table_release(&table);
}

/* ---- mappings ---- */

static int read_maps(struct code_maps *maps, pid_t pid, const char *text)
{
    struct err error = {0};
    FILE *file = fmemopen((char *)text, strlen(text), "r");
    assert_non_null(file);
    int status = code_maps_read(maps, pid, file, &error);
    fclose(file);
    return status;
}

static const char *path_at(struct code_maps *maps, pid_t pid, uint64_t address, uint64_t *offset)
{
    size_t object;
    switch (code_maps_find(maps, pid, address, &object, offset)) {
    case CODE_NONE:
        return "none";
    case CODE_SEVERAL:
        return "several";
    case CODE_FOUND:
        break;
    }
    return maps->objects[object].path;
}

static void code_is_found_where_it_is_mapped(void **state)
{
    (void)state;
    struct code_maps maps = {0};
    uint64_t offset;
    assert_int_equal(
        read_maps(&maps, 7,
                  "561ee69b7000-561ee69b8000 r--p 00000000 fe:00 11034844     /tmp/a file\n"
                  "561ee69b8000-561ee69b9000 r-xp 00001000 fe:00 11034844     /tmp/a file\n"
                  "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 \n"
                  "7f0000002000-7f0000003000 r-xp 00000000 fe:00 5            /tmp/b (deleted)\n"
                  "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0            [vdso]\n"),
        0);
    assert_string_equal(path_at(&maps, 7, 0x561ee69b7000, &offset), "none"); /* no code */
    assert_string_equal(path_at(&maps, 7, 0x561ee69b8010, &offset), "/tmp/a file");
    assert_int_equal(offset, 0x1010);
    assert_string_equal(path_at(&maps, 7, 0x561ee69b8fff, &offset), "/tmp/a file");
    assert_string_equal(path_at(&maps, 7, 0x561ee69b9000, &offset), "none");
    assert_string_equal(path_at(&maps, 7, 0x7f0000000000, &offset), "//anon");
    assert_string_equal(path_at(&maps, 7, 0x7f0000002000, &offset), "/tmp/b");
    assert_string_equal(path_at(&maps, 7, 0x7ffd00001000, &offset), "[vdso]");
    assert_string_equal(path_at(&maps, 8, 0x561ee69b8010, &offset), "none");
    assert_true(code_maps_is_whole(&maps, 7));
    assert_false(code_maps_is_whole(&maps, 8));
    code_maps_release(&maps);
    code_maps_release(&maps);
}

/* What a process had at one address at different times is not guessed. */
static void code_that_changed_is_ambiguous(void **state)
{
    (void)state;
    struct code_maps maps = {0};
    struct err error = {0};
    uint64_t offset;
    const struct code_mapping mapping = {.pid = 7, .start = 0x400000, .end = 0x500000};
    const struct code_mapping shifted = {
        .pid = 7, .start = 0x480000, .end = 0x500000, .offset = 0x80000};
    assert_int_equal(code_maps_add(&maps, &mapping, "/bin/a", 1, &error), 0);
    assert_int_equal(code_maps_add(&maps, &shifted, "/bin/a", 1, &error), 0);
    assert_string_equal(path_at(&maps, 7, 0x490000, &offset), "/bin/a"); /* told twice */
    assert_int_equal(offset, 0x90000);
    assert_int_equal(code_maps_add(&maps, &mapping, "/bin/b", 2, &error), 0);
    assert_string_equal(path_at(&maps, 7, 0x490000, &offset), "several");
    code_maps_release(&maps);
}

static void lines_that_are_no_mappings_are_passed_over(void **state)
{
    (void)state;
    struct code_maps maps = {0};
    assert_int_equal(read_maps(&maps, 7,
                               "\n"
                               "rubbish\n"
                               "1000-2000\n"
                               "1000-2000 r-xp\n"
                               "1000-2000 r-xp 0 fe:00\n"
                               "2000-1000 r-xp 0 fe:00 1 /backwards\n"
                               "1000-1000 r-xp 0 fe:00 1 /empty\n"),
                     0);
    assert_int_equal(maps.mapping_count, 0);
    code_maps_release(&maps);
}

/* ---- what the kernel tells ---- */

struct told {
    struct perf_event_header header;
    uint32_t pid, tid;
    uint64_t start, bytes, offset;
    uint32_t major, minor;
    uint64_t inode, generation;
    uint32_t protection, flags;
    char path[16];
};

static const struct told mapped = {.header = {.type = PERF_RECORD_MMAP2, .size = sizeof mapped},
                                   .pid = 7,
                                   .tid = 8,
                                   .start = 0x1000,
                                   .bytes = 0x2000,
                                   .offset = 0x3000,
                                   .inode = 5,
                                   .protection = PROT_READ | PROT_EXEC,
                                   .path = "/bin/true"};

static void records_of_the_kernel_are_understood(void **state)
{
    (void)state;
    struct code_maps maps = {0};
    struct err error = {0};
    uint64_t lost = 0, offset;
    const struct {
        struct perf_event_header header;
        uint32_t pid, tid;
        char name[8];
    } exec = {.header = {.type = PERF_RECORD_COMM, .misc = PERF_RECORD_MISC_COMM_EXEC}, .pid = 9};
    const struct {
        struct perf_event_header header;
        uint64_t id, lost;
    } gone = {.header = {.type = PERF_RECORD_LOST}, .lost = 12};
    assert_int_equal(code_events_parse(&mapped, sizeof mapped, &maps, &lost, &error), 0);
    assert_int_equal(code_events_parse(&exec, sizeof exec, &maps, &lost, &error), 0);
    assert_int_equal(code_events_parse(&gone, sizeof gone, &maps, &lost, &error), 0);
    assert_string_equal(path_at(&maps, 7, 0x2fff, &offset), "/bin/true");
    assert_int_equal(offset, 0x4fff);
    assert_false(code_maps_is_whole(&maps, 7));
    assert_true(code_maps_is_whole(&maps, 9));
    assert_int_equal(lost, 12);
    code_maps_release(&maps);
}

/* Cut anywhere, and read only as far as it goes (the memory is exactly as long). */
static void records_that_are_cut_off_are_passed_over(void **state)
{
    (void)state;
    struct code_maps maps = {0};
    struct err error = {0};
    uint64_t lost = 0;
    for (size_t bytes = 0; bytes < offsetof(struct told, path) + strlen(mapped.path) + 1; bytes++) {
        char *copy = malloc(bytes + (bytes == 0));
        assert_non_null(copy);
        memcpy(copy, &mapped, bytes);
        assert_int_equal(code_events_parse(copy, bytes, &maps, &lost, &error), 0);
        free(copy);
    }
    struct told data = mapped, around = mapped;
    data.protection = PROT_READ;
    around.start = UINT64_MAX - 10;
    assert_int_equal(code_events_parse(&data, sizeof data, &maps, &lost, &error), 0);
    assert_int_equal(code_events_parse(&around, sizeof around, &maps, &lost, &error), 0);
    assert_int_equal(maps.mapping_count, 0);
    assert_int_equal(lost, 0);
    code_maps_release(&maps);
}

/* ---- ELF ---- */

__attribute__((noinline)) static int named_by_its_symbol(int value)
{
    __asm__ volatile("" : "+r"(value));
    return value + 1;
}

static void own_functions_have_their_names(void **state)
{
    (void)state;
    if (symbols_missing[0] != '\0') {
        skip();
    }
    struct code_maps maps = {0};
    struct symbols *symbols;
    struct err error = {0};
    uint64_t offset;
    size_t object;
    FILE *file = fopen("/proc/self/maps", "re");
    assert_non_null(file);
    assert_int_equal(code_maps_read(&maps, getpid(), file, &error), 0);
    fclose(file);
    assert_int_equal(symbols_open(&symbols, &error), 0);
    uint64_t address = (uint64_t)(uintptr_t)named_by_its_symbol + 1;
    assert_int_equal(code_maps_find(&maps, getpid(), address, &object, &offset), CODE_FOUND);
    const char *name = symbols_find(symbols, &maps.objects[object], object, getpid(), offset);
    assert_non_null(name);
    assert_string_equal(name, "named_by_its_symbol");
    assert_null(symbols_find(symbols, &maps.objects[object], object, getpid(), UINT64_MAX));
    struct symbols_frame frame;
    assert_false(
        symbols_find_frame(symbols, &maps.objects[object], object, getpid(), UINT64_MAX, &frame));
#if defined(__x86_64__)
    /* At its first instruction nothing but the address to return to is on the stack. */
    assert_true(
        symbols_find_frame(symbols, &maps.objects[object], object, getpid(), offset - 1, &frame));
    assert_int_equal(frame.caller, 0);
    assert_false(frame.pushed);
#endif
    /* Another file of that name, and what is no file. */
    struct code_object other = maps.objects[object], none = {.path = "//anon"},
                       directory = {.path = "/", .inode = 2};
    other.inode++;
    assert_null(symbols_find(symbols, &other, 1000, getpid(), offset));
    assert_null(symbols_find(symbols, &none, 1001, getpid(), offset));
    assert_null(symbols_find(symbols, &directory, 1002, getpid(), offset));
    symbols_close(symbols);
    code_maps_release(&maps);
}

/* The clock is read there, so it is in every profile of sonde. */
static void code_of_the_kernel_for_user_space_has_names(void **state)
{
    (void)state;
    if (symbols_missing[0] != '\0') {
        skip();
    }
    struct symbols *symbols;
    struct err error = {0};
    struct code_object vdso = {.path = "[vdso]"};
    bool found = false;
    assert_int_equal(symbols_open(&symbols, &error), 0);
    for (uint64_t offset = 0; offset < 16384; offset++) {
        const char *name = symbols_find(symbols, &vdso, 0, getpid(), offset);
        found = found || (name != NULL && strstr(name, "clock_gettime") != NULL);
    }
    assert_true(found);
    symbols_close(symbols);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_are_summed_by_function_and_stack),
        cmocka_unit_test(names_cannot_break_a_folded_line),
        cmocka_unit_test(many_stacks_are_told_apart),
        cmocka_unit_test(kernel_functions_are_read),
        cmocka_unit_test(hidden_or_broken_kernel_symbols_are_none),
        cmocka_unit_test(sizes_of_symbols_are_kept_to),
        cmocka_unit_test(code_is_found_where_it_is_mapped),
        cmocka_unit_test(code_that_changed_is_ambiguous),
        cmocka_unit_test(lines_that_are_no_mappings_are_passed_over),
        cmocka_unit_test(records_of_the_kernel_are_understood),
        cmocka_unit_test(records_that_are_cut_off_are_passed_over),
        cmocka_unit_test(own_functions_have_their_names),
        cmocka_unit_test(code_of_the_kernel_for_user_space_has_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
