// How a segment's state is read. Nothing is written, so that a mapping for reading will do.
#include "shm_cache/segment_stats.hpp"

#include <algorithm>

#include "shm_cache/item.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

void read_counters(const Statistics& statistics, SegmentStats& s) noexcept {
    const auto sum = [&statistics](Counter c) { return statistics.sum(c); };
    s.stale_hits = sum(Counter::stale_hits);
    s.misses_absent = sum(Counter::misses_absent);
    s.misses_expired = sum(Counter::misses_expired);
    s.misses_changed = sum(Counter::misses_changed);
    s.misses_being_written = sum(Counter::misses_being_written);
    s.misses_outdated = sum(Counter::misses_outdated);
    s.misses_unvouched = sum(Counter::misses_unvouched);
    s.misses_torn = sum(Counter::misses_torn);
    const std::uint64_t too_small = sum(Counter::misses_too_small);
    s.misses_no_room = sum(Counter::misses_no_room) + too_small;
    s.misses_malformed = sum(Counter::misses_malformed);
    // get() counted these as hits, and its callers thought otherwise.
    const std::uint64_t found_not_served = s.misses_expired + s.misses_changed + s.misses_being_written +
                                           s.misses_outdated + s.misses_unvouched + s.misses_malformed +
                                           too_small;
    const std::uint64_t found = sum(Counter::hits);
    s.hits = found > found_not_served ? found - found_not_served : 0;
    s.misses_unvouched += sum(Counter::misses_not_asked);
    s.misses = s.misses_absent + s.misses_expired + s.misses_changed + s.misses_being_written +
               s.misses_outdated + s.misses_unvouched + s.misses_torn + s.misses_no_room + s.misses_malformed;
    s.puts = sum(Counter::puts);
    s.put_failures_no_space = sum(Counter::put_failures_no_space);
    s.put_failures_no_process_slot = sum(Counter::put_failures_no_process_slot);
    s.put_failures_too_large = sum(Counter::put_failures_too_large);
    s.put_failures_invalid = sum(Counter::put_failures_invalid);
    s.put_failures = s.put_failures_no_space + s.put_failures_no_process_slot + s.put_failures_too_large +
                     s.put_failures_invalid;
    s.erased_items = sum(Counter::erased_items);
    s.evicted_items_hot = sum(Counter::evicted_items_hot);
    s.evicted_items_warm = sum(Counter::evicted_items_warm);
    s.evicted_items_cold = sum(Counter::evicted_items_cold);
    s.evicted_items_reference = sum(Counter::evicted_items_reference);
    s.evicted_items = sum(Counter::evicted_items) + s.evicted_items_hot + s.evicted_items_warm +
                      s.evicted_items_cold + s.evicted_items_reference;
    s.expired_items = sum(Counter::expired_items);
    s.expired_blocks = sum(Counter::expired_blocks);
    s.reclaimed_blocks = sum(Counter::reclaimed_blocks);
    s.examined_items = sum(Counter::examined_items);
    s.moved_items = sum(Counter::moved_items);
    s.hit_latency = statistics.latencies();
}

// Returns how many bytes of blocks are taken, by live items or dead ones.
std::uint64_t read_blocks(const BlockTable& blocks, SegmentStats& s) noexcept {
    std::uint64_t filled_units = 0;
    for (std::uint32_t b = 0; b < blocks.count(); ++b) {
        switch (blocks.state(b).phase) {
            case BlockPhase::free:
                ++s.free_blocks;
                break;
            case BlockPhase::open:
                ++s.open_blocks;
                filled_units += blocks.filled_units(b);
                break;
            case BlockPhase::sealed:
                ++s.sealed_blocks;
                filled_units += blocks.filled_units(b);
                break;
            case BlockPhase::reclaiming:
            case BlockPhase::invalid:
                ++s.reclaiming_blocks;
                break;
        }
    }
    return filled_units * unit_bytes;
}

void read_items(const Index& index, const BlockTable& blocks, const Geometry& geometry,
                SegmentStats& s) noexcept {
    for_each_item(geometry, blocks, index, [&s](const ItemHeader& header) {
        ++s.index_slots_in_use;
        s.items += (header.flags & item_part) == 0 ? 1 : 0;
        s.item_bytes += header.units() * unit_bytes;
    });
}

}  // namespace

SegmentStats read_segment_stats(const Geometry& geometry, const BlockTable& blocks, const Index& index,
                                const Sampler& sampler, const Statistics& statistics,
                                ProcessTable::Holders holders) noexcept {
    SegmentStats s;
    s.size_bytes = geometry.size_bytes;
    s.block_bytes = geometry.block_bytes;
    s.block_count = geometry.block_count;
    s.index_slots = geometry.bucket_count * slots_per_bucket;
    s.process_slots = geometry.process_slots;
    s.largest_value_bytes = value_bytes_max(geometry);
    s.largest_entry_bytes = std::max<std::uint64_t>(s.largest_value_bytes, entry_bytes_max(geometry));
    s.views_per_process = ProcessTable::views_max(geometry.block_count);
    const std::uint64_t filled_bytes = read_blocks(blocks, s);
    read_items(index, blocks, geometry, s);
    s.dead_bytes = filled_bytes > s.item_bytes ? filled_bytes - s.item_bytes : 0;
    s.processes = holders.processes;
    s.pins = holders.pins;
    read_counters(statistics, s);
    const SamplerReport sampled = sampler.report();
    s.hit_ratio_quarter = sampled.hit_ratios[0];
    s.hit_ratio_half = sampled.hit_ratios[1];
    s.hit_ratio_once = sampled.hit_ratios[2];
    s.hit_ratio_twice = sampled.hit_ratios[3];
    s.hit_ratio_fourfold = sampled.hit_ratios[4];
    s.sampled_share = sampled.sampled_share;
    return s;
}

SegmentStats Segment::stats() const noexcept {
    settle();
    const Impl& s = current();
    SegmentStats stats = read_segment_stats(s.geometry, s.blocks, s.index, s.sampler,
                                            s.processes.statistics(), s.processes.holders());
    if (!s.name.empty()) {
        stats.instance = s.memory.inode();
        stats.huge_page_bytes = s.memory.huge_page_bytes();
    }
    return stats;
}

}  // namespace tiercache
