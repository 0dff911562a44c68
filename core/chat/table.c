#include "core/chat/table.h"

#include "core/check.h"

static uint32_t slots_for(uint32_t capacity)
{
    CHECK(capacity < UINT32_C(1) << 30);
    uint32_t slots = 4;
    while (slots < capacity * 2)
        slots *= 2;
    return slots;
}

size_t table_memory(uint32_t capacity)
{
    return (size_t)slots_for(capacity) * sizeof(struct table_slot);
}

void table_init(struct table *table, void *memory, uint32_t capacity)
{
    CHECK(memory != NULL);
    *table = (struct table) { memory, slots_for(capacity) - 1, 0, capacity };
}

struct table_probe table_probe(uint64_t hash)
{
    return (struct table_probe) { (uint32_t)hash, (uint32_t)hash };
}

uint32_t table_next(const struct table *table, struct table_probe *probe)
{
    for (;;) {
        const struct table_slot *slot = &table->slots[probe->at & table->mask];
        if (!slot->position)
            return 0;
        probe->at++;
        if (slot->hash == probe->hash)
            return slot->position;
    }
}

void table_insert(struct table *table, uint64_t hash, uint32_t position)
{
    CHECK(position != 0);
    CHECK(table->entries < table->capacity);
    uint32_t at = (uint32_t)hash & table->mask;
    while (table->slots[at].position)
        at = (at + 1) & table->mask;
    table->slots[at] = (struct table_slot) { (uint32_t)hash, position };
    table->entries++;
}

void table_remove(struct table *table, uint64_t hash, uint32_t position)
{
    CHECK(position != 0);
    CHECK(table->entries > 0);
    uint32_t hole = (uint32_t)hash & table->mask;
    while (table->slots[hole].position != position) {
        CHECK(table->slots[hole].position != 0);
        hole = (hole + 1) & table->mask;
    }
    /* An entry may fill the hole unless its home lies behind the hole: then a probe for it would
     * never come by. */
    for (uint32_t at = (hole + 1) & table->mask; table->slots[at].position;
         at = (at + 1) & table->mask) {
        uint32_t home = table->slots[at].hash & table->mask;
        if (((at - home) & table->mask) < ((at - hole) & table->mask))
            continue;
        table->slots[hole] = table->slots[at];
        hole = at;
    }
    table->slots[hole] = (struct table_slot) { 0, 0 };
    table->entries--;
}
