# shellcheck shell=bash
# Runs pg_regress or pg_isolation_regress against a private cluster; sourced after cluster.sh.

# tc_regress TOOL CLUSTER INPUT SUFFIX [OPTION...]: every test of the folder INPUT (its expected/ and its sql/*.sql or
# specs/*.spec, told by SUFFIX), as the servers' user, from a copy, since that user may not enter the checkout.
# With TC_UPDATE_EXPECTED=1 the results replace INPUT/expected.
tc_regress() {
    local tool=$1 cluster=$2 input=$3 suffix=$4 copy=$TC_WORK/$2.regress status=0 file tests=() folder
    shift 4
    case $suffix in
    sql) folder=sql ;;
    spec) folder=specs ;;
    *) tc_die "tc_regress: the suffix is sql or spec, not '$suffix'" ;;
    esac
    for file in "$input/$folder"/*."$suffix"; do
        if [[ -e $file ]]; then tests+=("$(basename "$file" ".$suffix")"); fi
    done
    if ((${#tests[@]} == 0)); then
        echo "# nothing in $input/$folder"
        return 0
    fi
    mkdir -p "$copy/expected"
    cp -R "$input/$folder" "$copy/"
    if [[ -d $input/expected ]]; then cp -R "$input/expected" "$copy/"; fi
    # A test without expected results is a failed test, not the end of the run.
    for file in "${tests[@]}"; do
        if [[ ! -e $copy/expected/$file.out ]]; then touch "$copy/expected/$file.out"; fi
    done
    if [[ -d $input/data ]]; then cp -R "$input/data" "$copy/"; fi
    if ((EUID == 0)); then chown -R "$TC_OS_USER:" "$copy"; fi
    tc_run tc_as_pg "$tool" --bindir="$TC_PGBIN" --inputdir="$copy" --outputdir="$copy" \
        --host="$TC_WORK/$cluster" --port=5432 --user=postgres --dbname=tiercache_regress "$@" "${tests[@]}" \
        >"$copy/output" 2>&1 || status=$?
    # `test x ... ok` up to PostgreSQL 15, `ok 1 - x` since 16.
    local line
    while IFS= read -r line; do
        if [[ $line =~ ^test\ ([^ ]+)\ +\.\.\.\ ok || $line =~ ^ok\ [0-9]+\ +[-+]\ ([^ ]+) ]]; then
            tc_ok "${BASH_REMATCH[1]}"
        elif [[ $line =~ ^test\ ([^ ]+)\ +\.\.\.\ FAILED || $line =~ ^not\ ok\ [0-9]+\ +[-+]\ ([^ ]+) ]]; then
            tc_not_ok "${BASH_REMATCH[1]}"
        fi
    done <"$copy/output"
    if ((status != 0)); then
        cat "$copy/output"
        cat "$copy/regression.diffs" 2>/dev/null || :
    fi
    tc_is $((TC_PASSED + TC_FAILED)) ${#tests[@]} "every test of $folder/ ran"
    if [[ -n ${TC_UPDATE_EXPECTED:-} ]]; then
        mkdir -p "$input/expected"
        for file in "${tests[@]}"; do cp --no-preserve=ownership,mode "$copy/results/$file.out" "$input/expected/"; done
        echo "# $input/expected is up to date now"
    fi
}
