#!/usr/bin/env bash
# `make install` into a staging folder gives all that users need: a server that has the extension, and headers,
# libraries and a pkg-config file that a program of theirs can be built with.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir

# The staging folder is the private copy of the server: what is installed there is what this server runs.
TC_NO_PRELOAD=1 tc_pg_install
stage=$TC_WORK/pg
tc_check 'make install' make --no-print-directory install DESTDIR="$stage" PREFIX=/usr/local PG_CONFIG="$PG_CONFIG"
chmod -R a+rX "$stage"
tc_pg_start installed
tc_psql installed -qc 'CREATE EXTENSION tiercache'
tc_is "$(tc_psql installed -Atc "SELECT extname FROM pg_extension WHERE extname = 'tiercache'")" tiercache \
    'the installed extension works'

cat >"$TC_WORK/app.cpp" <<'CPP'
#include <cstdio>
#include <cstdlib>
#include <string>
#include <tiercache/cache.hpp>

int main(int, char** argv) {
    tiercache::Options options;
    options.l4.conninfo = argv[1];
    auto cache = tiercache::Cache::open(options);
    if (!cache.ok()) return std::puts(std::string(cache.status().message()).c_str()), 1;
    auto answer = cache->query("SELECT 42 AS answer");
    if (!answer.ok()) return std::puts(std::string(answer.status().message()).c_str()), 1;
    for (const auto& row : *answer) std::puts(std::string(row["answer"].text()).c_str());
}
CPP
cat >"$TC_WORK/app.c" <<'C'
#include <stdio.h>
#include <tiercache/tiercache.h>
int main(void) { return puts("compiled as C") < 0; }
C
# shellcheck disable=SC2046
build_app() {
    local compiler=$1 source=$2 program=$3
    "$compiler" -Wall -Wextra -Werror -pedantic "${@:4}" -o "$program" "$source" \
        $(PKG_CONFIG_PATH=$stage/usr/local/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage \
            pkg-config --cflags --libs tiercache)
}
tc_check 'a C++ program builds with pkg-config' build_app g++ "$TC_WORK/app.cpp" "$TC_WORK/app" -std=c++20
tc_check 'a C program builds with pkg-config' build_app gcc "$TC_WORK/app.c" "$TC_WORK/app_c" -std=c11
export LD_LIBRARY_PATH=$stage/usr/local/lib
tc_is "$("$TC_WORK/app" "host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE")" 42 'and queries through it'
tc_is "$("$TC_WORK/app_c")" 'compiled as C' 'the C program runs'
tc_check 'the installed command runs' "$stage/usr/local/bin/tiercache" --help
tc_done
