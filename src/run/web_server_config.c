/* The web servers that can be started, and their configurations: nothing but what the payload
 * needs, and no limit that would end a connection or refuse one. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/web_server_state.h"

#define IDLE_SECONDS 3600

static const char *const choices[] = {"none", "lighttpd", "nginx", NULL};

const struct opt web_server_rows[WEB_SERVER_OPTIONS] = {
    OPT_CHOICE(struct web_server_options, program, .name = "server", .argument = "PROGRAM",
               .choices = choices, .initial = "none",
               .help = "start this installed web server for the run, on a free port of 127.0.0.1, "
                       "with a payload of --size bytes: --server-threads of its processes, with a "
                       "minimal configuration in a directory that is removed afterwards"),
};

const char *web_server_name(uint32_t program)
{
    return choices[program];
}

/* ---- lighttpd -------------------------------------------------------------------------------- */

static void lighttpd_config(const struct web_config *config, FILE *out)
{
    fprintf(out,
            "server.document-root = var.CWD + \"/" WEB_ROOT "\"\n"
            "server.bind = \"/dev/stdin\"\n"
            "server.port = %u\n"
            "server.pid-file = \"%u.pid\"\n"
            "server.errorlog = \"" WEB_ERROR_LOG "\"\n"
            "server.upload-dirs = ( \"temporary\" )\n"
            "server.compat-module-load = \"disable\"\n"
            "server.modules = ( \"mod_staticfile\" )\n"
            "mimetype.assign = ( \"\" => \"application/octet-stream\" )\n"
            "server.network-backend = \"sendfile\"\n"
            "server.max-worker = 0\n",
            config->port, config->process);
    /* It has no more than 16 bits for any of these. */
    fprintf(out,
            "server.max-connections = %lu\n"
            "server.max-fds = %lu\n"
            "server.max-keep-alive-requests = 65535\n"
            "server.max-keep-alive-idle = %d\n"
            "server.max-read-idle = %d\n"
            "server.max-write-idle = %d\n",
            config->connections < UINT16_MAX ? config->connections : UINT16_MAX, config->files,
            IDLE_SECONDS, IDLE_SECONDS, IDLE_SECONDS);
}

static void lighttpd_arguments(const char *config, const char **list)
{
    const char *const words[] = {"lighttpd", "-D", "-f", config, NULL};
    memcpy(list, words, sizeof words);
}

/* ---- nginx ----------------------------------------------------------------------------------- */

/* Each of these modules makes its directory at the start, wherever the build says, unless told
 * otherwise; which of them there are is a matter of the build too. */
static const char *const nginx_temporary[] = {"proxy", "fastcgi", "uwsgi", "scgi"};
enum { NGINX_TEMPORARY = sizeof nginx_temporary / sizeof *nginx_temporary };

static void nginx_config(const struct web_config *config, FILE *out)
{
    /* Without a master there is one process, which is the one that was started: it ends with us.
     * Nor does it become another user, but as root it gives its directories to one. */
    fprintf(out,
            "daemon off;\n"
            "master_process off;\n"
            "worker_processes 1;\n"
            "%s"
            "pid %u.pid;\n"
            "error_log " WEB_ERROR_LOG ";\n"
            "events { worker_connections %lu; }\n"
            "http {\n"
            "    access_log off;\n"
            "    default_type application/octet-stream;\n"
            "    sendfile on;\n"
            "    tcp_nopush on;\n" /* as most packages set it: a head and its file in one segment */
            "    tcp_nodelay on;\n"
            "    keepalive_requests 1000000000;\n"
            "    keepalive_timeout %ds;\n"
            "    client_header_timeout %ds;\n"
            "    send_timeout %ds;\n"
            "    client_body_temp_path temporary/body;\n",
            geteuid() == 0 ? "user root root;\n" : "", config->process, config->connections,
            IDLE_SECONDS, IDLE_SECONDS, IDLE_SECONDS);
    for (uint32_t i = 0; i < NGINX_TEMPORARY; i++) {
        if (!(config->left_out >> i & 1)) {
            fprintf(out, "    %s_temp_path temporary/%s;\n", nginx_temporary[i],
                    nginx_temporary[i]);
        }
    }
    fprintf(out,
            "    server {\n"
            "        listen 127.0.0.1:%u reuseport backlog=4096;\n"
            "        root " WEB_ROOT ";\n"
            "    }\n"
            "}\n",
            config->port);
}

static void nginx_arguments(const char *config, const char **list)
{
    const char *const words[] = {"nginx", "-p", "./", "-e", WEB_ERROR_LOG, "-c", config, NULL};
    memcpy(list, words, sizeof words);
}

static bool nginx_mend(struct web_config *config, const char *said)
{
    for (uint32_t i = 0; i < NGINX_TEMPORARY; i++) {
        char words[64];
        snprintf(words, sizeof words, "unknown directive \"%s_temp_path\"", nginx_temporary[i]);
        if (strstr(said, words) && !(config->left_out >> i & 1)) {
            config->left_out |= 1u << i;
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------------------------------------- */

static const struct web_program_ops programs[] = {
    [WEB_SERVER_LIGHTTPD] = {.name = "lighttpd",
                             .package = "lighttpd",
                             .takes_listener = true,
                             .write_config = lighttpd_config,
                             .arguments = lighttpd_arguments},
    [WEB_SERVER_NGINX] = {.name = "nginx",
                          .package = "nginx-light",
                          .last_line = true,
                          .write_config = nginx_config,
                          .arguments = nginx_arguments,
                          .mend = nginx_mend},
};

const struct web_program_ops *web_program_find(uint32_t program)
{
    return &programs[program];
}

/* In one of the folders of a list like PATH's. */
static bool find_in(const char *folders, const char *name, char *path, size_t size)
{
    for (const char *at = folders; *at;) {
        size_t length = strcspn(at, ":");
        int used = snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (*at == '/' && used > 0 && (size_t)used < size && access(path, X_OK) == 0) {
            return true;
        }
        at += length + (at[length] == ':');
    }
    return false;
}

int web_program_path(const struct web_program_ops *program, char *path, size_t size,
                     struct err *error)
{
    const char *folders = getenv("PATH");
    if (find_in(folders ? folders : "", program->name, path, size) ||
        find_in("/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin", program->name, path, size)) {
        return 0;
    }
    err_set(error, ERR_UNSUPPORTED, "--server", "%s is not installed", program->name);
    return err_hint(error,
                    "apt install %s; it is looked for in PATH, /usr/sbin and /usr/local/sbin",
                    program->package);
}
