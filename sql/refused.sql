-- What cannot be cached says why.
CREATE TABLE refused (id int, at timestamptz, note text, kind regclass);
INSERT INTO refused VALUES (1, '2001-01-01', 'x', 'refused');
CREATE TEMP TABLE refused_temp (id int);
CREATE SEQUENCE refused_seq;
CREATE EXTENSION file_fdw;
CREATE SERVER refused_server FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE refused_foreign (id int) SERVER refused_server OPTIONS (filename '/dev/null');
CREATE FUNCTION refused_stable(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + count(*)::int FROM refused';
CREATE FUNCTION refused_volatile(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE VIEW refused_view AS SELECT id, now() AS seen FROM refused;
CREATE VIEW refused_catalog_view AS SELECT relname FROM pg_class;
CREATE TABLE refused_parted (id int) PARTITION BY LIST (id);
CREATE TABLE refused_part_1 PARTITION OF refused_parted FOR VALUES IN (1);
CREATE FOREIGN TABLE refused_part_2 PARTITION OF refused_parted FOR VALUES IN (2)
    SERVER refused_server OPTIONS (filename '/dev/null');

-- Not one SELECT.
SELECT tiercache.query_json('');
SELECT tiercache.query_json('  -- nothing');
SELECT tiercache.query_json('SELECT 1; SELECT 2');
SELECT tiercache.query_json('INSERT INTO refused VALUES (2)');
SELECT tiercache.query_json('UPDATE refused SET id = 2 RETURNING id');
SELECT tiercache.query_json('DELETE FROM refused');
SELECT tiercache.query_json('DROP TABLE refused');
SELECT tiercache.query_json('EXPLAIN SELECT 1');
SELECT tiercache.query_json('COPY refused TO STDOUT');
SELECT tiercache.query_json('SET work_mem = 100');
SELECT tiercache.query_json('BEGIN');
SELECT tiercache.query_json('SELECT 1 AS one INTO refused_new');
SELECT tiercache.query_json('SELECT 1 AS one INTO refused_new UNION SELECT 2');
SELECT tiercache.query_json('CREATE TABLE refused_new AS SELECT 1');
SELECT tiercache.query_json('WITH w AS (INSERT INTO refused VALUES (3) RETURNING id) SELECT * FROM w');
SELECT tiercache.query_json('SELECT * FROM refused FOR UPDATE');
SELECT tiercache.query_json('SELECT * FROM refused FOR KEY SHARE');
SELECT tiercache.query_json('SELECT * FROM (SELECT * FROM refused FOR SHARE) s');
-- All entries say the same.
SELECT * FROM tiercache.query('SELECT 1; SELECT 2') AS t(a int);
SELECT tiercache.fetch('SELECT 1; SELECT 2');
SELECT cacheable, reason FROM tiercache.explain('SELECT 1; SELECT 2');
SELECT cacheable, reason FROM tiercache.explain('');

-- Functions.
SELECT tiercache.query_json('SELECT random()');
SELECT tiercache.query_json('SELECT id FROM refused WHERE id > random()');
SELECT tiercache.query_json('SELECT nextval(''refused_seq'')');
SELECT tiercache.query_json('SELECT refused_volatile(id) FROM refused');
SELECT tiercache.query_json('SELECT refused_stable(1)');
SELECT tiercache.query_json('SELECT now()');
SELECT tiercache.query_json('SELECT clock_timestamp()');
SELECT tiercache.query_json('SELECT age(at) FROM refused');
SELECT tiercache.query_json('SELECT CURRENT_TIMESTAMP');
SELECT tiercache.query_json('SELECT LOCALTIME(0)');
SELECT tiercache.query_json('SELECT id FROM refused WHERE at > CURRENT_DATE - 7');
SELECT tiercache.query_json('SELECT SESSION_USER');
SELECT tiercache.query_json('SELECT CURRENT_SCHEMA');
SELECT tiercache.query_json('SELECT current_schemas(true)');
SELECT tiercache.query_json('SELECT current_setting(''work_mem'')');
SELECT tiercache.query_json('SELECT pg_backend_pid()');
SELECT tiercache.query_json('SELECT txid_current()');
SELECT tiercache.query_json('SELECT has_table_privilege(''refused'', ''SELECT'')');
SELECT tiercache.query_json('SELECT pg_get_viewdef(''refused_view''::regclass)');
SELECT tiercache.query_json('SELECT to_regclass(''refused'')');
SELECT tiercache.query_json('SELECT pg_typeof(id) FROM refused');
SELECT tiercache.query_json('SELECT pg_column_size(note) FROM refused');
SELECT tiercache.query_json('SELECT id FROM refused ORDER BY random()');
SELECT tiercache.query_json('SELECT id FROM refused LIMIT (random() * 10)::int');
SELECT tiercache.query_json('SELECT count(*) FILTER (WHERE random() < 2) FROM refused');
SELECT tiercache.query_json('SELECT g FROM generate_series(1, (random() * 3)::int) g');
SELECT tiercache.query_json('SELECT * FROM refused r JOIN refused s ON s.id = r.id AND random() < 2');
SELECT tiercache.query_json('SELECT sum(id) OVER (ORDER BY random()) FROM refused');

-- Literals and text that mean another time at each query.
SELECT tiercache.query_json('SELECT ''now''::timestamptz');
SELECT tiercache.query_json('SELECT date ''today''');
SELECT tiercache.query_json('SELECT id FROM refused WHERE at > ''Yesterday''');
SELECT tiercache.query_json('SELECT ''[2001-01-01,tomorrow)''::tstzrange');
SELECT tiercache.query_json('SELECT ARRAY[''now'']::timestamp[]');
SELECT tiercache.query_json('SELECT ''10:00''::timetz');
SELECT tiercache.query_json('SELECT note::timestamptz FROM refused');
SELECT tiercache.query_json('SELECT (note || '''')::date FROM refused');
SELECT tiercache.query_json('SELECT * FROM json_to_record(''{"at": "now"}'') AS r(at timestamptz)');
SELECT tiercache.query_json('SELECT (json_populate_record(NULL::refused, ''{"at": "now"}'')).id');
SELECT tiercache.fetch('SELECT $1::timestamptz', '{now}');
-- The same words elsewhere are only words.
SELECT helpers.twice('SELECT ''now''::text AS a, ''today is'' AS b, date ''2001-01-01'' AS c, note = ''now'' AS d FROM refused');

-- Names from the catalogs.
SELECT tiercache.query_json('SELECT kind FROM refused');
SELECT tiercache.query_json('SELECT kind::text FROM refused');
SELECT tiercache.query_json('SELECT ARRAY[kind] FROM refused');
SELECT tiercache.query_json('SELECT r FROM refused r');
SELECT tiercache.query_json('SELECT row_to_json(s) FROM (SELECT kind FROM refused) s');
SELECT tiercache.query_json('SELECT concat(kind) FROM refused');
SELECT tiercache.query_json('SELECT ''now''::regproc = ''now''::regproc');
SELECT tiercache.query_json('SELECT note::regclass = kind FROM refused');
SELECT tiercache.fetch('SELECT kind FROM refused');
SELECT tiercache.fetch('SELECT id FROM refused WHERE kind = $1', '{refused}');
-- As rows they are numbers: fine.
SELECT * FROM tiercache.query('SELECT id, kind FROM refused') AS t(id int, kind regclass);

-- Relations.
SELECT tiercache.query_json('SELECT * FROM refused_temp');
SELECT tiercache.query_json('SELECT * FROM refused r, refused_temp t WHERE r.id = t.id');
SELECT tiercache.query_json('SELECT * FROM refused_foreign');
SELECT tiercache.query_json('SELECT * FROM refused_parted');
SELECT helpers.twice('SELECT * FROM refused_parted WHERE id = 1');
SELECT tiercache.query_json('SELECT last_value FROM refused_seq');
SELECT tiercache.query_json('SELECT relname FROM pg_class');
SELECT tiercache.query_json('SELECT * FROM refused_catalog_view');
SELECT tiercache.query_json('SELECT table_name FROM information_schema.tables');
SELECT tiercache.query_json('SELECT * FROM refused_view');
SELECT tiercache.query_json('SELECT * FROM refused TABLESAMPLE BERNOULLI (50)');
SELECT tiercache.query_json('SELECT ctid FROM refused');
SELECT tiercache.query_json('SELECT xmin, ctid FROM refused');
SELECT helpers.twice('SELECT count(tableoid) FROM refused');
SELECT * FROM tiercache.query('SELECT * FROM refused_temp') AS t(id int);

-- All reasons at once.
SELECT tiercache.query_json('SELECT random(), now(), refused_temp.ctid FROM refused_temp, pg_class FOR UPDATE OF refused_temp');
SELECT cacheable, reason FROM tiercache.explain('SELECT random(), now() FROM refused_temp');

-- A user's IMMUTABLE function is believed, an aggregate by its parts.
CREATE FUNCTION refused_immutable(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE AGGREGATE refused_good_agg(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION refused_step(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1 + $2; END';
CREATE AGGREGATE refused_bad_agg(int) (SFUNC = refused_step, STYPE = int, INITCOND = '0');
SELECT helpers.twice('SELECT refused_immutable(id), refused_good_agg(id) FROM refused GROUP BY id');
SELECT tiercache.query_json('SELECT refused_bad_agg(id) FROM refused');

-- Allowed, because what it depends on is in the key.
SELECT helpers.twice('SELECT CURRENT_USER, CURRENT_ROLE, CURRENT_CATALOG, current_database()');
SELECT helpers.twice('SELECT date_trunc(''day'', at), at::date, to_char(at, ''YYYY''), extract(hour FROM at) FROM refused');
SELECT helpers.twice('SELECT to_json(at), concat(note, id), format(''%s-%s'', id, note), note || id FROM refused');
SELECT helpers.twice('SELECT to_tsvector(''a fat cat'') @@ to_tsquery(''cat''), to_date(''2001'', ''YYYY'')');
SELECT helpers.twice('SELECT ''1 day''::text::interval, ''{1,2}''::text::int[]');

DROP TABLE refused, refused_temp, refused_parted CASCADE;
DROP EXTENSION file_fdw CASCADE;
DROP SEQUENCE refused_seq;
DROP VIEW refused_catalog_view;
DROP AGGREGATE refused_good_agg(int), refused_bad_agg(int);
DROP FUNCTION refused_stable, refused_volatile, refused_immutable, refused_step;
