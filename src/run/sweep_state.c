#include "run/sweep_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "report/record.h"
#include "report/result.h"

#define FORMAT "sonde.sweep/1"
/* An interrupt of the machine itself costs at most the runs of this time. */
#define SYNC_EVERY_NS NS_PER_SECOND

static int refuse_other(const struct sweep_state *state, const char *what, struct err *error)
{
    err_set(error, ERR_USAGE, state->path, "%s", what);
    return err_hint(error, "--restart throws it away and begins anew; --state names another file");
}

static int write_line(struct sweep_state *state, json_t *json, struct err *error)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text) {
        return err_system(error, ENOMEM, state->path, "cannot be written");
    }
    size_t length = strlen(text), written = 0;
    text[length++] = '\n'; /* in place of the terminator: one write a line */
    int number = 0;
    while (written < length && number == 0) {
        ssize_t sent = write(state->file, text + written, length - written);
        if (sent > 0) {
            written += (size_t)sent;
        } else if (sent == 0 || errno != EINTR) {
            number = sent == 0 ? EIO : errno;
        }
    }
    free(text);
    return number ? err_system(error, number, state->path, "cannot be written") : 0;
}

static int sync_file(struct sweep_state *state, struct err *error)
{
    state->synced_ns = clock_now_ns();
    return fsync(state->file) < 0
               ? err_system(error, errno, state->path, "cannot be brought to the disk")
               : 0;
}

/* The names of the parts ("NAME:VALUE NAME:VALUE") in which two plans differ. */
static void list_differences(const char *theirs, const char *ours, char *to, size_t size)
{
    size_t used = 0;
    to[0] = '\0';
    while (*theirs && *ours && used < size) {
        size_t length = strcspn(theirs, " "), own = strcspn(ours, " ");
        if (length != own || strncmp(theirs, ours, length) != 0) {
            used += (size_t)snprintf(to + used, size - used, "%s%.*s", used ? ", " : "",
                                     (int)strcspn(ours, ":"), ours);
        }
        theirs += length + (theirs[length] == ' ');
        ours += own + (ours[own] == ' ');
    }
}

/* The header line: is it of this plan? */
static int check_header(const struct sweep_state *state, json_t *header, const char *plan,
                        struct err *error)
{
    const char *format = json_string_value(json_object_get(header, "format"));
    const char *theirs = json_string_value(json_object_get(header, "plan"));
    json_int_t turns = json_integer_value(json_object_get(header, "turns"));
    if (!format || !theirs) {
        return err_set(error, ERR_USAGE, state->path, "is no state of a sweep");
    }
    if (strcmp(format, FORMAT) != 0) {
        return refuse_other(state, "is the state of another version's sweep", error);
    }
    if (strcmp(theirs, plan) != 0 || turns != (json_int_t)state->turns) {
        char what[160], differ[100];
        list_differences(theirs, plan, differ, sizeof differ);
        snprintf(what, sizeof what, "holds the runs of another sweep: another %s",
                 differ[0] ? differ : "number of runs");
        return refuse_other(state, what, error);
    }
    return 0;
}

/* Reads like the runs of a record: what was damaged on the disk must not spoil the whole result. */
static bool sweep_state_valid(const json_t *outcome)
{
    struct result result = {0};
    struct err ignored;
    if (!json_is_array(json_object_get(outcome, "runs"))) {
        return false;
    }
    json_t *json = json_pack("{s:s, s:O, s:O?}", "schema", RECORD_SCHEMA, "runs",
                             json_object_get(outcome, "runs"), "operation",
                             json_object_get(outcome, "operation"));
    bool valid = json && result_from_json(json, "sweep", &result, &ignored) == 0;
    result_release(&result);
    json_decref(json);
    return valid;
}

/* An outcome that was kept earlier; json is consumed. */
static int take_line(struct sweep_state *state, json_t *json, size_t line, struct err *error)
{
    json_t *turn = json_object_get(json, "turn");
    json_int_t index = json_is_integer(turn) ? json_integer_value(turn) : -1;
    if (index < 0 || (size_t)index >= state->turns || state->outcomes[index] ||
        !sweep_state_valid(json)) {
        char what[80];
        snprintf(what, sizeof what, "is damaged: line %zu is no run of this sweep", line);
        json_decref(json);
        return refuse_other(state, what, error);
    }
    state->outcomes[index] = json;
    state->done++;
    state->resumed++;
    return 0;
}

/* Reads all whole lines. *good: bytes up to the end of the last of them. */
static int read_lines(struct sweep_state *state, FILE *file, const char *plan, long long *good,
                      struct err *error)
{
    char *line = NULL;
    size_t room = 0;
    int result = 0;
    *good = 0;
    for (size_t number = 1; result == 0; number++) {
        errno = 0;
        ssize_t length = getline(&line, &room, file);
        if (length < 0 || line[length - 1] != '\n') {
            if (errno) {
                result = err_system(error, errno, state->path, "cannot be read");
            }
            break; /* the end, or cut off while it was written */
        }
        json_t *json = json_loadb(line, (size_t)length, JSON_REJECT_DUPLICATES, NULL);
        if (number == 1) {
            result = check_header(state, json, plan, error);
            json_decref(json);
        } else {
            result = take_line(state, json, number, error);
        }
        *good += length;
    }
    free(line);
    return result;
}

static int load(struct sweep_state *state, const char *plan, struct err *error)
{
    long long good = 0;
    int copy = dup(state->file);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "r");
    if (!file) {
        int number = errno;
        if (copy >= 0) {
            close(copy);
        }
        return err_system(error, number, state->path, "cannot be read");
    }
    int result = read_lines(state, file, plan, &good, error);
    fclose(file);
    struct stat status;
    if (result == 0 && fstat(state->file, &status) < 0) {
        result = err_system(error, errno, state->path, "cannot be read");
    }
    if (result == 0 && good == 0 && status.st_size > 0) {
        return refuse_other(state, "is no state of a sweep", error);
    }
    if (result == 0 &&
        (ftruncate(state->file, good) < 0 || lseek(state->file, good, SEEK_SET) < 0)) {
        result = err_system(error, errno, state->path, "cannot be written");
    }
    return result;
}

static int write_header(struct sweep_state *state, const char *plan, struct err *error)
{
    json_t *header = json_pack("{s:s, s:s, s:I}", "format", FORMAT, "plan", plan, "turns",
                               (json_int_t)state->turns);
    if (!header) {
        return err_system(error, ENOMEM, state->path, "cannot be written");
    }
    int result = write_line(state, header, error);
    json_decref(header);
    return result == 0 ? sync_file(state, error) : result;
}

/* Nothing but a sweep's own state is thrown away: the name may have been a slip. */
static int throw_away(struct sweep_state *state, struct err *error)
{
    static const char beginning[] = "{\"format\":\"sonde.sweep/";
    char text[sizeof beginning] = "";
    ssize_t length = pread(state->file, text, sizeof beginning - 1, 0);
    if (length > 0 && strcmp(text, beginning) != 0) {
        return err_set(error, ERR_USAGE, state->path, "is no state of a sweep");
    }
    if (length < 0 || ftruncate(state->file, 0) < 0) {
        return err_system(error, errno, state->path, "cannot be emptied");
    }
    return 0;
}

int sweep_state_open(struct sweep_state *state, const char *path, const char *plan, size_t turns,
                     bool restart, struct err *error)
{
    *state = (struct sweep_state){.turns = turns, .path = path, .file = -1};
    state->outcomes = calloc(turns ? turns : 1, sizeof(json_t *));
    if (!state->outcomes) {
        return err_system(error, ENOMEM, "sweep", "cannot keep the runs");
    }
    if (!path) {
        return 0;
    }
    state->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (state->file < 0) {
        return err_system(error, errno, path, "cannot be opened");
    }
    struct stat opened;
    if (fstat(state->file, &opened) < 0 || !S_ISREG(opened.st_mode)) {
        return err_set(error, ERR_USAGE, path, "is no regular file: a state cannot be kept there");
    }
    if (flock(state->file, LOCK_EX | LOCK_NB) < 0) {
        return errno == EWOULDBLOCK ? err_set(error, ERR_SYSTEM, path, "is in use by another sweep")
                                    : err_system(error, errno, path, "cannot be locked");
    }
    if (restart && throw_away(state, error) < 0) {
        return -1;
    }
    if (load(state, plan, error) < 0) {
        return -1;
    }
    return lseek(state->file, 0, SEEK_CUR) == 0 ? write_header(state, plan, error) : 0;
}

int sweep_state_add(struct sweep_state *state, size_t turn, json_t *outcome, struct err *error)
{
    if (!outcome || turn >= state->turns || state->outcomes[turn] ||
        json_object_set_new(outcome, "turn", json_integer((json_int_t)turn)) < 0) {
        json_decref(outcome);
        return err_system(error, ENOMEM, "sweep", "cannot keep a run");
    }
    state->outcomes[turn] = outcome;
    state->done++;
    if (state->file < 0) {
        return 0;
    }
    if (write_line(state, outcome, error) < 0) {
        return -1;
    }
    return clock_now_ns() - state->synced_ns >= SYNC_EVERY_NS ? sync_file(state, error) : 0;
}

int sweep_state_close(struct sweep_state *state, bool finished, struct err *error)
{
    int result = 0;
    for (size_t i = 0; state->outcomes && i < state->turns; i++) {
        json_decref(state->outcomes[i]);
    }
    free(state->outcomes);
    state->outcomes = NULL;
    if (state->file >= 0) {
        struct stat own, named;
        bool still = fstat(state->file, &own) == 0 && stat(state->path, &named) == 0 &&
                     own.st_dev == named.st_dev && own.st_ino == named.st_ino;
        if (finished && still && unlink(state->path) < 0) {
            result = err_system(error, errno, state->path, "cannot be removed");
        } else if (!finished) {
            result = sync_file(state, error);
        }
        close(state->file);
        state->file = -1;
    }
    return result;
}
