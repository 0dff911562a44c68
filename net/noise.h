/* The Noise Protocol Framework, revision 34, as far as ftchat needs it: the interactive one-way
 * authenticated pattern NK, and the same with a pre-shared key first, NKpsk0, over Curve25519,
 * ChaCha20-Poly1305 and SHA-256. All primitives come from libsodium (sodium_init first).
 *
 *     NK:       <- s            NKpsk0:   <- s
 *               ...                       ...
 *               -> e, es                  -> psk, e, es
 *               <- e, ee                  <- e, ee
 *
 * The initiator knows the responder's static public key beforehand; whoever completes NKpsk0 has
 * also shown to hold the pre-shared key. The caller owns all structs and buffers; nothing is
 * allocated. False means that the other side's bytes are not what an honest holder of the keys
 * would send: drop the connection, the state is of no further use. Section numbers in noise.c are
 * those of the specification. */
#ifndef FTCHAT_NET_NOISE_H
#define FTCHAT_NET_NOISE_H

#include "core/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NOISE_KEY_BYTES = 32, /* DHLEN, HASHLEN and the length of psk and cipher keys alike */
    NOISE_TAG_BYTES = 16,
    NOISE_MESSAGE_MAX = 65535,
    /* Messages 1 and 2 with an empty payload: an ephemeral key and a tag. */
    NOISE_HANDSHAKE_BYTES = NOISE_KEY_BYTES + NOISE_TAG_BYTES,
};

enum noise_pattern {
    NOISE_NK,
    NOISE_NKPSK0,
};

/* CipherState, section 5.1. */
struct noise_cipher {
    uint8_t key[NOISE_KEY_BYTES];
    uint64_t nonce; /* of the next message */
};

/* SymmetricState and HandshakeState, sections 5.2 and 5.3. */
struct noise_handshake {
    struct noise_cipher cipher;
    uint8_t chaining_key[NOISE_KEY_BYTES];
    uint8_t hash[NOISE_KEY_BYTES];
    uint8_t own_static[NOISE_KEY_BYTES]; /* secret; the responder's only */
    uint8_t own_ephemeral[NOISE_KEY_BYTES];
    uint8_t their_static[NOISE_KEY_BYTES]; /* public; the initiator's only */
    uint8_t their_ephemeral[NOISE_KEY_BYTES];
    uint8_t psk[NOISE_KEY_BYTES];
    uint8_t pattern; /* enum noise_pattern */
    bool initiator;
    bool has_key;       /* cipher.key is set: payloads are encrypted */
    bool has_ephemeral; /* own_ephemeral was injected */
    uint8_t messages;   /* done so far: 0, 1 or 2 */
};

/* A fresh key pair; and the public half of a secret one. */
void noise_keypair(uint8_t public_key[NOISE_KEY_BYTES], uint8_t secret_key[NOISE_KEY_BYTES]);
void noise_public_key(uint8_t public_key[NOISE_KEY_BYTES],
                      const uint8_t secret_key[NOISE_KEY_BYTES]);

/* `psk` is NULL exactly for NOISE_NK. Keys are copied. */
void noise_start_initiator(struct noise_handshake *handshake, enum noise_pattern pattern,
                           const void *prologue, size_t prologue_len,
                           const uint8_t their_public[NOISE_KEY_BYTES], const uint8_t *psk);
void noise_start_responder(struct noise_handshake *handshake, enum noise_pattern pattern,
                           const void *prologue, size_t prologue_len,
                           const uint8_t own_secret[NOISE_KEY_BYTES],
                           const uint8_t own_public[NOISE_KEY_BYTES], const uint8_t *psk);
/* For published vectors only: the ephemeral secret, instead of a random one. */
void noise_inject_ephemeral(struct noise_handshake *handshake,
                            const uint8_t secret[NOISE_KEY_BYTES]);

/* Writes this side's next handshake message: len + NOISE_HANDSHAKE_BYTES bytes to `out`. */
FT_MUST_USE bool noise_write_message(struct noise_handshake *handshake, const void *payload,
                                     size_t len, uint8_t *out);
/* Reads the other side's; the payload is len - NOISE_HANDSHAKE_BYTES bytes. */
FT_MUST_USE bool noise_read_message(struct noise_handshake *handshake, const uint8_t *message,
                                    size_t len, uint8_t *payload);
/* After message 2: the keys of both directions. The handshake is wiped; copy `hash` (it names this
 * session for ever, section 11.2) beforehand. */
void noise_split(struct noise_handshake *handshake, struct noise_cipher *send,
                 struct noise_cipher *receive);

/* Transport messages. `out` may be `in`. Sealing writes len + NOISE_TAG_BYTES bytes, opening
 * len - NOISE_TAG_BYTES. */
void noise_seal(struct noise_cipher *cipher, const uint8_t *in, size_t len, uint8_t *out);
FT_MUST_USE bool noise_open(struct noise_cipher *cipher, const uint8_t *in, size_t len,
                            uint8_t *out);
/* Section 4.2 REKEY; the nonce goes on. */
void noise_rekey(struct noise_cipher *cipher);

#endif
