#!/usr/bin/env bash
# `planted.sh KIND REPORTS`, a suite of tests/memory.sh: each fault that the build with pause points can be asked for
# (pg_extension/planted_faults.cpp) is found, by what is there to find it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
kind=$1 reports=$2
tc_workdir
tc_pg_install "$TC_BUILD/pg_extension_pause"
tc_pg_start planted
tc_psql planted -qc "CREATE FUNCTION plant(text) RETURNS void LANGUAGE c AS 'tiercache', 'tiercache_plant'"
log=$TC_WORK/planted/server.log
answers() { tc_psql planted -qAtc 'SELECT 1'; }
# What the reports say of the extension: they name the function, and assertions the file.
said() { cat "$reports"/* "$log" 2>/dev/null | grep -E -B 12 'tiercache_plant|planted_faults' || :; }

# plant FAULT REPORT
plant() {
    rm -f "$reports"/*
    : >"$log"
    tc_psql planted -qc "SELECT plant('$1')" >/dev/null 2>&1 || :
    tc_wait_for 60 'the server answers' answers
    if [[ -z $2 ]]; then
        tc_is "$(said)" '' "$1: nothing is reported"
    else
        tc_check "$1: $2" grep -qE "$2" <<<"$(said)"
    fi
}

plant none ''
case $kind in
address)
    plant 'past a chunk' use-after-poison
    plant 'freed chunk' use-after-poison
    plant 'past a block' heap-buffer-overflow
    plant 'freed block' heap-use-after-free
    plant undefined 'runtime error: shift exponent'
    ;;
memcheck)
    plant 'past a chunk' 'Invalid write'
    plant 'freed chunk' 'Invalid read'
    plant 'past a block' 'Invalid write'
    plant 'freed block' 'Invalid read'
    plant uninitialised 'uninitialised value'
    ;;
esac
plant assertion TRAP
tc_done
