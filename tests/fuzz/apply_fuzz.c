/* Any bytes as a log, and as a checkpoint. Two replicas apply the same; one of them goes through a
 * checkpoint in the middle: their hashes and answers stay equal. The input is commands, each with
 * its length (u16) before it; its first byte says after how many the checkpoint comes, or, 255,
 * that the rest is a checkpoint's content, to be read under a right check. */
#include "cmd/crypto_sodium.h"
#include "core/chat/chat.h"
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, condition);
    abort();
}

static const struct chat_limits small = {
    .accounts = 4, .devices = 6, .rooms = 4, .memberships = 8, .invites = 2, .answers = 16
};

static struct chat *fresh(void **memory)
{
    *memory = calloc(1, chat_memory(&small));
    CHECK(*memory != NULL);
    return chat_init(*memory, &small, &crypto_sodium);
}

/* Through a checkpoint into a fresh state machine. */
static struct chat *reborn(const struct chat *chat, void **memory)
{
    size_t capacity = chat_checkpoint_bytes(chat);
    uint8_t *state = malloc(capacity);
    CHECK(state != NULL);
    size_t len = chat_checkpoint(chat, state, capacity);
    CHECK(len > 0);
    void *old = *memory;
    uint64_t hash = chat_hash(chat);
    struct chat *next = fresh(memory);
    CHECK(chat_restore(next, (struct slice) { state, len }));
    CHECK(chat_hash(next) == hash);
    free(old);
    free(state);
    return next;
}

static void restore(const uint8_t *data, size_t len)
{
    static const uint8_t key[DIGEST_KEY_BYTES] = "ftchat state 1";
    uint8_t *state = malloc(len + 8);
    CHECK(state != NULL);
    memcpy(state, data, len);
    bytes_put_u64(state + len, crypto_sodium.digest(key, data, len));
    void *memory;
    struct chat *chat = fresh(&memory);
    if (chat_restore(chat, (struct slice) { state, len + 8 }))
        reborn(chat, &memory);
    free(memory);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CHECK(crypto_start());
    if (len && data[0] == 255) {
        restore(data + 1, len - 1);
        return 0;
    }
    struct reader reader = reader_of(data, len);
    uint8_t turn = read_u8(&reader);
    void *memory[2];
    struct chat *one = fresh(&memory[0]);
    struct chat *other = fresh(&memory[1]);
    for (uint64_t index = 1; reader_left(&reader) >= 2; index++) {
        struct slice body = read_slice16(&reader);
        if (reader.bad)
            break;
        struct chat_applied applied[2];
        chat_apply(one, index, index * 1000, body, &applied[0]);
        chat_apply(other, index, index * 1000, body, &applied[1]);
        CHECK(applied[0].result == applied[1].result);
        CHECK(applied[0].answer.code == applied[1].answer.code);
        CHECK(applied[0].answer.index == applied[1].answer.index);
        CHECK(applied[0].answer.room_seq == applied[1].answer.room_seq);
        CHECK(applied[0].device == applied[1].device);
        CHECK(applied[0].ended_device == applied[1].ended_device);
        if (turn && index % turn == 0)
            other = reborn(other, &memory[1]);
    }
    CHECK(chat_hash(one) == chat_hash(other));
    free(memory[0]);
    free(memory[1]);
    return 0;
}
