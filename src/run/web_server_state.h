/* Private to web_server*.c. */
#ifndef SONDE_RUN_WEB_SERVER_STATE_H
#define SONDE_RUN_WEB_SERVER_STATE_H

#include <stdbool.h>
#include <stdio.h>

#include "run/web_server.h"

/* Names in the directory. Relative everywhere: the programs' configurations know no path. */
#define WEB_ROOT "root"
#define WEB_ERROR_LOG "error.log"

/* What the configuration of one process says. */
struct web_config {
    uint32_t process; /* its number */
    uint16_t port;
    uint64_t connections, files; /* of this process */
    uint32_t left_out;           /* bit i: a row that this build of the program does not know */
};

struct web_program_ops {
    const char *name, *package;
    bool takes_listener; /* as its standard input, where it would not share the port itself */
    bool last_line;      /* of what it prints this is why it does not start; else the first */
    void (*write_config)(const struct web_config *config, FILE *out);
    /* Command line, given the names of its configuration and of the file for its pid. */
    void (*arguments)(const char *config, const char **list);
    /* Leaves out what the program said it does not know; false where that is nothing that it can
     * do without. */
    bool (*mend)(struct web_config *config, const char *said);
};

enum { WEB_ARGUMENTS_MOST = 12 };

/* web_server_config.c. */
const struct web_program_ops *web_program_find(uint32_t program);
/* Its executable, also where only administrators have it in their PATH. 0 or -1 with *error. */
int web_program_path(const struct web_program_ops *program, char *path, size_t size,
                     struct err *error);

/* web_server_files.c: a private directory with the payload, and who removes it where this process
 * cannot. 0 or -1 with *error. */
int web_files_make(const struct web_server_plan *plan, struct web_server *server,
                   struct err *error);
void web_files_remove(struct web_server *server);
/* "DIRECTORY/NAME" */
int web_files_path(const struct web_server *server, const char *name, char *path, size_t size,
                   struct err *error);
/* The beginning of a file there as text; "" where there is none. */
void web_files_read(const struct web_server *server, const char *name, char *text, size_t size);
bool web_interrupted(int stop_fd);

#endif
