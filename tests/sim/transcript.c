/* What a run tells: line by line for people, one JSON object a line for programs; and how it ends when
 * something is wrong. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "tests/sim/choices.h"
#include "tests/sim/sim.h"

bool sim_told;
bool sim_transcript;
FILE *sim_ndjson;
static struct world *running;

void sim_running(struct world *world)
{
    running = world;
}

static void put_string(const char *text)
{
    putc('"', sim_ndjson);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(sim_ndjson, "\\%c", *text);
        else if ((unsigned char)*text < 0x20 || (unsigned char)*text == 0x7f)
            fprintf(sim_ndjson, "\\u%04x", (unsigned char)*text);
        else
            putc(*text, sim_ndjson);
    }
    putc('"', sim_ndjson);
}

/* {"us":1200345,"node":3,"what":"is killed"}: "node 3: " before the text becomes a field. */
static void put_line(const struct world *world, const char *text)
{
    char who[8];
    unsigned number;
    int skip = 0;
    fprintf(sim_ndjson, "{\"us\":%" PRIu64, world->now);
    if (sscanf(text, "%7[a-z] %u: %n", who, &number, &skip) == 2 && skip)
        fprintf(sim_ndjson, ",\"%s\":%u", who, number);
    else
        skip = 0;
    fputs(",\"what\":", sim_ndjson);
    put_string(text + skip);
    fputs("}\n", sim_ndjson);
}

void sim_say(struct world *world, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (sim_transcript)
        printf("%4" PRIu64 ".%06" PRIu64 "  %s\n", world->now / SIM_S, world->now % SIM_S, text);
    if (sim_ndjson)
        put_line(world, text);
}

/* --- failing -----------------------------------------------------------------------------------*/

static void leave(uint64_t where)
{
    if (!outcome)
        return;
    outcome->failed = true;
    outcome->where = where;
    outcome->at_us = running ? running->now : 0;
    outcome->faults = running ? running->faults.number : 0;
    outcome->ops = running ? running->oracle.ops_count : 0;
    _exit(1);
}

static void begin_failure(void)
{
    fflush(stdout);
    fprintf(stderr, "FAILED seed %" PRIu64 " at %" PRIu64 ".%06" PRIu64 " s: ", running->seed,
            running->now / SIM_S, running->now % SIM_S);
}

static void end_failure(const char *why)
{
    fflush(stderr);
    printf("replay:   build/sim/sim --seed %" PRIu64, running->seed);
    choices_print(&choices);
    printf(" --transcript\nminimise: build/sim/sim --seed %" PRIu64, running->seed);
    choices_print(&choices);
    printf(" --minimise\n");
    fflush(stdout);
    if (sim_ndjson) {
        fprintf(sim_ndjson, "{\"us\":%" PRIu64 ",\"failed\":", running->now);
        put_string(why);
        fputs("}\n", sim_ndjson);
        fclose(sim_ndjson);
    }
}

void sim_fail(struct world *world, const char *format, ...)
{
    char why[1024];
    va_list args;
    leave(sim_hash(format, strlen(format), 1));
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    running = world;
    begin_failure();
    fprintf(stderr, "%s\n", why);
    end_failure(why);
    exit(1);
}

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    leave(sim_hash(file, strlen(file), (uint64_t)line));
    if (!running) {
        fprintf(stderr, "%s:%d: CHECK(%s)\n", file, line, condition);
        abort();
    }
    begin_failure();
    fprintf(stderr, "%s:%d: CHECK(%s)\n", file, line, condition);
    end_failure(condition);
    abort();
}
