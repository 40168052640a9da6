/* What repeated runs took at both ends, a line for each label: the phases of a connection with
 * their means, memory, and the cost of each byte. */
#include <math.h>
#include <string.h>

#include "report/figures.h"
#include "report/text.h"

/* A column: a value of the summaries. Neighbours of one group stand below one title. */
struct column {
    const char *key, *group, *title;
};

#define COLUMNS_MOST 10

static const struct column times[] = {
    {"download.mean", "download (mean)", "time"},
    {"download_bytes_per_second", "download (mean)", "of one"},
    {"body_bytes_per_second", "download (mean)", "of all"},
    {"socket.mean", "phases before it (mean)", "socket"},
    {"set_up.mean", "phases before it (mean)", "set-up"},
    {"connect.mean", "phases before it (mean)", "connect"},
    {"tls_handshake.mean", "phases before it (mean)", "TLS"},
    {"first_byte.mean", "phases before it (mean)", "first byte"},
    {"run_time", "", "run time"},
};

static const struct column memory[] = {
    {"client_memory_average", "client's memory", "average"},
    {"client_memory_peak", "client's memory", "peak"},
    {"client_virtual_peak", "client's memory", "virtual"},
    {"server_memory_average", "server's memory", "average"},
    {"server_memory_peak", "server's memory", "peak"},
    {"server_virtual_peak", "server's memory", "virtual"},
    {"memory_before", "before the run", "memory"},
    {"virtual_before", "before the run", "virtual"},
};

static const struct column bytes[] = {
    {"client_calls_per_mib", "calls/MiB", "client"},
    {"server_calls_per_mib", "calls/MiB", "server"},
    {"client_cpu_ns_per_gib", "CPU/GiB", "client"},
    {"server_cpu_ns_per_gib", "CPU/GiB", "server"},
    {"client_switches_per_gib", "switches/GiB", "client"},
    {"server_switches_per_gib", "switches/GiB", "server"},
    {"client_waited_ns_per_gib", "waiting/GiB", "client"},
    {"server_waited_ns_per_gib", "waiting/GiB", "server"},
};

static const struct record_summary_value *value_of(const struct record_summary *summary,
                                                   const char *key)
{
    for (size_t i = 0; i < summary->value_count; i++) {
        if (strcmp(summary->values[i].metric->key, key) == 0) {
            return summary->values[i].count ? &summary->values[i] : NULL;
        }
    }
    return NULL;
}

static bool is_there(const struct record *record, const char *key)
{
    for (size_t i = 0; i < record->summary_count; i++) {
        if (value_of(&record->summaries[i], key)) {
            return true;
        }
    }
    return false;
}

/* The columns of which some label has a value; nothing where the first one, which the others are
 * about, is in none. */
static void print_columns(struct text *text, const struct record *record,
                          const struct column *columns, size_t count)
{
    const struct column *shown[COLUMNS_MOST];
    char alignment[COLUMNS_MOST + 2] = "l", number[64];
    size_t used = 0;
    for (size_t i = 0; i < count && is_there(record, columns[0].key); i++) {
        if (is_there(record, columns[i].key)) {
            shown[used++] = &columns[i];
            alignment[used] = 'r';
        }
    }
    if (used == 0) {
        return;
    }
    struct table table;
    table_init(&table, alignment);
    for (size_t i = 0, first = 0; i < used; i++) {
        if (i + 1 == used || strcmp(shown[i + 1]->group, shown[i]->group) != 0) {
            if (shown[i]->group[0]) {
                table_span(&table, first + 1, i + 1 - first, shown[i]->group);
            }
            first = i + 1;
        }
    }
    table_cell(&table, "%s", "");
    for (size_t i = 0; i < used; i++) {
        table_cell(&table, "%s", shown[i]->title);
    }
    for (size_t i = 0; i < record->summary_count; i++) {
        table_cell(&table, "%s", record->summaries[i].label);
        for (size_t k = 0; k < used; k++) {
            const struct record_summary_value *value =
                value_of(&record->summaries[i], shown[k]->key);
            table_cell(&table, "%s",
                       text_value(number, sizeof number, value ? value->median.value : NAN,
                                  value ? value->metric->unit : "1"));
        }
    }
    table_print(&table, text);
    fputc('\n', text->out);
}

void text_ends_summaries(struct text *text, const struct record *record)
{
    print_columns(text, record, times, sizeof times / sizeof *times);
    print_columns(text, record, memory, sizeof memory / sizeof *memory);
    print_columns(text, record, bytes, sizeof bytes / sizeof *bytes);
}
