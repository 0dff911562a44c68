#include "cmd/node/server.h"

#include "core/check.h"

#include <stdlib.h>
#include <string.h>

static void flush(struct server *server, const struct effect_flush *effect)
{
    struct store_flush flush = {
        .number = effect->ticket,
        .save_cluster = effect->save_cluster,
        .save_vote = effect->save_vote,
        .term = effect->term,
        .lost = { effect->lost_term, effect->lost_last },
        .truncate_from = effect->truncate_from,
        .entries = { effect->entries[0], effect->entries[1] },
    };
    memcpy(flush.cluster, effect->cluster, sizeof flush.cluster);
    memcpy(flush.vote, effect->vote, sizeof flush.vote);
    store_threads_submit_flush(server->threads, &flush);
}

static void hold(struct server *server, const struct effect_hold *effect)
{
    struct store_hold hold = { .number = effect->number,
                               .discard = effect->discard,
                               .entry = effect->entry };
    store_threads_submit_hold(server->threads, &hold);
}

/* The core has far fewer reads under way than the threads' queue takes. */
static void read_entries(struct server *server, const struct effect *effect)
{
    bool taken = store_threads_submit_read_entries(server->threads, effect->read.id,
                                                   effect->read.index, effect->read.capacity);
    CHECK(taken);
}

static void read_posts(struct server *server, const struct effect *effect)
{
    const struct effect_posts *posts = &effect->read.posts;
    struct store_room_range *ranges = NULL;
    if (posts->ranges_count) {
        ranges = calloc(posts->ranges_count, sizeof *ranges);
        CHECK(ranges != NULL);
    }
    for (uint32_t i = 0; i < posts->ranges_count; i++)
        ranges[i] = (struct store_room_range) { .room = posts->ranges[i].room,
                                                .after_index = posts->ranges[i].after_index,
                                                .upto_index = posts->ranges[i].upto_index,
                                                .from_seq = posts->ranges[i].from_seq,
                                                .last_seq = posts->ranges[i].last_seq,
                                                .skip_told = posts->ranges[i].skip_told };
    struct store_query query = { .room = posts->room,
                                 .seq_from = posts->seq_from,
                                 .seq_to = posts->seq_to,
                                 .forward_to = posts->forward_to,
                                 .upto_index = posts->upto_index,
                                 .rooms_count = posts->ranges_count,
                                 .rooms = ranges,
                                 .max_records = posts->max_records };
    bool taken = store_threads_submit_read_posts(server->threads, effect->read.id, &query,
                                                 effect->read.capacity);
    CHECK(taken);
    free(ranges);
}

static void read_piece(struct server *server, const struct effect *effect)
{
    struct store_piece piece = { (enum store_piece_kind)effect->read.piece.kind,
                                 effect->read.piece.index, effect->read.piece.offset };
    bool taken = store_threads_submit_read_piece(server->threads, effect->read.id, &piece,
                                                 effect->read.capacity);
    CHECK(taken); /* one for each peer */
}

static void copy(struct server *server, const struct effect_copy *effect)
{
    struct store_copy_job job = {
        .step = (enum store_copy_step)effect->step,
        .plan = { .oldest = effect->oldest,
                  .newest = effect->newest,
                  .segment_bytes = effect->segment_bytes,
                  .whole = effect->whole },
        .piece = { (enum store_piece_kind)effect->piece.kind, effect->piece.index,
                   effect->piece.offset },
        .size = effect->size,
        .data = effect->data,
    };
    memcpy(job.plan.cluster, effect->cluster, sizeof job.plan.cluster);
    bool taken = store_threads_submit_copy(server->threads, &job);
    CHECK(taken); /* one at a time, beside a checkpoint or two */
}

static void retain(struct server *server, const struct effect *effect)
{
    struct store_retention retention = { .keep_bytes = effect->retain.keep_bytes,
                                         .since_us = effect->retain.since_us,
                                         .floor = effect->retain.floor,
                                         .damaged = effect->retain.damaged };
    (void)!store_threads_submit_retain(server->threads, &retention); /* the next one does it too */
}

static void check(struct server *server, const struct effect *effect)
{
    struct store_check what = { .how = (enum store_check_how)effect->check.how,
                                .file = (enum store_file)effect->check.file,
                                .id = effect->check.id,
                                .upto = effect->check.upto };
    bool taken = store_threads_submit_check(server->threads, &what);
    CHECK(taken);
}

static void mend(struct server *server, const struct effect *effect)
{
    struct store_mend what = { .file = (enum store_file)effect->mend.file,
                               .id = effect->mend.id,
                               .offset = effect->mend.offset,
                               .size = effect->mend.size,
                               .committed = effect->mend.committed,
                               .data = effect->mend.data };
    bool taken = store_threads_submit_mend(server->threads, &what);
    CHECK(taken);
}

static void wake_at(struct server *server, uint64_t at_us)
{
    if (at_us >= server->wake_at_us)
        return;
    server->wake_at_us = at_us;
    loop_timer_set(server->loop, &server->wake, at_us);
}

static void halt(struct server *server, const struct effect *effect)
{
    server->halted = true;
    server->again = effect->halt.again;
    server->exit_status = effect->halt.exit_status;
    server_log(server, effect->halt.exit_status ? "error" : "info", effect->halt.reason);
}

static const char *level_name(enum effect_log_level level)
{
    switch (level) {
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ALARM:
        return "alarm";
    }
    return "?";
}

void server_carry_out(void *ctx, const struct effect *effect)
{
    struct server *server = ctx;
    if (server->halted)
        return;
    switch (effect->kind) {
    case EFFECT_FLUSH:
        flush(server, &effect->flush);
        break;
    case EFFECT_HOLD:
        hold(server, &effect->hold);
        break;
    case EFFECT_READ_ENTRIES:
        read_entries(server, effect);
        break;
    case EFFECT_READ_POSTS:
        read_posts(server, effect);
        break;
    case EFFECT_READ_PIECE:
        read_piece(server, effect);
        break;
    case EFFECT_COPY:
        copy(server, &effect->copy);
        break;
    case EFFECT_RETAIN:
        retain(server, effect);
        break;
    case EFFECT_CHECK:
        check(server, effect);
        break;
    case EFFECT_MEND:
        mend(server, effect);
        break;
    case EFFECT_INDEX:
        store_index(server->store, effect->index.room, effect->index.seq, effect->index.index,
                    effect->index.event);
        if (effect->index.deletes)
            store_delete(server->store, effect->index.index, effect->index.deletes,
                         effect->index.check);
        break;
    case EFFECT_CHECKPOINT:
        if (!store_threads_submit_checkpoint(server->threads, effect->checkpoint.index,
                                             effect->checkpoint.state))
            server_log(server, "warn", "event=checkpoint_skipped why=\"the disk is behind\"");
        break;
    case EFFECT_PEER_DIAL:
        server_dial(server, effect);
        break;
    case EFFECT_PEER_SEND:
        server_send_peer(server, effect);
        break;
    case EFFECT_PEER_CLOSE:
        server_close_peer(server, effect->close.slot);
        break;
    case EFFECT_CLIENT_SEND:
        server_send_client(server, effect);
        break;
    case EFFECT_CLIENT_CLOSE:
        server_close_client(server, (uint32_t)effect->close.connection, effect->close.gracefully);
        break;
    case EFFECT_CLIENT_ADMIT: {
        struct channel *channel = server->connections[effect->close.connection];
        if (channel)
            channel_admit(channel, channel_role(channel) == ROLE_NODE ? LIMIT_PEER_MESSAGE_BYTES
                                                                      : LIMIT_CLIENT_MESSAGE_BYTES);
        break;
    }
    case EFFECT_CLIENT_DEADLINE: {
        struct channel *channel = server->connections[effect->deadline.connection];
        if (channel)
            channel_set_deadline(channel, loop_now_us(server->loop) + effect->deadline.in_us);
        break;
    }
    case EFFECT_WAKE_AT:
        wake_at(server, effect->wake_at_us);
        break;
    case EFFECT_LOG:
        server_log(server, level_name(effect->log.level), effect->log.text);
        break;
    case EFFECT_HALT:
        halt(server, effect);
        break;
    }
}
