#!/usr/bin/env bash
# Concurrent writers and readers through L4, L1 and L2, at least 100,000 checked reads; then the same with broken rules,
# which must be caught.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_install "$TC_BUILD/pg_extension_pause"
tc_pg_start stress tiercache.memory=16MB max_connections=50
tc_redis_start redis
tc_psql stress -q -c 'CREATE EXTENSION tiercache'
conninfo="host=$TC_PGHOST port=$TC_PGPORT user=$TC_PGUSER dbname=$TC_PGDATABASE"
reads=${STRESS_READS:-30000}
stress() {
    tc_run "$TC_BUILD/tests/stress" --db "$conninfo" --segment "$(tc_shm_name "$1")" --redis "$TC_REDIS_SOCKET" \
        --seed "${STRESS_SEED:-$RANDOM}" "${@:2}"
}
tc_check "$((7 * reads)) reads, none wrong" stress right --reads "$reads"
# caught MUTANT KIND: under the mutant, readers of that kind see wrong answers.
caught() {
    tc_psql stress -q -c "ALTER SYSTEM SET tiercache.mutant = '$1'" -c 'SELECT pg_reload_conf()' -o /dev/null
    ! stress "$1" --reads 2000 >"$TC_WORK/$1.log" 2>&1 && grep -q "^wrong: $2" "$TC_WORK/$1.log"
}
tc_check 'a rule that checks nothing is caught in L4' caught no_check l4
tc_check 'and where answers are recalled' grep -q '^wrong: prepared,' "$TC_WORK/no_check.log"
tc_check 'commits that move no version are caught in L1' caught no_versions l1
tc_check 'and in L2' grep -q '^wrong: l2' "$TC_WORK/no_versions.log"
tc_done
