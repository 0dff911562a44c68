/* When a node's process is started, killed and left alone; and what a pulse is. */
#include "core/monitor/supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum {
    MS = 1000,
    SECOND = 1000000,
    SILENCE = 3 * SECOND,
    PATIENCE = 30 * SECOND,
    SETTLE = 10 * SECOND
};
enum { KILLED_BY_9 = 9, STATUS_1 = 1 << 8 };

static const struct supervisor_options usual = { SILENCE, PATIENCE, SETTLE, 1 };

/* Another progress with each. */
static void pulse(struct supervisor *supervisor, enum pulse_phase phase, uint64_t now)
{
    static uint64_t progress;
    supervisor_pulse(supervisor, phase, ++progress, now);
}

/* Down since `now`, and started. */
static struct supervisor started(uint64_t now)
{
    struct supervisor supervisor;
    supervisor_init(&supervisor, &usual, now);
    assert_int_equal(supervisor_next(&supervisor, now), ORDER_START);
    supervisor_started(&supervisor, now);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_RECOVERS);
    return supervisor;
}

static struct supervisor running(uint64_t now)
{
    struct supervisor supervisor = started(now);
    pulse(&supervisor, PULSE_RUNNING, now);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_RUNS);
    return supervisor;
}

/* Nothing is to be done before `due`, and `order` then, once. */
static void expect(struct supervisor *supervisor, uint64_t due, enum supervisor_order order)
{
    assert_int_equal(supervisor_due_us(supervisor), due);
    assert_int_equal(supervisor_next(supervisor, due - 1), ORDER_NOTHING);
    assert_int_equal(supervisor_next(supervisor, due), order);
    if (order != ORDER_START)
        assert_int_equal(supervisor_next(supervisor, due), ORDER_NOTHING);
}

static void who_is_silent_is_killed(void **state)
{
    (void)state;
    struct supervisor supervisor = running(SECOND);
    for (uint64_t now = SECOND; now < 20 * SECOND; now += SECOND)
        pulse(&supervisor, PULSE_RUNNING, now);
    expect(&supervisor, 19 * SECOND + SILENCE, ORDER_KILL);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_HANGS);
    /* Until it is gone nothing else is done: no second process beside it, however long it takes. */
    assert_int_equal(supervisor_due_us(&supervisor), UINT64_MAX);
    pulse(&supervisor, PULSE_RUNNING, 23 * SECOND);
    assert_int_equal(supervisor_next(&supervisor, 1000 * SECOND), ORDER_NOTHING);
    assert_false(supervisor_ended(&supervisor, KILLED_BY_9, 1000 * SECOND));
    expect(&supervisor, 1000 * SECOND, ORDER_START);
}

static void who_recovers_has_patience(void **state)
{
    (void)state;
    struct supervisor supervisor = started(SECOND);
    /* Not a pulse yet: it has just begun, or it is frozen and was found so. */
    assert_int_equal(supervisor_due_us(&supervisor), SECOND + PATIENCE);
    pulse(&supervisor, PULSE_RECOVERING, 25 * SECOND);
    assert_int_equal(supervisor_due_us(&supervisor), 25 * SECOND + PATIENCE);
    pulse(&supervisor, PULSE_RUNNING, 50 * SECOND);
    assert_int_equal(supervisor_due_us(&supervisor), 50 * SECOND + SILENCE);
    pulse(&supervisor, PULSE_STOPPING, 51 * SECOND);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPS);
    expect(&supervisor, 51 * SECOND + PATIENCE, ORDER_KILL);
}

static void who_stands_still_is_silent(void **state)
{
    (void)state;
    struct supervisor supervisor = started(SECOND);
    supervisor_pulse(&supervisor, PULSE_RECOVERING, 7, 2 * SECOND);
    supervisor_pulse(&supervisor, PULSE_RECOVERING, 7, 20 * SECOND);
    assert_int_equal(supervisor_due_us(&supervisor), 2 * SECOND + PATIENCE);
    supervisor_pulse(&supervisor, PULSE_RECOVERING, 8, 21 * SECOND);
    assert_int_equal(supervisor_due_us(&supervisor), 21 * SECOND + PATIENCE);
    /* Another phase is a progress. */
    supervisor_pulse(&supervisor, PULSE_RUNNING, 8, 22 * SECOND);
    supervisor_pulse(&supervisor, PULSE_RUNNING, 8, 23 * SECOND);
    expect(&supervisor, 22 * SECOND + SILENCE, ORDER_KILL);
}

static void who_was_late_itself_forgives(void **state)
{
    (void)state;
    struct supervisor supervisor = running(SECOND);
    supervisor_forgive(&supervisor, 60 * SECOND);
    expect(&supervisor, 60 * SECOND + SILENCE, ORDER_KILL);
}

static void what_was_meant_is_left_alone(void **state)
{
    (void)state;
    struct supervisor supervisor = running(SECOND);
    assert_true(supervisor_ended(&supervisor, 0, 2 * SECOND));
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPPED);
    assert_int_equal(supervisor_due_us(&supervisor), UINT64_MAX);
    assert_int_equal(supervisor_next(&supervisor, 1000 * SECOND), ORDER_NOTHING);
    supervisor_ask(&supervisor, 1001 * SECOND);
    expect(&supervisor, 1001 * SECOND, ORDER_START);
    /* Whose status nobody learns: its last pulse tells. */
    supervisor_started(&supervisor, 1001 * SECOND);
    pulse(&supervisor, PULSE_STOPPED, 1002 * SECOND);
    assert_true(supervisor_ended(&supervisor, -1, 1002 * SECOND));
    supervisor_ask(&supervisor, 1003 * SECOND);
    supervisor_started(&supervisor, 1003 * SECOND);
    pulse(&supervisor, PULSE_STOPPING, 1004 * SECOND);
    assert_false(supervisor_ended(&supervisor, -1, 1004 * SECOND));
    /* One that was killed did not mean it, whatever it had said before. */
    supervisor_started(&supervisor, 1005 * SECOND);
    assert_int_equal(supervisor_next(&supervisor, 1005 * SECOND + PATIENCE), ORDER_KILL);
    assert_false(supervisor_ended(&supervisor, 0, 1036 * SECOND));
}

static void pauses_grow_and_a_loop_is_braked(void **state)
{
    (void)state;
    static const uint64_t most[] = { 0,        100 * MS,    200 * MS,   400 * MS,
                                     800 * MS, 10 * SECOND, 10 * SECOND };
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct supervisor supervisor;
        uint64_t now = SECOND;
        supervisor_init(&supervisor,
                        &(struct supervisor_options) { SILENCE, PATIENCE, SETTLE, seed }, now);
        for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
            assert_int_equal(supervisor_next(&supervisor, now), ORDER_START);
            if (i % 3 == 2) { /* that it cannot even be started is an end, too */
                supervisor_failed(&supervisor, now);
            } else {
                supervisor_started(&supervisor, now);
                pulse(&supervisor, PULSE_RUNNING, now);
                /* It may live for nearly as long as one that has come up. */
                now += i == 3 ? SETTLE - 1 : 5 * MS;
                assert_false(supervisor_ended(&supervisor, i % 2 ? STATUS_1 : KILLED_BY_9, now));
            }
            uint64_t pause = supervisor_due_us(&supervisor) - now;
            assert_in_range(pause, most[i] - most[i] / 4, most[i]);
            assert_int_equal(supervisor_loops(&supervisor), i + 1 >= SUPERVISOR_LOOP);
            assert_int_equal(supervisor_node_state(&supervisor),
                             i + 1 >= SUPERVISOR_LOOP ? NODE_CRASHES : NODE_DOWN);
            now += pause;
        }
    }
}

static void who_has_come_up_starts_from_nothing(void **state)
{
    (void)state;
    struct supervisor supervisor = started(SECOND);
    uint64_t now = SECOND;
    for (int i = 0; i < SUPERVISOR_LOOP; i++) {
        assert_false(supervisor_ended(&supervisor, STATUS_1, now));
        supervisor_started(&supervisor, now);
    }
    assert_true(supervisor_loops(&supervisor));
    /* A long recovery is not yet a life. */
    pulse(&supervisor, PULSE_RECOVERING, now += 60 * SECOND);
    assert_false(supervisor_ended(&supervisor, STATUS_1, now));
    assert_true(supervisor_loops(&supervisor));
    supervisor_started(&supervisor, now);
    pulse(&supervisor, PULSE_RUNNING, now);
    assert_false(supervisor_ended(&supervisor, STATUS_1, now + SETTLE));
    expect(&supervisor, now + SETTLE, ORDER_START);
    assert_false(supervisor_loops(&supervisor));
}

static void whoever_asks_ends_the_pause(void **state)
{
    (void)state;
    struct supervisor supervisor = started(SECOND);
    for (int i = 0; i < SUPERVISOR_LOOP; i++) {
        supervisor_ended(&supervisor, STATUS_1, SECOND);
        supervisor_started(&supervisor, SECOND);
    }
    supervisor_ended(&supervisor, STATUS_1, SECOND);
    assert_true(supervisor_due_us(&supervisor) > 8 * SECOND);
    supervisor_ask(&supervisor, 2 * SECOND);
    expect(&supervisor, 2 * SECOND, ORDER_START);
    /* Another holds its folder: that is no crash. */
    supervisor_postpone(&supervisor, 3 * SECOND);
    assert_false(supervisor_loops(&supervisor));
    expect(&supervisor, 3 * SECOND, ORDER_START);
    /* Of one that runs nothing is asked. */
    supervisor_started(&supervisor, 2 * SECOND);
    supervisor_ask(&supervisor, 3 * SECOND);
    expect(&supervisor, 2 * SECOND + PATIENCE, ORDER_KILL);
}

/* Asked to run when it has been told to stop already, it starts again; asked while all is well, a later stop is
 * meant as ever. */
static void who_is_asked_while_it_stops(void **state)
{
    (void)state;
    struct supervisor supervisor = running(SECOND);
    supervisor_ask(&supervisor, 2 * SECOND); /* its word that it stops is still on its way */
    pulse(&supervisor, PULSE_STOPPING, 2 * SECOND);
    assert_true(supervisor_ended(&supervisor, 0, 3 * SECOND));
    expect(&supervisor, 3 * SECOND, ORDER_START);
    supervisor = running(SECOND);
    supervisor_ask(&supervisor, 2 * SECOND);
    pulse(&supervisor, PULSE_RUNNING, 3 * SECOND);
    assert_true(supervisor_ended(&supervisor, 0, 4 * SECOND));
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPPED);
    /* Whoever dismisses it has the last word. */
    supervisor = running(SECOND);
    supervisor_ask(&supervisor, 2 * SECOND);
    supervisor_dismiss(&supervisor, 2 * SECOND);
    assert_true(supervisor_ended(&supervisor, 0, 3 * SECOND));
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPPED);
}

static void who_is_dismissed_stops(void **state)
{
    (void)state;
    struct supervisor supervisor = running(SECOND);
    supervisor_dismiss(&supervisor, 2 * SECOND);
    assert_int_equal(supervisor_next(&supervisor, 2 * SECOND), ORDER_TERMINATE);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPS);
    supervisor_dismiss(&supervisor, 3 * SECOND); /* once is enough */
    expect(&supervisor, 2 * SECOND + PATIENCE, ORDER_KILL);
    assert_true(supervisor_ended(&supervisor, KILLED_BY_9, 33 * SECOND));
    assert_int_equal(supervisor_due_us(&supervisor), UINT64_MAX);
    /* Asked again it runs, and is terminated again when dismissed. */
    supervisor_ask(&supervisor, 40 * SECOND);
    expect(&supervisor, 40 * SECOND, ORDER_START);
    supervisor_started(&supervisor, 40 * SECOND);
    supervisor_dismiss(&supervisor, 41 * SECOND);
    assert_int_equal(supervisor_next(&supervisor, 41 * SECOND), ORDER_TERMINATE);
    assert_true(supervisor_ended(&supervisor, STATUS_1, 41 * SECOND));
    /* One that is down is not started any more. */
    supervisor = started(SECOND);
    supervisor_ended(&supervisor, STATUS_1, SECOND);
    supervisor_dismiss(&supervisor, SECOND);
    assert_int_equal(supervisor_due_us(&supervisor), UINT64_MAX);
    assert_int_equal(supervisor_node_state(&supervisor), NODE_STOPPED);
}

static void a_pulse_is_read_as_it_was_written(void **state)
{
    (void)state;
    uint8_t bytes[PULSE_BYTES + 1] = { 0 };
    const struct pulse written = {
        PULSE_STOPPING, 7, 3, 1ULL << 63, 11, 12, 13, { 0, 1, 2, 3, 4, 500, 65535, 7 }
    };
    struct pulse read;
    pulse_encode(&written, bytes);
    assert_true(pulse_decode(&read, (struct slice) { bytes, PULSE_BYTES }));
    uint8_t again[PULSE_BYTES];
    pulse_encode(&read, again);
    assert_memory_equal(again, bytes, PULSE_BYTES);
    assert_int_equal(read.commit, 11);
    assert_int_equal(read.heard_ms[5], 500);
    assert_false(pulse_decode(&read, (struct slice) { bytes, PULSE_BYTES - 1 }));
    assert_false(pulse_decode(&read, (struct slice) { bytes, PULSE_BYTES + 1 }));
    assert_false(pulse_decode(&read, (struct slice) { NULL, 0 }));
    /* Magic, version, phase, slot and leader: no other value but those that may be. */
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = { { 0, 0 }, { 3, 0 }, { 4, 0 }, { 4, 2 }, { 5, 0 },
                  { 5, 5 }, { 6, 0 }, { 6, 8 }, { 7, 8 } };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        pulse_encode(&written, bytes);
        bytes[wrong[i].at] = wrong[i].value;
        assert_false(pulse_decode(&read, (struct slice) { bytes, PULSE_BYTES }));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_silent_is_killed),
        cmocka_unit_test(who_recovers_has_patience),
        cmocka_unit_test(who_stands_still_is_silent),
        cmocka_unit_test(who_was_late_itself_forgives),
        cmocka_unit_test(what_was_meant_is_left_alone),
        cmocka_unit_test(pauses_grow_and_a_loop_is_braked),
        cmocka_unit_test(who_has_come_up_starts_from_nothing),
        cmocka_unit_test(whoever_asks_ends_the_pause),
        cmocka_unit_test(who_is_asked_while_it_stops),
        cmocka_unit_test(who_is_dismissed_stops),
        cmocka_unit_test(a_pulse_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests_name("monitor_supervisor", tests, NULL, NULL);
}
