#include "cli/command.h"

#include <stdbool.h>
#include <string.h>

#include "probe/probe.h"
#include "run/fill.h"
#include "run/flows.h"
#include "run/footprint.h"
#include "run/ipc.h"
#include "workload/workload.h"

#define TEXT_MAX 1024

/* Writes plain text for scdoc: what it would take as markup is escaped. `at_start`: the text begins
 * a line, where headings, lists, tables and literal blocks would begin. scdoc turns dots into roff
 * itself but loses one that begins a line, and passes an escaped one on raw, as a request: an empty
 * bold text stands before it. */
static void write_plain(const char *text, size_t length, bool at_start, FILE *out)
{
    for (size_t i = 0; i < length; i++) {
        bool first = at_start && i == 0;
        if (first && text[i] == '.') {
            fputs("**", out);
        } else if (strchr("\\_*+", text[i]) != NULL ||
                   (first && strchr("#-[|]`;", text[i]) != NULL)) {
            fputc('\\', out);
        }
        fputc(text[i], out);
    }
}

static void write_text(const char *text, FILE *out)
{
    write_plain(text, strlen(text), false, out);
}

/* One line of a literal block. A backslash escapes there too. */
static void write_literal(const char *text, size_t length, FILE *out)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\') {
            fputc('\\', out);
        }
        fputc(text[i], out);
    }
    fputc('\n', out);
}

/* Paragraphs as text; lines that begin with a space as literal blocks. */
static void write_details(const char *text, FILE *out)
{
    bool literal = false, blank = true;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        bool wants_literal = text[0] == ' ';
        if (wants_literal != literal) {
            fputs(literal || blank ? "```\n" : "\n```\n", out);
            if (literal) {
                fputc('\n', out);
            }
            literal = wants_literal;
        }
        if (literal) {
            write_literal(text, length, out);
        } else if (length > 0 || !blank) {
            write_plain(text, length, true, out);
            fputc('\n', out);
        }
        blank = length == 0;
        text += length + (text[length] == '\n');
    }
    fputs(literal ? "```\n\n" : "\n", out);
}

static void write_row(const struct opt *row, FILE *out)
{
    char text[TEXT_MAX];
    const char *argument = opt_argument_name(row);
    if (row->letter != 0) {
        fputc('*', out);
        write_plain((char[]){'-', row->letter}, 2, false, out);
        fputs("*, ", out);
    }
    fprintf(out, "*--%s", opt_has_negation(row) ? "[no-]" : "");
    write_text(row->name, out);
    fputc('*', out);
    if (argument != NULL) {
        fputs(row->optional != NULL ? "[=_" : "=_", out);
        write_text(argument, out);
        fputs(row->optional != NULL ? "_]" : "_", out);
    }
    fputs("\n\t", out);
    opt_describe(row, text, sizeof text);
    write_plain(text[0] != '\0' ? text : row->name, strlen(text[0] != '\0' ? text : row->name),
                true, out);
    fputs("\n\n", out);
}

static void write_set(const struct opt_set *set, FILE *out)
{
    for (size_t r = 0; r < set->count; r++) {
        write_row(&set->rows[r], out);
    }
}

/* How many commands take this group of rows. */
static size_t count_users(const struct opt *rows)
{
    size_t users = 0;
    for (size_t i = 0; commands[i] != NULL; i++) {
        struct opt_set sets[COMMAND_SETS_MAX] = {0};
        size_t count = commands[i]->sets != NULL ? commands[i]->sets(sets) : 0;
        for (size_t s = 0; s < count; s++) {
            users += sets[s].rows == rows;
        }
    }
    return users;
}

static void write_command(const struct command *command, FILE *out)
{
    struct opt_set sets[COMMAND_SETS_MAX] = {0};
    size_t count = command->sets != NULL ? command->sets(sets) : 0;
    fputs("## sonde ", out);
    write_text(command->name, out);
    fputs("\n\n*sonde ", out);
    write_text(command->name, out);
    fputs("* ", out);
    write_text(command->arguments != NULL ? command->arguments : "", out);
    fputs("\n\n", out);
    write_plain(command->summary, strlen(command->summary), true, out);
    fputs(".\n\n", out);
    if (command->details != NULL) {
        write_details(command->details, out);
    }
    size_t shared = 0;
    for (size_t s = 0; s < count; s++) {
        if (sets[s].count > 0 && count_users(sets[s].rows) == 1) {
            fputc('*', out);
            write_text(sets[s].title, out);
            fputs(":*\n\n", out);
            write_set(&sets[s], out);
        }
    }
    for (size_t s = 0; s < count; s++) {
        if (sets[s].count > 0 && count_users(sets[s].rows) > 1) {
            fputs(shared++ == 0 ? "Takes as well, from *SHARED OPTIONS*: _" : ", _", out);
            write_text(sets[s].title, out);
            fputc('_', out);
        }
    }
    fputs(shared > 0 ? ".\n\n" : "", out);
    if (command->examples != NULL) {
        fputs("Examples:\n\n```\n", out);
        for (const char *line = command->examples; *line != '\0';) {
            size_t length = strcspn(line, "\n");
            write_literal(line, length, out);
            line += length + (line[length] == '\n');
        }
        fputs("```\n\n", out);
    }
}

/* True where a command before `limit`, or an earlier set of it, has the group. */
static bool stands_before(const struct opt *rows, size_t limit, size_t set_limit)
{
    for (size_t i = 0; i <= limit; i++) {
        struct opt_set sets[COMMAND_SETS_MAX] = {0};
        size_t count = commands[i]->sets != NULL ? commands[i]->sets(sets) : 0;
        for (size_t s = 0; s < (i == limit ? set_limit : count); s++) {
            if (sets[s].rows == rows) {
                return true;
            }
        }
    }
    return false;
}

static void write_shared(FILE *out)
{
    bool first = true;
    for (size_t i = 0; commands[i] != NULL; i++) {
        struct opt_set sets[COMMAND_SETS_MAX] = {0};
        size_t count = commands[i]->sets != NULL ? commands[i]->sets(sets) : 0;
        for (size_t s = 0; s < count; s++) {
            if (sets[s].count == 0 || count_users(sets[s].rows) == 1 ||
                stands_before(sets[s].rows, i, s)) {
                continue;
            }
            fputs(first ? "# SHARED OPTIONS\n\n## " : "## ", out);
            first = false;
            write_text(sets[s].title, out);
            fputs("\n\n", out);
            write_set(&sets[s], out);
        }
    }
}

static const char man_head[] =
    "sonde(1)\n\n"
    "# NAME\n\n"
    "sonde - drive an I/O workload, turn one knob, see what the kernel did for it\n\n"
    "# SYNOPSIS\n\n"
    "*sonde* _COMMAND_ [_ARGUMENTS_] [_OPTIONS_]\n\n"
    "*sonde* [_COMMAND_] *--help*\n\n"
    "*sonde* *--version*\n\n"
    "# DESCRIPTION\n\n"
    "*sonde* drives a known network or IPC workload, turns one knob, and shows the rate and the\n"
    "latency beside what the kernel did for it, at both ends.\n\n"
    "# COMMANDS\n\n";

static const char man_tail[] =
    "# VALUES\n\n"
    "Sizes are IEC: _64k_ is 65,536 bytes, and _m_, _g_ and _t_ follow. Counts and rates are SI: "
    "_20k_ is\n20,000. Durations take _ns_, _us_, _ms_, _s_, _m_ (minutes) and _h_; a bare number "
    "is seconds.\nLists are separated by commas, or the option is repeated. In brackets stands "
    "the default.\n\n"
    "# EXIT STATUS\n\n"
    "*0*\n\tIt did what was asked.\n\n"
    "*1*\n\tIt failed; one line on standard error says why. What was measured is still "
    "reported. Of\n\t*sonde compare*: a condition of *--fail-if* holds.\n\n"
    "*2*\n\tThe command line is wrong, or a result file cannot be read.\n\n"
    "*sonde observe -- COMMAND* has the command's own exit status (128 and the signal's number "
    "where one ended\nit), *sonde as PROGRAM* the program's.\n\n"
    "# ENVIRONMENT\n\n"
    "*NO\\_COLOR*\n\tWhen set and not empty, output has no colours.\n";

static void write_figure(const char *key, const char *title, const char *unit, const char *help,
                         FILE *out)
{
    fputs("*", out);
    write_text(title, out);
    fputs("* (", out);
    write_text(key, out);
    if (strcmp(unit, "1") != 0) {
        fputs(", ", out);
        write_text(unit, out);
    }
    fputs(")\n\t", out);
    write_text(help, out);
    fputs("\n\n", out);
}

static void write_metrics(const struct metric *metrics, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct metric *metric = &metrics[i];
        write_figure(metric->key, metric->title, metric->unit, metric->help, out);
    }
}

static void write_histograms(const struct role *role, FILE *out)
{
    for (size_t i = 0; i < role->histogram_count; i++) {
        const struct histogram_metric *metric = &role->histograms[i];
        write_figure(metric->key, metric->title, metric->unit, metric->help, out);
    }
}

static void write_figures_of_ipc(FILE *out)
{
    const struct metric *metrics;
    size_t count;
    fputs("## sonde ipc\n\n", out);
    write_figure(ipc_transfer_time.key, ipc_transfer_time.title, ipc_transfer_time.unit,
                 ipc_transfer_time.help, out);
    for (size_t group = 0; (metrics = ipc_figures(group, &count)) != NULL; group++) {
        write_metrics(metrics, count, out);
    }
}

static void write_figures_of_probes(FILE *out)
{
    for (size_t i = 0; probes[i] != NULL; i++) {
        if (probes[i]->metric_count) {
            fputs("## probe ", out);
            write_text(probes[i]->name, out);
            fputs("\n\n", out);
            write_metrics(probes[i]->metrics, probes[i]->metric_count, out);
        }
    }
}

/* True where one of these rows has this key. */
static bool has_key(const struct metric *metrics, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(metrics[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Those that no workload before has: two of one command share some. */
static void write_new_metrics(size_t workload, const struct metric *metrics, size_t count,
                              FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const char *key = metrics[i].key;
        bool said = false;
        for (size_t k = 0; k < workload; k++) {
            const struct workload *before = workloads[k];
            said = said || (strcmp(before->name, workloads[workload]->name) == 0 &&
                            (has_key(before->metrics, before->metric_count, key) ||
                             has_key(before->server_metrics, before->server_metric_count, key)));
        }
        if (!said) {
            write_metrics(&metrics[i], 1, out);
        }
    }
}

/* What every figure of the reports means, from the rows that they are made of. */
static void write_figures(FILE *out)
{
    fputs("# FIGURES\n\n", out);
    for (size_t i = 0; workloads[i] != NULL; i++) {
        const struct workload *workload = workloads[i];
        bool again = i && strcmp(workloads[i - 1]->name, workload->name) == 0;
        if (!again) {
            fputs("## sonde ", out);
            write_text(workload->name, out);
            fputs("\n\n", out);
            write_histograms(workload->client, out);
        }
        write_new_metrics(i, workload->metrics, workload->metric_count, out);
        write_new_metrics(i, workload->server_metrics, workload->server_metric_count, out);
    }
    fputs("## Of every workload\n\n", out);
    write_metrics(bulk_metrics, BULK_METRICS, out);
    write_metrics(flow_tcp_metrics, FLOW_TCP_METRICS, out);
    write_metrics(run_extra_metrics, RUN_EXTRA_METRICS, out);
    write_metrics(footprint_metrics, FOOTPRINT_METRICS, out);
    write_figures_of_ipc(out);
    write_figures_of_probes(out);
}

int man_write(FILE *out)
{
    fputs(man_head, out);
    for (size_t i = 0; commands[i] != NULL; i++) {
        write_command(commands[i], out);
    }
    write_shared(out);
    write_figures(out);
    fputs(man_tail, out);
    return ferror(out) ? -1 : 0;
}
