/* sonde as wsperf: the command lines of the WebSocket load probe wsperf, of the program itself and
 * of its driver. Both are told apart by what stands first: a URI, or an option. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/as.h"
#include "cli/as_wsperf.h"

bool as_wsperf_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *value = number;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && number >= least &&
           number <= most;
}

static void print_usage(void)
{
    puts("Usage: wsperf serverurl num_threads num_connections max_parallel_handshakes_low "
         "max_parallel_handshakes_high [resultfile]\n"
         "Example: wsperf ws://localhost:9002 4 50 25 50 result.json\n"
         "Without a resultfile the result goes to standard output.");
}

static void help(void)
{
    print_usage();
    printf("\n"
           "Opens WebSocket connections, closes each as soon as it is open, and writes how long\n"
           "each phase of each one took.\n"
           "\n"
           "  serverurl                     ws://HOST:PORT/PATH or wss://HOST:PORT/PATH\n"
           "  num_threads                   0: the main thread (up to %d)\n"
           "  num_connections               that it opens in all, from 1\n"
           "  max_parallel_handshakes_low   goes on opening with fewer handshakes in flight\n"
           "  max_parallel_handshakes_high  stops opening with as many in flight\n"
           "  resultfile                    JSON; it is overwritten\n"
           "\n"
           "Of wss:// the server's certificate is verified. The authorities are the system's, or\n"
           "those in the file that the environment variable SSL_CERT_FILE names: a self-signed\n"
           "certificate is its own.\n"
           "\n"
           "Exit status: 0 where every connection was begun, also where all of them failed: the\n"
           "result says that of each, the driver's table in the row Fail, and standard error says\n"
           "why. 1 for wrong arguments (a serverurl that is none: 2), for a result that cannot be\n"
           "written, and where it was stopped before its end.\n",
           AS_WSPERF_THREADS_MOST);
}

static int parse(int argc, char **argv, struct as_wsperf_options *options)
{
    const struct {
        const char *name;
        uint64_t least, most, *value;
    } rows[] = {
        {"num_threads", 0, AS_WSPERF_THREADS_MOST, &options->threads},
        {"num_connections", 1, AS_WSPERF_CONNECTIONS_MOST, &options->connections},
        {"max_parallel_handshakes_low", 1, AS_WSPERF_MARK_MOST, &options->low},
        {"max_parallel_handshakes_high", 1, AS_WSPERF_MARK_MOST, &options->high},
    };
    if (argc != 6 && argc != 7) {
        print_usage();
        return 1;
    }
    options->uri = argv[1];
    options->file = argv[6]; /* NULL behind the last */
    for (int i = 0; i < 4; i++) {
        if (!as_wsperf_number(argv[2 + i], rows[i].least, rows[i].most, rows[i].value)) {
            fprintf(stderr, "wsperf: %s is a whole number from %llu to %llu, not \"%s\"\n",
                    rows[i].name, (unsigned long long)rows[i].least,
                    (unsigned long long)rows[i].most, argv[2 + i]);
            return 1;
        }
    }
    if (options->low > options->high) {
        fprintf(stderr, "wsperf: max_parallel_handshakes_low must be at most "
                        "max_parallel_handshakes_high\n");
        return 1;
    }
    return 0;
}

static int run(int argc, char **argv, struct err *error)
{
    struct as_wsperf_options options = {0};
    if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
        help();
        puts("\nThe driver, which starts several of them (also as wsperf.py):\n");
    }
    if (argc > 1 && argv[1][0] == '-') {
        return as_wsperf_driver(argc, argv, error);
    }
    int status = parse(argc, argv, &options);
    return status ? status : as_wsperf_client(&options, error);
}

const struct as_program as_wsperf = {
    .name = "wsperf",
    .summary = "WebSocket handshakes: wsperf and its driver wsperf.py",
    .run = run,
};

const struct as_program as_wsperf_py = {
    .name = "wsperf.py",
    .summary = "the same, always as the driver: several wsperf, and one table",
    .run = as_wsperf_driver,
};
