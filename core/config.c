/* Reading the file: inih's parser, fed line by line through a reader of our own.
 *
 * inih alone would let too much pass: it reports an over-long line and still hands over what fits,
 * takes an indented key for more of the value before, ignores what follows a section's ']', never
 * mentions a section without keys, and tells the handler no line number. So the reader looks at
 * each line first, keeps the section and the number, and hands inih an empty line in place of one
 * that is refused. Parsing goes on after a mistake, so that one run shows them all. */
#include "core/config.h"

#include "core/check.h"
#include "core/config_keys.h"
#include "core/config_note.h"
#include "core/config_rules.h"

#include <ini.h>
#include <string.h>

struct parser {
    struct config *config;
    struct config_report *report;
    const char *at;
    const char *end;
    const char *section; /* as in the table of keys; "" before the first; NULL: refused */
    uint32_t node;       /* N of [node.N], else 0 */
    struct config_lines lines;
    uint32_t line;
    uint32_t section_lines[CONFIG_KEYS_MAX]; /* by the section's first key */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void refuse(struct parser *parser, const char *why)
{
    note_text(config_note(parser->report, parser->line), why);
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 && text[i] != '\t')
            return true;
    return false;
}

static void refuse_section(struct parser *parser, const char *name, const char *why)
{
    struct config_note *note = config_note(parser->report, parser->line);
    note_text(note, "[");
    note_text(note, name);
    note_text(note, "]: ");
    note_text(note, why);
    parser->section = NULL;
}

static void refuse_second(struct parser *parser, const char *name, uint32_t first)
{
    struct config_note *note = config_note(parser->report, parser->line);
    note_text(note, "[");
    note_text(note, name);
    note_text(note, "]: given twice, first in line ");
    note_number(note, first);
    parser->section = NULL;
}

static void enter_node(struct parser *parser, const char *name)
{
    const char *digit = name + strlen("node.");
    if (*digit < '1' || *digit > '0' + LIMIT_NODES || digit[1] != '\0') {
        refuse_section(parser, name, "unknown section (nodes are node.1 to node.7)");
        return;
    }
    parser->node = (uint32_t)(*digit - '0');
    parser->section = "node";
    struct config_node *node = &parser->config->nodes[parser->node];
    if (node->present) {
        refuse_second(parser, name, node->line);
        return;
    }
    node->present = true;
    node->line = parser->line;
    parser->config->node_count++;
}

static void enter_section(struct parser *parser, const char *name)
{
    parser->node = 0;
    parser->section = NULL;
    if (strncmp(name, "node.", 5) == 0) {
        enter_node(parser, name);
        return;
    }
    for (size_t i = 0; i < config_key_count; i++) {
        if (strcmp(config_keys[i].section, name) != 0 || strcmp(name, "node") == 0)
            continue;
        parser->section = config_keys[i].section;
        if (parser->section_lines[i])
            refuse_second(parser, name, parser->section_lines[i]);
        else
            parser->section_lines[i] = parser->line;
        return;
    }
    refuse_section(parser, name,
                   "unknown section (expected cluster, node.N, raft, log, health, client, "
                   "monitor, accounts, chaos, time or limits)");
}

/* `[name]`, and after it nothing but blanks or a comment. */
static bool take_section(struct parser *parser, const char *text, size_t len)
{
    char name[CONFIG_TEXT_BYTES];
    const char *close = memchr(text, ']', len);
    size_t name_len = close ? (size_t)(close - text) - 1 : 0;
    const char *rest = close ? close + 1 : text;
    while (rest < text + len && is_blank(*rest))
        rest++;
    if (!close || (rest < text + len && *rest != ';' && *rest != '#')) {
        refuse(parser, "expected [section] alone on its line");
        parser->section = NULL;
        return false;
    }
    CHECK(name_len < sizeof name);
    memcpy(name, text + 1, name_len);
    name[name_len] = '\0';
    enter_section(parser, name);
    return parser->section != NULL;
}

/* Is the line one that inih may see? */
static bool admit_line(struct parser *parser, const char *text, size_t len)
{
    if (len > CONFIG_LINE_BYTES) {
        struct config_note *note = config_note(parser->report, parser->line);
        note_text(note, "the line is too long: expected at most ");
        note_number(note, CONFIG_LINE_BYTES);
        note_text(note, " bytes");
        return false;
    }
    if (has_control(text, len)) {
        refuse(parser, "a control character: expected text");
        return false;
    }
    size_t start = 0;
    while (start < len && is_blank(text[start]))
        start++;
    if (start == len || text[start] == ';' || text[start] == '#')
        return false;
    if (start > 0) {
        refuse(parser, "the line is indented: expected [section] or key = value at its begin");
        return false;
    }
    if (text[0] == '[')
        return take_section(parser, text, len);
    return true;
}

/* inih's reader: like fgets. */
static char *read_line(char *out, int size, void *stream)
{
    struct parser *parser = stream;
    CHECK(size >= CONFIG_LINE_BYTES + 2);
    if (parser->at == parser->end)
        return NULL;
    const char *text = parser->at;
    const char *newline = memchr(text, '\n', (size_t)(parser->end - text));
    size_t len = newline ? (size_t)(newline - text) : (size_t)(parser->end - text);
    parser->at = newline ? newline + 1 : parser->end;
    parser->line++;
    if (parser->line == 1 && len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        len -= 3;
    }
    if (len > 0 && text[len - 1] == '\r')
        len--;
    if (!admit_line(parser, text, len))
        len = 0;
    memcpy(out, text, len);
    memcpy(out + len, "\n", 2);
    return out;
}

static void refuse_key(struct parser *parser, const char *name)
{
    struct config_note *note = config_note(parser->report, parser->line);
    note_key(note, parser->section, parser->node, name);
    note_text(note, "unknown key (expected ");
    bool first = true;
    for (size_t i = 0; i < config_key_count; i++) {
        if (strcmp(config_keys[i].section, parser->section) != 0)
            continue;
        note_text(note, first ? "" : ", ");
        note_text(note, config_keys[i].name);
        first = false;
    }
    note_text(note, ")");
}

static void set_key(struct parser *parser, const struct config_key *key, const char *value)
{
    size_t place = (size_t)(key - config_keys);
    CHECK(place < CONFIG_KEYS_MAX);
    CHECK(parser->node <= LIMIT_NODES);
    uint32_t *line = &parser->lines.at[parser->node][place];
    if (*line) {
        struct config_note *note = config_note(parser->report, parser->line);
        note_key(note, key->section, parser->node, key->name);
        note_text(note, "given twice, first in line ");
        note_number(note, *line);
        return;
    }
    *line = parser->line;
    void *base = parser->node ? (void *)&parser->config->nodes[parser->node] : parser->config;
    if (config_key_set(key, base, value))
        return;
    struct config_note *note = config_note(parser->report, parser->line);
    note_key(note, key->section, parser->node, key->name);
    note_text(note, *value ? value : "nothing");
    note_text(note, ": ");
    note_expected(note, key);
}

/* inih's handler; its own idea of the section is not used, being clipped. Always 1: a 0 would only
 * make inih remember the line, which the report has already. */
static int take_key(void *user, const char *section, const char *name, const char *value)
{
    struct parser *parser = user;
    (void)section;
    if (!parser->section)
        return 1;
    if (parser->section[0] == '\0') {
        struct config_note *note = config_note(parser->report, parser->line);
        note_text(note, name);
        note_text(note, ": before the first [section]");
        return 1;
    }
    const struct config_key *key = config_key_find(parser->section, name);
    if (key)
        set_key(parser, key, value);
    else
        refuse_key(parser, name);
    return 1;
}

static bool has_note(const struct config_report *report, uint32_t line)
{
    for (uint32_t i = 0; i < report->count && i < LIMIT_NOTES; i++)
        if (report->notes[i].line == line)
            return true;
    return false;
}

void config_defaults(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->section, "node") == 0)
            continue;
        bool good = config_key_set(key, config, key->fallback);
        CHECK(good);
    }
}

bool config_parse(struct config *config, struct config_report *report, const char *text, size_t len)
{
    CHECK(config != NULL);
    CHECK(report != NULL);
    config_defaults(config);
    report->count = 0;
    if (len > CONFIG_FILE_BYTES) {
        struct config_note *note = config_note(report, 0);
        note_text(note, "the file is too long: expected at most ");
        note_number(note, CONFIG_FILE_BYTES);
        note_text(note, " bytes");
        return false;
    }
    struct parser parser = { .config = config, .report = report, .section = "" };
    parser.at = text;
    parser.end = text + len;
    int failed = ini_parse_stream(read_line, &parser, take_key, &parser);
    CHECK(failed >= 0); /* nothing is opened or allocated */
    if (failed && !has_note(report, (uint32_t)failed))
        note_text(config_note(report, (uint32_t)failed), "expected key = value");
    if (report->count == 0)
        config_apply_rules(config, report, &parser.lines);
    return report->count == 0;
}
