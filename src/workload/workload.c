#include "workload/workload.h"

#include <stdio.h>

const struct workload *const workloads[] = {&workload_call,        &workload_ping,
                                            &workload_stream,      &workload_stream_datagrams,
                                            &workload_ws,          &workload_ws_hold,
                                            &workload_ws_messages, &workload_http,
                                            &workload_http_single, NULL};

int workload_check_transport(const struct workload *workload, const struct address *address,
                             struct err *error)
{
    const bool datagrams = address->transport->caps & TRANSPORT_DATAGRAMS;
    char forms[128] = "";
    size_t used = 0;

    if (workload->needs == 0 ||
        workload->needs & (datagrams ? WORKLOAD_DATAGRAMS : WORKLOAD_STREAM)) {
        return 0;
    }
    for (size_t i = 0; transports[i] && used < sizeof forms; i++) {
        uint32_t caps = transports[i]->caps;
        if (caps & TRANSPORT_CONNECTS && !(caps & TRANSPORT_DATAGRAMS) == datagrams) {
            int length = snprintf(forms + used, sizeof forms - used, "%s%s", used ? " or " : "",
                                  transports[i]->form);
            used += length > 0 ? (size_t)length : 0;
        }
    }
    err_set(error, ERR_USAGE, address->text, "%s needs %s, %s carries %s", workload->name,
            datagrams ? "a stream of bytes" : "datagrams", address->transport->scheme,
            datagrams ? "datagrams" : "a stream");
    return err_hint(error, "take %s", forms);
}

uint64_t workload_operations_per_start(const struct workload *workload, const void *options)
{
    return workload->operations_per_start ? workload->operations_per_start(options) : 1;
}
