/* A small world for raft's tests: up to seven rafts, their disks, a bag of messages, one clock.
 *
 * Nothing happens by itself: a test delivers messages, finishes flushes and moves the clock, or
 * lets world_run do all of it. Every effect is checked as it is emitted (a promise is on disk
 * before it is sent; bytes of a flush stay as they are), and world_check looks at the whole after
 * each step (election safety, log matching of what is committed, durable on a majority). */
#ifndef FTCHAT_TESTS_TEST_RAFT_H
#define FTCHAT_TESTS_TEST_RAFT_H

#include "core/raft/raft.h"
#include "core/raft/state.h"

enum { WORLD_NODES = 7, WORLD_MESSAGES = 8192, WORLD_DISK_BYTES = 1 << 20, WORLD_INDEXES = 65536 };

struct world_disk {
    uint8_t cluster[IDENTITY_BYTES];
    uint64_t term;
    uint8_t vote[IDENTITY_BYTES];
    uint64_t flush;
    uint64_t commit;
    uint64_t last;
    size_t len;
    uint8_t bytes[WORLD_DISK_BYTES];
    uint64_t checkpoint_index;
    uint8_t checkpoint[4096];
    size_t checkpoint_len;
};

struct world_node {
    void *memory;
    struct raft *raft;
    bool up;
    bool halted;
    uint8_t identity[IDENTITY_BYTES];
    struct raft_options options;
    struct world_disk *disk;
    bool flushing;
    struct effect_flush flush;
    uint64_t flush_sum; /* of the entries' bytes when the flush was emitted */
    uint64_t read_id;
    uint64_t read_index;
    uint64_t wake_at_us;
    uint64_t applied;
};

struct world_message {
    uint8_t from;
    uint8_t to;
    uint64_t link; /* the life of the link it was sent on */
    size_t len;
    uint8_t *data;
};

struct world {
    unsigned count;
    struct now now;
    struct random random;
    struct world_node nodes[WORLD_NODES + 1];
    bool linked[WORLD_NODES + 1][WORLD_NODES + 1];
    uint64_t link_life[WORLD_NODES + 1][WORLD_NODES + 1];
    struct world_message bag[WORLD_MESSAGES];
    unsigned bag_count;
    uint8_t leader_of_term[4096];        /* slot; 0: none yet */
    uint8_t committed[WORLD_INDEXES][8]; /* the chain's first bytes at an entry's last index */
    uint64_t committed_last;
    unsigned halts;
    unsigned emitted[32]; /* effects by kind */
};

extern const struct crypto world_crypto;

struct world *world_new(unsigned count, uint64_t seed);
void world_free(struct world *world);
/* All nodes are voters of one configuration, which is on every disk. */
void world_form(struct world *world);
void world_start(struct world *world, uint8_t slot);
/* Loses what was not flushed. */
void world_crash(struct world *world, uint8_t slot);
void world_link(struct world *world, uint8_t a, uint8_t b);
void world_link_all(struct world *world);
/* Messages between them are lost; `end` is told to both. */
void world_cut(struct world *world, uint8_t a, uint8_t b, enum raft_link_end end);

void world_end_turn(struct world *world, uint8_t slot);
void world_tick(struct world *world, uint8_t slot);
/* Delivers message number `at` of the bag. */
void world_deliver(struct world *world, unsigned at);
void world_drop(struct world *world, unsigned at);
/* Delivers all messages from `from` to `to` (0: any) that are in the bag now; returns how many. */
unsigned world_deliver_all(struct world *world, uint8_t from, uint8_t to);
void world_drop_all(struct world *world, uint8_t from, uint8_t to);
void world_flush(struct world *world, uint8_t slot, enum raft_flush_result result);
void world_read(struct world *world, uint8_t slot, bool ok);
void world_advance(struct world *world, uint64_t us);
/* Everything happens at once, messages in order, the clock in small steps. */
void world_run(struct world *world, uint64_t us);
/* Until nothing is under way, the clock standing still. */
void world_settle(struct world *world);
void world_apply(struct world *world, uint8_t slot);
void world_check(struct world *world);

struct raft *world_raft(struct world *world, uint8_t slot);
/* The one leader of the highest term, or 0. */
uint8_t world_leader(const struct world *world);
uint8_t world_elect(struct world *world);
/* One command of `size` bytes (at least 8); its index, or 0. */
uint64_t world_propose(struct world *world, uint8_t slot, uint32_t size);
bool world_checkpoint(struct world *world, uint8_t slot, uint64_t index);

#endif
