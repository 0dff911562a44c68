/* The histogram of `ctl bench`: percentiles are within its step of the true ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/bench_times.h"

static void test_none(void **state)
{
    (void)state;
    static struct times times;
    assert_int_equal(times_at(&times, 500), 0);
    assert_int_equal(times_at(&times, 1000), 0);
}

static void test_small_are_exact(void **state)
{
    (void)state;
    static struct times times;
    for (uint64_t us = 1; us <= 100; us++)
        times_add(&times, us);
    assert_int_equal(times_at(&times, 10), 1);
    assert_int_equal(times_at(&times, 500), 50);
    assert_int_equal(times_at(&times, 990), 99);
    assert_int_equal(times_at(&times, 1000), 100);
}

/* One of each size: the value found is not above the true one, and within 1/64 of it. */
static void test_every_size(void **state)
{
    (void)state;
    for (uint64_t us = 1; us < (UINT64_C(1) << 40); us += 1 + us / 7) {
        struct times times = { 0 };
        times_add(&times, us);
        times_add(&times, UINT64_C(1) << 50);
        uint64_t found = times_at(&times, 500);
        assert_true(found <= us);
        assert_true(us - found <= us / 64);
        assert_true(times.max_us == UINT64_C(1) << 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_small_are_exact),
        cmocka_unit_test(test_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
