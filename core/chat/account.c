/* Accounts, and how a device comes to one (architecture.md, Login and Registration). */
#include "core/chat/state.h"

#include "core/check.h"

struct account_record *account_at(const struct chat *chat, uint32_t account)
{
    CHECK(account >= 1);
    CHECK(account <= chat->account_count);
    return &chat->accounts[account];
}

const struct chat_account *chat_account(const struct chat *chat, uint32_t account)
{
    return &account_at(chat, account)->shown;
}

uint32_t chat_accounts(const struct chat *chat)
{
    return chat->account_count;
}

uint32_t chat_find_account(const struct chat *chat, struct slice name)
{
    uint8_t folded[LIMIT_USER_NAME];
    size_t len = name_fold_user(name, folded);
    if (!len)
        return 0;
    struct table_probe probe = table_probe(chat_hash_bytes(chat, folded, len));
    for (uint32_t at; (at = table_next(&chat->account_by_name, &probe)) != 0;) {
        const struct chat_account *account = &chat->accounts[at].shown;
        if (account->name_len == len && memcmp(account->name, folded, len) == 0)
            return at;
    }
    return 0;
}

uint32_t account_add(struct chat *chat, struct slice folded, const uint8_t *key, uint64_t index)
{
    CHECK(chat->account_count < chat->limits.accounts);
    CHECK(folded.len >= 1 && folded.len <= LIMIT_USER_NAME);
    uint32_t position = ++chat->account_count;
    struct chat_account *account = &chat->accounts[position].shown;
    memcpy(account->name, folded.data, folded.len);
    account->name_len = (uint8_t)folded.len;
    memcpy(account->key, key, PUBLIC_KEY_BYTES);
    account->created_index = index;
    table_insert(&chat->account_by_name, chat_hash_bytes(chat, folded.data, folded.len), position);
    return position;
}

/* A device for an account that is there. A wrong key and an unknown name look alike, unless one
 * asked for the name. */
static enum chat_code enrol_known(struct step *step, uint32_t account)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    if (memcmp(account_at(chat, account)->shown.key, command->account_key, PUBLIC_KEY_BYTES) != 0)
        return command->flags & ENROL_REGISTER ? CODE_EXISTS : CODE_BAD_PASSWORD;
    uint32_t number = chat_find_device(chat, command->device_key);
    if (number) {
        struct device_record *device = device_at(chat, number);
        CHECK(device != NULL);
        if (device->shown.account != account)
            return CODE_CONFLICT;
        device->shown.used_index = step->index;
    } else if (device_fits(chat, account)) {
        number = device_add(chat, account, command->device_key, step->index,
                            &step->applied->ended_device);
    } else {
        return CODE_BUSY;
    }
    step->applied->account = account;
    step->applied->device = number;
    return CODE_OK;
}

static enum chat_code enrol_new(struct step *step, struct slice folded)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    if (!(command->flags & ENROL_REGISTER))
        return CODE_BAD_PASSWORD;
    if (chat_find_device(chat, command->device_key))
        return CODE_CONFLICT;
    uint32_t invite = 0;
    if (command->flags & ENROL_NEEDS_TOKEN) {
        invite = invite_find(chat, command->token_hash);
        if (!invite_is_good(chat, invite, step->time_us))
            return CODE_REGISTRATION_CLOSED;
    }
    if (chat->account_count >= chat->limits.accounts || !device_fits(chat, 0))
        return CODE_BUSY;
    if (invite)
        chat->invites[invite].spent++;
    uint32_t account = account_add(chat, folded, command->account_key, step->index);
    step->applied->account = account;
    step->applied->device =
        device_add(chat, account, command->device_key, step->index, &step->applied->ended_device);
    return CODE_OK;
}

enum chat_code account_enrol(struct step *step)
{
    uint8_t name[LIMIT_USER_NAME];
    size_t len = name_fold_user(step->command->name, name);
    if (!len)
        return CODE_BAD_NAME;
    struct slice folded = { name, len };
    uint32_t account = chat_find_account(step->chat, folded);
    return account ? enrol_known(step, account) : enrol_new(step, folded);
}
