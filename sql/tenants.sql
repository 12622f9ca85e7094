-- Policies, views and queries that read a setting of the application's own: its value is in the key of transparent mode.
CREATE ROLE tenants_app;
CREATE TABLE tenants_rows (tenant text, id int, v text);
INSERT INTO tenants_rows SELECT t, g, t || g FROM unnest('{acme,zeta}'::text[]) t, generate_series(1, 40) g;
ALTER TABLE tenants_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenants_rows USING (tenant = current_setting('app.tenant', true));
CREATE VIEW tenants_view AS SELECT id FROM tenants_rows WHERE id <= current_setting('app.most')::int;
GRANT SELECT ON tenants_rows, tenants_view TO tenants_app;
GRANT USAGE ON SCHEMA helpers TO tenants_app;
\set q 'SELECT min(v), max(v), count(*) FROM tenants_rows'
SET ROLE tenants_app;
SET tiercache.mode = auto;
SELECT helpers.new_hits() >= 0;
-- Nothing set, and each tenant, filled and hit in turn.
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.tenant = 'acme';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.tenant = 'zeta';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SELECT helpers.new_hits();
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.tenant = 'acme';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.tenant = '';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.tenant = 'acme';
SELECT min(v), max(v), count(*) FROM tenants_rows;
BEGIN;
SET LOCAL app.tenant = 'zeta';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SAVEPOINT s;
SET LOCAL app.tenant = 'acme';
SELECT min(v), max(v), count(*) FROM tenants_rows;
ROLLBACK TO s;
SELECT min(v), max(v), count(*) FROM tenants_rows;
COMMIT;
SELECT min(v), max(v), count(*) FROM tenants_rows;
SELECT helpers.new_hits();
-- Prepared: the plan stays, the value does not.
PREPARE tenants_read(int) AS SELECT max(v) FROM tenants_rows WHERE id < $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE tenants_read(5);
EXECUTE tenants_read(5);
SET app.tenant = 'zeta';
EXECUTE tenants_read(5);
EXECUTE tenants_read(5);
SET app.tenant = 'acme';
EXECUTE tenants_read(5);
SELECT helpers.new_hits();
RESET plan_cache_mode;
DEALLOCATE tenants_read;
-- What is set between two rows of one loop is no answer to anything.
DO $$
DECLARE
    r record;
    seen text[] := '{}';
BEGIN
    PERFORM set_config('app.tenant', 'acme', false);
    FOR r IN SELECT tenant AS t FROM tenants_rows LOOP
        PERFORM set_config('app.tenant', 'zeta', false);
        IF r.t <> ALL (seen) THEN seen := seen || r.t; END IF;
    END LOOP;
    RAISE NOTICE 'seen %', seen;
    PERFORM set_config('app.tenant', 'acme', false);
    seen := '{}';
    FOR r IN SELECT tenant AS t FROM tenants_rows LOOP
        IF r.t <> ALL (seen) THEN seen := seen || r.t; END IF;
    END LOOP;
    RAISE NOTICE 'seen %', seen;
END $$;
-- The view, which cannot do without.
SELECT count(*) FROM tenants_view;
SET app.most = 7;
SELECT count(*) FROM tenants_view;
SELECT count(*) FROM tenants_view;
SET app.most = 'seven';
SELECT count(*) FROM tenants_view;
SET app.most = 9;
SELECT count(*) FROM tenants_view;
-- In the query itself; names in any case; another policy.
SELECT current_setting('APP.tenant') AS tenant, count(*) FROM tenants_rows;
SET app.tenant = 'zeta';
SELECT current_setting('APP.tenant') AS tenant, count(*) FROM tenants_rows;
RESET ROLE;
ALTER POLICY tenant ON tenants_rows USING (tenant = current_setting('app.other', true));
SET ROLE tenants_app;
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.other = 'acme';
SELECT min(v), max(v), count(*) FROM tenants_rows;
SET app.other = 'zeta';
SELECT min(v), max(v), count(*) FROM tenants_rows;
-- The key says it.
SELECT p FROM tiercache.entries, unnest(params) p WHERE sql LIKE '%tenants_rows%' AND p ILIKE 'app%' GROUP BY p ORDER BY p COLLATE "C";
-- Not PostgreSQL's own settings, no names that are computed, and not the functions, whose key is made before the query is read.
RESET ROLE;
CREATE FUNCTION helpers.tenants_reason(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
    RETURN coalesce(plan -> 0 -> 'Plan' ->> 'Cache Reason', plan -> 0 -> 'Plan' ->> 'Cache');
END $$;
SELECT helpers.tenants_reason($$SELECT current_setting('work_mem') FROM tenants_rows$$);
SELECT helpers.tenants_reason($$SELECT current_setting('app.' || v, true) FROM tenants_rows$$);
SELECT helpers.tenants_reason($$SELECT current_setting(NULL) FROM tenants_rows$$);
SELECT helpers.tenants_reason($$SELECT current_setting('app.tenant', v = 'x') FROM tenants_rows$$);
-- In the default of an argument, which the planner puts in.
CREATE FUNCTION tenants_is(owner text, tenant text DEFAULT current_setting('app.tenant', true)) RETURNS boolean
    IMMUTABLE LANGUAGE sql AS 'SELECT owner = tenant';
CREATE FUNCTION tenants_at(id int, at timestamptz DEFAULT now()) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS 'SELECT at';
CREATE FUNCTION tenants_next(id int, step int DEFAULT 1) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT id + step';
CREATE TABLE tenants_default AS SELECT tenant, v FROM tenants_rows;
ALTER TABLE tenants_default ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON tenants_default USING (tenants_is(tenant));
GRANT SELECT ON tenants_default TO tenants_app;
SELECT helpers.tenants_reason($$SELECT v FROM tenants_rows WHERE tenants_is(tenant)$$);
SELECT helpers.tenants_reason($$SELECT v FROM tenants_rows WHERE tenants_is(owner => tenant)$$);
SELECT helpers.tenants_reason($$SELECT v FROM tenants_rows WHERE tenants_is(tenant, 'acme')$$);
SELECT helpers.tenants_reason($$SELECT tenants_at(id) FROM tenants_rows$$);
SELECT helpers.tenants_reason($$SELECT tenants_next(id) FROM tenants_rows$$);
SET ROLE tenants_app;
SET app.tenant = 'acme';
SELECT min(v), max(v) FROM tenants_default;
SET app.tenant = 'zeta';
SELECT min(v), max(v) FROM tenants_default;
SELECT tiercache.query_json('SELECT min(v) FROM tenants_default');
RESET ROLE;
DROP TABLE tenants_default;
DROP FUNCTION tenants_is, tenants_at, tenants_next;
-- Never set is NULL, and set once and no more is '': in either order.
SELECT coalesce(current_setting('app.once', true), 'never') AS once, count(*) FROM tenants_rows;
SELECT coalesce(current_setting('app.once', true), 'never') AS once, count(*) FROM tenants_rows;
SET app.once = 'x';
RESET app.once;
SELECT coalesce(current_setting('app.once', true), 'never') AS once, count(*) FROM tenants_rows;
BEGIN;
SET LOCAL app.other_once = 'x';
COMMIT;
SELECT coalesce(current_setting('app.other_once', true), 'never') AS once, count(*) FROM tenants_rows;
SELECT current_setting('app.other_once') AS once, count(*) FROM tenants_rows;
\c -
SET tiercache.mode = auto;
SELECT coalesce(current_setting('app.other_once', true), 'never') AS once, count(*) FROM tenants_rows;
SELECT current_setting('app.other_once') AS once, count(*) FROM tenants_rows;
RESET tiercache.mode;
SET ROLE tenants_app;
SELECT tiercache.query_json('SELECT count(*) FROM tenants_rows');
RESET ROLE;
DROP VIEW tenants_view;
DROP TABLE tenants_rows;
DROP FUNCTION helpers.tenants_reason;
REVOKE USAGE ON SCHEMA helpers FROM tenants_app;
DROP ROLE tenants_app;
