#include "core/random.h"

#include "core/check.h"

static uint64_t rotate_left(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}

/* SplitMix64 spreads the seed, so that seeds 1, 2, 3 give unrelated streams. */
void random_seed(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t mixed = seed;
        mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
        mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
        random->state[i] = mixed ^ mixed >> 31;
    }
}

uint64_t random_u64(struct random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

/* Lemire's multiplication; the bias, below bound / 2^64, does not matter for jitter. */
uint64_t random_below(struct random *random, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)random_u64(random) * bound >> 64);
}

uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    return low + random_below(random, high - low + 1);
}
