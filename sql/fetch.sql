-- fetch: entries for the outer tiers.
CREATE TABLE fetched (id int, name text, at date);
INSERT INTO fetched VALUES (1, 'one', '2001-01-01'), (2, NULL, NULL), (3, 'drei', '2003-03-03');

-- Takes an entry apart as shm_cache/entry.hpp describes it; the payload must not be compressed.
CREATE FUNCTION helpers.u32(b bytea, at int) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    'SELECT get_byte(b, at) + get_byte(b, at + 1) * 256 + get_byte(b, at + 2) * 65536 + get_byte(b, at + 3) * 16777216::bigint';
CREATE FUNCTION helpers.entry(e bytea, OUT magic bytea, OUT received bigint, OUT age bigint, OUT ttl bigint, OUT stamp_known bool,
    OUT flags int, OUT format int, OUT class int, OUT tags int, OUT key bytea, OUT payload bytea, OUT size_ok bool) LANGUAGE plpgsql AS $$
BEGIN
    magic := substring(e FOR 4);
    age := helpers.u32(e, 4);
    received := helpers.u32(e, 8);
    ttl := helpers.u32(e, 20);
    stamp_known := substring(e FROM 41 FOR 8) <> '\x0000000000000000';
    flags := get_byte(e, 48);
    format := get_byte(e, 49);
    class := get_byte(e, 50);
    tags := get_byte(e, 51);
    key := substring(e FROM 73 + 8 * tags FOR helpers.u32(e, 56)::int);
    payload := substring(e FROM 73 + 8 * tags + helpers.u32(e, 56)::int);
    size_ok := length(payload) = helpers.u32(e, 64);
END $$;
-- The messages of a payload: RowDescription as name:type, DataRows as text.
CREATE FUNCTION helpers.be(b bytea, at int, n int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE v bigint := 0;
BEGIN
    FOR i IN 0..n - 1 LOOP v := v * 256 + get_byte(b, at + i); END LOOP;
    RETURN CASE WHEN n = 4 AND v > 2147483647 THEN v - 4294967296 WHEN n = 2 AND v > 32767 THEN v - 65536 ELSE v END;
END $$;
CREATE FUNCTION helpers.messages(p bytea) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE at int := 0; len int; n int; f int; z int; line text;
BEGIN
    WHILE at < length(p) LOOP
        len := helpers.be(p, at + 1, 4);
        n := helpers.be(p, at + 5, 2);
        f := at + 7;
        line := chr(get_byte(p, at)) || ' ' || n;
        FOR i IN 1..n LOOP
            IF chr(get_byte(p, at)) = 'T' THEN
                z := position('\x00'::bytea IN substring(p FROM f + 1)) - 1;
                line := line || ' ' || convert_from(substring(p FROM f + 1 FOR z), 'UTF8') || ':'
                    || CASE WHEN helpers.be(p, f + z + 1, 4) = 0 THEN '-' ELSE helpers.be(p, f + z + 1, 4)::oid::regclass::text END
                    || '.' || helpers.be(p, f + z + 5, 2) || ':' || helpers.be(p, f + z + 7, 4)::oid::regtype
                    || ':' || helpers.be(p, f + z + 11, 2) || ':' || helpers.be(p, f + z + 13, 4) || ':' || helpers.be(p, f + z + 17, 2);
                f := f + z + 19;
            ELSIF helpers.be(p, f, 4) = -1 THEN
                line := line || ' NULL';
                f := f + 4;
            ELSE
                line := line || ' "' || convert_from(substring(p FROM f + 5 FOR helpers.be(p, f, 4)), 'UTF8') || '"';
                f := f + 4 + helpers.be(p, f, 4);
            END IF;
        END LOOP;
        IF f <> at + 1 + len THEN line := line || ' LENGTH WRONG'; END IF;
        RETURN NEXT line;
        at := at + 1 + len;
    END LOOP;
END $$;

SELECT magic, received, age < 1000 AS young, ttl BETWEEN 38880000 - 1000 AND 47520000 AS ttl, stamp_known, flags, format, class,
       tags > 3 AS tags, size_ok FROM helpers.entry(tiercache.fetch('SELECT * FROM fetched ORDER BY id'));
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT * FROM fetched ORDER BY id')), helpers.messages(payload);
-- Columns of expressions, joins, domains; no rows; no columns.
CREATE DOMAIN short AS varchar(5);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT name::short AS s, id + 1 AS n, f.at, 1.5::numeric(5,2) AS q, ''x'' AS u
    FROM fetched f WHERE id = 1')), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT id AS "Größe", name FROM fetched WHERE false')), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT FROM fetched')), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT id FROM fetched ORDER BY at NULLS FIRST')), helpers.messages(payload);
CREATE VIEW fetched_view AS SELECT id, name FROM fetched;
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT * FROM fetched_view WHERE id = 1')), helpers.messages(payload);

-- The second fetch is a hit, and its entry is the same but for its age.
SELECT helpers.new_hits() IS NOT NULL;
SELECT tiercache.fetch('SELECT count(*) FROM fetched') AS e \gset
SELECT substring(e FROM 33) = substring(:'e'::bytea FROM 33) AS same, helpers.u32(e, 20) <= helpers.u32(:'e', 20) AS ttl
    FROM tiercache.fetch('SELECT count(*) FROM fetched') e;
SELECT helpers.new_hits();

-- Parameters: text, of the types that the query gives them.
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT id, name FROM fetched WHERE id = $1 OR name = $2 ORDER BY id', '{2,one}')), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT id FROM fetched WHERE at > $1 AND id = ANY ($2) ORDER BY id', '{2000-01-01,"{1,2,3}"}')), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT $1 AS a, $2::int AS b, $1 || ''!'' AS c', '{x,NULL}')), helpers.messages(payload);
SELECT tiercache.fetch('SELECT $2 AS only_the_second', '{x,y}');
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT id FROM fetched ORDER BY id LIMIT $1 OFFSET $2', '{1,1}')), helpers.messages(payload);
-- NULL, the empty string and other values are different questions.
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT $1::text IS NULL, $1 = ''''', ARRAY[NULL]::text[])), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT $1::text IS NULL, $1 = ''''', ARRAY[''])), helpers.messages(payload);
SELECT messages FROM helpers.entry(tiercache.fetch('SELECT $1::text IS NULL, $1 = ''''', ARRAY['x'])), helpers.messages(payload);
SELECT tiercache.fetch('SELECT id FROM fetched WHERE id = $1');
SELECT tiercache.fetch('SELECT id FROM fetched WHERE id = $1', '{1,2}');
SELECT tiercache.fetch('SELECT id FROM fetched', '{1}');
SELECT tiercache.fetch('SELECT id FROM fetched WHERE id = $1', '{one}');
SELECT tiercache.fetch('SELECT id FROM fetched WHERE id = $1', '{{1},{2}}');
SELECT tiercache.query_json('SELECT id FROM fetched WHERE id = $1');
SELECT tiercache.fetch('SELECT $1::positive_int', '{1}');

-- The key is the one that a client builds: version, format, session key, text, parameters.
SELECT key = '\x01020000'::bytea || '\x30000000'::bytea || tiercache.session_key() || '\x13000000'::bytea || 'SELECT $1::text, $2'::bytea
    || '\x02000000'::bytea || '\x03000000'::bytea || 'abc'::bytea || '\xffffffff'::bytea
    FROM helpers.entry(tiercache.fetch('SELECT $1::text, $2', '{abc,NULL}'));
-- In the client's encoding, as the rows are.
SET client_encoding = 'LATIN1';
SELECT position('\x4772f6df65'::bytea IN key) > 0 AS key, position('\x4772f6df65'::bytea IN payload) > 0 AS payload
    FROM helpers.entry(tiercache.fetch('SELECT ''' || convert_from('\x4772c3b6c39f65', 'UTF8') || ''' AS x'));
RESET client_encoding;
-- Two texts that are the same bytes there, or none: the answer is its receiver's only.
SET client_encoding = 'SJIS';
\set bar 'convert_from(\'\\x53454c4543542061736369692827e28096272920415320636f6465\', \'UTF8\')'
\set parallel 'convert_from(\'\\x53454c4543542061736369692827e288a5272920415320636f6465\', \'UTF8\')'
SELECT flags, messages FROM helpers.entry(tiercache.fetch(:parallel)), helpers.messages(payload) WHERE messages LIKE 'D%';
SELECT flags, messages FROM helpers.entry(tiercache.fetch(:bar)), helpers.messages(payload) WHERE messages LIKE 'D%';
SELECT flags, messages FROM helpers.entry(tiercache.fetch(:parallel)), helpers.messages(payload) WHERE messages LIKE 'D%';
SELECT flags, messages FROM helpers.entry(tiercache.fetch('SELECT ascii($1) AS code', ARRAY[chr(8214)])), helpers.messages(payload) WHERE messages LIKE 'D%';
SELECT flags, messages FROM helpers.entry(tiercache.fetch('SELECT ascii($1) AS code', ARRAY[chr(8741)])), helpers.messages(payload) WHERE messages LIKE 'D%';
SET client_encoding = 'LATIN1';
SELECT flags, messages FROM helpers.entry(tiercache.fetch('SELECT ascii($1) AS code', ARRAY[chr(8364)])), helpers.messages(payload) WHERE messages LIKE 'D%';
SELECT key IS NOT NULL FROM helpers.entry(tiercache.fetch(convert_from('\x53454c454354206c656e6774682827e282ace697a52729', 'UTF8')));
RESET client_encoding;

-- Nobody may keep an answer whose state is not everybody's.
BEGIN;
INSERT INTO fetched VALUES (4, 'mine', NULL);
SELECT flags, tags, stamp_known, messages FROM helpers.entry(tiercache.fetch('SELECT count(*) FROM fetched')), helpers.messages(payload);
ROLLBACK;
SELECT flags, tags > 0 AS tags, stamp_known, messages FROM helpers.entry(tiercache.fetch('SELECT count(*) FROM fetched')), helpers.messages(payload);
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT flags, tags, stamp_known FROM helpers.entry(tiercache.fetch('SELECT count(*) FROM fetched'));
COMMIT;
-- Compressed where it pays.
SELECT get_byte(e, 48) AS flags, helpers.u32(e, 60) > 20000 AS raw, helpers.u32(e, 64) < 5000 AS stored
    FROM tiercache.fetch('SELECT repeat(''x'', 100) FROM generate_series(1, 200)') e;
-- The view of entries knows them.
SELECT sql, params, format, class, rows, raw_bytes > 0 AS raw, tags > 0 AS tags, verdict
    FROM tiercache.entries WHERE sql IN ('SELECT $1::text, $2', 'SELECT repeat(''x'', 100) FROM generate_series(1, 200)') ORDER BY sql COLLATE "C";

DROP TABLE fetched CASCADE;
DROP DOMAIN short;
DROP FUNCTION helpers.messages, helpers.be, helpers.entry, helpers.u32;
