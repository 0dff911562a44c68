/* `ftchat ctl invite`: a link that lets new users make their accounts. */
#include "cmd/commands.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_options.h"
#include "cmd/invite_link.h"
#include "cmd/say.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_USES, OPTION_FOR };
static const struct option_row rows[] = {
    [OPTION_USES] = { "uses", 0, "N", "good for this many accounts (default 1)" },
    [OPTION_FOR] = { "for", 0, "TIME", "good for so long, such as 7d, 12h, 30m (default 7d)" },
    CTL_ROW_WAIT("5"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl invite",
    "[--uses N] [--for TIME]",
    "Prints an invite link: servers, key and a token. Whoever has it can make an account; send it "
    "as\n"
    "you would send a password.",
    rows,
};

enum { USES_MAX = 1000000, LIFETIME_MAX_S = 10 * 366 * 86400 };

/* A number and s, m, h or d. */
static bool parse_time(const char *text, uint64_t *seconds)
{
    static const struct {
        char unit;
        uint32_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && number < LIFETIME_MAX_S; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    if (at == text || !*at || at[1])
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (units[i].unit == *at)
            *seconds = number * units[i].seconds;
    return strchr("smhd", *at) && *seconds >= 1 && *seconds <= LIFETIME_MAX_S;
}

static int print_link(const struct ask *ask, const struct cluster_public *key,
                      const uint8_t token[WIRE_TOKEN_BYTES])
{
    struct link_invite invite = { .key = *key };
    char text[LINK_TEXT_BYTES];
    memcpy(invite.token, token, WIRE_TOKEN_BYTES);
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        const struct config_node *node = &ask->file.config.nodes[slot];
        if (!node->present)
            continue;
        struct config_address *server = &invite.servers[invite.server_count++];
        memcpy(server->host, node->host, sizeof server->host);
        server->port = node->port;
    }
    if (!link_write(text, &invite))
        return say_error(EXIT_FAILED, "ctl invite", "the servers' names are too long for a link");
    printf("%s\n", text);
    return say_flushed("ctl invite");
}

/* Not knowing whether it was done is no harm: the next try has a token of its own. */
static int commit(struct ask *ask, uint32_t uses, uint64_t lifetime_s, uint64_t until_us,
                  uint8_t token[WIRE_TOKEN_BYTES])
{
    struct ask_result result = { .why = "no node leads a majority" };
    do {
        uint8_t leader = ask_leader(ask, until_us);
        if (!leader)
            break;
        uint8_t hash[HASH_BYTES];
        uint8_t message[1 + HASH_BYTES + 4 + 8];
        randombytes_buf(token, WIRE_TOKEN_BYTES);
        crypto_generichash(hash, sizeof hash, token, WIRE_TOKEN_BYTES, NULL, 0);
        struct writer writer = writer_of(message, sizeof message);
        write_u8(&writer, WIRE_INVITE);
        write_copy(&writer, hash, sizeof hash);
        write_u32(&writer, uses);
        write_u64(&writer, lifetime_s * 1000000);
        if (!ask_command(ask, leader, (struct slice) { message, writer_used(&writer) }, until_us,
                         &result))
            snprintf(result.why, sizeof result.why, "node %u did not answer", leader);
        else if (result.code == CODE_OK)
            return EXIT_DONE;
        else if (code_is_final(result.code))
            return say_error(EXIT_FAILED, "ctl invite", "node %u: %s", leader,
                             code_message(result.code));
        else if (!result.why[0])
            snprintf(result.why, sizeof result.why, "%s", code_message(result.code));
        loop_run_once(ask->loop, 20000);
    } while (loop_clock_us() < until_us);
    return say_error(EXIT_UNREACHABLE, "ctl invite", "no invite was made in time: %s", result.why);
}

int ctl_invite(int argc, char **argv)
{
    static struct ask ask;
    struct ctl_given given = { .wait_s = 5 };
    uint64_t uses = 1;
    uint64_t lifetime_s = 7 * 86400;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        if (option == OPTION_USES && !options_number(&options, "uses", 1, USES_MAX, &uses))
            return EXIT_USAGE;
        if (option == OPTION_FOR && !parse_time(options.value, &lifetime_s))
            return say_error(EXIT_USAGE, "ctl invite",
                             "--for: %s: expected 1s to 3660d, such as 7d, 12h, 30m",
                             options.value);
    }
    struct cluster_public key;
    uint8_t token[WIRE_TOKEN_BYTES];
    int status = ask_open(&ask, "ctl invite", given.config);
    if (status)
        return status;
    status = config_load_public(&ask.file, "ctl invite", &key);
    if (!status)
        status = commit(&ask, (uint32_t)uses, lifetime_s, loop_clock_us() + given.wait_s * 1000000,
                        token);
    if (!status)
        status = print_link(&ask, &key, token);
    if (!status && ask.file.config.accounts_registration == REGISTRATION_CLOSED)
        say_warning("ctl invite", "registration = closed in %s: nobody can use it", ask.file.path);
    ask_close(&ask);
    return status;
}
