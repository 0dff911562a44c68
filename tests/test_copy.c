/* See tests/test_copy.h. */
#include "tests/test_copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void test_must(enum ft_error error)
{
    assert_int_equal(error, FT_OK);
}

const struct test_flush test_form = { .save_cluster = true };

void test_add(struct test_store *test, uint64_t term)
{
    test_must(test_flush(test, &(struct test_flush) { .entries = 1, .count = 2, .term = term }));
}

/* Fills the segment that is open, and seals it with a checkpoint. */
void test_seal_one(struct test_store *test, uint64_t term)
{
    static uint8_t state[1000];
    struct store *store = test->store;
    uint64_t from = store->indexed_last;
    do
        test_add(test, term);
    while (!segment_full(&store->segments[store->segments_count - 1], store->segment_bytes));
    for (uint64_t index = from + 1; index <= test->log.last; index++)
        store_index(store, 1 + (uint32_t)(index & 1), (index + 1) / 2, index, false);
    bytes_put_u64(state, test->log.last);
    test_must(store_checkpoint(store, test->log.last, (struct slice) { state, sizeof state }));
}

/* A node whose log is `segments` sealed ones and two entries more. */
struct test_store *test_node(uint64_t seed, int segments, bool retains)
{
    struct test_store *test = test_store_new(seed, COPY_SEGMENT_BYTES);
    test_must(test_store_open(test));
    test->store->retains = retains;
    test_must(test_flush(test, &test_form));
    test_must(test_flush(test, &(struct test_flush) { .save_vote = true, .term = 2, .vote = 2 }));
    for (int i = 0; i < segments; i++)
        test_seal_one(test, 1);
    if (segments)
        test_add(test, 1);
    return test;
}

/* Drops what is older than half of the log, if a checkpoint lets it. */
uint64_t test_retain(struct test_store *test, uint64_t keep_bytes, enum ft_error *error)
{
    uint64_t first = 0;
    struct store_retention want = { .keep_bytes = keep_bytes, .floor = UINT64_MAX };
    *error = store_retain(test->store, &want, &first);
    return first;
}

/* --- one session of copying ---------------------------------------------------------------------
 */

struct store_copy_plan copy_offer(const struct copy_session *session)
{
    const struct store *store = session->source->store;
    struct store_copy_plan plan = { .oldest = store->begin,
                                    .newest = store->indexed_last,
                                    .segment_bytes = store->segment_bytes,
                                    .whole = session->whole };
    memcpy(plan.cluster, test_cluster, IDENTITY_BYTES);
    return plan;
}

static void watch(const struct copy_session *session, bool on)
{
    if (session->watch)
        session->watch(on);
}

enum ft_error copy_fetch(struct copy_session *session, struct store_copy_state *state)
{
    static uint8_t data[LIMIT_ENTRY_BYTES];
    size_t len;
    uint64_t size;
    size_t want = session->piece_bytes ? session->piece_bytes : COPY_PIECE_BYTES;
    if (state->next.kind == STORE_PIECE_INDEX && want < INDEX_BLOCK_BYTES)
        want = INDEX_BLOCK_BYTES;
    struct store_piece piece = state->next;
    test_must(store_read_piece(session->source->store, &piece, want, data, &len, &size));
    assert_true(len > 0);
    session->pieces++;
    bool spoilt = session->spoil_each && random_below(&session->random, session->spoil_each) == 0;
    if (spoilt)
        data[random_below(&session->random, len)] ^=
            (uint8_t)(1 + random_below(&session->random, 255));
    watch(session, true);
    enum ft_error error =
        store_copy_write(session->target->store, &piece, size, (struct slice) { data, len }, state);
    watch(session, false);
    session->refused += error == FT_ERROR_CORRUPT;
    return error == FT_ERROR_CORRUPT ? FT_OK : error;
}

static enum ft_error open_target(struct copy_session *session)
{
    watch(session, true);
    enum ft_error error = test_store_open(session->target);
    watch(session, false);
    return error;
}

enum ft_error copy_go(struct copy_session *session)
{
    struct test_store *target = session->target;
    enum ft_error error = FT_OK;
    if (memcmp(target->store->cluster, test_cluster, IDENTITY_BYTES) != 0)
        error = test_flush(target, &test_form);
    struct store_copy_plan plan = copy_offer(session);
    struct store_copy_state state = { 0 };
    watch(session, true);
    if (!error)
        error = store_copy_begin(target->store, &plan, &state);
    watch(session, false);
    if (error == FT_ERROR_EXISTS) /* in place, and the process died before it said so */
        return FT_OK;
    session->resumed = state.resumed;
    while (!error && !state.complete)
        error = copy_fetch(session, &state);
    if (error)
        return error;
    assert_int_equal(state.end, plan.newest);
    session->installing = true;
    watch(session, true);
    error = store_copy_install(target->store);
    watch(session, false);
    if (error)
        return error;
    test_store_close(target);
    return open_target(session);
}

/* From opening the target to having opened it with the copy in place. */
enum ft_error copy_run(struct copy_session *session)
{
    enum ft_error error = open_target(session);
    if (error || session->target->recovery.installed)
        return error;
    return copy_go(session);
}

void test_no_damage(void *ctx, const struct store_damage *damage)
{
    (void)ctx;
    fail_msg("%s at %llu: %s", damage->file, (unsigned long long)damage->offset, damage->what);
}

/* The target has what the source has sealed, proves it, and serves its history. */
void copy_same(struct copy_session *session, uint64_t begin)
{
    struct test_store *source = session->source;
    struct test_store *target = session->target;
    uint64_t end = source->store->indexed_last;
    uint64_t entries;
    assert_int_equal(target->recovery.checkpoint_index, end);
    assert_int_equal(target->recovery.last_index, end);
    assert_int_equal(target->recovery.first_index, begin);
    assert_int_equal(bytes_get_u64(target->recovery.checkpoint.data), end);
    assert_int_equal(target->store->segment_bytes, source->store->segment_bytes);
    (void)test_read_all(target, begin - 1, end, &source->log, NULL);
    test_must(store_verify(target->store, test_no_damage, NULL, &entries));
    assert_true(entries > 0);
    static uint8_t out[TEST_BUFFER_BYTES], expected[TEST_BUFFER_BYTES];
    struct store_query query = { .room = 1, .seq_to = end, .max_records = 10000 };
    struct store_answer answer;
    struct store_answer known;
    test_must(store_read_posts(target->store, &query, out, sizeof out, &answer));
    query.seq_to = (end + 1) / 2;
    test_must(store_read_posts(source->store, &query, expected, sizeof expected, &known));
    assert_true(answer.records > 0);
    if (begin == source->store->begin) {
        size_t len = answer.len < known.len ? answer.len : known.len;
        assert_memory_equal(out, expected, len);
    }
    /* It goes on from there. */
    struct test_log after = source->log;
    after.last = end;
    target->log = after;
    assert_true(target->recovery.may_vote);
    test_add(target, 3);
    (void)test_read_all(target, begin - 1, target->log.last, &target->log, NULL);
}

void copy_finish(struct copy_session *session, uint64_t begin)
{
    test_must(copy_run(session));
    assert_true(session->target->recovery.installed > 0);
    copy_same(session, begin);
}

/* --- targets ------------------------------------------------------------------------------------
 */

struct test_store *copy_source(enum copy_target_kind kind, int segments)
{
    struct test_store *source = test_node(1, segments, true);
    enum ft_error error;
    if (kind == TARGET_OVERTAKEN) {
        assert_true(test_retain(source, (uint64_t)(segments - 3) * COPY_SEGMENT_BYTES, &error) > 1);
        test_must(error);
    }
    return source;
}

/* Closed, as it lies on its disk before the copying. */
struct test_store *copy_target(enum copy_target_kind kind)
{
    struct test_store *target = test_store_new(2, COPY_SEGMENT_BYTES);
    if (kind == TARGET_BLANK)
        return target;
    test_store_free(target);
    target = test_node(2, kind == TARGET_OVERTAKEN ? 1 : 2, false);
    if (kind == TARGET_DIVERGED)
        for (int i = 0; i < 5; i++)
            test_add(target, 2);
    test_store_close(target);
    return target;
}
