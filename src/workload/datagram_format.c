#include "workload/datagram_format.h"

#include "codec/iperf3.h"

/* iperf3 counts from 1, and its datagrams do not say of which stream they are. */
static void encode_iperf3(uint8_t *to, const struct datagram *head)
{
    const struct iperf3_datagram datagram = {.sent_ns = head->sent_ns,
                                             .sequence = head->sequence + 1};
    iperf3_datagram_encode(to, true, &datagram);
}

static bool decode_iperf3(const uint8_t *data, size_t length, struct datagram *head)
{
    struct iperf3_datagram datagram;
    if (iperf3_datagram_decode(data, length, true, &datagram) <= 0 || datagram.sequence == 0) {
        return false;
    }
    *head = (struct datagram){.sequence = datagram.sequence - 1, .sent_ns = datagram.sent_ns};
    return true;
}

const struct datagram_format_ops datagram_formats[DATAGRAM_FORMATS] = {
    [DATAGRAM_FORMAT_OWN] = {datagram_encode, datagram_decode},
    [DATAGRAM_FORMAT_IPERF3] = {encode_iperf3, decode_iperf3},
};
