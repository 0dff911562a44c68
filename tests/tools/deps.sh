#!/bin/bash
# What ftchat is built from and tried with.
#
#   deps.sh packages build|test   install the Debian packages that are missing (root or sudo)
#   deps.sh libraries DIR         libsodium, inih and the kernel's headers for musl, once, into DIR
#   deps.sh cmocka DIR            cmocka for musl, for the unit tests as built for release
#
# Debian's static libsodium is built against glibc and does not link with musl: it is built here,
# from Debian's source package, patches applied, by the compiler that builds ftchat. The source
# package needs a deb-src entry: a private copy of the system's own sources is used, so that no host
# is named here and the system's lists stay as they are.
set -euo pipefail

build_packages="musl-tools libinih-dev libc6-dev dpkg-dev autoconf automake libtool xz-utils patch"
test_packages="git python3 python3-pytest libcmocka-dev libsodium-dev clang libclang-rt-dev
    binutils strace iproute2 procps valgrind nftables e2fsprogs xfsprogs"

say() { echo "deps: $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "cannot install packages: neither root nor sudo (install them by hand: $missing)"
    fi
}

install_missing() {
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "missing, and no apt-get here:$missing"
    say "installing$missing"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # Lists that are there already are tried first; a fresh machine has none.
    # shellcheck disable=SC2086
    as_root apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1 ||
        { as_root apt-get update -qq >>"$log" 2>&1 &&
            as_root apt-get install -y -qq --no-install-recommends $missing >>"$log" 2>&1; } ||
        { tail -5 "$log" >&2; rm -f "$log"; fail "apt-get could not install:$missing"; }
    rm -f "$log"
}

# source_package NAME: unpacks Debian's source of NAME into the current folder, as ./source.
source_package() {
    local parts="$PWD/apt/parts" lists="$PWD/apt/lists" file
    mkdir -p "$parts" "$lists/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        sed -nE 's/^deb([[:space:]])/deb-src\1/p' "$file" >"$parts/$(basename "$file" .list)-src.list"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        sed -E 's/^(Types:).*/\1 deb-src/' "$file" >"$parts/$(basename "$file")"
    done
    local options=(-qq -o "Dir::Etc::sourceparts=$parts" -o Dir::Etc::sourcelist=/dev/null
        -o "Dir::State::Lists=$lists" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    apt-get "${options[@]}" source --download-only "$1"
    version=$(sed -n 's/^Version: //p' ./*.dsc | head -1)
    dpkg-source --no-check -x ./*.dsc source >/dev/null
}

hardening="-O2 -g -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
    -ftrivial-auto-var-init=zero -ffunction-sections -fdata-sections"

# in_work_folder LOG COMMAND...: runs it in an empty folder; shows the log's end when it fails.
in_work_folder() {
    local log=$1 work=$target/work
    shift
    rm -rf "$work" && mkdir -p "$work"
    if ! (cd "$work" && "$@") >"$target/$log" 2>&1; then
        tail -15 "$target/$log" >&2
        fail "building failed (all of it: $target/$log)"
    fi
    rm -rf "$work"
}

build_libsodium() {
    source_package libsodium
    cd source
    autoreconf -i
    # The work folder's name must not end up in the library: same sources, same bytes.
    ./configure --host="$(uname -m)-linux-musl" --disable-shared --enable-static --disable-pie \
        CC=musl-gcc CFLAGS="$(echo $hardening) -ffile-prefix-map=$PWD=libsodium"
    make -j2
    local kept="$target/libsodium-$version"
    rm -rf "$kept" && mkdir -p "$kept"
    cp -R src/libsodium/include "$kept/include"
    cp src/libsodium/.libs/libsodium.a "$kept/"
    ln -sfn "../libsodium-$version/include/sodium.h" "$target/include/sodium.h"
    ln -sfn "../libsodium-$version/include/sodium" "$target/include/sodium"
    ln -sfn "../libsodium-$version/libsodium.a" "$target/lib/libsodium.a"
}

build_cmocka() {
    source_package cmocka
    cd source
    local defines="-DHAVE_STDINT_H -DHAVE_INTTYPES_H -DHAVE_MALLOC_H -DHAVE_STRINGS_H -DHAVE_UNISTD_H
        -DHAVE_SETJMP_H -DHAVE_SIGNAL_H -DHAVE_TIME_H -DHAVE_SIGLONGJMP -DHAVE_CLOCK_GETTIME
        -DHAVE_STRUCT_TIMESPEC -DHAVE_CLOCK_REALTIME -DHAVE_STRSIGNAL -DHAVE_SNPRINTF
        -DHAVE_VSNPRINTF -DHAVE_MALLOC -DHAVE_FREE -DHAVE_CALLOC -DHAVE_EXIT -DHAVE_GCC_THREAD_LOCAL_STORAGE"
    touch config.h
    # shellcheck disable=SC2086
    musl-gcc -O2 -fPIE $defines -I. -Iinclude -Iinclude/cmocka -c src/cmocka.c -o cmocka.o
    cp include/cmocka.h "$target/include/"
    rm -f "$target/lib/libcmocka.a"
    ar rcs "$target/lib/libcmocka.a" cmocka.o
}

link_headers() {
    local arch
    arch=$(gcc -print-multiarch)
    ln -sfn /usr/include/linux "$target/include/linux"
    ln -sfn /usr/include/asm-generic "$target/include/asm-generic"
    ln -sfn "/usr/include/$arch/asm" "$target/include/asm"
    cp /usr/include/ini.h "$target/include/"
    ln -sfn "$(gcc -print-file-name=libinih.a)" "$target/lib/libinih.a"
}

case "${1-} ${2-}" in
"packages build") install_missing $build_packages ;;
"packages test") install_missing $build_packages $test_packages ;;
"libraries "*)
    install_missing $build_packages
    mkdir -p "$2/include" "$2/lib"
    target=$(cd "$2" && pwd)
    exec 9>"$target/lock" && flock 9
    link_headers
    if [ ! -f "$target/lib/libsodium.a" ]; then
        say "building libsodium for musl (once, about 30 s)"
        in_work_folder libsodium.log build_libsodium
    fi
    ;;
"cmocka "*)
    target=$(cd "$2" && pwd)
    exec 9>"$target/lock" && flock 9
    [ -f "$target/lib/libcmocka.a" ] || in_work_folder cmocka.log build_cmocka
    ;;
*) fail "usage: deps.sh packages build|test, deps.sh libraries DIR, deps.sh cmocka DIR" ;;
esac
