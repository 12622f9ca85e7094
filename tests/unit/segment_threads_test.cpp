// Many threads, as many processes would, on segments so small that they reclaim all the time.
#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr int thread_count = 6;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int actor_steps = 4'000;
#else
constexpr int actor_steps = 40'000;
#endif

void run_actors(const std::vector<Segment*>& segments, std::uint64_t seed) {
    std::vector<std::thread> threads;
    threads.reserve(thread_count);
    std::vector<std::string> complaints(thread_count);
    for (int t = 0; t < thread_count; ++t) {
        threads.emplace_back([&, t] {
            Actor actor(seed + static_cast<std::uint64_t>(t), 1000U * (static_cast<std::uint64_t>(t) + 1));
            Segment& segment = *segments[static_cast<std::size_t>(t) % segments.size()];
            for (int i = 0; i < actor_steps && complaints[t].empty(); ++i)
                complaints[t] = actor.step(segment);
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::string& complaint : complaints) EXPECT_EQ(complaint, "") << "seed " << seed;
}

TEST(SegmentThreads, ThreadsOfOneProcess) {
    OwnMemory memory(tiny_segment().size_bytes);
    Segment segment = Segment::format(memory.span(), tiny_segment()).value();
    run_actors({&segment}, 1);
    const SegmentStats stats = segment.stats();
    EXPECT_GT(stats.reclaimed_blocks, 100U);
    EXPECT_GT(stats.hits, 100U);
}

TEST(SegmentThreads, ProcessSlotsOfTheirOwn) {
    OwnMemory memory(tiny_segment().size_bytes);
    const Segment formatted = Segment::format(memory.span(), tiny_segment()).value();
    std::vector<Segment> attached;
    std::vector<Segment*> segments;
    segments.reserve(thread_count);
    for (std::uint32_t slot = 0; slot < thread_count; ++slot) {
        attached.push_back(Segment::attach(memory.span(), slot).value());
    }
    for (Segment& segment : attached) segments.push_back(&segment);
    run_actors(segments, 2);
    EXPECT_GT(formatted.stats().reclaimed_blocks, 100U);
}

// Few keys, much larger index than needed: every thread fights for the same slots.
TEST(SegmentThreads, OneKeyForAll) {
    OwnMemory memory(tiny_segment().size_bytes);
    Segment segment = Segment::format(memory.span(), tiny_segment()).value();
    std::vector<std::thread> threads;
    threads.reserve(thread_count);
    std::atomic<int> damaged{0};
    for (int t = 0; t < thread_count; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < actor_steps / 2; ++i) {
                if (t % 2 == 0) {
                    (void)segment.put(oracle_entry(1, static_cast<std::uint64_t>(i),
                                                   static_cast<std::size_t>(16 + i % 700)));
                } else if (!look_up(segment, 1).ok) {
                    damaged.fetch_add(1);
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(damaged.load(), 0);
    // However they raced, the next put leaves one.
    ASSERT_TRUE(segment.put(oracle_entry(1, 1'000'000, 50)).ok());
    EXPECT_EQ(segment.stats().items, 1U);
    EXPECT_EQ(look_up(segment, 1).sequence, 1'000'000U);
}

}  // namespace
}  // namespace tiercache
