#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- cryptography: cheap, the same every time
 * ---------------------------------------------------*/

static uint64_t mix(uint64_t sum, const uint8_t *data, size_t len)
{
    for (; len >= 8; data += 8, len -= 8) {
        sum = (sum ^ bytes_get_u64(data)) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    for (; len; data++, len--)
        sum = (sum ^ *data) * 0x100000001b3u;
    return sum ^ sum >> 31;
}

static void cheap_hash(uint8_t out[HASH_BYTES], const void *key, size_t key_len, const void *data,
                       size_t len)
{
    uint64_t sum = mix(mix(1, key, key_len), data, len);
    for (unsigned i = 0; i < HASH_BYTES / 8; i++)
        bytes_put_u64(out + 8 * i, sum = (sum + i) * 0xbf58476d1ce4e5b9u);
}

static uint64_t cheap_digest(const uint8_t key[DIGEST_KEY_BYTES], const void *data, size_t len)
{
    return mix(mix(2, key, DIGEST_KEY_BYTES), data, len);
}

const struct crypto rafts_crypto = { .hash = cheap_hash, .digest = cheap_digest };

/* --- disks -------------------------------------------------------------------------------------*/

static struct entry disk_entry(const struct rafts_disk *disk, size_t at)
{
    struct entry entry;
    assert_int_equal(
        entry_parse(&entry, &rafts_crypto, disk->cluster, disk->bytes + at, disk->len - at),
        ENTRY_WHOLE);
    return entry;
}

/* Where the entry that holds `index` begins. */
static bool disk_find(const struct rafts_disk *disk, uint64_t index, size_t *at)
{
    for (*at = 0; *at < disk->len;) {
        struct entry entry = disk_entry(disk, *at);
        if (index < entry.first + entry.count)
            return index >= entry.first;
        *at += entry.size;
    }
    return false;
}

static void disk_truncate(struct rafts_disk *disk, uint64_t from)
{
    size_t at;
    if (from > disk->last)
        return;
    assert_true(disk_find(disk, from, &at));
    assert_int_equal(disk_entry(disk, at).first, from);
    disk->len = at;
    disk->last = from - 1;
}

static void disk_append(struct rafts_disk *disk, struct slice run, uint64_t flush,
                        uint32_t *flush_at)
{
    size_t at = 0;
    while (at < run.len) {
        struct entry entry;
        assert_int_equal(
            entry_parse(&entry, &rafts_crypto, disk->cluster, run.data + at, run.len - at),
            ENTRY_WHOLE);
        assert_int_equal(entry.first, disk->last + 1);
        assert_int_equal(entry.flush, flush);
        assert_int_equal(entry.flush_at, *flush_at);
        assert_true(disk->len + entry.size <= RAFTS_DISK_BYTES);
        memcpy(disk->bytes + disk->len, run.data + at, entry.size);
        disk->len += entry.size;
        disk->last = entry.first + entry.count - 1;
        if (entry.commit > disk->commit)
            disk->commit = entry.commit;
        at += entry.size;
        *flush_at += entry.size;
    }
}

static uint64_t flush_sum(const struct effect_flush *flush)
{
    return mix(mix(3, flush->entries[0].data, flush->entries[0].len), flush->entries[1].data,
               flush->entries[1].len);
}

/* The chain's first bytes at `index` on this disk, or NULL. */
static const uint8_t *disk_chain(const struct rafts_disk *disk, uint64_t index)
{
    size_t at;
    if (!disk_find(disk, index, &at))
        return NULL;
    return disk_entry(disk, at).chain;
}

/* --- effects -----------------------------------------------------------------------------------*/

static void check_promise(struct rafts *world, uint8_t slot, uint8_t to, struct slice head)
{
    struct raft_message message;
    const struct rafts_disk *disk = world->nodes[slot].disk;
    struct slice body = { head.data + 1, head.len - 1 };
    assert_int_equal(head.data[0], PEER_RAFT);
    if (bytes_get_u64(head.data + 2) == 0 || !raft_message_decode(&message, body))
        fail_msg("a message of its own that cannot be decoded");
    if (message.kind == RAFT_APPEND_REPLY)
        assert_true(message.append_reply.match <= disk->last);
    if (message.kind == RAFT_VOTE_REPLY && message.vote_reply.flags == VOTE_GRANTED) {
        assert_int_equal(disk->term, message.vote_reply.asked_term);
        assert_memory_equal(disk->vote, world->nodes[to].identity, IDENTITY_BYTES);
    }
    if (message.kind == RAFT_APPEND) {
        assert_true(message.term < 4096);
        assert_int_equal(disk->term, message.term);
        assert_memory_equal(disk->vote, world->nodes[slot].identity, IDENTITY_BYTES);
        uint8_t *leader = &world->leader_of_term[message.term];
        assert_true(*leader == 0 || *leader == slot);
        *leader = slot;
    }
}

void rafts_emit(void *ctx, const struct effect *effect)
{
    const struct rafts_emitter *emitter = ctx;
    struct rafts *world = emitter->world;
    struct rafts_node *node = &world->nodes[emitter->slot];
    world->emitted[effect->kind]++;
    switch (effect->kind) {
    case EFFECT_FLUSH:
        assert_false(node->flushing);
        assert_true(effect->flush.ticket > node->disk->flush);
        node->flushing = true;
        node->flush = effect->flush;
        node->flush_sum = flush_sum(&effect->flush);
        break;
    case EFFECT_READ_ENTRIES:
        assert_true(raft_owns_read(node->raft, effect->read.id));
        assert_true(node->reads < RAFTS_READS);
        node->read_index[node->reads] = effect->read.index;
        node->read_id[node->reads++] = effect->read.id;
        break;
    case EFFECT_PEER_SEND: {
        uint8_t to = effect->send.slot;
        struct slice head = effect->send.parts[0];
        struct slice rest = { NULL, 0 };
        if (effect->send.parts_count == 2)
            rest = effect->send.parts[1];
        check_promise(world, emitter->slot, to, head);
        if (!world->linked[emitter->slot][to] || world->bag_count == RAFTS_MESSAGES)
            break;
        struct rafts_message *message = &world->bag[world->bag_count++];
        *message = (struct rafts_message) { emitter->slot, to, world->link_life[emitter->slot][to],
                                            head.len + rest.len - 1, malloc(head.len + rest.len) };
        memcpy(message->data, head.data + 1, head.len - 1);
        if (rest.len)
            memcpy(message->data + head.len - 1, rest.data, rest.len);
        break;
    }
    case EFFECT_WAKE_AT:
        node->wake_at_us = effect->wake_at_us;
        break;
    case EFFECT_HALT:
        node->halted = true;
        world->halts++;
        break;
    default:
        break;
    }
}

#define WITH(world, slot)                                                                          \
    &(const struct effects)                                                                        \
    {                                                                                              \
        rafts_emit, &(struct rafts_emitter)                                                        \
        {                                                                                          \
            (world), (slot)                                                                        \
        }                                                                                          \
    }

/* --- nodes -------------------------------------------------------------------------------------*/

uint64_t rafts_seed;

struct rafts *rafts_new(unsigned count, uint64_t seed)
{
    struct rafts *world = calloc(1, sizeof *world);
    assert_true(count <= RAFTS_NODES);
    world->count = count;
    world->now = (struct now) { 1000000, 1700000000000000 };
    random_seed(&world->random, seed);
    for (uint8_t slot = 1; slot <= count; slot++) {
        struct rafts_node *node = &world->nodes[slot];
        memset(node->identity, 0xa0 + slot, IDENTITY_BYTES);
        node->disk = calloc(1, sizeof *node->disk);
        node->options = (struct raft_options) {
            .slot = slot,
            .crypto = &rafts_crypto,
            .seed = seed * 31 + slot,
            .heartbeat_us = 20000,
            .election_min_us = 100000,
            .election_max_us = 1000000,
            .cache_bytes = 256 << 10,
            .cache_entries = 1024,
        };
        memcpy(node->options.identity, node->identity, IDENTITY_BYTES);
    }
    return world;
}

void rafts_free(struct rafts *world)
{
    for (unsigned i = 0; i < world->bag_count; i++)
        free(world->bag[i].data);
    for (uint8_t slot = 1; slot <= RAFTS_NODES; slot++) {
        free(world->nodes[slot].memory);
        free(world->nodes[slot].disk);
    }
    free(world);
}

void rafts_form(struct rafts *world)
{
    rafts_form_with(world, (1u << (world->count + 1)) - 2, 0);
}

void rafts_form_with(struct rafts *world, unsigned voters, unsigned learners)
{
    struct raft_config config = { .count = 0 };
    uint8_t body[256], entry[512], zeros[HASH_BYTES] = { 0 };
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        if (!((voters | learners) >> slot & 1))
            continue;
        struct raft_member *member = &config.members[config.count++];
        member->slot = slot;
        member->voter = voters >> slot & 1;
        memcpy(member->identity, world->nodes[slot].identity, IDENTITY_BYTES);
    }
    uint32_t size = (uint32_t)raft_config_encode(&config, body, sizeof body);
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        struct rafts_disk *disk = world->nodes[slot].disk;
        uint32_t flush_at = 0;
        memset(disk->cluster, 0xc1, IDENTITY_BYTES);
        struct entry_draft draft = { ENTRY_CONFIG, 1, 1, 1, 1, &size, body };
        size_t len = entry_build(entry, sizeof entry, &draft, &rafts_crypto, disk->cluster, zeros);
        entry_set_local(entry, 1, 0, 1, &rafts_crypto, disk->cluster);
        disk_append(disk, (struct slice) { entry, len }, 1, &flush_at);
        disk->term = 1;
        disk->flush = 1;
    }
    for (uint8_t slot = 1; slot <= world->count; slot++)
        rafts_start(world, slot);
    rafts_link_all(world);
}

void rafts_start(struct rafts *world, uint8_t slot)
{
    struct rafts_node *node = &world->nodes[slot];
    const struct rafts_disk *disk = node->disk;
    size_t at = 0;
    assert_false(node->up);
    free(node->memory);
    node->memory = aligned_alloc(16, (raft_memory(&node->options) + 15) / 16 * 16);
    memset(node->memory, 0, sizeof(struct raft));
    node->options.seed = random_u64(&world->random);
    node->raft = raft_init(node->memory, &node->options);
    node->up = true;
    node->halted = node->flushing = false;
    node->reads = 0;
    node->applied = disk->checkpoint_index;
    struct raft_recovery recovery = {
        .term = disk->term,
        .lost_term = disk->lost_term,
        .lost_last = disk->lost_last,
        .leftover = disk->leftover,
        .flush = disk->flush,
        .commit = disk->commit,
        .checkpoint_index = disk->checkpoint_index,
        .checkpoint = { disk->checkpoint, disk->checkpoint_len },
    };
    memcpy(recovery.cluster, disk->cluster, IDENTITY_BYTES);
    memcpy(recovery.vote, disk->vote, IDENTITY_BYTES);
    assert_true(raft_restore(node->raft, &recovery));
    if (disk->last > disk->checkpoint_index) {
        assert_true(disk_find(disk, disk->checkpoint_index + 1, &at));
        assert_true(
            raft_restore_entries(node->raft, (struct slice) { disk->bytes + at, disk->len - at }));
    }
    raft_start(node->raft, world->now, WITH(world, slot));
    rafts_end_turn(world, slot);
}

void rafts_rot(struct rafts *world, uint8_t slot, uint64_t index, bool end_known)
{
    struct rafts_disk *disk = world->nodes[slot].disk;
    size_t at;
    assert_false(world->nodes[slot].up);
    assert_true(index > disk->checkpoint_index && index <= disk->last);
    uint64_t last = disk->last;
    uint64_t term = 0;
    for (size_t end = 0; end < disk->len; end += disk_entry(disk, end).size)
        term = disk_entry(disk, end).term;
    assert_true(disk_find(disk, index, &at));
    disk->last = disk_entry(disk, at).first - 1;
    disk->len = at;
    disk->leftover = true;
    if (!end_known)
        disk->lost_last = UINT64_MAX;
    if (disk->lost_last == UINT64_MAX)
        return;
    if (term > disk->lost_term || (term == disk->lost_term && last > disk->lost_last)) {
        disk->lost_term = term;
        disk->lost_last = last;
    }
}

void rafts_crash(struct rafts *world, uint8_t slot)
{
    struct rafts_node *node = &world->nodes[slot];
    assert_true(node->up);
    node->up = node->flushing = false;
    node->reads = 0;
    for (uint8_t other = 1; other <= world->count; other++) {
        if (world->linked[slot][other])
            rafts_cut(world, slot, other, LINK_RESET);
    }
}

void rafts_link(struct rafts *world, uint8_t a, uint8_t b)
{
    if (a == b || world->linked[a][b] || !world->nodes[a].up || !world->nodes[b].up)
        return;
    world->linked[a][b] = world->linked[b][a] = true;
    raft_link_up(world->nodes[a].raft, b, world->nodes[b].identity, world->now, WITH(world, a));
    raft_link_up(world->nodes[b].raft, a, world->nodes[a].identity, world->now, WITH(world, b));
    rafts_end_turn(world, a);
    rafts_end_turn(world, b);
}

void rafts_link_all(struct rafts *world)
{
    for (uint8_t a = 1; a <= world->count; a++) {
        for (uint8_t b = (uint8_t)(a + 1); b <= world->count; b++)
            rafts_link(world, a, b);
    }
}

void rafts_cut(struct rafts *world, uint8_t a, uint8_t b, enum raft_link_end end)
{
    if (world->linked[a][b]) {
        world->linked[a][b] = world->linked[b][a] = false;
        world->link_life[a][b]++;
        world->link_life[b][a]++;
        rafts_drop_all(world, a, b);
        rafts_drop_all(world, b, a);
    }
    if (world->nodes[a].up) {
        raft_link_down(world->nodes[a].raft, b, end, world->now, WITH(world, a));
        rafts_end_turn(world, a);
    }
    if (world->nodes[b].up) {
        raft_link_down(world->nodes[b].raft, a, end, world->now, WITH(world, b));
        rafts_end_turn(world, b);
    }
}

/* --- steps -------------------------------------------------------------------------------------*/

void rafts_end_turn(struct rafts *world, uint8_t slot)
{
    raft_end_turn(world->nodes[slot].raft, world->now, WITH(world, slot));
    rafts_check(world);
}

void rafts_tick(struct rafts *world, uint8_t slot)
{
    raft_tick(world->nodes[slot].raft, world->now, WITH(world, slot));
    rafts_end_turn(world, slot);
}

static struct rafts_message take(struct rafts *world, unsigned at)
{
    assert_true(at < world->bag_count);
    struct rafts_message message = world->bag[at];
    memmove(world->bag + at, world->bag + at + 1,
            (world->bag_count - at - 1) * sizeof world->bag[0]);
    world->bag_count--;
    return message;
}

void rafts_deliver(struct rafts *world, unsigned at)
{
    struct rafts_message message = take(world, at);
    struct rafts_node *to = &world->nodes[message.to];
    if (to->up && message.link == world->link_life[message.from][message.to]) {
        assert_true(raft_receive(to->raft, message.from, world->nodes[message.from].identity,
                                 (struct slice) { message.data, message.len }, world->now,
                                 WITH(world, message.to)));
        rafts_end_turn(world, message.to);
    }
    free(message.data);
}

void rafts_drop(struct rafts *world, unsigned at)
{
    free(take(world, at).data);
}

bool rafts_say(struct rafts *world, uint8_t from, uint8_t to, const struct raft_message *message,
               struct slice entries)
{
    static uint8_t data[1 << 16];
    size_t len = raft_message_encode(message, data, RAFT_HEAD_BYTES);
    assert_true(entries.len <= sizeof data - len);
    if (entries.len)
        memcpy(data + len, entries.data, entries.len);
    bool good = raft_receive(rafts_raft(world, to), from, world->nodes[from].identity,
                             (struct slice) { data + 1, len - 1 + entries.len }, world->now,
                             WITH(world, to));
    rafts_end_turn(world, to);
    return good;
}

unsigned rafts_deliver_all(struct rafts *world, uint8_t from, uint8_t to)
{
    unsigned delivered = 0, left = world->bag_count;
    for (unsigned at = 0; left; left--) {
        if ((from && world->bag[at].from != from) || (to && world->bag[at].to != to)) {
            at++;
            continue;
        }
        rafts_deliver(world, at);
        delivered++;
    }
    return delivered;
}

void rafts_drop_all(struct rafts *world, uint8_t from, uint8_t to)
{
    for (unsigned at = 0; at < world->bag_count;) {
        if ((from && world->bag[at].from != from) || (to && world->bag[at].to != to))
            at++;
        else
            rafts_drop(world, at);
    }
}

void rafts_flush(struct rafts *world, uint8_t slot, enum raft_flush_result result)
{
    struct rafts_node *node = &world->nodes[slot];
    struct rafts_disk *disk = node->disk;
    assert_true(node->flushing);
    node->flushing = false;
    assert_int_equal(flush_sum(&node->flush), node->flush_sum);
    if (result == RAFT_FLUSHED) {
        uint32_t flush_at = 0;
        if (node->flush.save_cluster)
            memcpy(disk->cluster, node->flush.cluster, IDENTITY_BYTES);
        if (node->flush.save_vote) {
            assert_true(node->flush.term >= disk->term);
            disk->term = node->flush.term;
            memcpy(disk->vote, node->flush.vote, IDENTITY_BYTES);
        }
        world->truncations += node->flush.truncate_from != 0;
        if (node->flush.save_vote || node->flush.truncate_from) {
            disk->lost_term = node->flush.lost_term;
            disk->lost_last = node->flush.lost_last;
        }
        if (node->flush.truncate_from) {
            disk_truncate(disk, node->flush.truncate_from);
            disk->leftover = false;
        }
        assert_true(!disk->leftover || !node->flush.entries[0].len);
        disk_append(disk, node->flush.entries[0], node->flush.ticket, &flush_at);
        disk_append(disk, node->flush.entries[1], node->flush.ticket, &flush_at);
        disk->flush = node->flush.ticket;
    }
    raft_flushed(node->raft, node->flush.ticket, result, world->now, WITH(world, slot));
    rafts_end_turn(world, slot);
}

void rafts_read(struct rafts *world, uint8_t slot, bool ok)
{
    struct rafts_node *node = &world->nodes[slot];
    assert_true(node->reads > 0);
    uint64_t id = node->read_id[0];
    uint64_t index = node->read_index[0];
    size_t at = 0, end;
    assert_true(id != 0);
    node->reads--;
    memmove(node->read_id, node->read_id + 1, sizeof node->read_id - sizeof node->read_id[0]);
    memmove(node->read_index, node->read_index + 1,
            sizeof node->read_index - sizeof node->read_index[0]);
    ok = ok && disk_find(node->disk, index, &at);
    end = at;
    while (ok && end < node->disk->len) {
        size_t size = disk_entry(node->disk, end).size;
        if (end > at && end + size - at > 8192)
            break;
        end += size;
    }
    raft_read_done(node->raft, id, ok, (struct slice) { node->disk->bytes + at, end - at },
                   world->now, WITH(world, slot));
    rafts_end_turn(world, slot);
}

void rafts_advance(struct rafts *world, uint64_t us)
{
    world->now.mono_us += us;
    world->now.wall_us += us;
}

void rafts_apply(struct rafts *world, uint8_t slot)
{
    struct rafts_node *node = &world->nodes[slot];
    node->applied = raft_view(node->raft).commit;
    struct slice bytes = raft_cached_entry(node->raft, raft_latest_config(node->raft)->index);
    struct entry entry;
    if (node->raft->at_applied.index < raft_latest_config(node->raft)->index &&
        raft_latest_config(node->raft)->index <= node->applied && bytes.len &&
        entry_parse(&entry, &rafts_crypto, NULL, bytes.data, bytes.len) == ENTRY_WHOLE)
        raft_config_applied(node->raft, &entry);
    raft_applied(node->raft, node->applied);
}

void rafts_settle(struct rafts *world)
{
    for (bool busy = true; busy;) {
        busy = false;
        for (uint8_t slot = 1; slot <= world->count; slot++) {
            if (!world->nodes[slot].up)
                continue;
            rafts_apply(world, slot);
            if (world->nodes[slot].flushing) {
                rafts_flush(world, slot, RAFT_FLUSHED);
                busy = true;
            }
            if (world->nodes[slot].reads) {
                rafts_read(world, slot, true);
                busy = true;
            }
        }
        busy |= rafts_deliver_all(world, 0, 0) > 0;
    }
}

void rafts_run(struct rafts *world, uint64_t us)
{
    for (uint64_t passed = 0; passed < us; passed += 1000) {
        rafts_settle(world);
        rafts_advance(world, 1000);
        for (uint8_t slot = 1; slot <= world->count; slot++) {
            if (world->nodes[slot].up && world->now.mono_us >= world->nodes[slot].wake_at_us)
                rafts_tick(world, slot);
        }
    }
    rafts_settle(world);
}

/* --- what must hold ----------------------------------------------------------------------------*/

/* The chain at `index` in this node's memory or on its disk. */
static const uint8_t *node_chain(const struct rafts_node *node, uint64_t index)
{
    const uint8_t *chain = raft_log_chain(&node->raft->log, index);
    return chain ? chain : disk_chain(node->disk, index);
}

static void check_commit(struct rafts *world, uint8_t slot)
{
    const struct rafts_node *node = &world->nodes[slot];
    uint64_t commit = node->raft->commit;
    if (commit == 0)
        return;
    assert_true(commit < RAFTS_INDEXES);
    const uint8_t *chain = node_chain(node, commit);
    assert_non_null(chain);
    static const uint8_t none[8];
    if (memcmp(world->committed[commit], none, 8) == 0)
        memcpy(world->committed[commit], chain, 8);
    assert_memory_equal(world->committed[commit], chain, 8);
    if (commit <= world->committed_last)
        return;
    world->committed_last = commit;
    /* Committed first, the next configuration appended in the same turn: the majority was that of the
     * one before. */
    const struct raft *raft = node->raft;
    const struct raft_config *config =
        raft->config.index > commit ? &raft->previous : &raft->config;
    unsigned durable = 0;
    for (unsigned i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        const uint8_t *there = disk_chain(world->nodes[member->slot].disk, commit);
        /* What has rotted since it was acknowledged counts: it is made up for, or no vote is given. */
        bool lost = world->nodes[member->slot].disk->lost_last >= commit;
        durable += member->voter && (lost || (there && memcmp(there, chain, 8) == 0));
    }
    assert_true(durable >= raft_config_voters(config) / 2 + 1);
}

void rafts_check(struct rafts *world)
{
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        const struct rafts_node *node = &world->nodes[slot];
        if (!node->up)
            continue;
        check_commit(world, slot);
        const struct raft *raft = node->raft;
        if (raft->role != RAFT_LEADER)
            continue;
        uint8_t *leader = &world->leader_of_term[raft->term];
        assert_true(*leader == 0 || *leader == slot);
        *leader = slot;
        /* A new leader has everything that is committed (leader completeness). */
        uint64_t last = world->committed_last;
        bool newest = true;
        for (uint8_t other = 1; other <= world->count; other++)
            newest &= !world->nodes[other].up || world->nodes[other].raft->term <= raft->term;
        if (last && newest) {
            const uint8_t *chain = node_chain(node, last);
            assert_non_null(chain);
            assert_memory_equal(chain, world->committed[last], 8);
        }
    }
}

struct raft *rafts_raft(struct rafts *world, uint8_t slot)
{
    assert_true(world->nodes[slot].up);
    return world->nodes[slot].raft;
}

uint8_t rafts_leader(const struct rafts *world)
{
    uint8_t leader = 0;
    for (uint8_t slot = 1; slot <= world->count; slot++) {
        const struct rafts_node *node = &world->nodes[slot];
        if (node->up && node->raft->role == RAFT_LEADER &&
            (!leader || node->raft->term > world->nodes[leader].raft->term))
            leader = slot;
    }
    return leader;
}

uint8_t rafts_elect(struct rafts *world)
{
    for (int i = 0; i < 100 && !rafts_leader(world); i++)
        rafts_run(world, 20000);
    rafts_run(world, 50000);
    assert_int_not_equal(rafts_leader(world), 0);
    return rafts_leader(world);
}

struct rafts *rafts_elected(unsigned count, uint64_t seed, uint8_t *leader)
{
    struct rafts *world = rafts_new(count, seed);
    rafts_form(world);
    *leader = rafts_elect(world);
    rafts_run(world, 100000);
    return world;
}

uint64_t rafts_propose(struct rafts *world, uint8_t slot, uint32_t size)
{
    uint8_t body[20000];
    assert_true(size >= 8 && size <= sizeof body);
    memset(body, 0x5a, size);
    bytes_put_u64(body, random_u64(&world->random));
    uint64_t index = raft_propose(rafts_raft(world, slot), 1, &size, body, size, world->now);
    rafts_end_turn(world, slot);
    return index;
}

bool rafts_checkpoint(struct rafts *world, uint8_t slot, uint64_t index)
{
    struct rafts_disk *disk = world->nodes[slot].disk;
    struct slice bytes = raft_cached_entry(rafts_raft(world, slot), index);
    struct entry entry;
    if (!bytes.len ||
        entry_parse(&entry, &rafts_crypto, NULL, bytes.data, bytes.len) != ENTRY_WHOLE)
        return false;
    size_t len =
        raft_checkpoint(rafts_raft(world, slot), &entry, disk->checkpoint, sizeof disk->checkpoint);
    if (len == 0)
        return false;
    disk->checkpoint_len = len;
    disk->checkpoint_index = index;
    return true;
}
