#!/usr/bin/env bash
# Beside pg_stat_statements and auto_explain, loaded after tiercache and before it: the same answers, and what they see of a hit.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start modules
tc_psql modules -q -c 'CREATE EXTENSION tiercache' -c 'CREATE EXTENSION pg_stat_statements' \
    -c "CREATE TABLE modules_rows AS SELECT i AS id, 'row ' || i AS name FROM generate_series(1, 20) i"
tc_pg_stop modules
statements() {
    tc_psql modules -At <<-'END'
		SET tiercache.mode = auto;
		SET tiercache.min_cost = 0;
		SET plan_cache_mode = force_generic_plan;
		SELECT pg_stat_statements_reset() IS NULL;
		PREPARE few(int) AS SELECT id, name FROM modules_rows WHERE id > $1 ORDER BY id;
		EXECUTE few(18);
		EXECUTE few(18);
		EXECUTE few(18);
		EXECUTE few(18);
		EXECUTE few(18);
		SELECT max(id) FROM modules_rows;
		SELECT max(id) FROM modules_rows;
		SELECT tiercache.query_json('SELECT min(id) FROM modules_rows');
		SELECT tiercache.query_json('SELECT min(id) FROM modules_rows');
		SELECT * FROM tiercache.query('SELECT id FROM modules_rows WHERE id < 3') AS t(id int) ;
		SELECT calls || ' ' || rows FROM pg_stat_statements WHERE query LIKE '%few(int)%';
		SELECT calls || ' ' || rows FROM pg_stat_statements WHERE query LIKE 'SELECT max(id)%';
		SELECT sum(calls) || ' ' || sum(rows) FROM pg_stat_statements WHERE query LIKE 'SELECT%tiercache.query%';
	END
}
rows=$(for _ in 1 2 3 4 5; do printf '19|row 19\n20|row 20\n'; done)
expected=$(printf '%s\n' SET SET SET f PREPARE "$rows" 20 20 '[{"min":1}]' '[{"min":1}]' 1 2 '5 10' '2 2' '3 4')
for order in tiercache,pg_stat_statements,auto_explain pg_stat_statements,auto_explain,tiercache; do
    tc_pg_start modules "shared_preload_libraries=$order" auto_explain.log_min_duration=0 auto_explain.log_verbose=on \
        auto_explain.log_nested_statements=on pg_stat_statements.track=top
    tc_is "$(statements 2>&1)" "$expected" "$order: answers, and what pg_stat_statements counts"
    tc_check "$order: hits" test "$(tc_psql modules -Atc 'SELECT hits >= 6 FROM tiercache.stats')" = t
    recalled=f
    [[ $order == tiercache,* ]] && recalled=t
    tc_is "$(tc_psql modules -Atc 'SELECT recalled_hits > 0 FROM tiercache.stats')" "$recalled" "$order: recalled"
    hits=$(grep -c 'Cache: hit' "$TC_WORK/modules/server.log")
    tc_check "$order: auto_explain shows hits ($hits)" test "$hits" -ge 5
    tc_check "$order: auto_explain shows what a hit depends on" grep -q 'Cache Dependencies: .*modules_rows' "$TC_WORK/modules/server.log"
    tc_pg_stop modules
    : >"$TC_WORK/modules/server.log"
done
tc_done
