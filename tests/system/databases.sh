#!/usr/bin/env bash
# Databases and roles: copies, drops and new ones of an old name or number, renames, settings of databases and roles;
# reset of a part; prepared transactions over crashes; autovacuum. Asked by a function and transparently.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start a max_prepared_transactions=5 autovacuum=off autovacuum_naptime=1s autovacuum_vacuum_threshold=10 \
    autovacuum_analyze_threshold=10 autovacuum_vacuum_scale_factor=0 autovacuum_analyze_scale_factor=0
sql() { tc_psql a -Atq "$@"; }
counter() { sql -c "SELECT $1 FROM tiercache.stats"; }
# both DATABASE QUERY [OPTION...]: the one value of the query (a column v), by the function and transparently.
both() {
    local database=$1 query=$2
    shift 2
    sql -d "$database" "$@" -c "SELECT tiercache.query_json(\$\$$query\$\$)" -c 'SET tiercache.mode = auto' -c "$query" |
        sed -E 's/^\[\{"v":"?(.*[^"])"?\}\]$/\1/' | paste -sd' '
}
# hits_of DATABASE QUERY [OPTION...]: how many of both were hits.
hits_of() {
    local before
    before=$(counter hits)
    both "$@" >/dev/null
    echo $(($(counter hits) - before))
}
sql -c 'CREATE EXTENSION tiercache' -c 'CREATE DATABASE one'
sql -d one -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t (v int)' -c 'INSERT INTO t VALUES (1)' \
    -c 'CREATE TABLE spans (v interval)' -c "INSERT INTO spans VALUES ('1 day 2 hours')"

# ---- copies, and new databases of an old name or number ----

q='SELECT v FROM t'
tc_is "$(both one "$q") $(both one "$q") $(hits_of one "$q")" '1 1 1 1 2' 'a database'
sql -c 'CREATE DATABASE two TEMPLATE one'
sql -d two -c 'UPDATE t SET v = 2'
tc_is "$(both one "$q") $(both two "$q") $(both one "$q") $(both two "$q")" '1 1 2 2 1 1 2 2' 'a copy has entries of its own'
tc_is "$(hits_of one "$q") $(hits_of two "$q")" '2 2' 'which are hits in each'
sql -c 'DROP DATABASE two' -c 'CREATE DATABASE two TEMPLATE one'
tc_is "$(both two "$q") $(both two "$q")" '1 1 1 1' 'a new database of an old name has nothing of the old one'
sql -d two -c 'UPDATE t SET v = 3'
tc_is "$(both two "$q") $(hits_of two "$q")" '3 3 2' 'and its own'
if (($(sql -c 'SHOW server_version_num') >= 150000)); then
    # Its tables have the same numbers, too.
    number=$(sql -c "SELECT oid FROM pg_database WHERE datname = 'two'")
    sql -c 'DROP DATABASE two' -c "CREATE DATABASE two OID $number TEMPLATE one"
    tc_is "$(sql -c "SELECT oid FROM pg_database WHERE datname = 'two'")" "$number" 'a new database of an old number'
    tc_is "$(both two "$q")" '1 1' 'has nothing of the old one either'
fi

# ---- names ----

name='SELECT current_catalog::text AS v FROM t'
tc_is "$(both two "$name") $(both two "$name")" 'two two two two' 'a database by its name'
sql -c 'ALTER DATABASE two RENAME TO three'
tc_is "$(both three "$name") $(both three "$q")" 'three three 1 1' 'a renamed one has its new name'
sql -c 'ALTER DATABASE one RENAME TO two' -c 'ALTER DATABASE three RENAME TO one'
sql -d one -c 'UPDATE t SET v = 30'
tc_is "$(both two "$name") $(both two "$q") $(both one "$name") $(both one "$q")" 'two two 1 1 one one 30 30' 'two that change names'
sql -c 'ALTER DATABASE one RENAME TO three' -c 'ALTER DATABASE two RENAME TO one'

# ---- settings of databases and roles ----

span='SELECT v::text AS v FROM spans'
sql -c 'CREATE ROLE visitor LOGIN'
sql -d one -c 'GRANT SELECT ON t, spans TO visitor' -c 'GRANT USAGE ON SCHEMA public TO visitor'
# A session that was there before goes on with its own settings.
fifo=$TC_WORK/session
mkfifo "$fifo"
sql -d one -U visitor <"$fifo" >"$TC_WORK/session.out" 2>&1 &
session=$!
exec 8>"$fifo"
lines() { [[ $(wc -l <"$TC_WORK/session.out") -ge $1 ]]; }
echo "SET tiercache.mode = auto; PREPARE p AS $span; EXECUTE p;" >&8
tc_wait_for 20 'the session is there' lines 1
# said ROLE EXPECTED WHAT: two new sessions of the role.
said() { tc_is "$(both one "$span" -U "$1") $(hits_of one "$span" -U "$1") hits" "$2 $2 2 hits" "$3"; }
said postgres '1 day 02:00:00' 'nothing set'
said visitor '1 day 02:00:00' 'for another role'
sql -c "ALTER DATABASE one SET IntervalStyle = 'iso_8601'"
said postgres P1DT2H 'ALTER DATABASE SET'
said visitor P1DT2H 'for all roles'
sql -c "ALTER ROLE visitor SET IntervalStyle = 'postgres_verbose'"
said visitor '@ 1 day 2 hours' 'ALTER ROLE SET'
said postgres P1DT2H 'for that role only'
sql -c "ALTER ROLE visitor IN DATABASE one SET IntervalStyle = 'sql_standard'"
said visitor '1 2:00:00' 'ALTER ROLE IN DATABASE SET'
sql -c 'ALTER ROLE visitor IN DATABASE one RESET ALL' -c 'ALTER DATABASE one RESET IntervalStyle'
said postgres '1 day 02:00:00' 'ALTER DATABASE RESET'
said visitor '@ 1 day 2 hours' 'ALTER ROLE IN DATABASE RESET'
sql -c 'ALTER ROLE ALL SET bytea_output = escape' -c "ALTER ROLE visitor SET search_path = 'nowhere'"
tc_check 'a search_path of the role' grep -q 'relation "spans" does not exist' <(both one "$span" -U visitor 2>&1 || :)
sql -c 'ALTER ROLE visitor RESET ALL' -c 'ALTER ROLE ALL RESET ALL'
echo "EXECUTE p; $span; SELECT tiercache.query_json('$span');" >&8
exec 8>&-
wait "$session"
tc_is "$(paste -sd' ' "$TC_WORK/session.out")" '1 day 02:00:00 1 day 02:00:00 1 day 02:00:00 [{"v":"1 day 02:00:00"}]' \
    'a session that was there before keeps its own'

# tiercache.mode is one of them.
shown() { sql -d "$1" -U "$2" -c 'SHOW tiercache.mode' -c 'SHOW tiercache.min_cost' | paste -sd' '; }
sql -c 'ALTER DATABASE one SET tiercache.mode = auto' -c 'ALTER ROLE visitor SET tiercache.min_cost = 100' \
    -c 'ALTER ROLE visitor IN DATABASE three SET tiercache.mode = auto'
tc_is "$(shown one postgres), $(shown one visitor), $(shown three postgres), $(shown three visitor)" \
    'auto 0, auto 100, off 0, auto 100' 'tiercache.mode of a database, of a role, of a role in a database'
before=$(counter hits)
sql -d one -c 'SELECT v + 1 FROM t' -c 'SELECT v + 1 FROM t' >/dev/null
sql -d one -U visitor -c 'SELECT v + 1 FROM t' -c 'SELECT v + 1 FROM t' >/dev/null
tc_is $(($(counter hits) - before)) 1 'which caches, and what is cheap for one role is not for the other'
sql -c 'ALTER DATABASE one RESET ALL' -c 'ALTER ROLE visitor RESET ALL' -c 'ALTER ROLE visitor IN DATABASE three RESET ALL'

# ---- reset of a part ----

# left: how many entries there are of each database and role, of those two queries.
left() {
    sql -c "SELECT database, role, count(*) FROM tiercache.entries WHERE sql IN ('$q', '$span') AND database IN ('one', 'three')
        GROUP BY 1, 2 ORDER BY 1, 2" | paste -sd' '
}
fill() {
    sql -c 'SELECT tiercache.reset()' >/dev/null
    local database query
    for query in "$q" "$span"; do
        for database in one three; do both "$database" "$query" >/dev/null; done
        both one "$query" -U visitor >/dev/null
    done
}
fill
tc_is "$(left)" 'one|postgres|4 one|visitor|4 three|postgres|4' 'entries of two databases and two roles'
sql -c "SELECT tiercache.reset(role => 'visitor')" >/dev/null
tc_is "$(left)" 'one|postgres|4 three|postgres|4' 'reset of a role'
fill
sql -c "SELECT tiercache.reset(sql => '$q')" >/dev/null
tc_is "$(left)" 'one|postgres|2 one|visitor|2 three|postgres|2' 'reset of a query'
sql -c "SELECT tiercache.reset(database => 'one', sql => '$span')" >/dev/null
tc_is "$(left)" 'three|postgres|2' 'reset of a query in a database'
fill
sql -c "SELECT tiercache.reset('one')" >/dev/null
tc_is "$(left) $(hits_of three "$q")" 'three|postgres|4 2' 'reset of a database'
tc_is "$(both one "$q") $(hits_of one "$q")" '1 1 2' 'which is filled again'

# ---- prepared transactions over crashes ----

opened() { [[ $(counter open) == t ]]; }
answers() { sql -c 'SELECT 1'; }
writers() { sql -d one -c 'SELECT coalesce(sum(writers), 0) FROM tiercache.tags'; }
prepare() { sql -d one -c "BEGIN; UPDATE $2 SET v = $3; PREPARE TRANSACTION '$1'"; }
sql -d one -c 'CREATE TABLE u (v int)' -c 'INSERT INTO u VALUES (1)'
u='SELECT v FROM u'
tc_is "$(both one "$q") $(both one "$u")" '1 1 1 1' 'before'
prepare first t 5
prepare second u 5
tc_is "$(both one "$q") $(both one "$u") $(hits_of one "$q")" '1 1 1 1 0' 'what is prepared is not seen, and blocks its tables'
# A backend dies: shared memory is made anew, and the in-doubt list with it.
epoch=$(counter epoch)
kill -KILL "$(pgrep -P "${TC_PIDS[a]}" -f checkpointer)"
new_life() { [[ $(counter epoch) != "$epoch" ]] && opened; }
tc_wait_for 60 'the server starts over' new_life
tc_is "$(both one "$q") $(both one "$u") $(hits_of one "$q")" '1 1 1 1 0' 'after a crash nothing is seen, and nothing cached'
sql -d one -c "COMMIT PREPARED 'first'"
tc_is "$(both one "$q") $(both one "$u") $(hits_of one "$q")" '5 5 1 1 0' 'one is committed; the other still blocks'
tc_pg_restart a immediate
tc_wait_for 60 'the server starts' opened
tc_is "$(both one "$q") $(both one "$u") $(hits_of one "$q")" '5 5 1 1 0' 'after an immediate stop, too'
sql -d one -c "ROLLBACK PREPARED 'second'"
tc_is "$(both one "$q") $(both one "$u")" '5 5 1 1' 'the other is rolled back'
tc_is "$(hits_of one "$q") $(hits_of one "$u") $(writers)" '2 2 0' 'and the cache goes on'
prepare third t 6
tc_pg_restart a kill
tc_wait_for 60 'the server starts' opened
sql -d one -c "COMMIT PREPARED 'third'"
tc_is "$(both one "$q") $(hits_of one "$q")" '6 6 2' 'and after the kill of all'

# ---- autovacuum ----

analyzed() { [[ $(sql -d one -c "SELECT autoanalyze_count > 0 AND EXISTS (SELECT FROM written) FROM pg_stat_user_tables WHERE relname = 'sampled'") == t ]]; }
vacuumed() { [[ $(sql -d one -c "SELECT autovacuum_count > 0 AND autoanalyze_count > 0 FROM pg_stat_user_tables WHERE relname = 'w'") == t ]]; }
# A function of an index that writes while rows are sampled.
sql -d one -c 'CREATE TABLE sampled (v int)' -c 'CREATE TABLE written (v int)' \
    -c "CREATE FUNCTION writes(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.written VALUES (\$1); RETURN \$1; END'" \
    -c "CREATE FUNCTION calls(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.writes(\$1); END'" \
    -c "CREATE FUNCTION twofold(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 2 * \$1; END'" \
    -c 'INSERT INTO sampled SELECT generate_series(1, 1000)' -c 'CREATE INDEX ON sampled (calls(v))' -c 'TRUNCATE written'
c='SELECT count(*) AS v FROM written'
tc_is "$(both one "$c") $(hits_of one "$c")" '0 0 2' 'nothing is written yet'
sql -d one -c 'CREATE TABLE w (v int)' -c 'INSERT INTO w SELECT generate_series(1, 1000)' -c 'DELETE FROM w WHERE v > 10'
w='SELECT sum(v) AS v FROM w'
f='SELECT sum(twofold(v)) AS v FROM w'
tc_is "$(both one "$w") $(hits_of one "$w")" '55 55 2' 'before autovacuum'
tc_is "$(both one "$f") $(hits_of one "$f")" '110 110 2' 'of a function, too'
sql -c 'ALTER SYSTEM SET autovacuum = on' -c 'SELECT pg_reload_conf()' >/dev/null
tc_check 'autovacuum and autoanalyze come' tc_wait_for 60 'autovacuum' vacuumed
tc_is "$(hits_of one "$w") $(hits_of one "$f")" '2 2' 'and end nothing'
tc_check 'the table with the index is analyzed' tc_wait_for 60 'autoanalyze' analyzed
tc_is "$(both one "$c")" "$(sql -d one -c "$c" -c "$c" | paste -sd' ')" 'what was written on the way is seen'
tc_done
