// An item: 16 bytes of header and one whole entry, at a multiple of unit_bytes in a block.
//
//   word 0   generation of the block 32 | bytes of the entry 32
//   word 1   place hash 48 | lowest 16 bits of the own offset in units
//   word 2   the entry
//
// An item never changes after its start bit is set. The header needs no checksum, because a reader believes
// none of it: the generation must be the block's, the offset the one it came by, the place hash the key's,
// the length must fit the block and be what the entry's own lengths add up to, and the key is compared.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm_cache/entry.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

inline constexpr std::size_t item_header_words = 2;
inline constexpr std::size_t item_header_bytes = item_header_words * word_bytes;

// The upper 48 bits of a key's hash: they choose the bucket. The lower 16 are the tag in the index slot, so
// a reader that found tag and place hash equal has compared 64 bits before it looks at the key.
[[nodiscard]] inline std::uint64_t place_hash(const KeyHash& hash) noexcept { return hash.low >> 16; }

struct ItemHeader {
    std::uint32_t generation = 0;
    std::uint32_t entry_bytes = 0;
    std::uint64_t place_hash = 0;
    std::uint16_t offset = 0;  // its lowest bits
};

[[nodiscard]] inline ItemHeader load_item_header(const Word* item) noexcept {
    const std::uint64_t first = item[0].load(word_load_order);
    const std::uint64_t second = item[1].load(word_load_order);
    return {static_cast<std::uint32_t>(first >> 32), static_cast<std::uint32_t>(first), second >> 16,
            static_cast<std::uint16_t>(second)};
}

inline void store_item(Word* item, const ItemHeader& header, std::span<const std::byte> entry) noexcept {
    item[0].store(std::uint64_t{header.generation} << 32 | header.entry_bytes, word_store_order);
    item[1].store(header.place_hash << 16 | header.offset, word_store_order);
    write_words(entry, item + item_header_words);
}

// The bits of an item's offset that its header repeats.
[[nodiscard]] inline std::uint16_t offset_mark(std::uint32_t offset) noexcept {
    return static_cast<std::uint16_t>(offset);
}

[[nodiscard]] inline std::uint64_t units_for(std::size_t entry_bytes) noexcept {
    return (item_header_bytes + entry_bytes + unit_bytes - 1) / unit_bytes;
}

[[nodiscard]] inline std::size_t entry_bytes_max(const Geometry& geometry) noexcept {
    return geometry.block_bytes - item_header_bytes;
}

// Can an entry of this length lie at `offset`?
[[nodiscard]] inline bool fits_block(const Geometry& geometry, std::uint32_t offset,
                                     std::uint32_t entry_bytes) noexcept {
    return entry_bytes >= entry_header_bytes && offset < geometry.units_per_block() &&
           entry_bytes <= geometry.block_bytes - offset * unit_bytes - item_header_bytes;
}

}  // namespace tiercache
