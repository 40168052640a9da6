/* Every command's row. */
#ifndef SONDE_CLI_COMMANDS_H
#define SONDE_CLI_COMMANDS_H

#include "cli/command.h"

extern const struct command command_call, command_serve, command_observe, command_doctor,
    command_tour, command_sweep, command_man, command_completion;

#endif
