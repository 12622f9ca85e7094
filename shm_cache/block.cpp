#include "shm_cache/block.hpp"

namespace tiercache {

namespace {

constexpr int expiry_attempts_max = 64;

}  // namespace

BlockTable::BlockTable(std::byte* memory, const Geometry& geometry) noexcept
    : states_(reinterpret_cast<Word*>(memory + geometry.block_states_at)),
      records_(reinterpret_cast<Record*>(memory + geometry.block_records_at)),
      blocks_(memory + geometry.blocks_at),
      block_bytes_(geometry.block_bytes),
      block_count_(geometry.block_count),
      units_per_block_(geometry.units_per_block()),
      notes_(memory + geometry.block_notes_at),
      note_bytes_(geometry.block_note_bytes) {}

void BlockTable::format() noexcept {
    const BlockState state{first_generation, BlockPhase::free, {}, {}};
    // Relaxed: publish_segment() releases all of it.
    for (std::uint32_t b = 0; b < block_count_; ++b)
        states_[b].store(state.pack(), std::memory_order_relaxed);
}

bool BlockTable::change(std::uint32_t block, const BlockState& from, const BlockState& to) noexcept {
    std::uint64_t expected = from.pack();
    // Sequentially consistent: SEALED -> RECLAIMING is one half of the handshake with pins; the other changes
    // need acquire (the last owner's work) and release (one's own), and are rare.
    return states_[block].compare_exchange_strong(expected, to.pack(), std::memory_order_seq_cst);
}

void BlockTable::mark_start(std::uint32_t block, std::uint32_t offset) noexcept {
    // Release: pairs with for_each_start(), which then sees the item's header.
    const std::uint32_t bit = offset / units_per_bit;
    bitmap(block)[bit / 64].fetch_or(std::uint64_t{1} << (bit % 64), std::memory_order_release);
}

// The records are hints for reclamation: relaxed, because nothing is read on the strength of them.

void BlockTable::note_opened(std::uint32_t block, std::uint64_t order) noexcept {
    records_[block].order.store(order, std::memory_order_relaxed);
}

std::uint64_t BlockTable::age(std::uint32_t block, std::uint64_t opened) const noexcept {
    // Unsigned: an order from the future is as old as can be.
    return opened - records_[block].order.load(std::memory_order_relaxed);
}

void BlockTable::note_expiry(std::uint32_t block, std::uint64_t ns) noexcept {
    // In steps of about a second, so that writers of the same lifetime seldom change it.
    constexpr std::uint64_t step = std::uint64_t{1} << 30;
    const std::uint64_t rounded = ns >= UINT64_MAX - step ? UINT64_MAX : (ns / step + 1) * step;
    Word& newest = records_[block].expiry_ns;
    std::uint64_t seen = newest.load(std::memory_order_relaxed);
    // Each lost CAS has raised it. Who gives up leaves a time too early: the block may go too soon.
    for (int i = 0; i < expiry_attempts_max && seen < rounded; ++i) {
        if (newest.compare_exchange_strong(seen, rounded, std::memory_order_relaxed)) return;
    }
}

bool BlockTable::all_expired(std::uint32_t block, std::uint64_t now_ns) const noexcept {
    return records_[block].expiry_ns.load(std::memory_order_relaxed) <= now_ns;
}

std::uint32_t BlockTable::claim_words(std::uint32_t block, std::uint32_t words) noexcept {
    if (evacuated(block)) return start_words();
    const std::uint64_t first = records_[block].claimed.fetch_add(words, std::memory_order_relaxed);
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(first, start_words()));
}

bool BlockTable::evacuated(std::uint32_t block) const noexcept {
    return records_[block].claimed.load(std::memory_order_relaxed) >= start_words();
}

bool BlockTable::keep_units(std::uint32_t block, std::uint64_t units, std::uint64_t units_max) noexcept {
    Word& kept = records_[block].kept;
    if (kept.load(std::memory_order_relaxed) + units > units_max) return false;
    return kept.fetch_add(units, std::memory_order_relaxed) + units <= units_max;
}

void BlockTable::limit_kept(std::uint32_t block, std::uint64_t units_max) noexcept {
    records_[block].kept.fetch_add(units_per_block_ - std::min<std::uint64_t>(units_max, units_per_block_),
                                   std::memory_order_relaxed);
}

void BlockTable::clear(std::uint32_t block) noexcept {
    // Relaxed: the change to FREE releases them, opening acquires.
    for (std::uint32_t w = 0; w < start_words(); ++w) bitmap(block)[w].store(0, std::memory_order_relaxed);
    reserved(block).store(0, std::memory_order_relaxed);
    Record& record = records_[block];
    for (Word* word : {&record.order, &record.expiry_ns, &record.claimed, &record.kept}) {
        word->store(0, std::memory_order_relaxed);
    }
}

}  // namespace tiercache
