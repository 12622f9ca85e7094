#!/usr/bin/env bash
# `make check`: builds, then runs every stage that exists, one line each; logs in build/check-logs/.
#
#   tests/run.sh [STAGE...]     only these stages: lint, unit, the name of a fuzz target or of a tests/system/*.sh, demo
#   FUZZ_SECONDS=60             for each fuzz target
#   DEMO_ROWS=100000            for the demo's stage
#   STAGE_MINUTES=30            a stage that takes longer hangs, and is ended
#   SANITIZE=address|thread|undefined    the unit tests of the instrumented build, and nothing else
#
# The last line is `N passed, N failed`: single tests where a stage tells them, else the stage itself.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. tests/lib/cluster.sh
tc_clean_environment
sanitize=${SANITIZE:-}
build=build${sanitize:+/$sanitize}
logs=$build/check-logs
wanted=("$@")
passed=0
failed=0
stage_group=
mkdir -p "$logs"
export TC_KEEP_LOGS=$PWD/$logs

# Each stage is a process group of its own, which a signal to this script ends before the script itself ends.
set -m
# shellcheck disable=SC2317
on_signal() {
    trap '' INT TERM HUP
    if [[ -n $stage_group ]]; then
        kill -TERM -- "-$stage_group" 2>/dev/null
        wait "$stage_group" 2>/dev/null
    fi
    exit "$1"
}
trap 'on_signal 130' INT
trap 'on_signal 143' TERM
trap 'on_signal 129' HUP

count() { grep -cE "$1" "$2" || :; }

# The last number in lines like `[  PASSED  ] 12 tests.`
gtest_number() { sed -nE "s/^\[  $1  \] ([0-9]+) tests?.*/\1/p" "$2" | tail -n 1; }

# stage NAME CMD...
stage() {
    local name=$1 log=$logs/$1.log status=0 good bad start=$SECONDS wanted_stage
    shift
    if ((${#wanted[@]})); then
        for wanted_stage in "${wanted[@]}" ''; do [[ $wanted_stage != "$name" ]] || break; done
        [[ -n $wanted_stage ]] || return 0
    fi
    timeout -k 60 "${STAGE_MINUTES:-30}m" "$@" >"$log" 2>&1 </dev/null &
    stage_group=$!
    wait "$stage_group" || status=$?
    stage_group=
    good=$(gtest_number PASSED "$log")
    bad=$(gtest_number FAILED "$log")
    good=$((${good:-0} + $(count '^ok( |$)' "$log")))
    bad=$((${bad:-0} + $(count '^not ok( |$)' "$log")))
    if ((status != 0 && bad == 0)); then bad=1; fi
    if ((good + bad == 0)); then good=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    if ((bad > 0)); then
        { grep -E '^not ok|error:|\[  FAILED  \]' "$log" | head -n 20 && echo ...; tail -n 30 "$log"; } | sed 's/^/    /'
        ((status != 124)) || echo "    (ended after ${STAGE_MINUTES:-30} minutes)"
        printf 'FAILED  %-24s %5d passed %3d failed %5d s   %s\n' "$name" "$good" "$bad" $((SECONDS - start)) "$log"
    else
        printf 'ok      %-24s %5d passed %14d s\n' "$name" "$good" $((SECONDS - start))
    fi
}

finish() {
    echo "$passed passed, $failed failed"
    ((failed == 0 && passed > 0))
    exit
}

echo '# building (log: '"$logs"'/build.log)'
targets=(tests)
[[ -n $sanitize ]] || targets+=(fuzz demo-program)
make -j"$(nproc)" "${targets[@]}" >"$logs/build.log" 2>&1 </dev/null &
stage_group=$!
if ! wait "$stage_group"; then
    grep -E -B2 -A8 'error|Error|\*\*\*' "$logs/build.log" | head -n 60
    echo "the build failed, see $logs/build.log"
    failed=1
    finish
fi
stage_group=

if [[ -n $sanitize ]]; then
    stage unit "$build/tests/unit_tests"
    finish
fi

stage lint make --no-print-directory -k -j"$(nproc)" lint

if [[ -x $build/tests/unit_tests ]]; then
    stage unit "$build/tests/unit_tests"
fi

for source in tests/fuzz/*_fuzz.cpp; do
    [[ -e $source ]] || continue
    name=$(basename "$source" .cpp)
    corpus=$build/fuzz/corpus/$name
    mkdir -p "$corpus" "tests/fuzz/corpus/$name"
    stage "$name" "$build/tests/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$logs/$name." "$corpus" "tests/fuzz/corpus/$name"
done

# The suites that tell most about the rest come first.
for script in tests/system/{regress,isolation}.sh tests/system/*.sh; do
    name=$(basename "$script" .sh)
    [[ -x $script && " ${done_scripts:-} " != *" $name "* ]] || continue
    done_scripts="${done_scripts:-} $name"
    stage "$name" "$script"
done

if [[ -x demo/run.sh && -x $build/demo/demo ]]; then
    stage demo env DEMO_ROWS="${DEMO_ROWS:-100000}" demo/run.sh
fi
finish
