#include "core/node/state.h"

/* Committed entries go into the chat in order; what that came to is told to whoever waits here for
 * it and to the rooms' members. Applied may run ahead of what is durable here, but not over a
 * segment's end (the checkpoint is taken there) and not beyond what the recent ring can keep for
 * readers. */

static void answer_device(struct node *node, const struct chat_applied *applied,
                          const struct effects *out)
{
    uint32_t position = forward_find(node, applied->command.device, applied->command.seq);
    if (!position)
        return;
    const struct queue_item item = *queue_at(node->queue, position);
    struct chat_answer answer = applied->answer;
    /* Another content under the same seq: a conflict, or given up, which the chat knows. */
    if (item.digest != applied->digest &&
        chat_look_up_answer(node->chat, item.device, item.seq, item.digest, &answer) !=
            CHAT_REPEATED)
        answer = (struct chat_answer) { .code = CODE_CONFLICT };
    held_resolved(node, position, &applied->answer, out);
    forward_remove(node, position);
    struct session *session = session_of_device(node, item.device);
    if (session)
        session_answer(node, session, item.seq, item.digest, &answer, out);
}

/* What its client waited for here came to the log by another way: what was passed over for that is
 * asked for again, since the client may have its answer already and not send it any more. */
static void ask_again(struct node *node, const struct command *command, const struct effects *out)
{
    const struct session *session = session_of_device(node, command->device);
    if (session && session->passed_over && session->refused_seq &&
        session->refused_seq <= command->seq)
        forward_nack_client(node, command->device, session->refused_seq + 1, out);
}

/* Not consumed, for a table is full: that is no answer. The leader must admit it again, and its
 * client, told what it waits for, sends it and all behind it again. */
static void give_back(struct node *node, const struct chat_applied *applied,
                      const struct effects *out)
{
    struct chat_device *device = chat_device(node->chat, applied->command.device);
    CHECK(device != NULL);
    CHECK(!code_is_final(applied->answer.code));
    if (device->admitted > device->last)
        device->admitted = device->last;
    uint32_t position = queue_device_first(node->queue, applied->command.device);
    if (!position)
        return;
    const struct queue_item item = *queue_at(node->queue, position);
    if (item.device != applied->command.device || item.seq != applied->command.seq)
        return;
    if (item.hold != HOLD_NOT) {
        forward_retry_within(node, NODE_LATE_RETRY_US);
        return;
    }
    forward_drop_device(node, item.device);
    struct session *session = session_of_device(node, item.device);
    if (!session)
        return;
    session->refused_seq = item.seq;
    session_answer(node, session, item.seq, item.digest, &applied->answer, out);
}

static void answer_nonce(struct node *node, const struct chat_applied *applied, uint64_t index,
                         const struct effects *out)
{
    uint32_t position = queue_device_first(node->queue, 0);
    while (position && queue_at(node->queue, position)->seq != applied->command.nonce)
        position = queue_device_next(node->queue, position);
    if (!position)
        return;
    const struct queue_item item = *queue_at(node->queue, position);
    forward_remove(node, position);
    struct session *session = session_if_same(node, item.connection, item.generation);
    if (!session)
        return;
    if (applied->command.kind == COMMAND_ENROL)
        session_enrolled(node, session, applied->answer.code, applied->device, index, out);
    else
        control_done(node, session, applied->answer.code, index, "", out);
}

static void tell_members(struct node *node, const struct chat_applied *applied,
                         const struct effects *out)
{
    const struct chat_room *room = chat_room(node->chat, applied->answer.room);
    const struct command *command = &applied->command;
    uint64_t seq = applied->event ? room->last_seq : applied->answer.room_seq;
    struct effect effect = { .kind = EFFECT_INDEX,
                             .index = { .room = applied->answer.room,
                                        .seq = seq,
                                        .index = applied->answer.index,
                                        .event = applied->event,
                                        .deletes = command->target.index,
                                        .check = command->target.check } };
    effect_emit(out, &effect);
    struct wire_record record = { .seq = seq,
                                  .index = applied->answer.index,
                                  .time_us = applied->answer.time_us };
    bool shown = stream_record_from(node, command, false, &record);
    CHECK(shown);
    stream_record(node, applied->answer.room, seq, command->target.index, &record, out);
}

static void apply_command(struct node *node, uint64_t index, uint64_t time_us, struct slice body,
                          const struct effects *out)
{
    struct chat_applied applied;
    if (!level_known(node, command_level(body), out))
        return;
    chat_apply(node->chat, index, time_us, body, &applied);
    if (applied.indexed)
        tell_members(node, &applied, out);
    if (applied.command.kind >= COMMAND_DEVICE_KINDS) {
        if (applied.result == CHAT_APPLIED || applied.result == CHAT_REPEATED) {
            answer_device(node, &applied, out);
            ask_again(node, &applied.command, out);
        } else if (applied.result == CHAT_FULL) {
            give_back(node, &applied, out);
        } else if (applied.result == CHAT_IGNORED && applied.answer.code == CODE_REVOKED) {
            session_device_ended(node, applied.account, applied.command.device, out);
        }
    } else if (applied.command.kind) {
        answer_nonce(node, &applied, index, out);
    }
    if (applied.ended_device)
        session_device_ended(node, applied.account, applied.ended_device, out);
}

static uint64_t last_of(const struct entry *entry)
{
    return entry->first + entry->count - 1;
}

/* Must it wait for its own durability here? At a segment's end, and when its records would push out of the recent ring
 * what cannot be read from disk yet. */
static bool must_wait(const struct node *node, const struct entry *entry)
{
    uint64_t durable = raft_durable(node->raft);
    if (durable >= last_of(entry))
        return false;
    if (node->segment_used + entry->size >= node->options.segment_bytes)
        return true;
    size_t records = entry->size + (size_t)entry->count * NODE_RECORD_OVERHEAD;
    return records * 2 + 1024 > node->options.recent_bytes ||
           !recent_room(node->recent, records, durable);
}

static void checkpoint(struct node *node, const struct entry *last, const struct effects *out)
{
    struct writer writer = writer_of(node->checkpoint, node->checkpoint_bytes);
    uint8_t *raft_len = write_room(&writer, 4);
    size_t raft = raft_checkpoint(node->raft, last, writer.at, (size_t)(writer.end - writer.at));
    CHECK(raft > 0);
    bytes_put_u32(raft_len, (uint32_t)raft);
    writer.at += raft;
    uint8_t *chat_len = write_room(&writer, 4);
    size_t chat = chat_checkpoint(node->chat, writer.at, (size_t)(writer.end - writer.at));
    CHECK(chat > 0);
    bytes_put_u32(chat_len, (uint32_t)chat);
    writer.at += chat;
    struct effect effect = { .kind = EFFECT_CHECKPOINT,
                             .checkpoint = { node->applied,
                                             { writer.start, writer_used(&writer) } } };
    effect_emit(out, &effect);
}

static void apply_entry(struct node *node, const struct entry *entry, const struct effects *out)
{
    CHECK(entry->first == node->applied + 1);
    if (entry->kind == ENTRY_COMMANDS) {
        struct entry_cursor cursor = { 0 };
        struct slice body;
        for (uint64_t index = entry->first; entry_next(entry, &cursor, &body); index++)
            apply_command(node, index, entry->time_us, body, out);
    }
    node->applied = last_of(entry);
    node->applied_term = entry->term;
    node->applied_time_us = entry->time_us;
    if (entry->kind == ENTRY_CONFIG)
        raft_config_applied(node->raft, entry);
    node->segment_used += entry->size;
    raft_applied(node->raft, node->applied);
    if (node->segment_used >= node->options.segment_bytes) {
        node->segment_used = 0;
        checkpoint(node, entry, out);
    }
}

/* Applies whole entries from `entries` up to the commit index; returns the bytes that it got
 * through. */
static size_t apply_run(struct node *node, struct slice entries, const struct effects *out)
{
    size_t done = 0;
    uint64_t commit = raft_commit(node->raft);
    while (done < entries.len) {
        struct entry entry;
        enum entry_state state = entry_parse(&entry, node->options.crypto, NULL,
                                             entries.data + done, entries.len - done);
        CHECK(state == ENTRY_WHOLE);
        if (last_of(&entry) > commit)
            break;
        bool waits = must_wait(node, &entry);
        node->apply_stalled = waits && raft_view(node->raft).refused;
        if (waits)
            break;
        if (last_of(&entry) > node->applied)
            apply_entry(node, &entry, out);
        done += entry.size;
    }
    return done;
}

void apply_turn(struct node *node, const struct effects *out)
{
    size_t share = NODE_APPLY_BYTES;
    if (node->apply_retry_us && node->now.mono_us < node->apply_retry_us) {
        node_wake_at(node->apply_retry_us, out);
        return;
    }
    node->apply_retry_us = 0;
    while (!node->apply_reading && node->applied < raft_commit(node->raft)) {
        struct slice entry = raft_cached_entry(node->raft, node->applied + 1);
        if (!entry.len) {
            node->apply_reading = true;
            struct effect effect = { .kind = EFFECT_READ_ENTRIES,
                                     .read = { .id = read_id(READ_FOR_APPLY, 0, 0),
                                               .index = node->applied + 1,
                                               .capacity = LIMIT_ENTRY_BYTES } };
            effect_emit(out, &effect);
            return;
        }
        if (!apply_run(node, entry, out))
            return;
        share -= entry.len < share ? entry.len : share;
        if (!share) {
            node_wake_at(node->now.mono_us, out);
            return;
        }
    }
}

void apply_read_done(struct node *node, bool failed, struct slice entries,
                     const struct effects *out)
{
    CHECK(node->apply_reading);
    node->apply_reading = false;
    if (failed) { /* rotten: read again until the others' copy is in its place (mend.c) */
        node->apply_retry_us = node->now.mono_us + NODE_RETRY_US;
        node_wake_at(node->apply_retry_us, out);
        return;
    }
    if (!entries.len) {
        struct effect effect = { .kind = EFFECT_HALT,
                                 .halt = { .exit_status = 5,
                                           .reason = "a committed entry cannot be read back" } };
        effect_emit(out, &effect);
        return;
    }
    (void)apply_run(node, entries, out);
}
