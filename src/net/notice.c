#include "net/notice.h"

#include <time.h> /* which linux/errqueue.h needs and does not include */
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static void read_item(struct cmsghdr *item, struct net_notice *notice)
{
    struct sock_extended_err said;
    bool is_ip = item->cmsg_level == SOL_IP && item->cmsg_type == IP_RECVERR;
    bool is_ipv6 = item->cmsg_level == SOL_IPV6 && item->cmsg_type == IPV6_RECVERR;
    if ((!is_ip && !is_ipv6) || item->cmsg_len < CMSG_LEN(sizeof said)) {
        return;
    }
    memcpy(&said, CMSG_DATA(item), sizeof said);
    if (said.ee_origin == SO_EE_ORIGIN_ZEROCOPY && said.ee_errno == 0) {
        *notice = (struct net_notice){.valid = true,
                                      .first = said.ee_info,
                                      .last = said.ee_data,
                                      .copied = said.ee_code & SO_EE_CODE_ZEROCOPY_COPIED};
    }
}

ssize_t net_notice_read(int fd, struct net_notice *notice)
{
    union {
        char bytes[256];
        struct cmsghdr aligned;
    } control;
    struct msghdr message = {.msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t result = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    *notice = (struct net_notice){.valid = false};
    if (result < 0) {
        return result;
    }
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
        read_item(item, notice);
    }
    return result;
}
