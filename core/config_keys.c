#include "core/config_keys.h"

#include "core/check.h"

#include <string.h>

static const char *const registrations[] = { "invite", "open", "closed", NULL };

/* In the order of enum config_fault's bits. */
static const char *const faults[] = { "kill",         "terminate", "pause",     "partition",
                                      "delay",        "loss",      "slow-disk", "full-disk",
                                      "failed-fsync", "clock",     NULL };

#define AT(field) offsetof(struct config, field)
#define NODE_AT(field) offsetof(struct config_node, field)

/* clang-format off */
const struct config_key config_keys[] = {
    { "cluster", "name", FORM_NAME, 1, 32, "ftchat", AT(cluster_name), NULL,
      "what status and the monitor's page call it" },
    { "cluster", "key_file", FORM_PATH, 1, 0, "ftchat.key", AT(key_file), NULL,
      "the cluster's secrets, mode 0600; nodes, monitors and ctl need it" },
    { "cluster", "pub_file", FORM_PATH, 1, 0, "ftchat.pub", AT(pub_file), NULL,
      "its public half: all that a client needs" },
    { "cluster", "data_dir", FORM_PATH, 1, 0, "data", AT(data_dir), NULL,
      "must exist; node N keeps its files in data_dir/N" },
    { "cluster", "feature_level", FORM_NUMBER, 0, 65535, "0", AT(feature_level), NULL,
      "rises no higher by itself; 0 = as high as all nodes can" },

    { "node", "host", FORM_HOST, 1, 0, NULL, NODE_AT(host), NULL,
      "where the others and the clients reach it" },
    { "node", "port", FORM_PORT, 1, 65535, "7101", NODE_AT(port), NULL,
      "its one TCP port" },
    { "node", "listen", FORM_HOST, 1, 0, "", NODE_AT(listen), NULL,
      "the address it listens on, :: for all; default: host, or all when host is a name" },
    { "node", "monitor_port", FORM_PORT, 1, 65535, "", NODE_AT(monitor_port), NULL,
      "its monitor's port; default: port + 100" },

    { "raft", "heartbeat_ms", FORM_NUMBER, 5, 1000, "50", AT(raft_heartbeat_ms), NULL,
      "how often an idle leader is heard" },
    { "raft", "election_min_ms", FORM_NUMBER, 20, 10000, "150", AT(raft_election_min_ms), NULL,
      "floor of the adaptive election time-out" },
    { "raft", "election_max_ms", FORM_NUMBER, 50, 60000, "1500", AT(raft_election_max_ms), NULL,
      "its ceiling" },

    { "log", "scrub_days", FORM_NUMBER, 0, 365, "7", AT(log_scrub_days), NULL,
      "days in which everything at rest is read and proved once" },
    { "log", "segment_mb", FORM_NUMBER, 1, 1024, "16", AT(log_segment_mb), NULL,
      "size of a file of the log; taken when the cluster is formed" },
    { "log", "retain_days", FORM_NUMBER, 0, 36500, "0", AT(log_retain_days), NULL,
      "history older than this is dropped; 0 = never" },
    { "log", "retain_gb", FORM_NUMBER, 0, 1000000, "0", AT(log_retain_gb), NULL,
      "history beyond this is dropped; 0 = never" },

    { "health", "interval_ms", FORM_NUMBER, 100, 600000, "3000", AT(health_interval_ms), NULL,
      "between two probes of a node" },
    { "health", "timeout_ms", FORM_NUMBER, 50, 600000, "2000", AT(health_timeout_ms), NULL,
      "a probe without an answer by then has failed" },

    { "client", "connect_timeout_ms", FORM_NUMBER, 100, 60000, "5000", AT(client_connect_timeout_ms), NULL,
      "for one server" },
    { "client", "retry_ms", FORM_NUMBER, 50, 600000, "3000", AT(client_retry_ms), NULL,
      "the longest wait between two rounds over the servers" },

    { "monitor", "heartbeat_timeout_ms", FORM_NUMBER, 500, CONFIG_HEARTBEAT_MOST_MS, "6000", AT(monitor_heartbeat_timeout_ms), NULL,
      "a monitor that is silent for this long is gone" },
    { "monitor", "pulse_timeout_ms", FORM_NUMBER, 200, 600000, "3000", AT(monitor_pulse_timeout_ms), NULL,
      "a node without a pulse for this long hangs, and is killed and restarted" },
    { "monitor", "http", FORM_ADDRESS, 0, 0, "127.0.0.1:7190", AT(monitor_http), NULL,
      "the page, /metrics and /healthz; empty = none" },
    { "monitor", "start_command", FORM_COMMAND, 0, 0, "", AT(monitor_start_command), NULL,
      "starts node %i when its host's monitor is gone too; empty = none" },

    { "accounts", "registration", FORM_CHOICE, 0, 0, "invite", AT(accounts_registration), registrations,
      "who may make an account" },

    { "chaos", "enabled", FORM_SWITCH, 0, 0, "no", AT(chaos_enabled), NULL,
      "may `ftchat chaos` break this cluster?" },
    { "chaos", "interval_s", FORM_NUMBER, 1, 86400, "30", AT(chaos_interval_s), NULL,
      "between two faults" },
    { "chaos", "faults", FORM_CHOICES, 0, 0, "kill,terminate,pause,partition,delay,loss", AT(chaos_faults), faults,
      "the kinds to choose from" },

    { "time", "servers", FORM_ADDRESSES, 0, CONFIG_TIME_SERVERS, "", AT(time_servers), NULL,
      "NTP servers, HOST[:PORT]; empty = the hosts' own clocks" },
    { "time", "poll_s", FORM_NUMBER, 16, 3600, "64", AT(time_poll_s), NULL,
      "between two questions to a server" },
    { "time", "max_offset_ms", FORM_NUMBER, 1, 3600000, "1000", AT(time_max_offset_ms), NULL,
      "a clock farther off than this raises an alarm" },

    { "limits", "message_bytes", FORM_NUMBER, 64, LIMIT_TEXT_BYTES, "4096", AT(limit_message_bytes), NULL,
      "the longest post" },
    { "limits", "posts_per_s", FORM_NUMBER, 1, 1000000, "200", AT(limit_posts_per_s), NULL,
      "for each user, with a burst of 10 s; more waits" },
    { "limits", "catch_up", FORM_NUMBER, 1, 10000000, "100000", AT(limit_catch_up), NULL,
      "posts of a room sent to a client that comes back; the rest by history" },
    { "limits", "preauth", FORM_NUMBER, 8, 16384, "256", AT(limit_preauth), NULL,
      "connections that have not logged in, in all" },
    { "limits", "preauth_per_address", FORM_NUMBER, 1, 16384, "64", AT(limit_preauth_per_address), NULL,
      "the same, from one address" },
    { "limits", "registrations_per_min", FORM_NUMBER, 1, 1000000, "600", AT(limit_registrations_per_min), NULL,
      "new accounts, in all" },
};
/* clang-format on */

const size_t config_key_count = sizeof config_keys / sizeof config_keys[0];
_Static_assert(sizeof config_keys / sizeof config_keys[0] <= CONFIG_KEYS_MAX,
               "the parser's table of lines has a place for each key");

bool config_section_known(const char *section)
{
    for (size_t i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].section, section) == 0)
            return true;
    return false;
}

const struct config_key *config_key_find(const char *section, const char *name)
{
    for (size_t i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].section, section) == 0 && strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

/* --- values ------------------------------------------------------------------------------------
 */

static bool parse_number(const char *text, size_t len, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;
    if (len == 0 || len > 10)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (value < min || value > max)
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Only the form: whether the host exists is for the resolver, when it is needed. */
static bool is_host(const char *text, size_t len)
{
    if (len == 0 || len >= CONFIG_TEXT_BYTES)
        return false;
    size_t colons = 0;
    size_t zone = len; /* fe80::1%eth0 */
    for (size_t i = 0; i < len && zone == len; i++) {
        colons += text[i] == ':';
        if (text[i] == '%')
            zone = i;
    }
    if (colons >= 2) {
        for (size_t i = 0; i < zone; i++)
            if (!is_hex(text[i]) && text[i] != ':' && text[i] != '.')
                return false;
        for (size_t i = zone + 1; i < len; i++)
            if (!is_alphanumeric(text[i]) && text[i] != '-' && text[i] != '_' && text[i] != '.')
                return false;
        return zone + 1 != len;
    }
    bool label = false; /* between two dots there is something, and no '-' at its ends */
    for (size_t i = 0; i < len; i++) {
        bool end = i + 1 == len || text[i + 1] == '.';
        if (text[i] == '.') {
            if (!label)
                return false;
            label = false;
        } else if (!is_alphanumeric(text[i]) && (text[i] != '-' || !label || end)) {
            return false;
        } else {
            label = true;
        }
    }
    return label;
}

static void copy_text(char out[CONFIG_TEXT_BYTES], const char *text, size_t len)
{
    CHECK(len < CONFIG_TEXT_BYTES);
    memcpy(out, text, len);
    out[len] = '\0';
}

static bool set_host(char out[CONFIG_TEXT_BYTES], const char *text, size_t len)
{
    if (!is_host(text, len))
        return false;
    copy_text(out, text, len);
    return true;
}

bool config_address_parse(struct config_address *out, const char *text, size_t len, uint16_t port)
{
    CHECK(out != NULL);
    const char *colon = memchr(text, ':', len);
    const char *host = text;
    size_t host_len = len;
    size_t port_at = len;
    if (len > 0 && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (!close || !colon || colon > close)
            return false;
        host = text + 1;
        host_len = (size_t)(close - host);
        port_at = (size_t)(close - text) + 1;
        if (port_at < len && text[port_at] != ':')
            return false;
    } else if (colon && !memchr(colon + 1, ':', len - (size_t)(colon - text) - 1)) {
        host_len = (size_t)(colon - text);
        port_at = host_len;
    }
    uint32_t number = port;
    if (port_at < len && !parse_number(text + port_at + 1, len - port_at - 1, 1, 65535, &number))
        return false;
    out->port = (uint16_t)number;
    return number != 0 && set_host(out->host, host, host_len);
}

bool config_list_next(const char **at, const char **item, size_t *len)
{
    CHECK(at != NULL);
    if (!*at)
        return false;
    const char *start = *at;
    const char *comma = strchr(start, ',');
    const char *end = comma ? comma : start + strlen(start);
    *at = comma ? comma + 1 : NULL;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *item = start;
    *len = (size_t)(end - start);
    return true;
}

static bool set_addresses(const struct config_key *key, void *base, const char *value)
{
    struct config *config = base;
    CHECK(key->offset == AT(time_servers));
    config->time_server_count = 0;
    const char *item;
    size_t len;
    for (const char *at = *value ? value : NULL; config_list_next(&at, &item, &len);) {
        uint32_t count = config->time_server_count;
        if (count == key->max ||
            !config_address_parse(&config->time_servers[count], item, len, 123))
            return false;
        config->time_server_count++;
    }
    return true;
}

static bool find_word(const struct config_key *key, const char *text, size_t len, uint32_t *out)
{
    for (uint32_t i = 0; key->words[i]; i++) {
        if (strlen(key->words[i]) == len && memcmp(key->words[i], text, len) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool set_choices(const struct config_key *key, uint32_t *out, const char *value)
{
    const char *item;
    size_t len;
    uint32_t place;
    *out = 0;
    for (const char *at = value; config_list_next(&at, &item, &len);) {
        if (!find_word(key, item, len, &place))
            return false;
        *out |= 1u << place;
    }
    return true;
}

static bool set_name(const struct config_key *key, char out[CONFIG_TEXT_BYTES], const char *value,
                     size_t len)
{
    if (len < key->min || len > key->max)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_alphanumeric(value[i]) && !memchr("-_.", value[i], 3))
            return false;
    copy_text(out, value, len);
    return true;
}

bool config_key_set(const struct config_key *key, void *base, const char *value)
{
    CHECK(key != NULL);
    CHECK(value != NULL);
    size_t len = strnlen(value, CONFIG_TEXT_BYTES);
    if (len >= CONFIG_TEXT_BYTES)
        return false;
    void *at = (char *)base + key->offset;
    uint32_t number;
    switch (key->form) {
    case FORM_NUMBER:
        return parse_number(value, len, key->min, key->max, at);
    case FORM_PORT:
        if (!parse_number(value, len, key->min, key->max, &number))
            return false;
        *(uint16_t *)at = (uint16_t)number;
        return true;
    case FORM_NAME:
        return set_name(key, at, value, len);
    case FORM_PATH:
    case FORM_COMMAND:
        copy_text(at, value, len);
        return len >= key->min;
    case FORM_HOST:
        return set_host(at, value, len);
    case FORM_ADDRESS:
        memset(at, 0, sizeof(struct config_address));
        return len == 0 || config_address_parse(at, value, len, 0);
    case FORM_ADDRESSES:
        return set_addresses(key, base, value);
    case FORM_SWITCH:
        *(bool *)at = strcmp(value, "yes") == 0;
        return *(bool *)at || strcmp(value, "no") == 0;
    case FORM_CHOICE:
        return find_word(key, value, len, at);
    case FORM_CHOICES:
        return set_choices(key, at, value);
    }
    return false;
}
