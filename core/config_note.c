#include "core/config_note.h"

#include "core/check.h"
#include "core/config_keys.h"

#include <string.h>

struct config_note *config_note(struct config_report *report, uint32_t line)
{
    CHECK(report->count < UINT32_MAX);
    uint32_t place = report->count < LIMIT_NOTES ? report->count : LIMIT_NOTES;
    report->count++;
    struct config_note *note = &report->notes[place];
    note->line = line;
    note->len = 0;
    note->text[0] = '\0';
    return note;
}

void note_text(struct config_note *note, const char *text)
{
    CHECK(note->len < sizeof note->text);
    size_t room = sizeof note->text - 1 - note->len;
    size_t len = strnlen(text, room);
    memcpy(note->text + note->len, text, len);
    note->len += len;
    note->text[note->len] = '\0';
}

void note_number(struct config_note *note, uint64_t number)
{
    char digits[21];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    note_text(note, digits + at);
}

void note_key(struct config_note *note, const char *section, uint32_t node, const char *name)
{
    note_text(note, "[");
    note_text(note, section);
    if (node) {
        note_text(note, ".");
        note_number(note, node);
    }
    note_text(note, "] ");
    note_text(note, name);
    note_text(note, ": ");
}

static void note_words(struct config_note *note, const char *const *words)
{
    for (size_t i = 0; words[i]; i++) {
        note_text(note, i ? ", " : "");
        note_text(note, words[i]);
    }
}

void note_expected(struct config_note *note, const struct config_key *key)
{
    note_text(note, "expected ");
    switch (key->form) {
    case FORM_NUMBER:
    case FORM_PORT:
        note_text(note, "a number from ");
        note_number(note, key->min);
        note_text(note, " to ");
        note_number(note, key->max);
        break;
    case FORM_NAME:
        note_text(note, "1 to ");
        note_number(note, key->max);
        note_text(note, " of a-z A-Z 0-9 - _ .");
        break;
    case FORM_PATH:
        note_text(note, "a path");
        break;
    case FORM_COMMAND:
        note_text(note, "a command, or nothing");
        break;
    case FORM_HOST:
        note_text(note, "a host name or an IP address (without port or brackets)");
        break;
    case FORM_ADDRESS:
        note_text(note, "HOST:PORT or [IPV6]:PORT, port 1 to 65535, or nothing");
        break;
    case FORM_ADDRESSES:
        note_text(note, "up to ");
        note_number(note, key->max);
        note_text(note, " of HOST[:PORT], with commas between");
        break;
    case FORM_SWITCH:
        note_text(note, "yes or no");
        break;
    case FORM_CHOICE:
        note_text(note, "one of ");
        note_words(note, key->words);
        break;
    case FORM_CHOICES:
        note_text(note, "some of ");
        note_words(note, key->words);
        note_text(note, ", with commas between");
        break;
    }
}
