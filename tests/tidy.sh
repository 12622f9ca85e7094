#!/usr/bin/env bash
# clang-tidy for the sources of one folder, many at once: it spends most of a file's time on the headers, so a file made of
# many takes as long as a few. Files whose own names clash are in different ones. A file with a using-declaration or an
# alias is run by itself: another's use of the same name would count as its own.
#
#   tests/tidy.sh FOLDER SOURCE... -- FLAG...    what is made of them is put into FOLDER; messages name the sources
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
folder=$1 together=() alone=() status=0
shift
while [[ $1 != -- ]]; do
    if grep -qE '^ *(using +[A-Za-z_0-9:]+::|namespace +[A-Za-z_0-9]+ *=)' "$1"; then alone+=("$1"); else together+=("$1"); fi
    shift
done
shift
# A function that was looked into from a caller is analyzed by itself too, since its caller may be in another file.
flags=("$@" -Xclang -analyzer-inlining-mode=all)
mkdir -p "$folder"

# concatenate SOURCE...: into $all
concatenate() {
    local source
    for source in "$@"; do
        echo "#line 1 \"$source\""
        cat "$source"
    done >"$all"
}

# clang-tidy does not know #line: FILE:LINE of $all becomes the place in the source.
name_sources() {
    awk -v all="$all" '
        FNR == NR { if ($1 == "#line") { source = $3; gsub("\"", "", source); start = FNR } from[FNR] = source ":" FNR - start; next }
        match($0, all ":[0-9]+") {
            line = substr($0, RSTART, RLENGTH)
            sub(/.*:/, "", line)
            $0 = substr($0, 1, RSTART - 1) from[line] substr($0, RSTART + RLENGTH)
        }
        { print }' "$all" -
}

# blamed SOURCE: whether the compiler found an error in it, or in what it includes.
blamed() {
    grep -qE "^(\./)?$1:[0-9:]+ (fatal )?error:|^In file included from (\./)?$1:" <<<"$problems"
}

for ((part = 1; ${#together[@]} > 0; part++)); do
    all=$folder/together$part.cpp later=()
    # Of two files that clash the compiler blames the second: it is left for the next part. A first one is at fault itself.
    while concatenate "${together[@]}" && ! problems=$(clang++ -w -fsyntax-only -ferror-limit=0 "${flags[@]}" "$all" 2>&1); do
        kept=("${together[0]}")
        for source in "${together[@]:1}"; do
            if blamed "$source"; then later+=("$source"); else kept+=("$source"); fi
        done
        ((${#kept[@]} < ${#together[@]})) || break
        together=("${kept[@]}")
    done
    # Whether a header is included twice only shows in each file: include-check tells.
    clang-tidy --quiet --checks=-readability-duplicate-include "$all" -- "${flags[@]}" 2>&1 | name_sources || status=1
    together=("${later[@]}")
done
for source in "${alone[@]}"; do clang-tidy --quiet "$source" -- "${flags[@]}" 2>&1 || status=1; done
exit "$status"
