/* `ftchat ctl verify`: reads every byte of this host's stopped nodes and proves it; with --live running nodes do it
 * themselves, and mend what they find. */
#include "cmd/commands.h"
#include "cmd/config_load.h"
#include "cmd/crypto_sodium.h"
#include "cmd/ctl.h"
#include "cmd/ctl_ask.h"
#include "cmd/ctl_folder.h"
#include "cmd/ctl_options.h"
#include "cmd/say.h"

#include <stdio.h>

enum { OPTION_LIVE };
static const struct option_row rows[] = {
    [OPTION_LIVE] = { "live", 0, NULL, "running nodes do it themselves, and mend what they find" },
    CTL_ROW_WAIT("3600"),
    CTL_ROW_CONFIG,
    { 0 },
};
static const struct command_page page = {
    "ctl verify",
    "[N] [--live]",
    "Proves all that node N keeps, or every node that has its folder on this host: the log, its\n"
    "indexes and checkpoints, what is held, vote and identity. Changes nothing. With --live every\n"
    "running node, or node N, reads all that it has in the background, fetches from the others "
    "what\n"
    "is rotten, and reports.\n"
    "Exit status: 0 all good; 3 a node did not answer in time; 5 damage found.",
    rows,
};

struct verifying {
    const char *folder;
    uint64_t damages;
};

static void print_damage(void *ctx, const struct store_damage *damage)
{
    struct verifying *verifying = ctx;
    verifying->damages++;
    printf("%s/%s: offset %llu", verifying->folder, damage->file,
           (unsigned long long)damage->offset);
    if (damage->index)
        printf(", index %llu", (unsigned long long)damage->index);
    printf(": %s\n", damage->what);
}

static int verify_node(const struct config_file *file, unsigned slot)
{
    struct ctl_folder folder;
    int status = ctl_folder_open(&folder, "ctl verify", file, slot);
    if (status)
        return status;
    struct verifying verifying = { .folder = folder.path };
    uint64_t entries = 0;
    uint64_t erased = 0;
    enum ft_error error = store_verify_folder(&folder.disk, &crypto_sodium, print_damage,
                                              &verifying, &entries, &erased);
    disk_posix_close(&folder.disk);
    if (error)
        return ctl_folder_error("ctl verify", folder.path, slot, error);
    if (verifying.damages)
        printf("node %u: %llu damage%s found, %llu entries are good\n", slot,
               (unsigned long long)verifying.damages, verifying.damages == 1 ? "" : "s",
               (unsigned long long)entries);
    else
        printf("node %u: all good: %llu entries, %llu posts erased\n", slot,
               (unsigned long long)entries, (unsigned long long)erased);
    return verifying.damages ? EXIT_CORRUPT : EXIT_DONE;
}

/* What is damaged outweighs what could not be looked at. */
static int verify_all(const struct config_file *file)
{
    int worst = EXIT_DONE;
    unsigned found = 0;
    for (unsigned slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!file->config.nodes[slot].present || !ctl_folder_exists(file, slot))
            continue;
        found++;
        int status = verify_node(file, slot);
        if (status && worst != EXIT_CORRUPT)
            worst = status;
    }
    if (!found)
        return say_error(EXIT_FAILED, "ctl verify", "no node of %s has its folder on this host",
                         file->path);
    return worst;
}

/* --- running nodes ------------------------------------------------------------------------------
 */

static int report_live(const struct ask *ask, uint8_t slot)
{
    enum chat_code code;
    uint64_t damages;
    char text[256];
    if (!ask_done(ask_reply(ask, slot), &code, &damages, text)) {
        printf("node %u: no answer in time\n", slot);
        return EXIT_UNREACHABLE;
    }
    if (code != CODE_OK) {
        printf("node %u: %s\n", slot, text);
        return EXIT_FAILED;
    }
    printf("node %u: %s\n", slot, damages || text[0] == 'b' ? text : "all good");
    return damages ? EXIT_CORRUPT : EXIT_DONE;
}

static int verify_live(const struct ctl_given *given)
{
    static struct ask ask;
    static const uint8_t request[1] = { WIRE_VERIFY };
    int status = ask_open(&ask, "ctl verify", given->config);
    if (status)
        return status;
    int worst = EXIT_DONE;
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++)
        if (ask.file.config.nodes[slot].present && (!given->slot || slot == given->slot))
            ask_send(&ask, slot, (struct slice) { request, 1 });
    ask_wait(&ask, loop_clock_us() + given->wait_s * 1000000);
    for (uint8_t slot = 1; slot <= LIMIT_NODES; slot++) {
        if (!ask.file.config.nodes[slot].present || (given->slot && slot != given->slot))
            continue;
        status = report_live(&ask, slot);
        if (status && worst != EXIT_CORRUPT)
            worst = status;
    }
    ask_close(&ask);
    return worst;
}

int ctl_verify(int argc, char **argv)
{
    static struct config_file file;
    struct ctl_given given = { .takes = CTL_SLOT, .wait_s = 3600 };
    bool live = false;
    struct options options = options_begin(&page, argc, argv);
    for (int option; (option = ctl_next(&options, &given)) != OPTIONS_END;) {
        if (option != OPTION_LIVE)
            return options.status;
        live = true;
    }
    if (live) {
        int found = verify_live(&given);
        int told = say_flushed("ctl verify");
        return found ? found : told;
    }
    int status = config_load(&file, "ctl verify", given.config);
    if (status)
        return status;
    if (!crypto_start())
        return say_error(EXIT_FAILED, "ctl verify", "the system gives no randomness");
    status = given.slot ? verify_node(&file, given.slot) : verify_all(&file);
    int flushed = say_flushed("ctl verify");
    return status ? status : flushed;
}
