/* The channel of `sonde ipc`: opening and tuning. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "run/ipc_state.h"
#include "run/sysfile.h"

const struct transport_ops *const ipc_transports[] = {&transport_pipe, &transport_local,
                                                      &transport_tcp, &transport_unix};

void ipc_channel_close(struct ipc_channel *channel, int side)
{
    if (channel->fds[side] >= 0) {
        close(channel->fds[side]);
    }
    channel->fds[side] = -1;
}

static struct net_tuning tuning_of(const struct ipc_options *options)
{
    uint64_t bytes = options->socket_buffers ? options->buffer_bytes : 0;
    return (struct net_tuning){
        .send_buffer = options->transport == IPC_PIPE ? options->pipe_size_bytes : bytes,
        .receive_buffer = bytes,
        .congestion = options->congestion};
}

/* A pair that is made at once: of a pipe's two directions only one is of use. */
static int open_pair(struct ipc_channel *channel, const struct transport_ops *transport,
                     const struct net_tuning *tuning, struct err *error)
{
    struct net_end sender, receiver;
    if (transport->pair(&sender, &receiver, error) != 0) {
        return -1;
    }
    channel->fds[SIDE_SENDER] = sender.write_fd;
    channel->fds[SIDE_RECEIVER] = receiver.read_fd;
    if (sender.read_fd != sender.write_fd) {
        close(sender.read_fd);
        close(receiver.write_fd);
        return transport->tune(sender.write_fd, tuning, error);
    }
    return transport->tune(sender.write_fd, tuning, error) ||
                   transport->tune(receiver.read_fd, tuning, error)
               ? -1
               : 0;
}

static int await(int fd, short events, const char *subject, struct err *error)
{
    struct pollfd file = {.fd = fd, .events = events};
    int result;
    do {
        result = poll(&file, 1, 5000);
    } while (result < 0 && errno == EINTR);
    return result == 1 ? 0
                       : err_system(error, result ? errno : ETIMEDOUT, subject, "cannot connect");
}

/* The connecting socket receives and the accepted one sends, as in ipc-static: so the handshake is
 * over before data moves. */
static int connect_to(struct ipc_channel *channel, struct address *address, int listener,
                      const struct net_tuning *tuning, struct err *error)
{
    const char *subject = address->text;
    int receiver = address->transport->open(address, tuning, error);
    if (receiver < 0) {
        return -1;
    }
    channel->fds[SIDE_RECEIVER] = receiver;
    if (connect(receiver, (struct sockaddr *)&address->socket_address, address->length) != 0 &&
        errno != EINPROGRESS) {
        return err_system(error, errno, subject, "cannot connect");
    }
    if (await(listener, POLLIN, subject, error) != 0) {
        return -1;
    }
    int sender = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (sender < 0) {
        return err_system(error, errno, subject, "cannot accept");
    }
    channel->fds[SIDE_SENDER] = sender;
    int number = 0;
    socklen_t length = sizeof number;
    if (await(receiver, POLLOUT, subject, error) != 0) {
        return -1;
    }
    if (getsockopt(receiver, SOL_SOCKET, SO_ERROR, &number, &length) != 0 || number != 0) {
        return err_system(error, number ? number : errno, subject, "cannot connect");
    }
    return address->transport->tune(sender, tuning, error);
}

static int open_connected(struct ipc_channel *channel, const struct ipc_options *options,
                          const struct net_tuning *tuning, struct err *error)
{
    struct address address;
    char url[64];
    if (options->transport == IPC_TCP) {
        snprintf(url, sizeof url, "tcp://127.0.0.1:%lu", options->port);
    } else {
        snprintf(url, sizeof url, "unix:@sonde-ipc-%d", (int)getpid());
    }
    if (address_parse(url, true, &address, error) != 0) {
        return -1;
    }
    int listener = address.transport->listen(&address, 1, false, error);
    if (listener < 0) {
        return -1;
    }
    /* What is set here, the accepted socket inherits: in time for the window's scale. */
    int result = address.transport->tune(listener, tuning, error);
    result = result ? result : connect_to(channel, &address, listener, tuning, error);
    close(listener);
    if (options->transport == IPC_TCP) {
        char congestion[32] = "unknown congestion control";
        sysfile_line("/proc/sys/net/ipv4/tcp_congestion_control", congestion, sizeof congestion);
        snprintf(channel->text, sizeof channel->text, "%.60s, %.28s", address.text,
                 options->congestion ? options->congestion : congestion);
    } else {
        snprintf(channel->text, sizeof channel->text, "unix socket");
    }
    return result;
}

static int set_blocking(int fd, struct err *error)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        return err_system(error, errno, "ipc", "cannot make a file blocking");
    }
    return 0;
}

/* The kernel doubles what a socket is asked for, for its own bookkeeping, and cuts it silently. */
static int compare_buffers(struct ipc_channel *channel, const struct ipc_options *options,
                           struct record *record, struct err *error)
{
    char wanted[UNITS_TEXT_MAX], sent[UNITS_TEXT_MAX], received[UNITS_TEXT_MAX];
    if (net_buffer_sizes(channel->fds[SIDE_SENDER], &channel->send_buffer_bytes, NULL, error) ||
        net_buffer_sizes(channel->fds[SIDE_RECEIVER], NULL, &channel->receive_buffer_bytes,
                         error)) {
        return -1;
    }
    uint64_t asked = 2 * options->buffer_bytes;
    if (options->socket_buffers &&
        (channel->send_buffer_bytes != asked || channel->receive_buffer_bytes != asked)) {
        record_add_warning(record,
                           "--socket-buffers: %s asked for; the kernel holds %s to send and %s to "
                           "receive (it doubles what is asked for, within net.core.wmem_max and "
                           "rmem_max)",
                           units_bytes(wanted, (double)options->buffer_bytes),
                           units_bytes(sent, (double)channel->send_buffer_bytes),
                           units_bytes(received, (double)channel->receive_buffer_bytes));
    }
    if (options->pipe_size_bytes && channel->send_buffer_bytes != options->pipe_size_bytes) {
        record_add_warning(record, "--pipe-size: %s asked for; the kernel made it %s",
                           units_bytes(wanted, (double)options->pipe_size_bytes),
                           units_bytes(sent, (double)channel->send_buffer_bytes));
    }
    return 0;
}

int ipc_channel_open(struct ipc_channel *channel, const struct ipc_plan *plan,
                     struct record *record, struct err *error)
{
    const struct ipc_options *options = plan->options;
    const struct transport_ops *transport = ipc_transports[options->transport];
    struct net_tuning tuning = tuning_of(options);
    int result;
    if (transport->caps & TRANSPORT_PAIRS) {
        snprintf(channel->text, sizeof channel->text, "%s",
                 options->transport == IPC_PIPE ? "pipe" : "local socket pair");
        result = open_pair(channel, transport, &tuning, error);
    } else {
        result = open_connected(channel, options, &tuning, error);
    }
    for (int side = 0; side < SIDES && result == 0 && plan->mode != IPC_1THREAD; side++) {
        result = set_blocking(channel->fds[side], error);
    }
    return result ? result : compare_buffers(channel, options, record, error);
}
