#!/usr/bin/env bash
# `make soak`: tortures the segment for SOAK_MINUTES (60): rounds of kills and stops at random, each with a seed of its
# own, and beside them deaths at every instruction of many puts and of their recovery, and some by SIGKILL.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${SOAK_MINUTES:-60}
end=$((SECONDS + minutes * 60))
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed"
build/tests/segment_sweep --seed "$seed" --puts 400 --others 40 --heirs 10 &
sweep=$!
build/tests/segment_step --seed "$seed" --stride 61 --puts 100 --heirs 100 --rounds 2000 &
step=$!
trap 'kill "$sweep" "$step" 2>/dev/null || true' EXIT
while ((SECONDS < end)); do
    build/tests/segment_soak --seed "$seed" --seconds 300
    seed=$((seed + 1))
done
wait "$sweep"
wait "$step"
