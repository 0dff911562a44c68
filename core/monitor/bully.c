#include "core/monitor/bully.h"

#include "core/check.h"

static uint8_t bit(uint8_t slot)
{
    return (uint8_t)(1u << (slot - 1));
}

static uint8_t lower(const struct bully *bully)
{
    return (uint8_t)(bit(bully->me) - 1);
}

static uint8_t higher(const struct bully *bully)
{
    return (uint8_t) ~(lower(bully) | bit(bully->me));
}

static bool reaches(const struct bully *bully, uint8_t peer)
{
    return bully->reachable & bit(peer);
}

/* The highest that it reaches; itself when nobody is higher. */
static uint8_t highest(const struct bully *bully)
{
    uint8_t slot = LIMIT_NODES;
    while (slot > bully->me && !reaches(bully, slot))
        slot--;
    return slot;
}

static void settle(struct bully *bully, uint8_t leader)
{
    CHECK(leader >= bully->me);
    bully->leader = leader;
    bully->state = BULLY_SETTLED;
    bully->deadline_us = UINT64_MAX;
    bully->pause_us = 0;
}

static void lead(struct bully *bully)
{
    settle(bully, bully->me);
    bully->out[BULLY_COORDINATOR] |= bully->reachable & lower(bully);
}

static void call_election(struct bully *bully, uint64_t now_us)
{
    uint8_t asked = bully->reachable & higher(bully);
    if (!asked) {
        lead(bully);
        return;
    }
    bully->leader = 0;
    bully->state = BULLY_ASKS;
    bully->deadline_us = now_us + BULLY_ANSWER_US;
    bully->out[BULLY_ELECTION] |= asked;
}

/* What the highest that it reaches says decides. Below it nothing else is believed: in a group
 * whose members all reach each other that is the one who leads. */
static bool follow_highest(struct bully *bully)
{
    uint8_t above = highest(bully);
    if (above == bully->me || bully->follows[above] < above)
        return false;
    settle(bully, bully->follows[above]);
    return true;
}

/* Something has changed: what holds now? */
static void look_again(struct bully *bully, uint64_t now_us)
{
    if (follow_highest(bully))
        return;
    if (highest(bully) == bully->me) {
        if (!bully_leads(bully))
            lead(bully);
        return;
    }
    /* Somebody higher is there and does not say whom to follow. */
    if (bully->state == BULLY_SETTLED)
        call_election(bully, now_us);
}

void bully_start(struct bully *bully, uint8_t me, uint64_t now_us)
{
    CHECK(me >= 1 && me <= LIMIT_NODES);
    *bully = (struct bully) { .me = me, .deadline_us = UINT64_MAX };
    call_election(bully, now_us);
}

void bully_reach(struct bully *bully, uint8_t peer, bool reachable, uint64_t now_us)
{
    CHECK(peer >= 1 && peer <= LIMIT_NODES && peer != bully->me);
    if (reaches(bully, peer) == reachable)
        return;
    bully->reachable ^= bit(peer);
    bully->follows[peer] = 0;
    for (unsigned kind = 1; kind < BULLY_MESSAGES; kind++)
        bully->out[kind] &= (uint8_t)~bit(peer);
    if (reachable && peer < bully->me && bully_leads(bully))
        bully->out[BULLY_COORDINATOR] |= bit(peer);
    if (peer > bully->me)
        look_again(bully, now_us);
}

void bully_heard(struct bully *bully, uint8_t peer, uint8_t follows, uint64_t now_us)
{
    if (!reaches(bully, peer))
        return; /* of a link that is gone */
    bully->follows[peer] = follows <= LIMIT_NODES ? follows : 0;
    if (peer > bully->me)
        look_again(bully, now_us);
    else if (bully_leads(bully) && follows < bully->me)
        bully->out[BULLY_COORDINATOR] |= bit(peer); /* it was lost */
}

void bully_receive(struct bully *bully, uint8_t peer, enum bully_message kind, uint8_t follows,
                   uint64_t now_us)
{
    if (!reaches(bully, peer))
        return;
    if (kind == BULLY_ELECTION && peer < bully->me) {
        bully->out[BULLY_ANSWER] |= bit(peer);
        if (bully->state == BULLY_SETTLED && !bully_leads(bully) && !follow_highest(bully))
            call_election(bully, now_us);
    } else if (kind == BULLY_ANSWER && peer > bully->me && bully->state == BULLY_ASKS) {
        bully->state = BULLY_WAITS;
        bully->deadline_us = now_us + BULLY_PATIENCE_US + bully->pause_us;
    }
    bully_heard(bully, peer, follows, now_us);
}

void bully_tick(struct bully *bully, uint64_t now_us)
{
    if (now_us < bully->deadline_us)
        return;
    if (bully->state == BULLY_ASKS) {
        /* Whoever is higher does not answer, whatever the links say: until it does, this one leads. */
        lead(bully);
        return;
    }
    CHECK(bully->state == BULLY_WAITS);
    bully->pause_us = bully->pause_us ? bully->pause_us * 2 : BULLY_PATIENCE_US;
    if (bully->pause_us > BULLY_PAUSE_MOST_US)
        bully->pause_us = BULLY_PAUSE_MOST_US;
    call_election(bully, now_us);
}
