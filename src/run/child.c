#include "run/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "report/record.h"

/* A record has some hundred KiB; what goes far beyond is no record. */
#define OUTPUT_MAX ((size_t)64 << 20)
/* Of standard error the end is kept: the last line is the error. */
#define ERRORS_MAX ((size_t)64 << 10)
#define ERRORS_KEPT ((size_t)8 << 10)
#define READ_BYTES ((size_t)64 << 10)
/* From an interrupt to the end: calls in flight are drained first, which takes seconds at most. */
#define GRACE_NS (30 * NS_PER_SECOND)
#define EXEC_FAILED 127

/* What comes out of one of the child's files. */
struct stream {
    int file;   /* the reading end; -1: at its end */
    char *text; /* owned, not terminated */
    size_t length, room;
    bool tail; /* only the end matters */
};

struct child {
    pid_t pid; /* 0: not started, or reaped */
    int exit_file;
    struct stream output, errors;
    int refusal; /* errno of a failed execve comes here; closed by a successful one */
    bool interrupted;
    int signal; /* that was taken from stop_fd; 0: none */
    uint64_t interrupted_ns;
    int wait_status;
};

static const char subject[] = "measuring child";

static void close_file(int *file)
{
    if (*file >= 0) {
        close(*file);
        *file = -1;
    }
}

const char *child_own_path(char *to, size_t size)
{
    static const char running[] = "/proc/self/exe";
    struct stat mine, there;
    ssize_t length = readlink(running, to, size - 1);
    if (length <= 0 || (size_t)length >= size - 1) {
        return running;
    }
    to[length] = '\0';
    bool same = stat(running, &mine) == 0 && stat(to, &there) == 0 && mine.st_dev == there.st_dev &&
                mine.st_ino == there.st_ino;
    return same ? to : running;
}

/* "sonde", the arguments, and --json=- before a bare `--`, behind which options are no options any
 * more. The last of several --json wins. */
static char **make_arguments(char *const *arguments)
{
    size_t count = 0, options = 0;
    while (arguments[count]) {
        count++;
    }
    while (options < count && strcmp(arguments[options], "--") != 0) {
        options++;
    }
    char **all = calloc(count + 3, sizeof *all);
    if (all) {
        all[0] = "sonde";
        memcpy(all + 1, arguments, options * sizeof *all);
        all[options + 1] = "--json=-";
        memcpy(all + options + 2, arguments + options, (count - options) * sizeof *all);
    }
    return all;
}

/* In the new process: async-signal-safe calls only. A group of its own keeps the terminal's keys
 * from it: an interrupt reaches it once, from us, and a stopped parent does not spoil its run. */
__attribute__((noreturn)) static void become(const struct child_program *program, pid_t parent,
                                             int refusal)
{
    static const int defaults[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    sigset_t none;
    /* Lost where the program carries file capabilities (execve clears it); then an orphan ends with
     * its own run, and cannot write. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(EXEC_FAILED);
    }
    setpgid(0, 0);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        signal(defaults[i], SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int input = program->input >= 0 ? program->input : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input >= 0 && dup2(input, STDIN_FILENO) >= 0 && dup2(program->output, STDOUT_FILENO) >= 0 &&
        dup2(program->errors, STDERR_FILENO) >= 0 &&
        (!program->directory || chdir(program->directory) == 0) &&
        syscall(SYS_close_range, 3u, UINT_MAX, 4u /* CLOSE_RANGE_CLOEXEC */) == 0) {
        execv(program->path, program->arguments);
    }
    int number = errno;
    (void)!write(refusal, &number, sizeof number);
    _exit(EXEC_FAILED);
}

pid_t child_spawn_program(const struct child_program *program, int *refused)
{
    int refusal[2];
    pid_t parent = getpid();
    *refused = -1;
    if (pipe2(refusal, O_CLOEXEC) < 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        become(program, parent, refusal[1]);
    }
    int number = errno;
    close(refusal[1]);
    if (pid < 0) {
        close(refusal[0]);
        return -number;
    }
    *refused = refusal[0];
    return pid;
}

pid_t child_spawn(const char *path, char **arguments, int output, int errors, int *refused)
{
    const struct child_program program = {
        .path = path, .arguments = arguments, .input = -1, .output = output, .errors = errors};
    return child_spawn_program(&program, refused);
}

static int child_start(struct child *child, char **arguments, struct err *error)
{
    char path[PATH_MAX];
    const char *program = child_own_path(path, sizeof path);
    int output[2] = {-1, -1}, errors[2] = {-1, -1};
    int result = 0;
    if (pipe2(output, O_CLOEXEC) < 0 || pipe2(errors, O_CLOEXEC) < 0 ||
        fcntl(output[0], F_SETFL, O_NONBLOCK) < 0 || fcntl(errors[0], F_SETFL, O_NONBLOCK) < 0) {
        result = err_system(error, errno, subject, "cannot be started");
    } else {
        child->pid = child_spawn(program, arguments, output[1], errors[1], &child->refusal);
        if (child->pid < 0) {
            result = err_system(error, -child->pid, subject, "cannot be started");
            child->pid = 0;
        }
    }
    close_file(&output[1]);
    close_file(&errors[1]);
    child->output.file = output[0];
    child->errors.file = errors[0];
    if (result == 0) {
        child->exit_file = (int)syscall(SYS_pidfd_open, child->pid, 0);
        if (child->exit_file < 0) {
            result = err_system(error, errno, subject, "cannot be waited for");
        }
    }
    return result;
}

/* Takes what is there. 1: more may come later or it has ended; -1 with *error. */
static int stream_read(struct stream *stream, struct err *error)
{
    while (stream->file >= 0) {
        if (stream->tail && stream->length > ERRORS_MAX) {
            memmove(stream->text, stream->text + stream->length - ERRORS_KEPT, ERRORS_KEPT);
            stream->length = ERRORS_KEPT;
        }
        if (stream->length > OUTPUT_MAX) {
            return err_set(error, ERR_LIMIT, subject, "printed more than %zu MiB",
                           OUTPUT_MAX >> 20);
        }
        if (stream->room - stream->length < READ_BYTES) {
            size_t room = stream->room ? stream->room * 2 : 2 * READ_BYTES;
            char *text = realloc(stream->text, room);
            if (!text) {
                return err_system(error, ENOMEM, subject, "its output cannot be kept");
            }
            stream->text = text;
            stream->room = room;
        }
        ssize_t got = read(stream->file, stream->text + stream->length, READ_BYTES);
        if (got > 0) {
            stream->length += (size_t)got;
        } else if (got == 0) {
            close_file(&stream->file);
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            return err_system(error, errno, subject, "its output cannot be read");
        }
    }
    return 0;
}

static int until_grace_ends_ms(const struct child *child)
{
    uint64_t elapsed = clock_now_ns() - child->interrupted_ns;
    return elapsed >= GRACE_NS ? 0 : (int)((GRACE_NS - elapsed) / NS_PER_MS) + 1;
}

/* Takes the signal that makes stop_fd (a signalfd) readable, so that the next one shows. True where
 * there was one before. */
static bool take_signal(struct child *child, int stop_fd)
{
    struct signalfd_siginfo taken;
    bool again = child->interrupted;
    child->interrupted = true;
    if (read(stop_fd, &taken, sizeof taken) == sizeof taken) {
        child->signal = (int)taken.ssi_signo;
    }
    return again;
}

/* Until the child has ended. Grandchildren that hold its files open a moment longer are not waited
 * for. */
static int child_follow(struct child *child, int stop_fd, struct err *error)
{
    for (bool ended = false; !ended;) {
        struct pollfd files[] = {
            {.fd = child->output.file, .events = POLLIN},
            {.fd = child->errors.file, .events = POLLIN},
            {.fd = child->exit_file, .events = POLLIN},
            {.fd = stop_fd, .events = POLLIN},
        };
        int timeout = child->interrupted ? until_grace_ends_ms(child) : -1;
        int ready = poll(files, sizeof files / sizeof *files, timeout);
        if (ready < 0 && errno != EINTR) {
            return err_system(error, errno, subject, "cannot be waited for");
        }
        if (ready == 0) {
            return err_set(error, ERR_INTERRUPTED, subject,
                           "did not end within %d s of the interrupt: killed",
                           (int)(GRACE_NS / NS_PER_SECOND));
        }
        if (ready > 0 && files[3].revents) {
            if (take_signal(child, stop_fd)) {
                return err_set(error, ERR_INTERRUPTED, subject, "killed by the second interrupt");
            }
            child->interrupted_ns = clock_now_ns();
            kill(child->pid, SIGINT);
        }
        ended = ready > 0 && files[2].revents;
        if (stream_read(&child->output, error) < 0 || stream_read(&child->errors, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Nobody is left afterwards. */
static void child_reap(struct child *child, bool kill_it)
{
    if (child->pid > 0) {
        if (kill_it) {
            kill(child->pid, SIGKILL);
        }
        while (waitpid(child->pid, &child->wait_status, 0) < 0 && errno == EINTR) {
        }
        child->pid = 0;
    }
}

/* The last line that is not empty, terminated, in place. */
static char *last_line(struct stream *errors)
{
    size_t end = errors->length;
    while (end > 0 && (errors->text[end - 1] == '\n' || errors->text[end - 1] == ' ')) {
        end--;
    }
    size_t start = end;
    while (start > 0 && errors->text[start - 1] != '\n') {
        start--;
    }
    if (end == start) {
        return NULL;
    }
    errors->text[end] = '\0'; /* READ_BYTES are always free behind what was read */
    return errors->text + start;
}

/* "sonde: SUBJECT: what failed: hint" becomes an error that prints as the same line. */
static int adopt_error(char *line, int status, struct err *error)
{
    static const char name[] = "sonde: ";
    enum err_code code = status == 2 ? ERR_USAGE : ERR_SYSTEM;
    if (strncmp(line, name, sizeof name - 1) == 0) {
        line += sizeof name - 1;
    }
    char *what = strstr(line, ": ");
    if (!what || what == line) {
        return err_set(error, code, subject, "%s", line);
    }
    *what = '\0';
    return err_set(error, code, line, "%s", what + 2);
}

static int explain_no_record(struct child *child, const char *problem, struct err *error)
{
    int number = 0;
    if (read(child->refusal, &number, sizeof number) == (ssize_t)sizeof number) {
        return err_system(error, number, subject, "cannot be started");
    }
    if (child->interrupted) {
        return err_set(error, ERR_INTERRUPTED, subject, "interrupted before it had a result");
    }
    if (WIFSIGNALED(child->wait_status)) {
        int signal_number = WTERMSIG(child->wait_status);
        err_set(error, ERR_SYSTEM, subject, "died of signal %d (%s)", signal_number,
                strsignal(signal_number));
        return -1;
    }
    char *line = last_line(&child->errors);
    int status = WEXITSTATUS(child->wait_status);
    if (line && status != 0) {
        return adopt_error(line, status, error);
    }
    err_set(error, ERR_SYSTEM, subject, "%s (exit status %d)", problem, status);
    return line ? err_hint(error, "it said: %s", line) : -1;
}

/* The record among what it printed; NULL with *error. */
static json_t *child_record(struct child *child, struct err *error)
{
    json_error_t where;
    json_t *json = NULL;
    char problem[200] = "printed no record";
    if (!WIFSIGNALED(child->wait_status) && child->output.length > 0) {
        json = json_loadb(child->output.text, child->output.length, JSON_REJECT_DUPLICATES, &where);
        if (!json) {
            snprintf(problem, sizeof problem, "printed no JSON: line %d, column %d: %.120s",
                     where.line, where.column, where.text);
        }
        const char *schema = json_string_value(json_object_get(json, "schema"));
        if (json && (!schema || strcmp(schema, RECORD_SCHEMA) != 0)) {
            json_decref(json);
            json = NULL;
            snprintf(problem, sizeof problem, "printed JSON that is no %s", RECORD_SCHEMA);
        }
    }
    if (!json) {
        explain_no_record(child, problem, error);
    }
    return json;
}

int child_failure(const json_t *record, struct err *error)
{
    const json_t *why = json_object_get(record, "error"), *run;
    size_t index;
    json_array_foreach(json_object_get(record, "runs"), index, run)
    {
        const json_t *own = json_object_get(run, "error");
        why = json_is_object(own) ? own : why;
        if (json_is_object(own)) {
            break;
        }
    }
    const char *what = json_string_value(json_object_get(why, "what"));
    const char *whom = json_string_value(json_object_get(why, "subject"));
    const char *hint = json_string_value(json_object_get(why, "hint"));
    err_set(error, ERR_SYSTEM, whom ? whom : "run", "%s", what ? what : "it was not completed");
    return hint ? err_hint(error, "%s", hint) : -1;
}

int child_measure(char *const *arguments, int stop_fd, json_t **record, int *status,
                  struct err *error)
{
    struct child child = {
        .exit_file = -1,
        .refusal = -1,
        .output = {.file = -1},
        .errors = {.file = -1, .tail = true},
    };
    *record = NULL;
    *status = -1;
    char **all = make_arguments(arguments);
    if (!all) {
        return err_system(error, ENOMEM, subject, "cannot be started");
    }
    int result = child_start(&child, all, error);
    if (result == 0) {
        result = child_follow(&child, stop_fd, error);
    }
    child_reap(&child, result < 0);
    if (child.signal) {
        raise(child.signal); /* blocked: whoever looks at stop_fd next sees it too */
    }
    if (result == 0) {
        *status = WIFEXITED(child.wait_status) ? WEXITSTATUS(child.wait_status) : -1;
        *record = child_record(&child, error);
        result = *record ? 0 : -1;
    }
    close_file(&child.output.file);
    close_file(&child.errors.file);
    close_file(&child.exit_file);
    close_file(&child.refusal);
    free(child.output.text);
    free(child.errors.text);
    free(all);
    return result;
}
