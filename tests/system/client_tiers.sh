#!/usr/bin/env bash
# tiercache::Cache on a private PostgreSQL and Redis: client_tiers.cpp tells what is tested.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_redis_start redis
tc_psql main -qc 'CREATE EXTENSION tiercache'
tc_run "$TC_BUILD/tests/client_tiers" "host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE" \
    "unix:$TC_REDIS_SOCKET" "$(tc_shm_name '')"
