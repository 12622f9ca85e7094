-- STABLE functions of one's own, of which somebody says on what they depend.
CREATE ROLE promises_app;
CREATE TABLE promises_rows (tenant text, id int, v int);
INSERT INTO promises_rows SELECT t, g, g * 2 FROM unnest('{acme,zeta}'::text[]) t, generate_series(1, 100) g;
CREATE TABLE promises_rates (name text PRIMARY KEY, rate int);
INSERT INTO promises_rates VALUES ('a', 2), ('b', 3);
CREATE FUNCTION rate_of(text) RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT rate FROM promises_rates WHERE name = $1);
END $$;
CREATE FUNCTION rate_dynamic(text) RETURNS int LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
DECLARE found int;
BEGIN
    EXECUTE format('SELECT rate FROM %I WHERE name = $1', 'promises_rates') INTO found USING $1;
    RETURN found;
END $$;
CREATE FUNCTION rates_from(int) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT rate FROM promises_rates WHERE rate >= $1 ORDER BY 1';
CREATE FUNCTION tenant_now() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('app.tenant', true) $$;
CREATE FUNCTION changing() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1' SET tiercache.depends_on_settings = '';
SELECT reason FROM tiercache.explain('SELECT sum(v * rate_of(''a'')) FROM promises_rows');
SELECT reason FROM tiercache.explain('SELECT sum(v * changing()) FROM promises_rows');

-- What can be said.
ALTER FUNCTION rate_of(text) SET tiercache.depends_on_settings = 'work_mem';
ALTER FUNCTION rate_of(text) SET tiercache.depends_on_settings = 'app.tenant;';
ALTER FUNCTION rate_of(text) SET tiercache.depends_on_settings = '.a';
ALTER FUNCTION rate_of(text) SET tiercache.depends_on_settings = 'app.tenant,,x.y';
ALTER FUNCTION rate_of(text) SET tiercache.depends_on_settings = '';
ALTER FUNCTION rate_dynamic(text) SET tiercache.depends_on_settings = '';
ALTER FUNCTION rates_from(int) SET tiercache.depends_on_settings = '';
SELECT proname, proconfig FROM pg_proc WHERE proconfig::text LIKE '%depends_on%' ORDER BY 1;

-- By the functions: what they read is followed.
SELECT helpers.twice('SELECT sum(v * rate_of(''a'')) FROM promises_rows');
SELECT helpers.twice('SELECT sum(v) FROM promises_rows WHERE v > rate_of(''b'')');
SELECT helpers.twice('SELECT sum(v * rate_dynamic(''a'')) FROM promises_rows');
SELECT helpers.twice('SELECT sum(r) FROM rates_from(0) r');
UPDATE promises_rates SET rate = rate + 1;
SELECT helpers.twice('SELECT sum(v * rate_of(''a'')) FROM promises_rows');
SELECT helpers.twice('SELECT sum(v) FROM promises_rows WHERE v > rate_of(''b'')');
SELECT helpers.twice('SELECT sum(v * rate_dynamic(''a'')) FROM promises_rows');
SELECT helpers.twice('SELECT sum(r) FROM rates_from(0) r');
-- Together with an IMMUTABLE one that the planner may compute.
CREATE FUNCTION rate_folded(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN rate_of($1); END';
SELECT helpers.twice('SELECT sum(v) FROM promises_rows WHERE v > rate_folded(''b'')');
-- A rename of what a function names.
ALTER TABLE promises_rates RENAME TO promises_gone;
CREATE TABLE promises_rates AS SELECT name, rate * 10 AS rate FROM promises_gone;
SELECT helpers.twice('SELECT sum(v * rate_dynamic(''a'')) FROM promises_rows');
-- A new body must be promised anew; so must one whose promise was taken back.
CREATE OR REPLACE FUNCTION rate_of(text) RETURNS int LANGUAGE sql STABLE AS 'SELECT 7 + extract(second FROM now())::int * 0';
SELECT helpers.twice('SELECT sum(v * rate_of(''a'')) FROM promises_rows');
ALTER FUNCTION rate_dynamic(text) RESET tiercache.depends_on_settings;
SELECT helpers.twice('SELECT sum(v * rate_dynamic(''a'')) FROM promises_rows');

-- A policy that asks a function for the tenant, in transparent mode: its value is in the key.
ALTER TABLE promises_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON promises_rows USING (tenant = tenant_now());
GRANT SELECT ON promises_rows, promises_rates TO promises_app;
GRANT USAGE ON SCHEMA helpers TO promises_app;
ALTER FUNCTION tenant_now() SET tiercache.depends_on_settings = 'app.tenant', 'app.region';
SET ROLE promises_app;
SET tiercache.mode = auto;
SET app.tenant = 'acme';
SELECT helpers.new_hits() >= 0;
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SET app.tenant = 'zeta';
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT helpers.new_hits();
SET app.region = 'north';
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT helpers.new_hits();
PREPARE promises_read AS SELECT min(tenant), count(*) FROM promises_rows;
EXECUTE promises_read;
EXECUTE promises_read;
SET app.tenant = 'acme';
EXECUTE promises_read;
SET app.tenant = '';
EXECUTE promises_read;
SET app.tenant = 'acme';
EXECUTE promises_read;
SELECT helpers.new_hits();
-- The functions have no such key.
SELECT tiercache.query_json('SELECT count(*) FROM promises_rows');
RESET ROLE;
-- Withdrawn: the text that was cached is refused from then on.
ALTER FUNCTION tenant_now() RESET tiercache.depends_on_settings;
SET ROLE promises_app;
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT min(tenant), max(tenant), count(*) FROM promises_rows;
SELECT helpers.new_hits();
RESET ROLE;
-- What its queries read in views and policies is its own business, too: the promise has to name it.
ALTER FUNCTION tenant_now() SET tiercache.depends_on_settings = 'app.tenant';
CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql STABLE SET tiercache.depends_on_settings = '' AS 'BEGIN RETURN (SELECT sum(v) FROM promises_rows WHERE tenant = ''zeta''); END';
GRANT SELECT ON promises_rates TO promises_app;
SET ROLE promises_app;
SET app.tenant = 'acme';
SELECT helpers.new_hits() >= 0;
SELECT max(rate) > 0, total() FROM promises_rates;
SET app.tenant = 'zeta';
SELECT max(rate) > 0, total() FROM promises_rates;
SELECT max(rate) > 0, total() FROM promises_rates;
SELECT helpers.new_hits();
RESET ROLE;
ALTER FUNCTION total() SET tiercache.depends_on_settings = 'App.Tenant';
SET ROLE promises_app;
SELECT max(rate) > 0, total() FROM promises_rates;
SELECT max(rate) > 0, total() FROM promises_rates;
SET app.tenant = 'acme';
SELECT max(rate) > 0, total() FROM promises_rates;
SELECT helpers.new_hits();
RESET ROLE;
-- A setting may have a long name.
CREATE FUNCTION long_name() RETURNS text LANGUAGE sql STABLE
    SET tiercache.depends_on_settings = 'customer_portal_application.authenticated_tenant_organisation_id'
    AS $$ SELECT current_setting('customer_portal_application.authenticated_tenant_organisation_id', true) $$;
SET customer_portal_application.authenticated_tenant_organisation_id = 'acme';
SELECT count(*), long_name() FROM promises_rows;
SET customer_portal_application.authenticated_tenant_organisation_id = 'zeta';
SELECT count(*), long_name() FROM promises_rows;
-- The planner runs a STABLE function to estimate; what that calls and keeps is followed all the same.
CREATE FUNCTION folded_rate() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT max(rate) FROM promises_rates); END';
CREATE FUNCTION estimated() RETURNS int LANGUAGE plpgsql STABLE SET tiercache.depends_on_settings = '' AS 'BEGIN RETURN folded_rate(); END';
\c -
SET tiercache.mode = auto;
SELECT count(*) FROM promises_rows WHERE id > estimated();
UPDATE promises_rates SET rate = 95;
\c -
SET tiercache.mode = auto;
SELECT count(*) FROM promises_rows WHERE id > estimated();
RESET tiercache.mode;
DROP FUNCTION total, long_name, folded_rate, estimated;
DROP TABLE promises_rows, promises_rates, promises_gone;
DROP FUNCTION rate_of, rate_dynamic, rates_from, rate_folded, tenant_now, changing;
REVOKE ALL ON SCHEMA helpers FROM promises_app;
DROP ROLE promises_app;
