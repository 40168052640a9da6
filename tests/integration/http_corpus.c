/* Prints tests/unit/http_hostile_answers.h for other programs: a line a row, of what was asked, the
 * answers that are whole before the error, its name and text, and the bytes in hexadecimal digits.
 */
#include "http_hostile_answers.h"

static const char *name_of(int error, const char **text)
{
#define X(name, answer, words)                                                                     \
    if (error == HTTP_BAD_##name) {                                                                \
        *text = words;                                                                             \
        return #name;                                                                              \
    }
    HTTP_ERRORS(X)
#undef X
    return "";
}

static void print_rows(const struct http_case *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = "", *name = name_of(rows[i].error, &text);
        printf("%s\t%u\t%s\t%s\t", rows[i].asked, rows[i].ends, name, text);
        for (size_t at = 0; at < rows[i].length; at++) {
            printf("%02x", (unsigned char)rows[i].text[at]);
        }
        printf("\n");
    }
}

#define PRINT(rows) print_rows(rows, sizeof(rows) / sizeof((rows)[0]))

int main(void)
{
    PRINT(hostile_first_lines);
    PRINT(hostile_lines);
    PRINT(hostile_lengths);
    PRINT(hostile_chunks);
    PRINT(hostile_ends);
    return 0;
}
