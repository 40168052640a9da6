#include "cli/command.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* What a value is completed to. */
enum completion_kind { COMPLETE_NOTHING, COMPLETE_WORDS, COMPLETE_ITEMS, COMPLETE_FILES };

static const char *const yes_no[] = {"yes", "no", NULL};

static enum completion_kind kind_of(const struct opt *row)
{
    if (row->type == OPT_TYPE_BOOL || row->type == OPT_TYPE_CHOICE) {
        return COMPLETE_WORDS;
    }
    if (row->type == OPT_TYPE_LIST && row->choices != NULL) {
        return COMPLETE_ITEMS;
    }
    const char *argument = opt_argument_name(row);
    return argument != NULL && strcmp(argument, "FILE") == 0 ? COMPLETE_FILES : COMPLETE_NOTHING;
}

static const char *const *words_of(const struct opt *row)
{
    return row->type == OPT_TYPE_BOOL ? yes_no : row->choices;
}

/* True where a value may stand in the next word. */
static bool takes_next_word(const struct opt *row)
{
    return row->type != OPT_TYPE_BOOL && row->optional == NULL;
}

static bool mentions(const struct command *command, const char *argument)
{
    return command->arguments != NULL && strstr(command->arguments, argument) != NULL;
}

/* What stands in the place of the arguments: a program's name, a file's, or nothing known. */
static bool takes_program(const struct command *command)
{
    return mentions(command, "COMMAND") || mentions(command, "PROGRAM");
}

static size_t sets_of(const struct command *command, struct opt_set *sets)
{
    return command->sets != NULL ? command->sets(sets) : 0;
}

/* One character inside single quotes of a POSIX shell. */
static void put_posix(char c, FILE *out)
{
    if (c == '\'') {
        fputs("'\\''", out);
    } else {
        fputc(c, out);
    }
}

static void write_posix(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text != '\0'; text++) {
        put_posix(*text, out);
    }
    fputc('\'', out);
}

/* ---- bash ---- */

static const char bash_head[] =
    "# bash completion for sonde\n\n"
    "# Offers the words ($2 ...) that begin with $1.\n"
    "_sonde_words()\n{\n"
    "    local current=$1 word\n"
    "    shift\n"
    "    for word in \"$@\"; do\n"
    "        if [[ $word == \"$current\"* ]]; then COMPREPLY+=(\"$word\"); fi\n"
    "    done\n}\n\n"
    "# The same for the last item of a comma-separated list.\n"
    "_sonde_items()\n{\n"
    "    local current=$1 before='' word\n"
    "    shift\n"
    "    if [[ $current == *,* ]]; then before=${current%,*},; fi\n"
    "    for word in \"$@\"; do\n"
    "        if [[ $before$word == \"$current\"* ]]; then COMPREPLY+=(\"$before$word\"); fi\n"
    "    done\n}\n\n"
    "_sonde_compgen()\n{\n"
    "    local word\n"
    "    while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen \"$1\" -- \"$2\")\n"
    "}\n\n"
    "_sonde_files()\n{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    _sonde_compgen -f \"$1\"\n"
    "}\n\n"
    "_sonde()\n{\n"
    "    # bash splits words at `=`. key: how the value is joined to its option, and the option.\n"
    "    local current=${COMP_WORDS[COMP_CWORD]} key=''\n"
    "    COMPREPLY=()\n"
    "    if [[ $current == = ]]; then\n"
    "        key==${COMP_WORDS[COMP_CWORD - 1]} current=''\n"
    "    elif ((COMP_CWORD > 2)) && [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then\n"
    "        key==${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    elif ((COMP_CWORD > 1)); then\n"
    "        key=\" ${COMP_WORDS[COMP_CWORD - 1]}\"\n"
    "    fi\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        _sonde_words \"$current\"";

static void bash_row(const struct opt *row, FILE *out)
{
    static const char *const functions[] = {
        [COMPLETE_WORDS] = "_sonde_words \"$current\"",
        [COMPLETE_ITEMS] = "_sonde_items \"$current\"",
        [COMPLETE_FILES] = "_sonde_files \"$current\"",
    };
    enum completion_kind kind = kind_of(row);
    const char *separator = "        ";
    for (const char *join = takes_next_word(row) ? "= " : "="; *join != '\0'; join++) {
        char key[128];
        snprintf(key, sizeof key, "%c--%s", *join, row->name);
        fputs(separator, out);
        write_posix(key, out);
        separator = " | ";
        if (row->letter != 0) {
            fputs(separator, out);
            write_posix((char[]){*join, '-', row->letter, '\0'}, out);
        }
    }
    fputs(")", out);
    if (kind != COMPLETE_NOTHING) {
        fprintf(out, " %s", functions[kind]);
    }
    if (kind == COMPLETE_WORDS || kind == COMPLETE_ITEMS) {
        for (const char *const *word = words_of(row); *word != NULL; word++) {
            fputc(' ', out);
            write_posix(*word, out);
        }
    }
    fprintf(out, "%s return ;;\n", kind != COMPLETE_NOTHING ? ";" : "");
}

static void bash_name(const char *dashes, const char *name, FILE *out)
{
    char word[128];
    snprintf(word, sizeof word, "%s%s", dashes, name);
    fputc(' ', out);
    write_posix(word, out);
}

static void bash_command(const struct command *command, FILE *out)
{
    struct opt_set sets[COMMAND_SETS_MAX] = {0};
    size_t count = sets_of(command, sets);
    fputs("    ", out);
    write_posix(command->name, out);
    fputs(")\n        case $key in\n", out);
    for (size_t s = 0; s < count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            bash_row(&sets[s].rows[r], out);
        }
    }
    fputs("        esac\n        if [[ $current == -* ]]; then\n"
          "            _sonde_words \"$current\" --help",
          out);
    for (size_t s = 0; s < count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            const struct opt *row = &sets[s].rows[r];
            bash_name("--", row->name, out);
            if (opt_has_negation(row)) {
                bash_name("--no-", row->name, out);
            }
        }
    }
    fputs("\n", out);
    if (takes_program(command)) {
        fputs("        else\n            _sonde_compgen -c \"$current\"\n", out);
    } else if (mentions(command, "FILE")) {
        fputs("        else\n            _sonde_files \"$current\"\n", out);
    }
    fputs("        fi\n        ;;\n", out);
}

static void write_bash(FILE *out)
{
    fputs(bash_head, out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        fputc(' ', out);
        write_posix(commands[i]->name, out);
    }
    fputs(" --help --version\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        bash_command(commands[i], out);
    }
    fputs("    esac\n}\n\ncomplete -F _sonde sonde\n", out);
}

/* ---- zsh ---- */

/* Text inside single quotes, with a backslash before each of `special`. */
static void zsh_text(const char *text, const char *special, FILE *out)
{
    for (; *text != '\0'; text++) {
        if (strchr(special, *text) != NULL) {
            fputc('\\', out);
        }
        put_posix(*text, out);
    }
}

/* The part of an option's specification after its name: '[help]:ARGUMENT:action'. */
static void zsh_value(const struct opt *row, FILE *out)
{
    const char *argument = opt_argument_name(row);
    enum completion_kind kind = kind_of(row);
    fputs("'[", out);
    zsh_text(row->help != NULL ? row->help : "", "[]\\:", out);
    fputc(']', out);
    if (argument != NULL) {
        fputs(row->optional != NULL ? "::" : ":", out);
        zsh_text(argument, "\\:", out);
        fputc(':', out);
        if (kind == COMPLETE_FILES) {
            fputs("_files", out);
        } else if (kind == COMPLETE_NOTHING) {
            fputc(' ', out); /* a value, with nothing to offer */
        } else {
            fputs(kind == COMPLETE_ITEMS ? "_sequence compadd -" : "(", out);
            for (const char *const *word = words_of(row); *word != NULL; word++) {
                fputs(kind == COMPLETE_ITEMS || word != words_of(row) ? " " : "", out);
                zsh_text(*word, " ()\\:'\"$`&;|<>*?[]{}~#!", out);
            }
            fputs(kind == COMPLETE_ITEMS ? "" : ")", out);
        }
    }
    fputc('\'', out);
}

static void zsh_row(const struct opt *row, FILE *out)
{
    bool list = row->type == OPT_TYPE_LIST;
    fputs("            ", out);
    if (list) {
        fputs("'*'", out); /* may be repeated */
    } else {
        fputs("'(", out);
        if (row->letter != 0) {
            fputc('-', out);
            put_posix(row->letter, out);
            fputc(' ', out);
        }
        fputs("--", out);
        zsh_text(row->name, "", out);
        if (opt_has_negation(row)) {
            fputs(" --no-", out);
            zsh_text(row->name, "", out);
        }
        fputs(")'", out);
    }
    /* In the next word or joined: -x+ and --name=. Joined only: -x- and --name=-. */
    const char *letter_join = row->type == OPT_TYPE_BOOL ? "" : takes_next_word(row) ? "+" : "-";
    const char *name_join = row->type == OPT_TYPE_BOOL ? "" : takes_next_word(row) ? "=" : "=-";
    if (row->letter != 0) {
        fputs("{'-", out);
        put_posix(row->letter, out);
        fprintf(out, "%s','--", letter_join);
        zsh_text(row->name, "", out);
        fprintf(out, "%s'}", name_join);
    } else {
        fputs("'--", out);
        zsh_text(row->name, "", out);
        fprintf(out, "%s'", name_join);
    }
    zsh_value(row, out);
    fputs(" \\\n", out);
    if (opt_has_negation(row)) {
        fprintf(out, "            '(--%s --no-%s)--no-%s[not: ", row->name, row->name, row->name);
        zsh_text(row->help != NULL ? row->help : "", "[]\\:", out);
        fputs("]' \\\n", out);
    }
}

static void zsh_command(const struct command *command, FILE *out)
{
    struct opt_set sets[COMMAND_SETS_MAX] = {0};
    size_t count = sets_of(command, sets);
    const char *action = takes_program(command)      ? "_command_names -e"
                         : mentions(command, "FILE") ? "_files"
                                                     : " ";
    fputs("        (", out);
    write_posix(command->name, out);
    fputs(")\n        _arguments -s \\\n"
          "            '(- *)'{'-h','--help'}'[show help]' \\\n",
          out);
    for (size_t s = 0; s < count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            zsh_row(&sets[s].rows[r], out);
        }
    }
    fprintf(out, "            '*:argument:%s'\n        ;;\n", action);
}

static void write_zsh(FILE *out)
{
    fputs("#compdef sonde\n\n"
          "_sonde() {\n"
          "    local curcontext=\"$curcontext\" state line\n"
          "    local -a sonde_commands\n"
          "    typeset -A opt_args\n"
          "    sonde_commands=(\n",
          out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        fputs("        '", out);
        zsh_text(commands[i]->name, "\\:", out);
        fputc(':', out);
        zsh_text(commands[i]->summary, "\\", out);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    _arguments -C '(- *)'{'-h','--help'}'[show help]' \\\n"
          "        '(- *)--version[show the version]' \\\n"
          "        '1:command:->command' '*::argument:->argument'\n"
          "    case $state in\n"
          "    (command)\n"
          "        _describe -t commands command sonde_commands\n"
          "        ;;\n"
          "    (argument)\n"
          "        case $words[1] in\n",
          out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        zsh_command(commands[i], out);
    }
    /* Autoloaded by compinit, the file is the function's body; sourced, it registers itself. */
    fputs("        esac\n        ;;\n    esac\n}\n\n"
          "if [[ $funcstack[1] == _sonde ]]; then\n    _sonde \"$@\"\nelse\n"
          "    compdef _sonde sonde\nfi\n",
          out);
}

/* ---- fish ---- */

/* One character inside single quotes of fish. */
static void put_fish(char c, FILE *out)
{
    if (c == '\'' || c == '\\') {
        fputc('\\', out);
    }
    fputc(c, out);
}

static void write_fish_text(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text != '\0'; text++) {
        put_fish(*text, out);
    }
    fputc('\'', out);
}

/* fish reads the text of `-a` as words once more: what is no plain character is escaped twice. */
static void fish_words(const char *const *words, FILE *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./+:=,@";
    for (size_t i = 0; words[i] != NULL; i++) {
        fputs(i > 0 ? " " : "", out);
        for (const char *c = words[i]; *c != '\0'; c++) {
            if (strchr(plain, *c) == NULL && ((unsigned char)*c & 0x80) == 0) {
                put_fish('\\', out);
            }
            put_fish(*c, out);
        }
    }
}

static void fish_row(const struct command *command, const struct opt *row, FILE *out)
{
    enum completion_kind kind = kind_of(row);
    const char *condition = "complete -c sonde -n '__fish_seen_subcommand_from ";
    fprintf(out, "%s%s'", condition, command->name);
    if (row->letter != 0) {
        fputs(" -s ", out);
        write_fish_text((char[]){row->letter, '\0'}, out);
    }
    fputs(" -l ", out);
    write_fish_text(row->name, out);
    if (takes_next_word(row)) {
        fputs(kind == COMPLETE_FILES ? " -r -F" : " -x", out);
    } else if (kind == COMPLETE_FILES) {
        fputs(" -F", out);
    }
    if (row->type != OPT_TYPE_BOOL && (kind == COMPLETE_WORDS || kind == COMPLETE_ITEMS)) {
        fputs(kind == COMPLETE_ITEMS ? " -a '(__fish_append , " : " -a '", out);
        fish_words(words_of(row), out);
        fputs(kind == COMPLETE_ITEMS ? ")'" : "'", out);
    }
    fputs(" -d ", out);
    write_fish_text(row->help != NULL ? row->help : "", out);
    fputc('\n', out);
    if (opt_has_negation(row)) {
        fprintf(out, "%s%s' -l 'no-%s' -d ", condition, command->name, row->name);
        write_fish_text(row->help != NULL ? row->help : "", out);
        fputc('\n', out);
    }
}

static void write_fish(FILE *out)
{
    fputs("# fish completion for sonde\n\n"
          "complete -c sonde -f\n"
          "complete -c sonde -s h -l help -d 'show help'\n"
          "complete -c sonde -n __fish_use_subcommand -l version -d 'show the version'\n",
          out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        fputs("complete -c sonde -n __fish_use_subcommand -a ", out);
        write_fish_text(commands[i]->name, out);
        fputs(" -d ", out);
        write_fish_text(commands[i]->summary, out);
        fputc('\n', out);
    }
    for (size_t i = 0; commands[i] != NULL; i++) {
        struct opt_set sets[COMMAND_SETS_MAX] = {0};
        size_t count = sets_of(commands[i], sets);
        for (size_t s = 0; s < count; s++) {
            for (size_t r = 0; r < sets[s].count; r++) {
                fish_row(commands[i], &sets[s].rows[r], out);
            }
        }
        if (takes_program(commands[i]) || mentions(commands[i], "FILE")) {
            fprintf(out, "complete -c sonde -n '__fish_seen_subcommand_from %s' %s\n",
                    commands[i]->name,
                    takes_program(commands[i]) ? "-a '(__fish_complete_command)'" : "-F");
        }
    }
}

int completion_write(const char *shell, FILE *out, struct err *error)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};
    static void (*const writers[])(FILE *) = {write_bash, write_zsh, write_fish};
    const size_t count = sizeof shells / sizeof shells[0];
    for (size_t i = 0; i < count; i++) {
        if (strcmp(shell, shells[i]) == 0) {
            errno = 0;
            writers[i](out);
            return fflush(out) != 0 || ferror(out)
                       ? err_system(error, errno ? errno : EIO, "standard output", "cannot write")
                       : 0;
        }
    }
    err_set(error, ERR_USAGE, "completion", "unknown shell \"%.64s\"", shell);
    const char *nearest = opt_nearest(shell, shells, count);
    if (nearest != NULL) {
        return err_hint(error, "did you mean %s? accepts bash, zsh, fish", nearest);
    }
    return err_hint(error, "accepts bash, zsh, fish");
}
