// Reclamation, pins, take-over, and the index's housekeeping, seen from the inside: the tests look at block
// states and play processes that stopped or died at a given step.
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "shm_cache/layout.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/reclaim.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

class ReclaimTest : public ::testing::Test {
 public:
    ReclaimTest()
        : memory_(tiny_segment().size_bytes),
          segment_(Segment::format(memory_.span(), tiny_segment()).value()),
          geometry_(read_geometry(base(), memory_.span().size(), lock_file_).value()),
          blocks_(base(), geometry_),
          index_(base(), geometry_, blocks_) {}

    std::byte* base() { return memory_.span().data(); }
    ProcessTable other_process(std::uint32_t slot) { return ProcessTable::join(base(), geometry_, slot); }

    // Puts until the open block has moved on `blocks` times.
    void fill(std::uint64_t blocks) {
        for (std::uint64_t moved = 0; moved < blocks;) {
            const BlockLife before = open_block(base());
            ASSERT_TRUE(segment_.put(oracle_entry(next_key_, next_key_, 200)).ok());
            ++next_key_;
            if (!(open_block(base()) == before)) ++moved;
        }
    }

    // Every block is in one state, and the numbers add up.
    void expect_blocks_in_order() { EXPECT_EQ(check_blocks(base(), blocks_), ""); }

    void expect_only_whole_entries() {
        for (std::uint64_t key = 0; key < next_key_; ++key) ASSERT_TRUE(look_up(segment_, key).ok) << key;
    }

    OwnMemory memory_;
    std::uint64_t lock_file_ = 0;
    Segment segment_;
    Geometry geometry_;
    BlockTable blocks_;
    Index index_;
    std::uint64_t next_key_ = 0;
};

TEST_F(ReclaimTest, TheOldestBlocksGoFirst) {
    fill(std::uint64_t{10} * blocks_.count());
    expect_blocks_in_order();
    expect_only_whole_entries();
    const SegmentStats stats = segment_.stats();
    EXPECT_GE(stats.free_blocks, 1U);
    EXPECT_GT(stats.reclaimed_blocks, 8U * blocks_.count());
    EXPECT_EQ(stats.items + stats.evicted_items, next_key_);
    // The newest items are all there, from the last one back to some point; none before it is.
    std::uint64_t key = next_key_;
    while (key > 0 && look_up(segment_, key - 1).hit) --key;
    EXPECT_GT(next_key_ - key, (blocks_.count() - 4) * geometry_.block_bytes / 400);
    EXPECT_EQ(stats.items, next_key_ - key);
}

TEST_F(ReclaimTest, NothingIsReclaimedBeforeItMust) {
    fill(blocks_.count() - 4);
    EXPECT_EQ(segment_.stats().reclaimed_blocks, 0U);
    EXPECT_EQ(segment_.stats().evicted_items, 0U);
}

TEST_F(ReclaimTest, APinnedBlockIsLeftAlone) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    ProcessTable writer = other_process(3);
    const BlockLife pinned = open_block(base());
    std::optional<Pin> pin = writer.pin(pinned);
    ASSERT_TRUE(pin);
    fill(std::uint64_t{5} * blocks_.count());
    EXPECT_EQ(blocks_.state(pinned.block),
              (BlockState{pinned.generation, BlockPhase::sealed, {}, new_items}));
    expect_only_whole_entries();
    pin.reset();
    fill(std::uint64_t{2} * blocks_.count());
    EXPECT_GT(blocks_.state(pinned.block).generation, pinned.generation);
}

TEST_F(ReclaimTest, APinOfAnotherLifeHoldsNothing) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    ProcessTable writer = other_process(3);
    const BlockLife open = open_block(base());
    const std::optional<Pin> pin = writer.pin({open.block, open.generation - 2});
    fill(std::uint64_t{3} * blocks_.count());
    EXPECT_GE(blocks_.state(open.block).generation, open.generation + 4);
}

TEST_F(ReclaimTest, WithEveryBlockPinnedAPutFailsAndReadersGoOn) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    ProcessTable writer = other_process(3);
    std::vector<Pin> pins;
    Status status;
    for (std::uint32_t i = 0; i < 1000 && status.ok(); ++i) {
        const BlockLife open = open_block(base());
        if (pins.size() < blocks_.count()) {
            std::optional<Pin> pin = writer.pin(open);
            ASSERT_TRUE(pin);
            pins.push_back(std::move(*pin));
        }
        while (status.ok() && open_block(base()) == open) {
            status = segment_.put(oracle_entry(next_key_, 1, 200));
            if (status.ok()) ++next_key_;
        }
    }
    EXPECT_EQ(status.code(), StatusCode::no_space);
    EXPECT_EQ(segment_.stats().put_failures, 1U);
    std::uint64_t hits = 0;
    for (std::uint64_t key = 0; key < next_key_; ++key) hits += look_up(segment_, key).hit ? 1 : 0;
    // No block was emptied. What is not there fell out of its buckets, which were full of others.
    EXPECT_EQ(segment_.stats().reclaimed_blocks, 0U);
    EXPECT_EQ(hits + segment_.stats().evicted_items, next_key_);
    pins.clear();
    EXPECT_TRUE(segment_.put(oracle_entry(next_key_, 1, 200)).ok());
}

TEST_F(ReclaimTest, MoreWritersThanPinsFailRatherThanWait) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    ProcessTable writer = other_process(3);
    std::vector<Pin> pins;
    for (std::size_t i = 0; i < pins_per_process; ++i) {
        pins.push_back(std::move(*writer.pin(open_block(base()))));
    }
    EXPECT_FALSE(writer.pin(open_block(base())));
    pins.pop_back();
    EXPECT_TRUE(writer.pin(open_block(base())));
}

TEST_F(ReclaimTest, ABlockThatADeadProcessWasReclaimingIsTakenOver) {
    fill(blocks_.count() - 3);
    // The oldest sealed block was being reclaimed by a former life of process slot 5, at R3 and at R5.
    // The slot was given back, or somebody else has it.
    std::optional<ProcessTable> successor;
    for (const std::uint32_t odd : {0U, 1U, 0U}) {
        Owner former;
        {
            ProcessTable victim = other_process(5);
            former = victim.self();
        }
        if (odd == 1) successor.emplace(other_process(5));
        std::uint32_t block = 0;
        while (blocks_.state(block).phase != BlockPhase::sealed) ++block;
        const BlockState state = blocks_.state(block);
        ASSERT_TRUE(blocks_.change(block, state,
                                   {state.generation + odd, BlockPhase::reclaiming, former, new_items}));
        fill(std::uint64_t{2} * blocks_.count());
        EXPECT_GT(blocks_.state(block).generation, state.generation + odd);
        expect_blocks_in_order();
        expect_only_whole_entries();
    }
}

TEST_F(ReclaimTest, ABlockThatALivingProcessReclaimsIsNotTouched) {
    fill(blocks_.count() - 3);
    ProcessTable busy = other_process(5);
    std::uint32_t block = 0;
    while (blocks_.state(block).phase != BlockPhase::sealed) ++block;
    const BlockState state = blocks_.state(block);
    const BlockState held{state.generation, BlockPhase::reclaiming, busy.self(), new_items};
    ASSERT_TRUE(blocks_.change(block, state, held));
    fill(std::uint64_t{3} * blocks_.count());
    EXPECT_EQ(blocks_.state(block), held);
}

// A state word that nobody writes: overwritten, so nobody's.
TEST_F(ReclaimTest, ABlockInAnUnknownPhaseIsTakenOver) {
    fill(blocks_.count() - 3);
    for (const int phase : {0, 5, 7}) {
        for (const std::uint32_t odd : {0U, 1U}) {
            std::uint32_t block = 0;
            while (blocks_.state(block).phase != BlockPhase::sealed) ++block;
            const BlockState state = blocks_.state(block);
            ASSERT_TRUE(blocks_.change(
                block, state, {state.generation + odd, static_cast<BlockPhase>(phase), Owner{0xfff, 7}, {}}));
            fill(std::uint64_t{2} * blocks_.count());
            EXPECT_GT(blocks_.state(block).generation, state.generation + odd) << phase;
            expect_blocks_in_order();
            expect_only_whole_entries();
        }
    }
}

TEST(BlockStateTest, AnOwnerDoesNotReachIntoThePhase) {
    const BlockState state{2, BlockPhase::reclaiming, Owner{0xffff, 0xffff}, {}};
    EXPECT_EQ(BlockState::unpack(state.pack()),
              (BlockState{2, BlockPhase::reclaiming, Owner{0xfff, 0x3fff}, {}}));
}

// A process that opened a block and died before it told anybody.
TEST_F(ReclaimTest, AnOpenBlockThatNobodyNamesIsSealed) {
    fill(1);
    const std::uint32_t orphan = blocks_.count() - 1;
    const BlockState free = blocks_.state(orphan);
    ASSERT_EQ(free.phase, BlockPhase::free);
    ASSERT_TRUE(blocks_.change(orphan, free, {free.generation, BlockPhase::open, {}, new_items}));
    fill(blocks_.count());
    EXPECT_GT(blocks_.state(orphan).generation, free.generation);
    expect_blocks_in_order();
    expect_only_whole_entries();
}

// A process that died after it reserved leaves a hole; one that died before it published leaves an orphan.
TEST_F(ReclaimTest, HolesAndOrphansAreSkipped) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    ProcessTable victim = other_process(5);
    for (int round = 0; round < 100; ++round) {
        const BlockLife open = open_block(base());
        const Bytes key = key_of(1'000'000);
        ItemContent content;
        content.key = key;
        ItemHeader header = content.header();
        if (const std::optional<std::uint32_t> hole = blocks_.reserve(open.block, header.units());
            hole && round % 2 == 1) {
            header.generation = open.generation;
            header.place_hash = 12345;
            header.offset = offset_mark(*hole);
            store_item(blocks_.item(open.block, *hole), header, content);
            blocks_.mark_start(open.block, *hole);
        }
        for (int i = 0; i < 7; ++i) ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    }
    expect_blocks_in_order();
    expect_only_whole_entries();
    EXPECT_EQ(segment_.stats().items + segment_.stats().evicted_items, next_key_);
}

// A slot of an old generation names nothing, even when its bits have come around.
TEST_F(ReclaimTest, AStaleSlotIsAMiss) {
    const Bytes key = key_of(1);
    const KeyHash hash = hash_key(key);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    const BlockLife life = open_block(base());
    const Index::Candidates candidates = index_.candidates(place_hash(hash));
    ASSERT_NE(candidates[0].load(), 0U);
    const BlockState state = blocks_.state(life.block);
    // The same low bits of the generation, 8,192 recycles later.
    ASSERT_TRUE(
        blocks_.change(life.block, state, {state.generation + (1U << 14), state.phase, {}, state.stream}));
    EXPECT_FALSE(look_up(segment_, 1).hit);
    // Recycled just now: even before anything was written.
    ASSERT_TRUE(blocks_.change(life.block, {state.generation + (1U << 14), state.phase, {}, state.stream},
                               {state.generation + 2, state.phase, {}, state.stream}));
    EXPECT_FALSE(look_up(segment_, 1).hit);
    // And while it is being recycled.
    ASSERT_TRUE(blocks_.change(life.block, {state.generation + 2, state.phase, {}, state.stream},
                               {state.generation + 1, BlockPhase::reclaiming, {}, state.stream}));
    EXPECT_FALSE(look_up(segment_, 1).hit);
    ASSERT_TRUE(
        blocks_.change(life.block, {state.generation + 1, BlockPhase::reclaiming, {}, state.stream}, state));
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

TEST_F(ReclaimTest, ScrubbingClearsStaleSlotsAndNoOthers) {
    for (std::uint64_t key = 0; key < 20; ++key) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 30)).ok());
    const BlockLife life = open_block(base());
    Word& slot = index_.candidates(place_hash(hash_key(key_of(999))))[6];
    ASSERT_EQ(slot.load(), 0U);
    slot.store(Slot::of(77, {life.block, life.generation + 2}, 5).pack());
    for (std::uint64_t i = 0; i < geometry_.bucket_count; ++i) index_.scrub();
    EXPECT_EQ(slot.load(), 0U);
    for (std::uint64_t key = 0; key < 20; ++key) EXPECT_TRUE(look_up(segment_, key).hit);
}

// Scrubbing goes around faster than a slot's generation bits.
TEST_F(ReclaimTest, ScrubbingOutrunsTheGenerationBits) {
    std::vector<std::uint64_t> before;
    const std::uint64_t recycles = 8192;
    // share per recycle times the recycles before a wrap covers the index.
    EXPECT_GE((geometry_.bucket_count / 4096 + 1) * recycles, geometry_.bucket_count);
    auto* header = reinterpret_cast<SegmentHeader*>(base());
    const std::uint64_t cursor = header->scrub_cursor.load();
    fill(std::uint64_t{2} * blocks_.count());
    EXPECT_EQ(header->scrub_cursor.load() - cursor, segment_.stats().reclaimed_blocks);
}

// A slot that a dead writer left pending shows nothing, and goes: with the next put of its key, for any other
// item that needs a place, or when its block is recycled.
TEST_F(ReclaimTest, APendingSlotIsAMissAndGoes) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    const Index::Candidates slots = index_.candidates(place_hash(hash_key(key_of(1))));
    const auto pending = [&] { return Slot::unpack(slots[0].load()).visible().as_pending().pack(); };
    const auto tagged = [&] {
        std::uint32_t n = 0;
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) n += slots[i].load() != 0 ? 1 : 0;
        return n;
    };
    const std::uint64_t left = pending();
    slots[0].store(0);
    for (const std::size_t at : {0U, 3U, 13U}) slots[at].store(left);
    EXPECT_FALSE(look_up(segment_, 1).hit);
    EXPECT_FALSE(erase_key(segment_, 1));
    EXPECT_EQ(segment_.stats().items, 0U);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 100)).ok());
    EXPECT_EQ(tagged(), 1U);
    EXPECT_EQ(look_up(segment_, 1).sequence, 2U);
    // Behind a visible one it waits for its block's end, and never shows.
    slots[5].store(left);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 3, 100)).ok());
    EXPECT_TRUE(erase_key(segment_, 1));
    EXPECT_FALSE(look_up(segment_, 1).hit);
    EXPECT_EQ(segment_.stats().items, 0U);
    fill(std::uint64_t{2} * blocks_.count());
    for (std::uint64_t i = 0; i < geometry_.bucket_count; ++i) index_.scrub();
    EXPECT_NE(slots[5].load(), left);
}

// One more at each hit up to 3, then never written again.
TEST_F(ReclaimTest, FrequencyRisesAndSaturates) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    const Word& slot = index_.candidates(place_hash(hash_key(key_of(1))))[0];
    EXPECT_EQ(Slot::unpack(slot.load()).frequency, 0U);
    ASSERT_TRUE(look_up(segment_, 1).hit);
    EXPECT_EQ(Slot::unpack(slot.load()).frequency, 1U);
    int hits = 1;
    for (; hits < 1000 && Slot::unpack(slot.load()).frequency < 3; ++hits) {
        ASSERT_TRUE(look_up(segment_, 1).hit);
    }
    EXPECT_EQ(hits, 3);
    const std::uint64_t saturated = slot.load();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(look_up(segment_, 1).hit);
    EXPECT_EQ(slot.load(), saturated);
    // A new value of the key is as wanted as the old one was.
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 100)).ok());
    EXPECT_EQ(Slot::unpack(slot.load()).frequency, 3U);
}

// A full pair of buckets gives up its least used item.
TEST_F(ReclaimTest, AFullBucketLosesItsLeastUsedItem) {
    std::vector<std::uint64_t> keys;
    const Index::Candidates wanted = index_.candidates(place_hash(hash_key(key_of(0))));
    for (std::uint64_t key = 0; keys.size() < Index::Candidates::count + 1; ++key) {
        const Index::Candidates c = index_.candidates(place_hash(hash_key(key_of(key))));
        if (&c[0] == &wanted[0] || &c[0] == &wanted[7]) keys.push_back(key);
    }
    const std::uint64_t extra = keys.back();
    keys.pop_back();
    for (const std::uint64_t key : keys) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 16)).ok());
    const std::uint64_t unused = keys[5];
    for (const std::uint64_t key : keys) {
        if (key != unused) {
            ASSERT_TRUE(look_up(segment_, key).hit);
        }
    }
    ASSERT_TRUE(segment_.put(oracle_entry(extra, 1, 16)).ok());
    EXPECT_TRUE(look_up(segment_, extra).hit);
    for (const std::uint64_t key : keys) EXPECT_EQ(look_up(segment_, key).hit, key != unused) << key;
    EXPECT_EQ(segment_.stats().evicted_items, 1U);
}

// The reader's second look at the generation: the block is recycled during its copy, by the copy target.
TEST_F(ReclaimTest, AReaderThatIsOvertakenMisses) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    struct Context {
        ReclaimTest* test;
        Bytes buffer;
        int calls = 0;
    } context{this, {}};
    const CopyTarget target{[](void* c, std::size_t bytes) noexcept {
                                auto& self = *static_cast<Context*>(c);
                                ++self.calls;
                                self.buffer.resize(bytes);
                                // Everything is overwritten between the reader's header check and its copy.
                                self.test->fill(std::uint64_t{3} * self.test->blocks_.count());
                                return self.buffer.data();
                            },
                            &context};
    const Bytes key = key_of(0);
    EXPECT_TRUE(segment_.get(hash_key(key), key, target).empty());
    EXPECT_EQ(context.calls, 1);
}

// Recycled at each attempt, and put again: the reader gives up after its retries.
TEST_F(ReclaimTest, AReaderRetriesTwiceAndThenMisses) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    struct Context {
        ReclaimTest* test;
        Bytes buffer;
        int calls = 0;
    } context{this, {}};
    const CopyTarget target{[](void* c, std::size_t bytes) noexcept {
                                auto& self = *static_cast<Context*>(c);
                                ++self.calls;
                                self.buffer.resize(bytes);
                                self.test->fill(std::uint64_t{3} * self.test->blocks_.count());
                                (void)self.test->segment_.put(oracle_entry(0, 2, 200));
                                return self.buffer.data();
                            },
                            &context};
    const Bytes key = key_of(0);
    EXPECT_TRUE(segment_.get(hash_key(key), key, target).empty());
    EXPECT_EQ(context.calls, 3);
    EXPECT_EQ(segment_.stats().misses_torn, 1U);
    EXPECT_EQ(segment_.stats().misses, 1U);
}

}  // namespace
}  // namespace tiercache
