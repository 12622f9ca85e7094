// The miss-ratio curve: what hit ratio an LRU cache of a quarter, half, once, twice and four times the memory
// would have, from the sampled keys (SHARDS, fixed-size: Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC
// construction with SHARDS", FAST '15).
//
// The sampled keys lie in one LRU stack, cut into regions at the five sizes. By LRU's inclusion property a
// use of a key in region r hits in every cache of size r or more. A use moves the key to the top and the last
// key of each region above its old place one region down: no tree, and as exact as five LRU caches are. What
// falls out of the last region leaves the sample.
//
// A few very hot keys that are in the sample by luck, or are not, would bend the curve. How many references
// the sample should have had is known, though: the segment's own count, times the sample's share. What there
// were too few or too many of them is counted as uses of the shortest reuse distance, where a hot key's are
// (SHARDS_adj, section 3 of the same paper).
#pragma once

#include <array>
#include <cstdint>

#include "shm_cache/sample_table.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

inline constexpr std::size_t curve_points = 5;
// Of the segment's memory.
inline constexpr std::array<double, curve_points> curve_scales{0.25, 0.5, 1, 2, 4};

// In shared memory.
struct CurveState {
    ListEnds stack;
    KeyNumber region_last[curve_points] = {};
    std::uint64_t region_units[curve_points] = {};
    // Uses in each region, and those of keys that were in none; weighed, and older ones less. Read by
    // anybody.
    Word uses[curve_points + 1] = {};
    Word expected = {};       // uses that there should be in all, weighed in the same way
    std::uint64_t noted = 0;  // uses since `expected` was last added to

    // Of all keys in the stack.
    [[nodiscard]] std::uint64_t units() const noexcept;
};

class MissRatioCurve {
 public:
    MissRatioCurve(SampleTable& table, CurveState& state) noexcept : table_(table), state_(state) {}

    void reset() noexcept;
    // Counts a use of the key, which is at the top of the stack then.
    void use(KeyNumber number) noexcept;
    // Counts a use of a key that there is no room for.
    void miss() noexcept;
    // There were so many references in all; numerator / denominator of the keys are in the sample.
    void expect(std::uint64_t references, std::uint64_t numerator, std::uint64_t denominator) noexcept;
    // How many there were is not known.
    void expect_what_was_noted() noexcept;
    // The last key of the stack when it lies outside of four times the memory, `units_max` being once; else
    // 0.
    KeyNumber overflow(std::uint64_t units_max) noexcept;
    // Takes the key out of the stack.
    void forget(KeyNumber number) noexcept;
    void resize(KeyNumber number, std::uint32_t units) noexcept;
    // Multiplies what was counted by numerator / 2^16.
    void scale(std::uint64_t numerator) noexcept;

 private:
    [[nodiscard]] bool has(KeyNumber number) noexcept;
    void count(std::size_t region) noexcept;
    void take_out(KeyNumber number) noexcept;

    SampleTable& table_;
    CurveState& state_;
};

// Hit ratios at curve_scales; all 0 when nothing was counted.
[[nodiscard]] std::array<double, curve_points> hit_ratios(const CurveState& state) noexcept;

}  // namespace tiercache
