#include "cli/words.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* Copies one word to `to`, which has room for what is left of the text. Returns where it ended;
 * NULL where a quote or a backslash has no end, with *open being it. */
static const char *copy_word(const char *from, char *to, char *open)
{
    char quote = 0;
    for (; *from && (quote || !is_blank(*from)); from++) {
        bool escapes =
            *from == '\\' && quote != '\'' && (!quote || from[1] == '"' || from[1] == '\\');
        if (escapes) {
            from++;
            if (!*from) {
                *open = '\\';
                return NULL;
            }
            *to++ = *from;
        } else if (quote ? *from == quote : *from == '\'' || *from == '"') {
            quote = quote ? 0 : *from;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
    *open = quote;
    return quote ? NULL : from;
}

static int add_word(char ***words, size_t *count, char *word)
{
    char **grown = word ? reallocarray(*words, *count + 2, sizeof *grown) : NULL;
    if (!grown) {
        free(word);
        return -1;
    }
    *words = grown;
    grown[(*count)++] = word;
    grown[*count] = NULL;
    return 0;
}

int words_split(const char *text, const char *subject, char ***words, struct err *error)
{
    size_t count = 0;
    *words = NULL;
    while (is_blank(*text)) {
        text++;
    }
    while (*text) {
        char open = 0;
        char *word = malloc(strlen(text) + 1);
        const char *end = word ? copy_word(text, word, &open) : NULL;
        if (word && !end) {
            free(word);
            words_release(words);
            return err_set(error, ERR_USAGE, subject,
                           open == '\\' ? "ends in a backslash" : "has a %c that is not closed",
                           open);
        }
        if (add_word(words, &count, word) != 0) {
            words_release(words);
            return err_system(error, ENOMEM, subject, "cannot be split");
        }
        for (text = end; is_blank(*text); text++) {
        }
    }
    return count ? 0 : err_set(error, ERR_USAGE, subject, "is empty");
}

void words_release(char ***words)
{
    for (size_t i = 0; *words && (*words)[i]; i++) {
        free((*words)[i]);
    }
    free(*words);
    *words = NULL;
}
