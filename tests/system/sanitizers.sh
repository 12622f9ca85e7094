#!/usr/bin/env bash
# The unit tests of the segment and what lives in it, built with ASan and UBSan, and with TSan. `make check-sanitizers`
# runs all unit tests that way.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cluster.sh
tc_workdir
sanitized() {
    make --no-print-directory -j"$(nproc)" SANITIZE="$1" "build/$1/tests/segment_tests" >"$TC_WORK/$1.build" 2>&1 ||
        { tail -n 20 "$TC_WORK/$1.build" && return 1; }
    # One thread of each process and a great deal of work: nothing for TSan, and for ASan with one policy of six, one trace
    # of four.
    local filter='*-EachPolicy/PutWorkTest.*/1:EachPolicy/PutWorkTest.*/2:EachPolicy/PutWorkTest.*/3:EachPolicy/PutWorkTest.*/4:EachPolicy/PutWorkTest.*/5'
    filter+=':AdaptiveEviction.HoldsALoop:AdaptiveEviction.Keeps*:AdaptiveEviction.IsNear*:Parts.ValuesAsLong*'
    if [[ $1 == thread ]]; then
        filter='-*TidyingTest*:SegmentCapacity.*:Entry.*:SamplerTest.Curve*'
        filter+=':View.*:HeldViewTest.*'
        filter+=':Parts.APut*:Parts.ShortItems*:Parts.ValuesAsLong*:Parts.SixtyFour*:PartsTest.WithoutItsHead*:PartsTest.WhatIsUsed*:ResizeTest.CopiesOf*'
        filter+=':Parts.AWriterKilled*:PartsTest.EveryLength*:PartsTest.AQuarter*:PartsTest.AnEvictedPart*'
        filter+=':ResizeTest.ManyLarge*:ResizeTest.NothingOfTheOld*:HostileTest.The*:HostileTest.AllOfIt'
        filter+=':EvictionTest.WhenEverything*:EvictionTest.MainForgets*:SamplerTest.AnyBytes*:SamplerTest.Chooses*'
    fi
    "build/$1/tests/segment_tests" --gtest_brief=1 --gtest_filter="$filter" >"$TC_WORK/$1.log" 2>&1 || { tail -n 60 "$TC_WORK/$1.log" && return 1; }
    sed -nE 's/^\[==========\] (.*)/# \1/p' "$TC_WORK/$1.log"
}
for sanitizer in address-undefined thread; do tc_check "$sanitizer" sanitized "$sanitizer"; done
tc_done
