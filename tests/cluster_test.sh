#!/bin/bash
# make run and make stop (tests/tools/cluster.sh) with the real program: what is started, what is left
# alone, and above all which processes are ended.
set -u
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
others=()
finish() {
    cluster stop
    for pid in $(all_pids); do
        [ "$(readlink "/proc/$pid/exe" | sed 's/ (deleted)$//')" = "$work/ftchat" ] && kill -KILL "$pid"
    done
    [ ${#others[@]} = 0 ] || kill "${others[@]}" 2>/dev/null
    rm -rf "$work"
}
fail() { echo "FAIL: $*"; tail -20 "$work/data/monitor.log" 2>/dev/null; exit 1; }
cluster() { "$work/tests/tools/cluster.sh" "$@" >"$work/out" 2>&1 </dev/null; }
ended() { ! readlink "/proc/$1/exe" >/dev/null 2>&1; } # one that was not waited for has none
all_pids() { grep -ohE ' pid=[0-9]+' "$work/data/monitor.log" 2>/dev/null | sed 's/.*=//' | sort -u; }
# The process of node $1, by what its monitor said last.
pid() { grep -E "monitor=$1 event=node_(started|found) " "$work/data/monitor.log" | tail -1 | sed 's/.*pid=//'; }
pids() { echo "$(pid 1) $(pid 2) $(pid 3)"; }
monitor() { sed -nE 's/.*monitor started \(process ([0-9]+).*/\1/p' "$work/out"; }
# $1 within 20 s
within() {
    local tries
    for ((tries = 0; tries < 400; tries++)); do
        eval "$1" 2>/dev/null && return 0
        sleep 0.05
    done
    fail "waited in vain for: $1"
}

mkdir -p "$work/tests/tools"
trap finish EXIT
cp "$source/tests/tools/cluster.sh" "$work/tests/tools/"
cp "$source/ftchat" "$work/"
# Ports of its own, below those that outgoing connections take.
base=0
until [ $base != 0 ] && ! grep -qiE ":($(printf '%04X|%04X|%04X' $base $((base + 1)) $((base + 2)))) " /proc/net/tcp; do
    base=$((12000 + RANDOM % 18000))
done
sed -E "s/^port = 710([1-3])/port = $((base / 10))\\1/; s/^http = .*/http =/" "$source/ftchat.ini" >"$work/ftchat.ini"
base=$((base / 10))

cluster run || fail "run: $(cat "$work/out")"
first=$(pids)
[ "$(wc -w <<<"$first")" = 3 ] || fail "not three nodes: $first"
for pid in $first; do ended "$pid" && fail "$pid does not run"; done
grep -q 'event=listening' "$work/data/2/node.log" || fail "no log"
grep -q 'make stop' "$work/out" || fail "does not say how to stop"
one=$(monitor)

cluster run || fail "a second run is an error: $(cat "$work/out")"
grep -q "runs already (monitor: process $one)" "$work/out" || fail "the second run: $(cat "$work/out")"
[ "$(pids)" = "$first" ] || fail "a second run started other nodes"

# After a new build they run the old file; they are still ours, and run says so.
cp "$work/ftchat" "$work/new" && mv "$work/new" "$work/ftchat"
cluster run || fail "run after a build"
grep -q 'an earlier build' "$work/out" || fail "does not tell of the earlier build"
[ "$(pids)" = "$first" ] || fail "run after a build started other nodes"

# Nodes are started again, and outlive their monitor; the next run takes them over.
set -- $first
kill -KILL "$2"
within '[ "$(pid 2)" != '"$2"' ]'
kill -KILL "$one"
within "ended $one"
before=$(pids)
cluster run || fail "run after the monitor's death: $(cat "$work/out")"
two=$(monitor)
within '[ "$(grep -c event=node_found "$work/data/monitor.log")" = 3 ]'
[ "$(pids)" = "$before" ] || fail "nodes that ran were started anew: $before, $(pids)"

# Processes of somebody else: by their program, not ours; of our program, on other data.
sleep 1000 &
others+=($!)
mkdir "$work/elsewhere" && cp "$work/ftchat.ini" "$work/elsewhere/" && sed -i -E "s/^port = ..../port = $((base - 1))/" "$work/elsewhere/ftchat.ini"
(cd "$work/elsewhere" && "$work/ftchat" ctl init >/dev/null && exec "$work/ftchat" node --id 1 2>log) &
others+=($!)
within 'grep -q event=listening "$work/elsewhere/log"'
cluster stop || fail "stop: $(cat "$work/out")"
for pid in $two $before; do ended "$pid" || fail "$pid was not stopped"; done
for pid in "${others[@]}"; do ended "$pid" && fail "stop ended a process that is not ours"; done
cluster stop || fail "a second stop is an error"
grep -q 'no node runs here' "$work/out" || fail "a stop of nothing: $(cat "$work/out")"

# One was started by hand, with no monitor: stop ends it, run takes it over.
(cd "$work" && exec setsid ./ftchat node --config ftchat.ini --id 3 </dev/null 2>byhand.log) &
byhand=$!
within 'grep -q event=listening "$work/byhand.log"'
cluster run || fail "run beside a node that was started by hand: $(cat "$work/out")"
[ "$(pid 3)" = "$byhand" ] || fail "the node that was started by hand was not taken over"
cluster stop || fail "stop"
ended "$byhand" || fail "the node that was started by hand was not stopped"

# What cannot be is said.
chmod 644 "$work/ftchat.key"
cluster run && fail "a cluster that does not start is no error"
grep -q 'ftchat.key' "$work/out" || fail "does not show why: $(cat "$work/out")"
[ -f "$work/ftchat.ini" ] && [ -d "$work/data/1" ] || fail "something is gone"
for pid in "${others[@]}"; do ended "$pid" && fail "a process that is not ours was ended"; done
echo "run and stop touch what is theirs"
