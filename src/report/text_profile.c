/* What a profile says, as text: functions by the samples in them, laid out as perf report does. */
#include <math.h>
#include <string.h>

#include "report/figures.h"
#include "report/text.h"
#include "report/text_profile.h"

#define FUNCTIONS_MAX 25 /* the record in JSON has more */
#define FUNCTIONS_COMPACT 8
#define FIGURES_COLUMNS 26 /* indentation, overhead, total, and the gaps */
#define OBJECT_MOST 24
#define SYMBOL_LEAST 16

bool text_is_function(const struct record_probe_row *row)
{
    return row->symbol != NULL;
}

/* The end of a path is what distinguishes it. */
static const char *base_name(const char *path)
{
    const char *slash = path[0] == '/' ? strrchr(path, '/') : NULL;
    return slash && slash[1] ? slash + 1 : path;
}

static void share_cell(struct table *table, const struct record_probe_row *row, const char *key)
{
    char share[32];
    double value = NAN;
    for (size_t i = 0; i < row->value_count; i++) {
        if (strcmp(row->values[i].metric->key, key) == 0 && figures_shown(&row->values[i])) {
            value = row->values[i].value;
        }
    }
    table_cell(table, "%s", text_share(share, sizeof share, value));
}

/* "server sonde 123", without the number where processes of one name are one; empty: of several.
 * Who was only observed is that by its name. */
static const char *process_text(const struct record_scope *scope, char *to, size_t size)
{
    bool role = scope->role[0] && (strcmp(scope->role, "observed") != 0 || !scope->name[0]);
    int used = snprintf(to, size, "%s%s%s", role ? scope->role : "",
                        role && scope->name[0] ? " " : "", scope->name);
    if (scope->pid != 0) {
        snprintf(to + used, size - (size_t)used, " %d", (int)scope->pid);
    }
    return to;
}

/* A name that is too long keeps its beginning. */
static void name_cell(struct table *table, const char *name, size_t columns)
{
    bool whole = strlen(name) <= columns;
    table_cell(table, "%.*s%s", (int)(whole ? columns : columns - 2), name, whole ? "" : "..");
}

/* How wide the names may be. */
struct widths {
    size_t object, symbol;
};

static struct widths find_widths(const struct record_probe *probe)
{
    struct widths widths = {.object = sizeof "object" - 1};
    size_t process = sizeof "process" - 1, left = TEXT_COLUMNS - FIGURES_COLUMNS, shown = 0;
    for (size_t i = 0; i < probe->row_count && shown < FUNCTIONS_MAX; i++) {
        const struct record_probe_row *row = &probe->rows[i];
        char text[64];
        if (!text_is_function(row)) {
            continue;
        }
        size_t length = strlen(process_text(&row->scope, text, sizeof text));
        process = length > process ? length : process;
        length = strlen(base_name(row->object));
        widths.object = length > widths.object ? length : widths.object;
        shown++;
    }
    widths.object = widths.object < OBJECT_MOST ? widths.object : OBJECT_MOST;
    left -= process + widths.object;
    widths.symbol = left < TEXT_COLUMNS && left > SYMBOL_LEAST ? left : SYMBOL_LEAST;
    return widths;
}

static void function_cells(struct table *table, const struct record_probe_row *row,
                           const struct widths *widths)
{
    char process[64];
    share_cell(table, row, "self_share");
    share_cell(table, row, "total_share");
    table_cell(table, "%s", process_text(&row->scope, process, sizeof process));
    name_cell(table, base_name(row->object), widths->object);
    name_cell(table, row->symbol, widths->symbol);
}

void text_functions(struct text *text, const struct record_probe *probe)
{
    static const char *const titles[] = {"overhead", "total", "process", "object", "symbol"};
    const struct widths widths = find_widths(probe);
    struct table table;
    size_t functions = 0, shown = 0, most = text->compact ? FUNCTIONS_COMPACT : FUNCTIONS_MAX;
    for (size_t i = 0; i < probe->row_count; i++) {
        functions += text_is_function(&probe->rows[i]);
    }
    if (functions == 0) {
        return;
    }
    table_init(&table, "rrlll");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        table_cell(&table, "%s", titles[i]);
    }
    for (size_t i = 0; i < probe->row_count && shown < most; i++) {
        if (text_is_function(&probe->rows[i])) {
            function_cells(&table, &probe->rows[i], &widths);
            shown++;
        }
    }
    fputc('\n', text->out);
    table_print(&table, text);
    if (functions > shown) {
        text_paragraph(text, 2, 4, "(and %zu more functions in --json)", functions - shown);
    }
}
