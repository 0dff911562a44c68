#include "core/node/state.h"

/* Held posts: the same queue, made durable (architecture.md). Without a leader for a while, what waits in the queue goes to
 * the held log, its clients are told `held`, and posts are shown to their rooms' members here. The
 * queue is forwarded as always once there is a leader; an item leaves it when the replicated device
 * is past its seq or has ended. When the queue holds nothing of it any more, the held log goes.
 *
 * A device's command is held only behind all that its client still waits for, so that no leader ever
 * lacks what comes before it. */

/* --- what can be held --------------------------------------------------------------------------- */

/* Names and texts without zero bytes: recovery tells an append that was torn by its zeros (store/held.c). */
static bool plain(const struct command *command)
{
    if (command->text.len && text_check(command->text, LIMIT_TEXT_BYTES) != CODE_OK)
        return false;
    return !command->room.len || text_check(command->room, LIMIT_ROOM_NAME) == CODE_OK;
}

/* By what is applied here it will be granted. */
static bool enrol_is_sure(struct node *node, const struct command *command)
{
    if (command->kind != COMMAND_ENROL)
        return false;
    uint32_t account = chat_find_account(node->chat, command->name);
    return account &&
           !memcmp(chat_account(node->chat, account)->key, command->account_key, PUBLIC_KEY_BYTES);
}

/* It stands behind everything that its client may still wait for. */
static bool follows(struct node *node, uint32_t position, const struct queue_item *item)
{
    uint64_t done = item->seq - item->beyond;
    uint32_t before = queue_device_before(node->queue, position);
    if (before) {
        const struct queue_item *last = queue_at(node->queue, before);
        return last->hold != HOLD_NOT && (last->seq + 1 == item->seq || done + 1 >= item->seq);
    }
    const struct chat_device *device = chat_device(node->chat, item->device);
    uint64_t known = device && device->last > done ? device->last : done;
    return known + 1 >= item->seq;
}

static bool holdable(struct node *node, uint32_t position, struct slice body)
{
    const struct queue_item *item = queue_at(node->queue, position);
    struct command command;
    if (item->hold != HOLD_NOT || !command_decode(&command, body))
        return false;
    if (!item->device)
        return enrol_is_sure(node, &command);
    /* A post that is not known here may be known to others: what is held goes to them as it is. */
    if (command.kind == COMMAND_DELETE && command.target.state == TARGET_UNKNOWN)
        return false;
    return command.kind != COMMAND_CLOSE && plain(&command) && follows(node, position, item);
}

/* --- holding ------------------------------------------------------------------------------------ */

static uint64_t dark_after_us(const struct raft *raft)
{
    uint64_t two_time_outs = 2 * (uint64_t)raft_election_timeout(raft);
    return two_time_outs > NODE_DARK_US ? two_time_outs : NODE_DARK_US;
}

static void notice_darkness(struct node *node, const struct effects *out)
{
    if (raft_has_quorum(node->raft) || raft_is_blank(node->raft)) {
        node->dark = false;
        node->dark_since_us = 0;
        return;
    }
    if (!node->dark_since_us)
        node->dark_since_us = node->now.mono_us;
    uint64_t at = node->dark_since_us + dark_after_us(node->raft);
    if (node->dark)
        return;
    if (node->now.mono_us < at) {
        node_wake_at(at, out);
        return;
    }
    node->dark = true;
    node->hold_next = queue_first(node->queue);
    struct line line = line_begin("no_leader");
    line_pair(&line, "queued", queue_count(node->queue));
    line_add(&line, " why=\"posts are held here until there is one\"");
    line_emit(&line, LOG_WARN, out);
}

/* Gathers what goes into one append: bodies one after the other in forward_out. */
static uint32_t gather(struct node *node, size_t *len)
{
    uint32_t count = 0;
    uint32_t before = node->held_blocks;
    *len = 0;
    while (node->hold_next && count < NODE_HOLD_COMMANDS) {
        uint32_t position = node->hold_next;
        struct queue_item *item = queue_edit(node->queue, position);
        size_t used = (size_t)entry_size(count + 1, *len + item->len);
        uint32_t blocks = node->held_blocks + queue_blocks_for(item->len);
        if (used > LIMIT_HOLD_BYTES || node->held_bytes + used > LIMIT_HELD_BYTES ||
            blocks > queue_blocks(node->queue) / 2)
            break;
        node->hold_next = queue_next(node->queue, position);
        queue_copy(node->queue, position, node->forward_out + *len);
        if (!holdable(node, position, (struct slice) { node->forward_out + *len, item->len }))
            continue;
        item->hold = HOLD_WRITING;
        item->held = ++node->held_last;
        node->held_open++;
        node->held_blocks = blocks;
        node->hold_positions[count] = position;
        node->batch_sizes[count++] = item->len;
        *len += item->len;
    }
    node->hold_blocks = node->held_blocks - before;
    return count;
}

static void begin_hold(struct node *node, const struct effects *out)
{
    CHECK(node->batch_count == 0); /* its sizes are free for use */
    struct raft_view view = raft_view(node->raft);
    size_t len = 0;
    uint32_t count = gather(node, &len);
    if (!count)
        return;
    struct entry_draft draft = {
        .kind = ENTRY_COMMANDS,
        .first = node->held_last - count + 1,
        .time_us = node->now.wall_us,
        .count = count,
        .sizes = node->batch_sizes,
        .bodies = node->forward_out,
    };
    static const uint8_t no_chain[HASH_BYTES];
    const uint8_t *cluster = raft_cluster(node->raft);
    size_t size = entry_build(node->hold_entry, LIMIT_HOLD_BYTES, &draft, node->options.crypto,
                              cluster, no_chain);
    CHECK(size > 0);
    uint64_t commit = view.commit < view.durable ? view.commit : view.durable;
    node->hold_number++;
    entry_set_local(node->hold_entry, node->hold_number, 0, commit, node->options.crypto, cluster);
    node->hold_count = count;
    node->hold_first = draft.first;
    node->hold_out = true;
    node->hold_discards = false;
    node->hold_entry_len = (uint32_t)size;
    struct effect effect = { .kind = EFFECT_HOLD,
                             .hold = { .number = node->hold_number,
                                       .entry = { node->hold_entry, size } } };
    effect_emit(out, &effect);
}

static void begin_discard(struct node *node, const struct effects *out)
{
    node->hold_number++;
    node->hold_count = 0;
    node->hold_out = true;
    node->hold_discards = true;
    struct effect effect = { .kind = EFFECT_HOLD,
                             .hold = { .number = node->hold_number, .discard = true } };
    effect_emit(out, &effect);
}

/* All is applied that an earlier process of this node may have applied before it held something: its entries may be
 * gone from the own log, for a commit does not wait for this node's disk, and rot takes what stood there. The first
 * that is heard in a term is enough: if that leader led then, it has committed as much; if not, its own entry comes
 * after it. */
static bool applied_all(struct node *node, uint64_t term)
{
    if (!raft_has_quorum(node->raft))
        return false;
    if (node->held_target_term != term) {
        node->held_target_term = term;
        node->held_target = raft_told_commit(node->raft);
    }
    return node->applied_term >= term && node->applied >= node->held_target;
}

void held_turn(struct node *node, const struct effects *out)
{
    struct raft_view view = raft_view(node->raft);
    notice_darkness(node, out);
    if (node->held_open && node->held_looked_term != view.term && applied_all(node, view.term)) {
        node->held_looked_term = view.term;
        held_settle(node, true, out);
    }
    if (node->hold_out)
        return;
    if (node->now.mono_us < node->hold_retry_us) {
        node_wake_at(node->hold_retry_us, out);
        return;
    }
    if (node->dark)
        begin_hold(node, out);
    if (!node->hold_out && node->held_bytes && !node->held_open)
        begin_discard(node, out);
}

/* --- showing ------------------------------------------------------------------------------------ */

/* A held post as this node can show it, decoded into forward_out. */
struct sight {
    struct command command;
    uint32_t room; /* 0: a conversation that this post will begin */
    uint32_t peer;
};

/* false: it is no post, or what is applied here does not know its author, its room or him in it. */
static bool look_at(struct node *node, uint32_t position, struct sight *sight)
{
    const struct queue_item *item = queue_at(node->queue, position);
    struct command *command = &sight->command;
    queue_copy(node->queue, position, node->forward_out);
    if (!command_decode(command, (struct slice) { node->forward_out, item->len }) ||
        command->kind != COMMAND_POST)
        return false;
    if (command->account < 1 || command->account > chat_accounts(node->chat))
        return false;
    sight->room = chat_find_room(node->chat, command->account, command->room);
    sight->peer = 0;
    if (sight->room)
        return true;
    if (!command->room.len || command->room.data[0] != '@')
        return false;
    sight->peer = chat_find_account(
        node->chat, (struct slice) { command->room.data + 1, command->room.len - 1 });
    return sight->peer != 0;
}

static bool is_member(const struct node *node, uint32_t account, uint32_t room)
{
    const struct chat_membership *member = chat_membership(node->chat, account, room);
    return member && !member->leave_index;
}

/* By what is applied here it can still become a message. */
static bool is_shown(struct node *node, uint32_t position, struct sight *sight)
{
    return look_at(node, position, sight) &&
           (!sight->room || is_member(node, sight->command.account, sight->room));
}

/* As the reader's account sees it, in scratch. */
static struct slice encode(struct node *node, const struct sight *sight, uint32_t reader)
{
    const struct command *command = &sight->command;
    const struct chat_account *author = chat_account(node->chat, command->account);
    uint8_t name[LIMIT_ROOM_NAME];
    size_t name_len;
    if (sight->room) {
        name_len = chat_room_name(node->chat, sight->room, reader, name);
    } else {
        uint32_t other = reader == command->account ? sight->peer : command->account;
        const struct chat_account *account = chat_account(node->chat, other);
        name[0] = '@';
        memcpy(name + 1, account->name, account->name_len);
        name_len = 1u + account->name_len;
    }
    struct wire_record record = {
        .kind = stream_kind_of(command),
        .sent_us = command->sent_us,
        .reply_to = command->reply_to,
        .reply_tag = command->reply_tag,
        .device_tag = command->tag,
        .device_seq = command->seq,
        .room = { name, name_len },
        .from = { author->name, author->name_len },
        .text = command->text,
    };
    size_t len = wire_encode_record(&record, node->scratch, NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES);
    CHECK(len > 0);
    node->scratch[0] = WIRE_HELD_RECORD;
    return (struct slice) { node->scratch, len };
}

static bool may_see(const struct node *node, uint32_t account, const struct sight *sight)
{
    if (sight->room)
        return is_member(node, account, sight->room);
    return account == sight->command.account || account == sight->peer;
}

/* Who cannot take more goes on from there when it has taken what it got. */
static bool is_full(const struct session *session)
{
    return session->unsent >= LIMIT_CLIENT_UNSENT_BYTES;
}

/* To all of one account's readers who are not behind. */
static void show_account(struct node *node, uint32_t account, uint64_t number, struct slice message,
                         const struct effects *out)
{
    for (uint32_t at = node->account_sessions[account]; at;) {
        struct session *session = &node->sessions[at - 1];
        at = session->next_of_account;
        if (session->stream == STREAM_OFF || session->held_upto != UINT64_MAX)
            continue;
        if (is_full(session))
            session->held_upto = number - 1;
        else
            session_send(node, session, message, out);
    }
}

static void show_all(struct node *node, uint32_t position, const struct effects *out)
{
    const struct queue_item *item = queue_at(node->queue, position);
    struct sight sight;
    if (!is_shown(node, position, &sight))
        return;
    if (!sight.room) {
        show_account(node, sight.command.account, item->held,
                     encode(node, &sight, sight.command.account), out);
        if (sight.peer != sight.command.account)
            show_account(node, sight.peer, item->held, encode(node, &sight, sight.peer), out);
        return;
    }
    bool direct = chat_room(node->chat, sight.room)->direct;
    struct slice message = { NULL, 0 };
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_room(node->chat, sight.room, member)) != NULL) {
        if (member->leave_index || !node->account_sessions[member->account])
            continue;
        if (direct || !message.len)
            message = encode(node, &sight, member->account);
        show_account(node, member->account, item->held, message, out);
    }
}

void held_show(struct node *node, struct session *session, const struct effects *out)
{
    if (session->stream == STREAM_OFF)
        return;
    uint32_t position = queue_held_first(node->queue);
    while (position && queue_at(node->queue, position)->held <= session->held_upto &&
           session->held_upto != UINT64_MAX)
        position = queue_held_next(node->queue, position);
    for (; position; position = queue_held_next(node->queue, position)) {
        const struct queue_item *item = queue_at(node->queue, position);
        if (is_full(session)) {
            session->held_upto = item->held - 1;
            return;
        }
        struct sight sight;
        if (is_shown(node, position, &sight) && may_see(node, session->account, &sight))
            session_send(node, session, encode(node, &sight, session->account), out);
    }
    session->held_upto = UINT64_MAX;
}

/* --- what becomes of it ------------------------------------------------------------------------- */

/* To those of an account's readers who are at `index` or beyond. */
static void retract_account(struct node *node, uint32_t account, const struct sight *sight,
                            uint64_t index, const struct effects *out)
{
    uint8_t message[17] = { WIRE_RETRACT };
    bytes_put_u64(message + 1, sight->command.tag);
    bytes_put_u64(message + 9, sight->command.seq);
    for (uint32_t at = node->account_sessions[account]; at;) {
        struct session *session = &node->sessions[at - 1];
        at = session->next_of_account;
        if (session->stream != STREAM_OFF && session->cursor >= index)
            session_send(node, session, (struct slice) { message, sizeof(message) }, out);
    }
}

/* Whoever may have been shown it, that is, is or was in its room, is sent its end: the message does that for those who
 * get it. Who has seen more than this node does not: another node may have left it out for him. The client knows whether it was shown (core/client/client_held.c). */
void held_resolved(struct node *node, uint32_t position, const struct chat_answer *answer,
                   const struct effects *out)
{
    struct sight sight;
    if (queue_at(node->queue, position)->hold != HOLD_DURABLE || !look_at(node, position, &sight))
        return;
    if (!sight.room) {
        retract_account(node, sight.command.account, &sight, 0, out);
        if (sight.peer != sight.command.account)
            retract_account(node, sight.peer, &sight, 0, out);
        return;
    }
    bool is_post = answer->code == CODE_OK && answer->room && answer->room_seq;
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_room(node->chat, sight.room, member)) != NULL) {
        const struct chat_membership *reader =
            is_post ? chat_membership(node->chat, member->account, answer->room) : NULL;
        bool gets = reader && chat_was_member(reader, answer->index);
        retract_account(node, member->account, &sight, gets ? answer->index : 0, out);
    }
}

void held_settle(struct node *node, bool sure, const struct effects *out)
{
    for (uint32_t position = queue_first(node->queue); position;) {
        const struct queue_item item = *queue_at(node->queue, position);
        uint32_t next = queue_next(node->queue, position);
        const struct chat_device *device = chat_device(node->chat, item.device);
        struct chat_answer answer = { .code = CODE_REVOKED };
        bool ended = item.device && (device ? !device->account : sure);
        bool past = device && device->last >= item.seq;
        if (past && chat_look_up_answer(node->chat, item.device, item.seq, item.digest, &answer) !=
                        CHAT_REPEATED)
            answer = (struct chat_answer) { .code = CODE_CONFLICT };
        if (ended || past) {
            held_resolved(node, position, &answer, out);
            forward_remove(node, position);
            /* Its client may have come here again meanwhile, and waits. */
            struct session *session = past ? session_of_device(node, item.device) : NULL;
            if (session)
                session_answer(node, session, item.seq, item.digest, &answer, out);
        }
        position = next;
    }
}

/* --- events -------------------------------------------------------------------------------------- */

static void tell_held(struct node *node, const struct queue_item *item, const struct effects *out)
{
    uint8_t message[17] = { WIRE_HELD };
    bytes_put_u64(message + 1, item->device ? item->seq : 0);
    bytes_put_u64(message + 9, item->digest);
    struct session *session = item->device
                                  ? session_of_device(node, item->device)
                                  : session_if_same(node, item->connection, item->generation);
    if (session)
        session_send(node, session, (struct slice) { message, sizeof(message) }, out);
}

static void hold_refused(struct node *node)
{
    for (uint32_t i = 0; i < node->hold_count; i++) {
        if (!queue_is_held(node->queue, node->hold_positions[i], node->hold_first + i))
            continue;
        struct queue_item *item = queue_edit(node->queue, node->hold_positions[i]);
        item->hold = HOLD_NOT;
        item->held = 0;
        node->held_open--;
    }
    node->held_blocks -= node->hold_blocks;
    node->hold_next = queue_first(node->queue);
    node->hold_retry_us = node->now.mono_us + NODE_DARK_US;
}

void held_done(struct node *node, const struct node_event *event, const struct effects *out)
{
    CHECK(node->hold_out);
    CHECK(event->held.number == node->hold_number);
    node->hold_out = false;
    if (event->held.no_space) {
        hold_refused(node);
        return;
    }
    if (node->hold_discards) {
        node->held_bytes = 0;
        node->held_blocks = 0;
        return;
    }
    node->held_bytes += node->hold_entry_len;
    for (uint32_t i = 0; i < node->hold_count; i++) {
        uint32_t position = node->hold_positions[i];
        if (!queue_is_held(node->queue, position, node->hold_first + i))
            continue; /* a leader came back and it was answered */
        queue_held_add(node->queue, position);
        tell_held(node, queue_at(node->queue, position), out);
        show_all(node, position, out);
    }
}

void held_offered(struct node *node, struct session *session, uint32_t position, uint64_t done,
                  const struct effects *out)
{
    struct queue_item *item = queue_edit(node->queue, position);
    CHECK(item->device == session->device && done < item->seq);
    uint64_t beyond = item->seq - done;
    if (beyond < item->beyond) {
        item->beyond = (uint8_t)beyond;
        if (node->dark && item->hold == HOLD_NOT)
            node->hold_next =
                queue_first(node->queue); /* what kept it from being held may be over */
    }
    if (item->hold == HOLD_DURABLE)
        tell_held(node, item, out);
}

bool held_enrol(struct node *node, const uint8_t *device_key, const struct session *session)
{
    uint32_t position = node->dark ? queue_device_first(node->queue, 0) : 0;
    for (; position; position = queue_device_next(node->queue, position)) {
        struct queue_item *item = queue_edit(node->queue, position);
        struct command command;
        queue_copy(node->queue, position, node->scratch);
        if (!command_decode(&command, (struct slice) { node->scratch, item->len }) ||
            command.kind != COMMAND_ENROL ||
            memcmp(command.device_key, device_key, PUBLIC_KEY_BYTES) != 0)
            continue;
        item->connection = session_number(node, session);
        item->generation = session->generation;
        return true;
    }
    return false;
}

/* --- after a restart ------------------------------------------------------------------------------ */

/* All of it fits: no more was held than half of the queue takes (gather). */
static void restore_item(struct node *node, struct slice body)
{
    struct command command;
    node->held_blocks += queue_blocks_for((uint32_t)body.len);
    if (!command_decode(&command, body))
        return; /* a held log holds nothing else: this version does not know it */
    bool of_device = command.kind >= COMMAND_DEVICE_KINDS;
    if (!of_device && command.kind != COMMAND_ENROL)
        return;
    if (of_device &&
        (!command.device || command.account < 1 || command.account > node->options.chat.accounts ||
         (command.device - 1) % LIMIT_DEVICES >= node->options.chat.devices))
        return;
    if (of_device && forward_find(node, command.device, command.seq))
        return; /* written by two processes */
    struct queue_item item = { .device = of_device ? command.device : 0,
                               .account = of_device ? command.account : 0,
                               .seq = of_device ? command.seq : command.nonce,
                               .beyond = of_device ? command.beyond : 0,
                               .connection = UINT32_MAX,
                               .len = (uint32_t)body.len };
    if (of_device)
        item.digest = command_digest(&command, node->options.crypto);
    if (!forward_push_any(node, &item, body))
        return; /* the queue was made smaller: whoever sent it offers it again */
    node->nonces += !of_device;
    uint32_t position =
        of_device ? forward_find(node, item.device, item.seq) : queue_device_last(node->queue, 0);
    queue_edit(node->queue, position)->held = ++node->held_last;
    queue_held_add(node->queue, position);
    node->held_open++;
}

void held_restore(struct node *node, const struct node_recovery *recovery)
{
    struct reader reader = reader_of(recovery->held.data, recovery->held.len);
    node->held_last = recovery->held_last;
    node->held_bytes = recovery->held_bytes;
    while (reader_left(&reader)) {
        struct slice body = read_slice32(&reader);
        CHECK(!reader.bad);
        restore_item(node, body);
    }
}
