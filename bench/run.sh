#!/usr/bin/env bash
# `make bench`: every benchmark on private servers; each prints lines RESULT <name> <value> <unit>.
#   bench/run.sh [l1|l4 ...]           only these
#   bench/run.sh l1-peers | l1-sizes   `make bench-l1`, `make bench-l1-sizes`
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
wanted=" ${*:-l1 l4} "
if [[ $wanted == *" l1 "* ]]; then
    echo '# L1: hits in shared memory, Redis over a unix socket beside it'
    "$TC_BUILD/bench/l1_bench"
fi
if [[ $wanted == *" l1-peers "* ]]; then
    echo '# L1: the segment and its peers, in turns'
    "$TC_BUILD/bench/bench_l1"
fi
if [[ $wanted == *" l1-sizes "* ]]; then
    echo '# L1: large segments'
    "$TC_BUILD/bench/bench_l1" --sizes
fi
if [[ $wanted == *" l4 "* ]]; then
    echo '# L4: hits inside PostgreSQL'
    tc_workdir
    tc_pg_install
    tc_pg_start bench max_parallel_workers_per_gather=0
    tc_psql bench -q -c 'CREATE EXTENSION tiercache'
    tc_run "$TC_BUILD/bench/l4_bench" --db "host=$TC_PGHOST port=$TC_PGPORT user=$TC_PGUSER dbname=$TC_PGDATABASE"
fi
