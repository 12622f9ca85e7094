// The entry format: what goes in comes out, and no byte string does harm.
#include "shm_cache/entry.hpp"

#include <gtest/gtest.h>
#include <lz4.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <random>

#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

// The bytes in a heap block of exactly their size: AddressSanitizer sees the first byte too many.
class Exact {
 public:
    explicit Exact(std::span<const std::byte> bytes)
        : size_(bytes.size()), bytes_(std::make_unique<std::byte[]>(std::max<std::size_t>(size_, 1))) {
        std::ranges::copy(bytes, bytes_.get());
    }
    [[nodiscard]] std::span<const std::byte> span() const { return {bytes_.get(), size_}; }

 private:
    std::size_t size_;
    std::unique_ptr<std::byte[]> bytes_;
};

EntryFields some_fields() {
    EntryFields fields;
    fields.lifetime = {
        .received_at_ns = 0x0102030405060708, .age_ms = 77, .soft_ttl_ms = 1000, .hard_ttl_ms = 2000};
    fields.epoch = 0xfedcba9876543210;
    fields.stamp = 0x1122334455667788;
    fields.flags = entry_negative;
    fields.format = PayloadFormat::pg_wire;
    fields.data_class = DataClass::reference;
    fields.fill_cost_us = 123456;
    return fields;
}

EntryView decoded(std::span<const std::byte> bytes) {
    EntryView view;
    EXPECT_EQ(decode_entry(bytes, view), StatusCode::ok);
    return view;
}

Bytes payload_in(const EntryView& view) {
    Bytes payload(view.raw_length);
    EXPECT_EQ(read_payload(view, payload), StatusCode::ok);
    return payload;
}

template <class T>
void poke(Bytes& bytes, std::size_t offset, T value) {
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
}

TEST(Entry, ComesBackAsItWas) {
    const std::vector<Tag> tags = {3, 0, std::numeric_limits<Tag>::max()};
    const Bytes payload = payload_of(1, 2, 500);
    const Bytes bytes = entry_of(bytes_of("the key"), payload, some_fields(), tags);
    const EntryView view = decoded(bytes);
    EXPECT_EQ(view.fields.lifetime.received_at_ns, some_fields().lifetime.received_at_ns);
    EXPECT_EQ(view.fields.lifetime.age_ms, 77U);
    EXPECT_EQ(view.fields.lifetime.soft_ttl_ms, 1000U);
    EXPECT_EQ(view.fields.lifetime.hard_ttl_ms, 2000U);
    EXPECT_EQ(view.fields.epoch, some_fields().epoch);
    EXPECT_EQ(view.fields.stamp, some_fields().stamp);
    EXPECT_EQ(view.fields.flags, entry_negative);
    EXPECT_EQ(view.fields.format, PayloadFormat::pg_wire);
    EXPECT_EQ(view.fields.data_class, DataClass::reference);
    EXPECT_EQ(view.fields.fill_cost_us, 123456U);
    ASSERT_EQ(view.tags.size(), tags.size());
    for (std::size_t i = 0; i < tags.size(); ++i) EXPECT_EQ(view.tags[i], tags[i]);
    std::array<Tag, max_entry_tags> copied;
    EXPECT_TRUE(std::ranges::equal(view.tags.copy_to(copied), tags));
    EXPECT_TRUE(std::ranges::equal(view.key, bytes_of("the key")));
    EXPECT_FALSE(view.compressed());
    EXPECT_EQ(payload_in(view), payload);
    EXPECT_EQ(view.bytes.size(), bytes.size());
    EXPECT_TRUE(entry_checksum_ok(view));
}

// The format is a contract between processes, hosts and releases.
TEST(Entry, BytesAreWhereTheFormatSaysTheyAre) {
    const std::vector<Tag> tags = {0xa1a2a3a4a5a6a7a8};
    const Bytes bytes = entry_of(bytes_of("K"), bytes_of("PAY"), some_fields(), tags);
    const auto u32 = [&bytes](std::size_t at) {
        std::uint32_t value = 0;
        std::memcpy(&value, bytes.data() + at, sizeof(value));
        return value;
    };
    const auto u64 = [&bytes](std::size_t at) {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes.data() + at, sizeof(value));
        return value;
    };
    EXPECT_EQ(std::memcmp(bytes.data(), "TCE\1", 4), 0);
    EXPECT_EQ(u32(4), 77U);
    EXPECT_EQ(u64(8), some_fields().lifetime.received_at_ns);
    EXPECT_EQ(u32(16), 1000U);
    EXPECT_EQ(u32(20), 2000U);
    EXPECT_EQ(u64(32), some_fields().epoch);
    EXPECT_EQ(u64(40), some_fields().stamp);
    EXPECT_EQ(u32(48), entry_negative | 2U << 8 | 3U << 16 | 1U << 24);
    EXPECT_EQ(u32(52), 123456U);
    EXPECT_EQ(u32(56), 1U);
    EXPECT_EQ(u32(60), 3U);
    EXPECT_EQ(u32(64), 3U);
    EXPECT_EQ(u32(68), 0U);
    EXPECT_EQ(u64(72), tags[0]);
    EXPECT_EQ(std::memcmp(bytes.data() + 80, "KPAY", 4), 0);
    EXPECT_EQ(bytes.size(), 84U);
}

TEST(Entry, PayloadsOfAllLengthsAndKinds) {
    for (const std::size_t length : {0U, 1U, 7U, 1023U, 1024U, 1025U, 4096U, 70'000U, 1'000'000U}) {
        for (const bool regular : {true, false}) {
            const Bytes payload = regular ? Bytes(length, std::byte{'a'}) : payload_of(1, 1, length);
            const Bytes bytes = entry_of(bytes_of("k"), payload);
            const EntryView view = decoded(bytes);
            EXPECT_EQ(view.raw_length, payload.size());
            // Compressed over 1 KiB, when it saves an eighth.
            EXPECT_EQ(view.compressed(), regular && length > 1024) << length;
            EXPECT_EQ(payload_in(view), payload) << length;
            EXPECT_TRUE(entry_checksum_ok(view));
        }
    }
}

TEST(Entry, TheLimitsAreKept) {
    Bytes out(4 << 20);
    const auto code = [&out](std::size_t tag_count, const Bytes& key, std::size_t room) {
        return encode_entry({}, std::vector<Tag>(tag_count), key, {}, std::span(out).first(room))
            .status()
            .code();
    };
    EXPECT_EQ(code(max_entry_tags, {}, out.size()), StatusCode::ok);
    EXPECT_EQ(code(max_entry_tags + 1, {}, out.size()), StatusCode::too_large);
    EXPECT_EQ(code(0, Bytes(max_entry_key_bytes), out.size()), StatusCode::ok);
    EXPECT_EQ(code(0, Bytes(max_entry_key_bytes + 1), out.size()), StatusCode::too_large);
    EXPECT_EQ(code(0, Bytes(8), entry_header_bytes + 8), StatusCode::ok);
    EXPECT_EQ(code(0, Bytes(8), entry_header_bytes + 7), StatusCode::no_space);
    // A length alone: the payload is never read.
    const std::span<const std::byte> huge(out.data(), max_entry_payload_bytes + 1);
    EXPECT_EQ(encode_entry({}, {}, {}, huge, out).status().code(), StatusCode::too_large);
}

TEST(Entry, WhatFollowsAnEntryIsIgnored) {
    Bytes bytes = entry_of(bytes_of("k"), bytes_of("v"));
    const std::size_t size = bytes.size();
    bytes.resize(size + 9, std::byte{0xff});
    const EntryView view = decoded(bytes);
    EXPECT_EQ(view.bytes.size(), size);
    EXPECT_TRUE(entry_checksum_ok(view));
}

TEST(Entry, EveryTruncationIsCorrupt) {
    const std::vector<Tag> tags = {1, 2};
    for (const std::size_t length : {20U, 3000U}) {
        const Bytes bytes = entry_of(bytes_of("key"), Bytes(length, std::byte{'a'}), some_fields(), tags);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            const auto first = std::span(bytes).first(size);
            const Exact cut(first);
            EntryView view;
            ASSERT_EQ(decode_entry(cut.span(), view), StatusCode::corrupt) << size;
            ASSERT_FALSE(is_entry_of(cut.span(), bytes_of("key"))) << size;
        }
    }
}

TEST(Entry, EveryChangedByteIsNoticed) {
    const std::vector<Tag> tags = {1, 2};
    for (const std::size_t length : {20U, 3000U}) {
        const Bytes bytes = entry_of(bytes_of("key"), Bytes(length, std::byte{'a'}), some_fields(), tags);
        for (std::size_t at = 0; at < bytes.size(); ++at) {
            for (int bit = 0; bit < 8; ++bit) {
                Bytes changed = bytes;
                changed[at] ^= static_cast<std::byte>(1 << bit);
                const Exact exact(changed);
                EntryView view;
                const StatusCode code = decode_entry(exact.span(), view);
                ASSERT_TRUE(code != StatusCode::ok || !entry_checksum_ok(view)) << at << " bit " << bit;
                if (code != StatusCode::ok) continue;
                // Even unnoticed, it would stay in bounds.
                Bytes payload(view.raw_length);
                (void)read_payload(view, payload);
            }
        }
    }
}

TEST(Entry, AnotherFormatVersionIsNamed) {
    Bytes bytes = entry_of(bytes_of("k"), bytes_of("v"));
    bytes[3] = std::byte{2};
    EntryView view;
    EXPECT_EQ(decode_entry(bytes, view), StatusCode::version_mismatch);
    bytes[0] = std::byte{'X'};
    EXPECT_EQ(decode_entry(bytes, view), StatusCode::corrupt);
}

TEST(Entry, HostileLengthsAreRefused) {
    const Bytes good = entry_of(bytes_of("k"), bytes_of("vvvv"));
    for (const std::size_t field : {56U, 60U, 64U}) {
        for (const std::uint32_t value : {5U, 1000U, 1U << 20, (1U << 30) - 1, 1U << 30, (1U << 30) + 1,
                                          1U << 31, UINT32_MAX - 72, UINT32_MAX}) {
            Bytes bytes = good;
            poke(bytes, field, value);
            const Exact exact(bytes);
            EntryView view;
            EXPECT_EQ(decode_entry(exact.span(), view), StatusCode::corrupt) << field << " " << value;
            EXPECT_FALSE(is_entry_of(exact.span(), bytes_of("k")) && field != 60) << field << " " << value;
        }
    }
    // All at their largest: the sum must not come around.
    Bytes bytes = good;
    for (const std::size_t field : {56U, 60U, 64U}) poke(bytes, field, UINT32_MAX);
    bytes[51] = std::byte{255};
    EntryView view;
    EXPECT_EQ(decode_entry(Exact(bytes).span(), view), StatusCode::corrupt);
    EXPECT_FALSE(is_entry_of(Exact(bytes).span(), bytes_of("k")));
}

TEST(Entry, UnknownFieldValuesAreRefused) {
    const Bytes good = entry_of(bytes_of("k"), bytes_of("v"));
    EntryView view;
    for (const auto& [at, value] :
         {std::pair{48U, 16U}, {48U, 128U}, {49U, 4U}, {50U, 4U}, {68U, 1U}, {71U, 1U}}) {
        Bytes bytes = good;
        bytes[at] = static_cast<std::byte>(value);
        EXPECT_EQ(decode_entry(bytes, view), StatusCode::corrupt) << at;
    }
}

// ---- compressed payloads that lie ----------------------------------------------------------------

// An entry whose payload claims to be LZ4 of `raw_length` bytes.
Bytes claim_lz4(std::span<const std::byte> stored, std::uint32_t raw_length) {
    Bytes bytes = entry_of(bytes_of("k"), stored);
    bytes[48] |= std::byte{entry_lz4};
    poke(bytes, 60, raw_length);
    return bytes;
}

TEST(Entry, CompressedPayloadsStayWithinTheirRawLength) {
    const Bytes raw(100'000, std::byte{'a'});
    Bytes stored(raw.size());
    stored.resize(static_cast<std::size_t>(LZ4_compress_default(
        reinterpret_cast<const char*>(raw.data()), reinterpret_cast<char*>(stored.data()),
        static_cast<int>(raw.size()), static_cast<int>(stored.size()))));
    // Expands to more, or to less, than it says.
    for (const std::uint32_t claimed : {99'999U, 100'001U, 5'000U, 1U << 30}) {
        if (stored.size() >= claimed) continue;
        const Bytes bytes = claim_lz4(stored, claimed);
        const EntryView view = decoded(bytes);
        Bytes payload(std::min<std::size_t>(claimed, 200'000));
        const Exact room(payload);
        const StatusCode code =
            read_payload(view, {const_cast<std::byte*>(room.span().data()), payload.size()});
        EXPECT_EQ(code, claimed > payload.size() ? StatusCode::no_space : StatusCode::corrupt) << claimed;
    }
    EXPECT_EQ(payload_in(decoded(claim_lz4(stored, 100'000))).size(), 100'000U);
}

TEST(Entry, GarbageThatClaimsToBeCompressedIsCorruptAtMost) {
    std::mt19937_64 random(5);
    for (int i = 0; i < 5000; ++i) {
        Bytes stored(1 + random() % 300);
        for (std::byte& b : stored) b = static_cast<std::byte>(random() % 4 == 0 ? 255 : random());
        const auto raw_length = static_cast<std::uint32_t>(stored.size() + 1 + random() % 5000);
        const Bytes bytes = claim_lz4(stored, raw_length);
        const EntryView view = decoded(bytes);
        const auto out = std::make_unique<std::byte[]>(raw_length);
        const StatusCode code = read_payload(view, {out.get(), raw_length});
        EXPECT_TRUE(code == StatusCode::corrupt || code == StatusCode::ok);
    }
    // Compression that does not compress is a lie too.
    EntryView view;
    EXPECT_EQ(decode_entry(claim_lz4(bytes_of("vvvv"), 4), view), StatusCode::corrupt);
}

TEST(Entry, ReadingIntoTooLittleRoomIsRefused) {
    for (const std::size_t length : {10U, 5000U}) {
        const Bytes bytes = entry_of(bytes_of("k"), Bytes(length, std::byte{'a'}));
        Bytes out(length - 1);
        EXPECT_EQ(read_payload(decoded(bytes), out), StatusCode::no_space);
    }
}

// ---- where entries lie ---------------------------------------------------------------------------

TEST(Entry, NoAlignmentIsNeeded) {
    const std::vector<Tag> tags = {7, 8, 9};
    const Bytes payload(3000, std::byte{'b'});
    const Bytes bytes = entry_of(bytes_of("key"), payload, some_fields(), tags);
    for (std::size_t shift = 1; shift < 8; ++shift) {
        Bytes shifted(bytes.size() + shift);
        std::ranges::copy(bytes, shifted.begin() + static_cast<std::ptrdiff_t>(shift));
        const EntryView view = decoded(std::span(shifted).subspan(shift));
        EXPECT_TRUE(entry_checksum_ok(view));
        EXPECT_EQ(view.tags[2], 9U);
        EXPECT_EQ(payload_in(view), payload);
        set_entry_lifetime(std::span(shifted).subspan(shift), {.received_at_ns = 1});
        EXPECT_TRUE(entry_checksum_ok(decoded(std::span(shifted).subspan(shift))));
    }
}

TEST(Entry, ItsKeyIsRecognised) {
    const std::vector<Tag> tags = {7, 8};
    const Bytes bytes = entry_of(bytes_of("key"), bytes_of("value"), {}, tags);
    EXPECT_TRUE(is_entry_of(bytes, bytes_of("key")));
    EXPECT_FALSE(is_entry_of(bytes, bytes_of("kez")));
    EXPECT_FALSE(is_entry_of(bytes, bytes_of("ke")));
    EXPECT_FALSE(is_entry_of(bytes, bytes_of("keyv")));
    EXPECT_FALSE(is_entry_of(bytes, {}));
    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(is_entry_of(longer, bytes_of("key")));
    EXPECT_TRUE(is_entry_of(entry_of({}, {}), {}));
}

// ---- lifetimes -----------------------------------------------------------------------------------

TEST(EntryLifetime, AgesOnTheHostsClock) {
    constexpr std::uint64_t second = 1'000'000'000;
    const EntryLifetime life{
        .received_at_ns = 100 * second, .age_ms = 500, .soft_ttl_ms = 2000, .hard_ttl_ms = 5000};
    EXPECT_EQ(life.age_ms_at(100 * second), 500U);
    EXPECT_EQ(life.age_ms_at(101 * second), 1500U);
    EXPECT_EQ(life.age_ms_at(99 * second), 500U);  // a clock read before it arrived
    EXPECT_FALSE(life.refresh_due_at(102 * second - 1));
    EXPECT_TRUE(life.refresh_due_at(102 * second));
    EXPECT_FALSE(life.expired_at(105 * second - 1));
    EXPECT_TRUE(life.expired_at(105 * second));
    EXPECT_EQ(life.age_ms_at(UINT64_MAX), UINT32_MAX);
}

TEST(EntryLifetime, WhatIsLeftIsHandedOn) {
    constexpr std::uint64_t second = 1'000'000'000;
    const EntryLifetime life{
        .received_at_ns = 100 * second, .age_ms = 500, .soft_ttl_ms = 2000, .hard_ttl_ms = 5000};
    EXPECT_EQ(life.in_transit(103 * second),
              (EntryLifetime{.age_ms = 3500, .soft_ttl_ms = 0, .hard_ttl_ms = 2000}));
    EXPECT_EQ(life.in_transit(UINT64_MAX).hard_ttl_ms, 0U);
    EXPECT_EQ(EntryLifetime{}.in_transit(103 * second).hard_ttl_ms, ttl_never_ms);
}

TEST(EntryLifetime, NeverIsNever) {
    const EntryLifetime life{};
    EXPECT_FALSE(life.expired_at(UINT64_MAX));
    EXPECT_FALSE(life.refresh_due_at(UINT64_MAX));
    const EntryLifetime at_once{.soft_ttl_ms = 0, .hard_ttl_ms = 0};
    EXPECT_TRUE(at_once.expired_at(0));
}

TEST(EntryLifetime, IsReplacedWithoutTouchingTheRest) {
    const std::vector<Tag> tags = {7};
    Bytes bytes = entry_of(bytes_of("key"), bytes_of("value"), some_fields(), tags);
    const EntryLifetime life{.received_at_ns = 9, .age_ms = 8, .soft_ttl_ms = 7, .hard_ttl_ms = 6};
    set_entry_lifetime(bytes, life);
    EntryView view = decoded(bytes);
    EXPECT_TRUE(entry_checksum_ok(view));
    EXPECT_EQ(view.fields.lifetime.received_at_ns, 9U);
    EXPECT_EQ(view.fields.lifetime.hard_ttl_ms, 6U);
    EXPECT_EQ(view.fields.data_class, DataClass::reference);
    set_entry_lifetime(bytes, life, DataClass::hot);
    view = decoded(bytes);
    EXPECT_TRUE(entry_checksum_ok(view));
    EXPECT_EQ(view.fields.data_class, DataClass::hot);
    EXPECT_EQ(view.fields.stamp, some_fields().stamp);
    EXPECT_TRUE(std::ranges::equal(view.key, bytes_of("key")));
}

TEST(EntryNames, ParseToThemselves) {
    for (const DataClass c : {DataClass::hot, DataClass::warm, DataClass::cold, DataClass::reference}) {
        DataClass parsed{};
        EXPECT_TRUE(parse_data_class(to_string(c), parsed));
        EXPECT_EQ(parsed, c);
    }
    DataClass parsed = DataClass::cold;
    EXPECT_FALSE(parse_data_class("tepid", parsed));
    EXPECT_EQ(parsed, DataClass::cold);
    EXPECT_EQ(to_string(PayloadFormat::pg_tuples), "pg_tuples");
}

}  // namespace
}  // namespace tiercache
