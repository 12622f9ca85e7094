#!/usr/bin/env bash
# A segment resized again and again while processes use it; resizers and users are killed and stopped at random.
# SEED= replays a run, RESIZE_SECONDS= is how long (20).
set -euo pipefail
cd "$(dirname "$0")/../.."
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
exec build/tests/segment_resize --seed "$seed" --seconds "${RESIZE_SECONDS:-20}"
