-- Values of all kinds come back from the cache as they went in.
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE point_name AS (p point, name text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN named AS point_name;
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE TABLE kinds (
    c01 smallint, c02 int, c03 bigint, c04 numeric, c05 numeric(10,3), c06 real, c07 double precision, c08 boolean,
    c09 text, c10 varchar(10), c11 char(5), c12 "char", c13 name, c14 bytea, c15 bit(3), c16 bit varying,
    c17 date, c18 time, c19 timetz, c20 timestamp(3), c21 timestamptz, c22 interval, c23 uuid, c24 json, c25 jsonb,
    c26 xml, c27 inet, c28 cidr, c29 macaddr, c30 macaddr8, c31 point, c32 line, c33 lseg, c34 box, c35 path, c36 polygon,
    c37 circle, c38 tsvector, c39 tsquery, c40 money, c41 oid, c42 pg_lsn, c43 int4range, c44 numrange, c45 tstzrange,
    c46 int4multirange, c47 color, c48 point_name, c49 positive, c50 named, c51 float_range, c52 int[], c53 text[],
    c54 point_name[], c55 color[], c56 positive[], c57 int4range[], c58 jsonpath, c59 xid8, c60 int[][]);
INSERT INTO kinds VALUES (
    -32768, 2147483647, -9223372036854775808, 'NaN', 1234567.891, 'Infinity', 1e-300, true,
    E'tab\t "quote" \\ \u00e9 \u4e2d', 'x', 'ab', 'c', 'a_name', '\x00ff10', '101', '1',
    '4713-01-01 BC', '24:00', '12:00+05:30', '2001-02-03 04:05:06.789', 'infinity', '-1 year 2 mons 3 days 04:05:06.7',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a" : [1, null]}', '{"b": {"c": 1.50}}',
    '<a b="1">x</a>', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '(1,2)', '{1,-1,0}',
    '[(0,0),(1,1)]', '((0,0),(1,1))', '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),1>', 'a:1 cat:2', 'a & !b', 1234.56,
    4294967295, '16/B374D848', '[1,10)', '(,2.5]', '[2001-01-01 00:00+00,)', '{[1,3),[5,7)}', 'green',
    row('(1,2)', 'x "y"'), 7, row('(3,4)', NULL), '[0.5,1.5]', '{1,NULL,3}', '{"a b","c\"d",NULL}',
    ARRAY[row('(1,2)', 'a'), NULL]::point_name[], '{red,green}', '{1,2}', '{"[1,2)",empty}', '$.a[*] ? (@ > 1)', '7',
    '[0:1][2:3]={{1,2},{3,4}}');
INSERT INTO kinds DEFAULT VALUES;

-- json: the same text as PostgreSQL's own.
SELECT helpers.twice('SELECT * FROM kinds ORDER BY c02');
SELECT helpers.twice('SELECT k FROM kinds k ORDER BY c02');
SELECT helpers.twice('SELECT ARRAY[c48, c50::point_name], row(c01, c09), row_to_json(k) FROM kinds k ORDER BY c02');

-- rows: nothing is different from the table.
SELECT format('CREATE FUNCTION helpers.kinds() RETURNS SETOF kinds LANGUAGE plpgsql AS %L',
    'BEGIN RETURN QUERY SELECT * FROM tiercache.query(''SELECT * FROM kinds'') AS t('
    || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY attnum) || '); END')
    FROM pg_attribute a WHERE attrelid = 'kinds'::regclass AND attnum > 0 \gexec
SELECT helpers.new_hits() IS NOT NULL;
SELECT count(*) FROM helpers.kinds() k WHERE k::text IN (SELECT kinds::text FROM kinds);
SELECT count(*) FROM helpers.kinds() k WHERE k::text IN (SELECT kinds::text FROM kinds);
SELECT helpers.new_hits();
SELECT bool_and(record_image_eq(a, b)) FROM (SELECT row_number() OVER () AS n, k AS a FROM helpers.kinds() k) x
    JOIN (SELECT row_number() OVER () AS n, k AS b FROM kinds k) y USING (n);
SELECT * FROM tiercache.query('SELECT c48, c50, c54, c47, c49 FROM kinds WHERE c02 > 0')
    AS t(a point_name, b named, c point_name[], d color, e positive);
SELECT * FROM tiercache.query('SELECT c48, c50, c54, c47, c49 FROM kinds WHERE c02 > 0')
    AS t(a point_name, b named, c point_name[], d color, e positive);
SELECT (a).name, c[1].p FROM tiercache.query('SELECT c48, c50, c54, c47, c49 FROM kinds WHERE c02 > 0')
    AS t(a point_name, b named, c point_name[], d color, e positive);
-- A row type of a table, and one with a dropped column.
CREATE TABLE slim (a int, gone text, b text);
INSERT INTO slim VALUES (1, 'x', 'y');
ALTER TABLE slim DROP COLUMN gone;
SELECT * FROM tiercache.query('SELECT s, a FROM slim s') AS t(s slim, a int);
SELECT * FROM tiercache.query('SELECT s, a FROM slim s') AS t(s slim, a int);
SELECT helpers.twice('SELECT s, a FROM slim s');
-- An anonymous record means something to the backend that made it only: answered, not stored.
SELECT helpers.new_hits() IS NOT NULL;
SELECT * FROM tiercache.query('SELECT row(1, ''a''::text), ARRAY[row(2)]') AS t(r record, rs record[]);
SELECT * FROM tiercache.query('SELECT row(1, ''a''::text), ARRAY[row(2)]') AS t(r record, rs record[]);
SELECT helpers.new_hits();
-- Types of no length, of one byte, of fixed length, NULLs at every place.
SELECT helpers.new_hits() IS NOT NULL;
SELECT * FROM tiercache.query('SELECT a, b, c, d FROM (VALUES (NULL::"char", 1::int8, NULL::text, true), (''x'', NULL, '''', NULL), (NULL, NULL, NULL, NULL)) v(a, b, c, d)')
    AS t(a "char", b int8, c text, d bool);
SELECT * FROM tiercache.query('SELECT a, b, c, d FROM (VALUES (NULL::"char", 1::int8, NULL::text, true), (''x'', NULL, '''', NULL), (NULL, NULL, NULL, NULL)) v(a, b, c, d)')
    AS t(a "char", b int8, c text, d bool);
SELECT helpers.new_hits();

-- Another backend decodes the same bytes.
\c -
SELECT helpers.new_hits() IS NOT NULL;
SELECT * FROM tiercache.query('SELECT c48, c50, c54, c47, c49 FROM kinds WHERE c02 > 0')
    AS t(a point_name, b named, c point_name[], d color, e positive);
SELECT count(*) FROM helpers.kinds() k WHERE k::text IN (SELECT kinds::text FROM kinds);
SELECT helpers.served('SELECT * FROM kinds ORDER BY c02');
SELECT helpers.new_hits();

DROP FUNCTION helpers.kinds;
DROP TABLE kinds, slim;
DROP TYPE color, float_range;
DROP DOMAIN positive, named;
DROP TYPE point_name;
