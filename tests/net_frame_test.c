/* net/frame and net/buffer: the formats, cut and joined in every way. */
#include "core/limits.h"
#include "net/frame.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct buffer_pool pool;

static int open_pool(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    buffer_pool_init(&pool, 4 << 20);
    return 0;
}

static int close_pool(void **state)
{
    (void)state;
    assert_int_equal(pool.used_bytes, 0);
    buffer_pool_destroy(&pool);
    return 0;
}

/* -- Buffers -------------------------------------------------------------------------------------
 */

static void buffer_is_a_queue(void **state)
{
    (void)state;
    struct buffer buffer = { 0 };
    uint8_t next_in = 0, next_out = 0;
    for (size_t round = 0; round < 2000; round++) {
        const size_t add = (round * 37) % 300, drop = (round * 53) % 310;
        for (size_t i = 0; i < add; i++, next_in++)
            assert_true(buffer_append(&buffer, &pool, &next_in, 1));
        const size_t held = buffer_len(&buffer);
        for (size_t i = 0; i < (drop < held ? drop : held); i++, next_out++) {
            assert_int_equal(buffer.data[buffer.start], next_out);
            buffer_drop(&buffer, &pool, 1);
        }
    }
    buffer_clear(&buffer, &pool);
    assert_null(buffer.data);
}

static void empty_buffer_owns_nothing(void **state)
{
    (void)state;
    struct buffer buffer = { 0 };
    assert_true(buffer_append(&buffer, &pool, "abc", 3));
    assert_int_equal(pool.used_bytes, BUFFER_SMALLEST);
    buffer_drop(&buffer, &pool, 3);
    assert_int_equal(pool.used_bytes, 0);
    assert_null(buffer.data);
}

static void pool_says_no_at_its_cap(void **state)
{
    (void)state;
    struct buffer_pool small;
    struct buffer a = { 0 }, b = { 0 };
    buffer_pool_init(&small, 1024);
    assert_non_null(buffer_reserve(&a, &small, 900));
    assert_null(buffer_reserve(&b, &small, 1));
    buffer_clear(&a, &small);
    assert_non_null(buffer_reserve(&b, &small, 1));
    assert_null(buffer_reserve(&b, &small, SIZE_MAX / 2));
    assert_true(buffer_append(&b, &small, NULL, 0));
    assert_true(buffer_append(&b, &small, "x", 1));
    assert_null(buffer_reserve(&b, &small, (size_t)BUFFER_SMALLEST << (BUFFER_CLASSES - 1)));
    buffer_clear(&b, &small);
    buffer_pool_destroy(&small);
}

/* -- Preamble and prologue -------------------------------------------------------------------- */

static void preamble_of_each_role(void **state)
{
    (void)state;
    for (enum channel_role role = ROLE_CLIENT; role <= ROLE_MONITOR; role++) {
        uint8_t out[PREAMBLE_BYTES];
        enum channel_role back;
        preamble_write(out, role);
        assert_memory_equal(out, "FTC1", 4);
        assert_int_equal(out[4], role);
        assert_true(preamble_read(out, &back));
        assert_int_equal(back, role);
        assert_int_equal(role_pattern(role), role == ROLE_CLIENT ? NOISE_NK : NOISE_NKPSK0);
    }
}

static void preamble_of_nobody(void **state)
{
    (void)state;
    uint8_t good[PREAMBLE_BYTES];
    enum channel_role role;
    preamble_write(good, ROLE_CLIENT);
    for (size_t i = 0; i < PREAMBLE_BYTES; i++) {
        uint8_t bad[PREAMBLE_BYTES];
        memcpy(bad, good, sizeof bad);
        bad[i] = (uint8_t)(bad[i] + 4); /* roles are 1 to 4 */
        assert_false(preamble_read(bad, &role));
    }
    good[4] = 0;
    assert_false(preamble_read(good, &role));
}

static void prologue_binds_role_and_key(void **state)
{
    (void)state;
    uint8_t a[PROLOGUE_BYTES], b[PROLOGUE_BYTES], key[NOISE_KEY_BYTES] = { 1 };
    uint8_t id[KEY_ID_BYTES];
    prologue_write(a, ROLE_NODE, key);
    prologue_write(b, ROLE_CTL, key);
    assert_memory_not_equal(a, b, PROLOGUE_BYTES);
    crypto_generichash(id, sizeof id, key, sizeof key, NULL, 0);
    assert_memory_equal(a + PREAMBLE_BYTES, id, sizeof id);
    key[31] = 1;
    prologue_write(b, ROLE_NODE, key);
    assert_memory_not_equal(a, b, PROLOGUE_BYTES);
}

/* -- Frames ----------------------------------------------------------------------------------- */

static void same_keys(struct noise_cipher *sender, struct noise_cipher *receiver, uint64_t nonce)
{
    randombytes_buf(sender->key, NOISE_KEY_BYTES);
    sender->nonce = nonce;
    *receiver = *sender;
}

static void frame_there_and_back(void **state)
{
    (void)state;
    static uint8_t payload[FRAME_PAYLOAD_MAX], frame[FRAME_PAYLOAD_MAX + FRAME_OVERHEAD_BYTES];
    static const size_t lens[] = { 0, 1, 255, 256, FRAME_PAYLOAD_FIRST, FRAME_PAYLOAD_MAX };
    struct noise_cipher sender, receiver;
    same_keys(&sender, &receiver, 0);
    randombytes_buf(payload, sizeof payload);
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        const size_t whole = lens[i] + FRAME_OVERHEAD_BYTES;
        struct slice out;
        frame_seal(&sender, payload, lens[i], frame);
        assert_int_equal(frame_length(frame, 0), 0);
        assert_int_equal(frame_length(frame, 1), 0);
        assert_int_equal(frame_length(frame, 2), whole);
        assert_true(frame_open(&receiver, frame, whole, &out));
        assert_int_equal(out.len, lens[i]);
        assert_memory_equal(out.data, payload, out.len);
    }
}

static void frame_is_big_endian(void **state)
{
    (void)state;
    assert_int_equal(frame_length((const uint8_t[]) { 0x12, 0x34 }, 2), 2 + 0x1234);
}

static void frame_changed_replayed_reordered(void **state)
{
    (void)state;
    enum { LEN = 20, WHOLE = LEN + FRAME_OVERHEAD_BYTES };
    uint8_t payload[LEN] = { 0 }, first[WHOLE], second[WHOLE], copy[WHOLE];
    struct noise_cipher sender, receiver, trial;
    struct slice out;
    same_keys(&sender, &receiver, 0);
    frame_seal(&sender, payload, LEN, first);
    frame_seal(&sender, payload, LEN, second);
    for (size_t bit = 16; bit < WHOLE * 8; bit++) {
        memcpy(copy, first, WHOLE);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        trial = receiver;
        assert_false(frame_open(&trial, copy, WHOLE, &out));
    }
    trial = receiver;
    memcpy(copy, second, WHOLE);
    assert_false(frame_open(&trial, copy, WHOLE, &out));
    memcpy(copy, first, WHOLE);
    assert_true(frame_open(&receiver, copy, WHOLE, &out));
    memcpy(copy, first, WHOLE);
    trial = receiver;
    assert_false(frame_open(&trial, copy, WHOLE, &out));
    assert_true(frame_open(&receiver, second, WHOLE, &out));
}

static void frame_too_short_for_a_tag(void **state)
{
    (void)state;
    struct noise_cipher sender, receiver;
    struct slice out;
    same_keys(&sender, &receiver, 0);
    for (size_t len = 0; len < NOISE_TAG_BYTES; len++) {
        uint8_t frame[FRAME_OVERHEAD_BYTES] = { 0, (uint8_t)len };
        assert_false(frame_open(&receiver, frame, FRAME_HEAD_BYTES + len, &out));
    }
}

static void keys_change_at_the_interval(void **state)
{
    (void)state;
    struct noise_cipher sender, receiver;
    same_keys(&sender, &receiver, FRAME_REKEY_INTERVAL - 2);
    const struct noise_cipher before = sender;
    for (int i = 0; i < 4; i++) {
        uint8_t frame[1 + FRAME_OVERHEAD_BYTES];
        struct slice out;
        frame_seal(&sender, (const uint8_t *)"x", 1, frame);
        assert_int_equal(memcmp(sender.key, before.key, NOISE_KEY_BYTES) == 0, i < 2);
        assert_true(frame_open(&receiver, frame, sizeof frame, &out));
        assert_memory_equal(sender.key, receiver.key, NOISE_KEY_BYTES);
    }
    assert_int_equal(sender.nonce, FRAME_REKEY_INTERVAL + 2);
}

/* -- The stream ------------------------------------------------------------------------------- */

static size_t add_message(uint8_t *at, size_t size, uint8_t fill)
{
    bytes_put_u32(at, (uint32_t)size);
    memset(at + MESSAGE_HEAD_BYTES, fill, size);
    return MESSAGE_HEAD_BYTES + size;
}

/* Every way of cutting the stream into payloads of one length gives the same messages. */
static void messages_in_payloads_of_any_length(void **state)
{
    (void)state;
    static const size_t sizes[] = { 5, 0, 1, 0, 0, 300, 2, 1000, 4, 0, 7 };
    static uint8_t stream[4096];
    const size_t count = sizeof sizes / sizeof *sizes;
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += add_message(stream + len, sizes[i], (uint8_t)('a' + i));
    for (size_t step = 1; step <= len; step++) {
        struct message_cutter cutter = { 0 };
        size_t next = 0;
        for (size_t at = 0; at < len; at += step) {
            struct slice payload = { stream + at, len - at < step ? len - at : step };
            struct slice message;
            enum cut_result result;
            while ((result = message_cut(&cutter, &pool, &payload, 1000, &message)) ==
                   CUT_MESSAGE) {
                while (sizes[next] == 0)
                    next++;
                assert_int_equal(message.len, sizes[next]);
                assert_int_equal(message.data[0], 'a' + next);
                assert_int_equal(message.data[message.len - 1], 'a' + next);
                next++;
            }
            assert_int_equal(result, CUT_NEED_MORE);
            assert_int_equal(payload.len, 0);
        }
        assert_int_equal(next, count);
        assert_int_equal(buffer_len(&cutter.partial), 0);
        message_cutter_clear(&cutter, &pool);
    }
}

static void oversized_is_known_by_its_head(void **state)
{
    (void)state;
    uint8_t head[MESSAGE_HEAD_BYTES];
    bytes_put_u32(head, 101);
    for (size_t first = 1; first <= sizeof head; first++) {
        struct message_cutter cutter = { 0 };
        struct slice payload = { head, first }, message;
        enum cut_result result = message_cut(&cutter, &pool, &payload, 100, &message);
        if (first < sizeof head) {
            assert_int_equal(result, CUT_NEED_MORE);
            payload = (struct slice) { head + first, sizeof head - first };
            result = message_cut(&cutter, &pool, &payload, 100, &message);
        }
        assert_int_equal(result, CUT_OVERSIZED);
        message_cutter_clear(&cutter, &pool);
    }
}

static void announcing_takes_no_memory(void **state)
{
    (void)state;
    uint8_t head[MESSAGE_HEAD_BYTES + 1] = { 0 };
    struct message_cutter cutter = { 0 };
    struct slice payload = { head, sizeof head }, message;
    bytes_put_u32(head, LIMIT_PEER_MESSAGE_BYTES);
    assert_int_equal(message_cut(&cutter, &pool, &payload, LIMIT_PEER_MESSAGE_BYTES, &message),
                     CUT_NEED_MORE);
    assert_int_equal(pool.used_bytes, BUFFER_SMALLEST);
    message_cutter_clear(&cutter, &pool);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct buffer_pool none;
    uint8_t part[MESSAGE_HEAD_BYTES + 1] = { 9 };
    struct message_cutter cutter = { 0 };
    struct slice message;
    buffer_pool_init(&none, 0);
    for (size_t len = 1; len <= sizeof part; len++) {
        struct slice payload = { part, len };
        assert_int_equal(message_cut(&cutter, &none, &payload, 100, &message), CUT_NO_MEMORY);
    }
    buffer_pool_init(&none, BUFFER_SMALLEST);
    struct slice payload = { part, 2 };
    assert_int_equal(message_cut(&cutter, &none, &payload, 1000, &message), CUT_NEED_MORE);
    static uint8_t more[BUFFER_SMALLEST * 2];
    more[0] = 1; /* size 9 becomes 9 + (1 << 16) */
    payload = (struct slice) { more, sizeof more };
    assert_int_equal(message_cut(&cutter, &none, &payload, 1 << 20, &message), CUT_NO_MEMORY);
    message_cutter_clear(&cutter, &none);
    buffer_pool_destroy(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_is_a_queue),
        cmocka_unit_test(empty_buffer_owns_nothing),
        cmocka_unit_test(pool_says_no_at_its_cap),
        cmocka_unit_test(preamble_of_each_role),
        cmocka_unit_test(preamble_of_nobody),
        cmocka_unit_test(prologue_binds_role_and_key),
        cmocka_unit_test(frame_there_and_back),
        cmocka_unit_test(frame_is_big_endian),
        cmocka_unit_test(frame_changed_replayed_reordered),
        cmocka_unit_test(frame_too_short_for_a_tag),
        cmocka_unit_test(keys_change_at_the_interval),
        cmocka_unit_test(messages_in_payloads_of_any_length),
        cmocka_unit_test(oversized_is_known_by_its_head),
        cmocka_unit_test(announcing_takes_no_memory),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
