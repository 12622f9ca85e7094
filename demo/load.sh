#!/usr/bin/env bash
# Loads the demo's tables into the database that the PG* variables name (PGHOST, PGPORT, PGUSER, PGDATABASE):
# the 20,000 flights of data/, repeated over dates shifted by 91 days until there are DEMO_ROWS (2,000,000).
# The result depends on DEMO_ROWS only.
set -euo pipefail
cd "$(dirname "$0")"
rows=${DEMO_ROWS:-2000000}
if [[ ! $rows =~ ^[1-9][0-9]{0,8}$ ]]; then
    echo "load.sh: DEMO_ROWS is a number of rows from 1 to 999999999, not '$rows'" >&2
    exit 1
fi
psql=("${PSQL:-psql}" -X -q -v ON_ERROR_STOP=1)
per_copy=20000
per_batch=10

"${psql[@]}" <<SQL
SET client_min_messages = warning;
DROP TABLE IF EXISTS flights, airports, flights_2001;
\i schema.sql
\copy airports FROM PROGRAM 'gzip -dc data/airports.csv.gz' (FORMAT csv, HEADER)
CREATE UNLOGGED TABLE flights_2001 (LIKE flights);
ALTER TABLE flights_2001 ALTER id ADD GENERATED ALWAYS AS IDENTITY;
\copy flights_2001 (flown_at, delay, distance, origin, destination) FROM PROGRAM 'gzip -dc data/flights.csv.gz' (FORMAT csv, HEADER)
SQL

copies=$(((rows + per_copy - 1) / per_copy))
for ((first = 0; first < copies; first += per_batch)); do
    last=$((first + per_batch < copies ? first + per_batch - 1 : copies - 1))
    "${psql[@]}" <<SQL
INSERT INTO flights
    SELECT copy * $per_copy + id, flown_at + copy * interval '91 days', delay, distance, origin, destination
    FROM generate_series($first::bigint, $last) AS copy CROSS JOIN flights_2001
    WHERE copy * $per_copy + id <= $rows
    ORDER BY copy, id;
SQL
    loaded=$(((last + 1) * per_copy))
    echo "# loaded $((loaded < rows ? loaded : rows)) of $rows flights"
done
"${psql[@]}" -c 'DROP TABLE flights_2001'
echo '# keys, indexes, statistics'
"${psql[@]}" -f indexes.sql
