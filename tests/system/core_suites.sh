#!/usr/bin/env bash
# PostgreSQL's own regression and isolation suites, with the cache and without: `make check-core`.
set -euo pipefail
exec "$(dirname "$0")/../check_core.sh"
