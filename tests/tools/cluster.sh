#!/bin/bash
# The quick start behind `make run` and `make stop`: the nodes of ./ftchat.ini on this host, in the
# background, logs in data/N/node.log, process ids in data/N/node.pid.
#
#   cluster.sh run     key, nodes, cluster, client (on a terminal); what is there already is kept
#   cluster.sh stop    ends the nodes that run on this checkout's data, and no other process
set -u
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
binary=$PWD/ftchat
data=$(sed -nE 's/^data_dir[[:space:]]*[=:][[:space:]]*([^;]*[^;[:space:]]).*/\1/p' ftchat.ini)
data=${data:-data}
nodes=$(sed -nE 's/^\[node\.([1-7])\].*/\1/p' ftchat.ini)

say() { echo "ftchat: $*"; }
fail() { say "$*" >&2; exit 1; }

# Is process $1 node $2, run by this checkout's ftchat? Ids are used again.
is_node() {
    local exe
    exe=$(readlink "/proc/$1/exe" 2>/dev/null) || return 1
    [ "${exe% (deleted)}" = "$binary" ] || return 1
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q " node .*--id[ =]$2 "
}

# The process id of node $1: the one that `run` wrote down, or whoever else holds its lock.
running() {
    local pid inode
    pid=$(cat "$data/$1/node.pid" 2>/dev/null)
    if [[ $pid =~ ^[0-9]+$ ]] && is_node "$pid" "$1"; then
        echo "$pid"
        return 0
    fi
    inode=$(stat -c %i "$data/$1/lock" 2>/dev/null) || return 1
    for pid in $(awk -v inode=":$inode" '$6 ~ inode "$" { print $5 }' /proc/locks); do
        is_node "$pid" "$1" && echo "$pid" && return 0
    done
    return 1
}

start_node() {
    local pid
    if pid=$(running "$1"); then
        case $(readlink "/proc/$pid/exe") in
        *' (deleted)') say "node $1 runs already, an earlier build (make stop, make run: this one)" ;;
        *) say "node $1 runs already (process $pid)" ;;
        esac
        return 0
    fi
    mkdir -p "$data/$1" || fail "$data/$1 cannot be made"
    setsid "$binary" node --id "$1" </dev/null >>"$data/$1/node.log" 2>&1 3>&- 4>&- 9>&- &
    pid=$!
    echo "$pid" >"$data/$1/node.pid"
    say "node $1 started (process $pid, log $data/$1/node.log)"
}

# What went wrong, when one did not stay.
require_running() {
    local id
    for id in $nodes; do
        running "$id" >/dev/null && continue
        say "node $id has ended; the end of $data/$id/node.log:" >&2
        tail -5 "$data/$id/node.log" >&2
        return 1
    done
}

run() {
    mkdir -p build
    exec 9>build/run.lock
    flock -n 9 || fail "another make run is at work here"
    "$binary" ctl init || exit 1
    local id
    for id in $nodes; do
        start_node "$id"
    done
    "$binary" ctl form || { require_running; exit 1; }
    require_running || exit 1
    exec 9>&-
    say "the cluster is up; logs: $data/N/node.log"
    say "chat:       ./ftchat client --user NAME --register   (as many as you like, one terminal each)"
    say "look at it: ./ftchat ctl status"
    say "stop it:    make stop           (its data stays)"
    if [ -t 0 ] && [ -t 1 ]; then
        exec "$binary" client --register
    fi
}

stop() {
    local id pid stopping=()
    for id in $nodes; do
        if pid=$(running "$id"); then
            kill -TERM "$pid" && stopping+=("$id")
        else
            rm -f "$data/$id/node.pid"
        fi
    done
    [ ${#stopping[@]} -gt 0 ] || { say "no node runs here"; return 0; }
    local status=0 tries
    for id in "${stopping[@]}"; do
        for ((tries = 0; tries < 200; tries++)); do
            pid=$(running "$id") || break
            sleep 0.05
        done
        if pid=$(running "$id"); then
            say "node $id does not end (see $data/$id/node.log; kill -9 $pid ends it, and loses nothing)"
            status=1
        else
            rm -f "$data/$id/node.pid"
            say "node $id stopped"
        fi
    done
    return $status
}

case ${1-} in
run | stop) "$1" ;;
*) fail "usage: cluster.sh run|stop" ;;
esac
