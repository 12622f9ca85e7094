#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need. Quick when nothing is missing.
# Starts no service and creates no database cluster: what would do so is held back during the installation,
# and put back as it was afterwards.
set -euo pipefail

packages=(
    build-essential make pkgconf
    clang libclang-rt-14-dev clang-format clang-tidy shellcheck # fuzz targets, lint
    postgresql-15 postgresql-server-dev-15 libpq-dev
    libboost1.81-dev liblz4-dev libxxhash-dev libhiredis-dev libcurl4-openssl-dev
    libtomlplusplus-dev libcli11-dev libfmt-dev nlohmann-json3-dev
    libgtest-dev libbenchmark-dev
    redis-server python3 spin sqlsmith # tests
    liblmdb-dev libtbb-dev libcuckoo-dev memcached # peers in make bench-l1
    libicu-dev libreadline-dev libssl-dev libxml2-dev zlib1g-dev valgrind # the servers of make check-memory
    pgpool2 # peer in make bench-l4
)

missing() {
    local package
    for package in "${packages[@]}"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is not Debian; install the equivalents of: ${packages[*]}; then use SKIP_DEPS=1" >&2
    exit 1
fi
mapfile -t missing < <(missing)
if ((${#missing[@]} == 0)); then
    exit 0
fi
echo "deps: installing ${missing[*]}"

if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "deps: not root and no sudo: run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    exec sudo "$0"
fi

# ---- root from here on ----
export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
policy=/usr/sbin/policy-rc.d
createcluster=/etc/postgresql-common/createcluster.conf
saved=$(mktemp -d)

put_back() {
    local file=$1 copy
    copy=$saved/$(basename "$file")
    if [[ -e $copy ]]; then
        cp -a "$copy" "$file"
    else
        rm -f "$file"
    fi
}
restore() {
    put_back "$policy"
    # A file that postgresql-common brought along stays, in its own default state.
    local default=/usr/share/postgresql-common/createcluster.conf
    if [[ ! -e $saved/createcluster.conf && -e $default ]]; then
        cp "$default" "$createcluster"
        rm -f "$createcluster.ucf-dist"
    else
        put_back "$createcluster"
    fi
    rmdir --ignore-fail-on-non-empty "$(dirname "$createcluster")" 2>/dev/null || :
    rm -rf "$saved"
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for file in "$policy" "$createcluster"; do
    if [[ -e $file ]]; then cp -a "$file" "$saved/"; fi
done
mkdir -p "$(dirname "$createcluster")"
echo 'create_main_cluster = false' >"$createcluster"
printf '#!/bin/sh\nexit 101\n' >"$policy.new"
chmod 755 "$policy.new"
mv "$policy.new" "$policy"

apt=(apt-get -q -o DPkg::Lock::Timeout=600)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}"

# Nor is a server that nobody asked for started at the next boot.
for server in redis-server memcached pgpool2; do
    if [[ " ${missing[*]} " == *" $server "* ]]; then
        update-rc.d "$server" disable >/dev/null 2>&1 || :
        systemctl disable "$server" >/dev/null 2>&1 || :
    fi
done
