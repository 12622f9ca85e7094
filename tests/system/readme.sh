#!/usr/bin/env bash
# README.md keeps its word: the tour runs as printed, the program is the one in examples/, links lead somewhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_psql main -qc 'CREATE DATABASE shop'
export TC_PGDATABASE=shop
export LD_LIBRARY_PATH=$TC_BUILD/lib

# The fenced block that begins with a line matching $1, without what differs from run to run.
block() { sed -n "/$1/,/^\`\`\`\$/p" README.md | sed '1d;$d'; }
steady() { sed -E '/^Time: /d; s/ +$//; /^$/d'; }

tc_is "$(block '^```cpp$')" "$(cat examples/orders.cpp)" 'the program is examples/orders.cpp'

# The last statement's costs and order are a matter of the moment.
block '^\$ psql shop$' | sed '/FROM tiercache\.entries;$/,$d' >"$TC_WORK/session"
sed -n 's/^shop=# //p' "$TC_WORK/session" >"$TC_WORK/tour.sql"
tc_check 'the tour has its statements' test "$(wc -l <"$TC_WORK/tour.sql")" -ge 12
tc_is "$(tc_psql main -a -f "$TC_WORK/tour.sql" 2>&1 | steady)" "$(sed 's/^shop=# //' "$TC_WORK/session" | steady)" \
    'the tour prints what it says'

sed "s|/tiercache.shop|$(tc_shm_name shop)|" examples/orders.cpp >"$TC_WORK/orders.cpp"
"${CXX:-g++}" -std=c++20 -I. -Iclient/include "$TC_WORK/orders.cpp" -o "$TC_WORK/orders" "-L$TC_BUILD/lib" -ltiercache
tc_is "$("$TC_WORK/orders" "host=$TC_PGHOST user=$TC_PGUSER dbname=shop")" "$(block '^\$ g++ .*orders$')" \
    'the program prints what it says'

{
    echo '#include "shm_cache/shared_cache.hpp"'
    echo 'using namespace std::chrono_literals;'
    echo 'static std::string compute() { return "4.20"; }'
    echo 'int main() {'
    block '^```c++$' | sed "s|/tiercache.prices|$(tc_shm_name prices)|"
    echo 'return price.ok() && *price == "4.20" && !cache->get("price:42") ? 0 : 1; }'
} >"$TC_WORK/segment.cpp"
"${CXX:-g++}" -std=c++20 -I. -Iclient/include "$TC_WORK/segment.cpp" -o "$TC_WORK/segment" "-L$TC_BUILD/lib" -ltiercache
tc_check 'the lines on the segment by itself do what they say' "$TC_WORK/segment"

broken=
for file in README.md docs/*.md; do
    while IFS= read -r target; do
        [[ $target == http* || -e $(dirname "$file")/$target ]] || broken+=" $file:$target"
    done < <(grep -oE '\]\([^)#]+' "$file" | cut -c3-)
done
tc_is "$broken" '' 'links lead to files'
tc_done
