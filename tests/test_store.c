#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"

const uint8_t test_cluster[IDENTITY_BYTES] = "the cluster's id";
const uint8_t test_identity[IDENTITY_BYTES] = "the node's own i";

struct test_store *test_store_new(uint64_t seed, uint64_t segment_bytes)
{
    struct test_store *test = calloc(1, sizeof *test);
    assert_non_null(test);
    assert_true(crypto_start());
    test->disk = sim_disk_new(seed);
    test->segment_bytes = segment_bytes;
    test->flush = 1;
    return test;
}

void test_store_free(struct test_store *test)
{
    test_store_close(test);
    sim_disk_free(test->disk);
    free(test);
}

enum ft_error test_store_open(struct test_store *test)
{
    struct store_options options = { .disk = sim_disk_table(test->disk),
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = test->segment_bytes };
    memcpy(options.fresh_identity, test_identity, IDENTITY_BYTES);
    options.fresh_identity[0] = (uint8_t)(test_identity[0] + test->opens++);
    enum ft_error error =
        store_open(&test->store, &options, &test->recovery, test->why, sizeof test->why);
    if (!error && test->recovery.flush >= test->flush)
        test->flush = test->recovery.flush + 1;
    return error;
}

void test_store_close(struct test_store *test)
{
    if (test->store)
        store_close(test->store);
    test->store = NULL;
}

uint32_t test_body(uint64_t index, uint64_t term, uint8_t *out)
{
    uint64_t x = index * UINT64_C(0x9e3779b97f4a7c15) + term * UINT64_C(0xbf58476d1ce4e5b9);
    uint32_t size = (uint32_t)(x >> 33) % 240;
    if ((x & 31) == 5)
        size += 1500;
    for (uint32_t i = 0; i < size; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (uint8_t)(x | 1); /* never zero */
    }
    return size;
}

static size_t make_entry(uint8_t *out, size_t capacity, uint64_t first, uint32_t count,
                         uint64_t term, const uint8_t *chain)
{
    static uint8_t bodies[TEST_BUFFER_BYTES];
    uint32_t sizes[LIMIT_ENTRY_COMMANDS];
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = test_body(first + i, term, bodies + at);
        at += sizes[i];
    }
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = first,
                                 .term = term,
                                 .time_us = first * 1000,
                                 .count = count,
                                 .sizes = sizes,
                                 .bodies = bodies };
    return entry_build(out, capacity, &draft, &crypto_sodium, test_cluster, chain);
}

static size_t make_flush(const struct test_log *log, const struct test_flush *flush,
                         uint64_t number, uint8_t *out, struct test_log *after)
{
    if (after != log)
        *after = *log;
    if (flush->truncate_from && flush->truncate_from <= after->last)
        after->last = flush->truncate_from - 1;
    size_t at = 0;
    for (uint32_t i = 0; i < flush->entries; i++) {
        uint64_t first = after->last + 1;
        assert_true(first + flush->count < TEST_LOG_MAX);
        size_t size = make_entry(out + at, TEST_BUFFER_BYTES - at, first, flush->count, flush->term,
                                 after->chains[after->last]);
        assert_true(size > 0);
        entry_set_local(out + at, number, (uint32_t)at, first - 1, &crypto_sodium, test_cluster);
        for (uint32_t c = 0; c < flush->count; c++) {
            after->terms[first + c] = flush->term;
            after->counts[first + c] = 0;
        }
        after->counts[first] = flush->count;
        after->last += flush->count;
        memcpy(after->chains[after->last], out + at + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
        at += size;
    }
    return at;
}

static uint8_t buffer[TEST_BUFFER_BYTES];

void test_log_after(struct test_log *log, const struct test_flush *flush)
{
    (void)make_flush(log, flush, 1, buffer, log);
}

enum ft_error test_flush(struct test_store *test, const struct test_flush *flush)
{
    static struct test_log after;
    size_t len = make_flush(&test->log, flush, test->flush, buffer, &after);
    struct store_flush job = { .number = test->flush,
                               .save_vote = flush->save_vote,
                               .term = flush->term,
                               .lost = flush->lost,
                               .truncate_from = flush->truncate_from,
                               .save_cluster = flush->save_cluster };
    memset(job.vote, flush->vote, IDENTITY_BYTES);
    memcpy(job.cluster, test_cluster, IDENTITY_BYTES);
    /* In two runs, as when a ring wraps. */
    size_t first = len ? bytes_get_u32(buffer + 4) : 0;
    job.entries[0] = (struct slice) { buffer, first };
    job.entries[1] = (struct slice) { buffer + first, len - first };
    test->flush++;
    enum ft_error error = store_flush(test->store, &job);
    if (!error)
        test->log = after;
    return error;
}

uint64_t test_read_all(struct test_store *test, uint64_t after, uint64_t last,
                       const struct test_log *log, const struct test_log *other)
{
    static uint8_t out[TEST_BUFFER_BYTES];
    uint8_t expected[4096];
    uint64_t next = after + 1;
    uint64_t commands = 0;
    while (next <= last) {
        size_t len;
        assert_int_equal(store_read_entries(test->store, next, out, sizeof out, &len), FT_OK);
        assert_true(len > 0);
        for (size_t at = 0; at < len;) {
            struct entry entry;
            assert_int_equal(entry_parse(&entry, &crypto_sodium, test_cluster, out + at, len - at),
                             ENTRY_WHOLE);
            struct entry_cursor cursor = { 0 };
            struct slice body;
            for (uint64_t index = entry.first; entry_next(&entry, &cursor, &body); index++) {
                bool known = index <= log->last && log->terms[index] == entry.term;
                known |= other && index <= other->last && other->terms[index] == entry.term;
                assert_true(known);
                assert_int_equal(test_body(index, entry.term, expected), body.len);
                assert_memory_equal(expected, body.data, body.len);
                commands++;
            }
            next = entry.first + entry.count;
            at += entry.size;
        }
    }
    return commands;
}
