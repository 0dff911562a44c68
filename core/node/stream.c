#include "core/node/state.h"

/* Delivery. A live reader gets each record as it is applied, from one encode shared by all. Who does not take it in time
 * falls behind: its cursor stays, and it goes on from the recent ring or from disk whenever it has drained what it
 * got. So nobody is dropped, nothing is skipped unseen, and a slow reader costs a cursor. */

uint8_t stream_kind_of(const struct command *command)
{
    switch (command->kind) {
    case COMMAND_POST:
        return command->flags & POST_ME ? RECORD_ME : RECORD_POST;
    case COMMAND_CREATE:
    case COMMAND_JOIN:
        return RECORD_JOIN;
    case COMMAND_PART:
        return RECORD_PART;
    case COMMAND_TOPIC:
        return RECORD_TOPIC;
    case COMMAND_DELETE:
        return RECORD_DELETE;
    default:
        return 0;
    }
}

uint64_t stream_sent_us(const struct command *command, uint64_t time_us)
{
    bool late = time_us > command->sent_us && time_us - command->sent_us >= NODE_LATE_POST_US;
    return command->flags & POST_SENT || late ? command->sent_us : 0;
}

static bool is_account(const struct node *node, uint32_t account)
{
    return account >= 1 && account <= chat_accounts(node->chat);
}

bool stream_record_from(struct node *node, const struct command *command, bool deleted,
                        struct wire_record *record)
{
    bool deletes = command->kind == COMMAND_DELETE;
    if (!stream_kind_of(command) || !is_account(node, command->account) ||
        (deletes && !is_account(node, command->target.author)))
        return false;
    const struct chat_account *account = chat_account(node->chat, command->account);
    record->kind = stream_kind_of(command);
    record->sent_us = stream_sent_us(command, record->time_us);
    record->reply_to = command->reply_to;
    record->reply_tag = command->reply_tag;
    record->device_tag = command->tag;
    record->device_seq = command->seq;
    record->from = (struct slice) { account->name, account->name_len };
    record->text = command->text;
    if (deletes) {
        const struct chat_account *author = chat_account(node->chat, command->target.author);
        record->seq = command->read_seq;
        record->text = (struct slice) { author->name, author->name_len };
    }
    if (deleted || command->flags & POST_ERASED) {
        record->flags |= RECORD_DELETED;
        record->text = (struct slice) { NULL, 0 };
    }
    return true;
}

bool stream_record_of(struct node *node, const struct stored_record *stored,
                      struct wire_record *record)
{
    struct command command;
    CHECK(stored->room >= 1);
    *record = (struct wire_record) { .seq = stored->seq,
                                     .index = stored->index,
                                     .time_us = stored->time_us };
    return command_decode(&command, stored->body) &&
           stream_record_from(node, &command, stored->kind == NODE_STORE_DELETED, record);
}

/* What is shown from memory of a post that is deleted now. */
static void erase_recent(struct node *node, uint64_t index)
{
    struct recent_record recent;
    struct wire_record record;
    if (!recent_find(node->recent, index, &recent))
        return;
    bool decoded = wire_decode_record(&record, recent.message);
    CHECK(decoded && (record.kind == RECORD_POST || record.kind == RECORD_ME));
    record.flags |= RECORD_DELETED;
    record.text = (struct slice) { NULL, 0 };
    size_t len = wire_encode_record(&record, node->scratch, NODE_PAGE_BYTES);
    CHECK(len > 0);
    (void)recent_replace(node->recent, index, (struct slice) { node->scratch, len });
}

size_t stream_encode_for(struct node *node, uint32_t room, uint32_t account,
                         struct wire_record *record, uint8_t *out, size_t capacity)
{
    uint8_t name[LIMIT_ROOM_NAME];
    record->room = (struct slice) { name, chat_room_name(node->chat, room, account, name) };
    size_t len = wire_encode_record(record, out, capacity);
    record->room = (struct slice) { NULL, 0 };
    CHECK(len > 0);
    return len;
}

static bool full(const struct session *session)
{
    return session->unsent >= LIMIT_CLIENT_UNSENT_BYTES;
}

static void set_stream(struct node *node, struct session *session, enum stream_state state)
{
    node->behind -= session->stream == STREAM_BEHIND;
    node->behind += state == STREAM_BEHIND;
    session->stream = state;
}

static void send_live(struct node *node, uint32_t account, uint64_t index, struct slice message,
                      const struct effects *out)
{
    for (uint32_t at = node->account_sessions[account]; at;) {
        struct session *session = &node->sessions[at - 1];
        at = session->next_of_account;
        if (session->stream != STREAM_LIVE)
            continue;
        if (full(session)) {
            session->cursor = index - 1;
            set_stream(node, session, STREAM_BEHIND);
            continue;
        }
        session_send(node, session, message, out);
    }
}

void stream_record(struct node *node, uint32_t room, uint64_t seq, uint64_t deletes,
                   const struct wire_record *record, const struct effects *out)
{
    const struct chat_room *shown = chat_room(node->chat, room);
    uint64_t index = record->index;
    if (deletes)
        erase_recent(node, deletes);
    struct wire_record copy = *record;
    size_t capacity = NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES;
    uint32_t first = shown->direct ? shown->pair[0] : 0;
    size_t len = stream_encode_for(node, room, first, &copy, node->scratch, capacity);
    struct slice message =
        recent_push(node->recent, room, index, seq, (struct slice) { node->scratch, len });
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_room(node->chat, room, member)) != NULL) {
        if (!node->account_sessions[member->account] || !chat_was_member(member, index))
            continue;
        struct slice mine = message;
        if (shown->direct && member->account != first) {
            len = stream_encode_for(node, room, member->account, &copy, node->scratch, capacity);
            mine = (struct slice) { node->scratch, len };
        }
        send_live(node, member->account, index, mine, out);
    }
}

/* One record of the ring to one reader, if it is for this reader. */
static void send_recent(struct node *node, struct session *session,
                        const struct recent_record *recent, const struct effects *out)
{
    if (!chat_was_member(chat_membership(node->chat, session->account, recent->room),
                         recent->index))
        return;
    const struct chat_room *room = chat_room(node->chat, recent->room);
    struct slice message = recent->message;
    if (room->direct && session->account != room->pair[0]) {
        struct wire_record record;
        bool decoded = wire_decode_record(&record, message);
        CHECK(decoded);
        size_t len = stream_encode_for(node, recent->room, session->account, &record, node->scratch,
                                       NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES);
        message = (struct slice) { node->scratch, len };
    }
    session_send(node, session, message, out);
}

static void continue_recent(struct node *node, struct session *session, const struct effects *out)
{
    struct recent_record record;
    uint64_t position = 0;
    while ((position = recent_next(node->recent, position, session->cursor, &record)) != 0) {
        if (full(session))
            return;
        send_recent(node, session, &record, out);
        session->cursor = record.index;
    }
    session->cursor = node->applied;
    set_stream(node, session, STREAM_LIVE);
}

static const struct skip_told *skip_told_of(const struct session *session, uint32_t room)
{
    for (unsigned i = 0; i < NODE_SKIPS_TOLD; i++)
        if (session->told[i].room == room)
            return &session->told[i];
    return NULL;
}

/* What this reader may see of one room after its cursor. false: nothing. */
static bool range_of(struct node *node, const struct session *session,
                     const struct chat_membership *member, uint64_t target,
                     struct effect_range *range)
{
    const struct chat_room *room = chat_room(node->chat, member->room);
    if (room->last_index <= session->cursor)
        return false;
    *range = (struct effect_range) { .room = member->room,
                                     .after_index = session->cursor,
                                     .upto_index = target,
                                     .last_seq = room->last_seq };
    uint64_t since = member->earlier_count ? member->earlier[0].join_index : member->join_index;
    if (since > range->after_index + 1)
        range->after_index = since - 1;
    if (member->leave_index && member->leave_index < range->upto_index)
        range->upto_index = member->leave_index;
    if (range->after_index >= range->upto_index)
        return false;
    if (room->last_seq > node->options.catch_up)
        range->from_seq = room->last_seq - node->options.catch_up + 1;
    const struct skip_told *told = skip_told_of(session, member->room);
    if (told && told->upto_seq + 1 >= range->from_seq) {
        range->from_seq = told->upto_seq + 1;
        range->skip_told = true;
    }
    return true;
}

static void start_read(struct node *node, struct session *session, const struct effects *out)
{
    uint64_t target = node_settled(node);
    uint32_t count = 0;
    const struct chat_membership *member = NULL;
    while ((member = chat_next_of_account(node->chat, session->account, member)) != NULL &&
           count < NODE_RANGES)
        count += range_of(node, session, member, target, &node->ranges[count]);
    if (!count || target <= session->cursor) {
        if (target > session->cursor)
            session->cursor = target;
        return;
    }
    session->target = target;
    set_stream(node, session, STREAM_READING);
    node->reads_out++;
    uint64_t id = read_id(READ_FOR_STREAM, session->generation, session_number(node, session));
    /* Overtaken by retention, it is told so for each room before anything else. */
    uint32_t capacity = NODE_PAGE_BYTES;
    if (session->cursor + 1 < node->first)
        capacity += count * NODE_STORE_HEAD_BYTES;
    struct effect effect = { .kind = EFFECT_READ_POSTS,
                             .read = { .id = id,
                                       .capacity = capacity,
                                       .posts = { .ranges_count = count,
                                                  .ranges = node->ranges,
                                                  .max_records = UINT32_MAX } } };
    effect_emit(out, &effect);
}

static void continue_stream(struct node *node, struct session *session, const struct effects *out)
{
    CHECK(session->stream == STREAM_BEHIND);
    if (full(session))
        return;
    if (session->cursor < recent_floor(node->recent)) {
        if (node->reads_out >= NODE_READS)
            return;
        start_read(node, session, out);
        if (session->stream != STREAM_BEHIND)
            return;
    }
    if (session->cursor >= recent_floor(node->recent))
        continue_recent(node, session, out);
}

void stream_begin(struct node *node, struct session *session, uint64_t resume,
                  const struct effects *out)
{
    session->cursor = resume;
    set_stream(node, session, STREAM_BEHIND);
    /* Ahead of this node: the records up to there must not come again, so it waits until they were applied. */
    if (resume <= node->applied)
        continue_stream(node, session, out);
}

void stream_drained(struct node *node, struct session *session, const struct effects *out)
{
    session->unsent = 0;
    if (session->state == SESSION_CLIENT && session->held_upto != UINT64_MAX)
        held_show(node, session, out);
    if (session->state == SESSION_CLIENT && session->stream == STREAM_BEHIND &&
        session->cursor <= node->applied)
        continue_stream(node, session, out);
}

void stream_turn(struct node *node, const struct effects *out)
{
    uint32_t left = node->behind ? node->sessions_used : 0;
    for (; left && node->behind && node->reads_out < NODE_READS; left--) {
        if (node->behind_turn >= node->sessions_used)
            node->behind_turn = 0;
        struct session *session = &node->sessions[node->behind_turn++];
        if (session->state == SESSION_CLIENT && session->stream == STREAM_BEHIND &&
            session->cursor <= node->applied)
            continue_stream(node, session, out);
    }
}

void stream_closed(struct node *node, struct session *session)
{
    set_stream(node, session, STREAM_OFF);
}

/* Skipped: it can be paged. Truncated: it is not kept any more. */
static void send_left_out(struct node *node, struct session *session, enum wire_type type,
                          uint32_t room, uint64_t from, uint64_t to, const struct effects *out)
{
    uint8_t message[1 + 1 + LIMIT_ROOM_NAME + 16];
    uint8_t name[LIMIT_ROOM_NAME];
    size_t name_len = chat_room_name(node->chat, room, session->account, name);
    struct writer writer = writer_of(message, sizeof(message));
    write_u8(&writer, (uint8_t)type);
    write_slice8(&writer, name, name_len);
    write_u64(&writer, from);
    write_u64(&writer, to);
    CHECK(!writer.full);
    session_send(node, session, (struct slice) { message, writer_used(&writer) }, out);
}

static void send_skipped(struct node *node, struct session *session, uint32_t room, uint64_t from,
                         uint64_t to, const struct effects *out)
{
    send_left_out(node, session, WIRE_SKIPPED, room, from, to, out);
    unsigned at = 0; /* the room's own place, else a free one, else in turn */
    while (at < NODE_SKIPS_TOLD && session->told[at].room != room && session->told[at].room)
        at++;
    if (at == NODE_SKIPS_TOLD)
        at = session->told_next++ % NODE_SKIPS_TOLD;
    session->told[at] = (struct skip_told) { room, to };
}

/* The records that the store found: kind, room, seq, index, time, body (store.h). */
static void send_records(struct node *node, struct session *session, struct slice data,
                         const struct effects *out)
{
    struct reader reader = reader_of(data.data, data.len);
    while (reader_left(&reader)) {
        struct stored_record stored = stored_next(&reader);
        struct wire_record record;
        uint32_t room = stored.room;
        if (stored.kind == NODE_STORE_SKIPPED) {
            send_skipped(node, session, room, stored.seq, stored.index, out);
        } else if (stored.kind == NODE_STORE_TRUNCATED) {
            send_left_out(node, session, WIRE_TRUNCATED, room, stored.seq, stored.index, out);
        } else if (chat_was_member(chat_membership(node->chat, session->account, room),
                                   stored.index) &&
                   stream_record_of(node, &stored, &record)) {
            size_t len = stream_encode_for(node, room, session->account, &record, node->scratch,
                                           NODE_PAGE_BYTES + LIMIT_COMMAND_BYTES);
            session_send(node, session, (struct slice) { node->scratch, len }, out);
        }
    }
}

void stream_read_done(struct node *node, uint32_t connection, uint32_t generation,
                      const struct node_event *event, const struct effects *out)
{
    CHECK(node->reads_out > 0);
    node->reads_out--;
    struct session *session = session_if_same(node, connection, generation);
    if (!session)
        return;
    CHECK(session->stream == STREAM_READING);
    set_stream(node, session, STREAM_BEHIND);
    if (event->read.failed) {
        session_close(node, session, true, out); /* another node may be able to read it */
        return;
    }
    send_records(node, session, event->read.data, out);
    uint64_t upto = event->read.more ? event->read.last_index : session->target;
    if (upto > session->cursor)
        session->cursor = upto;
    continue_stream(node, session, out);
}
