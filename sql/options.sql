-- The functions' options: parameters, class, ttl, tags, max_staleness.
CREATE TABLE optioned (id int, v int);
INSERT INTO optioned SELECT i, i * 10 FROM generate_series(1, 5) i;

-- Parameters, in every form of answer.
SELECT helpers.new_hits() IS NOT NULL;
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1', '{2}');
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1', params => '{3}');
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1', params => '{2}');
SELECT helpers.new_hits();
SELECT * FROM tiercache.query('SELECT id, $2 AS note FROM optioned WHERE id > $1 ORDER BY id', ARRAY['3', NULL]) AS t(id int, note text);
SELECT * FROM tiercache.query('SELECT id, $2 AS note FROM optioned WHERE id > $1 ORDER BY id', ARRAY['3', NULL]) AS t(id int, note text);
SELECT * FROM tiercache.query('SELECT id, $2 AS note FROM optioned WHERE id > $1 ORDER BY id', ARRAY['3', '']) AS t(id int, note text);
SELECT helpers.new_hits();
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1');
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1', '{1,2}');
SELECT tiercache.query_json('SELECT v FROM optioned WHERE id = $1', '{x}');
-- Values are values, whatever they hold.
SELECT tiercache.query_json('SELECT $1::text AS t', ARRAY['''; DROP TABLE optioned; --']);
-- Prepared, with the text as a parameter of any string type.
PREPARE asked(text, text[]) AS SELECT tiercache.query_json($1, $2, class => 'hot');
EXECUTE asked('SELECT v FROM optioned WHERE id = $1', '{4}');
EXECUTE asked('SELECT v FROM optioned WHERE id = $1', '{4}');
EXECUTE asked('SELECT v FROM optioned WHERE id = $1', '{5}');
DEALLOCATE asked;
SELECT tiercache.query_json('SELECT 1 AS one'::varchar), tiercache.query_json('SELECT 1 AS one'::text);
SELECT tiercache.query_json(NULL, params => '{1}'), tiercache.fetch(NULL, class => 'hot'), tiercache.query_json('SELECT 1 AS one', NULL, NULL, NULL, NULL, NULL);
SELECT * FROM tiercache.query(NULL, class => 'hot') AS t(a int);

-- fetch: the class travels with the entry.
SELECT get_byte(tiercache.fetch('SELECT v FROM optioned WHERE id = $1', '{1}', class => 'reference'), 50) AS class,
    get_byte(tiercache.fetch('SELECT v FROM optioned WHERE id = 2', class => 'cold'), 50) AS class,
    get_byte(tiercache.fetch('SELECT v FROM optioned WHERE id = 3'), 50) AS class;

-- Classes: how long, and what makes room first.
CREATE VIEW lives AS SELECT sql, class, round((ttl_left_ms + age_ms) / 1000.0) AS ttl FROM tiercache.entries WHERE sql LIKE '%optioned /*%';
SELECT name, data_class, l1, l2, l3, l4, max_staleness, edited FROM tiercache.classes ORDER BY name;
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* none */') IS NOT NULL;
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* hot */', class => 'hot') IS NOT NULL;
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* hourly */', class => 'hourly') IS NOT NULL;
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* ttl */', class => 'cold', ttl => '1 hour') IS NOT NULL;
SET tiercache.default_class = 'reference';
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* default */') IS NOT NULL;
SET tiercache.mode = auto;
SELECT count(*) AS x FROM optioned /* transparent */;
RESET tiercache.mode;
SET tiercache.default_class = 'no such class';
SELECT tiercache.query_json('SELECT 1 AS x FROM optioned /* unknown */') IS NOT NULL;
RESET tiercache.default_class;
SELECT sql, class, ttl BETWEEN 77760 AND 86400 AS hot, ttl BETWEEN 38880 AND 43200 AS warm, ttl BETWEEN 3240 AND 3600 AS hourly,
    ttl BETWEEN 2332800 AND 2592000 AS reference FROM lives ORDER BY sql COLLATE "C";
SELECT tiercache.query_json('SELECT 1', class => 'lukewarm');
-- Users edit them; what others of the session hold is of no concern.
INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('report', 'cold', '1 min', '1 min', '1 min', '10 min');
UPDATE tiercache.classes SET l4 = '20 min' WHERE name = 'hourly';
INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('daily', 'hot', '1 min', '1 min', '1 min', '30 min');
DELETE FROM tiercache.classes WHERE name = 'weekly';
SELECT name, data_class, l4, edited FROM tiercache.classes WHERE edited OR name = 'weekly' ORDER BY name;
INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('daily', 'hot', '1 min', '1 min', '1 min', '30 min');
INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('wrong', 'tepid', '1 min', '1 min', '1 min', '30 min');
INSERT INTO tiercache.classes (name, data_class, l1, l2, l3, l4) VALUES ('wrong', 'hot', '1 min', '1 min', '1 min', '0');
SELECT tiercache.query_json('SELECT 2 AS x FROM optioned /* report */', class => 'report') IS NOT NULL;
SELECT tiercache.query_json('SELECT 2 AS x FROM optioned /* hourly */', class => 'hourly') IS NOT NULL;
SELECT tiercache.query_json('SELECT 2 AS x FROM optioned /* daily */', class => 'daily') IS NOT NULL;
SELECT tiercache.query_json('SELECT 2', class => 'weekly');
BEGIN;
UPDATE tiercache.classes SET l4 = '40 min' WHERE name = 'hourly';
ROLLBACK;
SELECT tiercache.query_json('SELECT 3 AS x FROM optioned /* hourly */', class => 'hourly') IS NOT NULL;
SELECT sql, class, ttl BETWEEN 540 AND 600 AS min10, ttl BETWEEN 1080 AND 1200 AS min20, ttl BETWEEN 1620 AND 1800 AS min30
    FROM lives WHERE sql ~ '^SELECT [23]' ORDER BY sql COLLATE "C";
DROP VIEW lives;
-- Not everybody may.
CREATE ROLE tiercache_visitor;
SET ROLE tiercache_visitor;
SELECT count(*) > 4 AS classes FROM tiercache.classes;
UPDATE tiercache.classes SET l4 = '1 s';
SELECT tiercache.invalidate_tag('x');
SELECT tiercache.reset(role => 'postgres');
RESET ROLE;
SELECT tiercache.classes_edited();

-- A ttl: no answer is older, whoever stored it.
SELECT tiercache.query_json('SELECT sum(v) FROM optioned', ttl => '0');
SELECT tiercache.query_json('SELECT sum(v) FROM optioned', ttl => '-1 s');
SELECT tiercache.query_json('SELECT sum(v) FROM optioned') IS NOT NULL, helpers.new_hits() IS NOT NULL;
SELECT pg_sleep(0.1);
SELECT tiercache.query_json('SELECT sum(v) FROM optioned', ttl => '50 ms');
SELECT helpers.new_hits();
SELECT tiercache.query_json('SELECT sum(v) FROM optioned', ttl => '1 hour');
SELECT helpers.new_hits();

-- Tags: names of the user's own.
SELECT tiercache.query_json('SELECT max(v) FROM optioned', tags => '{prices,eu}');
SELECT tiercache.query_json('SELECT max(v) FROM optioned', tags => '{eu}');
SELECT tiercache.query_json('SELECT max(v) FROM optioned');
SELECT helpers.new_hits();
SELECT tiercache.invalidate_tag('us');
SELECT tiercache.query_json('SELECT max(v) FROM optioned');
SELECT helpers.new_hits();
BEGIN;
SELECT tiercache.invalidate_tag('prices');
ROLLBACK;
SELECT tiercache.query_json('SELECT max(v) FROM optioned');
SELECT helpers.new_hits();
SELECT tiercache.invalidate_tag('prices');
SELECT tiercache.query_json('SELECT max(v) FROM optioned');
SELECT helpers.new_hits();
-- An entry without the tag does not answer a call with it: it would outlive the tag.
SELECT tiercache.query_json('SELECT max(v) FROM optioned', tags => '{prices}');
SELECT helpers.new_hits();
SELECT tiercache.invalidate_tag('prices');
SELECT tiercache.query_json('SELECT max(v) FROM optioned', tags => '{prices}');
SELECT helpers.new_hits();
SELECT tiercache.query_json('SELECT 1', tags => ARRAY[NULL]::text[]);
SELECT tiercache.query_json('SELECT 1', tags => (SELECT array_agg(i::text) FROM generate_series(1, 17) i));
SELECT tiercache.query_json('SELECT 1', tags => '{{a},{b}}');

-- max_staleness: rows may be old, by so much.
SELECT tiercache.query_json('SELECT count(*) FROM optioned');
INSERT INTO optioned VALUES (6, 60);
SELECT tiercache.query_json('SELECT count(*) FROM optioned', max_staleness => '1 hour');
SELECT pg_sleep(0.02);
SELECT tiercache.query_json('SELECT count(*) FROM optioned', max_staleness => '10 ms');
INSERT INTO optioned VALUES (7, 70);
SELECT tiercache.query_json('SELECT count(*) FROM optioned', max_staleness => '0');
SELECT stale_hits FROM tiercache.stats \gset
INSERT INTO optioned VALUES (8, 80);
SELECT count FROM tiercache.query('SELECT count(*) FROM optioned', max_staleness => '1 hour') AS t(count bigint);
INSERT INTO optioned VALUES (9, 90);
SELECT count FROM tiercache.query('SELECT count(*) FROM optioned', max_staleness => '1 hour') AS t(count bigint);
SELECT stale_hits - :stale_hits AS stale_hits FROM tiercache.stats;
-- Not in a transaction with changes of its own, nor for a snapshot of another time.
BEGIN;
INSERT INTO optioned VALUES (10, 100);
SELECT count FROM tiercache.query('SELECT count(*) FROM optioned', max_staleness => '1 hour') AS t(count bigint);
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count FROM tiercache.query('SELECT count(*) FROM optioned', max_staleness => '1 hour') AS t(count bigint);
COMMIT;
-- Rights and definitions are never old.
CREATE TABLE secret (v int);
INSERT INTO secret VALUES (1);
GRANT SELECT ON secret TO tiercache_visitor;
SET ROLE tiercache_visitor;
SELECT tiercache.query_json('SELECT * FROM secret');
RESET ROLE;
INSERT INTO secret VALUES (2);
SET ROLE tiercache_visitor;
SELECT tiercache.query_json('SELECT * FROM secret', max_staleness => '1 hour');
RESET ROLE;
REVOKE SELECT ON secret FROM tiercache_visitor;
SET ROLE tiercache_visitor;
SELECT tiercache.query_json('SELECT * FROM secret', max_staleness => '1 hour');
RESET ROLE;
SELECT tiercache.query_json('SELECT * FROM secret');
INSERT INTO secret VALUES (3);
SELECT tiercache.query_json('SELECT * FROM secret', max_staleness => '1 hour');
ALTER TABLE secret ADD w int DEFAULT 5;
SELECT tiercache.query_json('SELECT * FROM secret', max_staleness => '1 hour');
SELECT tiercache.invalidate('secret');
INSERT INTO secret VALUES (4);
SELECT tiercache.query_json('SELECT count(*) FROM secret', max_staleness => '1 hour');
SELECT tiercache.invalidate('secret');
INSERT INTO secret VALUES (5);
SELECT tiercache.query_json('SELECT count(*) FROM secret', max_staleness => '1 hour');
-- What is old does not become part of something new.
CREATE FUNCTION stale_count() RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN RETURN tiercache.query_json('SELECT count(*) FROM secret', max_staleness => '1 hour')::text; END $$;
SELECT tiercache.query_json('SELECT count(*) FROM secret');
INSERT INTO secret VALUES (6);
SELECT tiercache.query_json('SELECT count(*) FROM secret', max_staleness => '1 hour');
SELECT tiercache.query_json('SELECT stale_count() AS s FROM secret LIMIT 1');

-- What entries depend on.
SELECT tiercache.reset();
SELECT tiercache.query_json('SELECT count(*) FROM secret JOIN optioned ON true', tags => '{prices}') IS NOT NULL;
SELECT relation FROM tiercache.dependencies WHERE sql LIKE '%JOIN optioned ON true%' AND relation IS NOT NULL ORDER BY relation::text;
SELECT sql FROM tiercache.dependencies WHERE tag = tiercache.label_tag('prices');
SELECT entries, version <= (SELECT clock FROM tiercache.stats) AS version, writers FROM tiercache.tags WHERE relation = 'secret'::regclass;
INSERT INTO secret VALUES (7);
SELECT t.version > e.stamp AS changed FROM tiercache.tags t, tiercache.entries e WHERE relation = 'secret'::regclass AND sql LIKE '%JOIN optioned ON true%';
SET ROLE tiercache_visitor;
SELECT DISTINCT sql FROM tiercache.dependencies;
RESET ROLE;

-- Reset by database, role or text.
GRANT SELECT ON optioned TO tiercache_visitor;
CREATE VIEW held AS SELECT role = 'tiercache_visitor' AS visitor, sql FROM tiercache.entries WHERE sql LIKE '%optioned' ORDER BY 1, 2;
SELECT tiercache.reset();
SELECT tiercache.query_json('SELECT 1 AS a FROM optioned') IS NOT NULL, tiercache.query_json('SELECT 2 AS a FROM optioned') IS NOT NULL;
SET ROLE tiercache_visitor;
SELECT tiercache.query_json('SELECT 1 AS a FROM optioned') IS NOT NULL, tiercache.query_json('SELECT 2 AS a FROM optioned') IS NOT NULL;
RESET ROLE;
SELECT tiercache.reset(database => 'postgres');
SELECT * FROM held;
SELECT tiercache.reset(role => 'tiercache_visitor', sql => 'SELECT 1 AS a FROM optioned');
SELECT * FROM held;
SELECT tiercache.reset(sql => 'SELECT 2 AS a FROM optioned');
SELECT * FROM held;
SELECT tiercache.reset(current_database());
SELECT * FROM held;
SELECT tiercache.reset(role => 'nobody at all');
SELECT tiercache.reset('no such database');

-- What is computed more quickly than its size is worth is not stored transparently.
CREATE VIEW stored AS SELECT count(*) FROM tiercache.entries WHERE sql LIKE 'SELECT repeat%optioned%' AND format = 'pg_tuples';
SET tiercache.mode = auto;
SET tiercache.min_fill_cost = 100000000;
SELECT repeat('x', 3) AS x FROM optioned WHERE id = 1;
SELECT * FROM stored;
SET tiercache.min_fill_cost = 0;
SELECT repeat('x', 3) AS x FROM optioned WHERE id = 1;
SELECT * FROM stored;
RESET tiercache.mode;
DROP VIEW stored;
DROP VIEW held;
DROP FUNCTION stale_count;
DROP TABLE optioned, secret;
DROP ROLE tiercache_visitor;
DELETE FROM tiercache.classes WHERE name IN ('report');
