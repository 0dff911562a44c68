/* What a client keeps between runs: one file per user and cluster in the state directory, and a
 * lock beside it, held while a client runs; a second client of the same user gets a file (and so a
 * device) of its own. What that one left unsent, the next client that finds its place free sends.
 *
 * Changes are gathered and written by state_write; nothing is fsynced but by state_sync and when a
 * new device replaces the old one, which is one rename. When the disk fails, that is said once and
 * the client goes on: what is then missing after a restart is found out by the cluster (a seq with
 * other content is a conflict), so nothing is posted twice, but what was not sent may be lost. */
#ifndef FTCHAT_CMD_CLIENT_CLIENT_STATE_H
#define FTCHAT_CMD_CLIENT_CLIENT_STATE_H

#include "cmd/client/outbox_file.h"

struct client_state;

/* `folder` NULL: $XDG_STATE_HOME/ftchat or ~/.local/state/ftchat; made with its parents (0700).
 * NULL: said why. */
struct client_state *state_open(const char *command, const char *folder, const char *user,
                                const char *key_id);
void state_close(struct client_state *state);
/* Good until the next call of this module. */
const struct client_recovered *state_recovered(const struct client_state *state);

/* Another client of this user held the first place. */
bool state_is_twin(const struct client_state *state);

void state_put(struct client_state *state, const struct client_entry *put);
void state_done(struct client_state *state, uint64_t number, uint64_t seq);
/* `forgot`, and what state_seen was told since the last one: of client_seen. */
void state_cursor(struct client_state *state, uint64_t index, uint64_t floor,
                  const uint8_t cluster[IDENTITY_BYTES], uint64_t forgot);
void state_seen(struct client_state *state, uint64_t tag, uint64_t seq);
void state_enrolled(struct client_state *state, uint32_t device, uint64_t index);
/* What is put from here on belongs to this device; state_sync brings it into effect. */
void state_new_device(struct client_state *state, const uint8_t secret_key[SECRET_KEY_BYTES]);
void state_write(struct client_state *state);
void state_sync(struct client_state *state);
/* Writes the file anew when it has grown much; to be called when `nothing_open`. */
void state_tidy(struct client_state *state, bool nothing_open);

#endif
