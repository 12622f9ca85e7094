// Reclamation: gets free blocks out of sealed ones, the oldest first.
//
//   R1  SEALED -> RECLAIMING, with one's own name
//   R2  a living writer pins the block: back to SEALED, take another
//   R3  each item that the index still names is dropped from it
//   R4  generation to odd: readers that copy from the block find out
//   R5  reservations and start bits forgotten
//   R6  generation to even, FREE
//
// Each step can be repeated from R2 (even generation) or R5 (odd) by another process, which takes the block
// over when its owner is proven dead, or when its phase is none that anybody writes. Blocks are opened in the
// order of their numbers, around and around, so the oldest sealed block is the next one after the open block.
// Every loop is bounded by the number of blocks.
#pragma once

#include <cstdint>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/process_table.hpp"

namespace tiercache {

class Reclaimer {
 public:
    Reclaimer(BlockTable& blocks, Index& index, ProcessTable& processes) noexcept
        : blocks_(blocks), index_(index), processes_(processes) {}

    // The open block is full: sees to it that another one is chosen, and that some more are free for those
    // who come next. False when there is none to be had. Only after ProcessTable::claim_slot().
    bool open_next(BlockLife full) noexcept;

 private:
    [[nodiscard]] std::optional<BlockLife> find_free(std::uint32_t from) const noexcept;
    bool reclaim_one(std::uint32_t from) noexcept;
    [[nodiscard]] bool takeable(const BlockState& state) noexcept;
    bool take(std::uint32_t block, BlockState& state) noexcept;
    bool recycle(std::uint32_t block, BlockState state) noexcept;
    void drop_items(BlockLife life) noexcept;
    void keep_reserve(std::uint32_t from) noexcept;

    BlockTable& blocks_;
    Index& index_;
    ProcessTable& processes_;
};

}  // namespace tiercache
