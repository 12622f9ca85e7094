#include "shm_cache/layout.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "shm_cache/block.hpp"
#include "shm_cache/eviction.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/parts.hpp"
#include "shm_cache/sampler.hpp"
#include "shm_cache/segment.hpp"

namespace tiercache {

namespace {

constexpr std::uint64_t segment_magic = 0x4d47455352454954;  // "TIERSEGM"
constexpr std::uint32_t segment_layout_version = 8;
constexpr std::size_t segment_bytes_min = std::size_t{64} << 10;
constexpr std::size_t item_bytes_mean_min = 32;
constexpr std::size_t page_bytes = 4096;
constexpr std::uint32_t process_slots_min = 8;

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) noexcept {
    return (value + multiple - 1) / multiple * multiple;
}

// One for each process slot, or fewer that they share in a small segment; a power of two.
std::uint32_t statistics_records_for(const Geometry& g) noexcept {
    const std::uint64_t affordable = std::max<std::uint64_t>(4, g.size_bytes >> 14);
    return static_cast<std::uint32_t>(std::bit_floor(std::min<std::uint64_t>(g.process_slots, affordable)));
}

// Fills in the offsets. No overflow: every factor is bounded before the call.
void place(Geometry& g) noexcept {
    constexpr std::uint64_t bits_per_word = 64;
    const std::uint64_t starts = g.block_bytes / item_bytes_min;  // a bit each (block.hpp)
    const std::uint64_t bitmap_bytes = round_up(starts, bits_per_word) / 8;
    g.process_slots_at = round_up(sizeof(SegmentHeader), cache_line_bytes);
    const std::uint64_t slots = g.process_slots + 1ULL;
    g.statistics_at = round_up(g.process_slots_at + slots * process_slot_bytes, cache_line_bytes);
    g.statistics_records = statistics_records_for(g);
    g.leases_at = g.statistics_at + statistics_shared_bytes + g.statistics_records * statistics_record_bytes;
    g.local_clock_at = g.leases_at + g.lease_count * sizeof(LeaseWords);
    g.local_clock_bytes = LocalAuthority::size_bytes(g.clock_slots);
    g.sampler_at = g.local_clock_at + round_up(g.local_clock_bytes, cache_line_bytes);
    g.sampler_bytes = Sampler::size_bytes(g.size_bytes);
    g.block_states_at = g.sampler_at + g.sampler_bytes;
    g.block_records_at =
        round_up(g.block_states_at + g.block_count * sizeof(std::uint64_t), cache_line_bytes);
    g.block_notes_at = round_up(g.block_records_at + g.block_count * block_record_bytes, cache_line_bytes);
    g.block_note_bytes = round_up(sizeof(std::uint64_t) + bitmap_bytes, cache_line_bytes);
    g.touched_at = g.block_notes_at + g.block_count * g.block_note_bytes;
    const std::uint64_t touched_bytes = round_up(g.bucket_count / 2, bits_per_word) / 8;
    g.index_at = round_up(g.touched_at + touched_bytes, 2 * cache_line_bytes);
    g.blocks_at = round_up(g.index_at + g.bucket_count * cache_line_bytes, page_bytes);
    g.end = g.blocks_at + g.block_count * g.block_bytes;
}

// At 60% of the slots in use fewer than 1 key in 100 finds no slot in its pair of buckets. Each part of a
// long value has a slot, too, and the value is lost with any of them: for parts there are four times as many,
// so that where there is little else hardly one in a million finds none. (Among short items: choose_whole().)
// But of blocks so small that parts are as short as items usually are, it is not made for parts alone.
std::uint64_t buckets_for(const Geometry& g, std::uint64_t item_bytes_mean) noexcept {
    const std::uint64_t data_bytes = g.block_count * g.block_bytes;
    constexpr std::uint64_t for_parts_min = 256;
    const std::uint64_t for_parts = std::max<std::uint64_t>(part_bytes(g) / 4, for_parts_min);
    const std::uint64_t slots = data_bytes / std::min(item_bytes_mean, for_parts) * 10 / 6;
    return std::max<std::uint64_t>(2, round_up(slots / slots_per_bucket + 1, 2));
}

// A 1024th of the segment: what is lost in open blocks and in the one that is being emptied is little then,
// and a look at all blocks, which each new one takes, short beside filling it. No less than 256 KiB, so that
// values of that length lie in one piece; but in a small segment no more than a 16th.
std::uint64_t default_block_bytes(std::uint64_t size_bytes) noexcept {
    constexpr std::uint64_t one_piece_bytes = std::uint64_t{256} << 10;
    const std::uint64_t least = std::min(std::bit_floor(size_bytes / 16), one_piece_bytes);
    return std::clamp(std::max(std::bit_floor(size_bytes / 1024), least), std::uint64_t{block_bytes_min},
                      std::uint64_t{block_bytes_max});
}

std::uint64_t affordable_process_slots(std::uint64_t size_bytes) noexcept {
    return std::max<std::uint64_t>(process_slots_min, size_bytes / 16 / process_slot_bytes);
}

// One for each 256 KiB: who computes values at the same time is a matter of the load, and a larger segment is
// for a larger one. Two keys on one lease only wait for, or compute beside, each other.
std::uint32_t lease_count_for(std::uint64_t size_bytes) noexcept {
    const std::uint64_t count = std::bit_floor(size_bytes >> 18);
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(count, lease_count_min, lease_count_max));
}

Status bad_options(std::string message) { return {StatusCode::invalid_argument, std::move(message)}; }

Status check_options(const SegmentOptions& options) {
    if (options.size_bytes < segment_bytes_min) return bad_options("a segment has at least 64 KiB");
    if (options.block_bytes != 0 &&
        (!std::has_single_bit(options.block_bytes) || options.block_bytes < block_bytes_min ||
         options.block_bytes > block_bytes_max)) {
        return bad_options("the block size must be a power of two from 1 KiB to 2 MiB");
    }
    if (options.item_bytes_mean < item_bytes_mean_min || options.item_bytes_mean > options.size_bytes) {
        return bad_options("the mean item size must be at least 32 bytes, and no more than the segment");
    }
    if (options.process_slots == 0 || options.process_slots > process_slots_max) {
        return bad_options("a segment has 1 to " + std::to_string(process_slots_max) + " process slots");
    }
    if (options.clock_slots != 0) return ClockTable::check_slot_count(options.clock_slots);
    return Status();
}

std::uint64_t checksum_of(const SegmentHeader& header) noexcept {
    const std::uint64_t words[] = {header.layout_version, header.process_slots, header.size_bytes,
                                   header.block_bytes,    header.block_count,   header.bucket_count,
                                   header.lease_count,    header.clock_slots,   header.lock_file,
                                   header.lineage,        header.life};
    return hash_bytes(std::as_bytes(std::span(words)));
}

// Bounded before anything is multiplied: these may be any numbers.
bool plausible(const Geometry& g) noexcept {
    return g.block_count >= block_count_min && g.block_count <= block_count_max &&
           std::has_single_bit(g.block_bytes) && g.block_bytes >= block_bytes_min &&
           g.block_bytes <= block_bytes_max && g.process_slots >= 1 && g.process_slots <= process_slots_max &&
           std::has_single_bit(g.lease_count) && g.lease_count <= lease_count_max &&
           (g.clock_slots == 0 ||
            (std::has_single_bit(g.clock_slots) && g.clock_slots <= ClockTable::max_slot_count)) &&
           g.bucket_count >= 2 && g.bucket_count % 2 == 0 &&
           g.bucket_count <= g.size_bytes / cache_line_bytes;
}

}  // namespace

Result<Geometry> plan_geometry(const SegmentOptions& options, Fit fit) {
    if (Status s = check_options(options); !s.ok()) return s;
    Geometry g;
    g.size_bytes = options.size_bytes;
    g.block_bytes = options.block_bytes != 0 ? options.block_bytes : default_block_bytes(options.size_bytes);
    g.process_slots = options.process_slots;
    g.lease_count = lease_count_for(options.size_bytes);
    g.clock_slots = options.clock_slots;
    if (fit == Fit::fewer_process_slots) {
        g.process_slots = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(g.process_slots, affordable_process_slots(options.size_bytes)));
    }
    if (options.size_bytes / g.block_bytes > block_count_max) {
        return bad_options("a segment of this block size has at most " +
                           std::to_string((block_count_max * g.block_bytes) >> 20) +
                           " MiB; choose larger blocks or a smaller segment");
    }
    for (std::uint64_t count = options.size_bytes / g.block_bytes; count >= block_count_min; --count) {
        g.block_count = static_cast<std::uint32_t>(count);
        g.bucket_count = buckets_for(g, options.item_bytes_mean);
        place(g);
        if (g.end <= g.size_bytes) return g;
    }
    return bad_options(
        "the segment is too small for four blocks; choose a larger size, smaller blocks or fewer process "
        "slots");
}

std::uint32_t default_clock_slots(std::uint64_t size_bytes) noexcept {
    const std::uint64_t affordable = std::bit_floor(size_bytes / 64 / sizeof(ClockSlot));
    return static_cast<std::uint32_t>(
        std::clamp<std::uint64_t>(affordable, 64, ClockTable::default_slot_count));
}

SegmentOptions options_for_resize(const Geometry& g, std::size_t size_bytes) noexcept {
    SegmentOptions options;
    options.size_bytes = size_bytes;
    if (g.block_bytes != default_block_bytes(g.size_bytes)) options.block_bytes = g.block_bytes;
    // buckets_for(), backwards.
    const std::uint64_t slots = std::max<std::uint64_t>(1, (g.bucket_count - 1) * slots_per_bucket);
    options.item_bytes_mean = std::max<std::uint64_t>(
        item_bytes_mean_min, (g.block_count * g.block_bytes * 10 / 6 + slots - 1) / slots);
    options.clock_slots = g.clock_slots != 0 && g.clock_slots == default_clock_slots(g.size_bytes)
                              ? default_clock_slots(size_bytes)
                              : g.clock_slots;
    // As many as it could have had means that more were asked for.
    if (g.process_slots < affordable_process_slots(g.size_bytes)) options.process_slots = g.process_slots;
    return options;
}

Lineage read_lineage(const std::byte* memory) noexcept {
    const auto& header = *reinterpret_cast<const SegmentHeader*>(memory);
    return {header.lineage, header.life};
}

void format_segment(std::byte* memory, const Geometry& g, std::uint64_t lock_file, Lineage lineage) noexcept {
    auto* magic = reinterpret_cast<std::atomic<std::uint64_t>*>(memory);
    // Half made until publish_segment().
    magic->store(0, std::memory_order_relaxed);
    std::memset(memory + sizeof(*magic), 0, g.blocks_at - sizeof(*magic));
    auto* header = reinterpret_cast<SegmentHeader*>(memory);
    header->layout_version = segment_layout_version;
    header->process_slots = g.process_slots;
    header->size_bytes = g.size_bytes;
    header->block_bytes = static_cast<std::uint32_t>(g.block_bytes);
    header->block_count = g.block_count;
    header->bucket_count = g.bucket_count;
    header->lease_count = g.lease_count;
    header->clock_slots = g.clock_slots;
    header->lock_file = lock_file;
    header->lineage = lineage.id;
    header->life = lineage.life;
    header->checksum = checksum_of(*header);
    LocalAuthority::format({memory + g.local_clock_at, g.local_clock_bytes}, g.clock_slots);
    // Relaxed: publish_segment() releases it.
    header->policy.store(Sampler::first_policy(g).pack(), std::memory_order_relaxed);
    Sampler(memory, g).format();
    BlockTable(memory, g).format();
}

void publish_segment(std::byte* memory) noexcept {
    // Release: pairs with the acquire in examine_segment().
    reinterpret_cast<SegmentHeader*>(memory)->magic.store(segment_magic, std::memory_order_release);
}

Ready examine_segment(const std::byte* memory, std::size_t bytes) noexcept {
    if (bytes < sizeof(SegmentHeader)) return Ready::foreign;
    // Acquire: pairs with publish_segment().
    switch (reinterpret_cast<const SegmentHeader*>(memory)->magic.load(std::memory_order_acquire)) {
        case segment_magic:
            return Ready::yes;
        case 0:
            return Ready::half_made;
        default:
            return Ready::foreign;
    }
}

Result<Geometry> read_geometry(const std::byte* memory, std::size_t bytes, std::uint64_t& lock_file) {
    switch (examine_segment(memory, bytes)) {
        case Ready::foreign:
            return Status(StatusCode::corrupt, "this is not a tiercache segment; choose another name");
        case Ready::half_made:
            return Status(StatusCode::busy,
                          "the segment is being made, or its maker died half-way; create it again");
        case Ready::yes:
            break;
    }
    const auto& header = *reinterpret_cast<const SegmentHeader*>(memory);
    if (header.layout_version != segment_layout_version) {
        return Status(StatusCode::version_mismatch,
                      "the segment has layout version " + std::to_string(header.layout_version) +
                          ", this program reads version " + std::to_string(segment_layout_version) +
                          "; remove it, or use the tiercache release that made it");
    }
    Geometry g;
    g.size_bytes = header.size_bytes;
    g.block_bytes = header.block_bytes;
    g.block_count = header.block_count;
    g.bucket_count = header.bucket_count;
    g.process_slots = header.process_slots;
    g.lease_count = header.lease_count;
    g.clock_slots = header.clock_slots;
    lock_file = header.lock_file;
    const Status damaged(StatusCode::corrupt,
                         "the segment's header is damaged, or the object was cut short; remove the segment");
    if (checksum_of(header) != header.checksum || g.size_bytes > bytes || !plausible(g)) return damaged;
    place(g);
    if (g.end > g.size_bytes) return damaged;
    return g;
}

}  // namespace tiercache
