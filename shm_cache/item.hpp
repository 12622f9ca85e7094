// An item: an entry as it lies in a block, packed, at a multiple of unit_bytes.
//
//   word 0   generation of the block 32 | hard_ttl_ms 32
//   word 1   place hash 48 | lowest 16 bits of the own offset in units
//   word 2   key length 20 | stored length 22 | tag count 8 | flags 4 | format 2 | class 2 | extras 6
//   word 3   received_at_ns
//            one word for each extra that the item has (ItemExtra), in the order of their bits
//            tags (8 bytes each), key, stored value; zeros up to the next unit
//
// Nothing of an entry is lost: what has no word here has its default value. An item never changes after its
// start bit is set. The header needs no checksum, because a reader believes none of it: the generation must
// be the block's, the offset the one it came by, the place hash the key's, the lengths must fit the block,
// and the key is compared.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "shm_cache/entry.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

inline constexpr std::size_t item_header_words = 4;
inline constexpr std::size_t item_header_bytes = item_header_words * word_bytes;
static_assert(item_header_bytes == item_bytes_min);
static_assert(unit_bytes == word_bytes);

// The other flags are for entries that no tier keeps.
inline constexpr unsigned storable_flags = entry_lz4 | entry_negative;

// Flags that no stored entry has, of a value that is too large for one item (parts.hpp).
enum ItemFlags : std::uint8_t {
    item_part = 4,  // some of its bytes, under a PartKey
    item_head = 8,  // its stored bytes are a PartsNote
};

inline constexpr std::size_t item_key_bytes_max = (std::size_t{1} << 20) - 1;
inline constexpr std::size_t item_stored_bytes_max = (std::size_t{1} << 22) - 1;

// Words that an item has only when they say something.
enum ItemExtra : std::uint8_t {
    item_epoch = 1,
    item_stamp = 2,
    item_refresh = 4,    // soft_ttl_ms 32 | fill_cost_us 32; else never, and 0
    item_age = 8,        // age_ms 32 | raw length 32; else 0, and the stored length
    item_checksum = 16,  // of the entry that the item was made of; else it is computed when one is made again
};

// The upper 48 bits of a key's hash: they choose the bucket. The lower 16 are the tag in the index slot, so
// a reader that found tag and place hash equal has compared 64 bits before it looks at the key.
[[nodiscard]] inline std::uint64_t place_hash(const KeyHash& hash) noexcept { return hash.low >> 16; }

// The bits of an item's offset that its header repeats.
[[nodiscard]] inline std::uint16_t offset_mark(std::uint32_t offset) noexcept {
    return static_cast<std::uint16_t>(offset);
}

// Where the tags of an item begin, by its extras; only five of the six bits have a meaning.
inline constexpr auto item_tags_offsets = [] {
    std::array<std::uint8_t, 64> offsets{};
    for (unsigned extras = 0; extras < offsets.size(); ++extras) {
        const auto words = static_cast<std::size_t>(std::popcount(extras & 31));
        offsets[extras] = static_cast<std::uint8_t>(item_header_bytes + words * word_bytes);
    }
    return offsets;
}();
[[nodiscard]] inline std::size_t item_tags_at(unsigned extras) noexcept {
    return item_tags_offsets[extras & 63];
}

[[nodiscard]] inline std::uint64_t item_second_word(std::uint64_t place_hash, std::uint32_t offset) noexcept {
    return place_hash << 16 | offset_mark(offset);
}

// What the first four words say; offsets are in bytes from the item's start. The lengths are as large as
// their bits allow until fits_block() has bounded them.
struct ItemHeader {
    std::uint32_t generation = 0;
    std::uint32_t hard_ttl_ms = ttl_never_ms;
    std::uint64_t place_hash = 0;
    std::uint64_t received_at_ns = 0;
    std::uint32_t key_length = 0;
    std::uint32_t stored_length = 0;
    std::uint16_t offset = 0;  // its lowest bits
    std::uint8_t tag_count = 0;
    std::uint8_t flags = 0;  // EntryFlags that are stored, ItemFlags
    std::uint8_t format = 0;
    std::uint8_t data_class = 0;
    std::uint8_t extras = 0;

    [[nodiscard]] std::size_t tags_at() const noexcept { return item_tags_at(extras); }
    [[nodiscard]] std::size_t key_at() const noexcept { return tags_at() + tag_count * sizeof(Tag); }
    [[nodiscard]] std::size_t value_at() const noexcept { return key_at() + key_length; }
    [[nodiscard]] std::size_t bytes() const noexcept { return value_at() + stored_length; }
    [[nodiscard]] std::uint64_t units() const noexcept { return (bytes() + unit_bytes - 1) / unit_bytes; }
    [[nodiscard]] bool compressed() const noexcept { return (flags & entry_lz4) != 0; }
    [[nodiscard]] bool in_parts() const noexcept { return (flags & (item_part | item_head)) != 0; }
    // Of the entry that the item stands for.
    [[nodiscard]] std::size_t entry_bytes() const noexcept {
        return bytes() - tags_at() + entry_header_bytes;
    }
};

// The same four words as they lie: a reader looks at few of their fields, and unpacks them where it does.
struct ItemWords {
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    std::uint64_t received_at_ns = 0;

    [[nodiscard]] std::uint32_t generation() const noexcept {
        return static_cast<std::uint32_t>(first >> 32);
    }
    [[nodiscard]] std::uint32_t hard_ttl_ms() const noexcept { return static_cast<std::uint32_t>(first); }
    [[nodiscard]] std::uint64_t place_hash() const noexcept { return second >> 16; }
    [[nodiscard]] std::uint16_t offset() const noexcept { return static_cast<std::uint16_t>(second); }
    [[nodiscard]] std::size_t key_length() const noexcept { return third >> 44; }
    [[nodiscard]] std::size_t stored_length() const noexcept { return third >> 22 & item_stored_bytes_max; }
    [[nodiscard]] std::size_t tag_count() const noexcept { return third >> 14 & 0xff; }
    [[nodiscard]] unsigned flags() const noexcept { return static_cast<unsigned>(third >> 10 & 15); }
    [[nodiscard]] unsigned format() const noexcept { return static_cast<unsigned>(third >> 8 & 3); }
    [[nodiscard]] unsigned data_class() const noexcept { return static_cast<unsigned>(third >> 6 & 3); }
    [[nodiscard]] unsigned extras() const noexcept { return static_cast<unsigned>(third & 63); }
    [[nodiscard]] bool compressed() const noexcept { return (flags() & entry_lz4) != 0; }
    [[nodiscard]] bool in_parts() const noexcept { return (flags() & (item_part | item_head)) != 0; }
    [[nodiscard]] std::size_t tags_at() const noexcept { return item_tags_at(extras()); }
    [[nodiscard]] std::size_t key_at() const noexcept { return tags_at() + tag_count() * sizeof(Tag); }
    [[nodiscard]] std::size_t value_at() const noexcept { return key_at() + key_length(); }
    [[nodiscard]] std::size_t bytes() const noexcept { return value_at() + stored_length(); }
    // Nothing but a key, a value and a lifetime without a refresh: no extras, tags, flags or format.
    [[nodiscard]] bool plain() const noexcept {
        constexpr std::uint64_t all_but_lengths_and_class = 0x3fff3f;
        return (third & all_but_lengths_and_class) == 0;
    }
    [[nodiscard]] ItemHeader header() const noexcept {
        ItemHeader h;
        h.generation = generation();
        h.hard_ttl_ms = hard_ttl_ms();
        h.place_hash = place_hash();
        h.offset = offset();
        h.key_length = static_cast<std::uint32_t>(key_length());
        h.stored_length = static_cast<std::uint32_t>(stored_length());
        h.tag_count = static_cast<std::uint8_t>(tag_count());
        h.flags = static_cast<std::uint8_t>(flags());
        h.format = static_cast<std::uint8_t>(format());
        h.data_class = static_cast<std::uint8_t>(data_class());
        h.extras = static_cast<std::uint8_t>(extras());
        h.received_at_ns = received_at_ns;
        return h;
    }
};

// An item that is plain().
struct PlainItem {
    const Word* item;
    std::size_t value_at;  // bytes from the item's start
    std::size_t stored_length;
    std::uint32_t hard_ttl_ms;

    [[nodiscard]] std::uint64_t received_at_ns() const noexcept { return item[3].load(word_load_order); }
};

[[nodiscard]] inline ItemWords load_item_words(const Word* item) noexcept {
    return {item[0].load(word_load_order), item[1].load(word_load_order), item[2].load(word_load_order),
            item[3].load(word_load_order)};
}
[[nodiscard]] inline ItemHeader load_item_header(const Word* item) noexcept {
    return load_item_words(item).header();
}

// Does an item of so many bytes fit the block that it lies in at `offset`?
[[nodiscard]] inline bool fits_block(const Geometry& geometry, std::uint32_t offset,
                                     std::size_t bytes) noexcept {
    return std::uint64_t{offset} * unit_bytes + bytes <= geometry.block_bytes;
}
// May a header be read at `offset`?
[[nodiscard]] inline bool header_fits_block(const Geometry& geometry, std::uint32_t offset) noexcept {
    return fits_block(geometry, offset, item_header_bytes);
}

// Is it, by its header, the item of that generation and place? All that follows is then what a put() left,
// as long as the block's generation stays.
[[nodiscard]] inline bool names_item(const Geometry& geometry, const ItemWords& words,
                                     std::uint32_t generation, std::uint32_t offset) noexcept {
    return words.generation() == generation && words.offset() == offset_mark(offset) &&
           fits_block(geometry, offset, words.bytes());
}

// Has the item this key? Only after names_item().
[[nodiscard, gnu::always_inline]] inline bool has_key(const Word* item, const ItemWords& words,
                                                      std::span<const std::byte> key) noexcept {
    return words.key_length() == key.size() && equals_words(item + words.key_at() / word_bytes, key);
}

// Until when an item may be used, on the host's monotonic clock; UINT64_MAX: for ever.
[[nodiscard]] inline std::uint64_t expires_at_ns(std::uint64_t received_at_ns,
                                                 std::uint32_t hard_ttl_ms) noexcept {
    if (hard_ttl_ms == ttl_never_ms) return UINT64_MAX;
    const std::uint64_t ttl_ns = std::uint64_t{hard_ttl_ms} * 1'000'000;
    return received_at_ns > UINT64_MAX - ttl_ns ? UINT64_MAX : received_at_ns + ttl_ns;
}
[[nodiscard]] inline std::uint64_t item_expires_at_ns(const Word* item) noexcept {
    return expires_at_ns(item[3].load(word_load_order),
                         static_cast<std::uint32_t>(item[0].load(word_load_order)));
}

// Copies a whole item to another place, whose generation and offset its header gets.
inline void copy_item(const Word* from, Word* to, std::uint64_t units, std::uint32_t generation,
                      std::uint16_t offset) noexcept {
    to[0].store(std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(from[0].load(word_load_order)),
                word_store_order);
    to[1].store(from[1].load(word_load_order) >> 16 << 16 | offset, word_store_order);
    for (std::uint64_t i = 2; i < units; ++i) to[i].store(from[i].load(word_load_order), word_store_order);
}

// What an item is made of. Borrows everything.
struct ItemContent {
    EntryFields fields;
    std::span<const std::byte> tags;
    std::span<const std::byte> key;
    std::span<const std::byte> stored;
    std::uint32_t raw_length = 0;
    std::uint8_t kind = 0;  // ItemFlags
    bool sealed = false;    // it comes from an entry, whose checksum is kept
    std::uint64_t checksum = 0;

    static ItemContent of(const EntryView& entry) noexcept;
    // All but generation, place hash and offset. Only when storable().
    [[nodiscard]] ItemHeader header() const noexcept;
    // Are all lengths such that an item can say them?
    [[nodiscard]] bool storable() const noexcept;
};

// Writes the item; `header` is content.header(), complete.
void store_item(Word* item, const ItemHeader& header, const ItemContent& content) noexcept;

// The fields and the raw length of an item; returns the checksum, 0 where it has none. Each field is written
// where it will be read: a copy of the whole, right after its parts were written, would wait for them.
inline std::uint64_t load_item_fields(const Word* item, const ItemWords& words, EntryFields& fields,
                                      std::uint32_t& raw_length) noexcept {
    const Word* extra = item + item_header_words;
    const unsigned extras = words.extras();
    fields = {};
    fields.lifetime.received_at_ns = words.received_at_ns;
    fields.lifetime.hard_ttl_ms = words.hard_ttl_ms();
    fields.flags = static_cast<std::uint8_t>(words.flags() & storable_flags);
    fields.format = static_cast<PayloadFormat>(words.format());
    fields.data_class = static_cast<DataClass>(words.data_class());
    raw_length = static_cast<std::uint32_t>(words.stored_length());
    if (extras == 0) return 0;
    if ((extras & item_epoch) != 0) fields.epoch = (extra++)->load(word_load_order);
    if ((extras & item_stamp) != 0) fields.stamp = (extra++)->load(word_load_order);
    if ((extras & item_refresh) != 0) {
        const std::uint64_t word = (extra++)->load(word_load_order);
        fields.lifetime.soft_ttl_ms = static_cast<std::uint32_t>(word >> 32);
        fields.fill_cost_us = static_cast<std::uint32_t>(word);
    }
    if ((extras & item_age) != 0) {
        const std::uint64_t word = (extra++)->load(word_load_order);
        fields.lifetime.age_ms = static_cast<std::uint32_t>(word >> 32);
        raw_length = static_cast<std::uint32_t>(word);
    }
    return (extras & item_checksum) != 0 ? extra->load(word_load_order) : 0;
}

// Can a value have these lengths?
[[nodiscard]] inline bool plausible(bool compressed, std::uint64_t stored_length,
                                    std::uint32_t raw_length) noexcept {
    return compressed ? stored_length < raw_length && raw_length <= max_entry_payload_bytes
                      : stored_length == raw_length;
}
// Can an item that is a whole value have these lengths and flags? Nothing else of a header can be wrong.
[[nodiscard]] inline bool plausible(const ItemWords& words, std::uint32_t raw_length) noexcept {
    return plausible(words.compressed(), words.stored_length(), raw_length);
}

// The most an entry may have to be stored as one item, whatever its extras.
[[nodiscard]] inline std::size_t entry_bytes_max(const Geometry& geometry) noexcept {
    constexpr std::size_t extras_max = 5;
    return geometry.block_bytes - item_header_bytes - extras_max * word_bytes + entry_header_bytes;
}

}  // namespace tiercache
