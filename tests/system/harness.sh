#!/usr/bin/env bash
# tests/run.sh itself, in a small project of its own: a stage that fails, crashes or hangs makes it fail; stages run
# side by side; a signal ends all that it started.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
project=$TC_WORK/project
mkdir -p "$project/tests/lib" "$project/tests/system"
cp tests/run.sh "$project/tests/"
cp tests/lib/cluster.sh "$project/tests/lib/"

# shellcheck disable=SC2016 # the variables are make's
printf '%s\n' '.PHONY: tests fuzz demo-program lint-product' 'tests fuzz demo-program:' '	@[ -z "$$BREAK_BUILD" ]' \
    'lint-product:' '	@[ -z "$$BREAK_LINT" ]' >"$project/Makefile"

# script NAME: a stage, told on standard input
script() {
    { echo '#!/usr/bin/env bash' && cat; } >"$project/tests/system/$1.sh"
    chmod +x "$project/tests/system/$1.sh"
}
script good <<<'echo "ok - one"; echo "ok - two"'
script bad <<<'echo "ok - one"; echo "not ok - two"; exit 1'
script liar <<<'echo "not ok - told, but not by the exit code"'
script crash <<<'kill -SEGV $$'
script later <<<'sleep 1; kill -SEGV $$'
script left <<<'touch left; for i in {1..200}; do [[ ! -e right ]] || exit 0; sleep 0.1; done; exit 1'
script right <<<'touch right; for i in {1..200}; do [[ ! -e left ]] || exit 0; sleep 0.1; done; exit 1'
script hang <<<'sleep 1000'
script stubborn <<<'trap "" TERM; sleep 1000 & while :; do wait; sleep 1; done'

# run EXPECTED_STATUS DESCRIPTION [NAME=VALUE...] [STAGE...]: leaves what it said in $TC_WORK/said
run() {
    local status=0 expected=$1 description=$2 environment=()
    shift 2
    while [[ ${1:-} == *=* ]]; do environment+=("$1") && shift; done
    # None of this harness's own settings count, such as the ones it was started with.
    (cd "$project" && env -u CHECK_JOBS -u STAGE_MINUTES -u SANITIZE -u TC_KEEP_LOGS -u MAKEFLAGS -u MAKELEVEL \
        "${environment[@]}" tests/run.sh "$@") >"$TC_WORK/said" 2>&1 || status=$?
    tc_is "$status" "$expected" "$description: exit status"
    if [[ $status != "$expected" ]]; then sed 's/^/# /' "$TC_WORK/said"; fi
}
said() { tc_check "says: $1" grep -qE "$1" "$TC_WORK/said"; }
last_line() { tc_is "$(tail -n 1 "$TC_WORK/said")" "$1" "last line: $1"; }

# The processes in the project's folder.
processes() {
    local link
    for link in /proc/[0-9]*/cwd; do
        if [[ $(readlink "$link" 2>/dev/null) == "$project"* ]]; then echo "$link"; fi
    done
}
nothing_runs() { [[ -z $(processes) ]]; }
# What a broken run.sh left.
# shellcheck disable=SC2317
end_processes() {
    local link pid
    for link in $(processes); do
        pid=${link#/proc/}
        kill -KILL "${pid%/cwd}" 2>/dev/null
    done
}
tc_at_exit end_processes

run 0 'stages that pass' lint good
last_line '3 passed, 0 failed'
said '^ok +good +2 passed'
run 1 'one that fails among others' good bad lint
last_line '4 passed, 1 failed'
said '^FAILED +bad +1 passed +1 failed'
run 1 'failed and silent about it' liar good
run 1 'crashes' CHECK_JOBS=1 crash good later
last_line '2 passed, 2 failed'
run 1 'crashes beside others' crash good later
last_line '2 passed, 2 failed'
run 1 'lint that fails' BREAK_LINT=1 lint good
run 1 'a build that fails' BREAK_BUILD=1 good
said 'the build failed'
run 1 'a stage that is not there' good god
said '^no such stage: god'
run 0 'two stages that need each other run side by side' left right
rm -f "$project"/{left,right}
run 1 'stages that hang, one of them deaf' STAGE_MINUTES=0.03 STAGE_GRACE=1 CHECK_JOBS=3 hang stubborn good
last_line '2 passed, 2 failed'
tc_check 'and nothing of them is left' tc_wait_for 10 'they have ended' nothing_runs

# A signal, when two stages run.
for signal in INT:130 TERM:143 HUP:129; do
    rm -rf "$project/build"
    set -m # SIGINT is not ignored there
    (cd "$project" && exec env STAGE_GRACE=1 tests/run.sh hang stubborn) >"$TC_WORK/said" 2>&1 &
    set +m
    tc_wait_for 30 'both run' test -e "$project/build/check-logs/hang.log" -a -e "$project/build/check-logs/stubborn.log"
    sleep 0.5
    kill "-${signal%:*}" $!
    status=0
    wait $! || status=$?
    tc_is "$status" "${signal#*:}" "SIG${signal%:*}: exit status"
    tc_check "SIG${signal%:*}: nothing is left" tc_wait_for 10 'all have ended' nothing_runs
done
tc_done
