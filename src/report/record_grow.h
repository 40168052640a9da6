/* Growing the arrays of a record. Private to report/. */
#ifndef SONDE_REPORT_RECORD_GROW_H
#define SONDE_REPORT_RECORD_GROW_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "report/record.h"

/* Makes room for one more element and returns it zeroed; NULL without memory. Arrays only grow by
 * one at a time, so their capacity is known from their count: the next power of two. */
static inline void *record_append(void **array, size_t *count, size_t element_bytes)
{
    size_t used = *count;
    if ((used & (used - 1)) == 0) { /* 0 or a power of two: full */
        size_t capacity = used ? used * 2 : 1;
        void *larger = reallocarray(*array, capacity, element_bytes);
        if (!larger) {
            return NULL;
        }
        *array = larger;
    }
    void *element = (char *)*array + used * element_bytes;
    memset(element, 0, element_bytes);
    *count = used + 1;
    return element;
}

/* Appends to the array `field` of `owner`, whose length is `count_field`. The pointer travels
 * through a void * of its own: a T ** may not be written through a void **. */
#define APPEND(owner, field, count_field, element)                                                 \
    do {                                                                                           \
        void *array_ = (owner)->field;                                                             \
        (element) = record_append(&array_, &(owner)->count_field, sizeof *(owner)->field);         \
        (owner)->field = array_;                                                                   \
    } while (0)

/* Frees what a probe's part of a run, and a summary, own. */
void record_release_probe(struct record_probe *probe);
void record_release_flows(struct record_flows *flows);
void record_release_summary(struct record_summary *summary);

#endif
