#!/usr/bin/env bash
# Processes of one segment killed and stopped at random. SEED= replays a run, SOAK_SECONDS= is how long (120).
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
exec build/tests/segment_soak --seed "$seed" --seconds "${SOAK_SECONDS:-120}"
