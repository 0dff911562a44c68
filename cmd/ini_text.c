#include "cmd/ini_text.h"

#include "core/check.h"
#include "core/config_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *at;
    char *end;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text->at, (size_t)(text->end - text->at), format, arguments);
    va_end(arguments);
    CHECK(len >= 0);
    CHECK(len < text->end - text->at);
    text->at += len;
}

static void add_allowed(struct text *text, const struct config_key *key)
{
    if (key->form == FORM_NUMBER || key->form == FORM_PORT)
        add(text, "%u to %u", key->min, key->max);
    else if (key->form == FORM_SWITCH)
        add(text, "yes or no");
    for (int i = 0; key->words && key->words[i]; i++)
        add(text, "%s%s", i ? ", " : "", key->words[i]);
}

static void add_key(struct text *text, const struct config_key *key)
{
    char allowed[160] = "";
    struct text inside = { allowed, allowed + sizeof allowed };
    add_allowed(&inside, key);
    add(text, "# %s%s%s%s\n", key->help, *allowed ? " (" : "", allowed, *allowed ? ")" : "");
    add(text, ";%s =%s%s\n", key->name, key->fallback && *key->fallback ? " " : "",
        key->fallback ? key->fallback : "");
}

static void add_nodes(struct text *text, const struct config_address *nodes, int count)
{
    for (int i = 0; i < count; i++)
        add(text, "\n[node.%d]\nhost = %s\nport = %u\n", i + 1, nodes[i].host, nodes[i].port);
    add(text, "# for each node, where needed:\n");
    for (size_t i = 0; i < config_key_count; i++)
        if (strcmp(config_keys[i].section, "node") == 0 && config_keys[i].fallback &&
            !*config_keys[i].fallback)
            add_key(text, &config_keys[i]);
}

size_t ini_compose(char *out, size_t size, const char *name, char **hosts, int host_count,
                   const char **bad)
{
    struct config_address nodes[LIMIT_NODES];
    struct text text = { out, out + size };
    *bad = NULL;
    if (host_count < 1 || host_count > LIMIT_NODES)
        return 0;
    for (int i = 0; i < host_count; i++) {
        size_t len = strnlen(hosts[i], CONFIG_TEXT_BYTES);
        if (!config_address_parse(&nodes[i], hosts[i], len, CONFIG_PORT_DEFAULT)) {
            *bad = hosts[i];
            return 0;
        }
    }
    add(&text, "# The configuration of an ftchat cluster: one file, the same on every host.\n"
               "# What is commented out is the default. `ftchat ctl check` finds every mistake.\n");
    const char *section = "";
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->section, section) != 0) {
            section = key->section;
            if (strcmp(section, "node") == 0)
                add_nodes(&text, nodes, host_count);
            else
                add(&text, "\n[%s]\n", section);
        }
        if (key->offset == offsetof(struct config, cluster_name) && strcmp(section, "node") != 0)
            add(&text, "# %s\nname = %.*s\n", key->help, CONFIG_TEXT_BYTES / 2,
                name ? name : key->fallback);
        else if (strcmp(section, "node") != 0)
            add_key(&text, key);
    }
    return (size_t)(text.at - out);
}

void ini_print_keys(void)
{
    static char out[CONFIG_FILE_BYTES];
    struct text text = { out, out + sizeof out };
    const char *section = "";
    for (size_t i = 0; i < config_key_count; i++) {
        if (strcmp(config_keys[i].section, section) != 0) {
            section = config_keys[i].section;
            add(&text, "[%s%s]\n", section, strcmp(section, "node") == 0 ? ".N" : "");
        }
        char allowed[160] = "";
        struct text inside = { allowed, allowed + sizeof allowed };
        add_allowed(&inside, &config_keys[i]);
        const char *fallback = config_keys[i].fallback;
        add(&text, "  %-22s %s%s%s%s; default %s\n", config_keys[i].name, config_keys[i].help,
            *allowed ? " (" : "", allowed, *allowed ? ")" : "",
            fallback && *fallback ? fallback
            : fallback            ? "empty"
                                  : "none");
    }
    fputs(out, stdout);
}
