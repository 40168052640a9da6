/* The edge: picks the command, prints the one error there may be, and is the only place that
 * decides the exit status. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/as.h"
#include "cli/commands.h"

const struct command *const commands[] = {
#define X(name) &command_##name,
    COMMANDS(X)
#undef X
        NULL,
};

/* What a shell shows for a program that SIGPIPE ended: the reader left, and nothing failed. */
enum { STATUS_READER_LEFT = 128 + SIGPIPE };

/* Whether standard output and standard error are read by the same eyes. */
static bool is_one_terminal(void)
{
    struct stat out, err;
    return isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && fstat(STDOUT_FILENO, &out) == 0 &&
           fstat(STDERR_FILENO, &err) == 0 && out.st_rdev == err.st_rdev;
}

/* Prints an error as `sonde: SUBJECT: what failed: hint` and returns the exit status. */
static int report(const struct err *error)
{
    if (error->number == EPIPE && strcmp(error->subject, "standard output") == 0) {
        return STATUS_READER_LEFT; /* he has seen enough: nobody is there to tell */
    }
    fflush(stdout);
    if (error->told && is_one_terminal()) {
        return err_exit_status(error);
    }
    fprintf(stderr, "sonde: %s: %s%s%s\n", error->subject, error->what, error->hint[0] ? ": " : "",
            error->hint);
    return err_exit_status(error);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; commands[i]; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[32];
    size_t count = 0;
    struct err error;
    for (; commands[count] && count < sizeof names / sizeof *names; count++) {
        names[count] = commands[count]->name;
    }
    const char *nearest = opt_nearest(name, names, count);
    err_set(&error, ERR_USAGE, name, "no such command");
    if (nearest) {
        err_hint(&error, "did you mean sonde %s?", nearest);
    } else {
        err_hint(&error, "sonde --help lists the commands");
    }
    return report(&error);
}

/* What was printed must have arrived: a full disk or a closed pipe is an error, not a success. */
static int finish(int status)
{
    struct err error;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    int number = errno;
    struct pollfd reader = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (number == 0) { /* an earlier write failed, and its reason is gone */
        number = poll(&reader, 1, 0) == 1 && reader.revents & POLLERR ? EPIPE : EIO;
    }
    err_system(&error, number, "standard output", "cannot write all of it");
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
    /* A fixed threshold: glibc would raise it once large blocks are freed, and from then on keep
     * their memory, which then counted as that of later runs and of the servers forked for them. */
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    signal(SIGPIPE, SIG_IGN); /* a reader that went away shows as a failed write */
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, no child could be waited for */
    const char *called = argc > 0 ? basename(argv[0]) : "";
    const struct as_program *program = as_find(called);
    if (program) { /* a symbolic link: sonde stands in for it */
        argv[0] = (char *)(uintptr_t)called;
        int status = program->run(argc, argv, &error);
        return error.code != ERR_NONE ? report(&error) : finish(status);
    }
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
    const struct command *command = find_command(help ? argv[2] : name);
    if (!command) {
        return unknown_command(help ? argv[2] : name);
    }
    bool foreign = command == &command_as && argc > 2 &&
                   argv[2][0] != '-'; /* its arguments are the program's */
    if (help || (!foreign && opt_wants_help(argc - 1, argv + 1))) {
        help_command(command, stdout);
        return finish(0);
    }
    int result = command->run(argc - 1, argv + 1, &error);
    if (error.code != ERR_NONE) {
        return report(&error);
    }
    return finish(result < 0 ? 1 : result);
}
