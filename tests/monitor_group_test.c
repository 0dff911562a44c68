/* Whole monitors with model nodes on a model network: a thousand seeds of crashes, hangs, partitions
 * and lost messages. No node is killed that its own monitor hears, none is started by others that
 * somebody still hears, and in the end each group that reaches itself has one leader and every node runs
 * that nobody stopped. */
#include "core/monitor/heal.h"
#include "core/monitor/monitor.h"
#include "core/monitor/supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    MS = 1000,
    SECOND = 1000 * MS,
    STEP = 10 * MS,
    PULSE = 200 * MS,
    SILENCE = 1 * SECOND, /* of a pulse */
    GONE = 6 * SECOND,    /* of a monitor */
    HEARTBEAT = 500 * MS,
    PROBE = 3 * SECOND,
    COMMAND = 500 * MS,
    QUEUE = 8192,
};

enum what { WHAT_MESSAGE, WHAT_CLOSED, WHAT_DIAL, WHAT_PROBE, WHAT_COMMAND };

struct happening {
    uint64_t at;
    enum what what;
    uint8_t from;
    uint8_t to;
    uint32_t connection; /* at `to`; of a DIAL, PROBE or COMMAND: the life of `from` */
    uint64_t link;
    size_t len;
    uint8_t bytes[MONITOR_MESSAGE_BYTES];
};

struct host {
    bool power;
    bool watched;      /* its monitor runs */
    uint64_t watch_at; /* a service manager starts it then; 0: there is none, or it runs */
    uint32_t life;     /* of the monitor */
    struct monitor monitor;
    struct supervisor supervisor;
    bool runs; /* the node */
    bool hangs;
    bool stopped; /* on purpose */
    uint64_t comes_up_at;
    uint64_t pulse_at;
    uint64_t progress;
    uint64_t link[LIMIT_MONITOR_CONNECTIONS]; /* 0: free */
    uint8_t other[LIMIT_MONITOR_CONNECTIONS];
    uint32_t other_connection[LIMIT_MONITOR_CONNECTIONS];
    uint64_t heard_at; /* by anybody else's node, in truth */
};

struct group {
    struct random random;
    uint64_t now;
    uint8_t count;
    bool commands; /* there is a start command */
    struct host hosts[LIMIT_NODES + 1];
    uint8_t cut[LIMIT_NODES + 1];
    struct happening queue[QUEUE];
    uint32_t queued;
    uint64_t links;
    uint32_t loss_pct;
    uint32_t delay_most;
    uint64_t seed;
    unsigned kills, commanded, by_start, leaders_told;
};

static uint8_t bit(uint8_t slot)
{
    return (uint8_t)(1u << (slot - 1));
}

static bool passes(const struct group *group, uint8_t from, uint8_t to)
{
    return group->hosts[from].power && group->hosts[to].power && !(group->cut[from] & bit(to));
}

static bool both_ways(const struct group *group, uint8_t a, uint8_t b)
{
    return passes(group, a, b) && passes(group, b, a);
}

static bool works(const struct host *host)
{
    return host->power && host->runs && !host->hangs;
}

static struct happening *plan(struct group *group, enum what what, uint64_t at, uint8_t from,
                              uint8_t to)
{
    assert_true(group->queued < QUEUE);
    struct happening *made = &group->queue[group->queued++];
    *made = (struct happening) { .at = at, .what = what, .from = from, .to = to };
    return made;
}

static uint64_t soon(struct group *group)
{
    return group->now + random_between(&group->random, 1, group->delay_most);
}

/* --- effects ------------------------------------------------------------------------------------*/

struct emitter {
    struct group *group;
    uint8_t slot;
};

static void close_link(struct group *group, uint8_t slot, uint32_t connection)
{
    struct host *host = &group->hosts[slot];
    uint8_t other = host->other[connection];
    struct happening *told = plan(group, WHAT_CLOSED, soon(group), slot, other);
    told->connection = host->other_connection[connection];
    told->link = host->link[connection];
    host->link[connection] = 0;
}

static void emit(void *ctx, const struct monitor_effect *effect)
{
    struct emitter *emitter = ctx;
    struct group *group = emitter->group;
    struct host *host = &group->hosts[emitter->slot];
    struct happening *made;
    switch (effect->kind) {
    case EFFECT_MONITOR_DIAL:
        made = plan(group, WHAT_DIAL, soon(group), emitter->slot, effect->slot);
        made->connection = host->life;
        break;
    case EFFECT_MONITOR_SEND:
        assert_true(host->link[effect->connection]);
        if (random_below(&group->random, 100) < group->loss_pct)
            break;
        made =
            plan(group, WHAT_MESSAGE, soon(group), emitter->slot, host->other[effect->connection]);
        made->connection = host->other_connection[effect->connection];
        made->link = host->link[effect->connection];
        made->len = effect->bytes.len;
        memcpy(made->bytes, effect->bytes.data, effect->bytes.len);
        break;
    case EFFECT_MONITOR_CLOSE:
        assert_true(host->link[effect->connection]);
        close_link(group, emitter->slot, effect->connection);
        break;
    case EFFECT_MONITOR_PROBE:
        made = plan(group, WHAT_PROBE, soon(group) + 20 * MS, emitter->slot, effect->slot);
        made->connection = host->life;
        break;
    case EFFECT_MONITOR_START:
        group->by_start++;
        supervisor_nudge(&host->supervisor, group->now);
        break;
    case EFFECT_MONITOR_COMMAND: {
        /* Nobody in its group hears it, and has not for a while. */
        const struct host *target = &group->hosts[effect->slot];
        if (works(target) && group->now - target->heard_at < PULSE &&
            both_ways(group, emitter->slot, effect->slot) &&
            group->now > target->comes_up_at + PROBE)
            fail_msg("seed %llu: %u has %u started, which works", (unsigned long long)group->seed,
                     emitter->slot, effect->slot);
        assert_true(group->commands);
        group->commanded++;
        made = plan(group, WHAT_COMMAND, group->now + COMMAND, emitter->slot, effect->slot);
        made->connection = host->life;
        break;
    }
    case EFFECT_MONITOR_LOG:
        group->leaders_told += strstr(effect->text, "leads_monitors") != NULL;
        break;
    }
}

static void step(struct group *group, uint8_t slot, struct monitor_event *event)
{
    struct emitter emitter = { group, slot };
    const struct monitor_effects effects = { emit, &emitter };
    event->now_us = group->now;
    monitor_step(&group->hosts[slot].monitor, event, &effects);
    assert_true(monitor_due_us(&group->hosts[slot].monitor) > group->now); /* it does not spin */
}

/* --- hosts --------------------------------------------------------------------------------------*/

static void start_monitor(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    const struct supervisor_options watching = { SILENCE, 10 * SILENCE, 10 * SECOND, slot };
    struct monitor_options options = { .slot = slot,
                                       .heartbeat_us = HEARTBEAT,
                                       .silence_us = GONE,
                                       .probe_us = PROBE,
                                       .has_start_command = group->commands,
                                       .seed = random_u64(&group->random) };
    for (uint8_t other = 1; other <= group->count; other++)
        options.peers |= other == slot ? 0 : bit(other);
    host->watched = true;
    host->watch_at = 0;
    host->life++;
    supervisor_init(&host->supervisor, &watching, group->now);
    if (host->stopped) { /* it was told by whoever stopped it */
        supervisor_dismiss(&host->supervisor, group->now);
    }
    monitor_init(&host->monitor, &options);
    step(group, slot, &(struct monitor_event) { .kind = EVENT_MONITOR_START });
}

static void end_monitor(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    for (uint32_t i = 0; i < LIMIT_MONITOR_CONNECTIONS; i++)
        if (host->link[i])
            close_link(group, slot, i);
    host->watched = false;
    host->watch_at = random_below(&group->random, 3) ? group->now + SECOND : 0;
}

static void report(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    struct monitor_event event = {
        .kind = EVENT_MONITOR_NODE, .report = { .state = supervisor_node_state(&host->supervisor) }
    };
    for (uint8_t other = 1; other <= group->count; other++)
        if (other != slot && works(host) && works(&group->hosts[other]) &&
            group->now >= group->hosts[other].comes_up_at && both_ways(group, slot, other))
            event.report.heard |= bit(other);
    step(group, slot, &event);
}

static void node_ends(struct group *group, uint8_t slot, int status)
{
    struct host *host = &group->hosts[slot];
    host->runs = host->hangs = false;
    if (host->watched && host->supervisor.state != SUPERVISED_DOWN &&
        host->supervisor.state != SUPERVISED_STOPPED) {
        supervisor_ended(&host->supervisor, status, group->now);
        report(group, slot);
    }
}

static void node_starts(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    host->runs = true;
    host->comes_up_at = group->now + random_between(&group->random, 5, 800) * MS;
}

static void watch(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    if (works(host) && host->pulse_at <= group->now) {
        host->pulse_at = group->now + PULSE;
        supervisor_pulse(&host->supervisor,
                         group->now < host->comes_up_at ? PULSE_RECOVERING : PULSE_RUNNING,
                         ++host->progress, group->now);
        report(group, slot);
    }
    switch (supervisor_next(&host->supervisor, group->now)) {
    case ORDER_START:
        if (!host->runs)
            node_starts(group, slot);
        supervisor_started(&host->supervisor, group->now);
        break;
    case ORDER_KILL:
        if (works(host))
            fail_msg("seed %llu: node %u is killed and works", (unsigned long long)group->seed,
                     slot);
        group->kills++;
        node_ends(group, slot, 9);
        break;
    default:
        break;
    }
    if (monitor_due_us(&host->monitor) <= group->now)
        step(group, slot, &(struct monitor_event) { .kind = EVENT_MONITOR_TICK });
}

static void power_on(struct group *group, uint8_t slot)
{
    group->hosts[slot].power = true;
    start_monitor(group, slot);
}

static void power_off(struct group *group, uint8_t slot)
{
    struct host *host = &group->hosts[slot];
    for (uint32_t i = 0; i < LIMIT_MONITOR_CONNECTIONS; i++)
        host->link[i] = 0; /* without a word */
    host->power = host->watched = host->runs = host->hangs = false;
    host->watch_at = 0;
}

/* --- what happens -------------------------------------------------------------------------------*/

static uint32_t free_connection(const struct host *host)
{
    uint32_t i = 0;
    while (i < LIMIT_MONITOR_CONNECTIONS && host->link[i])
        i++;
    return i;
}

static void dial(struct group *group, const struct happening *happening)
{
    uint8_t from = happening->from;
    uint8_t to = happening->to;
    struct host *here = &group->hosts[from];
    struct host *there = &group->hosts[to];
    if (!here->watched || here->life != happening->connection)
        return;
    uint32_t a = free_connection(here);
    uint32_t b = free_connection(there);
    if (!both_ways(group, from, to) || !there->watched || a == LIMIT_MONITOR_CONNECTIONS ||
        b == LIMIT_MONITOR_CONNECTIONS) {
        step(group, from, &(struct monitor_event) { .kind = EVENT_MONITOR_FAILED, .slot = to });
        return;
    }
    here->link[a] = there->link[b] = ++group->links;
    here->other[a] = to;
    there->other[b] = from;
    here->other_connection[a] = b;
    there->other_connection[b] = a;
    step(group, from,
         &(struct monitor_event) { .kind = EVENT_MONITOR_OPENED, .connection = a, .slot = to });
    if (there->link[b] == group->links)
        step(group, to, &(struct monitor_event) { .kind = EVENT_MONITOR_OPENED, .connection = b });
}

static void arrive(struct group *group, const struct happening *happening)
{
    struct host *host = &group->hosts[happening->to];
    if (!host->watched || !passes(group, happening->from, happening->to) ||
        host->link[happening->connection] != happening->link)
        return;
    struct monitor_event event = { .kind = EVENT_MONITOR_MESSAGE,
                                   .connection = happening->connection,
                                   .bytes = { happening->bytes, happening->len } };
    if (happening->what == WHAT_CLOSED) {
        host->link[happening->connection] = 0;
        event.kind = EVENT_MONITOR_CLOSED;
    }
    step(group, happening->to, &event);
}

static void answer(struct group *group, const struct happening *happening)
{
    struct host *host = &group->hosts[happening->from];
    struct host *target = &group->hosts[happening->to];
    struct monitor_event event = { .slot = happening->to };
    if (happening->what == WHAT_COMMAND) {
        event.kind = EVENT_MONITOR_STARTED;
        if (target->power && !target->watched && !target->stopped &&
            both_ways(group, happening->from, happening->to))
            start_monitor(group, happening->to);
    } else {
        event.kind = EVENT_MONITOR_PROBED;
        event.good = works(target) && group->now >= target->comes_up_at &&
                     both_ways(group, happening->from, happening->to);
    }
    if (host->watched && host->life == happening->connection)
        step(group, happening->from, &event);
}

static void happen(struct group *group)
{
    for (uint32_t i = 0; i < group->queued;) {
        const struct happening happening = group->queue[i];
        if (happening.at > group->now) {
            i++;
            continue;
        }
        group->queue[i] = group->queue[--group->queued];
        if (happening.what == WHAT_DIAL)
            dial(group, &happening);
        else if (happening.what == WHAT_PROBE || happening.what == WHAT_COMMAND)
            answer(group, &happening);
        else
            arrive(group, &happening);
    }
}

static void run(struct group *group, uint64_t until)
{
    for (; group->now < until; group->now += STEP) {
        happen(group);
        for (uint8_t slot = 1; slot <= group->count; slot++) {
            struct host *host = &group->hosts[slot];
            for (uint8_t other = 1; other <= group->count; other++)
                if (other != slot && works(host) && works(&group->hosts[other]) &&
                    both_ways(group, slot, other))
                    host->heard_at = group->now;
            if (!host->watched && host->power && host->watch_at && host->watch_at <= group->now)
                start_monitor(group, slot);
            if (host->watched)
                watch(group, slot);
        }
    }
}

static void break_something(struct group *group)
{
    struct random *random = &group->random;
    uint8_t slot = (uint8_t)random_between(random, 1, group->count);
    struct host *host = &group->hosts[slot];
    switch (random_below(random, 10)) {
    case 0:
        if (host->power)
            power_off(group, slot);
        else
            power_on(group, slot);
        break;
    case 1:
        group->cut[slot] ^= bit((uint8_t)random_between(random, 1, group->count));
        break;
    case 2:
        memset(group->cut, 0, sizeof group->cut);
        for (uint8_t a = 1; a <= group->count; a++)
            for (uint8_t b = 1; b <= group->count; b++)
                if ((a <= slot) != (b <= slot))
                    group->cut[a] |= bit(b);
        break;
    case 3:
        memset(group->cut, 0, sizeof group->cut);
        break;
    case 4:
        group->loss_pct = (uint32_t)random_below(random, 30);
        group->delay_most = (uint32_t)random_between(random, STEP, 300 * MS);
        break;
    case 5:
        if (host->watched)
            end_monitor(group, slot);
        break;
    case 6:
        host->hangs = host->runs;
        break;
    case 7:
        if (host->runs && random_below(random, 3) == 0 && host->watched) {
            host->stopped = true;
            node_ends(group, slot, 0);
        }
        break;
    default:
        if (host->runs)
            node_ends(group, slot, 9);
        break;
    }
}

static uint8_t reached(const struct group *group, uint8_t slot)
{
    uint8_t set = bit(slot);
    for (uint8_t other = 1; other <= group->count; other++)
        if (other != slot && group->hosts[other].watched && both_ways(group, slot, other))
            set |= bit(other);
    return set;
}

static void judge(struct group *group, bool whole)
{
    for (uint8_t slot = 1; slot <= group->count; slot++) {
        const struct host *host = &group->hosts[slot];
        if (!host->power)
            continue;
        if (whole && !host->stopped && !works(host))
            fail_msg("seed %llu: node %u does not run", (unsigned long long)group->seed, slot);
        if (host->stopped && host->runs)
            fail_msg("seed %llu: node %u runs and was stopped", (unsigned long long)group->seed,
                     slot);
        if (!host->watched)
            continue;
        uint8_t set = reached(group, slot);
        bool complete = true;
        uint8_t highest = slot;
        for (uint8_t other = 1; other <= group->count; other++) {
            complete &= !(set & bit(other)) || reached(group, other) == set;
            highest = set & bit(other) && other > highest ? other : highest;
        }
        if (complete && host->monitor.bully.leader != highest)
            fail_msg("seed %llu: %u follows %u and not %u", (unsigned long long)group->seed, slot,
                     host->monitor.bully.leader, highest);
    }
}

static void seeds_of_everything(void **state)
{
    (void)state;
    static struct group group;
    unsigned kills = 0, commanded = 0, by_start = 0, told = 0;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        group = (struct group) { .now = 1000 * SECOND, .delay_most = 20 * MS, .seed = seed };
        random_seed(&group.random, seed);
        group.count = (uint8_t)random_between(&group.random, 1, LIMIT_NODES);
        group.commands = random_below(&group.random, 2);
        for (uint8_t slot = 1; slot <= group.count; slot++)
            power_on(&group, slot);
        uint64_t until = group.now + 60 * SECOND;
        while (group.now < until) {
            run(&group, group.now + random_between(&group.random, 10, 4000) * MS);
            break_something(&group);
        }
        group.loss_pct = 0;
        group.delay_most = 30 * MS;
        bool whole = random_below(&group.random, 2);
        for (uint8_t slot = 1; slot <= group.count; slot++) {
            struct host *host = &group.hosts[slot];
            if (!whole)
                continue;
            group.cut[slot] = 0;
            if (!host->power)
                power_on(&group, slot);
            else if (!host->watched && !group.commands)
                start_monitor(&group, slot);
            else if (!host->watched && group.count == 1)
                start_monitor(&group, slot);
        }
        run(&group, group.now + 120 * SECOND);
        bool leads = false; /* somebody who could have the others started */
        for (uint8_t slot = 1; slot <= group.count; slot++)
            leads |= group.hosts[slot].watched;
        judge(&group, whole && leads);
        uint64_t links = group.links;
        run(&group, group.now + 20 * SECOND);
        if (whole && group.links != links)
            fail_msg("seed %llu: links are made and lost", (unsigned long long)seed);
        kills += group.kills;
        commanded += group.commanded;
        by_start += group.by_start;
        told += group.leaders_told;
    }
    print_message("%u hung nodes killed, %u commands, %u nudges, %u leaderships\n", kills,
                  commanded, by_start, told);
    assert_true(kills > 500 && commanded > 200 && told > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_of_everything),
    };
    return cmocka_run_group_tests_name("monitor_group", tests, NULL, NULL);
}
