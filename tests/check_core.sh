#!/usr/bin/env bash
# `make check-core`: PostgreSQL's own regression and isolation suites, three times: without tiercache; with
# tiercache.mode = auto, where each query that can be cached fills its entry first and is then served from it
# (tiercache.repeat, of the build with pause points); and so with tiercache.verify = error besides. Results are
# compared with those of the first run: all that may differ is in tests/core_differences.
#
#   CORE_SOURCES=FOLDER   the server's sources; else those of the packages' archive, by apt-get source
#   CORE_SUITES="regress isolation"
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
. tests/lib/core_sources.sh
tc_workdir
PG_CONFIG=${PG_CONFIG:-$(deploy/find_pg_config.sh)}
export PG_CONFIG
pgxs=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test
out=$TC_BUILD/check-core
suites=${CORE_SUITES:-regress isolation}
mkdir -p "$out"

# Modules that the suites load.
build_modules() {
    local file name
    mkdir -p "$TC_WORK/modules"
    for file in src/test/regress/regress.c contrib/spi/refint.c contrib/spi/autoinc.c; do
        name=$(basename "$file" .c)
        cc -O1 -w -fPIC -fno-strict-aliasing -fwrapv -shared -I"$sources/src/test/regress" \
            -I"$("$PG_CONFIG" --includedir-server)" -o "$TC_WORK/modules/$name.so" "$sources/$file"
    done
    chmod -R a+rX "$TC_WORK/modules"
}

# served SUITE NAME: answers that were never cached would compare as well.
served() {
    local hits
    hits=$(tc_psql "$2" -qAtc 'SELECT hits FROM tiercache.stats')
    echo "# $1 ($2): $hits answers came from the cache"
    if ((hits < 100)); then tc_not_ok "$1: answers came from the cache ($2)"; fi
}

# run SUITE NAME [SETTING=VALUE...]: leaves the results in $out/SUITE.NAME
run() {
    local suite=$1 name=$2 copy=$TC_WORK/$1.$2 setting tool=$pgxs/regress/pg_regress
    shift 2
    rm -rf "${out:?}/$suite.$name"
    cp -R "$sources/src/test/$suite" "$copy"
    if ((EUID == 0)); then chown -R "$TC_OS_USER:" "$copy"; fi
    tc_pg_start "$name" max_prepared_transactions=10 autovacuum=off max_connections=60
    for setting in "$@"; do tc_psql "$name" -qc "ALTER SYSTEM SET ${setting%%=*} = '${setting#*=}'"; done
    tc_psql "$name" -qAtc 'SELECT pg_reload_conf()' >/dev/null
    # In another database than the suite's: for its counters.
    [[ $name == plain ]] || tc_psql "$name" -qc 'CREATE EXTENSION tiercache'
    local options=(--dlpath="$TC_WORK/modules" --max-concurrent-tests=20 --schedule=parallel_schedule)
    if [[ $suite == isolation ]]; then
        tool=$pgxs/isolation/pg_isolation_regress
        options=(--schedule=isolation_schedule)
    fi
    # A newer server's answers differ from the sources' expected ones in places: what counts is the first run.
    (cd "$copy" && tc_exec_as_pg env -C "$copy" timeout 1200 "$tool" --bindir="$TC_PGBIN" --inputdir="$copy" \
        --outputdir="$copy" --host="$TC_WORK/$name" --port=5432 --user=postgres --dbname="core_$suite" \
        "${options[@]}") >"$out/$suite.$name.log" 2>&1 || :
    cp -R "$copy/results" "$out/$suite.$name"
    [[ $name == plain ]] || served "$suite" "$name"
    if grep -E 'was terminated by signal|PANIC' "$TC_WORK/$name/server.log"; then
        tc_not_ok "$suite: no process crashed ($name)"
    fi
}

filter() {
    case $1 in
    explain)
        sed -E -e '/^ *(Custom Scan \(Tiercache\)|Cache( [A-Z][a-z]+)?: )/d' -e '/QUERY PLAN|^-+ *$|^\([0-9]+ rows?\)$/d' \
            -e 's/\(actual [^)]*\)//; s/->//; s/ +/ /g; s/^ //; s/ $//' \
            -e '/explain_parallel_append/d; /^Output: /d; s/^(Rows Removed by Filter|Heap Fetches): .*/\1/'
        ;;
    counters) grep -vE '^ *[0-9]+(\| *[0-9]+)+ *$' ;;
    *) cat ;;
    esac
}

# compare SUITE NAME: counts tests, and differences that nothing explains.
compare() {
    local suite=$1 name=$2 file test how
    for file in "$out/$suite.plain"/*.out; do
        test=$(basename "$file" .out)
        tests=$((tests + 1))
        if cmp -s "$file" "$out/$suite.$name/$test.out"; then continue; fi
        how=$(awk -v s="$suite" -v t="$test" '$1 == s && $2 == t { print $3 }' tests/core_differences)
        if [[ -n $how && -e $out/$suite.$name/$test.out ]] &&
            diff <(filter "$how" <"$file") <(filter "$how" <"$out/$suite.$name/$test.out") >/dev/null; then
            explained=$((explained + 1))
            continue
        fi
        unexplained=$((unexplained + 1))
        tc_not_ok "$suite/$test ($name)"
        diff -U3 "$file" "$out/$suite.$name/$test.out" | head -n 60 || :
    done
}

tc_core_sources
sources=$TC_CORE_SOURCES
echo "# $sources"
build_modules
tests=0 explained=0 unexplained=0
tc_pg_install "$TC_BUILD/pg_extension_pause"
for suite in $suites; do
    rm -rf "$TC_WORK/plain" "$TC_WORK/cached" "$TC_WORK/verified"
    TC_NO_PRELOAD=1 run "$suite" plain
    tc_pg_stop plain
    run "$suite" cached tiercache.mode=auto tiercache.min_cost=0 tiercache.repeat=on
    tc_pg_stop cached
    run "$suite" verified tiercache.mode=auto tiercache.min_cost=0 tiercache.repeat=on tiercache.verify=error
    tc_pg_stop verified
    compare "$suite" cached
    compare "$suite" verified
done
echo "$(wc -w <<<"$suites") suites, $tests tests, $explained explained differences, $unexplained unexplained differences"
((unexplained == 0 && TC_FAILED == 0 && tests > 0))
