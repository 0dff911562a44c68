/* core/config: the shipped file, every key's range, and every mistake with its line. */
#include "core/config.h"
#include "core/config_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char node[] = "[node.1]\nhost = h\n";

static struct config config;
static struct config_report report;

static bool parse(const char *text)
{
    return config_parse(&config, &report, text, strlen(text));
}

/* The text has this one mistake, in this line, and the note holds these words. */
static void assert_mistake(const char *text, uint32_t line, const char *words)
{
    assert_false(parse(text));
    if (report.count != 1 || report.notes[0].line != line || !strstr(report.notes[0].text, words)) {
        for (uint32_t i = 0; i < report.count && i < LIMIT_NOTES; i++)
            print_error("line %u: %s\n", report.notes[i].line, report.notes[i].text);
        fail_msg("expected one note in line %u with: %s\nfor:\n%s", line, words, text);
    }
}

static char *read_shipped(void)
{
    FILE *file = fopen("ftchat.ini", "r");
    assert_non_null(file);
    static char text[CONFIG_FILE_BYTES];
    memset(text, 0, sizeof text);
    size_t len = fread(text, 1, sizeof text - 1, file);
    assert_true(len > 0);
    fclose(file);
    return text;
}

static void shipped_file_is_whole(void **state)
{
    (void)state;
    char *text = read_shipped();
    assert_true(parse(text));
    assert_string_equal(config.cluster_name, "demo");
    assert_int_equal(config.node_count, 3);
    assert_string_equal(config.nodes[3].host, "127.0.0.1");
    assert_string_equal(config.nodes[3].listen, "127.0.0.1");
    assert_int_equal(config.nodes[3].port, 7103);
    assert_int_equal(config.nodes[3].monitor_port, 7203);
    assert_false(config.nodes[4].present);
    assert_int_equal(config.accounts_registration, REGISTRATION_OPEN);
}

/* Without its demo choices the shipped file says what the defaults are. */
static void shipped_file_shows_the_defaults(void **state)
{
    (void)state;
    char *text = read_shipped();
    assert_true(parse(text));
    static struct config plain;
    config_defaults(&plain);
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->form != FORM_NUMBER && key->form != FORM_CHOICES)
            continue;
        uint32_t shipped;
        uint32_t fallback;
        memcpy(&shipped, (char *)&config + key->offset, 4);
        memcpy(&fallback, (char *)&plain + key->offset, 4);
        if (shipped != fallback)
            fail_msg("[%s] %s is not its default in ftchat.ini", key->section, key->name);
    }
    assert_int_equal(plain.monitor_http.port, 7190);
    assert_int_equal(plain.accounts_registration, REGISTRATION_INVITE);
    assert_int_equal(plain.chaos_faults, FAULT_KILL | FAULT_TERMINATE | FAULT_PAUSE |
                                             FAULT_PARTITION | FAULT_DELAY | FAULT_LOSS);
}

static void shipped_file_names_every_key_and_its_range(void **state)
{
    (void)state;
    char *text = read_shipped();
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        char line[80];
        snprintf(line, sizeof line, "\n%s =", key->name);
        const char *at = strstr(text, line);
        if (!at) {
            snprintf(line, sizeof line, "\n;%s =", key->name);
            at = strstr(text, line);
        }
        if (!at)
            fail_msg("ftchat.ini does not have [%s] %s", key->section, key->name);
        if (strcmp(key->section, "node") == 0)
            continue;
        if (at[-1] == '\n' || !memchr(at - 100, '#', 100))
            fail_msg("ftchat.ini has no comment above [%s] %s", key->section, key->name);
        char range[40];
        snprintf(range, sizeof range, "%u to %u", key->min, key->max);
        if (key->form == FORM_NUMBER && !strstr(text, range))
            fail_msg("ftchat.ini does not tell the range of [%s] %s: %s", key->section, key->name,
                     range);
    }
}

static void numbers_have_ranges(void **state)
{
    (void)state;
    char text[400];
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->form != FORM_NUMBER)
            continue;
        static struct config into;
        char value[24];
        uint32_t stored;
        const uint64_t good[] = { key->min, key->max };
        for (int j = 0; j < 2; j++) {
            snprintf(value, sizeof value, "%llu", (unsigned long long)good[j]);
            assert_true(config_key_set(key, &into, value));
            memcpy(&stored, (char *)&into + key->offset, 4);
            assert_int_equal(stored, good[j]);
        }
        const char *const bad[] = {
            "", "-1", "+1", "1x", "x", "0x1", "1.5", "4294967296", "18446744073709551617", "1 1"
        };
        for (size_t j = 0; j < sizeof bad / sizeof bad[0]; j++) {
            snprintf(text, sizeof text, "%s[%s]\n%s = %s\n", node, key->section, key->name, bad[j]);
            assert_mistake(text, 4, key->name);
            assert_non_null(strstr(report.notes[0].text, "expected a number from "));
        }
        snprintf(value, sizeof value, "%llu", (unsigned long long)key->max + 1);
        assert_false(config_key_set(key, &into, value));
        if (key->min > 0) {
            snprintf(value, sizeof value, "%u", key->min - 1);
            assert_false(config_key_set(key, &into, value));
        }
    }
}

static void message_names_key_value_and_range(void **state)
{
    (void)state;
    char text[200];
    snprintf(text, sizeof text, "%s[log]\nsegment_mb = 5000\n", node);
    assert_mistake(text, 4, "[log] segment_mb: 5000: expected a number from 1 to 1024");
    assert_mistake("[node.2]\nhost = h\nport = 0\n", 3,
                   "[node.2] port: 0: expected a number from 1 to 65535");
}

/* On its own host a name may mean a loopback address: dialled by name, it listens everywhere. */
static void a_node_dialled_by_name_listens_everywhere(void **state)
{
    (void)state;
    assert_true(parse("[node.1]\nhost = h1.example\n[node.2]\nhost = 10.0.0.2\n"
                      "[node.3]\nhost = fd00::3\n[node.4]\nhost = h4\nlisten = 10.0.0.4\n"
                      "[node.5]\nhost = 192.0.2.9\nlisten = ::\n"));
    assert_string_equal(config.nodes[1].listen, "::");
    assert_string_equal(config.nodes[2].listen, "10.0.0.2");
    assert_string_equal(config.nodes[3].listen, "fd00::3");
    assert_string_equal(config.nodes[4].listen, "10.0.0.4");
    assert_string_equal(config.nodes[5].listen, "::");
    assert_mistake("[node.1]\nhost = h\nlisten = h\n", 3,
                   "[node.1] listen: h: expected an address of this host, or :: for all");
}

static void unknown_sections_and_keys(void **state)
{
    (void)state;
    assert_mistake("[node.1]\nhost = h\n\n[logs]\n", 4, "[logs]: unknown section");
    assert_mistake("[logs]\na = b\nc = d\n[node.1]\nhost = h\n", 1, "[logs]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[node.8]\n", 3, "[node.8]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[node.0]\n", 3, "[node.0]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[node.11]\n", 3, "[node.11]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[node]\n", 3, "[node]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[]\n", 3, "[]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[Raft]\n", 3, "[Raft]: unknown section");
    assert_mistake("[node.1]\nhost = h\n[log]\nsegment = 1\n", 4,
                   "[log] segment: unknown key (expected scrub_days, segment_mb, retain_days, retain_gb)");
    assert_mistake("[node.1]\nhost = h\nhots = h\n", 3, "[node.1] hots: unknown key");
    assert_mistake("name = x\n[node.1]\nhost = h\n", 1, "name: before the first [section]");
}

static void duplicates(void **state)
{
    (void)state;
    assert_mistake("[node.1]\nhost = h\nhost = h\n", 3,
                   "[node.1] host: given twice, first in line 2");
    assert_mistake("[node.1]\nhost = h\n[log]\nretain_gb = 1\nretain_gb = 2\n", 5,
                   "[log] retain_gb: given twice, first in line 4");
    assert_mistake("[node.1]\nhost = h\n[log]\n[raft]\n[log]\n", 5,
                   "[log]: given twice, first in line 3");
    assert_mistake("[node.1]\nhost = h\n[node.1]\nhost = i\n", 3,
                   "[node.1]: given twice, first in line 1");
}

static void broken_lines(void **state)
{
    (void)state;
    char text[600];
    snprintf(text, sizeof text, "%s[monitor]\nstart_command = %0*d\n", node, CONFIG_LINE_BYTES - 16,
             7);
    assert_true(parse(text));
    assert_int_equal(strlen(config.monitor_start_command), CONFIG_LINE_BYTES - 16);
    snprintf(text, sizeof text, "%s[monitor]\nstart_command = %0*d\n", node, CONFIG_LINE_BYTES - 15,
             7);
    assert_mistake(text, 4, "the line is too long: expected at most 198 bytes");
    snprintf(text, sizeof text, "%s# %0*d\n", node, 400, 7);
    assert_mistake(text, 3, "too long");
    assert_mistake("[node.1]\nhost = h\n  port = 7\n", 3, "indented");
    assert_mistake("[node.1]\nhost = h\n\tmore\n", 3, "indented");
    assert_mistake("[node.1]\nhost = h\nport\n", 3, "expected key = value");
    assert_mistake("[node.1]\nhost = h\n[log\n", 3, "expected [section] alone");
    assert_mistake("[node.1]\nhost = h\n[log] retain_gb = 1\n", 3, "expected [section] alone");
    assert_mistake("[node.1]\nhost = h\x1b[31m\n", 2, "control character");
    assert_false(config_parse(&config, &report, "[node.1]\nhost = h\0\n", 19));
    assert_int_equal(report.notes[0].line, 2);
}

static void forgiven_forms(void **state)
{
    (void)state;
    assert_true(parse("\xef\xbb\xbf[node.1] ; one\r\nhost = h ; here\r\n\r\n  # note\r\nport=7"));
    assert_string_equal(config.nodes[1].host, "h");
    assert_int_equal(config.nodes[1].port, 7);
    assert_true(parse("[node.1]\nhost = h\n[node.7]\nhost = i\n"));
    assert_int_equal(config.node_count, 2);
    assert_int_equal(config.nodes[7].port, 7101);
}

static void hosts_and_addresses(void **state)
{
    (void)state;
    static const char *const good[] = { "h", "127.0.0.1", "::1", "fe80::1%eth0", "a-b.c1", "A.b" };
    static const char *const bad[] = { "",      "a b", "-a",   "a-",   "a..b", ".a",  "a.",
                                       "[::1]", "a:7", "a_b%", "::g1", "a/b",  "::%", "a-.b" };
    char text[300];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(text, sizeof text, "[node.1]\nhost = %s\n", good[i]);
        if (!parse(text))
            fail_msg("%s: %s", good[i], report.notes[0].text);
        assert_string_equal(config.nodes[1].host, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "[node.1]\nhost = %s\n", bad[i]);
        assert_mistake(text, 2, "[node.1] host: ");
    }
    static const char *const bad_http[] = { "h",      "h:",     "h:0",  "h:65536", ":7",
                                            "[::1]",  "[::1]7", "::1",  "[h]:7",   "[::1:7",
                                            "h:7:8:", "h:7x",   "[]:7", "a b:7",   "h: 7" };
    for (size_t i = 0; i < sizeof bad_http / sizeof bad_http[0]; i++) {
        snprintf(text, sizeof text, "%s[monitor]\nhttp = %s\n", node, bad_http[i]);
        assert_mistake(text, 4, "[monitor] http: ");
    }
    snprintf(text, sizeof text, "%s[monitor]\nhttp = [::1]:80\n", node);
    assert_true(parse(text));
    assert_string_equal(config.monitor_http.host, "::1");
    assert_int_equal(config.monitor_http.port, 80);
    snprintf(text, sizeof text, "%s[monitor]\nhttp =\n", node);
    assert_true(parse(text));
    assert_string_equal(config.monitor_http.host, "");
}

static void lists_and_words(void **state)
{
    (void)state;
    char text[300];
    snprintf(text, sizeof text, "%s[time]\nservers = a, b:124 ,[::1]:9\n", node);
    assert_true(parse(text));
    assert_int_equal(config.time_server_count, 3);
    assert_string_equal(config.time_servers[1].host, "b");
    assert_int_equal(config.time_servers[0].port, 123);
    assert_int_equal(config.time_servers[1].port, 124);
    assert_int_equal(config.time_servers[2].port, 9);
    snprintf(text, sizeof text, "%s[time]\nservers = a,,b\n", node);
    assert_mistake(text, 4, "[time] servers: ");
    snprintf(text, sizeof text, "%s[time]\nservers = a,b,c,d,e,f,g,h,i\n", node);
    assert_mistake(text, 4, "expected up to 8 of HOST[:PORT]");
    snprintf(text, sizeof text, "%s[chaos]\nenabled = yes\nfaults = clock , kill\n", node);
    assert_true(parse(text));
    assert_true(config.chaos_enabled);
    assert_int_equal(config.chaos_faults, FAULT_KILL | FAULT_CLOCK);
    snprintf(text, sizeof text, "%s[chaos]\nfaults = kil\n", node);
    assert_mistake(text, 4, "[chaos] faults: kil: expected some of kill, ");
    snprintf(text, sizeof text, "%s[chaos]\nenabled = true\n", node);
    assert_mistake(text, 4, "[chaos] enabled: true: expected yes or no");
    snprintf(text, sizeof text, "%s[accounts]\nregistration = public\n", node);
    assert_mistake(text, 4, "public: expected one of invite, open, closed");
    snprintf(text, sizeof text, "%s[cluster]\nname = a b\n", node);
    assert_mistake(text, 4, "[cluster] name: a b: expected 1 to 32");
    snprintf(text, sizeof text, "%s[cluster]\ndata_dir =\n", node);
    assert_mistake(text, 4, "[cluster] data_dir: nothing: expected a path");
}

static void rules_between_keys(void **state)
{
    (void)state;
    assert_mistake("", 0, "no [node.N]");
    assert_mistake("[cluster]\nname = x\n", 0, "no [node.N]");
    assert_mistake("[node.2]\nport = 7\n", 1, "[node.2] host: missing");
    assert_mistake("[node.1]\nhost = h\n[node.2]\nhost = H\nport = 7101\n", 5,
                   "H port 7101 is taken by node.1's port");
    assert_mistake("[node.1]\nhost = h\n[node.2]\nhost = h\nport = 7201\n", 5,
                   "h port 7201 is taken by node.1's monitor_port");
    assert_mistake("[node.1]\nhost = h\nmonitor_port = 7101\n", 3, "is taken by node.1's port");
    assert_mistake("[node.1]\nhost = h\nport = 65436\n", 1, "port + 100 is over 65535");
    assert_mistake("[node.1]\nhost = h\n[monitor]\nhttp = h:7101\n", 4,
                   "[monitor] http: h port 7101 is taken by node.1's port");
    assert_true(parse("[node.1]\nhost = h\nport = 65436\nmonitor_port = 1\n"));
    assert_true(parse("[node.1]\nhost = h\nlisten = ::\n[node.2]\nhost = i\nlisten = ::\n"));
    assert_mistake("[node.1]\nhost = h\n[raft]\nheartbeat_ms = 100\n", 0,
                   "[raft] election_min_ms: 150: expected at least 200 (2 x heartbeat_ms)");
    assert_mistake("[node.1]\nhost = h\n[raft]\nelection_max_ms = 149\n", 4,
                   "[raft] election_max_ms: 149: expected at least 150 (election_min_ms)");
    assert_mistake("[node.1]\nhost = h\n[limits]\npreauth = 8\npreauth_per_address = 9\n", 5,
                   "[limits] preauth_per_address: 9: expected at most 8 (preauth)");
}

static void many_mistakes_are_counted(void **state)
{
    (void)state;
    char text[2000] = "[log]\n";
    for (int i = 0; i < 40; i++)
        strcat(text, "x = 1\n");
    assert_false(parse(text));
    assert_int_equal(report.count, 40);
    assert_int_equal(report.notes[LIMIT_NOTES - 1].line, LIMIT_NOTES + 1);
    static char huge[CONFIG_FILE_BYTES + 1];
    memset(huge, '\n', sizeof huge);
    assert_false(config_parse(&config, &report, huge, sizeof huge));
    assert_non_null(strstr(report.notes[0].text, "expected at most 65536 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_file_is_whole),
        cmocka_unit_test(shipped_file_shows_the_defaults),
        cmocka_unit_test(shipped_file_names_every_key_and_its_range),
        cmocka_unit_test(numbers_have_ranges),
        cmocka_unit_test(message_names_key_value_and_range),
        cmocka_unit_test(a_node_dialled_by_name_listens_everywhere),
        cmocka_unit_test(unknown_sections_and_keys),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(broken_lines),
        cmocka_unit_test(forgiven_forms),
        cmocka_unit_test(hosts_and_addresses),
        cmocka_unit_test(lists_and_words),
        cmocka_unit_test(rules_between_keys),
        cmocka_unit_test(many_mistakes_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
