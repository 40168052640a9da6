/* A record as a printer gives it. */
#ifndef SONDE_TESTS_PRINTED_H
#define SONDE_TESTS_PRINTED_H

#include "report/record.h"

/* malloc'ed */
static char *print(const struct record *record, const struct printer *printer)
{
    char *text = NULL;
    size_t length;
    struct err error = {0};
    FILE *memory = open_memstream(&text, &length);
    assert_non_null(memory);
    assert_int_equal(printer->print(record, memory, &error), 0);
    assert_int_equal(fclose(memory), 0);
    return text;
}

#endif
