// What a segment counts, who may read it, and that it survives those who counted.
#include "shm_cache/statistics.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "shm_cache/latency_histogram.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

TEST(LatencyHistogramTest, BucketsFollowEachOtherWithoutGaps) {
    std::size_t last = 0;
    for (std::uint64_t ns = 0; ns < 200'000'000; ns += 1 + ns / 100) {
        const std::size_t bucket = latency_bucket(ns);
        ASSERT_TRUE(bucket == last || bucket == last + 1) << ns;
        last = bucket;
        if (bucket + 1 == latency_bucket_count) continue;
        // Below the end, and at most a quarter below.
        ASSERT_LT(ns, latency_bucket_end_ns(bucket));
        ASSERT_LE(latency_bucket_end_ns(bucket) * 4, ns * 5 + 4) << ns;
    }
    EXPECT_EQ(last, latency_bucket_count - 1);
    EXPECT_EQ(latency_bucket(UINT64_MAX), latency_bucket_count - 1);
}

TEST(LatencyHistogramTest, QuantilesOfWhatWasCounted) {
    LatencyHistogram histogram;
    EXPECT_EQ(histogram.quantile_ns(0.5), 0U);
    histogram.counts[latency_bucket(100)] = 90;
    histogram.counts[latency_bucket(5000)] = 10;
    EXPECT_EQ(histogram.samples(), 100U);
    EXPECT_EQ(histogram.quantile_ns(0.5), latency_bucket_end_ns(latency_bucket(100)));
    EXPECT_EQ(histogram.quantile_ns(0.99), latency_bucket_end_ns(latency_bucket(5000)));
}

TEST(LatencyHistogramTest, TimesAreThoseOfTheClock) {
    // Beyond calibration, which takes 20 ms.
    for (int i = 0; i < 20; ++i) {
        const std::uint64_t moment = latency_now();
        std::this_thread::sleep_for(std::chrono::milliseconds(4));
        const std::uint64_t ns = latency_since_ns(moment);
        EXPECT_GE(ns, 3'900'000U);
        EXPECT_LT(ns, 2'000'000'000U);
    }
}

class StatisticsTest : public ::testing::Test {
 public:
    StatisticsTest() : segment_(Segment::create(name_, tiny_segment()).value()) {}

    SegmentName name_;
    Segment segment_;
};

TEST_F(StatisticsTest, WhatWasNotServedIsNoHit) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(look_up(segment_, 1).hit);
    const Note notes[] = {Note::stale_hit, Note::expired,   Note::changed,   Note::being_written,
                          Note::outdated,  Note::unvouched, Note::malformed, Note::not_asked};
    for (const Note note : notes) segment_.note(note);
    EXPECT_FALSE(look_up(segment_, 2).hit);
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.hits, 4U);
    EXPECT_EQ(stats.stale_hits, 1U);
    EXPECT_EQ(stats.misses_absent, 1U);
    EXPECT_EQ(stats.misses_expired, 1U);
    EXPECT_EQ(stats.misses_changed, 1U);
    EXPECT_EQ(stats.misses_being_written, 1U);
    EXPECT_EQ(stats.misses_outdated, 1U);
    EXPECT_EQ(stats.misses_unvouched, 2U);
    EXPECT_EQ(stats.misses_malformed, 1U);
    EXPECT_EQ(stats.misses, 8U);
}

TEST_F(StatisticsTest, FailuresHaveReasons) {
    EXPECT_FALSE(segment_.put(Bytes(100)).ok());
    EXPECT_FALSE(segment_.put(oracle_entry(1, 1, segment_.stats().size_bytes)).ok());
    const auto no_room = [](void*, std::size_t) noexcept -> std::byte* { return nullptr; };
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    const Bytes key = key_of(1);
    EXPECT_TRUE(segment_.get(hash_key(key), key, CopyTarget{no_room, nullptr}).empty());
    EXPECT_TRUE(erase_key(segment_, 1));
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.put_failures_invalid, 1U);
    EXPECT_EQ(stats.put_failures_too_large, 1U);
    EXPECT_EQ(stats.put_failures, 2U);
    EXPECT_EQ(stats.misses_no_room, 1U);
    EXPECT_EQ(stats.erased_items, 1U);
    EXPECT_EQ(stats.items, 0U);
    EXPECT_GT(stats.dead_bytes, 0U);
}

TEST_F(StatisticsTest, CountsOutliveTheirProcesses) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    for (int round = 1; round <= 3; ++round) {
        ChildProcess child([this] {
            for (int i = 0; i < 1000; ++i) (void)look_up(segment_, 1);
            raise(SIGKILL);
            return 0;
        });
        EXPECT_EQ(child.wait(), 128 + SIGKILL);
        EXPECT_EQ(segment_.stats().hits, static_cast<std::uint64_t>(1000 * round));
    }
}

// More threads than own a stripe, some of whose numbers are of threads that are gone; a forked child, which
// has its parent's thread numbers; and two Segments of one process.
TEST_F(StatisticsTest, NoHitOfAnyThreadIsLost) {
    constexpr std::uint64_t lookups = 20'000;
    constexpr std::size_t thread_count = 8;
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    Segment other = Segment::open(name_).value();
    const auto count_together = [&](Segment& segment) {
        std::vector<std::thread> threads;
        for (std::size_t t = 0; t < thread_count; ++t) {
            threads.emplace_back([&segment] {
                for (std::uint64_t i = 0; i < lookups; ++i) (void)look_up(segment, 1);
            });
        }
        for (std::thread& thread : threads) thread.join();
    };
    ChildProcess child([&] {
        count_together(segment_);
        return 0;
    });
    count_together(segment_);
    count_together(other);
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(segment_.stats().hits, 3 * thread_count * lookups);
}

TEST_F(StatisticsTest, HitsAreTimedOneInSome) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    for (std::uint32_t i = 0; i < 100 * latency_sampling; ++i) (void)look_up(segment_, 1);
    const LatencyHistogram latency = segment_.stats().hit_latency;
    EXPECT_EQ(latency.samples(), 100U);
    EXPECT_GE(latency.quantile_ns(0.5), 10U);
}

TEST_F(StatisticsTest, SpaceIsLiveOrDead) {
    for (std::uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 300)).ok());
    const SegmentStats full = segment_.stats();
    EXPECT_EQ(full.items, 20U);
    EXPECT_EQ(full.block_count,
              full.free_blocks + full.open_blocks + full.sealed_blocks + full.reclaiming_blocks);
    (void)segment_.clear();
    const SegmentStats cleared = segment_.stats();
    EXPECT_EQ(cleared.item_bytes, 0U);
    EXPECT_EQ(cleared.dead_bytes, full.item_bytes + full.dead_bytes);
}

TEST_F(StatisticsTest, AnybodyMayLookWithoutASlot) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    EXPECT_TRUE(look_up(segment_, 1).hit);
    const std::uint64_t processes = segment_.stats().processes;
    const Result<SegmentStats> stats = Segment::inspect(name_);
    ASSERT_TRUE(stats.ok()) << stats.status().to_string();
    EXPECT_EQ(stats->hits, 1U);
    EXPECT_EQ(stats->items, 1U);
    EXPECT_EQ(stats->processes, processes);
    EXPECT_NE(stats->instance, 0U);
    EXPECT_EQ(stats->instance, segment_.stats().instance);
    EXPECT_EQ(Segment::inspect(name_.text() + "x").status().code(), StatusCode::not_found);
}

TEST(SlotlessTest, CountsAndTakesASlotWhenOneGetsFree) {
    const SegmentName name;
    SegmentOptions options = tiny_segment();
    options.process_slots = 1;
    auto first = std::make_unique<Segment>(Segment::create(name, options).value());
    ASSERT_EQ(first->stats().process_slots, 1U);
    ASSERT_TRUE(first->put(oracle_entry(1, 1, 100)).ok());
    Segment second = Segment::open(name).value();
    EXPECT_TRUE(look_up(second, 1).hit);
    EXPECT_EQ(second.stats().hits, 1U);
    EXPECT_EQ(second.put(oracle_entry(2, 1, 100)).code(), StatusCode::no_space);
    EXPECT_EQ(second.stats().put_failures_no_process_slot, 1U);
    first.reset();
    EXPECT_EQ(second.stats().processes, 0U);
    // By reading alone, within about a second.
    for (int i = 0; i < 300 && second.stats().processes == 0; ++i) {
        (void)look_up(second, 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_EQ(second.stats().processes, 1U);
}

}  // namespace
}  // namespace tiercache
