/* Held posts, judged: a node that said `held` has it on its disk, whatever dies, until the
 * replicated device is past it; and who was shown one is shown its end.
 *
 * The log thread's part of holding is here, too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { HOLD_OPERATIONS = 4 };

/* --- what a node promised ------------------------------------------------------------------------*/

static bool same_promise(const struct held_promise *a, const struct held_promise *b)
{
    return a->device == b->device && a->seq == b->seq && a->digest == b->digest;
}

static void promise(struct sim_node *node, struct slice body, bool durable)
{
    struct command command;
    if (!command_decode(&command, body))
        sim_fail(node->world, "node %u: holds what is no command", node->slot);
    if (command.kind < COMMAND_DEVICE_KINDS)
        return;
    struct held_promise made = { .device = command.device,
                                 .seq = command.seq,
                                 .digest = command_digest(&command, &crypto_sim),
                                 .durable = durable };
    for (uint32_t i = 0; i < node->promises_count; i++)
        if (same_promise(&node->promises[i], &made)) {
            node->promises[i].durable |= durable;
            return;
        }
    node->promises =
        sim_must(realloc(node->promises, (node->promises_count + 1) * sizeof *node->promises));
    node->promises[node->promises_count++] = made;
}

static bool is_resolved(const struct sim_node *node, const struct held_promise *made)
{
    struct chat *chat = (struct chat *)(uintptr_t)node_chat(node->node);
    const struct chat_device *device = chat_device(chat, made->device);
    return device && (device->last >= made->seq || !device->account);
}

static uint32_t open_promises(const struct sim_node *node)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < node->promises_count; i++)
        open += !is_resolved(node, &node->promises[i]);
    return open;
}

void held_forget_promises(struct sim_node *node)
{
    free(node->promises);
    node->promises = NULL;
    node->promises_count = 0;
}

/* Sends `held` only for what is durable here. */
void held_told(struct sim_node *node, struct slice message)
{
    uint64_t seq = bytes_get_u64(message.data + 1);
    uint64_t digest = bytes_get_u64(message.data + 9);
    for (uint32_t i = 0; i < node->promises_count; i++)
        if (node->promises[i].seq == seq && node->promises[i].digest == digest &&
            node->promises[i].durable)
            return;
    if (seq)
        sim_fail(node->world,
                 "node %u: says that it holds seq %" PRIu64 ", which is not on its disk",
                 node->slot, seq);
}

void held_recovered(struct sim_node *node, const struct store_recovery *recovery)
{
    struct held_promise *before = node->promises;
    uint32_t count = node->promises_count;
    node->promises = NULL;
    node->promises_count = 0;
    if (recovery->held.rotten)
        sim_fail(node->world, "node %u: a crash alone damaged its held log: %s", node->slot,
                 recovery->held.what);
    struct reader reader = reader_of(recovery->held.records.data, recovery->held.records.len);
    while (reader_left(&reader))
        promise(node, read_slice32(&reader), true);
    for (uint32_t i = 0; i < count; i++) {
        bool there = !before[i].durable || node->interrupted_discard;
        for (uint32_t k = 0; k < node->promises_count && !there; k++)
            there = same_promise(&before[i], &node->promises[k]);
        if (!there)
            sim_fail(node->world, "node %u: lost what it held, device %u seq %" PRIu64, node->slot,
                     before[i].device, before[i].seq);
    }
    free(before);
    node->interrupted_discard = false;
    node->held_files = recovery->held.files > 0;
}

void held_started(struct sim_node *node)
{
    uint32_t open = open_promises(node);
    if (node_held(node->node) < open)
        sim_fail(node->world, "node %u: %u are held on its disk and it knows of %" PRIu64,
                 node->slot, open, node_held(node->node));
    node->world->report->branches[BRANCH_HELD_SURVIVED] += open > 0;
}

/* --- the log thread ------------------------------------------------------------------------------*/

void held_begin(struct sim_node *node, const struct effect *effect, uint64_t time_us)
{
    struct world *world = node->world;
    if (node->hold_out)
        sim_fail(world, "node %u: holds while a hold is out", node->slot);
    if (effect->hold.discard && open_promises(node))
        sim_fail(world, "node %u: forgets what it holds while %u are open", node->slot,
                 open_promises(node));
    node->hold_out = true;
    node->hold = effect->hold;
    world_plan(world, HAPPEN_HOLD, world->now + time_us, node->place, 0, node->epoch);
}

static void each_body(struct sim_node *node, bool durable)
{
    struct entry entry;
    struct entry_cursor cursor = { 0 };
    struct slice body;
    if (entry_parse(&entry, &crypto_sim, NULL, node->hold.entry.data, node->hold.entry.len) !=
        ENTRY_WHOLE)
        sim_fail(node->world, "node %u: what it holds is no entry", node->slot);
    while (entry_next(&entry, &cursor, &body))
        promise(node, body, durable);
}

static enum ft_error do_hold(struct sim_node *node)
{
    struct store_hold hold = { .number = node->hold.number,
                               .discard = node->hold.discard,
                               .entry = node->hold.entry };
    return store_hold(node->store, &hold);
}

void held_done_on_disk(struct sim_node *node)
{
    struct world *world = node->world;
    if (node->fail_flush) {
        node->fail_flush = false;
        sim_disk_fail_sync(node->disk);
    }
    enum ft_error error = do_hold(node);
    if (error && error != FT_ERROR_SPACE) {
        SAY(world, "node %u: holding failed: %d", node->slot, (int)error);
        node->hold_out = false;
        node->interrupted_discard = node->hold.discard;
        bool discarded = node->hold.discard;
        sim_node_die(node, DEATH_KILL);
        node->interrupted_discard = discarded;
        faults_restart_later(world, node->place);
        return;
    }
    if (!error && node->hold.discard) {
        held_forget_promises(node);
        node->held_files = false;
        world->report->branches[BRANCH_HELD_DISCARDED]++;
    } else if (!error) {
        node->held_files = true;
        each_body(node, true);
    }
    SAY(world, "node %u: hold %" PRIu64 " %s%s", node->slot, node->hold.number,
        node->hold.discard ? "discards" : "is durable", error ? ": no space" : "");
    struct item *item = sim_item(ITEM_HELD, 0);
    item->id = node->hold.number;
    item->failed = error != FT_OK;
    sim_node_put(node, item);
}

/* The process dies with a hold out: nothing of it is done, a part, or all. */
void held_interrupted(struct sim_node *node, enum death death)
{
    struct world *world = node->world;
    for (const struct item *item = node->inbox; item; item = item->next)
        if (item->kind == ITEM_HELD)
            return; /* it is done and was not told */
    node->interrupted_discard = node->hold.discard;
    uint64_t how = death == DEATH_EXIT ? 2 : random_below(&world->random, 4);
    if (how == 0)
        return;
    if (how != 2 && !sim_disk_dead(node->disk))
        sim_disk_die_at(node->disk, sim_disk_operations(node->disk) + 1 +
                                        random_below(&world->random, HOLD_OPERATIONS));
    world->report->branches[BRANCH_HOLD_INTERRUPTED]++;
    (void)!do_hold(node);
}

/* --- what clients are shown ----------------------------------------------------------------------*/

static struct oracle_client *mine(struct sim_client *client)
{
    return &client->world->oracle.clients[client->number];
}

static bool held_remove(struct oracle_client *me, uint64_t tag, uint64_t seq)
{
    for (uint32_t i = 0; i < me->held_count; i++)
        if (me->held[i].tag == tag && me->held[i].seq == seq) {
            me->held[i] = me->held[--me->held_count];
            return true;
        }
    return false;
}

static bool is_in(const struct oracle_uid *list, uint32_t count, uint64_t tag, uint64_t seq)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i].tag == tag && list[i].seq == seq)
            return true;
    return false;
}

/* What it has seen the end of, in this run or an earlier one that lived to remember it. */
static void check_open(struct sim_client *client, const struct wire_record *record, uint32_t op)
{
    struct world *world = client->world;
    struct oracle_client *me = mine(client);
    for (uint32_t i = 0; i < me->count; i++)
        if (me->shown[i].op && me->shown[i].uid.tag == record->device_tag &&
            me->shown[i].uid.seq == record->device_seq)
            sim_fail(world, "client %u: is shown n%u as held after it was committed",
                     client->number, op - 1);
    for (uint32_t i = 0; i < me->retracted_count; i++)
        if (!me->retracted[i].lost && me->retracted[i].tag == record->device_tag &&
            me->retracted[i].seq == record->device_seq)
            sim_fail(world, "client %u: is shown n%u as held after it was retracted",
                     client->number, op - 1);
    const struct oracle_op *own = &world->oracle.ops[op - 1];
    if (own->client == client->number && own->fate == FATE_COMMITTED &&
        own->boots == client->boots && !client->went_back)
        sim_fail(world, "client %u: is shown its own n%u as held after the ack", client->number,
                 op - 1);
}

void held_oracle_shown(struct sim_client *client, const struct wire_record *record)
{
    struct world *world = client->world;
    struct oracle_client *me = mine(client);
    uint32_t number = oracle_op_of(record->text);
    uint8_t node = client_view(client->client).node;
    SAY(world, "client %u: is shown n%u as held by node %u", client->number, number - 1, node);
    if (number == 0 || number > world->oracle.ops_count)
        sim_fail(world, "client %u: is shown a held post that nobody wrote", client->number);
    if (is_in(me->held, me->held_count, record->device_tag, record->device_seq))
        sim_fail(world, "client %u: is shown n%u as held twice on one connection", client->number,
                 number - 1);
    check_open(client, record, number);
    if (me->held_count == ORACLE_HELD)
        sim_fail(world, "client %u: is shown more held posts than the simulator counts",
                 client->number);
    struct slice user = { client->name, client->name_len };
    me->held[me->held_count++] = (struct oracle_uid) { .tag = record->device_tag,
                                                       .seq = record->device_seq,
                                                       .room = oracle_room(record->room, user),
                                                       .op = number };
    const struct node *from = world->nodes[node].node;
    if (from && client_view(client->client).cursor > node_applied(from))
        world->report->branches[BRANCH_HELD_BY_ONE_BEHIND]++;
    struct oracle_op *op = &world->oracle.ops[number - 1];
    op->held_on |= (uint8_t)(1u << node);
    world->report->branches[BRANCH_HELD_SHOWN]++;
    if (op->held_on & (op->held_on - 1))
        world->report->branches[BRANCH_HELD_TWICE]++;
}

void held_oracle_record(struct sim_client *client, const struct wire_record *record)
{
    struct oracle_client *me = mine(client);
    if (record->kind < RECORD_JOIN && held_remove(me, record->device_tag, record->device_seq))
        client->world->report->branches[BRANCH_HELD_COMMITTED]++;
}

/* What is not streamed is not ended by its message. */
void held_oracle_skipped(struct sim_client *client, uint64_t room)
{
    struct oracle_client *me = mine(client);
    for (uint32_t i = 0; i < me->held_count; i++)
        me->held[i].left |= me->held[i].room == room;
}

void held_oracle_retract(struct sim_client *client, uint64_t tag, uint64_t seq)
{
    struct world *world = client->world;
    struct oracle_client *me = mine(client);
    uint32_t op = 0;
    for (uint32_t i = 0; i < me->held_count; i++)
        if (me->held[i].tag == tag && me->held[i].seq == seq)
            op = me->held[i].op;
    if (!held_remove(me, tag, seq))
        sim_fail(world, "client %u: a retract of what it was not shown (%llx-%llu)", client->number,
                 (unsigned long long)tag, (unsigned long long)seq);
    SAY(world, "client %u: n%u is retracted", client->number, op - 1);
    world->oracle.ops[op - 1].retracted |= (uint8_t)(1u << client->number);
    world->report->branches[BRANCH_RETRACTED]++;
    if (me->retracted_count == ORACLE_HELD)
        sim_fail(world, "client %u: is shown more retracts than the simulator counts",
                 client->number);
    me->retracted[me->retracted_count++] = (struct oracle_uid) { .tag = tag, .seq = seq, .op = op };
}

bool held_oracle_was_retracted(const struct world *world, uint8_t client, uint64_t tag,
                               uint64_t seq, uint32_t op)
{
    const struct oracle_client *me = &world->oracle.clients[client];
    for (uint32_t i = 0; i < me->retracted_count; i++)
        if (me->retracted[i].op == op && me->retracted[i].tag == tag && me->retracted[i].seq == seq)
            return true;
    return false;
}

void held_oracle_saved(struct sim_client *client)
{
    struct oracle_client *me = mine(client);
    me->retracted_saved = me->retracted_count;
}

/* Another process, or another folder: what it did not save it does not know. */
void held_oracle_restarted(struct sim_client *client, bool knows)
{
    struct oracle_client *me = mine(client);
    for (uint32_t i = knows ? me->retracted_saved : 0; i < me->retracted_count; i++)
        me->retracted[i].lost = true;
    me->retracted_saved = me->retracted_count;
    held_oracle_left(client);
}

void held_oracle_left(struct sim_client *client)
{
    mine(client)->held_count = 0;
}

void held_oracle_end(struct world *world)
{
    for (uint8_t i = 0; i < world->clients_count; i++) {
        const struct oracle_client *me = &world->oracle.clients[i];
        for (uint32_t k = 0; k < me->held_count; k++)
            if (!me->held[k].left)
                sim_fail(world, "client %u: was shown n%u as held and never what became of it", i,
                         me->held[k].op - 1);
    }
}
