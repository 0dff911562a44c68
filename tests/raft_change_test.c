/* Changes of the members that a leader refuses, and configurations that are none. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Three voters and a learner in slot 4. */
static struct rafts *elected(uint8_t *leader)
{
    struct rafts *world = rafts_new(4, 7);
    rafts_form_with(world, 1u << 1 | 1u << 2 | 1u << 3, 1u << 4);
    *leader = rafts_elect(world);
    rafts_run(world, 100000);
    return world;
}

static struct raft_member *seat(struct raft_config *config, uint8_t slot)
{
    unsigned at = 0;
    while (config->members[at].slot != slot)
        at++;
    assert_true(at < config->count);
    return &config->members[at];
}

static void nothing_changes_while_leadership_is_handed_over(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(&leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft);
    seat(&config, 4)->address.port = 7;
    assert_true(raft_transfer(raft, 0, world->now, OUT(world, leader)));
    assert_false(raft_propose_config(raft, &config, world->now));
    raft->transfer_to = 0;
    assert_true(raft_propose_config(raft, &config, world->now));
    rafts_free(world);
}

static void a_leader_may_leave_its_seat_to_nobody(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(&leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft);
    seat(&config, leader)->voter = false;
    seat(&config, leader)->identity[0] ^= 1; /* to another: only when it is gone */
    assert_false(raft_propose_config(raft, &config, world->now));
    seat(&config, leader)->identity[0] ^= 1;
    seat(&config, leader)->vacant = true;
    assert_true(raft_propose_config(raft, &config, world->now));
    rafts_end_turn(world, leader);
    rafts_run(world, 1000000);
    assert_int_not_equal(rafts_leader(world), leader);
    assert_int_not_equal(rafts_leader(world), 0);
    rafts_free(world);
}

static void a_slot_has_one_seat(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(&leader);
    struct raft *raft = rafts_raft(world, leader);
    struct raft_config config = *raft_latest_config(raft);
    struct raft_member *second = &config.members[config.count++];
    *second = (struct raft_member) { .slot = 4, .identity = { 0x77 } };
    assert_false(raft_propose_config(raft, &config, world->now));
    second->slot = 5;
    assert_true(raft_propose_config(raft, &config, world->now));
    rafts_free(world);
}

static void a_host_has_at_most_its_limit(void **state)
{
    (void)state;
    uint8_t body[RAFT_CONFIG_BYTES + 256];
    for (unsigned len = 0; len <= 255; len++) {
        struct writer writer = writer_of(body, sizeof body);
        uint8_t host[255] = { 'h' }, identity[IDENTITY_BYTES] = { 1 };
        write_u8(&writer, 1);
        write_u8(&writer, 1);
        write_u8(&writer, 1);
        write_copy(&writer, identity, sizeof identity);
        write_u16(&writer, 7101);
        write_slice8(&writer, host, len);
        struct raft_config config;
        bool good = raft_config_decode(&config, body, writer_used(&writer));
        assert_int_equal(good, len <= LIMIT_HOST_BYTES);
        if (good)
            assert_int_equal(config.members[0].address.host_len, len);
    }
}

/* A learner's answers count for no read, however many it gives. */
static void a_learner_confirms_no_read(void **state)
{
    (void)state;
    uint8_t leader;
    struct rafts *world = elected(&leader);
    struct raft *raft = rafts_raft(world, leader);
    for (uint8_t slot = 1; slot <= 3; slot++) {
        if (slot != leader)
            rafts_cut(world, leader, slot, LINK_TIMED_OUT);
    }
    uint64_t index;
    uint64_t ticket = raft_read(raft, &index);
    assert_int_not_equal(ticket, 0);
    for (int i = 0; i < 5; i++) {
        rafts_end_turn(world, leader);
        rafts_deliver_all(world, leader, 4);
        rafts_deliver_all(world, 4, leader);
    }
    assert_int_equal(raft->peers[4].round_acked, raft->round);
    assert_true(raft_read_confirmed(raft) < ticket);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changes_while_leadership_is_handed_over),
        cmocka_unit_test(a_leader_may_leave_its_seat_to_nobody),
        cmocka_unit_test(a_slot_has_one_seat),
        cmocka_unit_test(a_host_has_at_most_its_limit),
        cmocka_unit_test(a_learner_confirms_no_read),
    };
    return cmocka_run_group_tests_name("raft_change", tests, NULL, NULL);
}
