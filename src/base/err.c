#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Formats into a fixed text; what does not fit ends in "...", so that a cut is visible. */
__attribute__((format(printf, 3, 0))) static void format_text(char *to, size_t size,
                                                              const char *format, va_list list)
{
    int length = vsnprintf(to, size, format, list);
    if (length >= 0 && (size_t)length >= size) {
        memcpy(to + size - 4, "...", 4);
    }
}

/* "pipe:" is a target as it is typed; a colon follows the subject anyway. */
static void set_subject(struct err *error, const char *subject)
{
    snprintf(error->subject, sizeof error->subject, "%s", subject);
    size_t length = strlen(error->subject);
    if (length > 1 && error->subject[length - 1] == ':') {
        error->subject[length - 1] = '\0';
    }
}

int err_set(struct err *error, enum err_code code, const char *subject, const char *what, ...)
{
    va_list list;
    *error = (struct err){.code = code};
    set_subject(error, subject);
    va_start(list, what);
    format_text(error->what, sizeof error->what, what, list);
    va_end(list);
    return -1;
}

int err_system(struct err *error, int number, const char *subject, const char *what, ...)
{
    char reason[128];
    va_list list;
    *error = (struct err){.code = ERR_SYSTEM, .number = number};
    set_subject(error, subject);
    va_start(list, what);
    format_text(error->what, sizeof error->what, what, list);
    va_end(list);
    size_t used = strlen(error->what);
    snprintf(error->what + used, sizeof error->what - used, ": %s",
             strerror_r(number, reason, sizeof reason));
    return -1;
}

int err_hint(struct err *error, const char *hint, ...)
{
    va_list list;
    va_start(list, hint);
    format_text(error->hint, sizeof error->hint, hint, list);
    va_end(list);
    return -1;
}

int err_exit_status(const struct err *error)
{
    if (error->code == ERR_NONE) {
        return 0;
    }
    return error->code == ERR_USAGE ? 2 : 1;
}
