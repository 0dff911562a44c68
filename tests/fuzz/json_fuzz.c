/* A JSON line of any bytes: read without leaving its buffers, and answered by whole lines. */
#include "cmd/client/client_json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_op op;
    struct text_out out = { 0 };
    uint8_t *scratch = malloc(2 * LIMIT_LINE_BYTES);
    enum json_line kind = json_read_op((struct slice) { data, size }, scratch, &op, &out);
    if (kind == JSON_LINE_ERROR && (text_len(&out) < 2 || out.data[out.end - 1] != '\n'))
        abort();
    if (kind == JSON_LINE_OP) {
        text_json(&out, op.text);
        text_visible(&out, op.text, true);
        text_visible(&out, op.room, false);
        if (op.id.len > LIMIT_LINE_BYTES || op.room.len > LIMIT_LINE_BYTES)
            abort();
    }
    text_free(&out);
    free(scratch);
    return 0;
}
