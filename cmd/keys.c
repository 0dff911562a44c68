#include "cmd/keys.h"

#include "cmd/file_new.h"
#include "core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MAX_BYTES = 512,
    CHECK_BYTES = 16,
    CHECK_LINE_BYTES = 6 + 2 * CHECK_BYTES + 1, /* `check `, digits, line end */
};

_Static_assert(KEY_BYTES == crypto_scalarmult_BYTES, "X25519");

static enum ft_error explain(enum ft_error error, char why[KEYS_WHY_BYTES], const char *text)
{
    snprintf(why, KEYS_WHY_BYTES, "%s", text);
    return error;
}

static enum ft_error explain_errno(int error, char why[KEYS_WHY_BYTES])
{
    snprintf(why, KEYS_WHY_BYTES, "%s%s", strerror(error),
             error == ENOENT ? " (make the keys once, with ftchat ctl init, and copy them to every "
                               "host)"
             : error == EACCES ? " (run as the user who owns it)"
                               : "");
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return FT_ERROR_MISSING;
    case EACCES:
    case EPERM:
        return FT_ERROR_DENIED;
    case EEXIST:
        return FT_ERROR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return FT_ERROR_SPACE;
    default:
        return FT_ERROR_IO;
    }
}

/* --- keys --------------------------------------------------------------------------------------
 */

static void name_public(struct cluster_public *public_half)
{
    uint8_t hash[32];
    crypto_generichash(hash, sizeof hash, public_half->public_key, KEY_BYTES, NULL, 0);
    sodium_bin2hex(public_half->id, KEY_ID_TEXT, hash, (KEY_ID_TEXT - 1) / 2);
}

static void derive_public(struct cluster_keys *keys)
{
    int failed = crypto_scalarmult_base(keys->public_half.public_key, keys->secret);
    CHECK(failed == 0);
    name_public(&keys->public_half);
}

void keys_make(struct cluster_keys *keys)
{
    randombytes_buf(keys->secret, KEY_BYTES);
    randombytes_buf(keys->psk, KEY_BYTES);
    derive_public(keys);
}

void keys_wipe(struct cluster_keys *keys)
{
    sodium_memzero(keys, sizeof *keys);
}

bool keys_same(const struct cluster_public *a, const struct cluster_public *b)
{
    return sodium_memcmp(a->public_key, b->public_key, KEY_BYTES) == 0;
}

void keys_public_text(const struct cluster_public *public_half, char text[KEY_TEXT])
{
    sodium_bin2hex(text, KEY_TEXT, public_half->public_key, KEY_BYTES);
}

/* `len` bytes from exactly 2 * len hex digits. */
static bool parse_hex(uint8_t *out, size_t len, const char *text, size_t text_len)
{
    size_t got = 0;
    return text_len == 2 * len && sodium_hex2bin(out, len, text, text_len, NULL, &got, NULL) == 0 &&
           got == len;
}

bool keys_public_parse(struct cluster_public *public_half, const char *text)
{
    if (!parse_hex(public_half->public_key, KEY_BYTES, text, strnlen(text, KEY_TEXT)))
        return false;
    name_public(public_half);
    return true;
}

/* --- files: reading ----------------------------------------------------------------------------
 */

struct key_text {
    char bytes[FILE_MAX_BYTES + 1];
    size_t len;
    const char *at; /* what is to be parsed next */
};

static enum ft_error read_text(struct key_text *text, const char *path, bool secret,
                               char why[KEYS_WHY_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return explain_errno(errno, why);
    struct stat status;
    ssize_t got = fstat(fd, &status) == 0 && !S_ISREG(status.st_mode)
                      ? (errno = EINVAL, -1)
                      : read(fd, text->bytes, FILE_MAX_BYTES);
    int error = errno;
    close(fd);
    if (got < 0)
        return explain_errno(error, why);
    text->len = (size_t)got;
    text->bytes[got] = '\0';
    text->at = text->bytes;
    if (secret && (status.st_mode & 077) != 0) {
        snprintf(why, KEYS_WHY_BYTES,
                 "its mode is %04o: others on this host may reach the secret (chmod 600 it)",
                 (unsigned)(status.st_mode & 07777));
        return FT_ERROR_DENIED;
    }
    return FT_OK;
}

static bool take(struct key_text *text, const char *expected)
{
    size_t len = strlen(expected);
    if (strncmp(text->at, expected, len) != 0)
        return false;
    text->at += len;
    return true;
}

/* A line `name HEX`. */
static bool take_hex(struct key_text *text, const char *name, uint8_t *out, size_t len)
{
    if (!take(text, name) || !take(text, " "))
        return false;
    size_t digits = strspn(text->at, "0123456789abcdef");
    if (!parse_hex(out, len, text->at, digits))
        return false;
    text->at += digits;
    return take(text, "\n");
}

static void checksum(uint8_t out[CHECK_BYTES], const char *text, size_t len)
{
    crypto_generichash(out, CHECK_BYTES, (const uint8_t *)text, len, NULL, 0);
}

/* The first line and the last: is it ours, of this kind and version, and whole? */
static enum ft_error check_text(struct key_text *text, const char *kind, const char *other,
                                char why[KEYS_WHY_BYTES])
{
    char first[32];
    snprintf(first, sizeof first, "ftchat %s ", other);
    if (strncmp(text->bytes, first, strlen(first)) == 0)
        return explain(
            FT_ERROR_FOREIGN, why,
            strcmp(kind, "key") == 0
                ? "this is the public half (key_file is the one with the secrets)"
                : "this is the secret key (clients need only the public half: pub_file)");
    snprintf(first, sizeof first, "ftchat %s ", kind);
    if (!take(text, first))
        return strncmp(text->bytes, first, text->len) == 0
                   ? explain(FT_ERROR_CORRUPT, why, "cut short (copy it again from another host)")
                   : explain(FT_ERROR_FOREIGN, why, "not a key file of ftchat");
    size_t digits = strspn(text->at, "0123456789");
    if (text->at[digits] == '\n' && (digits != 1 || *text->at != '1'))
        return explain(FT_ERROR_VERSION, why,
                       "made by a newer ftchat (use that version on this host too)");
    uint8_t given[CHECK_BYTES];
    uint8_t actual[CHECK_BYTES];
    struct key_text end = *text;
    size_t covered = text->len > CHECK_LINE_BYTES ? text->len - CHECK_LINE_BYTES : 0;
    end.at = end.bytes + covered;
    checksum(actual, text->bytes, covered);
    if (!take(text, "1\n") || !take_hex(&end, "check", given, CHECK_BYTES) ||
        end.at != end.bytes + end.len || sodium_memcmp(given, actual, CHECK_BYTES) != 0)
        return explain(FT_ERROR_CORRUPT, why,
                       "cut short or changed (copy it again from another host)");
    return FT_OK;
}

static bool same_id(const struct cluster_public *public_half, const uint8_t id[8])
{
    char text[KEY_ID_TEXT];
    sodium_bin2hex(text, sizeof text, id, 8);
    return strcmp(text, public_half->id) == 0;
}

enum ft_error keys_load(struct cluster_keys *keys, const char *path, char why[KEYS_WHY_BYTES])
{
    struct key_text text;
    uint8_t id[8];
    enum ft_error error = read_text(&text, path, true, why);
    if (!error)
        error = check_text(&text, "key", "pub", why);
    if (!error && take_hex(&text, "id", id, sizeof id) &&
        take_hex(&text, "secret", keys->secret, KEY_BYTES) &&
        take_hex(&text, "psk", keys->psk, KEY_BYTES)) {
        derive_public(keys);
        if (!same_id(&keys->public_half, id))
            error = explain(FT_ERROR_CORRUPT, why, "its id is not its key's");
    } else if (!error) {
        error = explain(FT_ERROR_CORRUPT, why, "not in the form of a key file");
    }
    sodium_memzero(&text, sizeof text);
    return error;
}

enum ft_error keys_load_public(struct cluster_public *public_half, const char *path,
                               char why[KEYS_WHY_BYTES])
{
    struct key_text text;
    uint8_t id[8];
    enum ft_error error = read_text(&text, path, false, why);
    if (!error)
        error = check_text(&text, "pub", "key", why);
    if (error)
        return error;
    if (!take_hex(&text, "id", id, sizeof id) ||
        !take_hex(&text, "public", public_half->public_key, KEY_BYTES))
        return explain(FT_ERROR_CORRUPT, why, "not in the form of a key file");
    name_public(public_half);
    if (!same_id(public_half, id))
        return explain(FT_ERROR_CORRUPT, why, "its id is not its key's");
    return FT_OK;
}

/* --- files: writing ----------------------------------------------------------------------------
 */

static enum ft_error save_text(char *text, size_t room, const char *path, mode_t mode,
                               char why[KEYS_WHY_BYTES])
{
    uint8_t check[CHECK_BYTES];
    char digits[2 * CHECK_BYTES + 1];
    size_t len = strlen(text);
    checksum(check, text, len);
    sodium_bin2hex(digits, sizeof digits, check, sizeof check);
    int added = snprintf(text + len, room - len, "check %s\n", digits);
    CHECK(added == CHECK_LINE_BYTES);
    CHECK(len + CHECK_LINE_BYTES < room);
    int error = file_new(path, text, len + CHECK_LINE_BYTES, mode);
    return error ? explain_errno(error, why) : FT_OK;
}

enum ft_error keys_save(const struct cluster_keys *keys, const char *path, char why[KEYS_WHY_BYTES])
{
    char text[FILE_MAX_BYTES];
    char secret[KEY_TEXT];
    char psk[KEY_TEXT];
    sodium_bin2hex(secret, sizeof secret, keys->secret, KEY_BYTES);
    sodium_bin2hex(psk, sizeof psk, keys->psk, KEY_BYTES);
    snprintf(text, sizeof text, "ftchat key 1\nid %s\nsecret %s\npsk %s\n", keys->public_half.id,
             secret, psk);
    enum ft_error error = save_text(text, sizeof text, path, 0600, why);
    sodium_memzero(text, sizeof text);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(psk, sizeof psk);
    return error;
}

enum ft_error keys_save_public(const struct cluster_public *public_half, const char *path,
                               char why[KEYS_WHY_BYTES])
{
    char text[FILE_MAX_BYTES];
    char key[KEY_TEXT];
    keys_public_text(public_half, key);
    snprintf(text, sizeof text, "ftchat pub 1\nid %s\npublic %s\n", public_half->id, key);
    return save_text(text, sizeof text, path, 0644, why);
}
