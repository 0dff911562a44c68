#include "tests/sim/choices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choices choices;

static bool kept(const struct choices *some, uint32_t number)
{
    return number < CHOICES_FAULTS && (some->keep[number / 8] >> number % 8 & 1);
}

bool choices_fault(uint32_t number)
{
    return !choices.some_faults || kept(&choices, number);
}

void choices_keep(struct choices *some, uint32_t number, bool keep)
{
    if (number >= CHOICES_FAULTS)
        return;
    some->keep[number / 8] &= (uint8_t) ~(1u << number % 8);
    if (keep)
        some->keep[number / 8] |= (uint8_t)(1u << number % 8);
}

bool choices_read_faults(const char *list)
{
    choices.some_faults = true;
    if (strcmp(list, "none") == 0)
        return true;
    do {
        char *end;
        unsigned long from = strtoul(list, &end, 10);
        unsigned long to = from;
        if (end == list)
            return false;
        if (*end == '-') {
            list = end + 1;
            to = strtoul(list, &end, 10);
        }
        if (end == list || to < from || to >= CHOICES_FAULTS || (*end && *end != ','))
            return false;
        for (unsigned long number = from; number <= to; number++)
            choices_keep(&choices, (uint32_t)number, true);
        list = *end ? end + 1 : end;
    } while (*list);
    return true;
}

static void print_faults(const struct choices *some)
{
    const char *before = " --faults ";
    for (uint32_t from = 0; from < CHOICES_FAULTS; from++) {
        uint32_t to = from;
        if (!kept(some, from))
            continue;
        while (kept(some, to + 1))
            to++;
        printf(to > from ? "%s%u-%u" : "%s%u", before, from, to);
        before = ",";
        from = to;
    }
    if (before[0] == ' ')
        printf(" --faults none");
}

void choices_print(const struct choices *some)
{
    if (some->some_faults)
        print_faults(some);
    if (some->clients)
        printf(" --clients %u", some->clients);
    if (some->ops)
        printf(" --ops %u", some->ops);
    if (some->load_s)
        printf(" --load %u", some->load_s);
}
