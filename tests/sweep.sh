#!/usr/bin/env bash
# `make sweep`: deaths at every single instruction of put, get_view and erase, and of those who recover from one. Takes
# hours on one processor: the work is in shards, SWEEP_JOBS (as many as processors) at a time. SWEEP=kill,view only these;
# SEED= replays a run. Values in parts, whose puts are a hundred times longer, die at every 20,000th.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${SWEEP_JOBS:-$(nproc)}
shards=${SWEEP_SHARDS:-$((jobs * 4))}
sweeps=${SWEEP:-erase,view,kill,heir,stop,race,parts}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# seed $seed, $shards shards of each of $sweeps, $jobs at a time"
one() { # SWEEP SHARD
    local stride=1
    [[ $1 != parts ]] || stride=20
    nice build/tests/segment_step --only "$1" --seed "$seed" --stride "$stride" --shard "$2" --shards "$shards" --progress \
        --puts $((1000 / shards + 1)) --heirs $((1000 / shards + 1)) --rounds $((4000 / shards + 1))
}
export -f one
export seed shards
# shellcheck disable=SC2016
for sweep in ${sweeps//,/ }; do
    for ((shard = 0; shard < shards; shard++)); do echo "$sweep $shard"; done
done | xargs -P "$jobs" -L 1 bash -c 'one "$0" "$1"'
echo "# all sweeps are ok"
