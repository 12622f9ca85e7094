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
CREATE FUNCTION owned_function(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE SECURITY DEFINER AS
    'BEGIN RETURN (SELECT count(*) + $1 FROM public.owned_base); END';
GRANT SELECT ON owned_view TO PUBLIC;
RESET ROLE;
ALTER TABLE owned_table ENABLE ROW LEVEL SECURITY;
CREATE POLICY owned_policy ON owned_table USING (id = 1);
GRANT SELECT ON owned_table TO owned_bob;
-- The view's and the function's owner may read the base, whoever asks; a policy is not for the table's owner.
\set view 'SELECT count(*) FROM owned_view'
\set table 'SELECT count(*) FROM owned_table'
\set function 'SELECT owned_function(id) FROM owned_table ORDER BY 1'
SET ROLE owned_bob;
SELECT helpers.twice(:'view'), helpers.twice(:'table'), tiercache.query_json(:'table');
SELECT tiercache.query_json(:'function'), tiercache.query_json(:'function');
SET ROLE owned_alice;
SELECT helpers.twice(:'view'), helpers.twice(:'table'), tiercache.query_json(:'table');
RESET ROLE;
-- Nothing of that is true with another owner.
REASSIGN OWNED BY owned_alice TO owned_bob;
SET ROLE owned_bob;
SELECT tiercache.query_json(:'view');
SELECT tiercache.query_json(:'function');
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
DROP TABLE owned_base;
DROP ROLE owned_alice, owned_bob;
