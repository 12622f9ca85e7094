// What a segment promises to one process that uses it: put, get, erase, clear, walk, count.
#include "shm_cache/segment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "shm_cache/index.hpp"
#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

class SegmentTest : public ::testing::Test {
 protected:
    explicit SegmentTest(SegmentOptions options = tiny_segment())
        : memory_(options.size_bytes), segment_(Segment::format(memory_.span(), options).value()) {}

    OwnMemory memory_;
    Segment segment_;
};

// Every process of a host must find the same bits, whatever compiled it.
TEST(Slot, LiesAsItsWordSays) {
    Slot slot = Slot::of(0xabcd, {0x2345, 0x7ffe}, 0x3cafe);
    slot.frequency = 2;
    const std::uint64_t word = std::uint64_t{0xabcd} << 48 | std::uint64_t{0x1fff} << 34 |
                               std::uint64_t{0x2345} << 20 | std::uint64_t{0x3cafe} << 2 | 2;
    EXPECT_EQ(slot.pack(), word);
    EXPECT_EQ(slot.as_pending().pack(), word | std::uint64_t{1} << 47);
    EXPECT_EQ(Slot::unpack(word).pack(), word);
    EXPECT_EQ(Slot::unpack(word).offset, 0x3cafeU);
}

TEST_F(SegmentTest, AnEmptySegmentHasNothing) {
    EXPECT_FALSE(look_up(segment_, 1).hit);
    EXPECT_FALSE(erase_key(segment_, 1));
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.items, 0U);
    EXPECT_EQ(stats.misses, 1U);
    EXPECT_EQ(stats.free_blocks, stats.block_count);
}

TEST_F(SegmentTest, WhatWasPutIsGot) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 7, 100)).ok());
    const Lookup found = look_up(segment_, 1);
    EXPECT_TRUE(found.hit);
    EXPECT_TRUE(found.ok);
    EXPECT_EQ(found.sequence, 7U);
    EXPECT_EQ(found.length, 100U);
    EXPECT_FALSE(look_up(segment_, 2).hit);
    const SegmentStats stats = segment_.stats();
    EXPECT_EQ(stats.items, 1U);
    EXPECT_EQ(stats.puts, 1U);
    EXPECT_EQ(stats.hits, 1U);
    EXPECT_EQ(stats.misses, 1U);
}

TEST_F(SegmentTest, EveryLengthComesBackWhole) {
    for (std::size_t length = sizeof(OraclePayload); length < 3900; length += 1 + length / 40) {
        ASSERT_TRUE(segment_.put(oracle_entry(length, length, length)).ok()) << length;
        const Lookup found = look_up(segment_, length);
        ASSERT_TRUE(found.hit && found.ok) << length;
        ASSERT_EQ(found.length, length);
    }
}

TEST_F(SegmentTest, EmptyKeysAndPayloadsAreEntriesToo) {
    const Bytes entry = entry_of({}, {});
    ASSERT_TRUE(segment_.put(entry).ok());
    Bytes buffer;
    const auto found = segment_.get(hash_key({}), {}, copy_to(buffer));
    EXPECT_TRUE(std::ranges::equal(found, entry));
    EXPECT_TRUE(segment_.erase(hash_key({}), {}).ok());
}

TEST_F(SegmentTest, AnEntryWithTagsComesBackWithThem) {
    const std::vector<Tag> tags = {1, 2, UINT64_MAX};
    const Bytes entry = entry_of(key_of(1), payload_of(1, 1, 50), {}, tags);
    ASSERT_TRUE(segment_.put(entry).ok());
    Bytes buffer;
    const Bytes key = key_of(1);
    EXPECT_TRUE(std::ranges::equal(segment_.get(hash_key(key), key, copy_to(buffer)), entry));
}

TEST_F(SegmentTest, AValueComesWithoutItsEntry) {
    std::array<Tag, max_entry_tags> tags{};
    for (std::size_t length = 0; length < 3000; length += 1 + length / 30) {
        Bytes payload = payload_of(length, 3, length);
        payload.resize(length);
        std::vector<Tag> put_tags(length % 5);
        for (std::size_t i = 0; i < put_tags.size(); ++i) put_tags[i] = mix(i);
        EntryFields fields;
        fields.lifetime = {.received_at_ns = 5, .age_ms = 6, .soft_ttl_ms = 7, .hard_ttl_ms = 8};
        fields.epoch = length % 3;
        fields.stamp = length % 2 * 77;
        fields.fill_cost_us = 9;
        fields.data_class = DataClass::reference;
        const Bytes key = key_of(length);
        ASSERT_TRUE(segment_.put(entry_of(key, payload, fields, put_tags)).ok());
        std::array<std::byte, 3000> buffer;
        ValueRead read;
        ASSERT_EQ(segment_.get_value(hash_key(key), key, tags, buffer, read), StatusCode::ok) << length;
        EXPECT_EQ(read.stored.data(), buffer.data());
        EXPECT_TRUE(std::ranges::equal(read.stored, payload)) << length;
        EXPECT_EQ(read.raw_length, length);
        EXPECT_TRUE(std::ranges::equal(std::span(tags).first(read.tag_count), put_tags));
        EXPECT_EQ(read.fields.lifetime, fields.lifetime);
        EXPECT_EQ(read.fields.epoch, fields.epoch);
        EXPECT_EQ(read.fields.stamp, fields.stamp);
        EXPECT_EQ(read.fields.fill_cost_us, 9U);
        EXPECT_EQ(read.fields.data_class, DataClass::reference);
    }
}

// Every combination of what an item may leave away comes back, by each way in and each way out.
TEST_F(SegmentTest, NothingOfAnEntryIsLost) {
    for (unsigned which = 0; which < 256; ++which) {
        const auto has = [which](unsigned bit, auto value, auto otherwise) {
            return (which >> bit & 1) != 0 ? value : otherwise;
        };
        EntryFields fields;
        fields.lifetime.received_at_ns = has(0, UINT64_MAX, std::uint64_t{0});
        fields.lifetime.hard_ttl_ms = has(1, 0U, ttl_never_ms);
        fields.lifetime.soft_ttl_ms = has(2, 12345U, ttl_never_ms);
        fields.lifetime.age_ms = has(3, UINT32_MAX, 0U);
        fields.epoch = has(4, UINT64_MAX, std::uint64_t{0});
        fields.stamp = has(5, std::uint64_t{1} << 63, std::uint64_t{0});
        fields.fill_cost_us = has(6, UINT32_MAX, 0U);
        fields.flags = has(7, entry_negative, EntryFlags{});
        fields.format = static_cast<PayloadFormat>(which % 4);
        fields.data_class = static_cast<DataClass>(which / 4 % 4);
        const std::vector<Tag> tags(which % 3 == 0 ? which : 0, Tag{0x1234567890abcdef});
        const Bytes key = key_of(which);
        const Bytes payload = which % 2 == 0 ? Bytes(1500, std::byte{7}) : payload_of(which, 1, which);
        const Bytes entry = entry_of(key, payload, fields, tags);
        EntryView view;
        ASSERT_EQ(decode_entry(entry, view), StatusCode::ok);
        for (const bool as_value : {false, true}) {
            const Status put = as_value ? segment_.put_value(hash_key(key), key, tags, view.fields,
                                                             view.stored_payload, view.raw_length)
                                        : segment_.put(entry);
            ASSERT_TRUE(put.ok());
            Bytes buffer;
            EXPECT_TRUE(std::ranges::equal(segment_.get(hash_key(key), key, copy_to(buffer)), entry))
                << which;
            std::array<Tag, max_entry_tags> tags_out{};
            ValueRead read;
            ASSERT_EQ(segment_.get_value(hash_key(key), key, tags_out, copy_to(buffer), read),
                      StatusCode::ok);
            EXPECT_EQ(read.fields.lifetime, fields.lifetime);
            EXPECT_EQ(read.fields.epoch, fields.epoch);
            EXPECT_EQ(read.fields.stamp, fields.stamp);
            EXPECT_EQ(read.fields.fill_cost_us, fields.fill_cost_us);
            EXPECT_EQ(read.fields.flags, view.fields.flags);
            EXPECT_EQ(read.fields.format, fields.format);
            EXPECT_EQ(read.fields.data_class, fields.data_class);
            EXPECT_EQ(read.raw_length, view.raw_length);
            EXPECT_TRUE(std::ranges::equal(std::span(tags_out).first(read.tag_count), tags));
            EXPECT_TRUE(std::ranges::equal(read.stored, view.stored_payload));
        }
    }
}

TEST_F(SegmentTest, AValueIsRefusedWhereItDoesNotFitAndMissedWhereItIsNot) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
    std::array<Tag, max_entry_tags> tags{};
    std::array<std::byte, 99> small;
    ValueRead read;
    const Bytes key = key_of(1);
    const Bytes other = key_of(2);
    EXPECT_EQ(segment_.get_value(hash_key(key), key, tags, small, read), StatusCode::no_space);
    EXPECT_EQ(segment_.get_value(hash_key(other), other, tags, small, read), StatusCode::not_found);
    // Another key of the same hash, if there were one.
    EXPECT_EQ(segment_.get_value(hash_key(key), other, tags, small, read), StatusCode::not_found);
}

TEST_F(SegmentTest, ACompressedValueIsReadAsItWas) {
    const Bytes payload(3000, std::byte{'x'});
    const Bytes key = key_of(1);
    ASSERT_TRUE(segment_.put(entry_of(key, payload)).ok());
    std::array<Tag, max_entry_tags> tags{};
    Bytes buffer;
    ValueRead read;
    ASSERT_EQ(segment_.get_value(hash_key(key), key, tags, copy_to(buffer), read), StatusCode::ok);
    ASSERT_TRUE(read.compressed());
    ASSERT_LT(read.stored.size(), payload.size());
    Bytes raw(read.raw_length);
    ASSERT_EQ(read_value(read.stored, read.compressed(), read.raw_length, raw), StatusCode::ok);
    EXPECT_EQ(raw, payload);
}

TEST_F(SegmentTest, APutReplacesTheOlderEntryOfItsKey) {
    for (std::uint64_t sequence = 0; sequence < 500; ++sequence) {
        ASSERT_TRUE(segment_.put(oracle_entry(1, sequence, 16 + sequence)).ok());
        ASSERT_EQ(look_up(segment_, 1).sequence, sequence);
    }
    EXPECT_EQ(segment_.stats().items, 1U);
}

TEST_F(SegmentTest, EraseTakesOneKeyOut) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    ASSERT_TRUE(segment_.put(oracle_entry(2, 1, 50)).ok());
    EXPECT_TRUE(erase_key(segment_, 1));
    EXPECT_FALSE(erase_key(segment_, 1));
    EXPECT_FALSE(look_up(segment_, 1).hit);
    EXPECT_TRUE(look_up(segment_, 2).hit);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 50)).ok());
    EXPECT_EQ(look_up(segment_, 1).sequence, 2U);
}

TEST_F(SegmentTest, ClearTakesEverythingOut) {
    for (std::uint64_t key = 0; key < 60; ++key) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 50)).ok());
    (void)segment_.clear();
    for (std::uint64_t key = 0; key < 60; ++key) EXPECT_FALSE(look_up(segment_, key).hit);
    EXPECT_EQ(segment_.stats().items, 0U);
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 50)).ok());
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

TEST_F(SegmentTest, AWalkSeesEachEntryOnceAndStopsWhenTold) {
    for (std::uint64_t key = 0; key < 40; ++key) ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 50)).ok());
    std::multiset<std::uint64_t> seen;
    const auto collect = [](void* context, std::span<const std::byte> bytes) {
        EntryView view;
        EXPECT_EQ(decode_entry(bytes, view), StatusCode::ok);
        EXPECT_TRUE(entry_checksum_ok(view));
        std::uint64_t key = 0;
        std::memcpy(&key, view.key.data(), sizeof(key));
        static_cast<std::multiset<std::uint64_t>*>(context)->insert(key);
        return true;
    };
    segment_.for_each(collect, &seen);
    EXPECT_EQ(seen.size(), 40U);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 40U);

    int visits = 0;
    segment_.for_each(
        [](void* context, std::span<const std::byte>) { return ++*static_cast<int*>(context) < 3; }, &visits);
    EXPECT_EQ(visits, 3);
}

TEST_F(SegmentTest, TheLargestEntryFitsAndNoLarger) {
    const std::size_t largest = segment_.stats().largest_entry_bytes;
    const Bytes key = key_of(1);
    // Random bytes do not shrink: the entry is as long as it looks.
    const Bytes surely = entry_of(key, payload_of(1, 1, largest - entry_header_bytes - key.size()));
    ASSERT_EQ(surely.size(), largest);
    ASSERT_TRUE(segment_.put(surely).ok());
    EXPECT_TRUE(look_up(segment_, 1).hit);
    const std::size_t room = segment_.stats().largest_value_bytes;
    ASSERT_TRUE(segment_.put(entry_of(key, payload_of(1, 1, room))).ok());
    EXPECT_TRUE(look_up(segment_, 1).ok);
    EXPECT_EQ(look_up(segment_, 1).length, room);
    EXPECT_EQ(segment_.put(entry_of(key, payload_of(1, 1, room + 1))).code(), StatusCode::too_large);
    EXPECT_EQ(segment_.stats().put_failures, 1U);
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

TEST_F(SegmentTest, WhatIsNoEntryIsRefused) {
    EXPECT_EQ(segment_.put({}).code(), StatusCode::corrupt);
    Bytes entry = oracle_entry(1, 1, 50);
    EXPECT_EQ(segment_.put(std::span(entry).first(entry.size() - 1)).code(), StatusCode::corrupt);
    entry[0] ^= std::byte{1};
    EXPECT_EQ(segment_.put(entry).code(), StatusCode::corrupt);
    EntryFields fields;
    fields.flags = entry_no_store;
    const Bytes key = key_of(1);
    EXPECT_EQ(segment_.put(entry_of(key, key, fields)).code(), StatusCode::invalid_argument);
    EXPECT_EQ(segment_.stats().items, 0U);
}

TEST_F(SegmentTest, AValueOfNoKnownFormatOrClassIsRefused) {
    const Bytes key = key_of(1);
    const auto put = [&](const EntryFields& fields) {
        const auto length = static_cast<std::uint32_t>(key.size());
        return segment_.put_value(hash_key(key), key, {}, fields, key, length).code();
    };
    EntryFields fields;
    EXPECT_EQ(put(fields), StatusCode::ok);
    fields.format = static_cast<PayloadFormat>(4);
    EXPECT_EQ(put(fields), StatusCode::invalid_argument);
    fields = {};
    fields.data_class = static_cast<DataClass>(4);
    EXPECT_EQ(put(fields), StatusCode::invalid_argument);
    EXPECT_EQ(segment_.stats().put_failures, 2U);
}

TEST_F(SegmentTest, BytesAfterAnEntryAreNotStored) {
    Bytes entry = oracle_entry(1, 1, 50);
    const std::size_t size = entry.size();
    entry.resize(size + 100);
    ASSERT_TRUE(segment_.put(entry).ok());
    Bytes buffer;
    const Bytes key = key_of(1);
    EXPECT_EQ(segment_.get(hash_key(key), key, copy_to(buffer)).size(), size);
}

TEST_F(SegmentTest, NoRoomAtTheCallerIsAMissAndHarmless) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    const Bytes key = key_of(1);
    const CopyTarget nowhere{[](void*, std::size_t) noexcept { return static_cast<std::byte*>(nullptr); },
                             nullptr};
    EXPECT_TRUE(segment_.get(hash_key(key), key, nowhere).empty());
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

// Two keys with the same hash are two keys.
TEST_F(SegmentTest, AKeyIsComparedInFull) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    const KeyHash hash = hash_key(key_of(1));
    Bytes other = key_of(1);
    other.back() ^= std::byte{1};
    Bytes buffer;
    EXPECT_TRUE(segment_.get(hash, other, copy_to(buffer)).empty());
    EXPECT_FALSE(segment_.erase(hash, other).ok());
    other.pop_back();
    EXPECT_TRUE(segment_.get(hash, other, copy_to(buffer)).empty());
    EXPECT_FALSE(segment_.erase(hash, other).ok());
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

TEST_F(SegmentTest, AMisalignedTargetGetsTheSameBytes) {
    const Bytes entry = oracle_entry(1, 1, 333);
    ASSERT_TRUE(segment_.put(entry).ok());
    const Bytes key = key_of(1);
    for (std::size_t shift = 0; shift < 8; ++shift) {
        Bytes buffer(entry.size() + shift);
        struct Shifted {
            std::byte* to;
        } context{buffer.data() + shift};
        const CopyTarget target{[](void* c, std::size_t) noexcept { return static_cast<Shifted*>(c)->to; },
                                &context};
        ASSERT_TRUE(std::ranges::equal(segment_.get(hash_key(key), key, target), entry));
    }
}

TEST(SegmentGeometry, AsksForSensibleOptions) {
    OwnMemory memory(std::size_t{1} << 20);
    const auto code = [&memory](auto change) {
        SegmentOptions options = tiny_segment();
        change(options);
        return Segment::format(memory.span(), options).status().code();
    };
    EXPECT_EQ(code([](SegmentOptions&) {}), StatusCode::ok);
    EXPECT_EQ(code([](SegmentOptions& o) { o.size_bytes = 65535; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.size_bytes = 2 << 20; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.block_bytes = 3000; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.block_bytes = 512; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.block_bytes = 32 << 10; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.item_bytes_mean = 0; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.process_slots = 0; }), StatusCode::invalid_argument);
    EXPECT_EQ(code([](SegmentOptions& o) { o.process_slots = 100'000; }), StatusCode::invalid_argument);
    EXPECT_EQ(Segment::format(memory.span().subspan(1), tiny_segment()).status().code(),
              StatusCode::invalid_argument);
}

TEST(SegmentGeometry, BlocksAreScaledToTheSegment) {
    struct Size {
        std::size_t segment_kib;
        std::size_t block_kib;
    };
    for (const auto [segment_kib, block_kib] : {Size{64, 4}, {1024, 64}, {64 << 10, 256}}) {
        const std::size_t size = segment_kib << 10;
        OwnMemory memory(size);
        SegmentOptions options;
        options.size_bytes = size;
        options.process_slots = 16;
        const Segment segment = Segment::format(memory.span(), options).value();
        EXPECT_EQ(segment.stats().block_bytes, block_kib << 10) << size;
        const SegmentStats stats = segment.stats();
        EXPECT_EQ(stats.size_bytes, size);
        EXPECT_GE(stats.block_count, 12U);
        EXPECT_LE(stats.block_bytes, std::size_t{2} << 20);
        // Most of the memory holds data.
        EXPECT_GE(stats.block_count * stats.block_bytes, size / 4 * 3) << size;
        EXPECT_GE(stats.index_slots * 256, stats.block_count * stats.block_bytes);
    }
}

// Parts of long values have slots, too, but where they are so short nobody asked for an index of them.
TEST(SegmentGeometry, SmallBlocksMakeNoLargerIndexThanTheItemsNeed) {
    for (const std::size_t block_bytes : {1024, 2048, 4096, 16384}) {
        SegmentOptions options;
        options.size_bytes = std::size_t{4} << 20;
        options.block_bytes = block_bytes;
        options.item_bytes_mean = 1024;
        const Geometry geometry = plan_geometry(options, Fit::exact).value();
        EXPECT_LT(geometry.bucket_count * cache_line_bytes, options.size_bytes * 7 / 100) << block_bytes;
    }
}

// However often it is resized.
TEST(SegmentGeometry, AnIndexDoesNotGrowFromResizeToResize) {
    for (const std::size_t item_bytes : {64, 100, 256, 1000}) {
        SegmentOptions options;
        options.item_bytes_mean = item_bytes;
        const Geometry first = plan_geometry(options, Fit::exact).value();
        Geometry now = first;
        for (int i = 0; i < 100; ++i) {
            now = plan_geometry(options_for_resize(now, options.size_bytes), Fit::exact).value();
        }
        EXPECT_LE(now.bucket_count, first.bucket_count) << item_bytes;
    }
}

// Only planned: so much memory need not be there.
TEST(SegmentGeometry, ALargeSegmentHasBlocksOfUpTo2MiB) {
    const auto block_kib = [](std::size_t size_mib) {
        SegmentOptions options;
        options.size_bytes = size_mib << 20;
        return plan_geometry(options, Fit::exact).value().block_bytes >> 10;
    };
    EXPECT_EQ(block_kib(512), 512U);
    EXPECT_EQ(block_kib(1023), 512U);
    EXPECT_EQ(block_kib(1024), 1024U);
    EXPECT_EQ(block_kib(2048), 2048U);
    EXPECT_EQ(block_kib(32 << 10), 2048U);
}

// Of a segment that is full and in use, what is neither key nor value, beside what is free (bench_l1 has the
// figure for 256 MiB).
TEST(SegmentCapacity, OverheadOfAnItemIsSmall) {
    SegmentOptions options;
    options.size_bytes = std::size_t{64} << 20;
    options.item_bytes_mean = 256;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    const std::vector<std::byte> value(256 - item_header_bytes - sizeof(std::uint64_t));
    std::uint64_t number = 0;
    const auto put = [&] {
        const auto key = std::as_bytes(std::span(&number, 1));
        ASSERT_TRUE(
            segment.put_value(hash_key(key), key, {}, {}, value, static_cast<std::uint32_t>(value.size()))
                .ok());
        ++number;
    };
    while (segment.stats().reclaimed_blocks < 32) {
        for (int i = 0; i < 4096; ++i) put();
    }
    const SegmentStats stats = segment.stats();
    const std::uint64_t used = stats.size_bytes - stats.free_blocks * stats.block_bytes;
    const std::uint64_t data = stats.items * (value.size() + sizeof(number));
    EXPECT_LT(static_cast<double>(used - data) / static_cast<double>(stats.items), 60.0);
}

TEST(SegmentCapacity, AsManyItemsAsExpectedFitTheIndex) {
    SegmentOptions options;
    options.size_bytes = std::size_t{16} << 20;
    options.item_bytes_mean = 512;
    options.process_slots = 4;
    OwnMemory memory(options.size_bytes);
    Segment segment = Segment::format(memory.span(), options).value();
    const std::uint64_t keys = segment.stats().block_count * segment.stats().block_bytes / 512 * 9 / 10;
    // Short items: they all fit the blocks, so only the index can lose any.
    for (std::uint64_t key = 0; key < keys; ++key) ASSERT_TRUE(segment.put(oracle_entry(key, 1, 16)).ok());
    std::uint64_t found = 0;
    for (std::uint64_t key = 0; key < keys; ++key) {
        const Lookup lookup = look_up(segment, key);
        ASSERT_TRUE(lookup.ok);
        found += lookup.hit ? 1 : 0;
    }
    EXPECT_EQ(segment.stats().items, found);
    EXPECT_EQ(segment.stats().evicted_items, keys - found);
    EXPECT_GE(found, keys * 99 / 100);
}

}  // namespace
}  // namespace tiercache
