# shellcheck shell=bash
# What L4 costs writers, sourced by run.sh: pgbench's TPC-B with the extension and mode = auto, and on a server
# without it, in turns.
#
#   RESULT l4_write_tps_ratio       the lower of the two below
#   RESULT l4_write_tps_ratio_1     transactions a second with / without, 1 client
#   RESULT l4_write_tps_ratio_8     the same, 8 clients

# bench_tps SERVER CLIENTS SECONDS: transactions a second.
bench_tps() {
    PGOPTIONS="$([[ $1 == bench ]] && echo '-c tiercache.mode=auto')" "$TC_PGBIN/pgbench" -n -M simple -c "$2" -T "$3" \
        -h "$TC_WORK/$1" -p 5432 -U postgres postgres 2>>"$TC_WORK/pgbench.log" |
        sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

bench_median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# The median of the pairs' ratios: the two of a pair ran one right after the other, in an order that changes.
bench_write_ratio() {
    local clients=$1 round with without
    for ((round = 0; round < ${L4_WRITE_ROUNDS:-15}; ++round)); do
        if ((round % 2)); then
            with=$(bench_tps bench "$clients" 2) without=$(bench_tps plain "$clients" 2)
        else
            without=$(bench_tps plain "$clients" 2) with=$(bench_tps bench "$clients" 2)
        fi
        awk -v a="$with" -v b="$without" 'BEGIN { print a / b }'
    done | bench_median
}

bench_writes() {
    local server one eight
    for server in bench plain; do
        "$TC_PGBIN/pgbench" -i -q -s 8 -h "$TC_WORK/$server" -p 5432 -U postgres postgres >/dev/null 2>&1
    done
    one=$(bench_write_ratio 1)
    echo "RESULT l4_write_tps_ratio_1 $one x"
    eight=$(bench_write_ratio 8)
    echo "RESULT l4_write_tps_ratio_8 $eight x"
    awk -v a="$one" -v b="$eight" 'BEGIN { print "RESULT l4_write_tps_ratio", (a < b) ? a : b, "x" }'
}
