-- Every setting of the server, under several values: what the cache answers is what PostgreSQL answers. The list is the
-- server's own, so that a setting of a newer version is tried too.
SET client_min_messages = error;
SET escape_string_warning = off;
CREATE SCHEMA of_settings;
SET search_path = of_settings, public;
CREATE TABLE kinds (id int PRIMARY KEY, d date, t timestamp, z timestamptz, i interval, f float8, f4 float4, b bytea, m money,
    x xml, w text, j jsonb, a text[]);
INSERT INTO kinds VALUES
    (1, '2001-02-03', '2001-02-03 04:05:06.7', '2001-02-03 04:05:06+00', '1 year 2 mons 3 days 4 hours', 0.1::float8 + 0.2,
     1.1, '\x00deadbeef5c', 1234.5, '<a/>', 'the cats die Katzen', '{"at": "2001-07-01", "f": 1.10}', '{a,NULL,"NULL"}'),
    (2, '0044-03-15 BC', 'infinity', '2001-07-01 00:30:00+00', '-1 day', 'NaN', 1e-30, '', -0.5, NULL, '', 'null', '{}'),
    (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT g, 'v' || g FROM generate_series(1, 300) g;
CREATE INDEX ON parted (k);
ANALYZE kinds, parted;
CREATE FUNCTION doubled(int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT sum(k) FROM parted WHERE k < $1); END';
CREATE SCHEMA of_other;
CREATE TABLE of_other.kinds AS SELECT id + 100 AS id FROM of_settings.kinds;

CREATE TABLE battery (query text);
INSERT INTO battery VALUES
    ('SELECT d, t, z, i, f, f4, b, m, x::text AS x, j, a FROM of_settings.kinds ORDER BY id'),
    ('SELECT d::text, t::text, z::text, i::text, f::text, f4::text, b::text, m::text, a::text, (d, z, f, b)::text AS r FROM of_settings.kinds ORDER BY id'),
    ('SELECT id FROM kinds ORDER BY id'),
    ('SELECT to_char(z, ''TMDay TMMonth TZ OF HH24''), to_char(f, ''9D99''), to_char(m::numeric, ''L9G999D99''), to_char(i, ''DD HH'') FROM of_settings.kinds WHERE id = 1'),
    ('SELECT date ''01-02-03'' AS d, timestamptz ''2001-01-01 00:00'' AS z, timestamptz ''2001-01-01 00:00 SAT'' AS s, interval ''-1 2:00'' AS i, id FROM of_settings.kinds ORDER BY id'),
    ('SELECT ''{NULL,null,"NULL"}''::text[] AS a, ''a\\b'' AS s, ''{n,NULL}''::text::text[] AS b FROM of_settings.kinds WHERE id = 1'),
    ('SELECT count(*) AS n FROM of_settings.kinds WHERE w = NULL'),
    ('SELECT to_tsvector(w) AS v, to_tsvector(w) @@ to_tsquery(''cat'') AS c, w @@ ''Katze'' AS k, ts_headline(w, to_tsquery(''cat'')) AS h FROM of_settings.kinds WHERE id = 1'),
    ('SELECT xmlelement(name a, b)::text AS e, xmlforest(b, z AS zz, f)::text AS f FROM of_settings.kinds ORDER BY id'),
    ('SELECT xml_is_well_formed(w) AS o, xml_is_well_formed(''<a/>'') AS w FROM of_settings.kinds WHERE id = 1'),
    ('SELECT ''x<a/>''::text::xml::text AS x FROM of_settings.kinds WHERE id = 1'),
    ('SELECT quote_ident(''a'') AS q, format(''%I'', id) AS f, quote_literal(w) AS l FROM of_settings.kinds ORDER BY id'),
    ('SELECT z::date AS d, date_trunc(''day'', z) AS t, extract(hour FROM z) AS h, z::time AS u, t::timestamptz AS tz, d = z AS e, z + interval ''1 day'' AS n FROM of_settings.kinds ORDER BY id'),
    ('SELECT g FROM generate_series(timestamptz ''2001-10-26 00:00+00'', timestamptz ''2001-11-02 00:00+00'', ''1 day'') g ORDER BY g'),
    ('SELECT jsonb_path_query_tz(j, ''$.at.datetime() > "2001-06-30 20:00:00+00".datetime()'')::text AS p FROM of_settings.kinds WHERE id = 1'),
    ('SELECT to_json(z)::text AS z, to_jsonb(f)::text AS f, json_build_object(''b'', b, ''i'', i)::text AS o, row_to_json(k)::text AS r FROM of_settings.kinds k ORDER BY id'),
    ('SELECT concat(z, f, b, i, m) AS c, string_agg(f::text || d, '','' ORDER BY id) AS s FROM of_settings.kinds GROUP BY id, z, f, b, i, m ORDER BY id'),
    ('SELECT to_date(''03 02 01'', ''YY MM DD'') AS d, to_timestamp(''2001 July'', ''YYYY TMMonth'') AS m, to_number(''1,5'', ''9G9'') AS n, ''1.5''::text::money AS c FROM of_settings.kinds WHERE id = 1'),
    ('SELECT count(*) AS n, sum(a.k) AS s, min(a.v) AS m FROM of_settings.parted a JOIN of_settings.parted b USING (k) JOIN of_settings.kinds c ON c.id = a.k WHERE a.k < 150'),
    ('SELECT k, v, rank() OVER (ORDER BY v) AS r FROM of_settings.parted WHERE k BETWEEN 95 AND 105 ORDER BY k'),
    ('SELECT of_settings.doubled(id * 10) AS d, upper(w) AS u, w COLLATE "C" < ''x'' AS l FROM of_settings.kinds ORDER BY id'),
    ('SELECT current_user AS u, current_database() AS d, getdatabaseencoding() AS e, pg_client_encoding() AS c, get_current_ts_config()::oid::int8 > 0 AS t FROM of_settings.kinds WHERE id = 1');

-- What a client is told, rows or error, in transparent mode and as JSON. (The text of the rows is made outside of the cache.)
CREATE FUNCTION asked(query text, through text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    r record;
    answer text := '';
BEGIN
    PERFORM set_config('tiercache.mode', CASE through WHEN 'mode' THEN 'auto' ELSE 'off' END, true);
    IF through = 'json' THEN RETURN tiercache.query_json(query); END IF;
    IF through = 'truth as json' THEN RETURN helpers.truth(query); END IF;
    FOR r IN EXECUTE query LOOP answer := answer || r::text; END LOOP;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN
    RETURN 'ERROR: ' || SQLSTATE;
END $$;

-- Under the setting all is asked of the cache twice and of PostgreSQL; then all is undone. Returns how often the cache was
-- wrong, and whether the setting changed an answer, and the key.
CREATE TYPE trial AS (name text, value text, hits bigint, wrong text, changes boolean, another_key boolean);
CREATE FUNCTION try(setting text, value text) RETURNS trial LANGUAGE plpgsql AS $$
DECLARE
    result trial := (setting, value, 0, '', false, false);
    q text;
    way text;
    before text;
    answers text[];
    key bytea := tiercache.session_key();
    hits bigint := (SELECT hits FROM tiercache.stats);
BEGIN
    BEGIN
        PERFORM set_config(setting, value, true);
        result.another_key := tiercache.session_key() <> key;
        FOR q, before, way IN SELECT query, truth, t.way FROM of_settings.truths t LOOP
            answers := ARRAY[of_settings.asked(q, way), of_settings.asked(q, way),
                             of_settings.asked(q, CASE way WHEN 'json' THEN 'truth as json' ELSE 'truth' END)];
            IF answers[1] <> answers[3] OR answers[2] <> answers[3] THEN
                result.wrong := result.wrong || format(E'\n%s of %s: %s', way, q, answers);
            END IF;
            result.changes := result.changes OR answers[3] <> before;
        END LOOP;
        result.hits := (SELECT s.hits FROM tiercache.stats s) - hits;
        RAISE EXCEPTION USING ERRCODE = 'TC000', MESSAGE = result::text;
    EXCEPTION WHEN SQLSTATE 'TC000' THEN
        RETURN SQLERRM::of_settings.trial;
    END;
EXCEPTION WHEN OTHERS THEN
    RETURN (setting, value, 0, '', false, NULL)::of_settings.trial; -- a value that this server refuses
END $$;

-- What each is answered without any change; every trial begins with these in the cache.
CREATE TABLE truths AS
    SELECT query, way, asked(query, CASE way WHEN 'json' THEN 'truth as json' ELSE 'truth' END) AS truth
    FROM battery, unnest(ARRAY['mode', 'json']) way;
ANALYZE truths;
SELECT count(*) AS asked, count(*) FILTER (WHERE truth LIKE 'ERROR%') AS errors FROM truths;
SELECT count(*) FILTER (WHERE asked(query, way) = truth) AS first, count(*) FILTER (WHERE asked(query, way) = truth) AS second FROM truths;

-- Values to try: both, all, the ends of the range and what is in between; by hand where it is a text.
CREATE VIEW tried AS
    SELECT name, value FROM pg_settings s, LATERAL (
        SELECT unnest(ARRAY['on', 'off']) AS value WHERE vartype = 'bool'
        UNION SELECT unnest(enumvals) WHERE vartype = 'enum'
        UNION SELECT unnest(ARRAY[min_val, boot_val, CASE WHEN abs(max_val::numeric) < 1e5 THEN max_val ELSE '1000' END]) WHERE vartype IN ('integer', 'real')
        UNION SELECT unnest(ARRAY['', 'x', '1', 'pg_catalog', 'C', 'POSIX', 'of_other, public']) WHERE vartype = 'string'
        UNION SELECT unnest(CASE name
            WHEN 'TimeZone' THEN ARRAY['Asia/Tokyo', 'America/St_Johns', 'UTC', '-3:30']
            WHEN 'DateStyle' THEN ARRAY['ISO, DMY', 'ISO, YMD', 'German', 'SQL, MDY', 'SQL, DMY', 'Postgres, MDY']
            WHEN 'timezone_abbreviations' THEN ARRAY['Australia', 'India', 'Default']
            WHEN 'default_text_search_config' THEN ARRAY['pg_catalog.german', 'pg_catalog.simple', 'pg_catalog.english']
            WHEN 'client_encoding' THEN ARRAY['LATIN1', 'UTF8', 'SQL_ASCII'] END)
    ) v
    WHERE context IN ('user', 'superuser') AND name NOT LIKE 'tiercache%'
        -- These end sessions, fill the server's log, or make an answer a matter of chance.
        AND name !~ '^(log_|debug_|trace_|client_min_messages|exit_on_error|.*_timeout$|gin_fuzzy_search_limit)'
        AND value IS DISTINCT FROM s.setting;
-- First tried, then written down: a transaction with changes of its own is not served.
SELECT array_agg(try(name, value)) AS trials FROM tried \gset
CREATE TABLE trials AS SELECT * FROM unnest(:'trials'::trial[]);
-- The whole list was tried, and the cache was in use.
SELECT count(DISTINCT name) > 130 AS many, count(DISTINCT name) FILTER (WHERE hits >= 40) > 130 AS in_use FROM trials;
SELECT name, value, wrong FROM trials WHERE wrong <> '' ORDER BY 1, 2;
-- Those that changed an answer: all of them are in the key.
SELECT name, bool_and(another_key) AS in_key FROM trials WHERE changes GROUP BY name ORDER BY name COLLATE "C";
-- And none of the trials left something behind that is served without its setting.
SELECT count(*) FILTER (WHERE asked(query, way) <> truth) AS wrong FROM truths;

-- Which plan there is changes no answer, but the order of rows that no ORDER BY orders, and the last digits of sums of
-- floating point numbers: with another setting of the planner transparent mode runs the query again. These are no matter.
CREATE FUNCTION is_served_under(setting text, value text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    seen bigint := (SELECT hits FROM tiercache.stats);
BEGIN
    PERFORM set_config(setting, value, true), set_config('tiercache.mode', 'auto', true);
    EXECUTE 'SELECT k, v FROM of_settings.parted';
    RAISE EXCEPTION USING ERRCODE = 'TC000', MESSAGE = (SELECT hits > seen FROM tiercache.stats);
EXCEPTION WHEN SQLSTATE 'TC000' THEN
    RETURN SQLERRM;
END $$;
SELECT is_served_under('tiercache.mode', 'auto') AS first, is_served_under('tiercache.mode', 'auto') AS second;
SELECT name FROM tried JOIN pg_settings USING (name) WHERE category LIKE 'Query Tuning%'
    GROUP BY name HAVING bool_or(is_served_under(name, value)) ORDER BY name COLLATE "C";
RESET search_path;
DROP SCHEMA of_settings, of_other CASCADE;
