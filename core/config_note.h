/* Writing a note of a config_report: pieces of text and numbers, one after the other, cut at the
 * end of the field. Private to core/config*.c. */
#ifndef FTCHAT_CORE_CONFIG_NOTE_H
#define FTCHAT_CORE_CONFIG_NOTE_H

#include "core/config.h"

struct config_key;

/* The next note, about `line`; counted, and written to a spare one, when the report is full. */
struct config_note *config_note(struct config_report *report, uint32_t line);
void note_text(struct config_note *note, const char *text);
void note_number(struct config_note *note, uint64_t number);
/* `[log] segment_mb: ` or, for a key of node 2, `[node.2] port: `. */
void note_key(struct config_note *note, const char *section, uint32_t node, const char *name);
/* What is allowed: `expected a number from 1 to 1024`. */
void note_expected(struct config_note *note, const struct config_key *key);

#endif
