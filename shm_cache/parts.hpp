// Values that are too large for one item: up to a quarter of the segment, 64 MiB at most.
//
//   P1  the parts, each an item of its own under a key that no user's item can be mistaken for
//   P2  the head, an item under the value's key: its tags and fields, and in place of the value a PartsNote
//   P3  before P2, and again after it: those parts that reclamation has dropped meanwhile
//
// The head is published last, as any item. Whoever finds it reads the parts one by one, each proven by its
// block's generation as any item is; one that is missing makes the whole a miss. The nonce belongs to one put
// alone, so that what comes together is one put's value, whoever replaces it meanwhile.
//
// Parts live as long as their head. A reader that misses one takes the head out, and so does reclamation when
// it drops one; and reclamation keeps no part whose head is gone, however often it was read: replaced,
// erased, evicted, or of a writer that died before P2. So what is left of a value goes when its block's turn
// comes, as all dead items do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "shm_cache/index.hpp"
#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"

namespace tiercache {

struct PartsNote {
    std::uint64_t nonce[2];
    std::uint64_t head;  // the low hash of the value's key
    std::uint64_t stored_length;
};
struct PartKey {
    std::uint64_t nonce[2];
    std::uint64_t head;
    std::uint64_t number;

    static PartKey first_of(const PartsNote& note) noexcept {
        return {{note.nonce[0], note.nonce[1]}, note.head, 0};
    }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return std::as_bytes(std::span(this, 1));
    }
};

inline constexpr std::size_t large_value_bytes_max = std::size_t{64} << 20;

// The bytes of the value in one part; the last one has what is left. So small that little is left over at a
// block's end, so large that their headers don't count.
[[nodiscard]] std::size_t part_bytes(const Geometry& geometry) noexcept;

// The longest value that a segment takes, stored, in parts or not.
[[nodiscard]] std::size_t value_bytes_max(const Geometry& geometry) noexcept;

// A nonce that no other put of any process has.
void make_nonce(const Owner& self, std::uint64_t (&nonce)[2]) noexcept;

// What a head or a part says of itself; false when it can't be true. Only after names_item(), and true only
// if the block's generation is the same afterwards.
[[nodiscard]] bool read_parts_note(const Geometry& geometry, const Word* item, const ItemHeader& header,
                                   std::uint32_t raw_length, PartsNote& note) noexcept;
[[nodiscard]] bool read_part_key(const Word* item, const ItemHeader& header, PartKey& key) noexcept;

// The slot of the head that a part belongs to; none when there is no such head any more.
[[nodiscard]] Index::ItemSlot find_head(const Geometry& geometry, const BlockTable& blocks,
                                        const Index& index, const PartKey& part) noexcept;

}  // namespace tiercache
