/* wsperf's driver, wsperf.py: several wsperf at a time, and one table of all their results. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/as_wsperf.h"
#include "cli/output.h"
#include "run/child.h"
#include "run/children.h"

#define WORKERS_MOST 1000
#define USAGE_STATUS 2
#define NAME_BYTES 32

struct driver {
    const char *uri, *pattern;
    const char *program; /* NULL: this one */
    uint64_t workers, threads, connections, low, high;
    bool skip_run, skip_analyze, help;
    char **files; /* result files: of the workers, or those that were named */
    size_t file_count;
    char (*names)[PATH_MAX]; /* owned: those of the workers */
    char **own_files;        /* owned: pointers to them */
};

static const struct option options[] = {
    {"help", no_argument, NULL, 'h'},           {"wsuri", required_argument, NULL, 'u'},
    {"workers", required_argument, NULL, 'w'},  {"threads", required_argument, NULL, 't'},
    {"conns", required_argument, NULL, 'c'},    {"lowmark", required_argument, NULL, 'l'},
    {"highmark", required_argument, NULL, 'g'}, {"resultfile", required_argument, NULL, 'r'},
    {"wsperf", required_argument, NULL, 'p'},   {"skiprun", no_argument, NULL, 'R'},
    {"skipanalyze", no_argument, NULL, 'A'},    {NULL, 0, NULL, 0},
};

static void print_usage(FILE *out)
{
    fputs("usage: wsperf.py [-h] [--wsuri WSURI] [--workers WORKERS] [--threads THREADS]\n"
          "                 [--conns CONNS] [--lowmark LOWMARK] [--highmark HIGHMARK]\n"
          "                 [--resultfile RESULTFILE] [--wsperf WSPERF] [--skiprun]\n"
          "                 [--skipanalyze] [FILE ...]\n",
          out);
}

static int help(void)
{
    print_usage(stdout);
    fputs("\n"
          "Starts several wsperf at a time and makes one table of their results.\n"
          "\n"
          "positional arguments:\n"
          "  FILE                     with --skiprun: the result files, instead of RESULTFILE\n"
          "\n"
          "optional arguments:\n"
          "  -h, --help               show this help message and exit\n"
          "  --wsuri WSURI            the server (ws://127.0.0.1:9000)\n"
          "  --workers WORKERS        processes (4)\n"
          "  --threads THREADS        threads of each; 0: its main thread (0)\n"
          "  --conns CONNS            connections that each opens in all (50000)\n"
          "  --lowmark LOWMARK        each goes on with fewer handshakes in flight (250)\n"
          "  --highmark HIGHMARK      each stops with as many in flight (500)\n"
          "  --resultfile RESULTFILE  where they write; %d: a worker's number (result_%d.json)\n"
          "  --wsperf WSPERF          the program to start (this one)\n"
          "  --skiprun                analyze the results that there are\n"
          "  --skipanalyze            do not\n"
          "\n"
          "Exit status: 0 with the table, whatever failed in it; 1 where a worker failed, a\n"
          "result file cannot be read, or it was stopped; 2 for wrong arguments.\n",
          stdout);
    return 0;
}

static bool refuse(const char *what, const char *value)
{
    print_usage(stderr);
    fprintf(stderr, "wsperf.py: error: %s%s\n", what, value ? value : "");
    return false;
}

static bool take_number(const char *name, uint64_t least, uint64_t most, uint64_t *to)
{
    char what[96];
    if (as_wsperf_number(optarg, least, most, to)) {
        return true;
    }
    snprintf(what, sizeof what, "argument %s: not from %" PRIu64 " to %" PRIu64 ": ", name, least,
             most);
    return refuse(what, optarg);
}

static bool take_option(struct driver *driver, int letter, const char *word)
{
    switch (letter) {
    case 'h':
        driver->help = true;
        return true;
    case 'u':
        driver->uri = optarg;
        return true;
    case 'r':
        driver->pattern = optarg;
        return true;
    case 'p':
        driver->program = optarg;
        return true;
    case 'R':
        driver->skip_run = true;
        return true;
    case 'A':
        driver->skip_analyze = true;
        return true;
    case 'w':
        return take_number("--workers", 1, WORKERS_MOST, &driver->workers);
    case 't':
        return take_number("--threads", 0, AS_WSPERF_THREADS_MOST, &driver->threads);
    case 'c':
        return take_number("--conns", 1, AS_WSPERF_CONNECTIONS_MOST, &driver->connections);
    case 'l':
        return take_number("--lowmark", 1, AS_WSPERF_MARK_MOST, &driver->low);
    case 'g':
        return take_number("--highmark", 1, AS_WSPERF_MARK_MOST, &driver->high);
    case ':':
        return refuse("expected one argument: ", word);
    default:
        return refuse("unrecognized arguments: ", word);
    }
}

/* False where it has said what is wrong. */
static bool parse(int argc, char **argv, struct driver *driver)
{
    int letter;
    *driver = (struct driver){
        .uri = "ws://127.0.0.1:9000",
        .pattern = "result_%d.json",
        .workers = 4,
        .connections = 50000,
        .low = 250,
        .high = 500,
    };
    optind = 0;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (!take_option(driver, letter, argv[optind - 1])) {
            return false;
        }
    }
    if (driver->help) {
        return true;
    }
    if (optind < argc && !driver->skip_run) {
        return refuse("result files are analyzed with --skiprun: ", argv[optind]);
    }
    if (driver->low > driver->high) {
        return refuse("--lowmark must be at most --highmark", NULL);
    }
    driver->files = argv + optind;
    driver->file_count = (size_t)(argc - optind);
    return true;
}

/* "%d", "%3d", "%03d": the length of what stands there, 0: something else. */
static size_t placeholder(const char *pattern, bool *zeros, int *width)
{
    size_t length = 1;
    *zeros = pattern[length] == '0';
    *width = 0;
    for (; pattern[length] >= '0' && pattern[length] <= '9' && *width < 100; length++) {
        *width = *width * 10 + (pattern[length] - '0');
    }
    return pattern[length] == 'd' && *width < 100 ? length + 1 : 0;
}

bool as_wsperf_file_name(const char *pattern, unsigned worker, char *to, size_t size,
                         unsigned *numbers)
{
    size_t used = 0;
    *numbers = 0;
    while (*pattern && used < size) {
        bool zeros;
        int width;
        size_t length = *pattern == '%' ? placeholder(pattern, &zeros, &width) : 0;
        if (length) {
            int added = snprintf(to + used, size - used, zeros ? "%0*u" : "%*u", width, worker);
            used += (size_t)(added > 0 ? added : 0);
            pattern += length;
            ++*numbers;
        } else if (*pattern == '%' && pattern[1] != '%') {
            return false;
        } else {
            to[used++] = *pattern;
            pattern += *pattern == '%' ? 2 : 1;
        }
    }
    if (used >= size) {
        return false;
    }
    to[used] = '\0';
    return true;
}

/* The workers' result files, unless others were named. */
static int name_files(struct driver *driver, struct err *error)
{
    size_t count = driver->workers;
    if (driver->file_count) {
        return 0;
    }
    driver->names = calloc(count, sizeof *driver->names);
    driver->own_files = calloc(count, sizeof *driver->own_files);
    if (!driver->names || !driver->own_files) {
        return err_system(error, ENOMEM, "wsperf.py", "cannot name the results");
    }
    for (size_t i = 0; i < count; i++) {
        unsigned numbers;
        if (!as_wsperf_file_name(driver->pattern, (unsigned)i, driver->names[i],
                                 sizeof driver->names[i], &numbers) ||
            (numbers != 1 && count > 1)) {
            err_set(error, ERR_USAGE, driver->pattern, "does not name a file for each worker");
            return err_hint(error, "with one %%d, such as result_%%d.json; %%%% is a percent sign");
        }
        driver->own_files[i] = driver->names[i];
    }
    driver->files = driver->own_files;
    driver->file_count = count;
    return 0;
}

static void end(struct driver *driver)
{
    free(driver->own_files);
    free(driver->names);
}

/* ---- workers --------------------------------------------------------------------------------- */

struct worker_texts {
    char threads[NAME_BYTES], connections[NAME_BYTES], low[NAME_BYTES], high[NAME_BYTES];
};

/* "sonde as wsperf URI THREADS CONNECTIONS LOW HIGH FILE", or another program with these. */
enum { WORDS_MOST = 10 };

static void make_words(const struct driver *driver, struct worker_texts *texts, char *file,
                       char **words)
{
    size_t count = 0;
    if (driver->program) {
        words[count++] = (char *)(uintptr_t)driver->program;
    } else {
        words[count++] = "sonde";
        words[count++] = "as";
        words[count++] = "wsperf";
    }
    words[count++] = (char *)(uintptr_t)driver->uri;
    words[count++] = texts->threads;
    words[count++] = texts->connections;
    words[count++] = texts->low;
    words[count++] = texts->high;
    words[count++] = file;
    words[count] = NULL;
}

static void make_texts(const struct driver *driver, struct worker_texts *texts)
{
    snprintf(texts->threads, NAME_BYTES, "%" PRIu64, driver->threads);
    snprintf(texts->connections, NAME_BYTES, "%" PRIu64, driver->connections);
    snprintf(texts->low, NAME_BYTES, "%" PRIu64, driver->low);
    snprintf(texts->high, NAME_BYTES, "%" PRIu64, driver->high);
}

static int run_workers(const struct driver *driver, struct err *error)
{
    char path[PATH_MAX];
    struct worker_texts texts;
    size_t count = driver->workers;
    struct children_one *all = calloc(count, sizeof *all);
    char *(*words)[WORDS_MOST] = calloc(count, sizeof *words);
    char(*names)[NAME_BYTES] = calloc(count, sizeof *names);
    int result = -1;
    if (!all || !words || !names) {
        err_system(error, ENOMEM, "workers", "cannot be started");
    } else {
        make_texts(driver, &texts);
        for (size_t i = 0; i < count; i++) {
            make_words(driver, &texts, driver->files[i], words[i]);
            snprintf(names[i], sizeof names[i], "worker %zu", i);
            all[i] = (struct children_one){.arguments = words[i], .name = names[i]};
        }
        int stop_fd = output_stop_file(error);
        if (stop_fd >= 0) {
            result =
                children_run(driver->program ? driver->program : child_own_path(path, sizeof path),
                             all, count, stop_fd, error);
        }
        output_stop_end(&stop_fd);
    }
    free(all);
    free(words);
    free(names);
    return result;
}

static int drive(struct driver *driver, struct err *error)
{
    if (name_files(driver, error) < 0) {
        return -1;
    }
    int result = driver->skip_run ? 0 : run_workers(driver, error);
    /* Of workers that were interrupted there are results too. Where one has failed there is no
     * table: that of the others would be another load's. */
    if ((result == 0 || error->code == ERR_INTERRUPTED) && !driver->skip_analyze) {
        struct err ours = {0};
        if (as_wsperf_analyze(driver->files, driver->file_count, &ours) < 0 && result == 0) {
            *error = ours;
            result = -1;
        }
    }
    return result;
}

int as_wsperf_driver(int argc, char **argv, struct err *error)
{
    struct driver driver;
    if (!parse(argc, argv, &driver)) {
        return USAGE_STATUS;
    }
    if (driver.help) {
        return help();
    }
    int result = drive(&driver, error);
    end(&driver);
    return result;
}
