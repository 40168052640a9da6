#include "run/security.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct histogram_metric histograms[] = {
    {"connect_time", "ns", "connect times", "from connect to the end of TCP's handshake",
     PART_NONE},
    {"tls_handshake_time", "ns", "TLS handshakes",
     "from then to the end of TLS's handshake, as this end saw it", PART_NONE},
};

static bool is_secure(const struct conductor *conductor)
{
    return conductor->address.transport->caps & TRANSPORT_SECURE;
}

int security_open_server(struct tls_context **context, const struct tls_options *options,
                         const struct address *addresses, uint32_t count, struct err *error)
{
    const char **names = calloc(count + 1, sizeof *names);
    struct tls_settings settings = {.side = TLS_SERVER,
                                    .versions = tls_versions(options),
                                    .ciphers = options->ciphers,
                                    .resume = options->resume,
                                    .certificate = options->certificate,
                                    .key = options->key,
                                    .names = names};
    for (uint32_t i = 0; names && i < count; i++) {
        if (addresses[i].transport->caps & TRANSPORT_SECURE) {
            names[settings.name_count++] = addresses[i].host;
        }
    }
    int result = tls_context_open(context, &settings, error);
    free(names);
    return result;
}

int security_open(struct conductor *conductor, struct err *error)
{
    const struct tls_options *options = &conductor->plan->options->tls;
    if (!is_secure(conductor)) {
        return 0;
    }
    if (conductor->plan->engine->flags & ENGINE_NO_KERNEL) {
        return err_set(error, ERR_USAGE, "--engine",
                       "null speaks to nobody, not through TLS either");
    }
    if (conductor->own_server &&
        security_open_server(&conductor->server_tls, options, NULL, 0, error) < 0) {
        return -1;
    }
    const struct tls_settings settings = {
        .side = TLS_CLIENT,
        .versions = tls_versions(options),
        .ciphers = options->ciphers,
        .resume = options->resume,
        .name = options->server_name ? options->server_name : conductor->address.host,
        .insecure = options->insecure,
        .authorities = options->authorities,
        .trusted = options->authorities ? NULL : conductor->server_tls,
    };
    snprintf(conductor->run->tls.name, sizeof conductor->run->tls.name, "%s", settings.name);
    return tls_context_open(&conductor->client_tls, &settings, error);
}

void security_close(struct conductor *conductor)
{
    tls_context_close(conductor->client_tls);
    tls_context_close(conductor->server_tls);
    conductor->client_tls = conductor->server_tls = NULL;
}

static int add_histogram(struct record_run *run, const struct histogram_metric *metric,
                         const char *role, const struct histogram *histogram)
{
    if (histogram_count(histogram) == 0) {
        return 0;
    }
    struct record_histogram *row = record_add_histogram(run, metric, role);
    if (!row) {
        return -1;
    }
    histogram_add(row->histogram, histogram);
    return 0;
}

int security_fill(struct record_run *run, const char *end, bool times,
                  const struct worker_slot *slots, uint32_t count, struct record_tls *tls)
{
    struct histogram *sums = calloc(2, sizeof *sums);
    if (!sums) {
        return -1;
    }
    histogram_clear(&sums[0]);
    histogram_clear(&sums[1]);
    uint64_t verified = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct slot_security *security = &slots[i].security;
        if (security->handshakes == 0) {
            continue;
        }
        tls->handshakes += security->handshakes;
        tls->resumed += security->resumed;
        verified += security->verified;
        snprintf(tls->version, sizeof tls->version, "%s", security->version);
        snprintf(tls->cipher, sizeof tls->cipher, "%s", security->cipher);
        histogram_add(&sums[0], &security->connect_time);
        histogram_add(&sums[1], &security->handshake_time);
    }
    tls->verified = tls->handshakes > 0 && verified == tls->handshakes;
    int result = 0;
    for (size_t i = 0; times && i < 2 && result == 0; i++) {
        result = add_histogram(run, &histograms[i], end, &sums[i]);
    }
    free(sums);
    return result;
}

int security_fill_run(struct conductor *conductor)
{
    struct record_run *run = conductor->run;
    struct record_tls server = {0};
    if (!conductor->client_tls) {
        return 0;
    }
    /* Connections that stay were all secured before the window, at both ends. */
    bool times = !conductor->plan->workload->client->times_security;
    if (security_fill(run, "client", times, conductor->slots, conductor->worker_count, &run->tls) <
        0) {
        return -1;
    }
    if (run->tls.handshakes && !run->tls.verified) {
        record_add_warning(conductor->record,
                           "%s: --insecure: the server's certificate was not verified",
                           conductor->plan->label);
    }
    return conductor->own_server ? security_fill(run, "server", times, conductor->server_slots,
                                                 conductor->server_slot_count, &server)
                                 : 0;
}
