/* cmd/client: the state file torn at every byte and with every bit wrong; the lock; a new device;
 * invite links. */
#include "cmd/client/client_state.h"
#include "cmd/crypto_sodium.h"
#include "cmd/invite_link.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[200];

static struct slice words(const char *text)
{
    return (struct slice) { (const uint8_t *)text, strlen(text) };
}

static struct client_entry entry(uint64_t number, uint64_t seq, const char *id, const char *body)
{
    return (struct client_entry) { number, seq, words(id), words(body) };
}

static const uint8_t some_cluster[IDENTITY_BYTES] = "a cluster's id.";

/* device, enrolled, a 1, b 2, (refused) 3, done 1, c 4, cursor. */
static void write_example(struct text_out *out)
{
    struct client_recovered none = { .secret_key = { 1, 2, 3 } };
    outbox_write_all(out, &none);
    outbox_write_enrolled(out, 7, 70);
    struct client_entry a = entry(1, 1, "\"a\"", "body a");
    struct client_entry b = entry(2, 2, "\"b\"", "body b");
    struct client_entry refused = entry(3, 0, "\"r\"", "\x01");
    struct client_entry c = entry(4, 3, "", "body c");
    outbox_write_put(out, &a);
    outbox_write_put(out, &b);
    outbox_write_put(out, &refused);
    outbox_write_done(out, 1, 1);
    outbox_write_put(out, &c);
    outbox_write_seen(out, 77, 3);
    outbox_write_seen(out, 77, 5);
    outbox_write_forgot(out, 40);
    outbox_write_cursor(out, 90, 91, some_cluster);
}

static void check_seen(const struct outbox_image *image)
{
    assert_ptr_equal(image->recovered.seen, &image->seen);
    assert_true(seen_ended(&image->seen, 77, 5, 100));
    assert_false(seen_ended(&image->seen, 77, 6, 0));
    assert_true(seen_ended(&image->seen, 78, 1, 39));
    assert_false(seen_ended(&image->seen, 78, 1, 40));
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct text_out out = { 0 };
    write_example(&out);
    struct outbox_image image;
    assert_true(outbox_read(&image, (struct slice) { (uint8_t *)out.data, out.end }));
    assert_int_equal(image.whole_bytes, out.end);
    const struct client_recovered *recovered = &image.recovered;
    assert_int_equal(recovered->device, 7);
    assert_int_equal(recovered->enrolled_index, 70);
    assert_int_equal(recovered->cursor, 90);
    assert_int_equal(recovered->floor, 91);
    assert_memory_equal(recovered->cluster, some_cluster, IDENTITY_BYTES);
    assert_int_equal(recovered->last_number, 4);
    assert_int_equal(recovered->last_seq, 3);
    assert_int_equal(recovered->done_seq, 1);
    assert_int_equal(recovered->entry_count, 3);
    assert_int_equal(recovered->entries[0].seq, 2);
    assert_memory_equal(recovered->entries[0].id.data, "\"b\"", 3);
    assert_int_equal(recovered->entries[1].seq, 0);
    assert_int_equal(recovered->entries[2].id.len, 0);
    assert_memory_equal(recovered->entries[2].body.data, "body c", 6);
    check_seen(&image);

    /* And once more after being written anew. */
    struct text_out again = { 0 };
    struct outbox_image second;
    outbox_write_all(&again, recovered);
    assert_true(outbox_read(&second, (struct slice) { (uint8_t *)again.data, again.end }));
    assert_int_equal(second.recovered.entry_count, 3);
    assert_int_equal(second.recovered.last_number, 4);
    assert_int_equal(second.recovered.done_seq, 1);
    assert_memory_equal(second.recovered.cluster, some_cluster, IDENTITY_BYTES);
    check_seen(&second);
    assert_memory_equal(&second.seen, &image.seen, sizeof image.seen);
    free(second.entries);
    free(image.entries);
    text_free(&again);
    text_free(&out);
}

/* A file cut anywhere is a prefix of its records: never an entry that was not put, never one that
 * was done before the cut. */
static void a_torn_tail_is_cut_at_a_record(void **state)
{
    (void)state;
    struct text_out out = { 0 };
    write_example(&out);
    size_t last_whole = 0;
    int steps = 0;
    for (size_t len = 0; len <= out.end; len++) {
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, out.data, len);
        struct outbox_image image;
        if (outbox_read(&image, (struct slice) { copy, len })) {
            assert_true(image.whole_bytes <= len);
            assert_true(image.whole_bytes >= last_whole);
            steps += image.whole_bytes > last_whole;
            last_whole = image.whole_bytes;
            for (uint32_t i = 0; i < image.recovered.entry_count; i++)
                assert_memory_equal(image.entries[i].body.data,
                                    image.entries[i].seq ? "body " : "\x01",
                                    image.entries[i].seq ? 5 : 1);
        }
        free(image.entries);
        free(copy);
    }
    assert_int_equal(last_whole, out.end);
    assert_int_equal(steps, 13); /* each record counted once, the first being the device */
    text_free(&out);
}

static void a_wrong_bit_is_never_believed(void **state)
{
    (void)state;
    struct text_out out = { 0 };
    write_example(&out);
    struct outbox_image whole;
    assert_true(outbox_read(&whole, (struct slice) { (uint8_t *)out.data, out.end }));
    free(whole.entries);
    for (size_t bit = 0; bit < out.end * 8; bit++) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        struct outbox_image image;
        if (outbox_read(&image, (struct slice) { (uint8_t *)out.data, out.end }))
            assert_true(image.whole_bytes <= bit / 8);
        free(image.entries);
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    text_free(&out);
}

/* Whole records that contradict what stands before them. */
static void records_that_make_no_sense_end_the_file(void **state)
{
    (void)state;
    for (int what = 0; what < 6; what++) {
        struct text_out out = { 0 };
        write_example(&out);
        size_t good = out.end;
        struct client_entry bad = entry(5, 4, "x", "y");
        struct client_recovered other = { .last_number = 1 };
        switch (what) {
        case 0:
            bad.number = 4;
            outbox_write_put(&out, &bad);
            break;
        case 1:
            bad.seq = 3;
            outbox_write_put(&out, &bad);
            break;
        case 2:
            bad.body.len = 0;
            outbox_write_put(&out, &bad);
            break;
        case 3:
            outbox_write_done(&out, 9, 3);
            break;
        case 4:
            outbox_write_device(&out, other.secret_key);
            break;
        default:
            outbox_write_counts(&out, &other);
        }
        struct outbox_image image;
        assert_true(outbox_read(&image, (struct slice) { (uint8_t *)out.data, out.end }));
        assert_int_equal(image.whole_bytes, good);
        free(image.entries);
        text_free(&out);
    }
}

static struct client_state *open_state(void)
{
    return state_open("test", folder, "alice", "0123456789abcdef");
}

static void a_run_goes_on_where_the_last_one_ended(void **state)
{
    (void)state;
    struct client_state *first = open_state();
    assert_non_null(first);
    uint8_t key[SECRET_KEY_BYTES];
    memcpy(key, state_recovered(first)->secret_key, sizeof key);
    struct client_entry a = entry(1, 1, "a", "body a");
    struct client_entry b = entry(2, 2, "b", "body b");
    state_enrolled(first, 5, 50);
    state_put(first, &a);
    state_put(first, &b);
    state_done(first, 1, 1);
    state_cursor(first, 60, 61, some_cluster, 0);
    state_write(first);

    /* Meanwhile another client gets a device of its own. */
    struct client_state *twin = open_state();
    assert_non_null(twin);
    assert_memory_not_equal(state_recovered(twin)->secret_key, key, sizeof key);
    assert_int_equal(state_recovered(twin)->device, 0);
    state_close(twin);
    state_close(first);

    struct client_state *second = open_state();
    const struct client_recovered *recovered = state_recovered(second);
    assert_memory_equal(recovered->secret_key, key, sizeof key);
    assert_int_equal(recovered->device, 5);
    assert_int_equal(recovered->cursor, 60);
    assert_int_equal(recovered->entry_count, 1);
    assert_int_equal(recovered->entries[0].number, 2);
    /* A new device, and a crash before it is in effect: the old one. */
    uint8_t new_key[SECRET_KEY_BYTES] = { 9 };
    struct client_entry moved = entry(3, 1, "b", "body b");
    state_new_device(second, new_key);
    state_put(second, &moved);
    state_close(second);

    struct client_state *third = open_state();
    recovered = state_recovered(third);
    assert_memory_equal(recovered->secret_key, key, sizeof key);
    assert_int_equal(recovered->entries[0].seq, 2);
    state_new_device(third, new_key);
    state_put(third, &moved);
    state_sync(third);
    state_enrolled(third, 6, 70);
    state_close(third);

    struct client_state *fourth = open_state();
    recovered = state_recovered(fourth);
    assert_memory_equal(recovered->secret_key, new_key, sizeof new_key);
    assert_int_equal(recovered->device, 6);
    assert_int_equal(recovered->cursor, 60);
    assert_memory_equal(recovered->cluster, some_cluster, IDENTITY_BYTES);
    assert_int_equal(recovered->entry_count, 1);
    assert_int_equal(recovered->entries[0].seq, 1);
    assert_int_equal(recovered->last_seq, 1);
    assert_int_equal(recovered->done_seq, 0);
    state_close(fourth);
}

/* A second client ran beside the first and left something: the next one that comes sends it. */
static void what_a_second_client_left_is_taken_up(void **state)
{
    (void)state;
    struct client_state *first = open_state();
    struct client_state *twin = open_state();
    assert_false(state_is_twin(first));
    assert_true(state_is_twin(twin));
    struct client_entry left = entry(1, 1, "t", "left by the twin");
    state_enrolled(twin, 9, 90);
    state_put(twin, &left);
    state_sync(twin);
    state_close(twin);
    state_close(first);

    struct client_state *next = open_state();
    assert_true(state_is_twin(next));
    assert_int_equal(state_recovered(next)->device, 9);
    assert_int_equal(state_recovered(next)->entry_count, 1);
    struct client_state *beside = open_state();
    assert_false(state_is_twin(beside));
    state_done(next, 1, 1);
    state_sync(next);
    state_close(next);
    state_close(beside);

    struct client_state *then = open_state();
    assert_false(state_is_twin(then));
    state_close(then);
}

static void the_folder_is_private(void **state)
{
    (void)state;
    struct stat about;
    struct client_state *opened = open_state();
    assert_int_equal(stat(folder, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    state_close(opened);
}

static void links_go_there_and_back(void **state)
{
    (void)state;
    struct link_invite invite = { .token = { 1, 2, 3 }, .server_count = 2 };
    memset(invite.key.public_key, 5, KEY_BYTES);
    strcpy(invite.servers[0].host, "chat.example");
    invite.servers[0].port = 7101;
    strcpy(invite.servers[1].host, "::1");
    invite.servers[1].port = 1;
    char text[LINK_TEXT_BYTES];
    assert_true(link_write(text, &invite));
    struct link_invite read;
    assert_true(link_read(&read, text));
    assert_memory_equal(read.key.public_key, invite.key.public_key, KEY_BYTES);
    assert_memory_equal(read.token, invite.token, sizeof read.token);
    assert_int_equal(read.server_count, 2);
    assert_string_equal(read.servers[0].host, "chat.example");
    assert_int_equal(read.servers[1].port, 1);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        char was = text[i];
        text[i] = was == 'A' ? 'B' : 'A';
        assert_false(link_read(&read, text));
        text[i] = '\0';
        assert_false(link_read(&read, text));
        text[i] = was;
    }
    /* The longest one fits. */
    invite.server_count = LINK_SERVERS;
    for (int i = 0; i < LINK_SERVERS; i++) {
        memset(invite.servers[i].host, 'h', CONFIG_TEXT_BYTES - 1);
        invite.servers[i].port = 65535;
    }
    assert_true(link_write(text, &invite));
    assert_true(link_read(&read, text));
    assert_int_equal(read.server_count, LINK_SERVERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(a_torn_tail_is_cut_at_a_record),
        cmocka_unit_test(a_wrong_bit_is_never_believed),
        cmocka_unit_test(records_that_make_no_sense_end_the_file),
        cmocka_unit_test(a_run_goes_on_where_the_last_one_ended),
        cmocka_unit_test(what_a_second_client_left_is_taken_up),
        cmocka_unit_test(the_folder_is_private),
        cmocka_unit_test(links_go_there_and_back),
    };
    char base[] = "/tmp/ftchat-state-XXXXXX";
    if (!crypto_start() || !mkdtemp(base))
        return 1;
    snprintf(folder, sizeof folder, "%s/deep/er", base);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char clean[300];
    snprintf(clean, sizeof clean, "rm -rf '%s'", base);
    return system(clean) != 0 || failed;
}
