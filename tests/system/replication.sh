#!/usr/bin/env bash
# Changes that come by replication, commits that wait for a standby, a standby before and after its promotion, an
# immediate stop, and shared memory that runs out: no answer of the cache is older than an uncached one before it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
settings=(wal_level=logical max_prepared_transactions=5 max_locks_per_transaction=10)
tc_pg_start main "${settings[@]}" tiercache.memory=1MB
tc_pg_start other "${settings[@]}"
sql() { tc_psql "$1" -Atq -c "${@:2}"; }
counter() { sql "$1" "SELECT $2 FROM tiercache.stats"; }
cached() { sql "$1" "SELECT tiercache.query_json('SELECT v FROM t ORDER BY v')" | tr -cd '0-9,'; }
transparent() { tc_psql "$1" -Atq -c 'SET tiercache.mode = auto' -c 'SELECT v FROM t ORDER BY v' | paste -sd,; }
uncached() { sql "$1" 'SELECT v FROM t ORDER BY v' | paste -sd,; }
sees() { [[ $(uncached "$1") == "$2" ]]; }
opened() { [[ $(counter "$1" open) == t ]]; }
writers() { sql "$1" 'SELECT coalesce(sum(writers), 0) FROM tiercache.tags'; }
for cluster in main other; do
    tc_psql "$cluster" -q -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t (v int PRIMARY KEY)'
done

# ---- logical replication into a cached table ----

sql main 'CREATE PUBLICATION everything FOR TABLE t'
sql other "CREATE SUBSCRIPTION everything CONNECTION 'host=$TC_WORK/main user=postgres dbname=postgres' PUBLICATION everything WITH (two_phase = true)" 2>/dev/null
# applied WHAT STATEMENT EXPECTED: what the apply worker did is seen by the cache as soon as by anybody.
applied() {
    cached other >/dev/null
    transparent other >/dev/null
    tc_psql main -q -c "$2"
    tc_wait_for 60 "$1 is applied" sees other "$3"
    tc_is "$(cached other) $(transparent other)" "$3 $3" "logical replication: $1"
}
applied 'INSERT' 'INSERT INTO t VALUES (1), (2)' 1,2
applied 'UPDATE' 'UPDATE t SET v = v + 10' 11,12
applied 'DELETE' 'DELETE FROM t WHERE v = 11' 12
applied 'a second DELETE after a hit' 'DELETE FROM t' ''
applied 'COPY' "COPY t FROM PROGRAM 'echo 5'" 5
applied 'TRUNCATE' 'TRUNCATE t' ''
applied 'INSERT after TRUNCATE' 'INSERT INTO t VALUES (6)' 6
tc_psql main -q -c "BEGIN; UPDATE t SET v = 7; PREPARE TRANSACTION 'two'"
prepared() { [[ $(sql other 'SELECT count(*) FROM pg_prepared_xacts') == 1 ]]; }
tc_wait_for 60 'the prepared transaction arrives' prepared
tc_is "$(cached other) $(transparent other)" '6 6' 'logical replication: PREPARE TRANSACTION changes nothing yet'
applied 'COMMIT PREPARED' "COMMIT PREPARED 'two'" 7
before=$(counter other hits)
cached other >/dev/null
tc_is "$(counter other hits)" $((before + 1)) 'and the table is cached in between'
sql other 'DROP SUBSCRIPTION everything' 2>/dev/null

# ---- synchronous replication that waits ----

tc_is "$(cached main) $(transparent main)" '7 7' 'before the commit that waits'
tc_psql main -q -c "ALTER SYSTEM SET synchronous_standby_names = 'nobody'" -c 'SELECT pg_reload_conf()' >/dev/null
shows() { [[ $(sql main "SHOW $1") == "$2" ]]; }
tc_wait_for 20 'the setting counts' shows synchronous_standby_names nobody
tc_psql main -q -c 'UPDATE t SET v = 8' >"$TC_WORK/waiting.log" 2>&1 &
writer=$!
waits() { [[ $(sql main "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1 ]]; }
tc_wait_for 20 'the commit waits' waits
# Its WAL is written, but nobody sees it: what is computed now is of the old state, and must not outlive it.
tc_is "$(cached main) $(transparent main) $(uncached main)" '7 7 7' 'a commit that waits for a standby is not seen'
tc_is "$(cached main) $(transparent main)" '7 7' 'again'
tc_psql main -q -c 'ALTER SYSTEM RESET synchronous_standby_names' -c 'SELECT pg_reload_conf()' >/dev/null
wait "$writer"
tc_is "$(cached main) $(transparent main)" '8 8' 'and is seen when it returns'
tc_is "$(writers main)" 0 'no mark is left'

# ---- a standby ----

tc_server_folder standby
tc_as_pg "$TC_PGBIN/pg_basebackup" -h "$TC_WORK/main" -U postgres -c fast -R -D "$TC_WORK/standby/data"
tc_pg_start standby "unix_socket_directories=$TC_WORK/standby" "tiercache.clock_name=$(tc_shm_name standby)"
tc_is "$(cached standby) $(transparent standby) $(cached standby) $(transparent standby)" '8 8 8 8' 'a standby answers'
tc_is "$(counter standby 'hits, fills, entries, bypasses > 0, open')" '0|0|0|t|f' 'and caches nothing'
tc_check 'EXPLAIN says why' grep -q 'Cache Reason: the server is in recovery' \
    <(tc_psql standby -Atq -c 'SET tiercache.mode = auto' -c 'EXPLAIN SELECT v FROM t')
tc_is "$(sql standby "SELECT get_byte(tiercache.fetch('SELECT v FROM t'), 48) & 12")" 12 'an entry of it is marked'
tc_check 'it may not invalidate' grep -q 'cannot' <(sql standby "SELECT tiercache.invalidate('t')" 2>&1 || :)
sql main 'UPDATE t SET v = 9'
tc_wait_for 60 'the standby has replayed it' sees standby 9
tc_is "$(cached standby) $(transparent standby)" '9 9' 'it answers with what it has replayed'

# ---- its promotion ----

# A session that was there before goes on, with a plan from before.
fifo=$TC_WORK/session
mkfifo "$fifo"
tc_psql standby -Atq <"$fifo" >"$TC_WORK/session.out" 2>&1 &
session=$!
exec 8>"$fifo"
echo "SET tiercache.mode = auto; PREPARE p AS SELECT v FROM t; EXECUTE p;" >&8
tc_wait_for 20 'the session works' test -s "$TC_WORK/session.out"
sql standby 'SELECT pg_promote()' >/dev/null
tc_wait_for 60 'the cache opens' opened standby
tc_is "$(cached standby) $(cached standby) $(transparent standby) $(transparent standby)" '9 9 9 9' 'a promoted standby answers'
tc_is "$(counter standby hits)" 2 'and caches'
sql standby 'UPDATE t SET v = 10'
tc_is "$(cached standby) $(transparent standby)" '10 10' 'its own changes are seen'
echo 'EXECUTE p; UPDATE t SET v = 11; EXECUTE p; EXECUTE p;' >&8
exec 8>&-
wait "$session"
tc_is "$(paste -sd, "$TC_WORK/session.out")" 9,10,11,11 'a session from before the promotion goes on'
tc_is "$(cached main)" 9 'the former primary has its own'

# ---- an immediate stop ----

sql main 'UPDATE t SET v = 20'
tc_is "$(cached main) $(cached main)" '20 20' 'before the stop'
epoch=$(counter main epoch)
tc_psql main -q -c 'UPDATE t SET v = 21' -c "BEGIN; UPDATE t SET v = 22; PREPARE TRANSACTION 'open'"
tc_psql main -q -c 'BEGIN' -c 'SELECT pg_sleep(0)' -c 'CREATE TABLE lost (v int)' -c 'INSERT INTO lost VALUES (1)' -c 'ROLLBACK' >/dev/null
tc_pg_restart main immediate
tc_wait_for 60 'the cache opens' opened main
tc_is "$(cached main) $(transparent main)" '21 21' 'after an immediate stop the answer is the committed one'
tc_check 'in another life' test "$(counter main epoch)" != "$epoch"
sql main "COMMIT PREPARED 'open'"
tc_is "$(cached main) $(transparent main)" '22 22' 'and that of a transaction that was prepared before it, once it commits'
tc_is "$(cached main) $(transparent main) $(writers main)" '22 22 0' 'again'

# ---- out of shared memory ----

# The cache's own: 1 MB is soon full.
tc_psql main -Atq >"$TC_WORK/full.out" <<'SQL'
SELECT count(*) FILTER (WHERE length(tiercache.query_json(format('SELECT md5(g::text) AS m, %s AS n FROM generate_series(1, 200) g', i))::text) > 8000)
    FROM generate_series(1, 1000) i;
SELECT entries < 1000, evicted + put_failures > 0 FROM tiercache.stats;
SQL
tc_is "$(paste -sd, "$TC_WORK/full.out")" '1000,t|t' 'a cache that is full makes room'
tc_is "$(cached main) $(cached main)" '22 22' 'and answers'
# PostgreSQL's lock table: a statement that fails for it leaves nothing behind.
tc_psql main -q -c 'CREATE TABLE p (k int) PARTITION BY RANGE (k)' -c "DO 'BEGIN FOR i IN 0..199 LOOP
    EXECUTE format(''CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)'', i, i, i + 1); COMMIT; END LOOP; END'" \
    -c 'INSERT INTO p SELECT generate_series(0, 199)'
tc_psql main -Atq >"$TC_WORK/locks.out" 2>&1 -v ON_ERROR_STOP=0 <<'SQL'
BEGIN;
DO 'BEGIN FOR i IN 1..100000 LOOP EXECUTE format(''CREATE TABLE many%s ()'', i); END LOOP; END';
SELECT count(*) FROM p;
ROLLBACK;
SET tiercache.mode = auto;
SELECT count(*) FROM p;
SELECT count(*) FROM p;
SELECT tiercache.query_json('SELECT count(*) FROM p');
SQL
tc_check 'the lock table overflows' grep -q 'out of shared memory' "$TC_WORK/locks.out"
tc_is "$(tail -n 3 "$TC_WORK/locks.out" | paste -sd' ')" '200 200 [{"count":200}]' 'answers are right afterwards'
sql main 'INSERT INTO p VALUES (0)'
tc_is "$(sql main "SELECT tiercache.query_json('SELECT count(*) FROM p')")" '[{"count":201}]' 'and changes are seen'
tc_is "$(writers main)" 0 'no mark is left'
tc_done
