// Streams: where new items go. Each stream, a queue of a class, has one open block that all processes append
// to, or none while nobody needed one.
//
// Opening takes three steps: FREE -> OPEN of the stream, the order noted, then a CAS of the stream's word in
// the header from the block that was full to this one. Writers go by the header's word. So
//  - the word moves on only when the block it names is no longer OPEN in that life;
//  - whoever loses the last CAS gives the block back to FREE: nobody was led to it in this life;
//  - an OPEN block that its stream's word does not name belongs to a process that died or is stopped between
//    the steps. Nobody writes to it, and anybody may seal it (reclaim.cpp). Should the stopped one go on and
//    name it after all, the word names a sealed block and the next writer moves on.
#pragma once

#include <cstdint>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/process_table.hpp"

namespace tiercache {

// Room in a block: the caller writes an item there, marks its start and publishes it, and then lets go.
struct Place {
    Pin pin;
    BlockLife life;
    std::uint32_t offset;
};

class Streams {
 public:
    Streams(std::byte* memory, BlockTable& blocks, ProcessTable& processes) noexcept
        : header_(reinterpret_cast<SegmentHeader*>(memory)), blocks_(&blocks), processes_(&processes) {}

    // The block that the stream's word names; any numbers at all when it was overwritten.
    [[nodiscard]] BlockLife open_block(Stream stream) const noexcept;
    // Is it OPEN, of this stream and life?
    [[nodiscard]] bool is_open(Stream stream, BlockLife life) const noexcept;

    // Room in the block `open` of the stream. Nothing when it is full, and then it is sealed; or not open; or
    // this process has no pin left.
    [[nodiscard]] std::optional<Place> reserve(Stream stream, BlockLife open, std::uint64_t units) noexcept;

    // Opens a free block in place of `full`; true also when somebody else has been faster. False when no
    // block is free.
    bool open_next(Stream stream, BlockLife full) noexcept;

    // Closes an open block to writers, whatever room it has left.
    void seal(std::uint32_t block, const BlockState& open) noexcept;

    [[nodiscard]] std::uint32_t free_blocks() const noexcept;

 private:
    SegmentHeader* header_;
    BlockTable* blocks_;
    ProcessTable* processes_;
};

}  // namespace tiercache
