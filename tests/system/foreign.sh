#!/usr/bin/env bash
# Foreign tables of a second server: what changes there is seen when the time to live is over, in every tier; what goes
# through this cluster's foreign table is seen at commit, also when another transaction reads the other server's past.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start far
tc_pg_start main
tc_redis_start redis
sql() { tc_psql "$1" -Atq -c "${@:2}"; }
json() { python3 -c "import json,sys; d = json.load(sys.stdin); print(($1))"; }
sql far 'CREATE TABLE t (v int)' -c 'INSERT INTO t VALUES (1)'
tc_psql main -q <<SQL
CREATE EXTENSION tiercache;
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$TC_WORK/far', dbname 'postgres');
CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE t (v int) SERVER far;
CREATE FOREIGN TABLE late (v int) SERVER far OPTIONS (table_name 't');
INSERT INTO tiercache.foreign_tables VALUES ('t', '1 h');
SQL
cached() { sql main "SELECT tiercache.query_json('SELECT sum(v) AS v FROM t')" | tr -cd '0-9'; }
transparent() { tc_psql main -Atq -c 'SET tiercache.mode = auto' -c "SELECT sum(v) FROM t"; }
uncached() { sql main "SELECT sum(v) FROM t"; }

# ---- a change that another transaction cannot see yet, on the other side ----

# The reader's transaction on the other server, and with it its view, is older than the writer's commit.
fifo=$TC_WORK/session
mkfifo "$fifo"
tc_psql main -Atq <"$fifo" >"$TC_WORK/session.out" 2>&1 &
session=$!
exec 8>"$fifo"
lines() { [[ $(wc -l <"$TC_WORK/session.out") -ge $1 ]]; }
echo 'BEGIN; SELECT count(*) FROM t;' >&8
tc_wait_for 20 'the reader has begun' lines 1
sql main 'INSERT INTO t VALUES (10)'
echo "SELECT tiercache.query_json('SELECT sum(v) AS v FROM t'); SET tiercache.mode = auto; SELECT sum(v) FROM t;" >&8
tc_wait_for 20 'the reader has read' lines 3
tc_is "$(cached) $(transparent)" '11 11' 'what it stored is not served to those who come after the writer'
echo "COMMIT; SELECT sum(v) FROM t;" >&8
exec 8>&-
wait "$session"
tc_is "$(paste -sd' ' "$TC_WORK/session.out")" '1 [{"v":1}] 1 11' 'the reader itself saw its own moment until its end'

# ---- a change on the other side ----

before=$(sql main 'SELECT hits FROM tiercache.stats')
tc_is "$(cached) $(transparent)" '11 11' 'before the change'
tc_is "$(($(sql main 'SELECT hits FROM tiercache.stats') - before))" 2 'with hits'
sql far 'INSERT INTO t VALUES (100)'
tc_is "$(cached) $(transparent) $(uncached)" '11 11 111' 'is not seen while the time to live lasts'
sql main "UPDATE tiercache.foreign_tables SET ttl = '2 s'"
tc_is "$(cached) $(transparent)" '111 111' 'another time to live is a new beginning'
sql far 'INSERT INTO t VALUES (1000)'
seen() { [[ "$(cached) $(transparent)" == '1111 1111' ]]; }
tc_check 'and is seen when that is over' tc_wait_for 20 'the change is seen' seen

# ---- the outer tiers ----

segment=$(tc_shm_name foreign)
options=(--db "host=$TC_PGHOST user=postgres dbname=postgres" --l1 "$segment" --create --json --class reference)
query() { "$TC_BUILD/bin/tiercache" query "${options[@]}" "$@" 'SELECT sum(v) AS v FROM late' | json 'd["tier"], d["rows"][0][0]'; }
is() { [[ $(query) == *" $1)" ]]; }
sql main "INSERT INTO tiercache.foreign_tables VALUES ('late', '3 s')"
tc_is "$(query) $(query)" "('l4', 1111) ('l1', 1111)" 'an app host has it, in a class of half an hour'
sql far 'INSERT INTO t VALUES (10000)'
tc_check 'for three seconds' tc_wait_for 20 'L1 forgets' is 11111
tc_is "$(query)" "('l1', 11111)" 'then it is new'
sql main "UPDATE tiercache.foreign_tables SET ttl = '5 s' WHERE relation = 'late'::regclass"
l2=(--l2 "unix:$TC_REDIS_SOCKET")
tc_is "$(query "${l2[@]}")" "('l4', 11111)" 'another time to live ends it there at once'
left=$(redis-cli -s "$TC_REDIS_SOCKET" pttl "$(redis-cli -s "$TC_REDIS_SOCKET" keys '*')")
tc_check "Redis keeps it no longer than that ($left ms)" test "$left" -le 5000
"$TC_BUILD/bin/tiercache" segment clear "$segment"
tc_is "$(query "${l2[@]}") $(query)" "('l2', 11111) ('l1', 11111)" 'from there to L1'
sql far 'INSERT INTO t VALUES (20000)'
tc_check 'which keeps it no longer either' tc_wait_for 20 'L1 forgets' is 31111
tc_is "$(query "${l2[@]}")" "('l1', 31111)" 'and has what is new'
sql main 'INSERT INTO late VALUES (100000)'
tc_is "$(query "${l2[@]}")" "('l4', 131111)" 'a change through this cluster ends it in all tiers'

# ---- the other server is gone ----

sql main "UPDATE tiercache.foreign_tables SET ttl = '1 h'"
tc_is "$(cached) $(cached)" '131111 131111' 'before it goes'
tc_pg_stop far immediate
tc_is "$(cached)" 131111 'what is there is served'
sql main "SELECT tiercache.invalidate('t')" >/dev/null
tc_check 'what is not is an error' grep -q 'could not connect' <(sql main "SELECT tiercache.query_json('SELECT sum(v) AS v FROM t')" 2>&1 || :)
tc_pg_start far
tc_is "$(cached) $(cached)" '131111 131111' 'and it comes back'

# ---- a table that only has the name ----

sql main 'CREATE DATABASE bare'
tc_is "$(tc_psql main -Atq -d bare -c 'CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw' \
    -c "CREATE FOREIGN TABLE t (v text) SERVER s OPTIONS (filename '/dev/null')" \
    -c 'CREATE SCHEMA tiercache CREATE TABLE foreign_tables (relation regclass PRIMARY KEY, ttl interval NOT NULL)' \
    -c "INSERT INTO tiercache.foreign_tables VALUES ('t', '1 h')" \
    -c 'SET tiercache.mode = auto' -c 'EXPLAIN SELECT * FROM t' | grep -c 'Cache: not cacheable')" 1 \
    'without the extension nobody opts in'

# ---- dump and restore ----

PGHOST=$TC_WORK/main PGUSER=postgres "$TC_PGBIN/pg_dump" -Fp postgres >"$TC_WORK/dump.sql"
sql main 'CREATE DATABASE copy'
tc_psql main -q -d copy -f "$TC_WORK/dump.sql" >/dev/null
tc_is "$(tc_psql main -Atq -d copy -c 'SELECT relation, ttl FROM tiercache.foreign_tables ORDER BY relation::text' | paste -sd' ')" \
    'late|01:00:00 t|01:00:00' 'a dump takes the times to live along'
tc_done
