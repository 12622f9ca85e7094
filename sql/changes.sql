-- Each change against each query, by a superuser and by a role with few rights: what the cache answers after the change is
-- what PostgreSQL answers, rows or error.
SET client_min_messages = error;
CREATE SCHEMA c;
CREATE ROLE tc_changes;
CREATE ROLE tc_changes_group;
GRANT tc_changes_group TO tc_changes;
SET search_path = c, public;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE TABLE base (id int PRIMARY KEY, v int, m mood, p pair, s small);
INSERT INTO base SELECT g, g, CASE WHEN g % 2 = 0 THEN 'sad' ELSE 'happy' END::mood, row(g, 'x')::pair, g FROM generate_series(1, 6) g;
CREATE TABLE refers (id int REFERENCES base ON DELETE CASCADE ON UPDATE CASCADE, t text);
INSERT INTO refers SELECT g, 't' || g FROM generate_series(1, 4) g;
CREATE TABLE elder (v int);
CREATE TABLE heir (more int) INHERITS (elder);
CREATE TABLE stray (v int, more int);
INSERT INTO elder VALUES (1);
INSERT INTO heir VALUES (2, 2);
INSERT INTO stray VALUES (3, 3);
CREATE TABLE parted (k int, v int) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (k);
CREATE TABLE part_2_a PARTITION OF part_2 FOR VALUES FROM (10) TO (15);
CREATE TABLE spare (k int, v int);
INSERT INTO parted SELECT g, g FROM generate_series(1, 14) g;
INSERT INTO spare VALUES (25, 25);
CREATE VIEW view_1 AS SELECT id, v FROM base WHERE v > 1;
CREATE VIEW view_2 AS SELECT sum(v) AS total FROM view_1;
CREATE VIEW invoker AS SELECT t FROM refers;
CREATE MATERIALIZED VIEW stored AS SELECT count(*) AS n FROM base;
CREATE TABLE ruled (v int);
INSERT INTO ruled VALUES (5);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO base (id, v) VALUES (NEW.v + 500, 0);
CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT sum(v) FROM c.base); END';
CREATE FUNCTION total_of(text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
    'DECLARE n bigint; BEGIN EXECUTE ''SELECT count(*) FROM c.'' || $1 INTO n; RETURN n; END';
CREATE TABLE hidden (v int);
CREATE FUNCTION as_owner() RETURNS bigint LANGUAGE sql IMMUTABLE SECURITY DEFINER AS 'SELECT count(*) FROM c.hidden';
CREATE FUNCTION plus(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + $2';
CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = plus);
CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE POLICY few ON base USING (id <> 2);
GRANT USAGE ON SCHEMA c, helpers TO tc_changes;
GRANT SELECT ON base, elder, parted, view_1, view_2, stored, ruled TO tc_changes;
GRANT SELECT ON refers TO tc_changes_group;
ANALYZE;

CREATE FUNCTION helpers.asked(query text, as_role text, through text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    answer text := '';
BEGIN
    PERFORM set_config('role', as_role, true), set_config('tiercache.mode', CASE through WHEN 'mode' THEN 'auto' ELSE 'off' END, true);
    IF through = 'json' THEN
        answer := tiercache.query_json(query);
    ELSIF through = 'truth as json' THEN
        answer := helpers.truth(query);
    ELSE
        FOR r IN EXECUTE query LOOP answer := answer || r::text; END LOOP;
    END IF;
    PERFORM set_config('role', 'none', true), set_config('tiercache.mode', 'off', true);
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN 'ERROR: ' || SQLERRM;
END $$;

-- Warms all, changes, and asks all again: first the cache, then PostgreSQL.
CREATE PROCEDURE helpers.run(queries text[], changes text[], INOUT wrong text[], INOUT counts bigint[]) LANGUAGE plpgsql AS $$
DECLARE
    change text;
    q text;
    r text;
    way text;
    answer text;
    truth text;
    hits bigint;
BEGIN
    FOREACH change IN ARRAY changes LOOP
        hits := (SELECT s.hits FROM tiercache.stats s);
        FOREACH q IN ARRAY queries LOOP
            FOREACH r IN ARRAY ARRAY['none', 'tc_changes'] LOOP
                FOREACH way IN ARRAY ARRAY['mode', 'json', 'mode', 'json'] LOOP
                    PERFORM helpers.asked(q, r, way);
                END LOOP;
            END LOOP;
        END LOOP;
        counts[1] := counts[1] + (SELECT s.hits FROM tiercache.stats s) - hits;
        EXECUTE change;
        COMMIT;
        FOREACH q IN ARRAY queries LOOP
            FOREACH r IN ARRAY ARRAY['none', 'tc_changes'] LOOP
                FOREACH way IN ARRAY ARRAY['mode', 'json'] LOOP
                    answer := helpers.asked(q, r, way);
                    truth := helpers.asked(q, r, CASE way WHEN 'json' THEN 'truth as json' ELSE 'truth' END);
                    counts[2] := counts[2] + 1;
                    -- The words of an error may differ, and the function refuses what cannot be cached.
                    IF answer <> truth AND answer NOT LIKE 'ERROR: query cannot be cached%' AND
                        NOT (answer LIKE 'ERROR: %' AND truth LIKE 'ERROR: %') THEN
                        wrong := wrong || format('after %s: %s of %s as %s: %s instead of %s', change, way, q, r, answer, truth);
                    END IF;
                END LOOP;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;

CREATE TABLE queries (id serial, query text);
INSERT INTO queries (query) VALUES
    ('SELECT * FROM c.base ORDER BY id'), ('SELECT id, v FROM c.base WHERE v < 4 ORDER BY id'), ('SELECT id, m, (p).b, s FROM c.base ORDER BY id'),
    ('SELECT t FROM c.refers ORDER BY t'), ('SELECT b.v, r.t FROM c.base b LEFT JOIN c.refers r USING (id) ORDER BY b.id, r.t'),
    ('SELECT sum(v) FROM c.elder'), ('SELECT sum(v) FROM ONLY c.elder'), ('SELECT sum(v), count(*) FROM c.heir'),
    ('SELECT sum(v), count(*) FROM c.parted'), ('SELECT sum(v) FROM c.parted WHERE k < 5'), ('SELECT sum(v) FROM c.parted WHERE k >= 20'), ('SELECT sum(v) FROM c.part_2_a'),
    ('SELECT * FROM c.view_1 ORDER BY id'), ('SELECT * FROM c.view_2'), ('SELECT * FROM c.invoker ORDER BY t'), ('SELECT * FROM c.stored'),
    ('SELECT * FROM c.ruled ORDER BY v'), ('SELECT c.total() AS t FROM c.ruled LIMIT 1'), ('SELECT c.total_of(''base'') AS t FROM c.ruled LIMIT 1'),
    ('SELECT c.as_owner() AS t FROM c.ruled LIMIT 1'), ('SELECT v OPERATOR(c.###) 1 AS x FROM c.base ORDER BY id'), ('SELECT c.agg(v) FROM c.base'), ('SELECT c.plus(v, 1) AS x FROM c.base ORDER BY id'),
    ('WITH w AS (SELECT v FROM c.base), x AS MATERIALIZED (SELECT max(v) AS v FROM w) SELECT * FROM x'), ('SELECT (SELECT max(v) FROM c.parted) AS m, EXISTS (SELECT 1 FROM c.heir) AS e'),
    ('SELECT v::c.small AS s FROM c.base ORDER BY id'), ('SELECT ''sad''::c.mood AS m, count(*) FROM c.base'), ('SELECT current_user AS u FROM c.ruled LIMIT 1');
CREATE TABLE changes (id serial, change text);
INSERT INTO changes (change) VALUES
    ('UPDATE c.base SET v = v + 1'), ('INSERT INTO c.ruled VALUES (6)'), ('DELETE FROM c.base WHERE id = 1'), ('UPDATE c.base SET id = 50 WHERE id = 3'),
    ('WITH w AS (DELETE FROM c.refers WHERE id = 2 RETURNING t) INSERT INTO c.refers SELECT 4, t FROM w'), ('MERGE INTO c.base b USING (SELECT max(v) AS v FROM c.elder) e ON b.id = 4 WHEN MATCHED THEN UPDATE SET v = e.v'),
    ('UPDATE c.elder SET v = v + 1'), ('INSERT INTO c.heir VALUES (7, 7)'), ('ALTER TABLE c.stray INHERIT c.elder'), ('UPDATE c.stray SET v = 30'), ('ALTER TABLE c.heir NO INHERIT c.elder'), ('TRUNCATE ONLY c.elder'), ('ALTER TABLE c.heir INHERIT c.elder'),
    ('INSERT INTO c.part_2_a VALUES (11, 100)'), ('UPDATE c.parted SET k = 12 WHERE k = 3'), ('ALTER TABLE c.parted ATTACH PARTITION c.spare FOR VALUES FROM (20) TO (30)'), ('INSERT INTO c.parted VALUES (22, 22)'),
    ('ALTER TABLE c.parted DETACH PARTITION c.part_1'), ('INSERT INTO c.part_1 VALUES (1, 1000)'), ('ALTER TABLE c.parted ATTACH PARTITION c.part_1 FOR VALUES FROM (0) TO (10)'), ('TRUNCATE c.part_2'), ('CREATE TABLE c.part_rest PARTITION OF c.parted DEFAULT'), ('INSERT INTO c.parted VALUES (99, 99)'), ('DROP TABLE c.part_rest'),
    ('CREATE OR REPLACE VIEW c.view_1 AS SELECT id, v FROM c.base WHERE v > 3'), ('ALTER VIEW c.view_1 SET (security_barrier)'), ('ALTER VIEW c.invoker RENAME TO invoker_2'), ('CREATE VIEW c.invoker AS SELECT t || ''!'' AS t FROM c.refers'), ('GRANT SELECT ON c.invoker TO tc_changes'), ('REFRESH MATERIALIZED VIEW c.stored'), ('ALTER VIEW c.view_2 OWNER TO tc_changes'), ('REVOKE SELECT ON c.view_1 FROM tc_changes'), ('GRANT SELECT ON c.view_1 TO tc_changes'),
    ('CREATE OR REPLACE FUNCTION c.plus(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS ''SELECT $1 * 10 + $2'''), ('CREATE OR REPLACE FUNCTION c.total() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS ''BEGIN RETURN (SELECT sum(v) FROM c.elder); END'''), ('UPDATE c.elder SET v = v + 100'), ('INSERT INTO c.hidden VALUES (1)'), ('ALTER FUNCTION c.as_owner() SECURITY INVOKER'), ('ALTER FUNCTION c.as_owner() SECURITY DEFINER'), ('ALTER FUNCTION c.plus(int, int) RENAME TO plus_2'), ('ALTER FUNCTION c.plus_2(int, int) RENAME TO plus'), ('CREATE FUNCTION c.plus(int, bigint) RETURNS text LANGUAGE sql IMMUTABLE AS ''SELECT $1::text'''), ('REVOKE EXECUTE ON FUNCTION c.plus(int, int) FROM PUBLIC'), ('GRANT EXECUTE ON FUNCTION c.plus(int, int) TO PUBLIC'), ('ALTER FUNCTION c.plus(int, int) STABLE'), ('ALTER FUNCTION c.plus(int, int) IMMUTABLE'),
    ('CREATE OR REPLACE AGGREGATE c.agg(int) (SFUNC = int4mul, STYPE = int, INITCOND = ''1'')'), ('DROP OPERATOR c.### (int, int)'), ('CREATE OPERATOR c.### (LEFTARG = int, RIGHTARG = int, FUNCTION = int4mi)'),
    ('ALTER TYPE c.mood RENAME VALUE ''sad'' TO ''blue'''), ('ALTER TYPE c.mood RENAME VALUE ''blue'' TO ''sad'''), ('ALTER TYPE c.mood RENAME TO humor'), ('ALTER TYPE c.humor RENAME TO mood'), ('ALTER TYPE c.pair RENAME ATTRIBUTE b TO bb'), ('ALTER TYPE c.pair RENAME ATTRIBUTE bb TO b'), ('ALTER DOMAIN c.small ADD CONSTRAINT two CHECK (VALUE < 3) NOT VALID'), ('ALTER DOMAIN c.small DROP CONSTRAINT two'),
    ('ALTER TABLE c.base ADD COLUMN w int DEFAULT 9'), ('ALTER TABLE c.base RENAME COLUMN w TO x'), ('ALTER TABLE c.base DROP COLUMN x'), ('ALTER TABLE c.refers RENAME TO refers_2'), ('ALTER TABLE c.refers_2 RENAME TO refers'), ('ALTER TABLE c.refers SET SCHEMA public'), ('ALTER TABLE public.refers SET SCHEMA c'),
    ('ALTER TABLE c.base ENABLE ROW LEVEL SECURITY'), ('CREATE POLICY more ON c.base FOR SELECT TO tc_changes_group USING (id = 2)'), ('ALTER POLICY few ON c.base USING (id = 5)'), ('DROP POLICY more ON c.base'), ('ALTER ROLE tc_changes BYPASSRLS'), ('ALTER ROLE tc_changes NOBYPASSRLS'), ('ALTER TABLE c.base FORCE ROW LEVEL SECURITY'), ('ALTER TABLE c.base DISABLE ROW LEVEL SECURITY'),
    ('REVOKE tc_changes_group FROM tc_changes'), ('GRANT tc_changes_group TO tc_changes'), ('ALTER ROLE tc_changes NOINHERIT'), ('ALTER ROLE tc_changes INHERIT'), ('REVOKE SELECT ON c.base FROM tc_changes'), ('GRANT SELECT (id, v) ON c.base TO tc_changes'), ('REVOKE USAGE ON SCHEMA c FROM tc_changes'), ('GRANT USAGE ON SCHEMA c TO tc_changes'), ('GRANT SELECT ON c.base TO PUBLIC'), ('ALTER TABLE c.base OWNER TO tc_changes'), ('ALTER TABLE c.base OWNER TO postgres'), ('REVOKE SELECT ON c.base FROM PUBLIC'), ('ALTER ROLE tc_changes SUPERUSER'), ('ALTER ROLE tc_changes NOSUPERUSER'),
    ('ALTER SCHEMA c RENAME TO cc'), ('ALTER SCHEMA cc RENAME TO c'), ('TRUNCATE c.base CASCADE'), ('DROP TABLE c.base CASCADE'), ('CREATE TABLE c.base (id int, v int)');
UPDATE changes SET change = 'UPDATE c.base SET v = e.v FROM (SELECT max(v) AS v FROM c.elder) e WHERE id = 4'
    WHERE change LIKE 'MERGE%' AND current_setting('server_version_num')::int < 150000;
SELECT array_agg(query ORDER BY id) AS queries FROM queries \gset
SELECT array_agg(change ORDER BY id) AS changes, count(*) AS n FROM changes \gset
RESET search_path;
CALL helpers.run(:'queries', :'changes', '{}', '{0,0}') \gset
SELECT unnest(:'wrong'::text[]) AS wrong;
SELECT (:'counts'::bigint[])[1] > 8000 AS warm, (:'counts'::bigint[])[2] = :n * 28 * 4 AS compared;
DROP SCHEMA c CASCADE;
DROP PROCEDURE helpers.run;
DROP FUNCTION helpers.asked;
REVOKE ALL ON SCHEMA helpers FROM tc_changes;
DROP ROLE tc_changes, tc_changes_group;
