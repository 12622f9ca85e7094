#!/usr/bin/env bash
# `make check-memory`: the extension, built with AddressSanitizer and UBSan, in a server that has their libraries, through
# its SQL suite and its race tests. What they report ends the process that did it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/cluster.sh
. tests/lib/regress.sh
tc_workdir
libraries=$(cc -print-file-name=libasan.so):$(cc -print-file-name=libubsan.so)
# PostgreSQL keeps its memory till a process ends, and jumps over frames: neither leaks nor frames are looked at.
TC_PG_ENVIRONMENT=("LD_PRELOAD=$libraries" ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1
    UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1)
tc_pg_install "$TC_BUILD/pg_extension_memory"
pgxs=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test

tc_pg_start regress max_prepared_transactions=10
tc_regress "$pgxs/regress/pg_regress" regress "$PWD" sql --load-extension=tiercache
tc_pg_stop regress
tc_pg_start isolation max_prepared_transactions=10
tc_psql isolation -q -c 'CREATE DATABASE tiercache_regress'
tc_psql isolation -q -d tiercache_regress -f tests/isolation/setup.sql
before=$TC_PASSED
TC_PASSED=0
tc_regress "$pgxs/isolation/pg_isolation_regress" isolation "$PWD/tests/isolation" spec --use-existing
TC_PASSED=$((TC_PASSED + before))
tc_pg_stop isolation

for log in "$TC_WORK"/*/server.log; do
    name=$(basename "$(dirname "$log")")
    tc_is "$(grep -cE 'Sanitizer|runtime error:|was terminated by signal' "$log" || :)" 0 "$name: nothing was reported"
    grep -E -A 25 'Sanitizer|runtime error:' "$log" | head -n 80 || :
done
tc_done
