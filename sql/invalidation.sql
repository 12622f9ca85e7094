-- A commit is seen by the next read, and only what it changed is lost.
CREATE TABLE items (id int PRIMARY KEY, v int);
CREATE TABLE others (id int PRIMARY KEY, v int);
INSERT INTO items SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO others SELECT i, i FROM generate_series(1, 5) i;
\set q 'SELECT sum(v), count(*) FROM items'
\set other 'SELECT sum(v), count(*) FROM others'
SELECT helpers.twice(:'q'), helpers.twice(:'other');
UPDATE items SET v = v + 1 WHERE id = 1;
SELECT helpers.twice(:'q'), helpers.served(:'other');
INSERT INTO items VALUES (6, 6);
SELECT helpers.twice(:'q'), helpers.served(:'other');
DELETE FROM items WHERE id = 6;
SELECT helpers.twice(:'q'), helpers.served(:'other');
COPY items FROM STDIN;
7	7
8	8
\.
SELECT helpers.twice(:'q'), helpers.served(:'other');
TRUNCATE items;
SELECT helpers.twice(:'q'), helpers.served(:'other');
INSERT INTO items SELECT i, i FROM generate_series(1, 5) i;
WITH w AS (UPDATE items SET v = 0 WHERE id = 2 RETURNING *) SELECT count(*) FROM w;
SELECT helpers.twice(:'q'), helpers.served(:'other');
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
MERGE INTO items USING others ON items.id = others.id WHEN MATCHED THEN UPDATE SET v = items.v + others.v;
\else
UPDATE items SET v = items.v + others.v FROM others WHERE items.id = others.id;
\endif
SELECT helpers.twice(:'q'), helpers.served(:'other');
DO $$ BEGIN UPDATE items SET v = 1; COMMIT; UPDATE items SET v = 2; END $$;
SELECT helpers.twice(:'q');
-- A read locks nothing against us: no change, no loss.
SELECT count(*) FROM items;
SELECT helpers.served(:'q');
-- The other functions lose theirs too.
SELECT * FROM tiercache.query('SELECT sum(v) FROM items') AS t(s bigint);
SELECT get_byte(tiercache.fetch('SELECT sum(v) FROM items'), 48) & 4;
UPDATE items SET v = 10 WHERE id = 1;
SELECT * FROM tiercache.query('SELECT sum(v) FROM items') AS t(s bigint);
SELECT convert_from(substring(e FROM length(e) - 1), 'UTF8') FROM tiercache.fetch('SELECT sum(v) FROM items') e;

-- A transaction sees its own changes, nobody else sees them, and they do not stay when it rolls back.
BEGIN;
SELECT helpers.served(:'q');
UPDATE items SET v = 100 WHERE id = 1;
SELECT helpers.twice(:'q'), helpers.served(:'other');
ROLLBACK;
SELECT helpers.served(:'q'), helpers.served(:'other');
BEGIN;
SAVEPOINT s;
UPDATE items SET v = 100 WHERE id = 1;
SELECT helpers.served(:'q');
ROLLBACK TO s;
SELECT helpers.served(:'q');
COMMIT;
SELECT helpers.twice(:'q');
BEGIN;
SAVEPOINT s;
UPDATE items SET v = 100 WHERE id = 1;
RELEASE s;
COMMIT;
SELECT helpers.twice(:'q');
-- In one statement: a function that reads after it wrote.
CREATE FUNCTION write_and_read() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE items SET v = v + 1;
    RETURN helpers.served('SELECT sum(v), count(*) FROM items');
END $$;
SELECT write_and_read();
SELECT helpers.twice(:'q');
-- In one statement: what its data-changing WITH did so far is seen, as by any function that may write.
CREATE FUNCTION count_new() RETURNS text LANGUAGE plpgsql AS
    'BEGIN RETURN (SELECT json_agg(t) FROM (SELECT count(*) FROM items WHERE id = 60) t); END';
WITH w AS MATERIALIZED (INSERT INTO items VALUES (60, 60) RETURNING id)
    SELECT tiercache.query_json('SELECT count(*) FROM items WHERE id = 60'), count_new() FROM w;
DELETE FROM items WHERE id = 60;
-- An exception block that failed.
DO $$ BEGIN
    BEGIN
        UPDATE items SET v = 0;
        RAISE EXCEPTION 'no';
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    RAISE NOTICE '%', helpers.served('SELECT sum(v), count(*) FROM items');
END $$;
SELECT helpers.served(:'q');

-- Isolation levels.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT helpers.twice(:'q');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT helpers.twice(:'q');
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT helpers.twice('SELECT max(v) FROM items');
COMMIT;
SELECT helpers.served('SELECT max(v) FROM items');

-- Cascades.
CREATE TABLE children (id int PRIMARY KEY, item int REFERENCES items ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO children SELECT i, i FROM generate_series(1, 5) i;
\set c 'SELECT count(*), sum(item) FROM children'
SELECT helpers.twice(:'c');
DELETE FROM items WHERE id = 5;
SELECT helpers.twice(:'c');
UPDATE items SET id = 40 WHERE id = 4;
SELECT helpers.twice(:'c');
TRUNCATE items CASCADE;
SELECT helpers.twice(:'c'), helpers.twice(:'q');
DROP TABLE children;
INSERT INTO items SELECT i, i FROM generate_series(1, 5) i;

-- DDL.
\set star 'SELECT * FROM items ORDER BY id'
SELECT helpers.twice(:'star');
ALTER TABLE items ADD COLUMN w int DEFAULT 7;
SELECT helpers.twice(:'star');
ALTER TABLE items RENAME COLUMN w TO x;
SELECT helpers.twice(:'star');
SELECT tiercache.query_json('SELECT * FROM items WHERE id = 1');
ALTER TABLE items ALTER COLUMN x TYPE text;
SELECT helpers.twice(:'star');
ALTER TABLE items DROP COLUMN x;
SELECT helpers.twice(:'star');
ALTER TABLE items RENAME TO items_old;
SELECT helpers.served(:'star');
CREATE TABLE items (id int, other text);
SELECT helpers.twice(:'star');
DROP TABLE items;
SELECT helpers.served(:'star');
ALTER TABLE items_old RENAME TO items;
SELECT helpers.twice(:'star');
-- A rolled-back DDL loses nothing.
BEGIN;
ALTER TABLE items ADD COLUMN w int DEFAULT 7;
SELECT helpers.served(:'star');
ROLLBACK;
SELECT helpers.served(:'star');

-- Views, and views on views.
CREATE VIEW items_view AS SELECT id, v * 2 AS double FROM items;
CREATE VIEW items_view_view AS SELECT sum(double) AS s FROM items_view;
\set view 'SELECT * FROM items_view_view'
SELECT helpers.twice(:'view');
UPDATE items SET v = v + 1;
SELECT helpers.twice(:'view');
CREATE OR REPLACE VIEW items_view AS SELECT id, v * 3 AS double FROM items;
SELECT helpers.twice(:'view');
UPDATE items_view SET id = id + 100 WHERE id = 1;
SELECT helpers.twice(:'view'), helpers.twice(:'star');
SELECT cacheable, dependencies FROM tiercache.explain(:'view');
CREATE MATERIALIZED VIEW items_mat AS SELECT sum(v) AS s FROM items;
SELECT helpers.twice('SELECT * FROM items_mat');
UPDATE items SET v = v + 1;
SELECT helpers.served('SELECT * FROM items_mat');
REFRESH MATERIALIZED VIEW items_mat;
SELECT helpers.twice('SELECT * FROM items_mat');
CREATE UNIQUE INDEX ON items_mat (s);
UPDATE items SET v = v + 1;
SELECT helpers.twice('SELECT * FROM items_mat');
REFRESH MATERIALIZED VIEW CONCURRENTLY items_mat;
SELECT helpers.twice('SELECT * FROM items_mat');
REFRESH MATERIALIZED VIEW items_mat WITH NO DATA;
SELECT tiercache.query_json('SELECT * FROM items_mat');
DROP MATERIALIZED VIEW items_mat;
DROP VIEW items_view CASCADE;
SELECT helpers.served(:'view');

-- Partitions and children, in both directions.
CREATE TABLE parts (k int, v int) PARTITION BY RANGE (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT i, i FROM generate_series(1, 19) i;
\set p 'SELECT sum(v), count(*) FROM parts'
\set p1 'SELECT sum(v), count(*) FROM parts_1'
\set p2 'SELECT sum(v), count(*) FROM parts_2'
\set pruned 'SELECT sum(v), count(*) FROM parts WHERE k < 5'
SELECT helpers.twice(:'p'), helpers.twice(:'p1'), helpers.twice(:'p2'), helpers.twice(:'pruned');
INSERT INTO parts VALUES (3, 100);
SELECT helpers.twice(:'p'), helpers.twice(:'p1'), helpers.twice(:'pruned');
UPDATE parts_2 SET v = v + 1;
SELECT helpers.twice(:'p'), helpers.served(:'p1'), helpers.twice(:'p2'), helpers.twice(:'pruned');
UPDATE parts SET k = 12 WHERE k = 4;
SELECT helpers.twice(:'p'), helpers.twice(:'p1'), helpers.twice(:'p2'), helpers.twice(:'pruned');
CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (20) TO (30);
INSERT INTO parts_3 VALUES (25, 25);
SELECT helpers.twice(:'p');
CREATE TABLE parts_4 (k int, v int);
INSERT INTO parts_4 VALUES (35, 35);
ALTER TABLE parts ATTACH PARTITION parts_4 FOR VALUES FROM (30) TO (40);
SELECT helpers.twice(:'p');
ALTER TABLE parts DETACH PARTITION parts_4;
SELECT helpers.twice(:'p');
UPDATE parts_4 SET v = 36;
SELECT helpers.served(:'p');
DROP TABLE parts_3;
SELECT helpers.twice(:'p');
TRUNCATE parts_2;
SELECT helpers.twice(:'p');
CREATE TABLE parent (v int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2);
SELECT helpers.twice('SELECT sum(v) FROM parent'), helpers.twice('SELECT sum(v) FROM ONLY parent');
UPDATE child SET v = 3;
SELECT helpers.twice('SELECT sum(v) FROM parent'), helpers.twice('SELECT sum(v) FROM ONLY parent');
CREATE TABLE stray (v int);
INSERT INTO stray VALUES (10);
ALTER TABLE stray INHERIT parent;
SELECT helpers.twice('SELECT sum(v) FROM parent');
ALTER TABLE stray NO INHERIT parent;
SELECT helpers.twice('SELECT sum(v) FROM parent');
-- Many partitions: their number does not stand in the way.
DO $$ BEGIN
    CREATE TABLE many (k int) PARTITION BY LIST (k);
    FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES IN (%s)', i, i); END LOOP;
END $$;
INSERT INTO many SELECT generate_series(1, 300);
SELECT helpers.twice('SELECT count(*) FROM many');
INSERT INTO many_250 VALUES (250);
SELECT helpers.twice('SELECT count(*) FROM many');
-- Too many tables by name: answered, not stored.
SELECT helpers.twice('SELECT count(*) FROM (' || string_agg('SELECT k FROM many_' || i, ' UNION ALL ') || ') s')
    FROM generate_series(1, 220) i;
SELECT cacheable, reason FROM tiercache.explain(
    (SELECT 'SELECT count(*) FROM (' || string_agg('SELECT k FROM many_' || i, ' UNION ALL ') || ') s'
     FROM generate_series(1, 220) i));
DROP TABLE many;

-- Functions: replaced, and what they read.
CREATE FUNCTION factor() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2';
CREATE FUNCTION count_items(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN (SELECT count(*) FROM items) + $1; END';
CREATE FUNCTION count_items_sql(int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) + $1 FROM items';
CREATE FUNCTION list_items() RETURNS SETOF items LANGUAGE sql IMMUTABLE AS 'SELECT * FROM items';
CREATE FUNCTION caller(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN count_items($1); END';
\set f 'SELECT factor() * v AS d FROM others ORDER BY id'
SELECT helpers.twice(:'f');
CREATE OR REPLACE FUNCTION factor() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3';
SELECT helpers.twice(:'f');
SELECT helpers.twice('SELECT count_items(1)'), helpers.twice('SELECT count_items(id) FROM others ORDER BY id'),
    helpers.twice('SELECT count_items_sql(id) FROM others ORDER BY id'), helpers.twice('SELECT count(*) FROM list_items()'),
    helpers.twice('SELECT caller(id) FROM others ORDER BY id');
INSERT INTO items VALUES (50, 50);
SELECT helpers.twice('SELECT count_items(1)'), helpers.twice('SELECT count_items(id) FROM others ORDER BY id'),
    helpers.twice('SELECT count_items_sql(id) FROM others ORDER BY id'), helpers.twice('SELECT count(*) FROM list_items()'),
    helpers.twice('SELECT caller(id) FROM others ORDER BY id');
CREATE OR REPLACE FUNCTION count_items(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN (SELECT count(*) FROM items) + $1 + 1000; END';
SELECT helpers.twice('SELECT count_items(1)'), helpers.twice('SELECT caller(id) FROM others ORDER BY id');
-- A function that would read tables in a worker process, unseen.
CREATE FUNCTION count_items_safe(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
    'BEGIN RETURN (SELECT count(*) FROM items) + $1; END';
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SELECT helpers.twice('SELECT sum(count_items_safe(id)) FROM others');
INSERT INTO items VALUES (51, 51);
SELECT helpers.twice('SELECT sum(count_items_safe(id)) FROM others');
-- A parallel plan without such functions.
SELECT helpers.twice('SELECT sum(v) FROM others');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET parallel_leader_participation;
-- A function that reads what nobody follows: answered, not stored.
CREATE FUNCTION count_catalog() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN (SELECT count(*) FROM pg_class WHERE relname = ''items''); END';
SELECT helpers.twice('SELECT count_catalog() FROM others');
-- A function that was served from the cache itself.
CREATE FUNCTION cached_sum() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN tiercache.query_json(''SELECT sum(v) FROM items''); END';
SELECT tiercache.query_json('SELECT sum(v) FROM items') IS NOT NULL;
SELECT helpers.twice('SELECT cached_sum() FROM others WHERE id = 1');
UPDATE items SET v = v + 1;
SELECT helpers.twice('SELECT cached_sum() FROM others WHERE id = 1');
-- A better match by its arguments comes into being.
CREATE FUNCTION pick(numeric) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'numeric' $$;
SELECT helpers.twice('SELECT pick(id) FROM others WHERE id = 1');
CREATE FUNCTION pick(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'int' $$;
SELECT helpers.twice('SELECT pick(id) FROM others WHERE id = 1');

-- Types.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE typed (id int, m mood, p pair);
INSERT INTO typed VALUES (1, 'sad', (1, 'x')), (2, 'happy', (2, 'y'));
SELECT helpers.twice('SELECT * FROM typed ORDER BY m');
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
SELECT helpers.twice('SELECT * FROM typed ORDER BY m');
ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy';
SELECT helpers.served('SELECT enum_range(NULL::mood)');
ALTER TYPE pair RENAME ATTRIBUTE b TO c;
SELECT helpers.twice('SELECT * FROM typed ORDER BY id');
SELECT tiercache.query_json('SELECT p FROM typed WHERE id = 1');
CREATE DOMAIN small AS int CHECK (VALUE < 100);
SELECT helpers.twice('SELECT v::small FROM others ORDER BY id');
ALTER DOMAIN small DROP CONSTRAINT small_check;
ALTER DOMAIN small ADD CHECK (VALUE < 3);
SELECT helpers.served('SELECT v::small FROM others ORDER BY id');
DROP TABLE typed;
DROP TYPE mood, pair;
DROP DOMAIN small;

-- By hand.
\set before 'SELECT count(*) FROM others WHERE id > 0'
SELECT helpers.twice(:'before'), helpers.twice(:'q');
SELECT tiercache.invalidate('others');
SELECT helpers.served(:'before'), helpers.served(:'q');
BEGIN;
SELECT tiercache.invalidate('others');
ROLLBACK;
SELECT helpers.served(:'before');
SELECT tiercache.invalidate('no_such_table');
SELECT tiercache.invalidate(4294967295::oid::regclass);
SELECT tiercache.token() AS token_before \gset
SELECT tiercache.reset();
SELECT entries FROM tiercache.stats;
SELECT tiercache.token() > :token_before;
SELECT helpers.twice(:'before'), helpers.twice(:'q');
BEGIN;
SELECT tiercache.reset();
ROLLBACK;
SELECT helpers.served(:'before'), helpers.served(:'q');

-- Prepared transactions.
BEGIN;
UPDATE others SET v = 1000;
PREPARE TRANSACTION 'tiercache_regress';
SELECT helpers.twice(:'other');
COMMIT PREPARED 'tiercache_regress';
SELECT helpers.twice(:'other');
BEGIN;
UPDATE others SET v = 2000;
PREPARE TRANSACTION 'tiercache_regress';
ROLLBACK PREPARED 'tiercache_regress';
SELECT helpers.twice(:'other');

DROP TABLE items, others, parts, parts_4, parent, child, stray CASCADE;
DROP FUNCTION write_and_read, factor, count_items, count_items_sql, count_items_safe, count_new, caller, count_catalog, cached_sum,
    pick(int), pick(numeric);
