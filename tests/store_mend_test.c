/* What is damaged on one node is found, fetched from another and put back: every kind of file, whole
 * pages, what recovery holds, and a log that has lost its beginning. `healthy` is the other node. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/recover.h"

static struct test_store *test;
static struct test_store *healthy;
static uint8_t piece_data[LIMIT_ENTRY_BYTES];

static void must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

static void add(struct test_store *to, uint32_t entries, uint32_t count)
{
    must(test_flush(to, &(struct test_flush) { .entries = entries, .count = count, .term = 1 }));
}

/* --- two nodes with one log --------------------------------------------------------------------*/

static void fill_segment(struct test_store *to)
{
    uint64_t before = to->store->next_id;
    do
        add(to, 1, 2);
    while (to->store->next_id == before ||
           !segment_full(&to->store->segments[to->store->segments_count - 1],
                         to->store->segment_bytes));
}

static void seal(struct test_store *to, uint64_t from)
{
    for (uint64_t index = from; index <= to->log.last; index++)
        store_index(to->store, 1 + (uint32_t)(index & 1), index / 2 + 1, index, false);
    must(store_checkpoint(to->store, to->log.last, (struct slice) { (const uint8_t *)"state", 5 }));
}

/* `sealed` segments behind checkpoints, one that is full, one that is not. */
static struct test_store *make(unsigned sealed)
{
    struct test_store *made = test_store_new(3, 800);
    must(test_store_open(made));
    must(test_flush(made, &(struct test_flush) {
                              .save_cluster = true, .save_vote = true, .term = 1, .vote = 1 }));
    must(test_flush(made, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    for (unsigned i = 0; i < sealed; i++) {
        uint64_t from = made->log.last + 1;
        fill_segment(made);
        seal(made, from);
    }
    fill_segment(made);
    add(made, 1, 1);
    add(made, 1, 1);
    test_store_close(made);
    return made;
}

static struct test_store *copy_of(const struct test_store *from)
{
    struct test_store *copy = test_store_new(1, from->segment_bytes);
    sim_disk_free(copy->disk);
    copy->disk = sim_disk_copy(from->disk);
    copy->log = from->log;
    copy->flush = from->flush;
    return copy;
}

static void begin(unsigned sealed)
{
    healthy = make(sealed);
    test = copy_of(healthy);
    must(test_store_open(healthy));
}

static void end(void)
{
    test_store_free(test);
    test_store_free(healthy);
}

static void again(void)
{
    test_store_free(test);
    test = copy_of(healthy);
}

/* --- mending, as core/node/mend.c does it ------------------------------------------------------*/

static bool fetch(const struct store_check *check, uint64_t offset, size_t *len, uint64_t *size)
{
    struct store_piece piece = { .index = check->id, .offset = offset };
    piece.kind = check->file == STORE_FILE_INDEX        ? STORE_PIECE_INDEX
                 : check->file == STORE_FILE_CHECKPOINT ? STORE_PIECE_CHECKPOINT
                                                        : STORE_PIECE_ENTRIES;
    if (piece.kind == STORE_PIECE_ENTRIES)
        piece.index = check->index;
    must(store_read_piece(healthy->store, &piece, 700, piece_data, len, size));
    return *len > 0;
}

/* False: it cannot be mended (yet). */
static bool mend(const struct store_check *check)
{
    struct store_mend mend = { .file = check->file, .id = check->id, .committed = test->log.last };
    if (check->file == STORE_FILE_VOTE) {
        for (int pair = 0; pair < 2; pair++)
            must(
                test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
        return true;
    }
    do {
        size_t len;
        if (!fetch(check, mend.want_offset, &len, &mend.size))
            return false;
        mend.offset = mend.want_offset;
        mend.data = (struct slice) { piece_data, len };
        if (store_mend(test->store, &mend))
            return false;
    } while (!mend.done);
    return true;
}

/* One file, or with NEXT the next one; the damages that were met. */
static unsigned prove(struct store_check *check)
{
    unsigned damages = 0;
    for (int rounds = 0; rounds < 200; rounds++) {
        must(store_check(test->store, check, 1000));
        damages += check->mended;
        if (check->result == STORE_MORE) {
            check->how = STORE_CHECK_AGAIN;
        } else if (check->result == STORE_DAMAGED) {
            damages++;
            bool entries = check->file == STORE_FILE_SEGMENT || check->file == STORE_FILE_TAIL;
            check->how = !mend(check) ? STORE_CHECK_SKIP
                         : entries    ? STORE_CHECK_AGAIN
                                      : STORE_CHECK_FILE;
            if (check->how == STORE_CHECK_SKIP && !entries)
                return damages;
        } else {
            return damages;
        }
    }
    fail_msg("it does not end");
    return damages;
}

static unsigned prove_all(void)
{
    unsigned damages = 0;
    struct store_check check = { .upto = test->log.last };
    for (int rounds = 0; rounds < 2;) {
        check.how = STORE_CHECK_NEXT;
        damages += prove(&check);
        rounds += check.round;
    }
    return damages;
}

/* What recovery held is mended until the store, opened anew, has all of it. What may have stood
 * behind its end and cannot be read is the leader's to say: it has it truncated. */
static unsigned mend_tail(void)
{
    unsigned damages = 0;
    for (int starts = 0; test->recovery.leftover; starts++) {
        struct store_check check = { .how = STORE_CHECK_FILE,
                                     .file = STORE_FILE_TAIL,
                                     .upto = test->log.last };
        damages += prove(&check);
        assert_int_equal(check.result, STORE_CLEAN);
        if (starts == 1) {
            assert_int_equal(test->recovery.last_index, healthy->log.last);
            must(test_flush(test, &(struct test_flush) { .save_vote = true,
                                                         .term = 2,
                                                         .vote = 2,
                                                         .truncate_from = healthy->log.last + 1 }));
        }
        test_store_close(test);
        must(test_store_open(test));
        assert_true(starts < 2);
    }
    return damages;
}

static void note(void *ctx, const struct store_damage *damage)
{
    ++*(unsigned *)ctx;
    print_error("still: %s byte %llu: %s\n", damage->file, (unsigned long long)damage->offset,
                damage->what);
}

/* Nothing is damaged any more, nothing is lost, and so it is for the next process. */
static void whole(void)
{
    for (int starts = 0; starts < 2; starts++) {
        unsigned damages = 0;
        uint64_t entries;
        assert_int_equal(test->recovery.last_index, healthy->log.last);
        test_read_all(test, test->recovery.first_index - 1, healthy->log.last, &healthy->log, NULL);
        must(store_verify(test->store, note, &damages, &entries));
        assert_int_equal(damages, 0);
        test_store_close(test);
        must(test_store_open(test));
    }
    assert_int_equal(test->recovery.damages, 0);
    assert_int_equal(prove_all(), 0);
    test_store_close(test);
}

/* Damaged while it was stopped: found at the start or in a round, and mended. */
static void found_and_mended(const char *path, uint64_t offset)
{
    enum ft_error error = test_store_open(test);
    if (error)
        print_error("%s byte %llu: %s\n", path, (unsigned long long)offset, test->why);
    must(error);
    unsigned damages = test->recovery.damages;
    damages += mend_tail();
    damages += prove_all();
    if (!damages)
        print_error("%s byte %llu: not found\n", path, (unsigned long long)offset);
    assert_true(damages > 0);
    whole();
}

/* --- every file --------------------------------------------------------------------------------*/

/* Where a file holds something: zeros behind a segment's end are nothing that must be mended. */
static uint64_t used(const char *path)
{
    uint64_t size = sim_disk_size(healthy->disk, path);
    uint8_t sector[DISK_SECTOR_BYTES];
    if (strstr(path, "spare"))
        return 0;
    if (!strstr(path, ".seg"))
        return size;
    uint64_t end = 4096;
    for (uint64_t at = end; at + sizeof sector <= size; at += sizeof sector) {
        assert_true(sim_disk_peek(healthy->disk, path, at, sector, sizeof sector));
        for (size_t i = 0; i < sizeof sector; i++)
            if (sector[i])
                end = at + i + 1;
        if (at >= end + 4096)
            break;
    }
    return end;
}

/* Bit by bit when all are asked for, else some of each part. */
static uint64_t step_at(const char *path, uint64_t offset)
{
    if (getenv("FULL"))
        return 1;
    bool blocks = strstr(path, "vote") || strstr(path, ".idx");
    if (offset % 4096 < 160)
        return blocks && offset >= 4096 ? 41 : 9;
    return blocks ? 509 : 97;
}

static uint64_t page_step(const char *path, uint64_t offset)
{
    (void)path;
    return 4096 - offset % 4096;
}

/* Harms every file at each of these places, and sees it mended; how many times it did. */
static unsigned harm_each(uint64_t (*step)(const char *path, uint64_t offset), unsigned ways,
                          bool (*harm)(const char *path, uint64_t offset, unsigned way))
{
    unsigned done = 0;
    const char *name;
    begin(2);
    for (size_t file = 0; (name = sim_disk_name(healthy->disk, file)); file++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", name);
        uint64_t end_of_file = used(path);
        for (uint64_t offset = 0; offset < end_of_file; offset += step(path, offset))
            for (unsigned way = 0; way < ways; way++, done++) {
                assert_true(harm(path, offset, ways > 1 ? way : done));
                found_and_mended(path, offset);
                again();
            }
    }
    end();
    return done;
}

static bool flip(const char *path, uint64_t offset, unsigned way)
{
    return sim_disk_flip(test->disk, path, offset, (uint8_t)(1u << way % 8));
}

static bool make_unreadable(const char *path, uint64_t offset, unsigned way)
{
    (void)way;
    return sim_disk_unreadable(test->disk, path, offset);
}

static void every_flipped_bit_is_mended(void **state)
{
    (void)state;
    unsigned flips = harm_each(step_at, getenv("FULL") ? 8 : 1, flip);
    print_message("%u bits\n", flips);
    assert_true(flips > 300);
}

static void every_page_that_cannot_be_read_is_mended(void **state)
{
    (void)state;
    assert_true(harm_each(page_step, 1, make_unreadable) > 12);
}

/* (A checkpoint that is gone was dropped; what recovery holds then, store_damage_test tells.) */
static void every_segment_and_index_that_is_missing_is_mended(void **state)
{
    (void)state;
    const char *name;
    begin(3);
    for (size_t file = 0; (name = sim_disk_name(healthy->disk, file)); file++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", name);
        if (strncmp(path, "log/0", 5) ||
            strtoull(path + 4, NULL, 10) > healthy->recovery.checkpoint_index)
            continue;
        assert_true(sim_disk_remove(test->disk, path));
        found_and_mended(path, 0);
        again();
    }
    end();
}

/* What another sends is put in place when it is proved, and not before. */
static void a_file_that_is_sent_wrong_is_refused(void **state)
{
    (void)state;
    static const enum store_file files[] = { STORE_FILE_INDEX, STORE_FILE_CHECKPOINT };
    begin(2);
    for (size_t i = 0; i < 2; i++) {
        uint64_t id = files[i] == STORE_FILE_INDEX ? 1 : healthy->store->segments[0].last;
        char path[DISK_PATH_BYTES];
        if (files[i] == STORE_FILE_INDEX)
            segment_path(path, id, "idx");
        else
            checkpoint_file_path(path, id);
        uint64_t size = sim_disk_size(healthy->disk, path);
        static uint8_t sent[1 << 20];
        assert_true(size <= sizeof sent);
        assert_true(sim_disk_peek(healthy->disk, path, 0, sent, (size_t)size));
        sent[size / 3] ^= 1;
        assert_true(sim_disk_flip(test->disk, path, size / 2, 1));
        must(test_store_open(test));
        struct store_check check = { .how = STORE_CHECK_FILE, .file = files[i], .id = id };
        must(store_check(test->store, &check, 1000));
        assert_int_equal(check.result, STORE_DAMAGED);
        struct store_mend mend = {
            .file = files[i], .id = id, .size = size, .data = { sent, (size_t)size }
        };
        assert_int_equal(store_mend(test->store, &mend), FT_ERROR_CORRUPT);
        assert_false(mend.done);
        must(store_check(test->store, &check, 1000));
        assert_int_equal(check.result, STORE_DAMAGED);
        sent[size / 3] ^= 1;
        must(store_mend(test->store, &mend));
        assert_true(mend.done);
        must(store_check(test->store, &check, 1000));
        assert_int_equal(check.result, STORE_CLEAN);
        again();
    }
    end();
}

/* --- what recovery holds -----------------------------------------------------------------------*/

/* Entries of the next segment are no part of this one, though they are sent along with its last. */
static void a_held_tail_is_mended_over_a_segments_end(void **state)
{
    (void)state;
    begin(0);
    const struct segment *first = &healthy->store->segments[0];
    assert_true(healthy->store->segments_count > 1);
    for (uint64_t back = 1; back < 400; back += 57) {
        assert_true(
            sim_disk_flip(test->disk, "log/00000000000000000001.seg", first->end - back, 4));
        must(test_store_open(test));
        assert_true(test->recovery.leftover);
        assert_int_equal(mend_tail(), 1);
        whole();
        again();
    }
    end();
}

/* A running node's log ends within the page that cannot be read: it is mended there and goes on. */
static void the_page_that_the_log_ends_in(void **state)
{
    (void)state;
    uint8_t rest[512];
    static const uint8_t zeros[sizeof rest];
    begin(0);
    char path[DISK_PATH_BYTES];
    const struct segment *newest = &healthy->store->segments[healthy->store->segments_count - 1];
    segment_path(path, newest->first, "seg");
    must(test_store_open(test));
    assert_false(segment_full(newest, test->segment_bytes));
    assert_true(sim_disk_unreadable(test->disk, path, newest->end - 1));
    assert_int_equal(prove_all(), 1);
    assert_true(sim_disk_peek(test->disk, path, newest->end, rest, sizeof rest));
    assert_memory_equal(rest, zeros, sizeof rest);
    add(test, 1, 3);
    add(healthy, 1, 3);
    test_store_close(test);
    must(test_store_open(test));
    whole();
    end();
}

/* What was behind the last entry in a page that could not be read is known where the segment is full, and not where
 * more may have stood: zeros there would look like a torn write, and give the vote back too early. */
static void behind_the_end_are_zeros_only_where_it_is_known(void **state)
{
    (void)state;
    uint8_t rest[512];
    static const uint8_t zeros[sizeof rest];
    begin(0);
    uint64_t end_of_first = healthy->store->segments[0].end;
    uint64_t end_of_second = healthy->store->segments[1].end;
    char second[DISK_PATH_BYTES];
    segment_path(second, healthy->store->segments[1].first, "seg");
    assert_true(sim_disk_unreadable(test->disk, "log/00000000000000000001.seg", end_of_first - 1));
    must(test_store_open(test));
    assert_true(test->recovery.leftover);
    assert_true(mend_tail() > 0);
    assert_true(
        sim_disk_peek(test->disk, "log/00000000000000000001.seg", end_of_first, rest, sizeof rest));
    assert_memory_equal(rest, zeros, sizeof rest);
    whole();
    again();

    assert_true(sim_disk_unreadable(test->disk, second, end_of_second - 1));
    must(test_store_open(test));
    assert_true(test->recovery.leftover);
    struct store_check check = { .how = STORE_CHECK_FILE, .file = STORE_FILE_TAIL };
    assert_int_equal(prove(&check), 2); /* the entries, and what may be behind them */
    assert_int_equal(check.result, STORE_CLEAN);
    assert_true(sim_disk_peek(test->disk, second, end_of_second, rest, sizeof rest));
    assert_memory_not_equal(rest, zeros, sizeof rest);
    test_store_close(test);
    must(test_store_open(test));
    assert_true(test->recovery.leftover);
    assert_int_equal(test->recovery.last_index, healthy->log.last);
    test_store_close(test);
    end();
}

/* What recovery holds lies behind the log's end, in the same page perhaps: mending what is before it leaves it there. */
static void what_is_held_stays_beside_what_is_mended(void **state)
{
    (void)state;
    uint8_t before[200];
    uint8_t after[200];
    begin(0);
    char path[DISK_PATH_BYTES];
    const struct segment *newest = &healthy->store->segments[healthy->store->segments_count - 1];
    segment_path(path, newest->first, "seg");
    assert_true(sim_disk_flip(test->disk, path, newest->end - 5, 1));
    must(test_store_open(test));
    assert_true(test->recovery.leftover);
    uint64_t end_here = test->store->segments[test->store->segments_count - 1].end;
    assert_true(end_here < newest->end);
    assert_true(sim_disk_peek(test->disk, path, end_here, before, sizeof before));
    assert_true(sim_disk_flip(test->disk, path, SEGMENT_HEADER_BYTES + 100, 1));
    struct store_check check = { .how = STORE_CHECK_FILE,
                                 .file = STORE_FILE_SEGMENT,
                                 .id = newest->first,
                                 .upto = test->recovery.last_index };
    assert_int_equal(prove(&check), 1);
    assert_int_equal(check.result, STORE_CLEAN);
    assert_true(sim_disk_peek(test->disk, path, end_here, after, sizeof after));
    assert_memory_equal(after, before, sizeof before);
    assert_int_equal(mend_tail(), 1);
    whole();
    end();
}

/* The newest segment is gone, and a checkpoint covers it: a leader goes on behind it before it is fetched. */
static void a_leader_goes_on_before_the_newest_segment_is_mended(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    healthy = test_store_new(3, 800);
    must(test_store_open(healthy));
    must(test_flush(healthy, &(struct test_flush) { .save_cluster = true, .term = 1 }));
    for (int i = 0; i < 2; i++) {
        uint64_t from = healthy->log.last + 1;
        fill_segment(healthy);
        seal(healthy, from);
    }
    test_store_close(healthy);
    test = copy_of(healthy);
    must(test_store_open(healthy));
    segment_path(path, healthy->store->segments[1].first, "seg");
    assert_true(sim_disk_remove(test->disk, path));
    must(test_store_open(test));
    assert_true(test->recovery.leftover);
    assert_int_equal(test->recovery.last_index, healthy->log.last);
    const struct test_flush next = {
        .entries = 1, .count = 3, .term = 1, .truncate_from = healthy->log.last + 1
    };
    must(test_flush(test, &next));
    add(healthy, 1, 3);
    assert_true(prove_all() > 0);
    test_store_close(test);
    must(test_store_open(test));
    whole();
    end();
}

/* Nobody has it: it is skipped, and where the segment ends is known as before. */
static void what_cannot_be_mended_changes_nothing(void **state)
{
    (void)state;
    healthy = test_store_new(3, 800);
    must(test_store_open(healthy));
    must(test_flush(healthy, &(struct test_flush) { .save_cluster = true }));
    add(healthy, 1, 40); /* all of the segment */
    seal(healthy, 1);
    test_store_close(healthy);
    test = copy_of(healthy);
    assert_true(sim_disk_flip(test->disk, "log/00000000000000000001.seg", 4096 + 2000, 4));
    must(test_store_open(test));
    struct segment before = test->store->segments[0];
    struct store_check check = {
        .how = STORE_CHECK_FILE, .file = STORE_FILE_SEGMENT, .id = 1, .upto = test->log.last
    };
    must(store_check(test->store, &check, 1 << 20));
    assert_int_equal(check.result, STORE_DAMAGED);
    assert_int_equal(check.index, 1);
    check.how = STORE_CHECK_SKIP;
    must(store_check(test->store, &check, 1 << 20));
    assert_int_equal(check.result, STORE_CLEAN);
    assert_int_equal(test->store->segments[0].end, before.end);
    assert_memory_equal(test->store->segments[0].chain, before.chain, HASH_BYTES);
    add(test, 1, 2);
    assert_int_equal(test->store->segments_count, 2);
    end();
}

/* --- a log that has lost its beginning ---------------------------------------------------------*/

static void begin_late(void)
{
    struct store_retention retention = { .keep_bytes = 1, .floor = UINT64_MAX };
    uint64_t first;
    begin(4);
    must(store_retain(healthy->store, &retention, &first));
    assert_true(first > 1);
    test_store_close(healthy);
    must(test_store_open(healthy));
    again();
}

static void the_header_of_a_late_logs_first_segment_is_mended(void **state)
{
    (void)state;
    char path[DISK_PATH_BYTES];
    begin_late();
    segment_path(path, healthy->store->begin, "seg");
    assert_true(sim_disk_flip(test->disk, path, 50, 1));
    found_and_mended(path, 50);
    again();
    assert_true(sim_disk_unreadable(test->disk, path, 0));
    found_and_mended(path, 0);
    end();
}

/* Nobody else keeps it: the log begins behind it, at the first checkpoint that can be read. */
static void what_nobody_keeps_is_dropped(void **state)
{
    (void)state;
    uint64_t first;
    begin(4);
    test->store = NULL;
    must(test_store_open(test));
    uint64_t ends[4];
    for (size_t i = 0; i < 4; i++)
        ends[i] = test->store->segments[i].last;
    struct store_retention retention = { .floor = UINT64_MAX, .damaged = 1 };
    must(store_retain(test->store, &retention, &first));
    assert_int_equal(first,
                     ends[2] + 1); /* the newest two checkpoints are kept without retention */
    retention.damaged = first;
    retention.floor = ends[2]; /* not so far */
    must(store_retain(test->store, &retention, &first));
    assert_int_equal(first, ends[2] + 1);
    test_store_close(test);
    must(test_store_open(test));
    assert_int_equal(test->recovery.first_index, ends[2] + 1);
    whole();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flipped_bit_is_mended),
        cmocka_unit_test(every_page_that_cannot_be_read_is_mended),
        cmocka_unit_test(every_segment_and_index_that_is_missing_is_mended),
        cmocka_unit_test(a_file_that_is_sent_wrong_is_refused),
        cmocka_unit_test(a_held_tail_is_mended_over_a_segments_end),
        cmocka_unit_test(behind_the_end_are_zeros_only_where_it_is_known),
        cmocka_unit_test(a_leader_goes_on_before_the_newest_segment_is_mended),
        cmocka_unit_test(the_page_that_the_log_ends_in),
        cmocka_unit_test(what_is_held_stays_beside_what_is_mended),
        cmocka_unit_test(what_cannot_be_mended_changes_nothing),
        cmocka_unit_test(the_header_of_a_late_logs_first_segment_is_mended),
        cmocka_unit_test(what_nobody_keeps_is_dropped),
    };
    return cmocka_run_group_tests_name("store_mend", tests, NULL, NULL);
}
