#!/usr/bin/env bash
# Proves that the README's commands work on a machine with nothing but make and git: makes a bare Debian 12 by
# debootstrap, clones HEAD into it, runs the given make goals (default: demo check) as root, again from a second
# fresh clone, and once more as an ordinary user; each run must leave nothing behind.
#
#   tests/debootstrap.sh [GOAL...]
#   TIERCACHE_BASE=DIR   where the bare system is kept between runs (default ${TMPDIR:-/var/tmp}/tiercache-bookworm)
#   VARIANT=minbase      an even barer system;  MIRROR=URL  the Debian mirror
#   RUNS='root root user'   which runs, in this order
#
# Everything happens in mount and process namespaces of its own: whatever way it ends, no mount and no process stays.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
. "$repo/tests/lib/bare_debian.sh"
base=${TIERCACHE_BASE:-${TMPDIR:-/var/tmp}/tiercache-bookworm}
variant=${VARIANT:-}
mirror=${MIRROR:-http://deb.debian.org/debian}
runs=${RUNS:-root root user}
goals=("$@")
((${#goals[@]})) || goals=(demo check)

die() {
    echo "debootstrap.sh: $*" >&2
    exit 1
}

clone_to() { git -C "$repo" clone -q --bare --no-hardlinks . "$1/tiercache.git"; }
in_namespaces "$(dirname "$base")/tc-chroot.XXXXXX" clone_to "${goals[@]}"

if [[ ! -d $base ]]; then
    echo "# making a bare Debian 12 in $base"
    rm -rf "$base.partial"
    mkdir -p "$(dirname "$base")"
    debootstrap ${variant:+--variant="$variant"} bookworm "$base.partial" "$mirror" >"$base.log" ||
        die "debootstrap failed, see $base.log"
    chroot "$base.partial" sh -ec 'apt-get -q update; apt-get -q -y --no-install-recommends install make git' \
        >>"$base.log" 2>&1 || die "installing make and git failed, see $base.log"
    mv "$base.partial" "$base"
fi

root=$work/root
mkdir -p "$root" "$work/upper" "$work/overlay" "$base.debs"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/overlay" "$root" 2>/dev/null ||
    cp -a "$base/." "$root/"
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$base.debs" "$root/var/cache/apt/archives"
mkdir -p "$root/mnt/tiercache.git"
mount --bind "$work/tiercache.git" "$root/mnt/tiercache.git"
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"

inside() {
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        ${http_proxy:+http_proxy="$http_proxy"} ${DEMO_ROWS:+DEMO_ROWS="$DEMO_ROWS"} chroot "$root" "$@"
}

# What a run must not change: processes, shared memory, temporary folders, clusters.
leftovers() {
    # shellcheck disable=SC2016
    inside sh -c 'for p in /proc/[0-9]*; do
                      exe=$(readlink "$p/exe") && case $exe in */postgres|*/redis-*|*/demo) echo "process $exe";; esac
                  done
                  ls -A /dev/shm /tmp; ls /etc/postgresql 2>/dev/null || :'
}

failures=0
number=0
for run in $runs; do
    number=$((number + 1))
    case $run in
    root) home=/root user='' ;;
    user)
        home=/home/dev user=dev
        inside id dev >/dev/null 2>&1 || inside useradd -m dev
        ;;
    *) die "RUNS knows root and user, not $run" ;;
    esac
    clone=$home/tiercache-$number
    inside git clone -q /mnt/tiercache.git "$clone"
    [[ -z $user ]] || inside chown -R "$user:" "$clone"
    for goal in "${goals[@]}"; do
        log=$base.$number-$run-$goal.log
        before=$(leftovers)
        start=$SECONDS
        status=0
        inside ${user:+setpriv --reuid "$user" --regid "$user" --init-groups} \
            env HOME="$home" make --no-print-directory -C "$clone" "$goal" >"$log" 2>&1 </dev/null || status=$?
        after=$(leftovers)
        if ((status != 0)); then
            tail -n 40 "$log"
            result="FAILED with status $status"
        elif [[ $before != "$after" ]]; then
            diff <(echo "$before") <(echo "$after") || :
            result='FAILED: left something behind'
        else
            result=ok
        fi
        [[ $result == ok ]] || failures=$((failures + 1))
        echo "# run $number as $run: make $goal: $result, $((SECONDS - start)) s; last line: $(tail -n 1 "$log"); log $log"
    done
    dirty=$(inside git -c safe.directory='*' -C "$clone" status --porcelain)
    if [[ -n $dirty ]]; then
        echo "# run $number as $run: the checkout is not clean afterwards: $dirty"
        failures=$((failures + 1))
    fi
done
if ((failures)); then
    die "$failures failed"
fi
echo "# all runs ok"
