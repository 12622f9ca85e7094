#include "shm_cache/stream.hpp"

namespace tiercache {

BlockLife Streams::open_block(Stream stream) const noexcept {
    // Acquire: pairs with open_next().
    return BlockLife::unpack(header_->open_blocks[stream.index()].load(std::memory_order_acquire));
}

bool Streams::is_open(Stream stream, BlockLife life) const noexcept {
    return life.block < blocks_->count() &&
           blocks_->state(life.block) == BlockState{life.generation, BlockPhase::open, {}, stream};
}

std::optional<Place> Streams::reserve(Stream stream, BlockLife open, std::uint64_t units) noexcept {
    if (!is_open(stream, open)) return std::nullopt;
    std::optional<Pin> pin = processes_->pin(open);
    if (!pin) return std::nullopt;
    const BlockState expected{open.generation, BlockPhase::open, {}, stream};
    if (blocks_->state_after_pin(open.block) != expected) return std::nullopt;
    const std::optional<std::uint32_t> offset = blocks_->reserve(open.block, units);
    if (!offset) {
        // Whoever sees it first that it is full seals it.
        seal(open.block, expected);
        return std::nullopt;
    }
    return Place{std::move(*pin), open, *offset};
}

bool Streams::open_next(Stream stream, BlockLife full) noexcept {
    for (std::uint32_t i = 1; i <= blocks_->count(); ++i) {
        if (open_block(stream) != full) return true;
        // From the full block on: writers of different streams seldom meet.
        const std::uint32_t block = (full.block % blocks_->count() + i) % blocks_->count();
        const BlockState free = blocks_->state(block);
        const BlockState open{free.generation, BlockPhase::open, {}, stream};
        if (free.phase != BlockPhase::free || !blocks_->change(block, free, open)) continue;
        // Relaxed: any number that others do not get.
        blocks_->note_opened(block, header_->opened.fetch_add(1, std::memory_order_relaxed) + 1);
        std::uint64_t expected = full.pack();
        // Release: whoever sees the new word sees the block OPEN or later.
        if (!header_->open_blocks[stream.index()].compare_exchange_strong(
                expected, BlockLife{block, free.generation}.pack(), std::memory_order_acq_rel)) {
            blocks_->change(block, open, free);
        }
        return true;
    }
    return open_block(stream) != full;
}

void Streams::seal(std::uint32_t block, const BlockState& open) noexcept {
    blocks_->change(block, open, {open.generation, BlockPhase::sealed, {}, open.stream});
}

std::uint32_t Streams::free_blocks() const noexcept {
    std::uint32_t free = 0;
    for (std::uint32_t b = 0; b < blocks_->count(); ++b) {
        free += blocks_->state(b).phase == BlockPhase::free ? 1 : 0;
    }
    return free;
}

}  // namespace tiercache
