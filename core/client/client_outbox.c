#include "core/client/client_private.h"

static const char fate_unknown[] =
    "it is not known whether this took place: the device's answers are gone";

static struct outbox_entry *entry_at(const struct client *client, uint32_t position)
{
    CHECK(position < client->count);
    uint64_t slot = (uint64_t)client->first + position;
    return &client->entries[slot % client->limits.outbox_entries];
}

static struct slice entry_id(const struct client *client, const struct outbox_entry *entry)
{
    return (struct slice) { client->outbox.base + entry->offset, entry->id_len };
}

static struct slice entry_body(const struct client *client, const struct outbox_entry *entry)
{
    return (struct slice) { client->outbox.base + entry->offset + entry->id_len, entry->body_len };
}

static struct outbox_answer *answer_of(struct client *client, uint64_t seq)
{
    return &client->window[seq % LIMIT_OUTSTANDING];
}

bool outbox_has_room(const struct client *client)
{
    return client->count < client->limits.outbox_entries &&
           client_ring_fits(&client->outbox, LIMIT_LINE_BYTES + LIMIT_COMMAND_BYTES);
}

static struct outbox_entry *add_entry(struct client *client, struct slice id, struct slice body)
{
    CHECK(client->count < client->limits.outbox_entries);
    CHECK(id.len + body.len <= LIMIT_LINE_BYTES + LIMIT_COMMAND_BYTES);
    uint32_t offset = client_ring_take(&client->outbox, (uint32_t)(id.len + body.len));
    if (id.len)
        memcpy(client->outbox.base + offset, id.data, id.len);
    if (body.len)
        memcpy(client->outbox.base + offset + id.len, body.data, body.len);
    client->count++;
    client->waiting++;
    struct outbox_entry *entry = entry_at(client, client->count - 1);
    *entry = (struct outbox_entry) {
        .offset = offset,
        .id_len = (uint32_t)id.len,
        .body_len = (uint32_t)body.len,
    };
    return entry;
}

/* What makes an entry a command or a refusal, from its body. */
static void classify_entry(struct client *client, struct outbox_entry *entry, uint64_t seq)
{
    struct slice body = entry_body(client, entry);
    CHECK(body.len >= 1);
    entry->seq = client->last_seq;
    if (seq == 0) {
        entry->refused = true;
        entry->code = body.data[0] < CODES ? body.data[0] : CODE_BAD_REQUEST;
        return;
    }
    CHECK(seq > client->last_seq);
    client->last_seq = seq;
    entry->seq = seq;
    struct command command = {
        .kind = body.data[0],
        .content = { body.data + 1, body.len - 1 },
    };
    entry->digest = command_digest(&command, client->crypto);
}

void outbox_start(struct client *client, const struct client_recovered *recovered)
{
    CHECK(recovered->entry_count <= client->limits.outbox_entries);
    CHECK(recovered->done_seq <= recovered->last_seq);
    client->done_seq = recovered->done_seq;
    client->last_seq = recovered->done_seq;
    for (uint32_t i = 0; i < recovered->entry_count; i++) {
        const struct client_entry *from = &recovered->entries[i];
        CHECK(from->number > client->last_number);
        CHECK(from->number <= recovered->last_number);
        struct outbox_entry *entry = add_entry(client, from->id, from->body);
        entry->number = from->number;
        client->last_number = from->number;
        classify_entry(client, entry, from->seq);
        /* It may have been; beyond the window it cannot. */
        entry->sent = !entry->refused && entry->seq - client->done_seq <= LIMIT_OUTSTANDING;
    }
    CHECK(client->last_seq <= recovered->last_seq);
    client->last_number = recovered->last_number;
    client->recovered_number = recovered->last_number;
    client->last_seq = recovered->last_seq;
    client->known_seq = recovered->last_seq;
}

/* --- Acks ------------------------------------------------------------------------------------ */

static void show_ack(const struct client *client, const struct outbox_entry *entry,
                     enum client_ack_status status, enum chat_code code, const char *message,
                     const struct outbox_answer *answer, const struct client_effects *out)
{
    struct client_output output = { .kind = CLIENT_OUT_ACK };
    output.ack.id = entry_id(client, entry);
    output.ack.status = status;
    output.ack.code = code;
    if (code != CODE_OK)
        output.ack.message = message ? message : code_message(code);
    output.ack.device_tag = client_tag(client);
    output.ack.device_seq = entry->refused ? 0 : entry->seq;
    struct slice body = entry_body(client, entry);
    if (status == CLIENT_REJECTED && entry->held && body.data[0] == COMMAND_POST)
        output.ack.draft = command_post_text((struct slice) { body.data + 1, body.len - 1 });
    if (status == CLIENT_COMMITTED) {
        CHECK(answer != NULL);
        output.ack.room = (struct slice) { answer->room, answer->room_len };
        output.ack.room_seq = answer->room_seq;
        output.ack.index = answer->index;
        output.ack.time_us = answer->time_us;
    }
    client_show(out, &output);
}

static void show_final(struct client *client, struct outbox_entry *entry,
                       const struct client_effects *out)
{
    CHECK(!entry->acked);
    entry->acked = true;
    client->waiting--;
    client->held -= entry->held;
    if (entry->refused) {
        show_ack(client, entry, CLIENT_REJECTED, (enum chat_code)entry->code, NULL, NULL, out);
        return;
    }
    const struct outbox_answer *answer = answer_of(client, entry->seq);
    CHECK(answer->seq == entry->seq);
    if (answer->code == CODE_OK)
        client_floor_raise(client, answer->index, out);
    show_ack(client, entry, answer->code == CODE_OK ? CLIENT_COMMITTED : CLIENT_REJECTED,
             answer->code, answer->message, answer, out);
}

/* Shows in order what is final. Behind what moves to a new device it waits for that: a DONE cannot
 * leave anything out, and a crash must not repeat more than it has to. */
static void settle(struct client *client, const struct client_effects *out)
{
    for (uint32_t i = 0; i < client->count; i++) {
        struct outbox_entry *entry = entry_at(client, i);
        if (entry->acked)
            continue;
        if (entry->moving || (!entry->refused && !entry->finished))
            break;
        show_final(client, entry, out);
    }
    struct client_effect done = { .kind = CLIENT_OUTBOX_DONE };
    bool any = false;
    while (client->count && entry_at(client, 0)->acked) {
        struct outbox_entry *entry = entry_at(client, 0);
        done.done.number = entry->number;
        done.done.seq = entry->seq;
        any = true;
        client_ring_give(&client->outbox, entry->offset, entry->id_len + entry->body_len);
        client->first = (client->first + 1) % client->limits.outbox_entries;
        client->count--;
        client->next -= client->next > 0;
    }
    if (any)
        client_emit(out, &done);
}

void outbox_saved(struct client *client, uint64_t seq)
{
    CHECK(seq <= client->last_seq);
    if (seq <= client->done_seq)
        return;
    client->done_seq = seq;
    /* A node without a leader holds a command only when it knows that nothing before it is open. */
    if (client->phase == PHASE_ONLINE && !client->quorum)
        client->next = 0;
}

/* --- Input ----------------------------------------------------------------------------------- */

void outbox_input(struct client *client, const struct client_op *op,
                  const struct client_effects *out)
{
    struct slice body;
    enum chat_code code = op_encode(client, op, &body);
    uint8_t refused = (uint8_t)code;
    if (code != CODE_OK)
        body = (struct slice) { &refused, 1 };
    struct outbox_entry *entry = add_entry(client, op->id, body);
    entry->number = ++client->last_number;
    uint64_t seq = code == CODE_OK ? client->last_seq + 1 : 0;
    classify_entry(client, entry, seq);
    struct client_effect put = { .kind = CLIENT_OUTBOX_PUT };
    put.put.number = entry->number;
    put.put.seq = seq;
    put.put.id = op->id;
    put.put.body = body;
    client_emit(out, &put);
    client->dirty = true;
    if (!entry->refused && client->phase != PHASE_ONLINE)
        show_ack(client, entry, CLIENT_QUEUED, CODE_OK, NULL, NULL, out);
}

/* --- Sending --------------------------------------------------------------------------------- */

/* `content` may be empty. */
static void send_command(struct client *client, uint8_t kind, uint64_t seq, uint64_t done,
                         struct slice content, const struct client_effects *out)
{
    CHECK(seq > done);
    CHECK(seq - done <= LIMIT_OUTSTANDING);
    uint8_t head[1 + COMMAND_HEAD_BYTES];
    struct writer writer = writer_of(head, sizeof head);
    write_u8(&writer, WIRE_COMMAND);
    write_u8(&writer, kind);
    write_u32(&writer, client->device);
    write_u64(&writer, seq);
    write_u8(&writer, (uint8_t)(seq - done));
    write_u32(&writer, 0); /* account and tag are the node's to stamp */
    write_u64(&writer, 0);
    CHECK(!writer.full);
    struct client_effect effect = { .kind = CLIENT_TRANSMIT };
    effect.parts[0] = (struct slice) { head, sizeof head };
    effect.parts[1] = content;
    client_emit(out, &effect);
}

static void send_entry(struct client *client, struct outbox_entry *entry,
                       const struct client_effects *out)
{
    struct slice body = entry_body(client, entry);
    entry->sent = true;
    if (entry->seq > client->known_seq)
        client->known_seq = entry->seq;
    send_command(client, body.data[0], entry->seq, client->done_seq,
                 (struct slice) { body.data + 1, body.len - 1 }, out);
}

/* The next VOIDs, as many as the window takes. They go alone: a command that says that they are done would make the node
 * drop them. */
static void send_lost(struct client *client, const struct client_effects *out)
{
    CHECK(client->lost_next >= 1 && client->lost_next <= client->done_seq);
    uint64_t done = client->lost_next - 1;
    client->lost_last = done + LIMIT_OUTSTANDING;
    if (client->lost_last > client->done_seq)
        client->lost_last = client->done_seq;
    for (uint64_t seq = client->lost_next; seq <= client->lost_last; seq++)
        send_command(client, COMMAND_VOID, seq, done, (struct slice) { NULL, 0 }, out);
}

static void send_window(struct client *client, const struct client_effects *out)
{
    while (client->next < client->count && !client->lost_next) {
        struct outbox_entry *entry = entry_at(client, client->next);
        if (!entry->refused && !entry->finished && !entry->moving && !entry->held_here) {
            if (client->renew && !entry->sent)
                return;
            if (entry->seq - client->done_seq > LIMIT_OUTSTANDING)
                return;
            send_entry(client, entry, out);
        }
        client->next++;
    }
}

/* Nothing of the old device is open any more: what is left waits for the new one. */
static bool may_renew(const struct client *client)
{
    for (uint32_t i = 0; i < client->count; i++) {
        const struct outbox_entry *entry = entry_at(client, i);
        if (entry->sent && !entry->finished && !entry->moving)
            return false;
    }
    return true;
}

static void retry_later(struct client *client)
{
    uint64_t wait = client->retry_us_now ? 2 * client->retry_us_now : CLIENT_RETRY_FIRST_US;
    client->retry_us_now = wait > CLIENT_RETRY_LAST_US ? CLIENT_RETRY_LAST_US : wait;
    client->retry_at = client->now.mono_us + client->retry_us_now;
}

void outbox_pump(struct client *client, const struct client_effects *out)
{
    settle(client, out);
    if (client->phase != PHASE_ONLINE)
        return;
    if (client->lost_next && client->retry_at == 0)
        retry_later(client); /* a node may drop them without a word */
    if (client->retry_at == 0)
        send_window(client, out);
    if (client->renew && may_renew(client))
        login_renew(client, out);
}

/* A new connection: everything that has no final answer goes again, in order. `last` beyond all
 * that we ever gave out: our state is an old copy, and new seqs are not free. */
void outbox_online(struct client *client, uint64_t last)
{
    client->next = 0;
    client->retry_at = 0;
    client->retry_us_now = 0;
    client->nacked = 0;
    for (uint32_t i = 0; i < client->count; i++)
        entry_at(client, i)->held_here = false;
    client->lost_next = 0;
    if (last <= client->known_seq)
        return;
    client->renew = true;
    for (uint32_t i = 0; i < client->count; i++) {
        struct outbox_entry *entry = entry_at(client, i);
        entry->moving |= !entry->sent && !entry->refused;
    }
}

bool outbox_unsure(const struct client *client)
{
    for (uint32_t i = 0; i < client->count; i++) {
        const struct outbox_entry *entry = entry_at(client, i);
        if (entry->number > client->recovered_number)
            return false;
        if (entry->sent && !entry->finished)
            return true;
    }
    return false;
}

/* --- Answers --------------------------------------------------------------------------------- */

/* The position of the first command of at least this seq that has no final answer. */
static uint32_t find_open(const struct client *client, uint64_t seq)
{
    uint32_t i = 0;
    for (; i < client->count; i++) {
        const struct outbox_entry *entry = entry_at(client, i);
        if (!entry->refused && !entry->finished && !entry->moving && entry->seq >= seq)
            break;
    }
    return i;
}

static void not_taken(struct client *client, uint32_t position, enum chat_code code,
                      const struct client_effects *out)
{
    struct outbox_entry *entry = entry_at(client, position);
    if (entry->last_code != (uint8_t)code) {
        entry->last_code = (uint8_t)code;
        show_ack(client, entry, CLIENT_QUEUED, code, NULL, NULL, out);
    }
    if (position < client->next)
        client->next = position;
    if (client->retry_at == 0)
        retry_later(client);
}

static void keep_answer(struct client *client, struct outbox_entry *entry,
                        const struct wire_answer *answer)
{
    struct outbox_answer *kept = answer_of(client, entry->seq);
    *kept = (struct outbox_answer) {
        .seq = entry->seq,
        .room_seq = answer->room_seq,
        .index = answer->index,
        .time_us = answer->time_us,
        .code = answer->code,
        .room_len = (uint8_t)answer->room.len,
    };
    if (answer->room.len)
        memcpy(kept->room, answer->room.data, answer->room.len);
    if (answer->code == CODE_OK && answer->index == 0) {
        kept->code = CODE_CONFLICT;
        kept->message = fate_unknown;
    }
    entry->finished = true;
    held_ended(client, client_tag(client), entry->seq);
}

/* The VOIDs that were sent are given up for good, or held before what comes next. */
static void lost_taken(struct client *client, const struct client_effects *out)
{
    client->retry_at = 0;
    client->retry_us_now = 0;
    client->lost_next = client->lost_last < client->done_seq ? client->lost_last + 1 : 0;
    if (client->lost_next)
        send_lost(client, out);
}

static void lost_answered(struct client *client, const struct wire_answer *answer,
                          const struct client_effects *out)
{
    if (!code_is_final(answer->code)) {
        retry_later(client);
        return;
    }
    if (answer->seq == client->lost_last)
        lost_taken(client, out);
}

bool outbox_answer(struct client *client, struct slice message, const struct client_effects *out)
{
    struct wire_answer answer;
    if (!wire_decode_answer(&answer, message) || answer.room.len > LIMIT_ROOM_NAME)
        return false;
    if (client->lost_next && answer.seq >= client->lost_next && answer.seq <= client->lost_last) {
        lost_answered(client, &answer, out);
        return true;
    }
    uint32_t position = find_open(client, answer.seq);
    if (position == client->count)
        return true;
    struct outbox_entry *entry = entry_at(client, position);
    if (entry->seq != answer.seq)
        return true; /* answered before */
    if (!entry->sent || entry->seq - client->done_seq > LIMIT_OUTSTANDING)
        return true; /* never asked */
    if (!code_is_final(answer.code)) {
        not_taken(client, position, answer.code, out);
        return true;
    }
    client->nacked = 0;
    if (client->retry_at)
        client->next = 0; /* what waited to go again goes now */
    client->retry_at = 0;
    client->retry_us_now = 0;
    bool forgotten = answer.code == CODE_OK && answer.index == 0;
    if (answer.code == CODE_CONFLICT || (!forgotten && answer.digest != entry->digest)) {
        entry->moving = true;
        client->renew = true;
        return true;
    }
    keep_answer(client, entry, &answer);
    return true;
}

void outbox_held(struct client *client, uint64_t seq, uint64_t digest,
                 const struct client_effects *out)
{
    if (client->lost_next && seq == client->lost_last) {
        lost_taken(client, out);
        return;
    }
    uint32_t position = find_open(client, seq);
    if (position == client->count)
        return;
    struct outbox_entry *entry = entry_at(client, position);
    if (entry->seq != seq || entry->digest != digest || !entry->sent)
        return;
    entry->held_here = true;
    if (entry->held)
        return;
    entry->held = true;
    client->held++;
    show_ack(client, entry, CLIENT_HELD, CODE_OK, NULL, NULL, out);
}

/* It lacks what was answered long ago: the cluster was restored from before that. What it took is lost there, and the
 * seqs are given up, so that what waits can follow. Where nothing was lost (a deposed leader that lags), a VOID of an
 * answered seq changes nothing. */
static void give_up_lost(struct client *client, uint64_t expected, const struct client_effects *out)
{
    client->next = 0;
    if (client->lost_next == expected)
        return; /* they are out, and go again in time */
    client->lost_next = expected;
    send_lost(client, out);
}

/* The first NACK rewinds at once; its companions, sent before we heard, must not do so again. */
void outbox_nack(struct client *client, uint64_t expected, const struct client_effects *out)
{
    if (expected && expected <= client->done_seq) {
        give_up_lost(client, expected, out);
        return;
    }
    if (client->lost_next) { /* nothing of that is lacked any more */
        client->lost_next = 0;
        client->retry_us_now = 0;
        retry_later(client); /* not at once: two that contradict each other would keep it busy */
        return;
    }
    uint32_t position = find_open(client, expected);
    if (position >= client->next)
        return;
    if (client->nacked == expected + 1) {
        if (client->retry_at == 0)
            retry_later(client);
        return;
    }
    client->nacked = expected + 1;
    client->next = position;
}

/* --- Time ------------------------------------------------------------------------------------ */

static uint64_t sync_at(const struct client *client)
{
    if (!client->dirty || client->phase == PHASE_ONLINE)
        return UINT64_MAX;
    uint64_t since =
        client->offline_since > client->synced_at ? client->offline_since : client->synced_at;
    return since + CLIENT_S;
}

void outbox_tick(struct client *client, const struct client_effects *out)
{
    if (client->retry_at != 0 && client->now.mono_us >= client->retry_at) {
        client->retry_at = 0;
        client->next = 0;
        if (client->lost_next && client->phase == PHASE_ONLINE)
            send_lost(client, out);
    }
    if (client->now.mono_us >= sync_at(client)) {
        client->dirty = false;
        client->synced_at = client->now.mono_us;
        client_emit(out, &(struct client_effect) { .kind = CLIENT_OUTBOX_SYNC });
    }
}

uint64_t outbox_wake_at(const struct client *client)
{
    bool waits = client->phase == PHASE_ONLINE && client->retry_at != 0;
    return client_sooner(waits ? client->retry_at : UINT64_MAX, sync_at(client));
}

/* --- Another device -------------------------------------------------------------------------- */

void outbox_revoked(struct client *client, const struct client_effects *out)
{
    for (uint32_t i = 0; i < client->count; i++) {
        struct outbox_entry *entry = entry_at(client, i);
        if (entry->refused || entry->acked || entry->moving)
            continue;
        if (!entry->sent) {
            entry->moving = true;
            continue;
        }
        entry->acked = true;
        entry->finished = true;
        client->waiting--;
        client->held -= entry->held;
        show_ack(client, entry, CLIENT_REJECTED, CODE_REVOKED, fate_unknown, NULL, out);
    }
    settle(client, out);
}

/* Shows what the old device had finished, and puts everything else again, under the new device's
 * seqs. */
void outbox_move(struct client *client, const struct client_effects *out)
{
    for (uint32_t i = 0; i < client->count; i++) {
        struct outbox_entry *entry = entry_at(client, i);
        if (entry->finished && !entry->acked)
            show_final(client, entry, out);
    }
    client->last_seq = 0;
    client->known_seq = 0;
    client->done_seq = 0;
    client->next = 0;
    client->renew = false;
    memset(client->window, 0, sizeof client->window);
    for (uint32_t i = 0; i < client->count; i++) {
        struct outbox_entry *entry = entry_at(client, i);
        entry->seq = client->last_seq;
        if (entry->acked) {
            entry->number = client->last_number;
            continue;
        }
        entry->number = ++client->last_number;
        if (!entry->refused)
            entry->seq = ++client->last_seq;
        entry->sent = false;
        entry->moving = false;
        client->held -= entry->held;
        entry->held = entry->held_here = false;
        struct client_effect put = { .kind = CLIENT_OUTBOX_PUT };
        put.put.number = entry->number;
        put.put.seq = entry->refused ? 0 : entry->seq;
        put.put.id = entry_id(client, entry);
        put.put.body = entry_body(client, entry);
        client_emit(out, &put);
    }
    client->dirty = false;
    client_emit(out, &(struct client_effect) { .kind = CLIENT_OUTBOX_SYNC });
}
