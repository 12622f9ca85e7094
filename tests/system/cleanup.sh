#!/usr/bin/env bash
# Whatever way a script that uses private servers ends, nothing of it stays: no process, folder or shared memory.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir

# The victim: a cluster whose clock is mapped, a Redis, and a foreground command that would take for ever.
cat >"$TC_WORK/victim.sh" <<SCRIPT
set -euo pipefail
. '$TC_ROOT/tests/lib/cluster.sh'
tc_workdir
tc_pg_install '$TC_BUILD/pg_extension'
tc_pg_start one
tc_redis_start redis
ls "/dev/shm/\$TC_CLOCK" >/dev/null
touch "/dev/shm/\$(tc_shm_name segment)"
echo "\$TC_WORK \$TC_ID" >'$TC_WORK/started.new'
mv '$TC_WORK/started.new' '$TC_WORK/started'
case \$1 in
run) tc_run tc_psql one -c 'SELECT pg_sleep(1000)' ;;
foreground) tc_psql one -c 'SELECT pg_sleep(1000)' ;;
fail) false ;;
crash) kill -KILL "\${TC_PIDS[one]}"; exit 3 ;;
esac
SCRIPT

# The processes that run from the folder $1, or in it.
processes_of() { find /proc/[0-9]*/exe /proc/[0-9]*/cwd -maxdepth 0 -lname "$1*" 2>/dev/null || :; }

# What is there of the victim in folder $1 with id $2.
left_of() {
    ls -d "$1" "/dev/shm/tiercache_$2"* 2>/dev/null || :
    processes_of "$1"
}

no_processes_of() { [[ -z $(processes_of "$1") ]]; }

# try WHAT SIGNAL WHOM STATUS: a victim that does WHAT gets SIGNAL (its process, its whole group, or nobody does)
try() {
    local what=$1 signal=$2 whom=$3 expected=$4 status=0 work id victim
    local description="$what, SIG$signal to its $whom"
    [[ $whom != nobody ]] || description=$what
    rm -f "$TC_WORK/started"
    set -m # a group of its own, as a shell would give it, with SIGINT not ignored
    bash "$TC_WORK/victim.sh" "$what" >"$TC_WORK/victim.log" 2>&1 &
    victim=$!
    set +m
    if ! tc_wait_for 60 'the victim has started' eval "[[ -e $TC_WORK/started ]] || ! tc_alive $victim" ||
        [[ ! -e $TC_WORK/started ]]; then
        cat "$TC_WORK/victim.log"
        tc_not_ok "a victim for $what $signal starts"
        return
    fi
    read -r work id <"$TC_WORK/started"
    case $whom in
    process) kill "-$signal" "$victim" ;;
    group) kill "-$signal" -- "-$victim" ;;
    esac
    wait "$victim" || status=$?
    tc_is "$status" "$expected" "$description: exit status"
    if [[ $signal == KILL ]]; then
        # No script can tidy up after that, but its servers end with it.
        tc_check "$description: no process left" tc_wait_for 60 'the servers have ended' no_processes_of "$work"
        rm -rf "$work" "/dev/shm/tiercache_${id}_"*
    else
        tc_is "$(left_of "$work" "$id")" '' "$description: nothing left"
    fi
}

try run INT group 130
try run INT process 130
try run TERM process 143
try run HUP process 129
try foreground INT group 130
try foreground TERM group 143
try run KILL process 137
try fail none nobody 1
try crash none nobody 3
tc_done
