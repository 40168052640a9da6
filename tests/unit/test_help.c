#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/command.h"

/* Commands with every kind of option, and texts that each target language could trip over. */
struct load {
    uint64_t size;
    bool nodelay, cork;
    uint32_t mode;
    const char *json, *csv, *odd;
};
struct shared {
    struct opt_list engines;
    uint64_t duration;
};

static const char *const modes[] = {"gather", "each", "it's $(odd)", NULL};
static const char *const engines[] = {"threads", "poll", "epoll", NULL};

static const struct opt load_rows[] = {
    OPT_SIZE(struct load, size, .name = "size", .letter = 'm', .initial = "64", .least = 1,
             .most = 1 << 20, .help = "bytes of a call"),
    OPT_BOOL(struct load, nodelay, .name = "nodelay", .initial = "yes",
             .help = "set TCP_NODELAY, say [what: it's] `not` \"$HOME\""),
    OPT_BOOL(struct load, cork, .name = "cork", .letter = 'k', .help = "-dash first *bold* a\\b"),
    OPT_CHOICE(struct load, mode, .name = "write", .initial = "each", .choices = modes,
               .help = ".dot first; snake_case_words and a ++ b"),
    OPT_TEXT(struct load, json, .name = "json", .letter = 'j', .argument = "FILE", .optional = "-",
             .help = "write JSON"),
    OPT_TEXT(struct load, csv, .name = "csv", .argument = "FILE", .help = "write CSV"),
    OPT_TEXT(struct load, odd, .name = "odd", .argument = "A_B:C",
             .help = "~tilde _under_ #hash |pipe|"),
};
static const struct opt shared_rows[] = {
    OPT_LIST(struct shared, engines, .name = "engine", .letter = 'e', .choices = engines,
             .help = "engines"),
    OPT_DURATION(struct shared, duration, .name = "duration", .letter = 'd', .initial = "5s",
                 .help = "length of the window"),
};

static struct load load;
static struct shared shared;

static size_t call_sets(struct opt_set *sets)
{
    sets[0] = (struct opt_set){"Calls", load_rows, sizeof load_rows / sizeof *load_rows, &load, 0};
    sets[1] = (struct opt_set){"Load_all", shared_rows, 2, &shared, 0};
    return 2;
}

static size_t serve_sets(struct opt_set *sets)
{
    sets[0] = (struct opt_set){"Load_all", shared_rows, 2, &shared, 0};
    return 1;
}

static const struct command call = {
    .name = "call",
    .arguments = "[TARGET] [options]",
    .summary = "pipelined calls: it's 'quoted'",
    .details = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen\n"
               "fifteen sixteen seventeen eighteen.\n\n"
               "#hash begins this *paragraph* of snake_case.\n"
               "  verbatim   line \\ with_underscore\n"
               "  'quote first and .dot\n"
               "- a dash begins\n.dot begins\n\n\n"
               "'quote ends it",
    .examples = "  sonde call --size 64k    what it_shows\n  sonde call \\\n    -m 1\n",
    .sets = call_sets,
};
static const struct command serve = {
    .name = "serve", .arguments = "LISTEN...", .summary = "the echo end", .sets = serve_sets};
static const struct command observe = {.name = "observe",
                                       .arguments = "TARGET... | -- COMMAND [ARGS]",
                                       .summary = "any program",
                                       .examples = "  sonde observe pid=1   one process"};
static const struct command compare = {
    .name = "compare", .arguments = "FILE...", .summary = "two records"};

const struct command *const commands[] = {&call, &serve, &observe, &compare, NULL};

static char *overview_text(void)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(help_overview(out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static char *command_text(const struct command *command)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(help_command(command, out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", part, text);
    }
}

/* Bytes, which is not less than columns. */
static void assert_width(const char *text, size_t most)
{
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        assert_in_range(length, 0, most);
        line += length + (line[length] == '\n');
    }
}

static void test_overview(void **state)
{
    (void)state;
    char *text = overview_text();
    size_t lines = 0;
    for (const char *c = text; *c != '\0'; c++) {
        lines += *c == '\n';
    }
    assert_in_range(lines, 10, 40);
    assert_width(text, 100);
    assert_holds(text, "Usage: sonde COMMAND");
    assert_holds(text, "\n  call     pipelined calls: it's 'quoted'\n");
    assert_holds(text, "\n  observe  any program\n");
    assert_holds(text, "\nExamples:\n  sonde call --size 64k    what it_shows\n"
                       "  sonde observe pid=1   one process\n");
    assert_holds(text, "sonde COMMAND --help");
    free(text);
}

static void test_command(void **state)
{
    (void)state;
    char *text = command_text(&call);
    assert_width(text, 100);
    assert_holds(text, "pipelined calls: it's 'quoted'\n\nUsage: sonde call [TARGET] [options]\n\n"
                       "One two three four five six seven eight nine ten eleven twelve thirteen "
                       "fourteen fifteen sixteen\nseventeen eighteen.\n\n#hash begins");
    assert_holds(text, "snake_case.\n  verbatim   line \\ with_underscore\n  'quote first");
    assert_holds(text, ".dot\n- a dash begins .dot begins\n");
    assert_holds(text, "\nCalls:\n  -m, --size=SIZE");
    assert_holds(text, "\n\nLoad_all:\n  -e, --engine=NAME");
    assert_holds(text, "\n\nExamples:\n  sonde call --size 64k    what it_shows\n");
    free(text);
    text = command_text(&compare);
    assert_string_equal(text, "two records\n\nUsage: sonde compare FILE...\n");
    free(text);
}

static void test_full_output_is_reported(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    struct err error = {0};
    assert_non_null(full);
    setbuf(full, NULL);
    assert_int_equal(help_overview(full), -1);
    assert_int_equal(help_command(&call, full), -1);
    assert_int_equal(man_write(full), -1);
    assert_int_equal(completion_write("bash", full, &error), -1);
    assert_int_equal(error.code, ERR_SYSTEM);
    fclose(full);
}

static bool have(const char *program)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return system(command) == 0;
}

/* Runs a shell command on the file and returns its exit status; *output is malloc'ed. */
static int run_on(const char *path, const char *format, char **output)
{
    char command[1024];
    size_t size;
    snprintf(command, sizeof command, format, path);
    FILE *pipe = popen(command, "r");
    FILE *out = open_memstream(output, &size);
    assert_non_null(pipe);
    assert_non_null(out);
    for (int c; (c = fgetc(pipe)) != EOF;) {
        fputc(c, out);
    }
    assert_int_equal(fclose(out), 0);
    return WEXITSTATUS(pclose(pipe));
}

struct file {
    char path[64];
};

/* The man page (shell NULL) or a completion as a file. */
static struct file write_file(const char *shell)
{
    struct file file = {"/tmp/sonde_test_XXXXXX"};
    struct err error = {0};
    int fd = mkstemp(file.path);
    assert_in_range(fd, 0, 1024);
    FILE *out = fdopen(fd, "w");
    assert_non_null(out);
    assert_int_equal(shell == NULL ? man_write(out) : completion_write(shell, out, &error), 0);
    assert_int_equal(fclose(out), 0);
    return file;
}

static void test_man_page(void **state)
{
    (void)state;
    if (!have("scdoc") || !have("man")) {
        print_message("needs scdoc and man\n");
        skip();
    }
    struct file file = write_file(NULL);
    char *text;
    assert_int_equal(run_on(file.path, "scdoc < %s 2>&1", &text), 0);
    /* Each text reaches roff unharmed: no line begins a request that scdoc did not write. */
    assert_null(strstr(text, "\n.dot"));
    free(text);
    assert_int_equal(run_on(file.path,
                            "scdoc < %s | LC_ALL=C.UTF-8 MANWIDTH=100 man -E UTF-8 -l - 2>&1 | "
                            "col -bx | sed 's/\xe2\x80\x99/'\\''/g; s/\xe2\x80\x90/-/g'",
                            &text),
                     0);
    assert_holds(text, "-m, --size=SIZE");
    assert_holds(text, "bytes of a call (1 to 1m) [64]");
    assert_holds(text, "--[no-]nodelay");
    assert_holds(text, "set TCP_NODELAY, say [what: it's]");
    assert_holds(text, "-dash first *bold* a\\b");
    assert_holds(text, ".dot first; snake_case_words and a ++ b");
    assert_holds(text, "--odd=A_B:C");
    assert_holds(text, "~tilde _under_ #hash |pipe|");
    assert_holds(text, "-j, --json[=FILE]");
    assert_holds(text, "#hash begins this *paragraph* of snake_case.");
    assert_holds(text, "  verbatim   line \\ with_underscore");
    assert_holds(text, "  'quote first and .dot");
    assert_holds(text, "- a dash begins .dot begins");
    assert_holds(text, "'quote ends it");
    assert_holds(text, "sonde call --size 64k    what it_shows");
    assert_holds(text, "sonde call \\");
    assert_holds(text, "Takes as well, from SHARED OPTIONS: Load_all.");
    assert_holds(text, "NO_COLOR");
    /* A shared group stands once. */
    const char *first = strstr(text, "--engine=NAME");
    assert_non_null(first);
    assert_null(strstr(first + 1, "--engine=NAME"));
    free(text);
    unlink(file.path);
}

/* Completes the words (bash syntax, as COMP_WORDS) at the last of them. */
static void assert_bash(const char *path, const char *words, const char *offers)
{
    char script[900], *text;
    snprintf(script, sizeof script,
             "directory=$(mktemp -d); cd $directory; touch record.json; bash -c '. %%s; "
             "COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
             "_sonde; printf \"<%%%%s>\" \"${COMPREPLY[@]}\"' 2>&1; rm -r $directory",
             words);
    assert_int_equal(run_on(path, script, &text), 0);
    assert_string_equal(text, offers);
    free(text);
}

static void test_bash(void **state)
{
    (void)state;
    if (!have("bash")) {
        print_message("needs bash\n");
        skip();
    }
    struct file file = write_file("bash");
    char *text;
    assert_int_equal(run_on(file.path, "bash -n %s 2>&1", &text), 0);
    assert_string_equal(text, "");
    free(text);
    assert_bash(file.path, "sonde c", "<call><compare>");
    assert_bash(file.path, "sonde --", "<--help><--version>");
    assert_bash(file.path, "sonde call --s", "<--size>");
    assert_bash(file.path, "sonde call --no", "<--nodelay><--no-nodelay>");
    assert_bash(file.path, "sonde serve --", "<--help><--engine><--duration>");
    assert_bash(file.path, "sonde call --write \"\"", "<gather><each><it's $(odd)>");
    assert_bash(file.path, "sonde call --write = e", "<each>");
    assert_bash(file.path, "sonde call --write =", "<gather><each><it's $(odd)>");
    assert_bash(file.path, "sonde call -e po", "<poll>");
    assert_bash(file.path, "sonde call --engine epoll,",
                "<epoll,threads><epoll,poll><epoll,epoll>");
    assert_bash(file.path, "sonde call --engine = epoll,t", "<epoll,threads>");
    assert_bash(file.path, "sonde call --csv rec", "<record.json>");
    assert_bash(file.path, "sonde call --json = record.json", "<record.json>");
    assert_bash(file.path, "sonde call --json record.json", "<>"); /* is the target, not its file */
    assert_bash(file.path, "sonde call --size 6", "<>");
    assert_bash(file.path, "sonde call --nodelay = n", "<no>");
    assert_bash(file.path, "sonde call -k --cor", "<--cork>");
    assert_bash(file.path, "sonde compare record.json", "<record.json>");
    assert_bash(file.path, "sonde serve record.json", "<>");
    unlink(file.path);
}

static void test_zsh_and_fish(void **state)
{
    (void)state;
    char *text;
    struct file zsh = write_file("zsh"), fish = write_file("fish");
    if (have("zsh")) {
        assert_int_equal(run_on(zsh.path, "zsh -n %s 2>&1", &text), 0);
        free(text);
    }
    if (have("fish")) {
        assert_int_equal(run_on(fish.path, "fish -n %s 2>&1", &text), 0);
        free(text);
    }
    assert_int_equal(run_on(zsh.path, "cat %s", &text), 0);
    assert_holds(text, "#compdef sonde\n");
    assert_holds(text, "'call:pipelined calls: it'\\''s '\\''quoted'\\'''\n");
    assert_holds(text, "'(-m --size)'{'-m+','--size='}'[bytes of a call]:SIZE: ' \\\n");
    assert_holds(text, "[set TCP_NODELAY, say \\[what\\: it'\\''s\\] `not` \"$HOME\"]");
    assert_holds(text, "'(--nodelay --no-nodelay)--no-nodelay[not: ");
    assert_holds(text, "{'-j-','--json=-'}'[write JSON]::FILE:_files'");
    assert_holds(text, "'*'{'-e+','--engine='}'[engines]:NAME:_sequence compadd - threads poll");
    assert_holds(text, ":A_B\\:C: '");
    free(text);
    assert_int_equal(run_on(fish.path, "cat %s", &text), 0);
    assert_holds(text,
                 "-n __fish_use_subcommand -a 'call' -d 'pipelined calls: it\\'s \\'quoted\\''");
    assert_holds(text,
                 "'__fish_seen_subcommand_from call' -s 'm' -l 'size' -x -d 'bytes of a call'");
    assert_holds(text, " -l 'write' -x -a 'gather each it\\\\\\'s\\\\ \\\\$\\\\(odd\\\\)' -d ");
    assert_holds(text, " -l 'csv' -r -F -d 'write CSV'");
    assert_holds(text, " -l 'no-nodelay' -d ");
    assert_holds(text, "-a '(__fish_append , threads poll epoll)'");
    free(text);
    unlink(zsh.path);
    unlink(fish.path);
}

static void test_unknown_shell(void **state)
{
    (void)state;
    struct err error = {0};
    assert_int_equal(completion_write("bahs", stdout, &error), -1);
    assert_int_equal(error.code, ERR_USAGE);
    assert_string_equal(error.what, "unknown shell \"bahs\"");
    assert_string_equal(error.hint, "did you mean bash? accepts bash, zsh, fish");
    assert_int_equal(completion_write("", stdout, &error), -1);
    assert_string_equal(error.hint, "accepts bash, zsh, fish");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overview),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_full_output_is_reported),
        cmocka_unit_test(test_man_page),
        cmocka_unit_test(test_bash),
        cmocka_unit_test(test_zsh_and_fish),
        cmocka_unit_test(test_unknown_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
