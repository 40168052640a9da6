/* Every command's row, in the order in which help lists them. */
#ifndef SONDE_CLI_COMMANDS_H
#define SONDE_CLI_COMMANDS_H

#include "cli/command.h"

#define COMMANDS(X)                                                                                \
    X(call)                                                                                        \
    X(stream)                                                                                      \
    X(ping)                                                                                        \
    X(ws)                                                                                          \
    X(http)                                                                                        \
    X(ipc)                                                                                         \
    X(serve)                                                                                       \
    X(observe)                                                                                     \
    X(sweep)                                                                                       \
    X(compare)                                                                                     \
    X(doctor)                                                                                      \
    X(tour)                                                                                        \
    X(as)                                                                                          \
    X(man)                                                                                         \
    X(completion)

#define X(name) extern const struct command command_##name;
COMMANDS(X)
#undef X

#endif
