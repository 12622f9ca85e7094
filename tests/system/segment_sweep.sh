#!/usr/bin/env bash
# Deaths at every instruction of what is done to the segment, and of recovering from them. SEED= replays a run.
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
exec build/tests/segment_sweep --seed "$seed"
