/* The answers to a command, and their names in the JSON protocol (product.md). */
#ifndef FTCHAT_CORE_CHAT_CODE_H
#define FTCHAT_CORE_CHAT_CODE_H

#include <stdbool.h>

enum chat_code {
    CODE_OK = 0,
    /* Final. */
    CODE_BAD_REQUEST,
    CODE_UNKNOWN_ROOM,
    CODE_UNKNOWN_USER,
    CODE_NOT_A_MEMBER,
    CODE_FORBIDDEN,
    CODE_EXISTS,
    CODE_BAD_NAME,
    CODE_TOO_LONG,
    CODE_NOT_UTF8,
    CODE_BAD_PASSWORD,
    CODE_REGISTRATION_CLOSED,
    CODE_CONFLICT,
    CODE_REVOKED,
    CODE_UNSUPPORTED,
    CODE_VOIDED, /* given up under this seq; never shown as an answer of its own */
    /* Never final: the command keeps its seq and goes again. */
    CODE_RATE_LIMITED,
    CODE_BUSY,
    CODE_DISK_FULL,
    CODE_FORMING,
    CODE_UNAVAILABLE,
    CODES
};

bool code_is_final(enum chat_code code);
const char *code_name(enum chat_code code);    /* "not_a_member" */
const char *code_message(enum chat_code code); /* one sentence for a person */

#endif
