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

#else

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
};

struct symbols {
    struct named *objects; /* by index */
    size_t count;
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
static void read_file(struct named *named, int file, const char *path)
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
    dwfl_end(session);
    symbol_table_finish(&named->table);
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

static void look(struct named *named, const struct code_object *object, pid_t pid)
{
    named->looked = true;
    if (strcmp(object->path, "[vdso]") == 0) {
        read_vdso(named);
        return;
    }
    int file = object->path[0] == '/' && object->inode != 0 ? open_object(object, pid) : -1;
    if (file >= 0) {
        read_file(named, file, object->path);
        close(file);
    }
}

const char *symbols_find(struct symbols *symbols, const struct code_object *object, size_t index,
                         pid_t pid, uint64_t offset)
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
        look(named, object, pid);
    }
    for (size_t i = 0; i < named->segment_count; i++) {
        const struct segment *segment = &named->segments[i];
        if (offset >= segment->offset && offset - segment->offset < segment->bytes) {
            const struct symbol *symbol =
                symbol_table_find(&named->table, segment->address + (offset - segment->offset));
            return symbol != NULL ? symbol_table_name(&named->table, symbol) : NULL;
        }
    }
    return NULL;
}

#endif
