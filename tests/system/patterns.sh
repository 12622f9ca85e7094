#!/usr/bin/env bash
# tiercache.patterns: what queries cost, how often the same question comes while nothing changes, and which class that
# makes; counted by hand here.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main tiercache.track_patterns=on
sql() { tc_psql main -Atq "$@"; }
tc_psql main -q -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t (k int, v int)' -c 'CREATE TABLE u (k int)' \
    -c 'INSERT INTO t SELECT i, i FROM generate_series(1, 50) i' -c 'SELECT tiercache.reset_patterns()' >/dev/null

rate() { sql -c "SELECT run_known_from, round((run_ms / cost)::numeric, 6) FROM tiercache.explain('SELECT sum(k) FROM t WHERE v > 3')"; }
tc_is "$(rate)" 'planner|0.005000' 'where nothing was run yet, explain takes a usual rate'
sql -c "SELECT tiercache.query_json('SELECT count(*) FROM t a, t b, t c')" >/dev/null
first_rate=$(rate)
tc_check 'it knows better what a unit of cost takes when a query was run' test "$first_rate" != 'planner|0.005000'

# One pattern for all constants: four questions, the first three of them twice, then once more after a change. Parameters are a part of
# the question as well.
cat >"$TC_WORK/calls.sql" <<'SQL'
SELECT format('SELECT /* one */ count(*) FROM t WHERE k <= %s', k) FROM unnest('{1,2,3,1,2,3,4}'::int[]) k \gexec
INSERT INTO t VALUES (0, 0);
SELECT /* one */ count(*) FROM t WHERE k <= 1;
PREPARE p(int) AS SELECT /* two */ v FROM t WHERE k > $1;
SELECT format('EXECUTE p(%s)', k) FROM unnest('{10,20,10,10}'::int[]) k \gexec
SQL
sql -f "$TC_WORK/calls.sql" >/dev/null
columns='calls, hits, relations, round(predicted_hit_ratio * calls), changes, mean_rows'
tc_is "$(sql -c "SELECT $columns FROM tiercache.patterns WHERE query LIKE 'SELECT /* one%'")" '8|0|{t}|3|1|1' \
    'constants make no pattern, but another question'
tc_is "$(sql -c "SELECT $columns FROM tiercache.patterns WHERE query LIKE '%two%'")" '4|0|{t}|2|0|37.5' 'nor do parameters'
tc_is "$(sql -c "SELECT class, reason FROM tiercache.patterns WHERE query LIKE 'SELECT /* one%'")" '|8 calls are too few to tell' \
    'few calls tell nothing'

# What is worth it, what is not, and why.
cat >"$TC_WORK/worth.sql" <<'SQL'
CREATE FUNCTION slow(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM pg_sleep(0.003); RETURN k; END';
SELECT format('SELECT /* worth */ slow(k) FROM t WHERE k = %s', i % 2 + 1) FROM generate_series(1, 20) i \gexec
SELECT format('SELECT /* never twice */ slow(k) FROM t WHERE k = %s - %s', i, i - 1) FROM generate_series(1, 20) i \gexec
SELECT format('%s', CASE WHEN i % 2 = 0 THEN 'SELECT /* changes */ slow(k) FROM u LIMIT 1' ELSE 'INSERT INTO u VALUES (1)' END)
    FROM generate_series(1, 40) i \gexec
SELECT 'SELECT /* cheap */ v FROM t WHERE k = 1' FROM generate_series(1, 20) i \gexec
SET tiercache.max_entry_size = '1kB';
SELECT 'SELECT /* large */ k, v, k, v, k, v, slow(k) FROM t' FROM generate_series(1, 12) i \gexec
SQL
sql -f "$TC_WORK/worth.sql" >/dev/null
judged() { sql -c "SET tiercache.max_entry_size = '${2:-1MB}'" -c "SELECT class, reason FROM tiercache.patterns WHERE query LIKE 'SELECT /* $1 */%'"; }
tc_check 'what repeats and costs is worth caching' grep -q '^hot|90 of 100 calls would be hits' <(judged worth)
tc_is "$(judged 'never twice')" '|the same question hardly ever comes twice' 'what never repeats is not'
tc_is "$(judged changes)" '|what it reads changes between most calls' 'nor what changes all the time'
tc_check 'nor what is cheap' grep -q '^|a run takes 0.*hardly more than a hit' <(judged cheap)
tc_is "$(judged large 1kB)" '|its results are larger than tiercache.max_entry_size' 'nor what is too large'
tc_is "$(sql -c "SELECT substring(query FROM '/\* (.*) \*/'), class, saves_ms > 18 * 3 FROM tiercache.classify() WHERE query NOT LIKE '%large%' LIMIT 1")" 'worth|hot|t' 'classify proposes it'
tc_is "$(sql -c "SELECT count(*) FROM tiercache.classify(min_calls => 1000)")" 0 'not before it was called often enough'

# Hits of transparent mode are counted, and do not make a query look cheap.
{
    echo 'SET tiercache.mode = auto;'
    for _ in 1 2 3 4 5; do echo 'SELECT /* cached */ slow(k) + 1 FROM t WHERE k = 7;'; done
} >"$TC_WORK/cached.sql"
sql -f "$TC_WORK/cached.sql" >/dev/null
tc_is "$(sql -c "SELECT calls, hits, mean_ms >= 3 FROM tiercache.patterns WHERE query LIKE 'SELECT /* cached%'")" '5|4|t' 'hits are counted apart'

# explain knows what runs took, of another constant too, until there is an entry that tells.
saves() { sql -c "SELECT run_known_from, run_ms >= 3, saves_ms > 2.5, abs(run_ms - hit_ms - saves_ms) < 0.001 FROM tiercache.explain('$1')"; }
tc_is "$(saves 'SELECT /* worth */ slow(k) FROM t WHERE k = 2')" 'pattern|t|t|t' 'explain tells what a hit would save'
sql -c "SELECT tiercache.query_json('SELECT /* worth */ slow(k) FROM t WHERE k = 2')" >/dev/null
tc_is "$(saves 'SELECT /* worth */ slow(k) FROM t WHERE k = 2')" 'entry|t|t|t' 'and what it saves'

tc_check 'and learns from transparent ones, too' test "$(rate)" != "$first_rate"

# A hit that was not planned still names all that it reads, in whatever part of the query: the rights to them are checked.
cat >"$TC_WORK/parts.sql" <<'SQL'
SELECT format('CREATE TABLE r%s AS SELECT 1 AS k', i) FROM generate_series(1, 7) i \gexec
CREATE VIEW parts AS SELECT k FROM r6 WHERE k IN (SELECT k FROM r7);
SQL
sql -f "$TC_WORK/parts.sql"
parts="WITH c AS (SELECT k FROM r1 WHERE k IN (SELECT k FROM r2))
    SELECT /* parts */ k FROM (SELECT k FROM r3 UNION SELECT k FROM r4) s JOIN parts USING (k) JOIN c USING (k)"
read_by_hit() {
    sql -c 'SET tiercache.mode = auto' -c 'SET tiercache.min_cost = 0' -c "$1" -c 'SELECT tiercache.reset_patterns()' -c "$1" \
        -c "SELECT hits, array(SELECT unnest(relations)::regclass::text ORDER BY 1) FROM tiercache.patterns WHERE query LIKE '%/* parts */%'" | tail -n 1
}
tc_is "$(read_by_hit "$parts")" '1|{parts,r1,r2,r3,r4,r6,r7}' 'a hit names the tables of subqueries, set operations, views and CTEs'
tc_is "$(read_by_hit "$parts WHERE k <= (SELECT max(k) FROM r5 WHERE EXISTS (SELECT FROM c))")" '1|{parts,r1,r2,r3,r4,r5,r6,r7}' \
    'and those of sublinks'

# Roles see their own; databases are apart.
tc_psql main -q -c 'CREATE ROLE visitor' -c 'GRANT SELECT ON t TO visitor'
sql -c 'SET ROLE visitor' -c 'SELECT /* visit */ count(*) FROM t' >/dev/null
tc_is "$(sql -c 'SET ROLE visitor' -c "SELECT count(*) FROM tiercache.patterns WHERE query LIKE '%/* visit */ count%'" \
    -c "SELECT DISTINCT query FROM tiercache.patterns WHERE role = 'postgres'" | paste -sd,)" '1,<insufficient privilege>' \
    'the text of others is not shown'
sql -c 'CREATE DATABASE second'
tc_psql main -q -d second -c 'CREATE EXTENSION tiercache'
tc_is "$(sql -d second -c "SELECT count(relations) FROM tiercache.patterns WHERE database = 'postgres'" -c 'SELECT count(*) FROM tiercache.classify()' | paste -sd,)" 0,0 \
    'another database shows no relations of this one'

# Bounded: more patterns than there is room for.
python3 - >"$TC_WORK/many.sql" <<'PY'
for i in range(3000):
    print("SELECT " + ", ".join(["k", "v"][i >> b & 1] for b in range(12)) + " FROM t LIMIT 1;")
PY
sql -f "$TC_WORK/many.sql" >/dev/null
tc_is "$(sql -c 'SELECT count(*) BETWEEN 1500 AND 2048 FROM tiercache.patterns')" t 'patterns that find no room are not counted'
tc_is "$(sql -c 'SELECT tiercache.reset_patterns()' -c "SELECT count(*) < 5 FROM tiercache.patterns" | paste -sd,)" ',t' 'all of them are forgotten'
tc_done
