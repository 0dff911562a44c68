#!/bin/bash
# A long run of the simulator: one lane of seeds for each core, at the speed that this machine can give
# (compiled for it, with a profile of some seeds), until all are run or one fails.
#
#   soak.sh SEEDS FROM          exit 1 when a seed fails; it is named, and so is how to replay it
#
# Each lane's reports go to build/soak; what they add up to is said at the end. A run that was broken
# off goes on where it was when it is called again with the same numbers on the same sources.
set -u
cd "$(dirname "$0")/../.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C
seeds=$1 from=$2 chunk=250
folder=build/soak

compile() { # with what gcc is told beside its flags
    find build/native-soak \( -name '*.o' -o -name '*.a' -o -name sim \) -delete 2>/dev/null
    make -s -j"$(nproc)" build/native-soak/sim PROFILE="$*" >build/soak.log 2>&1 || { tail -5 build/soak.log; exit 1; }
}

sources=$(cat main.c core/*.[ch] core/*/*.[ch] store/*.[ch] tests/sim/*.[ch] Makefile | sha256sum | cut -c1-16)
if [ "$(cat $folder/sources 2>/dev/null)" != "$sources" ]; then
    rm -rf $folder build/native-soak && mkdir -p $folder || exit 1 # with the profile of other sources
    echo "soak: compiles with a profile"
    compile -fprofile-generate -fprofile-update=single
    build/native-soak/sim --seeds 80 --from 9700000 >/dev/null || exit 1
    compile -fprofile-use -fprofile-correction -Wno-missing-profile -Wno-error
    cp build/native-soak/sim $folder/sim && echo "$sources" >$folder/sources || exit 1
fi

# The parts that a lane is run in: FROM and how many of each.
parts() { # FROM TO
    local at
    for ((at = $1; at < $2; at += chunk)); do
        echo $at $((at + chunk <= $2 ? chunk : $2 - at))
    done
}

lane() { # FROM TO
    local at count
    while read -r at count; do
        [ -e $folder/failed ] && return
        grep -q seeds/s "$folder/$at-$count" 2>/dev/null && continue
        if ! $folder/sim --seeds "$count" --from "$at" >"$folder/$at.running" 2>&1; then
            mv "$folder/$at.running" $folder/failed
            return
        fi
        mv "$folder/$at.running" "$folder/$at-$count"
    done < <(parts "$1" "$2")
}

lanes=$(nproc) share=$(((seeds + lanes - 1) / lanes))
echo "soak: $seeds seeds from $from, $lanes lanes"
rm -f $folder/failed
pids=() reports=()
for ((i = 0; i < lanes; i++)); do
    to=$((from + (i + 1) * share))
    [ $to -gt $((from + seeds)) ] && to=$((from + seeds))
    lane $((from + i * share)) $to &
    pids+=($!)
    while read -r at count; do
        reports+=("$folder/$at-$count")
    done < <(parts $((from + i * share)) $to)
done
wait "${pids[@]}"
if [ -e $folder/failed ]; then
    grep -E '^FAILED|--seed' $folder/failed | head -5
    exit 1
fi
cat "${reports[@]}" | awk '
    /simulated hours/ { n += $1; h += $3; e += $6; a += $8; r += $10; f += $13 }
    / x real time/ { s += $3; runs++ }
    /^rare branches/ { rare = 1 } /^faults:/ { rare = 0 }
    rare && /^ +[0-9]/ { c = $1; sub(/^ +[0-9]+ +/, ""); t[$0] += c }
    END { printf "%d seeds, %.1f simulated hours, %.0f events, %.0f acknowledged, %.0f records shown, %.0f faults, all clean\n", n, h, e, a, r, f
          if (runs) printf "%.0f x real time on average, of one core\n", s / runs
          for (b in t) if (!t[b]) print "never reached: " b }'
