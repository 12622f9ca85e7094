// What one put does for reclamation, counted: items looked at and bytes copied, not time.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "shm_cache/miniature_cache.hpp"
#include "shm_cache/statistics.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

class PutWorkTest : public ::testing::TestWithParam<std::size_t> {
 public:
    static constexpr std::size_t payload_bytes = 200;
    PutWorkTest()
        : memory_(options().size_bytes), segment_(Segment::format(memory_.span(), options()).value()) {
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value();
        statistics_ = Statistics(memory_.span().data(), geometry_);
        auto* header = reinterpret_cast<SegmentHeader*>(memory_.span().data());
        EvictionPolicy policy = candidates[GetParam()];
        policy.adaptive = false;
        header->policy.store(policy.pack());
    }
    static SegmentOptions options() {
        SegmentOptions options;
        options.size_bytes = std::size_t{8} << 20;
        options.block_bytes = std::size_t{256} << 10;
        options.item_bytes_mean = 256;
        return options;
    }
    struct Work {
        std::uint64_t items = 0;
        std::uint64_t bytes = 0;
    };
    [[nodiscard]] Work work() const {
        Work work{statistics_.sum(Counter::moved_items) + statistics_.sum(Counter::expired_items),
                  statistics_.sum(Counter::moved_bytes)};
        for (std::size_t c = 0; c < class_count; ++c) {
            work.items += statistics_.sum(evicted_items(static_cast<DataClass>(c)));
        }
        return work;
    }
    // The most that a put of this many did; `use(key)` follows each.
    template <class Use>
    Work most_work(std::uint64_t puts, Use use) {
        Work most;
        Work before = work();
        for (std::uint64_t key = 0; key < puts; ++key) {
            EXPECT_TRUE(segment_.put(oracle_entry(key, 1, payload_bytes)).ok());
            const Work after = work();
            most.items = std::max(most.items, after.items - before.items);
            most.bytes = std::max(most.bytes, after.bytes - before.bytes);
            before = after;
            use(key);
        }
        return most;
    }
    void expect_bounded(const Work& most) {
        // A word of the bitmap of starts, 2 KiB, is the least that is looked at; and one item displaced.
        EXPECT_GT(most.items, 2U);
        EXPECT_LE(most.items, 10U);
        EXPECT_LE(most.bytes, 2048U + 2 * payload_bytes);
    }

    OwnMemory memory_;
    Segment segment_;
    Geometry geometry_;
    Statistics statistics_;
};

TEST_P(PutWorkTest, IsBoundedWhenEverythingIsUsed) {
    std::mt19937_64 random(1);
    const Work most = most_work(120'000, [&](std::uint64_t key) {
        // All that is there is used, again and again.
        for (int i = 0; i < 12; ++i) (void)look_up(segment_, key - std::min(key, random() % 24'000));
    });
    expect_bounded(most);
    const SegmentStats stats = segment_.stats();
    EXPECT_GT(stats.moved_items, 10'000U);
    EXPECT_EQ(stats.put_failures, 0U);
}

TEST_P(PutWorkTest, IsBoundedWhenNothingIsUsed) {
    expect_bounded(most_work(120'000, [](std::uint64_t) {}));
}

INSTANTIATE_TEST_SUITE_P(EachPolicy, PutWorkTest, ::testing::Range(std::size_t{0}, candidate_count));

}  // namespace
}  // namespace tiercache
