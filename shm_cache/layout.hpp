// The segment's memory map, and the numbers that follow from it.
//
//   header | process slots | statistics | leases | local clock | sampler | block states | block records |
//   block notes | touched | index | blocks
//
//   header         what the segment is, and the few words that all writers share
//   process slots  per process: who it is, what it pins                    (process_table.hpp)
//   statistics     per process: what it counted; how long hits took        (statistics.hpp)
//   leases         who computes a missing value                           (lease.hpp)
//   local clock    the segment's own authority, where it has one          (local_authority.hpp)
//   sampler        what was learnt from a sample of accesses              (sampler.hpp)
//   block states   one 64-bit word each, dense: readers look at them       (block.hpp)
//   block records  per block, dense: age, expiry, evacuation                (block.hpp)
//   block notes    per block: how far it is filled, where items start      (block.hpp)
//   touched        a bit for each pair of buckets, while a predecessor's items are copied
//   (segment_resize.cpp) index          buckets of one cache line                               (index.hpp)
//   blocks         items, back to back                                     (item.hpp)
//
// A Geometry is plain numbers in private memory. It is made from options, or read once from a header that may
// hold anything, and checked; every address and every loop bound comes from it and never again from shared
// memory. What it says is true for the life of the segment.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shm_cache/status.hpp"

namespace tiercache {

struct SegmentOptions;

inline constexpr std::size_t cache_line_bytes = 64;

// Items start at multiples of a unit. 18 bits of offset in an index slot reach 2 MiB, the largest block.
inline constexpr std::size_t unit_bytes = 8;
inline constexpr unsigned offset_bits = 18;
inline constexpr std::size_t item_bytes_min = 32;  // an item's header may be read where this much is left
inline constexpr std::size_t block_bytes_min = 1024;
inline constexpr std::size_t block_bytes_max = unit_bytes << offset_bits;
inline constexpr std::uint32_t block_count_min = 4;
inline constexpr std::uint32_t block_count_max = 1U << 14;  // 14 bits of block number in an index slot

inline constexpr std::size_t slots_per_bucket = 7;
inline constexpr std::size_t process_slot_bytes = 256;
inline constexpr std::size_t statistics_record_bytes = 448;
inline constexpr std::size_t statistics_shared_bytes = 1536;  // once
inline constexpr std::size_t block_record_bytes = 32;
inline constexpr std::size_t stream_count = 8;                      // {small, main} of each class (block.hpp)
inline constexpr std::uint32_t process_slots_max = (1U << 12) - 2;  // 12 bits of owner in a block state
inline constexpr std::uint32_t lease_count_min = 16;
inline constexpr std::uint32_t lease_count_max = 4096;

// First bytes of the memory. The words up to `checksum` are written once, before `magic` says READY.
struct SegmentHeader {
    std::atomic<std::uint64_t> magic;  // 0: half made
    std::uint32_t layout_version;
    std::uint32_t process_slots;
    std::uint64_t size_bytes;
    std::uint32_t block_bytes;
    std::uint32_t block_count;
    std::uint64_t bucket_count;
    std::uint32_t lease_count;
    std::uint32_t clock_slots;
    std::uint64_t lock_file;  // inode of the lock file that belongs to it; 0 in caller-owned memory
    std::uint64_t checksum;   // of the words above but `magic`, and of `lineage` and `life`

    // Which segments take each other's place under one name: equal, and the later one has lived through more
    // resizes. Written once, as the words above.
    alignas(cache_line_bytes) std::uint64_t lineage;
    std::uint64_t life;
    // What took this one's place, by the mark in its file's name; 0: nothing did. Set once.
    std::atomic<std::uint64_t> successor;
    // 1 while a predecessor's items may be copied here.
    std::atomic<std::uint64_t> warming;

    // Per stream: {generation, number} of the block that writers append to (stream.hpp). 0: none yet.
    alignas(cache_line_bytes) std::atomic<std::uint64_t> open_blocks[stream_count];
    // {generation, number} of the block that puts empty now, or 0 (reclaim.hpp).
    alignas(cache_line_bytes) std::atomic<std::uint64_t> victim;
    // How many blocks were opened so far: the age of a block is counted in them.
    std::atomic<std::uint64_t> opened;
    // EvictionPolicy (eviction.hpp).
    std::atomic<std::uint64_t> policy;
    // Next bucket that recycling scrubs (index.hpp).
    std::atomic<std::uint64_t> scrub_cursor;
    // Of the blocks that were emptied lately: units that were looked at, and of those what was still wanted
    // (reclaim.hpp).
    std::atomic<std::uint64_t> emptied_units;
    std::atomic<std::uint64_t> live_units;
};
static_assert(sizeof(SegmentHeader) == 4 * cache_line_bytes);

struct Geometry {
    std::uint64_t size_bytes = 0;
    std::uint64_t block_bytes = 0;
    std::uint64_t bucket_count = 0;  // even: buckets come in pairs
    std::uint32_t block_count = 0;
    std::uint32_t process_slots = 0;  // those of attached processes; one more serves whoever formatted it
    std::uint32_t lease_count = 0;    // a power of two
    std::uint32_t clock_slots = 0;    // a power of two; 0: no local clock
    // Derived; `_at` are offsets from the start of the memory.
    std::uint32_t statistics_records = 0;
    std::uint64_t process_slots_at = 0;
    std::uint64_t statistics_at = 0;
    std::uint64_t leases_at = 0;
    std::uint64_t local_clock_at = 0;
    std::uint64_t local_clock_bytes = 0;
    std::uint64_t sampler_at = 0;
    std::uint64_t sampler_bytes = 0;
    std::uint64_t block_states_at = 0;
    std::uint64_t block_records_at = 0;
    std::uint64_t block_notes_at = 0;
    std::uint64_t block_note_bytes = 0;
    std::uint64_t touched_at = 0;
    std::uint64_t index_at = 0;
    std::uint64_t blocks_at = 0;
    std::uint64_t end = 0;

    [[nodiscard]] std::uint32_t units_per_block() const noexcept {
        return static_cast<std::uint32_t>(block_bytes / unit_bytes);
    }
};

enum class Fit { exact, fewer_process_slots };

// The geometry that `options` ask for. `fewer_process_slots` lets a small segment have fewer than asked.
// Error: invalid_argument.
Result<Geometry> plan_geometry(const SegmentOptions& options, Fit fit);

// Whose place a segment takes.
struct Lineage {
    std::uint64_t id = 0;
    std::uint64_t life = 0;
};

// Writes an empty segment to `memory`, which has geometry.size_bytes; READY is not set yet.
void format_segment(std::byte* memory, const Geometry& geometry, std::uint64_t lock_file,
                    Lineage lineage = {}) noexcept;

[[nodiscard]] Lineage read_lineage(const std::byte* memory) noexcept;

// Slots of a local clock that suit the size: a 64th of it, up to 1 MiB.
[[nodiscard]] std::uint32_t default_clock_slots(std::uint64_t size_bytes) noexcept;

// The options that make a segment like this one in another size: what suited the old size suits the new one,
// what was chosen stays.
[[nodiscard]] SegmentOptions options_for_resize(const Geometry& geometry, std::size_t size_bytes) noexcept;

// Says READY: from here on others may attach.
void publish_segment(std::byte* memory) noexcept;

enum class Ready { half_made, foreign, yes };

// What do the first bytes of an object say? `bytes` is the object's size.
[[nodiscard]] Ready examine_segment(const std::byte* memory, std::size_t bytes) noexcept;

// Checks everything in the header. `lock_file` gets the inode that it names.
// Errors: corrupt, version_mismatch, busy (half made).
Result<Geometry> read_geometry(const std::byte* memory, std::size_t bytes, std::uint64_t& lock_file);

}  // namespace tiercache
