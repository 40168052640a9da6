/* What goes to the peer: encrypting, sending, ending. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/secure_state.h"

/* How long a close waits for what was taken to be sent. */
#define LINGER_NS NS_PER_SECOND
/* What TLS says by itself, and has not been sent: a peer that makes it say more and reads nothing
 * has other plans. */
#define QUEUED_MOST ((size_t)256 * 1024)
/* Beside its plain text, of a record: head, type and tag (TLS 1.3), or nonce and tag with padding
 * (TLS 1.2). */
#define RECORD_OVERHEAD ((size_t)128)

/* Ciphertext of a few small messages, of a record, of the largest send. */
static const size_t class_bytes[BUFFER_CLASSES] = {
    1024,
    TLS_RECORD_BYTES + 2 * RECORD_OVERHEAD,
    SECURE_SEND_BYTES + (SECURE_SEND_BYTES / TLS_RECORD_BYTES + 1) * RECORD_OVERHEAD,
};

struct secure_buffer *secure_buffer_take(struct secure *secure, size_t plain_bytes)
{
    uint32_t class = 0;
    while (class < BUFFER_CLASSES - 1 && plain_bytes + RECORD_OVERHEAD > class_bytes[class]) {
        class ++;
    }
    struct secure_buffer *buffer = secure->spare[class];
    if (buffer) {
        secure->spare[class] = buffer->next;
        secure->spares[class]--;
        buffer->next = NULL;
        return buffer;
    }
    buffer = calloc(1, sizeof *buffer);
    if (buffer) {
        buffer->class = class;
        buffer->output.room = class_bytes[class];
        buffer->output.bytes = malloc(buffer->output.room);
        if (!buffer->output.bytes) {
            free(buffer);
            return NULL;
        }
    }
    return buffer;
}

static void free_buffer(struct secure_buffer *buffer)
{
    free(buffer->output.bytes);
    free(buffer);
}

static void give(struct secure *secure, struct secure_buffer *buffer)
{
    if (!buffer) {
        return;
    }
    uint32_t class = buffer->class;
    /* One that had to grow is not of its class any more. */
    if (secure->spares[class] >= SPARES_MOST || buffer->output.room > class_bytes[class]) {
        free_buffer(buffer);
        return;
    }
    buffer->output.length = 0;
    buffer->next = secure->spare[class];
    secure->spare[class] = buffer;
    secure->spares[class]++;
}

void secure_buffers_close(struct secure *secure)
{
    for (size_t i = 0; i < BUFFER_CLASSES; i++) {
        while (secure->spare[i]) {
            struct secure_buffer *buffer = secure->spare[i];
            secure->spare[i] = buffer->next;
            free_buffer(buffer);
        }
    }
}

void secure_drop_output(struct secure *secure, struct secured *secured)
{
    give(secure, secured->sending);
    give(secure, secured->queued);
    secured->sending = secured->queued = NULL;
}

/* Where what is encrypted next is put, behind what waits already. NULL without memory. */
static struct tls_output *open_output(struct secure *secure, struct secured *secured, size_t bytes)
{
    if (!secured->queued) {
        secured->queued = secure_buffer_take(secure, bytes);
    }
    return secured->queued ? &secured->queued->output : NULL;
}

int secure_say(struct secure *secure, struct secured *secured)
{
    struct tls_output *said = &secure->stray;
    if (said->length == 0) {
        return 0;
    }
    struct tls_output *output = open_output(secure, secured, said->length);
    size_t room = output ? output->length + said->length : 0;
    if (!output || room > QUEUED_MOST) {
        said->length = 0;
        return -1;
    }
    if (room > output->room) {
        uint8_t *bytes = realloc(output->bytes, room);
        if (!bytes) {
            said->length = 0;
            return -1;
        }
        output->bytes = bytes;
        output->room = room;
    }
    memcpy(output->bytes + output->length, said->bytes, said->length);
    output->length += said->length;
    said->length = 0;
    secure_flush(secure, secured);
    return 0;
}

/* ---- sending below --------------------------------------------------------------------------- */

static void close_inner(struct secure *secure, struct secured *secured);

/* Everything has been sent. */
static void emptied(struct secure *secure, struct secured *secured)
{
    if (secured->shut_wanted) {
        secured->shut_wanted = false;
        secure_put(secure, &(struct op){.kind = OP_SHUTDOWN, .channel = &secured->inner});
    }
}

/* A send below is through, for good or ill. */
static void account(struct secure *secure, struct secured *secured, int64_t result)
{
    if (result < 0) {
        secured->send_failed = result;
        secure_drop_output(secure, secured);
        return;
    }
    secured->sent += (size_t)result;
    if (secured->sent == secured->sending->output.length) {
        give(secure, secured->sending);
        secured->sending = NULL;
    }
}

/* Until the engine below keeps something, or nothing is left. */
static void push(struct secure *secure, struct secured *secured)
{
    while (secured->send_failed == 0) {
        if (!secured->sending) {
            secured->sending = secured->queued;
            secured->queued = NULL;
            secured->sent = 0;
        }
        if (!secured->sending) {
            emptied(secure, secured);
            return;
        }
        const struct tls_output *output = &secured->sending->output;
        struct op op = {.kind = OP_SEND,
                        .channel = &secured->inner,
                        .data = output->bytes + secured->sent,
                        .length = output->length - secured->sent,
                        .flags = secured->send_flags};
        if (secure_put(secure, &op) != SUBMIT_DONE) {
            return;
        }
        account(secure, secured, op.result);
    }
}

void secure_flush(struct secure *secure, struct secured *secured)
{
    if (!secured->sending) {
        push(secure, secured);
    }
}

void secure_sent(struct secure *secure, struct secured *secured, int64_t result, uint64_t now_ns)
{
    if (!secured->sending) {
        return;
    }
    account(secure, secured, result);
    push(secure, secured);
    if (secured->sending) {
        return;
    }
    if (secured->outer->closing) {
        if (secured->lingering) {
            secured->linger_until_ns = 0;
        }
        return;
    }
    if (secured->taken) {
        struct op op = {.kind = OP_SEND,
                        .result = secured->send_failed ? secured->send_failed : secured->taken,
                        .now_ns = now_ns};
        secured->taken = 0;
        secure_deliver(secure, secured, &op);
    }
}

/* ---- the owner's operations ------------------------------------------------------------------ */

/* Encrypts; how many bytes of plain text, or a failure's negative number. */
static int64_t encrypt(struct secure *secure, struct secured *secured, const uint8_t *data,
                       size_t length)
{
    struct err ignored;
    size_t most = length < SECURE_SEND_BYTES ? length : SECURE_SEND_BYTES;
    struct tls_output *output = open_output(secure, secured, most);
    if (!output) {
        return -ENOMEM;
    }
    tls_put_into(secured->tls, output);
    for (size_t done = 0; done < most;) {
        size_t piece = most - done < TLS_RECORD_BYTES ? most - done : TLS_RECORD_BYTES;
        if (tls_write(secured->tls, data + done, piece, &ignored) < 0) {
            secured->state = SECURED_FAILED;
            return -tls_failure(secured->tls);
        }
        done += piece;
    }
    return (int64_t)most;
}

enum submit_result secure_send(struct secure *secure, struct secured *secured, struct op *op)
{
    if (secured->state != SECURED_OPEN || secured->notified) {
        op->result = secured->send_failed ? secured->send_failed : -EPIPE;
        return SUBMIT_DONE;
    }
    if (secured->send_failed) {
        op->result = secured->send_failed;
        return SUBMIT_DONE;
    }
    if (op->flags & OP_ZEROCOPY || op->file || op->length == 0) {
        op->result = op->length == 0 ? 0 : -EOPNOTSUPP;
        return SUBMIT_DONE;
    }
    bool tries = op->flags & OP_TRY;
    if (tries && secured->sending) {
        op->result = -EAGAIN;
        return SUBMIT_DONE;
    }
    int64_t taken = encrypt(secure, secured, op->data, op->length);
    if (taken < 0) {
        op->result = taken;
        return SUBMIT_DONE;
    }
    secured->send_flags = op->flags & OP_MORE;
    if ((size_t)taken == op->length) { /* a short one is reported at once */
        secured->send_flags |= op->flags & OP_QUIET;
    }
    secure_flush(secure, secured);
    op->result = secured->send_failed ? secured->send_failed : taken;
    if (!secured->sending || tries) {
        return SUBMIT_DONE;
    }
    secured->taken = (uint32_t)taken;
    return SUBMIT_QUEUED;
}

/* Says close_notify, where there is still somebody to hear it. */
static void notify(struct secure *secure, struct secured *secured)
{
    if (secured->state != SECURED_OPEN || secured->notified || secured->send_failed) {
        return;
    }
    secured->notified = true;
    struct tls_output *output = open_output(secure, secured, 0);
    if (output) {
        tls_put_into(secured->tls, output);
        tls_end(secured->tls);
        secured->send_flags = 0;
    }
}

void secure_shut_down(struct secure *secure, struct secured *secured)
{
    notify(secure, secured);
    secured->shut_wanted = true;
    secure_flush(secure, secured);
}

enum submit_result secure_close(struct secure *secure, struct secured *secured, struct op *op)
{
    struct channel *outer = secured->outer;
    if (outer->closing) {
        op->result = -EINVAL;
        return SUBMIT_DONE;
    }
    bool aborts = secured->taken > 0; /* it was still waiting for a send */
    outer->closing = 1;
    secured->wants = false;
    if (!aborts) {
        notify(secure, secured);
        secure_flush(secure, secured);
    }
    if (secured->sending && !aborts && !secured->send_failed) {
        secured->lingering = true;
        secured->linger_until_ns = clock_now_ns() + LINGER_NS;
        secured->next_lingering = secure->lingering;
        secure->lingering = secured;
        return SUBMIT_QUEUED;
    }
    close_inner(secure, secured);
    return secured->dead ? SUBMIT_DONE : SUBMIT_QUEUED;
}

static void close_inner(struct secure *secure, struct secured *secured)
{
    struct op op = {.kind = OP_CLOSE, .channel = &secured->inner};
    secured->inner_closing = true;
    if (secure_put(secure, &op) == SUBMIT_DONE) {
        secure_closed(secure, secured);
    }
}

void secure_closed(struct secure *secure, struct secured *secured)
{
    secured->outer->fd = secured->outer->write_fd = -1;
    secured->outer->next_pending = NULL;
    secured->dead = true;
    secure_drop_output(secure, secured);
    if (secured->previous) {
        secured->previous->next = secured->next;
    } else {
        secure->channels = secured->next;
    }
    if (secured->next) {
        secured->next->previous = secured->previous;
    }
    for (struct secured **link = &secure->pending; secured->pending && *link;
         link = &(*link)->next_pending) {
        if (*link == secured) {
            *link = secured->next_pending;
            break;
        }
    }
    for (size_t i = 0; i < secure->busy_count; i++) {
        if (secure->busy[i].channel == &secured->inner) {
            secure->busy[i].channel = NULL;
        }
    }
    secured->previous = NULL;
    secured->next = secure->dead;
    secure->dead = secured;
}

void secure_end_lingering(struct secure *secure, uint64_t now_ns)
{
    struct secured **link = &secure->lingering;
    while (*link) {
        struct secured *secured = *link;
        if (secured->linger_until_ns > now_ns) {
            link = &secured->next_lingering;
            continue;
        }
        *link = secured->next_lingering;
        close_inner(secure, secured);
        if (secured->dead) {
            struct op op = {.kind = OP_CLOSE, .now_ns = clock_now_ns()};
            secure_deliver(secure, secured, &op);
        }
    }
}
