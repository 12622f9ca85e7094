// What one put does for reclamation, counted: items looked at, not time.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "shm_cache/item.hpp"
#include "shm_cache/miniature_cache.hpp"
#include "shm_cache/parts.hpp"
#include "shm_cache/statistics.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

// Of each of the rules that a segment may follow.
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
        options.block_bytes = std::size_t{128} << 10;
        options.item_bytes_mean = 256;
        options.process_slots = 64;
        return options;
    }

    struct Work {
        std::uint64_t most = 0;         // items that one put looked at
        std::uint64_t emergencies = 0;  // puts that did more than what they owe
        std::uint64_t refused = 0;
    };
    // `use(i)` follows each `put(i)`.
    template <class Put, class Use>
    Work work_of(std::uint64_t count, Put put, Use use) {
        Work work;
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::uint64_t before = statistics_.sum(Counter::examined_items);
            if (!put(i).ok()) ++work.refused;
            const std::uint64_t examined = statistics_.sum(Counter::examined_items) - before;
            work.most = std::max(work.most, examined);
            work.emergencies += examined > ordinary ? 1 : 0;
            use(i);
        }
        return work;
    }
    Status put(std::uint64_t key, std::size_t bytes = payload_bytes) {
        return segment_.put(oracle_entry(key, 1, bytes));
    }
    void use(std::uint64_t key) { EXPECT_TRUE(look_up(segment_, key).ok); }

    // In an emergency half a MiB, one block more, and what the put owes; of items that are not smaller than
    // this.
    [[nodiscard]] std::uint64_t bound() const {
        constexpr std::uint64_t item_bytes_least = 240;
        return ((std::uint64_t{512} << 10) + geometry_.block_bytes) / item_bytes_least + 2 * ordinary;
    }
    // A put of some 250 bytes owes 2 KiB.
    static constexpr std::uint64_t ordinary = 10;
    static constexpr std::uint64_t puts = 30'000;

    OwnMemory memory_;
    Segment segment_;
    Geometry geometry_;
    Statistics statistics_;
};

TEST_P(PutWorkTest, WhenNothingIsUsed) {
    const Work work = work_of(
        puts, [&](std::uint64_t i) { return put(i); }, [](std::uint64_t) {});
    EXPECT_LE(work.most, bound());
    EXPECT_LE(work.emergencies, puts / 1000);
    EXPECT_EQ(work.refused, 0U);
}

TEST_P(PutWorkTest, WhenEverythingIsUsed) {
    std::mt19937_64 random(1);
    const Work work = work_of(
        puts, [&](std::uint64_t i) { return put(i); },
        [&](std::uint64_t i) {
            for (int n = 0; n < 12; ++n) use(i - std::min(i, random() % 24'000));
        });
    EXPECT_LE(work.most, bound());
    EXPECT_LE(work.emergencies, puts / 100);
    EXPECT_EQ(work.refused, 0U);
}

TEST_P(PutWorkTest, WhenTheSameIsOverwritten) {
    std::mt19937_64 random(1);
    const Work work = work_of(
        puts, [&](std::uint64_t) { return put(random() % 20'000); },
        [&](std::uint64_t) { use(random() % 20'000); });
    EXPECT_LE(work.most, bound());
    EXPECT_LE(work.emergencies, puts / 100);
    EXPECT_EQ(work.refused, 0U);
}

// A value in parts is as many puts as it has parts.
TEST_P(PutWorkTest, WhenLargeValuesAreUsed) {
    const std::size_t bytes = 2 * geometry_.block_bytes;
    const std::uint64_t items = bytes / part_bytes(geometry_) + 2;
    const Work work = work_of(
        200, [&](std::uint64_t i) { return put(i, i % 4 == 0 ? bytes : 2000); },
        [&](std::uint64_t i) {
            for (std::uint64_t back = 0; back < 24; back += 4) use(i - std::min(i, i % 4 + back));
        });
    EXPECT_LE(work.most, items * bound());
    EXPECT_EQ(work.refused, 0U);
}

// Then there is no room: a put says so, and has not done more for it.
TEST_P(PutWorkTest, WhenAllIsPinned) {
    for (std::uint64_t key = 0; key < 40'000; ++key) ASSERT_TRUE(put(key).ok());
    std::vector<Segment> readers;
    for (std::uint32_t slot = 0; slot < 64; ++slot) {
        readers.push_back(Segment::attach(memory_.span(), slot).value());
    }
    std::vector<ValueView> views(readers.size() * segment_.stats().views_per_process);
    std::size_t held = 0;
    const auto hold = [&](std::uint64_t key) {
        std::array<Tag, max_entry_tags> tags{};
        const Bytes name = key_of(key);
        if (held == views.size()) return;
        Segment& reader = readers[held % readers.size()];
        held += reader.get_view(hash_key(name), name, tags, views[held]) == StatusCode::ok ? 1 : 0;
    };
    for (std::uint64_t key = 0; key < 40'000; key += 50) hold(key);
    const Work work = work_of(
        3'000, [&](std::uint64_t i) { return put(100'000 + i); },
        [&](std::uint64_t i) {
            if (i % 20 == 0) hold(100'000 + i);
        });
    EXPECT_LE(work.most, bound());
    EXPECT_GT(work.refused, 500U);
    EXPECT_GE(segment_.stats().put_failures_no_space, work.refused);
    views.clear();
    EXPECT_TRUE(put(1'000'000).ok());
}

INSTANTIATE_TEST_SUITE_P(EachPolicy, PutWorkTest, ::testing::Range(std::size_t{0}, candidate_count));

}  // namespace
}  // namespace tiercache
