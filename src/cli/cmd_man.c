/* sonde man, sonde completion: made from the same rows as --help. */
#include "cli/commands.h"

static int run_man(int argc, char **argv, struct err *error)
{
    if (argc > 1) {
        return err_set(error, ERR_USAGE, argv[1], "sonde man takes no arguments");
    }
    return man_write(stdout);
}

const struct command command_man = {
    .name = "man",
    .arguments = "",
    .summary = "print the manual page's source (scdoc)",
    .details = "Prints sonde(1) for scdoc, which makes a manual page of it.",
    .examples = "  sonde man | scdoc > sonde.1   # the manual page\n",
    .run = run_man,
};

static int run_completion(int argc, char **argv, struct err *error)
{
    if (argc != 2) {
        err_set(error, ERR_USAGE, "completion", argc < 2 ? "no shell named" : "one shell only");
        return err_hint(error, "accepts bash, zsh, fish");
    }
    return completion_write(argv[1], stdout, error);
}

const struct command command_completion = {
    .name = "completion",
    .arguments = "bash|zsh|fish",
    .summary = "print a shell's completions",
    .details = "Prints a completion script for the shell: source it, or install it where the "
               "shell looks for them.",
    .examples = "  source <(sonde completion bash)   # completions in this shell\n",
    .run = run_completion,
};
