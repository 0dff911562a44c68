/* Time from servers: what an answer says, what several say together, and a clock that never goes back. */
#include "core/random.h"
#include "core/time/correction.h"
#include "core/time/servers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define IN_2026 (UINT64_C(1795896000) * 1000000)
#define COOKIE UINT64_C(0x0123456789abcdef)

static const struct sntp_question question = { COOKIE, IN_2026 };

/* --- one answer ---------------------------------------------------------------------------------*/

static void put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

/* NTP's 32.32 seconds since 1900. */
static uint64_t stamp(int64_t unix_us)
{
    uint64_t us = (uint64_t)(unix_us + INT64_C(2208988800) * SECOND);
    return (us / 1000000) << 32 | ((us % 1000000) << 32) / 1000000;
}

struct answer {
    uint8_t bytes[SNTP_PACKET_BYTES + 4];
};

static struct answer answer_of(uint64_t cookie, int64_t received, int64_t sent)
{
    struct answer answer = { { 0 } };
    answer.bytes[0] = 4 << 3 | 4;
    answer.bytes[1] = 2;
    put(answer.bytes + 4, 0x8000, 4); /* root delay: half a second */
    put(answer.bytes + 8, 0x4000, 4); /* root dispersion: a quarter */
    put(answer.bytes + 24, cookie, 8);
    put(answer.bytes + 32, stamp(received), 8);
    put(answer.bytes + 40, stamp(sent), 8);
    return answer;
}

static enum sntp_answer read_at(const struct answer *answer, uint64_t at,
                                struct sntp_sample *sample)
{
    return sntp_read(&question, (struct slice) { answer->bytes, SNTP_PACKET_BYTES }, at, sample);
}

static void a_question_tells_nothing(void **state)
{
    (void)state;
    uint8_t packet[SNTP_PACKET_BYTES];
    sntp_ask(&question, packet);
    assert_int_equal(packet[0], 0x23); /* version 4, client */
    for (int i = 1; i < 40; i++)
        assert_int_equal(packet[i], 0);
    assert_memory_equal(packet + 40, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
}

/* RFC 4330, section 5: offset = ((T2 - T1) + (T3 - T4)) / 2, delay = (T4 - T1) - (T3 - T2). */
static void an_answer_says_how_far_off_the_clock_is(void **state)
{
    (void)state;
    static const int64_t offsets[] = {
        0, 1, -1, 1500, -SECOND, 3600 * SECOND, -86400 * SECOND, 20 * 365 * 86400 * SECOND
    };
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        for (int64_t there = 0; there < 90000; there += 30000) {
            int64_t back = 20000, works = 700;
            int64_t sent = (int64_t)IN_2026;
            struct sntp_sample sample;
            struct answer answer =
                answer_of(COOKIE, sent + there + offsets[i], sent + there + works + offsets[i]);
            uint64_t at = (uint64_t)(sent + there + works + back);
            assert_int_equal(read_at(&answer, at, &sample), SNTP_GOOD);
            assert_in_range(sample.offset_us - offsets[i] - (there - back) / 2 + 5, 0, 10);
            assert_in_range(sample.delay_us, (uint64_t)(there + back - 2),
                            (uint64_t)(there + back + 2));
            assert_int_equal(sample.root_us, 500000);
            assert_int_equal(sample.stratum, 2);
        }
    }
}

/* Seconds since 1900 fit into 32 bits until February 2036. */
static void the_era_is_that_of_the_own_clock(void **state)
{
    (void)state;
    static const uint64_t seconds[] = { 0,          1,          1795896000, 2085978495,
                                        2085978496, 2085978497, 4102444800, 8000000000 };
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        const struct sntp_question then = { COOKIE, seconds[i] * 1000000 };
        int64_t at = (int64_t)then.sent_us;
        struct answer answer = answer_of(COOKIE, at + 5 * SECOND, at + 5 * SECOND);
        struct sntp_sample sample;
        assert_int_equal(sntp_read(&then, (struct slice) { answer.bytes, SNTP_PACKET_BYTES },
                                   then.sent_us, &sample),
                         SNTP_GOOD);
        assert_in_range(sample.offset_us, 5 * SECOND - 2, 5 * SECOND + 2);
    }
}

static void what_is_no_answer_is_ignored(void **state)
{
    (void)state;
    const int64_t now = (int64_t)IN_2026;
    struct sntp_sample sample;
    const struct answer good = answer_of(COOKIE, now, now);
    assert_int_equal(read_at(&good, IN_2026, &sample), SNTP_GOOD);
    static const struct {
        size_t at;
        uint8_t value;
        enum sntp_answer expected;
    } rows[] = {
        { 0, 4 << 3 | 3, SNTP_IGNORED }, /* another question */
        { 0, 4 << 3 | 5, SNTP_IGNORED }, /* a broadcast */
        { 0, 2 << 3 | 4, SNTP_IGNORED }, /* versions */
        { 0, 5 << 3 | 4, SNTP_IGNORED },
        { 0, 3 << 3 | 4, SNTP_GOOD },
        { 0, 3 << 6 | 4 << 3 | 4, SNTP_UNSURE }, /* not synchronised */
        { 0, 1 << 6 | 4 << 3 | 4, SNTP_GOOD },   /* a leap second is near */
        { 1, 16, SNTP_UNSURE },
        { 1, 15, SNTP_GOOD },
        { 24, 0, SNTP_IGNORED }, /* another cookie */
        { 31, 0, SNTP_IGNORED },
        { 5, 0xff, SNTP_IGNORED }, /* a root delay of four minutes */
        { 9, 0x20, SNTP_IGNORED },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer answer = good;
        answer.bytes[rows[i].at] = rows[i].value;
        assert_int_equal(read_at(&answer, IN_2026, &sample), rows[i].expected);
    }
    assert_int_equal(sntp_read(&question, (struct slice) { good.bytes, SNTP_PACKET_BYTES - 1 },
                               IN_2026, &sample),
                     SNTP_IGNORED);
    assert_int_equal(sntp_read(&question, (struct slice) { NULL, 0 }, IN_2026, &sample),
                     SNTP_IGNORED);
    assert_int_equal(read_at(&good, IN_2026 - 1, &sample), SNTP_IGNORED); /* before it was asked */
    assert_int_equal(read_at(&good, IN_2026 + 17000000, &sample), SNTP_IGNORED);
    struct answer other = answer_of(COOKIE, now + 10, now); /* sent before it was received */
    assert_int_equal(read_at(&other, IN_2026, &sample), SNTP_IGNORED);
    other = answer_of(COOKIE, now, now + 5000); /* it worked for longer than it took */
    assert_int_equal(read_at(&other, IN_2026, &sample), SNTP_IGNORED);
    other = good;
    memset(other.bytes + 40, 0, 8);
    assert_int_equal(read_at(&other, IN_2026, &sample), SNTP_UNSURE);
}

static void kisses_of_death_are_obeyed(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        enum sntp_answer expected;
    } rows[] = { { "RATE", SNTP_SLOWER },
                 { "DENY", SNTP_GO_AWAY },
                 { "RSTR", SNTP_GO_AWAY },
                 { "INIT", SNTP_UNSURE },
                 { "NONE", SNTP_UNSURE } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct answer answer = answer_of(COOKIE, (int64_t)IN_2026, (int64_t)IN_2026);
        struct sntp_sample sample;
        answer.bytes[1] = 0;
        memcpy(answer.bytes + 12, rows[i].code, 4);
        assert_int_equal(read_at(&answer, IN_2026, &sample), rows[i].expected);
        answer.bytes[24] ^= 1; /* nor by somebody who has not seen the question */
        assert_int_equal(read_at(&answer, IN_2026, &sample), SNTP_IGNORED);
    }
}

/* --- several ------------------------------------------------------------------------------------*/

static void the_quickest_answer_of_the_last_eight_counts(void **state)
{
    (void)state;
    struct time_server server = { 0 };
    struct time_interval interval;
    assert_false(time_server_interval(&server, 0, SECOND, &interval));
    for (uint64_t i = 0; i < 20; i++) {
        const struct sntp_sample sample = { .offset_us = (int64_t)i * 1000,
                                            .delay_us = i == 5 || i == 14 ? 200 : 90000 };
        time_server_sample(&server, &sample, i * 1000000);
    }
    assert_true(time_server_interval(&server, 20000000, 60 * SECOND, &interval));
    assert_in_range(interval.low_us, 14000 - 300, 14000 - 100);
    assert_in_range(interval.high_us, 14000 + 100, 14000 + 300);
    /* Age makes it less sure, until another is better, and then nothing counts any more. */
    assert_true(
        time_server_interval(&server, 20000000 + UINT64_C(10000) * 1000000, UINT64_MAX, &interval));
    assert_in_range(interval.high_us - interval.low_us, 2 * 150000, 2 * 151000);
    assert_false(time_server_interval(&server, 20000000 + 60 * SECOND, 60 * SECOND, &interval));
    server.barred = true;
    assert_false(time_server_interval(&server, 20000000, 60 * SECOND, &interval));
}

/* As long as fewer than half of those that answer lie, what they agree on holds the truth, however
 * the liars lie; and half of them agree on nothing that is called an agreement. */
static void liars_are_dropped(void **state)
{
    (void)state;
    struct random random;
    unsigned found = 0, none = 0, marked = 0;
    random_seed(&random, 4);
    for (int round = 0; round < 20000; round++) {
        struct time_server servers[TIME_SERVERS] = { 0 };
        unsigned count = (unsigned)random_between(&random, 1, TIME_SERVERS);
        unsigned liars = (unsigned)random_below(&random, (count + 1) / 2);
        int64_t truth = (int64_t)random_below(&random, 2000000) - 1000000;
        int64_t lie = truth + (int64_t)random_below(&random, 4000000) - 2000000;
        for (unsigned i = 0; i < count; i++) {
            uint64_t samples = random_between(&random, 1, 10);
            for (uint64_t s = 0; s < samples; s++) {
                uint64_t there = random_below(&random, 50000), back = random_below(&random, 50000);
                struct sntp_sample sample = { .offset_us =
                                                  truth + ((int64_t)there - (int64_t)back) / 2,
                                              .delay_us = there + back,
                                              .root_us = random_below(&random, 1000) };
                if (i < liars) /* together, or each for itself; sure, or not */
                    sample.offset_us = random_below(&random, 2)
                                           ? lie
                                           : lie + (int64_t)random_below(&random, 9000000);
                time_server_sample(&servers[i], &sample, 1000000 + s);
            }
        }
        struct time_agreement agreement;
        bool agreed = time_agree(servers, count, 1000010, SECOND, &agreement);
        assert_true(agreed);
        assert_int_equal(agreement.servers, count);
        assert_true(agreement.agreeing * 2 > count);
        int64_t off =
            agreement.offset_us > truth ? agreement.offset_us - truth : truth - agreement.offset_us;
        assert_true(off <= (int64_t)agreement.error_us);
        found++;
        for (unsigned i = liars; i < count; i++)
            none += servers[i].false_one;
        for (unsigned i = 0; i < liars; i++)
            marked += servers[i].false_one;
    }
    assert_int_equal(found, 20000);
    assert_true(marked > 5000);
    /* One that tells the truth is called false only when liars and luck leave it out. */
    assert_true(none < marked / 20);
    /* Two that contradict each other are no majority. */
    struct time_server two[2] = { 0 };
    time_server_sample(&two[0], &(struct sntp_sample) { .offset_us = 0, .delay_us = 100 }, 1);
    time_server_sample(&two[1], &(struct sntp_sample) { .offset_us = 9999, .delay_us = 100 }, 1);
    struct time_agreement agreement;
    assert_false(time_agree(two, 2, 2, SECOND, &agreement));
    assert_false(two[0].false_one || two[1].false_one);
    assert_false(time_agree(two, 0, 2, SECOND, &agreement));
}

/* --- the clock ----------------------------------------------------------------------------------*/

static void without_servers_it_is_the_systems(void **state)
{
    (void)state;
    struct time_correction correction = { 0 };
    assert_int_equal(time_told(&correction, 5, IN_2026), IN_2026);
    assert_int_equal(time_told(&correction, 6, 77), 77);
}

static void it_never_goes_back(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 9);
    for (int round = 0; round < 300; round++) {
        struct time_correction correction = { 0 };
        uint64_t mono = random_below(&random, 1u << 30), before = 0;
        int64_t difference = (int64_t)IN_2026;
        time_correct(&correction, difference, mono);
        for (int i = 0; i < 300; i++) {
            mono += random_below(&random, i % 7 ? 30 : 3000000);
            if (random_below(&random, 10) == 0) {
                difference += (int64_t)random_below(&random, 2000000) - 1000000;
                time_correct(&correction, difference, mono);
            }
            uint64_t told = time_told(&correction, mono, random_u64(&random));
            assert_true(told >= before);
            before = told;
        }
        /* In the end it is what was wanted: a second in a hundred. */
        int64_t left = time_remaining(&correction);
        uint64_t needed = (uint64_t)(left > 0 ? left : -left) * 100 + 200;
        uint64_t told = time_told(&correction, mono + needed, 0);
        assert_int_equal(told, mono + needed + (uint64_t)difference);
        assert_int_equal(time_remaining(&correction), 0);
        /* What it did not need in the meantime it has not saved up. */
        mono += 100 * SECOND;
        time_correct(&correction, difference + SECOND, mono + needed);
        assert_in_range(time_told(&correction, mono + needed + 1000, 0),
                        mono + needed + 1000 + (uint64_t)difference,
                        mono + needed + 1010 + (uint64_t)difference);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_tells_nothing),
        cmocka_unit_test(an_answer_says_how_far_off_the_clock_is),
        cmocka_unit_test(the_era_is_that_of_the_own_clock),
        cmocka_unit_test(what_is_no_answer_is_ignored),
        cmocka_unit_test(kisses_of_death_are_obeyed),
        cmocka_unit_test(the_quickest_answer_of_the_last_eight_counts),
        cmocka_unit_test(liars_are_dropped),
        cmocka_unit_test(without_servers_it_is_the_systems),
        cmocka_unit_test(it_never_goes_back),
    };
    return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
