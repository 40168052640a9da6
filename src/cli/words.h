/* Splitting a command line that stands in one argument, as a shell would. */
#ifndef SONDE_CLI_WORDS_H
#define SONDE_CLI_WORDS_H

#include "base/err.h"

/* Words of `text`: separated by blanks; '…' literal; "…" with \" and \\ escaped; a backslash
 * outside quotes keeps the next character. Nothing is expanded. *words is NULL-terminated; free it
 * with words_release. ERR_USAGE (about `subject`) where a quote is not closed or nothing is there.
 */
int words_split(const char *text, const char *subject, char ***words, struct err *error);
void words_release(char ***words); /* safe to call twice */

#endif
