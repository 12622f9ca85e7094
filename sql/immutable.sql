-- Which of PostgreSQL's own IMMUTABLE functions go by settings all the same? query_check.cpp knows these few; others would
-- be served to sessions whose settings changed between the start of a portal and its first row.
SET client_min_messages = error;
CREATE TEMP TABLE literals (type text, number int, literal text);
INSERT INTO literals SELECT type, row_number() OVER (PARTITION BY type) - 1, literal FROM (VALUES
    ('timestamptz', '''2001-03-31 01:00+00'''), ('timestamptz', '''2001-02-28 23:00+00'''), ('timestamp', '''2001-03-31 01:00'''),
    ('date', '''2001-03-31'''), ('timetz', '''10:00+03'''), ('time', '''10:00'''), ('interval', '''1 mon 2 days'''),
    ('text', '''IST'''), ('text', '''month'''), ('text', '''select'''), ('int2', '1'), ('int4', '2'), ('int8', '3'),
    ('float4', '0.3'), ('float8', '0.1'), ('numeric', '1.25'), ('bytea', '''\x4142'''), ('bool', 'true'), ('name', '''UTF8'''),
    ('money', '''12.30'''), ('xml', '''<a x="1">1</a>'''), ('json', '''{"a":1}'''), ('jsonb', '''{"a":"2001-03-31"}'''),
    ('jsonpath', '''$.a.datetime()'''), ('_text', '''{a,NULL}'''), ('_int4', '''{1,NULL}'''), ('_timestamptz', '''{2001-03-31 01:00+00}'''),
    ('anyarray', '''{2001-03-31 01:00+00,NULL}''::timestamptz[]'), ('anyelement', '''2001-03-31 01:00+00''::timestamptz'),
    ('anynonarray', '1.5::float8'), ('anycompatible', '2::int'), ('anycompatiblearray', '''{1}''::int[]'),
    ('anyrange', '''[2001-03-31 01:00+00,2001-04-30 01:00+00)''::tstzrange'), ('tstzrange', '''[2001-03-31 01:00+00,2001-04-30 01:00+00)'''),
    ('anymultirange', '''{[2001-03-31 01:00+00,2001-04-30 01:00+00)}''::tstzmultirange'), ('tsvector', '''a b'''), ('tsquery', '''a & b'''),
    ('regconfig', '''english'''), ('bpchar', '''x'''), ('varchar', '''y'''), ('char', '''c'''), ('oid', '23'), ('regclass', '''pg_class'''),
    ('inet', '''10.0.0.1/8'''), ('cidr', '''10.0.0.0/8'''), ('bit', 'B''101'''), ('varbit', 'B''101'''), ('uuid', '''a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'''),
    ('point', '''(1,2)'''), ('box', '''(1,2,3,4)'''), ('circle', '''<(1,2),3>'''), ('lseg', '''[(1,2),(3,4)]'''), ('path', '''((1,2),(3,4))'''),
    ('polygon', '''((1,2),(3,4))'''), ('line', '''{1,2,3}'''), ('macaddr', '''08:00:2b:01:02:03'''), ('pg_lsn', '''1/2'''), ('xid8', '''5'''),
    ('record', 'ROW(1, ''a''::text)')) AS v (type, literal);

CREATE TEMP TABLE calls (function regprocedure, expression text, answer bytea);
INSERT INTO calls
SELECT DISTINCT p.oid::regprocedure, format('pg_catalog.%I(%s)', p.proname, string_agg(
        CASE WHEN l.literal LIKE '%::%' OR l.type = 'record' THEN l.literal ELSE format('CAST(%s AS pg_catalog.%I)', l.literal, l.type) END,
        ', ' ORDER BY a.place))
FROM pg_proc p CROSS JOIN generate_series(0, 2) AS v (variant) CROSS JOIN unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)
JOIN pg_type t ON t.oid = a.type
JOIN LATERAL (SELECT l.*, count(*) OVER () AS all_of_type FROM literals l WHERE l.type = t.typname) l
    ON l.number = (variant + a.place) % l.all_of_type
WHERE p.oid < 16384 AND p.prokind = 'f' AND p.provolatile = 'i' AND p.prorettype NOT IN ('cstring'::regtype, 'internal'::regtype)
GROUP BY p.oid, p.proname, p.pronargs, variant HAVING count(*) = p.pronargs;

CREATE FUNCTION pg_temp.answer_of(expression text) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE answer bytea;
BEGIN
    EXECUTE format('SELECT record_send(ROW(%s))', expression) INTO answer;
    RETURN answer;
EXCEPTION WHEN OTHERS THEN RETURN NULL;
END $$;
UPDATE calls SET answer = pg_temp.answer_of(expression);
DELETE FROM calls WHERE answer IS NULL;
SELECT count(DISTINCT function) > 900 AS many_functions, count(*) > 1500 AS many_calls FROM calls;

CREATE TEMP TABLE other_answers (function regprocedure, setting text);
CREATE FUNCTION pg_temp.try(name text, value text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE before text := current_setting(name);
BEGIN
    PERFORM set_config(name, value, false);
    INSERT INTO other_answers SELECT DISTINCT function, name FROM calls WHERE pg_temp.answer_of(expression) IS DISTINCT FROM answer;
    PERFORM set_config(name, before, false);
END $$;
DO $$
DECLARE setting record;
BEGIN
    FOR setting IN VALUES ('TimeZone', 'Asia/Tokyo'), ('timezone_abbreviations', 'India'), ('DateStyle', 'German, DMY'),
        ('IntervalStyle', 'iso_8601'), ('extra_float_digits', '-10'), ('bytea_output', 'escape'), ('quote_all_identifiers', 'on'),
        ('xmlbinary', 'hex'), ('xmloption', 'document'), ('default_text_search_config', 'pg_catalog.german'), ('lc_monetary', 'POSIX'),
        ('transform_null_equals', 'on'), ('search_path', 'pg_catalog')
    LOOP
        PERFORM pg_temp.try(setting.column1, setting.column2);
    END LOOP;
END $$;
SELECT function, setting FROM other_answers ORDER BY function::text, setting;
