/* Data connections of a run over datagrams, at the serving end: a socket of the run's own, at which
 * its client knocks (codec/knock.h). Who has proved that he receives gets a connected socket at the
 * same port, to which the kernel gives nothing from anybody else, and which sends to nobody else.
 */
#ifndef SONDE_RUN_CONTROL_DOOR_H
#define SONDE_RUN_CONTROL_DOOR_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "net/net.h"

struct control_door;

/* At the address where the control connection `control_fd` was accepted, for its peer's address
 * alone. token: of the run, outlives the door; ends[0..wanted): where connections go. The port
 * stands in *port. NULL with *error. */
struct control_door *control_door_open(int control_fd, const uint8_t *token, struct net_end *ends,
                                       uint32_t wanted, uint16_t *port, struct err *error);
int control_door_file(const struct control_door *door);
/* Answers what has come, and says again what may have been lost: when the file is readable, and now
 * and then. 0 or -1 with *error. */
int control_door_serve(struct control_door *door, struct err *error);
/* Whether everybody is in. */
bool control_door_all_in(const struct control_door *door);
/* Takes away what still lies in the connections from before. */
void control_door_clear(struct control_door *door);
void control_door_close(struct control_door *door); /* NULL is allowed; the ends stay open */

#endif
