/* What must hold of the nodes' Raft after each turn, judged from outside: one leader a term, logs
 * that match where index and term do, a leader that has all that was committed, a commit that never
 * goes back and is durable on a majority, one vote a term, and the same state at the same index.
 *
 * An entry is known by its tag, eight bytes of its chained hash: equal tags mean equal histories. */
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/raft/state.h"

enum { ENTRIES = 1 << 16, VOTES = 1 << 13 };

void invariants_start(struct world *world)
{
    struct invariants *known = &world->invariants;
    memset(known, 0, sizeof *known);
    known->committed = sim_must(calloc(SIM_INDEXES, sizeof *known->committed));
    known->history = sim_must(calloc(SIM_INDEXES, sizeof *known->history));
    known->places = sim_must(calloc(SIM_INDEXES, sizeof *known->places));
    known->checkpoints = sim_must(calloc(SIM_INDEXES, sizeof *known->checkpoints));
    known->entries = sim_must(calloc(ENTRIES, sizeof *known->entries));
    known->votes = sim_must(calloc(VOTES, sizeof *known->votes));
}

void invariants_free(struct world *world)
{
    struct invariants *known = &world->invariants;
    for (size_t i = 0; i < SIM_INDEXES; i++)
        free(known->history[i]);
    free(known->history);
    free(known->committed);
    free(known->places);
    free(known->checkpoints);
    free(known->entries);
    free(known->votes);
}

static uint64_t tag_of(const uint8_t *chain)
{
    return bytes_get_u64(chain) | 1;
}

/* --- disks -------------------------------------------------------------------------------------*/

static void mark_durable(struct sim_node *node, struct slice entries, bool recovered)
{
    for (size_t at = 0; at < entries.len;) {
        struct entry entry;
        if (entry_parse(&entry, &crypto_sim, NULL, entries.data + at, entries.len - at) !=
            ENTRY_WHOLE)
            sim_fail(node->world, "node %u: what it writes or reads back is not an entry",
                     node->slot);
        uint64_t last = entry.first + entry.count - 1;
        uint64_t tag = tag_of(entry.chain);
        if (last >= SIM_INDEXES)
            sim_fail(node->world, "more commands than the simulator is made for");
        bool open = node->interrupted && node->interrupted_from && last >= node->interrupted_from;
        if (recovered && last <= node->durable_last && node->durable[last] != tag && !open)
            sim_fail(node->world, "node %u: what was durable at %" PRIu64 " came back different",
                     node->slot, last);
        node->durable[last] = tag;
        node->recovered_last = last;
        at += entry.size;
    }
}

void invariants_boot(struct sim_node *node, const struct store_recovery *recovery)
{
    struct world *world = node->world;
    static const uint8_t none[IDENTITY_BYTES];
    node->seen_commit = node->seen_last = node->seen_last_tag = 0;
    node->led_term = 0;
    node->seen_config = 0;
    node->seen_leader_term = node->seen_level = node->seen_term = node->seen_applied = 0;
    node->recovered_last = recovery->checkpoint_index;
    bool same = !memcmp(node->durable_identity, recovery->identity, IDENTITY_BYTES);
    bool blank = !memcmp(node->durable_identity, none, sizeof none);
    if (recovery->term < node->durable_term && same)
        sim_fail(world, "node %u: forgot term %" PRIu64 ", it knows %" PRIu64, node->slot,
                 node->durable_term, recovery->term);
    if (recovery->term == node->durable_term && same &&
        memcmp(node->durable_vote, none, sizeof none) &&
        memcmp(node->durable_vote, recovery->vote, IDENTITY_BYTES))
        sim_fail(world, "node %u: forgot its vote in term %" PRIu64, node->slot, recovery->term);
    if ((recovery->lost.last || !(same || blank)) && !node->rotten)
        sim_fail(world, "node %u: a crash alone took its vote", node->slot);
    node->durable_term = recovery->term;
    memcpy(node->durable_identity, recovery->identity, IDENTITY_BYTES);
    memcpy(node->durable_vote, recovery->vote, IDENTITY_BYTES);
}

/* A committed log took the place of its own: what it promised up to there is in it, and what it had
 * beyond was not committed. */
void invariants_installed(struct sim_node *node, const struct store_recovery *recovery)
{
    struct world *world = node->world;
    uint64_t end = recovery->installed;
    world->report->branches[BRANCH_COPY_INSTALLED]++;
    node->copying = false;
    for (uint64_t index = 1; index <= end || index <= node->durable_last; index++) {
        const struct chain_mark *mark = &world->invariants.committed[index];
        if (index > end && mark->tag && mark->tag == node->durable[index])
            sim_fail(world,
                     "node %u: a copy up to %" PRIu64 " threw away what was committed at %" PRIu64,
                     node->slot, end, index);
        node->durable[index] = index <= end ? mark->tag : 0;
    }
    node->durable_last = end;
    node->interrupted = false;
    SAY(world, "node %u: has a copied log up to %" PRIu64, node->slot, end);
}

void invariants_recovered(struct sim_node *node, struct slice entries)
{
    mark_durable(node, entries, true);
}

void invariants_recovered_all(struct sim_node *node, const struct store_recovery *recovery)
{
    uint64_t last = node->recovered_last;
    /* What rot has taken was promised: it still counts for what was committed with it. */
    if (recovery->lost.last && node->rotten)
        node->durable_last = last;
    if (last < node->durable_last &&
        !(node->interrupted && node->interrupted_from && node->interrupted_from <= last + 1))
        sim_fail(node->world,
                 "node %u: its log was durable to %" PRIu64 " and came back to %" PRIu64,
                 node->slot, node->durable_last, last);
    for (uint64_t index = last + 1; index <= node->durable_last; index++)
        node->durable[index] = 0;
    node->durable_last = last;
    node->interrupted = false;
}

void invariants_flushed(struct sim_node *node)
{
    const struct effect_flush *flush = &node->flush;
    if (flush->save_vote) {
        node->durable_term = flush->term;
        memcpy(node->durable_vote, flush->vote, IDENTITY_BYTES);
    }
    if (flush->truncate_from) {
        for (uint64_t index = flush->truncate_from; index <= node->durable_last; index++)
            node->durable[index] = 0;
        if (node->durable_last >= flush->truncate_from)
            node->durable_last = flush->truncate_from - 1;
    }
    node->recovered_last = node->durable_last;
    mark_durable(node, flush->entries[0], false);
    mark_durable(node, flush->entries[1], false);
    node->durable_last = node->recovered_last;
}

/* --- votes -------------------------------------------------------------------------------------*/

static void vote(struct sim_node *node, uint64_t term, uint8_t candidate)
{
    struct world *world = node->world;
    uint64_t identity = bytes_get_u64(node->identity) | 1;
    for (uint64_t at = sim_mix(identity, term);; at++) {
        struct promised_vote *known = &world->invariants.votes[at % VOTES];
        if (known->identity == 0)
            *known = (struct promised_vote) { identity, term, candidate };
        if (known->identity != identity || known->term != term)
            continue;
        if (known->candidate != candidate)
            sim_fail(world, "node %u: voted twice in term %" PRIu64 ": for %" PRIu64 " and for %u",
                     node->slot, term, known->candidate, candidate);
        return;
    }
}

void invariants_peer_send(struct sim_node *node, const struct effect *effect)
{
    struct slice part = effect->send.parts[0];
    if (part.len < 2 || part.data[0] != PEER_RAFT || part.data[1] != RAFT_VOTE_REPLY)
        return;
    struct raft_message message;
    if (!raft_message_decode(&message, (struct slice) { part.data + 1, part.len - 1 }))
        sim_fail(node->world, "node %u: sends what is no message", node->slot);
    unsigned flags = message.vote_reply.flags;
    if ((flags & VOTE_GRANTED) && !(flags & VOTE_PRE))
        vote(node, message.vote_reply.asked_term, effect->send.slot);
}

/* --- the state machine -------------------------------------------------------------------------*/

void invariants_index(struct sim_node *node, const struct effect *effect)
{
    struct world *world = node->world;
    uint64_t index = effect->index.index;
    if (index == 0 || index >= SIM_INDEXES)
        sim_fail(world, "node %u: applies index %" PRIu64, node->slot, index);
    struct place *place = &world->invariants.places[index];
    if (!place->known)
        *place =
            (struct place) { effect->index.room, true, effect->index.event, effect->index.seq };
    if (place->room != effect->index.room || place->seq != effect->index.seq ||
        place->event != effect->index.event)
        sim_fail(world,
                 "node %u: index %" PRIu64 " is room %u seq %" PRIu64 " here, room %u seq %" PRIu64
                 " elsewhere",
                 node->slot, index, effect->index.room, effect->index.seq, place->room, place->seq);
}

/* Leadership does not go to and fro between disks in trouble. */
void invariants_hand_over(struct sim_node *node, const char *text)
{
    struct world *world = node->world;
    bool full = strstr(text, "disk full") != NULL;
    world->report->branches[full ? BRANCH_HAND_OVER_FULL : BRANCH_HAND_OVER_SLOW]++;
    if (node->handed_over && world->now < node->handed_over + 60 * SIM_S)
        sim_fail(world, "node %u: hands over for its disk's sake twice within a minute",
                 node->slot);
    node->handed_over = world->now;
    const char *to = strstr(text, "to=");
    uint8_t slot = to ? (uint8_t)(to[3] - '0') : 0;
    CHECK(slot >= 1 && slot <= world->nodes_count && slot != node->slot);
    const struct raft_peer *told = &node_raft(node->node)->peers[slot];
    if (told->disk_full)
        sim_fail(world, "node %u: hands over to node %u, whose disk is full", node->slot, slot);
    if (!full && told->flush_us >= raft_flush_time(node_raft(node->node)) / 4)
        sim_fail(world, "node %u: hands over to node %u, which is hardly faster", node->slot, slot);
}

void invariants_checkpoint(struct sim_node *node, const struct effect *effect)
{
    struct world *world = node->world;
    uint64_t index = effect->checkpoint.index;
    uint64_t hash = chat_hash(node_chat(node->node)) | 1;
    CHECK(index < SIM_INDEXES);
    uint64_t *known = &world->invariants.checkpoints[index];
    if (*known == 0)
        *known = hash;
    if (*known != hash)
        sim_fail(world, "node %u: its state at %" PRIu64 " differs from another node's", node->slot,
                 index);
}

/* --- after a turn ------------------------------------------------------------------------------*/

static void check_matching(struct sim_node *node, const struct raft *raft)
{
    struct world *world = node->world;
    uint64_t index = raft->log.last;
    uint64_t term = raft->log.last_term;
    uint64_t tag = tag_of(raft->log.last_chain);
    if (index == 0 || (index == node->seen_last && tag == node->seen_last_tag))
        return;
    /* The first voter of all makes its entry before anything of it is durable, and alone: if its power
     * goes, it was never there. */
    if (index == 1 && node->durable[index] != tag)
        return;
    node->seen_last = index;
    node->seen_last_tag = tag;
    for (uint64_t at = index * 4;; at++) {
        struct known_entry *known = &world->invariants.entries[at % ENTRIES];
        if (known->index == 0)
            *known = (struct known_entry) { index, term, tag };
        if (known->index != index || known->term != term)
            continue;
        if (known->tag != tag)
            sim_fail(world,
                     "node %u: its log at %" PRIu64 " of term %" PRIu64
                     " does not match another node's",
                     node->slot, index, term);
        return;
    }
}

static void check_leader(struct sim_node *node, const struct raft *raft)
{
    struct world *world = node->world;
    if (raft->role != RAFT_LEADER || node->seen_leader_term == raft->term)
        return;
    node->seen_leader_term = raft->term;
    CHECK(raft->term < SIM_TERMS);
    uint8_t *known = &world->invariants.leader_of[raft->term];
    if (*known && *known != node->place)
        sim_fail(world, "term %" PRIu64 " has two leaders, nodes %u and %u", raft->term, *known,
                 node->slot);
    *known = node->place;
    vote(node, raft->term, node->slot);
    world->report->branches[BRANCH_LEADER_CHANGE]++;
    SAY(world, "node %u: leads term %" PRIu64 ", log to %" PRIu64 ", commit %" PRIu64, node->slot,
        raft->term, raft->log.last, raft->commit);
    if (raft->first_of_term && raft->commit + 1 < raft->first_of_term)
        world->report->branches[BRANCH_TERM_UNCOMMITTED]++;
    /* Leader completeness binds the leaders of later terms: one that was frozen between its election and
     * its first step may wake in a term that others have left behind. */
    uint64_t committed = world->invariants.committed_last;
    const struct chain_mark *marks = world->invariants.committed;
    while (committed && !(marks[committed].tag && marks[committed].by < raft->term))
        committed--;
    const uint8_t *chain = raft_log_chain(&raft->log, committed);
    bool lacks = committed > raft->log.last || (committed > raft->log.base && !chain);
    if (chain && committed)
        lacks |= tag_of(chain) != world->invariants.committed[committed].tag;
    if (lacks)
        sim_fail(world, "node %u leads term %" PRIu64 " without what was committed at %" PRIu64,
                 node->slot, raft->term, committed);
}

/* On how many of these voters the entry is durable; returns whether that is a majority. */
static bool is_durable(const struct world *world, const struct raft_config *config, uint64_t index,
                       uint64_t tag, unsigned *durable, unsigned *voters)
{
    *voters = *durable = 0;
    for (unsigned i = 0; i < config->count; i++) {
        const struct sim_node *member = &world->nodes[config->members[i].slot];
        if (!config->members[i].voter)
            continue;
        ++*voters;
        if (raft_member_is(&config->members[i], member->identity))
            *durable += member->durable[index] == tag;
        else if (member->lost && raft_member_is(&config->members[i], member->lost_identity))
            *durable += member->lost[index] == tag;
    }
    return *durable >= *voters / 2 + 1;
}

/* A leader counts by its newest configuration, committed or not. When that came in this very turn, it
 * may have counted by the one before, or (four voters, one of them replaced) only by the new one. */
static void check_durable(struct sim_node *node, const struct raft *raft, uint64_t index,
                          uint64_t tag)
{
    unsigned durable;
    unsigned voters;
    if (is_durable(node->world, raft_latest_config(raft), index, tag, &durable, &voters))
        return;
    if (raft->config.index > index &&
        is_durable(node->world, &raft->previous, index, tag, &durable, &voters))
        return;
    sim_fail(node->world,
             "node %u: commits %" PRIu64 " in term %" PRIu64
             ", which is durable on %u of %u voters",
             node->slot, index, raft->term, durable, voters);
}

static void note_history(struct invariants *known, uint64_t last, const uint8_t *bytes, size_t size)
{
    if (!known->history[last]) {
        known->history[last] = sim_must(malloc(size));
        memcpy(known->history[last], bytes, size);
    }
    for (uint64_t end = known->history_last + 1; end <= last; end++)
        if (known->history[end] &&
            bytes_get_u64(known->history[end] + ENTRY_AT_FIRST) == known->history_last + 1)
            known->history_last = end;
}

/* What was committed and left memory behind a checkpoint within one turn, of which nobody else knows. */
static void note_forgotten(struct sim_node *node, const struct raft *raft)
{
    struct invariants *known = &node->world->invariants;
    uint8_t *buffer = node->world->buffer;
    while (known->history_last < raft->log.base && known->history_last < raft->commit) {
        size_t len;
        struct entry entry;
        if (store_read_entries(node->store, known->history_last + 1, buffer, LIMIT_ENTRY_BYTES,
                               &len) ||
            entry_parse(&entry, &crypto_sim, NULL, buffer, len) != ENTRY_WHOLE ||
            entry.first != known->history_last + 1)
            return; /* another one tells it, or the verdict will */
        struct chain_mark *mark = &known->committed[entry.first + entry.count - 1];
        if (mark->tag == 0)
            *mark = (struct chain_mark) { tag_of(entry.chain), entry.term, raft->term };
        note_history(known, entry.first + entry.count - 1, buffer, entry.size);
    }
}

static void check_commit(struct sim_node *node, const struct raft *raft)
{
    struct world *world = node->world;
    struct invariants *known = &world->invariants;
    if (raft->commit < node->seen_commit)
        sim_fail(world, "node %u: its commit goes back from %" PRIu64 " to %" PRIu64, node->slot,
                 node->seen_commit, raft->commit);
    if (raft->commit == node->seen_commit)
        return;
    /* Counting an earlier term's entry goes wrong only in a rare order of deaths (thesis, figure
     * 3.7); that it was counted is seen at once. */
    if (raft->role == RAFT_LEADER && node->led_term == raft->term &&
        raft->commit < raft->first_of_term)
        sim_fail(world, "node %u: commits %" PRIu64 " of an earlier term by counting", node->slot,
                 raft->commit);
    uint64_t index = node->seen_commit > raft->log.base ? node->seen_commit : raft->log.base;
    const struct raft_meta *meta = raft_log_find(&raft->log, index + 1);
    for (; meta && meta->last <= raft->commit; meta = raft_log_next(&raft->log, meta)) {
        const uint8_t *chain = raft_log_chain(&raft->log, meta->last);
        CHECK(chain != NULL);
        CHECK(meta->last < SIM_INDEXES);
        struct chain_mark *mark = &known->committed[meta->last];
        if (mark->tag == 0)
            *mark = (struct chain_mark) { tag_of(chain), meta->term, raft->term };
        if (mark->tag != tag_of(chain))
            sim_fail(world, "node %u: commits something else at %" PRIu64 " than another node",
                     node->slot, meta->last);
        note_history(known, meta->last, raft_log_bytes(&raft->log, meta), meta->size);
        if (meta->kind == ENTRY_CONFIG)
            SAY(world, "node %u: configuration of %" PRIu64 " is committed", node->slot,
                meta->last);
    }
    node->seen_commit = raft->commit;
    note_forgotten(node, raft);
    if (raft->commit > known->committed_last) {
        known->committed_last = raft->commit;
        for (uint8_t slot = 1; slot <= world->nodes_count; slot++)
            world->report->branches[BRANCH_COPY_MEANWHILE] +=
                world->nodes[slot].copying && sim_node_up(&world->nodes[slot]);
        const uint8_t *chain = raft_log_chain(&raft->log, raft->commit);
        if (!chain)
            sim_fail(world, "node %u: commits %" PRIu64 ", which it does not have", node->slot,
                     raft->commit);
        check_durable(node, raft, raft->commit, tag_of(chain));
    }
}

/* A feature level rises when every member can, and nobody becomes one who cannot. Whoever was removed is not
 * waited for, and who came back as an older version than it said is the operator's mistake. */
static void check_level(struct sim_node *node, const struct raft *raft)
{
    uint16_t level = node_level(node->node);
    uint64_t seen = (uint64_t)level << 48 | raft->config.index;
    if (raft->role != RAFT_LEADER || node->seen_level == seen)
        return;
    node->seen_level = seen;
    for (unsigned i = 0; i < raft->config.count; i++) {
        const struct raft_member *member = &raft->config.members[i];
        const struct sim_node *other = &node->world->nodes[member->slot];
        if (raft_member_is(member, other->identity) && !other->downgraded && other->feature_max &&
            other->feature_max < level)
            sim_fail(node->world,
                     "node %u: at feature level %u, node %u is a member and can only do %u",
                     node->slot, level, member->slot, other->feature_max);
    }
}

void invariants_turn(struct sim_node *node)
{
    struct world *world = node->world;
    const struct raft *raft = node_raft(node->node);
    uint64_t applied = node_applied(node->node);
    if (raft->term < node->seen_term)
        sim_fail(world, "node %u: its term goes back", node->slot);
    if (raft->term != node->seen_term)
        SAY(world, "node %u: is in term %" PRIu64, node->slot, raft->term);
    node->seen_term = raft->term;
    if (!raft_links_right(raft))
        sim_fail(world, "node %u: what it keeps of its links is not so any more", node->slot);
    check_matching(node, raft);
    check_leader(node, raft);
    check_commit(node, raft);
    check_level(node, raft);
    if (applied > raft->commit)
        sim_fail(world, "node %u: applied %" PRIu64 " before it was committed", node->slot,
                 applied);
    if (applied < node->seen_applied)
        sim_fail(world, "node %u: what it applied goes back", node->slot);
    node->seen_applied = applied;
    if (node->seen_lost && !raft->lost_last)
        world->report->branches[BRANCH_MADE_UP]++;
    node->seen_lost = raft->lost_last != 0;
    node->led_term = raft->role == RAFT_LEADER ? raft->term : 0;
}
