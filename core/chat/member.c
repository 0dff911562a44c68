/* Memberships: one record per account and room, kept after leaving. */
#include "core/chat/state.h"

#include "core/check.h"

struct chat_membership *member_find(const struct chat *chat, uint32_t account, uint32_t room)
{
    struct table_probe probe = table_probe(chat_hash_pair(chat, account, room));
    for (uint32_t at; (at = table_next(&chat->membership_by_pair, &probe)) != 0;)
        if (chat->memberships[at].account == account && chat->memberships[at].room == room)
            return &chat->memberships[at];
    return NULL;
}

struct chat_membership *member_find_now(const struct chat *chat, uint32_t account, uint32_t room)
{
    struct chat_membership *membership = member_find(chat, account, room);
    return membership && !membership->leave_index ? membership : NULL;
}

bool member_fits(const struct chat *chat, uint32_t more)
{
    CHECK(chat->membership_count <= chat->limits.memberships);
    return chat->limits.memberships - chat->membership_count >= more;
}

struct chat_membership *member_add(struct chat *chat, const struct chat_membership *membership)
{
    CHECK(member_fits(chat, 1));
    CHECK(member_find(chat, membership->account, membership->room) == NULL);
    uint32_t position = ++chat->membership_count;
    struct chat_membership *added = &chat->memberships[position];
    struct chat_account *account = &account_at(chat, membership->account)->shown;
    struct chat_room *room = &room_at(chat, membership->room)->shown;
    *added = *membership;
    added->next_of_account = account->first_membership;
    added->next_of_room = room->first_member;
    account->first_membership = position;
    room->first_member = position;
    room->members += !membership->leave_index;
    table_insert(&chat->membership_by_pair,
                 chat_hash_pair(chat, membership->account, membership->room), position);
    return added;
}

const struct chat_membership *chat_membership(const struct chat *chat, uint32_t account,
                                              uint32_t room)
{
    return member_find(chat, account, room);
}

static bool holds(uint64_t join_index, uint64_t leave_index, uint64_t index)
{
    return index >= join_index && (!leave_index || index <= leave_index);
}

bool chat_was_member(const struct chat_membership *membership, uint64_t index)
{
    if (!membership)
        return false;
    for (unsigned i = 0; i < membership->earlier_count; i++)
        if (holds(membership->earlier[i].join_index, membership->earlier[i].leave_index, index))
            return true;
    return holds(membership->join_index, membership->leave_index, index);
}

bool chat_was_member_after(const struct chat_membership *membership, uint64_t index)
{
    if (!membership)
        return false;
    for (unsigned i = 0; i < membership->earlier_count; i++)
        if (membership->earlier[i].join_index <= index &&
            index < membership->earlier[i].leave_index)
            return true;
    return membership->join_index <= index &&
           (!membership->leave_index || index < membership->leave_index);
}

void member_rejoin(struct chat_membership *membership, uint64_t index)
{
    CHECK(membership->leave_index > 0);
    struct chat_interval *earlier = membership->earlier;
    if (membership->earlier_count == CHAT_INTERVALS) {
        earlier[1].join_index = earlier[0].join_index;
        memmove(earlier, earlier + 1, (CHAT_INTERVALS - 1) * sizeof earlier[0]);
        membership->earlier_count--;
    }
    earlier[membership->earlier_count++] =
        (struct chat_interval) { membership->join_index, membership->leave_index };
    membership->join_index = index;
    membership->leave_index = 0;
}

static const struct chat_membership *at_or_null(const struct chat *chat, uint32_t position)
{
    return position ? &chat->memberships[position] : NULL;
}

const struct chat_membership *chat_next_of_account(const struct chat *chat, uint32_t account,
                                                   const struct chat_membership *previous)
{
    return at_or_null(chat, previous ? previous->next_of_account
                                     : account_at(chat, account)->shown.first_membership);
}

const struct chat_membership *chat_next_of_room(const struct chat *chat, uint32_t room,
                                                const struct chat_membership *previous)
{
    return at_or_null(chat,
                      previous ? previous->next_of_room : room_at(chat, room)->shown.first_member);
}
