/* Pages of history: what is durable comes from disk, what is applied and not durable yet from the
 * ring of recent records. Nobody waits for a disk that writes nothing. */
#include "tests/test_node.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "core/raft/state.h"

enum { POSTS = 40 };

/* Alice and her room with POSTS posts, of `bytes` each, all applied. */
static struct nodes *talked(size_t bytes, uint32_t *device)
{
    struct nodes *nodes = nodes_new(1, 1 << 20);
    nodes_form(nodes);
    *device = nodes_user(nodes, 1, "alice");
    nodes_create(nodes, 1, *device, 1, "#one");
    nodes_run(nodes, 100000);
    assert_int_equal(nodes->answers[1][1].code, CODE_OK);
    for (uint64_t seq = 2; seq < POSTS + 2; seq++) {
        nodes_post(nodes, 1, *device, seq, 1, "#one", bytes);
        nodes_run(nodes, 20000);
        assert_true(nodes->answered[1][seq]);
    }
    return nodes;
}

/* As on a follower whose disk took nothing after this post, while the others committed. */
static void durable_to(struct nodes *nodes, uint64_t device_seq)
{
    uint64_t index = nodes->answers[1][device_seq].index;
    assert_true(index > 0 && index <= nodes->node->applied);
    nodes->node->raft->durable = index;
    nodes->node->raft->disk_full = true;
}

/* Of a client that knows of `floor`. */
static void ask_from(struct nodes *nodes, uint64_t floor, bool has_after, uint64_t after,
                     uint64_t before, uint16_t limit)
{
    struct wire_query in = { .id = 1,
                             .floor_index = floor,
                             .kind = QUERY_HISTORY,
                             .room = { (const uint8_t *)"#one", 4 },
                             .has_after = has_after,
                             .after = after,
                             .before = before,
                             .limit = limit };
    uint8_t message[256];
    size_t len = wire_encode_query(&in, message, sizeof message);
    assert_int_not_equal(len, 0);
    nodes->read_id = 0;
    nodes->result_rows[1] = UINT32_MAX;
    nodes_message(nodes, 1, message, len);
}

static void ask(struct nodes *nodes, bool has_after, uint64_t after, uint64_t before,
                uint16_t limit)
{
    ask_from(nodes, 0, has_after, after, before, limit);
}

/* The disk answers with the posts [from, to]; `more`: not all that was asked for. */
static void disk_answers(struct nodes *nodes, uint64_t from, uint64_t to, size_t bytes, bool more)
{
    static uint8_t data[NODE_PAGE_BYTES];
    struct writer writer = writer_of(data, sizeof data);
    for (uint64_t seq = from; seq <= to && from; seq++) {
        uint8_t text[8192] = { 0 };
        memset(text, 'x', bytes);
        struct command command = { .kind = COMMAND_POST,
                                   .device = 1,
                                   .account = 1,
                                   .seq = seq + 1,
                                   .beyond = 1,
                                   .salt = (const uint8_t *)"saltsalt",
                                   .room = { (const uint8_t *)"#one", 4 },
                                   .text = { text, bytes } };
        uint8_t body[9000];
        size_t len = command_encode(&command, body, sizeof body);
        assert_true(len > 0);
        write_u8(&writer, NODE_STORE_POST);
        write_u32(&writer, 1);
        write_u64(&writer, seq);
        write_u64(&writer, nodes->answers[1][seq + 1].index);
        write_u64(&writer, 1);
        write_u32(&writer, (uint32_t)len);
        write_copy(&writer, body, len);
    }
    assert_false(writer.full);
    struct node_event event = { .kind = EVENT_READ_DONE,
                                .now = nodes->now,
                                .read = { .id = nodes->read_id,
                                          .data = { data, writer_used(&writer) },
                                          .more = more,
                                          .older = from != 1 } };
    node_step(nodes->node, &event, &nodes->effects);
}

static void expect(const struct nodes *nodes, uint64_t first, uint64_t last, bool more)
{
    assert_int_equal(nodes->result_seqs[1][0], first);
    assert_int_equal(nodes->result_seqs[1][1], last);
    assert_int_equal(nodes->result_rows[1], last - first + 1);
    assert_int_equal(nodes->result_flags[1], more ? RESULT_MORE : 0);
}

static void what_is_durable_is_read_and_the_rest_is_here(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    ask(nodes, false, 0, 0, 10); /* all durable */
    assert_int_equal(nodes->read_from, 31);
    assert_int_equal(nodes->read_to, 40);
    disk_answers(nodes, 31, 40, 10, false);
    expect(nodes, 31, 40, true);
    durable_to(nodes, 36); /* post 35 */
    ask(nodes, false, 0, 0, 10);
    assert_int_equal(nodes->read_from, 31);
    assert_int_equal(nodes->read_to, 35);
    disk_answers(nodes, 31, 35, 10, false);
    expect(nodes, 31, 40, true);
    ask(nodes, false, 0, 0, 3); /* of the ring alone: without the disk */
    assert_int_equal(nodes->read_id, 0);
    expect(nodes, 38, 40, true);
    ask(nodes, false, 0, 38, 200);
    assert_int_equal(nodes->read_to, 35);
    disk_answers(nodes, 1, 35, 10, false);
    expect(nodes, 1, 37, false);
    ask(nodes, true, 33, 0, 200); /* forward over both */
    assert_int_equal(nodes->read_from, 34);
    assert_int_equal(nodes->read_to, 35);
    disk_answers(nodes, 34, 35, 10, false);
    expect(nodes, 34, 40, false);
    ask(nodes, true, 37, 0, 2);
    expect(nodes, 38, 39, true);
    nodes_free(nodes);
}

/* What was chosen while the node was behind may be too little, though it has caught up when the disk answers. */
static void a_page_chosen_while_behind_says_so(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    uint64_t applied = nodes->node->applied;
    ask_from(nodes, applied + 1, false, 0, 0, 10);
    nodes_post(nodes, 1, device, POSTS + 2, 1, "#one", 10);
    nodes_run(nodes, 20000);
    assert_true(nodes->node->applied > applied);
    disk_answers(nodes, 31, 40, 10, false);
    assert_int_equal(nodes->result_flags[1], RESULT_MORE | RESULT_STALE);
    ask_from(nodes, nodes->node->applied, false, 0, 0, 10);
    disk_answers(nodes, 32, 41, 10, false);
    assert_int_equal(nodes->result_flags[1], RESULT_MORE);
    nodes_free(nodes);
}

/* A cut answer has no hole: forward it ends there, backward the newest are kept. */
static void a_cut_answer_has_no_hole(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    durable_to(nodes, 36);
    ask(nodes, true, 20, 0, 200);
    disk_answers(nodes, 21, 25, 10, true);
    expect(nodes, 21, 25, true);
    ask(nodes, false, 0, 0, 20);
    disk_answers(nodes, 21, 24, 10, true); /* four of fifteen fitted */
    assert_int_equal(nodes->read_from, 34);
    assert_int_equal(nodes->read_to, 35);
    disk_answers(nodes, 34, 35, 10, false);
    expect(nodes, 34, 40, true);
    ask(nodes, false, 0, 0, 20);
    disk_answers(nodes, 0, 0, 10, true); /* not even one */
    expect(nodes, 36, 40, true);
    nodes_free(nodes);
}

/* All that was asked for from disk is dropped there, and what comes after it is not durable: the ring has it. */
static void what_is_dropped_on_disk_leaves_the_rings_part(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    durable_to(nodes, 36);
    ask(nodes, true, 33, 0, 200);
    assert_int_equal(nodes->read_to, 35);
    assert_int_equal(nodes->last[EFFECT_READ_POSTS].read.posts.upto_index,
                     nodes->answers[1][36].index);
    disk_answers(nodes, 1, 0, 10, true);
    expect(nodes, 36, 40, false);
    nodes_free(nodes);
}

static void large_posts_of_the_ring_fill_a_page_alone(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(4000, &device);
    durable_to(nodes, 3); /* post 2 */
    ask(nodes, false, 0, 0, 200);
    assert_int_equal(nodes->read_id, 0);
    uint64_t first = nodes->result_seqs[1][0];
    assert_true(first > 3 && first < 35);
    expect(nodes, first, 40, true);
    ask(nodes, false, 0, first, 200);
    assert_int_equal(nodes->read_from, 1); /* the others leave room for the disk's part */
    assert_int_equal(nodes->read_to, 2);
    disk_answers(nodes, 1, 2, 4000, false);
    expect(nodes, 1, first - 1, false);
    ask(nodes, true, 2, 0, 200);
    expect(nodes, 3, 40, false);
    nodes->node->raft->disk_full = false;
    for (uint64_t seq = POSTS + 2; seq < POSTS + 22; seq++) {
        nodes_post(nodes, 1, device, seq, 1, "#one", 4000);
        nodes_run(nodes, 20000);
    }
    durable_to(nodes, 3);
    ask(nodes, true, 2, 0, 200);
    uint64_t last = nodes->result_seqs[1][1];
    assert_true(last > 40 && last < 60);
    expect(nodes, 3, last, true);
    nodes_free(nodes);
}

/* While the disk's part is read, what lay in the ring becomes durable and leaves it. */
static void a_ring_that_moved_on_makes_it_begin_again(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    durable_to(nodes, 36);
    ask(nodes, false, 0, 0, 10);
    assert_int_equal(nodes->read_to, 35);
    uint64_t first_read = nodes->read_id;
    nodes->node->raft->durable = nodes->node->raft->log.last;
    nodes->node->raft->disk_full = false;
    for (uint64_t seq = POSTS + 2; recent_floor(nodes->node->recent) <= nodes->answers[1][36].index;
         seq++) {
        nodes_post(nodes, 1, device, seq, 1, "#one", 4000);
        nodes_run(nodes, 20000);
    }
    nodes->read_id = first_read;
    disk_answers(nodes, 31, 35, 10, false);
    assert_int_equal(nodes->result_rows[1], UINT32_MAX); /* not yet */
    assert_int_equal(nodes->read_from, 31);
    assert_int_equal(nodes->read_to, 40);
    disk_answers(nodes, 31, 40, 10, false);
    expect(nodes, 31, 40, true);
    nodes_free(nodes);
}

/* The disk may hold what a leader of an earlier term sent where the committed entry is not durable yet. A page from
 * before what is kept goes on behind it, and must not come there (seed 160012738). */
static void no_page_reads_beyond_what_is_durable_here(void **state)
{
    (void)state;
    uint32_t device;
    struct nodes *nodes = talked(10, &device);
    durable_to(nodes, 21);
    ask(nodes, true, 0, 0, 5);
    const struct effect_posts *posts = &nodes->last[EFFECT_READ_POSTS].read.posts;
    assert_int_equal(posts->seq_to, 5);
    assert_int_equal(posts->forward_to, POSTS);
    assert_int_equal(posts->upto_index, nodes->answers[1][21].index);
    nodes->node->raft->durable =
        nodes->node->applied + 5; /* an older leader's, and not committed */
    ask(nodes, true, 0, 0, 5);
    assert_int_equal(posts->upto_index, nodes->node->applied);
    nodes_free(nodes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_page_reads_beyond_what_is_durable_here),
        cmocka_unit_test(what_is_durable_is_read_and_the_rest_is_here),
        cmocka_unit_test(a_page_chosen_while_behind_says_so),
        cmocka_unit_test(a_cut_answer_has_no_hole),
        cmocka_unit_test(what_is_dropped_on_disk_leaves_the_rings_part),
        cmocka_unit_test(large_posts_of_the_ring_fill_a_page_alone),
        cmocka_unit_test(a_ring_that_moved_on_makes_it_begin_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
