/* A small world for raft's tests: up to seven rafts, their disks, a bag of messages, one clock.
 *
 * Nothing happens by itself: a test delivers messages, finishes flushes and moves the clock, or
 * lets rafts_run do all of it. Every effect is checked as it is emitted (a promise is on disk
 * before it is sent; bytes of a flush stay as they are), and rafts_check looks at the whole after
 * each step (election safety, log matching of what is committed, durable on a majority). */
#ifndef FTCHAT_TESTS_TEST_RAFT_H
#define FTCHAT_TESTS_TEST_RAFT_H

#include "core/raft/raft.h"
#include "core/raft/state.h"

enum {
    RAFTS_NODES = 7,
    RAFTS_MESSAGES = 8192,
    RAFTS_DISK_BYTES = 1 << 20,
    RAFTS_INDEXES = 65536,
    RAFTS_READS = 64
};

struct rafts_disk {
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    uint64_t flush;
    uint64_t commit;
    uint64_t last;
    uint64_t lost_term; /* what is owed for entries that rotted */
    uint64_t lost_last;
    bool leftover; /* they still lie behind the log's end */
    size_t len;
    uint8_t bytes[RAFTS_DISK_BYTES];
    uint64_t checkpoint_index;
    uint8_t checkpoint[4096];
    size_t checkpoint_len;
};

struct rafts_node {
    void *memory;
    struct raft *raft;
    bool up;
    bool halted;
    uint8_t identity[IDENTITY_BYTES];
    struct raft_options options;
    struct rafts_disk *disk;
    bool flushing;
    struct effect_flush flush;
    uint64_t flush_sum; /* of the entries' bytes when the flush was emitted */
    unsigned reads;     /* under way, oldest first */
    uint64_t read_id[RAFTS_READS];
    uint64_t read_index[RAFTS_READS];
    uint64_t wake_at_us;
    uint64_t applied;
};

struct rafts_message {
    uint8_t from;
    uint8_t to;
    uint64_t link; /* the life of the link it was sent on */
    size_t len;
    uint8_t *data;
};

struct rafts {
    unsigned count;
    struct now now;
    struct random random;
    struct rafts_node nodes[RAFTS_NODES + 1];
    bool linked[RAFTS_NODES + 1][RAFTS_NODES + 1];
    uint64_t link_life[RAFTS_NODES + 1][RAFTS_NODES + 1];
    struct rafts_message bag[RAFTS_MESSAGES];
    unsigned bag_count;
    uint8_t leader_of_term[4096];        /* slot; 0: none yet */
    uint8_t committed[RAFTS_INDEXES][8]; /* the chain's first bytes at an entry's last index */
    uint64_t committed_last;
    unsigned halts;
    unsigned truncations; /* on disks */
    unsigned seed_step;   /* for the debugger */
    unsigned emitted[32]; /* effects by kind */
};

extern const struct crypto rafts_crypto;
extern uint64_t rafts_seed; /* what runs now, for the debugger */

/* What effects carry as their ctx. */
struct rafts_emitter {
    struct rafts *world;
    uint8_t slot;
};
void rafts_emit(void *ctx, const struct effect *effect);

struct rafts *rafts_new(unsigned count, uint64_t seed);
void rafts_free(struct rafts *world);
/* All nodes are voters of one configuration, which is on every disk. */
void rafts_form(struct rafts *world);
/* The same with these (bit n: node n); who is neither has the configuration on its disk, too. */
void rafts_form_with(struct rafts *world, unsigned voters, unsigned learners);
void rafts_start(struct rafts *world, uint8_t slot);
/* Loses what was not flushed. */
void rafts_crash(struct rafts *world, uint8_t slot);
/* What a stopped node has from the entry that holds `index` on cannot be read any more; `end_known`:
 * but its last header. What a checkpoint covers stays. */
void rafts_rot(struct rafts *world, uint8_t slot, uint64_t index, bool end_known);
void rafts_link(struct rafts *world, uint8_t a, uint8_t b);
void rafts_link_all(struct rafts *world);
/* Messages between them are lost; `end` is told to both. */
void rafts_cut(struct rafts *world, uint8_t a, uint8_t b, enum raft_link_end end);

void rafts_end_turn(struct rafts *world, uint8_t slot);
void rafts_tick(struct rafts *world, uint8_t slot);
/* Delivers message number `at` of the bag. */
void rafts_deliver(struct rafts *world, unsigned at);
void rafts_drop(struct rafts *world, unsigned at);
/* Gives `to` what `from` never said, on its link; the answer of raft_receive. */
bool rafts_say(struct rafts *world, uint8_t from, uint8_t to, const struct raft_message *message,
               struct slice entries);
/* Delivers all messages from `from` to `to` (0: any) that are in the bag now; returns how many. */
unsigned rafts_deliver_all(struct rafts *world, uint8_t from, uint8_t to);
void rafts_drop_all(struct rafts *world, uint8_t from, uint8_t to);
void rafts_flush(struct rafts *world, uint8_t slot, enum raft_flush_result result);
void rafts_read(struct rafts *world, uint8_t slot, bool ok);
void rafts_advance(struct rafts *world, uint64_t us);
/* Everything happens at once, messages in order, the clock in small steps. */
void rafts_run(struct rafts *world, uint64_t us);
/* Until nothing is under way, the clock standing still. */
void rafts_settle(struct rafts *world);
void rafts_apply(struct rafts *world, uint8_t slot);
void rafts_check(struct rafts *world);

struct raft *rafts_raft(struct rafts *world, uint8_t slot);
/* The one leader of the highest term, or 0. */
uint8_t rafts_leader(const struct rafts *world);
uint8_t rafts_elect(struct rafts *world);
/* A cluster of so many nodes that has come to rest under a leader. */
struct rafts *rafts_elected(unsigned count, uint64_t seed, uint8_t *leader);
/* Where what the node in `slot` emits goes. */
#define OUT(world, slot)                                                                           \
    (&(struct effects) { rafts_emit, &(struct rafts_emitter) { (world), (slot) } })
/* One command of `size` bytes (at least 8); its index, or 0. */
uint64_t rafts_propose(struct rafts *world, uint8_t slot, uint32_t size);
bool rafts_checkpoint(struct rafts *world, uint8_t slot, uint64_t index);

#endif
