/* Devices, and their numbers.
 *
 * A device's number is never given twice: a command that was under way when its device ended must
 * not become another device's. So a number is position + generation * LIMIT_DEVICES; the first
 * devices are simply 1, 2, 3 ... An ended device is remembered (the answer to its CLOSE may be
 * asked for again) until its position is needed. */
#include "core/chat/state.h"

#include "core/check.h"

static uint32_t position_of(uint32_t number)
{
    return (number - 1) % LIMIT_DEVICES + 1;
}

struct device_record *device_at(const struct chat *chat, uint32_t number)
{
    if (!number || position_of(number) > chat->device_count)
        return NULL;
    struct device_record *device = &chat->devices[position_of(number)];
    return device->number == number ? device : NULL;
}

struct chat_device *chat_device(struct chat *chat, uint32_t number)
{
    struct device_record *device = device_at(chat, number);
    return device ? &device->shown : NULL;
}

uint32_t chat_next_device(const struct chat *chat, uint32_t account, uint32_t previous)
{
    CHECK(account >= 1 && account <= chat->account_count);
    const struct device_record *device = previous ? device_at(chat, previous) : NULL;
    CHECK(!previous || device);
    uint32_t at = device ? device->next_device : chat->accounts[account].first_device;
    return at ? chat->devices[at].number : 0;
}

uint32_t chat_find_device(const struct chat *chat, const uint8_t key[PUBLIC_KEY_BYTES])
{
    CHECK(key != NULL);
    struct table_probe probe = table_probe(chat_hash_bytes(chat, key, PUBLIC_KEY_BYTES));
    for (uint32_t at; (at = table_next(&chat->device_by_key, &probe)) != 0;)
        if (memcmp(chat->devices[at].shown.key, key, PUBLIC_KEY_BYTES) == 0)
            return chat->devices[at].number;
    return 0;
}

/* Its next generation's number would still fit. */
bool device_can_be_used_again(const struct device_record *device)
{
    return device->number <= UINT32_MAX - LIMIT_DEVICES;
}

static struct device_record *least_recently_used(const struct chat *chat, uint32_t account)
{
    struct device_record *oldest = NULL;
    for (uint32_t at = account_at(chat, account)->first_device; at;
         at = chat->devices[at].next_device)
        if (!oldest || chat->devices[at].shown.used_index < oldest->shown.used_index)
            oldest = &chat->devices[at];
    CHECK(oldest != NULL);
    return oldest;
}

/* `account` is 0 for one that is still to be made. */
bool device_fits(const struct chat *chat, uint32_t account)
{
    if (chat->ended_count || chat->device_count < chat->limits.devices)
        return true;
    if (!account || account_at(chat, account)->shown.devices < LIMIT_DEVICES_PER_ACCOUNT)
        return false;
    return device_can_be_used_again(least_recently_used(chat, account));
}

/* Into its account's list and the index by key. */
void device_link(struct chat *chat, uint32_t position)
{
    struct device_record *device = &chat->devices[position];
    struct account_record *account = account_at(chat, device->shown.account);
    device->previous_device = 0;
    device->next_device = account->first_device;
    if (account->first_device)
        chat->devices[account->first_device].previous_device = position;
    account->first_device = position;
    account->shown.devices++;
    table_insert(&chat->device_by_key, chat_hash_bytes(chat, device->shown.key, PUBLIC_KEY_BYTES),
                 position);
}

/* Behind the other ended devices. */
void device_link_ended(struct chat *chat, uint32_t position)
{
    chat->devices[position].next_device = 0;
    if (chat->ended_last)
        chat->devices[chat->ended_last].next_device = position;
    else
        chat->ended_first = position;
    chat->ended_last = position;
    chat->ended_count++;
}

/* What answers it still has are kept until its position is used again. */
void device_end(struct chat *chat, struct device_record *device)
{
    CHECK(device->shown.account != 0);
    uint32_t position = position_of(device->number);
    struct account_record *account = account_at(chat, device->shown.account);
    CHECK(account->shown.devices > 0);
    if (device->next_device)
        chat->devices[device->next_device].previous_device = device->previous_device;
    if (device->previous_device)
        chat->devices[device->previous_device].next_device = device->next_device;
    else
        account->first_device = device->next_device;
    account->shown.devices--;
    table_remove(&chat->device_by_key, chat_hash_bytes(chat, device->shown.key, PUBLIC_KEY_BYTES),
                 position);
    device->shown.account = 0;
    device->next_device = 0;
    device->previous_device = 0;
    if (device_can_be_used_again(device))
        device_link_ended(chat, position);
}

static uint32_t take_position(struct chat *chat)
{
    bool fresh = chat->device_count < chat->limits.devices;
    if (fresh && chat->ended_count < DEVICE_ENDED_KEPT)
        return ++chat->device_count;
    uint32_t position = chat->ended_first;
    CHECK(position != 0);
    struct device_record *device = &chat->devices[position];
    CHECK(device->shown.account == 0);
    answer_forget(chat, device, device->shown.last);
    chat->ended_first = device->next_device;
    if (!chat->ended_first)
        chat->ended_last = 0;
    chat->ended_count--;
    return position;
}

uint32_t device_add(struct chat *chat, uint32_t account, const uint8_t *key, uint64_t index,
                    uint32_t *ended)
{
    CHECK(chat_find_device(chat, key) == 0);
    CHECK(device_fits(chat, account));
    *ended = 0;
    if (account_at(chat, account)->shown.devices >= LIMIT_DEVICES_PER_ACCOUNT) {
        struct device_record *oldest = least_recently_used(chat, account);
        *ended = oldest->number;
        answer_forget(chat, oldest, oldest->shown.last);
        device_end(chat, oldest);
    }
    uint32_t position = take_position(chat);
    struct device_record *device = &chat->devices[position];
    uint32_t number = device->number ? device->number + LIMIT_DEVICES : position;
    memset(device, 0, sizeof *device);
    device->number = number;
    memcpy(device->shown.key, key, PUBLIC_KEY_BYTES);
    device->shown.account = account;
    device->shown.used_index = index;
    device->shown.enrolled_index = index;
    device_link(chat, position);
    return number;
}
