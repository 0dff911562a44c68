/* The answers that devices may still ask for: one pool, a list per device, oldest first. */
#include "core/chat/state.h"

#include "core/check.h"

/* Is there room for one more, once what `done` ends is forgotten? */
bool answer_fits(const struct chat *chat, const struct device_record *device, uint64_t done)
{
    if (chat->answer_count < chat->limits.answers)
        return true;
    return device->first_answer && done > device->shown.done;
}

void answer_keep(struct chat *chat, struct device_record *device, const struct kept_answer *answer)
{
    CHECK(chat->answer_count < chat->limits.answers);
    uint32_t position = chat->answer_free;
    if (position)
        chat->answer_free = chat->answers[position].next;
    else
        position = ++chat->answer_fresh;
    CHECK(position <= chat->limits.answers);
    chat->answer_count++;
    chat->answers[position] = *answer;
    chat->answers[position].next = 0;
    if (device->last_answer)
        chat->answers[device->last_answer].next = position & 0xffffff;
    else
        device->first_answer = position;
    device->last_answer = position;
}

/* Raises `done` (never lowers it) and forgets the answers up to it. */
void answer_forget(struct chat *chat, struct device_record *device, uint64_t done)
{
    CHECK(done <= device->shown.last);
    while (device->shown.done < done) {
        uint32_t position = device->first_answer;
        CHECK(position != 0);
        struct kept_answer *answer = &chat->answers[position];
        device->first_answer = answer->next;
        if (!device->first_answer)
            device->last_answer = 0;
        memset(answer, 0, sizeof *answer);
        answer->next = chat->answer_free & 0xffffff;
        chat->answer_free = position;
        chat->answer_count--;
        device->shown.done++;
    }
}

/* The answer to a seq above `done` and up to `last`. */
const struct kept_answer *answer_at(const struct chat *chat, const struct device_record *device,
                                    uint64_t seq)
{
    CHECK(seq > device->shown.done);
    CHECK(seq <= device->shown.last);
    uint32_t position = device->first_answer;
    for (uint64_t at = device->shown.done + 1; at < seq; at++)
        position = chat->answers[position].next;
    CHECK(position != 0);
    return &chat->answers[position];
}
