/* The configuration's parser: any bytes give a configuration or notes, never anything else; what is
 * accepted keeps its promises, and the same bytes give the same answer. */
#include "core/check.h"
#include "core/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct config first;
static struct config second;
static struct config_report report;

static void check_config(const struct config *config)
{
    CHECK(config->node_count >= 1);
    CHECK(config->raft_election_max_ms >= config->raft_election_min_ms);
    CHECK(config->limit_preauth_per_address <= config->limit_preauth);
    CHECK(config->time_server_count <= CONFIG_TIME_SERVERS);
    for (int id = 1; id <= LIMIT_NODES; id++) {
        const struct config_node *node = &config->nodes[id];
        if (!node->present)
            continue;
        CHECK(node->host[0] != '\0');
        CHECK(node->listen[0] != '\0');
        CHECK(node->port != 0);
        CHECK(node->monitor_port != node->port);
        CHECK(memchr(node->host, '\0', sizeof node->host) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    bool good = config_parse(&first, &report, (const char *)data, len);
    CHECK(good == (report.count == 0));
    for (uint32_t i = 0; i < report.count && i < LIMIT_NOTES; i++)
        CHECK(report.notes[i].len == strlen(report.notes[i].text));
    bool again = config_parse(&second, &report, (const char *)data, len);
    CHECK(good == again);
    if (!good)
        return 0;
    CHECK(memcmp(&first, &second, sizeof first) == 0);
    check_config(&first);
    return 0;
}
