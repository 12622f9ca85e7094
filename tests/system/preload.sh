#!/usr/bin/env bash
# Without shared_preload_libraries, CREATE EXTENSION and every function say what to do, and nothing else breaks.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
tc_pg_start preload
tc_psql preload -q -c 'CREATE EXTENSION tiercache' -c 'CREATE TABLE t (v int)' -c 'CREATE DATABASE fresh'
tc_pg_stop preload
tc_pg_start preload 'shared_preload_libraries='
says_what_to_do() {
    local output status=0
    output=$(tc_psql preload -c "$@" 2>&1) || status=$?
    [[ $status != 0 && $output == *'ERROR:  tiercache must be loaded via shared_preload_libraries'* &&
        $output == *"HINT:  "*"shared_preload_libraries = 'tiercache'"*restart* ]] || {
        echo "# got: $output"
        return 1
    }
}
tc_check 'CREATE EXTENSION' says_what_to_do 'CREATE EXTENSION tiercache' -d fresh
tc_is "$(tc_psql preload -d fresh -Atc "SELECT count(*) FROM pg_namespace WHERE nspname = 'tiercache'")" 0 'leaves nothing behind'
for call in "query_json('SELECT 1')" "fetch('SELECT 1')" 'session_key()' 'token()' "explain('SELECT 1')" "invalidate('t')" \
    'reset()' 'check_preload()' 'read_stats()' 'list_entries()' "query_json('SELECT 1'::varchar, class => 'hot')" \
    "fetch('SELECT 1'::varchar, class => 'hot')" "invalidate_tag('t')" 'read_tag(1)' \
    'list_dependencies()' 'list_tag_names()' 'list_patterns()' 'reset_patterns()' 'classify()'; do
    tc_check "tiercache.$call" says_what_to_do "SELECT tiercache.$call"
done
tc_check 'tiercache.query' says_what_to_do "SELECT * FROM tiercache.query('SELECT 1') AS t(a int)"
tc_check 'tiercache.query, with options' says_what_to_do \
    "SELECT * FROM tiercache.query('SELECT 1'::varchar, class => 'hot') AS t(a int)"
tc_check 'tiercache.stats' says_what_to_do 'SELECT * FROM tiercache.stats'
tc_check 'tiercache.entries' says_what_to_do 'SELECT * FROM tiercache.entries'
# Without the one in SQL and the trigger of tiercache.classes, which users don't call; relation_tag() and label_tag() need
# nothing of the server.
functions=$(tc_psql preload -Atc "SELECT count(*) FROM pg_proc WHERE pronamespace = 'tiercache'::regnamespace
    AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'sql') AND prorettype <> 'trigger'::regtype")
tc_is "$functions" 22 'every function was tried'
tc_is "$(tc_psql preload -Atc 'INSERT INTO t VALUES (1) RETURNING v' | head -1)" 1 'everything else works'
tc_check 'DROP EXTENSION works' tc_psql preload -q -c 'DROP EXTENSION tiercache'
# Preloaded again, it can be created again.
tc_pg_stop preload
tc_pg_start preload 'shared_preload_libraries=tiercache'
tc_psql preload -q -c 'CREATE EXTENSION tiercache'
tc_is "$(tc_psql preload -Atc "SELECT tiercache.query_json('SELECT v FROM t')")" '[{"v":1}]' 'and answers'
# No memory: no cache, the same answers, and apps may keep what they fetch.
tc_pg_stop preload
tc_pg_start preload tiercache.memory=0
for _ in 1 2; do tc_is "$(tc_psql preload -Atc "SELECT tiercache.query_json('SELECT v FROM t')")" '[{"v":1}]' 'with tiercache.memory = 0'; done
tc_is "$(tc_psql preload -Atc "SELECT get_byte(tiercache.fetch('SELECT v FROM t'), 48)")" 0 'an entry that apps may keep'
tc_is "$(tc_psql preload -Atc 'SELECT hits, entries FROM tiercache.stats')" '0|0' 'nothing is kept here'
tc_is "$(tc_psql preload -Atc 'SELECT count(*) FROM tiercache.entries')" 0 'no entries'
tc_done
