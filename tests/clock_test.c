/* Log time: the median, the fall-back, and never back. */
#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { THREE = 1 << 1 | 1 << 2 | 1 << 3 };

static void the_median_counts(void **state)
{
    (void)state;
    struct log_clock clock;
    log_clock_start(&clock, 1000, 0);
    log_clock_report(&clock, 1, 5000, 0);
    log_clock_report(&clock, 2, 6000, 0);
    log_clock_report(&clock, 3, 9000000, 0); /* one clock far ahead moves nothing */
    assert_int_equal(log_clock_stamp(&clock, THREE, 0), 6000);
    assert_int_equal(log_clock_stamp(&clock, THREE, 10), 6010);
    log_clock_report(&clock, 4, 1, 0); /* not a voter */
    assert_int_equal(log_clock_stamp(&clock, THREE, 20), 6020);
}

static void it_never_goes_back(void **state)
{
    (void)state;
    struct log_clock clock;
    log_clock_start(&clock, 100000, 0);
    for (uint8_t slot = 1; slot <= 3; slot++)
        log_clock_report(&clock, slot, 50, 0);
    assert_int_equal(log_clock_stamp(&clock, THREE, 0), 100000);
    assert_int_equal(log_clock_stamp(&clock, THREE, 500), 100000);
}

static void without_a_majority_monotonic_time_goes_on(void **state)
{
    (void)state;
    struct log_clock clock;
    log_clock_start(&clock, 1000, 100);
    log_clock_report(&clock, 1, 9000000, 100);
    assert_int_equal(log_clock_stamp(&clock, THREE, 150), 1050);
    assert_int_equal(log_clock_stamp(&clock, THREE, 150), 1050);
    log_clock_report(&clock, 2, 2000, 150);
    assert_int_equal(log_clock_stamp(&clock, THREE, 150), 2000); /* the lower one of two */
    log_clock_forget(&clock, 2);
    assert_int_equal(log_clock_stamp(&clock, THREE, 160), 2010);
}

static void old_reports_say_nothing(void **state)
{
    (void)state;
    struct log_clock clock;
    log_clock_start(&clock, 10, 0);
    log_clock_report(&clock, 1, 5000, 0);
    log_clock_report(&clock, 2, 5000, 0);
    uint64_t late = (uint64_t)CLOCK_REPORT_LIFE_US + 1;
    assert_int_equal(log_clock_stamp(&clock, THREE, late), 10 + late);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_median_counts),
        cmocka_unit_test(it_never_goes_back),
        cmocka_unit_test(without_a_majority_monotonic_time_goes_on),
        cmocka_unit_test(old_reports_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
