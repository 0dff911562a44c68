#!/bin/bash
# The quick start behind `make run` and `make stop`: a monitor for the nodes of ./ftchat.ini on this
# host, in the background; its log in data/monitor.log, theirs in data/N/node.log.
#
#   cluster.sh run     key, monitor, nodes, cluster, client (on a terminal); what is there already is kept
#   cluster.sh stop    ends the monitor and the nodes that run on this checkout's data, and no other process
set -u
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
binary=$PWD/ftchat
data=$(sed -nE 's/^data_dir[[:space:]]*[=:][[:space:]]*([^;]*[^;[:space:]]).*/\1/p' ftchat.ini)
data=${data:-data}
nodes=$(sed -nE 's/^\[node\.([1-7])\].*/\1/p' ftchat.ini)

say() { echo "ftchat: $*"; }
fail() { say "$*" >&2; exit 1; }

# Is process $1 this checkout's ftchat, run as the command $2? Ids are used again.
is_ours() {
    local exe
    exe=$(readlink "/proc/$1/exe" 2>/dev/null) || return 1
    [ "${exe% (deleted)}" = "$binary" ] || return 1
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -q " $2 "
}

# The process of this checkout that holds the lock $1, as the command $2.
holder() {
    local pid inode
    inode=$(stat -c %i "$1" 2>/dev/null) || return 1
    for pid in $(awk -v inode=":$inode" '$6 ~ inode "$" { print $5 }' /proc/locks); do
        is_ours "$pid" "$2" && echo "$pid" && return 0
    done
    return 1
}

node_of() { holder "$data/$1/lock" node; }
monitors() {
    local id
    for id in $nodes; do
        holder "$data/$id/monitor.lock" monitor
    done | sort -u
}
all_nodes() {
    local id
    for id in $nodes; do
        node_of "$id"
    done
}

start_monitor() {
    local pid
    for pid in $(monitors); do
        case $(readlink "/proc/$pid/exe") in
        *' (deleted)') say "the cluster runs already, an earlier build (make stop, make run: this one)" ;;
        *) say "the cluster runs already (monitor: process $pid)" ;;
        esac
        kill -HUP "$pid" # starts what was stopped
        return 0
    done
    setsid "$binary" monitor --all </dev/null >>"$data/monitor.log" 2>&1 3>&- 4>&- 9>&- &
    say "monitor started (process $!, log $data/monitor.log)"
}

# What went wrong, when one did not come up or stay.
require_running() {
    local id
    [ -n "$(monitors)" ] || { say "the monitor has ended; the end of $data/monitor.log:" >&2; tail -5 "$data/monitor.log" >&2; return 1; }
    for id in $nodes; do
        node_of "$id" >/dev/null && continue
        say "node $id does not run; the end of $data/$id/node.log:" >&2
        tail -5 "$data/$id/node.log" >&2
        return 1
    done
}

run() {
    mkdir -p build
    exec 9>build/run.lock
    flock -n 9 || fail "another make run is at work here"
    "$binary" ctl init || exit 1
    start_monitor
    "$binary" ctl form --wait 20 || { require_running; exit 1; }
    require_running || exit 1
    exec 9>&-
    say "the cluster is up; logs: $data/monitor.log, $data/N/node.log"
    say "chat:       ./ftchat client --user NAME --register   (as many as you like, one terminal each)"
    say "look at it: ./ftchat ctl status"
    say "try it:     kill -9 any node; its monitor starts it again"
    say "stop it:    make stop           (its data stays)"
    if [ -t 0 ] && [ -t 1 ]; then
        exec "$binary" client --register
    fi
}

# The monitor ends its nodes; those that nobody looks after are ended here.
stop() {
    local found tries pid
    found="$(monitors) $(all_nodes)"
    [ -n "${found// /}" ] || { say "no node runs here"; return 0; }
    for pid in $(monitors); do
        kill -TERM "$pid"
    done
    for ((tries = 0; tries < 800; tries++)); do
        [ -n "$(monitors)" ] || break
        sleep 0.05
    done
    for pid in $(all_nodes); do
        kill -TERM "$pid"
    done
    for ((tries = 0; tries < 200; tries++)); do
        [ -n "$(monitors)$(all_nodes)" ] || { say "the cluster is stopped"; return 0; }
        sleep 0.05
    done
    for pid in $(monitors) $(all_nodes); do
        say "process $pid does not end (see $data/monitor.log and $data/N/node.log; kill -9 $pid ends it, and loses nothing)"
    done
    return 1
}

case ${1-} in
run | stop) "$1" ;;
*) fail "usage: cluster.sh run|stop" ;;
esac
