/* Invites: a token's hash, how often it may be used, until when (log time). */
#include "core/chat/state.h"

#include "core/check.h"

uint32_t invite_find(const struct chat *chat, const uint8_t *token_hash)
{
    CHECK(token_hash != NULL);
    struct table_probe probe = table_probe(chat_hash_bytes(chat, token_hash, HASH_BYTES));
    for (uint32_t at; (at = table_next(&chat->invite_by_token, &probe)) != 0;)
        if (memcmp(chat->invites[at].token_hash, token_hash, HASH_BYTES) == 0)
            return at;
    return 0;
}

bool chat_knows_invite(const struct chat *chat, const uint8_t token_hash[HASH_BYTES])
{
    return invite_find(chat, token_hash) != 0;
}

static void put(struct chat *chat, uint32_t position, const struct invite_record *invite)
{
    chat->invites[position] = *invite;
    table_insert(&chat->invite_by_token, chat_hash_bytes(chat, invite->token_hash, HASH_BYTES),
                 position);
}

void invite_add(struct chat *chat, const struct invite_record *invite)
{
    CHECK(chat->invite_count < chat->limits.invites);
    CHECK(invite->spent <= invite->uses);
    put(chat, ++chat->invite_count, invite);
}

/* One whose time is over. A spent one stays until then: its INVITE may come again, and must not
 * make it good again. */
static uint32_t find_expired(const struct chat *chat, uint64_t time_us)
{
    for (uint32_t at = 1; at <= chat->invite_count; at++)
        if (chat->invites[at].expires_us <= time_us)
            return at;
    return 0;
}

enum chat_code invite_apply(struct step *step)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    if (!command->uses || command->expires_us <= step->time_us)
        return CODE_BAD_REQUEST;
    uint32_t known = invite_find(chat, command->token_hash);
    if (known)
        return chat->invites[known].uses == command->uses &&
                       chat->invites[known].expires_us == command->expires_us
                   ? CODE_OK
                   : CODE_CONFLICT;
    struct invite_record invite = { .uses = command->uses, .expires_us = command->expires_us };
    memcpy(invite.token_hash, command->token_hash, HASH_BYTES);
    if (chat->invite_count < chat->limits.invites) {
        invite_add(chat, &invite);
        return CODE_OK;
    }
    uint32_t expired = find_expired(chat, step->time_us);
    if (!expired)
        return CODE_BUSY;
    table_remove(&chat->invite_by_token,
                 chat_hash_bytes(chat, chat->invites[expired].token_hash, HASH_BYTES), expired);
    put(chat, expired, &invite);
    return CODE_OK;
}

bool invite_is_good(const struct chat *chat, uint32_t invite, uint64_t time_us)
{
    CHECK(invite <= chat->invite_count);
    const struct invite_record *record = &chat->invites[invite];
    return invite && record->spent < record->uses && time_us < record->expires_us;
}
