/* A web server of somebody else's, started for a run: with a configuration and a payload of its
 * own in a private directory, on a free port of 127.0.0.1, and gone with all of it afterwards. */
#ifndef SONDE_RUN_WEB_SERVER_H
#define SONDE_RUN_WEB_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/opt.h"
#include "net/net.h"
#include "run/placement.h"
#include "run/processes.h"

/* Where the payload is. Its every byte is its position modulo 251. */
#define WEB_SERVER_PATH "/testpayload"

/* The index is that of the option's choices. */
enum web_program { WEB_SERVER_NONE, WEB_SERVER_LIGHTTPD, WEB_SERVER_NGINX };

struct web_server_options {
    uint32_t program; /* enum web_program */
};

enum { WEB_SERVER_OPTIONS = 1 };
extern const struct opt web_server_rows[WEB_SERVER_OPTIONS]; /* over struct web_server_options */

struct web_server_plan {
    uint32_t program; /* enum web_program, not WEB_SERVER_NONE */
    uint64_t payload_bytes;
    uint64_t connections;   /* at once, over all processes */
    uint32_t processes;     /* each with one thread; the kernel spreads connections over them */
    const char *congestion; /* of its TCP; NULL: the kernel's default */
    const struct cpu_list *cpus; /* of the processes, in turn; NULL or empty: not pinned */
    int stop_fd;                 /* readable: ERR_INTERRUPTED; -1: none */
};

enum { WEB_SERVER_DIRECTORY_MOST = 512 };

/* Zeroed: there is none. */
struct web_server {
    struct processes processes;                /* our children, which end with us */
    struct address address;                    /* tcp://127.0.0.1:PORT */
    char software[64];                         /* as its answers say: "nginx/1.22.1" */
    const char *name;                          /* of the program */
    char directory[WEB_SERVER_DIRECTORY_MOST]; /* "": there is none */
    pid_t keeper;     /* removes the directory where this process was killed; 0: none */
    int keeper_file;  /* our end of what it waits at */
    int reservation;  /* a socket that keeps the port for us */
    bool holds_files; /* the two above are files */
};

/* The program's name, for texts. */
const char *web_server_name(uint32_t program);

/* Files that one of the processes opens at most. */
uint64_t web_server_files(const struct web_server_plan *plan);

/* Starts it and waits until it has answered for the payload. Raises this process's soft limit of
 * open files where that is needed. 0, or -1 with *error: not installed, no room for the payload,
 * not started (with what it said of it). Nothing is left then. */
int web_server_start(const struct web_server_plan *plan, struct web_server *server,
                     struct err *error);

/* Ends it and removes what was written. -1 with *error where it had ended by itself. Safe to call
 * twice, and on a zeroed one. */
int web_server_stop(struct web_server *server, struct err *error);

#endif
