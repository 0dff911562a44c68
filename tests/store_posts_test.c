/* Queries for posts against a naive model that keeps every posting in one array. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/random.h"

enum { ROOMS = 7, POSTINGS_MAX = TEST_LOG_MAX };

struct model {
    uint32_t count;
    struct {
        uint32_t room;
        struct posting posting;
    } all[POSTINGS_MAX];
    uint64_t seqs[ROOMS + 1];
};

struct record {
    uint8_t kind;
    uint32_t room;
    uint64_t seq;
    uint64_t index;
};

static struct model model;
static uint8_t answer_bytes[1 << 20];

static void note(struct test_store *test, struct random *random, uint64_t index)
{
    uint64_t dice = random_below(random, 10);
    if (dice < 2)
        return; /* a command that is no post */
    uint32_t room = 1 + (uint32_t)random_below(random, random_below(random, 2) ? 2 : ROOMS);
    bool event = dice < 4;
    model.seqs[room] += !event;
    struct posting posting = { index, model.seqs[room], event };
    model.all[model.count].room = room;
    model.all[model.count++].posting = posting;
    store_index(test->store, room, posting.seq, index, event);
}

/* Parses an answer, proving each body. */
static uint32_t parse(struct test_store *test, const struct store_answer *answer,
                      struct record *records)
{
    struct reader reader = reader_of(answer_bytes, answer->len);
    uint8_t expected[4096];
    for (uint32_t i = 0; i < answer->records; i++) {
        records[i].kind = read_u8(&reader);
        records[i].room = read_u32(&reader);
        records[i].seq = read_u64(&reader);
        records[i].index = read_u64(&reader);
        uint64_t time_us = read_u64(&reader);
        struct slice body = read_slice32(&reader);
        assert_false(reader.bad);
        if (records[i].kind == STORE_SKIPPED) {
            assert_int_equal(body.len, 0);
            continue;
        }
        assert_true(time_us > 0);
        uint64_t term = test->log.terms[records[i].index];
        assert_int_equal(test_body(records[i].index, term, expected), body.len);
        assert_memory_equal(expected, body.data, body.len);
    }
    assert_true(reader_finished(&reader));
    return answer->records;
}

static void check_by_seq(struct test_store *test, struct random *random)
{
    uint32_t room = 1 + (uint32_t)random_below(random, ROOMS + 1);
    uint64_t newest = room <= ROOMS ? model.seqs[room] : 0;
    struct store_query query = { .room = room, .seq_from = random_below(random, newest + 3) };
    query.seq_to = query.seq_from + random_below(random, 60);
    query.max_records = 1 + (uint32_t)random_below(random, 50);
    size_t capacity =
        random_below(random, 3) ? sizeof answer_bytes : 4000 + random_below(random, 4000);
    struct store_answer answer;
    static struct record got[4096];
    assert_int_equal(store_read_posts(test->store, &query, answer_bytes, capacity, &answer), FT_OK);
    uint32_t count = parse(test, &answer, got);
    uint32_t at = 0;
    bool more = false;
    for (uint32_t i = 0; i < model.count; i++) {
        const struct posting *posting = &model.all[i].posting;
        if (model.all[i].room != room || posting->event || posting->seq < query.seq_from ||
            posting->seq > query.seq_to)
            continue;
        if (at == count) {
            more = true;
            break;
        }
        assert_int_equal(got[at].kind, STORE_POST);
        assert_int_equal(got[at].room, room);
        assert_int_equal(got[at].seq, posting->seq);
        assert_int_equal(got[at].index, posting->index);
        at++;
    }
    assert_int_equal(at, count);
    assert_int_equal(answer.more, more);
    assert_true(!more || count > 0);
}

/* Follows a merged query page by page to its end, as a catching-up reader does. */
static void check_merged(struct test_store *test, struct random *random)
{
    struct store_room_range ranges[ROOMS];
    bool told[ROOMS] = { false };
    uint64_t after[ROOMS];
    uint32_t rooms = 0;
    uint64_t upto = random_below(random, test->log.last + 1);
    for (uint32_t room = 1; room <= ROOMS; room++) {
        if (random_below(random, 3) == 0)
            continue;
        ranges[rooms] = (struct store_room_range) {
            .room = room,
            .after_index = random_below(random, test->log.last),
            .upto_index = upto,
            .from_seq = random_below(random, 2) ? 0 : random_below(random, model.seqs[room] + 2)
        };
        after[rooms] = ranges[rooms].after_index;
        rooms++;
    }
    if (!rooms)
        return;
    static struct record got[4096];
    uint32_t count = 0;
    struct store_answer answer;
    do {
        struct store_query query = { .rooms_count = rooms, .rooms = ranges };
        query.max_records = 1 + (uint32_t)random_below(random, 80);
        size_t capacity =
            random_below(random, 3) ? sizeof answer_bytes : 4000 + random_below(random, 4000);
        assert_int_equal(store_read_posts(test->store, &query, answer_bytes, capacity, &answer),
                         FT_OK);
        uint32_t page = parse(test, &answer, got + count);
        for (uint32_t i = count; i < count + page; i++)
            for (uint32_t r = 0; r < rooms; r++)
                if (got[i].kind == STORE_SKIPPED && got[i].room == ranges[r].room) {
                    assert_false(ranges[r].skip_told);
                    ranges[r].skip_told = true;
                }
        count += page;
        for (uint32_t r = 0; r < rooms; r++)
            if (answer.last_index > ranges[r].after_index)
                ranges[r].after_index = answer.last_index;
        assert_true(!answer.more || page > 0);
    } while (answer.more);
    uint32_t at = 0;
    for (uint32_t i = 0; i < model.count; i++) {
        const struct posting *posting = &model.all[i].posting;
        uint32_t r = 0;
        while (r < rooms && ranges[r].room != model.all[i].room)
            r++;
        if (r == rooms || posting->index <= after[r] || posting->index > upto)
            continue;
        bool skipped = !posting->event && posting->seq < ranges[r].from_seq;
        if (skipped && told[r])
            continue;
        assert_true(at < count);
        assert_int_equal(got[at].room, ranges[r].room);
        assert_int_equal(got[at].seq, posting->seq);
        if (skipped) {
            uint64_t last = posting->seq;
            for (uint32_t k = i; k < model.count && model.all[k].posting.index <= upto; k++)
                if (model.all[k].room == ranges[r].room && !model.all[k].posting.event &&
                    model.all[k].posting.seq < ranges[r].from_seq)
                    last = model.all[k].posting.seq;
            assert_int_equal(got[at].kind, STORE_SKIPPED);
            assert_int_equal(got[at].index, last);
            told[r] = true;
        } else {
            assert_int_equal(got[at].kind, posting->event ? STORE_EVENT : STORE_POST);
            assert_int_equal(got[at].index, posting->index);
        }
        at++;
    }
    assert_int_equal(at, count);
}

static void reindex_after(struct test_store *test, uint64_t index)
{
    for (uint32_t i = 0; i < model.count; i++) {
        const struct posting *posting = &model.all[i].posting;
        if (posting->index > index)
            store_index(test->store, model.all[i].room, posting->seq, posting->index,
                        posting->event);
    }
}

static uint64_t newest_full(struct store *store)
{
    uint64_t index = 0;
    for (size_t i = 0; i < store->segments_count; i++)
        if (segment_full(&store->segments[i], store->segment_bytes))
            index = store->segments[i].last;
    return index;
}

static void pages_are_those_of_the_naive_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct random random;
        random_seed(&random, seed);
        memset(&model, 0, sizeof model);
        struct test_store *test = test_store_new(seed, seed % 2 ? 9000 : 60000);
        assert_int_equal(test_store_open(test), FT_OK);
        const struct test_flush form = { .save_cluster = true, .save_vote = true, .term = 1 };
        assert_int_equal(test_flush(test, &form), FT_OK);
        uint64_t checkpoints = 0;
        for (int round = 0; round < 60; round++) {
            struct test_flush flush = { .entries = 1 + (uint32_t)random_below(&random, 6),
                                        .count = 1 + (uint32_t)random_below(&random, 12),
                                        .term = 1 };
            uint64_t last = test->log.last;
            assert_int_equal(test_flush(test, &flush), FT_OK);
            while (last < test->log.last)
                note(test, &random, ++last);
            uint64_t full = newest_full(test->store);
            if (round % 7 == 6 && full > test->store->indexed_last) {
                struct slice bytes = { (const uint8_t *)"s", 1 };
                assert_int_equal(store_checkpoint(test->store, full, bytes), FT_OK);
                checkpoints++;
            }
            if (round % 13 == 12) {
                test_store_close(test);
                assert_int_equal(test_store_open(test), FT_OK);
                reindex_after(test, test->recovery.checkpoint_index);
            }
            for (int i = 0; i < 5; i++) {
                check_by_seq(test, &random);
                check_merged(test, &random);
            }
        }
        assert_true(checkpoints > 1);
        test_store_free(test);
    }
}

static void what_is_not_durable_is_not_given_but_told(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(1, TEST_SEGMENT_BYTES);
    assert_int_equal(test_store_open(test), FT_OK);
    const struct test_flush flush = { .save_cluster = true, .entries = 2, .count = 2, .term = 1 };
    assert_int_equal(test_flush(test, &flush), FT_OK);
    for (uint64_t index = 1; index <= 6; index++)
        store_index(test->store, 1, index, index, false);
    struct store_room_range range = { .room = 1, .upto_index = 6 };
    struct store_query query = { .rooms_count = 1, .rooms = &range, .max_records = 100 };
    struct store_answer answer;
    assert_int_equal(
        store_read_posts(test->store, &query, answer_bytes, sizeof answer_bytes, &answer), FT_OK);
    assert_int_equal(answer.records, 4);
    assert_int_equal(answer.last_index, 4);
    assert_true(answer.more);
    query = (struct store_query) { .room = 1, .seq_from = 3, .seq_to = 6, .max_records = 100 };
    assert_int_equal(
        store_read_posts(test->store, &query, answer_bytes, sizeof answer_bytes, &answer), FT_OK);
    assert_int_equal(answer.records, 2);
    assert_true(answer.more);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_those_of_the_naive_model),
        cmocka_unit_test(what_is_not_durable_is_not_given_but_told),
    };
    return cmocka_run_group_tests_name("store_posts", tests, NULL, NULL);
}
