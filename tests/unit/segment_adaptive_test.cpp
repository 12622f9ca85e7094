// What the segment's adaptation is for, on generated patterns: it holds what a loop leaves of itself, resists
// scans, and where LRU is best it is not far from it. bench/eviction_bench.cpp does the same with traces.
#include <gtest/gtest.h>

#include "tests/unit/access_pattern.hpp"
#include "tests/unit/trace_replay.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr std::size_t entries = 1000;
constexpr std::size_t length = 80'000;

double points_to_lru(const Trace& trace, std::size_t overestimate = 1) {
    return 100 * (segment_miss_ratio(trace, entries, overestimate) - (1 - lru_hit_ratio(trace, entries)));
}

TEST(AdaptiveEviction, HoldsALoop) {
    // LRU holds nothing; at best two thirds of all are missed.
    const Trace trace = loop_trace(3 * entries, length);
    EXPECT_LT(points_to_lru(trace), -25);
    // Also with an index for eight times as many items, and so with as many more ghosts, if all were used.
    EXPECT_LT(points_to_lru(trace, 8), -25);
}

TEST(AdaptiveEviction, KeepsWhatIsPopularBesideALoop) {
    EXPECT_LT(
        points_to_lru(mixed_trace(zipf_trace(10'000, 0.9, length / 2, 1), loop_trace(1500, length / 2))), -8);
}

TEST(AdaptiveEviction, IsNearLruWhereLruIsBest) {
    EXPECT_LT(points_to_lru(drift_trace(4 * entries, length, 2)), 0.5);
}

TEST(AdaptiveEviction, FollowsAChangeOfPattern) {
    Trace trace = loop_trace(3 * entries, length / 2);
    const Trace drift = drift_trace(4 * entries, length, 3);
    trace.insert(trace.end(), drift.begin(), drift.end());
    EXPECT_LT(points_to_lru(trace), -5);
}

}  // namespace
}  // namespace tiercache
