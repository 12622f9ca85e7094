#!/usr/bin/env bash
# Random queries, each answer of the cache compared with the query's own: `make sqlsmith`, always the same ones.
set -euo pipefail
SQLSMITH_SEED=${SQLSMITH_SEED:-20261126} exec "$(dirname "$0")/../sqlsmith.sh"
