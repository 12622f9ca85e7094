-- What came with PostgreSQL 16, 17 and 18: each case is tried where the server has it, and only surprises are shown. The
-- results are the same on every version.
SET client_min_messages = warning;
CREATE SCHEMA v;
SET search_path = v, public;
CREATE FUNCTION major() RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT current_setting('server_version_num')::int / 10000 $$;
CREATE TABLE data (id int PRIMARY KEY, f float8, d date, z timestamptz, n numeric, t text, j jsonb);
INSERT INTO data VALUES (1, 0.1, '2001-02-03', '2001-02-03 04:05:06+00', 1.50, 'one', '{"a": 1, "d": "today", "z": "2001-02-03T04:05:06+00:00"}'),
    (2, 'NaN', 'infinity', NULL, NULL, NULL, NULL);
CREATE DOMAIN dated AS int CHECK (VALUE < extract(year FROM now()));
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TYPE told AS ENUM ('x');
CREATE FUNCTION told_json(told) RETURNS json LANGUAGE sql STABLE AS $$ SELECT to_json(now()) $$;
CREATE CAST (told AS json) WITH FUNCTION told_json(told);

CREATE TABLE cases (id serial, since int, query text, expected text);
INSERT INTO cases (since, query, expected) VALUES
    -- 18 keeps what is grouped by in a range table entry of its own.
    (14, 'SELECT f, count(*) AS c FROM data GROUP BY f ORDER BY f', 'miss / hit'),
    (14, 'SELECT id + 1 AS i, t FROM data GROUP BY GROUPING SETS ((id + 1), (t)) ORDER BY 1, 2', 'miss / hit'),
    (14, 'SELECT count(*) AS c FROM data GROUP BY ctid', 'refused'),
    (14, 'SELECT count(*) AS c FROM data GROUP BY now()', 'refused'),
    (14, 'SELECT count(*) AS c FROM data GROUP BY random() > 2', 'refused'),
    (14, 'SELECT count(*) AS c FROM data GROUP BY ROLLUP (t, (d::text)::date)', 'refused'),
    (16, 'SELECT JSON_OBJECT(''f'': f, ''d'': d, ''z'': z ABSENT ON NULL)::text AS o FROM data ORDER BY id', 'miss / hit'),
    (16, 'SELECT JSON_ARRAY(z, f, n NULL ON NULL RETURNING jsonb) AS a FROM data ORDER BY id', 'miss / hit'),
    (16, 'SELECT JSON_ARRAYAGG(z ORDER BY id) AS a, JSON_OBJECTAGG(id: d) AS o FROM data', 'miss / hit'),
    (16, 'SELECT t IS JSON AS j, j::text IS JSON OBJECT WITH UNIQUE KEYS AS u FROM data ORDER BY id', 'miss / hit'),
    (16, 'SELECT JSON_OBJECT(''t'': ''x''::told)::text AS o FROM data', 'refused'),
    (16, 'SELECT JSON_ARRAYAGG(''x''::told)::text AS o FROM data', 'refused'),
    (16, 'SELECT date_add(z, ''1 day'') AS a, date_subtract(z, ''1 day'', ''Asia/Tokyo'') AS s FROM data ORDER BY id', 'miss / hit'),
    (16, 'SELECT any_value(id > 0) AS a FROM data', 'miss / hit'),
    (16, 'SELECT SYSTEM_USER AS u FROM data', 'refused'),
    (16, 'SELECT random_normal() AS r FROM data', 'refused'),
    (16, 'SELECT pg_input_is_valid(t, ''regclass'') AS v FROM data', 'refused'),
    (17, 'SELECT JSON_VALUE(j, ''$.a'' RETURNING int) AS v, JSON_QUERY(j, ''$'' WITH WRAPPER) AS q, JSON_EXISTS(j, ''$.a'') AS e FROM data ORDER BY id', 'miss / hit'),
    (17, 'SELECT JSON_EXISTS(j, ''$.z.datetime() ? (@ < $z)'' PASSING z + interval ''1 h'' AS z) AS e FROM data ORDER BY id', 'miss / hit'),
    (17, 'SELECT JSON_VALUE(j, ''$.a'' RETURNING small) AS v FROM data ORDER BY id', 'miss / hit'),
    (17, 'SELECT JSON_VALUE(j, ''$.a'' RETURNING dated) AS v FROM data ORDER BY id', 'refused'),
    (17, 'SELECT JSON_VALUE(j, ''$.d'' RETURNING date) AS v FROM data ORDER BY id', 'refused'),
    (17, 'SELECT JSON_VALUE(j, ''$.t'' RETURNING regclass) AS v FROM data ORDER BY id', 'refused'),
    (17, 'SELECT JSON_VALUE(j, ''$.b'' DEFAULT random()::text ON EMPTY) AS v FROM data ORDER BY id', 'refused'),
    (17, 'SELECT t.* FROM data, JSON_TABLE(j, ''$'' COLUMNS (o FOR ORDINALITY, a int PATH ''$.a'', e boolean EXISTS PATH ''$.b'')) t ORDER BY 1', 'miss / hit'),
    (17, 'SELECT t.* FROM data, JSON_TABLE(j, ''$'' COLUMNS (d date PATH ''$.d'')) t ORDER BY 1', 'refused'),
    (17, 'SELECT t.* FROM data, JSON_TABLE(j, ''$'' COLUMNS (a dated PATH ''$.a'')) t ORDER BY 1', 'refused'),
    (17, 'SELECT JSON_SCALAR(z)::text AS z, JSON_SERIALIZE(j RETURNING bytea)::text AS s FROM data ORDER BY id', 'miss / hit'),
    (17, 'SELECT z AT LOCAL AS l, d::timestamp AT LOCAL AS t FROM data ORDER BY id', 'miss / hit'),
    (17, 'SELECT timetz ''10:00+01'' AT LOCAL AS l FROM data', 'refused'),
    (17, 'WITH m AS (MERGE INTO data USING (VALUES (1)) s (id) ON data.id = s.id WHEN MATCHED THEN DO NOTHING RETURNING data.id) SELECT * FROM m', 'refused'),
    (17, 'SELECT random(1, 10) AS r FROM data', 'refused'),
    (17, 'SELECT to_regtypemod(t) AS r FROM data', 'refused'),
    (18, 'SELECT uuidv7() AS u FROM data', 'refused'),
    (18, 'SELECT uuidv4() AS u FROM data', 'refused'),
    (18, 'SELECT array_sort(ARRAY[f, 0]) AS a, crc32(t::bytea) AS c FROM data ORDER BY id', 'miss / hit');
CREATE FUNCTION answer(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN helpers.twice(query);
EXCEPTION
    WHEN feature_not_supported THEN RETURN 'refused';
    WHEN OTHERS THEN RETURN SQLERRM;
END $$;
SELECT expected, answer, query FROM cases, LATERAL (SELECT answer(query) OFFSET 0) a (answer)
    WHERE since <= major() AND answer IS DISTINCT FROM expected ORDER BY id;

-- Under another zone the zone's answers, as ever.
SET TimeZone = 'Asia/Tokyo';
SELECT answer, query FROM cases, LATERAL (SELECT answer(query) OFFSET 0) a (answer)
    WHERE since <= major() AND expected = 'miss / hit' AND query ~ '\mz\M' AND answer <> 'miss / hit' ORDER BY id;
RESET TimeZone;

-- try SINCE, CHANGE, QUERY: after the change the query is asked again. Where the server has no such thing, that is well.
CREATE PROCEDURE try(since int, prepared text[], query text, change text) LANGUAGE plpgsql AS $$
DECLARE
    command text;
    before text;
    after text;
BEGIN
    IF since > v.major() THEN RETURN; END IF;
    FOREACH command IN ARRAY prepared LOOP EXECUTE command; END LOOP;
    COMMIT;
    before := v.answer(query);
    EXECUTE change;
    COMMIT;
    after := v.answer(query);
    IF before <> 'miss / hit' OR after <> 'miss: changed / hit' THEN
        RAISE WARNING '%: %, then %', change, before, after;
    END IF;
END $$;
-- Generated columns that are not stored, and others that are made anew.
CALL try(18, ARRAY['CREATE TABLE virtual (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)', 'INSERT INTO virtual VALUES (1)'],
    'SELECT b FROM v.virtual', 'ALTER TABLE virtual ALTER COLUMN b SET EXPRESSION AS (a * 3)');
CALL try(18, '{}', 'SELECT sum(b) AS s FROM v.virtual', 'UPDATE virtual SET a = 5');
CALL try(17, ARRAY['CREATE TABLE stored (a int, b int GENERATED ALWAYS AS (a * 2) STORED)', 'INSERT INTO stored VALUES (1)'],
    'SELECT b FROM v.stored', 'ALTER TABLE stored ALTER COLUMN b SET EXPRESSION AS (a * 3)');
CALL try(18, '{}', 'SELECT t FROM v.data ORDER BY id', 'UPDATE data SET t = t || id RETURNING OLD.t, NEW.t');
CALL try(17, '{}', 'SELECT f FROM v.data ORDER BY id', 'MERGE INTO data USING (VALUES (7)) s (id) ON data.id = s.id WHEN NOT MATCHED BY SOURCE THEN UPDATE SET f = 7');

-- Who may maintain a materialized view may change what it holds.
CREATE ROLE tc_v_keeper;
CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS c, max(f) AS f FROM data;
GRANT USAGE ON SCHEMA v TO tc_v_keeper;
CREATE PROCEDURE refresh_as_keeper() LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL ROLE tc_v_keeper;
    REFRESH MATERIALIZED VIEW v.kept;
    RESET ROLE;
END $$;
CALL try(17, ARRAY['GRANT MAINTAIN ON kept TO tc_v_keeper', 'INSERT INTO data (id) VALUES (10)'], 'SELECT * FROM v.kept', 'CALL v.refresh_as_keeper()');
CALL try(17, ARRAY['REVOKE MAINTAIN ON kept FROM tc_v_keeper', 'GRANT pg_maintain TO tc_v_keeper', 'INSERT INTO data (id) VALUES (11)'],
    'SELECT max(c) AS c FROM v.kept', 'CALL v.refresh_as_keeper()');

-- A membership that is no longer inherited opens no rows.
CREATE ROLE tc_v_group;
GRANT tc_v_group TO tc_v_keeper;
GRANT USAGE ON SCHEMA helpers TO tc_v_keeper;
CREATE TABLE owned (id int);
INSERT INTO owned VALUES (1), (2);
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY first ON owned USING (id = 1);
CREATE POLICY second ON owned TO tc_v_group USING (id = 2);
GRANT SELECT ON owned TO tc_v_keeper;
CREATE FUNCTION as_keeper() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    SET LOCAL ROLE tc_v_keeper;
    result := tiercache.query_json('SELECT id FROM v.owned ORDER BY id');
    RESET ROLE;
    RETURN result;
END $$;
SELECT as_keeper() AS inherited, as_keeper() AS again;
CREATE PROCEDURE no_longer_inherit() LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE CASE WHEN v.major() < 16 THEN 'ALTER ROLE tc_v_keeper NOINHERIT' ELSE 'GRANT tc_v_group TO tc_v_keeper WITH INHERIT FALSE' END;
END $$;
CALL no_longer_inherit();
SELECT as_keeper() AS not_inherited, as_keeper() AS again;

RESET search_path;
DROP SCHEMA v CASCADE;
REVOKE ALL ON SCHEMA helpers FROM tc_v_keeper;
DROP ROLE tc_v_keeper;
DROP ROLE tc_v_group;
