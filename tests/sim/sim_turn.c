/* The turns of a server's loop, as the program takes them (core/node/node.h): what waits is taken,
 * peers and the log thread first, then clients, then timers, then the end of the turn. */
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/sim/sim.h"

enum {
    WAKE_UP_US = 40, /* from being ready to running */
    SOCKET_BYTES = 64 << 10,
    MEAN_TURN_US = 15,
    EXEC_US = 5000,
};

void sim_node_want_turn(struct sim_node *node, uint64_t at)
{
    struct world *world = node->world;
    if (!sim_node_up(node))
        return;
    if (at < world->now)
        at = world->now;
    if (at < node->due_at)
        node->due_at = at;
    uint64_t turn = at < node->busy_until ? node->busy_until : at;
    turn += random_below(&world->random, WAKE_UP_US);
    const struct happening *planned = &world->turns.of[node->place];
    if (node->paused || (planned->epoch == node->epoch && turn >= planned->at))
        return;
    world_plan_turn(world, turn, node->place, node->epoch);
}

void sim_node_put(struct sim_node *node, struct item *item)
{
    CHECK(sim_node_up(node));
    *node->inbox_end = item;
    node->inbox_end = &item->next;
    sim_node_want_turn(node, node->world->now);
}

static bool same_link(struct handle a, struct handle b)
{
    return a.link == b.link && a.epoch == b.epoch;
}

static void take_peer(struct sim_node *node, struct item *item, struct node_event *event)
{
    uint8_t slot = (uint8_t)item->id;
    if (!same_link(node->peers[slot], item->link))
        return; /* the node closed it meanwhile */
    event->kind = item->kind == ITEM_PEER_UP     ? EVENT_PEER_UP
                  : item->kind == ITEM_PEER_DOWN ? EVENT_PEER_DOWN
                                                 : EVENT_PEER_MESSAGE;
    event->peer.slot = slot;
    event->peer.end = item->end;
    event->peer.message = (struct slice) { item->data, item->len };
    if (item->kind == ITEM_PEER_DOWN)
        node->peers[slot] = (struct handle) { 0 };
    if (item->kind == ITEM_PEER_MESSAGE)
        network_taken(node->world, item->link, 0, item->len);
    sim_node_step(node, event);
}

static void take_open(struct sim_node *node, struct item *item, struct node_event *event)
{
    struct link *link = network_link(node->world, item->link);
    if (!link || link->ends[0].gone)
        return;
    uint32_t number = 0;
    while (number < SIM_CONNECTIONS && node->connections[number].link)
        number++;
    if (number == SIM_CONNECTIONS) {
        network_close(node->world, item->link, 1);
        return;
    }
    node->connections[number] = item->link;
    network_accept(node->world, item->link, number);
    event->kind = EVENT_OPEN;
    event->client.connection = number;
    event->client.role = link->role;
    event->client.hash = link->hash;
    sim_node_step(node, event);
}

static void take_connection(struct sim_node *node, struct item *item, struct node_event *event)
{
    uint32_t number = 0;
    while (number < SIM_CONNECTIONS && !same_link(node->connections[number], item->link))
        number++;
    if (number == SIM_CONNECTIONS)
        return;
    event->client.connection = number;
    event->client.message = (struct slice) { item->data, item->len };
    event->kind = item->kind == ITEM_MESSAGE ? EVENT_MESSAGE : EVENT_CLOSED;
    if (item->kind == ITEM_MESSAGE)
        network_taken(node->world, item->link, 1, item->len);
    else
        node->connections[number] = (struct handle) { 0 };
    if (item->kind == ITEM_MESSAGE && members_regrets(node, event->client.message))
        return;
    sim_node_step(node, event);
}

static void give_copied(struct sim_node *node, const struct item *item, struct node_event *event)
{
    const struct store_copy_state *state = &item->copy;
    event->kind = EVENT_COPIED;
    event->copied.step = item->step;
    event->copied.result = item->error == FT_OK              ? COPIED_OK
                           : item->error == FT_ERROR_EXISTS  ? COPIED_EXISTS
                           : item->error == FT_ERROR_CORRUPT ? COPIED_CORRUPT
                           : item->error == FT_ERROR_SPACE   ? COPIED_NO_SPACE
                                                             : COPIED_FAILED;
    event->copied.complete = state->complete;
    event->copied.resumed = state->resumed;
    event->copied.piece =
        (struct effect_piece) { (uint8_t)state->next.kind, state->next.index, state->next.offset };
    event->copied.end = state->end;
    event->copied.chain = state->chain;
    sim_node_step(node, event);
}

static void take(struct sim_node *node, struct item *item)
{
    struct node_event event = { .now = sim_node_now(node) };
    switch (item->kind) {
    case ITEM_FLUSHED:
        node->flush_out = false;
        event.kind = EVENT_FLUSHED;
        event.flushed.ticket = item->id;
        event.flushed.no_space = item->failed;
        event.flushed.duration_us = (uint32_t)item->duration_us;
        sim_node_step(node, &event);
        break;
    case ITEM_DISK:
        event.kind = EVENT_DISK;
        event.space = !item->failed;
        sim_node_step(node, &event);
        break;
    case ITEM_HELD:
        node->hold_out = false;
        event.kind = EVENT_HELD;
        event.held.number = item->id;
        event.held.no_space = item->failed;
        sim_node_step(node, &event);
        break;
    case ITEM_READ_DONE:
        event.kind = EVENT_READ_DONE;
        event.read.id = item->id;
        event.read.failed = item->failed;
        event.read.data = (struct slice) { item->data, item->len };
        event.read.more = item->more;
        event.read.older = item->older;
        event.read.size = item->size;
        event.read.last_index = item->last_index;
        sim_node_step(node, &event);
        break;
    case ITEM_CHECKPOINTED:
        event.kind = EVENT_CHECKPOINTED;
        event.checkpointed = item->id;
        sim_node_step(node, &event);
        break;
    case ITEM_RETAINED:
        event.kind = EVENT_RETAINED;
        event.retained = item->id;
        sim_node_step(node, &event);
        break;
    case ITEM_COPIED:
        give_copied(node, item, &event);
        break;
    case ITEM_CHECKED:
        event.kind = EVENT_CHECKED;
        event.checked.file = (uint8_t)item->check.file;
        event.checked.id = item->check.id;
        event.checked.result = (uint8_t)item->check.result;
        event.checked.failed = item->failed;
        event.checked.mended = item->check.mended;
        event.checked.round = item->check.round;
        event.checked.index = item->check.index;
        event.checked.bytes = item->check.bytes;
        event.checked.total = item->check.total;
        sim_node_step(node, &event);
        rot_checked(node);
        break;
    case ITEM_MENDED:
        event.kind = EVENT_MENDED;
        event.mended.failed = item->failed;
        event.mended.done = item->mended;
        event.mended.want_offset = item->want_offset;
        sim_node_step(node, &event);
        break;
    case ITEM_NOTICED:
        event.kind = EVENT_NOTICED;
        event.noticed.file = (uint8_t)item->check.file;
        event.noticed.id = item->check.id;
        sim_node_step(node, &event);
        break;
    case ITEM_PEER_UP:
    case ITEM_PEER_DOWN:
    case ITEM_PEER_MESSAGE:
        take_peer(node, item, &event);
        break;
    case ITEM_OPEN:
        take_open(node, item, &event);
        break;
    case ITEM_MESSAGE:
    case ITEM_CLOSED:
        take_connection(node, item, &event);
        break;
    case ITEM_STOP:
        event.kind = EVENT_STOP;
        sim_node_step(node, &event);
        break;
    }
}

/* Peers and the log thread first. A connection's own events keep their order, for its role decides.
 */
static bool is_first(const struct sim_node *node, const struct item *item)
{
    if (item->kind <= ITEM_PEER_MESSAGE)
        return item->kind < ITEM_READ_DONE || item->kind > ITEM_NOTICED;
    if (item->kind == ITEM_STOP)
        return false;
    const struct link *link = &node->world->network.links[item->link.link - 1];
    return link->epoch == item->link.epoch && link->role == CONNECTION_NODE;
}

static unsigned take_inbox(struct sim_node *node)
{
    struct item *list = node->inbox;
    struct item *later = NULL;
    struct item **later_end = &later;
    unsigned taken = 0;
    node->inbox = NULL;
    node->inbox_end = &node->inbox;
    while (list) {
        struct item *item = list;
        list = item->next;
        taken++;
        if (is_first(node, item)) {
            take(node, item);
            free(item);
        } else {
            item->next = NULL;
            *later_end = item;
            later_end = &item->next;
        }
    }
    while (later) {
        struct item *item = later;
        later = item->next;
        take(node, item);
        free(item);
    }
    return taken;
}

static void give_drained(struct sim_node *node)
{
    uint64_t later = UINT64_MAX;
    while (node->undrained & later) {
        uint32_t number = (uint32_t)__builtin_ctzll(node->undrained & later);
        later = UINT64_MAX << 1 << number;
        struct link *link = network_link(node->world, node->connections[number]);
        if (link && link->ways[1].unread > SOCKET_BYTES)
            continue;
        node->undrained &= ~(UINT64_C(1) << number);
        if (!link)
            continue;
        struct node_event event = { .kind = EVENT_DRAINED, .now = sim_node_now(node) };
        event.client.connection = number;
        sim_node_step(node, &event);
    }
}

static void end_of_step(struct sim_node *node)
{
    struct world *world = node->world;
    if (node->dying) {
        world->report->faults[FAULT_KILL_MID_EFFECTS]++;
        sim_node_die(node, DEATH_KILL);
        faults_restart_later(world, node->place);
        return;
    }
    CHECK(node->halted);
    if (node->halt_status == NODE_STARTS_ANEW) {
        world->report->branches[BRANCH_STARTED_ANEW]++;
        sim_node_die(node, DEATH_EXIT);
        faults_restart_later(world, node->slot);
        return;
    }
    if (node->feature_max < world->level) { /* who may be too old: invariants.c */
        world->report->branches[BRANCH_TOO_OLD] += node->halt_status != 0;
    } else if (node->halt_status != 0)
        sim_fail(world, "node %u ended itself with status %d", node->slot, node->halt_status);
    if (!node->halt_again) {
        world->report->branches[BRANCH_GOAWAY] += node->halt_status == 0;
    } else {
        sim_node_die(node, DEATH_EXIT);
        world_plan(world, HAPPEN_BOOT, world->now + EXEC_US, node->place, 0, node->epoch);
        return;
    }
    sim_node_die(node, DEATH_EXIT);
    faults_restart_later(world, node->place);
}

static void give(struct sim_node *node, enum node_event_kind kind)
{
    struct node_event event = { .kind = kind, .now = sim_node_now(node) };
    sim_node_step(node, &event);
}

void sim_node_turn(struct sim_node *node)
{
    struct world *world = node->world;
    if (!sim_node_up(node) || node->paused)
        return;
    uint64_t late = node->due_at < world->now ? world->now - node->due_at : 0;
    node->due_at = SIM_NEVER;
    if (late > SIM_ELECTION_MIN_US / 2 && /* no time-out is shorter */
        late > raft_election_timeout(node_raft(node->node)) / 2) {
        world->report->branches[BRANCH_LATE]++;
        give(node, EVENT_LATE);
    }
    if (!node->inbox && !node->undrained && node->wake_at > world->now) {
        if (node->wake_at != SIM_NEVER) /* it was put off meanwhile */
            sim_node_want_turn(node, node->wake_at);
        return;
    }
    unsigned taken = take_inbox(node);
    give_drained(node);
    if (node->wake_at <= world->now) {
        node->wake_at = SIM_NEVER;
        give(node, EVENT_TICK);
    }
    give(node, EVENT_TURN_END);
    uint16_t level = node_level(node->node);
    if (level > world->level && level <= node->feature_max) {
        world->report->branches[BRANCH_LEVEL_ROSE]++;
        world->level = level;
    }
    if (!node->dying)
        invariants_turn(node);
    members_turn(node); /* what it sent before it died counts, too */
    if (node->dying || node->halted) {
        end_of_step(node);
        return;
    }
    sim_node_prepare(node);
    sim_node_scrub(node);
    node->busy_until = world->now + MEAN_TURN_US + taken * 2;
    if (node->inbox)
        sim_node_want_turn(node, world->now);
    if (node->undrained)
        sim_node_want_turn(node, world->now + SIM_MS);
    if (node->wake_at != SIM_NEVER)
        sim_node_want_turn(node, node->wake_at);
}
