/* What `sonde doctor` finds out, as one JSON object that both of its outputs print. */
#ifndef SONDE_CLI_DOCTOR_H
#define SONDE_CLI_DOCTOR_H

#include <jansson.h>
#include <stdio.h>

#include "base/err.h"

/* Looks at engines, transports, probes, limits, machine and noise (for about 200 ms). The caller
 * owns the object (json_decref). NULL with *error where there is no memory. */
json_t *doctor_gather(struct err *error);

/* Adds the array "advice": what to change, made from all that was gathered. 0, or -1 without
 * memory. */
int doctor_advise(json_t *report);

/* Writes it for people: aligned, at most 100 columns. */
void doctor_print(const json_t *report, FILE *out);

#endif
