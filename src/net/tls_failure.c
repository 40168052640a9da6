/* What went wrong with TLS, in words. */
#include <stdio.h>

#include "net/tls_state.h"

static const char *alert_name(int alert)
{
    static const struct {
        int number;
        const char *name;
    } alerts[] = {
        {10, "alert: unexpected message"},
        {20, "alert: bad record MAC"},
        {22, "alert: record overflow"},
        {40, "alert: handshake failure"},
        {42, "alert: bad certificate"},
        {43, "alert: unsupported certificate"},
        {44, "alert: certificate revoked"},
        {45, "alert: certificate expired"},
        {46, "alert: certificate unknown"},
        {47, "alert: illegal parameter"},
        {48, "alert: unknown certificate authority"},
        {49, "alert: access denied"},
        {50, "alert: decode error"},
        {51, "alert: decrypt error"},
        {70, "alert: protocol version"},
        {71, "alert: insufficient security"},
        {80, "alert: internal error"},
        {86, "alert: inappropriate fallback"},
        {90, "alert: user canceled"},
        {100, "alert: no renegotiation"},
        {109, "alert: missing extension"},
        {110, "alert: unsupported extension"},
        {112, "alert: unrecognized server name"},
        {113, "alert: bad certificate status"},
        {115, "alert: unknown PSK identity"},
        {116, "alert: certificate required"},
        {120, "alert: no application protocol"},
    };
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (alerts[i].number == alert) {
            return alerts[i].name;
        }
    }
    return "alert of an unknown kind";
}

const char *tls_failure_name(int number)
{
    static const char *const names[] = {
#define X(name, text) text,
        TLS_FAILURES(X)
#undef X
    };
    int index = number - TLS_FAILED_NONE - 1;
    if (number >= TLS_FAILED_ALERT && number <= TLS_FAILED_ALERT + 255) {
        return alert_name(number - TLS_FAILED_ALERT);
    }
    return index >= 0 && index < (int)(sizeof names / sizeof *names) ? names[index] : NULL;
}

#if SONDE_HAVE_TLS

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

static int of_certificate(long result)
{
    switch (result) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAILED_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return TLS_FAILED_EXPIRED;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAILED_NOT_YET;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return TLS_FAILED_SELF_SIGNED;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        return TLS_FAILED_UNTRUSTED;
    default:
        return TLS_FAILED_CERTIFICATE;
    }
}

static int of_reason(const struct tls *tls, int reason)
{
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return of_certificate(SSL_get_verify_result(tls->ssl));
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_AD_REASON_OFFSET + SSL_AD_PROTOCOL_VERSION:
        return TLS_FAILED_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_AVAILABLE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
        return TLS_FAILED_CIPHER;
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_ENCRYPTED_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return TLS_FAILED_RECORD;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return SSL_is_init_finished(tls->ssl) ? TLS_FAILED_RECORD : TLS_FAILED_NOT_TLS;
    case SSL_R_UNEXPECTED_MESSAGE:
        /* An answer to a hello that is none: from an echo, for one. */
        return SSL_get_state(tls->ssl) == TLS_ST_CW_CLNT_HELLO ? TLS_FAILED_NOT_TLS
                                                               : TLS_FAILED_PROTOCOL;
    default:
        break;
    }
    if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) {
        return TLS_FAILED_ALERT + reason - SSL_AD_REASON_OFFSET;
    }
    return TLS_FAILED_PROTOCOL;
}

/* Of ends that prove a secret: that the secrets differ is the likely thing, and is said as such. */
static bool secrets_differ(const struct tls *tls, int reason)
{
    /* The server finds that the client's proof does not hold; the client hears that as an alert. */
    return tls->own && !SSL_is_init_finished(tls->ssl) &&
           (reason == SSL_R_BINDER_DOES_NOT_VERIFY ||
            reason == SSL_AD_REASON_OFFSET + SSL_AD_ILLEGAL_PARAMETER ||
            reason == SSL_AD_REASON_OFFSET + SSL_AD_DECRYPT_ERROR ||
            reason == SSL_AD_REASON_OFFSET + SSL_AD_HANDSHAKE_FAILURE ||
            reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM || reason == SSL_R_NO_SHARED_CIPHER);
}

static int hint(const struct tls *tls, struct err *error)
{
    switch (tls->failure) {
    case TLS_FAILED_NAME:
        return err_hint(error, "--server-name says which name it is to be for");
    case TLS_FAILED_SELF_SIGNED:
    case TLS_FAILED_UNTRUSTED:
        return err_hint(error, "--cacert FILE trusts whom that names; --insecure verifies nothing");
    case TLS_FAILED_VERSION:
        return err_hint(error, "see --tls-version at both ends");
    case TLS_FAILED_CIPHER:
    case TLS_FAILED_ALERT + SSL_AD_HANDSHAKE_FAILURE:
        return err_hint(error, "see --ciphers and --tls-version at both ends");
    default:
        return -1;
    }
}

int tls_explain(struct tls *tls, struct err *error)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    const char *words = code ? ERR_reason_error_string(code) : "it ended";
    ERR_clear_error();
    if (secrets_differ(tls, reason)) {
        tls->failure = TLS_FAILED_PROTOCOL;
        err_set(error, ERR_PROTOCOL, tls->peer, "the secrets of the two ends differ");
        return err_hint(error, "--secret must name files of the same content");
    }
    tls->failure = of_reason(tls, reason);
    words = words ? words : "unknown";
    switch (tls->failure) {
    case TLS_FAILED_CERTIFICATE:
        words = X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl));
        err_set(error, ERR_PROTOCOL, tls->peer, "%s: %s", tls_failure_name(tls->failure), words);
        break;
    case TLS_FAILED_NAME:
        err_set(error, ERR_PROTOCOL, tls->peer, "%s than %s", tls_failure_name(tls->failure),
                tls->context->name);
        break;
    case TLS_FAILED_PROTOCOL:
        err_set(error, ERR_PROTOCOL, tls->peer, "TLS: %s", words);
        break;
    default:
        err_set(error, ERR_PROTOCOL, tls->peer, "%s", tls_failure_name(tls->failure));
    }
    return hint(tls, error);
}

#endif
