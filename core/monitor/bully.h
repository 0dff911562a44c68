/* Who leads the monitors: the Bully algorithm, the highest name wins.
 *
 * Source: H. Garcia-Molina, Elections in a distributed computing system, IEEE Transactions on
 * Computers C-31(1), 1982, section IV. Its messages: ELECTION to all that are higher ("is one of you
 * there?"), ANSWER from each that is, COORDINATOR from who leads now. Nothing depends on there being
 * one leader only: a leader's one power is to start what does not run (supervisor.h), and to start
 * what runs does nothing. So no quorum is asked for, and monitors heal when Raft has none.
 *
 * Beyond the paper, which takes every group for fully connected: heartbeats carry whom the sender
 * follows, so that who sees only a part of the group follows the leader of the highest that it sees
 * instead of calling elections for ever, and a lost COORDINATOR is made up for by the next heartbeat.
 * Elections that come to nothing are called again after pauses that double.
 *
 * What is promised: when nothing changes any more, each group whose members all reach each other,
 * and nobody else, has one leader, its highest, and all follow it. The caller says who is reachable
 * (links, detectors) and carries messages; they may be lost or late. Names are slots, 1 to LIMIT_NODES.
 * Times are monotonic microseconds. Nothing is allocated. */
#ifndef FTCHAT_CORE_MONITOR_BULLY_H
#define FTCHAT_CORE_MONITOR_BULLY_H

#include "core/limits.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    BULLY_ANSWER_US = 300000,    /* an answer takes no longer */
    BULLY_PATIENCE_US = 1000000, /* who answered will lead, or say who does, by then */
    BULLY_PAUSE_MOST_US = 8000000,
};

enum bully_message {
    BULLY_ELECTION = 1,
    BULLY_ANSWER,
    BULLY_COORDINATOR,
    BULLY_MESSAGES,
};

enum bully_state {
    BULLY_SETTLED, /* it leads, or follows `leader` */
    BULLY_ASKS,    /* ELECTION is out */
    BULLY_WAITS,   /* somebody higher answered */
};

struct bully {
    uint8_t me;
    uint8_t leader; /* 0: none known */
    enum bully_state state;
    uint8_t reachable; /* bits: slot - 1 */
    uint8_t follows[LIMIT_NODES +
                    1];   /* by slot: whom it said that it follows; 0: nobody, or not heard */
    uint64_t deadline_us; /* of the state; UINT64_MAX: none */
    uint64_t pause_us;    /* before the next election, if this one comes to nothing */
    uint8_t out[BULLY_MESSAGES]; /* to be sent, by kind: bits of slots */
};

void bully_start(struct bully *bully, uint8_t me, uint64_t now_us);

/* A peer can be talked with from now on, or not any more. */
void bully_reach(struct bully *bully, uint8_t peer, bool reachable, uint64_t now_us);
/* `follows`: whom the sender follows, as each message of it says; itself when it leads. */
void bully_receive(struct bully *bully, uint8_t peer, enum bully_message kind, uint8_t follows,
                   uint64_t now_us);
/* A heartbeat of a peer. */
void bully_heard(struct bully *bully, uint8_t peer, uint8_t follows, uint64_t now_us);
/* Its deadline has passed, perhaps. */
void bully_tick(struct bully *bully, uint64_t now_us);

static inline uint64_t bully_due_us(const struct bully *bully)
{
    return bully->deadline_us;
}

static inline bool bully_leads(const struct bully *bully)
{
    return bully->leader == bully->me;
}

#endif
