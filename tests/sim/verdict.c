/* The end of a seed: the history that all nodes agree on, against everything that anybody was told.
 *
 * The log is the history. It is read from each node's disk, must be the same on all, and is applied
 * once more from its beginning to a fresh state, without any crash or checkpoint: what that gives is
 * the truth. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/internal.h"
#include "tests/sim/sim.h"

struct fact {
    uint64_t index;
    uint64_t seq;
    uint64_t shown;   /* the seq that its record names */
    uint64_t room;    /* as oracle_room */
    uint32_t op;      /* number + 1; 0: an event */
    uint32_t number;  /* of the room */
    uint64_t members; /* bit per account */
};

struct truth {
    struct world *world;
    struct chat *chat;
    void *memory;
    struct fact *facts;
    uint32_t count;
    uint64_t room_seq[256];
    uint32_t last_op[SIM_CLIENTS];
    uint64_t *deleted; /* by index, a post that is: the index of the command that did it first */
    uint64_t
        given_back[256]; /* by device: a seq that was applied and not answered yet (CHAT_FULL) */
};

static uint64_t room_of(const struct truth *truth, uint32_t number)
{
    const struct chat_room *room = chat_room(truth->chat, number);
    if (!room->direct)
        return oracle_room((struct slice) { room->name, room->name_len },
                           (struct slice) { NULL, 0 });
    const struct chat_account *a = chat_account(truth->chat, room->pair[0]);
    const struct chat_account *b = chat_account(truth->chat, room->pair[1]);
    uint8_t name[1 + LIMIT_USER_NAME] = "@";
    memcpy(name + 1, a->name, a->name_len);
    return oracle_room((struct slice) { name, a->name_len + 1u },
                       (struct slice) { b->name, b->name_len });
}

static uint64_t members_at(const struct truth *truth, uint32_t room, uint64_t index)
{
    uint64_t members = 0;
    for (uint32_t account = 1; account <= chat_accounts(truth->chat); account++) {
        const struct chat_membership *member = chat_membership(truth->chat, account, room);
        if (chat_was_member(member, index))
            members |= UINT64_C(1) << account;
    }
    return members;
}

static bool was_skipped(const struct oracle_client *shown, const struct fact *fact)
{
    for (uint32_t i = 0; i < shown->skips_count; i++) {
        const struct oracle_skip *skip = &shown->skips[i];
        uint64_t least = fact->op ? skip->from : skip->from - 1;
        if (skip->room == fact->room && fact->seq >= least && fact->seq <= skip->to)
            return true;
    }
    return false;
}

/* Only for who was no member there, or did not get it because it was skipped. That is judged here, as it was when this was applied, and not where a message is
 * shown: to who left and came back often, and reads once more from before, what was said in between is shown after all
 * (chat.h), though its retract was right. */
static void check_retracts(struct truth *truth, uint32_t number, const struct chat_applied *applied)
{
    struct world *world = truth->world;
    const struct command *command = &applied->command;
    const struct chat_answer *at = &applied->answer;
    const struct oracle_op *op = &world->oracle.ops[number - 1];
    for (uint8_t i = 0; i < world->clients_count; i++) {
        struct slice name = { world->clients[i].name, world->clients[i].name_len };
        if (!(op->retracted >> i & 1))
            continue;
        /* An author's old copy gives other content the same uid, and the retract was of what lost it. */
        if (world->clients[op->client].went_back &&
            !held_oracle_was_retracted(world, i, command->tag, command->seq, number))
            continue;
        struct fact fact = { .seq = at->room_seq, .room = room_of(truth, at->room), .op = number };
        uint32_t account = chat_find_account(truth->chat, name);
        if (chat_was_member(chat_membership(truth->chat, account, at->room), at->index) &&
            !was_skipped(&world->oracle.clients[i], &fact))
            sim_fail(world, "client %u: n%u was retracted and stands in the history at %" PRIu64, i,
                     number - 1, at->index);
    }
}

static void post(struct truth *truth, const struct chat_applied *applied)
{
    struct world *world = truth->world;
    uint32_t number = oracle_op_of(applied->command.text);
    if (number == 0 || number > world->oracle.ops_count)
        sim_fail(world, "the history has a post at %" PRIu64 " that nobody wrote",
                 applied->answer.index);
    struct oracle_op *op = &world->oracle.ops[number - 1];
    /* Its copy knows as little as it does what became of what it holds. */
    bool went_back = world->clients[op->client].went_back;
    if (op->found++ && !went_back)
        sim_fail(world, "n%u stands in the history twice", number - 1);
    if (number <= truth->last_op[op->client] && !went_back)
        sim_fail(world, "client %u: n%u stands after n%u", op->client, number - 1,
                 truth->last_op[op->client] - 1);
    truth->last_op[op->client] = number;
    CHECK(applied->answer.room < 256);
    uint64_t *last = &truth->room_seq[applied->answer.room];
    if (applied->answer.room_seq != ++*last)
        sim_fail(world, "room %u has a hole before seq %" PRIu64, applied->answer.room,
                 applied->answer.room_seq);
    check_retracts(truth, number, applied);
    if (op->fate == FATE_REJECTED && !went_back)
        sim_fail(world, "n%u was rejected and stands in the history", number - 1);
    if (op->fate == FATE_COMMITTED && !went_back &&
        (op->room_seq != applied->answer.room_seq || op->index != applied->answer.index))
        sim_fail(world,
                 "n%u was acknowledged at seq %" PRIu64 ", index %" PRIu64 " and stands at %" PRIu64
                 ", %" PRIu64,
                 number - 1, op->room_seq, op->index, applied->answer.room_seq,
                 applied->answer.index);
    truth->facts[truth->count].op = number;
}

/* It names the post that has this seq in this room, and its author; and who did it may. */
static void delete (struct truth *truth, const struct chat_applied *applied, struct fact *fact)
{
    struct world *world = truth->world;
    const struct command *command = &applied->command;
    const struct command_target *target = &command->target;
    const struct fact *post = NULL;
    for (uint32_t i = 0; i < truth->count && !post; i++)
        if (truth->facts[i].index == target->index)
            post = &truth->facts[i];
    if (!post || !post->op || post->number != applied->answer.room ||
        post->seq != command->read_seq)
        sim_fail(world, "index %" PRIu64 " deletes %" PRIu64 ", which is not what it names",
                 fact->index, target->index);
    uint8_t author = world->oracle.ops[post->op - 1].client;
    uint32_t account =
        chat_find_account(truth->chat, (struct slice) { world->clients[author].name,
                                                        world->clients[author].name_len });
    const struct chat_membership *member =
        chat_membership(truth->chat, applied->account, applied->answer.room);
    if (target->author != account || (account != applied->account && !member->is_operator))
        sim_fail(world, "index %" PRIu64 " deletes somebody else's post", fact->index);
    if (!truth->deleted[target->index])
        truth->deleted[target->index] = fact->index;
    fact->shown = command->read_seq;
}

static void apply(struct truth *truth, uint64_t index, uint64_t time_us, struct slice body)
{
    struct world *world = truth->world;
    struct chat_applied applied;
    chat_apply(truth->chat, index, time_us, body, &applied);
    uint32_t device = applied.command.device;
    CHECK(device < 256);
    /* What was admitted behind a command that is given back comes again behind it. */
    if (applied.result == CHAT_GAP &&
        (!truth->given_back[device] ||
         chat_device(truth->chat, device)->last + 1 != truth->given_back[device]))
        sim_fail(world, "the log holds a gap at %" PRIu64, index);
    if (applied.result == CHAT_FULL && applied.command.kind == COMMAND_DELETE) {
        truth->given_back[device] = applied.command.seq;
        world->report->branches[BRANCH_FOUND_LATER]++;
    }
    if (!applied.indexed)
        return;
    const struct place *place = &world->invariants.places[index];
    if (!place->known || place->room != applied.answer.room)
        sim_fail(world, "no node told the place of %" PRIu64, index);
    struct fact *fact = &truth->facts[truth->count];
    *fact = (struct fact) { .index = index,
                            .number = applied.answer.room,
                            .room = room_of(truth, applied.answer.room),
                            .members = members_at(truth, applied.answer.room, index) };
    if (!applied.event)
        post(truth, &applied);
    fact->seq = truth->room_seq[applied.answer.room];
    if (fact->seq != place->seq)
        sim_fail(world, "index %" PRIu64 " is seq %" PRIu64 " and was told as %" PRIu64, index,
                 fact->seq, place->seq);
    fact->shown = fact->seq;
    if (applied.command.kind == COMMAND_DELETE)
        delete (truth, &applied, fact);
    truth->count++;
}

/* What was committed, from its beginning, as it was seen when it was. */
static void apply_history(struct truth *truth, uint64_t last)
{
    struct world *world = truth->world;
    uint8_t *const *history = world->invariants.history;
    uint64_t next = 1;
    for (uint64_t end = 1; end <= last; end++) {
        struct entry entry;
        if (!history[end])
            continue;
        enum entry_state state = entry_parse(&entry, &crypto_sim, NULL, history[end],
                                             bytes_get_u32(history[end] + ENTRY_AT_SIZE));
        CHECK(state == ENTRY_WHOLE);
        if (entry.first != next)
            sim_fail(world, "what was committed at %" PRIu64 " was never seen", next);
        struct entry_cursor cursor = { 0 };
        struct slice body;
        for (uint64_t index = entry.first;
             entry.kind == ENTRY_COMMANDS && entry_next(&entry, &cursor, &body); index++)
            apply(truth, index, entry.time_us, body);
        next = end + 1;
    }
    if (next != last + 1)
        sim_fail(world, "what was committed at %" PRIu64 " was never seen", next);
}

/* Walks a node's whole log on its disk, from where it begins. */
static void read_log(struct truth *truth, struct sim_node *node)
{
    struct world *world = truth->world;
    uint64_t last = raft_view(node_raft(node->node)).commit;
    for (uint64_t index = node->first; index <= last;) {
        size_t len = 0;
        enum ft_error error =
            store_read_entries(node->store, index, world->buffer, LIMIT_ENTRY_BYTES, &len);
        if (error || len == 0)
            sim_fail(world, "node %u: its log cannot be read at %" PRIu64 ": %d", node->slot, index,
                     (int)error);
        for (size_t at = 0; at < len;) {
            struct entry entry;
            if (entry_parse(&entry, &crypto_sim, NULL, world->buffer + at, len - at) != ENTRY_WHOLE)
                sim_fail(world, "node %u: no entry at %" PRIu64, node->slot, index);
            uint64_t end = entry.first + entry.count - 1;
            uint64_t tag = bytes_get_u64(entry.chain) | 1;
            if (entry.first != index || world->invariants.committed[end].tag != tag)
                sim_fail(world, "node %u: its log at %" PRIu64 " is not what was committed",
                         node->slot, index);
            index = end + 1;
            at += entry.size;
        }
    }
}

/* --- each client's stream ----------------------------------------------------------------------*/

/* An event before a room's first post is of no seq that could be told as truncated: retention takes it silently. */
static bool was_dropped(const struct world *world, const struct fact *fact)
{
    bool dropped = false;
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
        dropped |= fact->index < world->nodes[slot].first;
    return dropped && !fact->op && fact->seq == 0;
}

static void check_stream(struct truth *truth, const struct sim_client *client)
{
    struct world *world = truth->world;
    const struct oracle_client *shown = &world->oracle.clients[client->number];
    uint32_t device = chat_find_device(truth->chat, client->saved.secret_key + 32);
    if (device == 0)
        sim_fail(world, "client %u: its device is not in the state", client->number);
    uint32_t account = chat_device(truth->chat, device)->account;
    uint64_t since = chat_device(truth->chat, device)->enrolled_index;
    uint32_t at = 0;
    for (uint32_t i = 0; i < truth->count; i++) {
        const struct fact *fact = &truth->facts[i];
        bool due = fact->index > since && (fact->members >> account & 1);
        bool there = at < shown->count && shown->shown[at].index == fact->index;
        if (!there && due && !was_skipped(shown, fact) && !was_dropped(world, fact))
            sim_fail(world,
                     "client %u was never shown index %" PRIu64 " (room %u, seq %" PRIu64 ")",
                     client->number, fact->index, fact->number, fact->seq);
        if (!there)
            continue;
        const struct oracle_shown *record = &shown->shown[at++];
        /* Of who left and came back often, the earliest times become one (chat.h). */
        if (!due &&
            !chat_was_member(chat_membership(truth->chat, account, fact->number), fact->index))
            sim_fail(world, "client %u was shown index %" PRIu64 " and is no member there",
                     client->number, fact->index);
        bool same = record->op == fact->op || (record->op == ORACLE_DELETED && fact->op);
        if (record->seq != fact->shown || record->room != fact->room || !same)
            sim_fail(world, "client %u was shown something else at index %" PRIu64, client->number,
                     fact->index);
    }
    if (at < shown->count)
        sim_fail(world, "client %u was shown index %" PRIu64 ", which is not in the history",
                 client->number, shown->shown[at].index);
}

static void check_ops(struct truth *truth)
{
    struct world *world = truth->world;
    for (uint32_t i = 0; i < world->oracle.ops_count; i++) {
        const struct oracle_op *op = &world->oracle.ops[i];
        bool is_post = op->kind == CLIENT_SEND || op->kind == CLIENT_ME;
        if (is_post && op->fate == FATE_COMMITTED && op->found == 0)
            sim_fail(world, "n%u was acknowledged at seq %" PRIu64 " and is lost", i, op->room_seq);
    }
}

/* --- what is deleted ---------------------------------------------------------------------------*/

/* What is deleted by a command in a segment that is indexed has no words any more on any disk; what is
 * not deleted has them. */
static void check_erased(const struct truth *truth, const struct sim_node *node, uint64_t index,
                         struct slice body)
{
    uint64_t by = truth->deleted[index];
    bool erased = body_is_erased(body.data, body.len);
    if (erased && !by)
        sim_fail(truth->world, "node %u: index %" PRIu64 " is erased and was not deleted",
                 node->slot, index);
    if (!erased && by && by <= node->store->indexed_last)
        sim_fail(truth->world, "node %u: index %" PRIu64 " is deleted and was not erased",
                 node->slot, index);
}

/* Whatever stopped it during the seed. */
static void finish_scrub(struct sim_node *node)
{
    struct store_scrubbed scrubbed;
    scrub_go_on(node->store);
    while (store_wants_scrub(node->store))
        if (store_scrub(node->store, &scrubbed) || scrubbed.refused || scrubbed.rotten)
            sim_fail(node->world, "node %u: what was deleted cannot be erased", node->slot);
}

/* Each node gives every post that it keeps, and as deleted just those that are. */
static void check_deleted(struct truth *truth, struct sim_node *node)
{
    struct world *world = truth->world;
    for (uint32_t room = 1; room <= chat_rooms(truth->chat); room++) {
        struct store_query query = { .room = room,
                                     .seq_from = 1,
                                     .seq_to = chat_room(truth->chat, room)->last_seq,
                                     .forward_to = chat_room(truth->chat, room)->last_seq,
                                     .max_records = 64 };
        struct store_answer answer = { .records = 1 };
        while (answer.records && query.seq_from <= query.seq_to) {
            enum ft_error error =
                store_read_posts(node->store, &query, world->buffer, LIMIT_ENTRY_BYTES, &answer);
            if (error)
                sim_fail(world, "node %u: room %u cannot be read: %d", node->slot, room,
                         (int)error);
            struct reader reader = reader_of(world->buffer, answer.len);
            while (reader_left(&reader)) {
                uint8_t kind = read_u8(&reader);
                (void)read_u32(&reader);
                query.seq_from = read_u64(&reader) + 1;
                uint64_t index = read_u64(&reader);
                (void)read_u64(&reader);
                struct slice body = read_slice32(&reader);
                if (kind == STORE_POST || kind == STORE_DELETED)
                    check_erased(truth, node, index, body);
                if ((kind == STORE_DELETED) != (truth->deleted[index] != 0))
                    sim_fail(world, "node %u: index %" PRIu64 " is %s deleted", node->slot, index,
                             truth->deleted[index] ? "not shown as" : "shown as");
            }
        }
    }
}

static void check_shown_deleted(struct truth *truth)
{
    for (uint64_t index = 1; index < SIM_INDEXES; index++)
        if (truth->world->oracle.seen_deleted[index] && !truth->deleted[index])
            sim_fail(truth->world, "index %" PRIu64 " was shown as deleted and is not", index);
}

/* --- */

static void damaged(void *ctx, const struct store_damage *damage)
{
    struct sim_node *node = ctx;
    sim_fail(node->world, "node %u: %s at %" PRIu64 ": %s", node->slot, damage->file,
             damage->offset, damage->what);
}

void verdict(struct world *world)
{
    static const struct chat_limits limits = { .accounts = 16,
                                               .devices = 128,
                                               .rooms = 64,
                                               .memberships = 512,
                                               .invites = 4,
                                               .answers = 128 * LIMIT_OUTSTANDING };
    struct truth truth = { .world = world };
    truth.memory = sim_must(calloc(1, chat_memory(&limits)));
    truth.chat = chat_init(truth.memory, &limits, &crypto_sim);
    truth.facts = sim_must(calloc(SIM_INDEXES, sizeof *truth.facts));
    truth.deleted = sim_must(calloc(SIM_INDEXES, sizeof *truth.deleted));
    apply_history(&truth, raft_view(node_raft(faults_leader(world)->node)).commit);
    for (uint8_t slot = 1; slot <= world->nodes_count; slot++) {
        struct sim_node *node = &world->nodes[slot];
        if (!members_wants(world, slot))
            continue;
        if (chat_hash(node_chat(node->node)) != chat_hash(truth.chat))
            sim_fail(world, "node %u: its state is not what the log makes of it", slot);
        if (node_damaged(node->node)) /* which nobody else keeps: rot_open() */
            continue;
        read_log(&truth, node);
        finish_scrub(node);
        uint64_t entries;
        enum ft_error error = store_verify(node->store, damaged, node, &entries);
        if (error)
            sim_fail(world, "node %u: its store cannot be verified: %d", slot, (int)error);
        check_deleted(&truth, node);
    }
    check_shown_deleted(&truth);
    check_ops(&truth);
    for (uint8_t i = 0; i < world->clients_count; i++)
        check_stream(&truth, &world->clients[i]);
    free(truth.facts);
    free(truth.deleted);
    free(truth.memory);
}
