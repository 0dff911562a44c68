/* What a run of seeds did: counted faults and rare branches, simulated time. A kind that stays at
 * zero over 1,000 seeds means that the simulator does not try what it says it tries. */
#ifndef FTCHAT_TESTS_SIM_REPORT_H
#define FTCHAT_TESTS_SIM_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#define REPORT_FAULTS(X)                                                                           \
    X(KILL, "process killed")                                                                      \
    X(KILL_MID_EFFECTS, "process killed between two effects")                                      \
    X(POWER, "power lost on a host")                                                               \
    X(KILL_IN_FLUSH, "process killed while a flush was out")                                       \
    X(POWER_IN_FLUSH, "power lost while a flush was out")                                          \
    X(POWER_ALL, "power lost on all hosts")                                                        \
    X(KILL_LEADER, "leader killed")                                                                \
    X(STOP, "SIGTERM")                                                                             \
    X(PAUSE, "process paused")                                                                     \
    X(CLOCK_JUMP, "wall clock jumped")                                                             \
    X(CLOCK_DRIFT, "wall clock drifted")                                                           \
    X(ISOLATE, "node cut off")                                                                     \
    X(ONE_WAY, "node cut off one way")                                                             \
    X(SPLIT, "cluster split")                                                                      \
    X(PAIR, "one link between nodes cut")                                                          \
    X(LEADER_PAIR, "one link of the leader cut")                                                   \
    X(CLIENT_CUT, "client cut off from a node")                                                    \
    X(RESET_PEER, "connection of nodes reset")                                                     \
    X(RESET_CLIENT, "client's connection reset")                                                   \
    X(RING, "majorities in a ring")                                                                \
    X(BRIDGE, "cluster split but for a bridge")                                                    \
    X(FLAP, "link between nodes flapping")                                                         \
    X(SLOW_LINK, "link between nodes slow")                                                        \
    X(LOSS, "packets lost")                                                                        \
    X(SLOW_NETWORK, "network slow")                                                                \
    X(SLOW_DISK, "disk slow")                                                                      \
    X(FULL_DISK, "disk full")                                                                      \
    X(FAILED_SYNC, "sync failed")                                                                  \
    X(CLIENT_KILL, "client killed")                                                                \
    X(CLIENT_MID_EFFECTS, "client killed between two effects")                                     \
    X(CLIENT_PAUSE, "client paused")                                                               \
    X(CLIENT_OLD_COPY, "client's folder replaced by an old copy")                                  \
    X(TRANSFER, "leadership transferred by ctl")                                                   \
    X(WIPE, "node's folder wiped")                                                                 \
    X(REPLACE, "host lost for ever, and another one in its place")                                 \
    X(TWIN, "copy of a node's folder started beside it")                                           \
    X(MEMBER, "membership changed by ctl")                                                         \
    X(LONG_ABSENCE, "node away for a long time")                                                   \
    X(ROT, "bit flipped at rest")                                                                  \
    X(UNREADABLE, "page unreadable")                                                               \
    X(MISDIRECTED, "sector overwritten by a misdirected write")

#define REPORT_BRANCHES(X)                                                                         \
    X(FLUSH_UNDONE, "died before a flush")                                                         \
    X(FLUSH_TORN, "died in a flush")                                                               \
    X(FLUSH_UNTOLD, "died after a flush, before it was told")                                      \
    X(TAIL_CUT, "torn tail cut at recovery")                                                       \
    X(TRUNCATED, "log truncated")                                                                  \
    X(CHECKPOINT, "checkpoint written")                                                            \
    X(RESTORED, "checkpoint restored")                                                             \
    X(LEADER_CHANGE, "leader elected")                                                             \
    X(TERM_UNCOMMITTED, "term changed over uncommitted entries")                                   \
    X(VOTE_SAVED, "vote saved")                                                                    \
    X(PROMOTED, "learner promoted")                                                                \
    X(MEMBER_REMOVED, "member removed")                                                            \
    X(LEADER_REMOVED, "leader removed")                                                            \
    X(SEAT_VACATED, "dead node's seat given up")                                                   \
    X(SEAT_TAKEN, "vacant seat taken by a blank node")                                             \
    X(SEAT_RETURNED, "vacant seat given back to whoever left it")                                  \
    X(SEAT_INHERITED, "seat taken by a blank node without asking")                                 \
    X(GROWN, "cluster grown to its whole size")                                                    \
    X(SHRUNK, "cluster shrunk to three nodes")                                                     \
    X(TWINS, "two processes of one identity refused")                                              \
    X(TWINS_OVER, "one of two ended, and the other one heard again")                               \
    X(TWINS_TOLD, "two that lived beside each other without faults knew it")                       \
    X(MEMBER_REFUSED, "change of membership refused")                                              \
    X(MEMBER_GONE, "removed node told that it is none")                                            \
    X(MEMBER_AGAIN, "removed node taken in again")                                                 \
    X(NACK, "gap refused to a node or client")                                                     \
    X(REPEATED_ACK, "ack repeated after a client's crash")                                         \
    X(REJECTED, "command refused by apply")                                                        \
    X(NO_SPACE, "flush refused by a full disk")                                                    \
    X(HAND_OVER_FULL, "leader with a full disk handed over")                                       \
    X(HAND_OVER_SLOW, "leader with a slow disk handed over")                                       \
    X(SYNC_FATAL, "sync of the reading thread failed")                                             \
    X(VOTE_WHEN_FULL, "vote saved on a full disk")                                                 \
    X(LATE, "loop was late")                                                                       \
    X(READ_ENTRIES, "entries read from disk for a peer or apply")                                  \
    X(READ_POSTS, "posts read from disk")                                                          \
    X(STALE, "stale read told as such")                                                            \
    X(GOAWAY, "stopped by itself after SIGTERM")                                                   \
    X(HISTORY, "history read checked")                                                             \
    X(SKIPPED, "catch-up told as skipped")                                                         \
    X(TRUNCATION_TOLD, "history that is not kept told as truncated")                               \
    X(RETAINED, "history dropped")                                                                 \
    X(BEGINS_LATE, "started with a log that begins above 1")                                       \
    X(UNEXPLAINED, "late log lost whole, for no checkpoint of it could be read")                   \
    X(COPY_BEGUN, "copying of segments begun")                                                     \
    X(COPY_PIECE, "piece of a segment, index or checkpoint copied")                                \
    X(COPY_RESUMED, "copying gone on with after a crash of who copies")                            \
    X(COPY_SWITCHED, "piece asked for elsewhere: the source is gone or has it no more")            \
    X(COPY_INSTALLED, "copied log put in place")                                                   \
    X(COPY_OVERTAKEN, "copied because what was needed next was gone")                              \
    X(COPY_DIED, "died while a piece was written or the copy put in place")                        \
    X(COPY_MEANWHILE, "commits went on while somebody copied")                                     \
    X(NEW_DEVICE, "client made a new device after a conflict")                                     \
    X(RECONNECT, "client logged in again")                                                         \
    X(HELD, "command held by a node without a leader")                                             \
    X(HELD_SHOWN, "held post shown")                                                               \
    X(HELD_COMMITTED, "held post committed before those it was shown to")                          \
    X(RETRACTED, "held post retracted")                                                            \
    X(HELD_TWICE, "same post held on two nodes")                                                   \
    X(HELD_BY_ONE_BEHIND, "held post shown by a node that is behind its reader")                   \
    X(HELD_SURVIVED, "held posts found after a restart")                                           \
    X(HOLD_INTERRUPTED, "died while holding")                                                      \
    X(HELD_DISCARDED, "held log gone when nothing of it was open")                                 \
    X(RELAYED, "commands relayed through a node that hears the leader")                            \
    X(UPGRADE, "node came back as a newer version")                                                \
    X(DOWNGRADE, "node came back as an older version")                                             \
    X(LEVEL_ROSE, "feature level rose")                                                            \
    X(TOO_OLD, "node found itself too old, and ended")                                             \
    X(HELD_TAIL, "log held at a damage")                                                           \
    X(HELD_VOTES, "held log whose headers say what it votes for")                                  \
    X(HELD_SILENT, "held log whose end is unknown")                                                \
    X(MADE_UP, "leader made up for a lost tail")                                                   \
    X(DAMAGE_FOUND, "damage found in a running node")                                              \
    X(NOTICED, "damage noticed by a read")                                                         \
    X(MENDED_HERE, "damage made good from what is here")                                           \
    X(MENDED_ENTRIES, "entries fetched and mended")                                                \
    X(MENDED_TAIL, "entries of a held log fetched and mended")                                     \
    X(MENDED_INDEX, "index fetched and mended")                                                    \
    X(MENDED_CHECKPOINT, "checkpoint fetched and mended")                                          \
    X(STARTED_ANEW, "started anew with a whole log")                                               \
    X(PUT_ASIDE, "folder put aside, for nothing says whose it is")                                 \
    X(VOTE_LOST, "vote lost, a new identity taken")                                                \
    X(DELETED, "post deleted")                                                                     \
    X(SHOWN_DELETED, "post shown as deleted")                                                      \
    X(FOUND_LATER, "post to be deleted not known yet where it was asked for")                      \
    X(ERASED, "deleted post erased on a disk")                                                     \
    X(ERASED_READ, "erased post read for somebody who copies or follows")                          \
    X(SCRUB_DIED, "died while erasing")

enum report_fault {
#define X(name, text) FAULT_##name,
    REPORT_FAULTS(X)
#undef X
        FAULT_KINDS
};

enum report_branch {
#define X(name, text) BRANCH_##name,
    REPORT_BRANCHES(X)
#undef X
        BRANCHES
};

struct report {
    uint64_t seeds;
    uint64_t simulated_us;
    uint64_t again_us; /* simulated once more, to see that it is the same */
    uint64_t events;
    uint64_t acknowledged;
    uint64_t records;
    uint64_t thin; /* seeds with fewer than 500 acknowledged operations or 10 faults */
    uint64_t faults[FAULT_KINDS];
    uint64_t branches[BRANCHES];
};

const char *report_fault_text(enum report_fault fault);
void report_print(const struct report *report, double seconds);
/* Names what was never reached; true: everything was. */
bool report_complete(const struct report *report);

#endif
