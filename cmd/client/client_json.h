/* The JSON lines of a client (product.md): a line into an op, an output into a line.
 *
 * An id is kept as it was written in the line (a JSON value), and so echoed. */
#ifndef FTCHAT_CMD_CLIENT_CLIENT_JSON_H
#define FTCHAT_CMD_CLIENT_CLIENT_JSON_H

#include "cmd/client/text_out.h"
#include "core/client/client.h"

enum json_line {
    JSON_LINE_OP,    /* for the core */
    JSON_LINE_ERROR, /* answered by an `error` line, written to `out` */
    JSON_LINE_QUIT,
    JSON_LINE_NOTHING, /* an op without an answer */
};

/* `scratch` holds 2 * LIMIT_LINE_BYTES; the op points into it and into the line. */
enum json_line json_read_op(struct slice line, uint8_t *scratch, struct client_op *op,
                            struct text_out *out);
void json_write_output(struct text_out *out, const struct client_output *output);
void json_write_error(struct text_out *out, struct slice id, enum chat_code code,
                      const char *message);
/* One message object, without a line end. */
void json_write_record(struct text_out *out, const struct wire_record *record);

#endif
