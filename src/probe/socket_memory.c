/* Memory of all sockets of this network namespace, by sock_diag(7). */
#include "probe/memory_sample.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

static int append(struct socket_table *table, uint64_t inode, uint64_t bytes)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 256;
        struct socket_memory *larger = reallocarray(table->sockets, capacity, sizeof *larger);
        if (larger == NULL) {
            return ENOMEM;
        }
        table->sockets = larger;
        table->capacity = capacity;
    }
    table->sockets[table->count++] = (struct socket_memory){inode, bytes};
    return 0;
}

/* What a socket holds. TCP charges what it sends to wmem_queued (wmem_alloc holds clones on their
 * way down), all others to wmem_alloc (a local socket's stays with the sender until it is read):
 * never both for the same data. */
static uint64_t held(const uint32_t *fields, size_t count)
{
    static const unsigned char always[] = {SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_FWD_ALLOC,
                                           SK_MEMINFO_OPTMEM, SK_MEMINFO_BACKLOG};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof always; i++) {
        bytes += always[i] < count ? fields[always[i]] : 0;
    }
    uint64_t sent = SK_MEMINFO_WMEM_ALLOC < count ? fields[SK_MEMINFO_WMEM_ALLOC] : 0;
    uint64_t queued = SK_MEMINFO_WMEM_QUEUED < count ? fields[SK_MEMINFO_WMEM_QUEUED] : 0;
    return bytes + (queued > sent ? queued : sent);
}

/* The attributes after the fixed part of a message. */
static uint64_t held_in(struct nlmsghdr *message, size_t fixed, unsigned short wanted)
{
    if (message->nlmsg_len < NLMSG_LENGTH(fixed)) {
        return 0;
    }
    long left = (long)message->nlmsg_len - (long)NLMSG_LENGTH(fixed);
    struct rtattr *attribute = (void *)((char *)NLMSG_DATA(message) + NLMSG_ALIGN(fixed));
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == wanted) {
            return held(RTA_DATA(attribute), RTA_PAYLOAD(attribute) / sizeof(uint32_t));
        }
    }
    return 0;
}

static int take_message(struct nlmsghdr *message, struct socket_table *table, int family)
{
    if (family == AF_UNIX) {
        const struct unix_diag_msg *socket = NLMSG_DATA(message);
        return message->nlmsg_len < NLMSG_LENGTH(sizeof *socket)
                   ? EPROTO
                   : append(table, socket->udiag_ino,
                            held_in(message, sizeof *socket, UNIX_DIAG_MEMINFO));
    }
    const struct inet_diag_msg *socket = NLMSG_DATA(message);
    return message->nlmsg_len < NLMSG_LENGTH(sizeof *socket)
               ? EPROTO
               : append(table, socket->idiag_inode,
                        held_in(message, sizeof *socket, INET_DIAG_SKMEMINFO));
}

/* Takes the answers of one request up to its end. */
static int take_answers(int file, struct socket_table *table, int family)
{
    union {
        struct nlmsghdr first;
        char bytes[32768];
    } buffer;
    for (;;) {
        ssize_t length = recv(file, &buffer, sizeof buffer, 0);
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length <= 0) {
            return length < 0 ? errno : EPROTO;
        }
        struct nlmsghdr *message = &buffer.first;
        for (; NLMSG_OK(message, (size_t)length); message = NLMSG_NEXT(message, length)) {
            if (message->nlmsg_type == NLMSG_DONE) {
                return 0;
            }
            if (message->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *failure = NLMSG_DATA(message);
                return message->nlmsg_len < NLMSG_LENGTH(sizeof *failure) ? EPROTO
                                                                          : -failure->error;
            }
            int number = take_message(message, table, family);
            if (number != 0) {
                return number;
            }
        }
    }
}

static int ask(int file, struct socket_table *table, int family, int protocol)
{
    struct {
        struct nlmsghdr header;
        union {
            struct inet_diag_req_v2 inet;
            struct unix_diag_req local;
        } body;
    } request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    size_t length;
    if (family == AF_UNIX) {
        length = NLMSG_LENGTH(sizeof request.body.local);
        request.body.local = (struct unix_diag_req){
            .sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_MEMINFO};
    } else {
        length = NLMSG_LENGTH(sizeof request.body.inet);
        request.body.inet = (struct inet_diag_req_v2){.sdiag_family = (unsigned char)family,
                                                      .sdiag_protocol = (unsigned char)protocol,
                                                      .idiag_ext = 1u << (INET_DIAG_SKMEMINFO - 1),
                                                      .idiag_states = ~0u};
    }
    request.header.nlmsg_len = (unsigned)length;
    if (send(file, &request, length, 0) < 0) {
        return errno;
    }
    return take_answers(file, table, family);
}

int socket_table_read(struct socket_table *table)
{
    static const struct {
        int family, protocol;
    } kinds[] = {{AF_INET, IPPROTO_TCP},
                 {AF_INET6, IPPROTO_TCP},
                 {AF_INET, IPPROTO_UDP},
                 {AF_INET6, IPPROTO_UDP},
                 {AF_UNIX, 0}};
    table->count = 0;
    table->without_udp = false;
    int file = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (file < 0) {
        return errno;
    }
    int number = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && number == 0; i++) {
        number = ask(file, table, kinds[i].family, kinds[i].protocol);
        /* A kernel may lack the diagnosis of UDP (a module of its own). */
        bool absent = number == ENOENT || number == EAFNOSUPPORT || number == EINVAL;
        if (absent && kinds[i].protocol == IPPROTO_UDP) {
            table->without_udp = true;
            number = 0;
        }
    }
    close(file);
    if (table->count > 1) {
        qsort(table->sockets, table->count, sizeof *table->sockets, socket_memory_by_inode);
    }
    return number;
}
