#!/usr/bin/env bash
# The isolation specs must go red when the freshness rule is broken: each mutant of pg_extension/settings.hpp is run
# against the spec that is there to catch it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_install "$TC_BUILD/pg_extension_pause"
tc_pg_start mutants max_prepared_transactions=10
tc_psql mutants -q -c 'CREATE DATABASE tiercache_mutants'
tc_psql mutants -q -d tiercache_mutants -f tests/isolation/setup.sql
copy=$TC_WORK/specs_copy
mkdir "$copy"
cp -R tests/isolation/specs tests/isolation/expected "$copy/"
if ((EUID == 0)); then chown -R "$TC_OS_USER:" "$copy"; fi

# spec MUTANT NAME: runs one spec under a mutant; succeeds when its output is the expected one.
spec() {
    tc_run tc_as_pg env PGOPTIONS="-c tiercache.mutant=$1" \
        "$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/isolation/pg_isolation_regress" --bindir="$TC_PGBIN" \
        --inputdir="$copy" --outputdir="$copy" --host="$TC_WORK/mutants" --port=5432 --user=postgres \
        --dbname=tiercache_mutants --use-existing "$2" >"$TC_WORK/$1.$2.log" 2>&1
}
caught() { ! spec "$@" && grep -q FAILED "$TC_WORK/$1.$2.log"; }

for name in commit_window fill_race old_snapshot; do tc_check "$name passes without a mutant" spec none "$name"; done
tc_check "no_writers is caught by commit_window" caught no_writers commit_window
tc_check "late_stamp is caught by fill_race" caught late_stamp fill_race
tc_check "no_check is caught by commit_window" caught no_check commit_window
tc_check "no_check is caught by old_snapshot" caught no_check old_snapshot
tc_done
