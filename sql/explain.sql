-- What tiercache.explain and EXPLAIN tell: what a hit saves, and what it depends on.
CREATE TABLE explained (id int, v int);
INSERT INTO explained SELECT g, g FROM generate_series(1, 5000) g;
ANALYZE explained;
-- Nothing measured yet: the planner's cost, at what a unit of it took here so far.
CREATE TEMP TABLE told AS SELECT q, e.* FROM
    unnest('{"SELECT count(*) FROM explained", "SELECT sum(a.v) FROM explained a JOIN explained b USING (id)"}'::text[]) q, tiercache.explain(q) e;
SELECT cacheable, cost > 0 AS costs, run_known_from, run_ms > 0 AS takes_time, hit_ms BETWEEN 0 AND 1000 AS hit_takes_little,
    abs(saves_ms - greatest(run_ms - hit_ms, 0)) < 0.001 AS saves_the_rest FROM told;
SELECT count(DISTINCT round((run_ms / cost)::numeric, 6)) AS one_rate FROM told;
-- An entry tells what it cost.
SELECT length(tiercache.query_json('SELECT count(*) FROM explained')::text) > 0 AS filled;
SELECT run_known_from, run_ms = (SELECT fill_ms FROM tiercache.entries WHERE sql = 'SELECT count(*) FROM explained') AS as_measured,
    saves_ms > 0 AND saves_ms < run_ms AS saves FROM tiercache.explain('SELECT count(*) FROM explained');
-- The statistics add up what hits saved.
SELECT saved_ms AS saved, hits AS hits_before FROM tiercache.stats \gset
SELECT length(tiercache.query_json('SELECT count(*) FROM explained')::text) > 0 AS hit;
SELECT hits - :hits_before AS hits, abs(saved_ms - :saved - (SELECT fill_ms FROM tiercache.entries WHERE sql = 'SELECT count(*) FROM explained')) < 0.01 AS saved_what_it_cost,
    abs(hit_ratio - hits::float8 / (hits + misses_absent + misses_changed + misses_expired)) < 1e-9 AS ratio FROM tiercache.stats;
-- What is refused is not planned.
SELECT cacheable, cost, run_ms, run_known_from, hit_ms, saves_ms FROM tiercache.explain('SELECT random()');

-- Dependencies by kind and name.
CREATE SCHEMA explained_earlier;
CREATE SCHEMA explained_types;
CREATE DOMAIN explained_types.positive AS int CHECK (VALUE > 0);
CREATE FUNCTION explained_total(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT count(*) FROM explained_inside) + $1; END';
CREATE TABLE explained_inside (v int);
CREATE VIEW explained_view AS SELECT id, v::explained_types.positive AS p FROM explained;
SET search_path = explained_earlier, explained_missing, public;
SET tiercache.mode = auto;
EXPLAIN (VERBOSE, COSTS OFF) SELECT p, explained_total(id) FROM explained_view WHERE id = 1;
SELECT p, explained_total(id) FROM explained_view WHERE id = 1;
CREATE FUNCTION explained_lines(options text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (COSTS OFF, ' || options || ') SELECT p, explained_total(id) FROM explained_view WHERE id = 1' INTO plan;
    RETURN NEXT plan -> 0 -> 'Plan' ->> 'Cache';
    RETURN QUERY SELECT d FROM json_array_elements_text(plan -> 0 -> 'Plan' -> 'Cache Dependencies') d ORDER BY d COLLATE "C";
END $$;
SELECT p, explained_total(id) FROM explained_view WHERE id = 1;
SELECT explained_lines('VERBOSE, FORMAT JSON');
SELECT explained_lines('FORMAT JSON');
RESET tiercache.mode;
SELECT kind, name, relation FROM tiercache.dependencies WHERE sql LIKE 'SELECT p, explained_total%' ORDER BY kind, name COLLATE "C";
SELECT length(tiercache.query_json('SELECT count(*) FROM explained_view', tags => '{mine}')::text) > 0 AS filled;
SELECT count(*) FILTER (WHERE kind IS NULL) AS labels, count(*) > 5 AS more FROM tiercache.dependencies
    WHERE sql = 'SELECT count(*) FROM explained_view';
SELECT kind, name FROM tiercache.dependencies WHERE sql = 'SELECT count(*) FROM explained_view' AND kind LIKE '%name' ORDER BY kind, name COLLATE "C";
SELECT kind, name, entries > 0 AS used FROM tiercache.tags WHERE relation = 'explained_view'::regclass;
RESET search_path;
DROP TABLE explained, explained_inside CASCADE;
DROP SCHEMA explained_earlier, explained_types CASCADE;
DROP FUNCTION explained_total;
DROP TABLE told;
