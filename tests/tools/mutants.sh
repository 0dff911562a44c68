#!/bin/bash
# Plants one bug at a time and sees that a test finds it: a checker that was never seen to fail proves
# nothing. tests/mutants/NAME.patch changes core, store, net or cmd; a copy of the tree with it is built
# in build/mutants/NAME, starting from this tree's objects, and runs seeds of the simulator until one
# fails. A patch that says "found by: unit/TEST" before its first diff is given to that unit test.
#
#   mutants.sh SEEDS [NAME ...]     every patch, or those named; exit 1 when one is not found
#
# FROM=n begins at that seed; JOBS=n mutants are tried side by side (as many as there are cores).
set -u
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C

# One mutant: the last line says FOUND or MISSED and what by.
try() {
    local name=$1 seeds=$2 patch=tests/mutants/$1.patch copy=build/mutants/$1 by program=build/sim/sim
    local ran status
    by=$(sed -n '/^diff /q; s/^found by: unit\///p' "$patch")
    [ -z "$by" ] || program=build/native/test/$by
    mkdir -p "$copy/build" && rm -rf "$copy"/{core,store,net,cmd,tests}
    # With their times, and objects built from them: only what the patch changes is compiled.
    cp -a Makefile main.c .version cmd core net store tests "$copy/"
    [ -e "$copy/build/native" ] || cp -a build/native build/version "$copy/build/"
    ln -sfn "$(cd build/deps && pwd -P)" "$copy/build/deps"
    patch -s -p1 -d "$copy" <"$patch" >"$copy/patch.log" 2>&1 || { echo "MISSED|the patch does not apply any more"; return; }
    touch "$copy/build/deps/ready" 2>/dev/null
    make -s -j1 warnings=-w -C "$copy" "$program" >"$copy/build.log" 2>&1 ||
        { echo "MISSED|it does not compile: $copy/build.log"; return; }
    if [ -n "$by" ]; then
        if (cd "$copy" && timeout 300 "$program") >"$copy/run.log" 2>&1; then
            echo "MISSED|unit/$by passes"
        else
            echo "FOUND|unit/$by|$(grep -m1 -oE 'FAILED *\] [a-z_0-9]+' "$copy/run.log" | sed 's/.*\] //')"
        fi
        return
    fi
    timeout 1200 "$copy/build/sim/sim" --seeds "$seeds" --from "$from" >"$copy/run.log" 2>&1
    status=$?
    ran=$(sed -n 's/^FAILED seed \([0-9]*\) .*/\1/p' "$copy/run.log" | head -1)
    if [ "$status" = 124 ]; then
        echo "MISSED|no verdict in 20 minutes"
    elif [ -n "$ran" ]; then
        echo "FOUND|$((ran - from + 1)) seeds|$(sed -n 's/^FAILED seed [0-9]* at [0-9.]* s: //p' "$copy/run.log" | head -1 | cut -c1-90)"
    elif grep -q '^never ' "$copy/run.log"; then
        echo "FOUND|$seeds seeds|$(grep -m1 '^never ' "$copy/run.log")"
    elif [ "$status" != 0 ]; then
        echo "FOUND|?|it ends with status $status"
    else
        echo "MISSED|$seeds seeds ran clean"
    fi
}

seeds=$1 from=${FROM:-1}
shift
if [ "${1:-}" = --one ]; then
    try "$2" "$seeds"
    exit
fi
names=("$@")
if [ ${#names[@]} = 0 ]; then
    for patch in tests/mutants/*.patch; do
        names+=("$(basename "$patch" .patch)")
    done
fi
make -s build/native/libftchat.a build/sim/sim || exit 1
mkdir -p build/mutants
printf '%s\n' "${names[@]}" | FROM=$from xargs -P "${JOBS:-$(nproc)}" -I{} sh -c \
    "result=\$('$0' $seeds --one {} | tail -1); echo \"\$result\" >build/mutants/{}.result; echo \"{}: \$result\" >&2"

missed=0
printf '\n%-38s %-28s %s\n' 'planted bug' 'found after' 'how it was told'
for name in "${names[@]}"; do
    IFS='|' read -r verdict by how <"build/mutants/$name.result"
    [ "$verdict" = FOUND ] || { missed=$((missed + 1)); how="MISSED: $by"; by=-; }
    printf '%-38s %-28s %s\n' "$name" "$by" "$how"
done
echo "mutants: $((${#names[@]} - missed)) of ${#names[@]} found"
[ $missed = 0 ]
