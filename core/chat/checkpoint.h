/* The checkpoint's sizes and marks, shared by its writer (checkpoint.c, where the format stands)
 * and its reader (restore.c). */
#ifndef FTCHAT_CORE_CHAT_CHECKPOINT_H
#define FTCHAT_CORE_CHAT_CHECKPOINT_H

#include "core/chat/state.h"

enum {
    CHECKPOINT_MAGIC = 0x31637466, /* "ftc1" */
    CHECKPOINT_VERSION = 1,

    CHECKPOINT_PUBLIC = 0,
    CHECKPOINT_PRIVATE = 1,
    CHECKPOINT_DIRECT = 2,

    /* At most, per record. */
    CHECKPOINT_FIXED_BYTES = 6 + 46 + CHAT_ANCESTORS * (IDENTITY_BYTES + 8) + 6 * 4 + 8,
    CHECKPOINT_ACCOUNT_BYTES = 1 + LIMIT_USER_NAME + PUBLIC_KEY_BYTES + 8,
    CHECKPOINT_ROOM_BYTES = 1 + 1 + LIMIT_ROOM_NAME + 8 + 8 + 2 + LIMIT_TOPIC_BYTES,
    CHECKPOINT_MEMBERSHIP_BYTES = 4 + 4 + 3 * 8 + 2 + CHAT_INTERVALS * 16,
    CHECKPOINT_DEVICE_BYTES = 4 + 4 + PUBLIC_KEY_BYTES + 4 * 8,
    CHECKPOINT_ANSWER_BYTES = 8 + 1 + 4 + 3 * 8,
    CHECKPOINT_INVITE_BYTES = HASH_BYTES + 4 + 4 + 8,
};

uint64_t checkpoint_check(const struct chat *chat, const uint8_t *state, size_t len);

#endif
