/* What the tests of the security layer share: a world whose engine has it, and secured channels
 * with a peer. */
#ifndef SONDE_TESTS_SECURE_WORLD_H
#define SONDE_TESTS_SECURE_WORLD_H

#include "tls_peer.h"

/* What the ends share: a server with a certificate of its own and one that also gives tickets, a
 * client that trusts exactly the first, one that trusts nobody, and one that asks for another name.
 */
static struct tls_context *server_tls, *giving_tls, *client_tls, *stranger_tls, *misled_tls;

static inline struct tls_context *context_of(struct tls_settings settings)
{
    struct tls_context *context;
    struct err error = {0};
    if (tls_context_open(&context, &settings, &error) < 0) {
        fail_msg("%s: %s", error.subject, error.what);
    }
    return context;
}

static inline void open_contexts(void)
{
    static const char *const names[] = {"server.example"};
    server_tls =
        context_of((struct tls_settings){.side = TLS_SERVER, .names = names, .name_count = 1});
    giving_tls = context_of(
        (struct tls_settings){.side = TLS_SERVER, .resume = true, .names = names, .name_count = 1});
    client_tls = context_of(
        (struct tls_settings){.side = TLS_CLIENT, .name = "server.example", .trusted = server_tls});
    stranger_tls = context_of((struct tls_settings){.side = TLS_CLIENT, .name = "server.example"});
    misled_tls = context_of(
        (struct tls_settings){.side = TLS_CLIENT, .name = "127.0.0.2", .trusted = server_tls});
}

static inline void open_with(struct world *world, void **state, size_t receive_bytes,
                             struct tls_context *client)
{
    *world = (struct world){.variant = *state};
    char reason[256];
    if (world->variant->ops->why_not(reason, sizeof reason) < 0 ||
        tls_why_not(reason, sizeof reason) < 0) {
        print_message("%s: %s\n", world->variant->ops->name, reason);
        skip();
    }
    const struct engine_config config = {.owner = world,
                                         .deliver = deliver,
                                         .receive_bytes = receive_bytes,
                                         .channels = 1,
                                         .receive_mode = world->variant->receive_mode};
    const struct secure_config secure = {
        .client = client ? client : client_tls, .server = server_tls, .peer = "the peer"};
    struct err error = {0};
    assert_int_equal(
        secure_open(&world->engine, world->variant->ops, &secure, &config, &world->calls, &error),
        0);
}

/* A secured channel that is about to connect; *peer is the accepted socket. */
static inline struct end *connecting(struct world *world, int *peer)
{
    struct sockaddr_in address;
    int listener = listen_tcp(&address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_buffer(fd, SO_SNDBUF);
    struct end *end = end_add_with(world, CHANNEL_SOCKET, fd, fd, CHANNEL_SECURE);
    submit_op(end, (struct op){.kind = OP_CONNECT,
                               .data = (const uint8_t *)&address,
                               .length = sizeof address});
    reap_until(world, 0); /* io_uring asks the kernel now */
    *peer = accept(listener, NULL, NULL);
    assert_true(*peer >= 0);
    close(listener);
    return end;
}

static inline struct end *connected_to(struct world *world, struct tls_peer *peer,
                                       struct tls_context *server)
{
    int fd;
    struct end *end = connecting(world, &fd);
    peer_open(peer, fd, server, TLS_SERVER);
    TURN_WHILE_NOT(world, peer, end->connected && peer->shaken);
    assert_int_equal(end->connect_result, 0);
    return end;
}

static inline struct end *connected(struct world *world, struct tls_peer *peer)
{
    return connected_to(world, peer, server_tls);
}

/* A secured channel of a server's, before its handshake. */
static inline struct end *accepted(struct world *world, int *peer)
{
    struct sockaddr_in address;
    int listener = listen_tcp(&address);
    *peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*peer, (struct sockaddr *)&address, sizeof address), 0);
    int fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    limit_buffer(fd, SO_SNDBUF);
    close(listener);
    struct end *end = end_add_with(world, CHANNEL_SOCKET, fd, fd, CHANNEL_SECURE);
    submit_op(end, (struct op){.kind = OP_SECURE});
    return end;
}

static inline struct end *served(struct world *world, struct tls_peer *peer, size_t piece)
{
    int fd;
    struct end *end = accepted(world, &fd);
    peer_open(peer, fd, client_tls, TLS_CLIENT);
    peer->piece = piece;
    TURN_WHILE_NOT(world, peer, end->connected && peer->shaken);
    assert_int_equal(end->connect_result, 0);
    return end;
}

static inline void finish(struct world *world, struct end *end, struct tls_peer *peer)
{
    end_close(end);
    peer_close(peer);
    world_close(world);
}

/* Runs the cases over every engine, and closes what they shared. */
static inline int run_secure(const char *name, const struct CMUnitTest *cases, size_t count)
{
    char reason[80];
    if (tls_why_not(reason, sizeof reason) == 0) {
        open_contexts();
    }
    int result = run_variants(name, cases, count);
    tls_context_close(server_tls);
    tls_context_close(giving_tls);
    tls_context_close(client_tls);
    tls_context_close(stranger_tls);
    tls_context_close(misled_tls);
    return result;
}

#endif
