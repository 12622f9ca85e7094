// Values in parts: whole or missed, whoever replaces, evicts or dies meanwhile.
#include <gtest/gtest.h>

#include <thread>

#include "shm_cache/index.hpp"
#include "shm_cache/item.hpp"
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

class PartsTest : public ::testing::Test {
 public:
    PartsTest()
        : memory_(small_segment().size_bytes),
          segment_(Segment::format(memory_.span(), small_segment()).value()) {}

    // Takes the item out that is the `number`th part of any value, as its reclaimer would.
    void drop_part(std::uint64_t number) {
        std::uint64_t lock_file = 0;
        const Geometry geometry =
            read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value();
        const BlockTable blocks(memory_.span().data(), geometry);
        const Index index(memory_.span().data(), geometry, blocks);
        index.for_each([&](const Slot& slot) {
            const Word* item = blocks.item(slot.block, slot.offset);
            const ItemHeader header = load_item_header(item);
            if ((header.flags & item_part) == 0) return true;
            PartKey key{};
            read_bytes(item, header.key_at(), reinterpret_cast<std::byte*>(&key), sizeof(key));
            if (key.number != number) return true;
            const Index::Candidates candidates = index.candidates(header.place_hash);
            for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
                const Slot other = Slot::unpack(candidates[i].load());
                if (other.block == slot.block && other.offset == slot.offset) candidates[i].store(0);
            }
            return true;
        });
    }

    OwnMemory memory_;
    Segment segment_;
};

TEST_F(PartsTest, EveryLengthComesBackWhole) {
    const std::size_t block = small_segment().block_bytes;
    const std::size_t part = block / 4 - item_header_bytes - sizeof(PartKey);
    for (const std::size_t around : {block - 300, block, 4 * part, 5 * part, mib}) {
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
    EXPECT_TRUE(segment_.erase(hash_key(key), key));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PartsTest, APartThatIsGoneMakesItAMiss) {
    for (const std::uint64_t number : {0, 5, 16}) {
        ASSERT_TRUE(segment_.put(oracle_entry(1, number, 272'000)).ok());
        ASSERT_TRUE(look_up(segment_, 1).hit);
        drop_part(number);
        EXPECT_FALSE(look_up(segment_, 1).hit) << number;
    }
}

TEST_F(PartsTest, AQuarterOfTheSegmentAndNoMore) {
    const std::size_t largest = segment_.stats().largest_entry_bytes;
    EXPECT_LT(largest, 2 * mib);
    const Bytes key = key_of(1);
    const std::size_t room = largest - entry_header_bytes - key.size();
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, room)).ok());
    EXPECT_TRUE(look_up(segment_, 1).ok);
    EXPECT_EQ(look_up(segment_, 1).length, room);
    EXPECT_EQ(segment_.put(oracle_entry(1, 2, room + 1)).code(), StatusCode::too_large);
    EXPECT_EQ(look_up(segment_, 1).sequence, 1U);
}

TEST(Parts, SixtyFourMebibytes) {
    SegmentOptions options;
    options.size_bytes = 512 * mib;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    const std::size_t length = 64 * mib - 1000;
    ASSERT_TRUE(segment.put(oracle_entry(1, 1, length)).ok());
    const Lookup found = look_up(segment, 1);
    EXPECT_TRUE(found.hit && found.ok);
    EXPECT_EQ(found.length, length);
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

TEST(Parts, AWriterKilledInTheMiddleLeavesNothingBad) {
    const SegmentName name;
    Segment segment = Segment::create(name, small_segment()).value();
    for (std::uint64_t round = 0; round < 20; ++round) {
        Signal begun;
        ChildProcess child([&] {
            Segment mine = Segment::open(name).value();
            for (std::uint64_t i = 0;; ++i) {
                if (i == 1) begun.send();
                (void)mine.put(oracle_entry(1, round * 1'000'000 + i, mib));
            }
            return 0;
        });
        begun.wait();
        usleep(static_cast<useconds_t>(round * 137));
        EXPECT_EQ(child.kill_and_wait(), 128 + SIGKILL);
        ASSERT_TRUE(look_up(segment, 1).ok);
        ASSERT_TRUE(segment.put(oracle_entry(2, round, mib)).ok());
        ASSERT_TRUE(look_up(segment, 2).hit && look_up(segment, 2).ok);
    }
}

}  // namespace
}  // namespace tiercache
