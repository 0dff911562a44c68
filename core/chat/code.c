#include "core/chat/code.h"

#include "core/check.h"

struct code_text {
    const char *name;
    const char *message;
};

static const struct code_text texts[CODES] = {
    [CODE_OK] = { "ok", "done" },
    [CODE_BAD_REQUEST] = { "bad_request", "this is not something that can be asked for" },
    [CODE_UNKNOWN_ROOM] = { "unknown_room", "there is no such room" },
    [CODE_UNKNOWN_USER] = { "unknown_user", "there is no such user" },
    [CODE_NOT_A_MEMBER] = { "not_a_member", "you are not in this room" },
    [CODE_FORBIDDEN] = { "forbidden", "you may not do this here" },
    [CODE_EXISTS] = { "exists", "this name is taken" },
    [CODE_BAD_NAME] = { "bad_name", "this cannot be a name" },
    [CODE_TOO_LONG] = { "too_long", "this text is too long" },
    [CODE_NOT_UTF8] = { "not_utf8", "this text is not UTF-8" },
    [CODE_BAD_PASSWORD] = { "bad_password", "user name and password do not fit" },
    [CODE_REGISTRATION_CLOSED] = { "registration_closed",
                                   "a new account needs an invite that is still good" },
    [CODE_CONFLICT] = { "conflict", "another copy of this client has used this number" },
    [CODE_REVOKED] = { "revoked", "this device has been signed out" },
    [CODE_UNSUPPORTED] = { "unsupported", "this is not in this version yet" },
    [CODE_VOIDED] = { "voided", "this was given up" },
    [CODE_RATE_LIMITED] = { "rate_limited", "too much at once: it goes on by itself" },
    [CODE_BUSY] = { "busy", "the cluster has too much to do: it goes on by itself" },
    [CODE_DISK_FULL] = { "disk_full", "the disk is full: nothing can be written now" },
    [CODE_FORMING] = { "forming", "the cluster is still being formed" },
    [CODE_UNAVAILABLE] = { "unavailable", "there is no majority of nodes now" },
};

bool code_is_final(enum chat_code code)
{
    CHECK((unsigned)code < CODES);
    return code < CODE_RATE_LIMITED;
}

const char *code_name(enum chat_code code)
{
    CHECK((unsigned)code < CODES);
    return texts[code].name;
}

const char *code_message(enum chat_code code)
{
    CHECK((unsigned)code < CODES);
    return texts[code].message;
}
