/* A client and a node that says whatever it likes: the client goes on, and what it once kept in its
 * outbox is only ever given up by a final answer to it.
 *
 * The input is a list of happenings: how (a byte), and for a message its length (a byte) and bytes. */
#include "tests/client_script.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void happen(struct script *script, uint8_t how, struct slice message)
{
    switch (how % 16) {
    case 0:
        script_tick(script, 1000 * (1 + (uint64_t)how));
        break;
    case 1:
        if (script->wake_at_us != UINT64_MAX)
            script_wake(script);
        break;
    case 2:
        if (script->connected || script->dialled)
            script_closed(script, (enum client_end)(how / 16 % 4));
        break;
    case 3:
    case 4:
        if (script->dialled)
            script_connected(script);
        break;
    case 5:
        if (script->derive_asked)
            script_derived(script);
        break;
    case 6:
        if (script->device_asked)
            script_new_device(script, how);
        break;
    case 7:
        if (client_has_room(script->client))
            script_send(script, "1", "words");
        break;
    case 8:
        if (client_has_room(script->client))
            script_op(script, (struct client_op) { .kind = CLIENT_HISTORY,
                                                   .id = script_text("7"),
                                                   .room = script_text("#ops"),
                                                   .limit = 20 });
        break;
    case 9:
        if (script->connected)
            script_ready(script, how & 16, how & 32 ? 3 : 0);
        break;
    default:
        if (script->connected && message.len)
            script_message(script, message.data, message.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script *script = size && data[0] & 1 ? script_new(2) : script_online(2);
    struct reader reader = reader_of(data, size);
    (void)read_u8(&reader);
    while (reader_left(&reader) >= 2 && !script->exited) {
        uint8_t how = read_u8(&reader);
        size_t len = how % 16 >= 10 ? read_u8(&reader) : 0;
        if (len > reader_left(&reader))
            len = reader_left(&reader);
        uint8_t *copy = malloc(len + 1);
        CHECK(copy != NULL);
        if (len)
            memcpy(copy, read_bytes(&reader, len), len);
        happen(script, how, (struct slice) { copy, len });
        free(copy);
    }
    script_free(script);
    return 0;
}
