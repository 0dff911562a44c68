/* What monitors say to each other, and what one makes of what it is told. */
#include "core/monitor/monitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SECOND = 1000000, GONE = 6 * SECOND, HEARTBEAT = SECOND / 2, PROBE = 3 * SECOND };

struct desk {
    struct monitor monitor;
    uint64_t now;
    unsigned sent, closed, starts;
    struct monitor_message last;
};

static void note(void *ctx, const struct monitor_effect *effect)
{
    struct desk *desk = ctx;
    desk->closed += effect->kind == EFFECT_MONITOR_CLOSE;
    desk->starts += effect->kind == EFFECT_MONITOR_START;
    if (effect->kind != EFFECT_MONITOR_SEND)
        return;
    desk->sent++;
    assert_true(monitor_message_decode(&desk->last, effect->bytes));
}

static void tell(struct desk *desk, struct monitor_event event)
{
    const struct monitor_effects effects = { note, desk };
    event.now_us = desk->now;
    monitor_step(&desk->monitor, &event, &effects);
}

static void tell_message(struct desk *desk, uint32_t connection, struct monitor_message message)
{
    uint8_t bytes[MONITOR_MESSAGE_BYTES];
    size_t len = monitor_message_encode(&message, bytes);
    tell(desk, (struct monitor_event) { .kind = EVENT_MONITOR_MESSAGE,
                                        .connection = connection,
                                        .bytes = { bytes, len } });
}

/* Monitor 2 of 1, 2 and 3, alone so far. */
static struct desk desk_of_two(void)
{
    struct desk desk = { .now = SECOND };
    monitor_init(&desk.monitor, &(struct monitor_options) { .slot = 2,
                                                            .peers = 5,
                                                            .heartbeat_us = HEARTBEAT,
                                                            .silence_us = GONE,
                                                            .probe_us = PROBE,
                                                            .seed = 9 });
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_START });
    return desk;
}

static void what_it_heard_of_a_node_that_runs_no_more_is_not_told(void **state)
{
    (void)state;
    struct desk desk = desk_of_two();
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED, .connection = 4 });
    assert_int_equal(desk.last.kind, MONITOR_HELLO);
    tell_message(&desk, 4, (struct monitor_message) { .kind = MONITOR_HELLO, .slot = 1 });
    static const struct {
        enum node_state state;
        uint8_t heard;
    } rows[] = { { NODE_RUNS, 5 }, { NODE_HANGS, 0 }, { NODE_STOPPED, 0 }, { NODE_RUNS, 5 } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tell(&desk, (struct monitor_event) {
                        .kind = EVENT_MONITOR_NODE,
                        .report = { .state = rows[i].state, .heard = 5, .commit = i } });
        desk.now += HEARTBEAT;
        tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_TICK });
        assert_int_equal(desk.last.kind, MONITOR_HEARTBEAT);
        assert_int_equal(desk.last.report.state, rows[i].state);
        assert_int_equal(desk.last.report.heard, rows[i].heard);
        assert_int_equal(desk.last.report.commit, i);
    }
}

/* Who says something else than a monitor would is closed, and nothing of it is kept. */
static void strangers_are_closed(void **state)
{
    (void)state;
    const struct monitor_message hello = { .kind = MONITOR_HELLO, .slot = 1 };
    struct monitor_message beat = { .kind = MONITOR_HEARTBEAT,
                                    .slot = 1,
                                    .report = { .state = NODE_RUNS } };
    struct desk desk = desk_of_two();
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED });
    tell_message(&desk, 0, beat); /* before it said who it is */
    assert_int_equal(desk.closed, 1);
    static const uint8_t nobodies[] = { 2, 4, 7 }; /* itself, and two that the ini does not have */
    for (unsigned i = 0; i < 3; i++) {
        tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED });
        tell_message(&desk, 0,
                     (struct monitor_message) { .kind = MONITOR_HELLO, .slot = nobodies[i] });
        assert_int_equal(desk.closed, 2 + i);
    }
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED });
    tell_message(&desk, 0, hello);
    assert_true(monitor_reaches(&desk.monitor, 1));
    beat.slot = 3; /* another one all of a sudden */
    tell_message(&desk, 0, beat);
    assert_int_equal(desk.closed, 5);
    assert_false(monitor_reaches(&desk.monitor, 1));
    /* A second connection takes the first one's place. */
    for (uint32_t i = 0; i < 2; i++) {
        tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED, .connection = 7 + i });
        tell_message(&desk, 7 + i, hello);
    }
    assert_int_equal(desk.closed, 6);
    assert_int_equal(desk.monitor.peers[1].connection, 8);
    assert_int_equal(desk.starts, 0);
    tell_message(&desk, 8, (struct monitor_message) { .kind = MONITOR_START, .slot = 1 });
    assert_int_equal(desk.starts, 1);
    /* One that says nothing at all does not stay. */
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_OPENED, .connection = 9 });
    desk.now += 5 * SECOND;
    tell(&desk, (struct monitor_event) { .kind = EVENT_MONITOR_TICK });
    assert_int_equal(desk.closed, 7);
}

static void messages_are_read_as_they_were_written(void **state)
{
    (void)state;
    for (unsigned kind = MONITOR_HELLO; kind <= MONITOR_START; kind++) {
        const struct monitor_message written = { .kind = (enum monitor_message_kind)kind,
                                                 .slot = 3,
                                                 .follows = 7,
                                                 .report = { NODE_STOPPED, 7, 0xaa, 0x55, 1, 2,
                                                             3 } };
        uint8_t bytes[MONITOR_MESSAGE_BYTES + 1] = { 0 };
        uint8_t again[MONITOR_MESSAGE_BYTES];
        struct monitor_message read;
        size_t len = monitor_message_encode(&written, bytes);
        assert_true(monitor_message_decode(&read, (struct slice) { bytes, len }));
        assert_int_equal(monitor_message_encode(&read, again), len);
        assert_memory_equal(again, bytes, len);
        for (size_t other = 0; other <= len + 1; other++)
            assert_int_equal(monitor_message_decode(&read, (struct slice) { bytes, other }),
                             other == len);
        static const struct {
            size_t at;
            uint8_t value;
        } wrong[] = { { 0, 0 }, { 0, 2 }, { 1, 0 }, { 1, 7 },           { 2, 0 },
                      { 2, 8 }, { 3, 8 }, { 4, 0 }, { 4, NODE_STATES }, { 5, 8 } };
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            if (kind != MONITOR_HEARTBEAT && wrong[i].at > 3)
                continue;
            uint8_t before = bytes[wrong[i].at];
            bytes[wrong[i].at] = wrong[i].value;
            assert_false(monitor_message_decode(&read, (struct slice) { bytes, len }));
            bytes[wrong[i].at] = before;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_heard_of_a_node_that_runs_no_more_is_not_told),
        cmocka_unit_test(strangers_are_closed),
        cmocka_unit_test(messages_are_read_as_they_were_written),
    };
    return cmocka_run_group_tests_name("monitor_message", tests, NULL, NULL);
}
