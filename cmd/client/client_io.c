#include "cmd/client/client_app.h"
#include "core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LAST_WRITE_MS = 5000 };

/* --- Output ----------------------------------------------------------------------------------- */

/* A pipe or terminal is opened once more, so that its non-blocking mode is ours alone; files do not
 * block, and sockets can be asked not to with each write. */
static void open_output(struct app *app)
{
    struct stat about;
    app->out_fd = STDOUT_FILENO;
    if (fstat(STDOUT_FILENO, &about) != 0)
        return;
    app->out_socket = S_ISSOCK(about.st_mode);
    if (!S_ISFIFO(about.st_mode) && !isatty(STDOUT_FILENO))
        return;
    int fd = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        app->out_fd = fd;
}

static ssize_t write_some(struct app *app)
{
    const char *data = app->out.data + app->out.start;
    size_t len = text_len(&app->out);
    if (app->out_socket)
        return send(app->out_fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(app->out_fd, data, len);
}

static void watch_output(struct app *app, bool on)
{
    if (on == app->out_blocked)
        return;
    app->out_blocked = on;
    if (!on)
        loop_unwatch(app->loop, &app->out_source);
    else if (loop_watch(app->loop, &app->out_source, LOOP_WRITE) != FT_OK)
        app->out_broken = true;
}

static void output_ready(struct loop_source *source, unsigned ready)
{
    struct app *app = LOOP_HOLDER(struct app, out_source, source);
    (void)ready;
    io_write(app);
}

void io_write(struct app *app)
{
    while (text_len(&app->out) && !app->out_broken) {
        ssize_t written = write_some(app);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            watch_output(app, true);
            return;
        }
        if (written <= 0)
            app->out_broken = true;
        else
            app->out.start += (size_t)written;
    }
    if (app->out_broken)
        app->out.start = app->out.end = 0;
    watch_output(app, false);
}

void io_write_all(struct app *app)
{
    io_write(app);
    while (text_len(&app->out) && !app->out_broken) {
        struct pollfd wait = { .fd = app->out_fd, .events = POLLOUT };
        int ready = poll(&wait, 1, LAST_WRITE_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return;
        io_write(app);
    }
}

/* --- Input ------------------------------------------------------------------------------------ */

static bool may_take(const struct app *app)
{
    return !app->exited && client_has_room(app->client) && text_len(&app->out) < BACKLOG_BYTES;
}

/* Hands out whole lines; true when the buffer holds none any more. */
static bool take_lines(struct app *app)
{
    while (may_take(app)) {
        char *start = app->input + app->input_start;
        size_t len = app->input_end - app->input_start;
        char *end = len ? memchr(start, '\n', len) : NULL;
        if (!end)
            return true;
        size_t line = (size_t)(end - start);
        app->input_start += line + 1;
        size_t text = line && start[line - 1] == '\r' ? line - 1 : line;
        if (app->discarding)
            app->discarding = false;
        else
            lines_input(app, (struct slice) { (uint8_t *)start, text }, text > LIMIT_LINE_BYTES);
    }
    return false;
}

/* The last line may lack its end. */
static void end_input(struct app *app)
{
    size_t len = app->input_end - app->input_start;
    app->in_open = false;
    loop_unwatch(app->loop, &app->in);
    if (len && !app->discarding)
        lines_input(app, (struct slice) { (uint8_t *)app->input + app->input_start, len },
                    len > LIMIT_LINE_BYTES);
    app->input_start = app->input_end = 0;
    lines_end(app);
}

/* Room for reading: what is held moves to the front; a line beyond the limit is told and dropped.
 */
static void make_space(struct app *app)
{
    size_t len = app->input_end - app->input_start;
    if (app->discarding)
        len = 0;
    if (len > LIMIT_LINE_BYTES + 1) {
        app->discarding = true;
        lines_input(app, (struct slice) { (uint8_t *)app->input, 0 }, true);
        len = 0;
    }
    if (len)
        memmove(app->input, app->input + app->input_start, len);
    app->input_start = 0;
    app->input_end = len;
}

static void watch_input(struct app *app, bool on)
{
    if (!app->in_open)
        return;
    if (app->in_plain) {
        if (on)
            loop_again(app->loop);
        return;
    }
    if (!on)
        loop_unwatch(app->loop, &app->in);
    else if (!app->in.added && loop_watch(app->loop, &app->in, LOOP_READ) != FT_OK)
        app_stop(app, 0);
}

static void input_ready(struct loop_source *source, unsigned ready)
{
    struct app *app = LOOP_HOLDER(struct app, in, source);
    (void)ready;
    if (!app->in_open || !take_lines(app))
        return;
    make_space(app);
    ssize_t got = read(STDIN_FILENO, app->input + app->input_end, INPUT_BYTES - app->input_end);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        end_input(app);
        return;
    }
    app->input_end += (size_t)got;
    take_lines(app);
}

/* At the end of each turn: what was left for lack of room, and a file's next part. */
void io_read(struct app *app)
{
    if (!app->in_open)
        return;
    bool empty = take_lines(app);
    if (empty && app->in_plain)
        input_ready(&app->in, LOOP_READ);
    watch_input(app, empty && may_take(app));
}

/* Files and /dev/null cannot be waited for: they are always ready. */
static bool is_plain(int fd)
{
    struct stat about;
    return fstat(fd, &about) != 0 ||
           (!S_ISFIFO(about.st_mode) && !S_ISSOCK(about.st_mode) && !isatty(fd));
}

void io_start(struct app *app)
{
    app->input = malloc(INPUT_BYTES);
    app->scratch = malloc(2 * LIMIT_LINE_BYTES);
    CHECK(app->input != NULL);
    CHECK(app->scratch != NULL);
    app->in = (struct loop_source) { .on_ready = input_ready, .fd = STDIN_FILENO };
    app->in_open = app->setup->mode != MODE_FOLLOW && app->setup->mode != MODE_HISTORY;
    app->in_plain = is_plain(STDIN_FILENO);
    open_output(app);
    app->out_source = (struct loop_source) { .on_ready = output_ready, .fd = app->out_fd };
    watch_input(app, true);
}

void io_stop(struct app *app)
{
    io_write_all(app);
    watch_output(app, false);
    loop_unwatch(app->loop, &app->in);
    free(app->input);
    free(app->scratch);
    text_free(&app->out);
}
