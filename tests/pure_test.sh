#!/bin/bash
# core decides and does nothing else: its release objects reach nothing outside core but pure memory
# and string functions, keep no state, hold no instruction that asks the machine, and its sources
# use no floating point (compilers and libraries differ in the last bit).
set -u
cd "$(dirname "$0")/.." || exit 1
problems=0
problem() { echo "impure: $*"; problems=$((problems + 1)); }
objects=() config=()
while read -r source; do
    object=build/release/${source%.c}.o
    [ -f "$object" ] || { problem "no $object"; continue; }
    [ "$source" = core/config.c ] && config+=("$object") || objects+=("$object")
done < <(find core -name '*.c' | sort)
[ ${#objects[@]} -gt 0 ] || { echo "no objects of core"; exit 1; }

undefined() { nm -u "$@" | awk '$1 == "U" || $1 == "w" { print $2 }' | sort -u; }
defined=$(mktemp)
trap 'rm -f "$defined"' EXIT
nm -g --defined-only "${objects[@]}" "${config[@]}" | awk 'NF == 3 { print $3 }' | sort -u >"$defined"

pure='mem(cpy|move|set|cmp|chr)|bcmp|str(n?len|n?cmp|r?chr)|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_'
pure+='|check_failed|__(u?div|u?mod|u?divmod)ti[34]|__(popcount|parity|clz|ctz)[dt]i2'
pure+='|__(ashl|ashr|lshr)ti3|__multi3'
parsing='ini_parse_stream|strto(u?l|u?ll)|snprintf|__errno_location'
for symbol in $(undefined "${objects[@]}" | comm -23 - "$defined" | grep -vxE "$pure"); do
    problem "core calls $symbol"
done
if [ ${#config[@]} -gt 0 ]; then
    for symbol in $(undefined "${config[@]}" | comm -23 - "$defined" | grep -vxE "$pure|$parsing"); do
        problem "core/config.c calls $symbol"
    done
fi
grep -qx check_failed "$defined" && problem "check_failed is defined in core"
while read -r line; do
    problem "state: $line"
done < <(size -A "${objects[@]}" "${config[@]}" | awk '/:$/ { file = $1 }
    $1 ~ /^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0 { print file, $1, $2 }')
while read -r line; do
    problem "instruction: $line"
done < <(objdump -d --no-show-raw-insn "${objects[@]}" "${config[@]}" |
    grep -oE '\b(syscall|sysenter|rdtscp?|rdrand|rdseed|cpuid|int +\$0x80)\b' | sort | uniq -c)
while read -r line; do
    problem "floating point: $line"
done < <(find core -name '*.[ch]' -print0 | xargs -0 grep -nwE 'float|double' |
    grep -vE '^[^:]+:[0-9]+: *(\*|//|/\*)')
echo "${#objects[@]} objects, $problems problems"
[ $problems = 0 ]
