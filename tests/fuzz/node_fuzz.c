/* A node and what anybody may send it: clients logged in and strangers, ctl, nodes that have not said
 * who they are. Whatever comes, the node goes on; afterwards it still serves a client that is honest.
 *
 * The input is a list of happenings, each two bytes and what they need: how (low nibble) and on which
 * connection (high nibble), then the length of a message (in bytes) and the message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/test_node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HONEST = 0, FIRST = 1, LAST = 7 };

static bool is_open[NODES_CONNECTIONS];

static void notice_closed(struct nodes *nodes)
{
    for (unsigned i = 0; i < NODES_CONNECTIONS; i++)
        if (nodes->closed[i])
            is_open[i] = false;
}

static void take(struct nodes *nodes, uint32_t connection, unsigned how, struct slice message)
{
    switch (how) {
    case 0:
        nodes_run(nodes, 5000 * (1 + message.len));
        break;
    case 1:
        if (is_open[connection])
            nodes_closed(nodes, connection);
        is_open[connection] = false;
        break;
    case 2:
    case 3:
    case 4:
        if (is_open[connection])
            break;
        nodes_open(nodes, connection, (enum node_connection_role)(how - 2));
        is_open[connection] = true;
        break;
    case 5: {
        struct node_event event = { .kind = EVENT_DRAINED, .now = nodes->now };
        event.client.connection = connection;
        if (is_open[connection])
            node_step(nodes->node, &event, &nodes->effects);
        break;
    }
    default:
        if (is_open[connection] && message.len)
            nodes_message(nodes, connection, message.data, message.len);
    }
    notice_closed(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nodes *nodes = nodes_new(1, 4 << 20);
    memset(is_open, 0, sizeof is_open);
    nodes_form(nodes);
    uint32_t honest = nodes_user(nodes, HONEST, "honest");
    (void)nodes_user(nodes, FIRST, "hostile");
    is_open[HONEST] = is_open[FIRST] = true;
    nodes_create(nodes, HONEST, honest, 1, "#own");
    nodes_run(nodes, 50000);
    CHECK(nodes->answered[HONEST][1]);
    struct reader reader = reader_of(data, size);
    while (reader_left(&reader) >= 2 && !nodes->halted) {
        uint8_t what = read_u8(&reader);
        size_t len = read_u8(&reader);
        if (len > reader_left(&reader))
            len = reader_left(&reader);
        uint8_t *copy = malloc(len + 1);
        CHECK(copy != NULL);
        if (len)
            memcpy(copy, read_bytes(&reader, len), len);
        take(nodes, FIRST + (what >> 4) % (LAST - FIRST), what % 8, (struct slice) { copy, len });
        free(copy);
    }
    if (!nodes->halted) {
        CHECK(!nodes->closed[HONEST]);
        nodes_run(nodes, 50000);
        nodes_post(nodes, HONEST, honest, 2, 2, "#own", 5);
        for (unsigned i = 0; i < 100 && !nodes->answered[HONEST][2]; i++)
            nodes_run(nodes, 50000);
        CHECK(nodes->answered[HONEST][2]);
        CHECK(nodes->answers[HONEST][2].code == CODE_OK);
    }
    nodes_free(nodes);
    return 0;
}
