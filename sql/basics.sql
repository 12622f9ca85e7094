-- The functions' answers, and that they come from the cache.
\set VERBOSITY default
CREATE TABLE basics (id int PRIMARY KEY, name text, amount numeric(10,2), at timestamptz);
INSERT INTO basics
    SELECT i, 'row ' || i, i * 1.25, timestamptz '2001-01-01 00:00+00' + i * interval '1 hour'
    FROM generate_series(1, 20) i;
INSERT INTO basics VALUES (21, NULL, NULL, NULL);

-- query_json: as json_agg, hit the second time.
SELECT helpers.twice('SELECT * FROM basics WHERE id <= 3 ORDER BY id');
SELECT tiercache.query_json('SELECT * FROM basics WHERE id IN (2, 21) ORDER BY id');
SELECT tiercache.query_json('SELECT * FROM basics WHERE id IN (2, 21) ORDER BY id');
SELECT helpers.twice('SELECT * FROM basics WHERE false');
SELECT tiercache.query_json('SELECT * FROM basics WHERE false');
SELECT helpers.twice('SELECT FROM basics WHERE id < 4');
SELECT helpers.twice('SELECT id, id, name AS id FROM basics WHERE id < 4 ORDER BY 1');
SELECT helpers.twice('SELECT 1');
SELECT helpers.twice('SELECT a.id, b.name FROM basics a JOIN basics b ON b.id = a.id + 1 ORDER BY a.id');
SELECT helpers.twice('SELECT id % 3 AS k, count(*), sum(amount), avg(amount), min(at) FROM basics GROUP BY 1 ORDER BY 1');
SELECT helpers.twice('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id) FROM basics');
SELECT helpers.twice('SELECT id, rank() OVER (ORDER BY amount DESC NULLS LAST) FROM basics ORDER BY id');
SELECT helpers.twice('SELECT b FROM basics b WHERE id < 3 ORDER BY id');
SELECT helpers.twice('SELECT id AS a, name AS b, amount AS c, at AS d FROM basics WHERE id = 1');
SELECT tiercache.query_json('SELECT id AS a, name AS b, amount AS c, at AS d FROM basics WHERE id = 1');

-- Every shape of one SELECT.
SELECT helpers.twice('VALUES (1, ''a''), (2, NULL)');
SELECT helpers.twice('TABLE basics');
SELECT helpers.twice('WITH w AS (SELECT id FROM basics WHERE id < 5) SELECT sum(id) FROM w');
SELECT helpers.twice('WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r');
SELECT helpers.twice('(SELECT 1 AS x) UNION ALL (SELECT 2) ORDER BY x');
SELECT helpers.twice('SELECT (SELECT max(id) FROM basics), EXISTS (SELECT FROM basics WHERE id = 7)');
SELECT helpers.twice('SELECT * FROM generate_series(1, 3) g, LATERAL (SELECT name FROM basics WHERE id = g) n');
-- A semicolon, comments and space belong to the text.
SELECT tiercache.query_json(E'  -- first\n SELECT /* second */ 1 AS one ; ');

-- query: typed rows.
SELECT helpers.new_hits() IS NOT NULL;
SELECT * FROM tiercache.query('SELECT * FROM basics WHERE id IN (1, 21) ORDER BY id')
    AS t(id int, name text, amount numeric(10,2), at timestamptz);
SELECT * FROM tiercache.query('SELECT * FROM basics WHERE id IN (1, 21) ORDER BY id')
    AS t(id int, name text, amount numeric, at timestamptz);
SELECT helpers.new_hits();
SELECT count(*), sum(id) FROM tiercache.query('SELECT id FROM basics') AS t(id int);
SELECT count(*), sum(id) FROM tiercache.query('SELECT id FROM basics') AS t(id int);
SELECT count(*) FROM tiercache.query('SELECT id FROM basics WHERE false') AS t(id int);
SELECT count(*) FROM tiercache.query('SELECT id FROM basics WHERE false') AS t(id int);
SELECT helpers.new_hits();
-- Joined with a table, twice in one query.
SELECT b.id, t.n FROM basics b
    JOIN tiercache.query('SELECT id, count(*) FROM basics GROUP BY id') AS t(id int, n bigint) USING (id)
    JOIN tiercache.query('SELECT id, count(*) FROM basics GROUP BY id') AS u(id int, n bigint) USING (id)
    WHERE b.id < 3 ORDER BY b.id;
SELECT helpers.new_hits();
-- A cursor and a backward scan over the rows.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT * FROM tiercache.query('SELECT id FROM basics ORDER BY id') AS t(id int);
FETCH 2 FROM c;
FETCH LAST FROM c;
FETCH PRIOR FROM c;
COMMIT;
-- NULL in, NULL out.
SELECT tiercache.query_json(NULL), tiercache.fetch(NULL), tiercache.fetch('SELECT 1', NULL);
SELECT * FROM tiercache.query(NULL) AS t(a int);

-- The column definition list is checked, on a miss and on a hit.
SELECT * FROM tiercache.query('SELECT id, name FROM basics') AS t(id int);
SELECT * FROM tiercache.query('SELECT id, name, amount FROM basics') AS t(id int, name text, amount numeric(8,2));
SELECT count(*) FROM tiercache.query('SELECT id, name AS "the name" FROM basics') AS t(id int, name text);
SELECT * FROM tiercache.query('SELECT id, name AS "the name" FROM basics') AS t(id bigint, name text);
SELECT * FROM tiercache.query('SELECT id, name AS "the name" FROM basics') AS t(id int, name text, more int);
SELECT * FROM tiercache.query('SELECT id, name AS "the name" FROM basics') AS t(id int);
SELECT tiercache.query('SELECT 1');
SELECT * FROM tiercache.query('SELECT 1');
-- Binary compatible types may take each other's place.
SELECT * FROM tiercache.query('SELECT name::varchar(20) FROM basics WHERE id = 1') AS t(name text);

-- Wrong SQL: the query's own error, and where.
SELECT tiercache.query_json('SELECT * FROM no_such_table');
SELECT tiercache.query_json('SELECT no_such_column FROM basics');
SELECT tiercache.query_json('SELEC 1');
SELECT tiercache.query_json('SELECT 1 / (id - 1) FROM basics');
SELECT * FROM tiercache.query('SELECT ''x''::int') AS t(a int);
SELECT tiercache.fetch('SELECT $1::int', '{x}');
-- An error stores nothing, and does not stay.
SELECT helpers.served('SELECT 1 / (id - 1) AS q FROM basics WHERE id > 1 ORDER BY id LIMIT 2');

-- Large and wide results.
SELECT length(tiercache.query_json('SELECT repeat(''x'', 100) AS x, g FROM generate_series(1, 2000) g')::text),
       length(tiercache.query_json('SELECT repeat(''x'', 100) AS x, g FROM generate_series(1, 2000) g')::text);
SELECT helpers.twice('SELECT ' || string_agg(i || ' AS column_' || i, ', ') || ' FROM basics WHERE id < 3')
    FROM generate_series(1, 300) i;
-- Over the limit: answered, not stored.
SELECT helpers.twice('SELECT repeat(md5(g::text), 40) FROM generate_series(1, 1000) g');
SET tiercache.max_entry_size = '4MB';
SELECT helpers.twice('SELECT repeat(md5(g::text), 30) FROM generate_series(1, 1500) g');
RESET tiercache.max_entry_size;
SELECT count(*), sum(length(x)) FROM tiercache.query('SELECT repeat(md5(g::text), 40) FROM generate_series(1, 1000) g') AS t(x text);
-- But a client may keep it: it has its stamp and its tags.
SELECT get_byte(e, 48) & 4 AS no_store, get_byte(e, 51) > 0 AS has_tags
    FROM tiercache.fetch('SELECT repeat(md5(g::text), 40) FROM generate_series(1, 1000) g') e;

-- Out-of-line and compressed values.
CREATE TABLE toasted (id int, compressed text, external text);
ALTER TABLE toasted ALTER external SET STORAGE EXTERNAL;
INSERT INTO toasted SELECT i, repeat('abc', 20000), repeat(md5(i::text), 500) FROM generate_series(1, 3) i;
SELECT helpers.new_hits() IS NOT NULL;
SELECT id, length(compressed), md5(external) = md5(repeat(md5(id::text), 500))
    FROM tiercache.query('SELECT * FROM toasted ORDER BY id') AS t(id int, compressed text, external text);
SELECT fills + fills_unpublished AS fills FROM tiercache.stats \gset
SELECT id, length(compressed), md5(external) = md5(repeat(md5(id::text), 500))
    FROM tiercache.query('SELECT * FROM toasted ORDER BY id') AS t(id int, compressed text, external text);
SELECT helpers.new_hits();
SELECT fills + fills_unpublished - :fills AS more_fills FROM tiercache.stats;

-- Switched off: the same answers.
SET tiercache.enabled = off;
SELECT helpers.twice('SELECT id FROM basics ORDER BY id');
SELECT count(*) FROM tiercache.query('SELECT id FROM basics') AS t(id int);
-- An entry that nobody may keep: its flags say so.
SELECT get_byte(tiercache.fetch('SELECT id FROM basics'), 48) & 4 AS no_store;
RESET tiercache.enabled;
SELECT get_byte(tiercache.fetch('SELECT id FROM basics'), 48) & 4 AS no_store;

-- A statement that is cancelled stores nothing and leaves nothing behind.
SET statement_timeout = '200ms';
SELECT tiercache.query_json('SELECT count(*) FROM generate_series(1, 1000000000) g');
RESET statement_timeout;
SELECT helpers.twice('SELECT 2 AS two');

-- Prepared, and in PL/pgSQL.
PREPARE p AS SELECT tiercache.query_json($1);
EXECUTE p('SELECT id FROM basics WHERE id < 3 ORDER BY id');
EXECUTE p('SELECT id FROM basics WHERE id < 3 ORDER BY id');
DEALLOCATE p;
DROP TABLE basics, toasted;
