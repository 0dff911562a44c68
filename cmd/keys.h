/* The cluster's key files.
 *
 * `ftchat.key` (mode 0600) holds the secrets: the X25519 static secret of the Noise handshakes,
 * which every node has, and the pre-shared key that nodes, monitors and ctl prove to know.
 * `ftchat.pub` is its public half: what clients pin. Both are text, in this order, ended by a
 * BLAKE2b-128 of all bytes before the line `check`:
 *
 *     ftchat key 1                    (or: ftchat pub 1)
 *     id 16 hex digits                the first 8 bytes of BLAKE2b-256 of the public key
 *     secret 64 hex digits            (pub: public 64 hex digits)
 *     psk 64 hex digits               (key only)
 *     check 32 hex digits
 *
 * Errors: FT_ERROR_MISSING, FT_ERROR_DENIED (not readable, or others may read it), FT_ERROR_CORRUPT
 * (cut short, changed), FT_ERROR_FOREIGN (no ftchat key, the other kind), FT_ERROR_VERSION,
 * FT_ERROR_IO, FT_ERROR_EXISTS; `why` says it for a person, with what to do. The caller wipes
 * struct cluster_keys (keys_wipe) when done with it. crypto_start() comes first. */
#ifndef FTCHAT_CMD_KEYS_H
#define FTCHAT_CMD_KEYS_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    KEY_BYTES = 32, /* X25519, and the pre-shared key */
    KEY_ID_TEXT = 17,
    KEY_TEXT = 2 * KEY_BYTES + 1,
    KEYS_WHY_BYTES = 200,
};

struct cluster_public {
    uint8_t public_key[KEY_BYTES];
    char id[KEY_ID_TEXT]; /* names the key to people; no secret */
};

struct cluster_keys {
    uint8_t secret[KEY_BYTES];
    uint8_t psk[KEY_BYTES];
    struct cluster_public public_half;
};

/* New keys from the system's randomness. */
void keys_make(struct cluster_keys *keys);
void keys_wipe(struct cluster_keys *keys);

enum ft_error keys_load(struct cluster_keys *keys, const char *path,
                        char why[KEYS_WHY_BYTES]) FT_MUST_USE;
enum ft_error keys_load_public(struct cluster_public *public_half, const char *path,
                               char why[KEYS_WHY_BYTES]) FT_MUST_USE;

/* Durable when they return FT_OK; a file that is there is never overwritten: FT_ERROR_EXISTS. */
enum ft_error keys_save(const struct cluster_keys *keys, const char *path,
                        char why[KEYS_WHY_BYTES]) FT_MUST_USE;
enum ft_error keys_save_public(const struct cluster_public *public_half, const char *path,
                               char why[KEYS_WHY_BYTES]) FT_MUST_USE;

bool keys_same(const struct cluster_public *a, const struct cluster_public *b);

/* The public key as one word, for --cluster-key and invite links: 64 hex digits. */
void keys_public_text(const struct cluster_public *public_half, char text[KEY_TEXT]);
bool keys_public_parse(struct cluster_public *public_half, const char *text);

#endif
