/* Opening and closing a node's folder. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "store/held.h"
#include "store/recover.h"
#include "store/recovery.h"

static const uint8_t nobody[IDENTITY_BYTES];

static enum ft_error refuse(char *why, size_t why_len, enum ft_error error, const char *path)
{
    snprintf(why, why_len, "%s %s", path, file_advice(error));
    return error;
}

/* --- a blank folder -----------------------------------------------------------------------------
 */

static enum ft_error make_folder(const struct disk *disk, const char *path)
{
    enum ft_error error = disk->mkdir(disk->ctx, path);
    return error == FT_ERROR_EXISTS ? FT_OK : error;
}

/* The identity is written last: a folder without it is blank, whatever a crash left there. */
static enum ft_error set_up(const struct store_options *options, struct vote_record *vote)
{
    const struct disk *disk = options->disk;
    *vote = (struct vote_record) { .generation = VOTE_PAIRS };
    struct identity_file identity = { .segment_bytes = options->segment_bytes };
    if (!options->backup)
        memcpy(identity.identity, options->fresh_identity, IDENTITY_BYTES);
    memcpy(vote->identity, identity.identity, IDENTITY_BYTES);
    enum ft_error error = make_folder(disk, "log");
    if (!error)
        error = make_folder(disk, "checkpoint");
    if (!error)
        error = vote_file_create(disk, options->crypto, vote);
    if (!error)
        error = identity_file_save(disk, options->crypto, &identity);
    return error;
}

/* No identity, but something that only a node with one writes: it was lost. */
static enum ft_error really_blank(const struct store_options *options,
                                  const struct store_names *names, char *why, size_t why_len)
{
    struct vote_record vote;
    bool any;
    enum ft_error error = vote_file_load(options->disk, options->crypto, &vote, &any);
    if (error && error != FT_ERROR_MISSING)
        return refuse(why, why_len, error, "vote");
    bool lost = !error && (!any || vote.generation > VOTE_PAIRS);
    if (lost || names->segments_count || names->checkpoints_count)
        return refuse(why, why_len, FT_ERROR_CORRUPT, "identity is missing; the folder");
    return FT_OK;
}

/* --- what a killed process left ------------------------------------------------------------------
 */

enum ft_error file_settle(const struct disk *disk, const char *path)
{
    struct disk_file *file;
    enum ft_error error = disk->open(disk->ctx, path, DISK_WRITE, &file);
    if (error == FT_ERROR_MISSING)
        return FT_OK;
    if (error)
        return error;
    error = disk->sync(disk->ctx, file);
    disk->close(disk->ctx, file);
    return error;
}

static enum ft_error settle_folder(const struct disk *disk, const char *path)
{
    enum ft_error error = disk->sync_dir(disk->ctx, path);
    return error == FT_ERROR_MISSING ? FT_OK : error;
}

/* A killed process may have written and renamed what it did not live to sync. This one is going to
 * rely on what it reads, so that must be durable first: else a loss of power takes it back later.
 * (Segments: recover.c.) */
static enum ft_error settle(const struct disk *disk)
{
    static const char *const files[] = { "identity", "vote", "begin", "copy", "scrub" };
    static const char *const folders[] = { "", "log", "checkpoint" };
    enum ft_error error = FT_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && !error; i++)
        error = file_settle(disk, files[i]);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && !error; i++)
        error = settle_folder(disk, folders[i]);
    return error;
}

/* --- opening ------------------------------------------------------------------------------------
 */

/* --- what is left of a lost identity or vote -----------------------------------------------------
 */

/* A rotten identity: the vote says whose it is, the segments say which cluster's, or what was held. Without a vote to
 * go with it, it is nobody's: load_vote makes a new one. */
static enum ft_error rebuild_identity(struct store *store, const struct store_options *options,
                                      const struct store_names *names, struct identity_file *file)
{
    struct vote_record vote;
    bool any;
    enum ft_error error = vote_file_load(store->disk, store->crypto, &vote, &any);
    if (error && error != FT_ERROR_MISSING)
        return error;
    *file = (struct identity_file) { .segment_bytes = options->segment_bytes };
    memcpy(file->identity, any ? vote.identity : options->fresh_identity, IDENTITY_BYTES);
    error = segments_ask(store->disk, store->crypto, names, file);
    if (error && held_ask(store->disk, store->crypto, file->cluster) == FT_OK)
        error = FT_OK;
    if (error == FT_ERROR_MISSING && !names->checkpoints_count && any && !vote.newest)
        error = copy_remove_all(store->disk); /* it never had an entry: blank */
    if (error)
        return FT_ERROR_CORRUPT;
    return identity_file_save(store->disk, store->crypto, file);
}

/* Votes may have been given that are forgotten now: this node goes on as somebody else, who was
 * never asked. It has the log, and joins with it as a learner in its old slot. The identity first:
 * whoever finds it with another's vote does this again. */
static enum ft_error become_another(struct store *store, const struct store_options *options,
                                    const struct store_names *names)
{
    struct identity_file file = { .segment_bytes = store->segment_bytes };
    memcpy(file.identity, options->fresh_identity, IDENTITY_BYTES);
    memcpy(file.cluster, store->cluster, IDENTITY_BYTES);
    enum ft_error error = identity_file_save(store->disk, store->crypto, &file);
    if (error)
        return error;
    struct vote_record fresh = { .generation = VOTE_PAIRS, .term = store->log.vote.term };
    memcpy(fresh.identity, file.identity, IDENTITY_BYTES);
    fresh.truncate_from = store->log.vote.truncate_from;
    fresh.newest = names->segments_count ? names->segments[names->segments_count - 1] : 0;
    memcpy(store->identity, file.identity, IDENTITY_BYTES);
    store->log.vote = fresh;
    return vote_file_create(store->disk, store->crypto, &fresh);
}

static enum ft_error load_vote(struct recovering *run, const struct store_options *options)
{
    struct store *store = run->store;
    struct vote_record *vote = &store->log.vote;
    bool any;
    enum ft_error error = vote_file_load(store->disk, store->crypto, vote, &any);
    if (error && error != FT_ERROR_MISSING)
        return refuse(run->why, run->why_len, error, "vote");
    bool own = any && memcmp(vote->identity, store->identity, IDENTITY_BYTES) == 0;
    if (error || !own || vote->distrusted) {
        run->recovery->vote_lost = true;
        recover_note(run, "vote", 0, "a vote may be lost: this node goes on under a new identity");
        error = become_another(store, options, run->names);
        return error ? refuse(run->why, run->why_len, error, "vote") : FT_OK;
    }
    if (vote->damaged)
        recover_note(run, "vote", 0, "a copy of the vote was damaged and is written anew");
    if (vote->damaged || vote->single)
        error = vote_file_renew(store->disk, store->crypto, vote);
    return error ? refuse(run->why, run->why_len, error, "vote") : FT_OK;
}

static enum ft_error load_identity(struct recovering *run, const struct store_options *options)
{
    struct store *store = run->store;
    const struct store_names *names = run->names;
    struct identity_file file;
    enum ft_error error = identity_file_load(store->disk, store->crypto, &file);
    if (error == FT_ERROR_MISSING) {
        error = really_blank(options, names, run->why, run->why_len);
        if (error)
            return error;
        error = set_up(options, &store->log.vote);
        if (error)
            return refuse(run->why, run->why_len, error, "the node's folder");
        error = identity_file_load(store->disk, store->crypto, &file);
    } else if (!error && names->no_log) {
        return refuse(run->why, run->why_len, FT_ERROR_MISSING, "log");
    } else if (error == FT_ERROR_CORRUPT) {
        error = rebuild_identity(store, options, names, &file);
        recover_note(run, "identity", 0, "it was damaged and is written anew");
    }
    if (error)
        return refuse(run->why, run->why_len, error, "identity");
    if ((memcmp(file.identity, nobody, IDENTITY_BYTES) == 0) != options->backup) {
        snprintf(run->why, run->why_len, "%s",
                 options->backup ? "it is a node's folder, not a backup"
                                 : "it is a backup, not a node's folder (ftchat ctl restore makes "
                                   "one of it)");
        return FT_ERROR_FOREIGN;
    }
    memcpy(store->identity, file.identity, IDENTITY_BYTES);
    memcpy(store->cluster, file.cluster, IDENTITY_BYTES);
    store->segment_bytes = file.segment_bytes;
    return FT_OK;
}

static enum ft_error finish_scrub(struct store *store, char *why, size_t why_len)
{
    enum ft_error error = scrub_recover(store);
    return error ? refuse(why, why_len, error, "scrub") : FT_OK;
}

/* A copy that was complete takes its place, and then the names are others. */
static enum ft_error install(struct store *store, struct store_names *names,
                             struct store_recovery *recovery, char *why, size_t why_len)
{
    struct identity_file identity = { .segment_bytes = store->segment_bytes };
    memcpy(identity.identity, store->identity, IDENTITY_BYTES);
    memcpy(identity.cluster, store->cluster, IDENTITY_BYTES);
    enum ft_error error = install_finish(store->disk, store->crypto, &identity, &store->log.vote,
                                         &recovery->installed);
    if (error)
        return refuse(why, why_len, error, "copy");
    store->segment_bytes = identity.segment_bytes;
    if (!recovery->installed)
        return FT_OK;
    store->scrub = (struct scrub_side) { 0 };
    names_free(names);
    error = names_list(store->disk, names);
    return error ? refuse(why, why_len, error, "the node's folder") : FT_OK;
}

static enum ft_error load_begin(struct recovering *run)
{
    struct store *store = run->store;
    bool whole;
    enum ft_error error = begin_file_load(store->disk, store->crypto, &store->begin, &whole);
    bool rotten = error == FT_ERROR_CORRUPT;
    if (rotten) /* what stands before it, of what was being dropped, does no harm */
        store->begin = run->names->segments_count ? run->names->segments[0] : 1;
    if (rotten || (!error && !whole)) {
        recover_note(run, "begin", 0, "a copy of it was damaged and is written anew");
        error = begin_file_save(store->disk, store->crypto, store->begin);
    }
    return error ? refuse(run->why, run->why_len, error, "begin") : FT_OK;
}

static enum ft_error open_all(struct store *store, const struct store_options *options,
                              struct store_recovery *recovery, char *why, size_t why_len)
{
    struct store_names names;
    enum ft_error error = names_list(store->disk, &names);
    if (error)
        return refuse(why, why_len, error, "the node's folder");
    error = settle(store->disk);
    struct recovering run = { .store = store,
                              .vote = &store->log.vote,
                              .names = &names,
                              .recovery = recovery,
                              .why = why,
                              .why_len = why_len };
    if (error)
        refuse(why, why_len, error, "the node's folder");
    else
        error = load_identity(&run, options);
    if (!error)
        error = load_vote(&run, options);
    if (!error)
        error = finish_scrub(store, why, why_len);
    if (!error)
        error = install(store, &names, recovery, why, why_len);
    if (!error)
        error = load_begin(&run);
    if (!error)
        error = recover_log(&run);
    if (!error && store->scrub.done > recovery->last_index) { /* what is sent again has its words */
        error = scrub_again(store, recovery->last_index + 1);
        if (error)
            refuse(why, why_len, error, "scrub");
    }
    names_free(&names);
    if (error)
        return error;
    error = held_recover(store, recovery);
    if (error)
        return refuse(why, why_len, error, "the held log");
    if (recovery->held.commit > recovery->commit && recovery->held.commit <= recovery->last_index)
        recovery->commit = recovery->held.commit;
    const struct vote_record *vote = &store->log.vote;
    memcpy(recovery->identity, store->identity, IDENTITY_BYTES);
    memcpy(recovery->cluster, store->cluster, IDENTITY_BYTES);
    recovery->segment_bytes = store->segment_bytes;
    recovery->term = vote->term;
    memcpy(recovery->vote, vote->vote, IDENTITY_BYTES);
    if (recovery->lost.term > run.term)
        run.term = recovery->lost.term;
    if (run.term > vote->term) {
        /* Only a vote that was lost is older than the log: what the log knows is not forgotten when
         * it rots, too. */
        store->log.vote.term = run.term;
        memcpy(store->log.vote.vote, nobody, IDENTITY_BYTES);
        error = vote_file_renew(store->disk, store->crypto, &store->log.vote);
        if (error)
            return refuse(why, why_len, error, "vote");
        recovery->term = run.term;
        memcpy(recovery->vote, nobody, IDENTITY_BYTES);
    }
    const struct hold_row *held = hold_decide(recovery->lost.last != UINT64_MAX);
    recovery->may_vote = held->may_vote; /* when nothing is lost, too: its end is known */
    recovery->may_campaign = recovery->lost.last == 0;
    store->log.last_flush = recovery->flush;
    return FT_OK;
}

enum ft_error store_open(struct store **store, const struct store_options *options,
                         struct store_recovery *recovery, char *why, size_t why_len)
{
    CHECK(options->segment_bytes > 0 && options->segment_bytes <= UINT32_MAX / 2);
    *recovery = (struct store_recovery) { 0 };
    *store = NULL;
    if (why_len)
        why[0] = '\0';
    struct store *made = calloc(1, sizeof *made);
    if (!made)
        return refuse(why, why_len, FT_ERROR_LIMIT, "the node's folder");
    made->disk = options->disk;
    made->crypto = options->crypto;
    made->retains = options->retains;
    made->begin = 1;
    pthread_mutex_init(&made->mutex, NULL);
    pthread_mutex_init(&made->tail, NULL);
    pthread_mutex_init(&made->held_mutex, NULL);
    enum ft_error error = made->disk->lock(made->disk->ctx, "lock", &made->lock);
    if (error) {
        made->lock = NULL;
        error = refuse(why, why_len, error, "lock");
    } else {
        error = open_all(made, options, recovery, why, why_len);
    }
    if (error) {
        *recovery = (struct store_recovery) { 0 };
        store_close(made);
        return error;
    }
    *store = made;
    return FT_OK;
}

void store_checkpoint_release(struct store *store)
{
    free(store->checkpoint_file);
    store->checkpoint_file = NULL;
    held_release(store);
}

void store_close(struct store *store)
{
    const struct disk *disk = store->disk;
    if (store->copy.file)
        disk->close(disk->ctx, store->copy.file);
    if (store->checkpoint.file)
        disk->close(disk->ctx, store->checkpoint.file);
    reading_forget(store);
    check_forget(store);
    log_forget(store);
    if (store->lock)
        disk->close(disk->ctx, store->lock);
    for (size_t i = 0; i < store->segments_count; i++)
        free(store->segments[i].marks);
    free(store->segments);
    postings_free(&store->postings);
    scrub_free(store);
    deletions_free(&store->deletions);
    free(store->checkpoint_file);
    held_release(store);
    held_copies_drop(store);
    pthread_mutex_destroy(&store->mutex);
    pthread_mutex_destroy(&store->tail);
    pthread_mutex_destroy(&store->held_mutex);
    free(store);
}

uint64_t store_durable_last(struct store *store)
{
    store_lock(store);
    uint64_t last = store->durable_last;
    store_unlock(store);
    return last;
}

uint64_t store_space(struct store *store)
{
    uint64_t bytes = 0;
    return store->disk->space(store->disk->ctx, &bytes) == FT_OK ? bytes : 0;
}
