#!/usr/bin/env bash
# A client that lives through the loss of Redis, of PostgreSQL, of its segment and of the clock table.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_redis_start redis
tc_psql main -qc 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t(v int)' -c 'INSERT INTO t VALUES (1)'
segment=$(tc_shm_name outage)

cat >"$TC_WORK/client.toml" <<TOML
[l1]
name = "$segment"
size = "4MiB"
[l2]
address = "unix:$TC_REDIS_SOCKET"
timeout_ms = 5000
[l4]
conninfo = "host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE"
TOML
sed -e "s|$segment|${segment}2|" "$TC_WORK/client.toml" >"$TC_WORK/other.toml"

coproc client { exec "$TC_BUILD/tests/client_session" "$TC_WORK/client.toml"; }
# shellcheck disable=SC2154
TC_CHILDREN+=("$client_PID")
exec {to}>&"${client[1]}" {from}<&"${client[0]}"
say() {
    local answer
    echo "$*" >&"$to"
    IFS= read -r -t 60 answer <&"$from" || answer='(no answer)'
    echo "$answer"
}
# shellcheck disable=SC2053
says() { [[ $(say "${@:2}") == $1 ]]; } # the first argument is a pattern
# What a process that uses another segment gets.
elsewhere() { echo "query 0 $*" | "$TC_BUILD/tests/client_session" "$TC_WORK/other.toml" | tail -n 1; }
shm_remove() { "$TC_BUILD/bin/tiercache" segment remove "$1"; }

sql='SELECT v FROM t'
IFS= read -r -t 60 line <&"$from"
tc_is "$line" ready 'the client opens'
tc_is "$(say query 0 "$sql")" 'l4 fresh 1' 'the first answer'
tc_is "$(say query 0 "$sql")" 'l1 fresh 1' 'a hit'

# ---- Redis ----
tc_is "$(elsewhere "$sql")" 'l2 fresh 1' 'Redis serves another host'
tc_redis_stop redis KILL
tc_is "$(say query 0 'SELECT 1')" 'l4 fresh 1' 'with Redis killed queries are answered'
tc_is "$(say query 0 'SELECT 2')" 'l4 fresh 2' 'and again'
tc_check 'Redis was found failing' test "$(say count l2_failures)" -ge 1
tc_check 'and was skipped' test "$(say count l2_skipped)" -ge 1
tc_redis_start redis
n=10
redis_is_used() {
    n=$((n + 1))
    say query 0 "SELECT $n" >/dev/null
    [[ $(redis-cli -s "$TC_REDIS_SOCKET" dbsize) -gt 0 ]]
}
tc_check 'once it is back it is used again' tc_wait_for 60 'Redis is used' redis_is_used

# A stopped Redis: one call waits for its timeout, the next ones do not.
kill -STOP "${TC_PIDS[redis]}"
tc_is "$(say query 0 'SELECT 3')" 'l4 fresh 3' 'with Redis stopped queries are answered'
before=$SECONDS
tc_is "$(say query 0 'SELECT 4')" 'l4 fresh 4' 'and the next one'
tc_check 'does not wait' test $((SECONDS - before)) -lt 4
kill -CONT "${TC_PIDS[redis]}"

# ---- the segment ----
tc_is "$(say query 0 "$sql")" 'l1 fresh 1' 'a hit before the segment goes'
shm_remove "$segment"
remade() {
    n=$((n + 1))
    say query 0 "SELECT $n" >/dev/null
    "$TC_BUILD/bin/tiercache" segment info "$segment"
}
tc_check 'a removed segment is made again' tc_wait_for 60 'there is a segment' remade
say query 0 "$sql" >/dev/null
tc_is "$(say query 0 "$sql")" 'l1 fresh 1' 'and used'

# ---- PostgreSQL ----
tc_pg_restart main
tc_is "$(say query 0 "$sql")" 'l4 fresh 1' 'after a restart nothing old is fresh, and the broken connection is replaced'
tc_is "$(say query 0 "$sql")" 'l1 fresh 1' 'and hits come again'
tc_is "$(say clock)" ok 'by the same clock table'
tc_psql main -qc 'UPDATE t SET v = 2'
tc_is "$(say query 0 "$sql")" 'l4 fresh 2' 'which sees commits'
say query 0 "$sql" >/dev/null
tc_pg_restart main kill
tc_is "$(say query 0 "$sql")" 'l4 fresh 2' 'the same after a crash'
say query 0 "$sql" >/dev/null

tc_pg_stop main
lease_is_over() { says 'error unavailable*' query 0 "$sql"; }
tc_check 'with PostgreSQL gone strict reads end within the lease' tc_wait_for 30 'the lease ends' lease_is_over
tc_is "$(say query 600000 "$sql")" 'l1 stale 2' 'but a staleness limit serves what there is'
rm -f "/dev/shm$TC_CLOCK"
tc_pg_start main
hits_again() { says 'l1 fresh 2' query 0 "$sql"; }
tc_check 'a new clock table is found by its name' tc_wait_for 60 'L1 hits' hits_again
tc_psql main -qc 'UPDATE t SET v = 3'
tc_is "$(say query 0 "$sql")" 'l4 fresh 3' 'and is the one that commits move'

# ---- opening without PostgreSQL ----
# shellcheck disable=SC1083,SC2093
exec {to}>&- {from}<&- {client[0]}<&- {client[1]}>&-
wait "${TC_CHILDREN[-1]}" || :
tc_pg_stop main
coproc late { exec "$TC_BUILD/tests/client_session" "$TC_WORK/other.toml"; }
# shellcheck disable=SC2154
TC_CHILDREN+=("$late_PID")
exec {to}>&"${late[1]}" {from}<&"${late[0]}"
IFS= read -r -t 60 line <&"$from"
tc_is "$line" ready 'a client opens without PostgreSQL'
tc_check 'and says so' says 'error unavailable: could not connect to PostgreSQL*' query 0 "$sql"
tc_pg_start main
tc_is "$(say query 0 "$sql")" 'l4 fresh 3' 'until it is there'
tc_is "$(say query 0 "$sql")" 'l1 fresh 3' 'with all that belongs to it'
tc_done
