#include "shm_cache/reclaim.hpp"

namespace tiercache {

namespace {

// Free blocks beside the open one: what writers live on while a reclaimer is stopped.
constexpr std::uint32_t reserve_of(std::uint32_t block_count) noexcept { return block_count >= 8 ? 2 : 1; }

}  // namespace

bool Reclaimer::open_next(BlockLife full) noexcept {
    const std::uint32_t from = full.block < blocks_.count() ? full.block : 0;
    std::optional<BlockLife> next = find_free(from);
    if (!next) {
        if (!reclaim_one(from)) return false;
        next = find_free(from);
        if (!next) return false;
    }
    if (blocks_.move_open_block(full, *next)) keep_reserve(next->block);
    return true;
}

std::optional<BlockLife> Reclaimer::find_free(std::uint32_t from) const noexcept {
    for (std::uint32_t i = 1; i <= blocks_.count(); ++i) {
        const std::uint32_t block = (from + i) % blocks_.count();
        const BlockState state = blocks_.state(block);
        if (state.phase == BlockPhase::free) return BlockLife{block, state.generation};
    }
    return std::nullopt;
}

void Reclaimer::keep_reserve(std::uint32_t from) noexcept {
    std::uint32_t free = 0;
    for (std::uint32_t b = 0; b < blocks_.count(); ++b) free += blocks_.state(b).phase == BlockPhase::free;
    // The one just chosen is still FREE, or already OPEN: either way it is not part of the reserve.
    const bool chosen_is_free = blocks_.state(from).phase == BlockPhase::free;
    const std::uint32_t wanted = reserve_of(blocks_.count()) + (chosen_is_free ? 1 : 0);
    for (; free < wanted; ++free) {
        if (!reclaim_one(from)) return;
    }
}

bool Reclaimer::reclaim_one(std::uint32_t from) noexcept {
    for (std::uint32_t i = 1; i <= blocks_.count(); ++i) {
        const std::uint32_t block = (from + i) % blocks_.count();
        BlockState state = blocks_.state(block);
        if (take(block, state) && recycle(block, state)) return true;
    }
    return false;
}

bool Reclaimer::takeable(const BlockState& state) noexcept {
    switch (state.phase) {
        case BlockPhase::free:
        case BlockPhase::open:
            return false;
        case BlockPhase::sealed:
            return true;
        case BlockPhase::reclaiming:
            return processes_.dead(state.owner);
        case BlockPhase::invalid:
            break;
    }
    return true;  // overwritten: nobody's
}

// R1 and R2, or the taking over of an abandoned block. `state` is then what we left.
bool Reclaimer::take(std::uint32_t block, BlockState& state) noexcept {
    if (!takeable(state)) return false;
    const BlockState mine{state.generation, BlockPhase::reclaiming, processes_.self()};
    if (!blocks_.change(block, state, mine)) return false;
    state = mine;
    const bool readable = (state.generation & 1) == 0;
    if (readable && processes_.pinned({block, state.generation})) {
        blocks_.change(block, mine, {mine.generation, BlockPhase::sealed, {}});
        return false;
    }
    return true;
}

// R3 to R6. Fails only when the state word was overwritten.
bool Reclaimer::recycle(std::uint32_t block, BlockState state) noexcept {
    if ((state.generation & 1) == 0) {
        drop_items({block, state.generation});
        const BlockState odd{state.generation + 1, BlockPhase::reclaiming, state.owner};
        if (!blocks_.change(block, state, odd)) return false;
        state = odd;
    }
    blocks_.clear(block);
    if (!blocks_.change(block, state, {state.generation + 1, BlockPhase::free, {}})) return false;
    index_.scrub();
    processes_.count(Counter::reclaimed_blocks);
    return true;
}

void Reclaimer::drop_items(BlockLife life) noexcept {
    std::uint64_t dropped = 0;
    blocks_.for_each_start(life.block, [&](std::uint32_t offset) {
        const ItemHeader header = load_item_header(blocks_.item(life.block, offset));
        if (header.generation != life.generation || header.offset != offset_mark(offset)) return;
        dropped += index_.erase_item(header.place_hash, life, offset) ? 1 : 0;
    });
    processes_.count(Counter::evicted_items, dropped);
}

}  // namespace tiercache
