#include "cmd/invite_link.h"

#include "core/check.h"

#include <sodium.h>
#include <string.h>

static const char prefix[] = "ftchat:";
enum {
    LINK_VERSION = 1,
    LINK_CHECK_BYTES = 4,
    LINK_BYTES = 1 + KEY_BYTES + WIRE_TOKEN_BYTES + LINK_SERVERS * (1 + CONFIG_TEXT_BYTES + 2) +
                 LINK_CHECK_BYTES,
    LINK_BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING,
};

static void check_of(uint8_t check[LINK_CHECK_BYTES], const uint8_t *data, size_t len)
{
    uint8_t hash[crypto_generichash_BYTES];
    int failed = crypto_generichash(hash, sizeof hash, data, len, NULL, 0);
    CHECK(failed == 0);
    memcpy(check, hash, LINK_CHECK_BYTES);
}

bool link_write(char text[LINK_TEXT_BYTES], const struct link_invite *invite)
{
    CHECK(invite->server_count >= 1 && invite->server_count <= LINK_SERVERS);
    uint8_t data[LINK_BYTES];
    struct writer writer = writer_of(data, sizeof data - LINK_CHECK_BYTES);
    write_u8(&writer, LINK_VERSION);
    write_copy(&writer, invite->key.public_key, KEY_BYTES);
    write_copy(&writer, invite->token, WIRE_TOKEN_BYTES);
    for (uint32_t i = 0; i < invite->server_count; i++) {
        write_slice8(&writer, invite->servers[i].host, strlen(invite->servers[i].host));
        write_u16(&writer, invite->servers[i].port);
    }
    size_t len = writer_used(&writer);
    size_t room = LINK_TEXT_BYTES - (sizeof prefix - 1);
    if (writer.full || sodium_base64_encoded_len(len + LINK_CHECK_BYTES, LINK_BASE64) > room)
        return false;
    check_of(data + len, data, len);
    memcpy(text, prefix, sizeof prefix - 1);
    sodium_bin2base64(text + sizeof prefix - 1, room, data, len + LINK_CHECK_BYTES, LINK_BASE64);
    return true;
}

static bool read_servers(struct link_invite *invite, struct reader *reader)
{
    while (reader_left(reader) && !reader->bad) {
        struct slice host = read_slice8(reader);
        uint16_t port = read_u16(reader);
        if (reader->bad || host.len == 0 || host.len >= CONFIG_TEXT_BYTES || port == 0 ||
            memchr(host.data, 0, host.len) || invite->server_count == LINK_SERVERS)
            return false;
        struct config_address *server = &invite->servers[invite->server_count++];
        memcpy(server->host, host.data, host.len);
        server->host[host.len] = '\0';
        server->port = port;
    }
    return invite->server_count > 0;
}

bool link_read(struct link_invite *invite, const char *text)
{
    memset(invite, 0, sizeof *invite);
    if (strncmp(text, prefix, sizeof prefix - 1) != 0)
        return false;
    text += sizeof prefix - 1;
    uint8_t data[LINK_BYTES];
    size_t len;
    const char *end;
    if (sodium_base642bin(data, sizeof data, text, strlen(text), NULL, &len, &end, LINK_BASE64) !=
            0 ||
        *end || len <= LINK_CHECK_BYTES)
        return false;
    len -= LINK_CHECK_BYTES;
    uint8_t check[LINK_CHECK_BYTES];
    check_of(check, data, len);
    struct reader reader = reader_of(data, len);
    if (memcmp(check, data + len, LINK_CHECK_BYTES) != 0 || read_u8(&reader) != LINK_VERSION)
        return false;
    uint8_t key[KEY_BYTES];
    read_copy(&reader, key, KEY_BYTES);
    read_copy(&reader, invite->token, WIRE_TOKEN_BYTES);
    char hex[KEY_TEXT];
    sodium_bin2hex(hex, sizeof hex, key, sizeof key);
    return keys_public_parse(&invite->key, hex) && read_servers(invite, &reader);
}
