/* The configuration: everything that ftchat.ini can say, checked.
 *
 * config_parse() turns the file's text into a struct config, or into a report that names the line,
 * the key and what is allowed for every mistake (up to LIMIT_NOTES). Nothing is allocated, nothing
 * is read: the caller brings the text (cmd/config_load.c), so that tests and fuzzers feed it
 * directly. Texts are copied into fixed fields and end with NUL; a line of the file has at most
 * CONFIG_LINE_BYTES. Units are in the names. The keys, their ranges and their defaults are one
 * table in config_keys.c.
 *
 * The syntax is inih's, read strictly: no continuation lines, no section or key twice, none
 * unknown; ` ;` begins a comment also after a value. */
#ifndef FTCHAT_CORE_CONFIG_H
#define FTCHAT_CORE_CONFIG_H

#include "core/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CONFIG_LINE_BYTES = 198, /* inih's line buffer, without the line end and NUL */
    CONFIG_TEXT_BYTES = 200, /* holds any value */
    CONFIG_FILE_BYTES = 65536,
    CONFIG_TIME_SERVERS = 8,
    CONFIG_PORT_DEFAULT = 7101,
    CONFIG_MONITOR_PORT_OFFSET = 100,
    CONFIG_HEARTBEAT_MOST_MS = 120000,
    LIMIT_NOTES = 16,
};

enum config_registration {
    REGISTRATION_INVITE,
    REGISTRATION_OPEN,
    REGISTRATION_CLOSED,
};

/* Bits of chaos_faults; config_keys.c has their names. */
enum config_fault {
    FAULT_KILL = 1 << 0,
    FAULT_TERMINATE = 1 << 1,
    FAULT_PAUSE = 1 << 2,
    FAULT_PARTITION = 1 << 3,
    FAULT_DELAY = 1 << 4,
    FAULT_LOSS = 1 << 5,
    FAULT_SLOW_DISK = 1 << 6,
    FAULT_FULL_DISK = 1 << 7,
    FAULT_FAILED_FSYNC = 1 << 8,
    FAULT_CLOCK = 1 << 9,
};

/* A name or an address without brackets, and a port; host is "" when there is none. */
struct config_address {
    char host[CONFIG_TEXT_BYTES];
    uint16_t port;
};

struct config_node {
    bool present;  /* [node.N] is in the file */
    uint32_t line; /* of its section, for messages */
    char host[CONFIG_TEXT_BYTES];
    char listen[CONFIG_TEXT_BYTES]; /* an address; "::": all of them */
    uint16_t port;
    uint16_t monitor_port; /* port + 100, unless told otherwise */
};

struct config {
    /* [cluster]; the paths as written: relative ones are relative to the file's folder */
    char cluster_name[CONFIG_TEXT_BYTES];
    char key_file[CONFIG_TEXT_BYTES];
    char pub_file[CONFIG_TEXT_BYTES];
    char data_dir[CONFIG_TEXT_BYTES];
    uint32_t feature_level; /* the most that a leader raises the cluster to; 0: no bound */

    /* [node.1] ... [node.7], by number; [0] is not used */
    struct config_node nodes[LIMIT_NODES + 1];
    uint32_t node_count;

    /* [raft]: the election time-out adapts between the floor and the ceiling */
    uint32_t raft_heartbeat_ms;
    uint32_t raft_election_min_ms;
    uint32_t raft_election_max_ms;

    /* [log]; 0 = for ever */
    uint32_t log_scrub_days;
    uint32_t log_segment_mb;
    uint32_t log_retain_days;
    uint32_t log_retain_gb;

    /* [health] */
    uint32_t health_interval_ms;
    uint32_t health_timeout_ms;

    /* [client] */
    uint32_t client_connect_timeout_ms;
    uint32_t client_retry_ms;

    /* [monitor]; no http.host = no page; no start_command = "" */
    uint32_t monitor_heartbeat_timeout_ms;
    uint32_t monitor_pulse_timeout_ms;
    struct config_address monitor_http;
    char monitor_start_command[CONFIG_TEXT_BYTES];

    /* [accounts] */
    uint32_t accounts_registration; /* enum config_registration */

    /* [chaos] */
    bool chaos_enabled;
    uint32_t chaos_interval_s;
    uint32_t chaos_faults; /* bits of enum config_fault */

    /* [time] */
    struct config_address time_servers[CONFIG_TIME_SERVERS];
    uint32_t time_server_count;
    uint32_t time_poll_s;
    uint32_t time_max_offset_ms;

    /* [limits] */
    uint32_t limit_message_bytes;
    uint32_t limit_posts_per_s;
    uint32_t limit_catch_up;
    uint32_t limit_preauth;
    uint32_t limit_preauth_per_address;
    uint32_t limit_registrations_per_min;
};

/* One mistake: `[log] segment_mb: 0: expected 1 to 1024`. Holds bytes of the file: to be shown with
 * control characters replaced. */
struct config_note {
    uint32_t line; /* 0: the file as a whole */
    char text[320];
    size_t len;
};

struct config_report {
    struct config_note notes[LIMIT_NOTES + 1]; /* the last one is a spare, never shown */
    uint32_t count; /* of all mistakes; only the first LIMIT_NOTES are kept */
};

/* What holds without a file: every default, no nodes. */
void config_defaults(struct config *config);

/* True when the text is a whole configuration; else `report` says what is wrong, and `config` is
 * not to be used. */
bool config_parse(struct config *config, struct config_report *report, const char *text,
                  size_t len);

/* HOST:PORT or [IPV6]:PORT; with a `port` that is not 0 also HOST or IPV6 alone, which get it. */
bool config_address_parse(struct config_address *out, const char *text, size_t len, uint16_t port);

/* Cuts the next item off a list with commas, without the blanks around it. `*at` is the rest of the
 * list, NULL after its last item. False at the end. */
bool config_list_next(const char **at, const char **item, size_t *len);

#endif
