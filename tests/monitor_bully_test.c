/* Who leads the monitors: small cases by hand, and a thousand seeds of crashes, partitions of every
 * shape and lost messages, each of which must end with one leader per group that reaches itself. */
#include "core/monitor/bully.h"

#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, STEP = 10 * MS, HEARTBEAT = 500 * MS, NOTICE = 2000 * MS, QUEUE = 4096 };

/* --- by hand ------------------------------------------------------------------------------------*/

static uint8_t bit(uint8_t slot)
{
    return (uint8_t)(1u << (slot - 1));
}

static void alone_it_leads(void **state)
{
    (void)state;
    struct bully bully;
    bully_start(&bully, 3, 1);
    assert_true(bully_leads(&bully));
    assert_int_equal(bully_due_us(&bully), UINT64_MAX);
    assert_int_equal(bully.out[BULLY_ELECTION], 0);
}

static void whoever_is_higher_is_asked(void **state)
{
    (void)state;
    struct bully bully;
    bully_start(&bully, 2, 1);
    bully_reach(&bully, 1, true, 2);
    assert_int_equal(bully.out[BULLY_COORDINATOR], bit(1));
    bully_reach(&bully, 3, true, 3);
    assert_int_equal(bully.leader, 0);
    assert_int_equal(bully.out[BULLY_ELECTION], bit(3));
    assert_int_equal(bully_due_us(&bully), 3 + BULLY_ANSWER_US);
    /* It answers, and has no leader itself yet: it is waited for, and asked again after pauses that grow. */
    bully_receive(&bully, 3, BULLY_ANSWER, 0, 4);
    assert_int_equal(bully_due_us(&bully), 4 + BULLY_PATIENCE_US);
    uint64_t now = 4 + BULLY_PATIENCE_US;
    static const uint64_t waits[] = { 2, 3, 5, 9, 9, 9 };
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        bully.out[BULLY_ELECTION] = 0;
        bully_tick(&bully, now);
        assert_int_equal(bully.out[BULLY_ELECTION], bit(3));
        bully_receive(&bully, 3, BULLY_ANSWER, 0, now);
        assert_int_equal(bully_due_us(&bully) - now, waits[i] * BULLY_PATIENCE_US);
        now = bully_due_us(&bully);
    }
    bully_receive(&bully, 3, BULLY_COORDINATOR, 3, now);
    assert_int_equal(bully.leader, 3);
    assert_int_equal(bully_due_us(&bully), UINT64_MAX);
}

static void who_does_not_answer_is_gone(void **state)
{
    (void)state;
    struct bully bully;
    bully_start(&bully, 2, 1);
    bully_reach(&bully, 1, true, 1);
    bully_reach(&bully, 3, true, 1);
    bully.out[BULLY_COORDINATOR] = 0;
    bully_tick(&bully, BULLY_ANSWER_US);
    assert_int_equal(bully.leader, 0);
    bully_tick(&bully, 1 + BULLY_ANSWER_US);
    assert_true(bully_leads(&bully));
    assert_int_equal(bully.out[BULLY_COORDINATOR], bit(1));
    /* It was only slow: it bullies. */
    bully_heard(&bully, 3, 3, 2 + BULLY_ANSWER_US);
    assert_int_equal(bully.leader, 3);
}

static void the_highest_bullies(void **state)
{
    (void)state;
    struct bully bully;
    bully_start(&bully, 3, 1);
    bully_reach(&bully, 1, true, 2);
    bully_reach(&bully, 2, true, 2);
    bully.out[BULLY_COORDINATOR] = 0;
    bully_heard(&bully, 1, 2, 3);
    assert_int_equal(bully.out[BULLY_COORDINATOR], bit(1));
    assert_true(bully_leads(&bully));
    bully.out[BULLY_COORDINATOR] = 0;
    bully_receive(&bully, 2, BULLY_ELECTION, 0, 4);
    assert_int_equal(bully.out[BULLY_ANSWER], bit(2));
    assert_int_equal(bully.out[BULLY_COORDINATOR], bit(2));
    /* One that is gone is told nothing. */
    bully_reach(&bully, 2, false, 5);
    assert_int_equal(bully.out[BULLY_ANSWER] | bully.out[BULLY_COORDINATOR], 0);
    bully_receive(&bully, 2, BULLY_ELECTION, 0, 6);
    assert_int_equal(bully.out[BULLY_ANSWER], 0);
}

static void whom_it_does_not_reach_it_follows_by_hearsay(void **state)
{
    (void)state;
    struct bully bully;
    bully_start(&bully, 1, 1);
    bully_reach(&bully, 2, true, 1);
    bully_receive(&bully, 2, BULLY_ANSWER, 3, 2);
    assert_int_equal(bully.leader, 3);
    /* The leader dies; the one who told is electing, then leads itself. */
    bully_heard(&bully, 2, 0, 3);
    assert_int_equal(bully.leader, 0);
    bully_heard(&bully, 2, 2, 4);
    assert_int_equal(bully.leader, 2);
    /* Nonsense settles nothing. */
    bully_heard(&bully, 2, 200, 5);
    assert_int_equal(bully.leader, 0);
    bully_reach(&bully, 2, false, 6);
    assert_true(bully_leads(&bully));
    /* Whom somebody followed before is no word of today. */
    bully_reach(&bully, 2, true, 7);
    bully_heard(&bully, 2, 3, 8);
    bully_reach(&bully, 2, false, 9);
    bully_reach(&bully, 2, true, 10);
    assert_int_equal(bully.leader, 0);
}

/* --- a group of them ----------------------------------------------------------------------------*/

struct message {
    uint64_t at;
    uint64_t link; /* which connection carries it */
    uint8_t from;
    uint8_t to;
    uint8_t kind; /* 0: a heartbeat */
    uint8_t follows;
};

struct group {
    struct random random;
    uint64_t now;
    uint8_t count;
    bool up[LIMIT_NODES + 1];
    struct bully members[LIMIT_NODES + 1];
    uint64_t beat_at[LIMIT_NODES + 1];
    uint8_t cut[LIMIT_NODES + 1]; /* bits: from here to there nothing arrives */
    uint64_t heard_at[LIMIT_NODES + 1][LIMIT_NODES + 1]; /* 0: no link */
    uint64_t link[LIMIT_NODES + 1][LIMIT_NODES + 1];
    uint64_t links;
    struct message queue[QUEUE];
    uint32_t queued;
    uint32_t loss_pct;
    uint32_t delay_most;
    uint64_t sent;
};

static bool passes(const struct group *group, uint8_t from, uint8_t to)
{
    return group->up[from] && group->up[to] && !(group->cut[from] & bit(to));
}

static void post(struct group *group, uint8_t from, uint8_t to, uint8_t kind)
{
    group->sent += kind != 0;
    if (random_below(&group->random, 100) < group->loss_pct)
        return;
    assert_true(group->queued < QUEUE);
    group->queue[group->queued++] =
        (struct message) { .at = group->now + random_between(&group->random, 1, group->delay_most),
                           .link = group->link[from][to],
                           .from = from,
                           .to = to,
                           .kind = kind,
                           .follows = group->members[from].leader };
}

static void post_all(struct group *group, uint8_t from)
{
    struct bully *bully = &group->members[from];
    for (uint8_t kind = 1; kind < BULLY_MESSAGES; kind++) {
        for (uint8_t to = 1; to <= group->count; to++)
            if (bully->out[kind] & bit(to))
                post(group, from, to, kind);
        bully->out[kind] = 0;
    }
}

static void unlink_both(struct group *group, uint8_t a, uint8_t b)
{
    group->link[a][b] = group->link[b][a] = 0;
    for (int turn = 0; turn < 2; turn++, a ^= b, b ^= a, a ^= b) {
        if (group->up[a])
            bully_reach(&group->members[a], b, false, group->now);
        post_all(group, a);
    }
}

/* A link is there when both directions pass; one that is silent for NOTICE is given up. */
static void keep_links(struct group *group)
{
    for (uint8_t a = 1; a <= group->count; a++) {
        for (uint8_t b = (uint8_t)(a + 1); b <= group->count; b++) {
            bool good = passes(group, a, b) && passes(group, b, a);
            uint64_t heard = group->heard_at[a][b] < group->heard_at[b][a] ? group->heard_at[a][b]
                                                                           : group->heard_at[b][a];
            if (group->link[a][b] &&
                (!group->up[a] || !group->up[b] || group->now - heard > NOTICE))
                unlink_both(group, a, b);
            if (group->link[a][b] || !good || random_below(&group->random, 20))
                continue;
            group->link[a][b] = group->link[b][a] = ++group->links;
            group->heard_at[a][b] = group->heard_at[b][a] = group->now;
            bully_reach(&group->members[a], b, true, group->now);
            bully_reach(&group->members[b], a, true, group->now);
            post_all(group, a);
            post_all(group, b);
        }
    }
}

static void deliver(struct group *group)
{
    for (uint32_t i = 0; i < group->queued;) {
        const struct message message = group->queue[i];
        if (message.at > group->now) {
            i++;
            continue;
        }
        group->queue[i] = group->queue[--group->queued];
        uint8_t to = message.to;
        if (!message.link || message.link != group->link[to][message.from] ||
            !passes(group, message.from, to))
            continue;
        struct bully *bully = &group->members[to];
        group->heard_at[to][message.from] = group->now;
        if (message.kind)
            bully_receive(bully, message.from, (enum bully_message)message.kind, message.follows,
                          group->now);
        else
            bully_heard(bully, message.from, message.follows, group->now);
        post_all(group, to);
    }
}

static void run(struct group *group, uint64_t until)
{
    for (; group->now < until; group->now += STEP) {
        keep_links(group);
        deliver(group);
        for (uint8_t slot = 1; slot <= group->count; slot++) {
            struct bully *bully = &group->members[slot];
            if (!group->up[slot])
                continue;
            bully_tick(bully, group->now);
            post_all(group, slot);
            if (group->now < group->beat_at[slot])
                continue;
            group->beat_at[slot] = group->now + HEARTBEAT;
            for (uint8_t to = 1; to <= group->count; to++)
                if (group->link[slot][to])
                    post(group, slot, to, 0);
        }
    }
}

static void start(struct group *group, uint8_t slot)
{
    group->up[slot] = true;
    bully_start(&group->members[slot], slot, group->now);
}

static void end(struct group *group, uint8_t slot)
{
    group->up[slot] = false;
    for (uint8_t other = 1; other <= group->count; other++)
        if (group->link[slot][other])
            unlink_both(group, slot, other);
}

static void break_something(struct group *group)
{
    struct random *random = &group->random;
    uint8_t slot = (uint8_t)random_between(random, 1, group->count);
    switch (random_below(random, 6)) {
    case 0:
        if (group->up[slot])
            end(group, slot);
        else
            start(group, slot);
        break;
    case 1: /* one way, or back */
        group->cut[slot] ^= bit((uint8_t)random_between(random, 1, group->count));
        break;
    case 2: /* split in two */
        for (uint8_t other = 1; other <= group->count; other++)
            group->cut[other] = 0;
        for (uint8_t a = 1; a <= group->count; a++)
            for (uint8_t b = 1; b <= group->count; b++)
                if ((a <= slot) != (b <= slot))
                    group->cut[a] |= bit(b);
        break;
    case 3: /* alone */
        group->cut[slot] = 0xff;
        break;
    case 4:
        memset(group->cut, 0, sizeof group->cut);
        break;
    default:
        group->loss_pct = (uint32_t)random_below(random, 40);
        group->delay_most = (uint32_t)random_between(random, STEP, 400 * MS);
        break;
    }
}

static uint8_t neighbours(const struct group *group, uint8_t slot)
{
    uint8_t set = bit(slot);
    for (uint8_t other = 1; other <= group->count; other++)
        if (other != slot && passes(group, slot, other) && passes(group, other, slot))
            set |= bit(other);
    return set;
}

/* Is what it reaches, itself included, the same for each of them? */
static bool is_a_group(const struct group *group, uint8_t slot)
{
    uint8_t set = neighbours(group, slot);
    for (uint8_t other = 1; other <= group->count; other++)
        if (set & bit(other) && neighbours(group, other) != set)
            return false;
    return true;
}

struct tally {
    unsigned groups;
    unsigned loners;
    unsigned partial;
};

static void judge(struct group *group, uint64_t seed, struct tally *tally)
{
    uint64_t quiet = group->sent;
    run(group, group->now + 30000 * MS);
    for (uint8_t slot = 1; slot <= group->count; slot++) {
        const struct bully *bully = &group->members[slot];
        if (!group->up[slot])
            continue;
        uint8_t highest = LIMIT_NODES;
        while (!(neighbours(group, slot) & bit(highest)))
            highest--;
        uint8_t expected = highest;
        if (is_a_group(group, slot)) {
            tally->groups++;
            tally->loners += neighbours(group, slot) == bit(slot);
        } else {
            tally->partial++;
            expected = highest == slot ? slot : group->members[highest].leader;
        }
        if (bully->leader != expected || bully->state != BULLY_SETTLED)
            fail_msg("seed %llu: %u follows %u and not %u", (unsigned long long)seed, slot,
                     bully->leader, expected);
    }
    if (group->sent != quiet)
        fail_msg("seed %llu: elections go on", (unsigned long long)seed);
}

static void one_leader_per_group_in_the_end(void **state)
{
    (void)state;
    static struct group group;
    struct tally tally = { 0 };
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        group = (struct group) { .now = 1000 * MS, .delay_most = 20 * MS };
        random_seed(&group.random, seed);
        group.count = (uint8_t)random_between(&group.random, 1, LIMIT_NODES);
        for (uint8_t slot = 1; slot <= group.count; slot++)
            start(&group, slot);
        uint64_t until = group.now + 60000 * MS;
        while (group.now < until) {
            run(&group, group.now + random_between(&group.random, 10, 5000) * MS);
            break_something(&group);
        }
        group.loss_pct = 0;
        group.delay_most = 50 * MS;
        uint64_t shape = random_below(&group.random, 3);
        if (shape == 0) /* whole again */
            memset(group.cut, 0, sizeof group.cut);
        for (uint8_t slot = 1; shape == 1 && slot <= group.count; slot++)
            group.cut[slot] |= (uint8_t)(random_u64(&group.random) & random_u64(&group.random));
        run(&group, group.now + 30000 * MS);
        judge(&group, seed, &tally);
    }
    print_message("%u in groups (%u alone), %u not\n", tally.groups, tally.loners, tally.partial);
    assert_true(tally.groups > 1000 && tally.partial > 300 && tally.loners > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_leads),
        cmocka_unit_test(whoever_is_higher_is_asked),
        cmocka_unit_test(who_does_not_answer_is_gone),
        cmocka_unit_test(the_highest_bullies),
        cmocka_unit_test(whom_it_does_not_reach_it_follows_by_hearsay),
        cmocka_unit_test(one_leader_per_group_in_the_end),
    };
    return cmocka_run_group_tests_name("monitor_bully", tests, NULL, NULL);
}
