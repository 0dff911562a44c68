/* The feature level: what the members of a cluster may put into the log, the checkpoint and the files.
 *
 * A node can do every level up to its FEATURE_LEVEL_MAX. The cluster's own level is replicated state: it begins at
 * FEATURE_LEVEL_FIRST and rises by a LEVEL command, which the leader proposes once every member, learners included, is
 * there and has said (HELLO) that it can. So a cluster rolls from one release to the next node by node; until the last
 * one is new, all of them behave as the old release does, and going back is possible.
 *
 * The rule for whoever changes what a command does, adds one, or changes a format that others read: the new behaviour
 * is chosen by the level in the state (chat_genesis()->level), never by the version of the program, and FEATURE_LEVEL_MAX
 * goes up by one. A node that meets a level above its own maximum, in the log, in a checkpoint or in a peer's HELLO, ends
 * before it applies anything of it.
 *
 *   1  the first release
 *
 * The tests build the tree a second time with -DFEATURE_LEVEL_TEST=1: the next release, whose one more level does
 * something that can be seen (room.c), and roll a cluster from one to the other. */
#ifndef FTCHAT_CORE_FEATURE_H
#define FTCHAT_CORE_FEATURE_H

#ifndef FEATURE_LEVEL_TEST
#define FEATURE_LEVEL_TEST 0
#endif

enum { FEATURE_LEVEL_FIRST = 1, FEATURE_LEVEL_MAX = 1 + FEATURE_LEVEL_TEST };

#endif
