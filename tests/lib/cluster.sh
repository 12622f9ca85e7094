# shellcheck shell=bash
# Private servers for tests and the demo: sourced by bash scripts under `set -euo pipefail`.
#
#   tc_workdir                  one private folder, $TC_WORK; from here on everything is cleaned up at exit,
#                               also after Ctrl-C, TERM, HUP or a failure
#   tc_pg_install [BUILD]       a private copy of the PostgreSQL installation of $PG_CONFIG in $TC_WORK, with the
#                               extension built in BUILD (build/pg_extension) added; none when TC_NO_PRELOAD=1
#   tc_pg_start NAME [k=v ...]  makes (the first time) and starts a cluster, on a unix socket in $TC_WORK/NAME only;
#                               the settings are appended to its postgresql.conf; then tc_use NAME
#                               TC_PG_WRAPPER="valgrind ..." runs the servers
#   tc_pg_stop NAME [fast|immediate|smart|kill];  tc_pg_restart NAME [mode]
#   tc_use NAME                 points TC_PGHOST, TC_PGPORT, TC_PGUSER, TC_PGDATABASE and TC_CLOCK at a cluster
#   tc_psql NAME ARGS...        psql there, without psqlrc, stopping at the first error
#   tc_redis_start NAME;  tc_redis_stop NAME      sets TC_REDIS_SOCKET
#   tc_as_pg CMD...             runs CMD as the servers' user: the caller, or an unprivileged user when that is root
#   tc_run CMD...               runs a long command so that a signal to the script ends it at once
#   tc_at_exit CMD...           runs CMD before the servers are stopped
#   tc_shm_name NAME            the name of a shared-memory object ("/tiercache_...") that is removed at exit
#   tc_wait_for SECONDS WHAT CMD...    polls until CMD succeeds; fails with a sentence about WHAT
#   tc_check DESCRIPTION CMD...; tc_is GOT EXPECTED DESCRIPTION; tc_done     ok / not ok lines, and their count
#
# The servers are direct children of the script and die with it, even when it is killed: do not start them in a
# subshell. PostgreSQL below 18 finds extensions only in its own tree, hence the copy: it derives the places of
# its libraries and shared files from where its executable really is.

TC_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TC_BUILD=${TC_BUILD:-$TC_ROOT/build}
TC_WORK=
declare -A TC_PIDS=()
TC_CHILDREN=()
TC_AT_EXIT=()
TC_PASSED=0
TC_FAILED=0

tc_die() {
    echo "error: $*" >&2
    exit 1
}

# What the caller's environment says of other servers, and of languages, does not count here.
tc_clean_environment() {
    local variable
    for variable in "${!PG@}"; do
        if [[ $variable != PG_CONFIG ]]; then unset "$variable"; fi
    done
    unset REDISCLI_AUTH LANGUAGE
    export LC_ALL=C.UTF-8
}

# ---- the private folder and its end ----

tc_workdir() {
    local parent=${TMPDIR:-/tmp}
    tc_clean_environment
    # A unix socket's path has at most 107 bytes.
    ((${#parent} <= 50)) || parent=/tmp
    trap tc_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    TC_WORK=$(mktemp -d "$parent/tc.XXXXXX")
    chmod 755 "$TC_WORK"
    if ((EUID == 0)); then
        TC_OS_USER=postgres
        id postgres >/dev/null 2>&1 || TC_OS_USER=nobody
        if ! tc_as_pg test -x "$TC_WORK"; then
            rmdir "$TC_WORK"
            TC_WORK=$(mktemp -d /tmp/tc.XXXXXX)
            chmod 755 "$TC_WORK"
        fi
    else
        TC_OS_USER=$(id -un)
    fi
    TC_ID=${TC_WORK##*.}
    export TC_WORK TC_ID
}

tc_cleanup() {
    local status=$?
    trap '' INT TERM HUP
    set +e
    # Only the script itself cleans up, never a subshell of it.
    if [[ $BASHPID != "$$" || -z $TC_WORK ]]; then return "$status"; fi
    local command pid name
    for command in "${TC_AT_EXIT[@]}"; do eval "$command"; done
    for pid in "${TC_CHILDREN[@]}"; do tc_end_process "$pid" TERM 10; done
    for name in "${!TC_PIDS[@]}"; do tc_stop_server "$name" INT; done
    tc_kill_strays
    if [[ -n ${TC_KEEP_LOGS:-} ]] && ((status != 0 || ${TC_KEEP_ALL_LOGS:-0})); then
        mkdir -p "$TC_KEEP_LOGS"
        for name in "$TC_WORK"/*/server.log; do
            [[ -e $name ]] && cp "$name" "$TC_KEEP_LOGS/$(basename "$0" .sh).$(basename "$(dirname "$name")").log"
        done
    fi
    rm -rf "$TC_WORK" "/dev/shm/tiercache_${TC_ID}_"*
    exit "$status"
}

# Backends that outlived a killed postmaster: they alone run from our copy of the installation.
tc_kill_strays() {
    local exe pid id
    for exe in /proc/[0-9]*/exe; do
        if [[ $(readlink "$exe" 2>/dev/null) == "$TC_WORK"/* ]]; then
            pid=${exe#/proc/}
            tc_end_process "${pid%/exe}" KILL 10
        fi
    done
    # A postmaster that was killed leaves its pid file, which names its System V shared memory.
    for pid in "$TC_WORK"/*/data/postmaster.pid; do
        id=$(sed -n '7s/.* //p' "$pid" 2>/dev/null)
        if [[ -n $id ]]; then tc_as_pg ipcrm -m "$id" 2>/dev/null; fi
    done
}

tc_alive() {
    local state
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)
    [[ -n $state && $state != Z ]]
}

# tc_end_process PID SIGNAL SECONDS: signals, waits, and kills what does not end in time.
tc_end_process() {
    local pid=$1 deadline=$((SECONDS + $3))
    kill "-$2" "$pid" 2>/dev/null || return 0
    while tc_alive "$pid"; do
        if ((SECONDS > deadline)); then kill -KILL "$pid" 2>/dev/null; fi
        sleep 0.02
    done
}

tc_at_exit() { TC_AT_EXIT+=("$(printf '%q ' "$@")"); }

tc_run() {
    local status=0
    "$@" <&0 &
    local pid=$!
    TC_CHILDREN+=("$pid")
    wait "$pid" || status=$?
    unset 'TC_CHILDREN[-1]'
    return "$status"
}

tc_shm_name() { echo "/tiercache_${TC_ID}_$1"; }

tc_wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS > deadline)); then
            echo "error: $what: not so in time" >&2
            return 1
        fi
        sleep 0.05
    done
}

# ---- the servers' user ----

# Replaces the current (sub)shell by CMD, run as the servers' user, in a folder which that user can enter.
tc_exec_as_pg() {
    cd "$TC_WORK" || exit 1
    if ((EUID == 0)); then
        exec setpriv --reuid "$TC_OS_USER" --regid "$(id -g "$TC_OS_USER")" --init-groups \
            env HOME="$TC_WORK" USER="$TC_OS_USER" "$@"
    fi
    exec "$@"
}

tc_as_pg() { (tc_exec_as_pg "$@"); }

# Starts a server as a direct child that ends when this script does: tc_spawn NAME CMD...
tc_spawn() {
    local name=$1
    shift
    # The new credentials would clear the death signal: it is set after them, by the last link of the chain.
    (tc_exec_as_pg setpriv --pdeathsig INT "$@") >>"$TC_WORK/$name/server.log" 2>&1 </dev/null &
    TC_PIDS[$name]=$!
    disown # no word from bash when a test kills it
}

tc_server_folder() {
    [[ -n $TC_WORK ]] || tc_die 'call tc_workdir first'
    [[ $1 =~ ^[a-z0-9_]{1,20}$ ]] || tc_die "a server's name is 1 to 20 of a-z, 0-9, _: not '$1'"
    mkdir -m 700 "$TC_WORK/$1"
    if ((EUID == 0)); then chown "$TC_OS_USER:" "$TC_WORK/$1"; fi
}

tc_stop_server() {
    local name=$1 pid=${TC_PIDS[$1]:-}
    if [[ -n $pid ]]; then
        tc_end_process "$pid" "$2" 60
        unset "TC_PIDS[$name]"
    fi
}

# ---- PostgreSQL ----

# shellcheck disable=SC2120
tc_pg_install() {
    local build=${1:-$TC_BUILD/pg_extension} dir file how files
    [[ -n $TC_WORK ]] || tc_die 'call tc_workdir first'
    PG_CONFIG=${PG_CONFIG:-$("$TC_ROOT/deploy/find_pg_config.sh")}
    command -v "$PG_CONFIG" >/dev/null || tc_die "PG_CONFIG='$PG_CONFIG' does not run: run \"make deps\", or name a server"
    TC_PGBIN=$TC_WORK/pg$("$PG_CONFIG" --bindir)
    TC_PGLIB=$TC_WORK/pg$("$PG_CONFIG" --pkglibdir)
    TC_PGSHARE=$TC_WORK/pg$("$PG_CONFIG" --sharedir)
    export PG_CONFIG TC_PGBIN
    if [[ -z ${TC_NO_PRELOAD:-} && ! -e $build/tiercache.so ]]; then
        tc_die "$build/tiercache.so is missing: run \"make build tests\""
    fi
    # A server finds the others by where its program is: that is copied, and they are linked to.
    for dir in "$TC_PGBIN" "$TC_PGLIB" "$TC_PGSHARE"; do
        how=-RL files=()
        [[ $dir == "$TC_PGBIN" ]] || how=-Rs
        for file in "${dir#"$TC_WORK/pg"}"/*; do
            case ${file##*/} in
            bitcode | llvmjit* | pgxs | man | tiercache.so | "${TC_PGBIN##*/}") ;;
            *) files+=("$file") ;;
            esac
        done
        mkdir -p "$dir"
        cp "$how" -t "$dir" "${files[@]}"
    done
    rm -f "$TC_PGSHARE"/extension/tiercache*
    if [[ -z ${TC_NO_PRELOAD:-} ]]; then
        cp --remove-destination "$build/tiercache.so" "$TC_PGLIB/"
        cp --remove-destination "$build"/tiercache--*.sql "$TC_ROOT/pg_extension/tiercache.control" "$TC_PGSHARE/extension/"
    fi
    chmod -R a+rX "$TC_WORK/pg"
}

tc_pg_create() {
    local name=$1 data=$TC_WORK/$1/data
    tc_server_folder "$name"
    tc_as_pg "$TC_PGBIN/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        >"$TC_WORK/$name.initdb.log" 2>&1 || {
        cat "$TC_WORK/$name.initdb.log" >&2
        tc_die "initdb of the private cluster '$name' failed"
    }
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$TC_WORK/$name'"
        echo "port = 5432"
        echo "timezone = 'UTC'"
        echo "log_timezone = 'UTC'"
        # A process that is killed loses nothing that it handed to the kernel; this is not about power cuts.
        echo "fsync = off"
        # In files of the data folder, so that a killed server leaves nothing in /dev/shm.
        echo "dynamic_shared_memory_type = mmap"
        if [[ -z ${TC_NO_PRELOAD:-} ]]; then
            echo "shared_preload_libraries = 'tiercache'"
            echo "tiercache.clock_name = '$(tc_shm_name "$name")'"
        fi
    } | tc_as_pg tee -a "$data/postgresql.conf" >/dev/null
}

# The processes of a server whose postmaster was killed end by themselves, a little later; until then no other one starts.
tc_pg_has_processes() {
    local folder
    for folder in /proc/[0-9]*/cwd; do
        if [[ $(readlink "$folder" 2>/dev/null) == "$TC_WORK/$1/data" ]]; then return 0; fi
    done
    return 1
}

tc_pg_start() {
    local name=$1 setting
    shift
    [[ -n ${TC_PGBIN:-} ]] || tc_pg_install "$TC_BUILD/pg_extension"
    [[ -d $TC_WORK/$name ]] || tc_pg_create "$name"
    for setting in "$@"; do
        echo "${setting%%=*} = '${setting#*=}'"
    done | tc_as_pg tee -a "$TC_WORK/$name/data/postgresql.conf" >/dev/null
    local orphans_deadline=$((SECONDS + 30))
    while [[ -e $TC_WORK/$name/data/postmaster.pid ]] && tc_pg_has_processes "$name" && ((SECONDS < orphans_deadline)); do
        sleep 0.1
    done
    local wrapper
    read -ra wrapper <<<"${TC_PG_WRAPPER:-}"
    tc_spawn "$name" "${wrapper[@]}" "$TC_PGBIN/postgres" -D "$TC_WORK/$name/data"
    local deadline=$((SECONDS + (${#wrapper[@]} ? 300 : 60)))
    until "$TC_PGBIN/pg_isready" -q -h "$TC_WORK/$name" -p 5432 -U postgres -d postgres; do
        if ! tc_alive "${TC_PIDS[$name]}" || ((SECONDS > deadline)); then
            tail -n 30 "$TC_WORK/$name/server.log" >&2
            echo "error: the private cluster '$name' did not start, see above" >&2
            return 1
        fi
        sleep 0.05
    done
    tc_use "$name"
}

tc_use() {
    TC_PGHOST=$TC_WORK/$1 TC_PGPORT=5432 TC_PGUSER=postgres TC_PGDATABASE=${TC_PGDATABASE:-postgres}
    TC_CLOCK=$(tc_shm_name "$1")
    export TC_PGHOST TC_PGPORT TC_PGUSER TC_PGDATABASE TC_CLOCK
}

tc_pg_stop() {
    case ${2:-fast} in
    fast) tc_stop_server "$1" INT ;;
    immediate) tc_stop_server "$1" QUIT ;;
    smart) tc_stop_server "$1" TERM ;;
    kill) tc_stop_server "$1" KILL ;;
    *) tc_die "tc_pg_stop: the mode is fast, immediate, smart or kill, not '$2'" ;;
    esac
}

tc_pg_restart() {
    tc_pg_stop "$1" "${2:-fast}"
    tc_pg_start "$1"
}

tc_psql() {
    local name=$1
    shift
    PGOPTIONS=${PGOPTIONS:-} PGTZ=UTC "$TC_PGBIN/psql" -X -v ON_ERROR_STOP=1 -h "$TC_WORK/$name" -p 5432 -U postgres \
        -d "${TC_PGDATABASE:-postgres}" "$@"
}

# ---- Redis ----

tc_redis_start() {
    local name=$1
    command -v redis-server >/dev/null || tc_die 'redis-server is missing: run "make deps"'
    [[ -d $TC_WORK/$name ]] || tc_server_folder "$name"
    export TC_REDIS_SOCKET=$TC_WORK/$name/redis.sock
    tc_spawn "$name" redis-server --port 0 --unixsocket "$TC_REDIS_SOCKET" --dir "$TC_WORK/$name" \
        --save '' --appendonly no --daemonize no
    tc_wait_for 30 "the private Redis '$name' answers" tc_redis_answers "$name"
}

tc_redis_answers() {
    tc_alive "${TC_PIDS[$1]}" && [[ $(redis-cli -s "$TC_WORK/$1/redis.sock" ping 2>/dev/null) == PONG ]]
}

tc_redis_stop() { tc_stop_server "$1" "${2:-TERM}"; }

# ---- results ----

tc_ok() {
    TC_PASSED=$((TC_PASSED + 1))
    echo "ok - $1"
}

tc_not_ok() {
    TC_FAILED=$((TC_FAILED + 1))
    echo "not ok - $1"
}

tc_check() {
    local description=$1
    shift
    if "$@"; then tc_ok "$description"; else tc_not_ok "$description"; fi
}

tc_is() {
    if [[ $1 == "$2" ]]; then
        tc_ok "$3"
    else
        tc_not_ok "$3"
        printf '#   got:      %s\n#   expected: %s\n' "$1" "$2"
    fi
}

tc_done() {
    echo "$TC_PASSED passed, $TC_FAILED failed"
    if ((TC_FAILED > 0 || TC_PASSED == 0)); then exit 1; fi
}
