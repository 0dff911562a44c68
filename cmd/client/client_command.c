/* `ftchat client`: options, configuration, password; then client_run. */
#include "cmd/client/client_app.h"
#include "cmd/commands.h"
#include "cmd/config_load.h"
#include "cmd/crypto_sodium.h"
#include "cmd/invite_link.h"
#include "cmd/options.h"
#include "cmd/say.h"
#include "core/chat/chat.h"
#include "core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char command[] = "client";

enum {
    OPTION_CONFIG,
    OPTION_USER,
    OPTION_ROOM,
    OPTION_REGISTER,
    OPTION_PASSWORD_FILE,
    OPTION_CONNECT,
    OPTION_CLUSTER_KEY,
    OPTION_STATE_DIR,
    OPTION_JSON,
    OPTION_SEND,
    OPTION_FOLLOW,
    OPTION_HISTORY,
    OPTION_HELD_OK,
    OPTION_WAIT,
};

static const struct option_row rows[] = {
    [OPTION_CONFIG] = { "config", 'c', "FILE",
                        "the configuration (else $FTCHAT_CONFIG, ./ftchat.ini)" },
    [OPTION_USER] = { "user", 'u', "NAME", "who you are (default: $USER)" },
    [OPTION_ROOM] = { "room", 'r', "ROOM", "\"#ops\", or \"@bob\" for direct messages" },
    [OPTION_REGISTER] = { "register", 0, NULL, "make the account first, if there is none" },
    [OPTION_PASSWORD_FILE] = { "password-file", 0, "FILE",
                               "its first line (else $FTCHAT_PASSWORD, else a prompt)" },
    [OPTION_CONNECT] = { "connect", 0, "HOST:PORT,...", "these nodes, in this order" },
    [OPTION_CLUSTER_KEY] = { "cluster-key", 0, "KEY",
                             "the cluster's public key: 64 hex digits or a file" },
    [OPTION_STATE_DIR] = { "state-dir", 0, "DIR",
                           "device key, outbox, position (default $XDG_STATE_HOME/ftchat)" },
    [OPTION_JSON] = { "json", 0, NULL, "JSON lines on standard input and output" },
    [OPTION_SEND] = { "send", 0, NULL, "post each line of standard input, wait until committed" },
    [OPTION_FOLLOW] = { "follow", 0, NULL, "print messages as they come" },
    [OPTION_HISTORY] = { "history", 0, "N", "print the room's newest N messages" },
    [OPTION_HELD_OK] = { "held-ok", 0, NULL, "with --send: held by one node is enough" },
    [OPTION_WAIT] = { "wait", 0, "SECONDS", "give up after this long (default 30)" },
    { 0 },
};

static const struct command_page page = {
    .command = command,
    .usage = "[INVITE-LINK] [options]",
    .about = "Chats: line by line on a terminal, in a pipe with --send, --follow or --history,\n"
             "as JSON lines with --json. What is written while no node answers is kept and sent\n"
             "later, exactly once.",
    .rows = rows,
};

/* What the options said. */
struct given {
    const char *config;
    const char *user;
    const char *password_file;
    const char *connect;
    const char *cluster_key;
    const char *link;
    bool send;
    bool follow;
    bool history;
    bool json;
};

static int bad(const char *what, const char *why)
{
    return say_error(EXIT_USAGE, command, "%s: %s", what, why);
}

/* -1: go on. */
static int read_options(struct given *given, struct client_setup *setup, int argc, char **argv)
{
    struct options options = options_begin(&page, argc, argv);
    uint64_t number;
    for (int option; (option = options_next(&options)) != OPTIONS_END;) {
        switch (option) {
        case OPTION_CONFIG:
            given->config = options.value;
            break;
        case OPTION_USER:
            given->user = options.value;
            break;
        case OPTION_ROOM:
            if (strlen(options.value) > LIMIT_ROOM_NAME)
                return bad("--room", "this cannot be a name");
            strcpy(setup->room, options.value);
            break;
        case OPTION_REGISTER:
            setup->is_register = true;
            break;
        case OPTION_PASSWORD_FILE:
            given->password_file = options.value;
            break;
        case OPTION_CONNECT:
            given->connect = options.value;
            break;
        case OPTION_CLUSTER_KEY:
            given->cluster_key = options.value;
            break;
        case OPTION_STATE_DIR:
            setup->state_folder = options.value;
            break;
        case OPTION_JSON:
            given->json = true;
            break;
        case OPTION_SEND:
            given->send = true;
            break;
        case OPTION_FOLLOW:
            given->follow = true;
            break;
        case OPTION_HISTORY:
            if (!options_number(&options, "history", 1, 1000000, &number))
                return EXIT_USAGE;
            given->history = true;
            setup->history = (uint32_t)number;
            break;
        case OPTION_HELD_OK:
            setup->held_ok = true;
            break;
        case OPTION_WAIT:
            if (!options_number(&options, "wait", 0, 1000000, &number))
                return EXIT_USAGE;
            setup->wait_us = number * 1000000;
            break;
        case OPTIONS_OPERAND:
            given->link = options.value;
            break;
        case OPTIONS_EXIT:
            return options.status;
        }
    }
    return -1;
}

static int choose_mode(const struct given *given, struct client_setup *setup)
{
    if (given->send + given->follow + given->history > 1)
        return bad("--send, --follow, --history", "only one of them at a time");
    setup->json = given->json;
    setup->terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (given->send)
        setup->mode = MODE_SEND;
    else if (given->follow)
        setup->mode = MODE_FOLLOW;
    else if (given->history)
        setup->mode = MODE_HISTORY;
    else
        setup->mode = given->json ? MODE_JSON : MODE_LINES;
    if ((given->send || given->history) && !setup->room[0])
        return bad("--room", "missing (which room?)");
    if (setup->mode == MODE_LINES && !isatty(STDIN_FILENO))
        return bad("standard input", "is no terminal (use --send, --follow, --history or --json)");
    return -1;
}

/* "host:port" or "[::1]:port"; the port may be left out. */
static bool read_server(struct config_address *server, const char *text, size_t len)
{
    const char *host = text;
    size_t host_len = len;
    const char *port = NULL;
    if (len && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (!end)
            return false;
        host = text + 1;
        host_len = (size_t)(end - host);
        if (end + 1 < text + len && end[1] != ':')
            return false;
        port = end + 1 < text + len ? end + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', len);
        if (colon && memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)))
            colon = NULL; /* a bare IPv6 address */
        if (colon) {
            host_len = (size_t)(colon - text);
            port = colon + 1;
        }
    }
    uint32_t number = port ? 0 : CONFIG_PORT_DEFAULT;
    for (; port && port < text + len; port++) {
        if (*port < '0' || *port > '9' || number > 65535)
            return false;
        number = number * 10 + (uint32_t)(*port - '0');
    }
    if (host_len == 0 || host_len >= CONFIG_TEXT_BYTES || number == 0 || number > 65535)
        return false;
    memcpy(server->host, host, host_len);
    server->host[host_len] = '\0';
    server->port = (uint16_t)number;
    return true;
}

static int read_servers(struct client_setup *setup, const char *list)
{
    while (true) {
        size_t len = strcspn(list, ",");
        if (setup->server_count == LIMIT_SERVERS)
            return bad("--connect", "more than 32 nodes");
        if (!read_server(&setup->servers[setup->server_count++], list, len))
            return say_error(EXIT_USAGE, command, "--connect: %s: expected HOST:PORT,...", list);
        if (list[len] == '\0')
            return -1;
        list += len + 1;
    }
}

static int read_key(struct client_setup *setup, const char *text)
{
    char why[KEYS_WHY_BYTES];
    if (keys_public_parse(&setup->key, text))
        return -1;
    if (keys_load_public(&setup->key, text, why) == FT_OK)
        return -1;
    return say_error(EXIT_USAGE, command, "--cluster-key: %s: neither 64 hex digits nor a key file",
                     text);
}

static int read_link(struct client_setup *setup, const char *text)
{
    struct link_invite invite;
    if (!link_read(&invite, text))
        return say_error(EXIT_USAGE, command, "%s: no invite link, or not a whole one", text);
    setup->key = invite.key;
    memcpy(setup->token, invite.token, sizeof invite.token);
    setup->token_len = sizeof invite.token;
    setup->is_register = true;
    for (uint32_t i = 0; i < invite.server_count; i++)
        setup->servers[setup->server_count++] = invite.servers[i];
    setup->shuffle = true;
    return -1;
}

static void take_config(struct client_setup *setup, const struct config *config, bool servers)
{
    setup->connect_timeout_ms = config->client_connect_timeout_ms;
    setup->retry_ms = config->client_retry_ms;
    for (int slot = 1; servers && slot <= LIMIT_NODES; slot++) {
        const struct config_node *node = &config->nodes[slot];
        if (!node->present)
            continue;
        struct config_address *server = &setup->servers[setup->server_count++];
        strcpy(server->host, node->host);
        server->port = node->port;
        setup->shuffle = true;
    }
}

/* Where the cluster is, and which key it has: options, else the link, else the configuration. */
static int find_cluster(const struct given *given, struct client_setup *setup)
{
    int status = given->link ? read_link(setup, given->link) : -1;
    bool has_key = given->link || given->cluster_key;
    if (status < 0 && given->connect) {
        setup->server_count = 0;
        setup->shuffle = false;
        status = read_servers(setup, given->connect);
    }
    if (status < 0 && given->cluster_key)
        status = read_key(setup, given->cluster_key);
    if (status >= 0)
        return status;
    struct config_file *file = malloc(sizeof *file);
    CHECK(file != NULL);
    bool needed = !has_key || setup->server_count == 0;
    if (needed || given->config) {
        status = config_load(file, command, given->config);
        if (status == EXIT_DONE && !has_key)
            status = config_load_public(file, command, &setup->key);
    } else {
        config_defaults(&file->config);
        status = EXIT_DONE;
    }
    if (status == EXIT_DONE)
        take_config(setup, &file->config, setup->server_count == 0);
    free(file);
    if (status == EXIT_DONE && setup->server_count == 0)
        return bad("no node", "the configuration names none (give --connect HOST:PORT)");
    return status == EXIT_DONE ? -1 : status;
}

/* --- The password ----------------------------------------------------------------------------- */

static int read_password_file(struct client_setup *setup, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, setup->password, PASSWORD_BYTES - 1);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (len < 0)
        return say_error(EXIT_USAGE, command, "%s: cannot be read: %s", path, strerror(error));
    setup->password[len] = '\0';
    char *end = strchr(setup->password, '\n');
    if (end && end > setup->password && end[-1] == '\r')
        end--;
    if (end)
        *end = '\0';
    if (!setup->password[0])
        return say_error(EXIT_DENIED, command, "%s: its first line is empty: no password", path);
    setup->has_password = true;
    return -1;
}

void client_ask_password(struct client_setup *setup)
{
    if (setup->mode != MODE_LINES || !setup->terminal)
        return;
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    struct termios was;
    if (fd < 0 || tcgetattr(fd, &was) != 0)
        return;
    struct termios silent = was;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    (void)dprintf(fd, "Password of %s: ", setup->user);
    (void)tcsetattr(fd, TCSAFLUSH, &silent);
    ssize_t len = read(fd, setup->password, PASSWORD_BYTES - 1);
    (void)tcsetattr(fd, TCSAFLUSH, &was);
    (void)dprintf(fd, "\n");
    close(fd);
    if (len <= 0)
        return;
    setup->password[strcspn(setup->password, "\r\n")] = '\0';
    setup->has_password = setup->password[0] != '\0';
}

static int find_password(const struct given *given, struct client_setup *setup)
{
    const char *variable = getenv("FTCHAT_PASSWORD");
    if (given->password_file)
        return read_password_file(setup, given->password_file);
    if (variable && !*variable)
        return say_error(EXIT_DENIED, command, "FTCHAT_PASSWORD: it is empty: no password");
    if (variable && strlen(variable) >= PASSWORD_BYTES)
        return bad("FTCHAT_PASSWORD", "it is too long");
    if (variable) {
        strcpy(setup->password, variable);
        setup->has_password = true;
        return -1;
    }
    return -1;
}

/* On a terminal a missing name is asked for; elsewhere there is nobody to ask. NULL: none was given. */
static const char *find_user(const struct given *given, const struct client_setup *setup)
{
    static char answer[LIMIT_USER_NAME + 2];
    if (given->user || getenv("USER"))
        return given->user ? given->user : getenv("USER");
    if (!setup->terminal)
        return NULL;
    setvbuf(stdin, NULL, _IONBF, 0); /* what follows is not ours to read */
    fputs("Your name: ", stdout);
    fflush(stdout);
    if (!fgets(answer, sizeof answer, stdin))
        return NULL;
    answer[strcspn(answer, "\r\n")] = 0;
    return answer;
}

int cmd_client(int argc, char **argv)
{
    static struct client_setup setup; /* holds the password: one, and wiped */
    struct given given = { 0 };
    setup = (struct client_setup) { .wait_us = 30 * 1000000 };
    int status = read_options(&given, &setup, argc, argv);
    if (status < 0)
        status = choose_mode(&given, &setup);
    if (status >= 0)
        return status;
    const char *user = find_user(&given, &setup);
    if (!user)
        return bad("--user", "missing (who are you?)");
    uint8_t folded[LIMIT_USER_NAME];
    size_t len = name_fold_user((struct slice) { (const uint8_t *)user, strlen(user) }, folded);
    if (len == 0)
        return say_error(EXIT_USAGE, command, "--user: %s: this cannot be a name", user);
    memcpy(setup.user, folded, len);
    if (!crypto_start())
        return say_error(EXIT_FAILED, command, "the system gives no randomness");
    status = find_cluster(&given, &setup);
    if (status < 0)
        status = find_password(&given, &setup);
    if (status < 0)
        status = client_run(&setup);
    sodium_memzero(&setup, sizeof setup);
    return status;
}
