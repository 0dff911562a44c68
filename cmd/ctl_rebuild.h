/* A node's folder made anew from another folder's history, as the first of a new cluster: what `ctl restore` (from a
 * backup) and `ctl recover` (from a survivor) have in common.
 *
 * The new log holds every entry of the old one, at the same indexes and terms, under the new cluster's identity (digests
 * and chain are keyed with it, so that nothing of the old cluster fits any more); then RESTORED, which tells every node
 * and client where the new history parts from the old; then a configuration with this one voter, under a fresh identity.
 * What the old node held, the new one holds. It is written beside its place, proven, and only then moved there: a crash
 * leaves what was there before. */
#ifndef FTCHAT_CMD_CTL_REBUILD_H
#define FTCHAT_CMD_CTL_REBUILD_H

#include "cmd/ctl_folder.h"

struct rebuild {
    const char *command;
    const char *source;
    bool from_backup;
    char target[PATH_MAX]; /* data_dir/SLOT; what is built lies at target.new */
    uint8_t slot;

    /* Filled in. */
    uint64_t last;   /* of the old log */
    uint64_t commit; /* known there to be committed */
    uint64_t held;   /* records of its held log, taken over */
};

/* Builds and proves target.new; the exit status, with everything said. What an interrupted run left there is removed
 * first. The source is locked meanwhile, and a torn tail in it is cut; nothing else of it changes. */
int rebuild_folder(struct rebuild *rebuild);

#endif
