-- Answers that a session serves from its own copies: the plan must run again, and every answer is judged as any hit is.
CREATE FUNCTION helpers.new_recalls() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    total bigint := (SELECT recalled_hits FROM tiercache.stats);
    before bigint := coalesce(nullif(current_setting('helpers.recalls', true), ''), '0')::bigint;
BEGIN
    PERFORM set_config('helpers.recalls', total::text, false);
    RETURN CASE WHEN total > before THEN 'recalled' ELSE 'looked up' END;
END $$;
GRANT EXECUTE ON FUNCTION helpers.new_recalls() TO PUBLIC;
CREATE ROLE recalled_reader;
CREATE TABLE recalled_rows (id int PRIMARY KEY, v text, at timestamptz);
INSERT INTO recalled_rows SELECT g, 'v' || g, '2001-01-01 00:00+00' FROM generate_series(1, 500) g;
GRANT SELECT ON recalled_rows TO recalled_reader;
SET tiercache.mode = auto;
SET tiercache.min_cost = 0;
SET plan_cache_mode = force_generic_plan;
SET TimeZone = 'UTC';
PREPARE one(int) AS SELECT id, v, to_char(at, 'HH24:MI') FROM recalled_rows WHERE id = $1;
PREPARE two(int, text) AS SELECT count(*) FROM recalled_rows WHERE id > $1 AND ($2 IS NULL OR v <> $2);
PREPARE no_parameters AS SELECT max(id) FROM recalled_rows;
PREPARE many AS SELECT * FROM recalled_rows;
SELECT helpers.new_recalls() <> '' AS reset;
-- A fill, a hit that shows that the plan runs again, one that is kept, and recalls.
EXECUTE one(1);
EXECUTE one(1);
EXECUTE one(1);
SELECT helpers.new_recalls();
EXECUTE one(1);
SELECT helpers.new_recalls();
EXECUTE no_parameters; EXECUTE no_parameters; EXECUTE no_parameters; EXECUTE no_parameters;
SELECT helpers.new_recalls();
-- Other values, NULL among them, are other questions.
EXECUTE one(2);
EXECUTE one(NULL);
SELECT helpers.new_recalls();
EXECUTE two(490, NULL); EXECUTE two(490, NULL); EXECUTE two(490, NULL); EXECUTE two(490, NULL);
SELECT helpers.new_recalls();
EXECUTE two(490, 'v500');
EXECUTE two(491, NULL);
EXECUTE two(NULL, NULL);
SELECT helpers.new_recalls();
EXECUTE two(490, NULL);
SELECT helpers.new_recalls();
-- A change, here and rolled back; own changes.
UPDATE recalled_rows SET v = 'changed' WHERE id = 1;
EXECUTE one(1);
EXECUTE one(1); EXECUTE one(1); EXECUTE one(1);
SELECT helpers.new_recalls();
BEGIN;
UPDATE recalled_rows SET v = 'own' WHERE id = 1;
EXECUTE one(1);
SAVEPOINT s;
ROLLBACK TO s;
EXECUTE one(1);
SELECT helpers.new_recalls();
ROLLBACK;
EXECUTE one(1);
-- What the text of values depends on, and who asks.
SET TimeZone = 'Asia/Tokyo';
EXECUTE one(1);
SELECT helpers.new_recalls();
SET TimeZone = 'UTC';
EXECUTE one(1);
SELECT helpers.new_recalls();
ALTER TABLE recalled_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY small ON recalled_rows USING (id > 1);
EXECUTE one(1); EXECUTE one(1); EXECUTE one(1); EXECUTE one(1);
SELECT helpers.new_recalls();
SET ROLE recalled_reader;
EXECUTE one(1);
EXECUTE one(2); EXECUTE one(2); EXECUTE one(2); EXECUTE one(2);
SELECT helpers.new_recalls();
RESET ROLE;
EXECUTE one(1);
REVOKE SELECT ON recalled_rows FROM recalled_reader;
SET ROLE recalled_reader;
EXECUTE one(2);
RESET ROLE;
-- tiercache.reset(): all, and some.
EXECUTE one(2); EXECUTE one(2); EXECUTE one(2); EXECUTE one(2);
SELECT helpers.new_recalls();
SELECT tiercache.reset(database => current_database());
EXECUTE one(2);
SELECT helpers.new_recalls();
EXECUTE one(2); EXECUTE one(2); EXECUTE one(2);
SELECT helpers.new_recalls();
SELECT tiercache.reset();
EXECUTE one(2);
SELECT helpers.new_recalls();
-- Switched off, verified, explained: not recalled.
EXECUTE one(2); EXECUTE one(2); EXECUTE one(2);
SELECT helpers.new_recalls();
SET tiercache.mode = off;
EXECUTE one(2);
SET tiercache.mode = auto;
SET tiercache.verify = error;
EXECUTE one(2);
RESET tiercache.verify;
DO $$ BEGIN EXECUTE 'EXPLAIN (ANALYZE) EXECUTE no_parameters'; END $$;
SELECT helpers.new_recalls();
-- A statement of the same name is another one.
DEALLOCATE one;
PREPARE one(int) AS SELECT id, v FROM recalled_rows WHERE id = $1 + 1;
EXECUTE one(2); EXECUTE one(2); EXECUTE one(2); EXECUTE one(2);
SELECT helpers.new_recalls();
-- More than 8 KiB is looked up each time.
SELECT count(*) FROM recalled_rows;
DO $$ DECLARE n int; BEGIN FOR i IN 1..5 LOOP EXECUTE 'EXECUTE many'; END LOOP; END $$;
SELECT helpers.new_recalls();
-- Plans of PL/pgSQL run again, too.
CREATE FUNCTION recalled_value(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    SELECT v INTO found FROM recalled_rows WHERE id = n;
    RETURN found;
END $$;
SELECT recalled_value(7), recalled_value(7), recalled_value(7), recalled_value(8), recalled_value(7);
SELECT helpers.new_recalls();
UPDATE recalled_rows SET v = v || '!' WHERE id = 7;
SELECT recalled_value(7), recalled_value(8), recalled_value(7);
-- A large parameter leaves nothing behind, however often it is passed while one statement runs.
CREATE TABLE recalled_large AS SELECT g AS id, repeat('x', 1000000) AS p FROM generate_series(1, 50) g;
CREATE FUNCTION recalled_few(a text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM recalled_rows WHERE id < 5 AND a IS NOT NULL LIMIT 1
$$;
CREATE FUNCTION recalled_bytes(after bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT sum(total_bytes) FROM pg_backend_memory_contexts);
END $$;
SELECT count(*), max(bytes) - min(bytes) < 20000000 AS flat
FROM (SELECT recalled_bytes(recalled_few(p)) AS bytes FROM recalled_large) calls;
DROP FUNCTION recalled_bytes(bigint);
DROP FUNCTION recalled_few(text);
DROP TABLE recalled_large;
RESET plan_cache_mode;
RESET tiercache.mode;
RESET tiercache.min_cost;
RESET TimeZone;
DROP FUNCTION recalled_value(int);
DROP TABLE recalled_rows;
DROP ROLE recalled_reader;
DEALLOCATE ALL;
