-- Cursors in transparent mode: those that WHERE CURRENT OF can't name the rows of.
CREATE TABLE cursors_rows AS SELECT g AS id, g % 10 AS kind, 'row ' || g AS name FROM generate_series(1, 1000) g;
CREATE UNIQUE INDEX ON cursors_rows (id);
ANALYZE cursors_rows;
SET tiercache.mode = auto;
SELECT helpers.new_hits() >= 0;
-- Filled by one, served to the next, whatever its name; read in parts and both ways.
BEGIN;
DECLARE c CURSOR FOR SELECT kind, count(*), min(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH 3 FROM c;
FETCH BACKWARD 2 FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 1 FROM c;
DECLARE d BINARY CURSOR FOR SELECT kind, count(*), min(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
DECLARE e SCROLL CURSOR FOR SELECT kind, count(*), min(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH LAST FROM e;
FETCH PRIOR FROM e;
FETCH ABSOLUTE 3 FROM e;
FETCH RELATIVE -2 FROM e;
FETCH FIRST FROM e;
MOVE FORWARD 4 IN e;
FETCH NEXT FROM e;
FETCH ALL FROM e;
FETCH BACKWARD ALL FROM e;
COMMIT;
SELECT helpers.new_hits();
-- Without SCROLL as PostgreSQL has it: an aggregate is not read backwards, be it a hit or not.
BEGIN;
DECLARE c CURSOR FOR SELECT count(*) FROM cursors_rows;
FETCH 2 FROM c;
SAVEPOINT s;
FETCH BACKWARD 1 FROM c;
ROLLBACK TO s;
DECLARE d CURSOR FOR SELECT count(*) FROM cursors_rows;
FETCH 2 FROM d;
FETCH BACKWARD 1 FROM d;
ROLLBACK;
SELECT helpers.new_hits();
-- Beyond the transaction: from where it was left, and back.
BEGIN;
DECLARE h NO SCROLL CURSOR WITH HOLD FOR SELECT kind, sum(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH 2 FROM h;
DECLARE i SCROLL CURSOR WITH HOLD FOR SELECT kind, sum(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH 2 FROM i;
UPDATE cursors_rows SET id = id + 1000 WHERE id = 1;
COMMIT;
FETCH 2 FROM h;
FETCH ALL FROM i;
FETCH ABSOLUTE 2 FROM i;
CLOSE ALL;
-- The update counts from its commit on.
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT kind, sum(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
COMMIT;
FETCH 2 FROM h;
CLOSE h;
-- Own writes; an older cursor does not see them, and stores nothing of them.
BEGIN;
DECLARE c CURSOR FOR SELECT count(*), max(name) FROM cursors_rows;
INSERT INTO cursors_rows VALUES (5000, 5, 'z');
DECLARE d CURSOR FOR SELECT count(*), max(name) FROM cursors_rows;
FETCH c;
FETCH d;
FETCH c;
FETCH d;
ROLLBACK;
BEGIN;
DECLARE c CURSOR FOR SELECT count(*), max(name) FROM cursors_rows;
FETCH c;
COMMIT;
-- WHERE CURRENT OF.
BEGIN;
DECLARE c CURSOR FOR SELECT max(id) FROM cursors_rows;
FETCH c;
SAVEPOINT s;
UPDATE cursors_rows SET name = 'x' WHERE CURRENT OF c;
ROLLBACK TO s;
DECLARE u CURSOR FOR SELECT id FROM cursors_rows;
FETCH u;
UPDATE cursors_rows SET name = 'x' WHERE CURRENT OF u;
ROLLBACK;
-- A sort and a join hide the scans of their tables from it, so these are cached; what shows its scan is not.
SELECT helpers.new_hits() IS NOT NULL;
BEGIN;
DECLARE c CURSOR FOR SELECT id, name FROM cursors_rows WHERE kind = 3 ORDER BY name DESC;
FETCH 2 FROM c;
MOVE FORWARD ALL IN c;
DECLARE d CURSOR FOR SELECT id, name FROM cursors_rows WHERE kind = 3 ORDER BY name DESC;
FETCH 2 FROM d;
FETCH BACKWARD 1 FROM d;
DECLARE j CURSOR FOR SELECT a.id, b.name FROM cursors_rows a JOIN cursors_rows b ON b.id = a.id + 990 ORDER BY a.id;
MOVE FORWARD ALL IN j;
DECLARE k CURSOR FOR SELECT a.id, b.name FROM cursors_rows a JOIN cursors_rows b ON b.id = a.id + 990 ORDER BY a.id;
FETCH 2 FROM k;
SAVEPOINT s;
UPDATE cursors_rows SET name = 'x' WHERE CURRENT OF d;
ROLLBACK TO s;
DECLARE u CURSOR FOR SELECT id FROM cursors_rows LIMIT 3;
MOVE FORWARD ALL IN u;
DECLARE v CURSOR FOR SELECT id FROM cursors_rows LIMIT 3;
FETCH v;
UPDATE cursors_rows SET name = 'x' WHERE CURRENT OF v;
ROLLBACK;
SELECT helpers.new_hits();
-- PL/pgSQL: bound and unbound cursors with parameters.
CREATE FUNCTION kinds_from(int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    c CURSOR (least int) FOR SELECT kind, count(*) AS n FROM cursors_rows WHERE kind >= least GROUP BY kind ORDER BY kind;
    d refcursor;
    n bigint;
    told text := '';
BEGIN
    FOR r IN c($1) LOOP told := told || r.kind || ':' || r.n || ' '; END LOOP;
    OPEN d SCROLL FOR SELECT sum(id) FROM cursors_rows WHERE kind = $1;
    FETCH d INTO n;
    CLOSE d;
    RETURN told || n;
END $$;
SELECT helpers.new_hits() IS NOT NULL;
SELECT kinds_from(7), kinds_from(7), kinds_from(8), kinds_from(7);
SELECT helpers.new_hits();
-- PostgreSQL computes nothing before the first FETCH: settings, role and functions are those of that moment.
CREATE FUNCTION ten() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 10';
DO $$ DECLARE r record; BEGIN FOR i IN 1..2 LOOP
    FOR r IN SELECT count(*) AS n, to_char(to_timestamp(0), 'HH24') AS hour, max(id) + ten() AS more FROM cursors_rows LOOP END LOOP;
END LOOP; END $$;
BEGIN;
DECLARE c CURSOR FOR SELECT count(*) AS n, to_char(to_timestamp(0), 'HH24') AS hour, max(id) + ten() AS more FROM cursors_rows;
FETCH c;
DECLARE d CURSOR FOR SELECT count(*) AS n, to_char(to_timestamp(0), 'HH24') AS hour, max(id) + ten() AS more FROM cursors_rows;
SET LOCAL TimeZone = 'Asia/Tokyo';
FETCH d;
RESET TimeZone;
DECLARE e CURSOR FOR SELECT count(*) AS n, to_char(to_timestamp(0), 'HH24') AS hour, max(id) + ten() AS more FROM cursors_rows;
CREATE OR REPLACE FUNCTION ten() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 20';
FETCH e;
ROLLBACK;
CREATE ROLE cursors_reader;
CREATE TABLE cursors_owned AS SELECT owner, id FROM unnest('{postgres,cursors_reader}'::text[]) owner, generate_series(1, 20) id;
ALTER TABLE cursors_owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON cursors_owned USING (owner = current_user OR owner = current_setting('cursors.owner', true));
GRANT SELECT ON cursors_owned TO cursors_reader;
GRANT USAGE ON SCHEMA helpers TO cursors_reader;
SET ROLE cursors_reader;
SET cursors.owner = 'nobody';
SELECT helpers.new_hits() IS NOT NULL;
BEGIN;
DECLARE c CURSOR FOR SELECT count(*), min(owner), max(owner) FROM cursors_owned;
FETCH c;
DECLARE d CURSOR FOR SELECT count(*), min(owner), max(owner) FROM cursors_owned;
FETCH d;
DECLARE e CURSOR FOR SELECT count(*), min(owner), max(owner) FROM cursors_owned;
SET LOCAL cursors.owner = 'postgres';
FETCH e;
COMMIT;
SELECT helpers.new_hits();
RESET ROLE;
-- An open cursor uses its tables, also when it is served.
BEGIN;
DECLARE c CURSOR FOR SELECT max(id) FROM cursors_rows;
FETCH c;
DECLARE d CURSOR FOR SELECT max(id) FROM cursors_rows;
FETCH d;
CLOSE c;
SAVEPOINT s;
TRUNCATE cursors_rows;
ROLLBACK TO s;
CLOSE d;
ROLLBACK;
DO $$ DECLARE r record; BEGIN
    FOR i IN 1..2 LOOP
        BEGIN
            FOR r IN SELECT max(id) FROM cursors_rows LOOP ALTER TABLE cursors_rows ADD COLUMN no int; END LOOP;
        EXCEPTION WHEN object_in_use THEN RAISE NOTICE '%', SQLERRM; END;
        FOR r IN SELECT max(id) FROM cursors_rows LOOP END LOOP;
    END LOOP;
END $$;
DROP TABLE cursors_owned;
REVOKE ALL ON SCHEMA helpers FROM cursors_reader;
DROP ROLE cursors_reader;
DROP FUNCTION ten;
-- EXPLAIN.
EXPLAIN (COSTS off) DECLARE c CURSOR FOR SELECT count(*) FROM cursors_rows;
EXPLAIN (COSTS off) DECLARE c CURSOR FOR SELECT id FROM cursors_rows;
-- Each hit compared with the query's own answer.
SET tiercache.verify = error;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT kind, count(*), min(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH LAST FROM c;
FETCH BACKWARD 2 FROM c;
DECLARE d SCROLL CURSOR FOR SELECT kind, count(*), min(id) FROM cursors_rows GROUP BY kind ORDER BY kind;
FETCH 1 FROM d;
FETCH LAST FROM d;
COMMIT;
RESET tiercache.verify;
RESET tiercache.mode;
DROP FUNCTION kinds_from;
DROP TABLE cursors_rows;
