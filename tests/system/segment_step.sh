#!/usr/bin/env bash
# A writer of the segment killed and stopped at some of its instructions. SEED= replays a run.
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
exec build/tests/segment_step --seed "$seed"
