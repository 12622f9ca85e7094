#!/usr/bin/env bash
# The tiercache command: what it prints, and one sentence and an exit status for each mistake.
# shellcheck disable=SC2016 # $1 in SQL is a parameter
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start main
tc_redis_start redis
tc_psql main -q <<'SQL'
CREATE EXTENSION tiercache;
CREATE TABLE t(id int, name text);
INSERT INTO t VALUES (1, 'one'), (2, NULL), (3, E'two\nlines');
CREATE TABLE secret(v int);
CREATE ROLE guest LOGIN;
SQL
command=$TC_BUILD/bin/tiercache
db="host=$TC_PGHOST user=$TC_PGUSER dbname=$TC_PGDATABASE"
segment=$(tc_shm_name cli)
json() { python3 -c "import json,sys; d = json.load(sys.stdin); print(($1))"; }
quiet() { "$@" >/dev/null; }

# fails STATUS PATTERN DESCRIPTION ARGS...: one line on standard error, nothing on standard output
fails() {
    local expected=$1 pattern=$2 description=$3 status=0 lines
    shift 3
    "$command" "$@" >"$TC_WORK/out" 2>"$TC_WORK/err" || status=$?
    lines=$(wc -l <"$TC_WORK/err")
    if [[ $status == "$expected" && $lines == 1 && ! -s $TC_WORK/out ]] && grep -qE -- "$pattern" "$TC_WORK/err"; then
        tc_ok "$description"
    else
        tc_not_ok "$description"
        echo "#   exit status $status, standard error:"
        sed 's/^/#   /' "$TC_WORK/err"
    fi
}

# ---- help ----
for what in '' query stats entries segment 'segment create' 'segment show' 'segment watch' 'segment clear' 'segment remove' clock 'clock info'; do
    # shellcheck disable=SC2086
    tc_check "help: tiercache $what --help" quiet "$command" $what --help
done
tc_is "$("$command" --version)" 'tiercache 1.0.0' 'version'
fails 2 'subcommand is required' 'no command'
fails 2 'required' 'query without SQL' query
fails 2 'not expected|subcommand' 'an unknown option' query --nonsense 'SELECT 1'
fails 2 'class' 'an unknown class' query --class tepid 'SELECT 1'
fails 2 'repeat' 'a number that is none' query --repeat many 'SELECT 1'

# ---- segments ----
fails 1 'no (segment|shared memory)' 'info of a missing segment' segment info "$segment"
fails 1 'no (segment|shared memory)' 'remove of a missing segment' segment remove "$segment"
fails 1 'not a shared-memory name' 'a name without a slash' segment create nonsense
fails 1 'not a size' 'a size that is none' segment create "$segment" --size huge
for option in size block-size item-size mode; do
    fails 2 'it is empty' "an empty --$option" segment create "$segment" "--$option" ''
done
fails 2 'range.*4094' 'more processes than a segment can have' segment create "$segment" --processes 4095
fails 1 'not a file mode' 'a mode that is none' segment create "$segment" --mode rw
fails 1 'at most|not enough' 'a size that is too large' segment create "$segment" --size 4096GiB
tc_check 'a failed create leaves nothing' test ! -e "/dev/shm$segment"
tc_check 'create' quiet "$command" segment create "$segment" --size 8MiB --mode 0666
fails 1 'already' 'create again' segment create "$segment"
tc_is "$("$command" segment info --json "$segment" | json 'd["size_bytes"], d["items"], d["index_slots_in_use"]')" '(8388608, 0, 0)' 'info --json'
tc_is "$("$command" segment show --json "$segment" | json 'd["processes"], d["hit_latency_ns"]["samples"]')" '(0, 0)' \
    'show takes no process slot'
tc_is "$("$command" segment watch --interval 0.1 --count 3 "$segment" | wc -l)" 4 'watch: a header and a line each'
tc_is "$("$command" segment watch --interval 0.1 --count 2 --json "$segment" | json 'd["items"]' 2>/dev/null || echo lines)" \
    lines 'watch --json: an object a line'
"$command" segment watch --interval 60 "$segment" >"$TC_WORK/watch" 2>&1 &
watcher=$!
TC_CHILDREN+=("$watcher")
sleep 0.5
kill -TERM "$watcher"
tc_check 'watch ends well when told to' wait "$watcher"
fails 1 "segment create" 'watch of a missing segment' segment watch "$(tc_shm_name missing)"
# What its loader read may be older than the clear.
loaded_while_cleared() {
    LD_LIBRARY_PATH=$TC_BUILD/lib python3 - "$command" "$(tc_shm_name cleared)" <<'PY'
import ctypes, subprocess, sys
command, name = sys.argv[1:]
lib = ctypes.CDLL('libtiercache.so')
cache, value = ctypes.c_void_p(), ctypes.c_void_p()
assert lib.tc_shared_open_or_create(name.encode(), ctypes.c_size_t(1 << 20), ctypes.byref(cache)) == 0
@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
def load(context, to, put):
    subprocess.run([command, 'segment', 'clear', name], check=True)
    lib.tc_value_set(ctypes.c_void_p(to), b'old', ctypes.c_size_t(3))
    return 0
key = [b'k', ctypes.c_size_t(1)]
assert lib.tc_shared_get_or_load(cache, *key, None, load, None, ctypes.byref(value), None) == 0
print(lib.tc_shared_get_value(cache, *key, ctypes.byref(value), None))
lib.tc_shared_remove(name.encode())
PY
}
tc_is "$(loaded_while_cleared)" 1 'clear: a value that is being loaded stays out'
cp "/dev/shm$segment" "$TC_WORK/segment"
foreign=$(tc_shm_name foreign)
head -c 1000000 /dev/urandom >"/dev/shm$foreign"
fails 1 'is not a|not a tiercache' 'foreign bytes' segment info "$foreign"
fails 1 'is not a|not a tiercache' 'foreign bytes as L1' query --db "$db" --l1 "$foreign" 'SELECT 1'
fails 1 'not a tiercache clock table' 'a clock file that is not one' clock info "$foreign"
fails 1 'not a tiercache clock table' 'and as --clock' query --db "$db" --clock "$foreign" 'SELECT 1'
fails 1 'no shared memory' 'a missing clock table' clock info "$(tc_shm_name nothing)"
: >"/dev/shm$foreign"
fails 1 'empty|half-way|not a tiercache' 'an empty object' segment info "$foreign"
tc_check 'is left as it was' test -e "/dev/shm$foreign"
# The same segment, but of another layout version: the 32-bit word after the magic number.
cp "$TC_WORK/segment" "/dev/shm$foreign"
printf '\xff' | dd of="/dev/shm$foreign" bs=1 seek=8 conv=notrunc status=none
fails 1 'version' 'a segment of another layout version' segment info "$foreign"
rm "/dev/shm$foreign"

# ---- queries ----
export TIERCACHE_DB=$db TIERCACHE_L1=$segment TIERCACHE_L2=unix:$TC_REDIS_SOCKET
tiers() { "$command" query --json "$@" | json 'd["tier"], d["freshness"], d["rows"]'; }
sql='SELECT id, name FROM t ORDER BY id'
tc_is "$(tiers "$sql")" "('l4', 'fresh', [[1, 'one'], [2, None], [3, 'two\\nlines']])" 'from PostgreSQL'
tc_is "$(tiers "$sql")" "('l1', 'fresh', [[1, 'one'], [2, None], [3, 'two\\nlines']])" 'from the segment'
tc_is "$(TIERCACHE_L1='' tiers "$sql")" "('l2', 'fresh', [[1, 'one'], [2, None], [3, 'two\\nlines']])" 'from Redis'
tc_is "$("$command" query "$sql" | head -n 6)" "id  name
--  ----------
 1  one
 2
 3  two\\nlines
(3 rows)" 'as a table'
tc_is "$(tiers -p 5 --null -p "it's" --param=-1 'SELECT $1::int, $2::text, $3::text, $4::float8')" \
    "('l4', 'fresh', [[5, None, \"it's\", -1.0]])" 'parameters in their order, and NULL'
tc_is "$("$command" query --json --repeat 5 "$sql" | json 'd["latency_us"]["l1"]["calls"]')" 5 '--repeat'
missing=$(tc_shm_name missing)
for place in --l1 --set; do
    name=$missing
    [[ $place == --l1 ]] || name=l1.name=$missing
    TIERCACHE_L1='' fails 1 "segment create $missing" "$place of a missing segment" query "$place" "$name" 'SELECT 1'
done
fails 1 "segment create $missing" 'stats of a missing segment' stats --l1 "$missing"
fails 1 "segment create $missing" 'entries of a missing segment' entries --l1 "$missing"
tc_check 'none is made' test ! -e "/dev/shm$missing"
tc_check '--create' quiet "$command" query --l1 "$missing" --create --set l1.size=4MiB 'SELECT 1'
tc_check 'makes it' "$command" segment remove "$missing"
printf '[l1]\nname = "%s"\nsize = "4MiB"\n' "$missing" >"$TC_WORK/makes.toml"
tc_check 'and so does a file' quiet env TIERCACHE_L1= "$command" query --config "$TC_WORK/makes.toml" 'SELECT 1'
tc_check 'that names it' "$command" segment remove "$missing"
tc_psql main -qc "UPDATE t SET name = 'uno' WHERE id = 1"
tc_is "$("$command" query --max-staleness 60 "$sql" | sed -n '3p;$p' | cut -c1-30)" " 1  one
last answer: stale from l1, ag" '--max-staleness'
tc_is "$("$command" query "$sql" | sed -n 3p)" ' 1  uno' 'a commit shows in the next read'
fails 1 '42601' 'wrong SQL' query 'SELEC'
fails 1 'SQLSTATE' 'too few parameters' query 'SELECT $1::int'
fails 1 'SQLSTATE' 'too many parameters' query -p 1 'SELECT 1'
fails 1 '42501' 'no permission' query --db "$db user=guest" 'SELECT * FROM secret'
fails 1 'could not connect' 'no server' query --db 'host=/nonexistent' --l1 '' 'SELECT 1'
fails 1 'connection string' 'a wrong connection string' query --db nonsense 'SELECT 1'
fails 1 'Redis address' 'a wrong Redis address' query --l2 redis:// 'SELECT 1'
fails 1 'deadline|in time' 'a timeout' query --timeout 0.2 'SELECT count(*) FROM generate_series(1, 1000000000)'
slow_queries() {
    tc_psql main -Atc "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%fetch%' AND pid <> pg_backend_pid() AND state = 'active'"
}
count_is() { [[ $(slow_queries) == "$1" ]]; }
"$command" query 'SELECT count(*) FROM generate_series(1, 2000000000)' >/dev/null 2>&1 &
slow=$!
TC_CHILDREN+=("$slow")
tc_check 'a long query runs' tc_wait_for 30 'it runs' count_is 1
kill -TERM "$slow"
tc_check 'and ends in PostgreSQL soon after its client' tc_wait_for 30 'it ends' count_is 0
"$command" segment remove "$segment"
"$command" segment create "$segment" --size 8MiB >/dev/null
if ((EUID == 0)); then
    cp "$command" "$TC_WORK/tiercache"
    tc_check 'no permission on a segment' bash -c \
        '! setpriv --reuid nobody --clear-groups "$0" segment info "$1" 2>"$2" && grep -qi "permission" "$2"' \
        "$TC_WORK/tiercache" "$segment" "$TC_WORK/err"
    # As two users of a group that has no name here.
    chmod 755 "$TC_WORK"
    shared=$(tc_shm_name group)
    as() { setpriv --reuid "$1" --regid "$1" --groups 64321 "$TC_WORK/tiercache" "${@:2}"; }
    tc_check 'a segment for a group' quiet as 54321 segment create "$shared" --size 8MiB --group 64321
    tc_is "$(stat -c '%u %g %a' "/dev/shm$shared" "/dev/shm$shared.lock" | sort -u)" '54321 64321 660' 'is the group'"'"'s'
    tc_check 'who trusts it looks at it' quiet as 54322 segment info "$shared" --group 64321
    tc_check 'and into it' quiet as 54322 entries --db '' --l1 "$shared" --set l1.group=64321
    tc_check 'who does not is told' bash -c '! "${@:2}" 2>"$1" && grep -q "trust all members" "$1"' \
        "$0" "$TC_WORK/err" setpriv --reuid 54322 --regid 54322 --groups 64321 "$TC_WORK/tiercache" segment info "$shared"
    fails 1 'no group' 'a group that is none' segment create "$shared" --group no-such-group
    tc_check 'its owner resizes it' quiet as 54321 segment resize "$shared" --size 16MiB
    tc_check 'and removes it' as 54321 segment remove "$shared"
fi

# ---- views ----
"$command" query "$sql" >/dev/null
tc_is "$("$command" stats --json | json '"hits" in d["l4"], d["l1"]["items"] > 0')" '(True, True)' 'stats'
tc_check 'stats as a table' quiet "$command" stats
tc_is "$("$command" entries --json | json 'd["l1"][0]["sql"], any(e["sql"] == d["l1"][0]["sql"] for e in d["l4"])')" \
    "('$sql', True)" 'entries'
tc_is "$("$command" segment show --json "$segment" | json 'd["hits"] + d["misses"] > 0, d["items"] > 0')" '(True, True)' 'show'
tc_check 'entries as a table' quiet "$command" entries --limit 1
tc_is "$("$command" clock info "$TC_CLOCK" --json | json 'd["vouched_for"]')" True 'clock info'
tc_psql main -qc 'CREATE DATABASE bare'
for view in stats entries; do
    fails 1 'CREATE EXTENSION tiercache' "$view without the extension" "$view" --db "$db dbname=bare"
done

# ---- the options file ----
cat >"$TC_WORK/options.toml" <<TOML
[l4]
conninfo = "$db"
TOML
unset TIERCACHE_DB TIERCACHE_L1 TIERCACHE_L2
tc_is "$(tiers --config "$TC_WORK/options.toml" "$sql")" "('l4', 'fresh', [[1, 'uno'], [2, None], [3, 'two\\nlines']])" \
    '--config'
quiet tiers --config "$TC_WORK/options.toml" --set "l1.name=$segment" "$sql"
tc_is "$(tiers --config "$TC_WORK/options.toml" --set "l1.name=$segment" "$sql")" \
    "('l1', 'fresh', [[1, 'uno'], [2, None], [3, 'two\\nlines']])" '--set'
fails 1 'could not read' 'a missing file' query --config "$TC_WORK/nothing.toml" 'SELECT 1'
echo 'l9 = 1' >"$TC_WORK/options.toml"
fails 1 'no option l9' 'an unknown option in it' query --config "$TC_WORK/options.toml" 'SELECT 1'
fails 1 'tiercache: [a-z_ ]*:? ?there is no option foo' '--set of an unknown option' query --set foo=1 'SELECT 1'
fails 1 'three parts' '--set of too many parts' query --set "$(printf 'a.%.0s' {1..60000})a=1" 'SELECT 1'
fails 1 'KEY=VALUE' '--set without a value' query --set l1.name 'SELECT 1'
tc_check 'remove' "$command" segment remove "$segment"
tc_check 'is gone' test ! -e "/dev/shm$segment"
tc_done
