#include "core/node/state.h"

#include "core/body.h"

/* Whose post a DELETE is about, and where it stands, is in the log and not in the state. So the node
 * that takes the command looks for the post on its disk and puts what it finds into the command, for
 * all to decide by. Meanwhile its session takes nothing that comes after, and whatever did is asked
 * for again. */

static struct target_lookup *lookup_of(struct node *node, const struct session *session,
                                       const struct command *command)
{
    uint32_t connection = session_number(node, session);
    for (uint32_t i = 0; i < NODE_TARGETS; i++) {
        struct target_lookup *lookup = &node->targets[i];
        if (lookup->used && lookup->connection == connection &&
            lookup->generation == session->generation && lookup->seq == command->seq)
            return lookup;
    }
    return NULL;
}

bool target_found(struct node *node, const struct session *session, const struct command *command,
                  struct command_target *target)
{
    struct target_lookup *lookup = lookup_of(node, session, command);
    if (!lookup || !lookup->found)
        return false;
    *target = lookup->target;
    lookup->found = false;
    return true;
}

static struct target_lookup *free_lookup(struct node *node)
{
    for (uint32_t i = 0; i < NODE_TARGETS; i++)
        if (!node->targets[i].used)
            return &node->targets[i];
    return NULL;
}

enum target_begun target_begin(struct node *node, struct session *session,
                               const struct command *command, struct slice body,
                               struct command_target *target, const struct effects *out)
{
    *target = (struct command_target) { .state = TARGET_UNKNOWN };
    uint32_t room = chat_find_room(node->chat, session->account, command->room);
    if (!room || !command->read_seq || command->read_seq > chat_room(node->chat, room)->last_seq)
        return TARGET_NOW;
    if (lookup_of(node, session, command)) {
        session->refused_seq =
            command->seq; /* it came twice; what passed it by did so all the same */
        return TARGET_LATER;
    }
    struct target_lookup *lookup = free_lookup(node);
    if (!lookup)
        return TARGET_BUSY;
    *lookup = (struct target_lookup) { .used = true,
                                       .connection = session_number(node, session),
                                       .generation = session->generation,
                                       .seq = command->seq,
                                       .len = (uint32_t)body.len + 1 };
    CHECK(lookup->len <= sizeof lookup->message);
    lookup->message[0] = WIRE_COMMAND;
    memcpy(lookup->message + 1, body.data, body.len);
    session->refused_seq = command->seq;
    session->passed_over = false;
    struct effect effect = {
        .kind = EFFECT_READ_POSTS,
        .read = { .id = read_id(READ_FOR_TARGET, 0, (uint32_t)(lookup - node->targets)),
                  .capacity = NODE_STORE_HEAD_BYTES + LIMIT_COMMAND_BYTES,
                  .posts = { .room = room,
                             .seq_from = command->read_seq,
                             .seq_to = command->read_seq,
                             .upto_index = node_settled(node),
                             .max_records = 1 } },
    };
    effect_emit(out, &effect);
    return TARGET_LATER;
}

/* CODE_OK: lookup->target says what was found, if only that nothing is kept. */
static enum chat_code look(struct node *node, struct target_lookup *lookup,
                           const struct node_event *event)
{
    struct command_target *target = &lookup->target;
    *target = (struct command_target) { .state = TARGET_GONE };
    if (event->read.failed)
        return CODE_UNAVAILABLE;
    if (!event->read.data.len)
        return event->read.more ? CODE_BUSY : CODE_OK; /* not durable here yet: soon it is */
    struct reader reader = reader_of(event->read.data.data, event->read.data.len);
    struct stored_record stored = stored_next(&reader);
    struct command post;
    uint8_t *copy = node->scratch;
    if (!command_decode(&post, stored.body))
        return CODE_OK;
    memcpy(copy, stored.body.data, stored.body.len);
    if (!body_erase(node->options.crypto, copy, stored.body.len))
        return CODE_OK;
    /* Erased elsewhere already, and the command that deleted it is not applied here yet: still. */
    bool deleted = stored.kind == NODE_STORE_DELETED || post.flags & POST_ERASED;
    target->state = deleted ? TARGET_DELETED : TARGET_THERE;
    target->index = stored.index;
    target->author = post.account;
    target->check = body_erased_check(node->options.crypto, copy, stored.body.len);
    return CODE_OK;
}

static void refuse(struct node *node, struct session *session, const struct target_lookup *lookup,
                   enum chat_code code, const struct effects *out)
{
    struct command command;
    bool decoded =
        command_decode(&command, (struct slice) { lookup->message + 1, lookup->len - 1 });
    CHECK(decoded);
    struct chat_answer refusal = { .code = code };
    session_answer(node, session, command.seq, command_digest(&command, node->options.crypto),
                   &refusal, out);
}

void target_read_done(struct node *node, uint32_t number, const struct node_event *event,
                      const struct effects *out)
{
    CHECK(number < NODE_TARGETS);
    struct target_lookup *lookup = &node->targets[number];
    CHECK(lookup->used && !lookup->found);
    struct session *session = session_if_same(node, lookup->connection, lookup->generation);
    /* Whatever became of it meanwhile: it may have come to the log by another node, and wait for its answer here. */
    enum chat_code code = session ? look(node, lookup, event) : CODE_OK;
    if (session && code != CODE_OK) {
        refuse(node, session, lookup, code, out);
    } else if (session) {
        uint32_t device = session->device;
        bool passed_over = session->passed_over;
        lookup->found = true;
        session_message(node, lookup->connection, (struct slice) { lookup->message, lookup->len },
                        out);
        session = session_if_same(node, lookup->connection, lookup->generation);
        if (session && passed_over && !session->refused_seq)
            forward_nack_client(node, device, lookup->seq + 1, out);
    }
    lookup->used = lookup->found = false;
}
