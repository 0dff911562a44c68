/* Segments of many entries, rooms of many posts: far reads by marks, truncation between marks, tables
 * that grow; indexes that lie about places; and retention of more segments than go at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "store/scan.h"
#include "tests/test_copy.h"

enum { SEGMENT_BYTES = 450000, COUNT = 130, ENTRIES = 28, OUT_BYTES = 1 << 20 };

static void append(struct test_store *test, uint64_t term, uint64_t truncate_from)
{
    test_must(test_flush(
        test, &(struct test_flush) {
                  .entries = 1, .count = COUNT, .term = term, .truncate_from = truncate_from }));
}

static void post_all(struct test_store *test)
{
    for (uint64_t index = test->store->indexed_last + 1; index <= test->log.last; index++)
        store_index(test->store, 1 + (uint32_t)(index & 1), (index + 1) / 2, index, false);
}

static struct test_store *large(void)
{
    struct test_store *test = test_store_new(1, SEGMENT_BYTES);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    for (int i = 0; i < ENTRIES; i++)
        append(test, 1, 0);
    assert_int_equal(test->store->segments_count, 2);
    assert_true(test->store->segments[0].marks_count > 16);
    post_all(test);
    return test;
}

static void seal(struct test_store *test)
{
    test_must(store_checkpoint(test->store, test->store->segments[0].last,
                               (struct slice) { (const uint8_t *)"state", 5 }));
    assert_true(test->store->segments[0].indexed);
}

static struct test_store *sealed(void)
{
    struct test_store *test = large();
    seal(test);
    return test;
}

static enum ft_error entry_at(struct test_store *test, uint64_t index)
{
    static uint8_t out[OUT_BYTES];
    size_t len;
    const enum ft_error error = store_read_entries(test->store, index, out, 40000, &len);
    if (!error) {
        assert_true(len > 0);
        const uint64_t first = bytes_get_u64(out + 8);
        assert_true(first <= index && index < first + COUNT);
        assert_int_equal(bytes_get_u64(out + 24), test->log.terms[index]);
    }
    return error;
}

static enum ft_error posts(struct test_store *test, uint32_t room, uint64_t from, uint64_t to)
{
    static uint8_t out[OUT_BYTES];
    uint8_t expected[4096];
    struct store_answer answer;
    const struct store_query query = {
        .room = room, .seq_from = from, .seq_to = to, .forward_to = to + 5, .max_records = 1000
    };
    const enum ft_error error = store_read_posts(test->store, &query, out, sizeof out, &answer);
    if (error)
        return error;
    struct reader reader = reader_of(out, answer.len);
    assert_int_equal(answer.records, to - from + 1);
    for (uint64_t seq = from; seq <= to; seq++) {
        assert_int_equal(read_u8(&reader), STORE_POST);
        assert_int_equal(read_u32(&reader), room);
        assert_int_equal(read_u64(&reader), seq);
        const uint64_t index = read_u64(&reader);
        (void)read_u64(&reader);
        const struct slice body = read_slice32(&reader);
        assert_int_equal(test_body(index, test->log.terms[index], expected), body.len);
        assert_memory_equal(expected, body.data, body.len);
    }
    return FT_OK;
}

/* --- far reads ----------------------------------------------------------------------------------
 */

static void reads_near_and_far(void **state)
{
    (void)state;
    static const uint64_t indexes[] = { 1, 131, 2500, 2501, 3600, 5, 1200, 1330, 2600, 1 };
    for (int indexed = 0; indexed < 2; indexed++) {
        struct test_store *test = indexed ? sealed() : large();
        for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++)
            test_must(entry_at(test, indexes[i]));
        test_must(posts(test, 1, 3, 90));
        test_must(posts(test, 2, 1100, 1800));
        test_must(posts(test, 1, 1805, 1810));
        test_store_free(test);
    }
}

static void far_reads_while_each_call_fails(void **state)
{
    (void)state;
    struct test_store *test = sealed();
    unsigned told = 0;
    for (unsigned question = 0; question < 5; question++) {
        uint64_t at = 1;
        for (bool reached = true; reached; at++) {
            reading_forget(test->store);
            if (question == 1)
                test_must(entry_at(test, 1)); /* from there on */
            const uint64_t calls = sim_disk_calls(test->disk);
            sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
            const enum ft_error error = question == 0   ? entry_at(test, 2500)
                                        : question == 1 ? entry_at(test, 2000)
                                        : question == 2 ? posts(test, 2, 600, 700)
                                        : question == 3 ? posts(test, 2, 1300, 1320)
                                                        : posts(test, 2, 1010, 1030);
            reached = sim_disk_calls(test->disk) - calls >= at;
            sim_disk_fail_call(test->disk, 0, FT_OK);
            assert_true(reached || !error);
            told += error != FT_OK;
            test_must(entry_at(test, 2500));
            test_must(posts(test, 2, 600, 700));
        }
    }
    assert_true(told > 12);
    test_store_free(test);
}

/* The heads alone of an entry are more than is read ahead. */
static void an_entry_of_many_heads_while_each_call_fails(void **state)
{
    (void)state;
    struct test_store *test = test_store_new(1, SEGMENT_BYTES);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    test_must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 2000, .term = 1 }));
    post_all(test);
    uint64_t at = 1;
    for (bool reached = true; reached; at++) {
        reading_forget(test->store);
        const uint64_t calls = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        const enum ft_error error = posts(test, 1, 700, 710);
        reached = sim_disk_calls(test->disk) - calls >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        assert_int_equal(error != FT_OK, reached);
        test_must(posts(test, 1, 700, 710));
    }
    assert_true(at > 3);
    test_store_free(test);
}

/* Entries that are longer than a slice, and such as lie across the end of one, are whole again after
 * a start; a bit of the last bytes of each is missed. */
static void entries_across_slices(void **state)
{
    (void)state;
    static const uint32_t counts[] = { 300, 1, 2500, 40, 2, 900, 100 };
    struct test_store *test = test_store_new(1, 8 << 20);
    test_must(test_store_open(test));
    test_must(test_flush(test, &test_form));
    enum { MANY = sizeof counts / sizeof *counts };
    uint64_t ends[MANY];
    for (size_t i = 0; i < MANY; i++) {
        test_must(
            test_flush(test, &(struct test_flush) { .entries = 1, .count = counts[i], .term = 1 }));
        ends[i] = test->store->segments[0].end;
        assert_true(counts[i] < 2500 || ends[i] - ends[i - 1] > SCAN_SLICE_BYTES);
    }
    const uint64_t last = test->log.last;
    char path[DISK_PATH_BYTES];
    segment_path(path, test->store->segments[0].id, "seg");
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->store->segments[0].end, ends[MANY - 1]);
    assert_int_equal(test_read_all(test, 0, last, &test->log, NULL), last);
    test_store_close(test);
    bool reached = true;
    for (uint64_t at = 1; reached; at++) {
        const uint64_t calls = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_LIMIT);
        const enum ft_error error = test_store_open(test);
        reached = sim_disk_calls(test->disk) - calls >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        if (!error)
            assert_int_equal(test->recovery.last_index, last);
        test_store_close(test);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_true(sim_disk_flip(test->disk, path, ends[i] - 2, 1));
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.damages, 1);
        test_store_close(test);
        assert_true(sim_disk_flip(test->disk, path, ends[i] - 2, 1));
    }
    test_store_free(test);
}

/* --- truncation ---------------------------------------------------------------------------------
 */

static void truncated_anywhere(void **state)
{
    (void)state;
    for (uint64_t entry = 0; entry <= ENTRIES + 1; entry += 3) {
        struct test_store *test = large();
        const uint64_t from = entry == 0 ? 1 : entry * COUNT + 1;
        const uint64_t boundary = test->store->segments[1].first;
        append(test, 2, entry == 12 ? boundary : from);
        (void)test_read_all(test, 0, test->log.last, &test->log, NULL);
        append(test, 2, 0);
        const uint64_t last = test->log.last;
        test_store_close(test);
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.last_index, last);
        (void)test_read_all(test, 0, last, &test->log, NULL);
        test_store_free(test);
    }
}

/* Without entries behind it; beyond the end; and entries in the second run only. */
static void flushes_of_other_shapes(void **state)
{
    (void)state;
    struct test_store *test = large();
    test_must(test_flush(test, &(struct test_flush) { .truncate_from = 10 * COUNT + 1 }));
    assert_int_equal(store_durable_last(test->store), 10 * COUNT);
    test_must(test_flush(test, &(struct test_flush) { .truncate_from = 99999 }));
    assert_int_equal(store_durable_last(test->store), 10 * COUNT);
    append(test, 2, 99999);
    static uint8_t entry[4096];
    const uint8_t body[9] = { 'b' };
    const uint32_t size = sizeof body;
    struct entry_draft draft = { ENTRY_COMMANDS, test->log.last + 1, 2, 1, 1, &size, body };
    const size_t len = entry_build(entry, sizeof entry, &draft, &crypto_sodium, test_cluster,
                                   test->log.chains[test->log.last]);
    entry_set_local(entry, test->flush, 0, 0, &crypto_sodium, test_cluster);
    const struct store_flush flush = { .number = test->flush,
                                       .entries = { { NULL, 0 }, { entry, len } } };
    test_must(store_flush(test->store, &flush));
    assert_int_equal(store_durable_last(test->store), 11 * COUNT + 1);
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, 11 * COUNT + 1);
    test_store_free(test);
}

/* More new segments at once than are kept ready. */
static void a_flush_over_many_segments(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 1, false);
    test_must(test_flush(test, &(struct test_flush) { .entries = 60, .count = 4, .term = 2 }));
    assert_true(test->store->segments_count > STORE_SPARES + 3);
    const uint64_t last = test->log.last;
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.last_index, last);
    (void)test_read_all(test, 0, last, &test->log, NULL);
    test_store_free(test);
}

/* The place cannot be found that is to be cut at, since a header before it is damaged, or says other than
 * it did: nothing is cut, and the log is not written any more. */
static void truncation_over_damage(void **state)
{
    (void)state;
    for (int lie = 0; lie < 2; lie++) {
        struct test_store *test = large();
        const struct segment *segment = &test->store->segments[0];
        const uint64_t before = 2 * COUNT + 1; /* the entry before the cut begins here */
        char path[DISK_PATH_BYTES];
        uint8_t header[ENTRY_HEADER_BYTES];
        uint64_t at = SEGMENT_HEADER_BYTES;
        segment_path(path, 1, "seg");
        for (;;) {
            assert_true(sim_disk_peek(test->disk, path, at, header, sizeof header));
            if (bytes_get_u64(header + ENTRY_AT_FIRST) == before)
                break;
            at += bytes_get_u32(header + ENTRY_AT_SIZE);
        }
        if (lie) {
            bytes_put_u32(header + ENTRY_AT_COUNT, COUNT - 1);
            bytes_put_u32(header + ENTRY_AT_SIZE, (uint32_t)(segment->end - at));
            bytes_put_u32(header + ENTRY_AT_CHECK,
                          entry_header_check(&crypto_sodium, test_cluster, header));
        } else {
            header[40] ^= 1;
        }
        assert_true(sim_disk_poke(test->disk, path, at, header, sizeof header));
        const enum ft_error error =
            test_flush(test, &(struct test_flush) { .truncate_from = before + COUNT });
        assert_true(error == FT_ERROR_IO || error == FT_ERROR_CORRUPT);
        assert_int_equal(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 9 }),
                         FT_ERROR_IO);
        test_store_free(test);
    }
}

static enum ft_error join(struct test_store *test, const uint8_t cluster[IDENTITY_BYTES])
{
    struct store_flush flush = { .number = test->flush++, .save_cluster = true };
    memcpy(flush.cluster, cluster, IDENTITY_BYTES);
    return store_flush(test->store, &flush);
}

/* Its first entries died with the process; then it joins another cluster, while that fails, too. */
static void another_cluster_after_a_first_flush_that_died(void **state)
{
    (void)state;
    static const uint8_t other[IDENTITY_BYTES] = "another cluster";
    unsigned empty = 0;
    bool died = true;
    for (uint64_t at = 1; died; at++) {
        bool reached = true;
        for (uint64_t fails = 1; reached; fails++) {
            struct test_store *test = test_store_new(at, COPY_SEGMENT_BYTES);
            test_must(test_store_open(test));
            sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + at);
            const enum ft_error first = test_flush(
                test,
                &(struct test_flush) { .save_cluster = true, .entries = 1, .count = 2, .term = 1 });
            died = sim_disk_dead(test->disk);
            assert_int_equal(first != FT_OK, died);
            test_store_close(test);
            sim_disk_die_at(test->disk, 0);
            sim_disk_kill(test->disk);
            test_must(test_store_open(test));
            reached = false;
            if (test->recovery.last_index == 0) {
                const uint64_t calls = sim_disk_calls(test->disk);
                empty++;
                sim_disk_fail_call(test->disk, fails, FT_ERROR_IO);
                const enum ft_error error = join(test, other);
                reached = sim_disk_calls(test->disk) - calls >= fails;
                sim_disk_fail_call(test->disk, 0, FT_OK);
                assert_true(reached || !error);
                if (error) { /* the process ends, and the next one tries again */
                    test_store_close(test);
                    sim_disk_crash(test->disk, fails);
                    test_must(test_store_open(test));
                    test_must(join(test, other));
                }
                test_store_close(test);
                test_must(test_store_open(test));
                assert_int_equal(test->recovery.last_index, 0);
                assert_memory_equal(test->recovery.cluster, other, IDENTITY_BYTES);
            }
            test_store_free(test);
        }
    }
    assert_true(empty > 10);
}

/* --- lies about places --------------------------------------------------------------------------
 */

static void edit_block(struct sim_disk *disk, const char *path, uint64_t number, size_t at,
                       uint32_t value)
{
    uint8_t block[INDEX_BLOCK_BYTES];
    assert_true(sim_disk_peek(disk, path, number * INDEX_BLOCK_BYTES, block, sizeof block));
    bytes_put_u32(block + at, value);
    bytes_put_u64(block + INDEX_PAYLOAD_BYTES + 8,
                  crypto_sodium.digest(test_cluster, block, INDEX_PAYLOAD_BYTES + 8));
    assert_true(sim_disk_poke(disk, path, number * INDEX_BLOCK_BYTES, block, sizeof block));
}

/* Each block is good, and leads elsewhere: no answer rather than a wrong one. */
static void indexes_that_lead_elsewhere(void **state)
{
    (void)state;
    for (int lie = 0; lie < 5; lie++) {
        struct test_store *test = large();
        const uint32_t later = test->store->segments[0].marks[10].offset;
        char path[DISK_PATH_BYTES];
        seal(test);
        const struct segment segment = test->store->segments[0];
        segment_path(path, segment.first, "idx");
        if (lie == 0) /* behind the end */
            edit_block(test->disk, path, 1, 4, (uint32_t)segment.end - 5);
        if (lie == 1) /* at a later entry */
            edit_block(test->disk, path, 1, 4, later);
        if (lie == 2) /* the first room has more than there is */
            edit_block(test->disk, path, 2, 4, 1 << 20);
        if (lie == 3) /* a post of an index that is nowhere */
            edit_block(test->disk, path, 3, 0, 1 << 20);
        if (lie == 4) /* one of another */
            edit_block(test->disk, path, 3, 0, 77);
        if (lie < 2) {
            assert_int_equal(entry_at(test, 3), FT_ERROR_CORRUPT);
        } else if (lie < 4) {
            static uint8_t out[OUT_BYTES];
            struct store_answer answer;
            const struct store_query query = { .room = 1, .seq_to = 9, .max_records = 9 };
            const enum ft_error error =
                store_read_posts(test->store, &query, out, sizeof out, &answer);
            assert_int_equal(error, lie == 2 ? FT_ERROR_CORRUPT : FT_OK);
            if (lie == 3) { /* for all that is known it is not durable yet */
                assert_int_equal(answer.records, 0);
                assert_true(answer.more);
            }
        }
        test_must(entry_at(test, segment.last + 1)); /* the rest is as it was */
        test_store_free(test);
    }
}

/* The file goes wrong behind what is known of it. */
static void an_index_that_is_spoilt_while_it_is_open(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct test_store *test = sealed();
        char path[DISK_PATH_BYTES];
        segment_path(path, 1, "idx");
        test_must(posts(test, 1, 1, 5));
        for (size_t i = 0; i < INDEX_CACHED_BLOCKS; i++)
            test->store->reading.blocks[i].id = 0;
        if (kind == 0) {
            const struct disk *disk = sim_disk_table(test->disk);
            struct disk_file *file;
            test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
            test_must(disk->resize(disk->ctx, file, INDEX_BLOCK_BYTES));
            disk->close(disk->ctx, file);
        } else {
            for (uint64_t block = 1; block < 4; block++)
                assert_true(sim_disk_flip(test->disk, path, block * INDEX_BLOCK_BYTES + 9, 1));
        }
        static uint8_t out[OUT_BYTES];
        struct store_answer answer;
        const struct store_query query = { .room = 1, .seq_to = 5, .max_records = 9 };
        assert_int_equal(store_read_posts(test->store, &query, out, sizeof out, &answer),
                         FT_ERROR_CORRUPT);
        test_store_free(test);
    }
}

/* What an entry says of its bodies is not what they are: larger than a command may be, than the entry
 * is, than the segment is. */
static void entries_that_say_too_much(void **state)
{
    (void)state;
    for (int lie = 0; lie < 4; lie++) {
        struct test_store *test = large();
        const struct segment segment = test->store->segments[0];
        uint8_t header[ENTRY_HEADER_BYTES];
        char path[DISK_PATH_BYTES];
        static uint8_t out[OUT_BYTES];
        struct store_answer answer;
        segment_path(path, 1, "seg");
        assert_true(sim_disk_peek(test->disk, path, SEGMENT_HEADER_BYTES, header, sizeof header));
        uint32_t size = lie == 0 ? LIMIT_COMMAND_BYTES + 1 : LIMIT_COMMAND_BYTES;
        uint64_t at = SEGMENT_HEADER_BYTES + ENTRY_HEADER_BYTES;
        if (lie >= 2) {
            size = lie == 2 ? (uint32_t)segment.end : bytes_get_u32(header + ENTRY_AT_SIZE) + 64;
            bytes_put_u32(header + ENTRY_AT_SIZE, size);
            bytes_put_u32(header + ENTRY_AT_CHECK,
                          entry_header_check(&crypto_sodium, test_cluster, header));
            assert_true(
                sim_disk_poke(test->disk, path, SEGMENT_HEADER_BYTES, header, sizeof header));
        } else {
            assert_true(sim_disk_poke(test->disk, path, at, &size, sizeof size));
        }
        const struct store_query query = { .room = 2,
                                           .seq_to = lie == 3 ? 200 : 1,
                                           .max_records = 200 };
        assert_int_equal(store_read_posts(test->store, &query, out, sizeof out, &answer),
                         FT_ERROR_CORRUPT);
        test_store_free(test);
    }
}

/* --- tables -------------------------------------------------------------------------------------
 */

static void more_rooms_than_the_table_begins_with(void **state)
{
    (void)state;
    enum { ROOMS = 500 };
    static uint8_t out[OUT_BYTES];
    struct test_store *test = large();
    uint64_t index = test->log.last - ROOMS;
    struct store_answer answer;
    test_store_close(test);
    test_must(test_store_open(test));
    for (uint32_t room = 1; room <= ROOMS; room++)
        store_index(test->store, room * 64, 1, ++index, room % 2);
    for (int again = 0; again < 2; again++) {
        for (uint32_t room = 1; room <= ROOMS; room++) {
            const struct store_query query = { .room = room * 64, .seq_to = 9, .max_records = 9 };
            test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
            assert_int_equal(answer.records, !(room % 2));
        }
    }
    const struct store_query none = { .room = 3, .seq_to = 9, .max_records = 9 };
    test_must(store_read_posts(test->store, &none, out, sizeof out, &answer));
    assert_int_equal(answer.records, 0);
    test_store_free(test);
}

/* --- retention ----------------------------------------------------------------------------------
 */

static void more_segments_than_go_at_once(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 80, true);
    const uint64_t last = test->log.last;
    enum ft_error error;
    const uint64_t first = test_retain(test, 3 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(test->store->segments_count < 14);
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.first_index, first);
    (void)test_read_all(test, first - 1, last, &test->log, NULL);
    test_store_free(test);
}

/* A checkpoint that cannot be read is none to begin the log with; one that is older is. */
static void retention_goes_to_a_checkpoint_that_is_good(void **state)
{
    (void)state;
    struct test_store *test = test_node(1, 30, true);
    struct store_names names;
    char path[DISK_PATH_BYTES];
    enum ft_error error;
    test_must(names_list(sim_disk_table(test->disk), &names));
    assert_true(names.checkpoints_count > 4);
    const uint64_t bad = names.checkpoints[names.checkpoints_count - 2];
    const uint64_t good = names.checkpoints[names.checkpoints_count - 3];
    names_free(&names);
    checkpoint_file_path(path, bad);
    assert_true(sim_disk_flip(test->disk, path, 130, 1));
    assert_int_equal(test_retain(test, 1, &error), good + 1);
    test_must(error);
    test_store_free(test);
    /* Nor what somebody still needs. */
    test = test_node(1, 30, true);
    const uint64_t floor = test->store->segments[20].first;
    const struct store_retention want = { .keep_bytes = 1, .floor = floor };
    uint64_t first;
    test_must(store_retain(test->store, &want, &first));
    assert_in_range(first, 2, floor);
    test_store_free(test);
    /* And with none at all nothing goes. */
    test = test_node(1, 0, true);
    assert_int_equal(test_retain(test, 1, &error), 1);
    test_must(error);
    test_store_free(test);
}

static void retention_by_age_while_each_call_fails(void **state)
{
    (void)state;
    struct test_store *before = test_node(1, 12, true);
    const struct store_retention age = { .since_us = before->store->segments[6].first * 1000,
                                         .floor = UINT64_MAX };
    test_store_close(before);
    uint64_t at = 1, told = 0, dropped = 0;
    for (bool reached = true; reached; at++) {
        struct test_store *test = test_store_new(at, COPY_SEGMENT_BYTES);
        uint64_t first;
        sim_disk_free(test->disk);
        test->disk = sim_disk_copy(before->disk);
        test->log = before->log;
        test_must(test_store_open(test));
        test->store->retains = true;
        const uint64_t calls = sim_disk_calls(test->disk);
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        const enum ft_error error = store_retain(test->store, &age, &first);
        reached = sim_disk_calls(test->disk) - calls >= at;
        sim_disk_fail_call(test->disk, 0, FT_OK);
        told += error != FT_OK;
        test_store_close(test);
        sim_disk_crash(test->disk, at);
        test_must(test_store_open(test));
        dropped += test->recovery.first_index > 1;
        assert_true(test->recovery.first_index >= (error ? 1 : first));
        assert_true(test->recovery.first_index * 1000 <= age.since_us);
        (void)test_read_all(test, test->recovery.first_index - 1, test->log.last, &test->log, NULL);
        test_store_free(test);
    }
    assert_true(told > 5 && dropped > 5);
    test_store_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_near_and_far),
        cmocka_unit_test(far_reads_while_each_call_fails),
        cmocka_unit_test(an_entry_of_many_heads_while_each_call_fails),
        cmocka_unit_test(entries_across_slices),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(flushes_of_other_shapes),
        cmocka_unit_test(a_flush_over_many_segments),
        cmocka_unit_test(truncation_over_damage),
        cmocka_unit_test(another_cluster_after_a_first_flush_that_died),
        cmocka_unit_test(indexes_that_lead_elsewhere),
        cmocka_unit_test(an_index_that_is_spoilt_while_it_is_open),
        cmocka_unit_test(entries_that_say_too_much),
        cmocka_unit_test(more_rooms_than_the_table_begins_with),
        cmocka_unit_test(more_segments_than_go_at_once),
        cmocka_unit_test(retention_goes_to_a_checkpoint_that_is_good),
        cmocka_unit_test(retention_by_age_while_each_call_fails),
    };
    return cmocka_run_group_tests_name("store_large", tests, NULL, NULL);
}
