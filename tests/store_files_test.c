/* Each file of a folder spoilt in turn: a byte turned, its end gone, something behind it, the file
 * gone, or another of its kind in its place. It is told by verify, by name; the store opens all the same,
 * but without its identity; and whatever is answered is what was written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"
#include "store/held.h"
#include "store/index_format.h"
#include "tests/test_folder.h"

/* --- damages ------------------------------------------------------------------------------------
 */

static void resize(struct sim_disk *sim, const char *path, uint64_t size)
{
    const struct disk *disk = sim_disk_table(sim);
    struct disk_file *file;
    test_must(disk->open(disk->ctx, path, DISK_WRITE, &file));
    test_must(disk->resize(disk->ctx, file, size));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
}

static void replace(struct sim_disk *sim, const char *path, const void *data, size_t len)
{
    const struct disk *disk = sim_disk_table(sim);
    struct disk_file *file;
    (void)sim_disk_remove(sim, path);
    test_must(disk->open(disk->ctx, path, DISK_CREATE, &file));
    test_must(disk->write(disk->ctx, file, 0, data, len));
    test_must(disk->sync(disk->ctx, file));
    disk->close(disk->ctx, file);
    test_must(disk->sync_dir(disk->ctx,
                             strchr(path, '/') ? (path[0] == 'l' ? "log" : "checkpoint") : ""));
}

static size_t load(struct sim_disk *sim, const char *path, uint8_t *out, size_t capacity)
{
    uint64_t size = sim_disk_size(sim, path);
    assert_true(size <= capacity);
    assert_true(sim_disk_peek(sim, path, 0, out, (size_t)size));
    return (size_t)size;
}

enum spoil { TURN, CUT, LENGTHEN, REMOVE, SWAP, SPOILS };

static bool same_kind(const char *a, const char *b)
{
    const char *end_a = strrchr(a, '.'), *end_b = strrchr(b, '.');
    return strcmp(a, b) != 0 && strncmp(a, b, 5) == 0 &&
           (end_a && end_b ? strcmp(end_a, end_b) == 0 : end_a == end_b);
}

/* Puts another whole file of the same kind in its place. */
static bool swap(struct sim_disk *disk, const char *path)
{
    static uint8_t data[1 << 17];
    for (size_t number = 0; sim_disk_name(disk, number); number++) {
        char other[DISK_PATH_BYTES];
        snprintf(other, sizeof other, "%s", sim_disk_name(disk, number));
        if (!same_kind(path, other))
            continue;
        size_t len = load(disk, other, data, sizeof data);
        replace(disk, path, data, len);
        return true;
    }
    return false;
}

static bool spoil(struct sim_disk *disk, const char *path, enum spoil how, uint64_t at)
{
    uint64_t size = sim_disk_size(disk, path);
    if (how == TURN)
        return sim_disk_flip(disk, path, at, 0x20);
    if (how == CUT)
        resize(disk, path, at);
    if (how == LENGTHEN) {
        if (at > 0)
            return false;
        resize(disk, path, size + 9);
        assert_true(sim_disk_flip(disk, path, size + 8, 1));
    }
    if (how == REMOVE)
        return at == 0 && sim_disk_remove(disk, path);
    if (how == SWAP)
        return at == 0 && swap(disk, path);
    return true;
}

/* --- what is seen of them -----------------------------------------------------------------------
 */

struct seen {
    unsigned damages;
    unsigned named; /* with the file in it that was spoilt */
    const char *path;
};

static void see(void *ctx, const struct store_damage *damage)
{
    struct seen *seen = ctx;
    assert_non_null(damage->file);
    assert_true(strlen(damage->what) > 10);
    seen->damages++;
    seen->named += strcmp(damage->file, seen->path) == 0;
}

static struct seen verify(struct test_store *test, const char *path)
{
    struct seen seen = { .path = path };
    uint64_t entries;
    uint64_t erased;
    enum ft_error error = store_verify_folder(sim_disk_table(test->disk), &crypto_sodium, see,
                                              &seen, &entries, &erased);
    assert_int_equal(error, FT_OK); /* what is damaged is told and gone past */
    return seen;
}

/* The right answers, of the whole folder. */
static struct folder_reply right[FOLDER_QUESTIONS];

static unsigned wrong_or_refused(struct test_store *test)
{
    static struct folder_reply reply;
    unsigned refused = 0;
    folder_post_rest(test);
    for (unsigned number = 0; number < FOLDER_QUESTIONS; number++) {
        if (number == FOLDER_VERIFY || (number >= FOLDER_AS_IT_IS && number < FOLDER_PROVEN))
            continue;
        enum ft_error error = folder_ask(test, number, &reply);
        refused += error != FT_OK;
        if (error)
            continue;
        assert_true(number >= FOLDER_PARTLY ? reply.len <= right[number].len
                                            : reply.len == right[number].len);
        assert_memory_equal(reply.bytes, right[number].bytes, reply.len);
    }
    return refused;
}

/* Nobody misses it; or its bytes are read by somebody else: the last segment's, whose torn end is
 * cut. */
static bool counts(const char *path, const char *last)
{
    return strcmp(path, "lock") != 0 && !strstr(path, "spare") && strcmp(path, last) != 0;
}

/* Nobody else knows who this node is; and rot takes no file away. */
static bool ends_a_node(const char *path, enum spoil how)
{
    return strcmp(path, "identity") == 0 && how == REMOVE;
}

static void each_file_is_spoilt(void **state)
{
    (void)state;
    enum { SAMPLES = 7 };
    struct test_store *whole = folder_new();
    char last[DISK_PATH_BYTES];
    uint64_t last_index = whole->log.last;
    unsigned opened = 0, refused = 0, answers_refused = 0;
    folder_reopen(whole);
    folder_post_rest(whole);
    for (unsigned number = 0; number < FOLDER_QUESTIONS; number++)
        test_must(folder_ask(whole, number, &right[number]));
    segment_path(last, whole->store->segments[whole->store->segments_count - 1].first, "seg");
    test_store_close(whole);
    for (size_t number = 0; sim_disk_name(whole->disk, number); number++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", sim_disk_name(whole->disk, number));
        uint64_t size = sim_disk_size(whole->disk, path);
        if (!counts(path, last))
            continue;
        for (unsigned i = 0; i < SAMPLES * SPOILS; i++) {
            enum spoil how = (enum spoil)(i % SPOILS);
            struct test_store *test = folder_like(whole);
            uint64_t at = i / SPOILS * (size - 1) / SAMPLES;
            if (!spoil(test->disk, path, how, at)) {
                test_store_free(test);
                continue;
            }
            struct seen seen = verify(test, path);
            if (how == TURN)
                assert_true(seen.named > 0);
            enum ft_error error = test_store_open(test);
            if (error) {
                assert_true(ends_a_node(path, how));
                assert_non_null(strstr(test->why, path));
                refused++;
            } else {
                assert_int_equal(test->recovery.last_index, last_index);
                answers_refused += wrong_or_refused(test);
                opened++;
            }
            /* What is refused at opening is no secret to verify. */
            assert_true(!error || seen.damages > 0);
            test_store_free(test);
        }
    }
    assert_true(opened > 150);
    assert_int_equal(refused, 1);
    assert_true(answers_refused > 50);
    test_store_free(whole);
}

/* The same to a file while the store is open: its answers are right, or refused. */
static void a_file_is_spoilt_meanwhile(void **state)
{
    (void)state;
    struct test_store *whole = folder_new();
    unsigned refused = 0;
    folder_reopen(whole);
    folder_post_rest(whole);
    for (unsigned number = 0; number < FOLDER_QUESTIONS; number++)
        test_must(folder_ask(whole, number, &right[number]));
    test_store_close(whole);
    for (size_t number = 0; sim_disk_name(whole->disk, number); number++) {
        char path[DISK_PATH_BYTES];
        snprintf(path, sizeof path, "%s", sim_disk_name(whole->disk, number));
        if (strncmp(path, "log/", 4) != 0 || strstr(path, "spare"))
            continue;
        bool index = strstr(path, ".idx") != NULL;
        uint64_t size = sim_disk_size(whole->disk, path);
        uint64_t step = index ? INDEX_BLOCK_BYTES / 2 - 1 : 97;
        for (uint64_t at = 0; at < size && at < 3000; at += step) {
            struct test_store *test = folder_like(whole);
            test_must(test_store_open(test));
            if (at % 3 == 0)
                resize(test->disk, path, at);
            else
                assert_true(sim_disk_flip(test->disk, path, at, 0x40));
            refused += wrong_or_refused(test);
            test_store_free(test);
        }
    }
    assert_true(refused > 100);
    test_store_free(whole);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_is_spoilt),
        cmocka_unit_test(a_file_is_spoilt_meanwhile),
    };
    return cmocka_run_group_tests_name("store_files", tests, NULL, NULL);
}
