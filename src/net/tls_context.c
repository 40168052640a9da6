/* What the connections of one end share: certificates, whom to trust, versions, ciphers, sessions;
 * or, of ends that prove a secret, the secret. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/tls_state.h"

#if SONDE_HAVE_TLS

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define IDENTITY "sonde"
#define SUBJECT "TLS"

void tls_context_close(struct tls_context *context)
{
    if (context) {
        while (context->unused_count) {
            SSL_SESSION_free(context->unused[--context->unused_count]);
        }
        free(context->unused);
        SSL_SESSION_free(context->session);
        X509_free(context->certificate);
        SSL_CTX_free(context->ssl);
        BIO_meth_free(context->bytes);
        pthread_mutex_destroy(&context->lock);
        free(context);
    }
}

struct tls_context *tls_context_new(enum tls_side side)
{
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context) {
        return NULL;
    }
    pthread_mutex_init(&context->lock, NULL);
    context->side = side;
    context->bytes = tls_bytes_method();
    context->ssl = SSL_CTX_new(side == TLS_CLIENT ? TLS_client_method() : TLS_server_method());
    if (!context->bytes || !context->ssl) {
        tls_context_close(context);
        return NULL;
    }
    /* What an idle connection needs no buffers for, it gives back. */
    SSL_CTX_set_mode(context->ssl, SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    return context;
}

/* ---- proof by a secret ----------------------------------------------------------------------- */

/* The key as a session that both ends pretend to resume: how OpenSSL takes an external PSK. */
static SSL_SESSION *make_session(struct tls *tls)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01}; /* RFC 8446, B.4 */
    SSL_SESSION *session = SSL_SESSION_new();
    const SSL_CIPHER *cipher = SSL_CIPHER_find(tls->ssl, aes_128_gcm_sha256);
    if (!session || !cipher || !SSL_SESSION_set1_master_key(session, tls->key, TLS_KEY_BYTES) ||
        !SSL_SESSION_set_cipher(session, cipher) ||
        !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
        SSL_SESSION_free(session);
        return NULL;
    }
    return session;
}

static int use_session(SSL *ssl, const EVP_MD *digest, const unsigned char **identity,
                       size_t *length, SSL_SESSION **session)
{
    (void)digest;
    *identity = (const unsigned char *)IDENTITY;
    *length = strlen(IDENTITY);
    *session = make_session(tls_of(ssl));
    return *session != NULL;
}

static int find_session(SSL *ssl, const unsigned char *identity, size_t length,
                        SSL_SESSION **session)
{
    *session = NULL;
    if (length != strlen(IDENTITY) || memcmp(identity, IDENTITY, length) != 0) {
        return 1; /* a handshake without it, which fails for want of a certificate */
    }
    *session = make_session(tls_of(ssl));
    return *session != NULL;
}

/* One length for every secret: the key is what the handshake's own hash makes of it. */
static int make_key(struct tls *tls, const struct tls_secret *secret)
{
    static const char label[] = "sonde control channel, version 1";
    unsigned int length = 0;
    return HMAC(EVP_sha256(), label, (int)strlen(label), secret->bytes, secret->length, tls->key,
                &length) &&
                   length == TLS_KEY_BYTES
               ? 0
               : -1;
}

int tls_secret_configure(struct tls *tls, const struct tls_secret *secret)
{
    SSL_CTX *context = tls->context->ssl;
    if (make_key(tls, secret) < 0 || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set_num_tickets(context, 0)) {
        return -1;
    }
    if (tls->side == TLS_CLIENT) {
        SSL_CTX_set_psk_use_session_callback(context, use_session);
        /* A server without the secret has to show a certificate: none is trusted. */
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    } else {
        SSL_CTX_set_psk_find_session_callback(context, find_session);
    }
    return 0;
}

/* ---- versions and ciphers -------------------------------------------------------------------- */

/* OpenSSL's reason, in words; its queue is emptied. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *words = code ? ERR_reason_error_string(code) : NULL;
    if (code && ERR_SYSTEM_ERROR(code)) {
        words = strerror(ERR_GET_REASON(code));
    }
    ERR_clear_error();
    return words ? words : "OpenSSL refuses it";
}

/* The names of one version from the list: those of 1.3 begin with "TLS_". NULL without memory. */
static char *names_of(const char *list, bool version_1_3)
{
    char *names = calloc(1, strlen(list) + 2);
    size_t used = 0;
    for (const char *at = list; names && *at;) {
        size_t length = strcspn(at, ":,");
        if (length && (strncmp(at, "TLS_", 4) == 0) == version_1_3) {
            if (used) {
                names[used++] = ':';
            }
            memcpy(names + used, at, length);
            used += length;
        }
        at += length + (at[length] != '\0');
    }
    return names;
}

static int set_ciphers(SSL_CTX *ssl, const char *list, uint32_t *versions, struct err *error)
{
    char *old = names_of(list, false), *new = names_of(list, true);
    uint32_t named = (old && old[0] ? TLS_1_2 : 0u) | (new &&new[0] ? TLS_1_3 : 0u);
    int result = 0;
    if (!old || !new) {
        result = err_system(error, ENOMEM, "--ciphers", "cannot be kept");
    } else if ((old[0] && !SSL_CTX_set_cipher_list(ssl, old)) ||
               (new[0] && !SSL_CTX_set_ciphersuites(ssl, new))) {
        err_set(error, ERR_USAGE, "--ciphers", "\"%s\": %s", list, reason());
        result = err_hint(error, "openssl ciphers -s -v lists their names");
    } else if (!(*versions & named)) {
        result = err_set(error, ERR_USAGE, "--ciphers",
                         "\"%s\" names no cipher of the TLS version asked for", list);
    }
    *versions &= named;
    free(old);
    free(new);
    return result;
}

static int set_versions(SSL_CTX *ssl, const struct tls_settings *settings, struct err *error)
{
    uint32_t versions = settings->versions ? settings->versions : TLS_1_2 | TLS_1_3;
    if (settings->ciphers && set_ciphers(ssl, settings->ciphers, &versions, error) < 0) {
        return -1;
    }
    if (!SSL_CTX_set_min_proto_version(ssl, versions & TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION) ||
        !SSL_CTX_set_max_proto_version(ssl, versions & TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION)) {
        return err_set(error, ERR_UNSUPPORTED, "--tls-version", "%s", reason());
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* What OpenSSL says of a file that is not there, or is a directory, is of its own parts. Nothing is
 * opened: of a pipe that would take what is to be read. */
static int check_file(const char *option, const char *path, struct err *error)
{
    struct stat file;
    int number = stat(path, &file) < 0        ? errno
                 : S_ISDIR(file.st_mode)      ? EISDIR
                 : euidaccess(path, R_OK) < 0 ? errno
                                              : 0;
    if (number == 0) {
        return 0;
    }
    err_set(error, ERR_USAGE, option, "%s: %s", path, strerror(number));
    error->number = number;
    return -1;
}

/* The file has no block of PEM of the kind: what OpenSSL says of it first, before its callers add
 * theirs. Leaves its queue as it is. */
static bool lacks_block(void)
{
    unsigned long code = ERR_peek_error();
    int library = ERR_GET_LIB(code), why = ERR_GET_REASON(code);
    return (library == ERR_LIB_PEM && why == PEM_R_NO_START_LINE) ||
           (library == ERR_LIB_OSSL_DECODER && why == ERR_R_UNSUPPORTED) ||
           (library == ERR_LIB_X509 && why == X509_R_NO_CERTIFICATE_OR_CRL_FOUND);
}

static int refuse_certificates(const char *option, const char *path, struct err *error)
{
    if (lacks_block()) {
        ERR_clear_error();
        err_set(error, ERR_USAGE, option, "%s holds no certificate", path);
        return err_hint(error, "a file in PEM: -----BEGIN CERTIFICATE-----");
    }
    return err_set(error, ERR_USAGE, option, "%s: %s", path, reason());
}

/* ---- client ---------------------------------------------------------------------------------- */

/* Tickets of TLS 1.3 are meant to be used once (RFC 8446, appendix C.4), and some servers take none
 * a second time. */
static void keep_unused(struct tls_context *context, SSL_SESSION *session)
{
    if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
        return;
    }
    if (!context->unused) {
        context->unused = calloc(TLS_SESSIONS_MOST, sizeof(SSL_SESSION *));
    }
    if (context->unused && context->unused_count < TLS_SESSIONS_MOST &&
        SSL_SESSION_up_ref(session)) {
        context->unused[context->unused_count++] = session;
    }
}

/* A server has given a session. Returns 1 where it is kept. */
static int take_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *context = tls_of(ssl)->context;
    if (!SSL_SESSION_is_resumable(session)) {
        return 0;
    }
    pthread_mutex_lock(&context->lock);
    SSL_SESSION_free(context->session);
    context->session = session;
    keep_unused(context, session);
    pthread_mutex_unlock(&context->lock);
    return 1;
}

bool tls_context_has_session(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    bool has = context->session != NULL;
    pthread_mutex_unlock(&context->lock);
    return has;
}

bool tls_context_awaits_session(struct tls_context *context)
{
    return context && context->resume && !tls_context_has_session(context);
}

static int set_trust(struct tls_context *context, const struct tls_settings *settings,
                     struct err *error)
{
    X509_VERIFY_PARAM *parameters = SSL_CTX_get0_param(context->ssl);
    if (settings->trusted) {
        if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(context->ssl),
                                 settings->trusted->certificate)) {
            return err_set(error, ERR_SYSTEM, SUBJECT, "%s", reason());
        }
    } else if (settings->authorities) {
        if (check_file("--cacert", settings->authorities, error) < 0) {
            return -1;
        }
        if (!SSL_CTX_load_verify_file(context->ssl, settings->authorities)) {
            return refuse_certificates("--cacert", settings->authorities, error);
        }
    } else if (!SSL_CTX_set_default_verify_paths(context->ssl)) {
        return err_set(error, ERR_SYSTEM, SUBJECT, "the system's authorities: %s", reason());
    }
    /* Whom a file names is trusted, whoever signed it. */
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int set = context->by_address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, context->name)
                                  : X509_VERIFY_PARAM_set1_host(parameters, context->name, 0);
    if (!set) {
        return err_set(error, ERR_USAGE, "--server-name", "\"%s\" is no name", context->name);
    }
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    return 0;
}

static int configure_client(struct tls_context *context, const struct tls_settings *settings,
                            struct err *error)
{
    uint8_t address[sizeof(struct in6_addr)];
    const char *name = settings->name ? settings->name : "";
    if (strlen(name) >= sizeof context->name) {
        return err_set(error, ERR_USAGE, "--server-name", "is longer than %zu bytes",
                       sizeof context->name - 1);
    }
    snprintf(context->name, sizeof context->name, "%s", name);
    context->by_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    context->insecure = settings->insecure;
    context->resume = settings->resume;
    if (settings->resume) {
        SSL_CTX_set_session_cache_mode(context->ssl,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context->ssl, take_session);
    } else {
        SSL_CTX_set_options(context->ssl, SSL_OP_NO_TICKET);
    }
    if (settings->insecure) {
        SSL_CTX_set_verify(context->ssl, SSL_VERIFY_NONE, NULL);
        return 0;
    }
    if (!name[0]) {
        return err_set(error, ERR_USAGE, "--server-name", "there is no name to be verified");
    }
    return set_trust(context, settings, error);
}

/* ---- server ---------------------------------------------------------------------------------- */

static EVP_PKEY *read_key(const char *path)
{
    BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *key = file ? PEM_read_bio_PrivateKey(file, NULL, NULL, NULL) : NULL;
    BIO_free(file);
    return key;
}

/* `own`: it has a file of its own, named by --key. */
static int load_key(struct tls_context *context, const char *path, bool own, struct err *error)
{
    const char *option = own ? "--key" : "--cert";
    if (own && check_file(option, path, error) < 0) {
        return -1;
    }
    EVP_PKEY *key = read_key(path);
    if (!key) {
        bool lacks = lacks_block();
        err_set(error, ERR_USAGE, option, lacks ? "%s holds no private key" : "%s: %s", path,
                reason());
        return !lacks ? -1
               : own  ? err_hint(error, "a file in PEM: -----BEGIN PRIVATE KEY-----")
                      : err_hint(error, "--key FILE names the file that does");
    }
    int fits = X509_check_private_key(SSL_CTX_get0_certificate(context->ssl), key);
    int used = fits && SSL_CTX_use_PrivateKey(context->ssl, key);
    EVP_PKEY_free(key);
    if (!fits) {
        ERR_clear_error();
        return err_set(error, ERR_USAGE, option, "%s does not fit the certificate", path);
    }
    return used ? 0 : err_set(error, ERR_USAGE, option, "%s: %s", path, reason());
}

static int load_certificate(struct tls_context *context, const struct tls_settings *settings,
                            struct err *error)
{
    const char *certificate = settings->certificate;
    if (!certificate) {
        return err_set(error, ERR_USAGE, "--key", "--cert FILE names its certificate");
    }
    if (check_file("--cert", certificate, error) < 0) {
        return -1;
    }
    if (!SSL_CTX_use_certificate_chain_file(context->ssl, certificate)) {
        return refuse_certificates("--cert", certificate, error);
    }
    if (load_key(context, settings->key ? settings->key : certificate, settings->key != NULL,
                 error) < 0) {
        return -1;
    }
    context->certificate = SSL_CTX_get0_certificate(context->ssl);
    X509_up_ref(context->certificate);
    return 0;
}

/* "DNS:localhost,IP:127.0.0.1,IP:::1" and the names. NULL without memory. */
static char *alternative_names(const struct tls_settings *settings)
{
    static const char always[] = "DNS:localhost,IP:127.0.0.1,IP:::1";
    size_t room = sizeof always;
    for (size_t i = 0; i < settings->name_count; i++) {
        room += strlen(settings->names[i]) + sizeof ",DNS:";
    }
    char *text = malloc(room);
    char *at = text ? stpcpy(text, always) : NULL;
    for (size_t i = 0; at && i < settings->name_count; i++) {
        uint8_t address[sizeof(struct in6_addr)];
        const char *name = settings->names[i];
        bool numeric =
            inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
        if (name[0] && !strpbrk(name, ",\n")) {
            at = stpcpy(stpcpy(at, numeric ? ",IP:" : ",DNS:"), name);
        }
    }
    return text;
}

static int add_extension(X509 *certificate, int which, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, which, value);
    int added = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return added;
}

/* Valid from an hour ago (clocks differ) for a month: it is made anew at each start. */
static int fill_certificate(X509 *certificate, EVP_PKEY *key, const char *names)
{
    enum { HOUR = 3600, MONTH = 30 * 24 * HOUR };
    ASN1_INTEGER *serial = X509_get_serialNumber(certificate);
    BIGNUM *number = BN_new();
    X509_NAME *subject = X509_get_subject_name(certificate);
    int made = number && BN_rand(number, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
               BN_to_ASN1_INTEGER(number, serial) &&
               X509_set_version(certificate, X509_VERSION_3) &&
               X509_gmtime_adj(X509_getm_notBefore(certificate), -HOUR) &&
               X509_gmtime_adj(X509_getm_notAfter(certificate), MONTH) &&
               X509_set_pubkey(certificate, key) &&
               X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                          (const unsigned char *)"sonde", -1, -1, 0) &&
               X509_set_issuer_name(certificate, subject) &&
               add_extension(certificate, NID_subject_alt_name, names) &&
               add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
               add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
               add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
               X509_sign(certificate, key, EVP_sha256());
    BN_free(number);
    return made ? 0 : -1;
}

static int make_certificate(struct tls_context *context, const struct tls_settings *settings,
                            struct err *error)
{
    char *names = alternative_names(settings);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    context->certificate = X509_new();
    int result = 0;
    if (!names || !key || !context->certificate ||
        fill_certificate(context->certificate, key, names) < 0 ||
        !SSL_CTX_use_certificate(context->ssl, context->certificate) ||
        !SSL_CTX_use_PrivateKey(context->ssl, key)) {
        result = err_set(error, ERR_SYSTEM, SUBJECT, "cannot make a certificate: %s", reason());
    }
    EVP_PKEY_free(key);
    free(names);
    return result;
}

static int configure_server(struct tls_context *context, const struct tls_settings *settings,
                            struct err *error)
{
    static const unsigned char name[] = "sonde";
    bool given = settings->certificate || settings->key;
    if ((given ? load_certificate : make_certificate)(context, settings, error) < 0) {
        return -1;
    }
    /* Sessions are in tickets that the client keeps: nothing is kept here. */
    SSL_CTX_set_session_id_context(context->ssl, name, sizeof name - 1);
    SSL_CTX_set_options(context->ssl, SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (!settings->resume) {
        SSL_CTX_set_options(context->ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context->ssl, 0);
    }
    return 0;
}

int tls_context_open(struct tls_context **opened, const struct tls_settings *settings,
                     struct err *error)
{
    struct tls_context *context = *opened = tls_context_new(settings->side);
    if (!context) {
        return err_system(error, ENOMEM, SUBJECT, "cannot be set up");
    }
    ERR_clear_error();
    if (set_versions(context->ssl, settings, error) < 0 ||
        (settings->side == TLS_CLIENT ? configure_client : configure_server)(context, settings,
                                                                             error) < 0) {
        tls_context_close(context);
        *opened = NULL;
        return -1;
    }
    return 0;
}

#else

int tls_context_open(struct tls_context **context, const struct tls_settings *settings,
                     struct err *error)
{
    (void)settings;
    *context = NULL;
    return err_set(error, ERR_UNSUPPORTED, "TLS", "built without TLS (OpenSSL)");
}

void tls_context_close(struct tls_context *context)
{
    (void)context;
}

bool tls_context_has_session(struct tls_context *context)
{
    (void)context;
    return false;
}

bool tls_context_awaits_session(struct tls_context *context)
{
    (void)context;
    return false;
}

#endif
