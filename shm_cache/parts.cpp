#include "shm_cache/parts.hpp"

#include <algorithm>
#include <atomic>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

constexpr std::size_t small_block_part_bytes = std::size_t{16} << 10;
constexpr int looks_max = 4;

bool same_nonce(const std::uint64_t (&a)[2], const std::uint64_t (&b)[2]) noexcept {
    return a[0] == b[0] && a[1] == b[1];
}

// Does the slot name the head of this part?
bool names_head(const Geometry& geometry, const BlockTable& blocks, const Slot& slot,
                const PartKey& part) noexcept {
    if (slot.block >= blocks.count() || !header_fits_block(geometry, slot.offset)) return false;
    const BlockState state = blocks.state(slot.block);
    if (!slot.current(state)) return false;
    const Word* item = blocks.item(slot.block, slot.offset);
    const ItemWords words = load_item_words(item);
    if (!names_item(geometry, words, state.generation, slot.offset)) return false;
    const ItemHeader header = words.header();
    PartsNote note{};
    if ((header.flags & item_head) == 0 || header.stored_length != sizeof(note)) return false;
    read_bytes(item, header.value_at(), reinterpret_cast<std::byte*>(&note), sizeof(note));
    after_read();
    return blocks.generation_after_read(slot.block) == state.generation &&
           same_nonce(note.nonce, part.nonce) && note.head == part.head;
}

}  // namespace

std::size_t part_bytes(const Geometry& geometry) noexcept {
    const std::size_t sixteenth = geometry.block_bytes / 16;
    const std::size_t quarter = geometry.block_bytes / 4;
    return std::max(sixteenth, std::min(quarter, small_block_part_bytes)) - item_header_bytes -
           sizeof(PartKey);
}

std::size_t value_bytes_max(const Geometry& geometry) noexcept {
    const std::size_t item = entry_bytes_max(geometry) - entry_header_bytes;
    const std::uint64_t quarter = geometry.block_count * geometry.block_bytes / 4;
    const std::uint64_t parts = quarter / (part_bytes(geometry) + item_header_bytes + sizeof(PartKey));
    return std::max(item, std::min<std::size_t>(parts * part_bytes(geometry), large_value_bytes_max));
}

// A process slot has one process at a time; within it, and over its lives, the time tells puts apart.
void make_nonce(const Owner& self, std::uint64_t (&nonce)[2]) noexcept {
    static std::atomic<std::uint64_t> last{0};
    std::uint64_t before = last.load(std::memory_order_relaxed);
    std::uint64_t mine = 0;
    // Relaxed: only that no two threads get the same.
    do {
        mine = std::max(before + 1, monotonic_ns());
    } while (!last.compare_exchange_weak(before, mine, std::memory_order_relaxed));
    nonce[0] = std::uint64_t{self.slot} << 16 | self.incarnation;
    nonce[1] = mine;
}

bool read_parts_note(const Geometry& geometry, const Word* item, const ItemHeader& header,
                     std::uint32_t raw_length, PartsNote& note) noexcept {
    if ((header.flags & (item_head | item_part)) != item_head || header.stored_length != sizeof(note)) {
        return false;
    }
    read_bytes(item, header.value_at(), reinterpret_cast<std::byte*>(&note), sizeof(note));
    return note.stored_length > 0 && note.stored_length <= value_bytes_max(geometry) &&
           plausible(header.compressed(), note.stored_length, raw_length);
}

bool read_part_key(const Word* item, const ItemHeader& header, PartKey& key) noexcept {
    if ((header.flags & item_part) == 0 || header.key_length != sizeof(key)) return false;
    read_bytes(item, header.key_at(), reinterpret_cast<std::byte*>(&key), sizeof(key));
    return true;
}

Index::ItemSlot find_head(const Geometry& geometry, const BlockTable& blocks, const Index& index,
                          const PartKey& part) noexcept {
    const KeyHash hash{part.head, 0};
    const Index::Candidates candidates = index.candidates(place_hash(hash));
    for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
        for (int look = 0; look < looks_max; ++look) {
            // Acquire: pairs with publish().
            const std::uint64_t seen = candidates[i].load(std::memory_order_acquire);
            const Slot slot = Slot::unpack(seen);
            if (slot.tag != slot_tag(hash)) break;
            if (names_head(geometry, blocks, slot, part)) return {&candidates[i], slot};
            // Copied forward meanwhile?
            after_read();
            if (candidates[i].load(word_load_order) == seen) break;
        }
    }
    return {};
}

}  // namespace tiercache
