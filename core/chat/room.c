/* Rooms: finding them by name, making, joining, leaving, topics. A direct conversation is a room
 * that is found by its two accounts. */
#include "core/chat/state.h"

#include "core/chat/text.h"
#include "core/check.h"
#include "core/feature.h"

struct room_record *room_at(const struct chat *chat, uint32_t room)
{
    CHECK(room >= 1);
    CHECK(room <= chat->room_count);
    return &chat->rooms[room];
}

const struct chat_room *chat_room(const struct chat *chat, uint32_t room)
{
    return &room_at(chat, room)->shown;
}

struct slice chat_room_topic(const struct chat *chat, uint32_t room)
{
    const struct room_record *record = room_at(chat, room);
    return (struct slice) { record->topic, record->shown.topic_len };
}

uint32_t chat_rooms(const struct chat *chat)
{
    return chat->room_count;
}

uint32_t room_find_name(const struct chat *chat, struct slice name)
{
    struct table_probe probe = table_probe(chat_hash_bytes(chat, name.data, name.len));
    for (uint32_t at; (at = table_next(&chat->room_by_name, &probe)) != 0;) {
        const struct chat_room *room = &chat->rooms[at].shown;
        if (!room->direct && slice_equals(name, room->name, room->name_len))
            return at;
    }
    return 0;
}

static void order_pair(uint32_t pair[2], uint32_t one, uint32_t other)
{
    pair[0] = one < other ? one : other;
    pair[1] = one < other ? other : one;
}

uint32_t room_find_pair(const struct chat *chat, uint32_t one, uint32_t other)
{
    uint32_t pair[2];
    order_pair(pair, one, other);
    struct table_probe probe = table_probe(chat_hash_pair(chat, pair[0], pair[1]));
    for (uint32_t at; (at = table_next(&chat->room_by_name, &probe)) != 0;) {
        const struct chat_room *room = &chat->rooms[at].shown;
        if (room->direct && room->pair[0] == pair[0] && room->pair[1] == pair[1])
            return at;
    }
    return 0;
}

/* By name, or direct when `pair` is given. */
uint32_t room_add(struct chat *chat, struct slice name, const uint32_t pair[2])
{
    CHECK(chat->room_count < chat->limits.rooms);
    CHECK(name.len <= LIMIT_ROOM_NAME);
    uint32_t position = ++chat->room_count;
    struct chat_room *room = &chat->rooms[position].shown;
    uint64_t hash = 0;
    if (pair) {
        room->direct = true;
        order_pair(room->pair, pair[0], pair[1]);
        hash = chat_hash_pair(chat, room->pair[0], room->pair[1]);
    } else {
        memcpy(room->name, name.data, name.len);
        room->name_len = (uint8_t)name.len;
        hash = chat_hash_bytes(chat, name.data, name.len);
    }
    table_insert(&chat->room_by_name, hash, position);
    return position;
}

uint32_t room_resolve(const struct chat *chat, uint32_t account, struct slice name, uint32_t *peer,
                      enum chat_code *code)
{
    uint8_t folded[LIMIT_USER_NAME];
    *peer = 0;
    uint32_t room = 0;
    if (name.len && name.data[0] == '@') {
        struct slice user = { name.data + 1, name.len - 1 };
        *peer = chat_find_account(chat, user);
        room = *peer ? room_find_pair(chat, account, *peer) : 0;
        *code = *peer                          ? CODE_UNKNOWN_ROOM
                : name_fold_user(user, folded) ? CODE_UNKNOWN_USER
                                               : CODE_BAD_NAME;
    } else {
        room = room_find_name(chat, name);
        *code = name_check_room(name) == CODE_OK ? CODE_UNKNOWN_ROOM : CODE_BAD_NAME;
    }
    if (room)
        *code = CODE_OK;
    return room;
}

uint32_t chat_find_room(const struct chat *chat, uint32_t account, struct slice name)
{
    uint32_t peer = 0;
    enum chat_code code = CODE_OK;
    return room_resolve(chat, account, name, &peer, &code);
}

size_t chat_room_name(const struct chat *chat, uint32_t room, uint32_t account, uint8_t *out)
{
    CHECK(out != NULL);
    const struct chat_room *shown = chat_room(chat, room);
    if (!shown->direct) {
        memcpy(out, shown->name, shown->name_len);
        return shown->name_len;
    }
    uint32_t other = shown->pair[0] == account ? shown->pair[1] : shown->pair[0];
    const struct chat_account *peer = chat_account(chat, other);
    out[0] = '@';
    memcpy(out + 1, peer->name, peer->name_len);
    return 1u + peer->name_len;
}

static enum chat_code check_topic(struct slice topic)
{
    if (topic.len > LIMIT_TOPIC_BYTES)
        return CODE_TOO_LONG;
    return text_is_utf8(topic) ? CODE_OK : CODE_NOT_UTF8;
}

static void set_topic(struct room_record *room, struct slice topic)
{
    CHECK(topic.len <= sizeof room->topic);
    memset(room->topic, 0, sizeof room->topic);
    if (topic.len)
        memcpy(room->topic, topic.data, topic.len);
    room->shown.topic_len = (uint16_t)topic.len;
}

/* What is seen by the members: it has a place in the room's index. */
static void note_event(struct step *step, uint32_t room)
{
    room_at(step->chat, room)->shown.last_index = step->index;
    step->applied->indexed = true;
    step->applied->event = true;
}

/* The room of JOIN, PART and TOPIC: direct conversations have none of these. */
static uint32_t resolve_named(struct step *step, enum chat_code *code)
{
    uint32_t peer = 0;
    uint32_t room = room_resolve(step->chat, step->account, step->command->room, &peer, code);
    if (peer) {
        *code = CODE_BAD_REQUEST;
        return 0;
    }
    step->applied->answer.room = room;
    return room;
}

enum chat_code room_create(struct step *step)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    enum chat_code code = name_check_room(command->room);
    if (code == CODE_OK)
        code = check_topic(command->text);
    if (code != CODE_OK)
        return code;
    if (room_find_name(chat, command->room))
        return CODE_EXISTS;
    if (chat->room_count >= chat->limits.rooms || !member_fits(chat, 1))
        return CODE_BUSY;
    uint32_t room = room_add(chat, command->room, NULL);
    struct room_record *record = room_at(chat, room);
    record->shown.is_private = command->flags & 1;
    set_topic(record, command->text);
    struct chat_membership creator = {
        .account = step->account, .room = room, .join_index = step->index, .is_operator = true
    };
    member_add(chat, &creator);
    step->applied->answer.room = room;
    note_event(step, room);
    return CODE_OK;
}

enum chat_code room_join(struct step *step)
{
    struct chat *chat = step->chat;
    enum chat_code code = CODE_OK;
    uint32_t room = resolve_named(step, &code);
    if (!room)
        return code;
    struct chat_membership *membership = member_find(chat, step->account, room);
    if (membership && !membership->leave_index)
        return CODE_OK;
    struct chat_room *shown = &room_at(chat, room)->shown;
    if (shown->is_private)
        return CODE_FORBIDDEN;
    if (membership) {
        member_rejoin(membership, step->index);
        shown->members++;
    } else {
        if (!member_fits(chat, 1))
            return CODE_BUSY;
        struct chat_membership joined = { .account = step->account,
                                          .room = room,
                                          .join_index = step->index };
        member_add(chat, &joined);
    }
    note_event(step, room);
    return CODE_OK;
}

/* Who leaves is no operator when coming back. */
enum chat_code room_part(struct step *step)
{
    enum chat_code code = CODE_OK;
    uint32_t room = resolve_named(step, &code);
    if (!room)
        return code;
    struct chat_membership *membership = member_find_now(step->chat, step->account, room);
    if (!membership)
        return CODE_OK;
    struct chat_room *shown = &room_at(step->chat, room)->shown;
    CHECK(shown->members > 0);
    shown->members--;
    membership->leave_index = step->index;
    membership->is_operator = false;
    note_event(step, room);
    return CODE_OK;
}

/* Any member of a public room, the operators of a private one. */
enum chat_code room_topic(struct step *step)
{
    struct slice topic = step->command->text;
    enum chat_code code = check_topic(topic);
    if (code != CODE_OK)
        return code;
    uint32_t room = resolve_named(step, &code);
    if (!room)
        return code;
    const struct chat_membership *membership = member_find_now(step->chat, step->account, room);
    if (!membership)
        return CODE_NOT_A_MEMBER;
    struct room_record *record = room_at(step->chat, room);
    if (record->shown.is_private && !membership->is_operator)
        return CODE_FORBIDDEN;
    if (slice_equals(topic, record->topic, record->shown.topic_len))
        return CODE_OK;
    set_topic(record, topic);
#if FEATURE_LEVEL_TEST /* what only the next release does, once all can */
    for (size_t i = 0; i < topic.len && step->chat->genesis.level == FEATURE_LEVEL_MAX; i++)
        record->topic[i] ^= record->topic[i] >= 'a' && record->topic[i] <= 'z' ? 0x20 : 0;
#endif
    note_event(step, room);
    return CODE_OK;
}
