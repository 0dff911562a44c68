/* Looks for the least of a failing seed that still fails in the same way: fewer faults, shorter, fewer
 * operations, fewer clients. Each try is a process of its own, for a failure ends it.
 *
 * The schedule of the faults is a function of the seed alone (faults.c), so that a fault keeps its
 * number whatever else is left out. Faults are left out in pieces that get smaller (delta debugging,
 * Zeller 1999); whatever is found is a failing run, if not always the smallest. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

enum { TRIES = 600 };

struct outcome *outcome;

struct search {
    uint64_t seed;
    uint64_t where;
    struct choices best;
    struct outcome of_best;
    unsigned tries;
};

static struct outcome try_run(uint64_t seed, const struct choices *some)
{
    memset(outcome, 0, sizeof *outcome);
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        static struct report report;
        choices = *some;
        if (!freopen("/dev/null", "w", stderr))
            _exit(0);
        (void)world_run(seed, &report);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (!outcome->failed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        outcome->failed = true; /* a signal that nobody announced */
        outcome->where = (uint64_t)status;
        outcome->at_us = UINT64_MAX;
    }
    return *outcome;
}

/* Takes it for the best when it fails alike. */
static bool try_less(struct search *search, const struct choices *some)
{
    if (search->tries >= TRIES)
        return false;
    search->tries++;
    struct outcome now = try_run(search->seed, some);
    if (!now.failed || now.where != search->where)
        return false;
    search->best = *some;
    search->of_best = now;
    return true;
}

static uint32_t list_kept(const struct choices *some, uint32_t *list)
{
    uint32_t count = 0;
    for (uint32_t number = 0; number < CHOICES_FAULTS; number++)
        if (some->keep[number / 8] >> number % 8 & 1)
            list[count++] = number;
    return count;
}

/* Leaves out pieces of the faults; true: at least one piece could go. */
static bool fewer_faults(struct search *search)
{
    static uint32_t list[CHOICES_FAULTS];
    uint32_t count = list_kept(&search->best, list);
    bool any = false;
    for (uint32_t piece = count; piece > 0; piece = piece > 1 ? (piece + 1) / 2 : 0) {
        for (uint32_t at = 0; at < count;) {
            struct choices some = search->best;
            uint32_t end = at + piece < count ? at + piece : count;
            for (uint32_t i = at; i < end; i++)
                choices_keep(&some, list[i], false);
            if (try_less(search, &some)) {
                any = true;
                count = list_kept(&search->best, list);
            } else {
                at = end;
            }
        }
        if (piece > count)
            piece = count;
    }
    return any;
}

/* The least value between 1 and the one that is known to fail, if smaller ones fail whenever larger
 * ones do. `known` is what the run needs without such a limit. */
static bool smaller(struct search *search, uint64_t known, size_t offset)
{
    uint32_t chosen;
    memcpy(&chosen, (uint8_t *)&search->best + offset, sizeof chosen);
    uint32_t now = chosen && chosen < known ? chosen : (uint32_t)known;
    uint32_t least = 0;
    bool any = false;
    while (now - least > 1 + now / 32) { /* near enough */
        struct choices some = search->best;
        uint32_t middle = least + (now - least) / 2;
        memcpy((uint8_t *)&some + offset, &middle, sizeof middle);
        if (try_less(search, &some)) {
            now = middle;
            any = true;
        } else {
            least = middle;
        }
    }
    return any;
}

static void tell(const struct search *search)
{
    static uint32_t list[CHOICES_FAULTS];
    printf("minimise: after %u tries: %u faults, fails at %" PRIu64 ".%03" PRIu64 " s\n",
           search->tries, list_kept(&search->best, list), search->of_best.at_us / SIM_S,
           search->of_best.at_us % SIM_S / SIM_MS);
    printf("replay: build/sim/sim --seed %" PRIu64, search->seed);
    choices_print(&search->best);
    printf(" --transcript\n");
    fflush(stdout);
}

bool minimise(uint64_t seed)
{
    struct search search = { .seed = seed, .best = choices };
    outcome =
        mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(outcome != MAP_FAILED);
    search.of_best = try_run(seed, &search.best);
    if (!search.of_best.failed)
        return false;
    search.where = search.of_best.where;
    if (!search.best.some_faults) {
        search.best.some_faults = true;
        for (uint32_t i = 0; i < search.of_best.faults || search.of_best.at_us == UINT64_MAX; i++) {
            if (i == CHOICES_FAULTS)
                break;
            choices_keep(&search.best, i, true);
        }
    }
    tell(&search);
    for (bool more = true; more && search.tries < TRIES;) {
        uint64_t at_s = search.of_best.at_us / SIM_S + 1;
        more = smaller(&search, at_s < 600 ? at_s : 600, offsetof(struct choices, load_s));
        more |= fewer_faults(&search);
        more |= smaller(&search, search.of_best.ops + 1, offsetof(struct choices, ops));
        more |= smaller(&search, SIM_CLIENTS, offsetof(struct choices, clients));
        if (more)
            tell(&search);
    }
    return true;
}
