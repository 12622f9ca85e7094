// Views: a value read where it lies stays there for as long as it is held, by a process that is alive, and no
// longer.
#include <gtest/gtest.h>

#include <memory>

#include "shm_cache/process_table.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

class ViewTest : public ::testing::Test {
 public:
    ViewTest() : segment_(Segment::create(name_, tiny_segment()).value()) {}

    static StatusCode view_of(Segment& segment, std::uint64_t key, ValueView& view) {
        std::array<Tag, max_entry_tags> tags{};
        const Bytes bytes = key_of(key);
        return segment.get_view(hash_key(bytes), bytes, tags, view);
    }
    static bool whole(const ValueView& view, std::uint64_t key, std::uint64_t sequence, std::size_t length) {
        return std::ranges::equal(view.stored, payload_of(key, sequence, length));
    }
    // Puts until every block was reclaimed several times over, but those that are pinned.
    void evict_everything() {
        const std::uint64_t until = segment_.stats().reclaimed_blocks + 3 * segment_.stats().block_count;
        for (int i = 0; segment_.stats().reclaimed_blocks < until; ++i) {
            ASSERT_LT(i, 100'000);
            ASSERT_TRUE(segment_.put(oracle_entry(next_key_, next_key_, 300)).ok());
            ++next_key_;
        }
    }

    SegmentName name_;
    Segment segment_;
    std::uint64_t next_key_ = 1'000'000;
};

TEST_F(ViewTest, AValueIsSeenWhereItLies) {
    EntryFields fields;
    fields.stamp = 7;
    const std::vector<Tag> tags = {3, 4};
    const Bytes key = key_of(1);
    ASSERT_TRUE(segment_.put(entry_of(key, payload_of(1, 2, 100), fields, tags)).ok());
    std::array<Tag, max_entry_tags> tags_out{};
    ValueView view;
    EXPECT_FALSE(view.held());
    ASSERT_EQ(segment_.get_view(hash_key(key), key, tags_out, view), StatusCode::ok);
    EXPECT_TRUE(view.held());
    EXPECT_TRUE(whole(view, 1, 2, 100));
    EXPECT_EQ(view.fields.stamp, 7U);
    EXPECT_EQ(view.raw_length, 100U);
    ASSERT_EQ(view.tag_count, 2U);
    EXPECT_EQ(tags_out[1], 4U);
    // It is the entry of that moment: what is put meanwhile lies elsewhere.
    ASSERT_TRUE(segment_.put(oracle_entry(1, 3, 100)).ok());
    EXPECT_TRUE(whole(view, 1, 2, 100));
    EXPECT_EQ(view_of(segment_, 2, view), StatusCode::not_found);
    EXPECT_FALSE(view.held());
}

TEST_F(ViewTest, WhatIsHeldStaysAndWhatIsReleasedGoes) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    ValueView view;
    ASSERT_EQ(view_of(segment_, 1, view), StatusCode::ok);
    evict_everything();
    EXPECT_TRUE(whole(view, 1, 1, 500));
    const std::span<const std::byte> there = view.stored;
    view.release();
    EXPECT_FALSE(view.held());
    evict_everything();
    EXPECT_FALSE(std::ranges::equal(there, payload_of(1, 1, 500)));
    EXPECT_TRUE(look_up(segment_, 1).ok);
}

TEST_F(ViewTest, AMovedViewHoldsOnce) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    ValueView first;
    ASSERT_EQ(view_of(segment_, 1, first), StatusCode::ok);
    ValueView second(std::move(first));
    EXPECT_TRUE(second.held());
    {
        ValueView third;
        third = std::move(second);
        EXPECT_TRUE(third.held());
        evict_everything();
        EXPECT_TRUE(whole(third, 1, 1, 500));
        second = std::move(third);
    }
    evict_everything();
    EXPECT_TRUE(whole(second, 1, 1, 500));
}

TEST_F(ViewTest, TheyAreBoundedAndWritersHaveTheirOwnPins) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    std::array<ValueView, views_per_process> views;
    for (ValueView& view : views) ASSERT_EQ(view_of(segment_, 1, view), StatusCode::ok);
    ValueView more;
    EXPECT_EQ(view_of(segment_, 1, more), StatusCode::busy);
    EXPECT_FALSE(more.held());
    EXPECT_TRUE(look_up(segment_, 1).ok);
    evict_everything();
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 50)).ok());
    views[3].release();
    EXPECT_EQ(view_of(segment_, 1, more), StatusCode::ok);
    EXPECT_TRUE(whole(more, 1, 2, 50));
    EXPECT_TRUE(whole(views[0], 1, 1, 50));
}

// The child says with its exit status whether its value was whole at the end.
TEST_F(ViewTest, AStoppedHoldersValueStays) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    Signal held;
    Signal check;
    ChildProcess child([&] {
        Segment mine = Segment::open(name_).value();
        ValueView view;
        if (view_of(mine, 1, view) != StatusCode::ok) return 1;
        held.send();
        check.wait();
        return whole(view, 1, 1, 500) ? 0 : 2;
    });
    held.wait();
    child.stop();
    evict_everything();
    child.go_on();
    check.send();
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(ViewTest, AKilledHoldersBlockIsReused) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    ValueView view;
    ASSERT_EQ(view_of(segment_, 1, view), StatusCode::ok);
    const std::span<const std::byte> there = view.stored;
    Signal held;
    Signal never;
    ChildProcess child([&] {
        Segment mine = Segment::open(name_).value();
        ValueView own;
        if (view_of(mine, 1, own) != StatusCode::ok) return 1;
        held.send();
        never.wait();
        return 0;
    });
    held.wait();
    view.release();
    evict_everything();
    EXPECT_TRUE(std::ranges::equal(there, payload_of(1, 1, 500)));
    EXPECT_EQ(child.kill_and_wait(), 128 + SIGKILL);
    evict_everything();
    EXPECT_FALSE(std::ranges::equal(there, payload_of(1, 1, 500)));
}

TEST_F(ViewTest, AForkedChildHasNothingAndTakesNothing) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    auto view = std::make_unique<ValueView>();
    ASSERT_EQ(view_of(segment_, 1, *view), StatusCode::ok);
    ChildProcess child([&] {
        if (view->held()) return 1;
        view.reset();
        ValueView own;
        return view_of(segment_, 1, own) == StatusCode::ok && own.held() ? 0 : 2;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(view->held());
    evict_everything();
    EXPECT_TRUE(whole(*view, 1, 1, 500));
}

TEST_F(ViewTest, AValueInPartsIsTooLarge) {
    const Bytes key = key_of(1);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, segment_.stats().block_bytes + 1)).ok());
    ValueView view;
    EXPECT_EQ(view_of(segment_, 1, view), StatusCode::too_large);
    EXPECT_FALSE(view.held());
}

}  // namespace
}  // namespace tiercache
