// Values in parts: whole or missed, whoever replaces, evicts or dies meanwhile.
#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <thread>

#include "shm_cache/index.hpp"
#include "shm_cache/item.hpp"
#include "shm_cache/parts.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr std::size_t mib = std::size_t{1} << 20;

SegmentOptions small_segment() {
    SegmentOptions options;
    options.size_bytes = 8 * mib;
    options.block_bytes = 64 << 10;
    options.process_slots = 16;
    return options;
}

// Half a block that costs little to make.
Status put_filler(Segment& segment, std::uint64_t number) {
    static const Bytes filler(30'000, std::byte{'f'});
    const Bytes key = key_of(number);
    return segment.put_value(hash_key(key), key, {}, {}, filler, static_cast<std::uint32_t>(filler.size()));
}

class PartsTest : public ::testing::Test {
 public:
    PartsTest()
        : memory_(small_segment().size_bytes),
          segment_(Segment::format(memory_.span(), small_segment()).value()) {}

    // Calls visit(slot word, item, header) for each item of a value in parts.
    template <class Visit>
    void for_each_of_parts(Visit visit) {
        std::uint64_t lock_file = 0;
        const Geometry geometry =
            read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value();
        const BlockTable blocks(memory_.span().data(), geometry);
        const Index index(memory_.span().data(), geometry, blocks);
        index.for_each([&](const Slot& slot) {
            const Word* item = blocks.item(slot.block, slot.offset);
            const ItemHeader header = load_item_header(item);
            if (!header.in_parts()) return true;
            const Index::Candidates candidates = index.candidates(header.place_hash);
            for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
                const Slot other = Slot::unpack(candidates[i].load());
                if (other.block == slot.block && other.offset == slot.offset) {
                    visit(candidates[i], item, header);
                    break;
                }
            }
            return true;
        });
    }
    // Calls visit(slot word, PartKey) for each part.
    template <class Visit>
    void for_each_part(Visit visit) {
        for_each_of_parts([&](Word& slot, const Word* item, const ItemHeader& header) {
            PartKey key{};
            if (read_part_key(item, header, key)) visit(slot, key);
        });
    }
    std::size_t heads() {
        std::size_t count = 0;
        for_each_of_parts([&](Word&, const Word*, const ItemHeader& header) {
            count += (header.flags & item_head) != 0 ? 1 : 0;
        });
        return count;
    }
    // Takes the item out that is the `number`th part of any value, as its reclaimer would.
    void drop_part(std::uint64_t number) {
        int dropped = 0;
        for_each_part([&](Word& slot, const PartKey& key) {
            if (key.number != number) return;
            slot.store(0);
            ++dropped;
        });
        ASSERT_GT(dropped, 0) << number;
    }
    std::size_t parts() {
        std::size_t count = 0;
        for_each_part([&](Word&, const PartKey&) { ++count; });
        return count;
    }
    // Values that nobody reads, until also the main queue's blocks have had their turn.
    void push_out() {
        const std::uint64_t until = segment_.stats().reclaimed_blocks + 20 * segment_.stats().block_count;
        for (int i = 0; segment_.stats().reclaimed_blocks < until; ++i) {
            ASSERT_LT(i, 100'000);
            for (int j = 0; j < 20; ++j) ASSERT_TRUE(put_filler(segment_, next_key_++).ok());
        }
    }

    OwnMemory memory_;
    Segment segment_;
    std::uint64_t next_key_ = 1'000'000;
};

TEST_F(PartsTest, EveryLengthComesBackWhole) {
    const std::size_t block = small_segment().block_bytes;
    std::uint64_t lock_file = 0;
    const std::size_t part =
        part_bytes(read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value());
    for (const std::size_t around : {block - 300, block, 5 * part, 6 * part, mib}) {
        for (std::size_t length = around - 3; length < around + 250; length += length < around + 3 ? 1 : 60) {
            ASSERT_TRUE(segment_.put(oracle_entry(1, length, length)).ok()) << length;
            const Lookup found = look_up(segment_, 1);
            ASSERT_TRUE(found.hit && found.ok) << length;
            ASSERT_EQ(found.length, length);
        }
    }
}

TEST_F(PartsTest, AllOfAnEntryComesBackByEachWay) {
    EntryFields fields;
    fields.lifetime = {.received_at_ns = 5, .age_ms = 6, .soft_ttl_ms = 7, .hard_ttl_ms = 8};
    fields.stamp = 9;
    const std::vector<Tag> tags = {1, 2, 3};
    const Bytes key = key_of(1);
    const Bytes payload = payload_of(1, 1, mib);
    const Bytes entry = entry_of(key, payload, fields, tags);
    std::array<Tag, max_entry_tags> tags_out{};
    for (const bool as_value : {false, true}) {
        const Status put = as_value ? segment_.put_value(hash_key(key), key, tags, fields, payload,
                                                         static_cast<std::uint32_t>(payload.size()))
                                    : segment_.put(entry);
        ASSERT_TRUE(put.ok());
        Bytes buffer;
        EXPECT_TRUE(std::ranges::equal(segment_.get(hash_key(key), key, copy_to(buffer)), entry));
        ValueRead read;
        ASSERT_EQ(segment_.get_value(hash_key(key), key, tags_out, copy_to(buffer), read), StatusCode::ok);
        EXPECT_TRUE(std::ranges::equal(read.stored, payload));
        EXPECT_EQ(read.raw_length, payload.size());
        EXPECT_EQ(read.fields.lifetime, fields.lifetime);
        EXPECT_EQ(read.tag_count, 3U);
        int seen = 0;
        segment_.for_each(
            [](void* count, std::span<const std::byte> bytes) {
                EntryView view;
                EXPECT_EQ(decode_entry(bytes, view), StatusCode::ok);
                EXPECT_TRUE(entry_checksum_ok(view));
                EXPECT_EQ(view.raw_length, mib);
                ++*static_cast<int*>(count);
                return true;
            },
            &seen);
        EXPECT_EQ(seen, 1);
    }
    EXPECT_EQ(segment_.stats().items, 1U);
    EXPECT_EQ(segment_.stats().hits, 4U);
    EXPECT_TRUE(segment_.erase(hash_key(key), key).ok());
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PartsTest, EachPartTakesASlotOfTheIndex) {
    ASSERT_TRUE(put_filler(segment_, 1).ok());
    EXPECT_EQ(segment_.stats().index_slots_in_use, 1U);
    ASSERT_TRUE(segment_.put(oracle_entry(2, 1, 272'000)).ok());
    std::uint64_t parts = 0;
    for_each_part([&](Word&, const PartKey&) { ++parts; });
    EXPECT_GT(parts, 4U);
    EXPECT_EQ(segment_.stats().items, 2U);
    EXPECT_EQ(segment_.stats().index_slots_in_use, 2 + parts);
}

TEST_F(PartsTest, APartThatIsGoneMakesItAMissAndTakesTheHeadOut) {
    for (const std::uint64_t number : {0, 5, 16}) {
        ASSERT_TRUE(segment_.put(oracle_entry(1, number, 272'000)).ok());
        ASSERT_TRUE(look_up(segment_, 1).hit);
        EXPECT_EQ(segment_.stats().items, 1U);
        drop_part(number);
        EXPECT_FALSE(look_up(segment_, 1).hit) << number;
        EXPECT_EQ(segment_.stats().items, 0U);
        EXPECT_EQ(segment_.stats().misses_torn, 0U);
    }
}

// However often they were read, parts end with their head: replaced by a large value, by a small one, erased.
TEST_F(PartsTest, WithoutItsHeadAPartIsNotKept) {
    const auto read_often = [&] {
        for (int i = 0; i < 50; ++i) ASSERT_TRUE(look_up(segment_, 1).ok);
    };
    for (int how = 0; how < 3; ++how) {
        ASSERT_TRUE(segment_.put(oracle_entry(1, 1, mib)).ok());
        read_often();
        const std::size_t before = parts();
        ASSERT_GT(before, 60U);
        ASSERT_TRUE(how == 0   ? segment_.put(oracle_entry(1, 2, mib)).ok()
                    : how == 1 ? segment_.put(oracle_entry(1, 3, 100)).ok()
                               : erase_key(segment_, 1));
        push_out();
        EXPECT_EQ(parts(), 0U) << how;
    }
}

// One, as a value of a block does: its head and its parts are no items of their own.
TEST_F(PartsTest, ALongValueLeavesAGhostToo) {
    auto* header = reinterpret_cast<SegmentHeader*>(memory_.span().data());
    header->policy.store(EvictionPolicy{}.pack());
    std::uint64_t lock_file = 0;
    const Geometry geometry = read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value();
    const BlockTable blocks(memory_.span().data(), geometry);
    const auto put_in = [&](Queue queue) {
        ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100'000)).ok());
        ASSERT_EQ(heads(), 1U);
        for_each_of_parts([&](Word& slot, const Word*, const ItemHeader&) {
            EXPECT_EQ(blocks.state(Slot::unpack(slot.load()).block).stream.queue, queue);
        });
    };
    put_in(Queue::small);
    for (std::uint64_t i = 0; i < 1000 && heads() > 0; ++i) ASSERT_TRUE(put_filler(segment_, 100 + i).ok());
    ASSERT_EQ(heads(), 0U);
    put_in(Queue::main);
}

// One that is read again and again stays, copied forward with all its parts; one that is not goes with all of
// them.
TEST_F(PartsTest, WhatIsUsedStaysWhole) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 200'000)).ok());
    ASSERT_TRUE(segment_.put(oracle_entry(2, 1, 200'000)).ok());
    const std::uint64_t until = 20 * segment_.stats().block_count;
    for (int i = 0; i % 50 != 0 || segment_.stats().reclaimed_blocks < until; ++i) {
        ASSERT_LT(i, 100'000);
        ASSERT_TRUE(put_filler(segment_, next_key_++).ok());
        if (i % 10 == 0) {
            const Lookup found = look_up(segment_, 1);
            ASSERT_TRUE(found.hit && found.ok) << i;
        }
    }
    EXPECT_FALSE(look_up(segment_, 2).hit);
    EXPECT_EQ(parts(), 13U);
}

// Its last parts make room; the first have no head yet that would say that they are somebody's.
TEST(Parts, APutDoesNotLoseItsOwnFirstParts) {
    SegmentOptions options = small_segment();
    options.size_bytes = mib;
    options.block_bytes = 16 << 10;
    constexpr std::uint64_t rounds = 40;
    constexpr std::uint64_t puts = 10;
    std::uint64_t absent = 0;
    for (std::uint64_t round = 0; round < rounds; ++round) {
        OwnMemory memory(options.size_bytes);
        Segment segment = Segment::format(memory.span(), options).value();
        std::mt19937_64 random(round);
        for (int i = 0; i < 500; ++i) {
            ASSERT_TRUE(segment.put(oracle_entry(random() % 140, 1, 16 + random() % 500)).ok());
        }
        for (std::uint64_t put = 0; put < puts; ++put) {
            const std::uint64_t key = random() % 140;
            ASSERT_TRUE(segment.put(oracle_entry(key, 2 + put, 50'000 + random() % 150'000)).ok());
            const Lookup found = look_up(segment, key);
            ASSERT_TRUE(found.ok);
            absent += found.hit ? 0 : 1;
        }
    }
    // One in ten before puts looked for them; still one in hundreds, where the head goes with a part.
    EXPECT_LE(absent, rounds * puts / 50);
}

// Reclamation that drops a part drops the value: the head goes without a reader, however much it was wanted.
TEST_F(PartsTest, AnEvictedPartTakesItsHeadAlong) {
    for (std::uint64_t key = 1; key <= 3; ++key) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, mib)).ok());
    ASSERT_EQ(heads(), 3U);
    for_each_of_parts([](Word& slot, const Word*, const ItemHeader& header) {
        if ((header.flags & item_head) != 0) slot.fetch_or(frequency_max);
    });
    push_out();
    EXPECT_EQ(parts(), 0U);
    EXPECT_EQ(heads(), 0U);
    // Each value counts once, not for each part.
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.evicted_items, 3 + next_key_ - 1'000'000 - stats.items);
}

// A key that has the bytes of a part's is a user's key like any other.
TEST_F(PartsTest, NobodyGetsAPart) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, mib)).ok());
    PartKey key{};
    for_each_part([&](Word&, const PartKey& one) { key = one; });
    Bytes buffer;
    ValueRead read;
    ValueView view;
    std::array<Tag, max_entry_tags> tags{};
    const KeyHash hash = hash_key(key.bytes());
    EXPECT_TRUE(segment_.get(hash, key.bytes(), copy_to(buffer)).empty());
    EXPECT_EQ(segment_.get_value(hash, key.bytes(), tags, copy_to(buffer), read), StatusCode::not_found);
    EXPECT_EQ(segment_.get_view(hash, key.bytes(), tags, view), StatusCode::not_found);
    const Bytes mine = payload_of(9, 9, 50);
    ASSERT_TRUE(segment_.put(entry_of(key.bytes(), mine)).ok());
    EXPECT_FALSE(look_up(segment_, 1).hit);
    ASSERT_EQ(segment_.get_value(hash, key.bytes(), tags, copy_to(buffer), read), StatusCode::ok);
    EXPECT_TRUE(std::ranges::equal(read.stored, mine));
}

TEST_F(PartsTest, ThereIsNoViewOfParts) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, mib)).ok());
    const Bytes key = key_of(1);
    ValueView view;
    std::array<Tag, max_entry_tags> tags{};
    EXPECT_EQ(segment_.get_view(hash_key(key), key, tags, view), StatusCode::too_large);
    EXPECT_FALSE(view.held());
    EXPECT_EQ(segment_.stats().hits + segment_.stats().misses, 0U);
}

TEST_F(PartsTest, AQuarterOfTheSegmentAndNoMore) {
    const std::size_t largest = segment_.stats().largest_value_bytes;
    EXPECT_LT(largest, 2 * mib);
    EXPECT_GT(largest, 17 * mib / 10);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, largest)).ok());
    EXPECT_TRUE(look_up(segment_, 1).ok);
    EXPECT_EQ(look_up(segment_, 1).length, largest);
    EXPECT_EQ(segment_.put(oracle_entry(1, 2, largest + 1)).code(), StatusCode::too_large);
    EXPECT_EQ(look_up(segment_, 1).sequence, 1U);
    // Also in a segment that is full.
    push_out();
    ASSERT_TRUE(segment_.put(oracle_entry(2, 1, largest)).ok());
    EXPECT_TRUE(look_up(segment_, 2).hit);
    // A key that alone is more than a block.
    const Bytes key(small_segment().block_bytes, std::byte{1});
    EXPECT_EQ(segment_.put(entry_of(key, payload_of(1, 1, mib))).code(), StatusCode::too_large);
}

// Parts have slots of their own, which an index that is made for few long values has to have.
TEST(Parts, ValuesAsLongAsWasExpectedFitTheIndex) {
    struct Sizes {
        std::size_t segment;
        std::size_t block;
        std::size_t value;
    };
    for (const auto& [segment_bytes, block_bytes, value_bytes] :
         {Sizes{64 * mib, 0, mib}, Sizes{64 * mib, 0, 300 << 10}, Sizes{64 * mib, 0, 4 * mib},
          Sizes{4 * mib, 16 << 10, 50'000}}) {
        SegmentOptions options = small_segment();
        options.size_bytes = segment_bytes;
        options.block_bytes = block_bytes;
        options.item_bytes_mean = value_bytes;
        OwnMemory memory(options.size_bytes);
        Segment segment = Segment::format(memory.span(), options).value();
        const std::uint64_t count = segment_bytes / value_bytes * 6 / 10;
        for (std::uint64_t key = 0; key < count; ++key) {
            ASSERT_TRUE(segment.put(oracle_entry(key, 1, value_bytes)).ok());
            ASSERT_TRUE(look_up(segment, key).hit) << value_bytes << " " << key;
        }
        std::uint64_t found = 0;
        for (std::uint64_t key = 0; key < count; ++key) found += look_up(segment, key).hit ? 1 : 0;
        EXPECT_EQ(found, count) << value_bytes;
    }
}

// Short items fill the index before the memory, and push each other out of it, but no long value.
TEST(Parts, ShortItemsTakeNoSlotOfALongValue) {
    SegmentOptions options;
    options.size_bytes = 32 * mib;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    constexpr std::uint64_t long_values = 10;
    constexpr std::size_t long_bytes = std::size_t{512} << 10;
    constexpr std::size_t short_bytes = 16;
    for (std::uint64_t key = 0; key < long_values; ++key) {
        ASSERT_TRUE(segment.put(oracle_entry(key, 1, long_bytes)).ok());
    }
    std::uint64_t end = long_values;
    while (segment.stats().free_blocks > 8) {
        for (const std::uint64_t some = end + 1000; end < some; ++end) {
            ASSERT_TRUE(segment.put(oracle_entry(end, 1, short_bytes)).ok());
        }
    }
    const SegmentStats full = segment.stats();
    ASSERT_EQ(full.reclaimed_blocks, 0U);
    ASSERT_LT(full.items, end);  // some were pushed out
    for (std::uint64_t key = 0; key < long_values; ++key) EXPECT_TRUE(look_up(segment, key).hit) << key;
}

TEST(Parts, SixtyFourMebibytes) {
    SegmentOptions options;
    options.size_bytes = 512 * mib;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    const std::size_t length = 64 * mib;
    EXPECT_EQ(segment.stats().largest_value_bytes, length);
    std::vector<std::uint64_t> words(length / sizeof(std::uint64_t));
    std::iota(words.begin(), words.end(), std::uint64_t{1});
    const auto value = std::as_bytes(std::span(words));
    const Bytes key = key_of(1);
    ASSERT_TRUE(
        segment.put_value(hash_key(key), key, {}, {}, value, static_cast<std::uint32_t>(length)).ok());
    Bytes buffer;
    ValueRead read;
    std::array<Tag, max_entry_tags> tags{};
    ASSERT_EQ(segment.get_value(hash_key(key), key, tags, copy_to(buffer), read), StatusCode::ok);
    ASSERT_EQ(read.stored.size(), length);
    EXPECT_EQ(std::memcmp(read.stored.data(), value.data(), length), 0);
}

// Writers of one key, each in lengths of its own, beside readers that check each byte.
TEST_F(PartsTest, TwoWritersNeverMix) {
    std::atomic<bool> done{false};
    std::vector<std::thread> threads;
    for (std::uint64_t writer = 0; writer < 2; ++writer) {
        threads.emplace_back([&, writer] {
            for (std::uint64_t i = 0; i < 150; ++i) {
                // Short of memory at times, when the other has it: a put may fail, never half succeed.
                (void)segment_.put(oracle_entry(1, writer * 1000 + i, 200'000 + (i % 3) * 16'000));
            }
            done = true;
        });
    }
    std::uint64_t hits = 0;
    while (!done) {
        const Lookup found = look_up(segment_, 1);
        EXPECT_TRUE(found.ok);
        if (!found.ok) break;
        hits += found.hit ? 1 : 0;
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_GT(hits, 0U);
    EXPECT_TRUE(look_up(segment_, 1).ok);
}

// The value of before, or the whole of the killed writer's, or a miss; and its space comes back.
TEST(Parts, AWriterKilledInTheMiddleLeavesNothingBad) {
    const SegmentName name;
    Segment segment = Segment::create(name, small_segment()).value();
    int of_before = 0;
    // On a busy machine a writer may always be killed before it begins, or after its end.
    for (std::uint64_t round = 0; round < 40 || of_before == 0; ++round) {
        ASSERT_LT(round, 2000U);
        const std::uint64_t before = round * 1'000'000;
        ASSERT_TRUE(segment.put(oracle_entry(1, before, mib)).ok());
        Signal begun;
        ChildProcess child([&] {
            Segment mine = Segment::open(name).value();
            const Bytes entry = oracle_entry(1, before + 1, mib);
            begun.send();
            (void)mine.put(entry);
            pause();
            return 0;
        });
        begun.wait();
        usleep(static_cast<useconds_t>(round % 40 * 23));
        EXPECT_EQ(child.kill_and_wait(), 128 + SIGKILL);
        const Lookup found = look_up(segment, 1);
        ASSERT_TRUE(found.ok);
        if (found.hit) {
            of_before += found.sequence == before ? 1 : 0;
            ASSERT_LE(found.sequence, before + 1);
        }
        ASSERT_TRUE(segment.put(oracle_entry(2, round, mib)).ok());
        ASSERT_TRUE(look_up(segment, 2).hit && look_up(segment, 2).ok);
    }
    EXPECT_GT(of_before, 0);
    // What was read is kept once, so each block of a main queue has two turns.
    const std::uint64_t until = segment.stats().reclaimed_blocks + 40 * segment.stats().block_count;
    for (std::uint64_t key = 100; key % 50 != 0 || segment.stats().reclaimed_blocks < until; ++key) {
        ASSERT_TRUE(put_filler(segment, key).ok());
    }
    // Nothing of the dead is left among the live: what the index names can be read.
    std::uint64_t bytes = 0;
    segment.for_each(
        [](void* sum, std::span<const std::byte> entry) {
            *static_cast<std::uint64_t*>(sum) += entry.size();
            return true;
        },
        &bytes);
    EXPECT_NEAR(static_cast<double>(segment.stats().item_bytes), static_cast<double>(bytes), bytes / 50.0);
}

}  // namespace
}  // namespace tiercache
