/* The edge: picks the command, prints the one error there may be, and is the only place that
 * decides the exit status. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/commands.h"

const struct command *const commands[] = {
    &command_call,   &command_serve,      &command_observe,
    &command_doctor, &command_sweep,      &command_tour,
    &command_man,    &command_completion, NULL,
};

/* Prints an error as `sonde: SUBJECT: what failed: hint` and returns the exit status. */
static int report(const struct err *error)
{
    fflush(stdout);
    fprintf(stderr, "sonde: %s: %s%s%s\n", error->subject, error->what, error->hint[0] ? ": " : "",
            error->hint);
    return err_exit_status(error);
}

/* What was printed must have arrived: a full disk or a closed pipe is an error, not a success. */
static int finish(int status)
{
    struct err error;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    err_set(&error, ERR_SYSTEM, "standard output", "cannot write all of it");
    int failed = report(&error);
    return status ? status : failed;
}

/* A standard file that is closed would be taken by the next file that is opened, and reports would
 * land there. In its place stands one that cannot be written: that fails, and is said. */
static void hold_standard_files(void)
{
    for (int file = 0; file <= 2; file++) {
        if (fcntl(file, F_GETFD) < 0) {
            (void)!open("/dev/null", O_RDONLY); /* the lowest free number: this one */
        }
    }
}

int main(int argc, char **argv)
{
    struct err error = {0};
    hold_standard_files();
    signal(SIGPIPE, SIG_IGN); /* a reader that went away shows as a failed write */
    if (argc < 2) {
        help_overview(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("sonde %s\n", SONDE_VERSION);
        return finish(0);
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        help_overview(stdout);
        return finish(0);
    }
    const struct command *command = command_find(help ? argv[2] : name, &error);
    if (!command) {
        return report(&error);
    }
    if (help || opt_wants_help(argc - 1, argv + 1)) {
        help_command(command, stdout);
        return finish(0);
    }
    int result = command->run(argc - 1, argv + 1, &error);
    if (error.code != ERR_NONE) {
        return report(&error);
    }
    return finish(result < 0 ? 1 : result);
}
