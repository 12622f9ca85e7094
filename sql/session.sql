-- Each setting that changes a result leads to an entry of its own; the others do not.
CREATE TABLE settled (d date, t timestamp, z timestamptz, i interval, f float8, b bytea, m money, x xml);
INSERT INTO settled VALUES ('2001-02-03', '2001-02-03 04:05:06', '2001-02-03 04:05:06+00', '1 day 2 hours', 0.1::float8 + 0.2,
    '\xdeadbeef', 1.5, '<a/>');
-- The query is served before and after, with the right answer each time; `changed` is whether the key changed.
CREATE FUNCTION helpers.under(setting text, value text, query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    key_before bytea;
    key_after bytea;
    old text := current_setting(setting);
    before text;
    after text;
BEGIN
    PERFORM helpers.served(query);
    key_before := tiercache.session_key();
    PERFORM set_config(setting, value, false);
    key_after := tiercache.session_key();
    before := helpers.served(query);
    after := helpers.served(query);
    PERFORM set_config(setting, old, false);
    RETURN setting || ': ' || CASE WHEN key_before = key_after THEN 'same key' ELSE 'another key' END || ', '
        || before || ' / ' || after || ', back: ' || helpers.served(query)
        || CASE WHEN tiercache.session_key() = key_before THEN '' ELSE ', KEY NOT BACK' END;
END $$;
\set q 'SELECT z, d, t, i, f, b, m::text, z::text, d::text, i::text, to_char(z, ''TMMonth TZ''), to_char(1.5, ''9D9'') FROM settled'
SELECT helpers.under('TimeZone', 'Asia/Tokyo', :'q');
SELECT helpers.under('DateStyle', 'German', :'q');
SELECT helpers.under('DateStyle', 'ISO, DMY', 'SELECT ''01-02-03''::date');
SELECT helpers.under('IntervalStyle', 'iso_8601', :'q');
SELECT helpers.under('extra_float_digits', '-5', :'q');
SELECT helpers.under('bytea_output', 'escape', :'q');
SELECT helpers.under('lc_monetary', 'POSIX', :'q');
SELECT helpers.under('lc_numeric', 'POSIX', :'q');
SELECT helpers.under('lc_time', 'POSIX', :'q');
SELECT helpers.under('xmlbinary', 'hex', 'SELECT xmlelement(name a, b) FROM settled');
SELECT helpers.under('xmloption', 'document', 'SELECT ''<a/>''::text::xml::text');
SELECT helpers.under('array_nulls', 'off', 'SELECT ''{NULL}''::text[]');
SELECT helpers.under('quote_all_identifiers', 'on', 'SELECT 1');
SET escape_string_warning = off;
SELECT helpers.under('standard_conforming_strings', 'off', 'SELECT ''a\\b''');
SELECT helpers.under('transform_null_equals', 'on', 'SELECT count(*) FROM settled WHERE NULL = NULL');
SELECT helpers.under('default_text_search_config', 'pg_catalog.german', 'SELECT to_tsvector(''die Katzen'')');
SELECT helpers.under('timezone_abbreviations', 'Australia', 'SELECT ''2001-01-01 00:00 SAT''::timestamptz AS z WHERE false');
SELECT helpers.under('client_encoding', 'LATIN1', 'SELECT 1');
SELECT helpers.under('row_security', 'off', 'SELECT count(*) FROM settled');
SELECT helpers.under('gin_fuzzy_search_limit', '5', 'SELECT count(*) FROM settled');
SELECT helpers.under('search_path', 'pg_catalog', 'SELECT count(*) FROM public.settled');
-- Not in the key: how a result is computed, not what it is.
SELECT helpers.under('work_mem', '64kB', :'q');
SELECT helpers.under('enable_seqscan', 'off', :'q');
SELECT helpers.under('application_name', 'x', :'q');
SELECT helpers.under('statement_timeout', '10s', :'q');

-- search_path, with schemas that come and go.
CREATE SCHEMA path_a;
CREATE SCHEMA path_b;
CREATE TABLE path_a.here (v text);
CREATE TABLE path_b.here (v text);
INSERT INTO path_a.here VALUES ('a');
INSERT INTO path_b.here VALUES ('b');
SET search_path = path_a, path_b, public;
SELECT helpers.twice('SELECT * FROM here');
SET search_path = path_b, path_a, public;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
-- A table that comes into an earlier schema is seen.
SET search_path = path_a, path_b, public;
DROP TABLE path_a.here;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
CREATE TABLE path_a.here (v text);
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
ALTER TABLE path_a.here SET SCHEMA public;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
ALTER TABLE path_b.here RENAME TO there;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
ALTER TABLE path_b.there RENAME TO here;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
ALTER SCHEMA path_b RENAME TO path_c;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
ALTER SCHEMA path_c RENAME TO path_b;
DROP TABLE public.here;
-- A schema of the path that did not exist.
SET search_path = path_new, path_b;
SELECT helpers.twice('SELECT * FROM here');
-- (Clients with the session key of before look up what it is stored under: it must be dead then.)
SELECT helpers.twice('SELECT * FROM here AS before_new'), (SELECT verdict FROM tiercache.entries WHERE sql LIKE '%before_new');
CREATE SCHEMA path_new;
SELECT verdict FROM tiercache.entries WHERE sql LIKE '%before_new';
CREATE TABLE path_new.here AS SELECT 'new'::text AS v;
SELECT helpers.twice('SELECT * FROM here'), tiercache.query_json('SELECT * FROM here');
RESET search_path;
-- Types and functions are found by the path too.
CREATE FUNCTION path_a.which() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a' $$;
CREATE FUNCTION path_b.which() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'b' $$;
SET search_path = path_a, path_b;
SELECT tiercache.query_json('SELECT which()');
SET search_path = path_b, path_a;
SELECT tiercache.query_json('SELECT which()');
RESET search_path;

-- A temporary table shadows another one from its creation to its end.
CREATE TABLE shadowed (v text);
INSERT INTO shadowed VALUES ('permanent');
\set s 'SELECT * FROM shadowed'
SELECT helpers.twice(:'s');
SELECT tiercache.session_key() AS without \gset
CREATE TEMP TABLE unrelated (v text);
SELECT tiercache.session_key() = :'without'::bytea AS same_key;
SELECT helpers.twice(:'s');
CREATE TEMP TABLE shadowed (v text);
SELECT tiercache.query_json(:'s');
SELECT helpers.twice('SELECT * FROM public.shadowed');
DROP TABLE pg_temp.shadowed;
SELECT helpers.twice(:'s');
ALTER TABLE unrelated RENAME TO shadowed;
SELECT tiercache.query_json(:'s');
DROP TABLE pg_temp.shadowed;
SELECT tiercache.session_key() = :'without'::bytea AS same_key;
SELECT helpers.served(:'s');
CREATE TEMP VIEW shadowed AS SELECT 'view'::text AS v;
SELECT helpers.served(:'s');
DROP VIEW pg_temp.shadowed;
BEGIN;
CREATE TEMP TABLE shadowed (v text) ON COMMIT DROP;
SELECT tiercache.query_json(:'s');
ROLLBACK;
SELECT helpers.served(:'s');
-- A temporary child of a table that others see.
CREATE TABLE elder (v int);
INSERT INTO elder VALUES (1);
SELECT helpers.twice('SELECT sum(v) FROM elder');
CREATE TEMP TABLE younger () INHERITS (elder);
INSERT INTO younger VALUES (10);
SELECT tiercache.query_json('SELECT sum(v) FROM elder');
DROP TABLE younger;
SELECT helpers.twice('SELECT sum(v) FROM elder');

-- The session key in the clear: system identifier, database, role.
SELECT length(tiercache.session_key()),
    get_byte(k, 8) + get_byte(k, 9) * 256 + get_byte(k, 10) * 65536 = (SELECT oid FROM pg_database WHERE datname = current_database())::int AS database,
    get_byte(k, 12) + get_byte(k, 13) * 256 + get_byte(k, 14) * 65536 = (SELECT oid FROM pg_roles WHERE rolname = current_user)::int AS role
    FROM tiercache.session_key() k;
DROP TABLE settled, shadowed, elder;
DROP SCHEMA path_a, path_b, path_new CASCADE;
DROP FUNCTION helpers.under;
