// The sampler: learns from a sample of all processes' accesses what eviction policy suits them, and what more
// or less memory would give. It is advice, and nothing depends on it.
//
// An access to a key whose hash falls in the sample is noted in a ring in shared memory: hits, and puts,
// which follow the misses that matter. A hit on any other key costs a comparison. Whoever puts takes notes
// out of the ring, a batch at a time, and advances the miniature caches and the curve.
//
//   threshold   a key is in the sample if the first 24 bits of its hash are less. It begins at all of them;
//               each time the table of sampled keys is full, it shrinks, and with each note then some of the
//               keys that left the sample go
//   recent      the keys that this process noted last, in its private memory. A key that is used again and
//               again is noted four times, which is all that a frequency can count, and then no more while it
//               is among them: a hot key's hits write nothing shared
//   ring        lossy: a note that finds it full is dropped, so readers wait for nobody, and write nothing
//               while nobody puts. A note not yet written when its turn comes is skipped
//   lock        one word, {owner} or 0, taken by one CAS or not at all. Everything behind it belongs to the
//               owner. An owner that died half-way left anything: who takes over begins anew. An owner that
//               is stopped stops the learning, and nothing else
//
// What is not noted, and the luck of which hot keys are in the sample, the curve makes up for by the number
// of all references (SHARDS_adj). A segment that is too small for a useful sample has no sampler.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "shm_cache/eviction.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/miniature_cache.hpp"
#include "shm_cache/miss_ratio_curve.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/sample_table.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

struct SamplerState {
    alignas(cache_line_bytes) Word threshold;  // read at every hit, hardly ever written
    alignas(cache_line_bytes) Word head;
    alignas(cache_line_bytes) Word tail;
    Word lock;
    Word failures;  // to take the lock
    // Of the lock's owner.
    alignas(cache_line_bytes) CurveState curve;
    MiniatureState miniatures[candidate_count];
    double misses[candidate_count];  // older ones count less
    std::uint64_t references;        // of the whole segment, when they were last looked at
    std::uint32_t chosen;
    std::uint32_t uses;  // since it was chosen
    std::uint32_t used;  // keys in the table
    KeyNumber free;
    KeyNumber sweep;      // the next key to be looked at, whether it is still in the sample; 0: all were
    std::uint16_t lossy;  // notes may have been dropped since `references` was looked at
};

// What the sampler says of the segment.
struct SamplerReport {
    double sampled_share = 0;                       // of all keys; 0: there is no sampler
    std::array<double, curve_points> hit_ratios{};  // at curve_scales
    std::size_t candidate = 0;                      // that the segment follows
};

class Sampler {
 public:
    // The memory that the sampler of a segment takes: 1/32 of it and at most some 400 KiB; in a segment under
    // 2 MiB, 64 KiB or 1/16 of it, whichever is less; under 256 KiB, none.
    static std::uint64_t size_bytes(std::uint64_t segment_bytes) noexcept;
    // What a new segment begins with.
    static EvictionPolicy first_policy(const Geometry& geometry) noexcept;

    Sampler() = default;
    // Of a segment at `memory`.
    Sampler(std::byte* memory, const Geometry& geometry) noexcept;
    // `bytes` at `area`, for a cache that holds `data_bytes`.
    Sampler(std::byte* area, std::uint64_t bytes, std::uint64_t data_bytes) noexcept;

    void format() noexcept;

    // Is the key in the sample?
    [[nodiscard]] bool samples(const KeyHash& hash) const noexcept {
        // Relaxed: any recent threshold will do.
        return hash.high >> 40 < threshold_->load(std::memory_order_relaxed);
    }
    // Would a note of it be one too many? Most hits on keys of the sample are on hot ones, of which it would.
    [[nodiscard]] bool noted_enough(const KeyHash& hash) const noexcept;
    // An access to a key of the sample, whose item takes `units` of memory.
    void note(const KeyHash& hash, std::uint64_t units) noexcept;

    // Works off some of the notes. From time to time it returns the candidate that the segment should follow.
    // Only after ProcessTable::claim_slot().
    std::optional<std::size_t> advance(ProcessTable& processes) noexcept;
    // Is it time to advance()? Where the ring is large, notes are worked off by the batch, and after a look
    // that found fewer the next puts don't look: processes that put in turns would send the sampler's lines
    // to and fro for each note.
    [[nodiscard]] bool wants_advance() noexcept;

    [[nodiscard]] SamplerReport report() const noexcept;

    // What the lock holds while this process has it. Never 0.
    static std::uint64_t lock_word(const Owner& owner) noexcept {
        return std::uint64_t{1} << 32 | std::uint64_t{owner.slot} << 16 | owner.incarnation;
    }
    [[nodiscard]] std::size_t capacity() const noexcept { return table_.capacity(); }

 private:
    static constexpr std::uint64_t everything = 1U << 24;
    // The sample of nobody.
    static constinit const Word nothing;

    [[nodiscard]] static std::uint32_t sampled_hash(const KeyHash& hash) noexcept {
        return static_cast<std::uint32_t>(hash.high >> 32);
    }
    // Is this note one too many of a key that was noted just now? Counts it.
    [[nodiscard]] bool repeats(std::uint32_t hash) noexcept;
    [[nodiscard]] bool lock(ProcessTable& processes) noexcept;
    void reset() noexcept;
    void use(std::uint64_t note, const ProcessTable& processes) noexcept;
    [[nodiscard]] KeyNumber key_of(std::uint32_t hash, std::uint32_t units,
                                   const ProcessTable& processes) noexcept;
    void set_threshold(std::uint64_t to, const ProcessTable& processes) noexcept;
    void sweep() noexcept;
    // Tells the curve how many references there were in all since the last time.
    void account(const ProcessTable& processes) noexcept;
    void forget(KeyNumber number) noexcept;
    void resize(KeyNumber number, std::uint32_t units) noexcept;
    [[nodiscard]] std::uint64_t threshold() const noexcept;
    [[nodiscard]] std::uint64_t units_max() const noexcept;
    [[nodiscard]] std::optional<std::size_t> choose(const ProcessTable& processes) noexcept;
    [[nodiscard]] MissRatioCurve curve() noexcept { return {table_, state_->curve}; }
    [[nodiscard]] MiniatureCache miniature(std::size_t candidate) noexcept {
        return {table_, candidate, state_->miniatures[candidate]};
    }

    const Word* threshold_ = &nothing;
    SamplerState* state_ = nullptr;
    Word* ring_ = nullptr;
    std::uint64_t ring_size_ = 0;
    SampleTable table_;
    std::uint64_t data_units_ = 0;
    std::array<Word, 16> recent_{};  // {hash, how often noted}
    Word unlooked_{0};               // puts that need not look whether there are notes
};

}  // namespace tiercache
