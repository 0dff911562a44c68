/* The table of ftchat.ini's keys: section, name, form, range, default, place in struct config.
 *
 * Everything that has to know a key (parser, defaults, `ctl check --keys`, the tests that see that
 * the shipped file names each) reads this one table. Private to core/config*.c, the tests,
 * cmd/ctl_init.c and cmd/ctl_check.c. */
#ifndef FTCHAT_CORE_CONFIG_KEYS_H
#define FTCHAT_CORE_CONFIG_KEYS_H

#include "core/config.h"

enum config_form {
    FORM_NUMBER,    /* uint32_t, min to max */
    FORM_PORT,      /* uint16_t, min to max */
    FORM_NAME,      /* letters, digits, - _ . ; at most max bytes */
    FORM_PATH,      /* any text that is not empty */
    FORM_COMMAND,   /* any text, or nothing */
    FORM_HOST,      /* a host name, an IPv4 or an IPv6 address */
    FORM_ADDRESS,   /* HOST:PORT, [IPV6]:PORT, or nothing */
    FORM_ADDRESSES, /* up to max of HOST[:PORT], with commas between */
    FORM_SWITCH,    /* bool: yes or no */
    FORM_CHOICE,    /* uint32_t: place of the word in `words` */
    FORM_CHOICES,   /* uint32_t: bits, one for each of `words`, with commas between */
};

struct config_key {
    const char *section; /* "node" stands for node.1 ... node.7 */
    const char *name;
    enum config_form form;
    uint32_t min;
    uint32_t max;
    const char *fallback; /* as it would be written in the file; NULL: none */
    size_t offset;        /* in struct config; of the keys of "node": in struct config_node */
    const char *const *words;
    const char *help;
};

enum { CONFIG_KEYS_MAX = 48 };

extern const struct config_key config_keys[];
extern const size_t config_key_count;

/* Is there such a section ("node" included)? */
bool config_section_known(const char *section);

const struct config_key *config_key_find(const char *section, const char *name);

/* Puts a value into its place (`base` is the struct that `offset` is in); false when it is not of
 * the key's form, and nothing usable has been written then. */
bool config_key_set(const struct config_key *key, void *base, const char *value);

#endif
