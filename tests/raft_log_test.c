/* The log in memory against a naive one: random appends, truncations (with and without a flush out)
 * and forgetting, the same answers after each step. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CACHE_BYTES = 72 << 10, CACHE_ENTRIES = 40, MODEL = 4000 };

static const uint8_t key[DIGEST_KEY_BYTES] = { 7 };

/* Every entry, by ordinal. */
struct model {
    struct {
        uint64_t first, last, term, time_us;
        uint32_t size;
        uint8_t chain[HASH_BYTES];
    } entries[MODEL];
    unsigned count;
    unsigned forgotten; /* at most these many are out of memory: what was allowed to go */
};

struct fixture {
    struct raft_log log;
    struct model model;
    struct random random;
    uint64_t forgettable;
    uint64_t term;
    struct slice flushing[2]; /* bytes that must not change */
    uint8_t *copies[2];
    uint64_t flushing_last;
    unsigned truncations, refused, forgot;
};

static struct fixture *fixture_new(uint64_t seed)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct raft_log *log = &fixture->log;
    static const uint8_t zeros[HASH_BYTES];
    log->bytes = malloc(CACHE_BYTES);
    log->bytes_capacity = CACHE_BYTES;
    log->metas = malloc(CACHE_ENTRIES * sizeof *log->metas);
    log->metas_capacity = CACHE_ENTRIES;
    log->starts = malloc(LIMIT_LOG_TERMS * sizeof *log->starts);
    raft_log_reset(log, 0, 0, zeros);
    random_seed(&fixture->random, seed);
    fixture->term = 1;
    return fixture;
}

static void fixture_free(struct fixture *fixture)
{
    free(fixture->log.bytes);
    free(fixture->log.metas);
    free(fixture->log.starts);
    free(fixture->copies[0]);
    free(fixture->copies[1]);
    free(fixture);
}

static void flush_ends(struct fixture *fixture)
{
    for (int i = 0; i < 2; i++) {
        if (fixture->flushing[i].len)
            assert_memory_equal(fixture->flushing[i].data, fixture->copies[i],
                                fixture->flushing[i].len);
        fixture->flushing[i].len = 0;
    }
    fixture->flushing_last = 0;
    raft_log_unpin(&fixture->log);
}

static void flush_begins(struct fixture *fixture)
{
    flush_ends(fixture);
    uint64_t after = fixture->forgettable;
    for (int i = 0; i < 2; i++) {
        struct slice run = raft_log_run(&fixture->log, after, 20000, &after);
        fixture->flushing[i] = run;
        fixture->copies[i] = realloc(fixture->copies[i], run.len + 1);
        if (run.len)
            memcpy(fixture->copies[i], run.data, run.len);
    }
    fixture->flushing_last = after;
}

static void append(struct fixture *fixture)
{
    struct model *model = &fixture->model;
    uint8_t bodies[9000] = { 0 };
    uint32_t count = (uint32_t)random_between(&fixture->random, 1, 4), sizes[4], total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += sizes[i] = (uint32_t)random_below(&fixture->random,
                                                   random_below(&fixture->random, 4) ? 200 : 2000);
    bytes_put_u64(bodies, random_u64(&fixture->random));
    size_t size = (size_t)entry_size(count, total);
    if (random_below(&fixture->random, 10) == 0)
        fixture->term++;
    bool reserve = random_below(&fixture->random, 2);
    uint8_t *room = raft_log_room(&fixture->log, size, fixture->forgettable, reserve);
    if (!room) {
        fixture->refused++;
        return;
    }
    struct entry_draft draft = {
        ENTRY_COMMANDS, fixture->log.last + 1, fixture->term, 77, count, sizes, bodies
    };
    draft.time_us += draft.first;
    assert_int_equal(entry_build(room, size, &draft, &rafts_crypto, key, fixture->log.last_chain),
                     size);
    struct entry entry;
    assert_int_equal(entry_parse(&entry, &rafts_crypto, NULL, room, size), ENTRY_WHOLE);
    raft_log_push(&fixture->log, &entry);
    unsigned at = model->count++;
    model->entries[at].first = draft.first;
    model->entries[at].last = draft.first + count - 1;
    model->entries[at].term = draft.term;
    model->entries[at].time_us = draft.time_us;
    model->entries[at].size = (uint32_t)size;
    memcpy(model->entries[at].chain, entry.chain, HASH_BYTES);
}

static void truncate_some(struct fixture *fixture)
{
    struct model *model = &fixture->model;
    unsigned keep = model->count;
    while (keep && model->entries[keep - 1].last > fixture->forgettable &&
           random_below(&fixture->random, 4))
        keep--;
    if (keep == model->count)
        return;
    uint64_t last = keep ? model->entries[keep - 1].last : 0;
    raft_log_truncate(&fixture->log, last, fixture->flushing_last > last);
    if (fixture->flushing_last > last)
        fixture->flushing_last = last;
    model->count = keep;
    fixture->truncations++;
    if (keep)
        fixture->term = fixture->term + 1;
}

static void compare(struct fixture *fixture)
{
    const struct raft_log *log = &fixture->log;
    const struct model *model = &fixture->model;
    uint64_t last = model->count ? model->entries[model->count - 1].last : 0;
    assert_int_equal(log->last, last);
    for (unsigned i = 0; i < model->count; i++) {
        uint64_t index = model->entries[i].last;
        assert_int_equal(raft_log_term(log, index), model->entries[i].term);
        assert_int_equal(raft_log_term(log, model->entries[i].first), model->entries[i].term);
        const struct raft_meta *meta = raft_log_find(log, model->entries[i].first);
        if (!meta) { /* only what was allowed to go is gone */
            assert_true(index <= fixture->forgettable);
            fixture->forgot++;
            continue;
        }
        assert_ptr_equal(meta, raft_log_find(log, index));
        assert_int_equal(meta->first, model->entries[i].first);
        assert_int_equal(meta->size, model->entries[i].size);
        assert_memory_equal(raft_log_chain(log, index), model->entries[i].chain, HASH_BYTES);
        struct entry entry;
        assert_int_equal(entry_parse(&entry, NULL, NULL, raft_log_bytes(log, meta), meta->size),
                         ENTRY_WHOLE);
        assert_int_equal(entry.first, model->entries[i].first);
        assert_true(entry_verify(&entry, &rafts_crypto, key,
                                 i ? model->entries[i - 1].chain : (uint8_t[HASH_BYTES]) { 0 },
                                 raft_log_bytes(log, meta), NULL));
    }
    for (uint64_t term = 0; term <= fixture->term + 1; term++) {
        uint64_t expected = 0;
        for (unsigned i = 0; i < model->count; i++)
            expected = model->entries[i].term <= term ? model->entries[i].last : expected;
        assert_int_equal(raft_log_last_of_term(log, term), expected);
    }
    if (model->count) {
        assert_int_equal(log->last_time_us, model->entries[model->count - 1].time_us);
        assert_memory_equal(log->last_chain, model->entries[model->count - 1].chain, HASH_BYTES);
    }
    assert_true(raft_log_free(log, fixture->forgettable) <= CACHE_BYTES);
}

static void log_is_like_a_naive_one(void **state)
{
    (void)state;
    unsigned truncations = 0, refused = 0, forgot = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *fixture = fixture_new(seed);
        for (int i = 0; i < 300; i++) {
            uint64_t what = random_below(&fixture->random, 20);
            if (what < 12)
                append(fixture);
            else if (what < 13)
                truncate_some(fixture);
            else if (what < 15)
                flush_begins(fixture);
            else if (what < 17)
                flush_ends(fixture);
            else if (fixture->model.count && !fixture->log.pinned && !fixture->flushing_last) {
                unsigned at = (unsigned)random_below(&fixture->random, fixture->model.count);
                if (fixture->model.entries[at].last > fixture->forgettable)
                    fixture->forgettable = fixture->model.entries[at].last;
            }
            compare(fixture);
        }
        truncations += fixture->truncations;
        refused += fixture->refused;
        forgot += fixture->forgot;
        flush_ends(fixture);
        fixture_free(fixture);
    }
    assert_true(truncations > 20);
    assert_true(refused > 20);
    assert_true(forgot > 20);
}

static void runs_end_where_the_ring_wraps(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(3);
    uint64_t last;
    while (fixture->log.head < CACHE_BYTES) {
        append(fixture);
        fixture->forgettable = fixture->log.last > 10 ? fixture->log.last - 10 : 0;
    }
    uint64_t base = fixture->log.base, after = base;
    unsigned runs = 0;
    while (after < fixture->log.last) {
        struct slice run = raft_log_run(&fixture->log, after, 1 << 20, &last);
        assert_true(run.len > 0);
        assert_true(run.data >= fixture->log.bytes);
        assert_true(run.data + run.len <= fixture->log.bytes + CACHE_BYTES);
        after = last;
        runs++;
    }
    assert_int_equal(runs, 2);
    struct slice one = raft_log_run(&fixture->log, base, 1, &last);
    assert_int_equal(one.len, raft_log_find(&fixture->log, base + 1)->size);
    assert_int_equal(raft_log_run(&fixture->log, base - 1, 1, &last).len, 0);
    fixture_free(fixture);
}

static void old_leaderships_are_forgotten_last(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    for (uint64_t term = 1; term <= LIMIT_LOG_TERMS + 1; term++)
        raft_log_add_start(&fixture->log, term * 2, term);
    fixture->log.last = 4 * LIMIT_LOG_TERMS;
    assert_int_equal(raft_log_term(&fixture->log, 5), 0);
    assert_int_equal(raft_log_term(&fixture->log, 2 * LIMIT_LOG_TERMS), LIMIT_LOG_TERMS);
    assert_int_equal(raft_log_term(&fixture->log, 2 * LIMIT_LOG_TERMS + 3), LIMIT_LOG_TERMS + 1);
    assert_int_equal(raft_log_term(&fixture->log, 0), 0);
    fixture_free(fixture);
}

/* One command of a size that makes the entry `size` bytes; false: no room. */
static bool push(struct fixture *fixture, uint32_t count, size_t size)
{
    static uint8_t bodies[CACHE_BYTES];
    uint32_t sizes[4] = { 0 };
    sizes[0] = (uint32_t)(size - entry_size(count, 0));
    uint8_t *room = raft_log_room(&fixture->log, size, fixture->forgettable, false);
    if (!room)
        return false;
    struct entry_draft draft = {
        ENTRY_COMMANDS, fixture->log.last + 1, fixture->term, 1, count, sizes, bodies
    };
    assert_int_equal(entry_build(room, size, &draft, &rafts_crypto, key, fixture->log.last_chain),
                     size);
    struct entry entry;
    assert_int_equal(entry_parse(&entry, &rafts_crypto, NULL, room, size), ENTRY_WHOLE);
    raft_log_push(&fixture->log, &entry);
    return true;
}

static void only_the_end_of_an_entry_has_a_chain(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    assert_true(push(fixture, 4, 300));
    assert_true(push(fixture, 2, 300));
    for (uint64_t index = 1; index <= 6; index++) {
        const uint8_t *chain = raft_log_chain(&fixture->log, index);
        assert_int_equal(chain != NULL, index == 4 || index == 6);
        assert_int_equal(raft_log_term(&fixture->log, index), 1);
    }
    assert_int_equal(raft_log_term(&fixture->log, 7), 0);
    assert_null(raft_log_chain(&fixture->log, 7));
    fixture_free(fixture);
}

/* Its chain is what the next one follows. */
static void the_last_entry_is_not_forgotten(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    assert_true(push(fixture, 1, CACHE_BYTES / 2 + 100));
    fixture->forgettable = fixture->log.last;
    assert_false(push(fixture, 1, CACHE_BYTES / 2 + 100));
    assert_non_null(raft_log_find(&fixture->log, 1));
    assert_true(push(fixture, 1, 300));
    fixture_free(fixture);
}

/* Filled to the last byte, and then on from the ring's beginning: neither is a run across its end. */
static void a_ring_is_filled_to_its_last_byte(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_new(1);
    uint64_t last;
    for (int i = 0; i < 4; i++)
        assert_true(push(fixture, 1, CACHE_BYTES / 4));
    assert_int_equal(raft_log_free(&fixture->log, 0), 0);
    assert_false(push(fixture, 1, 300));
    fixture->forgettable = 1;
    assert_int_equal(raft_log_free(&fixture->log, 1), CACHE_BYTES / 4);
    assert_true(push(fixture, 1, CACHE_BYTES / 4));
    assert_int_equal(raft_log_free(&fixture->log, 0), 0);
    struct slice run = raft_log_run(&fixture->log, 1, CACHE_BYTES, &last);
    assert_int_equal(last, 4);
    assert_ptr_equal(run.data + run.len, fixture->log.bytes + CACHE_BYTES);
    run = raft_log_run(&fixture->log, 4, CACHE_BYTES, &last);
    assert_int_equal(last, 5);
    assert_ptr_equal(run.data, fixture->log.bytes);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_is_like_a_naive_one),
        cmocka_unit_test(runs_end_where_the_ring_wraps),
        cmocka_unit_test(old_leaderships_are_forgotten_last),
        cmocka_unit_test(only_the_end_of_an_entry_has_a_chain),
        cmocka_unit_test(the_last_entry_is_not_forgotten),
        cmocka_unit_test(a_ring_is_filled_to_its_last_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
