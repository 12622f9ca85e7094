// Miniature simulation: each candidate policy, tried on the sampled keys with a cache as much smaller as the
// sample is (Waldspurger, Saemundsson, Ahmad, Park: "Cache modeling and optimization using miniature
// simulations", ATC '17). What misses least is what the segment should do.
//
// The candidates are points of what eviction.hpp can do, from recency to frequency:
//
//   Clock                                    what was used lately comes back
//   small queues whose used items are kept   reuse soon after the first use
//   small queues of less and less share that keep nothing, so that only what has a ghost comes to main (as
//   in 2Q: Johnson and Shasha, VLDB '94)     reuse later; the smallest resists loops and scans
#pragma once

#include <array>
#include <cstdint>

#include "shm_cache/eviction.hpp"
#include "shm_cache/sample_table.hpp"

namespace tiercache {

// No frequency reaches it.
inline constexpr std::uint8_t keeps_nothing = 4;

inline constexpr EvictionPolicy candidate(std::uint8_t small_share, std::uint8_t small_keep_from,
                                          std::uint8_t kept_frequency_max, bool small_queue) noexcept {
    EvictionPolicy policy;
    policy.small_share = small_share;
    policy.small_keep_from = small_keep_from;
    policy.kept_frequency_max = kept_frequency_max;
    policy.small_queue = small_queue;
    policy.adaptive = true;
    return policy;
}

inline constexpr std::array<EvictionPolicy, candidate_count> candidates{candidate(3, keeps_nothing, 2, true),
                                                                        candidate(8, keeps_nothing, 2, true),
                                                                        candidate(26, keeps_nothing, 2, true),
                                                                        candidate(26, 1, 2, true),
                                                                        candidate(51, 1, 0, true),
                                                                        candidate(0, 1, 2, false)};

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
    [[nodiscard]] bool small_is_large(std::uint64_t units_max) const noexcept;
    void evict_one(std::uint64_t units_max) noexcept;
    [[nodiscard]] ListEnds& ends(Queue queue) noexcept;
    [[nodiscard]] std::uint64_t& units(Queue queue) noexcept;

    SampleTable& table_;
    EvictionPolicy rules_;
    std::size_t candidate_;
    MiniatureState& state_;
};

}  // namespace tiercache
