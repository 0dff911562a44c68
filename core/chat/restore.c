/* Reading a checkpoint. Its bytes are not trusted: whatever the check says, every number is held
 * against the limits and against the other records, so that what was read is a state that applying
 * could have made as far as later steps rely on it. */
#include "core/chat/checkpoint.h"

#include "core/chat/text.h"
#include "core/check.h"

/* Far from where counting on could wrap. */
static const uint64_t largest_seq = UINT64_C(1) << 56;

static bool read_bool(struct reader *in, bool *value)
{
    uint8_t byte = read_u8(in);
    *value = byte == 1;
    return byte <= 1;
}

static bool read_ancestors(struct chat_genesis *genesis, struct reader *in)
{
    genesis->ancestors_count = read_u8(in);
    if (in->bad || genesis->ancestors_count > CHAT_ANCESTORS)
        return false;
    for (unsigned i = 0; i < genesis->ancestors_count; i++) {
        read_copy(in, genesis->ancestors[i].cluster, IDENTITY_BYTES);
        genesis->ancestors[i].shared_index = read_u64(in);
    }
    return !in->bad;
}

static bool read_genesis(struct chat *chat, struct reader *in)
{
    struct chat_genesis genesis = { 0 };
    if (read_u32(in) != CHECKPOINT_MAGIC || read_u16(in) != CHECKPOINT_VERSION)
        return false;
    if (!read_bool(in, &genesis.done) || !read_bool(in, &genesis.formed))
        return false;
    genesis.slots = read_u8(in);
    genesis.segment_bytes = read_u64(in);
    read_copy(in, genesis.secret, sizeof genesis.secret);
    genesis.level = read_u16(in);
    if (!read_ancestors(&genesis, in) || (genesis.done && !genesis.level))
        return false;
    if (genesis.done)
        chat_set_genesis(chat, &genesis);
    return genesis.done || !genesis.formed;
}

static bool read_account(struct chat *chat, struct reader *in)
{
    uint8_t folded[LIMIT_USER_NAME];
    struct slice name = read_slice8(in);
    const uint8_t *key = read_bytes(in, PUBLIC_KEY_BYTES);
    uint64_t created = read_u64(in);
    if (in->bad || name_fold_user(name, folded) != name.len || !name.len)
        return false;
    if (memcmp(folded, name.data, name.len) != 0 || chat_find_account(chat, name))
        return false;
    account_add(chat, name, key, created);
    return true;
}

static uint32_t read_direct(struct chat *chat, struct reader *in)
{
    uint32_t pair[2];
    pair[0] = read_u32(in);
    pair[1] = read_u32(in);
    if (in->bad || !pair[0] || pair[0] > pair[1] || pair[1] > chat->account_count)
        return 0;
    if (room_find_pair(chat, pair[0], pair[1]))
        return 0;
    return room_add(chat, (struct slice) { NULL, 0 }, pair);
}

static uint32_t read_named(struct chat *chat, struct reader *in)
{
    struct slice name = read_slice8(in);
    if (in->bad || name_check_room(name) != CODE_OK || room_find_name(chat, name))
        return 0;
    return room_add(chat, name, NULL);
}

static bool read_room(struct chat *chat, struct reader *in)
{
    uint8_t kind = read_u8(in);
    if (in->bad || kind > CHECKPOINT_DIRECT)
        return false;
    uint32_t room = kind == CHECKPOINT_DIRECT ? read_direct(chat, in) : read_named(chat, in);
    if (!room)
        return false;
    struct room_record *record = room_at(chat, room);
    record->shown.is_private = kind == CHECKPOINT_PRIVATE;
    record->shown.last_seq = read_u64(in);
    record->shown.last_index = read_u64(in);
    struct slice topic = read_slice16(in);
    if (in->bad || record->shown.last_seq > largest_seq || topic.len > LIMIT_TOPIC_BYTES ||
        !text_is_utf8(topic) || (topic.len && kind == CHECKPOINT_DIRECT))
        return false;
    if (topic.len)
        memcpy(record->topic, topic.data, topic.len);
    record->shown.topic_len = (uint16_t)topic.len;
    return true;
}

/* Oldest first, none empty, none touching the next or the present one. */
static bool read_earlier(struct reader *in, struct chat_membership *membership)
{
    uint64_t after = 0;
    membership->earlier_count = read_u8(in);
    if (membership->earlier_count > CHAT_INTERVALS)
        return false;
    for (unsigned i = 0; i < membership->earlier_count; i++) {
        struct chat_interval *interval = &membership->earlier[i];
        interval->join_index = read_u64(in);
        interval->leave_index = read_u64(in);
        if (in->bad || interval->join_index <= after ||
            interval->leave_index <= interval->join_index)
            return false;
        after = interval->leave_index;
    }
    return !in->bad && membership->join_index > after;
}

static bool read_membership(struct chat *chat, struct reader *in)
{
    struct chat_membership membership = { 0 };
    membership.account = read_u32(in);
    membership.room = read_u32(in);
    membership.join_index = read_u64(in);
    membership.leave_index = read_u64(in);
    membership.read_seq = read_u64(in);
    if (!read_bool(in, &membership.is_operator) || !read_earlier(in, &membership))
        return false;
    if (!membership.account || membership.account > chat->account_count || !membership.room ||
        membership.room > chat->room_count)
        return false;
    const struct chat_room *room = chat_room(chat, membership.room);
    if (membership.read_seq > room->last_seq ||
        (membership.leave_index && membership.leave_index <= membership.join_index) ||
        member_find(chat, membership.account, membership.room))
        return false;
    if (room->direct && (membership.leave_index || (membership.account != room->pair[0] &&
                                                    membership.account != room->pair[1])))
        return false;
    member_add(chat, &membership);
    return true;
}

/* A direct conversation always holds the two whose it is. */
static bool rooms_are_whole(const struct chat *chat)
{
    for (uint32_t at = 1; at <= chat->room_count; at++) {
        const struct chat_room *room = &chat->rooms[at].shown;
        if (room->direct && room->members != (room->pair[0] == room->pair[1] ? 1u : 2u))
            return false;
    }
    return true;
}

static bool read_answer(struct chat *chat, struct reader *in, struct device_record *device)
{
    struct kept_answer answer = { 0 };
    answer.digest = read_u64(in);
    uint8_t code = read_u8(in);
    answer.room = read_u32(in);
    answer.room_seq = read_u64(in);
    answer.index = read_u64(in);
    answer.time_us = read_u64(in);
    if (in->bad || code >= CODES || !code_is_final((enum chat_code)code) ||
        answer.room > chat->room_count || chat->answer_count >= chat->limits.answers)
        return false;
    if (answer.room_seq &&
        (!answer.room || answer.room_seq > chat_room(chat, answer.room)->last_seq))
        return false;
    answer.code = code;
    answer_keep(chat, device, &answer);
    return true;
}

static bool read_device(struct chat *chat, struct reader *in)
{
    uint32_t position = ++chat->device_count;
    struct device_record *device = &chat->devices[position];
    device->number = read_u32(in);
    uint32_t account = read_u32(in);
    read_copy(in, device->shown.key, PUBLIC_KEY_BYTES);
    device->shown.last = read_u64(in);
    device->shown.done = read_u64(in);
    device->shown.used_index = read_u64(in);
    device->shown.enrolled_index = read_u64(in);
    if (in->bad || !device->number || (device->number - 1) % LIMIT_DEVICES + 1 != position)
        return false;
    if (account > chat->account_count || device->shown.last > largest_seq ||
        device->shown.done > device->shown.last ||
        device->shown.last - device->shown.done > LIMIT_OUTSTANDING)
        return false;
    for (uint64_t seq = device->shown.done; seq < device->shown.last; seq++)
        if (!read_answer(chat, in, device))
            return false;
    if (!account)
        return true;
    if (chat_find_device(chat, device->shown.key) ||
        account_at(chat, account)->shown.devices >= LIMIT_DEVICES_PER_ACCOUNT)
        return false;
    device->shown.account = account;
    device_link(chat, position);
    return true;
}

/* Each ended device that can be used again stands in the list, once. */
static bool read_ended(struct chat *chat, struct reader *in)
{
    uint32_t expected = 0;
    for (uint32_t at = 1; at <= chat->device_count; at++)
        expected +=
            !chat->devices[at].shown.account && device_can_be_used_again(&chat->devices[at]);
    if (read_u32(in) != expected || in->bad)
        return false;
    for (uint32_t i = 0; i < expected; i++) {
        uint32_t position = read_u32(in);
        if (in->bad || !position || position > chat->device_count)
            return false;
        const struct device_record *device = &chat->devices[position];
        bool listed = device->next_device || chat->ended_last == position;
        if (device->shown.account || listed || !device_can_be_used_again(device))
            return false;
        device_link_ended(chat, position);
    }
    return true;
}

static bool read_invite(struct chat *chat, struct reader *in)
{
    struct invite_record invite = { 0 };
    read_copy(in, invite.token_hash, HASH_BYTES);
    invite.uses = read_u32(in);
    invite.spent = read_u32(in);
    invite.expires_us = read_u64(in);
    if (in->bad || !invite.uses || invite.spent > invite.uses ||
        invite_find(chat, invite.token_hash))
        return false;
    invite_add(chat, &invite);
    return true;
}

static bool read_all(struct chat *chat, struct reader *in, uint32_t limit,
                     bool (*read_one)(struct chat *chat, struct reader *in))
{
    uint32_t count = read_u32(in);
    if (in->bad || count > limit || (count && !chat->genesis.done))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_one(chat, in))
            return false;
    return true;
}

bool chat_restore(struct chat *chat, struct slice state)
{
    CHECK(!chat->genesis.done);
    CHECK(chat->account_count == 0 && chat->device_count == 0);
    const size_t check_bytes = sizeof(uint64_t);
    if (state.len < check_bytes)
        return false;
    size_t len = state.len - check_bytes;
    if (bytes_get_u64(state.data + len) != checkpoint_check(chat, state.data, len))
        return false;
    struct reader reader = reader_of(state.data, len);
    struct reader *in = &reader;
    return read_genesis(chat, in) && read_all(chat, in, chat->limits.accounts, read_account) &&
           read_all(chat, in, chat->limits.rooms, read_room) &&
           read_all(chat, in, chat->limits.memberships, read_membership) && rooms_are_whole(chat) &&
           read_all(chat, in, chat->limits.devices, read_device) && read_ended(chat, in) &&
           read_all(chat, in, chat->limits.invites, read_invite) && reader_finished(in);
}
