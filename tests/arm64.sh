#!/usr/bin/env bash
# `make check-arm64`: the segment's unit tests, built for arm64 and run by QEMU's user emulation. That shows that the code
# without x86's instructions is right; of the order of arm64's memory it shows nothing, as the emulator keeps x86's.
#
#   tests/arm64.sh [GTEST_FILTER]
set -euo pipefail
cd "$(dirname "$0")/.."
# What the emulator has not (pages of hugetlbfs, RLIMIT_AS), and what one thread does for minutes.
filter=${1:-'-HugePages*:HalfShrunkTest.WhoCantMapItRemovesNothing:*PutWorkTest*:*TidyingTest*:AdaptiveEviction.*:SegmentCapacity.*'}

missing=()
command -v aarch64-linux-gnu-g++ >/dev/null || missing+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64-static >/dev/null || missing+=(qemu-user-static)
for library in lz4 xxhash gtest; do
    [[ -e /usr/lib/aarch64-linux-gnu/lib$library.a ]] || missing+=("lib$library-dev:arm64")
done
if ((${#missing[@]})); then
    echo "check-arm64: first, as root: dpkg --add-architecture arm64 && apt-get update && apt-get install ${missing[*]}" >&2
    exit 1
fi

# Static: the emulator of Debian 12 does not start threads under the dynamic loader.
make --no-print-directory -j"$(nproc)" B=build/arm64 CXX=aarch64-linux-gnu-g++ LDFLAGS=-static build/arm64/tests/segment_tests
qemu-aarch64-static build/arm64/tests/segment_tests --gtest_brief=1 --gtest_filter="$filter"
