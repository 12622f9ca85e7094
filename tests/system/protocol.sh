#!/usr/bin/env bash
# Transparent mode in all of the protocol: the same bytes with the cache as without, message by message.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start protocol
tc_psql protocol -q <<'SQL'
CREATE EXTENSION tiercache;
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(10,2), at timestamptz, f float8, b bytea, k color, j jsonb, a int[]);
INSERT INTO t SELECT g, 'name ' || g, g * 1.25, timestamptz '2001-01-01 00:00+00' + g * interval '1 hour', g / 3.0, '\xdeadbeef',
    'green', '{"a": [1, null]}', ARRAY[1, NULL, g] FROM generate_series(1, 12) g;
CREATE VIEW v AS SELECT id, upper(name) AS name FROM t;
CREATE FUNCTION only_mine(id int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN 'row ' || id; END $$;
REVOKE EXECUTE ON FUNCTION only_mine FROM PUBLIC;
CREATE FUNCTION empty_t() RETURNS text LANGUAGE plpgsql AS $$ BEGIN TRUNCATE t; RETURN 'emptied'; END $$;
CREATE TABLE u AS SELECT id FROM t;
CREATE UNIQUE INDEX ON u (id);
CREATE FUNCTION doubled(id int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'old ' || 2 * id; END $$;
CREATE FUNCTION count_u(id int) RETURNS bigint LANGUAGE plpgsql STABLE SET tiercache.depends_on_settings = '' AS $$ BEGIN RETURN (SELECT count(*) FROM u); END $$;
CREATE ROLE limited;
GRANT SELECT ON u TO limited;
CREATE TABLE noted (v int);
CREATE TABLE counted_for AS SELECT id FROM t;
CREATE TEXT SEARCH CONFIGURATION cfg (COPY = simple);
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET default_text_search_config = 'cfg';
CREATE FUNCTION times_of_loop(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR r IN EXECUTE query LOOP
        IF r.id = 3 THEN SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL extra_float_digits = -3; END IF;
        RETURN NEXT r::text;
    END LOOP;
END $$;
CREATE FUNCTION times_of_static_loop() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    FOR r IN SELECT g.id, g.at::text FROM t g, generate_series(1, 20) LOOP
        IF r.id = 3 THEN SET LOCAL TimeZone = 'Asia/Tokyo'; END IF;
        RETURN NEXT r::text;
    END LOOP;
END $$;
CREATE FUNCTION times() RETURNS SETOF text LANGUAGE sql AS 'SELECT at::text FROM t';
CREATE FUNCTION ids() RETURNS SETOF int LANGUAGE sql AS 'SELECT id FROM t ORDER BY id';
CREATE FUNCTION tokyo_from(at text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN IF at LIKE '%03:00:00%' THEN SET LOCAL TimeZone = 'Asia/Tokyo'; END IF; RETURN 'done'; END $$;
CREATE FUNCTION emptied_from(id int, first int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN IF id = first THEN TRUNCATE t; END IF; RETURN 'done'; END $$;
CREATE FUNCTION try_empty() RETURNS text LANGUAGE plpgsql AS $$
BEGIN BEGIN TRUNCATE noted; EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END; RETURN 'emptied'; END $$;
CREATE TABLE moved (part int, id int) PARTITION BY LIST (part);
CREATE TABLE moved_1 PARTITION OF moved FOR VALUES IN (1);
CREATE TABLE moved_2 PARTITION OF moved FOR VALUES IN (2);
INSERT INTO moved SELECT 1, g FROM generate_series(1, 20) g;
CREATE TABLE parent (v int);
INSERT INTO parent VALUES (0);
CREATE TABLE child (v int);
INSERT INTO child VALUES (1);
SQL
server=("$TC_PGHOST/.s.PGSQL.$TC_PGPORT" "$TC_PGUSER" "$TC_PGDATABASE")
status=0
output=$(tc_run "$TC_BUILD/tests/protocol" "${server[@]}" && tc_run "$TC_BUILD/tests/protocol_between" "${server[@]}") || status=$?
echo "$output"
TC_PASSED=$(grep -c '^ok ' <<<"$output" || :)
TC_FAILED=$(grep -c '^not ok ' <<<"$output" || :)
tc_is "$status" 0 'both programs came to their end'
tc_check 'every conversation was held, and failed only where it should' grep -q '^# 212 conversations, 104 errors' <<<"$output"
tc_done
