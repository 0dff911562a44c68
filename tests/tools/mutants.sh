#!/bin/bash
# Plants one bug at a time and sees that the simulator finds it: a checker that was never seen to
# fail proves nothing. tests/mutants/NAME.patch changes core or store; a copy of the tree with it is
# built in build/mutants/NAME and runs seeds until one fails.
#
#   mutants.sh SEEDS [NAME ...]     every patch, or those named; exit 1 when one is not caught
set -u
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
seeds=$1
shift
names=("$@")
if [ ${#names[@]} = 0 ]; then
    for patch in tests/mutants/*.patch; do
        [ -e "$patch" ] && names+=("$(basename "$patch" .patch)")
    done
fi
[ ${#names[@]} -gt 0 ] || { echo "mutants: none in this build yet"; exit 1; }

missed=0
for name in "${names[@]}"; do
    copy=build/mutants/$name
    mkdir -p "$copy/build"
    # Copied with their times: what the patch leaves alone is not compiled anew the next time.
    cp -aR --update Makefile main.c .version cmd core net store tests "$copy/"
    rm -rf "$copy/core" "$copy/store" && cp -aR core store "$copy/"
    ln -sfn "$(cd build/deps && pwd -P)" "$copy/build/deps"
    if ! patch -s -p1 -d "$copy" <"tests/mutants/$name.patch"; then
        echo "MISSED $name: its patch does not apply any more"
        missed=$((missed + 1))
        continue
    fi
    if ! make -s -C "$copy" build/sim/sim >"$copy/build.log" 2>&1; then
        echo "MISSED $name: it does not compile ($copy/build.log)"
        missed=$((missed + 1))
        continue
    fi
    if "$copy/build/sim/sim" --seeds "$seeds" --from 1 >"$copy/sim.log" 2>&1; then
        echo "MISSED $name: $seeds seeds ran clean"
        missed=$((missed + 1))
    else
        echo "caught $name: $(grep -m1 -i 'seed' "$copy/sim.log" | cut -c1-160)"
    fi
done
echo "mutants: $((${#names[@]} - missed)) of ${#names[@]} caught"
[ $missed = 0 ]
