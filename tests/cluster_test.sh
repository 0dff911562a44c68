#!/bin/bash
# make run and make stop (tests/tools/cluster.sh), with a stand-in for ftchat: what is started, what
# is left alone, and above all which processes are ended.
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
bystander=
finish() {
    for id in 1 2 3; do
        pid=$(cat "$work/data/$id/node.pid" 2>/dev/null) &&
            [ "$(readlink "/proc/$pid/exe" | sed 's/ (deleted)$//')" = "$work/ftchat" ] && kill -KILL "$pid"
    done
    [ -z "$bystander" ] || kill "$bystander"
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "FAIL: $*"; exit 1; }

mkdir -p "$work/tests/tools"
cp "$source/tests/tools/cluster.sh" "$work/tests/tools/"
cp "$source/ftchat.ini" "$work/"
cat >"$work/stand_in.c" <<'CODE'
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "ctl") == 0)
        return strcmp(argv[2], "form") == 0 ? access("unformable", F_OK) == 0 : 0;
    if (access("broken", F_OK) == 0)
        return puts("cannot start: broken"), 1;
    char lock[100];
    snprintf(lock, sizeof lock, "data/%s/lock", argv[argc - 1]);
    if (flock(open(lock, O_RDWR | O_CREAT, 0600), LOCK_EX | LOCK_NB) != 0)
        return puts("cannot start: locked"), 1;
    puts("node is up");
    fflush(stdout);
    for (;;)
        pause();
}
CODE
gcc -o "$work/ftchat" "$work/stand_in.c" || fail "gcc"
cluster() { "$work/tests/tools/cluster.sh" "$@" >"$work/out" 2>&1 </dev/null; }
pids() { cat "$work"/data/[123]/node.pid 2>/dev/null | tr '\n' ' '; }
alive() { readlink "/proc/$1/exe" >/dev/null 2>&1; } # one that ended and was not waited for has none

cluster run || fail "run: $(cat "$work/out")"
first=$(pids)
[ "$(wc -w <<<"$first")" = 3 ] || fail "not three nodes: $first"
for pid in $first; do alive "$pid" || fail "$pid does not run"; done
grep -q 'node is up' "$work/data/2/node.log" || fail "no log"
grep -q 'make stop' "$work/out" || fail "does not say how to stop"

cluster run || fail "a second run is an error: $(cat "$work/out")"
[ "$(pids)" = "$first" ] || fail "a second run started other nodes"

# After a new build the nodes run the old file; they are still ours, and run says so.
cp "$work/ftchat" "$work/new" && mv "$work/new" "$work/ftchat"
cluster run || fail "run after a build"
grep -q 'an earlier build' "$work/out" || fail "does not tell of the earlier build"
[ "$(pids)" = "$first" ] || fail "run after a build started other nodes"

# One is dead, and its number belongs to a process of somebody else's by now.
set -- $first
kill -KILL "$2"
sleep 1000 &
bystander=$!
echo "$bystander" >"$work/data/2/node.pid"
cluster stop || fail "stop: $(cat "$work/out")"
alive "$bystander" || fail "stop ended a process that is not ours"
alive "$1" && fail "node 1 was not stopped"
alive "$3" && fail "node 3 was not stopped"
[ -z "$(pids)" ] || fail "pid files are left: $(pids)"
cluster stop || fail "a second stop is an error"
alive "$bystander" || fail "the second stop ended a process that is not ours"

echo "$bystander" >"$work/data/2/node.pid"
cluster run || fail "run with a stale pid file: $(cat "$work/out")"
[ "$(cat "$work/data/2/node.pid")" != "$bystander" ] || fail "took another process for node 2"
cluster stop || fail "stop"
alive "$bystander" || fail "the last stop ended a process that is not ours"

# One was started by hand: run leaves it alone, stop ends it.
cluster run || fail "run"
pid=$(cat "$work/data/3/node.pid")
kill -KILL "$pid"
while alive "$pid"; do :; done
ups=$(grep -c 'node is up' "$work/data/3/node.log")
(cd "$work" && exec setsid ./ftchat node --config ftchat.ini --id 3 </dev/null >>data/3/node.log 2>&1) &
byhand=$!
for ((tries = 0; tries < 500; tries++)); do
    [ "$(grep -c 'node is up' "$work/data/3/node.log")" -gt "$ups" ] && break
    sleep 0.02
done
cluster run || fail "run beside a node that was started by hand: $(cat "$work/out")"
grep -q "node 3 runs already (process $byhand)" "$work/out" || fail "by hand: $(cat "$work/out")"
cluster stop || fail "stop"
alive "$byhand" && fail "the node that was started by hand was not stopped"
cluster stop && grep -q 'no node runs here' "$work/out" || fail "a stop of nothing: $(cat "$work/out")"

touch "$work/broken" "$work/unformable"
cluster run && fail "nodes that do not start are no error"
grep -q 'cannot start: broken' "$work/out" || fail "does not show why: $(cat "$work/out")"
[ -f "$work/ftchat.ini" ] && [ -d "$work/data/1" ] || fail "something is gone"
echo "run and stop touch what is theirs"
