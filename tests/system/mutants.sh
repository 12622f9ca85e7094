#!/usr/bin/env bash
# The isolation specs must go red when the freshness rule, or what feeds it, is broken: each mutant of
# pg_extension/settings.hpp is run against the specs that are there to catch it.
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

# run_specs MUTANT NAME...: writes "ok NAME" or "FAILED NAME" for each.
run_specs() {
    local mutant=$1 status=0
    shift
    tc_run tc_as_pg env PGOPTIONS="-c tiercache.mutant=$mutant" \
        "$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/isolation/pg_isolation_regress" --bindir="$TC_PGBIN" \
        --inputdir="$copy" --outputdir="$copy" --host="$TC_WORK/mutants" --port=5432 --user=postgres \
        --dbname=tiercache_mutants --use-existing "$@" >"$TC_WORK/$mutant.log" 2>&1 || status=$?
    # `test x ... ok` up to PostgreSQL 15, `ok 1 - x` since 16.
    sed -nE 's/^test ([^ ]+) +\.\.\. (ok|FAILED).*/\2 \1/p; s/^(not ok|ok) [0-9]+ +[-+] ([^ ]+).*/\1 \2/p' \
        "$TC_WORK/$mutant.log" | sed 's/^not ok/FAILED/' >"$TC_WORK/$mutant.verdicts"
    return "$status"
}
verdict() { grep -qx "$2 $3" "$TC_WORK/$1.verdicts"; }
# A spec that could not be set up, or whose server died, tells nothing.
ran_whole() { ! grep -qE 'setup failed|server closed the connection' "$copy/results/$1.out"; }
# catches MUTANT NAME...
catches() {
    local mutant=$1 name
    run_specs "$@" || :
    shift
    for name in "$@"; do
        tc_check "$mutant is caught by $name" verdict "$mutant" FAILED "$name"
        tc_check "which ran to its end" ran_whole "$name"
    done
}

mapfile -t specs < <(cd tests/isolation/specs && basename -s .spec -- *.spec)
tc_check 'without a mutant nothing is caught' run_specs none "${specs[@]}"
catches late_stamp fill_race
catches no_writers commit_window foreign
catches no_check commit_window old_snapshot
catches no_snapshot old_snapshot transparent_windows
catches no_own_writes own_writes transparent_windows
catches no_in_doubt prepared transparent_windows
catches one_lock cascades transparent_changes partitions
catches rows_only cascades partitions definitions transparent_changes
catches no_ancestors many_partitions
catches no_relations rights
catches no_roles rights definitions
catches no_catalogs rights definitions
catches no_definitions definitions rights transparent_changes prepared
# transparent_changes would catch it, too, but only while a refusal is remembered: one second.
catches no_temp_names temp_shadowing
catches no_names definitions
catches no_plan_age stale_plan
catches no_versions cascades foreign definitions many_partitions partitions prepared rights transparent_changes
tc_done
