/* The clients' side, judged as it happens: what was acknowledged and shown to anybody may never be
 * contradicted. What the final history says about it is verdict.c's. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

void oracle_start(struct world *world)
{
    struct oracle *oracle = &world->oracle;
    memset(oracle, 0, sizeof *oracle);
    oracle->ops = sim_must(calloc(ORACLE_OPS, sizeof *oracle->ops));
    oracle->seen = sim_must(calloc(SIM_INDEXES, sizeof *oracle->seen));
    oracle->seen_text = sim_must(calloc(SIM_INDEXES, sizeof *oracle->seen_text));
    oracle->seen_deleted = sim_must(calloc(SIM_INDEXES, sizeof *oracle->seen_deleted));
}

void oracle_free(struct world *world)
{
    struct oracle *oracle = &world->oracle;
    free(oracle->ops);
    free(oracle->seen);
    free(oracle->seen_text);
    free(oracle->seen_deleted);
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        free(oracle->clients[i].shown);
        free(oracle->clients[i].skips);
    }
}

static struct oracle_client *mine(struct sim_client *client)
{
    return &client->world->oracle.clients[client->number];
}

uint32_t oracle_issue(struct sim_client *client, enum client_op_kind kind, uint8_t room)
{
    struct oracle *oracle = &client->world->oracle;
    CHECK(oracle->ops_count < ORACLE_OPS);
    oracle->ops[oracle->ops_count] =
        (struct oracle_op) { .client = client->number, .kind = (uint8_t)kind, .room = room };
    return oracle->ops_count++;
}

uint32_t oracle_ask(struct sim_client *client, uint8_t room, bool newest)
{
    struct oracle_client *me = mine(client);
    uint32_t id = ++me->next_query;
    struct oracle_query *query = &me->queries[id % ORACLE_QUERIES];
    *query = (struct oracle_query) { .used = true, .id = id, .room = room };
    if (newest && room < ORACLE_ROOMS) {
        query->at_least = me->acked_seq[room];
        query->index = me->acked_index[room];
    }
    return id;
}

void oracle_put(struct sim_client *client, struct slice id)
{
    uint32_t number = oracle_op_of(id);
    CHECK(number != 0);
    client->world->oracle.ops[number - 1].put = true;
}

bool oracle_settled(const struct world *world)
{
    for (uint32_t i = 0; i < world->oracle.ops_count; i++)
        if (world->oracle.ops[i].put && world->oracle.ops[i].fate == FATE_OPEN)
            return false;
    return true;
}

uint32_t oracle_op_of(struct slice text)
{
    uint32_t number = 0;
    size_t at = 1;
    if (text.len < 2 || text.data[0] != 'n')
        return 0;
    for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9'; at++)
        number = number * 10 + (uint32_t)(text.data[at] - '0');
    return at > 1 ? number + 1 : 0;
}

uint64_t oracle_room(struct slice room, struct slice user)
{
    if (room.len == 0 || room.data[0] != '@')
        return sim_hash(room.data, room.len, 1);
    uint64_t a = sim_hash(room.data + 1, room.len - 1, 2);
    uint64_t b = sim_hash(user.data, user.len, 2);
    return a < b ? sim_mix(a, b) : sim_mix(b, a);
}

/* The clients' restart shows again what was shown after the cursor that it remembered. */
void oracle_restarted(struct sim_client *client)
{
    struct oracle_client *me = mine(client);
    while (me->count && me->shown[me->count - 1].index > client->saved.cursor)
        me->count--;
    memset(me->queries, 0, sizeof me->queries);
    me->gone_count = 0;
    held_oracle_restarted(client, true);
    me->acked_op = 0;
}

/* An old copy of its folder: what it put in the outbox since is forgotten, answered or not. */
void oracle_went_back(struct sim_client *client)
{
    struct oracle *oracle = &client->world->oracle;
    for (uint32_t i = 0; i < oracle->ops_count; i++)
        if (oracle->ops[i].client == client->number && oracle->ops[i].fate == FATE_OPEN)
            oracle->ops[i].put = false;
    for (const struct saved_entry *entry = client->saved.entries; entry; entry = entry->next)
        oracle_put(client, (struct slice) { entry->data, entry->id_len });
    memset(mine(client)->acked_seq, 0, sizeof mine(client)->acked_seq);
    held_oracle_restarted(client, false);
    mine(client)->gone_count = 0;
}

/* Its own newest, mostly; or anybody's, or none's. */
uint64_t oracle_target(struct sim_client *client, uint8_t room)
{
    struct random *random = &client->world->random;
    const struct oracle_client *me = mine(client);
    uint64_t newest = room < ORACLE_ROOMS ? me->acked_seq[room] : 0;
    if (newest && random_below(random, 3))
        return newest;
    return random_below(random, newest + 4);
}

/* --- records -----------------------------------------------------------------------------------*/

static uint64_t content_of(const struct wire_record *record, uint64_t room)
{
    uint64_t hash = sim_mix(room, record->seq << 8 | record->kind);
    hash = sim_mix(hash, record->time_us);
    hash = sim_mix(hash, record->sent_us ^ record->reply_to ^ record->reply_tag);
    hash = sim_mix(hash, record->device_tag);
    hash = sim_mix(hash, record->device_seq);
    return sim_hash(record->from.data, record->from.len, hash);
}

/* A post keeps its text until it is deleted, and has none after. */
static void seen_text(struct sim_client *client, const struct wire_record *record)
{
    struct world *world = client->world;
    struct oracle *oracle = &world->oracle;
    if (record->flags & RECORD_DELETED) {
        if (record->kind >= RECORD_JOIN || record->text.len)
            sim_fail(world, "client %u: index %" PRIu64 " is shown as deleted, with its text",
                     client->number, record->index);
        oracle->seen_deleted[record->index] = true;
        world->report->branches[BRANCH_SHOWN_DELETED]++;
        return;
    }
    uint64_t text = sim_hash(record->text.data, record->text.len, 5) | 1;
    uint64_t *known = &oracle->seen_text[record->index];
    if (*known == 0)
        *known = text;
    if (*known != text)
        sim_fail(world, "client %u is shown another text at index %" PRIu64 " ('%.*s')",
                 client->number, record->index, (int)record->text.len,
                 (const char *)record->text.data);
}

static void seen(struct sim_client *client, const struct wire_record *record, uint64_t room)
{
    struct world *world = client->world;
    uint64_t content = content_of(record, room) | 1;
    if (record->index == 0 || record->index >= SIM_INDEXES)
        sim_fail(world, "client %u is shown index %" PRIu64, client->number, record->index);
    uint64_t *known = &world->oracle.seen[record->index];
    if (*known == 0)
        *known = content;
    if (*known != content)
        sim_fail(world,
                 "client %u is shown another record at index %" PRIu64 " (%.*s seq %" PRIu64
                 " '%.*s') than was shown before",
                 client->number, record->index, (int)record->room.len,
                 (const char *)record->room.data, record->seq, (int)record->text.len,
                 (const char *)record->text.data);
    seen_text(client, record);
}

static void record(struct sim_client *client, const struct wire_record *record)
{
    struct world *world = client->world;
    struct oracle_client *me = mine(client);
    uint64_t room = oracle_room(record->room, (struct slice) { client->name, client->name_len });
    world->report->records++;
    SAY(world, "client %u: is shown index %" PRIu64 ", %.*s seq %" PRIu64 ", kind %u",
        client->number, record->index, (int)record->room.len, (const char *)record->room.data,
        record->seq, record->kind);
    if (me->count && record->index <= me->shown[me->count - 1].index)
        sim_fail(world, "client %u: its stream goes back from index %" PRIu64 " to %" PRIu64,
                 client->number, me->shown[me->count - 1].index, record->index);
    seen(client, record, room);
    held_oracle_record(client, record);
    if (me->count == me->capacity) {
        me->capacity = me->capacity ? me->capacity * 2 : 1024;
        me->shown = sim_must(realloc(me->shown, me->capacity * sizeof *me->shown));
    }
    me->shown[me->count++] = (struct oracle_shown) {
        .uid = { .tag = record->device_tag, .seq = record->device_seq },
        .index = record->index,
        .seq = record->seq,
        .room = room,
        .op = record->flags & RECORD_DELETED ? ORACLE_DELETED
              : record->kind < RECORD_JOIN   ? oracle_op_of(record->text)
                                             : 0,
    };
}

static void skipped(struct sim_client *client, const struct client_output *output)
{
    struct oracle_client *me = mine(client);
    if (me->skips_count == me->skips_capacity) {
        me->skips_capacity = me->skips_capacity ? me->skips_capacity * 2 : 16;
        me->skips = sim_must(realloc(me->skips, me->skips_capacity * sizeof *me->skips));
    }
    struct slice user = { client->name, client->name_len };
    me->skips[me->skips_count++] =
        (struct oracle_skip) { oracle_room(output->skipped.room, user), output->skipped.from,
                               output->skipped.to };
    held_oracle_skipped(client, me->skips[me->skips_count - 1].room);
    SAY(client->world, "client %u: room %.*s: not shown, %" PRIu64 " to %" PRIu64 "%s",
        client->number, (int)output->skipped.room.len, (const char *)output->skipped.room.data,
        output->skipped.from, output->skipped.to,
        output->kind == CLIENT_OUT_SKIPPED ? "" : ": not kept");
    client->world->report
        ->branches[output->kind == CLIENT_OUT_SKIPPED ? BRANCH_SKIPPED : BRANCH_TRUNCATION_TOLD]++;
}

/* --- acks --------------------------------------------------------------------------------------*/

/* Whatever this client asks from now on knows it. */
static void deleted(struct sim_client *client, const struct oracle_op *op)
{
    struct oracle_client *me = mine(client);
    client->world->report->branches[BRANCH_DELETED]++;
    if (me->gone_count < ORACLE_GONE)
        me->gone[me->gone_count++] = (struct oracle_gone) { op->room, op->target, me->next_query };
}

static bool is_gone(const struct oracle_client *me, const struct oracle_query *query, uint64_t seq)
{
    for (uint32_t i = 0; i < me->gone_count; i++)
        if (me->gone[i].room == query->room && me->gone[i].seq == seq &&
            query->id > me->gone[i].query)
            return true;
    return false;
}

static void ack(struct sim_client *client, const struct client_output *output)
{
    struct world *world = client->world;
    struct oracle_client *me = mine(client);
    uint32_t number = oracle_op_of(output->ack.id);
    if (number == 0 || number > world->oracle.ops_count)
        sim_fail(world, "client %u: an ack of an id that was never given", client->number);
    struct oracle_op *op = &world->oracle.ops[number - 1];
    if (op->client != client->number)
        sim_fail(world, "client %u: an ack of client %u's id", client->number, op->client);
    if (output->ack.status == CLIENT_HELD) {
        SAY(world, "client %u: n%u is held", client->number, number - 1);
        world->report->branches[BRANCH_HELD]++;
        if (op->held_boots == client->boots || op->fate != FATE_OPEN)
            if (!client->went_back && op->boots == client->boots)
                sim_fail(world, "client %u: n%u is held again, or after its end", client->number,
                         number - 1);
        op->held_boots = client->boots;
    }
    if (output->ack.status == CLIENT_QUEUED || output->ack.status == CLIENT_HELD)
        return;
    bool committed = output->ack.status == CLIENT_COMMITTED;
    SAY(world, "client %u: n%u is %s, code %d, room seq %" PRIu64 ", index %" PRIu64,
        client->number, number - 1, committed ? "committed" : "rejected", (int)output->ack.code,
        output->ack.room_seq, output->ack.index);
    if (number <= me->acked_op && !client->went_back)
        sim_fail(world, "client %u: n%u is acknowledged after n%u", client->number, number - 1,
                 me->acked_op - 1);
    me->acked_op = number;
    enum op_fate fate = committed ? FATE_COMMITTED : FATE_REJECTED;
    if (op->fate != FATE_OPEN) {
        bool same = op->fate == fate && op->code == output->ack.code &&
                    op->room_seq == output->ack.room_seq && op->index == output->ack.index;
        if (op->boots == client->boots)
            sim_fail(world, "client %u: n%u has two final acks", client->number, number - 1);
        if (!same && !client->went_back)
            sim_fail(world, "client %u: n%u has two different final acks", client->number,
                     number - 1);
        world->report->branches[BRANCH_REPEATED_ACK]++;
        return;
    }
    op->fate = fate;
    op->code = output->ack.code;
    op->boots = client->boots;
    op->room_seq = output->ack.room_seq;
    op->index = output->ack.index;
    op->time_us = output->ack.time_us;
    world->oracle.acknowledged++;
    world->report->acknowledged++;
    if (!committed)
        world->report->branches[BRANCH_REJECTED]++;
    bool post = op->kind == CLIENT_SEND || op->kind == CLIENT_ME;
    if (committed && op->kind == CLIENT_DELETE)
        deleted(client, op);
    if (committed && post) {
        if (op->room_seq == 0 || op->index == 0)
            sim_fail(world, "client %u: n%u is committed at no place", client->number, number - 1);
        if (op->room_seq <= me->acked_seq[op->room] && !client->went_back)
            sim_fail(world, "client %u: n%u got seq %" PRIu64 " after %" PRIu64, client->number,
                     number - 1, op->room_seq, me->acked_seq[op->room]);
        me->acked_seq[op->room] = op->room_seq;
        me->acked_index[op->room] = op->index;
    }
}

/* --- reads -------------------------------------------------------------------------------------*/

/* Retention took it on some node: a room whose newest post is gone has none. */
static bool was_dropped(const struct world *world, uint64_t index)
{
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        if (index < world->nodes[slot].first)
            return true;
    return false;
}

static void history(struct sim_client *client, const struct oracle_query *query,
                    const struct wire_result *result)
{
    struct world *world = client->world;
    struct slice user = { client->name, client->name_len };
    struct reader reader = reader_of(result->rows.data, result->rows.len);
    uint64_t last = 0;
    while (reader_left(&reader)) {
        struct wire_record row;
        if (!wire_decode_record(&row, read_slice32(&reader)))
            sim_fail(world, "client %u: a row of history that cannot be read", client->number);
        if (last && row.seq != last + 1)
            sim_fail(world, "client %u: history jumps from seq %" PRIu64 " to %" PRIu64,
                     client->number, last, row.seq);
        last = row.seq;
        seen(client, &row, oracle_room(row.room, user));
        if (!(row.flags & RECORD_DELETED) && !(result->flags & RESULT_STALE) &&
            is_gone(mine(client), query, row.seq))
            sim_fail(world,
                     "client %u: history of room %u shows seq %" PRIu64
                     ", which was acknowledged to it as deleted before",
                     client->number, query->room, row.seq);
    }
    world->report->branches[BRANCH_HISTORY]++;
    if (result->flags & RESULT_STALE)
        world->report->branches[BRANCH_STALE]++;
    else if (last < query->at_least && !(last == 0 && was_dropped(world, query->index)))
        sim_fail(world,
                 "client %u: history of room %u ends at seq %" PRIu64 ", but %" PRIu64
                 " was acknowledged to it before",
                 client->number, query->room, last, query->at_least);
}

static void result(struct sim_client *client, const struct client_output *output)
{
    struct oracle_client *me = mine(client);
    uint32_t id = oracle_op_of(output->result.id);
    struct oracle_query *query = &me->queries[(id - 1) % ORACLE_QUERIES];
    if (id == 0 || !query->used || query->id != id - 1)
        sim_fail(client->world, "client %u: a result that nobody asked for", client->number);
    query->used = false;
    SAY(client->world, "client %u: result of query n%u, code %d, flags %u", client->number, id - 1,
        (int)output->result.result->code, output->result.result->flags);
    if (output->result.result->code == CODE_OK && output->result.result->kind == QUERY_HISTORY)
        history(client, query, output->result.result);
}

static void error(struct sim_client *client, const struct client_output *output)
{
    struct oracle_client *me = mine(client);
    uint32_t id = output->error.has_id ? oracle_op_of(output->error.id) : 0;
    if (id == 0)
        sim_fail(client->world, "client %u: error %d: %s", client->number, (int)output->error.code,
                 output->error.message);
    struct oracle_query *query = &me->queries[(id - 1) % ORACLE_QUERIES];
    if (!query->used || query->id != id - 1)
        sim_fail(client->world, "client %u: a refusal of what nobody asked", client->number);
    query->used = false;
}

void oracle_output(struct sim_client *client, const struct client_output *output)
{
    switch (output->kind) {
    case CLIENT_OUT_ACK:
        ack(client, output);
        break;
    case CLIENT_OUT_RECORD:
        record(client, output->record);
        break;
    case CLIENT_OUT_RESULT:
        result(client, output);
        break;
    case CLIENT_OUT_ERROR:
        error(client, output);
        break;
    case CLIENT_OUT_SKIPPED:
    case CLIENT_OUT_TRUNCATED:
        skipped(client, output);
        break;
    case CLIENT_OUT_HELD:
        held_oracle_shown(client, output->record);
        break;
    case CLIENT_OUT_RETRACT:
        held_oracle_retract(client, output->retract.device_tag, output->retract.device_seq);
        break;
    case CLIENT_OUT_READY:
        SAY(client->world, "client %u: ready on node %u", client->number,
            output->ready.ready->node);
        client->world->report->branches[BRANCH_RECONNECT] += output->ready.resumed;
        break;
    case CLIENT_OUT_OFFLINE:
        SAY(client->world, "client %u: offline: %s", client->number, output->offline.reason);
        held_oracle_left(client);
        break;
    case CLIENT_OUT_CLUSTER:
        break;
    }
}
