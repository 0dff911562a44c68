/* Copying the log from another node's store, and dropping its beginning: what comes is proven, what
 * a crash leaves at any write, sync or rename is gone on with, and in the end the log is the
 * other's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "tests/test_copy.h"

/* Returns how many pieces were refused. */
static unsigned copy_from(enum copy_target_kind kind, unsigned spoil_each)
{
    struct copy_session session = { .source = copy_source(kind, COPY_SEGMENTS),
                                    .target = copy_target(kind),
                                    .spoil_each = spoil_each };
    random_seed(&session.random, 5);
    uint64_t begin = kind == TARGET_OVERTAKEN ? session.source->store->begin : 1;
    copy_finish(&session, begin);
    assert_false(session.resumed);
    assert_true(session.pieces > 10);
    test_store_free(session.source);
    test_store_free(session.target);
    return session.refused;
}

static void copies_a_log(void **state)
{
    (void)state;
    for (int kind = 0; kind < TARGETS; kind++)
        assert_int_equal(copy_from((enum copy_target_kind)kind, 0), 0);
}

/* Nothing that is wrong counts, wherever the byte is; what is right is taken afterwards. */
static void spoilt_pieces_are_refused(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (int kind = 0; kind < TARGETS; kind++)
        for (unsigned each = 2; each < 6; each++)
            refused += copy_from((enum copy_target_kind)kind, each);
    assert_true(refused > 40);
}

/* At every operation of the target's disk: killed, or its power goes; then it goes on. */
static void every_crash(enum copy_target_kind kind, bool power)
{
    struct test_store *source = copy_source(kind, COPY_SEGMENTS);
    struct test_store *before = copy_target(kind);
    unsigned resumed = 0;
    unsigned installed = 0;
    bool died = true;
    uint64_t begin = kind == TARGET_OVERTAKEN ? source->store->begin : 1;
    for (uint64_t at = 1; died; at++) {
        struct test_store *target = test_store_new(at, COPY_SEGMENT_BYTES);
        sim_disk_free(target->disk);
        target->disk = sim_disk_copy(before->disk);
        target->flush = before->flush;
        struct copy_session session = { .source = source, .target = target };
        sim_disk_die_at(target->disk, sim_disk_operations(target->disk) + at);
        enum ft_error error = copy_run(&session);
        died = sim_disk_dead(target->disk);
        assert_true(died || !error);
        test_store_close(target);
        target->store = NULL;
        sim_disk_die_at(target->disk, 0);
        if (power)
            sim_disk_crash(target->disk, at * 7 + 1);
        else
            sim_disk_kill(target->disk);
        if (died) {
            struct copy_session again = { .source = source, .target = target };
            test_must(copy_run(&again));
            resumed += again.resumed;
            installed += again.pieces == 0;
            /* Either that start put it in place, or the one before had done so. */
            session.resumed = again.resumed;
        } else {
            test_must(test_store_open(target));
        }
        copy_same(&session, begin);
        test_store_free(target);
    }
    assert_true(resumed > 10);
    assert_true(installed > 5);
    test_store_free(source);
    test_store_free(before);
}

static void survives_every_crash(void **state)
{
    (void)state;
    for (int kind = 0; kind < TARGETS; kind++) {
        every_crash((enum copy_target_kind)kind, true);
        every_crash((enum copy_target_kind)kind, false);
    }
}

/* It dies at every operation, and what says what is being copied rots in both places: the copy is begun again, and what the
 * node had is there or is known to have been. */
static void what_is_copied_is_forgotten(enum copy_target_kind kind)
{
    struct test_store *source = copy_source(kind, COPY_SEGMENTS);
    struct test_store *before = copy_target(kind);
    uint64_t begin = kind == TARGET_OVERTAKEN ? source->store->begin : 1;
    unsigned forgotten = 0;
    bool died = true;
    for (uint64_t at = 1; died; at++) {
        struct test_store *target = test_store_new(at, COPY_SEGMENT_BYTES);
        sim_disk_free(target->disk);
        target->disk = sim_disk_copy(before->disk);
        target->flush = before->flush;
        struct copy_session session = { .source = source, .target = target };
        sim_disk_die_at(target->disk, sim_disk_operations(target->disk) + at);
        (void)copy_run(&session);
        died = sim_disk_dead(target->disk);
        test_store_close(target);
        target->store = NULL;
        sim_disk_die_at(target->disk, 0);
        sim_disk_crash(target->disk, at * 5 + 1);
        bool rotten = false;
        for (uint64_t byte = 40; sim_disk_size(target->disk, "copy") != UINT64_MAX &&
                                 byte < sim_disk_size(target->disk, "copy");
             byte += DISK_PAGE_BYTES)
            rotten |= sim_disk_flip(target->disk, "copy", byte, 1);
        forgotten += rotten;
        test_must(test_store_open(target));
        assert_true(target->recovery.last_index >= before->log.last ||
                    target->recovery.lost.last >= before->log.last);
        if (rotten) {
            assert_true(sim_disk_size(target->disk, "copy") == UINT64_MAX);
            test_store_close(target);
            struct copy_session again = { .source = source, .target = target, .whole = true };
            test_must(copy_run(&again));
            assert_false(again.resumed);
            if (target->recovery
                    .installed) /* else the first one was in place, all but its last word */
                copy_same(&again, begin);
        }
        test_store_free(target);
    }
    assert_true(forgotten > 10);
    test_store_free(source);
    test_store_free(before);
}

static void a_copy_whose_plan_is_rotten(void **state)
{
    (void)state;
    for (int kind = 0; kind < TARGETS; kind++)
        what_is_copied_is_forgotten((enum copy_target_kind)kind);
}

/* The source goes on meanwhile, and drops what was copied from it already. */
static void source_moves_on(void **state)
{
    (void)state;
    struct copy_session session = { .source = test_node(1, COPY_SEGMENTS, true),
                                    .target = test_store_new(2, COPY_SEGMENT_BYTES) };
    struct test_store *target = session.target;
    struct store_copy_state copy;
    test_must(test_store_open(target));
    test_must(test_flush(target, &test_form));
    struct store_copy_plan plan = copy_offer(&session);
    test_must(store_copy_begin(target->store, &plan, &copy));
    uint64_t end = copy.end;
    while (copy.next.kind != STORE_PIECE_ENTRIES || copy.next.index < 20)
        test_must(copy_fetch(&session, &copy));
    test_store_close(target);
    for (int i = 0; i < 3; i++)
        test_seal_one(session.source, 1);
    /* Its checkpoint is here, so the end stays. */
    test_must(test_store_open(target));
    plan = copy_offer(&session);
    assert_true(plan.newest > end);
    test_must(store_copy_begin(target->store, &plan, &copy));
    assert_true(copy.resumed);
    assert_int_equal(copy.end, end);
    /* What is missing is gone everywhere: begun anew. */
    plan.oldest = plan.newest - 2;
    test_must(store_copy_begin(target->store, &plan, &copy));
    assert_false(copy.resumed);
    assert_int_equal(copy.end, plan.newest);
    test_must(store_copy_drop(target->store));
    plan = copy_offer(&session);
    test_store_close(target);
    session.source->store->retains = true;
    copy_finish(&session, 1);
    test_store_free(session.source);
    test_store_free(target);
}

/* A source, and a node that has just joined its cluster. */
static struct copy_session fresh_session(void)
{
    struct copy_session session = { .source = test_node(1, COPY_SEGMENTS, true),
                                    .target = test_store_new(2, COPY_SEGMENT_BYTES) };
    test_must(test_store_open(session.target));
    test_must(test_flush(session.target, &test_form));
    return session;
}

/* It asks another source, which is nowhere near where the copying began. */
static void another_source_is_behind_what_was_begun(void **state)
{
    (void)state;
    struct copy_session session = fresh_session();
    struct store_copy_state copy;
    struct store_copy_plan plan = copy_offer(&session);
    plan.oldest = plan.newest + 1;
    plan.newest += 100;
    test_must(store_copy_begin(session.target->store, &plan, &copy));
    test_store_close(session.target);
    test_must(test_store_open(session.target));
    plan = copy_offer(&session);
    test_must(store_copy_begin(session.target->store, &plan, &copy));
    assert_false(copy.resumed);
    test_store_close(session.target);
    copy_finish(&session, 1);
    test_store_free(session.source);
    test_store_free(session.target);
}

/* It has no segment of its own yet that could say which cluster it belongs to: what it copied says so. */
static void a_rotten_identity_is_told_by_what_was_copied(void **state)
{
    (void)state;
    unsigned resumed = 0;
    for (int pieces = 0; pieces < 12; pieces++) {
        struct copy_session session = fresh_session();
        struct store_copy_state copy;
        struct store_copy_plan plan = copy_offer(&session);
        test_must(store_copy_begin(session.target->store, &plan, &copy));
        for (int i = 0; i < pieces; i++)
            test_must(copy_fetch(&session, &copy));
        test_store_close(session.target);
        assert_true(sim_disk_unreadable(session.target->disk, "identity", 0));
        copy_finish(&session, 1);
        resumed += session.resumed;
        test_store_free(session.source);
        test_store_free(session.target);
    }
    assert_true(resumed > 2); /* from the first entries on */
}

/* Most of it is here; this source ends before what is missing (and whoever had that may have dropped it). */
static void another_source_ends_before_what_is_missing(void **state)
{
    (void)state;
    struct copy_session session = fresh_session();
    struct store_copy_state copy;
    struct store_copy_plan plan = copy_offer(&session);
    test_must(store_copy_begin(session.target->store, &plan, &copy));
    while (copy.next.kind != STORE_PIECE_ENTRIES || copy.next.index < 20)
        test_must(copy_fetch(&session, &copy));
    plan.newest = 10;
    test_must(store_copy_begin(session.target->store, &plan, &copy));
    assert_false(copy.resumed);
    assert_int_equal(copy.end, plan.newest);
    test_store_close(session.target);
    test_must(test_store_open(session.target));
    test_must(store_copy_drop(session.target->store));
    test_store_close(session.target);
    copy_finish(&session, 1);
    test_store_free(session.source);
    test_store_free(session.target);
}

static void nothing_to_copy(void **state)
{
    (void)state;
    struct copy_session session = { .source = test_node(1, 2, false),
                                    .target = test_node(2, 3, false) };
    struct store_copy_plan plan = copy_offer(&session);
    struct store_copy_state copy;
    assert_int_equal(store_copy_begin(session.target->store, &plan, &copy), FT_ERROR_EXISTS);
    assert_int_equal(
        store_copy_write(session.target->store, &copy.next, 0, (struct slice) { NULL, 0 }, &copy),
        FT_ERROR_MISSING);
    test_store_free(session.source);
    test_store_free(session.target);
}

/* A node that has all of it but its boundaries: nothing of its own is gone on from. */
static void other_boundaries(void **state)
{
    (void)state;
    struct test_store *target = test_store_new(2, 900);
    test_must(test_store_open(target));
    test_must(test_flush(target, &test_form));
    test_seal_one(target, 1);
    test_seal_one(target, 1);
    test_store_close(target);
    struct copy_session session = { .source = test_node(1, COPY_SEGMENTS, false),
                                    .target = target };
    copy_finish(&session, 1);
    test_store_free(session.source);
    test_store_free(target);
}

static void full_disk(void **state)
{
    (void)state;
    struct copy_session session = { .source = test_node(1, COPY_SEGMENTS, false),
                                    .target = copy_target(TARGET_BEHIND) };
    struct sim_disk *disk = session.target->disk;
    sim_disk_capacity(disk, sim_disk_used(disk) + 9000);
    assert_int_equal(copy_run(&session), FT_ERROR_SPACE);
    sim_disk_capacity(disk, 0);
    test_store_close(session.target);
    copy_finish(&session, 1);
    assert_true(session.resumed);
    test_store_free(session.source);
    test_store_free(session.target);
}

/* --- retention ----------------------------------------------------------------------------------
 */

static void keeps_what_was_asked_for(void **state)
{
    (void)state;
    struct test_store *test = test_node(3, 20, true);
    enum ft_error error;
    uint64_t all = 20 * COPY_SEGMENT_BYTES;
    assert_int_equal(test_retain(test, 100 * all, &error), 1);
    uint64_t first = test_retain(test, all / 2, &error);
    test_must(error);
    assert_true(first > 1);
    uint64_t kept = 0;
    for (size_t i = 0; i < test->store->segments_count; i++)
        kept += test->store->segments[i].end;
    assert_true(kept >= all / 2);
    assert_int_equal(test->store->segments[0].first, first);
    /* By age: the time of an entry is its index times 1000. */
    struct store_retention age = {
        .since_us = (test->store->segments[test->store->segments_count - 2].first) * 1000,
        .floor = UINT64_MAX
    };
    uint64_t begin;
    test_must(store_retain(test->store, &age, &begin));
    assert_true(begin > first);
    assert_true(begin * 1000 <= age.since_us);
    /* A floor is not stepped over. */
    struct store_retention floor = { .keep_bytes = 1, .floor = begin };
    uint64_t same;
    test_must(store_retain(test->store, &floor, &same));
    assert_int_equal(same, begin);
    uint64_t entries;
    test_must(store_verify(test->store, test_no_damage, NULL, &entries));
    test_store_close(test);
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.first_index, begin);
    (void)test_read_all(test, begin - 1, test->log.last, &test->log, NULL);
    size_t len;
    static uint8_t out[LIMIT_ENTRY_BYTES];
    test_must(store_read_entries(test->store, begin - 1, out, sizeof out, &len));
    assert_int_equal(len, 0);
    test_store_free(test);
}

static unsigned checkpoints(const struct test_store *test)
{
    struct store_names names;
    test_must(names_list(test->store->disk, &names));
    unsigned count = (unsigned)names.checkpoints_count;
    names_free(&names);
    return count;
}

static void few_checkpoints_are_kept(void **state)
{
    (void)state;
    struct test_store *test = test_node(3, 60, true);
    assert_in_range(checkpoints(test), 6, 20);
    enum ft_error error;
    assert_true(test_retain(test, 30 * COPY_SEGMENT_BYTES, &error) > 1);
    test_must(error);
    assert_in_range(checkpoints(test), 4, 20);
    test_store_free(test);
    test = test_node(3, 10, false);
    assert_int_equal(checkpoints(test), 2);
    test_store_free(test);
}

/* Retention dies at every operation; and where the log begins, a lost checkpoint is no excuse. */
static void retention_survives_every_crash(void **state)
{
    (void)state;
    struct test_store *before = test_node(4, 12, true);
    uint64_t last = before->log.last;
    test_store_close(before);
    bool died = true;
    unsigned dropped = 0;
    for (uint64_t at = 1; died; at++) {
        struct test_store *test = test_store_new(at, COPY_SEGMENT_BYTES);
        sim_disk_free(test->disk);
        test->disk = sim_disk_copy(before->disk);
        test_must(test_store_open(test));
        test->store->retains = true;
        sim_disk_die_at(test->disk, sim_disk_operations(test->disk) + at);
        enum ft_error error;
        (void)test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
        died = sim_disk_dead(test->disk);
        assert_true(died || !error);
        test_store_close(test);
        sim_disk_die_at(test->disk, 0);
        sim_disk_crash(test->disk, at);
        test_must(test_store_open(test));
        uint64_t entries;
        test_must(store_verify(test->store, test_no_damage, NULL, &entries));
        (void)test_read_all(test, test->recovery.first_index - 1, last, &before->log, NULL);
        dropped += test->recovery.first_index > 1;
        test_store_free(test);
    }
    assert_true(dropped > 3);
    test_store_free(before);
}

static unsigned told;
static void count_damage(void *ctx, const struct store_damage *damage)
{
    (void)ctx;
    (void)damage;
    told++;
}

static void the_base_is_load_bearing(void **state)
{
    (void)state;
    struct test_store *test = test_node(5, 12, true);
    enum ft_error error;
    uint64_t first = test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
    uint64_t newest = test->store->indexed_last;
    test_must(error);
    assert_true(first > 1);
    test_store_close(test);
    char path[DISK_PATH_BYTES];
    struct sim_disk *whole = test->disk;
    /* Without its base it opens from a newer one, and verify tells. */
    test->disk = sim_disk_copy(whole);
    checkpoint_file_path(path, first - 1);
    assert_true(sim_disk_remove(test->disk, path));
    test_must(test_store_open(test));
    uint64_t entries;
    told = 0;
    test_must(store_verify(test->store, count_damage, NULL, &entries));
    assert_int_equal(told, 1);
    test_store_close(test);
    sim_disk_free(test->disk);
    /* With nothing but its base it opens from that, and replays the rest. */
    test->disk = sim_disk_copy(whole);
    for (uint64_t index = first; index <= newest; index++) {
        checkpoint_file_path(path, index);
        (void)sim_disk_remove(test->disk, path);
    }
    test_must(test_store_open(test));
    assert_int_equal(test->recovery.checkpoint_index, first - 1);
    (void)test_read_all(test, first - 1, test->log.last, &test->log, NULL);
    test_store_close(test);
    sim_disk_free(whole);
    test_store_free(test);
}

/* Both copies of where it begins: by the segments that are there. */
static void a_late_log_whose_beginning_is_rotten(void **state)
{
    (void)state;
    struct test_store *test = test_node(5, 12, true);
    enum ft_error error;
    uint64_t first = test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(first > 1);
    test_store_close(test);
    for (uint64_t at = 25; at < sim_disk_size(test->disk, "begin"); at += DISK_PAGE_BYTES)
        assert_true(sim_disk_flip(test->disk, "begin", at, 1));
    for (unsigned damages = 1; damages < 2; damages--) { /* found once, then written anew */
        test_must(test_store_open(test));
        assert_int_equal(test->recovery.damages, damages);
        assert_int_equal(test->recovery.first_index, first);
        assert_int_equal(test->recovery.last_index, test->log.last);
        (void)test_read_all(test, first - 1, test->log.last, &test->log, NULL);
        test_store_close(test);
    }
    test_store_free(test);
}

/* One copy of it: by the other, whatever else is there of what was being dropped when it was written. */
static void a_beginning_whose_first_copy_is_rotten(void **state)
{
    (void)state;
    bool dropping = false;
    for (uint64_t at = 1; !dropping; at++) {
        assert_in_range(at, 1, 500);
        struct test_store *test = test_node(5, 12, true);
        enum ft_error error;
        uint64_t first;
        bool whole;
        sim_disk_fail_call(test->disk, at, FT_ERROR_IO);
        (void)test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
        sim_disk_fail_call(test->disk, 0, FT_OK);
        test_store_close(test);
        const struct disk *disk = sim_disk_table(test->disk);
        test_must(begin_file_load(disk, &crypto_sodium, &first, &whole));
        struct store_names names;
        test_must(names_list(disk, &names));
        dropping = first > 1 && names.segments[0] < first;
        names_free(&names);
        if (dropping) {
            assert_true(sim_disk_flip(test->disk, "begin", 25, 1));
            test_must(test_store_open(test));
            assert_int_equal(test->recovery.first_index, first);
            assert_int_equal(test->recovery.damages, 1);
        }
        test_store_free(test);
    }
}

/* --- reading a log that begins above 1 ----------------------------------------------------------
 */

/* A log that begins where another one's does: what a backup and a recovered node begin with. */
static void a_log_begins_behind_the_base_of_another(void **state)
{
    (void)state;
    struct test_store *source = test_node(5, 12, true);
    struct test_store *target = test_store_new(6, COPY_SEGMENT_BYTES);
    struct store_base base;
    uint8_t *file;
    assert_int_equal(store_base_read(source->store, &base, &file), FT_ERROR_MISSING);
    enum ft_error error;
    uint64_t first = test_retain(source, 5 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    assert_true(first > 1);
    test_must(store_base_read(source->store, &base, &file));
    assert_int_equal(base.index, first - 1);
    assert_memory_equal(base.chain, source->log.chains[first - 1], HASH_BYTES);
    test_must(test_store_open(target));
    test_must(store_base_write(target->store, test_cluster, &base));
    test_store_close(target);
    target->log = source->log;
    target->log.last = first - 1;
    test_must(test_store_open(target));
    assert_int_equal(target->recovery.first_index, first);
    assert_int_equal(target->recovery.last_index, first - 1);
    assert_int_equal(target->recovery.checkpoint.len, base.state.len);
    assert_memory_equal(target->recovery.checkpoint.data, base.state.data, base.state.len);
    free(file);
    test_add(target, 3);
    test_seal_one(target, 3);
    test_store_close(target);
    test_must(test_store_open(target));
    uint64_t entries;
    test_must(store_verify(target->store, test_no_damage, NULL, &entries));
    assert_true(entries > 1);
    (void)test_read_all(target, first - 1, target->log.last, &target->log, NULL);
    test_store_free(source);
    test_store_free(target);
}

static void a_base_that_somebody_sends_is_proven(void **state)
{
    (void)state;
    static uint8_t data[LIMIT_ENTRY_BYTES];
    struct test_store *source = test_node(5, 3, false);
    struct store_piece piece = { .kind = STORE_PIECE_CHECKPOINT,
                                 .index = source->store->indexed_last };
    size_t len;
    uint64_t size;
    test_must(store_read_piece(source->store, &piece, sizeof data, data, &len, &size));
    assert_int_equal(len, size);
    struct store_base base;
    struct slice whole = { data, len };
    test_must(store_base_parse(source->store->crypto, test_cluster, piece.index, whole, &base));
    assert_int_equal(
        store_base_parse(source->store->crypto, test_cluster, piece.index + 1, whole, &base),
        FT_ERROR_CORRUPT);
    for (size_t at = 0; at < len; at += 7) {
        data[at] ^= 1;
        assert_int_not_equal(
            store_base_parse(source->store->crypto, test_cluster, piece.index, whole, &base),
            FT_OK);
        data[at] ^= 1;
    }
    test_store_free(source);
}

static void history_ends_honestly(void **state)
{
    (void)state;
    static uint8_t out[TEST_BUFFER_BYTES];
    struct test_store *test = test_node(6, 12, true);
    enum ft_error error;
    uint64_t first = test_retain(test, 5 * COPY_SEGMENT_BYTES, &error);
    test_must(error);
    /* Room 2 has the odd indexes, with seq (index + 1) / 2. */
    uint64_t oldest = ((first | 1) + 1) / 2;
    struct store_query query = { .room = 2, .seq_from = 1, .seq_to = 1000, .max_records = 1000 };
    struct store_answer answer;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(bytes_get_u64(out + 5), oldest);
    assert_false(answer.older);
    query.seq_from = oldest;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_false(answer.older);
    query.seq_from = oldest + 1;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_true(answer.older);
    assert_int_equal(bytes_get_u64(out + 5), oldest + 1);
    /* A page that goes forward begins with the first that is kept, and is as long. */
    query.seq_from = 2;
    query.seq_to = 4;
    query.forward_to = oldest + 1;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(answer.records, 2);
    assert_int_equal(bytes_get_u64(out + 5), oldest);
    query.forward_to = 1000;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(answer.records, 3);
    assert_false(answer.more);
    /* Nor beyond what its reader knows to stay: on the disk something else may stand there yet. */
    query.upto_index = bytes_get_u64(out + 13);
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(answer.records, 1);
    assert_true(answer.more);
    /* A reader that was overtaken is told first, then goes on where the log begins. */
    struct store_room_range rooms[2] = { { .room = 1, .after_index = 3, .upto_index = 10000 },
                                         { .room = 2, .after_index = 3, .upto_index = 10000 } };
    query = (struct store_query) { .rooms_count = 2, .rooms = rooms, .max_records = 10000 };
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(out[0], STORE_TRUNCATED);
    assert_int_equal(bytes_get_u64(out + 13), (first & 1 ? first + 1 + 1 : first + 1) / 2 - 1);
    assert_int_equal(out[STORE_RECORD_BYTES], STORE_TRUNCATED);
    assert_int_equal(bytes_get_u64(out + STORE_RECORD_BYTES + 13), oldest - 1);
    assert_int_equal(bytes_get_u64(out + 2 * STORE_RECORD_BYTES + 13), first);
    rooms[0].after_index = rooms[1].after_index = first - 1;
    test_must(store_read_posts(test->store, &query, out, sizeof out, &answer));
    assert_int_equal(out[0], STORE_POST);
    test_store_free(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_a_log),
        cmocka_unit_test(spoilt_pieces_are_refused),
        cmocka_unit_test(survives_every_crash),
        cmocka_unit_test(a_copy_whose_plan_is_rotten),
        cmocka_unit_test(source_moves_on),
        cmocka_unit_test(another_source_is_behind_what_was_begun),
        cmocka_unit_test(a_rotten_identity_is_told_by_what_was_copied),
        cmocka_unit_test(another_source_ends_before_what_is_missing),
        cmocka_unit_test(nothing_to_copy),
        cmocka_unit_test(other_boundaries),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(keeps_what_was_asked_for),
        cmocka_unit_test(few_checkpoints_are_kept),
        cmocka_unit_test(retention_survives_every_crash),
        cmocka_unit_test(the_base_is_load_bearing),
        cmocka_unit_test(a_late_log_whose_beginning_is_rotten),
        cmocka_unit_test(a_beginning_whose_first_copy_is_rotten),
        cmocka_unit_test(a_log_begins_behind_the_base_of_another),
        cmocka_unit_test(a_base_that_somebody_sends_is_proven),
        cmocka_unit_test(history_ends_honestly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
