-- What a result depends on besides the tables that it names: children, types, names, schemas, functions.
SET search_path = public;

SET client_min_messages = warning;

-- Many partitions do not hide a table that inherits from something else, read by a function in the same query.
CREATE TABLE elder (v int);
CREATE TABLE heir () INHERITS (elder);
INSERT INTO heir VALUES (1);
CREATE TABLE wide (v int) PARTITION BY LIST (v);
SELECT format('CREATE TABLE wide_%s PARTITION OF wide FOR VALUES IN (%s)', i, i) FROM generate_series(1, 120) i \gexec
INSERT INTO wide VALUES (5);
CREATE FUNCTION nested() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN (SELECT sum(v) FROM (SELECT v FROM heir UNION ALL SELECT v FROM wide) x); END';
CREATE FUNCTION inlined() RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT v FROM heir UNION ALL SELECT v FROM wide';
SELECT helpers.twice('SELECT nested()'), helpers.twice('SELECT sum(inlined) FROM inlined()');
INSERT INTO heir VALUES (10);
SELECT helpers.twice('SELECT nested()'), helpers.twice('SELECT sum(inlined) FROM inlined()');
INSERT INTO wide_7 VALUES (7);
SELECT helpers.twice('SELECT nested()'), helpers.twice('SELECT sum(inlined) FROM inlined()');
DROP FUNCTION nested, inlined;
-- In a transaction block such an entry is neither served nor stored again.
SET tiercache.mode = auto;
SET tiercache.min_cost = 0;
SELECT sum(v) FROM wide;
SELECT sum(v) FROM wide;
BEGIN;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT sum(v) FROM wide \g (format=unaligned tuples_only=on) | grep Cache
SELECT fills AS before FROM tiercache.stats \gset
SELECT sum(v) FROM wide;
SELECT fills - :before AS new_fills FROM tiercache.stats;
COMMIT;
RESET tiercache.mode;
RESET tiercache.min_cost;
-- Partitions of partitions.
CREATE TABLE deep (v int) PARTITION BY LIST (v);
CREATE TABLE deep_rest PARTITION OF deep DEFAULT PARTITION BY LIST (v);
SELECT format('CREATE TABLE deep_%s PARTITION OF deep_rest FOR VALUES IN (%s)', i, i) FROM generate_series(1, 250) i \gexec
SELECT helpers.twice('SELECT count(*) FROM deep');
INSERT INTO deep_9 VALUES (9);
SELECT helpers.twice('SELECT count(*) FROM deep');
-- So many children of plain inheritance that nobody follows them all: answered, not stored.
SELECT format('CREATE TABLE elder_%s () INHERITS (elder)', i) FROM generate_series(1, 220) i \gexec
SELECT helpers.twice('SELECT count(*) FROM elder');
SELECT cacheable, reason FROM tiercache.explain('SELECT count(*) FROM elder');
DROP TABLE elder, heir, wide, deep CASCADE;

-- A domain over a domain over a domain.
CREATE TABLE numbers (v int);
INSERT INTO numbers VALUES (5);
CREATE DOMAIN level1 AS int;
CREATE DOMAIN level2 AS level1;
CREATE DOMAIN level3 AS level2;
SELECT helpers.twice('SELECT v::level3 AS a FROM numbers'), helpers.twice('SELECT v::level3 AS b FROM numbers');
ALTER DOMAIN level1 ADD CONSTRAINT one CHECK (VALUE > 100);
SELECT helpers.served('SELECT v::level3 AS a FROM numbers');
ALTER DOMAIN level1 DROP CONSTRAINT one;
SELECT helpers.twice('SELECT v::level3 AS b FROM numbers');
ALTER DOMAIN level2 ADD CONSTRAINT two CHECK (VALUE > 100);
SELECT helpers.served('SELECT v::level3 AS b FROM numbers');
DROP DOMAIN level1, level2, level3;


-- A type or a table of an earlier schema of search_path shadows the one that a query named.
CREATE SCHEMA first;
CREATE SCHEMA second;
SET search_path = first, second, public;
CREATE DOMAIN second.dn AS int;
SELECT helpers.twice('SELECT ''01''::dn AS x'), helpers.twice('SELECT ''{01}''::dn[] AS x');
CREATE DOMAIN first.dn AS text;
SELECT helpers.twice('SELECT ''01''::dn AS x'), helpers.twice('SELECT ''{01}''::dn[] AS x');
CREATE TABLE second.named (v int);
SELECT helpers.twice('SELECT ''named''::regclass::oid::int8 AS x');
CREATE TABLE first.named (v int);
SELECT helpers.twice('SELECT ''named''::regclass::oid::int8 AS x');
SELECT tiercache.query_json('SELECT 1 = ANY (''{named}''::regclass[]::oid[]::int8[]) AS x');
SELECT tiercache.query_json('SELECT 1 = ANY (''{int4}''::regtype[]::oid[]::int8[]) AS x');
SET search_path = public;

-- USAGE on the schema of a type, an operator, a collation.
CREATE ROLE tc_names;
GRANT USAGE ON SCHEMA second TO tc_names;
GRANT SELECT ON numbers TO tc_names;
CREATE COLLATION second.coll FROM "C";
CREATE OPERATOR second.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
SET ROLE tc_names;
\set type 'SELECT v::second.dn AS x FROM numbers'
\set coll 'SELECT v::text COLLATE second.coll AS x FROM numbers'
\set op 'SELECT v OPERATOR(second.###) 1 AS x FROM numbers'
SELECT tiercache.query_json(:'type'), tiercache.query_json(:'coll'), tiercache.query_json(:'op');
RESET ROLE;
REVOKE USAGE ON SCHEMA second FROM tc_names;
SET ROLE tc_names;
SELECT tiercache.query_json(:'type');
SELECT tiercache.query_json(:'coll');
SELECT tiercache.query_json(:'op');
RESET ROLE;
REVOKE ALL ON numbers FROM tc_names;
DROP ROLE tc_names;
DROP SCHEMA first, second CASCADE;

-- What is in pg_temp means something else in each session: refused.
CREATE FUNCTION pg_temp.g() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE DOMAIN pg_temp.dd AS int;
CREATE OPERATOR pg_temp.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE COLLATION pg_temp.cc FROM "C";
CREATE TEMP VIEW tv AS SELECT v FROM numbers;
SELECT tiercache.query_json('SELECT pg_temp.g()');
SELECT tiercache.query_json('SELECT ''01''::dd AS d');
SELECT tiercache.query_json('SELECT ''{01}''::dd[] AS d');
SELECT tiercache.query_json('SELECT 3 OPERATOR(pg_temp.###) 4 AS r');
SELECT tiercache.query_json('SELECT ''a'' COLLATE pg_temp.cc AS r');
SELECT tiercache.query_json('SELECT * FROM tv');
DROP VIEW tv;
DROP FUNCTION pg_temp.g;
DROP DOMAIN pg_temp.dd;
DROP OPERATOR pg_temp.### (int, int);
DROP COLLATION pg_temp.cc;

-- A CHECK that is not only of the value.
CREATE DOMAIN past AS timestamptz CHECK (VALUE <= now());
CREATE DOMAIN long_past AS past;
CREATE TABLE pasts (id int, p long_past);
INSERT INTO pasts VALUES (1, '2001-01-01');
SELECT tiercache.query_json('SELECT (timestamptz ''2020-01-01'')::past AS x');
SELECT tiercache.query_json('SELECT (timestamptz ''2020-01-01'')::long_past AS x');
SELECT tiercache.query_json('SELECT jsonb_populate_record(NULL::pasts, ''{}'')');
SELECT tiercache.fetch('SELECT $1::past', '{2020-01-01}');
-- What was checked when it was stored is only read.
SELECT helpers.twice('SELECT id, p FROM pasts');

-- Columns that the query defines.
SELECT tiercache.query_json('SELECT * FROM XMLTABLE(''/r'' PASSING (xml ''<r><d>now</d></r>'') COLUMNS d timestamp PATH ''d'')');
SELECT tiercache.query_json('SELECT d::oid FROM XMLTABLE(''/r'' PASSING (xml ''<r><d>numbers</d></r>'') COLUMNS d regclass PATH ''d'')');
SELECT helpers.twice('SELECT * FROM XMLTABLE(''/r'' PASSING (xml ''<r><d>1</d></r>'') COLUMNS n FOR ORDINALITY, d int PATH ''d'')');

-- A cast to json that depends on more than the value, wherever the value is.
CREATE TYPE en AS ENUM ('a', 'b');
CREATE TYPE holds_en AS (e en);
CREATE FUNCTION en_to_json(en) RETURNS json LANGUAGE sql VOLATILE AS 'SELECT to_json(clock_timestamp())';
CREATE CAST (en AS json) WITH FUNCTION en_to_json(en);
SELECT tiercache.query_json('SELECT ''a''::en AS e');
SELECT tiercache.query_json('SELECT ARRAY[''a''::en] AS e');
SELECT tiercache.query_json('SELECT to_json(''a''::en) AS e');
SELECT tiercache.query_json('SELECT jsonb_build_object(''k'', ''a''::en) AS e');
SELECT tiercache.query_json('SELECT row(''a''::en) AS e');
SELECT tiercache.query_json('SELECT row(''a''::en)::holds_en AS e');
SELECT cacheable FROM tiercache.explain('SELECT ''a''::en AS e, ''a''::en::text');
DROP CAST (en AS json);
SELECT helpers.twice('SELECT ARRAY[''a''::en] AS e');

-- A query that a function of the query asks tiercache for: its schemas are the outer result's too.
CREATE SCHEMA inner_names;
CREATE TYPE inner_names.word AS ENUM ('x');
CREATE ROLE tc_outer;
GRANT USAGE ON SCHEMA inner_names TO tc_outer;
CREATE FUNCTION asks(text) RETURNS json LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN tiercache.query_json($1); END';
SET ROLE tc_outer;
SELECT tiercache.query_json('SELECT asks(''SELECT 1 AS a, NULL::inner_names.word AS w'') AS j');
RESET ROLE;
REVOKE USAGE ON SCHEMA inner_names FROM tc_outer;
SET ROLE tc_outer;
SELECT tiercache.query_json('SELECT asks(''SELECT 1 AS a, NULL::inner_names.word AS w'') AS j');
RESET ROLE;
DROP ROLE tc_outer;
DROP FUNCTION asks;
DROP SCHEMA inner_names CASCADE;

DROP TABLE numbers, pasts;
DROP TYPE holds_en, en CASCADE;
DROP DOMAIN past CASCADE;
RESET search_path;
