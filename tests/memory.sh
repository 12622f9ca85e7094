#!/usr/bin/env bash
# `make check-memory`: the extension through its suites in servers that are built from their sources to find wrong uses of
# memory, with PostgreSQL's assertions:
#   address    AddressSanitizer in all of the server, which also tells it what is pfree'd (tests/memory/valgrind); UBSan in
#              the extension besides
#   memcheck   the server under Valgrind, which finds also what decides without having been initialised; slow
# The servers are built once and stay in build/memory.
#
#   MEMORY_KINDS="address"
#   MEMORY_STAGES="regress isolation protocol"    names of tests/system/*.sh, or of tests/*.sh
#   CORE_SOURCES=FOLDER                  the server's sources; else as make check-core finds them
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
. tests/lib/core_sources.sh
tc_workdir
PG_CONFIG=${PG_CONFIG:-$(deploy/find_pg_config.sh)}
# PostgreSQL keeps memory until a process ends: leaks are not looked for. Every report is a file, and ends its process.
reports=$TC_WORK/reports
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:log_path=$reports/address
export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$reports/undefined

# build_server KIND: into build/memory/KIND/server, when it is not there or was built in another way.
build_server() {
    local folder=$TC_BUILD/memory/$1 flags='-O1 -g -fno-omit-frame-pointer' macros=-DUSE_VALGRIND link='' module how
    if [[ $1 == address ]]; then
        flags+=' -fsanitize=address' link=-fsanitize=address macros+=" -I$PWD/tests/memory"
    fi
    local options=(--enable-cassert --enable-debug --with-icu --with-libxml --with-lz4 --with-openssl
        --with-system-tzdata=/usr/share/zoneinfo)
    local modules=(file_fdw postgres_fdw)
    how="$TC_CORE_SOURCES $flags $link $macros ${options[*]} ${modules[*]}"
    if [[ $(cat "$folder/.built" 2>/dev/null) == "$how" ]]; then return; fi
    echo "# building a server for $1, some 5 minutes (log: $folder/build.log)"
    rm -rf "$folder"
    mkdir -p "$folder/objects"
    (
        unset MAKEFLAGS MAKELEVEL # it is no part of our own make: with these it has no rules, and makes no headers
        cd "$folder/objects"
        "$TC_CORE_SOURCES/configure" -q --prefix="$folder/server" "${options[@]}" CFLAGS="$flags" CXXFLAGS="$flags" \
            CPPFLAGS="$macros" LDFLAGS="$link"
        make -s -j"$(nproc)" -C src install
        for module in "${modules[@]}"; do make -s -C "contrib/$module" install; done
    ) >"$folder/build.log" 2>&1 || {
        tail -n 20 "$folder/build.log"
        tc_die "the server for $1 could not be built"
    }
    echo "$how" >"$folder/.built"
}

# build_extension KIND: as the suites look for it in $TC_BUILD, with and without pause points.
build_extension() {
    local folder=$TC_BUILD/memory/$1 library=build/lib/libtiercache_shm.a options=() pause
    if [[ $1 == address ]]; then
        library=build/address-undefined/lib/libtiercache_shm.a
        options=('TIERCACHE_SANITIZE=address,undefined')
        make -s -j"$(nproc)" SANITIZE=address-undefined "$library"
    fi
    for pause in '' _pause; do
        mkdir -p "$folder/pg_extension$pause"
        make -s -j"$(nproc)" -C "$folder/pg_extension$pause" -f "$PWD/pg_extension/Makefile" TIERCACHE_ROOT="$PWD" \
            PG_CONFIG="$folder/server/bin/pg_config" TIERCACHE_SHM_LIB="$PWD/$library" TIERCACHE_PAUSE="${pause:+1}" \
            "${options[@]}"
    done
    ln -sfn ../../tests ../../bin ../../lib "$folder/"
}

# Some suites kill processes; nobody else ends that way.
crashed='TRAP:|PANIC|was terminated by signal (4|6|7|8|11)'
# A process that is killed tells what it found, but no sum.
misused='ERROR SUMMARY: [1-9]|Invalid (read|write|free)|uninitialised|Mismatched free|overlap'

# found: whether there are reports; it shows the first of them.
found() {
    local file any=1
    for file in "$reports"/*; do
        [[ -e $file ]] || continue
        if [[ $file == */memcheck.* ]] && ! grep -qE "$misused" "$file"; then continue; fi
        if [[ $file == *.log ]] && ! grep -qE "$crashed" "$file"; then continue; fi
        any=0
        echo "# $file"
        case $file in
        *.log) grep -m 1 -E -A 20 "$crashed" "$file" ;;
        *) head -n 80 "$file" ;;
        esac
    done
    return $any
}

# run KIND NAME SCRIPT ARGS...: counts its tests.
run() {
    local kind=$1 name=$2 output=$TC_BUILD/memory/$1/$2.log started=$SECONDS passed failed status=0
    shift 2
    rm -rf "$reports" "$TC_BUILD/memory/$kind/$name.reports"
    mkdir -m 1777 "$reports"
    tc_run env "TC_BUILD=$TC_BUILD/memory/$kind" "PG_CONFIG=$TC_BUILD/memory/$kind/server/bin/pg_config" \
        "CORE_SOURCES=$TC_CORE_SOURCES" "TC_PG_WRAPPER=${wrapper[*]}" "TC_KEEP_LOGS=$reports" TC_KEEP_ALL_LOGS=1 \
        "$@" >"$output" 2>&1 || status=$?
    passed=$(grep -c '^ok ' "$output" || :) failed=$(grep -c '^not ok ' "$output" || :)
    if ((failed == 0 && status != 0)); then failed=1; fi
    TC_PASSED=$((TC_PASSED + passed)) TC_FAILED=$((TC_FAILED + failed))
    echo "# $kind, $name: $passed passed, $failed failed, $((SECONDS - started)) s ($output)"
    if ((failed > 0)); then { grep -A 3 '^not ok\|^error:' "$output" | head -n 40 && echo ... && tail -n 20 "$output"; }; fi
}

# run_clean KIND STAGE: with nothing reported.
run_clean() {
    local script=tests/system/$2.sh
    [[ -x $script ]] || script=tests/$2.sh
    run "$1" "$2" "$script"
    if found >"$TC_WORK/found"; then
        cp -R "$reports" "$TC_BUILD/memory/$1/$2.reports"
        head -n 200 "$TC_WORK/found"
        tc_not_ok "$1, $2: nothing is reported"
    else
        tc_ok "$1, $2: nothing is reported"
    fi
}

tc_core_sources
for kind in ${MEMORY_KINDS:-address}; do
    wrapper=()
    if [[ $kind == memcheck ]]; then
        wrapper=(valgrind --leak-check=no --track-origins=yes --num-callers=30 --time-stamp=yes
            "--suppressions=$TC_CORE_SOURCES/src/tools/valgrind.supp" "--log-file=$reports/memcheck.%p")
    fi
    build_server "$kind"
    build_extension "$kind"
    run "$kind" planted tests/memory/planted.sh "$kind" "$reports"
    for stage in ${MEMORY_STAGES:-regress isolation protocol}; do run_clean "$kind" "$stage"; done
done
tc_done
