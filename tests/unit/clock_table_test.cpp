// The freshness rule of the clock table, its order of reading, and its lease.
#include "shm_cache/clock_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "shm_cache/monotonic_time.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

constexpr std::uint64_t epoch = 11;
constexpr std::uint64_t floor_at = 100;
constexpr std::uint64_t never = UINT64_MAX / 2;

class ClockTableTest : public ::testing::Test {
 public:
    ClockTableTest()
        : memory_(ClockTable::size_bytes(64)), table_(ClockTable::format(memory_.span(), 64).value()) {
        table_.restart(epoch, floor_at);
    }

    [[nodiscard]] Verdict check(std::vector<Tag> tags, std::uint64_t stamp, std::uint64_t of = epoch) const {
        return table_.check_unleased(tags, stamp, of);
    }

    test::OwnMemory memory_;
    ClockTable table_;
};

TEST_F(ClockTableTest, AnEntryIsFreshUntilATagChangesAfterItsStamp) {
    EXPECT_EQ(check({1, 2}, 100), Verdict::fresh);
    table_.begin_write(2);
    EXPECT_EQ(check({1, 2}, 200), Verdict::being_written);
    EXPECT_EQ(check({1}, 200), Verdict::fresh);
    table_.end_write(2, 150);
    EXPECT_EQ(check({1, 2}, 149), Verdict::changed);
    EXPECT_EQ(check({1, 2}, 150), Verdict::fresh);
    EXPECT_EQ(check({1}, 120), Verdict::fresh);
    EXPECT_EQ(table_.version_of(2), 150U);
    EXPECT_EQ(table_.writers_of(2), 0U);
}

TEST_F(ClockTableTest, ARollbackInvalidatesNothing) {
    table_.begin_write(1);
    EXPECT_EQ(check({1}, 500), Verdict::being_written);
    table_.cancel_write(1);
    EXPECT_EQ(check({1}, 100), Verdict::fresh);
    EXPECT_EQ(table_.version_of(1), 0U);
}

TEST_F(ClockTableTest, WritersOfOneTagAreCounted) {
    table_.begin_write(1);
    table_.begin_write(1);
    table_.end_write(1, 300);
    EXPECT_EQ(check({1}, 400), Verdict::being_written);
    table_.cancel_write(1);
    EXPECT_EQ(check({1}, 300), Verdict::fresh);
}

TEST_F(ClockTableTest, AVersionNeverGoesBack) {
    table_.begin_write(1);
    table_.begin_write(1);
    table_.end_write(1, 300);
    table_.end_write(1, 250);
    EXPECT_EQ(table_.version_of(1), 300U);
    EXPECT_EQ(check({1}, 299), Verdict::changed);
}

// Two tags in one slot only invalidate too much.
TEST_F(ClockTableTest, TagsThatShareASlotShareItsFate) {
    table_.begin_write(1 + 64);
    EXPECT_EQ(check({1}, 500), Verdict::being_written);
    table_.end_write(1 + 64, 200);
    EXPECT_EQ(check({1}, 199), Verdict::changed);
    EXPECT_EQ(check({2}, 199), Verdict::fresh);
}

TEST_F(ClockTableTest, TheFloorAndTheEpochHoldForEntriesWithoutTags) {
    EXPECT_EQ(check({}, 99), Verdict::below_floor);
    EXPECT_EQ(check({}, 100), Verdict::fresh);
    EXPECT_EQ(check({}, 100, epoch + 1), Verdict::other_epoch);
    table_.raise_floor(150);
    EXPECT_EQ(check({}, 149), Verdict::below_floor);
    table_.raise_floor(120);
    EXPECT_EQ(table_.floor(), 150U);
}

TEST_F(ClockTableTest, ARestartKillsWhatWasAndClearsWhatWasInFlight) {
    table_.renew_lease(never);
    table_.begin_write(1);
    table_.restart(epoch + 1, 1000);
    EXPECT_EQ(table_.valid_until_ns(), 0U);
    EXPECT_EQ(table_.epoch(), epoch + 1);
    EXPECT_EQ(table_.writers_of(1), 0U);
    EXPECT_EQ(check({1}, 999, epoch + 1), Verdict::below_floor);
    EXPECT_EQ(check({1}, 1000, epoch), Verdict::other_epoch);
    EXPECT_EQ(check({1}, 1000, epoch + 1), Verdict::fresh);
}

TEST_F(ClockTableTest, TheLeaseRunsOutByItself) {
    const std::vector<Tag> tags = {1};
    EXPECT_EQ(table_.check(tags, 100, epoch), Verdict::lease_expired);
    table_.renew_lease(monotonic_ns() + 60'000'000'000);
    EXPECT_EQ(table_.check(tags, 100, epoch), Verdict::fresh);
    EXPECT_EQ(table_.check(tags, 99, epoch), Verdict::below_floor);
    // Within the coarse clock's error it has run out already: never later than promised.
    table_.renew_lease(monotonic_ns());
    EXPECT_EQ(table_.check(tags, 100, epoch), Verdict::lease_expired);
    EXPECT_EQ(table_.check_unleased(tags, 100, epoch), Verdict::fresh);
}

TEST_F(ClockTableTest, WithoutATableNothingIsFresh) {
    const ClockTable none;
    EXPECT_FALSE(none.valid());
    EXPECT_EQ(none.check({}, 100, epoch), Verdict::no_clock);
    EXPECT_EQ(none.check_unleased({}, 100, epoch), Verdict::no_clock);
}

TEST_F(ClockTableTest, ANewTableVouchesForNothing) {
    const ClockTable table = ClockTable::format(memory_.span(), 64).value();
    EXPECT_EQ(table.check_unleased({}, UINT64_MAX - 1, 0), Verdict::below_floor);
    EXPECT_EQ(table.check({}, UINT64_MAX, 0), Verdict::lease_expired);
}

TEST_F(ClockTableTest, AReaderSeesWhatTheWriterWrites) {
    const ClockTable reader = ClockTable::attach(memory_.span()).value();
    EXPECT_EQ(reader.slot_count(), 64U);
    table_.begin_write(5);
    EXPECT_EQ(reader.writers_of(5), 1U);
}

TEST_F(ClockTableTest, WhatIsNoTableIsRefused) {
    const auto code = [](std::span<const std::byte> bytes) {
        return ClockTable::attach(bytes).status().code();
    };
    EXPECT_EQ(code({}), StatusCode::corrupt);
    EXPECT_EQ(code(memory_.span().first(100)), StatusCode::corrupt);
    EXPECT_EQ(code(memory_.span().first(memory_.span().size() - 1)), StatusCode::corrupt);
    EXPECT_EQ(code(memory_.span()), StatusCode::ok);
    memory_.span()[8] = std::byte{2};
    EXPECT_EQ(code(memory_.span()), StatusCode::version_mismatch);
    memory_.span()[8] = std::byte{1};
    for (const std::uint32_t slots : {0U, 3U, 128U, 1U << 25, UINT32_MAX}) {
        std::memcpy(memory_.span().data() + 12, &slots, sizeof(slots));
        EXPECT_EQ(code(memory_.span()), StatusCode::corrupt) << slots;
    }
    memory_.span()[0] = std::byte{0};
    EXPECT_EQ(code(memory_.span()), StatusCode::corrupt);
    EXPECT_FALSE(ClockTable::format(memory_.span(), 63).ok());
    EXPECT_FALSE(ClockTable::format(memory_.span(), 0).ok());
    EXPECT_FALSE(ClockTable::format(memory_.span(), 128).ok());
    EXPECT_FALSE(ClockTable::format(memory_.span(), 1U << 25).ok());
}

// ---- the order of reads and writes, by racing ----------------------------------------------------

// The rule itself: a reader that finds an entry fresh never has a state that was replaced before it looked.
TEST_F(ClockTableTest, NoReaderFindsAReplacedStateFresh) {
    constexpr Tag tag = 3;
    constexpr int writes = 30'000;
    std::atomic<std::uint64_t> visible{floor_at};       // the clock of the visible state
    std::atomic<std::uint64_t> acknowledged{floor_at};  // of the last commit that returned
    std::atomic<bool> stop{false};
    std::atomic<int> stale{0};
    std::atomic<int> fresh{0};
    std::thread writer([&] {
        for (int i = 0; i < writes; ++i) {
            const std::uint64_t clock = visible.load(std::memory_order_relaxed) + 1;
            table_.begin_write(tag);
            visible.store(clock, std::memory_order_seq_cst);
            table_.end_write(tag, clock);
            acknowledged.store(clock, std::memory_order_seq_cst);
        }
        stop.store(true);
    });
    std::thread reader([&] {
        const std::vector<Tag> tags = {tag};
        while (!stop.load()) {
            // An entry of the state seen a moment ago; by now a newer one may have been acknowledged.
            const std::uint64_t stamp = visible.load(std::memory_order_seq_cst);
            const std::uint64_t before = acknowledged.load(std::memory_order_seq_cst);
            if (table_.check_unleased(tags, stamp, epoch) != Verdict::fresh) continue;
            fresh.fetch_add(1);
            if (stamp < before) stale.fetch_add(1);
        }
    });
    writer.join();
    reader.join();
    EXPECT_EQ(stale.load(), 0);
}

// A crash in mid-commit: `writers` stays up until the restart, whose floor is in force before it comes down.
TEST_F(ClockTableTest, ARestartNeverRevivesAnEntry) {
    constexpr Tag tag = 3;
    std::atomic<std::uint64_t> dead_below{0};
    std::atomic<std::uint64_t> current{floor_at};
    std::atomic<bool> stop{false};
    std::atomic<int> revived{0};
    std::thread authority([&] {
        for (std::uint64_t life = 1; life <= 3000; ++life) {
            table_.begin_write(tag);
            // The change is visible, and then everything dies.
            dead_below.store(life * 1000, std::memory_order_seq_cst);
            table_.restart(epoch, life * 1000);
            current.store(life * 1000, std::memory_order_seq_cst);
        }
        stop.store(true);
    });
    std::thread reader([&] {
        const std::vector<Tag> tags = {tag};
        while (!stop.load()) {
            const std::uint64_t stamp = current.load(std::memory_order_seq_cst);
            const std::uint64_t dead = dead_below.load(std::memory_order_seq_cst);
            if (table_.check_unleased(tags, stamp, epoch) == Verdict::fresh && stamp < dead) {
                revived.fetch_add(1);
            }
        }
    });
    authority.join();
    reader.join();
    EXPECT_EQ(revived.load(), 0);
}

}  // namespace
}  // namespace tiercache
