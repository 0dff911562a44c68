#include "core/monitor/phi.h"

#include "core/check.h"

/* -1000 log10 Q(y), Q being the upper tail of the standard normal distribution, for y = 0, 1/4, ... 20. */
enum { STEPS = 4, ROWS = 20 * STEPS + 1 };
static const uint32_t tail[ROWS] = {
    301,   397,   511,   645,   800,   976,   1175,  1397,  1643,     1913,  2207,  2526,
    2870,  3239,  3633,  4053,  4499,  4971,  5469,  5993,  6543,     7119,  7721,  8350,
    9006,  9688,  10396, 11131, 11893, 12681, 13496, 14338, 15206,    16101, 17023, 17972,
    18947, 19950, 20979, 22035, 23118, 24228, 25365, 26528, 27719,    28936, 30181, 31452,
    32750, 34076, 35428, 36807, 38213, 39647, 41107, 42594, 44108,    45649, 47218, 48813,
    50435, 52085, 53761, 55464, 57195, 58952, 60736, 62548, 64387,    66252, 68145, 70065,
    72011, 73985, 75986, 78014, 80069, 82151, 84260, 86397, PHI_MOST,
};

/* So many intervals that were expected count before there are any. */
enum { EXPERIENCE = 5 };

static uint64_t square_root(uint64_t of)
{
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= of)
            root |= bit;
    return root;
}

struct usual {
    uint64_t mean_us;
    uint64_t deviation_us;
};

static struct usual usual(const struct phi *phi)
{
    const struct phi_options *options = &phi->options;
    uint64_t expected = options->expected_us;
    uint64_t more = phi->count < EXPERIENCE ? EXPERIENCE - phi->count : 0;
    uint64_t count = phi->count + more;
    uint64_t mean = (phi->sum + more * expected) / count;
    uint64_t square = (phi->squares + more * expected * expected) / count;
    uint64_t deviation = square > mean * mean ? square_root(square - mean * mean) : 0;
    return (struct usual) { mean,
                            deviation > options->deviation_us ? deviation : options->deviation_us };
}

void phi_start(struct phi *phi, const struct phi_options *options, uint64_t now_us)
{
    CHECK(options->deviation_us > 0);
    CHECK(options->expected_us > 0);
    CHECK(options->expected_us <= options->ceiling_us);
    CHECK(options->ceiling_us <= PHI_CEILING_MOST_US);
    *phi = (struct phi) { .options = *options, .heard_us = now_us };
}

void phi_heard(struct phi *phi, uint64_t now_us)
{
    uint64_t silence = now_us > phi->heard_us ? now_us - phi->heard_us : 0;
    uint64_t interval = silence < phi->options.ceiling_us ? silence : phi->options.ceiling_us;
    if (phi->count == PHI_WINDOW) {
        uint64_t oldest = phi->window[phi->next];
        phi->sum -= oldest;
        phi->squares -= oldest * oldest;
    } else {
        phi->count++;
    }
    phi->window[phi->next] = (uint32_t)interval;
    phi->next = (phi->next + 1) % PHI_WINDOW;
    phi->sum += interval;
    phi->squares += interval * interval;
    phi->heard_us = now_us;
}

void phi_forgive(struct phi *phi, uint64_t now_us)
{
    if (now_us > phi->heard_us)
        phi->heard_us = now_us;
}

uint32_t phi_level(const struct phi *phi, uint64_t now_us)
{
    uint64_t silence = now_us > phi->heard_us ? now_us - phi->heard_us : 0;
    if (silence >= phi->options.ceiling_us)
        return PHI_MOST;
    struct usual of = usual(phi);
    if (silence <= of.mean_us)
        return tail[0];
    uint64_t steps = (silence - of.mean_us) * STEPS;
    uint64_t row = steps / of.deviation_us;
    if (row >= ROWS - 1)
        return PHI_MOST;
    uint64_t rest = steps % of.deviation_us;
    return (uint32_t)(tail[row] + (tail[row + 1] - tail[row]) * rest / of.deviation_us);
}

uint64_t phi_due_us(const struct phi *phi, uint32_t level)
{
    struct usual of = usual(phi);
    uint64_t ceiling = phi->heard_us + phi->options.ceiling_us;
    uint32_t row = 0;
    while (row < ROWS - 1 && tail[row + 1] < level)
        row++;
    if (row == ROWS - 1)
        return ceiling;
    uint64_t over = level > tail[row] ? level - tail[row] : 0;
    uint64_t width = tail[row + 1] - tail[row];
    uint64_t part =
        (row * of.deviation_us + (over * of.deviation_us + width - 1) / width + STEPS - 1) / STEPS;
    uint64_t due = phi->heard_us + of.mean_us + part;
    return due < ceiling ? due : ceiling;
}
