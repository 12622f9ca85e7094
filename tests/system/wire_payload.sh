#!/usr/bin/env bash
# The payload of tiercache.fetch() is what the server sends for the same query, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start wire
tc_psql wire -q <<'SQL'
CREATE EXTENSION tiercache;
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS numeric(5,2);
CREATE DOMAIN smaller AS small CHECK (VALUE < 10);
CREATE TABLE t (id int PRIMARY KEY, gone int, name varchar(20), c char(4), amount numeric(10,2), s smaller, at timestamptz,
    d date, i interval, f float8, b bytea, j jsonb, k color, p pair, a int[], r numrange, m money, u uuid, x xml);
ALTER TABLE t DROP COLUMN gone;
INSERT INTO t SELECT g, 'name ' || g, 'ab', g * 1.25, 1.5, timestamptz '2001-01-01 00:00+00' + g * interval '1 hour', '2001-02-03',
    '1 day 2 hours', g / 3.0, '\xdeadbeef', '{"a": [1, null]}', 'green', row(g, 'x "y"')::pair, ARRAY[1, NULL, g], '[1,2)', 3.5,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a/>' FROM generate_series(1, 50) g;
INSERT INTO t (id) VALUES (51);
CREATE VIEW v AS SELECT id, upper(name) AS name, d FROM t;
SQL
output=$(tc_run "$TC_BUILD/tests/wire_payload" "$TC_PGHOST/.s.PGSQL.$TC_PGPORT" "$TC_PGUSER" "$TC_PGDATABASE" <<'SQL'
SELECT * FROM t ORDER BY id
SELECT id AS "an id", name || '!' AS n, amount * 2, s + 1 FROM t WHERE id < 5 ORDER BY 1
SELECT t FROM t WHERE id IN (1, 51) ORDER BY id
SELECT (p).b, a[1], j->'a' FROM t WHERE id = 1
SELECT * FROM v ORDER BY id LIMIT 3
SELECT count(*), sum(amount), avg(f), max(at) FROM t
SELECT k, count(*) FROM t GROUP BY k ORDER BY k
SELECT a.id, b.name FROM t a LEFT JOIN t b ON b.id = a.id + 1 ORDER BY a.id
SELECT id FROM t WHERE false
SELECT FROM t
SELECT 'unknown', NULL, 1::smaller, 'x'::char(3), ARRAY[row(1, 'a')::pair]
SELECT id FROM t UNION ALL SELECT 7 ORDER BY 1
SELECT x.* FROM (SELECT id, name FROM t) x ORDER BY name NULLS FIRST, id
SELECT repeat('x', 1000), g FROM generate_series(1, 100) g
SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(n, o)
SELECT tableoid, id FROM t WHERE id = 1
VALUES (1, 'a'), (2, NULL)
TABLE v
SET client_encoding = 'LATIN1'
SELECT 'Größe' AS "Größe", name FROM t WHERE id = 1
RESET client_encoding
SET TimeZone = 'Asia/Tokyo'
SET DateStyle = 'German'
SET IntervalStyle = 'iso_8601'
SET bytea_output = 'escape'
SET extra_float_digits = 0
SELECT * FROM t ORDER BY id
SELECT d::text, at::text, to_char(at, 'TMDay') FROM t ORDER BY id
SQL
) || true
echo "$output"
while IFS= read -r line; do
    case $line in
    'ok '*) TC_PASSED=$((TC_PASSED + 1)) ;;
    *) TC_FAILED=$((TC_FAILED + 1)) ;;
    esac
done <<<"$output"
tc_is "$(grep -cE '^(ok|not ok) ' <<<"$output")" 21 'every query was compared'
tc_done
