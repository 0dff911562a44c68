#include "core/config_rules.h"

#include "core/check.h"
#include "core/config_note.h"

#include <string.h>

struct rules {
    struct config *config;
    struct config_report *report;
    const struct config_lines *lines;
};

static uint32_t line_of(const struct rules *rules, uint32_t node, const char *section,
                        const char *name)
{
    const struct config_key *key = config_key_find(section, name);
    CHECK(key != NULL);
    return rules->lines->at[node][key - config_keys];
}

static struct config_note *note_at(const struct rules *rules, uint32_t node, const char *section,
                                   const char *name)
{
    uint32_t line = line_of(rules, node, section, name);
    if (!line && node)
        line = rules->config->nodes[node].line;
    struct config_note *note = config_note(rules->report, line);
    note_key(note, section, node, name);
    return note;
}

/* `[raft] election_min_ms: 60: expected at least 100 (2 x heartbeat_ms)` */
static void require_range(const struct rules *rules, const char *section, const char *name,
                          uint32_t value, uint32_t least, uint32_t most, const char *why)
{
    if (value >= least && value <= most)
        return;
    struct config_note *note = note_at(rules, 0, section, name);
    note_number(note, value);
    note_text(note, value < least ? ": expected at least " : ": expected at most ");
    note_number(note, value < least ? least : most);
    note_text(note, why);
}

static bool is_numeric(const char *host)
{
    bool numeric = true;
    for (const char *at = host; *at; at++) {
        if (*at == ':')
            return true;
        numeric &= (*at >= '0' && *at <= '9') || *at == '.';
    }
    return numeric;
}

/* A name may mean a loopback address on its own host (Debian's /etc/hosts does that), and then
 * nobody else could dial it: a node that is dialled by name listens on every address. */
static void complete_listen(const struct rules *rules, uint32_t id)
{
    struct config_node *node = &rules->config->nodes[id];
    if (!node->listen[0]) {
        const char *from = is_numeric(node->host) ? node->host : "::";
        for (size_t i = 0; i == 0 || from[i - 1]; i++)
            node->listen[i] = from[i];
        return;
    }
    if (is_numeric(node->listen))
        return;
    struct config_note *note = note_at(rules, id, "node", "listen");
    note_text(note, node->listen);
    note_text(note, ": expected an address of this host, or :: for all");
}

static void complete_node(const struct rules *rules, uint32_t id)
{
    struct config_node *node = &rules->config->nodes[id];
    if (!node->host[0])
        note_text(note_at(rules, id, "node", "host"), "missing: expected host = NAME or ADDRESS");
    complete_listen(rules, id);
    if (!line_of(rules, id, "node", "port"))
        node->port = CONFIG_PORT_DEFAULT;
    if (line_of(rules, id, "node", "monitor_port"))
        return;
    if (node->port > UINT16_MAX - CONFIG_MONITOR_PORT_OFFSET) {
        struct config_note *note = note_at(rules, id, "node", "monitor_port");
        note_text(note, "missing: port + 100 is over 65535 (give one)");
        return;
    }
    node->monitor_port = (uint16_t)(node->port + CONFIG_MONITOR_PORT_OFFSET);
}

/* --- no two listeners at one address -----------------------------------------------------------
 */

struct listener {
    const char *host;
    uint16_t port;
    uint32_t node;
    const char *section;
    const char *key;
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_host(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

static void require_distinct(const struct rules *rules)
{
    struct listener listeners[2 * LIMIT_NODES + 1];
    uint32_t count = 0;
    const struct config *config = rules->config;
    for (uint32_t id = 1; id <= LIMIT_NODES; id++) {
        const struct config_node *node = &config->nodes[id];
        if (!node->present)
            continue;
        listeners[count++] = (struct listener) { node->host, node->port, id, "node", "port" };
        listeners[count++] =
            (struct listener) { node->host, node->monitor_port, id, "node", "monitor_port" };
    }
    if (config->monitor_http.host[0])
        listeners[count++] = (struct listener) { config->monitor_http.host,
                                                 config->monitor_http.port, 0, "monitor", "http" };
    CHECK(count <= 2 * LIMIT_NODES + 1);
    uint32_t noted = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t j = 0; j < i && listeners[i].node != noted; j++) {
            const struct listener *late = &listeners[i];
            const struct listener *early = &listeners[j];
            if (late->port != early->port || !same_host(late->host, early->host))
                continue;
            struct config_note *note = note_at(rules, late->node, late->section, late->key);
            note_text(note, late->host);
            note_text(note, " port ");
            note_number(note, late->port);
            note_text(note, " is taken by node.");
            note_number(note, early->node);
            note_text(note, "'s ");
            note_text(note, early->key);
            note_text(note, ": expected one address for each");
            noted = late->node;
        }
    }
}

void config_apply_rules(struct config *config, struct config_report *report,
                        const struct config_lines *lines)
{
    struct rules rules = { config, report, lines };
    CHECK(config->node_count <= LIMIT_NODES);
    if (config->node_count == 0)
        note_text(config_note(report, 0), "no [node.N]: expected [node.1] and its host at least");
    for (uint32_t id = 1; id <= LIMIT_NODES; id++)
        if (config->nodes[id].present)
            complete_node(&rules, id);
    require_distinct(&rules);
    require_range(&rules, "raft", "election_min_ms", config->raft_election_min_ms,
                  2 * config->raft_heartbeat_ms, UINT32_MAX, " (2 x heartbeat_ms)");
    require_range(&rules, "raft", "election_max_ms", config->raft_election_max_ms,
                  config->raft_election_min_ms, UINT32_MAX, " (election_min_ms)");
    require_range(&rules, "limits", "preauth_per_address", config->limit_preauth_per_address, 1,
                  config->limit_preauth, " (preauth)");
}
