/* Inside of opt: one value into one member, and the words of its errors. */
#ifndef SONDE_BASE_OPT_VALUE_H
#define SONDE_BASE_OPT_VALUE_H

#include "base/opt.h"

#define OPT_NAME_MAX 64

/* How an option stands on the command line, for errors: "--size" or "-m/--size". */
struct opt_label {
    char text[OPT_NAME_MAX + 8];
};

/* A text from the command line, fit to be shown: short, and without control characters that a
 * terminal would obey. */
struct opt_quoted {
    char text[OPT_NAME_MAX + 4];
};

struct opt_label opt_label(const struct opt *row, bool by_letter);
struct opt_quoted opt_quote(const char *text, size_t length);

void *opt_member(const struct opt *row, void *target);

/* Parses `value` into the row's member; items of a list are appended. */
int opt_set_value(const struct opt *row, void *target, const char *label, const char *value,
                  struct err *error);

/* Puts zero, no or none into the member. A custom member, of unknown size, is left as it is. */
void opt_clear_member(const struct opt *row, void *target);

void opt_list_release(struct opt_list *list);

/* Adds what the row accepts, and the nearest choice unless NULL, as the error's hint. Returns -1.
 */
int opt_hint_accepts(const struct opt *row, const char *nearest, struct err *error);

#endif
