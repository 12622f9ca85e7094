#!/usr/bin/env bash
# The race tests tests/isolation/specs/*.spec with expected/*.out, on the build with pause points, in one database
# that has the extension. TC_UPDATE_EXPECTED=1 takes the results over into expected/.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
. tests/lib/regress.sh
tc_workdir
tc_pg_install "$TC_BUILD/pg_extension_pause"
tc_pg_start isolation max_prepared_transactions=10
tc_psql isolation -q -c 'CREATE DATABASE tiercache_regress'
tc_psql isolation -q -d tiercache_regress -f tests/isolation/setup.sql
tc_regress "$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/isolation/pg_isolation_regress" isolation \
    "$PWD/tests/isolation" spec --use-existing
tc_done
