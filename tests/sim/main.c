/* sim: runs seeds of the simulator.
 *
 *   sim --seeds N --from S      N seeds from S on; the first failing one ends it with status 1
 *   sim --seed S                one seed
 *       --transcript            told line by line
 *       --ndjson FILE           the same as one JSON object a line
 *       --minimise              looks for the least that fails alike, and prints its command
 *       --faults LIST --clients N --ops N --load SECONDS
 *                               only these faults, and no more than so much (choices.h)
 *   sim --determinism           each seed runs twice and must have equal hashes of its effects
 *   sim --hashes                prints the hash of each seed's effects: what must stay as it was when
 *                               a change is to alter nothing
 *
 * From 1,000 seeds on, a kind of fault or a rare branch that was never reached is a failure, too. */
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#include "core/check.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

enum { COMPLETE_SEEDS = 1000, DETERMINISM_EVERY = 50 };

struct options {
    uint64_t seeds;
    uint64_t from;
    uint64_t twice_every; /* 0: never */
    bool minimise;
    bool hashes;
};

static _Noreturn void refuse(const char *what, const char *text)
{
    fprintf(stderr, "sim: '%s' is not %s\n", text, what);
    exit(2);
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (!*text || *end)
        refuse("a number", text);
    return value;
}

/* A sample of the seeds runs twice. */
static void check_determinism(uint64_t seed, uint64_t hash, struct report *report)
{
    struct report again = { 0 };
    uint64_t second = world_run(seed, &again);
    report->again_us += again.simulated_us;
    if (second == hash)
        return;
    fprintf(stderr, "FAILED seed %" PRIu64 ": it is not the same twice\n", seed);
    exit(1);
}

static bool read_flag(struct options *options, const char *name)
{
    if (strcmp(name, "--transcript") == 0)
        sim_told = sim_transcript = true;
    else if (strcmp(name, "--determinism") == 0)
        options->twice_every = 1;
    else if (strcmp(name, "--minimise") == 0)
        options->minimise = true;
    else if (strcmp(name, "--hashes") == 0)
        options->hashes = true;
    else
        return false;
    return true;
}

static void read_value(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--seeds") == 0) {
        options->seeds = number_of(value);
    } else if (strcmp(name, "--from") == 0) {
        options->from = number_of(value);
    } else if (strcmp(name, "--seed") == 0) {
        options->from = number_of(value);
        options->seeds = 1;
        options->twice_every = 0;
    } else if (strcmp(name, "--clients") == 0) {
        choices.clients = (uint32_t)number_of(value);
    } else if (strcmp(name, "--ops") == 0) {
        choices.ops = (uint32_t)number_of(value);
    } else if (strcmp(name, "--load") == 0) {
        choices.load_s = (uint32_t)number_of(value);
    } else if (strcmp(name, "--faults") == 0) {
        if (!choices_read_faults(value))
            refuse("a list of faults (3,17-20, or none)", value);
    } else if (strcmp(name, "--ndjson") == 0) {
        sim_ndjson = fopen(value, "w");
        if (!sim_ndjson)
            refuse("a file that can be written", value);
        sim_told = true;
    } else {
        refuse("an option", name);
    }
}

int main(int argc, char **argv)
{
    struct options options = { .seeds = 100, .from = 1, .twice_every = DETERMINISM_EVERY };
    for (int i = 1; i < argc; i++) {
        if (read_flag(&options, argv[i]))
            continue;
        read_value(&options, argv[i], i + 1 < argc ? argv[i + 1] : "");
        i++;
    }
    mallopt(M_MMAP_THRESHOLD, 3 << 20); /* all memory stays with the process */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (options.minimise) {
        if (minimise(options.from))
            return 1;
        printf("seed %" PRIu64 " does not fail\n", options.from);
        return 0;
    }
    static struct report report;
    struct timespec begin;
    struct timespec end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
        uint64_t hash = world_run(seed, &report);
        if (options.hashes)
            printf("seed %" PRIu64 ": hash %016" PRIx64 "\n", seed, hash);
        if (options.twice_every && seed % options.twice_every == 0)
            check_determinism(seed, hash, &report);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    report_print(&report,
                 (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    if (sim_ndjson)
        fclose(sim_ndjson);
    return options.seeds >= COMPLETE_SEEDS && !report_complete(&report);
}
