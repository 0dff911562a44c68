/* The failure detector against the function that it approximates, and at its edges. */
#include "core/monitor/phi.h"

#include "core/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MS = 1000, SECOND = 1000000 };

static const struct phi_options usual = { 100 * MS, 10 * MS, 3 * SECOND };

/* -1000 log10 of the upper tail of the standard normal distribution at 0, 1/4, 1/2 ... 20, by erfc of a C library. */
static const double exact[] = {
    301.03,   396.54,   510.69,   644.69,   799.55,   976.13,   1175.18,  1397.30,  1643.02,
    1912.77,  2206.93,  2525.82,  2869.70,  3238.81,  3633.34,  4053.46,  4499.33,  4971.08,
    5468.82,  5992.64,  6542.65,  7118.90,  7721.49,  8350.45,  9005.86,  9687.77,  10396.21,
    11131.22, 11892.85, 12681.13, 13496.09, 14337.75, 15206.14, 16101.29, 17023.21, 17971.93,
    18947.46, 19949.83, 20979.04, 22035.11, 23118.05, 24227.89, 25364.62, 26528.26, 27718.82,
    28936.31, 30180.73, 31452.11, 32750.44, 34075.73, 35427.99, 36807.23, 38213.45, 39646.66,
    41106.86, 42594.06, 44108.27, 45649.48, 47217.71, 48812.95, 50435.22, 52084.51, 53760.84,
    55464.19, 57194.58, 58952.02, 60736.49, 62548.01, 64386.58, 66252.20, 68144.88, 70064.61,
    72011.40, 73985.25, 75986.16, 78014.14, 80069.19, 82151.31, 84260.50, 86396.76, 88560.10
};

/* So many signs in time. */
static void hear(struct phi *phi, uint64_t *now, int count)
{
    while (count-- > 0)
        phi_heard(phi, *now += 100 * MS);
}

static void it_is_the_tail_of_the_normal_distribution(void **state)
{
    (void)state;
    struct phi phi;
    uint64_t now = 1000;
    phi_start(&phi, &usual, now);
    for (int i = 0; i < 1000; i++)
        phi_heard(&phi, now += i % 2 ? 80 * MS : 120 * MS); /* mean 100 ms, deviation 20 ms */
    for (unsigned i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        double level = phi_level(&phi, now + 100 * MS + i * 5 * MS);
        assert_true(level > exact[i] - 1 && level < exact[i] + 1);
    }
}

static void when_a_level_is_due_it_is_reached(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 7);
    for (int round = 0; round < 2000; round++) {
        struct phi phi;
        uint64_t now = random_below(&random, 1u << 30);
        struct phi_options options = { .expected_us =
                                           (uint32_t)random_between(&random, 1, SECOND) };
        options.deviation_us = (uint32_t)random_between(&random, 1, SECOND);
        options.ceiling_us =
            (uint32_t)random_between(&random, options.expected_us, PHI_CEILING_MOST_US);
        phi_start(&phi, &options, now);
        for (uint64_t i = random_below(&random, 250); i > 0; i--)
            phi_heard(&phi, now += random_below(&random, 2 * SECOND));
        uint32_t level = (uint32_t)random_between(&random, 302, PHI_MOST);
        uint64_t due = phi_due_us(&phi, level);
        assert_true(phi_level(&phi, due) >= level);
        assert_true(due == now || phi_level(&phi, due - 1) <= level);
        assert_true(due <= now + options.ceiling_us);
    }
}

static void silence_never_lowers_it(void **state)
{
    (void)state;
    struct phi phi;
    uint64_t now = 0;
    phi_start(&phi, &usual, now);
    for (int i = 0; i < 30; i++)
        phi_heard(&phi, now += 100 * MS + (uint64_t)(i * i % 13) * MS);
    uint32_t before = 0;
    for (uint64_t silence = 0; silence < 4 * SECOND; silence += 501) {
        uint32_t level = phi_level(&phi, now + silence);
        assert_true(level >= before);
        before = level;
    }
    assert_int_equal(before, PHI_MOST);
}

/* The ceiling holds whatever was usual; and an outage does not make the next one invisible. */
static void it_is_never_slower_than_the_fixed_time_out(void **state)
{
    (void)state;
    struct phi phi;
    uint64_t now = 0;
    phi_start(&phi, &usual, now);
    for (int i = 0; i < 300; i++)
        phi_heard(&phi, now += (uint64_t)(i % 3) * 20 * SECOND); /* chaos */
    assert_true(phi_level(&phi, now + 3 * SECOND - 1) < PHI_MOST);
    assert_int_equal(phi_level(&phi, now + 3 * SECOND), PHI_MOST);
    hear(&phi, &now, PHI_WINDOW);
    phi_heard(&phi, now += 600 * SECOND);
    hear(&phi, &now, 20);
    assert_true(phi_due_us(&phi, 8000) < now + 2 * SECOND);
    hear(&phi, &now, PHI_WINDOW);
    assert_true(phi_due_us(&phi, 8000) < now + 200 * MS); /* forgotten */
}

static void who_was_away_himself_blames_nobody(void **state)
{
    (void)state;
    struct phi phi;
    uint64_t now = 0;
    phi_start(&phi, &usual, now);
    hear(&phi, &now, 50);
    now += 10 * SECOND;
    assert_int_equal(phi_level(&phi, now), PHI_MOST);
    phi_forgive(&phi, now);
    assert_true(phi_level(&phi, now + 50 * MS) <= 301);
    phi_heard(&phi, now += 60 * MS);
    phi_forgive(&phi, now - SECOND); /* what is long past changes nothing */
    assert_true(phi_due_us(&phi, 8000) < now + 300 * MS);
}

/* Before there is experience, what the other side promised counts. */
static void the_first_signs_are_judged_by_what_was_promised(void **state)
{
    (void)state;
    struct phi phi;
    phi_start(&phi, &usual, 5);
    assert_true(phi_level(&phi, 5 + 100 * MS) <= 301);
    assert_true(phi_level(&phi, 5 + 300 * MS) > 8000);
    phi_heard(&phi, 6); /* twice at once, as after a connect */
    assert_true(phi_level(&phi, 6 + 100 * MS) < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_tail_of_the_normal_distribution),
        cmocka_unit_test(when_a_level_is_due_it_is_reached),
        cmocka_unit_test(silence_never_lowers_it),
        cmocka_unit_test(it_is_never_slower_than_the_fixed_time_out),
        cmocka_unit_test(who_was_away_himself_blames_nobody),
        cmocka_unit_test(the_first_signs_are_judged_by_what_was_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
