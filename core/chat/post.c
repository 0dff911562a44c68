/* Posts, deleting them, and read positions. */
#include "core/chat/state.h"

#include "core/check.h"

/* The first post to "@user" makes the conversation, with both in it (or one, for notes). */
static uint32_t make_direct(struct step *step, uint32_t peer)
{
    struct chat *chat = step->chat;
    uint32_t pair[2] = { step->account, peer };
    uint32_t people = peer == step->account ? 1 : 2;
    if (chat->room_count >= chat->limits.rooms || !member_fits(chat, people))
        return 0;
    uint32_t room = room_add(chat, (struct slice) { NULL, 0 }, pair);
    for (uint32_t i = 0; i < people; i++) {
        struct chat_membership membership = { .account = pair[i],
                                              .room = room,
                                              .join_index = step->index };
        member_add(chat, &membership);
    }
    return room;
}

enum chat_code post_apply(struct step *step)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    if (!chat->genesis.formed)
        return CODE_FORMING;
    bool erased = command->flags & POST_ERASED; /* applied again: its words were good */
    enum chat_code code = erased ? CODE_OK : text_check(command->text, LIMIT_TEXT_BYTES);
    if (code == CODE_OK && command->over_long)
        code = CODE_TOO_LONG;
    if (code != CODE_OK)
        return code;
    uint32_t peer = 0;
    uint32_t room = room_resolve(chat, step->account, command->room, &peer, &code);
    if (!room && !peer)
        return code;
    if (room && !member_find_now(chat, step->account, room))
        return CODE_NOT_A_MEMBER;
    uint64_t posts = room ? room_at(chat, room)->shown.last_seq : 0;
    if ((command->flags & POST_REPLY) && (!command->reply_to || command->reply_to > posts))
        return CODE_BAD_REQUEST;
    if (!room)
        room = make_direct(step, peer);
    if (!room)
        return CODE_BUSY;
    struct chat_room *shown = &room_at(chat, room)->shown;
    shown->last_seq++;
    shown->last_index = step->index;
    step->applied->answer.room = room;
    step->applied->answer.room_seq = shown->last_seq;
    step->applied->indexed = true;
    return CODE_OK;
}

/* Never backwards, never beyond what there is. */
enum chat_code post_read(struct step *step)
{
    uint32_t peer = 0;
    enum chat_code code = CODE_OK;
    uint32_t room = room_resolve(step->chat, step->account, step->command->room, &peer, &code);
    if (!room)
        return code;
    struct chat_membership *membership = member_find_now(step->chat, step->account, room);
    if (!membership)
        return CODE_NOT_A_MEMBER;
    uint64_t last = room_at(step->chat, room)->shown.last_seq;
    uint64_t seq = step->command->read_seq < last ? step->command->read_seq : last;
    CHECK(membership->read_seq <= last);
    if (seq > membership->read_seq)
        membership->read_seq = seq;
    step->applied->answer.room = room;
    return CODE_OK;
}

/* Who wrote the post is not in the state: the command says what the node that took it found in the
 * log. A node that was behind found nothing; that is no answer, and it looks again. */
enum chat_code post_delete(struct step *step)
{
    const struct command *command = step->command;
    const struct command_target *target = &command->target;
    uint32_t peer = 0;
    enum chat_code code = CODE_OK;
    uint32_t room = room_resolve(step->chat, step->account, command->room, &peer, &code);
    if (!room)
        return code;
    const struct chat_membership *membership = member_find_now(step->chat, step->account, room);
    if (!membership)
        return CODE_NOT_A_MEMBER;
    struct chat_room *shown = &room_at(step->chat, room)->shown;
    if (command->read_seq == 0 || command->read_seq > shown->last_seq ||
        target->state == TARGET_GONE)
        return CODE_BAD_REQUEST;
    if (target->state == TARGET_UNKNOWN)
        return CODE_BUSY;
    bool said = target->index > 0 && target->index < step->index && target->author > 0 &&
                target->author <= step->chat->account_count;
    if (!said)
        return CODE_BAD_REQUEST; /* by no node that works */
    if (target->author != step->account && !membership->is_operator)
        return CODE_FORBIDDEN;
    step->applied->answer.room = room;
    if (target->state == TARGET_DELETED)
        return CODE_OK;
    shown->last_index = step->index;
    step->applied->indexed = true;
    step->applied->event = true;
    return CODE_OK;
}
