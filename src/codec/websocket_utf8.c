#include <string.h>

#include "codec/websocket.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* Bytes at the beginning of data[0..length) that are ASCII, as far as whole words of them go. */
static size_t skip_ascii(const uint8_t *data, size_t length)
{
    size_t at = 0;
    uint64_t words[4];
    for (; length - at >= sizeof words; at += sizeof words) {
        memcpy(words, data + at, sizeof words);
        if ((words[0] | words[1] | words[2] | words[3]) & HIGH_BITS) {
            break;
        }
    }
    for (; length - at >= sizeof words[0]; at += sizeof words[0]) {
        memcpy(words, data + at, sizeof words[0]);
        if (words[0] & HIGH_BITS) {
            break;
        }
    }
    return at;
}

/* What may follow the first byte of a character (RFC 3629, section 4): neither longer forms than
 * needed, nor surrogates, nor beyond U+10FFFF. */
static bool begin(struct websocket_utf8 *utf8, uint8_t byte)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf) {
        utf8->left = 1;
    } else if ((byte & 0xf0) == 0xe0) {
        utf8->left = 2;
        utf8->low = byte == 0xe0 ? 0xa0 : 0x80;
        utf8->high = byte == 0xed ? 0x9f : 0xbf;
    } else if (byte >= 0xf0 && byte <= 0xf4) {
        utf8->left = 3;
        utf8->low = byte == 0xf0 ? 0x90 : 0x80;
        utf8->high = byte == 0xf4 ? 0x8f : 0xbf;
    } else {
        return false;
    }
    return true;
}

bool websocket_utf8_feed(struct websocket_utf8 *utf8, const uint8_t *data, size_t length)
{
    size_t at = 0;
    while (at < length) {
        uint8_t byte = data[at];
        if (utf8->left) {
            if (byte < utf8->low || byte > utf8->high) {
                return false;
            }
            utf8->left--;
            utf8->low = 0x80;
            utf8->high = 0xbf;
            at++;
        } else if (byte < 0x80) {
            at++;
            at += skip_ascii(data + at, length - at);
        } else {
            if (!begin(utf8, byte)) {
                return false;
            }
            at++;
        }
    }
    return true;
}
