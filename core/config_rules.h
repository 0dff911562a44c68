/* What must hold between keys, and the defaults of one key that come from another. Private to
 * core/config*.c. */
#ifndef FTCHAT_CORE_CONFIG_RULES_H
#define FTCHAT_CORE_CONFIG_RULES_H

#include "core/config_keys.h"

/* The line each key was given in, 0 if not: [0] for the cluster's, [N] for those of node N. */
struct config_lines {
    uint32_t at[LIMIT_NODES + 1][CONFIG_KEYS_MAX];
};

void config_apply_rules(struct config *config, struct config_report *report,
                        const struct config_lines *lines);

#endif
