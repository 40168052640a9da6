/* Result files of wsperf of any bytes: the first byte says into what pieces they are cut. Cut or
 * not makes no difference; what is taken is JSON for jansson too, with as many connections. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "codec/wsperf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

struct reading {
    uint64_t connections, failed, position;
    int64_t open_us;
    int error;
};

static struct reading read_all(const char *data, size_t size, size_t piece)
{
    struct wsperf_reader reader = {0};
    struct reading reading = {0};
    size_t at = 0;
    while (at < size && !reading.error) {
        bool found;
        size_t length = size - at < piece ? size - at : piece;
        char *copy = malloc(length); /* of its size, so that reading on is seen */
        require(copy != NULL);
        memcpy(copy, data + at, length);
        ssize_t taken = wsperf_read(&reader, copy, length, &found);
        free(copy);
        if (taken < 0) {
            require(!found);
            reading.error = (int)taken;
        } else {
            require(taken > 0 && (size_t)taken <= length && (found || (size_t)taken == length));
            at += (size_t)taken;
            require(reader.position == at);
        }
        if (taken > 0 && found) {
            const struct wsperf_connection *connection = &reader.connection;
            reading.connections++;
            reading.failed += connection->failed;
            require(connection->failed || connection->open_us >= 0);
            reading.open_us ^= connection->open_us;
        }
    }
    reading.error = reading.error ? reading.error : wsperf_end(&reader);
    require(strlen(wsperf_error_text(-reading.error)) > 5);
    reading.position = reader.position;
    return reading;
}

/* jansson takes less than JSON: real numbers and strings that are UTF-8. */
static void compare(const char *data, size_t size, const struct reading *reading)
{
    json_t *json = json_loadb(data, size, 0, NULL);
    if (!json) {
        return;
    }
    json_t *list = json_object_get(json, "connection_stats"), *one;
    size_t i;
    uint64_t failed = 0;
    require(json_array_size(list) == reading->connections);
    json_array_foreach(list, i, one)
    {
        require(json_is_boolean(json_object_get(one, "failed")));
        failed += json_is_true(json_object_get(one, "failed"));
    }
    require(failed == reading->failed);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const char *text = (const char *)data + 1;
    struct reading whole = read_all(text, size - 1, size);
    struct reading cut = read_all(text, size - 1, (size_t)data[0] % 16 + 1);
    require(memcmp(&whole, &cut, sizeof whole) == 0);
    if (whole.error == 0) {
        compare(text, size - 1, &whole);
    }
    return 0;
}
