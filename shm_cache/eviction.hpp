// Eviction: what goes when room is needed. Rules only, over plain numbers; reclaim.hpp carries them out.
//
// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP '23), with
// blocks instead of single objects in its queues. Each class has a small and a main queue of blocks. New
// items go to small; those that a ghost remembers, and new values of items in main, go to main. When the
// oldest block of small goes, its items that were used are copied forward to main, and the others leave a
// ghost; when the oldest block of main goes, its items that were used are copied forward with less frequency.
//
// That is one point in a family of rules, and none of them is best for every pattern of use: the segment
// tries some on a sample of its own accesses and follows the best (miniature_cache.hpp, sampler.hpp). Without
// a small queue it is Clock; a small queue that keeps nothing, so that only ghosts come to main, is 2Q.
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
    static constexpr std::uint32_t shares = 256;  // what shares of it are parts of

    std::uint8_t small_share = 26;        // of 256: more of a class's blocks than this are not left to small
    std::uint8_t small_keep_from = 1;     // frequency from which an item of small is kept
    std::uint8_t main_keep_from = 1;      // the same for main
    std::uint8_t kept_share = 128;        // of 256 of a block: more is not kept while no other block is free
    bool ghosts = true;                   // items that went from small are remembered
    bool copy_forward = true;             // false: plain FIFO of blocks, and no main queue
    std::uint8_t kept_frequency_max = 2;  // what an item that is kept has left of its frequency, 0 to 3
    bool small_queue = true;              // false: new items go to main
    // The sampler sets all of the above; and what first fills the segment goes to main: nothing has proven
    // better yet.
    bool adaptive = false;

    [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
        return std::uint64_t{small_share} | std::uint64_t{small_keep_from} << 8 |
               std::uint64_t{main_keep_from} << 16 | std::uint64_t{kept_share} << 24 |
               std::uint64_t{ghosts} << 32 | std::uint64_t{copy_forward} << 33 |
               std::uint64_t{kept_frequency_max & 3U} << 34 | std::uint64_t{small_queue} << 36 |
               std::uint64_t{adaptive} << 37;
    }
    // Any word gives a policy that ends.
    static constexpr EvictionPolicy unpack(std::uint64_t word) noexcept {
        return {static_cast<std::uint8_t>(word),
                static_cast<std::uint8_t>(word >> 8),
                static_cast<std::uint8_t>(word >> 16),
                static_cast<std::uint8_t>(word >> 24),
                (word >> 32 & 1) != 0,
                (word >> 33 & 1) != 0,
                static_cast<std::uint8_t>(word >> 34 & 3),
                (word >> 36 & 1) != 0,
                (word >> 37 & 1) != 0};
    }
    bool operator==(const EvictionPolicy&) const = default;
};

// Is an item that was used this often kept when its block goes? And with which frequency?
[[nodiscard]] bool keeps(const EvictionPolicy& policy, Queue queue, std::uint8_t frequency) noexcept;
[[nodiscard]] std::uint8_t kept_frequency(const EvictionPolicy& policy, std::uint8_t frequency) noexcept;

// How many blocks a stream has, and how many of them could go now.
struct StreamUse {
    std::uint32_t blocks = 0;
    std::uint32_t ready = 0;
};

// The stream whose oldest block is to go; nothing when no block is ready.
[[nodiscard]] std::optional<Stream> choose_stream(const std::array<StreamUse, stream_count>& use,
                                                  const EvictionPolicy& policy) noexcept;

}  // namespace tiercache
