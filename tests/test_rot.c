#include "tests/test_rot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"

enum {
    SEGMENT = 500,
    ZEROS = 3 * DISK_SECTOR_BYTES, /* left behind the end of a segment that has room */
    HELD = 3,
    HELD_TEXT = 150,
};

static uint8_t posts[1 << 16];
static size_t posts_len; /* what the store gives of its sealed segments */

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

/* --- the folder ---------------------------------------------------------------------------------
 */

static void fill_one(struct test_store *test, bool seal)
{
    uint64_t from = test->log.last + 1;
    const struct test_flush two = { .entries = 1, .count = 2, .term = 1 };
    size_t count = test->store->segments_count;
    while (test->store->segments_count == count ||
           !segment_full(&test->store->segments[test->store->segments_count - 1], SEGMENT))
        must(test_flush(test, &two));
    for (uint64_t index = from; index <= test->log.last; index++)
        store_index(test->store, 1, index, index, false);
    store_delete(test->store, test->log.last, from, 77);
    if (seal)
        must(store_checkpoint(test->store, test->log.last,
                              (struct slice) { (const uint8_t *)"state", 5 }));
}

void rot_hold(struct test_store *test, uint64_t first)
{
    uint8_t bodies[HELD * HELD_TEXT];
    uint8_t entry[2048];
    uint32_t sizes[HELD] = { HELD_TEXT, HELD_TEXT, HELD_TEXT };
    static const uint8_t no_chain[HASH_BYTES];
    for (size_t i = 0; i < sizeof bodies; i++)
        bodies[i] = (uint8_t)('a' + i / HELD_TEXT);
    struct entry_draft draft = {
        .kind = ENTRY_COMMANDS, .first = first, .count = HELD, .sizes = sizes, .bodies = bodies
    };
    size_t size =
        entry_build(entry, sizeof entry, &draft, &crypto_sodium, test->store->cluster, no_chain);
    assert_true(size > 0);
    entry_set_local(entry, first, 0, 0, &crypto_sodium, test->store->cluster);
    must(store_hold(test->store,
                    &(struct store_hold) { .number = first, .entry = { entry, size } }));
}

static void shorten(struct test_store *test, const struct segment *segment)
{
    const struct disk *disk = sim_disk_table(test->disk);
    struct disk_file *file;
    char path[DISK_PATH_BYTES];
    segment_path(path, segment->first, "seg");
    must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    must(disk->resize(disk->ctx, file, segment->end + ZEROS));
    must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

static size_t read_posts(struct test_store *test, uint8_t *out, size_t capacity)
{
    const struct store_query query = {
        .room = 1, .seq_from = 1, .seq_to = test->store->indexed_last, .max_records = 100
    };
    struct store_answer answer;
    enum ft_error error = store_read_posts(test->store, &query, out, capacity, &answer);
    assert_true(error == FT_OK || error == FT_ERROR_CORRUPT);
    return error ? 0 : answer.len;
}

struct test_store *rot_store(void)
{
    struct test_store *test = test_store_new(3, SEGMENT);
    const struct test_flush form = {
        .save_cluster = true, .save_vote = true, .term = 1, .vote = 1
    };
    const struct test_flush one = { .entries = 1, .count = 1, .term = 1 };
    uint64_t first;
    must(test_store_open(test));
    must(test_flush(test, &form));
    must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    fill_one(test, true);
    fill_one(test, true);
    must(store_retain(test->store,
                      &(struct store_retention) { .keep_bytes = 1, .floor = UINT64_MAX }, &first));
    assert_true(first > 1);
    fill_one(test, false);
    must(test_flush(test, &one));
    must(test_flush(test, &one));
    rot_hold(test, 1);
    const struct copy_file copy = { .start = 1, .end = 9, .segment_bytes = SEGMENT };
    must(copy_file_save(sim_disk_table(test->disk), &crypto_sodium, test_cluster, &copy));
    assert_int_equal(test->store->segments_count, 3);
    for (size_t i = 1; i < 3; i++)
        shorten(test, &test->store->segments[i]);
    test_store_close(test);
    must(test_store_open(test)); /* spares are gone */
    posts_len = read_posts(test, posts, sizeof posts);
    assert_true(posts_len > 0);
    test_store_close(test);
    return test;
}

struct test_store *rot_copy(const struct test_store *from)
{
    struct test_store *test = test_store_new(1, from->segment_bytes);
    sim_disk_free(test->disk);
    test->disk = sim_disk_copy(from->disk);
    test->log = from->log;
    test->opens = 1; /* a new identity is another one */
    return test;
}

/* --- its parts ----------------------------------------------------------------------------------
 */

static struct rot_part *add_part(struct rot_parts *parts, const char *path, uint64_t from,
                                 uint64_t to)
{
    assert_true(parts->count < ROT_PARTS_MAX);
    struct rot_part *part = &parts->list[parts->count++];
    *part = (struct rot_part) { .from = from, .to = to };
    snprintf(part->path, sizeof part->path, "%s", path);
    if ((to - from) * 8 > parts->most)
        parts->most = (to - from) * 8;
    return part;
}

static bool ends_with(const char *name, const char *end)
{
    return strlen(name) >= strlen(end) && !strcmp(name + strlen(name) - strlen(end), end);
}

void rot_parts_find(struct rot_parts *parts, struct test_store *test)
{
    *parts = (struct rot_parts) { 0 };
    must(test_store_open(test));
    const char *name;
    for (size_t i = 0; (name = sim_disk_name(test->disk, i)); i++) {
        uint64_t size = sim_disk_size(test->disk, name);
        if (size == 0)
            continue; /* the lock */
        if (!strcmp(name, "vote") || ends_with(name, ".idx")) {
            for (uint64_t at = 0; at < size; at += 4096)
                add_part(parts, name, at, at + 4096);
        } else if (ends_with(name, ".seg")) {
            uint64_t first = strtoull(strchr(name, '/') + 1, NULL, 10);
            uint64_t end = segments_find(test->store, first)->end;
            add_part(parts, name, 0, SEGMENT_HEADER_BYTES);
            add_part(parts, name, SEGMENT_HEADER_BYTES, end);
            if (end < size)
                add_part(parts, name, end, size)->zeros = true;
        } else {
            add_part(parts, name, 0, size)->alone = !strcmp(name, "identity");
        }
    }
    test_store_close(test);
}

static void note(void *ctx, const struct store_damage *damage)
{
    struct rot_parts *parts = ctx;
    bool known = false;
    for (size_t i = 0; i < parts->count; i++) {
        struct rot_part *part = &parts->list[i];
        bool here = !strcmp(part->path, damage->file) && damage->offset >= part->from &&
                    damage->offset < part->to;
        part->named += here;
        known |= here;
    }
    if (!known)
        print_error("%s at %llu: %s\n", damage->file, (unsigned long long)damage->offset,
                    damage->what);
    assert_true(known);
    assert_true(strlen(damage->what) > 10);
}

void rot_verify(struct test_store *test, struct rot_parts *parts)
{
    uint64_t entries;
    uint64_t erased;
    for (size_t i = 0; i < parts->count; i++)
        parts->list[i].named = 0;
    must(store_verify_folder(sim_disk_table(test->disk), &crypto_sodium, note, parts, &entries,
                             &erased));
}

void rot_expect_named(struct test_store *test, struct rot_parts *parts, uint64_t bit)
{
    rot_verify(test, parts);
    for (size_t i = 0; i < parts->count; i++) {
        const struct rot_part *part = &parts->list[i];
        if (!part->flips == !part->named)
            continue;
        print_error("%s from %llu, bit %llu: flipped %u, named %u\n", part->path,
                    (unsigned long long)part->from, (unsigned long long)bit, part->flips,
                    part->named);
        fail();
    }
}

void rot_flip(struct test_store *test, struct rot_part *part, uint64_t bit)
{
    assert_true(
        sim_disk_flip(test->disk, part->path, part->from + bit / 8, (uint8_t)(1u << bit % 8)));
    part->flips ^= 1;
}

/* --- what is there ------------------------------------------------------------------------------
 */

static void expect_log(struct test_store *test)
{
    static uint8_t out[LIMIT_ENTRY_BYTES];
    uint8_t expected[4096];
    for (uint64_t index = test->store->begin; index <= test->recovery.last_index; index++) {
        size_t len;
        enum ft_error error = store_read_entries(test->store, index, out, sizeof out, &len);
        assert_true(error == FT_OK || error == FT_ERROR_CORRUPT);
        for (size_t at = 0; !error && at < len;) {
            struct entry entry;
            assert_int_equal(entry_parse(&entry, &crypto_sodium, test_cluster, out + at, len - at),
                             ENTRY_WHOLE);
            for (uint32_t i = 0; i < entry.count; i++) {
                struct slice body = entry_body(&entry, i);
                assert_int_equal(test_body(entry.first + i, entry.term, expected), body.len);
                assert_memory_equal(expected, body.data, body.len);
            }
            at += entry.size;
        }
    }
}

void rot_expect_unchanged(struct test_store *test)
{
    static uint8_t given[sizeof posts];
    const struct store_recovery *recovery = &test->recovery;
    assert_true(recovery->last_index <= test->log.last);
    if (recovery->last_index < test->log.last || recovery->lost.last) {
        assert_true(recovery->leftover);
        assert_true(recovery->lost.last >= test->log.last);
        assert_false(recovery->may_campaign);
    }
    if (recovery->vote_lost)
        assert_memory_not_equal(recovery->identity, test_identity, IDENTITY_BYTES);
    else
        assert_memory_equal(recovery->identity, test_identity, IDENTITY_BYTES);
    assert_true(recovery->vote_lost || (recovery->term == 2 && recovery->vote[0] == 2));
    assert_memory_equal(recovery->cluster, test_cluster, IDENTITY_BYTES);
    assert_true(recovery->checkpoint_index > 0);
    assert_int_equal(recovery->checkpoint.len, 5);
    assert_memory_equal(recovery->checkpoint.data, "state", 5);
    uint32_t held = 0;
    struct reader reader = reader_of(recovery->held.records.data, recovery->held.records.len);
    for (; reader_left(&reader); held++) {
        struct slice body = read_slice32(&reader);
        assert_false(reader.bad);
        assert_int_equal(body.len, HELD_TEXT);
        for (size_t i = 0; i < body.len; i++)
            assert_int_equal(body.data[i], body.data[0]);
    }
    assert_true(held == HELD || recovery->held.rotten > 0);
    expect_log(test);
    size_t len = read_posts(test, given, sizeof given);
    if (len && recovery->checkpoint_index + 1 != test->store->begin) {
        assert_int_equal(len, posts_len);
        assert_memory_equal(given, posts, len);
    }
}

bool rot_full(void)
{
    const char *full = getenv("FULL");
    return full && strcmp(full, "0") != 0;
}
