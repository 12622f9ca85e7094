-- REASSIGN OWNED and DROP OWNED: rights, owners and things that go, seen on hits.
CREATE ROLE owned_alice;
CREATE ROLE owned_bob;
CREATE TABLE owned_base (id int, v text);
INSERT INTO owned_base VALUES (1, 'a'), (2, 'b');
GRANT SELECT ON owned_base TO owned_alice;
GRANT CREATE ON SCHEMA public TO owned_alice;
CREATE TABLE owned_table AS TABLE owned_base;
ALTER TABLE owned_table OWNER TO owned_alice;
SET ROLE owned_alice;
CREATE VIEW owned_view AS SELECT * FROM owned_base;
GRANT SELECT ON owned_view TO PUBLIC;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM owned_alice;
ALTER TABLE owned_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY owned_policy ON owned_table USING (id = 1);
GRANT SELECT ON owned_table TO owned_bob;
-- The view's owner may read the base, whoever asks; a policy is not for the table's owner.
\set view 'SELECT count(*) FROM owned_view'
\set table 'SELECT count(*) FROM owned_table'
SET ROLE owned_bob;
SELECT helpers.twice(:'view'), helpers.twice(:'table'), tiercache.query_json(:'table');
SET ROLE owned_alice;
SELECT helpers.twice(:'view'), helpers.twice(:'table'), tiercache.query_json(:'table');
RESET ROLE;
-- Nothing of that is true with another owner.
REASSIGN OWNED BY owned_alice TO owned_bob;
SET ROLE owned_bob;
SELECT tiercache.query_json(:'view');
SELECT helpers.twice(:'table'), tiercache.query_json(:'table');
SET tiercache.mode = auto;
SELECT count(*) FROM owned_view;
RESET tiercache.mode;
SET ROLE owned_alice;
SELECT tiercache.query_json(:'table');
RESET ROLE;
-- In a transaction that is rolled back nothing changes.
GRANT SELECT ON owned_base TO owned_bob;
SET ROLE owned_bob;
SELECT helpers.twice(:'view');
RESET ROLE;
BEGIN;
REASSIGN OWNED BY owned_bob TO owned_alice;
REVOKE SELECT ON owned_base FROM owned_bob;
ROLLBACK;
SET ROLE owned_bob;
SELECT helpers.served(:'view');
RESET ROLE;
-- DROP OWNED takes the rights away, and what is owned.
SET ROLE owned_alice;
SELECT helpers.twice('SELECT max(id) FROM owned_base');
PREPARE owned_read AS SELECT min(id) FROM owned_base;
SET tiercache.mode = auto;
EXECUTE owned_read;
EXECUTE owned_read;
RESET ROLE;
DROP OWNED BY owned_alice;
SET ROLE owned_alice;
SELECT tiercache.query_json('SELECT max(id) FROM owned_base');
EXECUTE owned_read;
RESET tiercache.mode;
SET ROLE owned_bob;
SELECT helpers.served(:'view'), helpers.served(:'table');
RESET ROLE;
DROP OWNED BY owned_bob;
SELECT tiercache.query_json(:'view');
SELECT tiercache.query_json(:'table');
SELECT helpers.served('SELECT max(id) FROM owned_base');
DEALLOCATE owned_read;
-- A function runs as its owner.
GRANT SELECT ON owned_base TO owned_alice;
CREATE FUNCTION owned_function(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS
    'BEGIN RETURN (SELECT count(*) + $1 FROM public.owned_base); END';
ALTER FUNCTION owned_function OWNER TO owned_alice;
CREATE TABLE owned_beside AS SELECT 1 AS id;
GRANT SELECT ON owned_beside TO owned_bob;
\set function 'SELECT owned_function(id) FROM owned_beside'
SET ROLE owned_bob;
SELECT tiercache.query_json(:'function'), tiercache.query_json(:'function');
RESET ROLE;
REASSIGN OWNED BY owned_alice TO owned_bob;
SET ROLE owned_bob;
\set SHOW_CONTEXT never
SELECT tiercache.query_json(:'function');
\set SHOW_CONTEXT errors
RESET ROLE;
-- Another user of the session is another role; its own user is not told apart, and not asked for.
SET SESSION AUTHORIZATION owned_alice;
SELECT helpers.twice('SELECT count(*) FROM owned_base'), tiercache.query_json('SELECT current_user AS u FROM owned_base LIMIT 1');
SELECT tiercache.query_json('SELECT session_user AS u FROM owned_base LIMIT 1');
SET SESSION AUTHORIZATION owned_bob;
SELECT tiercache.query_json('SELECT count(*) FROM owned_base');
RESET SESSION AUTHORIZATION;
DROP FUNCTION owned_function;
DROP TABLE owned_beside;
DROP TABLE owned_base;
DROP ROLE owned_alice, owned_bob;
