#!/usr/bin/env bash
# The SQL suites sql/*.sql with expected/*.out, in alphabetical order in one database that has the extension.
# TC_UPDATE_EXPECTED=1 takes the results over into expected/.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
. tests/lib/regress.sh
tc_workdir
tc_pg_install
# No worker commits beside the tests: what EXPLAIN shows of that moment would be another.
tc_pg_start regress max_prepared_transactions=10 autovacuum=off
tc_regress "$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/regress/pg_regress" regress "$PWD" sql --load-extension=tiercache
tc_done
