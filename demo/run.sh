#!/usr/bin/env bash
# `make demo`, after the build: a private PostgreSQL with the extension, a private Redis, the flights, and the demo
# program on them; all of it is stopped and removed at the end, however that comes. DEMO_ROWS=2000000 flights.
#
# The program gets the folder of the queries as its argument, and in its environment TC_PGHOST, TC_PGPORT, TC_PGUSER,
# TC_PGDATABASE, TC_REDIS_SOCKET, TC_CLOCK (the clock table's name), TC_PGBIN (where psql is) and TC_ID:
# shared memory that it calls /tiercache_${TC_ID}_... is removed with the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
[[ -x $TC_BUILD/demo/demo ]] || tc_die 'build/demo/demo is missing: run "make demo"'

echo '# starting a private PostgreSQL and a private Redis'
tc_workdir
tc_pg_install
# As a server would be set up: durable commits, parallel queries over POSIX shared memory, room for the table.
tc_pg_start demo fsync=on dynamic_shared_memory_type=posix shared_buffers=512MB max_wal_size=4GB \
    effective_cache_size=2GB work_mem=16MB
tc_redis_start redis
echo "# $(tc_psql demo -Atc 'SELECT version()')"
tc_psql demo -qc 'CREATE EXTENSION tiercache'

export PGHOST=$TC_PGHOST PGPORT=$TC_PGPORT PGUSER=$TC_PGUSER PGDATABASE=$TC_PGDATABASE
PSQL=$TC_PGBIN/psql tc_run demo/load.sh
unset PGHOST PGPORT PGUSER PGDATABASE

tc_run "$TC_BUILD/demo/demo" demo/queries demo/writes --psql "$TC_PGBIN/psql" --segments "$(tc_shm_name app)"
