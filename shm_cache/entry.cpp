#include "shm_cache/entry.hpp"

#include <lz4.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace tiercache {

static_assert(std::endian::native == std::endian::little, "the entry format is little-endian");

namespace {

constexpr std::uint32_t entry_magic = 0x01454354;  // "TCE", version 1
constexpr std::uint32_t magic_name_mask = 0x00ffffff;
constexpr std::size_t compress_above_bytes = 1024;
constexpr std::uint8_t known_flags = entry_lz4 | entry_negative | entry_no_store | entry_standby;

// Field offsets, as in the table of entry.hpp.
constexpr std::size_t at_age = 4;
constexpr std::size_t at_received = 8;
constexpr std::size_t at_soft_ttl = 16;
constexpr std::size_t at_hard_ttl = 20;
constexpr std::size_t at_checksum = 24;
constexpr std::size_t at_epoch = 32;
constexpr std::size_t at_stamp = 40;
constexpr std::size_t at_flags = 48;
constexpr std::size_t at_format = 49;
constexpr std::size_t at_class = 50;
constexpr std::size_t at_tag_count = 51;
constexpr std::size_t at_fill_cost = 52;
constexpr std::size_t at_key_length = 56;
constexpr std::size_t at_raw_length = 60;
constexpr std::size_t at_stored_length = 64;
constexpr std::size_t at_zero = 68;

template <class T>
T load(const std::byte* base, std::size_t offset) noexcept {
    T value;
    std::memcpy(&value, base + offset, sizeof(T));
    return value;
}

template <class T>
void store(std::byte* base, std::size_t offset, T value) noexcept {
    std::memcpy(base + offset, &value, sizeof(T));
}

// The bytes before the checksum seed the hash of those after it.
std::uint64_t checksum_of(std::span<const std::byte> entry) noexcept {
    const std::uint64_t seed = XXH3_64bits(entry.data(), at_checksum);
    return XXH3_64bits_withSeed(entry.data() + at_epoch, entry.size() - at_epoch, seed);
}

void store_lifetime(std::byte* entry, const EntryLifetime& lifetime) noexcept {
    store(entry, at_age, lifetime.age_ms);
    store(entry, at_received, lifetime.received_at_ns);
    store(entry, at_soft_ttl, lifetime.soft_ttl_ms);
    store(entry, at_hard_ttl, lifetime.hard_ttl_ms);
}

std::uint64_t elapsed_ms(std::uint64_t since_ns, std::uint64_t now_ns) noexcept {
    return now_ns > since_ns ? (now_ns - since_ns) / 1'000'000U : 0;
}

// Stores the payload at `out`, compressed when that pays; returns the stored length and sets the LZ4 flag.
std::size_t store_payload(std::span<const std::byte> payload, std::span<std::byte> out,
                          Compression compression, std::uint8_t& flags) noexcept {
    flags &= static_cast<std::uint8_t>(~entry_lz4);
    if (compression == Compression::when_smaller) {
        const std::span<const std::byte> packed = compress_payload(payload, out);
        if (packed.size() < payload.size()) {
            flags |= entry_lz4;
            return packed.size();
        }
    }
    if (!payload.empty()) std::memcpy(out.data(), payload.data(), payload.size());
    return payload.size();
}

StatusCode decode_entry_head(std::span<const std::byte, entry_header_bytes> header,
                             EntryHead& head) noexcept {
    const std::byte* base = header.data();
    const auto magic = load<std::uint32_t>(base, 0);
    if (magic != entry_magic) {
        const bool other_version = (magic & magic_name_mask) == (entry_magic & magic_name_mask);
        return other_version ? StatusCode::version_mismatch : StatusCode::corrupt;
    }
    const auto flags = load<std::uint8_t>(base, at_flags);
    const auto format = load<std::uint8_t>(base, at_format);
    const auto data_class = load<std::uint8_t>(base, at_class);
    head.tag_count = load<std::uint8_t>(base, at_tag_count);
    head.key_length = load<std::uint32_t>(base, at_key_length);
    head.raw_length = load<std::uint32_t>(base, at_raw_length);
    head.stored_length = load<std::uint32_t>(base, at_stored_length);

    if ((flags & ~known_flags) != 0 || format > static_cast<std::uint8_t>(PayloadFormat::pg_tuples) ||
        data_class > static_cast<std::uint8_t>(DataClass::reference) ||
        load<std::uint32_t>(base, at_zero) != 0 || head.key_length > max_entry_key_bytes ||
        head.raw_length > max_entry_payload_bytes || head.stored_length > max_entry_payload_bytes) {
        return StatusCode::corrupt;
    }
    const bool compressed = (flags & entry_lz4) != 0;
    if (compressed ? head.stored_length >= head.raw_length : head.stored_length != head.raw_length)
        return StatusCode::corrupt;

    head.fields.lifetime = {load<std::uint64_t>(base, at_received), load<std::uint32_t>(base, at_age),
                            load<std::uint32_t>(base, at_soft_ttl), load<std::uint32_t>(base, at_hard_ttl)};
    head.fields.epoch = load<std::uint64_t>(base, at_epoch);
    head.fields.stamp = load<std::uint64_t>(base, at_stamp);
    head.fields.flags = flags;
    head.fields.format = static_cast<PayloadFormat>(format);
    head.fields.data_class = static_cast<DataClass>(data_class);
    head.fields.fill_cost_us = load<std::uint32_t>(base, at_fill_cost);
    head.checksum = load<std::uint64_t>(base, at_checksum);
    return StatusCode::ok;
}

}  // namespace

std::uint32_t EntryLifetime::age_ms_at(std::uint64_t now_ns) const noexcept {
    const std::uint64_t age = age_ms + elapsed_ms(received_at_ns, now_ns);
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(age, UINT32_MAX));
}

bool EntryLifetime::expired_at(std::uint64_t now_ns) const noexcept {
    return hard_ttl_ms != ttl_never_ms && elapsed_ms(received_at_ns, now_ns) >= hard_ttl_ms;
}

bool EntryLifetime::refresh_due_at(std::uint64_t now_ns) const noexcept {
    return soft_ttl_ms != ttl_never_ms && elapsed_ms(received_at_ns, now_ns) >= soft_ttl_ms;
}

EntryLifetime EntryLifetime::in_transit(std::uint64_t now_ns) const noexcept {
    const std::uint64_t passed_ms = elapsed_ms(received_at_ns, now_ns);
    const auto left = [passed_ms](std::uint32_t ttl_ms) {
        return ttl_ms == ttl_never_ms
                   ? ttl_ms
                   : static_cast<std::uint32_t>(ttl_ms - std::min<std::uint64_t>(ttl_ms, passed_ms));
    };
    return {0, age_ms_at(now_ns), left(soft_ttl_ms), left(hard_ttl_ms)};
}

Tag TagList::operator[](std::size_t i) const noexcept { return load<Tag>(bytes_.data(), i * sizeof(Tag)); }

std::span<const Tag> TagList::copy_to(std::span<Tag, max_entry_tags> out) const noexcept {
    const std::size_t count = std::min(size(), max_entry_tags);
    if (count > 0) std::memcpy(out.data(), bytes_.data(), count * sizeof(Tag));
    return out.first(count);
}

std::size_t encoded_entry_bound(std::size_t tag_count, std::size_t key_bytes,
                                std::size_t payload_bytes) noexcept {
    return entry_header_bytes + tag_count * sizeof(Tag) + key_bytes + payload_bytes;
}

std::span<const std::byte> compress_payload(std::span<const std::byte> payload,
                                            std::span<std::byte> out) noexcept {
    if (payload.size() <= compress_above_bytes) return payload;
    const auto limit = static_cast<int>(payload.size() - payload.size() / 8);
    const int written =
        LZ4_compress_default(reinterpret_cast<const char*>(payload.data()),
                             reinterpret_cast<char*>(out.data()), static_cast<int>(payload.size()), limit);
    return written > 0 ? out.first(static_cast<std::size_t>(written)) : payload;
}

Result<std::size_t> encode_entry(const EntryFields& fields, std::span<const Tag> tags,
                                 std::span<const std::byte> key, std::span<const std::byte> payload,
                                 std::span<std::byte> out, Compression compression) {
    if (tags.size() > max_entry_tags || key.size() > max_entry_key_bytes ||
        payload.size() > max_entry_payload_bytes) {
        return Status(StatusCode::too_large);
    }
    if (out.size() < encoded_entry_bound(tags.size(), key.size(), payload.size()))
        return Status(StatusCode::no_space);

    std::byte* base = out.data();
    std::size_t end = entry_header_bytes;
    if (!tags.empty()) std::memcpy(base + end, tags.data(), tags.size_bytes());
    end += tags.size_bytes();
    if (!key.empty()) std::memcpy(base + end, key.data(), key.size());
    end += key.size();
    std::uint8_t flags = fields.flags;
    const std::size_t stored = store_payload(payload, out.subspan(end), compression, flags);
    end += stored;

    EntryHead head{fields,
                   static_cast<std::uint32_t>(tags.size()),
                   static_cast<std::uint32_t>(key.size()),
                   static_cast<std::uint32_t>(payload.size()),
                   static_cast<std::uint32_t>(stored),
                   0};
    head.fields.flags = flags;
    write_entry_header(head, out.first<entry_header_bytes>());
    seal_entry(out.first(end));
    return end;
}

StatusCode decode_entry(std::span<const std::byte> bytes, EntryView& view) noexcept {
    if (bytes.size() < entry_header_bytes) return StatusCode::corrupt;
    EntryHead head;
    const StatusCode code = decode_entry_head(bytes.first<entry_header_bytes>(), head);
    if (code != StatusCode::ok) return code;
    const std::size_t tag_bytes = head.tag_count * sizeof(Tag);
    // No overflow: each length is at most 2^30.
    const std::size_t total = entry_header_bytes + tag_bytes + head.key_length + head.stored_length;
    if (total > bytes.size()) return StatusCode::corrupt;
    view.fields = head.fields;
    view.tags = TagList(bytes.subspan(entry_header_bytes, tag_bytes));
    view.key = bytes.subspan(entry_header_bytes + tag_bytes, head.key_length);
    view.stored_payload = bytes.subspan(entry_header_bytes + tag_bytes + head.key_length, head.stored_length);
    view.raw_length = head.raw_length;
    view.checksum = head.checksum;
    view.bytes = bytes.first(total);
    return StatusCode::ok;
}

void write_entry_header(const EntryHead& head, std::span<std::byte, entry_header_bytes> out) noexcept {
    std::byte* base = out.data();
    store(base, 0, entry_magic);
    store_lifetime(base, head.fields.lifetime);
    store(base, at_checksum, head.checksum);
    store(base, at_epoch, head.fields.epoch);
    store(base, at_stamp, head.fields.stamp);
    store(base, at_flags, head.fields.flags);
    store(base, at_format, head.fields.format);
    store(base, at_class, head.fields.data_class);
    store(base, at_tag_count, static_cast<std::uint8_t>(head.tag_count));
    store(base, at_fill_cost, head.fields.fill_cost_us);
    store(base, at_key_length, head.key_length);
    store(base, at_raw_length, head.raw_length);
    store(base, at_stored_length, head.stored_length);
    store(base, at_zero, std::uint32_t{0});
}

void seal_entry(std::span<std::byte> entry) noexcept { store(entry.data(), at_checksum, checksum_of(entry)); }

bool is_entry_of(std::span<const std::byte> bytes, std::span<const std::byte> key) noexcept {
    EntryView view;
    return decode_entry_of(bytes, key, view);
}

bool decode_entry_of(std::span<const std::byte> bytes, std::span<const std::byte> key,
                     EntryView& view) noexcept {
    return decode_entry(bytes, view) == StatusCode::ok && view.bytes.size() == bytes.size() &&
           view.key.size() == key.size() &&
           (key.empty() || std::memcmp(view.key.data(), key.data(), key.size()) == 0);
}

bool entry_checksum_ok(const EntryView& view) noexcept { return checksum_of(view.bytes) == view.checksum; }

StatusCode read_value(std::span<const std::byte> stored, bool compressed, std::uint32_t raw_length,
                      std::span<std::byte> out) noexcept {
    if (out.size() < raw_length) return StatusCode::no_space;
    if (!compressed) {
        if (stored.size() != raw_length) return StatusCode::corrupt;
        if (raw_length > 0) std::memcpy(out.data(), stored.data(), raw_length);
        return StatusCode::ok;
    }
    const int written =
        LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), reinterpret_cast<char*>(out.data()),
                            static_cast<int>(stored.size()), static_cast<int>(raw_length));
    const bool whole = written >= 0 && static_cast<std::uint32_t>(written) == raw_length;
    return whole ? StatusCode::ok : StatusCode::corrupt;
}

StatusCode read_payload(const EntryView& view, std::span<std::byte> out) noexcept {
    return read_value(view.stored_payload, view.compressed(), view.raw_length, out);
}

void set_entry_lifetime(std::span<std::byte> entry, const EntryLifetime& lifetime) noexcept {
    store_lifetime(entry.data(), lifetime);
    seal_entry(entry);
}

void set_entry_lifetime(std::span<std::byte> entry, const EntryLifetime& lifetime,
                        DataClass data_class) noexcept {
    store(entry.data(), at_class, data_class);
    set_entry_lifetime(entry, lifetime);
}

std::string_view to_string(PayloadFormat format) noexcept {
    switch (format) {
        case PayloadFormat::opaque:
            return "opaque";
        case PayloadFormat::json:
            return "json";
        case PayloadFormat::pg_wire:
            return "pg_wire";
        case PayloadFormat::pg_tuples:
            return "pg_tuples";
    }
    return "unknown";
}

std::string_view to_string(DataClass data_class) noexcept {
    switch (data_class) {
        case DataClass::hot:
            return "hot";
        case DataClass::warm:
            return "warm";
        case DataClass::cold:
            return "cold";
        case DataClass::reference:
            return "reference";
    }
    return "unknown";
}

bool parse_data_class(std::string_view name, DataClass& data_class) noexcept {
    constexpr std::array all = {DataClass::hot, DataClass::warm, DataClass::cold, DataClass::reference};
    for (const DataClass candidate : all) {
        if (name == to_string(candidate)) {
            data_class = candidate;
            return true;
        }
    }
    return false;
}

}  // namespace tiercache
