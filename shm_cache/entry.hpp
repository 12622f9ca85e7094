// The entry: one result, or one value, in the one binary format of every tier.
//
//   offset  size  field
//        0     4  magic "TCE" and the format version
//        4     4  age_ms          age of the value at received_at_ns
//        8     8  received_at_ns  this host's monotonic time of arrival; 0 in transit
//       16     4  soft_ttl_ms     from received_at_ns: refresh is due after it
//       20     4  hard_ttl_ms     from received_at_ns: not served after it
//       24     8  checksum        XXH3-64 of all other bytes of the entry
//       32     8  epoch           which life of which authority the stamp belongs to
//       40     8  stamp           clock of the snapshot that the value was computed from
//       48     1  flags           EntryFlags
//       49     1  format          PayloadFormat
//       50     1  class           DataClass
//       51     1  tag_count
//       52     4  fill_cost_us    what it cost to compute
//       56     4  key_length
//       60     4  raw_length      of the payload
//       64     4  stored_length   of the payload, compressed or not
//       68     4  zero
//       72        tags (8 bytes each), key, stored payload
//
// Little-endian, self-delimiting. A decoder trusts nothing: any byte string gives an entry or an error and
// never a read out of bounds. Functions here hold no state and are safe from any thread; they do not throw.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "shm_cache/hash.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

enum class PayloadFormat : std::uint8_t {
    opaque = 0,     // the user's bytes
    json = 1,       // one JSON value, UTF-8
    pg_wire = 2,    // RowDescription and DataRow messages of the PostgreSQL protocol
    pg_tuples = 3,  // MinimalTuples; meaningful only inside the server that made them
};

// Data classification: gives TTLs per tier and eviction priority.
enum class DataClass : std::uint8_t { hot = 0, warm = 1, cold = 2, reference = 3 };

enum EntryFlags : std::uint8_t {
    entry_lz4 = 1,       // the payload is stored compressed
    entry_negative = 2,  // "there is no such thing" is the value
    entry_no_store = 4,  // an answer for its receiver only: its stamp is not known, so no tier may keep it
    entry_standby = 8,   // computed on a standby, so of unknown age; always with entry_no_store
};

inline constexpr std::size_t entry_header_bytes = 72;
inline constexpr std::size_t max_entry_tags = 255;
inline constexpr std::size_t max_entry_key_bytes = std::size_t{1} << 20;
inline constexpr std::size_t max_entry_payload_bytes = std::size_t{1} << 30;

inline constexpr std::uint32_t ttl_never_ms = UINT32_MAX;

// How long an entry may be used, on the clock of the host that holds it.
struct EntryLifetime {
    std::uint64_t received_at_ns = 0;
    std::uint32_t age_ms = 0;
    std::uint32_t soft_ttl_ms = ttl_never_ms;
    std::uint32_t hard_ttl_ms = ttl_never_ms;

    // Age of the value at the monotonic time `now_ns`; saturates.
    [[nodiscard]] std::uint32_t age_ms_at(std::uint64_t now_ns) const noexcept;
    [[nodiscard]] bool expired_at(std::uint64_t now_ns) const noexcept;
    [[nodiscard]] bool refresh_due_at(std::uint64_t now_ns) const noexcept;
    // For the next tier: the age as of now, and what is left of the times to live.
    [[nodiscard]] EntryLifetime in_transit(std::uint64_t now_ns) const noexcept;
    bool operator==(const EntryLifetime&) const = default;
};

// What an entry says of itself, apart from its bytes.
struct EntryFields {
    EntryLifetime lifetime;
    std::uint64_t epoch = 0;
    std::uint64_t stamp = 0;
    std::uint8_t flags = 0;
    PayloadFormat format = PayloadFormat::opaque;
    DataClass data_class = DataClass::warm;
    std::uint32_t fill_cost_us = 0;
};

// The tags of an encoded entry; they need not be aligned in memory.
class TagList {
 public:
    TagList() = default;
    explicit TagList(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size() / sizeof(Tag); }
    [[nodiscard]] Tag operator[](std::size_t i) const noexcept;
    // Copies all tags to the front of `out` and returns them.
    [[nodiscard]] std::span<const Tag> copy_to(std::span<Tag, max_entry_tags> out) const noexcept;

 private:
    std::span<const std::byte> bytes_;
};

// A decoded entry. Borrows the bytes it was decoded from.
struct EntryView {
    EntryFields fields;
    TagList tags;
    std::span<const std::byte> key;
    std::span<const std::byte> stored_payload;
    std::uint32_t raw_length = 0;
    std::uint64_t checksum = 0;
    std::span<const std::byte> bytes;  // the whole entry, without anything that followed it

    [[nodiscard]] bool compressed() const noexcept { return (fields.flags & entry_lz4) != 0; }
};

// The most bytes that encode_entry() can need.
[[nodiscard]] std::size_t encoded_entry_bound(std::size_t tag_count, std::size_t key_bytes,
                                              std::size_t payload_bytes) noexcept;

// `when_smaller`: a payload of more than 1 KiB, when that saves at least 1/8.
enum class Compression : std::uint8_t { when_smaller, none };

// The payload as it is stored: compressed at the front of `out`, which is as long, where that pays; else
// itself.
[[nodiscard]] std::span<const std::byte> compress_payload(std::span<const std::byte> payload,
                                                          std::span<std::byte> out) noexcept;

// Writes an entry to the front of `out` and returns its length. `fields.flags`' LZ4 bit is set here, not by
// the caller. Errors: too_large (tags, key or payload over their limits), no_space (`out` is too small).
Result<std::size_t> encode_entry(const EntryFields& fields, std::span<const Tag> tags,
                                 std::span<const std::byte> key, std::span<const std::byte> payload,
                                 std::span<std::byte> out,
                                 Compression compression = Compression::when_smaller);

// Checks the structure of `bytes` and describes it in `view`; bytes after the entry's end are ignored.
// Does not read the payload. Never allocates. Errors: corrupt, version_mismatch; both without a message.
[[nodiscard]] StatusCode decode_entry(std::span<const std::byte> bytes, EntryView& view) noexcept;

// What an entry's first bytes say; for those who make an entry of parts that they have already.
struct EntryHead {
    EntryFields fields;
    std::uint32_t tag_count = 0;
    std::uint32_t key_length = 0;
    std::uint32_t raw_length = 0;
    std::uint32_t stored_length = 0;
    std::uint64_t checksum = 0;
};
// Writes the header and nothing after it. The head is believed.
void write_entry_header(const EntryHead& head, std::span<std::byte, entry_header_bytes> out) noexcept;
// Gives a whole entry the checksum of its bytes.
void seal_entry(std::span<std::byte> entry) noexcept;

// Are `bytes` exactly one entry, and of this key? `view` describes it then.
[[nodiscard]] bool decode_entry_of(std::span<const std::byte> bytes, std::span<const std::byte> key,
                                   EntryView& view) noexcept;
[[nodiscard]] bool is_entry_of(std::span<const std::byte> bytes, std::span<const std::byte> key) noexcept;

// Is each byte what encode_entry() or set_entry_lifetime() left? For bytes that crossed a network or a disk.
[[nodiscard]] bool entry_checksum_ok(const EntryView& view) noexcept;

// Writes the payload, decompressed, to `out` (raw_length bytes or more). Errors: corrupt, no_space.
// Call it on bytes that nobody else can change meanwhile: a private copy.
[[nodiscard]] StatusCode read_payload(const EntryView& view, std::span<std::byte> out) noexcept;
// The same for stored bytes that came without their entry (Segment::get_value()).
[[nodiscard]] StatusCode read_value(std::span<const std::byte> stored, bool compressed,
                                    std::uint32_t raw_length, std::span<std::byte> out) noexcept;

// Replaces the lifetime (and, by the second form, the class) of an encoded entry and its checksum; this is
// how an entry is handed from tier to tier. `entry` is one whole entry that decode_entry() accepted.
void set_entry_lifetime(std::span<std::byte> entry, const EntryLifetime& lifetime) noexcept;
void set_entry_lifetime(std::span<std::byte> entry, const EntryLifetime& lifetime,
                        DataClass data_class) noexcept;

[[nodiscard]] std::string_view to_string(PayloadFormat format) noexcept;
[[nodiscard]] std::string_view to_string(DataClass data_class) noexcept;
// False when `name` is no class.
[[nodiscard]] bool parse_data_class(std::string_view name, DataClass& data_class) noexcept;

}  // namespace tiercache
