#!/usr/bin/env bash
# `make sqlsmith`: random queries with tiercache.mode = auto and verify = error, each one run twice (tiercache.repeat, of
# the build with pause points), so that what can be cached is served from its entry and compared with a run. No
# difference, no crash, no internal error of the extension.
#
#   SQLSMITH_QUERIES=10000   SQLSMITH_SEED=N replays a run
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
tc_workdir
command -v sqlsmith >/dev/null || tc_die 'sqlsmith is missing: run "make deps"'
queries=${SQLSMITH_QUERIES:-10000}
seed=${SQLSMITH_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed, $queries queries"
tc_pg_install "$TC_BUILD/pg_extension_pause"
tc_pg_start smith tiercache.mode=auto tiercache.min_cost=0 tiercache.repeat=on tiercache.verify=error \
    statement_timeout=2s log_min_error_statement=error autovacuum=off
# The extension's own objects are in another database: what reads the cache's state is no query to compare.
tc_psql smith -qc 'CREATE EXTENSION tiercache' -c 'CREATE DATABASE smith'
TC_PGDATABASE=smith tc_psql smith -q <<'SQL'
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE customer (id int PRIMARY KEY, name text, mood mood, tags text[], born date, address jsonb);
CREATE TABLE product (id int PRIMARY KEY, title varchar(40), price numeric(10, 2), size positive, area box, code bytea);
CREATE TABLE sale (customer int REFERENCES customer, product int REFERENCES product, at timestamptz, amount bigint,
                   share float8, note text, place inet, valid int4range) PARTITION BY RANGE (at);
CREATE TABLE sale_old PARTITION OF sale FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE sale_new PARTITION OF sale FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
INSERT INTO customer SELECT i, 'name ' || i, (enum_range(NULL::mood))[1 + i % 3], ARRAY['a' || i % 4, NULL],
       date '1970-01-01' + i * 97, jsonb_build_object('city', 'c' || i % 5, 'n', i) FROM generate_series(1, 40) i;
INSERT INTO product SELECT i, 'title ' || i, i * 1.25, i, box(point(0, 0), point(i, 1)), decode(md5(i::text), 'hex')
FROM generate_series(1, 30) i;
INSERT INTO sale SELECT 1 + i % 40, 1 + i % 30, timestamptz '2023-06-01' + i * interval '1 day', i * 1000003::bigint,
       i / 7.0, NULLIF('note ' || i % 9, 'note 3'), ('10.0.0.' || i % 250)::inet, int4range(i, i + 5)
FROM generate_series(1, 300) i;
CREATE VIEW sale_by_customer AS SELECT c.name, c.mood, sum(s.amount) AS total, max(s.at) AS latest
FROM customer c JOIN sale s ON s.customer = c.id GROUP BY c.id;
CREATE MATERIALIZED VIEW totals AS SELECT product, count(*) AS n, sum(share) AS share FROM sale GROUP BY product;
ANALYZE;
CREATE ROLE smith LOGIN;
GRANT SELECT ON customer, product, sale, sale_old, sale_new, sale_by_customer, totals TO smith;
SQL
# What it does not know ends a run of sqlsmith's early, hence the bound of time. Its own errors are its business.
tc_check 'sqlsmith ran to its end' tc_run timeout 3600 sqlsmith --exclude-catalog --seed="$seed" --max-queries="$queries" \
    --target="host=$TC_WORK/smith port=5432 user=smith dbname=smith" 2>"$TC_WORK/smith/said"
log=$TC_WORK/smith/server.log
tc_psql smith -qAtc 'SELECT row_to_json(s) FROM tiercache.stats s' | sed 's/^/# /'
tc_is "$(grep -cE 'was terminated by signal|PANIC|TRAP' "$log" || :)" 0 'no crash'
tc_is "$(grep -ciE 'ERROR: .*tiercache' "$log" || :)" 0 'no difference, and no error of the extension'
grep -iE -A 30 'terminated by signal|PANIC|ERROR: .*tiercache' "$log" | head -n 100 || :
# Most of what sqlsmith makes is refused by PostgreSQL, or changes data, or can't be cached: of 10,000 some 400 are served.
tc_check 'one query in fifty was served from the cache' \
    test "$(tc_psql smith -qAtc 'SELECT hits FROM tiercache.stats')" -gt $((queries / 50))
if ((TC_FAILED > 0)); then cp "$log" "$TC_BUILD/sqlsmith.log"; fi
tc_done
