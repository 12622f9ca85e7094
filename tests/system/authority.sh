#!/usr/bin/env bash
# The clock table through the server's lives: start, restart, crash of a backend, kill of the postmaster, a stopped
# worker, prepared transactions across a restart, and settings that can't work.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start a max_prepared_transactions=5 tiercache.lease=500ms
tiercache=$TC_BUILD/bin/tiercache
clock() { "$tiercache" clock info --json "$(tc_shm_name "${2:-a}")" | sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?$/\1/p"; }
vouched() { [[ $(clock lease_left_ms "${1:-a}") -gt 0 ]]; }
unvouched() { ! vouched "$@"; }
# A process of the server by its title; those without a database are not in pg_stat_activity.
server_process() { pgrep -P "${TC_PIDS[a]}" -f "$1"; }

tc_psql a -q -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t (v int)' -c 'INSERT INTO t VALUES (1)'
read_t() { tc_psql a -Atc "SELECT tiercache.query_json('SELECT v FROM t')" | sed 's/[^0-9,]//g'; }
hits() { tc_psql a -Atc 'SELECT hits FROM tiercache.stats'; }

tc_wait_for 20 'the lease is granted' vouched
tc_is "$(stat -c %a "/dev/shm/${TC_CLOCK#/}")" 644 'apps may read the clock table and not write it'
epoch=$(clock epoch)
floor=$(clock floor)
token=$(tc_psql a -Atc 'SELECT tiercache.token()')
tc_check 'the clock is above the floor' test "$token" -ge "$floor"

# A stopped worker vouches for nothing, until it goes on.
worker=$(server_process 'tiercache lease worker')
kill -STOP "$worker"
tc_check 'the lease runs out while the worker is stopped' tc_wait_for 20 'no lease' unvouched
kill -CONT "$worker"
tc_check 'and comes back' tc_wait_for 20 'a lease' vouched

# A killed backend: PostgreSQL starts over in the same shared-memory object.
before=$(stat -c %i "/dev/shm/${TC_CLOCK#/}")
read_t >/dev/null
kill -KILL "$(server_process checkpointer)"
fresh_life() { [[ $(clock epoch) != "$epoch" ]] && vouched; }
tc_check 'a crash starts a new epoch' tc_wait_for 60 'a new epoch' fresh_life
tc_is "$(stat -c %i "/dev/shm/${TC_CLOCK#/}")" "$before" 'in the object that apps have mapped'
tc_check 'whose floor is above every clock value before' test "$(clock floor)" -gt "$token"
tc_wait_for 20 'the server answers' tc_psql a -c 'SELECT 1'
tc_is "$(read_t)" 1 'and the answer is right'

# A clean restart likewise.
epoch=$(clock epoch) token=$(tc_psql a -Atc 'SELECT tiercache.token()')
tc_pg_restart a
tc_check 'a restart starts a new epoch' tc_wait_for 20 'a new epoch' fresh_life
tc_check 'above the old clock' test "$(clock floor)" -gt "$token"

# A clock object that is replaced: whoever has the old one mapped must not go on trusting it.
exec 9</dev/shm/"${TC_CLOCK#/}"
# lease_left FD-PATH: milliseconds left in a table that only a descriptor leads to.
mapped_lease_ends() { (($(od -An -tu8 -j64 -N8 /proc/self/fd/9) < $(awk '{printf "%d", $1 * 1e9}' /proc/uptime))); }
tc_check 'the mapped table is vouched for' eval '! mapped_lease_ends'
inode=$(stat -c %i "/dev/shm/${TC_CLOCK#/}")
tc_psql a -q -c "ALTER SYSTEM SET tiercache.clock_mode = '0600'"
tc_pg_restart a kill
tc_is "$(stat -c '%i %a' "/dev/shm/${TC_CLOCK#/}")" "$inode 600" 'other permissions do not make it another object'
tc_pg_stop a kill
rm "/dev/shm/${TC_CLOCK#/}"
tc_pg_start a
tc_check 'an object that is gone is outwaited' mapped_lease_ends
exec 9<&-
tc_wait_for 20 'a lease' vouched

# A reload that changes what queries return ends the life of every entry.
epoch=$(clock epoch)
tc_psql a -q -c "ALTER SYSTEM SET timezone = 'Asia/Tokyo'" -c 'SELECT pg_reload_conf()' -o /dev/null
tc_check 'a reload that changes results starts a new epoch' tc_wait_for 20 'a new epoch' fresh_life
epoch=$(clock epoch)
tc_psql a -q -c "ALTER SYSTEM SET work_mem = '8MB'" -c "ALTER SYSTEM SET tiercache.lease = '600ms'" \
    -c 'SELECT pg_reload_conf()' -o /dev/null
longer_lease() { (($(clock lease_left_ms) > 500)); }
tc_check 'another reload' tc_wait_for 20 'the longer lease' longer_lease
tc_is "$(clock epoch)" "$epoch" 'does not'
tc_is "$(cut -d' ' -f4 "$TC_WORK/a/data/tiercache.clock")" 600 'a longer lease is written down'

# A ceiling far in the future (as after the wall clock was set back): the clock goes on above it.
tc_pg_stop a
future=4000000000000000
printf 'tiercache 1 %s 500\n' "$future" | tc_as_pg tee "$TC_WORK/a/data/tiercache.clock" >/dev/null
tc_pg_start a
tc_check 'the clock never falls below the persisted ceiling' test "$(clock floor)" -gt "$future"

# A prepared transaction that a restart finds: nothing is cached until it is gone.
tc_psql a -q -c "BEGIN; UPDATE t SET v = 2; PREPARE TRANSACTION 'x'"
tc_pg_restart a immediate
# Recovery may go on after the socket is there.
tc_is "$(read_t)" 1 'a survivor of 2PC is not visible'
before=$(hits)
read_t >/dev/null
tc_is "$(($(hits) - before))" 0 'and blocks the cache'
tc_check 'and the lease' unvouched
tc_psql a -q -c "COMMIT PREPARED 'x'"
tc_is "$(read_t)" 2 'after COMMIT PREPARED the new state is there'
tc_check 'the lease is back' tc_wait_for 20 'a lease' vouched
read_t >/dev/null
before=$(hits)
tc_is "$(read_t)" 2 'the cache goes on'
tc_is "$(($(hits) - before))" 1 'with hits'

# A clock table that can't be had: the server says so and starts all the same, caching for itself.
clock_of_a=$TC_CLOCK
starts_saying() {
    local name=$1 pattern=$2
    shift 2
    tc_pg_start "$name" "$@" >/dev/null 2>&1 && grep -qE "$pattern" "$TC_WORK/$name/server.log"
}
tc_check 'two servers never share a clock table' starts_saying b 'in use by another running server' \
    tiercache.clock_name="$clock_of_a"
tc_psql b -q -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t AS SELECT 7 AS v'
query_b() { tc_psql b -Atc "SELECT tiercache.query_json('SELECT v FROM t')" -o /dev/null; }
second_hits() { query_b && (($(tc_psql b -Atc 'SELECT hits FROM tiercache.stats') > 0)); }
tc_wait_for 20 'the second server caches' second_hits
tc_is "$(tc_psql b -Atc 'SHOW tiercache.clock_name')" '' 'the second one caches for itself, and tells apps of no clock'
tc_check 'the first one goes on' vouched
tc_pg_stop b
tc_use a

# PostgreSQL warns of a bad value in its configuration file and goes on with the default.
tc_check 'a clock table that others could write is refused' starts_saying c 'Use 0600' tiercache.clock_mode=0666
tc_is "$(stat -c %a "/dev/shm/$(basename "$(tc_shm_name c)")")" 644 'and has the default permissions'
tc_pg_stop c
tc_check 'a name with a folder in it is refused' starts_saying d 'Use a slash' tiercache.clock_name=/a/b
default_name=$(tc_psql d -Atc 'SHOW tiercache.clock_name')
tc_check 'and a default name is used' test -e "/dev/shm/${default_name#/}"
tc_pg_stop d
rm -f "/dev/shm/${default_name#/}"
printf 'rubbish' >"$TC_WORK/rubbish"
tc_pg_stop a
tc_as_pg cp "$TC_WORK/rubbish" "$TC_WORK/a/data/tiercache.clock"
tc_check 'a damaged ceiling is made anew' starts_saying a 'is damaged; making it anew'
tc_wait_for 20 'the lease is granted' vouched

# Marks are taken back exactly as often as they are made, also those that come after PRE_COMMIT.
tc_psql a -q -c 'CREATE TEMP TABLE q (a int PRIMARY KEY) ON COMMIT DELETE ROWS' -c 'CREATE TABLE perm (v int)' \
    -c 'BEGIN; INSERT INTO q VALUES (1); INSERT INTO perm VALUES (1); COMMIT'
tc_is "$(clock slots_being_written)" 0 'ON COMMIT DELETE ROWS leaves no mark behind'
cat >"$TC_WORK/temp.sql" <<'SQL'
BEGIN;
CREATE TEMP TABLE w (a int PRIMARY KEY) ON COMMIT DROP;
INSERT INTO w VALUES (1);
INSERT INTO perm VALUES (1);
COMMIT;
SQL
cat >"$TC_WORK/grant.sql" <<'SQL'
ANALYZE t;
GRANT SELECT ON t TO public;
REVOKE SELECT ON t FROM public;
SQL
bench() { PGHOST=$TC_PGHOST PGPORT=$TC_PGPORT PGUSER=$TC_PGUSER "$TC_PGBIN/pgbench" -n -f "$@" postgres; }
bench "$TC_WORK/grant.sql" -t 300 >"$TC_WORK/grant.log" 2>&1 &
granting=$!
bench "$TC_WORK/temp.sql" -c 2 -t 400 >"$TC_WORK/temp.log" 2>&1
wait "$granting"
tc_is "$(clock slots_being_written)" 0 'nor do temporary tables beside other sessions that GRANT and ANALYZE'

# The postmaster is killed: backends end, and nobody vouches any more.
tc_pg_stop a kill
tc_check 'a killed server vouches for nothing' tc_wait_for 20 'no lease' unvouched

# Not preloaded: what to do is said by CREATE EXTENSION itself.
TC_NO_PRELOAD=1 tc_pg_start e
tc_check 'without preload CREATE EXTENSION says what to do' \
    grep -q 'shared_preload_libraries' <(tc_psql e -c 'CREATE EXTENSION tiercache' 2>&1 || :)
tc_done
