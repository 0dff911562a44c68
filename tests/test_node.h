/* Help for the tests of core/node: one node, its disk and its connections played by the test.
 *
 * Nothing happens by itself: a test gives events and finishes flushes, or lets nodes_run do so. The
 * sink counts the effects and remembers what was sent to whom. Signatures are always right. */
#ifndef FTCHAT_TESTS_TEST_NODE_H
#define FTCHAT_TESTS_TEST_NODE_H

#include "core/node/state.h"

enum { NODES_CONNECTIONS = 16, NODES_SEQS = 1024, NODES_EFFECTS = 32 };

struct nodes {
    struct node *node;
    void *memory;
    struct crypto crypto;
    struct effects effects;
    struct now now;
    bool flushing;
    uint64_t ticket;
    bool holding; /* until nodes_held: nobody does that by itself */
    struct effect_hold hold;
    bool halted;
    unsigned emitted[NODES_EFFECTS];          /* by kind */
    struct effect last[NODES_EFFECTS];        /* the latest of each; what it points at may be gone */
    unsigned peer_sent[LIMIT_NODES + 1][256]; /* by type byte */
    unsigned client_sent[NODES_CONNECTIONS][256];
    bool closed[NODES_CONNECTIONS];               /* by the node */
    bool answered[NODES_CONNECTIONS][NODES_SEQS]; /* finally or not */
    struct wire_answer answers[NODES_CONNECTIONS][NODES_SEQS];
    uint8_t result_flags[NODES_CONNECTIONS];    /* of the latest RESULT */
    uint64_t result_seqs[NODES_CONNECTIONS][2]; /* a page of history's first and last; 0: empty */
    uint32_t result_rows[NODES_CONNECTIONS];
    uint32_t result_deleted[NODES_CONNECTIONS]; /* of them */
    uint64_t nacked[NODES_CONNECTIONS];         /* the latest NACK's seq */
    uint64_t deletes;                           /* of the latest INDEX */
    uint32_t check;
    uint64_t read_id; /* of the latest READ_POSTS */
    uint64_t read_from;
    uint64_t read_to;
};

/* Slot 1 of a cluster whose ini names the slots in `peers`; started and blank. Two rooms fill the
 * table, but in the second form. */
struct nodes *nodes_new(uint8_t peers, size_t cache_bytes);
struct nodes *nodes_new_with_rooms(uint8_t peers, size_t cache_bytes, uint32_t rooms);
void nodes_free(struct nodes *nodes);
void nodes_event(struct nodes *nodes, enum node_event_kind kind);
void nodes_turn_end(struct nodes *nodes);
void nodes_flushed(struct nodes *nodes);
/* What is being held is durable, or found no space. */
void nodes_held(struct nodes *nodes, bool no_space);
/* Ticks, turns and flushes for this long, in steps of 5 ms. */
void nodes_run(struct nodes *nodes, uint64_t us);
/* It alone becomes a cluster that takes posts. */
void nodes_form(struct nodes *nodes);
void nodes_open(struct nodes *nodes, uint32_t connection, enum node_connection_role role);
void nodes_message(struct nodes *nodes, uint32_t connection, const void *data, size_t len);
void nodes_closed(struct nodes *nodes, uint32_t connection);
/* A user of this name logged in on `connection`, of which the device's number is the answer. */
uint32_t nodes_user(struct nodes *nodes, uint32_t connection, const char *name);
/* Under `device` and its account: a whole command from its client. */
void nodes_command(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                   uint8_t beyond, struct command command);
void nodes_create(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                  const char *room);
void nodes_post(struct nodes *nodes, uint32_t connection, uint32_t device, uint64_t seq,
                uint8_t beyond, const char *room, size_t len);
void nodes_hello(struct nodes *nodes, uint32_t connection, uint8_t slot, uint8_t identity,
                 uint8_t cluster);

#endif
