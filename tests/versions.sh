#!/usr/bin/env bash
# `make check-versions`: the extension on PostgreSQL 17 and 18, in the Debians that have them, with their compilers. Makes
# a bare system of each by debootstrap (as root), builds HEAD there, and runs the tests that deal with the server.
#
#   tests/versions.sh [SUITE...]   default: trixie (PostgreSQL 17) forky (18)
#   VERSIONS_STAGES='...'          these scripts of tests/system instead; "core_suites" is `make check-core`
#   VERSIONS_KEEP=FOLDER           keeps the bare systems there, and uses those that are there
#   MIRROR=URL                     the Debian mirror
#
# Everything happens in mount and process namespaces of its own: whatever way it ends, no mount, process or folder stays.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
. "$repo/tests/lib/bare_debian.sh"
mirror=${MIRROR:-http://deb.debian.org/debian}
stages=${VERSIONS_STAGES:-regress isolation preload patterns protocol wire_payload upgrade replication authority stress}
suites=("$@")
((${#suites[@]})) || suites=(trixie forky)

die() {
    echo "check-versions: $*" >&2
    exit 1
}

archive_to() { git -C "$repo" archive -o "$1/tiercache.tar" HEAD; }
in_namespaces "${TMPDIR:-/var/tmp}/tc-versions.XXXXXX" archive_to "${suites[@]}"
mkdir -p "${VERSIONS_KEEP:=$work}"

packages=(build-essential pkgconf clang libclang-rt-dev libpq-dev libboost-dev liblz4-dev libxxhash-dev libhiredis-dev
    libcurl4-openssl-dev libtomlplusplus-dev libcli11-dev libfmt-dev nlohmann-json3-dev libgtest-dev libbenchmark-dev
    redis-server python3 procps ccache)

inside() {
    env -i PATH=/usr/lib/ccache:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb HOME=/root CCACHE_DIR=/root/.ccache SKIP_DEPS=1 \
        ${http_proxy:+http_proxy="$http_proxy"} chroot "$root" "$@"
}

mount_kernel() {
    mount -t proc proc "$1/proc"
    mkdir -p "$1/dev/shm" "$1/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
    mount -t devpts devpts "$1/dev/pts"
}

# What the names of the suite's packages say is its newest server.
newest_server() { inside apt-cache pkgnames postgresql-server-dev- | sed -n 's/.*-dev-\([0-9]*\)$/\1/p' | sort -n | tail -n 1; }

make_system() {
    local suite=$1 script=/usr/share/debootstrap/scripts/$1 major
    # An older debootstrap does not know the newest suite's name; it is made as all of them.
    [[ -e $script ]] || script=/usr/share/debootstrap/scripts/sid
    debootstrap --variant=minbase "$suite" "$root" "$mirror" "$script" || return
    mount_kernel "$root"
    cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
    # A mirror's copy of a suite that still moves may be some weeks old.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90check-versions"
    # No service starts, no cluster is made.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
    inside apt-get -q update || return
    major=$(newest_server)
    [[ -n $major ]] || return
    inside env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${packages[@]}" \
        "postgresql-$major" "postgresql-server-dev-$major" || return
    inside apt-get -q clean
    touch "$root/.made"
}

# run NAME CMD...: one line when it has ended, and what it said last when it failed.
run() {
    local name=$1 log=$work/$suite.$1.log start=$SECONDS
    shift
    if inside "$@" >"$log" 2>&1 </dev/null; then
        printf 'ok      %-14s %5d passed %6d s\n' "$name" "$(grep -cE '^ok( |$)' "$log")" $((SECONDS - start))
    else
        { grep -E '^not ok|error:' "$log" | head -n 20 && echo ...; tail -n 40 "$log"; } | sed 's/^/    /'
        printf 'FAILED  %-14s %20d s\n' "$name" $((SECONDS - start))
        return 1
    fi
}

failures=0
for suite in "${suites[@]}"; do
    root=$VERSIONS_KEEP/$suite
    if [[ -e $root/.made ]]; then
        mount_kernel "$root"
    else
        echo "# $suite: making a bare system"
        rm -rf --one-file-system "$root"
        if ! make_system "$suite" >"$work/$suite.log" 2>&1; then
            tail -n 20 "$work/$suite.log"
            die "$suite could not be made, see above"
        fi
    fi
    checkout=$root/root/tc
    rm -rf "$checkout"
    mkdir -p "$checkout"
    tar -xf "$work/tiercache.tar" -C "$checkout"
    pg_config=$(inside sh -c 'cd /root/tc && deploy/find_pg_config.sh')
    echo "# $suite: $(inside "$pg_config" --version), $(inside g++ --version | head -n 1)"
    targets=(build extension-pause)
    for stage in $stages; do
        for program in "$checkout/tests/system/$stage".cpp "$checkout/tests/system/$stage"_*.cpp; do
            if [[ -e $program ]]; then targets+=("build/tests/$(basename "$program" .cpp)"); fi
        done
    done
    status=0
    run build make --no-print-directory -j"$(nproc)" -C /root/tc "${targets[@]}" || status=$?
    if ((status == 0)); then
        for stage in $stages; do run "$stage" "/root/tc/tests/system/$stage.sh" || status=$?; done
    fi
    rm -rf "$checkout"
    if ((status != 0)); then
        echo "# $suite: FAILED"
        failures=$((failures + 1))
    fi
done
((failures == 0)) || die "$failures of ${#suites[@]} failed"
echo '# all versions ok'
