#include "codec/iperf3_json.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    FLAG_TRUE, /* bool, written as true */
    FLAG_ONE,  /* bool, written as 1 */
    UINT32,
    UINT64,
    INT32,
    INT64,
    REAL,
    TEXT,      /* cut to fit */
    TEXT_WHOLE /* refused where it does not fit */
};

enum { ALWAYS = 1, REQUIRED = 2 }; /* written though it is zero; must be there */

struct row {
    const char *name;
    enum kind kind;
    size_t offset, size;
    double least, most; /* of numbers */
    int flags;
};

#define AT(structure, member)                                                                      \
    offsetof(struct structure, member), sizeof(((struct structure *)0)->member)
#define PARAMETER(member) AT(iperf3_parameters, member)
#define RESULT(member) AT(iperf3_results, member)
#define STREAM(member) AT(iperf3_stream_result, member)
#define WHOLE_MOST 9007199254740992.0 /* 2^53: what a JSON number holds exactly */
#define SECONDS_MOST 1e9
#define MINUS_ONE_UNSIGNED 18446744073709551615.0 /* how some builds of iperf3 write -1 */

static const struct row parameter_rows[] = {
    {"omit", UINT32, PARAMETER(omit_s), 0, IPERF3_OMIT_MOST_S, ALWAYS},
    {"time", UINT32, PARAMETER(time_s), 0, IPERF3_TIME_MOST_S, ALWAYS},
    {"num", UINT64, PARAMETER(bytes), 0, WHOLE_MOST, ALWAYS},
    {"blockcount", UINT64, PARAMETER(blocks), 0, WHOLE_MOST, ALWAYS},
    {"MSS", UINT32, PARAMETER(mss), 0, IPERF3_MSS_MOST, 0},
    {"nodelay", FLAG_TRUE, PARAMETER(nodelay), 0, 1, 0},
    {"parallel", UINT32, PARAMETER(parallel), 1, IPERF3_STREAMS_MOST, ALWAYS},
    {"reverse", FLAG_TRUE, PARAMETER(reverse), 0, 1, 0},
    {"bidirectional", FLAG_TRUE, PARAMETER(bidirectional), 0, 1, 0},
    {"window", UINT32, PARAMETER(window_bytes), 0, IPERF3_WINDOW_MOST, 0},
    {"len", UINT32, PARAMETER(length_bytes), 0, IPERF3_BLOCK_MOST, 0},
    {"bandwidth", UINT64, PARAMETER(bandwidth), 0, WHOLE_MOST, 0},
    {"fqrate", UINT64, PARAMETER(fqrate), 0, WHOLE_MOST, 0},
    {"pacing_timer", UINT32, PARAMETER(pacing_timer_us), 0, INT32_MAX, 0},
    {"burst", UINT32, PARAMETER(burst), 1, IPERF3_BURST_MOST, 0},
    {"TOS", UINT32, PARAMETER(tos), 0, 255, 0},
    {"flowlabel", UINT32, PARAMETER(flowlabel), 1, 0xfffff, 0},
    {"title", TEXT, PARAMETER(title), 0, 0, 0},
    {"extra_data", TEXT, PARAMETER(extra_data), 0, 0, 0},
    {"congestion", TEXT_WHOLE, PARAMETER(congestion), 0, 0, 0},
    {"get_server_output", FLAG_ONE, PARAMETER(get_server_output), 0, 1, 0},
    {"udp_counters_64bit", FLAG_ONE, PARAMETER(udp_counters_64bit), 0, 1, 0},
    {"repeating_payload", FLAG_ONE, PARAMETER(repeating_payload), 0, 1, 0},
    {"zerocopy", FLAG_ONE, PARAMETER(zerocopy), 0, 1, 0},
    {"dont_fragment", FLAG_ONE, PARAMETER(dont_fragment), 0, 1, 0},
    {"skip_rx_copy", FLAG_ONE, PARAMETER(skip_rx_copy), 0, 1, 0},
    {"client_version", TEXT, PARAMETER(client_version), 0, 0, 0},
};

static const struct row result_rows[] = {
    {"cpu_util_total", REAL, RESULT(cpu_total), 0, SECONDS_MOST, ALWAYS | REQUIRED},
    {"cpu_util_user", REAL, RESULT(cpu_user), 0, SECONDS_MOST, ALWAYS | REQUIRED},
    {"cpu_util_system", REAL, RESULT(cpu_system), 0, SECONDS_MOST, ALWAYS | REQUIRED},
    {"sender_has_retransmits", INT32, RESULT(sender_has_retransmits), -1, 1, ALWAYS | REQUIRED},
    {"congestion_used", TEXT, RESULT(congestion_used), 0, 0, 0},
};

static const struct row stream_rows[] = {
    {"id", INT32, STREAM(id), 1, INT32_MAX, ALWAYS | REQUIRED},
    {"bytes", UINT64, STREAM(bytes), 0, WHOLE_MOST, ALWAYS | REQUIRED},
    {"retransmits", INT64, STREAM(retransmits), -1, WHOLE_MOST, ALWAYS | REQUIRED},
    {"jitter", REAL, STREAM(jitter_s), 0, SECONDS_MOST, ALWAYS | REQUIRED},
    {"errors", INT64, STREAM(errors), -1, WHOLE_MOST, ALWAYS | REQUIRED},
    {"omitted_errors", INT64, STREAM(omitted_errors), -1, WHOLE_MOST, ALWAYS},
    {"packets", INT64, STREAM(packets), 0, WHOLE_MOST, ALWAYS | REQUIRED},
    {"omitted_packets", INT64, STREAM(omitted_packets), 0, WHOLE_MOST, ALWAYS},
    {"start_time", REAL, STREAM(start_s), 0, SECONDS_MOST, ALWAYS},
    {"end_time", REAL, STREAM(end_s), 0, SECONDS_MOST, ALWAYS},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A member of the struct, copied: its type is known by the row alone. */
static double member_number(const struct row *row, const void *from)
{
    const char *at = (const char *)from + row->offset;
    switch (row->kind) {
    case UINT32:
        return *(const uint32_t *)(const void *)at;
    case UINT64:
        return (double)*(const uint64_t *)(const void *)at;
    case INT32:
        return *(const int32_t *)(const void *)at;
    case INT64:
        return (double)*(const int64_t *)(const void *)at;
    case REAL:
        return *(const double *)(const void *)at;
    default:
        return *(const bool *)(const void *)at;
    }
}

static json_t *member_json(const struct row *row, const void *from)
{
    const char *at = (const char *)from + row->offset;
    if (row->kind == TEXT || row->kind == TEXT_WHOLE) {
        return json_stringn(at, strnlen(at, row->size));
    }
    double number = member_number(row, from);
    if (row->kind == FLAG_TRUE) {
        return json_boolean(number != 0);
    }
    return row->kind == REAL ? json_real(isfinite(number) ? number : 0)
                             : json_integer((json_int_t)number);
}

static bool is_empty(const struct row *row, const void *from)
{
    if (row->kind == TEXT || row->kind == TEXT_WHOLE) {
        return ((const char *)from)[row->offset] == '\0';
    }
    return member_number(row, from) == 0;
}

/* 0, or -1 without memory. */
static int encode_rows(json_t *object, const struct row *rows, size_t count, const void *from)
{
    for (size_t i = 0; i < count; i++) {
        if (((rows[i].flags & ALWAYS) || !is_empty(&rows[i], from)) &&
            json_object_set_new(object, rows[i].name, member_json(&rows[i], from))) {
            return -1;
        }
    }
    return 0;
}

static int decode_number(const struct row *row, const json_t *value, char *at)
{
    double number = json_number_value(value);

    if (!json_is_number(value)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    if (row->least == -1 && number == MINUS_ONE_UNSIGNED) {
        number = -1;
    }
    if (!(number >= row->least && number <= row->most)) {
        return IPERF3_BAD_JSON_RANGE;
    }
    if (row->kind != REAL && number != floor(number)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    switch (row->kind) {
    case UINT32:
        *(uint32_t *)(void *)at = (uint32_t)number;
        break;
    case UINT64:
        *(uint64_t *)(void *)at = (uint64_t)number;
        break;
    case INT32:
        *(int32_t *)(void *)at = (int32_t)number;
        break;
    case INT64:
        *(int64_t *)(void *)at = (int64_t)number;
        break;
    default:
        *(double *)(void *)at = number;
        break;
    }
    return 0;
}

static int decode_text(const struct row *row, const json_t *value, char *at)
{
    if (!json_is_string(value)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    size_t length = json_string_length(value);
    if (length >= row->size && row->kind == TEXT_WHOLE) {
        return IPERF3_BAD_JSON_RANGE;
    }
    length = length < row->size ? length : row->size - 1;
    /* Not in the middle of a character: what is kept has to be UTF-8 again. */
    while (length < json_string_length(value) && length > 0 &&
           (json_string_value(value)[length] & 0xc0) == 0x80) {
        length--;
    }
    memset(at, 0, row->size);
    memcpy(at, json_string_value(value), length);
    return 0;
}

static int decode_row(const struct row *row, const json_t *value, void *to)
{
    char *at = (char *)to + row->offset;
    if (row->kind == TEXT || row->kind == TEXT_WHOLE) {
        return decode_text(row, value, at);
    }
    if (row->kind != FLAG_TRUE && row->kind != FLAG_ONE) {
        return decode_number(row, value, at);
    }
    if (!json_is_boolean(value) && !json_is_number(value)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    *(bool *)(void *)at = json_is_true(value) || json_number_value(value) != 0;
    return 0;
}

static int decode_rows(const json_t *object, const struct row *rows, size_t count, void *to,
                       const char **member)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(object, rows[i].name);
        *member = rows[i].name;
        if (value == NULL && (rows[i].flags & REQUIRED)) {
            return IPERF3_BAD_JSON_MISSING;
        }
        int status = value ? decode_row(&rows[i], value, to) : 0;
        if (status) {
            return status;
        }
    }
    *member = "";
    return 0;
}

/* An object of the text, or NULL with *status. */
static json_t *load(const char *text, size_t length, int *status)
{
    json_error_t error;
    /* As reals: jansson would refuse integers of more than 63 bits, which peers do send. */
    json_t *root = json_loadb(
        text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    if (root == NULL) {
        *status = json_error_code(&error) == json_error_out_of_memory ? IPERF3_BAD_MEMORY
                                                                      : IPERF3_BAD_JSON;
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        *status = IPERF3_BAD_JSON_OBJECT;
        return NULL;
    }
    *status = 0;
    return root;
}

void iperf3_parameters_default(struct iperf3_parameters *parameters)
{
    *parameters = (struct iperf3_parameters){
        .protocol = IPERF3_TCP, .time_s = 10, .parallel = 1, .pacing_timer_us = 1000};
}

char *iperf3_parameters_encode(const struct iperf3_parameters *parameters)
{
    static const char *const protocols[] = {
        [IPERF3_TCP] = "tcp", [IPERF3_UDP] = "udp", [IPERF3_SCTP] = "sctp"};
    char *text = NULL;
    json_t *object = json_object();

    if (object != NULL &&
        json_object_set_new(object, protocols[parameters->protocol], json_true()) == 0 &&
        encode_rows(object, parameter_rows, COUNT(parameter_rows), parameters) == 0) {
        text = json_dumps(object, JSON_COMPACT);
    }
    json_decref(object);
    return text;
}

static int decode_protocol(const json_t *object, struct iperf3_parameters *parameters,
                           const char **member)
{
    static const struct {
        const char *name;
        enum iperf3_protocol protocol;
    } names[] = {{"tcp", IPERF3_TCP}, {"udp", IPERF3_UDP}, {"sctp", IPERF3_SCTP}};

    for (size_t i = 0; i < COUNT(names); i++) {
        const json_t *value = json_object_get(object, names[i].name);
        *member = names[i].name;
        if (value != NULL && !json_is_boolean(value) && !json_is_number(value)) {
            return IPERF3_BAD_JSON_TYPE;
        }
        if (json_is_true(value) || json_number_value(value) != 0) {
            parameters->protocol = names[i].protocol;
        }
    }
    const json_t *token = json_object_get(object, "authtoken");
    *member = "authtoken";
    if (token != NULL && !json_is_string(token)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    parameters->token = token != NULL;
    return 0;
}

/* What members say together. */
static int check_parameters(struct iperf3_parameters *parameters, const char **member)
{
    bool udp = parameters->protocol == IPERF3_UDP;

    *member = "len";
    if (parameters->length_bytes == 0) {
        parameters->length_bytes = udp ? 1460 : 128 << 10;
    }
    if (udp && (parameters->length_bytes < IPERF3_UDP_BLOCK_LEAST ||
                parameters->length_bytes > IPERF3_UDP_BLOCK_MOST)) {
        return IPERF3_BAD_JSON_RANGE;
    }
    *member = "bidirectional";
    if (parameters->reverse && parameters->bidirectional) {
        return IPERF3_BAD_JSON_RANGE;
    }
    *member = "";
    return 0;
}

int iperf3_parameters_decode(const char *text, size_t length, struct iperf3_parameters *parameters,
                             const char **member)
{
    int status;

    *member = "";
    iperf3_parameters_default(parameters);
    json_t *object = load(text, length, &status);
    if (object == NULL) {
        return status;
    }
    status = decode_protocol(object, parameters, member);
    if (status == 0) {
        status = decode_rows(object, parameter_rows, COUNT(parameter_rows), parameters, member);
    }
    if (status == 0) {
        status = check_parameters(parameters, member);
    }
    json_decref(object);
    return status;
}

static json_t *encode_streams(const struct iperf3_results *results)
{
    json_t *array = json_array();
    for (uint32_t i = 0; array != NULL && i < results->stream_count; i++) {
        json_t *object = json_object();
        if (object == NULL ||
            encode_rows(object, stream_rows, COUNT(stream_rows), &results->streams[i])) {
            json_decref(object);
            json_decref(array);
            return NULL;
        }
        if (json_array_append_new(array, object)) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

char *iperf3_results_encode(const struct iperf3_results *results)
{
    char *text = NULL;
    json_t *object = json_object();

    if (object != NULL && encode_rows(object, result_rows, COUNT(result_rows), results) == 0 &&
        (results->output == NULL ||
         json_object_set_new(object, "server_output_text", json_string(results->output)) == 0) &&
        json_object_set_new(object, "streams", encode_streams(results)) == 0) {
        text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    }
    json_decref(object);
    return text;
}

static int decode_stream(const json_t *object, struct iperf3_stream_result *stream,
                         const char **member)
{
    if (!json_is_object(object)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    int status = decode_rows(object, stream_rows, COUNT(stream_rows), stream, member);
    if (status) {
        return status;
    }
    *member = "omitted_packets";
    stream->omitted_unsaid = json_object_get(object, "omitted_packets") == NULL;
    if (stream->omitted_unsaid != (json_object_get(object, "omitted_errors") == NULL)) {
        return IPERF3_BAD_JSON_MISSING;
    }
    if (stream->omitted_packets > stream->packets || stream->end_s < stream->start_s) {
        return IPERF3_BAD_JSON_RANGE;
    }
    *member = "";
    return 0;
}

static int decode_streams(const json_t *array, struct iperf3_results *results, const char **member)
{
    *member = "streams";
    if (array == NULL) {
        return IPERF3_BAD_JSON_MISSING;
    }
    if (!json_is_array(array)) {
        return IPERF3_BAD_JSON_TYPE;
    }
    if (json_array_size(array) > IPERF3_FLOWS_MOST) {
        return IPERF3_BAD_JSON_STREAM;
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct iperf3_stream_result *stream = &results->streams[i];
        int status = decode_stream(json_array_get(array, i), stream, member);
        if (status) {
            return status;
        }
        for (uint32_t before = 0; before < results->stream_count; before++) {
            if (results->streams[before].id == stream->id) {
                *member = "id";
                return IPERF3_BAD_JSON_STREAM;
            }
        }
        results->stream_count++;
    }
    return 0;
}

char *iperf3_results_output(const char *text, size_t length, bool *json)
{
    char *output = NULL;
    int status;

    json_t *object = load(text, length, &status);
    const json_t *member = json_object_get(object, "server_output_text");
    *json = false;
    if (json_is_string(member)) {
        output = strdup(json_string_value(member));
    } else if ((member = json_object_get(object, "server_output_json")) != NULL) {
        *json = true;
        output = json_dumps(member, JSON_REAL_PRECISION(15));
    }
    json_decref(object);
    return output;
}

int iperf3_results_decode(const char *text, size_t length, struct iperf3_results *results,
                          const char **member)
{
    int status;

    *member = "";
    memset(results, 0, sizeof *results);
    json_t *object = load(text, length, &status);
    if (object == NULL) {
        return status;
    }
    status = decode_rows(object, result_rows, COUNT(result_rows), results, member);
    if (status == 0) {
        status = decode_streams(json_object_get(object, "streams"), results, member);
    }
    json_decref(object);
    return status;
}
