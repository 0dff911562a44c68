/* core's table of cryptography (core/crypto.h), filled from libsodium. */
#ifndef FTCHAT_CMD_CRYPTO_SODIUM_H
#define FTCHAT_CMD_CRYPTO_SODIUM_H

#include <stdbool.h>

struct crypto;

/* Starts libsodium; false when the system gives no randomness. To be called before anything else
 * uses libsodium; calling it again does no harm. */
bool crypto_start(void);

extern const struct crypto crypto_sodium;

#endif
