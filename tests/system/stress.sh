#!/usr/bin/env bash
# Concurrent writers and readers through L4, L1 and L2, at least 100,000 checked reads; then the same with a freshness
# rule that checks nothing, which must be caught.
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
tc_check "$((5 * reads)) reads, none wrong" stress right --reads "$reads"
tc_psql stress -q -c "ALTER SYSTEM SET tiercache.mutant = 'no_check'" -c 'SELECT pg_reload_conf()' -o /dev/null
mutant() { ! stress mutant --reads 2000 >"$TC_WORK/mutant.log" 2>&1 && grep -q '^wrong: l4' "$TC_WORK/mutant.log"; }
tc_check "a rule that checks nothing is caught" mutant
tc_done
