#include "shm_cache/block.hpp"

namespace tiercache {

BlockTable::BlockTable(std::byte* memory, const Geometry& geometry) noexcept
    : states_(reinterpret_cast<Word*>(memory + geometry.block_states_at)),
      blocks_(memory + geometry.blocks_at),
      block_bytes_(geometry.block_bytes),
      block_count_(geometry.block_count),
      units_per_block_(geometry.units_per_block()),
      notes_(memory + geometry.block_notes_at),
      note_bytes_(geometry.block_note_bytes),
      open_block_(&reinterpret_cast<SegmentHeader*>(memory)->open_block) {}

void BlockTable::format() noexcept {
    const BlockState state{first_generation, BlockPhase::free, {}};
    // Relaxed: publish_segment() releases all of it.
    for (std::uint32_t b = 0; b < block_count_; ++b)
        states_[b].store(state.pack(), std::memory_order_relaxed);
    open_block_->store(BlockLife{0, first_generation}.pack(), std::memory_order_relaxed);
}

bool BlockTable::change(std::uint32_t block, const BlockState& from, const BlockState& to) noexcept {
    std::uint64_t expected = from.pack();
    // Sequentially consistent: SEALED -> RECLAIMING is one half of the handshake with pins; the other changes
    // need acquire (the last owner's work) and release (one's own), and are rare.
    return states_[block].compare_exchange_strong(expected, to.pack(), std::memory_order_seq_cst);
}

BlockLife BlockTable::open_block() const noexcept {
    // Acquire: pairs with move_open_block().
    return BlockLife::unpack(open_block_->load(std::memory_order_acquire));
}

bool BlockTable::move_open_block(BlockLife from, BlockLife to) noexcept {
    std::uint64_t expected = from.pack();
    // Release: whoever sees the new word sees the block FREE or later.
    return open_block_->compare_exchange_strong(expected, to.pack(), std::memory_order_acq_rel);
}

std::optional<std::uint32_t> BlockTable::reserve(std::uint32_t block, std::uint64_t units) noexcept {
    // Relaxed: the space is the caller's by the pin and the state; nothing is published here. The load first
    // keeps the word from growing without end while a full block waits to be sealed.
    Word& word = reserved(block);
    if (word.load(std::memory_order_relaxed) + units > units_per_block_) return std::nullopt;
    const std::uint64_t offset = word.fetch_add(units, std::memory_order_relaxed);
    // The second comparison: no overflow, whatever the word holds.
    if (offset + units > units_per_block_ || offset >= units_per_block_) return std::nullopt;
    return static_cast<std::uint32_t>(offset);
}

void BlockTable::mark_start(std::uint32_t block, std::uint32_t offset) noexcept {
    // Release: pairs with for_each_start(), which then sees the item's header.
    bitmap(block)[offset / 64].fetch_or(std::uint64_t{1} << (offset % 64), std::memory_order_release);
}

void BlockTable::clear(std::uint32_t block) noexcept {
    // Relaxed: the change to FREE releases them, opening acquires.
    for (std::uint32_t w = 0; w < (units_per_block_ + 63) / 64; ++w) {
        bitmap(block)[w].store(0, std::memory_order_relaxed);
    }
    reserved(block).store(0, std::memory_order_relaxed);
}

}  // namespace tiercache
