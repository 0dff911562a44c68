/* What the leader of the monitors does about nodes that nobody hears (monitor.h). */
#ifndef FTCHAT_CORE_MONITOR_HEAL_H
#define FTCHAT_CORE_MONITOR_HEAL_H

#include "core/monitor/monitor.h"

enum {
    HEAL_PAUSE_US = 10000000, /* between two starts of one node; doubles from there */
    HEAL_PAUSE_MOST_US = 600000000,
    HEAL_NEIGHBOURS = 2, /* nodes that each monitor probes, whoever leads */
};

/* Probes that are due; and, of who leads, starts. */
void heal_look(struct monitor *monitor, uint64_t now_us, const struct monitor_effects *effects);
void heal_probed(struct monitor *monitor, uint8_t slot, bool good, uint64_t now_us);
void heal_unprobed(struct monitor *monitor, uint8_t slot, uint64_t now_us);
/* Nodes that this monitor has reached lately: bits. */
uint8_t heal_reached(const struct monitor *monitor, uint64_t now_us);
uint64_t heal_due_us(const struct monitor *monitor);

#endif
