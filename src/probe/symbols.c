#include "probe/symbols.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe/symbol_table.h"

#if !SONDE_HAVE_ELFUTILS

const char symbols_missing[] = "built without elfutils: addresses have no names";

int symbols_open(struct symbols **symbols, struct err *error)
{
    (void)error;
    *symbols = NULL;
    return 0;
}

void symbols_close(struct symbols *symbols)
{
    (void)symbols;
}

const char *symbols_find(struct symbols *symbols, const struct code_object *object, size_t index,
                         pid_t pid, uint64_t offset)
{
    (void)symbols;
    (void)object;
    (void)index;
    (void)pid;
    (void)offset;
    return NULL;
}

bool symbols_find_frame(struct symbols *symbols, const struct code_object *object, size_t index,
                        pid_t pid, uint64_t offset, struct symbols_frame *frame)
{
    (void)frame;
    return symbols_find(symbols, object, index, pid, offset) != NULL;
}

#else

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gelf.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

const char symbols_missing[] = "";

/* A part of a file that is mapped: offsets in the file and the addresses that its symbols use. */
struct segment {
    uint64_t offset, bytes, address;
};

#define SEGMENTS_MOST 16
#define SYMBOL_MOST 1024 /* characters */

struct named { /* one object's */
    bool looked;
    struct symbol_table table; /* by address */
    struct segment segments[SEGMENTS_MOST];
    size_t segment_count;
    Dwfl *session; /* for unwind information; NULL: none */
    Dwfl_Module *module;
};

/* Each holds files open. */
#define SESSIONS_MOST 64

struct symbols {
    struct named *objects; /* by index */
    size_t count, sessions;
};

int symbols_open(struct symbols **symbols, struct err *error)
{
    *symbols = calloc(1, sizeof **symbols);
    return *symbols != NULL ? 0 : err_set(error, ERR_LIMIT, "profile", "no memory");
}

void symbols_close(struct symbols *symbols)
{
    if (symbols == NULL) {
        return;
    }
    for (size_t i = 0; i < symbols->count; i++) {
        symbol_table_release(&symbols->objects[i].table);
        if (symbols->objects[i].session != NULL) {
            dwfl_end(symbols->objects[i].session);
        }
    }
    free(symbols->objects);
    free(symbols);
}

/* ---- an ELF file's ---- */

static void read_segments(struct named *named, Elf *elf, uint64_t bias)
{
    size_t count = 0;
    if (elf == NULL || elf_getphdrnum(elf, &count) != 0) {
        return;
    }
    for (size_t i = 0; i < count && named->segment_count < SEGMENTS_MOST; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, (int)i, &header) != NULL && header.p_type == PT_LOAD &&
            header.p_flags & PF_X) {
            named->segments[named->segment_count++] =
                (struct segment){header.p_offset, header.p_filesz, header.p_vaddr + bias};
        }
    }
}

/* Without memory the table stays shorter: what is missing has no name. */
static void add_symbol(struct named *named, const GElf_Sym *elf, uint64_t address, const char *name)
{
    struct err ignored = {0};
    unsigned char type = GELF_ST_TYPE(elf->st_info), binding = GELF_ST_BIND(elf->st_info);
    /* Hand-written code may have no type. */
    bool code = type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE;
    if (!code || elf->st_shndx == SHN_UNDEF || elf->st_shndx == SHN_ABS || name == NULL ||
        name[0] == '\0') {
        return;
    }
    const struct symbol symbol = {.start = address,
                                  .bytes = elf->st_size,
                                  .rank = binding == STB_GLOBAL ? SYMBOL_GLOBAL
                                          : binding == STB_WEAK ? SYMBOL_WEAK
                                                                : SYMBOL_LOCAL};
    char bare[SYMBOL_MOST];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(name, "@"), name); /* without its version */
    (void)symbol_table_add(&named->table, &symbol, bare, "", &ignored);
}

/* From the file and its separate debug files, whichever has them. */
static void read_file(struct symbols *symbols, struct named *named, int file, const char *path)
{
    static const Dwfl_Callbacks callbacks = {
        .find_debuginfo = dwfl_standard_find_debuginfo,
        .section_address = dwfl_offline_section_address,
    };
    Dwfl *session = dwfl_begin(&callbacks);
    if (session == NULL) {
        return;
    }
    dwfl_report_begin(session);
    /* The path is where debug files are looked for; the session closes a file of its own. */
    int own = fcntl(file, F_DUPFD_CLOEXEC, 0);
    Dwfl_Module *module = own >= 0 ? dwfl_report_elf(session, path, path, own, 0, false) : NULL;
    if (module == NULL && own >= 0) {
        close(own);
    }
    dwfl_report_end(session, NULL, NULL);
    if (module != NULL) {
        GElf_Addr bias = 0;
        Elf *elf = dwfl_module_getelf(module, &bias);
        read_segments(named, elf, bias);
        int count = elf != NULL ? dwfl_module_getsymtab(module) : 0;
        for (int i = 1; i < count; i++) {
            GElf_Sym symbol;
            GElf_Addr address;
            const char *name =
                dwfl_module_getsym_info(module, i, &symbol, &address, NULL, NULL, NULL);
            add_symbol(named, &symbol, address, name);
        }
    }
    symbol_table_finish(&named->table);
    if (module == NULL || symbols->sessions == SESSIONS_MOST) {
        dwfl_end(session);
        return;
    }
    symbols->sessions++;
    named->session = session;
    named->module = module;
}

/* The kernel's own code for user space is no file; it is the same in every process, also here. */
static void read_vdso(struct named *named)
{
    const char *image = (const char *)getauxval(AT_SYSINFO_EHDR);
    if (image == NULL || elf_version(EV_CURRENT) == EV_NONE) {
        return;
    }
    GElf_Ehdr header;
    memcpy(&header, image, sizeof header < 64 ? sizeof header : 64);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) {
        return;
    }
    size_t bytes = header.e_shoff + (size_t)header.e_shnum * header.e_shentsize;
    Elf *elf = elf_memory((char *)image, bytes);
    for (Elf_Scn *section = NULL; elf != NULL && (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr section_header;
        if (gelf_getshdr(section, &section_header) == NULL ||
            section_header.sh_type != SHT_DYNSYM || section_header.sh_entsize == 0) {
            continue;
        }
        Elf_Data *data = elf_getdata(section, NULL);
        for (size_t i = 0; i < section_header.sh_size / section_header.sh_entsize; i++) {
            GElf_Sym symbol;
            if (data != NULL && gelf_getsym(data, (int)i, &symbol) != NULL) {
                add_symbol(named, &symbol, symbol.st_value,
                           elf_strptr(elf, section_header.sh_link, symbol.st_name));
            }
        }
    }
    read_segments(named, elf, 0);
    elf_end(elf);
    symbol_table_finish(&named->table);
}

/* The mapped file, open: by its path here or as the process sees it. -1 where neither is it. */
static int open_object(const struct code_object *object, pid_t pid)
{
    char inside[4096 + 32];
    snprintf(inside, sizeof inside, "/proc/%d/root%s", (int)pid, object->path);
    const char *const paths[] = {object->path, inside};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct stat there;
        int file = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (file < 0) {
            continue;
        }
        if (fstat(file, &there) == 0 && S_ISREG(there.st_mode) && there.st_ino == object->inode) {
            return file;
        }
        close(file);
    }
    return -1;
}

static void look(struct symbols *symbols, struct named *named, const struct code_object *object,
                 pid_t pid)
{
    named->looked = true;
    if (strcmp(object->path, "[vdso]") == 0) {
        read_vdso(named);
        return;
    }
    int file = object->path[0] == '/' && object->inode != 0 ? open_object(object, pid) : -1;
    if (file >= 0) {
        read_file(symbols, named, file, object->path);
        close(file);
    }
}

/* The object, looked at; NULL without memory. */
static struct named *take(struct symbols *symbols, const struct code_object *object, size_t index,
                          pid_t pid)
{
    if (index >= symbols->count) {
        struct named *larger = reallocarray(symbols->objects, index + 64, sizeof *larger);
        if (larger == NULL) {
            return NULL;
        }
        memset(larger + symbols->count, 0, (index + 64 - symbols->count) * sizeof *larger);
        symbols->objects = larger;
        symbols->count = index + 64;
    }
    struct named *named = &symbols->objects[index];
    if (!named->looked) {
        look(symbols, named, object, pid);
    }
    return named;
}

/* The address that symbols use for an offset of the file. */
static bool find_address(const struct named *named, uint64_t offset, uint64_t *address)
{
    for (size_t i = 0; named != NULL && i < named->segment_count; i++) {
        const struct segment *segment = &named->segments[i];
        if (offset >= segment->offset && offset - segment->offset < segment->bytes) {
            *address = segment->address + (offset - segment->offset);
            return true;
        }
    }
    return false;
}

const char *symbols_find(struct symbols *symbols, const struct code_object *object, size_t index,
                         pid_t pid, uint64_t offset)
{
    const struct named *named = take(symbols, object, index, pid);
    uint64_t address;
    if (!find_address(named, offset, &address)) {
        return NULL;
    }
    const struct symbol *symbol = symbol_table_find(&named->table, address);
    return symbol != NULL ? symbol_table_name(&named->table, symbol) : NULL;
}

/* ---- unwind information ---- */

#if defined(__x86_64__)

/* The System V ABI's numbers. */
enum { FRAME_POINTER = 6, STACK_POINTER = 7 };

/* How far from the stack pointer the caller's frame begins (its canonical frame address). */
static bool find_distance(Dwarf_Frame *frame, int64_t *bytes)
{
    Dwarf_Op *operations = NULL;
    size_t count = 0;
    if (dwarf_frame_cfa(frame, &operations, &count) != 0 || count != 1) {
        return false;
    }
    bool wide = operations[0].atom == DW_OP_bregx && operations[0].number == STACK_POINTER;
    bool narrow = operations[0].atom == DW_OP_breg0 + STACK_POINTER;
    *bytes = (int64_t)(wide ? operations[0].number2 : operations[0].number);
    return wide || narrow;
}

/* Where the frame pointer is: in its register (*pushed false), or so far from the frame's begin. */
static bool find_saved(Dwarf_Frame *frame, bool *pushed, int64_t *bytes)
{
    Dwarf_Op memory[3], *operations = NULL;
    size_t count = 0;
    if (dwarf_frame_register(frame, FRAME_POINTER, memory, &operations, &count) != 0) {
        return false;
    }
    *pushed = count == 2 && operations[0].atom == DW_OP_call_frame_cfa &&
              operations[1].atom == DW_OP_plus_uconst;
    *bytes = *pushed ? (int64_t)operations[1].number : 0;
    return *pushed || (count == 0 && operations == NULL);
}

static bool read_frame(Dwarf_CFI *information, uint64_t address, struct symbols_frame *to)
{
    const int64_t word = (int64_t)sizeof(uint64_t);
    Dwarf_Frame *frame = NULL;
    int64_t distance, saved;
    if (information == NULL || dwarf_cfi_addrframe(information, address, &frame) != 0) {
        return false;
    }
    /* The return address is the last word before the caller's frame. */
    bool known = find_distance(frame, &distance) && find_saved(frame, &to->pushed, &saved) &&
                 distance >= word && distance % word == 0 && distance < INT32_MAX &&
                 (!to->pushed || (saved < 0 && distance + saved >= 0 && saved % word == 0));
    if (known) {
        to->caller = (uint32_t)(distance / word - 1);
        to->saved = to->pushed ? (uint32_t)((distance + saved) / word) : 0;
    }
    free(frame);
    return known;
}

bool symbols_find_frame(struct symbols *symbols, const struct code_object *object, size_t index,
                        pid_t pid, uint64_t offset, struct symbols_frame *frame)
{
    const struct named *named = take(symbols, object, index, pid);
    uint64_t address;
    GElf_Addr bias = 0;
    *frame = (struct symbols_frame){0};
    if (!find_address(named, offset, &address) || named->module == NULL) {
        return false;
    }
    Dwarf_CFI *information = dwfl_module_eh_cfi(named->module, &bias);
    return read_frame(information, address - bias, frame);
}

#else

bool symbols_find_frame(struct symbols *symbols, const struct code_object *object, size_t index,
                        pid_t pid, uint64_t offset, struct symbols_frame *frame)
{
    (void)symbols;
    (void)object;
    (void)index;
    (void)pid;
    (void)offset;
    (void)frame;
    return false;
}

#endif

#endif
