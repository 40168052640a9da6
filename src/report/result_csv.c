/* Results as CSV: one row a run with every figure, lines ending in LF. */
#include <errno.h>
#include <stdlib.h>

#include "report/csv.h"
#include "report/result.h"

/* Every key that any run has, in the order of their first appearance; in an object, whose keys
 * jansson keeps in order. */
static json_t *all_keys(const struct result *result)
{
    json_t *keys = json_object();
    for (size_t i = 0; keys && i < result->run_count; i++) {
        for (size_t f = 0; f < result->runs[i].figure_count; f++) {
            const char *key = result->runs[i].figures[f].key;
            if (!json_object_get(keys, key) && json_object_set_new(keys, key, json_true()) < 0) {
                json_decref(keys);
                return NULL;
            }
        }
    }
    return keys;
}

static int print_row(FILE *out, const struct result *result, const struct result_lead *lead,
                     size_t index, json_t *keys)
{
    const struct result_run *run = &result->runs[index];
    const char *key;
    json_t *value;
    int status = 0;
    for (size_t i = 0; i < lead->count; i++) {
        status |= lead->put(lead->owner, index, i, out);
        fputc(',', out);
    }
    status |= csv_put_text(out, run->label);
    fprintf(out, ",%u,%s,%s", run->repetition, run->discarded ? "true" : "false",
            run->complete ? "true" : "false");
    json_object_foreach(keys, key, value)
    {
        csv_put_number(out, result_value(run, key));
    }
    fputc('\n', out);
    return status;
}

int result_csv(const struct result *result, const struct result_lead *lead, char **text,
               size_t *length, struct err *error)
{
    json_t *keys = all_keys(result), *value;
    const char *key;
    int status = keys ? 0 : -1;
    *text = NULL;
    FILE *out = open_memstream(text, length);
    for (size_t i = 0; out && i < lead->count; i++) {
        status |= csv_put_text(out, lead->names[i]);
        fputc(',', out);
    }
    if (out) {
        fputs("label,repetition,discarded,complete", out);
        json_object_foreach(keys, key, value)
        {
            fputc(',', out);
            status |= csv_put_text(out, key);
        }
        fputc('\n', out);
    }
    for (size_t i = 0; out && status == 0 && i < result->run_count; i++) {
        status = print_row(out, result, lead, i, keys);
    }
    json_decref(keys);
    if (!out || fclose(out) != 0 || status != 0) {
        free(*text);
        *text = NULL;
        return err_system(error, ENOMEM, "CSV", "cannot be made");
    }
    return 0;
}
