#include "cli/command.h"

#include <stdbool.h>
#include <string.h>

#define HELP_COLUMNS 100
#define HELP_LINES 40
#define OVERVIEW_EXAMPLES 4
/* Lines of the overview besides commands and examples. */
#define OVERVIEW_FIXED_LINES 14

/* Writes one paragraph by words; returns where it ended: at an empty line, a line that begins with
 * a space, or the end. */
static const char *print_paragraph(const char *text, FILE *out)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, " \n");
        size_t width = 0;
        for (size_t i = 0; i < length; i++) {
            width += ((unsigned char)text[i] & 0xc0) != 0x80; /* UTF-8 */
        }
        if (column > 0 && column + 1 + width > HELP_COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%s%.*s", column > 0 ? " " : "", (int)length, text);
        column += width + (column > 0);
        text += length;
        text += strspn(text, " ");
        if (text[0] == '\n' && (text[1] == '\n' || text[1] == ' ' || text[1] == '\0')) {
            text++;
            break;
        }
        text += text[0] == '\n';
    }
    fputc('\n', out);
    return text;
}

/* Paragraphs are filled to the width of the help; lines that begin with a space stay as they are.
 */
static void print_details(const char *text, FILE *out)
{
    while (*text != '\0') {
        if (*text == ' ' || *text == '\n') {
            size_t length = strcspn(text, "\n");
            fprintf(out, "%.*s\n", (int)length, text);
            text += length + (text[length] == '\n');
        } else {
            text = print_paragraph(text, out);
        }
    }
}

/* Writes a text as it is, ended by one newline. */
static void print_block(const char *text, FILE *out)
{
    size_t length = strlen(text);
    fputs(text, out);
    if (length == 0 || text[length - 1] != '\n') {
        fputc('\n', out);
    }
}

static void print_overview_examples(size_t most, FILE *out)
{
    size_t printed = 0;
    for (size_t i = 0; commands[i] != NULL && printed < most; i++) {
        const char *examples = commands[i]->examples;
        if (examples != NULL && examples[0] != '\0') {
            fprintf(out, "%s%.*s\n", printed == 0 ? "\nExamples:\n" : "",
                    (int)strcspn(examples, "\n"), examples);
            printed++;
        }
    }
}

const struct command *command_find(const char *name, struct err *error)
{
    const char *names[32];
    size_t count = 0;
    for (; commands[count] && count < sizeof names / sizeof *names; count++) {
        if (strcmp(commands[count]->name, name) == 0) {
            return commands[count];
        }
        names[count] = commands[count]->name;
    }
    const char *nearest = opt_nearest(name, names, count);
    err_set(error, ERR_USAGE, name, "no such command");
    if (nearest) {
        err_hint(error, "did you mean sonde %s?", nearest);
    } else {
        err_hint(error, "sonde --help lists the commands");
    }
    return NULL;
}

int help_overview(FILE *out)
{
    size_t count = 0, widest = 0;
    for (; commands[count] != NULL; count++) {
        size_t length = strlen(commands[count]->name);
        widest = length > widest ? length : widest;
    }
    fputs(
        "sonde drives a known network or IPC workload, turns one knob, and shows the rate and the "
        "latency\nbeside what the kernel did for it, at both ends.\n\n"
        "Usage: sonde COMMAND [ARGUMENTS] [OPTIONS]\n"
        "       sonde --version\n\n"
        "Commands:\n",
        out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "  %-*s  %s\n", (int)widest, commands[i]->name, commands[i]->summary);
    }
    if (count + OVERVIEW_FIXED_LINES + OVERVIEW_EXAMPLES <= HELP_LINES) {
        print_overview_examples(OVERVIEW_EXAMPLES, out);
    }
    fputs("\n`sonde COMMAND --help` lists a command's options and more examples; `man sonde` tells "
          "it all.\n",
          out);
    return ferror(out) ? -1 : 0;
}

int help_command(const struct command *command, FILE *out)
{
    struct opt_set sets[COMMAND_SETS_MAX] = {0};
    size_t set_count = command->sets != NULL ? command->sets(sets) : 0;
    bool arguments = command->arguments != NULL && command->arguments[0] != '\0';
    fprintf(out, "%s\n\nUsage: sonde %s%s%s\n", command->summary, command->name,
            arguments ? " " : "", arguments ? command->arguments : "");
    if (command->details != NULL) {
        fputc('\n', out);
        print_details(command->details, out);
    }
    if (set_count > 0) {
        fputc('\n', out);
        opt_print_help(sets, set_count, out);
    }
    if (command->examples != NULL) {
        fputs("\nExamples:\n", out);
        print_block(command->examples, out);
    }
    return ferror(out) ? -1 : 0;
}
