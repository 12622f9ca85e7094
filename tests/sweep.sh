#!/usr/bin/env bash
# `make sweep`: what `make check` does with deaths at every instruction of the segment (tests/system/segment_sweep.cpp), but
# in more operations, with more heirs of each kind of death, and in segments of other sizes. SWEEP_SEEDS (2) of each; some
# twenty minutes of a processor for each seed. SEED= is the first one, and replays a run.
#
# SWEEP_STRIDE=n kills for good besides, at every nth instruction of put, get_view and erase (tests/system/segment_step.cpp),
# in shards of SWEEP_SHARDS each. With 1 that takes hours, for a process that dies late is stepped through all that comes
# before. Values in parts, whose puts are a hundred times longer, die at every 1,000th of these.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${SWEEP_JOBS:-$(nproc)}
seeds=${SWEEP_SEEDS:-2}
stride=${SWEEP_STRIDE:-}
shards=${SWEEP_SHARDS:-$((jobs * 4))}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}

commands() {
    local i geometry shard mode
    for ((i = seed; i < seed + seeds; i++)); do
        # SIZE:BLOCK; with fewer than 8 blocks nothing is copied forward.
        for geometry in 65536:4096 65536:2048 65536:8192 262144:4096; do
            echo "segment_sweep --seed $i --size ${geometry%:*} --block ${geometry#*:} --puts 120 --others 24 --heirs 4"
        done
    done
    [[ -n $stride ]] || return 0
    for mode in erase view kill heir stop race parts; do
        for ((shard = 0; shard < shards; shard++)); do
            echo "segment_step --only $mode --seed $seed --stride $stride --shard $shard --shards $shards --progress" \
                "--puts $((1000 / shards + 1)) --heirs $((1000 / shards + 1)) --rounds $((4000 / shards + 1))"
        done
    done
}

echo "# seed $seed, $jobs at a time"
# shellcheck disable=SC2016
commands | xargs -P "$jobs" -I{} bash -c 'echo "# $1"; nice build/tests/$1' _ {}
echo "# all sweeps are ok"
