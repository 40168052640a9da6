#include "base/opt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt_value.h"

static int programming_error(const char *label, struct err *error, const char *what,
                             const char *detail)
{
    return err_set(error, ERR_UNSUPPORTED, label, "programming error: %s%s", what, detail);
}

static int check_row(const struct opt *row, struct err *error)
{
    if (row->name == NULL || row->name[0] == '\0' || strlen(row->name) > OPT_NAME_MAX) {
        return programming_error("option", error, "a row needs a name of 1 to 64 bytes", "");
    }
    struct opt_label label = opt_label(row, false);
    if (strcmp(row->name, "help") == 0 || row->letter == 'h') {
        return programming_error(label.text, error, "help is the caller's", "");
    }
    if (row->type == OPT_TYPE_CHOICE && (row->choices == NULL || row->choices[0] == NULL)) {
        return programming_error(label.text, error, "no choices", "");
    }
    if (row->type == OPT_TYPE_CUSTOM && (row->parse == NULL || row->print == NULL)) {
        return programming_error(label.text, error, "no parse or print", "");
    }
    if (row->most != 0 && row->least > row->most) {
        return programming_error(label.text, error, "least is above most", "");
    }
    return 0;
}

/* Compares a row with all rows before it. */
static int check_unique(const struct opt_set *sets, size_t set, size_t row, struct err *error)
{
    const struct opt *mine = &sets[set].rows[row];
    for (size_t s = 0; s <= set; s++) {
        size_t count = s == set ? row : sets[s].count;
        for (size_t r = 0; r < count; r++) {
            const struct opt *other = &sets[s].rows[r];
            if (strcmp(mine->name, other->name) == 0 ||
                (mine->letter != 0 && mine->letter == other->letter)) {
                return programming_error(opt_label(mine, false).text, error,
                                         "name or letter also stands at --", other->name);
            }
        }
    }
    return 0;
}

static int set_default(const struct opt *row, void *target, struct err *error)
{
    struct opt_label label = opt_label(row, false);
    struct err refused = {0};
    if (row->initial == NULL ||
        opt_set_value(row, target, label.text, row->initial, &refused) == 0) {
        return 0;
    }
    if (refused.code != ERR_USAGE) {
        *error = refused;
        return -1;
    }
    return programming_error(label.text, error, "its default is refused: ", refused.what);
}

int opt_defaults(struct opt_set *sets, size_t set_count, struct err *error)
{
    /* First all members, so that opt_release is safe whatever fails below. */
    for (size_t s = 0; s < set_count; s++) {
        sets[s].given = 0;
        for (size_t r = 0; r < sets[s].count; r++) {
            opt_clear_member(&sets[s].rows[r], sets[s].target);
        }
    }
    for (size_t s = 0; s < set_count; s++) {
        if (sets[s].count > OPT_SET_ROWS_MAX) {
            return programming_error(sets[s].title, error, "too many rows", "");
        }
        for (size_t r = 0; r < sets[s].count; r++) {
            if (check_row(&sets[s].rows[r], error) != 0 || check_unique(sets, s, r, error) != 0 ||
                set_default(&sets[s].rows[r], sets[s].target, error) != 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* ---- parsing ---- */

struct parser {
    struct opt_set *sets;
    size_t set_count;
    int argc;
    char **argv;
    int at; /* of the word after the current one */
    struct opt_arguments *arguments;
    struct err *error;
};

/* A row and the set that it stands in. row NULL: none. */
struct found {
    const struct opt *row;
    struct opt_set *set;
};

static struct found find_name(const struct parser *parser, const char *name, size_t length)
{
    for (size_t s = 0; s < parser->set_count; s++) {
        for (size_t r = 0; r < parser->sets[s].count; r++) {
            const struct opt *row = &parser->sets[s].rows[r];
            if (strlen(row->name) == length && memcmp(row->name, name, length) == 0) {
                return (struct found){row, &parser->sets[s]};
            }
        }
    }
    return (struct found){0};
}

static struct found find_letter(const struct parser *parser, char letter)
{
    for (size_t s = 0; s < parser->set_count; s++) {
        for (size_t r = 0; r < parser->sets[s].count; r++) {
            if (letter != '\0' && parser->sets[s].rows[r].letter == letter) {
                return (struct found){&parser->sets[s].rows[r], &parser->sets[s]};
            }
        }
    }
    return (struct found){0};
}

/* True where the row takes no value unless it is joined with `=`. */
static bool stands_alone(const struct opt *row)
{
    return row->type == OPT_TYPE_BOOL || row->optional != NULL;
}

/* The name that was probably meant: the nearest, or the only one that begins as typed. */
static const char *guess_name(const struct parser *parser, const char *typed, const char **names)
{
    size_t count = 0, beginning = 0;
    const char *begins = NULL;
    names[count++] = "help";
    for (size_t s = 0; s < parser->set_count; s++) {
        for (size_t r = 0; r < parser->sets[s].count; r++) {
            const char *name = parser->sets[s].rows[r].name;
            names[count++] = name;
            if (typed[0] != '\0' && strncmp(name, typed, strlen(typed)) == 0) {
                begins = name;
                beginning++;
            }
        }
    }
    return beginning == 1 ? begins : opt_nearest(typed, names, count);
}

static int refuse_unknown(const struct parser *parser, const char *word, struct err *error)
{
    size_t dashes = strspn(word, "-");
    size_t length = strcspn(word, "=");
    err_set(error, ERR_USAGE, opt_quote(word, length).text, "unknown option");
    size_t rows = 1;
    for (size_t s = 0; s < parser->set_count; s++) {
        rows += parser->sets[s].count;
    }
    const char **names = malloc(rows * sizeof *names);
    char typed[OPT_NAME_MAX + 1];
    if (names != NULL && length - dashes >= 2 && length - dashes < sizeof typed) {
        snprintf(typed, sizeof typed, "%.*s", (int)(length - dashes), word + dashes);
        const char *guess = guess_name(parser, typed, names);
        if (guess != NULL) {
            err_hint(error, "did you mean --%s?", guess);
        }
    }
    free(names);
    if (error->hint[0] == '\0') {
        err_hint(error, "--help lists the options");
    }
    return -1;
}

/* Stores a value that stood on the command line. */
static int give(const struct parser *parser, struct found found, const char *label,
                const char *value)
{
    uint64_t bit = UINT64_C(1) << (found.row - found.set->rows);
    if (found.row->type == OPT_TYPE_TEXT && value[0] == '\0') {
        err_set(parser->error, ERR_USAGE, label, "the value is empty");
        return opt_hint_accepts(found.row, NULL, parser->error);
    }
    if (found.row->type == OPT_TYPE_LIST && (found.set->given & bit) == 0) {
        opt_list_release(opt_member(found.row, found.set->target)); /* a given list replaces it */
    }
    found.set->given |= bit;
    return opt_set_value(found.row, found.set->target, label, value, parser->error);
}

/* Stores what an option without a joined value stands for. */
static int give_alone(const struct parser *parser, struct found found, const char *label)
{
    const char *value = found.row->optional != NULL ? found.row->optional : "yes";
    return give(parser, found, label, value);
}

/* True where a word can only be an option: "-5" and "-" are values. */
static bool looks_like_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && strchr("0123456789.", word[1]) == NULL;
}

/* Takes the next word as the value. */
static int give_next(struct parser *parser, struct found found, const char *label)
{
    const char *next = parser->at < parser->argc ? parser->argv[parser->at] : NULL;
    if (next == NULL || looks_like_option(next)) {
        err_set(parser->error, ERR_USAGE, label, "needs a value");
        return opt_hint_accepts(found.row, NULL, parser->error);
    }
    parser->at++;
    return give(parser, found, label, next);
}

static int parse_long(struct parser *parser, const char *word)
{
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    struct found found = find_name(parser, name, length);
    if (found.row == NULL && length > 3 && strncmp(name, "no-", 3) == 0) {
        found = find_name(parser, name + 3, length - 3);
        /* Help names it only where it says something; a default may change, and scripts stay. */
        if (found.row != NULL && found.row->type == OPT_TYPE_BOOL) {
            if (value != NULL) {
                return err_set(parser->error, ERR_USAGE, opt_quote(word, length + 2).text,
                               "takes no value, got \"%s\"", opt_quote(value, strlen(value)).text);
            }
            return give(parser, found, opt_label(found.row, false).text, "no");
        }
        found.row = NULL;
    }
    if (found.row == NULL) {
        return refuse_unknown(parser, word, parser->error);
    }
    struct opt_label label = opt_label(found.row, false);
    if (value != NULL) {
        return give(parser, found, label.text, value);
    }
    return stands_alone(found.row) ? give_alone(parser, found, label.text)
                                   : give_next(parser, found, label.text);
}

/* A group of letters: "-vm64k", "-m 64k", "-m=64k". */
static int parse_letters(struct parser *parser, const char *word)
{
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        struct found found = find_letter(parser, *letter);
        if (found.row == NULL) {
            /* All of a first unknown group may be a long name with one dash. */
            char alone[] = {'-', *letter, '\0'};
            return refuse_unknown(parser, letter == word + 1 ? word : alone, parser->error);
        }
        struct opt_label label = opt_label(found.row, true);
        if (letter[1] == '=') {
            return give(parser, found, label.text, letter + 2);
        }
        if (!stands_alone(found.row)) {
            return letter[1] != '\0' ? give(parser, found, label.text, letter + 1)
                                     : give_next(parser, found, label.text);
        }
        if (give_alone(parser, found, label.text) != 0) {
            return -1;
        }
    }
    return 0;
}

static int parse_words(struct parser *parser)
{
    const struct opt *loose = NULL; /* the word before was an option that could have had a value */
    while (parser->at < parser->argc) {
        char *word = parser->argv[parser->at++];
        const struct opt *before = loose;
        int result = 0;
        loose = NULL;
        if (strcmp(word, "--") == 0) {
            parser->arguments->rest = &parser->argv[parser->at];
            return 0;
        }
        if (strncmp(word, "--", 2) == 0) {
            result = parse_long(parser, word);
            struct found found = find_name(parser, word + 2, strlen(word + 2));
            loose = found.row && found.row->optional ? found.row : NULL;
        } else if (word[0] == '-' && word[1] != '\0') {
            result = parse_letters(parser, word);
        } else {
            parser->arguments->items[parser->arguments->count++] = word;
            if (before) {
                parser->arguments->loose = before;
                parser->arguments->loose_value = word;
            }
        }
        if (result != 0) {
            return -1;
        }
    }
    return 0;
}

int opt_parse(struct opt_set *sets, size_t set_count, int argc, char **argv,
              struct opt_arguments *arguments, struct err *error)
{
    struct parser parser = {
        .sets = sets,
        .set_count = set_count,
        .argc = argc,
        .argv = argv,
        .at = 1,
        .arguments = arguments,
        .error = error,
    };
    *arguments = (struct opt_arguments){0};
    arguments->items = calloc((size_t)(argc > 0 ? argc : 1), sizeof *arguments->items);
    if (arguments->items == NULL) {
        return err_system(error, ENOMEM, "arguments", "cannot store %d", argc);
    }
    if (parse_words(&parser) != 0) {
        opt_release(NULL, 0, arguments);
        return -1;
    }
    return 0;
}

int opt_set_text(struct opt_set *sets, size_t set_count, const char *name, const char *value,
                 struct err *error)
{
    const struct parser parser = {.sets = sets, .set_count = set_count, .error = error};
    struct found found = find_name(&parser, name, strlen(name));
    if (found.row == NULL) {
        char word[OPT_NAME_MAX + 3];
        snprintf(word, sizeof word, "--%s", name);
        return refuse_unknown(&parser, word, error);
    }
    return give(&parser, found, opt_label(found.row, false).text, value);
}

int opt_hint_loose(const struct opt_arguments *arguments, struct err *error)
{
    return arguments->loose
               ? err_hint(error, "did you mean --%s=%s?", arguments->loose->name,
                          opt_quote(arguments->loose_value, strlen(arguments->loose_value)).text)
               : -1;
}

bool opt_wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

bool opt_given(const struct opt_set *set, size_t offset)
{
    for (size_t r = 0; r < set->count; r++) {
        if (set->rows[r].offset == offset && (set->given >> r & 1) != 0) {
            return true;
        }
    }
    return false;
}

void opt_release(struct opt_set *sets, size_t set_count, struct opt_arguments *arguments)
{
    for (size_t s = 0; s < set_count; s++) {
        for (size_t r = 0; r < sets[s].count; r++) {
            if (sets[s].rows[r].type == OPT_TYPE_LIST) {
                opt_list_release(opt_member(&sets[s].rows[r], sets[s].target));
            }
        }
    }
    if (arguments != NULL) {
        free(arguments->items);
        *arguments = (struct opt_arguments){0};
    }
}
