// Views: a value read where it lies stays there for as long as it is held, by a process that is alive, and no
// longer.
#include <gtest/gtest.h>
#include <sys/time.h>

#include <csignal>
#include <memory>
#include <set>

#include "shm_cache/process_table.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_inside.hpp"
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
    const SegmentStats at_first = segment_.stats();
    ASSERT_EQ(at_first.views_per_process, at_first.block_count / 4);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    std::vector<ValueView> views(at_first.views_per_process);
    for (ValueView& view : views) ASSERT_EQ(view_of(segment_, 1, view), StatusCode::ok);
    EXPECT_EQ(segment_.stats().pins, views.size());
    ValueView more;
    EXPECT_EQ(view_of(segment_, 1, more), StatusCode::busy);
    EXPECT_FALSE(more.held());
    const Lookup copied = look_up(segment_, 1);
    EXPECT_TRUE(copied.hit && copied.ok);
    // Who was told to copy has not missed.
    EXPECT_EQ(segment_.stats().misses, 0U);
    EXPECT_EQ(segment_.stats().hits, views.size() + 1);
    evict_everything();
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 50)).ok());
    views[1].release();
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

// The next process in a dead holder's slot has nothing of its views.
TEST_F(ViewTest, ASlotsNextHolderHoldsNothing) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    Signal held;
    Signal never;
    ChildProcess child([&] {
        Segment mine = Segment::open(name_).value();
        std::vector<ValueView> views(mine.stats().views_per_process);
        for (ValueView& view : views) {
            if (view_of(mine, 1, view) != StatusCode::ok) return 1;
        }
        held.send();
        never.wait();
        return 0;
    });
    held.wait();
    EXPECT_EQ(child.kill_and_wait(), 128 + SIGKILL);
    Segment next = Segment::open(name_).value();
    EXPECT_EQ(segment_.stats().processes, 2U);
    EXPECT_EQ(segment_.stats().pins, 0U);
    std::vector<ValueView> views(next.stats().views_per_process);
    for (ValueView& view : views) EXPECT_EQ(view_of(next, 1, view), StatusCode::ok);
}

// Between the reclaimer's look at the pins and the next generation a view would come too late.
TEST_F(ViewTest, ABlockInReclamationGivesNoView) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 500)).ok());
    const SharedMemory memory = SharedMemory::open(name_, true).value();
    std::uint64_t lock_file = 0;
    const Geometry geometry = read_geometry(memory.bytes().data(), memory.bytes().size(), lock_file).value();
    BlockTable blocks(memory.bytes().data(), geometry);
    const BlockLife life = open_block(memory.bytes().data());
    const BlockState open = blocks.state(life.block);
    const BlockState reclaiming{open.generation, BlockPhase::reclaiming, {}, open.stream};
    ASSERT_TRUE(blocks.change(life.block, open, reclaiming));
    ValueView view;
    EXPECT_EQ(view_of(segment_, 1, view), StatusCode::not_found);
    EXPECT_FALSE(view.held());
    EXPECT_EQ(segment_.stats().pins, 0U);
    EXPECT_TRUE(look_up(segment_, 1).hit);
    ASSERT_TRUE(blocks.change(life.block, reclaiming, open));
    EXPECT_EQ(view_of(segment_, 1, view), StatusCode::ok);
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

// Three processes, one of them stopped, hold three quarters of the blocks in all stages of their reclamation:
// puts go on, and what is read is never anything but what was put.
class HeldViewTest : public ViewTest {
 public:
    static constexpr std::uint64_t keys = 100;

    HeldViewTest() {
        std::vector<std::unique_ptr<Signal>> held;
        for (std::uint64_t seed = 0; seed < 3; ++seed) {
            held.push_back(std::make_unique<Signal>());
            children_.emplace_back([&, seed] { return read(seed, *held[seed]); });
        }
        put(2000);
        for (const auto& signal : held) signal->wait();
        children_[0].stop();
    }
    void put(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            const Status put = segment_.put(oracle_entry(i % keys, i % keys, 300));
            ASSERT_TRUE(put.ok()) << i << ": " << put.to_string();
        }
    }
    void TearDown() override {
        children_[0].go_on();
        usleep(20'000);
        for (ChildProcess& child : children_) EXPECT_EQ(child.kill_and_wait(), 128 + SIGKILL);
        evict_everything();
    }

 private:
    int read(std::uint64_t seed, Signal& held) const {
        Segment mine = Segment::open(name_).value();
        std::vector<ValueView> views(mine.stats().views_per_process);
        std::vector<std::uint64_t> key_of_view(views.size());
        std::mt19937_64 random(seed);
        for (std::uint64_t i = 0;; ++i) {
            const std::size_t v = i % views.size();
            if (views[v].held() && !whole(views[v], key_of_view[v], key_of_view[v], 300)) return 1;
            const std::uint64_t key = random() % keys;
            if (view_of(mine, key, views[v]) == StatusCode::ok) key_of_view[v] = key;
            if (i == 1000) held.send();
        }
    }

    std::vector<ChildProcess> children_;
};

TEST_F(HeldViewTest, WritersGoAround) { put(100'000); }

// Pauses this thread at places that nobody chose, so often that it gets little done in between; not for ever.
class Pauses {
 public:
    Pauses() {
        left = 15'000;
        previous_ = std::signal(SIGALRM, [](int) {
            const int error = errno;
            usleep(100);
            left = left - 1;
            if (left > 0) arm();
            errno = error;
        });
        arm();
    }
    ~Pauses() {
        left = 0;
        const itimerval none{};
        setitimer(ITIMER_REAL, &none, nullptr);
        std::signal(SIGALRM, previous_);
    }
    Pauses(const Pauses&) = delete;
    Pauses& operator=(const Pauses&) = delete;

 private:
    static inline volatile std::sig_atomic_t left = 0;
    void (*previous_)(int) = SIG_DFL;
    static void arm() {
        const itimerval soon{{0, 0}, {0, 7}};
        setitimer(ITIMER_REAL, &soon, nullptr);
    }
};

// The blocks that it chose to empty are pinned meanwhile, time and again.
TEST_F(HeldViewTest, AWriterThatIsPausedAgainAndAgainGoesAround) {
    const Pauses pauses;
    put(20'000);
}

// A block that one writer emptied may be taken by another: the first gets one, too.
TEST(View, WritersOfFewBlocksAreNotRefused) {
    const SegmentName name;
    SegmentOptions options = tiny_segment();
    options.block_bytes = std::size_t{8} << 10;
    const Segment segment = Segment::create(name, options).value();
    std::vector<ChildProcess> writers;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        writers.emplace_back([&, seed] {
            Segment mine = Segment::open(name).value();
            std::mt19937_64 random(seed);
            int refused = 0;
            for (int i = 0; i < 20'000; ++i) {
                const std::uint64_t key = random() % 2000;
                if (!mine.put(oracle_entry(key, key, 300)).ok()) ++refused;
            }
            return std::min(refused, 100);
        });
    }
    int refused = 0;
    for (ChildProcess& writer : writers) refused += writer.wait();
    // It takes as many takings in a row as a put has tries.
    EXPECT_LE(refused, 3);
}

// With all blocks but one pinned, that one is filled and emptied in turn.
TEST(View, OneBlockThatNobodyHoldsIsEnough) {
    SegmentOptions options = tiny_segment();
    options.block_bytes = std::size_t{8} << 10;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    std::uint64_t lock_file = 0;
    const Geometry geometry = read_geometry(memory.span().data(), memory.span().size(), lock_file).value();
    const BlockTable blocks(memory.span().data(), geometry);
    const std::uint64_t count = segment.stats().block_count;
    std::vector<Segment> readers;
    std::vector<ValueView> views;
    std::set<std::uint32_t> pinned;
    for (std::uint64_t key = 0; pinned.size() + 1 < count; ++key) {
        ASSERT_LT(key, 3000U);
        ASSERT_TRUE(segment.put(oracle_entry(key, key, 1000)).ok());
        if (readers.size() == pinned.size()) {
            readers.push_back(Segment::attach(memory.span(), readers.size()).value());
        }
        ValueView view;
        ASSERT_EQ(ViewTest::view_of(readers.back(), key, view), StatusCode::ok);
        const auto* word = reinterpret_cast<const Word*>(view.stored.data());
        if (pinned.insert(blocks.block_of(word)).second) views.push_back(std::move(view));
    }
    const std::uint64_t reclaimed = segment.stats().reclaimed_blocks;
    constexpr std::uint64_t puts = 2000;
    for (std::uint64_t i = 0; i < puts; ++i) {
        ASSERT_TRUE(segment.put(oracle_entry(5000 + i, 1, 1000)).ok()) << i;
    }
    // Once for each block that was filled.
    EXPECT_LT(segment.stats().reclaimed_blocks - reclaimed, puts / 2);
}

TEST_F(ViewTest, WithoutAProcessSlotThereIsNoView) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    std::vector<Segment> others;
    while (segment_.stats().processes < segment_.stats().process_slots) {
        others.push_back(Segment::open(name_).value());
        ASSERT_LT(others.size(), 100U);
    }
    Segment last = Segment::open(name_).value();
    ValueView view;
    EXPECT_EQ(view_of(last, 1, view), StatusCode::busy);
    EXPECT_TRUE(look_up(last, 1).hit);
    others.clear();
}

TEST(View, ALargeSegmentGivesSixteen) {
    SegmentOptions options;
    options.size_bytes = std::size_t{8} << 20;
    options.block_bytes = std::size_t{64} << 10;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    ASSERT_EQ(segment.stats().views_per_process, views_per_process);
    ASSERT_TRUE(segment.put(oracle_entry(1, 1, 50)).ok());
    std::array<ValueView, views_per_process> views;
    for (ValueView& view : views) ASSERT_EQ(ViewTest::view_of(segment, 1, view), StatusCode::ok);
    ValueView more;
    EXPECT_EQ(ViewTest::view_of(segment, 1, more), StatusCode::busy);
}

}  // namespace
}  // namespace tiercache
