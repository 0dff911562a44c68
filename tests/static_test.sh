#!/bin/bash
# The one file is what it promises to be: static, position-independent, hardened, small, and the
# library it is linked with is musl.
set -u
cd "$(dirname "$0")/.." || exit 1
file=./ftchat
fail() { echo "FAIL: $*"; exit 1; }
header=$(readelf -hW $file) segments=$(readelf -lW $file) dynamic=$(readelf -dW $file)

grep -q ' DYN ' <<<"$header" || fail "not position-independent"
grep -q INTERP <<<"$segments" && fail "names an interpreter"
grep -q NEEDED <<<"$dynamic" && fail "needs shared libraries"
grep -q GNU_RELRO <<<"$segments" || fail "no RELRO"
grep -qE 'FLAGS_1.*NOW' <<<"$dynamic" || fail "symbols are not bound at start"
grep -q TEXTREL <<<"$dynamic" && fail "relocations in the code"
grep GNU_STACK <<<"$segments" | grep -q ' RWE ' && fail "executable stack"
grep LOAD <<<"$segments" | grep -q ' RWE ' && fail "a segment is writable and executable"
grep -qa GLIBC_TUNABLES $file && fail "this is glibc"
nm $file | grep -q ' [Tt] __stack_chk_fail' || fail "no stack protector"

stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" $file || fail "strip"
bytes=$(stat -c %s "$stripped")
[ "$bytes" -le 1048576 ] || fail "$bytes bytes stripped, over 1 MiB"
echo "static-pie, hardened, $bytes bytes stripped"
