// Blocks: the unit of reclamation. Items are appended to an open block, and all die together.
//
//   FREE -> OPEN -> SEALED -> RECLAIMING -> RECLAIMING, odd generation -> FREE of the next even generation
//
// Everything about a block's life is one 64-bit word {generation, phase, stream, owner}, changed by CAS only.
// Invariants:
//  - A generation only grows. While it is even, every item that an index slot names is whole; before any byte
//    of a block is used again its generation has been odd. So a reader that saw the same generation before
//    and after its copy has a whole item.
//  - Bytes are written only to space that was reserved from an OPEN block, by a writer that pins the block
//    (process_table.hpp) and saw it OPEN after the pin. RECLAIMING begins before the pins are looked at. So
//    a pinned block does not leave SEALED, however long its writer is stopped.
//  - Space is reserved by one fetch_add and never returned; a reserved place without a start bit is a hole
//    that a dead writer left.
//
// Which block is open for whom is in stream.hpp, how blocks become free again in reclaim.hpp.
//
// Any word may have been overwritten with anything: numbers from shared memory are bounded before use.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "shm_cache/entry.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

// A life of a process slot: who reclaims a block.
struct Owner {
    std::uint16_t slot = 0;         // 12 bits
    std::uint16_t incarnation = 0;  // 14 bits
    static constexpr std::uint16_t incarnation_bits(std::uint32_t incarnation) noexcept {
        return static_cast<std::uint16_t>(incarnation & 0x3fff);
    }
    bool operator==(const Owner&) const = default;
};

// New items go to small, those that were wanted again to main (eviction.hpp).
enum class Queue : std::uint8_t { small = 0, main = 1 };

inline constexpr std::size_t class_count = 4;
static_assert(stream_count == 2 * class_count);

// What the items of a block have in common: a queue and a class.
struct Stream {
    Queue queue = Queue::small;
    DataClass data_class = DataClass::hot;

    [[nodiscard]] constexpr std::size_t index() const noexcept {
        return static_cast<std::size_t>(queue) * class_count + static_cast<std::size_t>(data_class);
    }
    static constexpr Stream from_index(std::size_t index) noexcept {
        return {static_cast<Queue>(index / class_count % 2), static_cast<DataClass>(index % class_count)};
    }
    bool operator==(const Stream&) const = default;
};

enum class BlockPhase : std::uint8_t { invalid = 0, free = 1, open = 2, sealed = 3, reclaiming = 4 };

// A pin that was set while the block is in one of these was seen, or will be, by its reclaimer.
[[nodiscard]] constexpr bool may_be_pinned(BlockPhase phase) noexcept {
    return phase == BlockPhase::open || phase == BlockPhase::sealed;
}

struct BlockState {
    std::uint32_t generation = 0;
    BlockPhase phase = BlockPhase::invalid;
    Owner owner;    // only while reclaiming
    Stream stream;  // from OPEN on; the first one while FREE

    // generation 32 | phase 3 | stream 3 | owner's slot 12 | owner's incarnation 14. Whatever a word holds,
    // packing what was unpacked gives it again.
    [[nodiscard]] std::uint64_t pack() const noexcept {
        return std::uint64_t{generation} << 32 | std::uint64_t{static_cast<std::uint8_t>(phase) & 7U} << 29 |
               std::uint64_t{stream.index()} << 26 | (std::uint64_t{owner.slot} & 0xfff) << 14 |
               Owner::incarnation_bits(owner.incarnation);
    }
    static BlockState unpack(std::uint64_t word) noexcept {
        return {static_cast<std::uint32_t>(word >> 32), static_cast<BlockPhase>(word >> 29 & 7),
                Owner{static_cast<std::uint16_t>(word >> 14 & 0xfff),
                      Owner::incarnation_bits(static_cast<std::uint32_t>(word))},
                Stream::from_index(word >> 26 & 7)};
    }
    bool operator==(const BlockState&) const = default;
};

// A block in one of its lives, as the words in the header and the pins name it. Never 0; unpacked, 0 names a
// block that no segment has.
struct BlockLife {
    std::uint32_t block = 0;
    std::uint32_t generation = 0;

    [[nodiscard]] std::uint64_t pack() const noexcept {
        return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(block + 1);
    }
    static BlockLife unpack(std::uint64_t word) noexcept {
        return {static_cast<std::uint32_t>(word) - 1, static_cast<std::uint32_t>(word >> 32)};
    }
    bool operator==(const BlockLife&) const = default;
};

inline constexpr std::uint32_t first_generation = 2;

class BlockTable {
 public:
    BlockTable() = default;
    BlockTable(std::byte* memory, const Geometry& geometry) noexcept;

    // All blocks FREE.
    void format() noexcept;

    [[nodiscard]] std::uint32_t count() const noexcept { return block_count_; }

    // Acquire: pairs with the release of the CAS that made the state.
    [[nodiscard]] BlockState state(std::uint32_t block) const noexcept {
        return BlockState::unpack(states_[block].load(std::memory_order_acquire));
    }
    // For the second look after a pin: sequentially consistent, pairs with the CAS to RECLAIMING in
    // reclaim.cpp. Either this load sees RECLAIMING, or the reclaimer sees the pin.
    [[nodiscard]] BlockState state_after_pin(std::uint32_t block) const noexcept {
        return BlockState::unpack(states_[block].load(std::memory_order_seq_cst));
    }
    // For the second look after a copy; after_read() has ordered it.
    [[nodiscard]] std::uint32_t generation_after_read(std::uint32_t block) const noexcept {
        return static_cast<std::uint32_t>(states_[block].load(std::memory_order_relaxed) >> 32);
    }
    // The word of a state, for who looks at it twice.
    [[nodiscard]] const Word& state_word(std::uint32_t block) const noexcept { return states_[block]; }
    bool change(std::uint32_t block, const BlockState& from, const BlockState& to) noexcept;

    // Reserves space; nothing when the block is full. Only with a pin.
    std::optional<std::uint32_t> reserve(std::uint32_t block, std::uint64_t units) noexcept;
    // How much of the block was reserved.
    [[nodiscard]] std::uint64_t filled_units(std::uint32_t block) const noexcept {
        const std::uint64_t units = reserved(block).load(std::memory_order_relaxed);
        return units < units_per_block_ ? units : units_per_block_;
    }
    // An item starts at `offset` and is complete.
    void mark_start(std::uint32_t block, std::uint32_t offset) noexcept;
    // Words of a block's bitmap of starts. A bit stands for as many units as the smallest item has, so for
    // one start at most.
    static constexpr std::uint32_t units_per_bit = item_bytes_min / unit_bytes;
    static constexpr std::uint32_t units_per_word = 64 * units_per_bit;
    [[nodiscard]] std::uint32_t start_words() const noexcept {
        return (units_per_block_ + units_per_word - 1) / units_per_word;
    }
    // Calls visit(offset) wherever an item may start by these words of the bitmap. Which of a bit's units it
    // is its header tells, by its generation and offset; what only looks like one, no index slot names.
    template <class Visit>
    void for_each_start(std::uint32_t block, std::uint32_t first, std::uint32_t end, Visit visit) const {
        const Word* bits = bitmap(block);
        for (std::uint32_t w = first; w < std::min(end, start_words()); ++w) {
            // Acquire: pairs with mark_start().
            for (std::uint64_t left = bits[w].load(std::memory_order_acquire); left != 0; left &= left - 1) {
                const auto bit = w * 64 + static_cast<std::uint32_t>(std::countr_zero(left));
                for (std::uint32_t at = bit * units_per_bit; at < (bit + 1) * units_per_bit; ++at) {
                    // No item, or a bit that was overwritten: there may be no room for a header.
                    if (at + item_bytes_min / unit_bytes <= units_per_block_) visit(at);
                }
            }
        }
    }
    // Forgets all items and reservations. Only while the generation is odd and the caller is the owner.
    void clear(std::uint32_t block) noexcept;

    // ---- the block's record: what reclamation goes by, forgotten by clear() ----

    // The block was opened as number `order` of all.
    void note_opened(std::uint32_t block, std::uint64_t order) noexcept;
    // How many blocks were opened since; a record that makes no sense is very old.
    [[nodiscard]] std::uint64_t age(std::uint32_t block, std::uint64_t opened) const noexcept;
    // An item of the block may be used until `ns`. Before the item is published, and with a pin.
    void note_expiry(std::uint32_t block, std::uint64_t ns) noexcept;
    // Has every item expired? Only of a block that is no longer open.
    [[nodiscard]] bool all_expired(std::uint32_t block, std::uint64_t now_ns) const noexcept;
    // Hands out the next `words` words of the bitmap to who evacuates them; the first one, or start_words()
    // or more when all have been handed out.
    std::uint32_t claim_words(std::uint32_t block, std::uint32_t words) noexcept;
    [[nodiscard]] bool evacuated(std::uint32_t block) const noexcept;
    // May `units` more be kept of this block, if all that is kept is at most `units_max`?
    bool keep_units(std::uint32_t block, std::uint64_t units, std::uint64_t units_max) noexcept;
    // From here on no more than this of the block is kept, of what has a whole block as its limit.
    void limit_kept(std::uint32_t block, std::uint64_t units_max) noexcept;

    // The block that an item lies in.
    [[nodiscard]] std::uint32_t block_of(const Word* item) const noexcept {
        const auto at = reinterpret_cast<const std::byte*>(item) - blocks_;
        return static_cast<std::uint32_t>(static_cast<std::uint64_t>(at) / block_bytes_);
    }
    // `offset` may be anything; the item must still pass fits_block() before more than its header is read.
    [[nodiscard]] Word* item(std::uint32_t block, std::uint32_t offset) const noexcept {
        return reinterpret_cast<Word*>(blocks_ + block * block_bytes_ + offset * unit_bytes);
    }

 private:
    struct Record {
        Word order;
        Word expiry_ns;
        Word claimed;  // words of the bitmap
        Word kept;     // units
    };
    static_assert(sizeof(Record) == block_record_bytes);

    [[nodiscard]] Word& reserved(std::uint32_t block) const noexcept {
        return *reinterpret_cast<Word*>(notes_ + block * note_bytes_);
    }
    [[nodiscard]] Word* bitmap(std::uint32_t block) const noexcept {
        return reinterpret_cast<Word*>(notes_ + block * note_bytes_ + word_bytes);
    }

    Word* states_ = nullptr;
    Record* records_ = nullptr;
    std::byte* blocks_ = nullptr;
    std::uint64_t block_bytes_ = 0;
    std::uint32_t block_count_ = 0;
    std::uint32_t units_per_block_ = 0;
    std::byte* notes_ = nullptr;
    std::uint64_t note_bytes_ = 0;
};

// Inline, as mark_start() is not: an optional that is returned is put together in memory.
inline std::optional<std::uint32_t> BlockTable::reserve(std::uint32_t block, std::uint64_t units) noexcept {
    // Relaxed: the space is the caller's by the pin and the state; nothing is published here. The load first
    // keeps the word from growing without end while a full block waits to be sealed.
    Word& word = reserved(block);
    if (word.load(std::memory_order_relaxed) + units > units_per_block_) return std::nullopt;
    const std::uint64_t offset = word.fetch_add(units, std::memory_order_relaxed);
    // The second comparison: no overflow, whatever the word holds.
    if (offset + units > units_per_block_ || offset >= units_per_block_) return std::nullopt;
    return static_cast<std::uint32_t>(offset);
}

}  // namespace tiercache
