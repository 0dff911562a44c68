/* What raft makes of what the disk gives back: checkpoints in little room, logs that do not go with
 * the vote, with the checkpoint or with the memory there is now. */
#include "tests/test_raft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* A raft of its own, whose log is made here entry by entry. */
struct scene {
    struct raft_options options;
    struct raft_recovery recovery;
    void *memory;
    struct raft *raft;
    uint8_t log[1 << 18];
    size_t len;
    uint64_t last;
    uint8_t chain[HASH_BYTES];
};

static struct scene *scene_new(size_t cache_bytes)
{
    struct scene *scene = calloc(1, sizeof *scene);
    scene->options = (struct raft_options) {
        .slot = 1,
        .identity = { 0xa1 },
        .crypto = &rafts_crypto,
        .seed = 1,
        .heartbeat_us = 20000,
        .election_min_us = 100000,
        .election_max_us = 1000000,
        .cache_bytes = cache_bytes,
        .cache_entries = 1024,
    };
    scene->recovery = (struct raft_recovery) { .cluster = { 0xc1 }, .term = 1 };
    scene->memory = aligned_alloc(16, (raft_memory(&scene->options) + 15) / 16 * 16);
    return scene;
}

static void scene_free(struct scene *scene)
{
    free(scene->memory);
    free(scene);
}

static void add(struct scene *scene, enum entry_kind kind, uint64_t term, const uint8_t *body,
                uint32_t size)
{
    struct entry_draft draft = { kind, scene->last + 1, term, 1, 1, &size, body };
    uint8_t *at = scene->log + scene->len;
    size_t len = entry_build(at, sizeof scene->log - scene->len, &draft, &rafts_crypto,
                             scene->recovery.cluster, scene->chain);
    assert_true(len > 0);
    entry_set_local(at, 1, 0, 0, &rafts_crypto, scene->recovery.cluster);
    memcpy(scene->chain, at + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
    scene->len += len;
    scene->last++;
}

/* The first entry: this node and `others` more are voters. */
static void add_config(struct scene *scene, unsigned others)
{
    struct raft_config config = { .count = 1 + others };
    uint8_t body[RAFT_CONFIG_BYTES];
    for (unsigned i = 0; i < config.count; i++) {
        config.members[i].slot = (uint8_t)(i + 1);
        config.members[i].voter = true;
        config.members[i].identity[0] = (uint8_t)(0xa1 + i);
    }
    uint32_t size = (uint32_t)raft_config_encode(&config, body, sizeof body);
    add(scene, ENTRY_CONFIG, 1, body, size);
}

static void add_words(struct scene *scene, uint64_t term, uint32_t size)
{
    static const uint8_t words[1 << 17] = { 'w' };
    add(scene, ENTRY_COMMANDS, term, words, size);
}

static bool restore(struct scene *scene)
{
    memset(scene->memory, 0, sizeof(struct raft));
    scene->raft = raft_init(scene->memory, &scene->options);
    assert_true(raft_restore(scene->raft, &scene->recovery));
    return raft_restore_entries(scene->raft, (struct slice) { scene->log, scene->len });
}

static void ignore(void *ctx, const struct effect *effect)
{
    (void)ctx;
    (void)effect;
}

static const struct effects nowhere = { ignore, NULL };
static const struct now now = { 1000000, 1700000000000000 };

/* --- entries -----------------------------------------------------------------------------------*/

static void entries_that_cannot_follow_are_not_restored(void **state)
{
    (void)state;
    static const uint8_t words[] = "no configuration";
    for (int i = 0; i < 5; i++) {
        struct scene *scene = scene_new(1 << 18);
        add_config(scene, 0);
        add_words(scene, 4, 20);
        switch (i) {
        case 0: /* terms never fall */
            add_words(scene, 3, 20);
            break;
        case 1:
            add(scene, ENTRY_CONFIG, 4, words, sizeof words);
            break;
        case 2: /* no leader has ever had the term 0 */
            scene->len = 0;
            scene->last = 0;
            memset(scene->chain, 0, HASH_BYTES);
            add_words(scene, 0, 20);
            break;
        case 3: /* not what its digest says */
            add_words(scene, 4, 20);
            scene->log[scene->len - ENTRY_END_BYTES - 1] ^= 1;
            break;
        default:
            add_words(scene, 4, 20);
        }
        assert_int_equal(restore(scene), i == 4);
        scene_free(scene);
    }
}

static void a_log_newer_than_the_vote_has_no_vote_in_its_term(void **state)
{
    (void)state;
    struct scene *scene = scene_new(1 << 18);
    static const uint8_t somebody[IDENTITY_BYTES] = { 0xbb }, nobody[IDENTITY_BYTES];
    add_config(scene, 2);
    add_words(scene, 7, 20);
    memcpy(scene->recovery.vote, somebody, IDENTITY_BYTES);
    scene->recovery.term = 7;
    assert_true(restore(scene));
    raft_start(scene->raft, now, &nowhere);
    assert_int_equal(scene->raft->term, 7);
    assert_memory_equal(scene->raft->vote, somebody, IDENTITY_BYTES);
    scene->recovery.term = 3;
    assert_true(restore(scene));
    raft_start(scene->raft, now, &nowhere);
    assert_int_equal(scene->raft->term, 7);
    assert_memory_equal(scene->raft->vote, nobody, IDENTITY_BYTES);
    scene_free(scene);
}

static void what_is_committed_and_not_there_is_not_claimed(void **state)
{
    (void)state;
    struct scene *scene = scene_new(1 << 18);
    add_config(scene, 2);
    add_words(scene, 1, 20);
    scene->recovery.commit = 9;
    assert_true(restore(scene));
    raft_start(scene->raft, now, &nowhere);
    assert_int_equal(raft_view(scene->raft).commit, 2);
    scene_free(scene);
}

/* Made with more memory than there is now: what does not fit stays on disk only, committed or not. */
static void a_log_larger_than_the_memory_is_restored(void **state)
{
    (void)state;
    struct scene *scene = scene_new(1 << 16);
    add_config(scene, 2);
    for (int i = 0; i < 20; i++)
        add_words(scene, 1, 8000);
    assert_true(restore(scene));
    raft_start(scene->raft, now, &nowhere);
    assert_int_equal(raft_view(scene->raft).last_index, 21);
    assert_int_equal(raft_view(scene->raft).commit, 0);
    assert_int_equal(raft_cached_entry(scene->raft, 2).len, 0);
    assert_int_not_equal(raft_cached_entry(scene->raft, 21).len, 0);
    assert_memory_equal(scene->raft->log.last_chain, scene->chain, HASH_BYTES);
    scene_free(scene);
}

static void an_entry_larger_than_the_memory_is_not(void **state)
{
    (void)state;
    struct scene *scene = scene_new(1 << 16);
    add_config(scene, 2);
    add_words(scene, 1, 1 << 16);
    assert_false(restore(scene));
    scene_free(scene);
}

/* --- checkpoints -------------------------------------------------------------------------------*/

/* In any room a checkpoint is either not written, or whole, with the newest leaderships in it. */
static void a_checkpoint_keeps_the_newest_leaderships_that_fit(void **state)
{
    (void)state;
    enum { TERMS = 9 };
    struct scene *scene = scene_new(1 << 18);
    add_config(scene, 2);
    for (uint64_t term = 2; term <= TERMS; term++)
        add_words(scene, term, 20);
    scene->recovery.commit = scene->last;
    assert_true(restore(scene));
    raft_start(scene->raft, now, &nowhere);
    struct slice first = raft_cached_entry(scene->raft, 1);
    struct slice bytes = raft_cached_entry(scene->raft, scene->last);
    struct entry config, entry;
    assert_int_equal(entry_parse(&config, NULL, NULL, first.data, first.len), ENTRY_WHOLE);
    assert_int_equal(entry_parse(&entry, NULL, NULL, bytes.data, bytes.len), ENTRY_WHOLE);
    raft_config_applied(scene->raft, &config);
    static uint8_t out[1024];
    size_t whole = raft_checkpoint(scene->raft, &entry, out, sizeof out);
    assert_true(whole > 0);
    struct scene *again = scene_new(1 << 18);
    again->recovery.checkpoint_index = scene->last;
    unsigned refused = 0, kept_before = 0;
    for (size_t room = 0; room <= whole; room++) {
        size_t len = raft_checkpoint(scene->raft, &entry, out, room);
        assert_true(len <= room);
        refused += len == 0;
        if (len == 0) {
            assert_int_equal(kept_before, 0); /* more room is never worse */
            continue;
        }
        again->recovery.checkpoint = (struct slice) { out, len };
        assert_true(restore(again));
        unsigned kept = 0;
        for (uint64_t index = 1; index <= TERMS; index++) {
            uint64_t term = raft_log_term(&again->raft->log, index);
            assert_true(term == index || (term == 0 && kept == 0));
            kept += term != 0;
        }
        assert_true(kept >= 1 && kept >= kept_before);
        kept_before = kept;
    }
    assert_int_equal(kept_before, TERMS);
    assert_true(refused > 16);
    scene_free(again);
    scene_free(scene);
}

/* The count of leaderships against what follows it. */
static void a_checkpoint_counts_rightly(void **state)
{
    (void)state;
    struct rafts *world = rafts_new(1, 1);
    rafts_form(world);
    rafts_elect(world);
    struct rafts_node *node = &world->nodes[1];
    assert_true(rafts_checkpoint(world, 1, rafts_raft(world, 1)->commit));
    uint8_t *at = node->disk->checkpoint + node->disk->checkpoint_len - 2 * 16 - 4;
    assert_int_equal(bytes_get_u32(at), 2);
    static const uint32_t wrong[] = { 0, 1, 3, LIMIT_LOG_TERMS, LIMIT_LOG_TERMS + 1, UINT32_MAX };
    void *memory = aligned_alloc(16, (raft_memory(&node->options) + 15) / 16 * 16);
    struct raft_recovery recovery = {
        .term = 5,
        .checkpoint_index = node->disk->checkpoint_index,
        .checkpoint = { node->disk->checkpoint, node->disk->checkpoint_len },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bytes_put_u32(at, wrong[i]);
        assert_false(raft_restore(raft_init(memory, &node->options), &recovery));
    }
    bytes_put_u32(at, 2);
    assert_true(raft_restore(raft_init(memory, &node->options), &recovery));
    free(memory);
    rafts_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_that_cannot_follow_are_not_restored),
        cmocka_unit_test(a_log_newer_than_the_vote_has_no_vote_in_its_term),
        cmocka_unit_test(what_is_committed_and_not_there_is_not_claimed),
        cmocka_unit_test(a_log_larger_than_the_memory_is_restored),
        cmocka_unit_test(an_entry_larger_than_the_memory_is_not),
        cmocka_unit_test(a_checkpoint_keeps_the_newest_leaderships_that_fit),
        cmocka_unit_test(a_checkpoint_counts_rightly),
    };
    return cmocka_run_group_tests_name("raft_restore", tests, NULL, NULL);
}
