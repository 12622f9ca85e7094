-- Who may not run a query gets no answer from the cache, and who may gets his own.
CREATE ROLE tiercache_alice;
CREATE ROLE tiercache_bob;
CREATE ROLE tiercache_readers;
CREATE TABLE secrets (id int, owner name, v text);
INSERT INTO secrets VALUES (1, 'tiercache_alice', 'a'), (2, 'tiercache_bob', 'b');
GRANT SELECT ON secrets TO tiercache_alice;
\set q 'SELECT id, v FROM secrets ORDER BY id'

SELECT helpers.twice(:'q');
SET ROLE tiercache_bob;
SELECT tiercache.query_json(:'q');
SELECT * FROM tiercache.query(:'q') AS t(id int, v text);
SELECT tiercache.fetch(:'q');
SELECT tiercache.explain(:'q');
SET ROLE tiercache_alice;
SELECT helpers.twice(:'q');
RESET ROLE;
REVOKE SELECT ON secrets FROM tiercache_alice;
SET ROLE tiercache_alice;
SELECT tiercache.query_json(:'q');
RESET ROLE;
-- By membership.
GRANT SELECT ON secrets TO tiercache_readers;
GRANT tiercache_readers TO tiercache_alice;
SET ROLE tiercache_alice;
SELECT helpers.twice(:'q');
RESET ROLE;
REVOKE tiercache_readers FROM tiercache_alice;
SET ROLE tiercache_alice;
SELECT tiercache.query_json(:'q');
RESET ROLE;
-- By column.
GRANT SELECT (id) ON secrets TO tiercache_alice;
SET ROLE tiercache_alice;
SELECT tiercache.query_json(:'q');
SELECT helpers.twice('SELECT id FROM secrets ORDER BY id');
RESET ROLE;
REVOKE SELECT (id) ON secrets FROM tiercache_alice;
SET ROLE tiercache_alice;
SELECT tiercache.query_json('SELECT id FROM secrets ORDER BY id');
RESET ROLE;
-- By ownership, by schema, by function.
CREATE SCHEMA vault;
CREATE TABLE vault.t (v int);
CREATE FUNCTION vault.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 + 1; END';
GRANT SELECT ON vault.t TO tiercache_alice;
GRANT USAGE ON SCHEMA vault TO tiercache_alice;
SET ROLE tiercache_alice;
SELECT helpers.twice('SELECT v FROM vault.t'), helpers.twice('SELECT vault.f(1)'), helpers.twice('SELECT plus_one(1)');
RESET ROLE;
REVOKE USAGE ON SCHEMA vault FROM tiercache_alice;
SET ROLE tiercache_alice;
SELECT tiercache.query_json('SELECT v FROM vault.t');
SELECT tiercache.query_json('SELECT vault.f(1)');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION plus_one(int) FROM PUBLIC;
SET ROLE tiercache_alice;
SELECT tiercache.query_json('SELECT plus_one(1)');
RESET ROLE;
GRANT USAGE ON SCHEMA vault TO tiercache_alice;
ALTER TABLE secrets OWNER TO tiercache_alice;
SET ROLE tiercache_alice;
SELECT helpers.twice(:'q');
RESET ROLE;
ALTER TABLE secrets OWNER TO postgres;
SET ROLE tiercache_alice;
SELECT tiercache.query_json(:'q');
RESET ROLE;

-- Through a view, the view's owner counts.
CREATE VIEW secrets_view AS SELECT id, v FROM secrets;
GRANT SELECT ON secrets_view TO tiercache_bob;
SET ROLE tiercache_bob;
SELECT helpers.twice('SELECT * FROM secrets_view ORDER BY id');
RESET ROLE;
REVOKE SELECT ON secrets_view FROM tiercache_bob;
SET ROLE tiercache_bob;
SELECT tiercache.query_json('SELECT * FROM secrets_view ORDER BY id');
RESET ROLE;

-- A SECURITY DEFINER function asks as its owner.
CREATE FUNCTION ask() RETURNS json LANGUAGE sql SECURITY DEFINER AS
    'SELECT tiercache.query_json(''SELECT v FROM secrets ORDER BY id'')';
SET ROLE tiercache_bob;
SELECT ask();
SELECT tiercache.query_json('SELECT v FROM secrets ORDER BY id');
RESET ROLE;

-- Row-level security: by role, by policy, by row_security.
GRANT SELECT ON secrets TO tiercache_alice, tiercache_bob;
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (owner = current_user);
SELECT helpers.twice(:'q');
SET ROLE tiercache_alice;
SELECT helpers.twice(:'q');
SELECT tiercache.query_json(:'q');
SET ROLE tiercache_bob;
SELECT helpers.twice(:'q');
SELECT tiercache.query_json(:'q');
RESET ROLE;
CREATE POLICY all_b ON secrets FOR SELECT TO tiercache_bob USING (true);
SET ROLE tiercache_bob;
SELECT helpers.twice(:'q');
SELECT tiercache.query_json(:'q');
SET row_security = off;
SELECT tiercache.query_json(:'q');
RESET row_security;
RESET ROLE;
DROP POLICY all_b ON secrets;
ALTER ROLE tiercache_bob BYPASSRLS;
SET ROLE tiercache_bob;
SELECT helpers.twice(:'q');
SELECT tiercache.query_json(:'q');
RESET ROLE;
ALTER ROLE tiercache_bob NOBYPASSRLS;
SET ROLE tiercache_bob;
SELECT helpers.twice(:'q');
SELECT tiercache.query_json(:'q');
RESET ROLE;
-- A policy on a session's own setting is not in the key.
CREATE POLICY tenant ON secrets USING (owner = current_setting('my.tenant', true));
SET ROLE tiercache_bob;
SELECT tiercache.query_json(:'q');
RESET ROLE;
DROP POLICY tenant ON secrets;
-- CURRENT_USER follows the role and its name.
SET ROLE tiercache_alice;
SELECT tiercache.query_json('SELECT CURRENT_USER AS me');
SET ROLE tiercache_bob;
SELECT tiercache.query_json('SELECT CURRENT_USER AS me');
RESET ROLE;
ALTER ROLE tiercache_bob RENAME TO tiercache_bill;
SET ROLE tiercache_bill;
SELECT tiercache.query_json('SELECT CURRENT_USER AS me');

-- What only administrators may do.
SELECT tiercache.reset();
SELECT tiercache.invalidate('secrets');
SET tiercache.enabled = off;
-- The entries of others are there, their text is not.
SELECT count(*) > 0 AS any, count(*) FILTER (WHERE sql <> '<insufficient privilege>' AND role <> 'tiercache_bill') AS seen,
       count(*) FILTER (WHERE params IS NOT NULL AND role <> 'tiercache_bill') AS params_seen,
       count(*) FILTER (WHERE sql = 'SELECT CURRENT_USER AS me' AND role = 'tiercache_bill') AS own
    FROM tiercache.entries;
SELECT hits > 0 FROM tiercache.stats;
RESET ROLE;
GRANT pg_read_all_stats TO tiercache_bill;
SET ROLE tiercache_bill;
SELECT count(*) FILTER (WHERE sql = '<insufficient privilege>') AS hidden FROM tiercache.entries;
RESET ROLE;

DROP FUNCTION ask, plus_one;
DROP VIEW secrets_view;
DROP TABLE secrets;
DROP SCHEMA vault CASCADE;
DROP ROLE tiercache_alice, tiercache_bill, tiercache_readers;
