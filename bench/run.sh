#!/usr/bin/env bash
# `make bench`: every benchmark on private servers; each prints lines RESULT <name> <value> <unit>.
#   bench/run.sh [l1|l4|l4-hits ...]   only these
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
# One core for all that is compared: PG's children, and its clients, stay where it is put.
bench_pin() { taskset -apc 0 "$1" >/dev/null 2>&1 || echo 'bench: taskset failed; going on unpinned' >&2; }

# A server with the extension and one without, both on the first core.
bench_l4_servers() {
    tc_workdir
    tc_pg_install
    tc_pg_start bench max_parallel_workers_per_gather=0 autovacuum=off
    tc_psql bench -q -c 'CREATE EXTENSION tiercache'
    tc_pg_start plain shared_preload_libraries= max_parallel_workers_per_gather=0 autovacuum=off
    bench_pin "${TC_PIDS[bench]}"
    bench_pin "${TC_PIDS[plain]}"
    bench_pin $$
}

# pgpool-II with its memory cache, in front of the server with the extension, whose sessions there do not use it.
bench_start_pgpool() {
    local pgpool
    pgpool=$(PATH=$PATH:/usr/sbin command -v pgpool) || {
        echo 'bench: pgpool is missing (make deps); its figures are left out' >&2
        return 1
    }
    tc_server_folder pgpool
    tc_as_pg mkdir "$TC_WORK/pgpool/oiddir"
    tc_as_pg tee "$TC_WORK/pgpool/pgpool.conf" >/dev/null <<-END
		backend_clustering_mode = 'raw'
		listen_addresses = ''
		port = 5432
		socket_dir = '$TC_WORK/pgpool'
		pcp_listen_addresses = ''
		pcp_socket_dir = '$TC_WORK/pgpool'
		wd_ipc_socket_dir = '$TC_WORK/pgpool'
		pid_file_name = '$TC_WORK/pgpool/pgpool.pid'
		work_dir = '$TC_WORK/pgpool'
		logdir = '$TC_WORK/pgpool'
		backend_hostname0 = '$TC_WORK/bench'
		backend_port0 = 5432
		num_init_children = 2
		memory_cache_enabled = on
		memqcache_method = 'shmem'
		memqcache_oiddir = '$TC_WORK/pgpool/oiddir'
	END
    tc_as_pg touch "$TC_WORK/pgpool/pcp.conf" "$TC_WORK/pgpool/pool_hba.conf"
    tc_spawn pgpool "$pgpool" -n -f "$TC_WORK/pgpool/pgpool.conf" -F "$TC_WORK/pgpool/pcp.conf" \
        -a "$TC_WORK/pgpool/pool_hba.conf"
    tc_wait_for 30 'pgpool answers' "$TC_PGBIN/pg_isready" -q -h "$TC_WORK/pgpool" -p 5432
}

bench_conninfo() { echo "host=$TC_WORK/$1 port=5432 user=postgres dbname=postgres"; }

if [[ $wanted == *" l4 "* || $wanted == *" l4-hits "* ]]; then
    echo '# L4: hits inside PostgreSQL'
    bench_l4_servers
    arguments=(--db "$(bench_conninfo bench)" --plain "$(bench_conninfo plain)")
    if bench_start_pgpool; then arguments+=(--pgpool "$(bench_conninfo pgpool)"); fi
    tc_run "$TC_BUILD/bench/l4_bench" "${arguments[@]}" --rounds "${L4_ROUNDS:-200}"
    if [[ $wanted == *" l4 "* ]]; then
        echo '# L4: what it costs writers'
        . bench/l4_writes.sh
        bench_writes
    fi
fi
