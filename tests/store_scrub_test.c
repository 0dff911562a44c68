/* Erasing what was deleted: the words are gone from every file, what is left is proven by whoever reads
 * it, and neither a crash at any write nor a failing call loses anything or leaves anything half done. */
#include "tests/test_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "core/body.h"
#include "core/chat/command.h"
#include "core/random.h"

enum {
    SEGMENT_BYTES = 6000,
    INDEXES = 600,
    BODY_BYTES = LIMIT_COMMAND_BYTES,
    COMMANDS_MAX = 3,
    PLENTY = 1 << 20,
};

/* The history, the same in every test: what each command is. Each third deletes something older. */
struct deed {
    uint64_t target; /* 0: it is a post */
    uint64_t by;     /* of a post: deleted by that command; 0: it is not */
    uint32_t check;
    uint32_t size;
    uint8_t body[BODY_BYTES]; /* as it was sent */
};
static struct deed deeds[INDEXES + 1];

static void words_of(uint64_t index, char out[32])
{
    snprintf(out, 32, "secret %06llu.", (unsigned long long)index);
}

static void make_post(uint64_t index, size_t len, struct random *random)
{
    struct deed *deed = &deeds[index];
    static char text[BODY_BYTES + 32];
    for (size_t at = 0; at < len; at += 14) {
        char words[32];
        words_of(index, words);
        snprintf(text + at, sizeof text - at, "%s", words);
    }
    uint8_t salt[BODY_SALT_BYTES];
    bytes_put_u64(salt, random_below(random, UINT64_MAX));
    struct command post = { .kind = COMMAND_POST,
                            .device = 1,
                            .seq = index,
                            .beyond = 1,
                            .account = 1,
                            .tag = 1,
                            .room = { (const uint8_t *)"#ops", 4 },
                            .text = { (const uint8_t *)text, len },
                            .salt = salt };
    deed->size = (uint32_t)command_encode(&post, deed->body, sizeof deed->body);
    assert_true(deed->size > 0);
}

static void make_deletion(uint64_t index, uint64_t target)
{
    struct deed *deed = &deeds[index];
    static uint8_t left[BODY_BYTES];
    memcpy(left, deeds[target].body, deeds[target].size);
    assert_true(body_erase(&crypto_sodium, left, deeds[target].size));
    deed->target = target;
    deed->check = body_erased_check(&crypto_sodium, left, deeds[target].size);
    deed->size = 40;
    memset(deed->body, 'd', deed->size);
    deeds[target].by = index;
}

static void make_history(void)
{
    struct random random;
    random_seed(&random, 77);
    memset(deeds, 0, sizeof deeds);
    for (uint64_t index = 1; index <= INDEXES; index++) {
        uint64_t target = 1 + random_below(&random, index);
        bool deletes = index > 10 && random_below(&random, 3) == 0 && target < index &&
                       !deeds[target].target && !deeds[target].by;
        if (deletes)
            make_deletion(index, target);
        else
            make_post(index, 20 + random_below(&random, random_below(&random, 4) ? 100 : 2500),
                      &random);
    }
}

/* --- a node with it ------------------------------------------------------------------------------
 */

struct town {
    struct test_store test; /* disk and store; its model of the log is not used */
    uint64_t last;
    uint8_t chain[HASH_BYTES];
};

static enum ft_error open_town(struct town *town)
{
    return test_store_open(&town->test);
}

static void apply(struct town *town, uint64_t index)
{
    const struct deed *deed = &deeds[index];
    store_index(town->test.store, 1, index, index, deed->target != 0);
    if (deed->target)
        store_delete(town->test.store, index, deed->target, deed->check);
}

/* A start as a node does it: the log after the checkpoint is applied again. */
static void reopen(struct town *town)
{
    test_store_close(&town->test);
    assert_int_equal(open_town(town), FT_OK);
    for (uint64_t i = town->test.recovery.checkpoint_index + 1; i <= town->last; i++)
        apply(town, i);
}

static struct town *blank_town(uint64_t seed)
{
    struct town *town = calloc(1, sizeof *town);
    assert_non_null(town);
    assert_true(crypto_start());
    town->test.disk = sim_disk_new(seed);
    town->test.segment_bytes = SEGMENT_BYTES;
    town->test.flush = 1;
    assert_int_equal(open_town(town), FT_OK);
    assert_int_equal(test_flush(&town->test, &(struct test_flush) { .save_cluster = true }), FT_OK);
    return town;
}

static struct town *copy_town(const struct town *from)
{
    struct town *town = calloc(1, sizeof *town);
    assert_non_null(town);
    *town = *from;
    town->test.store = NULL;
    town->test.disk = sim_disk_copy(from->test.disk);
    return town;
}

static void free_town(struct town *town)
{
    test_store_close(&town->test);
    sim_disk_free(town->test.disk);
    free(town);
}

static void add_entry(struct town *town, uint32_t count)
{
    static uint8_t data[LIMIT_ENTRY_BYTES];
    static uint8_t bodies[COMMANDS_MAX * BODY_BYTES];
    uint32_t sizes[COMMANDS_MAX];
    size_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct deed *deed = &deeds[town->last + 1 + i];
        memcpy(bodies + at, deed->body, deed->size);
        sizes[i] = deed->size;
        at += deed->size;
    }
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = town->last + 1,
                                 .term = 1,
                                 .time_us = town->last,
                                 .count = count,
                                 .sizes = sizes,
                                 .bodies = bodies };
    size_t size = entry_build(data, sizeof data, &draft, &crypto_sodium, test_cluster, town->chain);
    struct store_flush flush = { .number = town->test.flush++, .entries = { { data, size } } };
    entry_set_local(data, flush.number, 0, town->last, &crypto_sodium, test_cluster);
    memcpy(town->chain, data + ENTRY_AT_CHAIN, HASH_BYTES);
    assert_int_equal(store_flush(town->test.store, &flush), FT_OK);
    for (uint32_t i = 0; i < count; i++)
        apply(town, ++town->last);
}

static void grow(struct town *town, uint64_t to)
{
    while (town->last < to)
        add_entry(town, 1 + (uint32_t)(town->last % COMMANDS_MAX));
}

static void checkpoint(struct town *town)
{
    struct store *store = town->test.store;
    uint64_t full = 0;
    for (size_t i = 0; i < store->segments_count; i++)
        if (segment_full(&store->segments[i], store->segment_bytes))
            full = store->segments[i].last;
    assert_true(full > store->indexed_last);
    assert_int_equal(store_checkpoint(store, full, (struct slice) { (const uint8_t *)"s", 1 }),
                     FT_OK);
}

static enum ft_error scrub(struct town *town, struct store_scrubbed *sum)
{
    struct store_scrubbed ignored;
    sum = sum ? sum : &ignored;
    *sum = (struct store_scrubbed) { 0 };
    for (unsigned slices = 0; store_wants_scrub(town->test.store); slices++) {
        struct store_scrubbed slice;
        enum ft_error error = store_scrub(town->test.store, &slice);
        if (error)
            return error;
        sum->erased += slice.erased;
        sum->rotten += slice.rotten;
        sum->refused += slice.refused;
        assert_true(slices < PLENTY);
    }
    return FT_OK;
}

/* --- what must hold ------------------------------------------------------------------------------
 */

static void no_damage(void *ctx, const struct store_damage *damage)
{
    (void)ctx;
    print_error("%s at %llu: %s\n", damage->file, (unsigned long long)damage->offset, damage->what);
    fail();
}

static void count_damage(void *ctx, const struct store_damage *damage)
{
    assert_string_equal(damage->file, "scrub");
    ++*(uint64_t *)ctx;
}

static bool is_due(const struct town *town, uint64_t index)
{
    return deeds[index].by && deeds[index].by <= town->test.store->indexed_last;
}

/* Every body is what was sent, or, of what is deleted, what erasing leaves; `all`: it is erased. */
static void expect(struct town *town, bool all)
{
    struct store *store = town->test.store;
    uint64_t entries;
    assert_int_equal(store_verify(store, no_damage, NULL, &entries), FT_OK);
    for (uint64_t index = store->begin; index <= town->last; index++) {
        const struct deed *deed = &deeds[index];
        static uint8_t body[BODY_BYTES];
        static uint8_t left[BODY_BYTES];
        uint32_t size;
        uint64_t time_us;
        assert_int_equal(reading_body(store, index, body, sizeof body, &size, &time_us), FT_OK);
        assert_int_equal(size, deed->size);
        memcpy(left, deed->body, size);
        assert_true(deed->target || body_erase(&crypto_sodium, left, size));
        bool erased = body_is_erased(body, size);
        assert_memory_equal(body, erased ? left : deed->body, size);
        assert_false(erased && !is_due(town, index));
        assert_false(all && is_due(town, index) && !erased);
    }
}

static bool holds(const uint8_t *data, size_t len, const char *words)
{
    size_t words_len = strlen(words);
    for (const uint8_t *at = data; len >= words_len;) {
        const uint8_t *found = memchr(at, words[0], len - words_len + 1);
        if (!found)
            return false;
        if (memcmp(found, words, words_len) == 0)
            return true;
        len -= (size_t)(found + 1 - at);
        at = found + 1;
    }
    return false;
}

/* In no file at all; and what is not deleted is still there. */
static void expect_no_words(struct town *town)
{
    bool *found = calloc(INDEXES + 1, sizeof *found);
    const char *name;
    for (size_t number = 0; (name = sim_disk_name(town->test.disk, number)) != NULL; number++) {
        uint64_t size = sim_disk_size(town->test.disk, name);
        uint8_t *data = malloc((size_t)size + 1);
        assert_true(size == 0 || sim_disk_peek(town->test.disk, name, 0, data, (size_t)size));
        for (uint64_t index = 1; index <= town->last; index++) {
            char words[32];
            words_of(index, words);
            found[index] |= !deeds[index].target && holds(data, (size_t)size, words);
        }
        free(data);
    }
    for (uint64_t index = town->test.store->begin; index <= town->last; index++)
        if (!deeds[index].target)
            assert_int_equal(found[index], !is_due(town, index));
    free(found);
}

/* Two checkpoints, nothing erased yet; closed. */
static struct town *prepared(uint64_t seed, uint64_t size)
{
    struct town *town = blank_town(seed);
    grow(town, size / 2);
    checkpoint(town);
    grow(town, size);
    checkpoint(town);
    test_store_close(&town->test);
    return town;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void the_words_are_gone(void **state)
{
    (void)state;
    struct town *town = blank_town(1);
    struct store_scrubbed sum;
    uint32_t erased = 0;
    for (uint64_t to = 60; to <= INDEXES - COMMANDS_MAX; to += 60) {
        grow(town, to);
        checkpoint(town);
        assert_true(store_wants_scrub(town->test.store));
        assert_int_equal(scrub(town, &sum), FT_OK);
        assert_int_equal(sum.rotten + sum.refused, 0);
        erased += sum.erased;
        expect(town, true);
        expect_no_words(town);
        if (to % 120)
            continue;
        reopen(town);
        assert_false(store_wants_scrub(town->test.store));
        expect(town, true);
    }
    assert_true(erased > 100);
    free_town(town);
}

/* Whatever part of the writes is on the disk. And once more at each of the first writes of the start
 * that follows. */
static void each_crash(void **state)
{
    (void)state;
    struct town *base = prepared(2, 150);
    unsigned torn = 0;
    for (uint64_t at = 1;; at++) {
        struct town *town = copy_town(base);
        reopen(town);
        uint64_t from = sim_disk_operations(town->test.disk);
        sim_disk_die_at(town->test.disk, from + at);
        enum ft_error error = scrub(town, NULL);
        bool died = sim_disk_dead(town->test.disk);
        sim_disk_die_at(town->test.disk, 0);
        assert_int_equal(error != FT_OK, died);
        test_store_close(&town->test);
        sim_disk_crash(town->test.disk, at);
        if (at % 3) {
            sim_disk_die_at(town->test.disk,
                            sim_disk_operations(town->test.disk) + 1 + at / 3 % 12);
            torn += open_town(town) != FT_OK;
            test_store_close(&town->test);
            sim_disk_crash(town->test.disk, at + 1);
        }
        reopen(town);
        expect(town, false);
        assert_int_equal(scrub(town, NULL), FT_OK);
        expect(town, true);
        expect_no_words(town);
        free_town(town);
        if (!died)
            break;
    }
    assert_true(torn > 10);
    free_town(base);
}

/* Each call of the disk fails in turn: what is fatal is finished by the next start, what is not by the
 * next checkpoint's turn. */
static void each_call_fails(void **state)
{
    (void)state;
    static const enum ft_error errors[] = { FT_ERROR_IO, FT_ERROR_SPACE };
    struct town *base = prepared(3, 120);
    unsigned fatal = 0;
    unsigned paused = 0;
    for (uint64_t at = 1;; at++) {
        struct town *town = copy_town(base);
        reopen(town);
        uint64_t from = sim_disk_calls(town->test.disk);
        sim_disk_fail_call(town->test.disk, at, errors[at % 2]);
        enum ft_error error = scrub(town, NULL);
        bool failed = sim_disk_calls(town->test.disk) - from >= at;
        sim_disk_fail_call(town->test.disk, 0, FT_OK);
        if (error == FT_ERROR_SYNC) {
            fatal++;
            test_store_close(&town->test);
            sim_disk_crash(town->test.disk, at);
            reopen(town);
        } else if (error) {
            paused++;
            assert_false(store_wants_scrub(town->test.store));
        }
        expect(town, false);
        scrub_go_on(town->test.store);
        assert_int_equal(scrub(town, NULL), FT_OK);
        expect(town, true);
        expect_no_words(town);
        free_town(town);
        if (!failed)
            break;
    }
    assert_true(fatal > 5 && paused > 5);
    free_town(base);
}

static struct body_place place_of(struct town *town, uint64_t index)
{
    struct body_place place;
    assert_int_equal(reading_find_body(town->test.store, index, &place), FT_OK);
    return place;
}

static uint64_t first_due(const struct town *town)
{
    uint64_t index = 1;
    while (!is_due(town, index))
        index++;
    return index;
}

/* It cannot be told what a rotten body was: it is left and told, and looked at again when it is good. */
static void what_is_rotten_waits(void **state)
{
    (void)state;
    struct town *town = prepared(4, 150);
    struct store_scrubbed sum;
    char path[DISK_PATH_BYTES];
    reopen(town);
    uint64_t index = first_due(town);
    struct body_place place = place_of(town, index);
    segment_path(path, place.segment.first, "seg");
    reopen(town);
    assert_true(sim_disk_flip(town->test.disk, path, place.offset + place.size - 1, 4));
    assert_int_equal(scrub(town, &sum), FT_OK);
    assert_int_equal(sum.rotten, 1);
    assert_true(sum.erased > 10);
    assert_true(town->test.store->scrub.done < deeds[index].by);
    assert_true(sim_disk_flip(town->test.disk, path, place.offset + place.size - 1, 4));
    expect(town, false);
    grow(town, 200);
    checkpoint(town);
    assert_int_equal(scrub(town, &sum), FT_OK);
    assert_int_equal(sum.rotten, 0);
    expect(town, true);
    expect_no_words(town);
    free_town(town);
}

/* A deletion that says something else of the post than it is: nothing is destroyed. */
static void only_what_is_named(void **state)
{
    (void)state;
    struct town *town = blank_town(5);
    struct store_scrubbed sum;
    uint64_t by = 11;
    while (!deeds[by].target)
        by++;
    uint64_t target = deeds[by].target;
    deeds[by].check ^= 1;
    deeds[target].by = 0; /* so it is whole afterwards */
    grow(town, 150);
    checkpoint(town);
    assert_int_equal(scrub(town, &sum), FT_OK);
    assert_int_equal(sum.refused, 1);
    expect(town, true);
    free_town(town);
    make_history();
}

/* A file that is rotten costs work and nothing else. */
static void its_file_is_rotten(void **state)
{
    (void)state;
    struct town *town = prepared(6, 150);
    struct store_scrubbed sum;
    reopen(town);
    assert_int_equal(scrub(town, &sum), FT_OK);
    assert_true(sum.erased > 10);
    test_store_close(&town->test);
    uint64_t size = sim_disk_size(town->test.disk, "scrub");
    for (uint64_t byte = 0; byte < size; byte += 1 + size / 50) {
        struct town *copy = copy_town(town);
        assert_true(sim_disk_flip(copy->test.disk, "scrub", byte, (uint8_t)(1 << byte % 8)));
        uint64_t damages = 0;
        uint64_t entries;
        uint64_t erased;
        assert_int_equal(store_verify_folder(sim_disk_table(copy->test.disk), &crypto_sodium,
                                             count_damage, &damages, &entries, &erased),
                         FT_OK);
        assert_int_equal(damages, 1);
        assert_int_equal(erased, sum.erased);
        reopen(copy);
        assert_true(store_wants_scrub(copy->test.store));
        struct store_scrubbed again;
        assert_int_equal(scrub(copy, &again), FT_OK);
        assert_int_equal(again.erased, 0);
        expect(copy, true);
        reopen(copy);
        assert_false(store_wants_scrub(copy->test.store));
        free_town(copy);
    }
    free_town(town);
}

/* More than a slice can write: it takes some. */
static void long_posts(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 13);
    memset(deeds, 0, sizeof deeds);
    enum { LONG = 12 };
    for (uint64_t index = 1; index <= LONG; index++)
        make_post(index, 60000 + index, &random);
    for (uint64_t index = LONG + 1; index <= 2 * LONG; index++)
        make_deletion(index, index - LONG);
    for (uint64_t index = 2 * LONG + 1; index <= 4 * LONG; index++)
        make_post(index, 1000, &random);
    struct town *town = blank_town(13);
    grow(town, 4 * LONG - COMMANDS_MAX);
    checkpoint(town);
    struct store_scrubbed slice;
    assert_int_equal(store_scrub(town->test.store, &slice), FT_OK);
    assert_true(slice.erased > 1 && slice.erased < LONG);
    assert_int_equal(scrub(town, NULL), FT_OK);
    expect(town, true);
    expect_no_words(town);
    free_town(town);
    make_history();
}

/* Its check is right, and yet: nothing that could be written anywhere else is taken from it. */
static void files_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        uint64_t first;
        uint64_t offset;
        uint32_t len;
        uint64_t count;
        size_t size; /* of the writes */
        bool good;
    } rows[] = {
        { 1, SEGMENT_HEADER_BYTES + 96, 4, 1, 24, true },
        { 1, SEGMENT_HEADER_BYTES + 96, 4, 2, 24, false },
        { 1, SEGMENT_HEADER_BYTES + 96, 4, 0, 24, false },
        { 1, SEGMENT_HEADER_BYTES + 96, 4, 1, 25, false },
        { 1, SEGMENT_HEADER_BYTES + 96, 5, 1, 24, false },
        { 1, SEGMENT_HEADER_BYTES + 96, 0, 1, 20, false },
        { 1, SEGMENT_HEADER_BYTES - 1, 4, 1, 24, false },
        { 0, SEGMENT_HEADER_BYTES + 96, 4, 1, 24, false },
        { 0, 0, 0, 0, 0, true },
    };
    struct town *town = prepared(14, 120);
    const struct disk *disk = sim_disk_table(town->test.disk);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t data[128] = { 0 };
        size_t len = 40 + rows[i].size;
        file_prologue_write(data, FILE_SCRUB, &crypto_sodium);
        bytes_put_u64(data + 32, rows[i].count);
        bytes_put_u64(data + 40, rows[i].first);
        bytes_put_u64(data + 48, rows[i].offset);
        bytes_put_u32(data + 56, rows[i].len);
        bytes_put_u64(data + len, crypto_sodium.digest(test_cluster, data, len));
        struct slice file = { data, len + 8 };
        assert_int_equal(file_replace(disk, "", "scrub.tmp", "scrub", &file, 1), FT_OK);
        assert_int_equal(scrub_prove(disk, &crypto_sodium, test_cluster),
                         rows[i].good ? FT_OK : FT_ERROR_CORRUPT);
        assert_int_equal(scrub_prove(disk, &crypto_sodium, test_identity), FT_ERROR_CORRUPT);
    }
    /* Shorter than any, or another's: all is gone through again. */
    for (int lie = 0; lie < 2; lie++) {
        uint8_t data[PROLOGUE_BYTES + 8];
        file_prologue_write(data, lie ? FILE_COPY : FILE_SCRUB, &crypto_sodium);
        struct slice file = { data, sizeof data };
        assert_int_equal(file_replace(disk, "", "scrub.tmp", "scrub", &file, 1), FT_OK);
        assert_int_equal(scrub_prove(disk, &crypto_sodium, test_cluster),
                         lie ? FT_ERROR_FOREIGN : FT_ERROR_CORRUPT);
        reopen(town);
        assert_true(store_wants_scrub(town->test.store));
    }
    assert_int_equal(scrub(town, NULL), FT_OK);
    expect(town, true);
    free_town(town);
}

/* Recovery goes back to an older checkpoint and walks over what is erased behind it. */
static void an_older_checkpoint(void **state)
{
    (void)state;
    struct town *town = prepared(7, 200);
    char path[DISK_PATH_BYTES];
    reopen(town);
    assert_int_equal(scrub(town, NULL), FT_OK);
    uint64_t newest = town->test.recovery.checkpoint_index;
    checkpoint_file_path(path, newest);
    test_store_close(&town->test);
    assert_true(sim_disk_flip(town->test.disk, path, 112, 1));
    reopen(town);
    assert_true(town->test.recovery.checkpoint_index < newest);
    assert_int_equal(town->test.recovery.last_index, town->last);
    assert_true(sim_disk_remove(town->test.disk, path));
    for (uint64_t index = 1; index <= town->last; index++) {
        static uint8_t body[BODY_BYTES];
        uint32_t size;
        uint64_t time_us;
        assert_int_equal(reading_body(town->test.store, index, body, sizeof body, &size, &time_us),
                         FT_OK);
    }
    checkpoint(town);
    assert_int_equal(scrub(town, NULL), FT_OK);
    expect(town, true);
    expect_no_words(town);
    free_town(town);
}

/* What is dropped need not be erased, nor what named it. */
/* The log is lost from somewhere on and no checkpoint can be read: a leader sends it again, and words with it. */
static void what_is_sent_again(void **state)
{
    (void)state;
    struct town *town = prepared(9, 240);
    char path[DISK_PATH_BYTES];
    struct store_names names;
    reopen(town);
    assert_int_equal(scrub(town, NULL), FT_OK);
    expect(town, true);
    test_store_close(&town->test);
    assert_int_equal(names_list(sim_disk_table(town->test.disk), &names), FT_OK);
    for (size_t i = 0; i < names.checkpoints_count; i++) {
        checkpoint_file_path(path, names.checkpoints[i]);
        assert_true(sim_disk_flip(town->test.disk, path, 70, 1));
    }
    segment_path(path, names.segments[names.segments_count / 3], "seg");
    names_free(&names);
    assert_true(sim_disk_flip(town->test.disk, path, SEGMENT_HEADER_BYTES + 30, 1));
    assert_int_equal(open_town(town), FT_OK);
    assert_true(town->test.recovery.leftover);
    uint64_t last = town->last = town->test.recovery.last_index;
    assert_in_range(last, 20, 200);
    const struct segment *segments = town->test.store->segments;
    memcpy(town->chain, segments[town->test.store->segments_count - 1].chain, HASH_BYTES);
    struct store_flush none = { .number = town->test.flush++, .truncate_from = last + 1 };
    assert_int_equal(store_flush(town->test.store, &none), FT_OK);
    for (uint64_t index = 1; index <= last; index++)
        apply(town, index);
    grow(town, 240);
    checkpoint(town);
    struct store_scrubbed sum;
    assert_int_equal(scrub(town, &sum), FT_OK);
    assert_true(sum.erased > 0);
    expect(town, true);
    expect_no_words(town);
    free_town(town);
}

static void history_is_dropped(void **state)
{
    (void)state;
    struct town *town = blank_town(8);
    town->test.store->retains = true;
    grow(town, 100);
    checkpoint(town);
    grow(town, 200);
    checkpoint(town);
    grow(town, 300);
    checkpoint(town);
    struct store_scrubbed slice;
    assert_int_equal(store_scrub(town->test.store, &slice), FT_OK);
    struct store_retention want = { .keep_bytes = 30000, .floor = UINT64_MAX };
    uint64_t first;
    assert_int_equal(store_retain(town->test.store, &want, &first), FT_OK);
    assert_true(first > 50);
    assert_int_equal(scrub(town, NULL), FT_OK);
    expect(town, true);
    expect_no_words(town);
    /* What was written last is gone before the next start, which would write it again. */
    want.keep_bytes = 1;
    assert_int_equal(store_retain(town->test.store, &want, &first), FT_OK);
    assert_true(first > 150);
    reopen(town);
    expect(town, true);
    free_town(town);
}

/* --- copying -------------------------------------------------------------------------------------
 */

static void copy_all(struct town *source, struct town *target, bool whole)
{
    static uint8_t data[LIMIT_ENTRY_BYTES];
    struct store *from = source->test.store;
    struct store_copy_plan plan = { .oldest = from->begin,
                                    .newest = from->indexed_last,
                                    .segment_bytes = from->segment_bytes,
                                    .whole = whole };
    struct store_copy_state now;
    memcpy(plan.cluster, test_cluster, IDENTITY_BYTES);
    assert_int_equal(store_copy_begin(target->test.store, &plan, &now), FT_OK);
    while (!now.complete) {
        size_t len;
        uint64_t size;
        struct store_piece piece = now.next;
        assert_int_equal(store_read_piece(from, &piece, INDEX_BLOCK_BYTES, data, &len, &size),
                         FT_OK);
        assert_int_equal(
            store_copy_write(target->test.store, &piece, size, (struct slice) { data, len }, &now),
            FT_OK);
    }
    assert_int_equal(store_copy_install(target->test.store), FT_OK);
    target->last = now.end;
    test_store_close(&target->test);
    assert_int_equal(open_town(target), FT_OK);
    assert_int_equal(target->test.recovery.installed, now.end);
}

/* A node joins with what another one has erased: it proves it, and has no more to do. */
static void what_is_erased_is_copied(void **state)
{
    (void)state;
    struct town *source = prepared(9, 200);
    struct town *target = blank_town(10);
    struct store_scrubbed sum;
    reopen(source);
    assert_int_equal(scrub(source, NULL), FT_OK);
    copy_all(source, target, false);
    expect(target, true);
    expect_no_words(target);
    assert_int_equal(scrub(target, &sum), FT_OK);
    assert_int_equal(sum.erased + sum.rotten + sum.refused, 0);
    reopen(target);
    assert_false(store_wants_scrub(target->test.store));
    free_town(source);
    free_town(target);
}

/* A node that had erased its own takes the whole log of one that has not: that is erased, too. */
static void what_is_copied_is_erased(void **state)
{
    (void)state;
    struct town *source = prepared(11, 200);
    struct town *target = prepared(12, 150);
    struct store_scrubbed sum;
    reopen(source);
    reopen(target);
    assert_int_equal(scrub(target, NULL), FT_OK);
    copy_all(source, target, true);
    assert_true(store_wants_scrub(target->test.store));
    reopen(target); /* before it has come to that */
    assert_true(store_wants_scrub(target->test.store));
    assert_int_equal(scrub(target, &sum), FT_OK);
    assert_true(sum.erased > 10);
    expect(target, true);
    expect_no_words(target);
    free_town(source);
    free_town(target);
}

int main(void)
{
    make_history();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_words_are_gone),
        cmocka_unit_test(each_crash),
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(what_is_rotten_waits),
        cmocka_unit_test(only_what_is_named),
        cmocka_unit_test(its_file_is_rotten),
        cmocka_unit_test(long_posts),
        cmocka_unit_test(files_that_make_no_sense),
        cmocka_unit_test(an_older_checkpoint),
        cmocka_unit_test(what_is_sent_again),
        cmocka_unit_test(history_is_dropped),
        cmocka_unit_test(what_is_erased_is_copied),
        cmocka_unit_test(what_is_copied_is_erased),
    };
    return cmocka_run_group_tests_name("store_scrub", tests, NULL, NULL);
}
