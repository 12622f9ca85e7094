#!/usr/bin/env bash
# A client of a hot standby: its answers say that they may be old, are kept by no tier, and promise no token.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_psql main -qc 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t(v int)' -c 'INSERT INTO t VALUES (1)'
tc_redis_start redis
primary="host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE"
token=$(tc_psql main -Atc 'SELECT tiercache.token()')

tc_server_folder standby
tc_as_pg "$TC_PGBIN/pg_basebackup" -h "$TC_PGHOST" -U "$TC_PGUSER" -c fast -R -D "$TC_WORK/standby/data"
tc_pg_start standby "unix_socket_directories=$TC_WORK/standby" "tiercache.clock_name=$(tc_shm_name standby)"
export TIERCACHE_L1 TIERCACHE_L2=unix:$TC_REDIS_SOCKET
TIERCACHE_L1=$(tc_shm_name l1)
command=$TC_BUILD/bin/tiercache
"$command" segment create "$TIERCACHE_L1" --size 4MiB >/dev/null
standby="host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE"
from() {
    "$command" query --json --db "$@" |
        python3 -c 'import json,sys; d = json.load(sys.stdin); print(d["tier"], d["freshness"], d["rows"][0][0])'
}
refused() { ! "$command" query --db "$standby" --token "$token" "$@" 2>"$TC_WORK/err" && grep -q 'connect to the primary' "$TC_WORK/err"; }

sql='SELECT v FROM t'
tc_is "$(from "$standby" "$sql")" 'l4 stale 1' 'an answer of a standby is stale'
tc_is "$(from "$standby" "$sql")" 'l4 stale 1' 'and is not kept'
tc_is "$(from "$standby" --max-staleness 60 "$sql")" 'l4 stale 1' 'under a staleness limit as well'
tc_check 'no token is promised' refused "$sql"
tc_check 'nor under a staleness limit' refused --max-staleness 60 "$sql"
# On the primary a stamp from before the token is no reason to refuse.
tc_psql main -qc 'CREATE TABLE other(v int)' -c 'INSERT INTO other VALUES (1)'
token=$(tc_psql main -Atc 'SELECT tiercache.token()')
tc_is "$(from "$primary" --token "$token" "$sql")" 'l4 fresh 1' 'the primary promises it'
tc_is "$(from "$primary" --token "$token" "$sql")" 'l1 fresh 1' 'and its answers are kept'
tc_done
