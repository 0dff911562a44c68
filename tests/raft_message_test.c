/* Raft's messages: there and back, and every way of being cut short or spoilt. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const uint8_t chain[HASH_BYTES] = { 1, 2, 3 };

static const struct raft_message samples[] = {
    { .kind = RAFT_APPEND,
      .term = 3,
      .append = { APPEND_WANTS_REPLY | APPEND_HAS_CHAIN, 5, 6, 7, 8, 2, 9, 10, 11, chain, { 0 } } },
    { .kind = RAFT_APPEND, .term = 1, .append = { .session = 1 } },
    { .kind = RAFT_APPEND_REPLY,
      .term = 4,
      .append_reply = { REPLY_AT_ONCE | REPLY_DISK_FULL, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } },
    { .kind = RAFT_APPEND_REPLY,
      .term = 4,
      .append_reply = { .flags = REPLY_REJECTED, .rejected = 9, .conflict_index = 9 } },
    { .kind = RAFT_VOTE_REQUEST, .term = 5, .vote_request = { VOTE_PRE, 1, 2, 3 } },
    { .kind = RAFT_VOTE_REQUEST, .term = 5, .vote_request = { VOTE_TRANSFER, 1, 2, 3 } },
    { .kind = RAFT_VOTE_REPLY, .term = 6, .vote_reply = { VOTE_GRANTED, 5, 4, 3, 2 } },
    { .kind = RAFT_TIMEOUT_NOW, .term = 7 },
};
enum { SAMPLES = sizeof samples / sizeof samples[0] };

static bool decode(struct raft_message *message, const uint8_t *data, size_t len)
{
    return raft_message_decode(message, (struct slice) { data, len });
}

static void there_and_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint8_t first[RAFT_HEAD_BYTES], second[RAFT_HEAD_BYTES];
        struct raft_message message;
        size_t len = raft_message_encode(&samples[i], first, sizeof first);
        assert_int_equal(first[0], PEER_RAFT);
        assert_true(decode(&message, first + 1, len - 1));
        assert_int_equal(message.kind, samples[i].kind);
        assert_int_equal(message.term, samples[i].term);
        assert_int_equal(raft_message_encode(&message, second, sizeof second), len);
        assert_memory_equal(first, second, len);
    }
    uint8_t head[RAFT_HEAD_BYTES];
    struct raft_message message;
    size_t len = raft_message_encode(&samples[0], head, sizeof head);
    assert_true(decode(&message, head + 1, len - 1));
    assert_int_equal(message.append.session, 5);
    assert_int_equal(message.append.round, 6);
    assert_int_equal(message.append.sent_us, 7);
    assert_int_equal(message.append.prev_index, 8);
    assert_int_equal(message.append.prev_term, 2);
    assert_int_equal(message.append.commit, 9);
    assert_int_equal(message.append.heartbeat_us, 10);
    assert_int_equal(message.append.timeout_us, 11);
    assert_memory_equal(message.append.chain, chain, HASH_BYTES);
    len = raft_message_encode(&samples[2], head, sizeof head);
    assert_true(decode(&message, head + 1, len - 1));
    assert_int_equal(message.append_reply.match, 5);
    assert_int_equal(message.append_reply.accepted, 6);
    assert_int_equal(message.append_reply.rejected, 7);
    assert_int_equal(message.append_reply.conflict_index, 8);
    assert_int_equal(message.append_reply.conflict_term, 9);
    assert_int_equal(message.append_reply.wall_us, 10);
    assert_int_equal(message.append_reply.room, 11);
    assert_int_equal(message.append_reply.flush_us, 12);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint8_t head[RAFT_HEAD_BYTES];
        struct raft_message message;
        size_t len = raft_message_encode(&samples[i], head, sizeof head);
        for (size_t cut = 1; cut < len; cut++)
            assert_false(decode(&message, head + 1, cut - 1));
        if (samples[i].kind != RAFT_APPEND) /* what follows an append is entries */
            assert_false(decode(&message, head + 1, len));
    }
}

static void every_single_byte_changed_is_survived(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint8_t head[RAFT_HEAD_BYTES], again[RAFT_HEAD_BYTES];
        size_t len = raft_message_encode(&samples[i], head, sizeof head);
        for (size_t at = 1; at < len; at++) {
            for (unsigned value = 0; value < 256; value++) {
                struct raft_message message;
                uint8_t before = head[at];
                head[at] = (uint8_t)value;
                /* Whatever is accepted is what would be said so. */
                if (decode(&message, head + 1, len - 1) &&
                    (message.kind != RAFT_APPEND || message.append.entries.len == 0)) {
                    assert_int_equal(raft_message_encode(&message, again, sizeof again), len);
                    assert_memory_equal(again, head, len);
                }
                head[at] = before;
            }
        }
    }
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct raft_message bad[] = {
        { .kind = RAFT_APPEND, .term = 3, .append = { .prev_index = 4 } },
        { .kind = RAFT_APPEND, .term = 3, .append = { .prev_term = 2 } },
        { .kind = RAFT_APPEND, .term = 3, .append = { .flags = 64 } },
        { .kind = RAFT_APPEND_REPLY, .term = 3, .append_reply = { .match = 2, .accepted = 1 } },
        { .kind = RAFT_APPEND_REPLY,
          .term = 3,
          .append_reply = { .flags = REPLY_REJECTED, .rejected = 1, .conflict_index = 2 } },
        { .kind = RAFT_APPEND_REPLY, .term = 3, .append_reply = { .flags = 128 } },
        { .kind = RAFT_VOTE_REQUEST,
          .term = 3,
          .vote_request = { .flags = VOTE_PRE | VOTE_TRANSFER } },
        { .kind = RAFT_VOTE_REQUEST, .term = 3, .vote_request = { .flags = 4 } },
        { .kind = RAFT_VOTE_REPLY, .term = 3, .vote_reply = { .leader = LIMIT_NODES + 1 } },
        { .kind = RAFT_VOTE_REPLY, .term = 3, .vote_reply = { .flags = 4 } },
        { .kind = RAFT_TIMEOUT_NOW, .term = UINT64_MAX },
        { .kind = (enum raft_message_kind)6, .term = 3 },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t head[RAFT_HEAD_BYTES];
        struct raft_message message;
        size_t len = raft_message_encode(&bad[i], head, sizeof head);
        assert_false(decode(&message, head + 1, len - 1));
    }
    uint8_t zero_term[9] = { RAFT_TIMEOUT_NOW };
    struct raft_message message;
    assert_false(decode(&message, zero_term, sizeof zero_term));
}

static void configurations_there_and_back(void **state)
{
    (void)state;
    struct raft_config config = { .count = 2 }, again;
    config.members[0] = (struct raft_member) { .slot = 3, .voter = true, .identity = { 9 } };
    config.members[1] = (struct raft_member) { .slot = 1, .identity = { 8 } };
    config.members[1].address = (struct raft_address) { 7101, 2, "h1" };
    uint8_t data[64];
    size_t len = raft_config_encode(&config, data, sizeof data);
    assert_int_equal(len, 1 + 2 * 21 + 2);
    assert_true(raft_config_decode(&again, data, len));
    assert_int_equal(again.count, 2);
    assert_true(raft_config_find(&again, 3)->voter);
    assert_false(raft_config_find(&again, 1)->voter);
    assert_null(raft_config_find(&again, 2));
    assert_int_equal(again.members[0].address.port, 0);
    assert_int_equal(again.members[1].address.port, 7101);
    assert_memory_equal(again.members[1].address.host, "h1", again.members[1].address.host_len);
    assert_int_equal(raft_config_voters(&again), 1);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(raft_config_decode(&again, data, cut));
    assert_false(raft_config_decode(&again, data, len + 1));
    assert_int_equal(raft_config_encode(&config, data, len - 1), 0);
    data[1] = 0;
    assert_false(raft_config_decode(&again, data, len));
    data[1] = 1; /* the same slot twice */
    assert_false(raft_config_decode(&again, data, len));
    data[1] = 3;
    data[2] = 2;
    assert_true(raft_config_decode(&again, data, len));
    assert_true(raft_config_find(&again, 3)->vacant);
    assert_false(raft_member_is(raft_config_find(&again, 3), config.members[0].identity));
    data[2] = 3;
    assert_false(raft_config_decode(&again, data, len));
    data[2] = 1;
    data[0] = LIMIT_NODES + 1;
    assert_false(raft_config_decode(&again, data, len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_single_byte_changed_is_survived),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(configurations_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
