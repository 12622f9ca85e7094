#!/usr/bin/env bash
# The programs in examples/ compile as their users would compile them, run, and say what they should.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_psql main -qc 'CREATE EXTENSION tiercache'
db="host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE"
segment=$(tc_shm_name examples)
export LD_LIBRARY_PATH=$TC_BUILD/lib
uses=(-I. -Iclient/include "-L$TC_BUILD/lib" -ltiercache)

for source in examples/*.cpp; do
    tc_check "$source compiles" "${CXX:-g++}" -std=c++20 -Wall -Wextra -Werror -o "$TC_WORK/$(basename "$source" .cpp)" \
        "$source" "${uses[@]}"
done
for source in examples/*.c; do
    tc_check "$source compiles as C" "${CC:-gcc}" -std=c99 -pedantic -Wall -Wextra -Werror \
        -o "$TC_WORK/$(basename "$source" .c)_c" "$source" "${uses[@]}"
done

tc_is "$("$TC_WORK/dashboard" "$db" "$segment")" 'odd     3     9
even    2     6
from l4
odd     3     9
even    2     6
from l1
odd     3     9
even    2     6
from l1' 'dashboard'
tc_is "$("$TC_WORK/bounded_staleness" "$db" "$segment")" '7, fresh, at most 0 s old
7, fresh, at most 0 s old' 'bounded_staleness'
sed -e "s|dbname=shop|$db|" -e "s|/tiercache.shop|$segment|" examples/tiercache.toml >"$TC_WORK/tiercache.toml"
tc_is "$("$TC_WORK/report_c" "$TC_WORK/tiercache.toml" | sed 's/ *$//')" 'n       divides
1       -
2       yes
3       -
4       yes
from tier 4' 'report'
fails() { ! "$@" 2>"$TC_WORK/err" && [[ -s $TC_WORK/err ]]; }
tc_check 'report without its file fails' fails "$TC_WORK/report_c" examples/nothing.toml

tc_is "$("$TC_WORK/shared_cache" "$(tc_shm_name shared)")" 'computing
all got it
price 4.20
a report of 200000 bytes ends with r
invalidated' 'shared_cache'
tc_is "$("$TC_WORK/shared_cache_c" "$(tc_shm_name shared_c)")" 'price 4.20, computed
price 4.20, cached
price 4.20, computed
price 4.20, seen where it lies
computed 2 times' 'shared_cache in C'

tc_done
