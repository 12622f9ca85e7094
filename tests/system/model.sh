#!/usr/bin/env bash
# Models of the segment's blocks and of the slots of a key: every interleaving of small worlds, with spin. Each rule that the model rests on is broken once, and the break must be found.
#   MODEL_LONG=1   also the worlds that take minutes
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
models=$PWD/tests/model
source=$models/blocks.pml
optimize=-O0 # optimizing takes longer than what it saves, except in the worlds that take minutes

# verify NAME -D...: explores all of it; its exit status is 0 when nothing is wrong, 1 when something is, 2 otherwise.
verify() {
    local dir=$TC_WORK/$1
    shift
    mkdir -p "$dir"
    cd "$dir"
    spin -a "$@" "$source" >spin.log 2>&1
    gcc "$optimize" -DSAFETY -DCOLLAPSE -DMEMLIM=6000 -DVECTORSZ=2048 -o pan pan.c 2>gcc.log
    ./pan -m100000 >pan.log 2>&1 || true
    if grep -q 'errors: 1' pan.log; then return 1; fi
    if ! grep -q 'errors: 0' pan.log || grep -qE 'reached -DMEMLIM|max search depth too small|Search not completed' pan.log; then
        tail -n 20 pan.log
        return 2
    fi
    sed -nE 's/^ *([0-9.e+]+) states, stored.*/# \1 states/p' pan.log
}
right() { (verify "$@"); }
wrong() {
    local status=0
    (verify "$@") || status=$?
    ((status == 1))
}

small=(-DBLOCKS=2 -DSTREAMS=1)
reader=("${small[@]}" -DPUTS=3 -DPUTS2=0 -DDEATHS=0)
view=("${small[@]}" -DPUTS=3 -DPUTS2=0 -DDEATHS=0 -DREADS=0 -DVIEWS)
writers=("${small[@]}" -DPUTS=2 -DPUTS2=2 -DDEATHS=0 -DREADS=0)
streams=(-DBLOCKS=3 -DPUTS=2 -DPUTS2=1 -DDEATHS=1 -DREADS=0)
heirs=("${small[@]}" -DPUTS=1 -DPUTS2=1 -DROUNDS=3 -DDEATHS=1 -DREADS=0 -DTHIRD_WRITER_IN_SLOT_0)

tc_check 'a copying reader gets one put whole' right reader "${reader[@]}"
tc_check 'a view holds its block' right view "${view[@]}"
tc_check 'two writers and two streams: what a dead one held is recovered' right streams "${streams[@]}"
tc_check 'a process slot is inherited by another process' right heirs "${heirs[@]}"
if [[ -n ${MODEL_LONG:-} ]]; then
    optimize=-O2
    tc_check 'two deaths' right deaths "${streams[@]}" -DDEATHS=2
    tc_check 'a view, and a death' right view_death "${view[@]}" -DDEATHS=1
    tc_check 'two writers that recycle, one death' right long "${small[@]}" -DPUTS=2 -DPUTS2=1 -DDEATHS=1 -DREADS=0 -DROUNDS=3
    optimize=-O0
fi
caught() { tc_check "broken, and found: ${1,,}" wrong "$1" "-DMUTANT_$1" "${@:2}"; }
caught READER_LOOKS_ONCE "${reader[@]}"
caught GENERATION_COMES_BACK "${reader[@]}"
caught VIEW_OF_A_RECLAIMED_BLOCK "${view[@]}"
caught PINS_BEFORE_STATE "${view[@]}"
caught NO_SECOND_LOOK "${writers[@]}"
caught LIVING_OWNER_IS_ROBBED "${writers[@]}"
caught FREE_BEFORE_CLEAR "${writers[@]}"
caught NO_TAKEOVER "${streams[@]}" -DPUTS2=2
caught ORPHANS_STAY "${streams[@]}"
caught PINS_OF_THE_DEAD_HOLD "${streams[@]}"

source=$models/index.pml
absent=(-DNEIGHBOUR -DDEATHS)
tc_check 'two puts of an absent key, one of them killed: one visible slot' right index_put "${absent[@]}" -DERASER
tc_check 'a put that replaces' right index_replace "${absent[@]}" -DPUTS=2
tc_check 'a reader never gets an older value' right index_read -DDEATHS -DPUTS=2 -DREADS=3
tc_check 'a key that is copied forward is not absent' right index_move -DDEATHS -DMOVER -DPUTS=2
if [[ -n ${MODEL_LONG:-} ]]; then
    optimize=-O2
    tc_check 'a reader, and another key that comes and goes' right index_read_long "${absent[@]}" -DREADS=3
    tc_check 'one visible slot of three' right index_three "${absent[@]}" -DSLOTS=3
    # The reader's own judgement, without that of the slots.
    tc_check 'broken, and found by the reader: visible_at_once' wrong reader_alone -DMUTANT_VISIBLE_AT_ONCE "${absent[@]}" -DERASER -DREADER_ALONE -DREADS=3
    optimize=-O0
fi
caught VISIBLE_AT_ONCE "${absent[@]}" -DERASER
caught NO_SEARCH "${absent[@]}" -DERASER
caught PENDING_IS_LEFT "${absent[@]}" -DERASER
caught VISIBLE_IS_LEFT "${absent[@]}" -DERASER
caught CONFIRMED_WITHOUT_LOOKING "${absent[@]}" -DERASER
caught MOVED_IS_ABSENT -DDEATHS -DMOVER -DNEIGHBOUR
tc_done
