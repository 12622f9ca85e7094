// Miniature simulation: each candidate policy, tried on the sampled keys with a cache as much smaller as the
// sample is (Waldspurger, Saemundsson, Ahmad, Park: "Cache modeling and optimization using miniature
// simulations", ATC '17). What misses least is what the segment should do.
//
// The candidates are S3-FIFO (eviction.hpp) with a larger or smaller small queue, whose used items are kept
// or are not. Keeping them suits reuse soon after a key's first use. Keeping none, so that only keys with a
// ghost come to main (as in 2Q: Johnson and Shasha, VLDB '94), suits keys that come back later; with a tiny
// small queue it resists loops and scans.
#pragma once

#include <array>
#include <cstdint>

#include "shm_cache/sample_table.hpp"

namespace tiercache {

struct Candidate {
    std::uint8_t small_share;      // of 256
    std::uint8_t small_keep_from;  // frequency from which an item of small is kept; 4: none is
};

inline constexpr std::array<Candidate, candidate_count> candidates{
    Candidate{3, 4}, Candidate{8, 4}, Candidate{26, 4}, Candidate{26, 1}, Candidate{51, 1}};

// What a new segment starts with: filling up in one pass over the keys, it is the one that keeps most of a
// loop.
inline constexpr std::size_t first_candidate = 0;

// In shared memory, one for each candidate.
struct MiniatureState {
    ListEnds small;
    ListEnds main;
    ListEnds ghosts;
    std::uint32_t filled = 0;  // something was evicted already
    std::uint64_t small_units = 0;
    std::uint64_t main_units = 0;
    std::uint64_t ghost_units = 0;
};

class MiniatureCache {
 public:
    MiniatureCache(SampleTable& table, std::size_t candidate, MiniatureState& state) noexcept
        : table_(table), rules_(candidates[candidate]), candidate_(candidate), state_(state) {}

    // A use of the key; true for a miss. `units_max` is what the cache holds.
    bool use(KeyNumber number, std::uint64_t units_max) noexcept;
    // The key leaves the table.
    void forget(KeyNumber number) noexcept;
    // The key's size changes from what its entry says.
    void resize(KeyNumber number, std::uint32_t to) noexcept;

 private:
    enum class Queue : std::uint8_t { none = 0, small = 1, main = 2, ghosts = 3 };
    void take_out(KeyNumber number, Queue queue) noexcept;
    void put_into(KeyNumber number, Queue queue, std::uint8_t frequency) noexcept;
    void evict_one(std::uint64_t units_max) noexcept;
    [[nodiscard]] ListEnds& ends(Queue queue) noexcept;
    [[nodiscard]] std::uint64_t& units(Queue queue) noexcept;

    SampleTable& table_;
    Candidate rules_;
    std::size_t candidate_;
    MiniatureState& state_;
};

}  // namespace tiercache
