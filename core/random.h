/* The generator of core: xoshiro256** (Blackman and Vigna, 2018), seeded from outside, its state
 * kept in the struct that uses it. For jitter and time-outs only: secrets come from the system's
 * generator, outside core. */
#ifndef FTCHAT_CORE_RANDOM_H
#define FTCHAT_CORE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
/* Uniform in [0, bound); 0 when bound is 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Uniform in [low, high], both included. */
uint64_t random_between(struct random *random, uint64_t low, uint64_t high);

#endif
