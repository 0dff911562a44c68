/* What a server's process does for its core: sockets, the log thread, the reading thread. Disk work
 * is done at the moment when it is finished; a process that dies before has done none, a part, or
 * all of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/raft/state.h"
#include "tests/sim/sim.h"

enum {
    PEER_DIAL_US = 1000000,
    READ_US = 120,
    FLUSH_OPERATIONS = 10, /* about as many as a flush makes */
    JOB_OPERATIONS = 40,
};

/* --- the log thread ----------------------------------------------------------------------------*/

static uint64_t disk_time(struct sim_node *node, uint64_t typical_us)
{
    struct random *random = &node->world->random;
    uint64_t time = typical_us / 2 + random_below(random, typical_us + 1);
    if (random_below(random, 100) == 0)
        time *= 10;
    return time * node->slow_disk + 20;
}

static void flush_begin(struct sim_node *node, const struct effect *effect)
{
    struct world *world = node->world;
    if (node->flush_out)
        sim_fail(world, "node %u: a second flush while one is out", node->slot);
    node->flush_out = true;
    node->flush = effect->flush;
    node->flush_began = world->now;
    if (effect->flush.save_vote)
        world->report->branches[BRANCH_VOTE_SAVED]++;
    if (effect->flush.truncate_from)
        world->report->branches[BRANCH_TRUNCATED]++;
    uint64_t time = disk_time(node, node->sync_us);
    world_plan(world, HAPPEN_FLUSH, world->now + time, node->place, 0, node->epoch);
    if (node->die_in_flush) {
        node->die_in_flush = false;
        world_plan(world, HAPPEN_DEATH, world->now + random_below(&world->random, time + 1000),
                   node->place, node->death, node->epoch);
    }
}

enum ft_error sim_node_flush(struct sim_node *node)
{
    const struct effect_flush *from = &node->flush;
    struct store_flush flush = {
        .number = from->ticket,
        .save_cluster = from->save_cluster,
        .save_vote = from->save_vote,
        .term = from->term,
        .lost = { from->lost_term, from->lost_last },
        .truncate_from = from->truncate_from,
        .entries = { from->entries[0], from->entries[1] },
    };
    memcpy(flush.cluster, from->cluster, IDENTITY_BYTES);
    memcpy(flush.vote, from->vote, IDENTITY_BYTES);
    return store_flush(node->store, &flush);
}

void sim_node_flush_done(struct sim_node *node)
{
    struct world *world = node->world;
    if (node->fail_flush) {
        node->fail_flush = false;
        sim_disk_fail_sync(node->disk);
    }
    enum ft_error error = sim_node_flush(node);
    if (error && error != FT_ERROR_SPACE) {
        SAY(world, "node %u: flush failed: %d", node->slot, (int)error);
        node->flush_out = false;
        node->interrupted = true;
        uint64_t from = node->flush.truncate_from;
        sim_node_die(node, DEATH_KILL);
        node->interrupted = true;
        node->interrupted_from = from;
        faults_restart_later(world, node->place);
        return;
    }
    if (error)
        world->report->branches[BRANCH_NO_SPACE]++;
    else
        invariants_flushed(node);
    if (!error && node->flush.save_vote && node_raft(node->node)->flushing_short)
        world->report->branches[BRANCH_VOTE_WHEN_FULL]++;
    SAY(world, "node %u: flush %" PRIu64 " %s, to %" PRIu64, node->slot, node->flush.ticket,
        error ? "has no space" : "is durable", node->durable_last);
    struct item *item = sim_item(ITEM_FLUSHED, 0);
    item->id = node->flush.ticket;
    item->failed = error != FT_OK;
    item->duration_us = world->now - node->flush_began;
    sim_node_put(node, item);
}

/* --- the reading thread ------------------------------------------------------------------------*/

static void job_free(struct job *job)
{
    free(job->state);
    free(job->ranges);
    free(job);
}

void sim_node_jobs_free(struct sim_node *node)
{
    while (node->jobs) {
        struct job *job = node->jobs;
        node->jobs = job->next;
        job_free(job);
    }
    node->jobs_end = &node->jobs;
}

static void job_plan(struct sim_node *node)
{
    if (node->job_out || !node->jobs)
        return;
    node->job_out = true;
    uint64_t typical = node->jobs->kind <= JOB_PIECE ? READ_US : node->sync_us * 4;
    world_plan(node->world, HAPPEN_DISK, node->world->now + disk_time(node, typical), node->place,
               0, node->epoch);
}

static struct job *job_add(struct sim_node *node, enum job_kind kind)
{
    struct job *job = sim_must(calloc(1, sizeof *job));
    job->kind = kind;
    *node->jobs_end = job;
    node->jobs_end = &job->next;
    return job;
}

/* What the reading thread does by itself: once at a time. */
static void job_of_its_own(struct sim_node *node, enum job_kind kind, bool wanted)
{
    for (struct job *job = node->jobs; job; job = job->next)
        if (job->kind == kind)
            return;
    if (!wanted)
        return;
    (void)job_add(node, kind);
    job_plan(node);
}

void sim_node_prepare(struct sim_node *node)
{
    job_of_its_own(node, JOB_PREPARE, store_wants_prepare(node->store));
}

void sim_node_scrub(struct sim_node *node)
{
    job_of_its_own(node, JOB_SCRUB, store_wants_scrub(node->store));
}

static void read_begin(struct sim_node *node, const struct effect *effect)
{
    bool posts = effect->kind == EFFECT_READ_POSTS;
    struct job *job = job_add(node, posts ? JOB_POSTS : JOB_ENTRIES);
    job->id = effect->read.id;
    job->index = effect->read.index;
    job->capacity = effect->read.capacity;
    if (posts) {
        const struct effect_posts *from = &effect->read.posts;
        job->query = (struct store_query) { .room = from->room,
                                            .seq_from = from->seq_from,
                                            .seq_to = from->seq_to,
                                            .forward_to = from->forward_to,
                                            .upto_index = from->upto_index,
                                            .rooms_count = from->ranges_count,
                                            .max_records = from->max_records };
        if (from->ranges_count) {
            job->ranges = sim_must(calloc(from->ranges_count, sizeof *job->ranges));
            for (uint32_t i = 0; i < from->ranges_count; i++) {
                job->ranges[i].room = from->ranges[i].room;
                job->ranges[i].after_index = from->ranges[i].after_index;
                job->ranges[i].upto_index = from->ranges[i].upto_index;
                job->ranges[i].from_seq = from->ranges[i].from_seq;
                job->ranges[i].last_seq = from->ranges[i].last_seq;
                job->ranges[i].skip_told = from->ranges[i].skip_told;
            }
            job->query.rooms = job->ranges;
        }
    }
    job_plan(node);
}

static void piece_begin(struct sim_node *node, const struct effect *effect)
{
    struct job *job = job_add(node, JOB_PIECE);
    job->id = effect->read.id;
    job->capacity = effect->read.capacity;
    job->piece = (struct store_piece) { (enum store_piece_kind)effect->read.piece.kind,
                                        effect->read.piece.index, effect->read.piece.offset };
    job_plan(node);
}

static void copy_begin(struct sim_node *node, const struct effect *effect)
{
    if (effect->copy.step == COPY_BEGIN && node->knows_removed)
        sim_fail(node->world, "node %u: is no member any more and begins to copy the log",
                 node->slot);
    struct job *job = job_add(node, JOB_COPY);
    job->copy = effect->copy;
    job->state_len = effect->copy.data.len;
    job->state = sim_must(malloc(job->state_len + 1));
    if (job->state_len)
        memcpy(job->state, effect->copy.data.data, job->state_len);
    job_plan(node);
}

static void retain_begin(struct sim_node *node, const struct effect *effect)
{
    struct job *job = job_add(node, JOB_RETAIN);
    job->retention = (struct store_retention) { effect->retain.keep_bytes, effect->retain.since_us,
                                                effect->retain.floor, effect->retain.damaged };
    job_plan(node);
}

static void check_begin(struct sim_node *node, const struct effect *effect)
{
    struct job *job = job_add(node, JOB_CHECK);
    job->check = (struct store_check) { .how = (enum store_check_how)effect->check.how,
                                        .file = (enum store_file)effect->check.file,
                                        .id = effect->check.id,
                                        .upto = effect->check.upto };
    job_plan(node);
}

static void mend_begin(struct sim_node *node, const struct effect *effect)
{
    struct job *job = job_add(node, JOB_MEND);
    job->state_len = effect->mend.data.len;
    job->state = sim_must(malloc(job->state_len + 1));
    memcpy(job->state, effect->mend.data.data, job->state_len);
    job->mend = (struct store_mend) { .file = (enum store_file)effect->mend.file,
                                      .id = effect->mend.id,
                                      .offset = effect->mend.offset,
                                      .size = effect->mend.size,
                                      .committed = effect->mend.committed,
                                      .data = { job->state, job->state_len } };
    job_plan(node);
}

static void checkpoint_begin(struct sim_node *node, const struct effect *effect)
{
    struct job *job = job_add(node, JOB_CHECKPOINT);
    job->index = effect->checkpoint.index;
    job->state_len = effect->checkpoint.state.len;
    job->state = sim_must(malloc(job->state_len));
    memcpy(job->state, effect->checkpoint.state.data, job->state_len);
    job_plan(node);
}

static enum ft_error job_retain(struct sim_node *node, const struct job *job, struct item **done)
{
    uint64_t first;
    struct item *item = sim_item(ITEM_RETAINED, 0);
    enum ft_error error = store_retain(node->store, &job->retention, &first);
    if (error && !sim_disk_dead(node->disk) && error != FT_ERROR_SPACE && error != FT_ERROR_SYNC)
        sim_fail(node->world, "node %u: history is not dropped: %d", node->slot, (int)error);
    item->id = first;
    if (first > node->first)
        node->world->report->branches[BRANCH_RETAINED]++;
    node->first = first;
    SAY(node->world, "node %u: its log begins at %" PRIu64, node->slot, first);
    *done = item;
    return error;
}

static enum ft_error job_copy(struct sim_node *node, const struct job *job, struct item **done)
{
    struct world *world = node->world;
    const struct effect_copy *copy = &job->copy;
    struct store_copy_plan plan = { .oldest = copy->oldest,
                                    .newest = copy->newest,
                                    .segment_bytes = copy->segment_bytes,
                                    .whole = copy->whole };
    struct store_piece piece = { (enum store_piece_kind)copy->piece.kind, copy->piece.index,
                                 copy->piece.offset };
    struct item *item = sim_item(ITEM_COPIED, 0);
    memcpy(plan.cluster, copy->cluster, IDENTITY_BYTES);
    item->step = (uint8_t)copy->step;
    switch (copy->step) {
    case COPY_BEGIN:
        item->error = store_copy_begin(node->store, &plan, &item->copy);
        if (item->error)
            break;
        node->copying = true;
        world->report->branches[BRANCH_COPY_BEGUN]++;
        world->report->branches[BRANCH_COPY_RESUMED] += item->copy.resumed;
        world->report->branches[BRANCH_COPY_OVERTAKEN] += copy->oldest > node->durable_last + 1;
        break;
    case COPY_WRITE:
        item->error = store_copy_write(node->store, &piece, copy->size,
                                       (struct slice) { job->state, job->state_len }, &item->copy);
        world->report->branches[BRANCH_COPY_PIECE] += !item->error;
        /* Files are sent as they lie, and proved by who copies. */
        if (item->error == FT_ERROR_CORRUPT && !rot_struck(world))
            sim_fail(world, "node %u: a piece of a copy, kind %d at %" PRIu64 ", is not right",
                     node->slot, (int)piece.kind, piece.index);
        break;
    case COPY_INSTALL:
        item->error = store_copy_install(node->store);
        break;
    case COPY_DROP:
        free(item);
        node->copying = false;
        return store_copy_drop(node->store);
    }
    SAY(world, "node %u: copy step %d, kind %d at %" PRIu64 ": %d, next kind %d at %" PRIu64,
        node->slot, (int)copy->step, (int)piece.kind, piece.index, (int)item->error,
        (int)item->copy.next.kind, item->copy.next.index);
    *done = item;
    return item->error;
}

static enum ft_error job_checkpoint(struct sim_node *node, const struct job *job,
                                    struct item **done)
{
    enum ft_error error =
        store_checkpoint(node->store, job->index, (struct slice) { job->state, job->state_len });
    if (error == FT_ERROR_MISSING)
        sim_fail(node->world, "node %u: checkpoint at %" PRIu64 " beyond what is durable here",
                 node->slot, job->index);
    if (!error)
        node->world->report->branches[BRANCH_CHECKPOINT]++;
    SAY(node->world, "node %u: checkpoint at %" PRIu64 ": %d", node->slot, job->index, (int)error);
    if (error)
        return error;
    *done = sim_item(ITEM_CHECKPOINTED, 0);
    (*done)->id = job->index;
    return FT_OK;
}

/* As the program's reading thread: told at each change. */
static enum ft_error job_prepare(struct sim_node *node, struct item **done)
{
    enum ft_error error = store_prepare(node->store);
    if (error != node->prepare_error && error != FT_ERROR_SYNC) {
        *done = sim_item(ITEM_DISK, 0);
        (*done)->failed = error == FT_ERROR_SPACE;
    }
    node->prepare_error = error;
    return error;
}

static enum ft_error job_check(struct sim_node *node, const struct job *job, struct item **done)
{
    struct item *item = *done = sim_item(ITEM_CHECKED, 0);
    struct store_check check = job->check;
    enum ft_error error;
    bool round = false;
    bool mended = false;
    uint64_t bytes = 0;
    do {
        error = store_check(node->store, &check, 8192);
        bytes += check.bytes;
        round |= check.round;
        mended |= check.mended;
        check.how = STORE_CHECK_AGAIN;
    } while (!error && check.result == STORE_MORE);
    check.round = round;
    check.mended = mended;
    check.bytes = bytes;
    item->check = check;
    item->failed = error != FT_OK;
    if (!error && check.result == STORE_DAMAGED && !node->rotten)
        sim_fail(node->world,
                 "node %u: damage found where there is none: file %d, %" PRIu64 " at %" PRIu64,
                 node->slot, (int)check.file, check.id, check.offset);
    node->world->report->branches[BRANCH_MENDED_HERE] += mended;
    node->world->report->branches[BRANCH_DAMAGE_FOUND] += !error && check.result == STORE_DAMAGED;
    return error;
}

static enum ft_error job_mend(struct sim_node *node, const struct job *job, struct item **done)
{
    struct report *report = node->world->report;
    struct item *item = *done = sim_item(ITEM_MENDED, 0);
    struct store_mend mend = job->mend;
    enum ft_error error = store_mend(node->store, &mend);
    item->failed = error != FT_OK;
    item->mended = mend.done;
    item->want_offset = mend.want_offset;
    SAY(node->world, "node %u: mends file %d, %" PRIu64 ": %d%s", node->slot, (int)mend.file,
        mend.id, (int)error, mend.done ? ", done" : "");
    if (error || !mend.done)
        return error;
    report->branches[mend.file == STORE_FILE_TAIL         ? BRANCH_MENDED_TAIL
                     : mend.file == STORE_FILE_INDEX      ? BRANCH_MENDED_INDEX
                     : mend.file == STORE_FILE_CHECKPOINT ? BRANCH_MENDED_CHECKPOINT
                                                          : BRANCH_MENDED_ENTRIES]++;
    return error;
}

/* Damage that reads came upon. */
static void put_noticed(struct sim_node *node)
{
    uint64_t id;
    enum store_file file;
    while ((file = store_noticed(node->store, &id)) != STORE_FILE_NONE) {
        struct item *item = sim_item(ITEM_NOTICED, 0);
        item->check.file = file;
        item->check.id = id;
        node->world->report->branches[BRANCH_NOTICED]++;
        sim_node_put(node, item);
    }
}

static enum ft_error job_scrub(struct sim_node *node)
{
    struct store_scrubbed scrubbed;
    enum ft_error error = store_scrub(node->store, &scrubbed);
    node->world->report->branches[BRANCH_ERASED] += scrubbed.erased;
    if (scrubbed.erased)
        SAY(node->world, "node %u: %u posts erased: %d", node->slot, scrubbed.erased, (int)error);
    if (scrubbed.refused)
        sim_fail(node->world, "node %u: a deletion names what is not there", node->slot);
    return error;
}

static void note_erased(struct sim_node *node, const uint8_t *data, size_t len)
{
    struct entry entry;
    for (size_t at = 0;
         at < len && entry_parse(&entry, &crypto_sim, NULL, data + at, len - at) == ENTRY_WHOLE;
         at += entry.size) {
        struct entry_cursor cursor = { 0 };
        struct slice body;
        while (entry_next(&entry, &cursor, &body))
            node->world->report->branches[BRANCH_ERASED_READ] +=
                body_is_erased(body.data, body.len);
    }
}

/* Does the first job; *done is what to tell the core, or NULL. Only SYNC is an error that counts. */
enum ft_error sim_node_job_run(struct sim_node *node, struct item **done)
{
    const struct job *job = node->jobs;
    *done = NULL;
    if (job->kind == JOB_PREPARE)
        return job_prepare(node, done);
    if (job->kind == JOB_SCRUB)
        return job_scrub(node);
    if (job->kind == JOB_CHECKPOINT)
        return job_checkpoint(node, job, done);
    if (job->kind == JOB_CHECK)
        return job_check(node, job, done);
    if (job->kind == JOB_MEND)
        return job_mend(node, job, done);
    if (job->kind == JOB_RETAIN)
        return job_retain(node, job, done);
    if (job->kind == JOB_COPY)
        return job_copy(node, job, done);
    struct item *item =
        sim_item(ITEM_READ_DONE, job->kind == JOB_PIECE ? LIMIT_ENTRY_BYTES : job->capacity);
    size_t len = 0;
    enum ft_error error;
    if (job->kind == JOB_ENTRIES) {
        error = store_read_entries(node->store, job->index, item->data, job->capacity, &len);
        node->world->report->branches[BRANCH_READ_ENTRIES]++;
    } else if (job->kind == JOB_PIECE) {
        error = store_read_piece(node->store, &job->piece, job->capacity, item->data, &len,
                                 &item->size);
    } else {
        struct store_answer answer = { 0 };
        error = store_read_posts(node->store, &job->query, item->data, job->capacity, &answer);
        len = answer.len;
        item->more = answer.more;
        item->older = answer.older;
        item->last_index = answer.last_index;
        node->world->report->branches[BRANCH_READ_POSTS]++;
    }
    item->id = job->id;
    item->failed = error != FT_OK;
    item->len = error ? 0 : (uint32_t)len;
    if (job->kind == JOB_ENTRIES ||
        (job->kind == JOB_PIECE && job->piece.kind == STORE_PIECE_ENTRIES))
        note_erased(node, item->data, item->len);
    *done = item;
    return error;
}

void sim_node_job_done(struct sim_node *node)
{
    CHECK(node->jobs != NULL);
    struct item *item;
    if (node->fail_job && node->jobs->kind >= JOB_CHECKPOINT) {
        node->fail_job = false;
        sim_disk_fail_sync(node->disk);
    }
    enum ft_error error = sim_node_job_run(node, &item);
    struct job *job = node->jobs;
    node->jobs = job->next;
    if (!node->jobs)
        node->jobs_end = &node->jobs;
    job_free(job);
    node->job_out = false;
    if (error == FT_ERROR_SYNC) {
        SAY(node->world, "node %u: a sync of the reading thread failed", node->slot);
        node->world->report->branches[BRANCH_SYNC_FATAL]++;
        free(item);
        sim_node_die(node, DEATH_KILL);
        faults_restart_later(node->world, node->place);
        return;
    }
    if (item)
        sim_node_put(node, item);
    put_noticed(node);
    sim_node_scrub(node);
    job_plan(node);
}

/* --- in the middle of it -----------------------------------------------------------------------*/

static void finish_flush(struct sim_node *node, enum death death)
{
    struct world *world = node->world;
    uint64_t how = death == DEATH_EXIT ? 2 : random_below(&world->random, 4);
    if (how == 0) {
        world->report->branches[BRANCH_FLUSH_UNDONE]++;
        return;
    }
    if (how == 2) {
        world->report->branches[BRANCH_FLUSH_UNTOLD]++;
    } else {
        world->report->branches[BRANCH_FLUSH_TORN]++;
        sim_disk_die_at(node->disk, sim_disk_operations(node->disk) + 1 +
                                        random_below(&world->random, FLUSH_OPERATIONS));
    }
    (void)!sim_node_flush(node);
}

void sim_node_finish_disk(struct sim_node *node, enum death death)
{
    struct world *world = node->world;
    bool job_first = random_below(&world->random, 2);
    bool flushing = node->flush_out;
    bool holding = node->hold_out;
    for (const struct item *item = node->inbox; item; item = item->next)
        if (item->kind == ITEM_FLUSHED) {
            flushing = false; /* it is done and was not told */
            node->interrupted = false;
            world->report->branches[BRANCH_FLUSH_UNTOLD]++;
        }
    if (flushing && !job_first)
        finish_flush(node, death);
    if (node->job_out && node->jobs && node->jobs->kind >= JOB_CHECKPOINT &&
        (death == DEATH_EXIT || random_below(&world->random, 2))) {
        world->report->branches[BRANCH_COPY_DIED] += node->jobs->kind == JOB_COPY;
        world->report->branches[BRANCH_SCRUB_DIED] += node->jobs->kind == JOB_SCRUB;
        if (death != DEATH_EXIT && !sim_disk_dead(node->disk))
            sim_disk_die_at(node->disk, sim_disk_operations(node->disk) + 1 +
                                            random_below(&world->random, JOB_OPERATIONS));
        struct item *item;
        (void)sim_node_job_run(node, &item);
        free(item);
    }
    if (flushing && job_first)
        finish_flush(node, death);
    if (holding)
        held_interrupted(node, death);
    node->flush_out = node->hold_out = false;
}

/* --- effects -----------------------------------------------------------------------------------*/

static void dial(struct sim_node *node, uint8_t slot)
{
    struct end end = { .kind = END_NODE, .who = node->place, .number = slot, .host = node->host };
    struct handle *peer = &node->peers[slot];
    if (peer->link)
        sim_fail(node->world, "node %u: dials %u again", node->slot, slot);
    *peer = network_dial(node->world, end, slot, CONNECTION_NODE, PEER_DIAL_US);
}

static uint8_t type_of(const struct effect *effect)
{
    return effect->send.parts[0].len ? effect->send.parts[0].data[0] : 0;
}

static void connection_send(struct sim_node *node, const struct effect *effect)
{
    node->world->report->branches[BRANCH_NACK] += type_of(effect) == WIRE_NACK;
    node->world->report->branches[BRANCH_NACK] += type_of(effect) == WIRE_PEER_NACK;
    if (type_of(effect) == WIRE_HELD)
        held_told(node, effect->send.parts[0]);
    CHECK(effect->send.connection < SIM_CONNECTIONS);
    struct handle handle = node->connections[effect->send.connection];
    network_send(node->world, handle, 1, effect->send.parts, effect->send.parts_count);
    node->undrained |= UINT64_C(1) << effect->send.connection;
}

static void connection_close(struct sim_node *node, uint64_t number)
{
    CHECK(number < SIM_CONNECTIONS);
    network_close(node->world, node->connections[number], 1);
    node->connections[number] = (struct handle) { 0 };
}

static void note(struct sim_node *node, const struct effect *effect)
{
    uint64_t value = (uint64_t)effect->kind << 8 | node->slot;
    if (effect->kind == EFFECT_PEER_SEND || effect->kind == EFFECT_CLIENT_SEND)
        for (unsigned i = 0; i < effect->send.parts_count; i++) {
            struct slice part = effect->send.parts[i];
            value = sim_hash(part.data, part.len < 64 ? part.len : 64, value + part.len);
        }
    else if (effect->kind == EFFECT_FLUSH)
        value = sim_mix(value, effect->flush.ticket + effect->flush.entries[0].len);
    else if (effect->kind == EFFECT_HOLD)
        value = sim_mix(value, effect->hold.number + effect->hold.entry.len);
    else if (effect->kind == EFFECT_WAKE_AT)
        value = sim_mix(value, effect->wake_at_us);
    world_note(node->world, value);
}

/* The same piece asked of another node than before. */
static void note_fetch(struct sim_node *node, const struct effect *effect)
{
    struct wire_fetch fetch;
    if (type_of(effect) != WIRE_PEER_FETCH || !wire_decode_fetch(&fetch, effect->send.parts[0]))
        return;
    if (fetch.kind != FETCH_OFFER && node->fetched_kind == fetch.kind &&
        node->fetched_index == fetch.index && node->fetched_from != effect->send.slot)
        node->world->report->branches[BRANCH_COPY_SWITCHED]++;
    node->fetched_kind = fetch.kind;
    node->fetched_index = fetch.index;
    node->fetched_from = effect->send.slot;
}

static void wake_at(struct sim_node *node, uint64_t at_us)
{
    uint64_t at = at_us == UINT64_MAX            ? SIM_NEVER
                  : at_us < node->mono_offset_us ? 0
                                                 : at_us - node->mono_offset_us;
    if (at < node->wake_at)
        node->wake_at = at;
}

void sim_node_emit(void *ctx, const struct effect *effect)
{
    struct sim_node *node = ctx;
    struct world *world = node->world;
    if (node->dying || node->halted)
        return;
    note(node, effect);
    if (node->crash_in && --node->crash_in == 0) {
        node->dying = true;
        return;
    }
    switch (effect->kind) {
    case EFFECT_FLUSH:
        flush_begin(node, effect);
        break;
    case EFFECT_HOLD:
        held_begin(node, effect, disk_time(node, node->sync_us));
        break;
    case EFFECT_READ_ENTRIES:
    case EFFECT_READ_POSTS:
        read_begin(node, effect);
        break;
    case EFFECT_READ_PIECE:
        piece_begin(node, effect);
        break;
    case EFFECT_COPY:
        copy_begin(node, effect);
        break;
    case EFFECT_RETAIN:
        retain_begin(node, effect);
        break;
    case EFFECT_CHECK:
        check_begin(node, effect);
        break;
    case EFFECT_MEND:
        mend_begin(node, effect);
        break;
    case EFFECT_INDEX:
        invariants_index(node, effect);
        store_index(node->store, effect->index.room, effect->index.seq, effect->index.index,
                    effect->index.event);
        if (effect->index.deletes)
            store_delete(node->store, effect->index.index, effect->index.deletes,
                         effect->index.check);
        break;
    case EFFECT_CHECKPOINT:
        invariants_checkpoint(node, effect);
        checkpoint_begin(node, effect);
        break;
    case EFFECT_PEER_DIAL:
        dial(node, effect->dial.slot);
        break;
    case EFFECT_PEER_SEND:
        world->report->branches[BRANCH_NACK] += type_of(effect) == WIRE_PEER_NACK;
        world->report->branches[BRANCH_RELAYED] += type_of(effect) == WIRE_PEER_RELAY;
        note_fetch(node, effect);
        invariants_peer_send(node, effect);
        network_send(world, node->peers[effect->send.slot], 0, effect->send.parts,
                     effect->send.parts_count);
        break;
    case EFFECT_PEER_CLOSE:
        network_close(world, node->peers[effect->close.slot], 0);
        node->peers[effect->close.slot] = (struct handle) { 0 };
        break;
    case EFFECT_CLIENT_SEND:
        connection_send(node, effect);
        break;
    case EFFECT_CLIENT_CLOSE:
        connection_close(node, effect->close.connection);
        break;
    case EFFECT_CLIENT_ADMIT:
    case EFFECT_CLIENT_DEADLINE:
        break;
    case EFFECT_WAKE_AT:
        wake_at(node, effect->wake_at_us);
        break;
    case EFFECT_LOG:
        SAY(world, "node %u: log: %s", node->slot, effect->log.text);
        world->report->branches[BRANCH_PROMOTED] +=
            strstr(effect->log.text, "learner_promoted") != NULL;
        world->report->branches[BRANCH_MEMBER_REMOVED] +=
            strstr(effect->log.text, "event=member_removed") != NULL;
        world->report->branches[BRANCH_SEAT_VACATED] +=
            strstr(effect->log.text, "event=seat_vacated") != NULL;
        world->report->branches[BRANCH_MEMBER_GONE] +=
            strstr(effect->log.text, "event=removed") != NULL;
        world->report->branches[BRANCH_MEMBER_AGAIN] +=
            strstr(effect->log.text, "event=member_again") != NULL;
        if (strstr(effect->log.text, "event=removed"))
            node->knows_removed = true;
        if (strstr(effect->log.text, "event=member_again"))
            node->knows_removed = false;
        world->report->branches[BRANCH_TWINS] += strstr(effect->log.text, "event=twins ") != NULL;
        world->report->branches[BRANCH_TWINS_OVER] +=
            strstr(effect->log.text, "event=twins_over") != NULL;
        if (strstr(effect->log.text, "event=twin "))
            node->knows_twin = true;
        if (strstr(effect->log.text, "event=hand_over"))
            invariants_hand_over(node, effect->log.text);
        break;
    case EFFECT_HALT:
        SAY(world, "node %u: halts, %d: %s", node->slot, effect->halt.exit_status,
            effect->halt.reason);
        node->halted = true;
        node->halt_status = effect->halt.exit_status;
        node->halt_again = effect->halt.again;
        break;
    }
}
