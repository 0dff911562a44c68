/* Copying from sources whose pieces do not fit together, over what a disk has spoilt, and on plans
 * that other nodes' logs have overtaken. Nothing that is not proven stays: what is wrong is told,
 * wanted again, and the right pieces make the same log in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/index_format.h"
#include "tests/test_copy.h"

enum { SEGMENTS = 5, BUFFER_BYTES = 1 << 20 };

static uint8_t data[BUFFER_BYTES];

/* A source, and a node that has just joined its cluster; copying has begun. */
static struct copy_session begun(struct store_copy_state *state)
{
    struct copy_session session = { .source = test_node(1, SEGMENTS, true),
                                    .target = test_store_new(2, COPY_SEGMENT_BYTES) };
    test_must(test_store_open(session.target));
    test_must(test_flush(session.target, &test_form));
    struct store_copy_plan plan = copy_offer(&session);
    test_must(store_copy_begin(session.target->store, &plan, state));
    return session;
}

static void begin_again(struct copy_session *session, struct store_copy_state *state)
{
    struct store_copy_plan plan = copy_offer(session);
    test_must(store_copy_begin(session->target->store, &plan, state));
}

/* The rest comes from an honest source, each piece wanted once, and it is the source's log. */
static void end_well(struct copy_session *session, struct store_copy_state *state)
{
    unsigned before = session->refused;
    while (!state->complete) {
        test_must(copy_fetch(session, state));
        assert_int_equal(session->refused, before);
    }
    test_must(copy_go(session));
    copy_same(session, 1);
    test_store_free(session->source);
    test_store_free(session->target);
}

static void reach(struct copy_session *session, struct store_copy_state *state,
                  enum store_piece_kind kind, uint64_t index)
{
    while (state->next.kind != kind || state->next.index < index) {
        assert_false(state->complete);
        test_must(copy_fetch(session, state));
    }
}

static enum ft_error give(struct copy_session *session, struct store_copy_state *state,
                          uint64_t size, size_t len)
{
    struct store_piece piece = state->next;
    return store_copy_write(session->target->store, &piece, size, (struct slice) { data, len },
                            state);
}

static void refused(struct copy_session *session, struct store_copy_state *state, uint64_t size,
                    size_t len)
{
    struct store_piece wanted = state->next;
    assert_int_equal(give(session, state, size, len), FT_ERROR_CORRUPT);
    assert_false(state->complete);
    assert_int_equal(state->next.kind, wanted.kind);
    assert_int_equal(state->next.index, wanted.index);
}

/* The whole of what is wanted next, from the source. */
static size_t honest(struct copy_session *session, const struct store_copy_state *state,
                     uint64_t *size)
{
    size_t len;
    struct store_piece piece = state->next;
    test_must(
        store_read_piece(session->source->store, &piece, LIMIT_ENTRY_BYTES, data, &len, size));
    assert_true(len > 0);
    return len;
}

/* --- pieces -------------------------------------------------------------------------------------
 */

static void checkpoints_that_are_none(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    uint64_t size;
    size_t len = honest(&session, &copy, &size);
    assert_int_equal(copy.next.kind, STORE_PIECE_CHECKPOINT);
    refused(&session, &copy, size, 0);
    refused(&session, &copy, (uint64_t)STORE_CHECKPOINT_BYTES_MAX + 1, len);
    refused(&session, &copy, len - 1, len);
    assert_int_equal(copy.next.offset, 0);
    /* Whole, and not what it should be: another file's beginning, a newer version's, cut, or another
     * checkpoint's. */
    memset(data, 'x', 8);
    refused(&session, &copy, size, len);
    (void)honest(&session, &copy, &size);
    bytes_put_u32(data + 8, STORE_VERSION + 1);
    uint8_t no_key[DIGEST_KEY_BYTES] = { 0 };
    bytes_put_u64(data + 16, crypto_sodium.digest(no_key, data, 16));
    refused(&session, &copy, size, len);
    for (size_t cut = 1; cut < len; cut = cut * 2 + 1) {
        (void)honest(&session, &copy, &size);
        refused(&session, &copy, cut, cut);
    }
    assert_int_equal(copy.next.offset, 0);
    end_well(&session, &copy);
}

static void indexes_that_are_none(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    uint64_t size;
    reach(&session, &copy, STORE_PIECE_INDEX, 1);
    size_t len = honest(&session, &copy, &size);
    assert_int_equal(len, size);
    refused(&session, &copy, size, INDEX_BLOCK_BYTES - 1);
    refused(&session, &copy, size - 1, len);
    /* The next segment's. */
    struct store_piece next = copy.next;
    next.index = session.source->store->segments[1].first;
    test_must(store_read_piece(session.source->store, &next, BUFFER_BYTES, data, &len, &size));
    refused(&session, &copy, size, len);
    /* By somebody who knows the cluster: of another kind, of a newer version, beyond the copy's end. */
    for (int lie = 0; lie < 3; lie++) {
        uint8_t no_key[DIGEST_KEY_BYTES] = { 0 };
        len = honest(&session, &copy, &size);
        if (lie == 0)
            memset(data, 'x', 8);
        if (lie == 1)
            bytes_put_u32(data + 8, STORE_VERSION + 1);
        if (lie == 2)
            bytes_put_u64(data + INDEX_AT_LAST, copy.end + 1);
        bytes_put_u64(data + 16, crypto_sodium.digest(no_key, data, 16));
        bytes_put_u64(data + INDEX_PAYLOAD_BYTES + 8,
                      crypto_sodium.digest(test_cluster, data, INDEX_PAYLOAD_BYTES + 8));
        refused(&session, &copy, size, len);
        assert_int_equal(copy.next.offset, 0);
    }
    end_well(&session, &copy);
}

/* Into `out`. */
static size_t forge(uint8_t *out, uint64_t first, uint32_t count, uint64_t term,
                    const uint8_t *chain, uint64_t time_us)
{
    static uint8_t bodies[BUFFER_BYTES];
    uint32_t sizes[8];
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = test_body(first + i, term, bodies + at);
        at += sizes[i];
    }
    struct entry_draft draft = { ENTRY_COMMANDS, first, term, time_us, count, sizes, bodies };
    size_t len = entry_build(out, BUFFER_BYTES / 2, &draft, &crypto_sodium, test_cluster, chain);
    entry_set_local(out, 1, 0, 0, &crypto_sodium, test_cluster);
    return len;
}

static void entries_that_are_none(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    uint64_t size;
    reach(&session, &copy, STORE_PIECE_ENTRIES, 1);
    refused(&session, &copy, 0, 0);
    size_t len = honest(&session, &copy, &size);
    for (size_t cut = 1; cut < bytes_get_u32(data + 4); cut += 37)
        refused(&session, &copy, 0, cut);
    /* The next one, and one that follows another. */
    size_t first = bytes_get_u32(data + 4);
    memmove(data, data + first, len - first);
    refused(&session, &copy, 0, len - first);
    len = forge(data, 1, 2, 1, session.source->log.chains[2], 1000);
    refused(&session, &copy, 0, len);
    end_well(&session, &copy);
}

/* All of the first segment, in one piece, whose last entry is another. */
static size_t forge_last(struct copy_session *session, struct store_copy_state *state,
                         uint32_t count, uint64_t term)
{
    uint64_t size;
    size_t at = 0;
    reach(session, state, STORE_PIECE_ENTRIES, 1);
    assert_int_equal(state->next.index, 1);
    (void)honest(session, state, &size);
    uint64_t last = session->source->store->segments[0].last;
    while (bytes_get_u64(data + at + 8) < last - 1)
        at += bytes_get_u32(data + at + 4);
    assert_int_equal(bytes_get_u64(data + at + 8), last - 1);
    uint32_t was = bytes_get_u32(data + at + 4);
    size_t len = forge(data + at, last - 1, count, term, session->source->log.chains[last - 2], 1);
    assert_int_equal(len == was, count == 2 && term == 1);
    return at + len;
}

/* Every entry follows the one before, and the segment is still not the one that its index tells of: of
 * other lengths, of other indexes, of another time. It goes, and so does its index. */
static void segments_that_do_not_end_as_they_should(void **state)
{
    (void)state;
    static const struct {
        uint32_t count;
        uint64_t term;
    } lies[] = { { 2, 9 }, { 3, 1 }, { 2, 1 } };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct store_copy_state copy;
        struct copy_session session = begun(&copy);
        size_t len = forge_last(&session, &copy, lies[i].count, lies[i].term);
        assert_int_equal(give(&session, &copy, 0, len), FT_ERROR_CORRUPT);
        assert_int_equal(copy.next.kind, STORE_PIECE_INDEX);
        assert_int_equal(copy.next.index, 1);
        assert_int_equal(copy.next.offset, 0);
        char path[DISK_PATH_BYTES];
        copy_segment_path(path, 1, "seg");
        assert_int_equal(sim_disk_size(session.target->disk, path), UINT64_MAX);
        copy_segment_path(path, 1, "idx");
        assert_int_equal(sim_disk_size(session.target->disk, path), UINT64_MAX);
        end_well(&session, &copy);
    }
}

/* What is disproved must go, or the copy is given up; what failed is told. */
static void throwing_away_fails(void **state)
{
    (void)state;
    unsigned told = 0;
    for (uint64_t at = 1; at < 9; at++) {
        struct store_copy_state copy;
        struct copy_session session = begun(&copy);
        size_t len = forge_last(&session, &copy, 2, 9);
        sim_disk_fail_call(session.target->disk, at, FT_ERROR_IO);
        enum ft_error error = give(&session, &copy, 0, len);
        sim_disk_fail_call(session.target->disk, 0, FT_OK);
        assert_true(error == FT_ERROR_IO || error == FT_ERROR_SYNC || error == FT_ERROR_CORRUPT);
        told += error != FT_ERROR_CORRUPT;
        begin_again(&session, &copy);
        end_well(&session, &copy);
    }
    assert_true(told >= 4);
}

/* The last segment must end with the chain that the checkpoint names. */
static void checkpoint_of_another_history(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    struct test_store *other = test_store_new(3, COPY_SEGMENT_BYTES);
    char path[DISK_PATH_BYTES];
    test_must(test_store_open(other));
    test_must(test_flush(other, &test_form));
    struct store_base base = { .index = copy.end,
                               .chain = { 'x' },
                               .state = { (const uint8_t *)"state", 5 } };
    test_must(checkpoint_file_save(other->store, &base));
    checkpoint_file_path(path, copy.end);
    size_t len = (size_t)sim_disk_size(other->disk, path);
    assert_true(sim_disk_peek(other->disk, path, 0, data, len));
    test_must(give(&session, &copy, len, len));
    assert_int_equal(copy.next.kind, STORE_PIECE_INDEX);
    const struct store *source = session.source->store;
    uint64_t last = source->segments[SEGMENTS - 1].first;
    reach(&session, &copy, STORE_PIECE_ENTRIES, last);
    while (session.refused == 0)
        test_must(copy_fetch(&session, &copy));
    assert_false(copy.complete);
    assert_int_equal(copy.next.kind, STORE_PIECE_INDEX);
    assert_int_equal(copy.next.index, last);
    /* Forgotten and begun anew, it comes right. */
    test_must(store_copy_drop(session.target->store));
    begin_again(&session, &copy);
    end_well(&session, &copy);
    test_store_free(other);
}

static void pieces_that_nobody_wants_change_nothing(void **state)
{
    (void)state;
    struct store_copy_state copy, after;
    struct copy_session session = begun(&copy);
    struct store *store = session.target->store;
    while (!copy.complete) {
        for (int lie = 0; lie < 3; lie++) {
            struct store_piece piece = copy.next;
            if (lie == 0)
                piece.kind =
                    piece.kind == STORE_PIECE_INDEX ? STORE_PIECE_ENTRIES : STORE_PIECE_INDEX;
            if (lie == 1)
                piece.index++;
            if (lie == 2)
                piece.offset++;
            test_must(store_copy_write(store, &piece, 9, (struct slice) { data, 9 }, &after));
            assert_memory_equal(&after.next, &copy.next, sizeof copy.next);
        }
        test_must(copy_fetch(&session, &copy));
    }
    test_must(store_copy_write(store, &copy.next, 9, (struct slice) { data, 9 }, &after));
    assert_true(after.complete);
    end_well(&session, &copy);
}

/* --- what a disk has spoilt ---------------------------------------------------------------------
 */

static void cut_file(struct sim_disk *sim, const char *path, uint64_t size)
{
    const struct disk *disk = sim_disk_table(sim);
    struct disk_file *file;
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, size));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

/* The plan stands in its file twice, in pages of their own. */
static void poke_plan(struct sim_disk *disk, const uint8_t *head, size_t len)
{
    for (uint64_t at = 0; at <= DISK_PAGE_BYTES; at += DISK_PAGE_BYTES)
        assert_true(sim_disk_poke(disk, "copy", at, head, len));
}

/* No record of the plan is whole: what was begun is begun again. */
static void expect_begun_again(struct copy_session *session)
{
    test_must(copy_run(session));
    assert_false(session->resumed);
    copy_same(session, 1);
}

/* One of them is: it counts, and the file is written anew. */
static void expect_plan_mended(struct copy_session *session)
{
    struct copy_file plan;
    bool whole;
    test_must(test_store_open(session->target));
    test_must(copy_file_load(sim_disk_table(session->target->disk), &crypto_sodium, test_cluster,
                             &plan, &whole));
    assert_true(whole);
    test_must(copy_go(session));
    assert_true(session->resumed);
    copy_same(session, 1);
}

/* Each file of the copy, a byte of it turned or its end gone, then a new start: one whole record of the
 * plan is enough, and anything else is fetched again. */
static void each_file_of_a_copy_is_spoilt(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    reach(&session, &copy, STORE_PIECE_ENTRIES, 12);
    test_store_close(session.target);
    struct sim_disk *whole = session.target->disk;
    unsigned believed = 0, begun_again = 0, mended = 0;
    for (size_t number = 0; sim_disk_name(whole, number); number++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", sim_disk_name(whole, number));
        bool plan = strcmp(path, "copy") == 0;
        if (!plan && !strstr(path, "copy-"))
            continue;
        uint64_t size = sim_disk_size(whole, path);
        uint64_t step = plan ? 41 : size / 9;
        for (uint64_t at = 0; at < 2 * size; at += step) {
            session.target->disk = sim_disk_copy(whole);
            if (at < size)
                assert_true(sim_disk_flip(session.target->disk, path, at, 0x10));
            else
                cut_file(session.target->disk, path, at - size);
            session.installing = false;
            if (plan && at < size) {
                expect_plan_mended(&session);
                mended++;
            } else if (plan) {
                expect_begun_again(&session);
                begun_again++;
            } else {
                test_must(copy_run(&session));
                copy_same(&session, 1);
                believed++;
            }
            test_store_close(session.target);
            sim_disk_free(session.target->disk);
        }
    }
    assert_true(believed > 50);
    assert_true(begun_again > 20);
    assert_true(mended > 20);
    session.target->disk = whole;
    test_store_free(session.source);
    test_store_free(session.target);
}

/* Files that are whole, and belong elsewhere: the header of another segment, the index of another
 * history, an index that tells of more than the copy has. */
static void whole_files_in_the_wrong_place(void **state)
{
    (void)state;
    for (int lie = 0; lie < 5; lie++) {
        struct store_copy_state copy;
        struct copy_session session = begun(&copy);
        struct sim_disk *disk = session.target->disk;
        uint8_t block[INDEX_BLOCK_BYTES];
        char seg[DISK_PATH_BYTES], idx[DISK_PATH_BYTES];
        const struct segment *segments = session.source->store->segments;
        reach(&session, &copy, STORE_PIECE_ENTRIES, 1);
        reach(&session, &copy, STORE_PIECE_ENTRIES, segments[0].last - 1);
        copy_segment_path(seg, 1, "seg");
        copy_segment_path(idx, 1, "idx");
        test_store_close(session.target);
        if (lie < 2) {
            struct segment_header header = { .first = lie ? 1 : 2,
                                             .segment_bytes = COPY_SEGMENT_BYTES };
            memcpy(header.cluster, test_cluster, IDENTITY_BYTES);
            header.chain[0] = lie ? 'x' : 0;
            segment_header_write(block, &header, &crypto_sodium);
            assert_true(sim_disk_poke(disk, seg, 0, block, SEGMENT_HEADER_BYTES));
        } else {
            assert_true(sim_disk_peek(disk, idx, 0, block, sizeof block));
            if (lie == 2) /* all that is there, and it should have ended elsewhere */
                bytes_put_u64(block + INDEX_AT_LAST, segments[0].last - 2);
            if (lie == 3)
                bytes_put_u64(block + INDEX_AT_LAST, copy.end + 1);
            if (lie == 4)
                bytes_put_u32(block + 8, STORE_VERSION + 1);
            uint8_t no_key[DIGEST_KEY_BYTES] = { 0 };
            bytes_put_u64(block + 16, crypto_sodium.digest(no_key, block, 16));
            bytes_put_u64(block + INDEX_PAYLOAD_BYTES + 8,
                          crypto_sodium.digest(test_cluster, block, INDEX_PAYLOAD_BYTES + 8));
            assert_true(sim_disk_poke(disk, idx, 0, block, sizeof block));
        }
        test_must(test_store_open(session.target));
        begin_again(&session, &copy);
        assert_int_equal(copy.next.kind, lie < 2 ? STORE_PIECE_ENTRIES : STORE_PIECE_INDEX);
        assert_int_equal(copy.next.index, 1);
        end_well(&session, &copy);
    }
}

/* --- plans --------------------------------------------------------------------------------------
 */

static void save_plan(struct copy_session *session, const struct copy_file *plan)
{
    test_must(
        copy_file_save(sim_disk_table(session->target->disk), &crypto_sodium, test_cluster, plan));
}

/* What was begun is of no use to this log or for this wish: begun anew, and told so. */
static void plans_that_are_not_gone_on_with(void **state)
{
    (void)state;
    for (int kind = 0; kind < 7; kind++) {
        struct copy_session session = { .source = test_node(1, SEGMENTS, true),
                                        .target = test_node(2, 2, false) };
        struct store_copy_state copy;
        uint64_t own = session.target->store->indexed_last;
        uint64_t end = session.source->store->indexed_last;
        struct copy_file plan = { .start = own + 1,
                                  .end = end,
                                  .segment_bytes = COPY_SEGMENT_BYTES };
        struct store_copy_plan offer = copy_offer(&session);
        if (kind == 0) /* its own log does not reach to where it should go on */
            plan.start = own + 100, plan.end = own + 200;
        if (kind == 1) /* or has no boundary there */
            plan.start = own - 1;
        if (kind == 2)
            plan.segment_bytes++;
        if (kind == 3) /* it has gone further by itself */
            plan.start = 1, plan.end = own;
        if (kind == 4) /* the own log is not to be gone on from */
            offer.whole = true;
        save_plan(&session, &plan);
        if (kind >= 5)
            assert_true(sim_disk_flip(session.target->disk, "copy", 30, 1));
        if (kind == 5)
            assert_true(sim_disk_flip(session.target->disk, "copy", DISK_PAGE_BYTES + 30, 1));
        test_must(store_copy_begin(session.target->store, &offer, &copy));
        assert_int_equal(copy.resumed, kind == 6); /* one record is enough */
        assert_int_equal(copy.end, end);
        session.whole = offer.whole;
        end_well(&session, &copy);
    }
}

/* What is wrong with the file while the node runs: the same. */
static void plans_that_cannot_be_read(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct store_copy_state copy;
        struct copy_session session = begun(&copy);
        uint8_t no_key[DIGEST_KEY_BYTES] = { 0 };
        uint8_t head[24];
        test_must(copy_fetch(&session, &copy));
        assert_true(sim_disk_peek(session.target->disk, "copy", 0, head, sizeof head));
        if (kind == 0)
            memset(head, 'x', 8);
        if (kind == 1)
            bytes_put_u32(head + 8, STORE_VERSION + 1);
        bytes_put_u64(head + 16, crypto_sodium.digest(no_key, head, 16));
        poke_plan(session.target->disk, head, sizeof head);
        if (kind == 2)
            assert_true(sim_disk_remove(session.target->disk, "copy"));
        begin_again(&session, &copy);
        assert_false(copy.resumed);
        assert_int_equal(copy.next.offset, 0);
        end_well(&session, &copy);
    }
}

/* Its check is right, and what it says is not possible. */
static void plans_that_make_no_sense(void **state)
{
    (void)state;
    enum { FIELDS = 6, FIRSTS = 3 };
    static const uint64_t good[FIELDS + FIRSTS] = { 1, 5, 5, 20, 1500, 3, 5, 9, 15 };
    static const struct {
        size_t field;
        uint64_t value;
    } lies[] = {
        { 0, 0 },                     /* not to be put in place, with its segments named */
        { 1, 6 },                     /* begins elsewhere than it starts */
        { 2, 0 },                     /* starts before the first of all */
        { 2, 21 },                    /* ends before it starts */
        { 4, 0 },  { 4, UINT32_MAX }, /* no such segments */
        { 5, 2 },  { 5, 4 },          /* fewer or more than are named */
        { 6, 6 },                     /* the first does not start it */
        { 7, 5 },  { 7, 16 },         { 8, 21 }, /* not rising, or beyond the end */
    };
    struct test_store *test = test_node(1, 1, false);
    const struct disk *disk = sim_disk_table(test->disk);
    uint8_t bytes[24 + 8 * (FIELDS + FIRSTS) + 8];
    for (size_t i = 0; i <= sizeof lies / sizeof lies[0]; i++) {
        bool lie = i < sizeof lies / sizeof lies[0];
        struct copy_file plan;
        bool whole;
        file_prologue_write(bytes, FILE_COPY, &crypto_sodium);
        for (size_t f = 0; f < FIELDS + FIRSTS; f++)
            bytes_put_u64(bytes + 24 + 8 * f, lie && lies[i].field == f ? lies[i].value : good[f]);
        bytes_put_u64(bytes + sizeof bytes - 8,
                      crypto_sodium.digest(test_cluster, bytes, sizeof bytes - 8));
        test_must(
            file_replace(disk, "", "copy.tmp", "copy", &(struct slice) { bytes, sizeof bytes }, 1));
        enum ft_error error = copy_file_load(disk, &crypto_sodium, test_cluster, &plan, &whole);
        assert_int_equal(error, lie ? FT_ERROR_CORRUPT : FT_OK);
        if (!lie)
            assert_int_equal(plan.firsts[2], 15);
        free(plan.firsts);
    }
    struct copy_file plan;
    bool whole;
    cut_file(test->disk, "copy", sizeof bytes - 3);
    assert_int_equal(copy_file_load(disk, &crypto_sodium, test_cluster, &plan, &whole),
                     FT_ERROR_CORRUPT);
    test_store_free(test);
}

/* Its own log reaches as far as the source's by now; only a sync that fails while the copy goes matters. */
static void a_copy_of_no_use_is_dropped(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct copy_session session = { .source = test_node(1, 2, false),
                                        .target = test_node(2, 3, false) };
        struct store_copy_plan offer = copy_offer(&session);
        struct store_copy_state copy;
        save_plan(&session, &(struct copy_file) { .start = 1, .end = 99, .segment_bytes = 1500 });
        if (fails) /* the unlink, then the sync of its folder */
            sim_disk_fail_call(session.target->disk, 2, FT_ERROR_SYNC);
        assert_int_equal(store_copy_begin(session.target->store, &offer, &copy),
                         fails ? FT_ERROR_SYNC : FT_ERROR_EXISTS);
        assert_int_equal(sim_disk_size(session.target->disk, "copy"), UINT64_MAX);
        test_store_free(session.source);
        test_store_free(session.target);
    }
}

/* --- putting in place ---------------------------------------------------------------------------
 */

/* A part of a complete copy is lost before it is put in place: the folder is not opened as if it were
 * whole. */
static void a_copy_with_a_hole_is_not_put_in_place(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    char path[DISK_PATH_BYTES];
    while (!copy.complete)
        test_must(copy_fetch(&session, &copy));
    test_must(store_copy_install(session.target->store));
    /* Nor is it gone on with, once it is to be put in place. */
    begin_again(&session, &copy);
    assert_false(copy.resumed);
    while (!copy.complete)
        test_must(copy_fetch(&session, &copy));
    test_must(store_copy_install(session.target->store));
    test_store_close(session.target);
    copy_segment_path(path, session.source->store->segments[1].first, "idx");
    assert_true(sim_disk_remove(session.target->disk, path));
    assert_int_equal(test_store_open(session.target), FT_ERROR_CORRUPT);
    assert_non_null(strstr(session.target->why, "copy"));
    test_store_free(session.source);
    test_store_free(session.target);
}

/* Meanwhile its own log went further than the copy's end, in another history. Nothing of that stays. */
static void what_the_log_has_after_the_copy_goes(void **state)
{
    (void)state;
    struct store_copy_state copy;
    struct copy_session session = begun(&copy);
    while (!copy.complete)
        test_must(copy_fetch(&session, &copy));
    while (session.target->store->indexed_last <= copy.end)
        test_seal_one(session.target, 7);
    test_must(store_copy_install(session.target->store));
    test_store_close(session.target);
    test_must(test_store_open(session.target));
    copy_same(&session, 1);
    test_store_free(session.source);
    test_store_free(session.target);
}

/* More segments than the list of them begins with, and a checkpoint of more than one piece, half of
 * which was there already. */
static void a_long_log_with_a_large_checkpoint(void **state)
{
    (void)state;
    static uint8_t large[LIMIT_COPY_BYTES * 2];
    struct copy_session session = { .source = test_node(1, 66, false),
                                    .target = test_store_new(2, COPY_SEGMENT_BYTES) };
    struct test_store *source = session.source;
    struct store_copy_state copy;
    do
        test_add(source, 1);
    while (!segment_full(&source->store->segments[source->store->segments_count - 1],
                         source->store->segment_bytes));
    for (uint64_t index = source->store->indexed_last + 1; index <= source->log.last; index++)
        store_index(source->store, 1 + (uint32_t)(index & 1), (index + 1) / 2, index, false);
    bytes_put_u64(large, source->log.last);
    test_must(
        store_checkpoint(source->store, source->log.last, (struct slice) { large, sizeof large }));
    test_must(test_store_open(session.target));
    test_must(test_flush(session.target, &test_form));
    begin_again(&session, &copy);
    uint64_t size;
    size_t len = honest(&session, &copy, &size);
    assert_int_equal(len, size);
    size_t part = LIMIT_COPY_BYTES + LIMIT_COPY_BYTES / 2;
    test_must(give(&session, &copy, size, part));
    assert_int_equal(copy.next.offset, part);
    test_store_close(session.target);
    test_must(test_store_open(session.target));
    begin_again(&session, &copy);
    assert_true(copy.resumed);
    assert_in_range(copy.next.offset, 1, part - LIMIT_COPY_BYTES);
    /* The rest in one piece. */
    struct store_piece rest = copy.next;
    test_must(store_read_piece(source->store, &rest, LIMIT_ENTRY_BYTES, data, &len, &size));
    test_must(give(&session, &copy, size, len));
    assert_int_equal(copy.next.kind, STORE_PIECE_INDEX);
    end_well(&session, &copy);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_that_are_none),
        cmocka_unit_test(indexes_that_are_none),
        cmocka_unit_test(entries_that_are_none),
        cmocka_unit_test(segments_that_do_not_end_as_they_should),
        cmocka_unit_test(throwing_away_fails),
        cmocka_unit_test(checkpoint_of_another_history),
        cmocka_unit_test(pieces_that_nobody_wants_change_nothing),
        cmocka_unit_test(each_file_of_a_copy_is_spoilt),
        cmocka_unit_test(whole_files_in_the_wrong_place),
        cmocka_unit_test(plans_that_are_not_gone_on_with),
        cmocka_unit_test(plans_that_cannot_be_read),
        cmocka_unit_test(plans_that_make_no_sense),
        cmocka_unit_test(a_copy_of_no_use_is_dropped),
        cmocka_unit_test(a_copy_with_a_hole_is_not_put_in_place),
        cmocka_unit_test(what_the_log_has_after_the_copy_goes),
        cmocka_unit_test(a_long_log_with_a_large_checkpoint),
    };
    return cmocka_run_group_tests_name("store_copy_lies", tests, NULL, NULL);
}
