#!/bin/bash
# fuzz.sh SECONDS NAME...: each target for that long. The corpus that is kept in the tree is read;
# what is found new goes to build/fuzz, and what fails is left there for replay.
cd "$(dirname "$0")/../.." || exit 1
seconds=$1
shift
[ $# -gt 0 ] || { echo "fuzz: no targets in this build yet"; exit 1; }
status=0
for name in "$@"; do
    found=build/fuzz/found/$name
    kept=tests/fuzz/corpus/$name
    mkdir -p "$found"
    [ -d "$kept" ] || kept=
    echo "fuzz: $name for $seconds s"
    # shellcheck disable=SC2086
    build/fuzz/"$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/$name-" "$found" $kept >"build/fuzz/$name.log" 2>&1 ||
        { status=1; tail -20 "build/fuzz/$name.log"; echo "fuzz: $name FAILED"; }
    grep -E 'number_of_executed_units' "build/fuzz/$name.log" | sed "s/^/fuzz: $name: /"
done
exit $status
