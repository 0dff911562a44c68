/* See tests/test_threads.h. */
#include "tests/test_threads.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/crypto_sodium.h"

enum ft_error real_open(struct real *real)
{
    struct store_options options = { .disk = &real->disk,
                                     .crypto = &crypto_sodium,
                                     .segment_bytes = REAL_SEGMENT_BYTES };
    memcpy(options.fresh_identity, test_identity, IDENTITY_BYTES);
    return store_open(&real->store, &options, &real->recovery, real->why, sizeof real->why);
}

void real_make(struct real *real)
{
    assert_true(crypto_start());
    snprintf(real->path, sizeof real->path, "/tmp/ftchat-test-XXXXXX");
    assert_non_null(mkdtemp(real->path));
    assert_int_equal(disk_posix_open(&real->disk, real->path), FT_OK);
    real->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(real->wake_fd >= 0);
}

void real_run(struct real *real)
{
    assert_int_equal(store_threads_start(&real->threads, real->store, &real->disk, real->wake_fd),
                     FT_OK);
}

void real_start(struct real *real)
{
    real_make(real);
    assert_int_equal(real_open(real), FT_OK);
    real_run(real);
}

void real_stop(struct real *real)
{
    char command[96];
    if (real->threads)
        store_threads_stop(real->threads);
    store_close(real->store);
    disk_posix_close(&real->disk);
    close(real->wake_fd);
    snprintf(command, sizeof command, "rm -r %s", real->path);
    assert_int_equal(system(command), 0);
}

/* The next completion that is not about preparing. */
struct store_completion real_wait(struct real *real, enum store_completion_kind kind)
{
    for (;;) {
        struct store_completion done;
        while (store_threads_next(real->threads, &done)) {
            if (done.kind == STORE_DONE_PREPARE)
                continue;
            assert_int_equal(done.kind, kind);
            return done;
        }
        struct pollfd fd = { real->wake_fd, POLLIN, 0 };
        assert_int_equal(poll(&fd, 1, 60000), 1);
        uint64_t count;
        assert_int_equal(read(real->wake_fd, &count, sizeof count), sizeof count);
    }
}

size_t real_entry(uint8_t *out, uint64_t index, uint8_t chain[HASH_BYTES], uint64_t flush)
{
    uint8_t body[4096];
    uint32_t size = test_body(index, 1, body);
    struct entry_draft draft = { .kind = ENTRY_COMMANDS,
                                 .first = index,
                                 .term = 1,
                                 .time_us = index,
                                 .count = 1,
                                 .sizes = &size,
                                 .bodies = body };
    size_t len = entry_build(out, 8192, &draft, &crypto_sodium, test_cluster, chain);
    entry_set_local(out, flush, 0, 0, &crypto_sodium, test_cluster);
    memcpy(chain, out + ENTRY_LOCAL_AT - HASH_BYTES, HASH_BYTES);
    return len;
}

void real_fill(struct real *real, uint64_t entries)
{
    static uint8_t out[8192];
    uint8_t chain[HASH_BYTES] = { 0 };
    for (uint64_t i = 1; i <= entries; i++) {
        struct store_flush flush = {
            .number = i, .save_cluster = i == 1, .save_vote = i == 1, .term = 1
        };
        memcpy(flush.cluster, test_cluster, IDENTITY_BYTES);
        flush.entries[0] = (struct slice) { out, real_entry(out, i, chain, i) };
        store_threads_submit_flush(real->threads, &flush);
        struct store_completion done = real_wait(real, STORE_DONE_FLUSH);
        assert_int_equal(done.error, FT_OK);
        assert_int_equal(done.id, i);
        store_index(real->store, (uint32_t)(1 + i % 3), (i - 1) / 3 + 1, i, false);
    }
}
