/* What others wrote, on a terminal and as JSON lines: nothing of it may move the cursor, change the
 * direction of text, hide, or end a line that is not its own. The input is a record or a result as a
 * node sends it; the first byte chooses. */
#include <stdlib.h>
#include <string.h>

#include "cmd/client/client_app.h"
#include "cmd/client/client_json.h"
#include "core/chat/text.h"
#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Written anew from the Unicode tables' point of view, not copied from text_out.c. */
static bool is_harmless(uint32_t point)
{
    if (point == '\n')
        return true;
    if (point < 0x20 || (point >= 0x7f && point <= 0x9f))
        return false;
    return !(point >= 0x202a && point <= 0x202e) && !(point >= 0x2066 && point <= 0x2069) &&
           point != 0x200e && point != 0x200f && point != 0x061c && point != 0x2028 &&
           point != 0x2029 && point != 0x200b && point != 0xfeff;
}

static void check_text(const struct text_out *out, unsigned lines)
{
    struct slice text = { (const uint8_t *)out->data + out->start, text_len(out) };
    unsigned ends = 0;
    CHECK(text.len > 0);
    CHECK(text.data[text.len - 1] == '\n');
    while (text.len) {
        uint32_t point;
        size_t step = text_decode(text, &point);
        CHECK(step > 0);
        CHECK(is_harmless(point));
        ends += point == '\n';
        text = (struct slice) { text.data + step, text.len - step };
    }
    CHECK(ends == lines || lines == 0);
}

/* One object a line, with nothing raw in it that a reader of lines would stumble over. */
static void check_json(const struct text_out *out)
{
    const char *text = out->data + out->start;
    size_t len = text_len(out);
    CHECK(len > 2);
    CHECK(text[0] == '{' && text[len - 2] == '}' && text[len - 1] == '\n');
    for (size_t i = 0; i + 1 < len; i++)
        CHECK((uint8_t)text[i] >= 0x20 && text[i] != 0x7f);
    CHECK(text_is_utf8((struct slice) { (const uint8_t *)text, len }));
}

static void show(const struct client_output *output, unsigned lines)
{
    struct client_setup setup = { .mode = MODE_LINES };
    struct app app = { .setup = &setup };
    lines_output(&app, output);
    if (text_len(&app.out))
        check_text(&app.out, lines);
    text_free(&app.out);
    json_write_output(&app.out, output);
    check_json(&app.out);
    text_free(&app.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t *copy = malloc(size);
    CHECK(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    struct slice message = { copy, size - 1 };
    struct wire_record record;
    struct wire_result result;
    struct client_output output = { .kind = CLIENT_OUT_RECORD, .record = &record };
    if (data[0] & 1) {
        if (wire_decode_record(&record, message))
            show(&output, 1);
    } else if (data[0] & 2) {
        output.kind = CLIENT_OUT_SKIPPED;
        output.skipped.room = message;
        output.skipped.from = 1;
        output.skipped.to = 2;
        show(&output, 1);
    } else if (wire_decode_result(&result, message)) {
        output.kind = CLIENT_OUT_RESULT;
        output.result.id = (struct slice) { (const uint8_t *)"1", 1 };
        output.result.result = &result;
        show(&output, 0);
    }
    free(copy);
    return 0;
}
