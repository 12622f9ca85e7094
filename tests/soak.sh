#!/usr/bin/env bash
# `make soak`: tortures the segment for SOAK_MINUTES (60): rounds of kills and stops at random, each with a seed of its
# own, and one sweep that kills a put() at every instruction.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${SOAK_MINUTES:-60}
end=$((SECONDS + minutes * 60))
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
build/tests/segment_step --seed "$seed" --stride 1 --heirs 500 --rounds 2000 &
sweep=$!
trap 'kill "$sweep" 2>/dev/null || true' EXIT
while ((SECONDS < end)); do
    build/tests/segment_soak --seed "$seed" --seconds 300
    seed=$((seed + 1))
done
wait "$sweep"
