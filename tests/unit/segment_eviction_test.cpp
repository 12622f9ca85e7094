// What goes and what stays: queues, ghosts, classes and expiry, and the races of moving an item.
#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "shm_cache/eviction.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/process_table.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

// ---- the rules -----------------------------------------------------------------------------------

using Use = std::array<StreamUse, stream_count>;

TEST(EvictionRules, APolicyIsOneWord) {
    EvictionPolicy policy{1, 2, 3, 4, false, true, 0, true, false};
    EXPECT_EQ(EvictionPolicy::unpack(policy.pack()), policy);
    policy = {255, 0, 255, 0, true, false, 3, false, true};
    EXPECT_EQ(EvictionPolicy::unpack(policy.pack()), policy);
}

TEST(EvictionRules, NothingReadyNothingChosen) {
    Use use{};
    use[Stream{Queue::small, DataClass::hot}.index()] = {5, 0};
    EXPECT_FALSE(choose_stream(use, {}));
}

TEST(EvictionRules, SmallGivesWhileItHasMoreThanItsShare) {
    const Stream small{Queue::small, DataClass::warm};
    const Stream main{Queue::main, DataClass::warm};
    Use use{};
    use[small.index()] = {20, 19};
    use[main.index()] = {80, 79};
    EXPECT_EQ(choose_stream(use, {}), small);
    use[small.index()] = {5, 4};
    EXPECT_EQ(choose_stream(use, {}), main);
    use[main.index()].ready = 0;
    EXPECT_EQ(choose_stream(use, {}), small);
}

TEST(EvictionRules, ColdGoesFirstAndReferenceLast) {
    Use use{};
    for (std::size_t c = 0; c < class_count; ++c) {
        use[Stream{Queue::small, static_cast<DataClass>(c)}.index()] = {10, 9};
    }
    for (const DataClass next : {DataClass::cold, DataClass::warm, DataClass::hot, DataClass::reference}) {
        const std::optional<Stream> chosen = choose_stream(use, {});
        ASSERT_TRUE(chosen);
        EXPECT_EQ(chosen->data_class, next);
        use[chosen->index()].ready = 0;
    }
    // Nobody starves: at more than eight times the blocks of cold, reference gives.
    use[Stream{Queue::small, DataClass::cold}.index()] = {2, 1};
    use[Stream{Queue::small, DataClass::reference}.index()] = {17, 1};
    EXPECT_EQ(choose_stream(use, {})->data_class, DataClass::reference);
}

// ---- a segment -----------------------------------------------------------------------------------

class EvictionTest : public ::testing::Test {
 public:
    explicit EvictionTest(SegmentOptions options = tiny_segment())
        : memory_(options.size_bytes),
          segment_(Segment::format(memory_.span(), options).value()),
          geometry_(read_geometry(base(), memory_.span().size(), lock_file_).value()),
          blocks_(base(), geometry_),
          index_(base(), geometry_, blocks_) {}

    std::byte* base() { return memory_.span().data(); }

    Status put(std::uint64_t key, const EntryFields& fields = {}, std::uint64_t sequence = 1) {
        return segment_.put(entry_of(key_of(key), payload_of(key, sequence, 200), fields));
    }
    // Keys that nobody asks for again.
    void scan(std::uint64_t count, const EntryFields& fields = {}) {
        for (std::uint64_t i = 0; i < count; ++i) ASSERT_TRUE(put(next_++, fields).ok());
    }
    Index::Candidates slots_of(std::uint64_t key) {
        return index_.candidates(place_hash(hash_key(key_of(key))));
    }
    // The slot of a key that is there.
    Index::ItemSlot slot_of(std::uint64_t key) {
        const KeyHash hash = hash_key(key_of(key));
        const Index::Candidates slots = slots_of(key);
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
            const Slot slot = Slot::unpack(slots[i].load());
            if (slot.tag == slot_tag(hash) && index_.live(slot)) return {&slots[i], slot};
        }
        return {};
    }
    Queue queue_of(std::uint64_t key) { return blocks_.state(slot_of(key).seen.block).stream.queue; }
    std::uint64_t slots_in_use(std::uint64_t key) {
        std::uint64_t in_use = 0;
        const Index::Candidates slots = slots_of(key);
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) in_use += slots[i].load() != 0 ? 1 : 0;
        return in_use;
    }
    // A copy of the key's item at another place of the open block, not yet published.
    struct Copy {
        BlockLife life;
        std::uint32_t offset;
    };
    Copy copy_of(const Index::ItemSlot& slot) {
        const BlockLife open = open_block(base());
        const Word* from = blocks_.item(slot.seen.block, slot.seen.offset);
        const std::uint64_t units = load_item_header(from).units();
        const std::uint32_t offset = blocks_.reserve(open.block, units).value();
        copy_item(from, blocks_.item(open.block, offset), units, open.generation, offset_mark(offset));
        blocks_.mark_start(open.block, offset);
        return {open, offset};
    }

    OwnMemory memory_;
    std::uint64_t lock_file_ = 0;
    Segment segment_;
    Geometry geometry_;
    BlockTable blocks_;
    Index index_;
    std::uint64_t next_ = 1'000'000;
};

TEST_F(EvictionTest, WhatIsUsedOutlivesAScan) {
    for (std::uint64_t key = 0; key < 20; ++key) {
        ASSERT_TRUE(put(key).ok());
        ASSERT_TRUE(look_up(segment_, key).hit);
    }
    scan(2000);
    for (std::uint64_t key = 0; key < 20; ++key) {
        const Lookup found = look_up(segment_, key);
        EXPECT_TRUE(found.hit && found.ok) << key;
        EXPECT_EQ(queue_of(key), Queue::main);
    }
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

// What was wanted once and never again goes in the end.
TEST_F(EvictionTest, MainForgetsToo) {
    for (std::uint64_t key = 0; key < 300; ++key) {
        ASSERT_TRUE(put(key).ok());
        ASSERT_TRUE(look_up(segment_, key).hit);
    }
    for (std::uint64_t key = 1000; key < 3000; ++key) {
        ASSERT_TRUE(put(key).ok());
        ASSERT_TRUE(look_up(segment_, key).hit);
    }
    for (std::uint64_t key = 0; key < 300; ++key) EXPECT_FALSE(look_up(segment_, key).hit) << key;
}

TEST_F(EvictionTest, AGhostComesBackToMain) {
    ASSERT_TRUE(put(1).ok());
    EXPECT_EQ(queue_of(1), Queue::small);
    for (int i = 0; i < 1000 && slot_of(1).word != nullptr; ++i) scan(1);
    ASSERT_FALSE(look_up(segment_, 1).hit);
    ASSERT_TRUE(put(1).ok());
    EXPECT_EQ(queue_of(1), Queue::main);
    // A new value of an item in main stays there; the ghost is used up.
    ASSERT_TRUE(put(1, {}, 2).ok());
    EXPECT_EQ(queue_of(1), Queue::main);
    ASSERT_TRUE(erase_key(segment_, 1));
    ASSERT_TRUE(put(1).ok());
    EXPECT_EQ(queue_of(1), Queue::small);
}

TEST_F(EvictionTest, GhostsAreTheLastFourOfABucket) {
    const KeyHash hash = hash_key(key_of(7));
    const std::uint64_t place = place_hash(hash);
    for (std::uint16_t other = 1; other <= 3; ++other) {
        index_.remember(place, slot_tag(hash), 1);
        for (std::uint16_t i = 0; i < other; ++i)
            index_.remember(place, static_cast<std::uint16_t>(slot_tag(hash) + 1 + i), 1);
        EXPECT_TRUE(index_.recall(hash, 1)) << other;
        EXPECT_FALSE(index_.recall(hash, 1)) << other;
    }
    index_.remember(place, slot_tag(hash), 1);
    for (std::uint16_t i = 0; i < 4; ++i)
        index_.remember(place, static_cast<std::uint16_t>(slot_tag(hash) + 1 + i), 1);
    EXPECT_FALSE(index_.recall(hash, 1));
}

// Four for a bucket, so 4 / 2^sharing of as many as such items have room.
TEST_F(EvictionTest, BucketsShareTheGhostsOfLongItems) {
    const std::uint64_t room = std::uint64_t{geometry_.units_per_block()} * geometry_.block_count;
    const std::uint64_t buckets = index_.bucket_count();
    const auto shared_where = [&](std::uint64_t items) { return index_.ghost_sharing(room / items); };
    EXPECT_EQ(shared_where(100 * buckets), 0U);
    EXPECT_EQ(shared_where(4 * buckets), 0U);
    EXPECT_EQ(shared_where(2 * buckets), 1U);
    EXPECT_EQ(shared_where(buckets / 4), 4U);
    // Of lengths that no item has, in a damaged segment.
    for (const std::uint64_t units : {std::uint64_t{0}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        EXPECT_LT(index_.ghost_sharing(units), 64U);
        const KeyHash hash = hash_key(key_of(7));
        index_.remember(place_hash(hash), slot_tag(hash), units);
        EXPECT_TRUE(index_.recall(hash, units));
        EXPECT_FALSE(index_.recall(hash, units));
    }
}

// But for the few that they share.
TEST_F(EvictionTest, LongItemsThatComeOnceDoNotPushOutTheGhostsOfShortOnes) {
    constexpr std::uint64_t count = 50;
    const std::uint64_t block = geometry_.units_per_block();
    ASSERT_GE(index_.ghost_sharing(block), 3U);
    for (std::uint64_t key = 0; key < count; ++key) {
        const KeyHash hash = hash_key(key_of(key));
        index_.remember(place_hash(hash), slot_tag(hash), 1);
    }
    for (std::uint64_t key = 1000; key < 2000; ++key) {
        const KeyHash hash = hash_key(key_of(key));
        index_.remember(place_hash(hash), slot_tag(hash), block);
    }
    std::uint64_t left = 0;
    for (std::uint64_t key = 0; key < count; ++key) left += index_.recall(hash_key(key_of(key)), 1) ? 1 : 0;
    EXPECT_GT(left, count / 2);
}

TEST_F(EvictionTest, ABlockOfExpiredItemsGoesFirstAndNoneIsKept) {
    EntryFields lasting;
    lasting.data_class = DataClass::cold;
    for (std::uint64_t key = 0; key < 15; ++key) ASSERT_TRUE(put(key, lasting).ok());
    EntryFields expired;
    expired.lifetime.received_at_ns = 1;
    expired.lifetime.hard_ttl_ms = 1;
    for (std::uint64_t key = 100; key < 130; ++key) {
        ASSERT_TRUE(put(key, expired).ok());
        ASSERT_TRUE(look_up(segment_, key).hit);
    }
    // Enough to need room for the first time and once more.
    while (segment_.stats().reclaimed_blocks < 2) scan(1);
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.expired_blocks, 2U);
    EXPECT_GE(stats.expired_items, 15U);
    EXPECT_EQ(stats.evicted_items, 0U);
    for (std::uint64_t key = 0; key < 15; ++key) EXPECT_TRUE(look_up(segment_, key).hit) << key;
}

TEST_F(EvictionTest, ColdMakesRoomForReference) {
    EntryFields fields;
    fields.data_class = DataClass::reference;
    for (std::uint64_t key = 0; key < 60; ++key) ASSERT_TRUE(put(key, fields).ok());
    fields.data_class = DataClass::cold;
    scan(1000, fields);
    for (std::uint64_t key = 0; key < 60; ++key) EXPECT_TRUE(look_up(segment_, key).hit) << key;
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.evicted_items_reference, 0U);
    EXPECT_GT(stats.evicted_items_cold, 800U);
    // But cold has its share against a flood of reference.
    fields.data_class = DataClass::reference;
    scan(1000, fields);
    fields.data_class = DataClass::cold;
    ASSERT_TRUE(put(1, fields).ok());
    fields.data_class = DataClass::reference;
    scan(20, fields);
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

// A stream that nobody uses costs nothing.
TEST_F(EvictionTest, OneClassHasOneOpenBlock) {
    scan(1000);
    std::uint32_t open = 0;
    for (std::uint32_t b = 0; b < blocks_.count(); ++b) {
        open += blocks_.state(b).phase == BlockPhase::open ? 1 : 0;
    }
    EXPECT_EQ(open, 1U);
    // And one that was used long ago gives its block back.
    EntryFields fields;
    fields.data_class = DataClass::hot;
    ASSERT_TRUE(put(1, fields).ok());
    const BlockLife idle = open_block(base(), {Queue::small, DataClass::hot});
    EXPECT_EQ(blocks_.state(idle.block).phase, BlockPhase::open);
    scan(1000);
    EXPECT_NE(blocks_.state(idle.block).phase, BlockPhase::open);
}

class FourBlocksTest : public EvictionTest {
 public:
    FourBlocksTest() : EvictionTest(options()) {}
    static SegmentOptions options() {
        SegmentOptions o = tiny_segment();
        o.block_bytes = std::size_t{8} << 10;
        o.process_slots = 32;
        return o;
    }
};

// Fewer blocks than streams: everything still goes on.
TEST_F(FourBlocksTest, AllClassesInFewBlocks) {
    ASSERT_LE(blocks_.count(), 7U);
    for (std::uint64_t i = 0; i < 4000; ++i) {
        EntryFields fields;
        fields.data_class = static_cast<DataClass>(mix(i) % 4);
        ASSERT_TRUE(put(i % 300, fields, i).ok()) << i;
        const Lookup found = look_up(segment_, i % 300);
        ASSERT_TRUE(found.hit && found.ok && found.sequence == i) << i;
        ASSERT_TRUE(look_up(segment_, mix(i) % 300).ok);
    }
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

// Everything is hot: reclamation still ends, and each put still finds room.
TEST_F(EvictionTest, WhenEverythingIsUsedSomethingGoesAllTheSame) {
    for (std::uint64_t i = 0; i < 3000; ++i) {
        ASSERT_TRUE(put(i % 500, {}, i).ok()) << i;
        for (std::uint64_t back = 0; back < std::min<std::uint64_t>(i, 40); ++back) {
            ASSERT_TRUE(look_up(segment_, (i - back) % 500).ok);
        }
    }
    EXPECT_EQ(segment_.stats().put_failures, 0U);
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

// ---- moving an item: the slot decides ------------------------------------------------------------

TEST_F(EvictionTest, AMovedItemIsFoundAtItsNewPlace) {
    ASSERT_TRUE(put(1).ok());
    const Index::ItemSlot slot = slot_of(1);
    const Copy copy = copy_of(slot);
    // A reader's note in between does not lose the item.
    ASSERT_TRUE(look_up(segment_, 1).hit);
    EXPECT_TRUE(Index::move_item(slot, copy.life, copy.offset, EvictionPolicy{}));
    EXPECT_EQ(slot_of(1).seen.offset, copy.offset);
    EXPECT_TRUE(look_up(segment_, 1).ok);
    // A second reclaimer is too late.
    EXPECT_FALSE(Index::move_item(slot, copy.life, copy.offset + 1, EvictionPolicy{}));
    EXPECT_FALSE(Index::evict_item(slot));
    EXPECT_EQ(segment_.stats().items, 1U);
}

TEST_F(EvictionTest, WhatWasReplacedErasedOrClearedDoesNotComeBack) {
    for (const int what : {0, 1, 2}) {
        ASSERT_TRUE(put(1, {}, 1).ok());
        const Index::ItemSlot slot = slot_of(1);
        const Copy copy = copy_of(slot);
        if (what == 0) {
            ASSERT_TRUE(put(1, {}, 2).ok());
        }
        if (what == 1) {
            ASSERT_TRUE(erase_key(segment_, 1));
        }
        if (what == 2) (void)segment_.clear();
        EXPECT_FALSE(Index::move_item(slot, copy.life, copy.offset, EvictionPolicy{})) << what;
        const Lookup found = look_up(segment_, 1);
        EXPECT_EQ(found.hit, what == 0);
        EXPECT_EQ(found.sequence, what == 0 ? 2U : 0U);
        // The copy that nobody names is skipped when its block goes.
        (void)segment_.clear();
    }
    scan(1000);
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

// A put in the middle of a move: between its search and its CAS the item went to another place.
TEST_F(EvictionTest, PutsAndMovesOfOneKeyAgree) {
    ASSERT_TRUE(put(1, {}, 0).ok());
    std::atomic<bool> stop{false};
    std::thread mover([&] {
        while (!stop.load()) {
            const Index::ItemSlot slot = slot_of(1);
            if (slot.word == nullptr) continue;
            // The same item, as if it lay at its own place again: only frequency changes.
            const auto block = static_cast<std::uint32_t>(slot.seen.block);
            (void)Index::move_item(slot, {block, blocks_.state(block).generation}, slot.seen.offset,
                                   EvictionPolicy{});
        }
    });
    std::uint64_t wrong = 0;
    for (std::uint64_t i = 1; i < 20'000; ++i) {
        if (!put(1, {}, i).ok()) continue;
        const Lookup found = look_up(segment_, 1);
        wrong += !found.ok || (found.hit && found.sequence != i) ? 1 : 0;
    }
    stop.store(true);
    mover.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_LE(segment_.stats().items, 1U);
}

// A block that is recycled right after the item was copied out of it, while a writer or an eraser of the key
// is between its look at the slot and its look at the block: it must not take the key for absent.
TEST_F(EvictionTest, AKeyThatIsMovedIsNotTakenForAbsent) {
    ASSERT_TRUE(put(1).ok());
    const Bytes key = key_of(1);
    const KeyHash hash = hash_key(key);
    const Index::ItemSlot first = slot_of(1);
    const Word* item = blocks_.item(first.seen.block, first.seen.offset);
    const std::uint64_t units = load_item_header(item).units();
    // Copies in two blocks that nobody uses, in turn; the item goes from one to the next, and never back.
    constexpr std::uint32_t generation = 100;
    constexpr std::uint32_t moves = 8;
    std::array<BlockState, 2> states;
    for (std::uint32_t i = 0; i < 2; ++i) {
        const std::uint32_t block = blocks_.count() - 1 - i;
        states[i] = {generation, BlockPhase::sealed, {}, new_items};
        ASSERT_TRUE(blocks_.change(block, blocks_.state(block), states[i]));
    }
    std::array<std::uint64_t, moves + 2> words{};
    for (std::uint32_t i = 0; i < words.size(); ++i) {
        const std::uint32_t block = blocks_.count() - 1 - i % 2;
        const auto offset = static_cast<std::uint32_t>(i * units);
        copy_item(item, blocks_.item(block, offset), units, generation, offset_mark(offset));
        words[i] = Slot::of(first.seen.tag, {block, generation}, offset).pack();
    }
    const Index::Candidates slots = slots_of(1);
    Word& slot = slots[9];
    first.word->store(0);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    constexpr std::uint32_t rounds = 5'000;
#else
    constexpr std::uint32_t rounds = 50'000;
#endif
    std::atomic<std::uint32_t> begun{0};
    std::atomic<std::uint32_t> ended{0};
    std::thread mover([&] {
        for (std::uint32_t round = 1; round <= rounds; ++round) {
            // Both begin at once where each has a processor; the other one is let in where not.
            for (int looks = 1; begun.load() < round; ++looks) {
                if (looks % 1000 == 0) std::this_thread::yield();
            }
            for (std::uint32_t i = 0; i < moves; ++i) {
                std::uint64_t word = words[i];
                if (!slot.compare_exchange_strong(word, words[i + 1])) break;
                // The old place is recycled; for the sake of the next move it is then what it was.
                const std::uint32_t block = blocks_.count() - 1 - i % 2;
                BlockState recycled = states[i % 2];
                recycled.generation += 2;
                (void)blocks_.change(block, states[i % 2], recycled);
                for (int wait = 0; wait < 20; ++wait) (void)begun.load();
                (void)blocks_.change(block, recycled, states[i % 2]);
            }
            ended.store(round);
        }
    });
    std::uint64_t missed = 0;
    const std::uint64_t absent_before = segment_.stats().misses_absent;
    Bytes copy;
    for (std::uint32_t round = 1; round <= rounds; ++round) {
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) slots[i].store(0);
        slot.store(words[0]);
        begun.store(round);
        if (round % 3 == 0) {
            (void)segment_.get(hash, key, copy_to(copy));
        } else if (round % 3 == 1) {
            missed += index_.erase(hash, key) ? 0 : 1;
        } else {
            Slot displaced;
            missed += index_.publish(hash, key, Slot::unpack(words[moves + 1]), displaced) ? 0 : 1;
            missed += slot.load() == words[moves + 1] && slots_in_use(1) == 1 ? 0 : 1;
        }
        while (ended.load() < round) std::this_thread::yield();
    }
    mover.join();
    EXPECT_EQ(missed, 0U);
    EXPECT_EQ(segment_.stats().misses_absent, absent_before);
}

// ---- one value of a key --------------------------------------------------------------------------

// What a writer left that died before its value was visible never is, whatever becomes of the newer one.
TEST_F(EvictionTest, AnOlderValueDoesNotComeBackWhenTheNewerOneGoes) {
    for (const bool by_eviction : {true, false}) {
        for (const std::size_t at : {5U, 0U}) {
            (void)segment_.clear();
            ASSERT_TRUE(put(1, {}, 1).ok());
            const std::uint64_t older = slot_of(1).seen.as_pending().pack();
            const Index::Candidates slots = slots_of(1);
            slots[0].store(0);
            ASSERT_TRUE(put(1, {}, 2).ok());
            ASSERT_EQ(slot_of(1).word, &slots[0]);
            if (at == 0) slots[7].store(slots[0].exchange(0));
            slots[at].store(older);
            ASSERT_EQ(look_up(segment_, 1).sequence, 2U);
            ASSERT_TRUE(put(1, {}, 3).ok());
            ASSERT_EQ(look_up(segment_, 1).sequence, 3U);
            if (by_eviction) {
                ASSERT_TRUE(Index::evict_item(slot_of(1)));
            } else {
                ASSERT_TRUE(erase_key(segment_, 1));
            }
            EXPECT_FALSE(look_up(segment_, 1).hit) << by_eviction << at;
        }
    }
}

// Writers of one key that is not there, again and again, while other keys come to its slots and go, so that
// the writers choose different ones: when they have returned there is one value, and it is one of theirs.
TEST_F(EvictionTest, WritersOfOneKeyAgreeWhichStays) {
    constexpr std::uint64_t writers = 2;
    constexpr std::uint64_t rounds = 4000;
    ASSERT_TRUE(put(2).ok());
    Slot other = slot_of(2).seen;
    const std::uint16_t tag = slot_tag(hash_key(key_of(1)));
    other.tag = static_cast<std::uint16_t>(tag ^ 0x5555);
    const Index::Candidates slots = slots_of(1);
    std::atomic<bool> stop{false};
    std::thread coming_and_going([&] {
        std::mt19937_64 random(3);
        while (!stop.load()) {
            std::uint64_t from = random() % 2 == 0 ? 0 : other.pack();
            slots[random() % 4].compare_exchange_strong(from, from == 0 ? other.pack() : 0);
        }
    });
    std::barrier round_begins(writers + 1);
    std::barrier round_ends(writers + 1);
    std::vector<std::thread> threads;
    for (std::uint64_t w = 0; w < writers; ++w) {
        threads.emplace_back([&, w] {
            for (std::uint64_t round = 1; round <= rounds; ++round) {
                const Bytes entry = entry_of(key_of(1), payload_of(1, round * writers + w, 50));
                round_begins.arrive_and_wait();
                (void)segment_.put(entry);
                round_ends.arrive_and_wait();
            }
        });
    }
    std::uint64_t wrong = 0;
    for (std::uint64_t round = 1; round <= rounds; ++round) {
        (void)erase_key(segment_, 1);
        round_begins.arrive_and_wait();
        round_ends.arrive_and_wait();
        std::uint64_t values = 0;
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
            values += Slot::unpack(slots[i].load()).tag == tag ? 1 : 0;
        }
        const Lookup found = look_up(segment_, 1);
        wrong += values != 1 || !found.ok || found.sequence / writers != round ? 1 : 0;
    }
    stop.store(true);
    coming_and_going.join();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0U);
}

// ---- others in the way ---------------------------------------------------------------------------

// A process stopped while it evacuates holds that block; the others take another one.
TEST_F(EvictionTest, AStoppedEvacuatorHoldsOneBlock) {
    auto* header = reinterpret_cast<SegmentHeader*>(base());
    while (header->victim.load() == 0) scan(1);
    const BlockLife held = BlockLife::unpack(header->victim.load());
    ProcessTable other = ProcessTable::join(base(), geometry_, 3);
    std::optional<Pin> pin = other.pin(held);
    scan(2000);
    EXPECT_EQ(blocks_.state(held.block), (BlockState{held.generation, BlockPhase::sealed, {}, new_items}));
    EXPECT_GT(segment_.stats().reclaimed_blocks, 50U);
    EXPECT_EQ(segment_.stats().put_failures, 0U);
    pin.reset();
    scan(200);
    EXPECT_GT(blocks_.state(held.block).generation, held.generation);
}

// Nothing is free and main is full: what can't be kept goes, and nothing waits.
TEST_F(EvictionTest, WithoutRoomForCopiesItemsGo) {
    for (std::uint64_t key = 0; key < 30; ++key) {
        ASSERT_TRUE(put(key).ok());
        ASSERT_TRUE(look_up(segment_, key).hit);
    }
    ProcessTable other = ProcessTable::join(base(), geometry_, 3);
    std::vector<Pin> pins;
    // All but three blocks are out of reach, one after the other as they are opened.
    while (pins.size() + 3 < blocks_.count()) {
        const BlockLife open = open_block(base());
        pins.push_back(std::move(*other.pin(open)));
        for (int i = 0; i < 200 && open_block(base()) == open; ++i) {
            ASSERT_TRUE(put(next_).ok());
            ASSERT_TRUE(look_up(segment_, next_++).ok);
        }
    }
    for (int i = 0; i < 500; ++i) {
        const StatusCode code = put(next_).code();
        ASSERT_TRUE(code == StatusCode::ok || code == StatusCode::no_space);
        ASSERT_TRUE(look_up(segment_, next_++).ok);
    }
    pins.clear();
    scan(500);
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

class TidyingTest : public EvictionTest {
 public:
    TidyingTest() : EvictionTest(options()) {}
    static SegmentOptions options() {
        SegmentOptions options;
        options.size_bytes = std::size_t{1} << 20;
        options.block_bytes = std::size_t{8} << 10;
        options.item_bytes_mean = 128;  // an index in which nothing is displaced
        return options;
    }
    // As many keys as take this part of the blocks, of items of one size.
    [[nodiscard]] std::uint64_t keys_that_take(double share) const {
        const std::uint64_t item = 48 + 8 + 200;  // header and fields, key, value
        return static_cast<std::uint64_t>(share * static_cast<double>(geometry_.block_bytes) *
                                          blocks_.count()) /
               item;
    }
    Status overwrite(std::uint64_t key, std::uint64_t sequence) { return put(key * 41, {}, sequence); }
    std::uint64_t count_present(std::uint64_t keys) {
        std::uint64_t present = 0;
        for (std::uint64_t key = 0; key < keys; ++key) present += look_up(segment_, key * 41).hit ? 1 : 0;
        return present;
    }
};

// Data that would fit is not lost to writers that put it again and again, whether it is read or not.
TEST_F(TidyingTest, WritersOfTheSameKeysPushNothingOut) {
    const std::uint64_t keys = keys_that_take(0.6);
    std::mt19937_64 random(7);
    for (std::uint64_t key = 0; key < keys; ++key) ASSERT_TRUE(overwrite(key, 1).ok());
    // Most of the writes go to a few keys: whole blocks die, and others live.
    const auto any = [&] { return random() % 10 < 8 ? random() % (keys / 10) : random() % keys; };
    for (std::uint64_t i = 0; i < keys * 20; ++i) ASSERT_TRUE(overwrite(any(), i).ok());
    const std::uint64_t evicted = segment_.stats().evicted_items;
    for (std::uint64_t key = 0; key < keys; ++key) ASSERT_TRUE(overwrite(key, 2).ok());
    for (std::uint64_t i = 0; i < keys * 20; ++i) ASSERT_TRUE(overwrite(any(), i).ok());
    EXPECT_EQ(segment_.stats().evicted_items, evicted);
    EXPECT_EQ(count_present(keys), keys);
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

// When new keys come after it, memory holds as much as before, and some of it is new.
TEST_F(TidyingTest, AScanAfterItEvicts) {
    const std::uint64_t keys = keys_that_take(0.6);
    for (std::uint64_t i = 0; i < keys * 20; ++i) ASSERT_TRUE(overwrite(i % keys, i).ok());
    const std::uint64_t first = next_;
    scan(keys_that_take(2));
    std::uint64_t present = 0;
    for (std::uint64_t key = first; key < next_; ++key) present += look_up(segment_, key).hit ? 1 : 0;
    EXPECT_GT(present, keys_that_take(0.1));
    EXPECT_GT(present + count_present(keys), keys_that_take(0.8));
    EXPECT_EQ(segment_.stats().put_failures, 0U);
    EXPECT_EQ(check_blocks(base(), blocks_), "");
}

class SmallestBlocksTest : public EvictionTest {
 public:
    SmallestBlocksTest() : EvictionTest(options()) {}
    static SegmentOptions options() {
        SegmentOptions options = tiny_segment();
        options.block_bytes = block_bytes_min;
        return options;
    }
};

// A block of which nearly all is alive is not taken for a half empty one, though a word of its bitmap of
// starts could stand for more than it has: copies would fill what was made free, and a put find no room.
TEST_F(SmallestBlocksTest, NothingIsKeptThatLeavesNoRoom) {
    auto* header = reinterpret_cast<SegmentHeader*>(base());
    EvictionPolicy policy = EvictionPolicy::unpack(header->policy.load());
    policy.small_queue = false;
    policy.adaptive = false;
    header->policy.store(policy.pack());
    std::mt19937_64 random(11);
    for (std::uint64_t i = 1; i < 5000; ++i) {
        const Bytes entry = oracle_entry(random() % 140, i, 16 + random() % 500);
        ASSERT_TRUE(segment_.put(entry).ok()) << i;
    }
}

// Any word for a policy: calls return, and what comes back is whole.
TEST_F(EvictionTest, AnyPolicyEnds) {
    auto* header = reinterpret_cast<SegmentHeader*>(base());
    std::mt19937_64 random(5);
    Actor actor(1, 1000);
    for (int round = 0; round < 100; ++round) {
        header->policy.store(round % 3 == 0 ? 0 : round % 3 == 1 ? UINT64_MAX : random());
        for (int i = 0; i < 200; ++i) ASSERT_EQ(actor.step(segment_), "") << round;
    }
    EXPECT_EQ(segment_.stats().put_failures, 0U);
}

}  // namespace
}  // namespace tiercache
