#!/usr/bin/env bash
# The extension's versions: from the first one's script to the current one, with results stored in between; dump and
# restore with classes that users edited; DROP EXTENSION while it is in use; several databases.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start a
sql() { tc_psql a -Atq "$@"; }
current=$(sed -n "s/^default_version = '\(.*\)'/\1/p" pg_extension/tiercache.control)

# What schema tiercache has: functions with their arguments, columns of tables and views, rights, comments.
describe() {
    tc_psql a -At -d "$1" <<'SQL'
SELECT p.oid::regprocedure, pg_get_function_result(p.oid), p.prosrc, p.provolatile, p.proisstrict, p.proparallel, p.prosecdef,
       p.proacl IS NULL, obj_description(p.oid, 'pg_proc')
    FROM pg_proc p WHERE pronamespace = 'tiercache'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT c.relname, c.relkind, a.attname, a.atttypid::regtype, c.relacl IS NULL, obj_description(c.oid, 'pg_class')
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE relnamespace = 'tiercache'::regnamespace AND relkind IN ('r', 'v') ORDER BY c.relname COLLATE "C", a.attnum;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'tiercache.classes'::regclass;
SELECT * FROM tiercache.classes ORDER BY name COLLATE "C";
SELECT extversion, array_length(extconfig, 1) FROM pg_extension WHERE extname = 'tiercache';
SQL
}

# ---- from the first version ----

sql -c 'CREATE DATABASE old' -c 'CREATE DATABASE new'
tc_psql a -q -d new -c 'CREATE EXTENSION tiercache'
tc_psql a -q -d old -c "CREATE EXTENSION tiercache VERSION '1.0'" -c 'CREATE TABLE t AS SELECT 1 AS v'
# The first version's objects work with the current library.
tc_is "$(sql -d old -c "SELECT tiercache.query_json('SELECT v FROM t')" -c "SELECT * FROM tiercache.query('SELECT v FROM t') AS t(v int)" \
    -c "SELECT length(tiercache.fetch('SELECT v FROM t WHERE v = \$1', '{1}')) > 0, cacheable FROM tiercache.explain('TABLE t')" \
    -c 'SELECT entries >= 3, clock > 0 FROM tiercache.stats' -c 'SELECT count(*) >= 3 FROM tiercache.entries' \
    -c "SELECT tiercache.invalidate('t')" -c 'SELECT tiercache.reset()' | tr '\n' ' ')" '[{"v":1}] 1 t|t t|t t   ' \
    'the first version works with the current library'
# A view of the user's own on one of ours stands in the way of the update, and says so.
tc_psql a -q -d old -c 'CREATE VIEW mine AS SELECT hits FROM tiercache.stats'
tc_check 'an update does not drop what is the user'"'"'s' \
    grep -q 'mine depends on view tiercache.stats' <(tc_psql a -d old -c 'ALTER EXTENSION tiercache UPDATE' 2>&1 || :)
tc_psql a -q -d old -c 'DROP VIEW mine'
held=$(sql -d old -c "SELECT tiercache.query_json('SELECT v FROM t')" -c 'SELECT hits FROM tiercache.stats' | tail -n 1)
tc_psql a -q -d old -c 'ALTER EXTENSION tiercache UPDATE'
tc_is "$(describe old)" "$(describe new)" "an update from 1.0 gives what a new $current has"
tc_is "$(sql -d old -c 'SELECT extversion FROM pg_extension WHERE extname = '"'tiercache'")" "$current" 'which is the version of the control file'
tc_is "$(sql -d old -c "SELECT tiercache.query_json('SELECT v FROM t')" -c "SELECT hits > $held - 1 FROM tiercache.stats" | tr '\n' ' ')" \
    '[{"v":1}] t ' 'and goes on answering'

# ---- dump and restore ----

tc_psql a -q -d new -c 'CREATE TABLE t AS SELECT 7 AS v' \
    -c "INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('report', 'cold', '1 s', '2 s', '3 s', '4 s')" \
    -c "UPDATE tiercache.classes SET l4 = '5 min' WHERE name = 'hot'" \
    -c "SELECT tiercache.query_json('SELECT v FROM t')" >/dev/null
expected=$(describe new)
dump() { PGHOST=$TC_PGHOST PGUSER=postgres "$TC_PGBIN/pg_dump" "$@"; }
dump -Fp new >"$TC_WORK/plain.sql"
dump -Fc new >"$TC_WORK/custom.dump"
sql -c 'CREATE DATABASE plain' -c 'CREATE DATABASE custom'
tc_psql a -q -d plain -f "$TC_WORK/plain.sql" >/dev/null
PGHOST=$TC_PGHOST PGUSER=postgres "$TC_PGBIN/pg_restore" -d custom "$TC_WORK/custom.dump"
for copy in plain custom; do
    tc_is "$(describe $copy)" "$expected" "a restored database has what was dumped ($copy), edited classes too"
    tc_is "$(sql -d $copy -c "SELECT tiercache.query_json('SELECT v FROM t', class => 'report')")" '[{"v":7}]' 'and answers'
done
dump -Fp plain >"$TC_WORK/again.sql"
tc_is "$(sed -n '/^COPY tiercache/,/^\\\./p' "$TC_WORK/again.sql")" "$(sed -n '/^COPY tiercache/,/^\\\./p' "$TC_WORK/plain.sql")" \
    'a dump of the restored database is the same'

# ---- several databases ----

sql -c 'CREATE DATABASE copy TEMPLATE plain'
tc_psql a -q -d copy -c 'UPDATE t SET v = 8'
answer() { sql -d "$1" -c "SELECT tiercache.query_json('SELECT v FROM t')"; }
tc_is "$(answer plain) $(answer copy) $(answer new) $(answer old)" '[{"v":7}] [{"v":8}] [{"v":7}] [{"v":1}]' \
    'the same text means something else in each database, and in a copy of one'
tc_psql a -q -d new -c "SELECT tiercache.reset(database => 'plain')" >/dev/null
tc_is "$(sql -d new -c "SELECT count(*) FILTER (WHERE database = 'plain'), count(*) FILTER (WHERE database = 'copy') > 0 FROM tiercache.entries")" \
    '0|t' 'one of them is reset alone'
sql -c 'DROP DATABASE copy'
sql -c 'CREATE DATABASE copy TEMPLATE new'
tc_is "$(answer copy)" '[{"v":7}]' 'a new database of an old name has nothing of the old one'

# ---- DROP EXTENSION while it is in use ----

fifo=$TC_WORK/session
mkfifo "$fifo"
tc_psql a -Atq -d new -v ON_ERROR_STOP=0 <"$fifo" >"$TC_WORK/session.out" 2>&1 &
session=$!
exec 8>"$fifo"
say() { echo "$1" >&8; }
lines() { [[ $(wc -l <"$TC_WORK/session.out") -ge $1 ]]; }
say 'SET tiercache.mode = auto;'
say "PREPARE p AS SELECT tiercache.query_json('SELECT v FROM t');"
say 'EXECUTE p;'
say 'SELECT v FROM t;'
say 'PREPARE q AS SELECT sum(v) FROM t;'
say 'EXECUTE q;'
tc_wait_for 20 'the session works' lines 3
tc_psql a -q -d new -c 'DROP EXTENSION tiercache'
say 'EXECUTE p;'
say 'SELECT v FROM t;'
say 'UPDATE t SET v = 9;'
say 'SELECT v FROM t;'
say 'EXECUTE q;'
say 'EXECUTE q;'
tc_psql a -q -d new -c 'SELECT 1' >/dev/null
tc_wait_for 20 'the session goes on' lines 8
tc_psql a -q -d new -c 'CREATE EXTENSION tiercache'
say 'EXECUTE p;'
say '\q'
exec 8>&-
wait "$session" || :
tc_is "$(grep -v '^LINE\|^ *^\|DETAIL\|HINT' "$TC_WORK/session.out" | tr '\n' ' ')" \
    '[{"v":7}] 7 7 ERROR:  schema "tiercache" does not exist 7 9 9 9 [{"v":9}] ' \
    'a session survives DROP EXTENSION, goes on caching transparently, and finds the new extension'
tc_is "$(answer new)" '[{"v":9}]' 'and the new extension answers'
tc_check 'a class table is not dropped alone' grep -q 'requires it' <(tc_psql a -d new -c 'DROP TABLE tiercache.classes' 2>&1 || :)
tc_done
