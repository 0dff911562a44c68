/* sim: runs seeds of the simulator.
 *
 *   sim --seeds N --from S      N seeds from S on; the first failing one ends it with status 1
 *   sim --seed S [--transcript] one seed, told line by line
 *   sim --determinism           each seed runs twice and must have equal hashes of its effects
 *
 * From 1,000 seeds on, a kind of fault or a rare branch that was never reached is a failure, too. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum { COMPLETE_SEEDS = 1000, DETERMINISM_EVERY = 50 };

static uint64_t running;

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    fflush(stdout);
    fprintf(stderr, "FAILED seed %" PRIu64 ": %s:%d: CHECK(%s)\n", running, file, line, condition);
    fprintf(stderr, "replay: build/sim/sim --seed %" PRIu64 " --transcript\n", running);
    abort();
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (!*text || *end) {
        fprintf(stderr, "sim: '%s' is not a number\n", text);
        exit(2);
    }
    return value;
}

/* A sample of the seeds runs twice. */
static void check_determinism(uint64_t seed, uint64_t hash)
{
    struct report again = { 0 };
    uint64_t second = world_run(seed, &again);
    if (second == hash)
        return;
    fprintf(stderr, "FAILED seed %" PRIu64 ": it is not the same twice\n", seed);
    exit(1);
}

int main(int argc, char **argv)
{
    uint64_t seeds = 100;
    uint64_t from = 1;
    uint64_t every = DETERMINISM_EVERY;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--seeds") == 0) {
            seeds = number_of(value);
            i++;
        } else if (strcmp(argv[i], "--from") == 0) {
            from = number_of(value);
            i++;
        } else if (strcmp(argv[i], "--seed") == 0) {
            from = number_of(value);
            seeds = 1;
            every = 0;
            i++;
        } else if (strcmp(argv[i], "--transcript") == 0) {
            sim_transcript = true;
        } else if (strcmp(argv[i], "--determinism") == 0) {
            every = 1;
        } else {
            fprintf(stderr, "sim: unknown argument '%s'\n", argv[i]);
            return 2;
        }
    }
    /* A node's memory comes zeroed and costs what is touched; all else stays with the process. */
    mallopt(M_MMAP_THRESHOLD, 3 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    static struct report report;
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (uint64_t seed = from; seed < from + seeds; seed++) {
        running = seed;
        uint64_t hash = world_run(seed, &report);
        if (every && seed % every == 0)
            check_determinism(seed, hash);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    report_print(&report,
                 (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return seeds >= COMPLETE_SEEDS && !report_complete(&report);
}
