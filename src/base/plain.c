#include "base/plain.h"

size_t plain_utf8(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    /* Unicode standard, table 3-7: the second byte's range depends on the first. */
    unsigned low = 0x80, high = 0xbf;
    size_t length;
    if (byte[0] == 0) {
        return 0;
    } else if (byte[0] < 0x80) {
        return 1;
    } else if (byte[0] >= 0xc2 && byte[0] <= 0xdf) {
        length = 2;
    } else if (byte[0] >= 0xe0 && byte[0] <= 0xef) {
        length = 3;
        low = byte[0] == 0xe0 ? 0xa0 : low;
        high = byte[0] == 0xed ? 0x9f : high;
    } else if (byte[0] >= 0xf0 && byte[0] <= 0xf4) {
        length = 4;
        low = byte[0] == 0xf0 ? 0x90 : low;
        high = byte[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (byte[1] < low || byte[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (byte[i] < 0x80 || byte[i] > 0xbf) {
            return 0;
        }
    }
    return length;
}

size_t plain_control(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t length = plain_utf8(text);
    if (length == 1) {
        return byte[0] < ' ' || byte[0] == 0x7f;
    }
    if (length == 2) {
        return byte[0] == 0xc2 && byte[1] < 0xa0 ? 2 : 0; /* U+0080 to U+009F */
    }
    /* U+202A to U+202E, U+2066 to U+2069 */
    bool turns = length == 3 && byte[0] == 0xe2 &&
                 ((byte[1] == 0x80 && byte[2] >= 0xaa && byte[2] <= 0xae) ||
                  (byte[1] == 0x81 && byte[2] >= 0xa6 && byte[2] <= 0xa9));
    return turns ? 3 : 0;
}

bool plain_text(const char *text)
{
    while (*text) {
        size_t length = plain_utf8(text);
        if (length == 0 || plain_control(text)) {
            return false;
        }
        text += length;
    }
    return true;
}
