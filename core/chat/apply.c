/* Applying a command: dispatch, and exactly once (architecture.md). */
#include "core/chat/state.h"

#include "core/check.h"
#include "core/feature.h"

static uint64_t void_digest(const struct chat *chat)
{
    static const uint8_t nothing[1];
    struct command command = { .kind = COMMAND_VOID, .content = { nothing, 0 } };
    return command_digest(&command, chat->crypto);
}

/* What a seq that was consumed is answered. A command and the VOID that gives it up share their
 * seq: whichever came first is the answer to both. */
static enum chat_result look_up(const struct chat *chat, const struct device_record *device,
                                uint64_t seq, uint64_t digest, struct chat_answer *answer)
{
    *answer = (struct chat_answer) { .code = CODE_OK };
    bool ended = !device->shown.account;
    if (seq > device->shown.last && !ended)
        return seq == device->shown.last + 1 ? CHAT_APPLIED : CHAT_GAP;
    if (seq <= device->shown.done && !ended)
        return CHAT_REPEATED;
    if (seq <= device->shown.done || seq > device->shown.last) {
        answer->code = CODE_REVOKED;
        return CHAT_IGNORED;
    }
    const struct kept_answer *kept = answer_at(chat, device, seq);
    if (kept->digest != digest && kept->code != CODE_VOIDED && digest != void_digest(chat)) {
        answer->code = CODE_CONFLICT;
        return CHAT_REPEATED;
    }
    *answer = (struct chat_answer) { .code = (enum chat_code)kept->code,
                                     .room = kept->room,
                                     .room_seq = kept->room_seq,
                                     .index = kept->index,
                                     .time_us = kept->time_us };
    return CHAT_REPEATED;
}

enum chat_result chat_look_up_answer(const struct chat *chat, uint32_t number, uint64_t seq,
                                     uint64_t digest, struct chat_answer *answer)
{
    CHECK(answer != NULL);
    const struct device_record *device = device_at(chat, number);
    if (device && seq)
        return look_up(chat, device, seq, digest, answer);
    *answer = (struct chat_answer) { .code = CODE_REVOKED };
    return CHAT_IGNORED;
}

static enum chat_code apply_device_kind(struct step *step)
{
    switch (step->command->kind) {
    case COMMAND_POST:
        return post_apply(step);
    case COMMAND_CREATE:
        return room_create(step);
    case COMMAND_JOIN:
        return room_join(step);
    case COMMAND_PART:
        return room_part(step);
    case COMMAND_TOPIC:
        return room_topic(step);
    case COMMAND_READ:
        return post_read(step);
    case COMMAND_DELETE:
        return post_delete(step);
    case COMMAND_CLOSE:
        /* Only with nothing else outstanding: all answers before are final for the client. */
        return step->command->beyond == 1 ? CODE_OK : CODE_BAD_REQUEST;
    default:
        CHECK(step->command->kind == COMMAND_VOID);
        return CODE_VOIDED;
    }
}

/* Consumes the seq: the answer of now is the answer for ever. */
static void consume(struct step *step, struct device_record *device, uint64_t digest)
{
    const struct command *command = step->command;
    const struct chat_answer *answer = &step->applied->answer;
    struct kept_answer kept = { .digest = digest,
                                .room_seq = answer->room_seq,
                                .index = answer->index,
                                .time_us = answer->time_us,
                                .room = answer->room,
                                .code = (uint32_t)answer->code & 0xff };
    answer_forget(step->chat, device,
                  command->seq - command->beyond > device->shown.done
                      ? command->seq - command->beyond
                      : device->shown.done);
    CHECK(command->seq == device->shown.last + 1);
    answer_keep(step->chat, device, &kept);
    device->shown.last = command->seq;
    device->shown.used_index = step->index;
    CHECK(device->shown.last - device->shown.done <= LIMIT_OUTSTANDING);
    if (command->kind == COMMAND_CLOSE && answer->code == CODE_OK) {
        device_end(step->chat, device);
        step->applied->ended_device = device->number;
    }
}

static void apply_next(struct step *step, struct device_record *device, uint64_t digest)
{
    struct chat_applied *applied = step->applied;
    struct chat_answer *answer = &applied->answer;
    enum chat_code code = CODE_BUSY;
    if (answer_fits(step->chat, device, step->command->seq - step->command->beyond))
        code = apply_device_kind(step);
    if (!code_is_final(code)) {
        *answer = (struct chat_answer) { .code = code };
        applied->result = CHAT_FULL;
        return;
    }
    answer->code = code;
    answer->index = step->index;
    answer->time_us = step->time_us;
    applied->result = CHAT_APPLIED;
    consume(step, device, digest);
}

static void apply_of_device(struct step *step)
{
    struct chat *chat = step->chat;
    const struct command *command = step->command;
    struct chat_applied *applied = step->applied;
    struct device_record *device = device_at(chat, command->device);
    applied->answer.code = CODE_REVOKED;
    if (!device)
        return;
    uint64_t digest = command_digest(command, chat->crypto);
    applied->digest = digest;
    applied->device = command->device;
    applied->account = step->account = device->shown.account;
    applied->result = look_up(chat, device, command->seq, digest, &applied->answer);
    if (applied->result == CHAT_APPLIED) {
        apply_next(step, device, digest);
    } else if (applied->result == CHAT_REPEATED && step->account &&
               applied->answer.code != CODE_CONFLICT) {
        /* What another copy of the client claims to be done is not believed. */
        uint64_t done = command->seq - command->beyond;
        answer_forget(chat, device, done > device->shown.done ? done : device->shown.done);
        device->shown.used_index = step->index;
    }
}

static enum chat_code apply_genesis(struct chat *chat, const struct command *command)
{
    const struct chat_genesis *known = &chat->genesis;
    if (known->done)
        return known->slots == command->slots && known->segment_bytes == command->segment_bytes &&
                       memcmp(known->secret, command->secret, sizeof known->secret) == 0
                   ? CODE_OK
                   : CODE_EXISTS;
    struct chat_genesis genesis = { .done = true,
                                    .level = FEATURE_LEVEL_FIRST,
                                    .slots = command->slots,
                                    .segment_bytes = command->segment_bytes };
    memcpy(genesis.secret, command->secret, sizeof genesis.secret);
    chat_set_genesis(chat, &genesis);
    return CODE_OK;
}

/* Told twice, or of a history that is longer than this log: it is not believed. */
static enum chat_code apply_restored(struct step *step)
{
    struct chat_genesis *genesis = &step->chat->genesis;
    const struct command *command = step->command;
    if (command->shared_index >= step->index ||
        chat_shared_index(step->chat, command->cluster) != 0)
        return CODE_BAD_REQUEST;
    if (genesis->ancestors_count == CHAT_ANCESTORS)
        memmove(genesis->ancestors, genesis->ancestors + 1,
                --genesis->ancestors_count * sizeof genesis->ancestors[0]);
    struct chat_ancestor *ancestor = &genesis->ancestors[genesis->ancestors_count++];
    memcpy(ancestor->cluster, command->cluster, IDENTITY_BYTES);
    ancestor->shared_index = command->shared_index;
    return CODE_OK;
}

static enum chat_code apply_level(struct chat *chat, uint16_t level)
{
    if (level > chat->genesis.level)
        chat->genesis.level = level;
    return CODE_OK;
}

static enum chat_code apply_cluster_kind(struct step *step)
{
    switch (step->command->kind) {
    case COMMAND_GENESIS:
        return apply_genesis(step->chat, step->command);
    case COMMAND_FORMED:
        step->chat->genesis.formed = true;
        return CODE_OK;
    case COMMAND_INVITE:
        return invite_apply(step);
    case COMMAND_ENROL:
        return account_enrol(step);
    case COMMAND_RESTORED:
        return apply_restored(step);
    case COMMAND_LEVEL:
        return apply_level(step->chat, step->command->level);
    default:
        CHECK(step->command->kind == COMMAND_HEALTH);
        return CODE_OK;
    }
}

void chat_apply(struct chat *chat, uint64_t index, uint64_t time_us, struct slice body,
                struct chat_applied *applied)
{
    CHECK(applied != NULL);
    memset(applied, 0, sizeof *applied);
    applied->result = CHAT_IGNORED;
    applied->answer.code = CODE_BAD_REQUEST;
    struct step step = { chat, index, time_us, &applied->command, 0, applied };
    if (!command_decode(&applied->command, body))
        return;
    if (!chat->genesis.done && applied->command.kind != COMMAND_GENESIS) {
        applied->answer.code = CODE_FORMING;
        return;
    }
    if (applied->command.kind >= COMMAND_DEVICE_KINDS) {
        apply_of_device(&step);
        return;
    }
    enum chat_code code = apply_cluster_kind(&step);
    applied->result = code_is_final(code) ? CHAT_APPLIED : CHAT_FULL;
    applied->answer = (struct chat_answer) { .code = code };
    if (applied->result == CHAT_APPLIED) {
        applied->answer.index = index;
        applied->answer.time_us = time_us;
    }
}
