-- tiercache.mode = auto: what any client asks is cached, and nobody can tell from the answers.
CREATE TABLE plain (id int PRIMARY KEY, name text, amount numeric(10,2), at timestamptz);
INSERT INTO plain
    SELECT i, 'row ' || i, i * 1.25, timestamptz '2001-01-01 00:00+00' + i * interval '1 hour'
    FROM generate_series(1, 20) i;
INSERT INTO plain VALUES (21, NULL, NULL, NULL);
ANALYZE plain;

-- The rows as one text, and how the statement was answered: hit, miss (and why), bypass, or none of them.
CREATE FUNCTION helpers.rows_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    answer text := '';
BEGIN
    FOR r IN EXECUTE query LOOP answer := answer || r::text; END LOOP;
    RETURN answer;
END $$;
CREATE FUNCTION helpers.answered(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before tiercache.stats;
    after tiercache.stats;
    answer text;
    truth text;
BEGIN
    SELECT * INTO before FROM tiercache.stats;
    answer := helpers.rows_of(query);
    SELECT * INTO after FROM tiercache.stats;
    PERFORM set_config('tiercache.mode', 'off', true);
    truth := helpers.rows_of(query);
    PERFORM set_config('tiercache.mode', 'auto', true);
    RETURN CASE
        WHEN after.hits > before.hits THEN 'hit'
        WHEN after.misses_changed > before.misses_changed THEN 'miss: changed'
        WHEN after.misses_absent > before.misses_absent THEN 'miss'
        WHEN after.bypasses > before.bypasses THEN 'bypass'
        ELSE 'uncached' END
        || CASE WHEN after.fills_unpublished > before.fills_unpublished THEN ', not stored' ELSE '' END
        || CASE WHEN answer = truth THEN '' ELSE ', WRONG: ' || answer END;
END $$;
CREATE FUNCTION helpers.both(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN helpers.answered(query) || ' / ' || helpers.answered(query);
END $$;

-- Off is the default, and nothing is looked up.
SHOW tiercache.mode;
SELECT fills + fills_unpublished + misses_absent AS before FROM tiercache.stats \gset
SELECT count(*) FROM plain;
SELECT fills + fills_unpublished + misses_absent - :before AS touched FROM tiercache.stats;
SET tiercache.mode = auto;
SET tiercache.min_cost = 0;
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
SELECT helpers.both('TABLE plain');
SELECT helpers.both('SELECT FROM plain');
SELECT helpers.both('SELECT * FROM plain WHERE false');
SELECT helpers.both('VALUES (1, ''a''), (2, NULL)');
SELECT helpers.both('WITH w AS (SELECT id FROM plain WHERE id < 5) SELECT sum(id) FROM w');
SELECT helpers.both('(SELECT 1 AS x) UNION ALL (SELECT 2) ORDER BY x');
SELECT helpers.both('SELECT id % 3, count(*), grouping(id % 3) FROM plain GROUP BY CUBE (id % 3) ORDER BY 1');
SELECT helpers.both('SELECT id, rank() OVER (ORDER BY amount) FROM plain ORDER BY name, id');
SELECT helpers.both('SELECT p FROM plain p ORDER BY id');
SELECT helpers.both('  /* a /* nested */ comment */ -- and another' || E'\n' || 'SELECT count(*) FROM plain  ');
SELECT helpers.both('SELECT * FROM generate_series(1, 3) g, LATERAL (SELECT name FROM plain WHERE id = g) n');
-- Not cached: nothing is read, or what cannot be kept.
SELECT helpers.both('SELECT 1');
SELECT helpers.both('SELECT random() < 2 FROM plain');
SELECT helpers.both('SELECT now() IS NULL FROM plain');
SELECT helpers.both('SELECT relname FROM pg_class WHERE false');
SELECT helpers.both('SELECT row(id, name) FROM plain ORDER BY id');
CREATE TEMP TABLE plain_temp AS SELECT 1 AS id;
SELECT helpers.both('SELECT * FROM plain_temp');
SELECT helpers.both('SELECT count(*) FROM plain, plain_temp');
DROP TABLE plain_temp;
-- What tiercache's own functions run is theirs alone.
SELECT helpers.twice('SELECT max(id) FROM plain');

-- A change, and one that is rolled back.
UPDATE plain SET name = 'new' WHERE id = 1;
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
BEGIN;
UPDATE plain SET name = 'newer' WHERE id = 1;
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
ROLLBACK;
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
SET default_transaction_isolation = 'repeatable read';
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
SET default_transaction_isolation = 'serializable';
SELECT helpers.both('SELECT * FROM plain ORDER BY id');
RESET default_transaction_isolation;

-- A literal is its value, whatever text and settings it came from.
SELECT helpers.both('SELECT date ''01-02-03'' FROM plain WHERE id = 2');
SET DateStyle = 'ISO, DMY';
SELECT helpers.both('SELECT date ''01-02-03'' FROM plain WHERE id = 2');
RESET DateStyle;

-- EXPLAIN: hit or miss, and why. (Without what only 18 shows.)
CREATE FUNCTION helpers.explain(options text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF, ' || options || ') ' || query LOOP
        line := regexp_replace(line, '(Stamp"?: )\d+', '\1N', 'g');
        RETURN NEXT regexp_replace(line, '\n *"?Disabled"?: false,?|\.00(?= loops)', '', 'g');
    END LOOP;
END $$;
SELECT * FROM helpers.explain('VERBOSE', 'SELECT id, name FROM plain WHERE id < 3 ORDER BY name');
SELECT * FROM helpers.explain('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF', 'SELECT id, name FROM plain WHERE id < 2');
SELECT * FROM helpers.explain('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF', 'SELECT id, name FROM plain WHERE id < 2');
SELECT * FROM helpers.explain('VERBOSE, FORMAT JSON', 'SELECT id, name FROM plain WHERE id < 2');
SELECT * FROM helpers.explain('FORMAT YAML', 'SELECT id, now() FROM plain WHERE id < random()');
UPDATE plain SET name = 'newest' WHERE id = 1;
SELECT * FROM helpers.explain('VERBOSE OFF', 'SELECT id, name FROM plain WHERE id < 2');
BEGIN;
UPDATE plain SET name = 'newest' WHERE id = 1;
SELECT * FROM helpers.explain('VERBOSE OFF', 'SELECT id, name FROM plain WHERE id < 2');
ROLLBACK;
EXPLAIN (COSTS OFF) CREATE TABLE plain_copy AS SELECT * FROM plain;
SET tiercache.min_cost = 1000;
SELECT * FROM helpers.explain('VERBOSE OFF', 'SELECT id, name FROM plain WHERE id < 2');
SELECT helpers.both('SELECT name, id FROM plain ORDER BY id');
SET tiercache.min_cost = 0;

-- Prepared statements: custom and generic plans, parameters of every kind.
CREATE FUNCTION helpers.executed(statement text) RETURNS text LANGUAGE sql AS $$
    SELECT helpers.both('EXECUTE ' || statement)
$$;
PREPARE by_id(int) AS SELECT id, name FROM plain WHERE id = $1;
SET plan_cache_mode = force_custom_plan;
SELECT helpers.executed('by_id(3)'), helpers.executed('by_id(4)'), helpers.executed('by_id(NULL)');
SET plan_cache_mode = force_generic_plan;
SELECT helpers.executed('by_id(3)'), helpers.executed('by_id(4)'), helpers.executed('by_id(NULL)');
PREPARE many(text, float8, numeric, bytea, timestamptz, int[], plain, interval, boolean, "char", jsonb, int4range) AS
    SELECT id, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM plain WHERE id = 5;
SELECT helpers.executed($$many('a', -0.0, 1.50, '\x00ff', '2001-01-01', '{1,NULL}', row(1,2,3,NULL), '1 day', true, 'x', '{"a": 1}', '[1,3)')$$);
SELECT helpers.executed($$many('a', 0.0, 1.5, '\x00ff', '2001-01-01', '{1,NULL}', row(1,2,3,NULL), '1 day', true, 'x', '{"a": 1}', '[1,3)')$$);
SELECT helpers.executed($$many(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$);
SELECT helpers.executed($$many(repeat('x', 10000), 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$);
SELECT helpers.executed($$many(repeat('x', 100000), 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)$$);
-- A generic plan after changes of what it is made of, of who asks and of where names are looked up.
PREPARE generic AS SELECT * FROM plain WHERE id = 6;
SELECT helpers.executed('generic');
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.plain AS SELECT id, 'elsewhere'::text AS name, amount, at FROM plain;
SET search_path = elsewhere, public;
SELECT helpers.executed('generic');
RESET search_path;
SELECT helpers.executed('generic');
ALTER TABLE plain ALTER name SET DEFAULT 'x';
SELECT helpers.executed('generic');
CREATE ROLE tiercache_carol;
GRANT USAGE ON SCHEMA helpers TO tiercache_carol;
SET ROLE tiercache_carol;
EXECUTE generic;
RESET ROLE;
GRANT SELECT ON plain TO tiercache_carol;
SET ROLE tiercache_carol;
SELECT helpers.executed('generic');
RESET ROLE;
ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
SET ROLE tiercache_carol;
SELECT helpers.executed('generic');
EXECUTE generic;
RESET ROLE;
CREATE POLICY all_of_it ON plain USING (true);
SET ROLE tiercache_carol;
SELECT helpers.executed('generic');
RESET ROLE;
REVOKE SELECT ON plain FROM tiercache_carol;
SET ROLE tiercache_carol;
EXECUTE generic;
RESET ROLE;
ALTER TABLE plain DISABLE ROW LEVEL SECURITY;
SET TimeZone = 'Asia/Tokyo';
EXECUTE generic;
RESET TimeZone;
EXECUTE generic;
-- A function that the plan calls, and a table that it reads.
CREATE TABLE factors (f int);
INSERT INTO factors VALUES (2);
CREATE FUNCTION scaled(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 * (SELECT f FROM factors); END';
PREPARE uses_function AS SELECT id, scaled(id) FROM plain WHERE id < 4 ORDER BY id;
SELECT helpers.executed('uses_function');
UPDATE factors SET f = 3;
SELECT helpers.executed('uses_function');
CREATE OR REPLACE FUNCTION scaled(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN -$1; END';
SELECT helpers.executed('uses_function');
DEALLOCATE ALL;
RESET plan_cache_mode;

-- Functions that run queries; with variables of theirs as parameters.
CREATE FUNCTION name_of(wanted int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    SELECT name INTO found FROM plain WHERE id = wanted;
    RETURN found;
END $$;
SET enable_seqscan = off;
SELECT helpers.new_hits() IS NOT NULL;
SELECT name_of(7), name_of(8), name_of(7), name_of(NULL), name_of(NULL);
SELECT helpers.new_hits();
RESET enable_seqscan;
CREATE FUNCTION names_below(int) RETURNS SETOF text LANGUAGE sql AS 'SELECT name FROM plain WHERE id < $1 ORDER BY id';
SELECT count(*), (SELECT count(*) FROM names_below(5)) FROM names_below(5);
SELECT helpers.new_hits();
CREATE FUNCTION first_of(int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    r record;
    c CURSOR (least int) FOR SELECT id FROM plain WHERE id >= least ORDER BY id;
    v int;
BEGIN
    FOR r IN SELECT id FROM plain WHERE id >= $1 ORDER BY id LOOP EXIT; END LOOP;
    OPEN c(r.id);
    FETCH c INTO v;
    CLOSE c;
    RETURN v;
END $$;
SELECT first_of(3), first_of(3), first_of(4);
-- Only as far as asked: a row that fails further on is not computed.
CREATE FUNCTION some_quotient() RETURNS int LANGUAGE plpgsql AS $$
DECLARE q int;
BEGIN
    SELECT 10 / (10 - id) INTO q FROM plain;
    RETURN q;
END $$;
SELECT some_quotient(), some_quotient();

-- Cursors.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM plain ORDER BY id;
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
DECLARE s SCROLL CURSOR FOR SELECT id FROM plain ORDER BY id;
FETCH LAST FROM s;
FETCH PRIOR FROM s;
FETCH ABSOLUTE 3 FROM s;
DECLARE u CURSOR FOR SELECT id FROM plain;
FETCH 1 FROM u;
UPDATE plain SET name = name WHERE CURRENT OF u;
COMMIT;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM plain ORDER BY id;
FETCH 1 FROM h;
CLOSE h;

-- Parts of other commands, and several statements in one text, of which psql 14 shows the last one.
\set SHOW_ALL_RESULTS off
SELECT count(*) AS a FROM plain \; SELECT count(*) + 1 AS a FROM plain \; SELECT count(*) + 2 AS a FROM plain;
SELECT count(*) AS a FROM plain \; SELECT count(*) + 1 AS a FROM plain \; SELECT count(*) + 2 AS a FROM plain;
SELECT count(*) + 1 AS a FROM plain \; SELECT count(*) + 2 AS a FROM plain \; SELECT count(*) AS a FROM plain;
SELECT count(*) + 1 AS a FROM plain \; SELECT count(*) + 2 AS a FROM plain \; SELECT count(*) AS a FROM plain;
SELECT count(*) + 2 AS a FROM plain \; SELECT count(*) AS a FROM plain \; SELECT count(*) + 1 AS a FROM plain;
SELECT count(*) + 2 AS a FROM plain \; SELECT count(*) AS a FROM plain \; SELECT count(*) + 1 AS a FROM plain;
SELECT 1 AS a INTO made_1 FROM plain LIMIT 1 \; SELECT 2 AS a INTO made_2 FROM plain LIMIT 1;
TABLE made_1;
TABLE made_2;
COPY (SELECT id FROM plain WHERE id < 3 ORDER BY id) TO STDOUT;
CREATE MATERIALIZED VIEW plain_count AS SELECT count(*) FROM plain;
SELECT helpers.both('TABLE plain_count');
INSERT INTO plain VALUES (22);
REFRESH MATERIALIZED VIEW plain_count;
TABLE plain_count;

-- The simple protocol: a hit that leaves planning out looks the same, and so do the rights.
SELECT id AS "the id", name, amount * 2 FROM plain WHERE id < 3 ORDER BY at DESC;
SELECT id AS "the id", name, amount * 2 FROM plain WHERE id < 3 ORDER BY at DESC \gdesc
SELECT id AS "the id", name, amount * 2 FROM plain WHERE id < 3 ORDER BY at DESC;
SELECT helpers.new_hits() IS NOT NULL;
SELECT id AS "the id", name, amount * 2 FROM plain WHERE id < 3 ORDER BY at DESC;
SELECT helpers.new_hits();
CREATE VIEW plain_view AS SELECT id, name FROM plain;
GRANT SELECT ON plain_view TO tiercache_carol;
GRANT SELECT (id) ON plain TO tiercache_carol;
SET ROLE tiercache_carol;
SELECT count(*) FROM plain_view;
SELECT count(*) FROM plain_view;
SELECT id FROM plain WHERE id IN (SELECT id FROM plain_view WHERE id = 2);
SELECT id FROM plain WHERE id IN (SELECT id FROM plain_view WHERE id = 2);
SELECT name FROM plain;
RESET ROLE;
REVOKE SELECT ON plain_view FROM tiercache_carol;
SET ROLE tiercache_carol;
SELECT count(*) FROM plain_view;
SELECT id FROM plain WHERE id IN (SELECT id FROM plain_view WHERE id = 2);
RESET ROLE;
REVOKE SELECT (id) ON plain FROM tiercache_carol;

-- verify: the hit is compared with the query's own rows.
SET tiercache.verify = error;
SELECT helpers.both('SELECT count(*), sum(amount) FROM plain');
SELECT helpers.both('SELECT name FROM plain');
RESET tiercache.verify;

-- Set operations: what one column more in the plan than in the query makes of it.
SELECT helpers.new_hits() >= 0;
SELECT id FROM plain EXCEPT SELECT 1 ORDER BY id;
SELECT id FROM plain EXCEPT SELECT 1 ORDER BY id;
SELECT id FROM plain EXCEPT SELECT 1;
SELECT id FROM plain EXCEPT SELECT 1;
SELECT id FROM plain INTERSECT SELECT 2;
SELECT id FROM plain INTERSECT SELECT 2;
SELECT id FROM plain UNION (SELECT 7 EXCEPT ALL SELECT 8);
SELECT id FROM plain UNION (SELECT 7 EXCEPT ALL SELECT 8);
SELECT helpers.new_hits();

-- Large results and values.
SELECT helpers.both('SELECT repeat(md5(g::text), 40) FROM generate_series(1, 1000) g');
CREATE TABLE plain_wide (id int, compressed text, external text);
ALTER TABLE plain_wide ALTER external SET STORAGE EXTERNAL;
INSERT INTO plain_wide SELECT i, repeat('abc', 20000), repeat(md5(i::text), 500) FROM generate_series(1, 3) i;
SELECT helpers.both('SELECT * FROM plain_wide ORDER BY id');

SET tiercache.mode = off;
DROP TABLE plain_wide, made_1, made_2, factors;
DROP TABLE plain CASCADE;
DROP SCHEMA elsewhere CASCADE;
DROP FUNCTION scaled, name_of, names_below, first_of, some_quotient;
REVOKE ALL ON SCHEMA helpers FROM tiercache_carol;
DROP ROLE tiercache_carol;
