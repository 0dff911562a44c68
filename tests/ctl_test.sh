#!/bin/bash
# The ctl commands that look at and after a cluster, against three real nodes: health, invite,
# transfer, status, and of the stopped ones dump and verify with one byte flipped.
set -u
binary=${FTCHAT_BINARY:-$(cd "$(dirname "$0")/.." && pwd)/ftchat}
[[ $binary = /* ]] || binary=$PWD/$binary
source=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
nodes=()
finish() {
    [ ${#nodes[@]} -eq 0 ] || kill -KILL "${nodes[@]}" 2>/dev/null
    wait 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
fail() { echo "FAIL: $*"; cat "$work/out"; exit 1; }
ctl() { "$binary" ctl "$@" >"$work/out" 2>&1 </dev/null; }
# expect STATUS WORDS SUBCOMMAND...
expect() {
    local want=$1 words=$2 status
    shift 2
    ctl "$@"
    status=$?
    [ $status -eq "$want" ] || fail "ctl $*: exit $status, not $want"
    grep -q -- "$words" "$work/out" || fail "ctl $*: nothing says '$words'"
}

cd "$work" || exit 1
ports=($(python3 -c '
import socket
sockets = [socket.socket() for _ in range(3)]
for each in sockets: each.bind(("127.0.0.1", 0))
print(*[each.getsockname()[1] for each in sockets])'))
sed -e "s/^port = 7101/port = ${ports[0]}/; s/^port = 7102/port = ${ports[1]}/; s/^port = 7103/port = ${ports[2]}/" \
    -e 's/^registration = open/registration = invite/' "$source/ftchat.ini" >ftchat.ini

expect 0 "made" init
expect 3 "no node leads" health --wait 0
for id in 1 2 3; do
    "$binary" node --id $id 2>node$id.log &
    nodes+=($!)
done
expect 0 "is formed" form
expect 0 "was committed at index" health
expect 2 "expected" invite --for 7w
expect 2 "expected" invite --uses 0
expect 0 "^ftchat:" invite --uses 2 --for 2h
expect 2 "expected a node" transfer 9
expect 2 "no \[node.5\]" transfer 5
for id in 2 3 1; do
    expect 0 "Node $id leads" transfer $id
done
expect 0 "leads already" transfer 1
expect 0 "Node 1 leads in term" status
for what in dump verify; do
    expect 1 "stop it first" $what 1
done

kill -TERM "${nodes[1]}" "${nodes[2]}"
wait "${nodes[1]}" "${nodes[2]}"
expect 3 "in time" health --wait 1
kill -KILL "${nodes[0]}"
wait "${nodes[0]}" 2>/dev/null
nodes=()

expect 0 "node 3: all good" verify
expect 3 "node 1: no answer in time" verify --live
expect 0 '"kind":"invite","uses":2' dump
expect 0 '"kind":"health"' dump 2
[ "$(grep -c '"index":' out)" -ge 10 ] || fail "dump 2 is too short"
python3 -c 'import json, sys
last = 0
for line in open("out"):
    record = json.loads(line)
    assert record["index"] == last + 1, line
    last += 1' || fail "dump 2 is not one JSON object a line, in order"
expect 0 '"index":3' dump 2 --from 3 --to 3
[ "$(wc -l <out)" = 1 ] || fail "dump --from 3 --to 3"
segment=$(ls data/2/log/*1.seg)
printf '\xff' | dd of="$segment" bs=1 seek=4500 conv=notrunc status=none
expect 5 "$segment: offset [0-9]*, index [0-9]*: .*damaged" verify 2
expect 5 "node 3: all good" verify
expect 5 "damaged" dump 2
# The throw-away cluster: it posts, and nothing of it is left, also when it is interrupted.
mkdir bench
expect 2 "only with --live" bench --config ftchat.ini
expect 2 "expected a number" bench --depth 65
expect 0 '"posts":500,' bench --dir bench --connections 2 --depth 4 --posts 500 --spread --json
expect 0 "delivered to 3 readers" bench --dir bench --connections 1 --readers 3 --posts 50
[ -z "$(ls bench)" ] || fail "bench left its folder behind"
"$binary" ctl bench --dir bench --seconds 600 >out 2>&1 &
nodes+=($!)
until ls bench/ftchat-bench-*/data/3/log/*.seg >out 2>&1; do
    kill -0 "${nodes[0]}" 2>/dev/null || fail "bench has ended"
done
kill -TERM "${nodes[0]}"
wait "${nodes[0]}" && fail "bench was interrupted and said 0"
nodes=()
[ -z "$(ls bench)" ] || fail "bench left its folder behind when interrupted"
echo "ctl: all good"
