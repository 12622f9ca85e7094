-- What changes no answer ends no entry: temporary tables, statistics, vacuum, indexes and partitions of other tables.
SET client_min_messages = warning;
CREATE TABLE kept (id int PRIMARY KEY, v int);
CREATE TABLE beside (id int, v int) PARTITION BY LIST (id);
INSERT INTO kept SELECT g, g FROM generate_series(1, 200) g;
\set q 'SELECT sum(v), count(*) FROM kept'
\set b 'SELECT count(*) FROM beside'
SELECT helpers.twice(:'q'), helpers.twice(:'b');
-- Others' definitions.
CREATE TEMP TABLE passing (id int PRIMARY KEY, v text);
INSERT INTO passing SELECT 1, 'x';
DROP TABLE passing;
SELECT helpers.served(:'q'), helpers.served(:'b');
CREATE TABLE beside_1 PARTITION OF beside FOR VALUES IN (1);
CREATE INDEX ON beside (v);
CREATE VIEW beside_view AS SELECT * FROM beside;
CREATE SEQUENCE beside_sequence;
SELECT nextval('beside_sequence');
CREATE SCHEMA beside_schema;
CREATE TABLE beside_schema.another (id int);
INSERT INTO beside VALUES (1, 1);
GRANT SELECT ON beside TO PUBLIC;
COMMENT ON TABLE beside IS 'beside';
CREATE TABLE beside_copy AS TABLE kept;
ALTER TABLE beside_copy ADD COLUMN w int;
DROP TABLE beside_copy;
SELECT helpers.served(:'q'), helpers.twice(:'b');
-- Statistics and vacuum of the very tables, alone, several at once, in all forms.
DELETE FROM kept WHERE id > 100;
SELECT helpers.twice(:'q');
ANALYZE kept;
SELECT helpers.served(:'q'), helpers.served(:'b');
ANALYZE kept (v);
ANALYZE kept, beside;
SELECT helpers.served(:'q'), helpers.served(:'b');
CREATE STATISTICS kept_statistics ON id, v FROM kept;
SELECT helpers.twice(:'q');
ANALYZE pg_type;
ANALYZE;
SELECT helpers.served(:'q'), helpers.served(:'b');
VACUUM kept;
VACUUM (ANALYZE) kept, beside;
VACUUM (FREEZE, TRUNCATE) kept;
SELECT helpers.served(:'q'), helpers.served(:'b');
CHECKPOINT;
CLUSTER kept USING kept_pkey;
VACUUM FULL kept;
SELECT helpers.twice(:'q'), helpers.served(:'b');
-- In a transaction with others, ANALYZE looks like one of them; a change beside it is always seen.
BEGIN;
ANALYZE kept;
INSERT INTO kept VALUES (1000, 1000);
COMMIT;
SELECT helpers.twice(:'q');
ANALYZE kept \; INSERT INTO kept VALUES (1001, 1001);
SELECT helpers.twice(:'q');
CREATE TABLE kept_child (id int NOT NULL, v int);
INSERT INTO kept_child VALUES (7, 7);
ANALYZE kept \; ALTER TABLE kept_child INHERIT kept;
SELECT helpers.twice(:'q');
DO $$ BEGIN ALTER TABLE kept_child NO INHERIT kept; END $$;
SELECT helpers.twice(:'q');
ANALYZE no_such_table;
ALTER TABLE kept_child INHERIT kept;
SELECT helpers.twice(:'q');
-- What an index's function does while ANALYZE runs it is seen.
CREATE TABLE written (v int);
CREATE FUNCTION may_write(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.written VALUES ($1); RETURN $1; END';
CREATE FUNCTION writes(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN public.may_write($1); END';
CREATE TABLE analyzed (v int);
INSERT INTO analyzed VALUES (1), (2), (3);
CREATE INDEX ON analyzed (writes(v));
\set w 'SELECT count(*) FROM written'
TRUNCATE written;
SELECT helpers.twice(:'w'), (SELECT count(*) FROM written);
ANALYZE analyzed;
SELECT helpers.twice(:'w'), (SELECT count(*) > 0 FROM written);
-- And what it takes away.
CREATE ROLE tc_precision;
GRANT SELECT ON written TO tc_precision;
CREATE OR REPLACE FUNCTION may_write(int) RETURNS int LANGUAGE plpgsql AS
    'BEGIN REVOKE SELECT ON public.written FROM tc_precision; RETURN $1; END';
SET ROLE tc_precision;
SELECT tiercache.query_json(:'w') IS NOT NULL AS may_read, tiercache.query_json(:'w') IS NOT NULL AS again;
RESET ROLE;
ANALYZE analyzed;
SET ROLE tc_precision;
SELECT tiercache.query_json(:'w');
RESET ROLE;
DROP TABLE kept, kept_child, beside, written, analyzed CASCADE;
DROP SCHEMA beside_schema CASCADE;
DROP SEQUENCE beside_sequence;
DROP FUNCTION writes, may_write;
DROP ROLE tc_precision;
