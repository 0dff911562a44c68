/* UTF-8, strictly (RFC 3629): no overlong form, no surrogate, nothing above U+10FFFF. Borrowed
 * bytes, no state; whether a text may be posted is text_check's business (chat.h). */
#ifndef FTCHAT_CORE_CHAT_TEXT_H
#define FTCHAT_CORE_CHAT_TEXT_H

#include "core/bytes.h"

/* Decodes the character at the start of `text`: returns its bytes, 1 to 4, or 0 when there is no
 * valid one there. */
size_t text_decode(struct slice text, uint32_t *point);
/* All of it is UTF-8 and holds no NUL. The empty text is. */
bool text_is_utf8(struct slice text);

#endif
