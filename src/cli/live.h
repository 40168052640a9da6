/* The live view: a run that goes on as one block on a terminal, redrawn some times a second, and
 * gone when the run has ended. The cursor is never left hidden: each redraw hides it and shows it
 * again in one write, so that whatever ends the program leaves the terminal as it was. */
#ifndef SONDE_CLI_LIVE_H
#define SONDE_CLI_LIVE_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/output.h"
#include "run/run.h"

struct live;

/* Where there is to be one, *live is it, else NULL, which all of these allow. report: the text
 * report goes to standard output, so the block goes there too; else to standard error. By itself it
 * is there on a terminal that can redraw, unless `quiet` or NO_COLOR ask for plain output. -1 where
 * it is asked for and neither of the two is a terminal. */
int live_open(struct live **live, enum live_choice choice, bool report, bool quiet,
              struct err *error);
void live_close(struct live *live);

/* The block is in the way of lines on standard output. */
bool live_takes_output(const struct live *live);

/* As struct run_plan's look: draws. A terminal that takes nothing is not waited for. */
void live_look(struct live *live, const struct run_look *look);
/* Takes the block away; what comes next begins where it stood. */
void live_clear(struct live *live);

#endif
