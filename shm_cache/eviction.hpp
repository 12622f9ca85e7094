// Eviction: what goes when room is needed. Rules only, over plain numbers; reclaim.hpp carries them out.
//
// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP '23), with
// blocks instead of single objects in its queues. Each class has a small and a main queue of blocks. New
// items go to small; those that a ghost remembers, and new values of items in main, go to main. When the
// oldest block of small goes, its items that were used are copied forward to main, and the others leave a
// ghost; when the oldest block of main goes, its items that were used are copied forward with less frequency.
//
// Between the classes, the one with the most blocks for its weight gives the next block: cold goes first,
// reference last, and a class that asks for room gets its share in the end, whatever the others do.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "shm_cache/block.hpp"

namespace tiercache {

// One word in the segment's header; whoever sets it changes the rules for all processes at their next step.
struct EvictionPolicy {
    std::uint8_t small_share = 26;     // of 256: more of a class's blocks than this are not left to small
    std::uint8_t small_keep_from = 1;  // frequency from which an item of small is kept
    std::uint8_t main_keep_from = 1;   // the same for main
    std::uint8_t kept_share = 224;     // of 256 of a block of main: more of it is not kept
    bool ghosts = true;                // items that went from small are remembered
    bool copy_forward = true;          // false: plain FIFO of blocks, and no main queue

    [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
        return std::uint64_t{small_share} | std::uint64_t{small_keep_from} << 8 |
               std::uint64_t{main_keep_from} << 16 | std::uint64_t{kept_share} << 24 |
               (ghosts ? std::uint64_t{1} << 32 : 0) | (copy_forward ? std::uint64_t{1} << 33 : 0);
    }
    // Any word gives a policy that ends.
    static constexpr EvictionPolicy unpack(std::uint64_t word) noexcept {
        return {static_cast<std::uint8_t>(word),
                static_cast<std::uint8_t>(word >> 8),
                static_cast<std::uint8_t>(word >> 16),
                static_cast<std::uint8_t>(word >> 24),
                (word >> 32 & 1) != 0,
                (word >> 33 & 1) != 0};
    }
    bool operator==(const EvictionPolicy&) const = default;
};

// Is an item that was used this often kept when its block goes? And with which frequency?
[[nodiscard]] bool keeps(const EvictionPolicy& policy, Queue queue, std::uint8_t frequency) noexcept;
[[nodiscard]] std::uint8_t kept_frequency(std::uint8_t frequency) noexcept;

// How many blocks a stream has, and how many of them could go now.
struct StreamUse {
    std::uint32_t blocks = 0;
    std::uint32_t ready = 0;
};

// The stream whose oldest block is to go; nothing when no block is ready.
[[nodiscard]] std::optional<Stream> choose_stream(const std::array<StreamUse, stream_count>& use,
                                                  const EvictionPolicy& policy) noexcept;

}  // namespace tiercache
