/* Records of any content: what is accepted has figures that can be looked up and are finite, all
 * but an unknown headline; what is not is one error in words. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "report/result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_run(const struct result_run *run)
{
    require(run->label != NULL);
    for (size_t i = 0; i < run->figure_count; i++) {
        const struct figure *figure = &run->figures[i];
        require(i == 0 || isfinite(figure->value));
        require(result_find(run, figure->key) == figure);
        require(memchr(figure->unit, '\0', sizeof figure->unit) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result result;
    struct err error = {0};
    json_t *json =
        json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (!json) {
        return 0;
    }
    if (result_from_json(json, "input", &result, &error) == 0) {
        require(error.code == ERR_NONE);
        for (size_t i = 0; i < result.run_count; i++) {
            check_run(&result.runs[i]);
        }
    } else {
        require(error.code == ERR_USAGE && error.what[0] && !result.runs && !result.json);
    }
    result_release(&result);
    json_decref(json);
    return 0;
}
