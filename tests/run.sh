#!/usr/bin/env bash
# `make check`: builds, then runs every stage that exists, one line each as it ends; logs in build/check-logs/.
# Stages run side by side, CHECK_JOBS at a time; lint fills what processor time they leave. It is `make lint-product`: the
# tests' own sources get clang-tidy by `make lint` only.
#
#   tests/run.sh [STAGE...]     only these stages: lint, unit, the name of a fuzz target or of a tests/system/*.sh, demo
#   CHECK_JOBS=2                stages at a time; 1 for one after the other
#   FUZZ_SECONDS=60             for each fuzz target
#   DEMO_ROWS=100000            for the demo's stage
#   STAGE_MINUTES=30            a stage that takes longer hangs, and is ended; lint, which others keep waiting, has 60
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
jobs=${CHECK_JOBS:-2}
[[ $jobs =~ ^[1-9][0-9]?$ ]] || { echo "CHECK_JOBS is 1 to 99, not '$jobs'" >&2 && exit 2; }
passed=0
failed=0
declare -A running=() started=() # by the process that leads the stage's group: its name, and when it began
beside=0                         # how many of the running ones do not count as one of the jobs
mkdir -p "$logs"
export TC_KEEP_LOGS=$PWD/$logs

# Each stage is a process group of its own; a signal to this script ends all of them before the script itself ends.
set -m
# shellcheck disable=SC2317
on_signal() {
    trap '' INT TERM HUP
    local group groups
    groups=$(jobs -pr) # one that was just started is not in $running yet
    for group in $groups; do kill -TERM -- "-$group" 2>/dev/null; done
    for group in $groups; do wait "$group" 2>/dev/null; done
    exit "$1"
}
trap 'on_signal 130' INT
trap 'on_signal 143' TERM
trap 'on_signal 129' HUP

count() { grep -cE "$1" "$2" || :; }

# The last number in lines like `[  PASSED  ] 12 tests.`
gtest_number() { sed -nE "s/^\[  $1  \] ([0-9]+) tests?.*/\1/p" "$2" | tail -n 1; }

# Whether NAME was asked for, by name or because all were.
is_wanted() {
    local name
    ((${#wanted[@]})) || return 0
    for name in "${wanted[@]}"; do [[ $name != "$1" ]] || return 0; done
    return 1
}

# into $processor_seconds: what the stages that have ended have used
count_processor_seconds() {
    local minutes seconds system_minutes system_seconds
    times >"$logs/times" # not in a subshell, which has no such children
    {
        read -r _
        IFS='ms ' read -r minutes seconds system_minutes system_seconds
    } <"$logs/times"
    processor_seconds=$((60 * (minutes + system_minutes) + ${seconds%.*} + ${system_seconds%.*}))
}

# report NAME STATUS SECONDS: the line of a stage that has ended; when it failed, with what its log says of that.
report() {
    local name=$1 status=$2 seconds=$3 log=$logs/$1.log before=${processor_seconds:-0} good bad
    count_processor_seconds
    seconds=$(printf '%5d s %5d s of processors' "$seconds" $((processor_seconds - before)))
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
        # 137: it had to be killed after that time, and its group with it.
        ((status != 124 && status != 137)) || echo '    (ended: it took too long, see STAGE_MINUTES, or was killed)'
        printf 'FAILED  %-24s %5d passed %3d failed %s   %s\n' "$name" "$good" "$bad" "$seconds" "$log"
    else
        printf 'ok      %-24s %5d passed            %s\n' "$name" "$good" "$seconds"
    fi
}

# Waits until any stage ends, and reports it.
reap() {
    local group='' status=0 name seconds
    wait -n -p group "${!running[@]}" || status=$?
    # `wait -n` does not know a job that a signal ended while nobody waited; `wait` does.
    while [[ -z ${group:-} ]]; do
        for group in "${!running[@]}" ''; do
            [[ -n $group ]] || sleep 0.1
            kill -0 "$group" 2>/dev/null || break
        done
        if [[ -n $group ]]; then
            status=0
            wait "$group" || status=$?
        fi
    done
    name=${running[$group]} seconds=$((SECONDS - started[$group]))
    unset "running[$group]" "started[$group]"
    if [[ $name == lint ]]; then beside=0; fi
    report "$name" "$status" "$seconds"
}

# start NAME CMD...
start() {
    local name=$1 minutes=${STAGE_MINUTES:-30}
    shift
    if [[ $name == lint ]]; then minutes=${LINT_MINUTES:-60}; fi
    timeout -k "${STAGE_GRACE:-60}" "${minutes}m" "$@" >"$logs/$name.log" 2>&1 </dev/null &
    running[$!]=$name
    started[$!]=$SECONDS
}

# stage NAME CMD...: starts it as soon as fewer than $jobs run.
stage() {
    is_wanted "$1" || return 0
    known="${known:-} $1 "
    while ((${#running[@]} - beside >= jobs)); do reap; done
    start "$@"
}

finish() {
    local name
    while ((${#running[@]})); do reap; done
    for name in "${wanted[@]}"; do
        [[ ${known:-} == *" $name "* || -n $sanitize || $failed -gt 0 ]] && continue
        echo "no such stage: $name"
        failed=$((failed + 1))
    done
    echo "$passed passed, $failed failed"
    ((failed == 0 && passed > 0))
    exit
}

echo '# building (log: '"$logs"'/build.log)'
targets=(tests)
[[ -n $sanitize ]] || targets+=(fuzz demo-program)
make -j"$(nproc)" "${targets[@]}" >"$logs/build.log" 2>&1 </dev/null &
build_group=$!
running[$build_group]=build
status=0
wait "$build_group" || status=$?
unset "running[$build_group]"
count_processor_seconds
if ((status != 0)); then
    grep -E -B2 -A8 'error|Error|\*\*\*' "$logs/build.log" | head -n 60
    echo "the build failed, see $logs/build.log"
    failed=1
    finish
fi
echo "# built in $SECONDS s, $processor_seconds s of processors"

if [[ -n $sanitize ]]; then
    stage unit "$build/tests/unit_tests"
    finish
fi

if is_wanted lint; then
    stage lint nice make --no-print-directory -k -j"$(nproc)" lint-product
    if ((jobs > 1)); then beside=1; fi
fi

if [[ -x $build/tests/unit_tests ]]; then
    stage unit "$build/tests/unit_tests"
fi

# The suites that tell most about the rest come first, then the longest, so that nothing runs alone at the end.
for script in tests/system/{regress,isolation,segment_soak,stress,sanitizers}.sh tests/system/*.sh; do
    name=$(basename "$script" .sh)
    [[ -x $script && " ${done_scripts:-} " != *" $name "* ]] || continue
    done_scripts="${done_scripts:-} $name"
    stage "$name" "$script"
done

# Inputs that reach new code are kept in build/; the small committed corpus is only read.
for source in tests/fuzz/*_fuzz.cpp; do
    [[ -e $source ]] || continue
    name=$(basename "$source" .cpp)
    corpus=("$build/fuzz/corpus/$name")
    mkdir -p "${corpus[0]}"
    if [[ -d tests/fuzz/corpus/$name ]]; then corpus+=("tests/fuzz/corpus/$name"); fi
    stage "$name" "$build/tests/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -print_final_stats=1 \
        -artifact_prefix="$logs/$name." "${corpus[@]}"
done

if [[ -x demo/run.sh && -x $build/demo/demo ]]; then
    stage demo env DEMO_ROWS="${DEMO_ROWS:-100000}" demo/run.sh
fi
finish
