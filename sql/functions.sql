-- What functions look up while they run: names, rights and types that no plan of the query tells.
SET client_min_messages = warning;
CREATE TABLE calls (v int);
INSERT INTO calls VALUES (1), (2);
CREATE SCHEMA near;
CREATE SCHEMA far;
CREATE TABLE far.n AS SELECT 1 x;
CREATE ROLE tc_caller;
GRANT USAGE ON SCHEMA near, far TO tc_caller;
GRANT SELECT ON far.n, calls TO tc_caller;
CREATE FUNCTION adds(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$DECLARE r int; BEGIN EXECUTE 'SELECT x FROM far.n' INTO r; RETURN r + a; END$$;
CREATE FUNCTION adds_near(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$DECLARE r int; BEGIN EXECUTE 'SELECT x FROM n' INTO r; RETURN r + a; END$$;
CREATE FUNCTION asks(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$BEGIN EXECUTE 'SELECT x FROM later' INTO a; RETURN a; EXCEPTION WHEN undefined_table THEN RETURN -1; END$$;
\set adds 'SELECT sum(adds(v)) FROM calls'
\set near 'SELECT sum(adds_near(v)) FROM calls'
\set asks 'SELECT sum(asks(v)) FROM calls'
\set plain 'SELECT sum(v) FROM calls'

-- USAGE on a schema that only the function names.
SET ROLE tc_caller;
SELECT tiercache.query_json(:'adds'), tiercache.query_json(:'adds');
RESET ROLE;
REVOKE USAGE ON SCHEMA far FROM tc_caller;
SET ROLE tc_caller;
SELECT tiercache.query_json(:'adds');
RESET ROLE;
GRANT USAGE ON SCHEMA far TO tc_caller;
-- Rights to a column.
REVOKE SELECT ON far.n FROM tc_caller;
GRANT SELECT (x) ON far.n TO tc_caller;
SET ROLE tc_caller;
SELECT tiercache.query_json(:'adds');
RESET ROLE;
REVOKE SELECT (x) ON far.n FROM tc_caller;
SET ROLE tc_caller;
SELECT tiercache.query_json(:'adds');
RESET ROLE;
-- The schema's name, the table's name.
SELECT helpers.twice(:'adds');
ALTER SCHEMA far RENAME TO farther;
SELECT tiercache.query_json(:'adds');
ALTER SCHEMA farther RENAME TO far;
SELECT helpers.twice(:'adds');
ALTER TABLE far.n RENAME TO m;
SELECT tiercache.query_json(:'adds');
ALTER TABLE far.m RENAME TO n;
-- A table that shadows the one that was found, one that was missed, and one that goes.
SET search_path = near, far, public;
SELECT helpers.twice(:'near'), helpers.twice(:'asks');
CREATE TABLE near.n AS SELECT 1000 x;
SELECT helpers.twice(:'near'), helpers.twice(:'asks');
CREATE TABLE later AS SELECT 7 x;
SELECT helpers.twice(:'asks'), helpers.served(:'near');
DROP TABLE later, near.n;
SELECT helpers.twice(:'near'), helpers.twice(:'asks');
CREATE VIEW near.later AS SELECT 8 x;
SELECT helpers.twice(:'asks');
DROP VIEW near.later;
RESET search_path;

-- A type that only the function's variables have.
CREATE DOMAIN kind AS int;
CREATE TABLE shape (a int);
CREATE FUNCTION as_kind(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'DECLARE d kind; BEGIN d := a; RETURN d; END';
CREATE FUNCTION as_row(a int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
    'DECLARE r shape; BEGIN r.a := a; RETURN row_to_json(r); END';
\set kind 'SELECT as_kind(v) FROM calls'
\set row 'SELECT as_row(v) FROM calls'
SELECT helpers.twice(:'kind'), helpers.twice(:'row');
ALTER DOMAIN kind ADD CONSTRAINT small CHECK (VALUE < 2);
SELECT tiercache.query_json(:'kind');
ALTER DOMAIN kind DROP CONSTRAINT small;
SELECT helpers.twice(:'kind'), helpers.twice(:'row');
ALTER TABLE shape ADD COLUMN b int;
SELECT helpers.twice(:'row'), helpers.served(:'kind');
-- The same of a function in SQL, whether it is inlined or not; of one behind a view and an operator.
CREATE FUNCTION inlined(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a::kind::int';
CREATE FUNCTION called(a int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT a::kind::int LIMIT 1';
CREATE VIEW calls_view AS SELECT as_kind(v) k FROM calls;
CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE OPERATOR @@@ (RIGHTARG = int, FUNCTION = as_kind);
SELECT helpers.twice('SELECT inlined(v) FROM calls'), helpers.twice('SELECT called(v) FROM calls'),
       helpers.twice('SELECT k FROM calls_view'), helpers.twice('SELECT @@@ v FROM calls');
ALTER DOMAIN kind ADD CONSTRAINT small CHECK (VALUE < 2);
SELECT tiercache.query_json('SELECT inlined(v) FROM calls');
SELECT tiercache.query_json('SELECT called(v) FROM calls');
SELECT tiercache.query_json('SELECT k FROM calls_view');
SELECT tiercache.query_json('SELECT @@@ v FROM calls');
ALTER DOMAIN kind DROP CONSTRAINT small;
-- What a function of such a function does is no other matter.
CREATE FUNCTION outer_of(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN as_kind(a); END';
SELECT helpers.twice('SELECT outer_of(v) FROM calls');
ALTER DOMAIN kind ADD CONSTRAINT small CHECK (VALUE < 2);
SELECT tiercache.query_json('SELECT outer_of(v) FROM calls');
ALTER DOMAIN kind DROP CONSTRAINT small;

-- Transparently the same.
SET tiercache.mode = auto;
SET tiercache.min_cost = 0;
GRANT SELECT ON far.n TO tc_caller;
SET ROLE tc_caller;
SELECT adds(v) FROM calls;
SELECT adds(v) FROM calls;
RESET ROLE;
REVOKE USAGE ON SCHEMA far FROM tc_caller;
SET ROLE tc_caller;
SELECT adds(v) FROM calls;
RESET ROLE;
SELECT as_kind(v) FROM calls;
SELECT as_row(v) FROM calls;
ALTER DOMAIN kind ADD CONSTRAINT small CHECK (VALUE < 2);
ALTER TABLE shape RENAME COLUMN b TO c;
SELECT as_kind(v) FROM calls;
SELECT as_row(v) FROM calls;
ALTER DOMAIN kind DROP CONSTRAINT small;
RESET tiercache.mode;
RESET tiercache.min_cost;

-- What ends no entry of such a query: what nobody else can see, indexes, statistics, rows. Queries without
-- functions, or with those that look up nothing, depend on none of the above.
CREATE SCHEMA beside;
CREATE TABLE beside.t (id int PRIMARY KEY, v int);
SELECT helpers.twice(:'kind'), helpers.twice(:'asks'), helpers.twice(:'plain'), helpers.twice('SELECT v ### 1 FROM calls');
CREATE TEMP TABLE first_temporary (id serial PRIMARY KEY, v text, w int[]);
BEGIN;
CREATE TEMP TABLE passing (id serial PRIMARY KEY, v text, w int[]) ON COMMIT DROP;
CREATE INDEX ON passing (v);
INSERT INTO passing (v) VALUES ('x');
COMMIT;
DROP TABLE first_temporary;
CREATE INDEX beside_index ON beside.t (v);
REINDEX TABLE beside.t;
INSERT INTO beside.t SELECT g, g FROM generate_series(1, 100) g;
ANALYZE beside.t;
VACUUM beside.t;
COMMENT ON TABLE beside.t IS 'beside';
BEGIN;
LOCK TABLE beside.t IN ACCESS EXCLUSIVE MODE;
DELETE FROM beside.t WHERE id = 1;
COMMIT;
BEGIN;
CREATE TABLE undone (id int);
ROLLBACK;
SELECT helpers.served(:'kind'), helpers.served(:'asks'), helpers.served(:'plain'), helpers.served('SELECT v ### 1 FROM calls');
ALTER TABLE beside.t ADD COLUMN w int;
SELECT helpers.served(:'kind'), helpers.served(:'asks'), helpers.served(:'plain'), helpers.served('SELECT v ### 1 FROM calls');
-- Together with such a change, the rest counts.
BEGIN;
CREATE TEMP TABLE passing (id int);
CREATE DOMAIN beside.dom AS int;
DROP TABLE passing;
COMMIT;
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
BEGIN;
CREATE INDEX ON beside.t (w);
GRANT SELECT ON beside.t TO tc_caller;
COMMIT;
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
BEGIN;
CREATE INDEX ON beside.t (w);
GRANT SELECT (w) ON beside.t TO tc_caller;
COMMIT;
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
CREATE POLICY p ON beside.t USING (true);
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
GRANT USAGE ON TYPE kind TO tc_caller;
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
BEGIN;
CREATE SCHEMA empty;
PREPARE TRANSACTION 'names';
SELECT helpers.twice(:'kind'), helpers.served(:'plain');
COMMIT PREPARED 'names';
SELECT helpers.twice(:'kind'), helpers.served(:'plain');

-- What compares, sorts and hashes with an operator, of whatever type, is a function that may read a table.
CREATE TABLE ranks (v int, r int);
INSERT INTO ranks VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO calls VALUES (3);
CREATE FUNCTION rank_of(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT r FROM ranks WHERE v = a); END';
CREATE FUNCTION rank_cmp(a int, b int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN btint4cmp(rank_of(a), rank_of(b)); END';
CREATE FUNCTION rank_hash(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN hashint4(rank_of(a)); END';
CREATE OPERATOR <#< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt, COMMUTATOR = >#>);
CREATE OPERATOR >#> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4gt, COMMUTATOR = <#<);
CREATE OPERATOR <#= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4le);
CREATE OPERATOR >#= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4ge);
CREATE OPERATOR =#= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq, COMMUTATOR = =#=, MERGES, HASHES);
CREATE OPERATOR CLASS rank_ops FOR TYPE int USING btree AS
    OPERATOR 1 <#<, OPERATOR 2 <#=, OPERATOR 3 =#=, OPERATOR 4 >#=, OPERATOR 5 >#>, FUNCTION 1 rank_cmp(int, int);
CREATE OPERATOR CLASS rank_hash_ops FOR TYPE int USING hash AS OPERATOR 1 =#=, FUNCTION 1 rank_hash(int);
CREATE AGGREGATE rank_min(int) (SFUNC = int4smaller, STYPE = int, SORTOP = <#<);
\set sorted 'SELECT v FROM calls ORDER BY v USING <#<'
\set aggregated 'SELECT array_agg(v ORDER BY v USING >#>) FROM calls'
\set window 'SELECT v, row_number() OVER (ORDER BY v USING <#<) AS n FROM calls'
\set joined 'SELECT count(*) FROM calls a JOIN calls b ON a.v OPERATOR(public.=#=) b.v'
SELECT helpers.twice(:'sorted'), helpers.twice(:'aggregated'), helpers.twice(:'window');
SET enable_mergejoin = off;
SET enable_nestloop = off;
SELECT helpers.twice(:'joined');
UPDATE ranks SET r = -r;
SELECT helpers.twice(:'sorted'), helpers.twice(:'aggregated'), helpers.twice(:'window'), helpers.twice(:'joined');
SET tiercache.mode = auto;
SELECT v FROM calls ORDER BY v USING <#<;
SELECT v FROM calls ORDER BY v USING <#<;
UPDATE ranks SET r = -r;
SELECT v FROM calls ORDER BY v USING <#<;
RESET tiercache.mode;
-- Of a function that may not be believed, too, where PostgreSQL's own operators are in the class.
CREATE OPERATOR CLASS mixed_ops FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 rank_cmp(int, int);
ALTER FUNCTION rank_cmp VOLATILE;
SELECT tiercache.query_json(:'sorted');
ALTER FUNCTION rank_cmp STABLE;
SELECT tiercache.query_json(:'window');
SELECT tiercache.query_json('SELECT v FROM calls ORDER BY v');
SELECT tiercache.query_json('SELECT DISTINCT v FROM calls');
SELECT tiercache.query_json('SELECT v FROM calls UNION SELECT v FROM calls');
SELECT tiercache.query_json('SELECT min(v) FROM calls');
SELECT tiercache.query_json('SELECT a.v FROM calls a, calls b WHERE a.v = b.v');
DROP OPERATOR FAMILY mixed_ops USING btree;
SELECT tiercache.query_json('SELECT min(v) FROM calls');
DROP OPERATOR FAMILY rank_ops USING btree CASCADE;
DROP OPERATOR FAMILY rank_hash_ops USING hash CASCADE;
DROP OPERATOR <#< (int, int), >#> (int, int), <#= (int, int), >#= (int, int), =#= (int, int) CASCADE;
DROP FUNCTION rank_cmp, rank_hash, rank_of;
DROP TABLE ranks;
RESET enable_mergejoin;
RESET enable_nestloop;

-- A function that says which partitions are read, when the plan starts.
CREATE TABLE parted (k int, p text) PARTITION BY LIST (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (2, 'two');
CREATE TABLE map AS SELECT 7 a, 1 k;
CREATE FUNCTION mapped(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT m.k FROM map m WHERE m.a = mapped.a); END';
SET tiercache.mode = auto;
SET plan_cache_mode = force_generic_plan;
PREPARE of_map(int) AS SELECT * FROM parted WHERE k = mapped($1);
EXECUTE of_map(7);
EXECUTE of_map(7);
UPDATE map SET k = 2;
EXECUTE of_map(7);
EXECUTE of_map(7);
UPDATE map SET k = 1;
EXECUTE of_map(7);
SELECT helpers.new_hits() >= 0 AS reset;
EXECUTE of_map(7);
SELECT helpers.new_hits();
DEALLOCATE of_map;
UPDATE map SET k = 1;
PREPARE of_map(int) AS SELECT (SELECT count(*) FROM parted WHERE k = mapped($1));
EXECUTE of_map(7);
EXECUTE of_map(7);
UPDATE map SET k = 2;
EXECUTE of_map(7);
DEALLOCATE of_map;
RESET plan_cache_mode;
RESET tiercache.mode;
DROP FUNCTION mapped;
DROP TABLE parted, map;

-- A CHECK calls a function.
CREATE DOMAIN checked_kind AS int;
CREATE FUNCTION is_kind(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'DECLARE k checked_kind; BEGIN k := $1; RETURN true; END';
CREATE DOMAIN checked AS int CHECK (is_kind(VALUE));
SET tiercache.mode = auto;
SELECT v::checked FROM calls ORDER BY v;
SELECT v::checked FROM calls ORDER BY v;
ALTER DOMAIN checked_kind ADD CHECK (VALUE < 2);
SELECT v::checked FROM calls ORDER BY v;
DROP DOMAIN checked;
DROP FUNCTION is_kind;
DROP DOMAIN checked_kind;

-- One that is called when the query is planned, and reads nothing.
CREATE FUNCTION start_of(y int) RETURNS date IMMUTABLE LANGUAGE sql AS 'SELECT make_date($1, 1, 1)';
SELECT helpers.new_hits() >= 0 AS reset;
SELECT v FROM calls WHERE start_of(2000 + v) > start_of(2001);
SELECT v FROM calls WHERE start_of(2000 + v) > start_of(2001);
SELECT helpers.new_hits();
DROP FUNCTION start_of;

-- Calls with a default each, one in the other.
SELECT format('SELECT count(%s%s%s) AS deep FROM calls', repeat('jsonb_set(', 40), '''{"a": 1}''::jsonb', repeat(',''{a}'',''1'')', 40)) \gexec

-- A plan that is kept is made again after a change of names, so that its answers are stored again.
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 2 * $1; END';
PREPARE of_sum AS SELECT sum(twice(v)) FROM calls;
EXECUTE of_sum;
CREATE TABLE some_name (a int);
EXECUTE of_sum;
EXECUTE of_sum;
SELECT helpers.new_hits() >= 0 AS reset;
EXECUTE of_sum;
SELECT helpers.new_hits();
DEALLOCATE of_sum;
DROP TABLE some_name;
DROP FUNCTION twice;
RESET tiercache.mode;

DROP OWNED BY tc_caller;
DROP ROLE tc_caller;
DROP SCHEMA near, far, beside, empty CASCADE;
DROP VIEW calls_view;
DROP OPERATOR ### (int, int);
DROP OPERATOR @@@ (NONE, int);
DROP FUNCTION adds, adds_near, asks, as_kind, as_row, inlined, called, outer_of;
DROP TABLE calls, shape;
DROP DOMAIN kind;

-- A cast that JOIN ... USING calls, which is written nowhere but in the join's columns.
CREATE TYPE merged_a AS ENUM ('x', 'y');
CREATE TYPE merged_b AS ENUM ('x', 'y');
CREATE FUNCTION merged_same(merged_a, merged_b) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2::text';
CREATE OPERATOR = (LEFTARG = merged_a, RIGHTARG = merged_b, FUNCTION = merged_same);
CREATE FUNCTION merged_cast(merged_a) RETURNS merged_b LANGUAGE plpgsql VOLATILE AS $$
BEGIN RETURN CASE WHEN current_setting('app.other', true) = 'yes' THEN 'y' ELSE $1::text END; END $$;
CREATE CAST (merged_a AS merged_b) WITH FUNCTION merged_cast(merged_a) AS IMPLICIT;
CREATE TABLE merged_1 (m merged_a);
CREATE TABLE merged_2 (m merged_b);
INSERT INTO merged_1 VALUES ('x');
SELECT reason FROM tiercache.explain('SELECT m FROM merged_1 LEFT JOIN merged_2 USING (m)');
SET tiercache.mode = auto;
SELECT m FROM merged_1 LEFT JOIN merged_2 USING (m);
SET app.other = 'yes';
SELECT m FROM merged_1 LEFT JOIN merged_2 USING (m);
RESET app.other;
RESET tiercache.mode;
DROP TABLE merged_1, merged_2;
DROP TYPE merged_a, merged_b CASCADE;
