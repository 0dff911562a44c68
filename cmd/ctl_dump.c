/* `ftchat ctl dump`: a stopped node's log as JSON lines, one command each. */
#include "cmd/client/text_out.h"
#include "cmd/commands.h"
#include "cmd/config_load.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_folder.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"
#include "core/chat/command.h"
#include "core/entry.h"
#include "core/raft/raft.h"

#include <inttypes.h>
#include <stdio.h>

enum { OPTION_FROM, OPTION_TO };
static const struct option_row rows[] = {
    [OPTION_FROM] = { "from", 0, "INDEX", "begin here (default 1)" },
    [OPTION_TO] = { "to", 0, "INDEX", "end here (default: the log's end)" },
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl dump",
    "[N] [--from INDEX] [--to INDEX]",
    "Prints the log of node N (default: the first that has its folder on this host), one command "
    "a\n"
    "line, secrets left out. Changes nothing. What is behind the last commit is there too: it may\n"
    "never count.",
    rows,
};

struct dumping {
    uint64_t from;
    uint64_t to;
    struct text_out out;
};

static const char *const names[] = {
    [COMMAND_GENESIS] = "genesis", [COMMAND_FORMED] = "formed", [COMMAND_INVITE] = "invite",
    [COMMAND_ENROL] = "enrol",     [COMMAND_HEALTH] = "health", [COMMAND_POST] = "post",
    [COMMAND_CREATE] = "create",   [COMMAND_JOIN] = "join",     [COMMAND_PART] = "part",
    [COMMAND_TOPIC] = "topic",     [COMMAND_READ] = "read",     [COMMAND_CLOSE] = "close",
    [COMMAND_VOID] = "void",       [COMMAND_DELETE] = "delete",
};

static void add_number(struct text_out *out, const char *name, uint64_t number)
{
    text_word(out, ",\"");
    text_word(out, name);
    text_word(out, "\":");
    text_number(out, number);
}

static void add_text(struct text_out *out, const char *name, struct slice text)
{
    text_word(out, ",\"");
    text_word(out, name);
    text_word(out, "\":");
    text_json(out, text);
}

static void add_hex(struct text_out *out, const char *name, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    text_word(out, ",\"");
    text_word(out, name);
    text_word(out, "\":\"");
    for (size_t i = 0; i < len; i++) {
        const char pair[2] = { digits[data[i] >> 4], digits[data[i] & 15] };
        text_add(out, pair, 2);
    }
    text_word(out, "\"");
}

static void add_time(struct text_out *out, const char *name, uint64_t time_us)
{
    text_word(out, ",\"");
    text_word(out, name);
    text_word(out, "\":\"");
    text_time(out, time_us);
    text_word(out, "\"");
}

static void add_device_fields(struct text_out *out, const struct command *command)
{
    text_word(out, ",\"uid\":\"");
    text_uid(out, command->tag, command->seq);
    text_word(out, "\"");
    add_number(out, "account", command->account);
    add_number(out, "device", command->device);
    add_number(out, "seq", command->seq);
    add_number(out, "done", command->seq - command->beyond);
    if (command->room.len)
        add_text(out, "room", command->room);
    if (command->kind == COMMAND_POST || command->kind == COMMAND_TOPIC)
        add_text(out, command->kind == COMMAND_POST ? "text" : "topic", command->text);
    if (command->kind == COMMAND_POST && command->flags & POST_ME)
        text_word(out, ",\"me\":true");
    if (command->kind == COMMAND_POST && command->flags & POST_SENT)
        add_time(out, "sent", command->sent_us);
    if (command->kind == COMMAND_POST && command->flags & POST_REPLY)
        add_number(out, "reply_to", command->reply_to);
    if (command->kind == COMMAND_POST && command->flags & POST_ERASED)
        text_word(out, ",\"erased\":true");
    if (command->kind == COMMAND_CREATE)
        text_word(out, command->flags & 1 ? ",\"private\":true" : ",\"private\":false");
    if (command->kind == COMMAND_READ)
        add_number(out, "read", command->read_seq);
    if (command->kind == COMMAND_DELETE) {
        add_number(out, "post", command->read_seq);
        add_number(out, "post_index", command->target.index);
    }
}

static void add_other_fields(struct text_out *out, const struct command *command)
{
    switch (command->kind) {
    case COMMAND_GENESIS:
        add_number(out, "slots", command->slots);
        add_number(out, "segment_bytes", command->segment_bytes);
        break;
    case COMMAND_INVITE:
        add_number(out, "uses", command->uses);
        if (command->expires_us != UINT64_MAX)
            add_time(out, "expires", command->expires_us);
        break;
    case COMMAND_ENROL:
        add_text(out, "user", command->name);
        text_word(out,
                  command->flags & ENROL_REGISTER ? ",\"register\":true" : ",\"register\":false");
        add_hex(out, "device_key", command->device_key, PUBLIC_KEY_BYTES);
        break;
    default:
        break;
    }
}

static void add_command(struct text_out *out, struct slice body)
{
    struct command command;
    bool good = command_decode(&command, body) && command.kind < sizeof names / sizeof names[0] &&
                names[command.kind];
    text_word(out, ",\"kind\":\"");
    text_word(out, good ? names[command.kind] : "unknown");
    text_word(out, "\"");
    if (!good)
        add_number(out, "bytes", body.len);
    else if (command.kind >= COMMAND_DEVICE_KINDS)
        add_device_fields(out, &command);
    else
        add_other_fields(out, &command);
}

static void add_members(struct text_out *out, struct slice body)
{
    struct raft_config config;
    text_word(out, ",\"kind\":\"config\",\"members\":[");
    if (raft_config_decode(&config, body.data, body.len)) {
        for (unsigned i = 0; i < config.count; i++) {
            text_word(out, i ? ",{\"id\":" : "{\"id\":");
            text_number(out, config.members[i].slot);
            text_word(out, config.members[i].voter ? ",\"voter\":true" : ",\"voter\":false");
            if (config.members[i].vacant)
                text_word(out, ",\"vacant\":true");
            add_hex(out, "identity", config.members[i].identity, IDENTITY_BYTES);
            text_word(out, "}");
        }
    }
    text_word(out, "]");
}

static bool print_entry(void *ctx, const struct entry *entry)
{
    struct dumping *dumping = ctx;
    struct text_out *out = &dumping->out;
    struct entry_cursor cursor = { 0 };
    struct slice body;
    for (uint64_t index = entry->first; entry_next(entry, &cursor, &body); index++) {
        if (index < dumping->from || index > dumping->to)
            continue;
        out->start = out->end = 0;
        text_word(out, "{\"index\":");
        text_number(out, index);
        add_number(out, "term", entry->term);
        add_time(out, "time", entry->time_us);
        if (entry->kind == ENTRY_COMMANDS)
            add_command(out, body);
        else if (entry->kind == ENTRY_CONFIG)
            add_members(out, body);
        else
            text_word(out, ",\"kind\":\"noop\"");
        text_word(out, "}\n");
        if (fwrite(out->data + out->start, 1, text_len(out), stdout) != text_len(out))
            return false;
    }
    return true;
}

static int dump(const struct config_file *file, unsigned slot, struct dumping *dumping)
{
    struct ctl_folder folder;
    int status = ctl_folder_open(&folder, "ctl dump", file, slot);
    if (status)
        return status;
    const struct store_walk walk = {
        .from = dumping->from, .to = dumping->to, .each = print_entry, .ctx = dumping
    };
    enum ft_error error = store_walk_folder(&folder.disk, &crypto_sodium, &walk);
    disk_posix_close(&folder.disk);
    text_free(&dumping->out);
    status = say_flushed("ctl dump");
    return error ? ctl_folder_error("ctl dump", folder.path, slot, error) : status;
}

int ctl_dump(int argc, char **argv)
{
    static struct config_file file;
    struct dumping dumping = { .from = 1, .to = UINT64_MAX };
    struct ctl_given given = { .takes = CTL_SLOT };
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option == OPTIONS_EXIT)
            return options.status;
        uint64_t *bound = option == OPTION_FROM ? &dumping.from : &dumping.to;
        if (!options_number(&options, rows[option].name, 1, INT64_MAX, bound))
            return EXIT_USAGE;
    }
    int status = config_load(&file, "ctl dump", given.config);
    if (status)
        return status;
    if (!crypto_start())
        return say_error(EXIT_FAILED, "ctl dump", "the system gives no randomness");
    uint8_t slot = given.slot;
    for (uint8_t first = 1; first <= LIMIT_NODES && !slot; first++)
        if (file.config.nodes[first].present && ctl_folder_exists(&file, first))
            slot = first;
    if (!slot)
        return say_error(EXIT_FAILED, "ctl dump", "no node of %s has its folder on this host",
                         file.path);
    return dump(&file, slot, &dumping);
}
