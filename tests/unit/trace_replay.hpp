// Replays accesses through a segment that has room for so many items, all of one size; a put follows each
// miss. For the tests of eviction and for bench/eviction_bench.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/segment.hpp"

namespace tiercache::test {

struct SegmentSize {
    std::size_t item_bytes = 0;
    SegmentOptions options;
};

// A segment whose blocks have room for just that many items, and fewer blocks than most segments have. Its
// index is made for items that are `overestimate` times as many.
inline SegmentSize segment_size_for(std::size_t entries, std::size_t overestimate = 1) {
    constexpr std::size_t items_per_block_min = 4;
    constexpr std::size_t blocks_max = 512;
    constexpr std::size_t block_bytes = std::size_t{32} << 10;
    const std::size_t items = std::max(items_per_block_min, entries / blocks_max);
    SegmentSize size;
    size.options.block_bytes = std::max(block_bytes, std::bit_ceil(items * 1024));
    size.item_bytes = size.options.block_bytes / items / unit_bytes * unit_bytes;
    size.options.item_bytes_mean = size.item_bytes / overestimate;
    size.options.process_slots = 8;
    const std::size_t blocks = entries / items;
    size.options.size_bytes = blocks * size.options.block_bytes;
    for (;; size.options.size_bytes += 4096) {
        const Result<Geometry> geometry = plan_geometry(size.options, Fit::exact);
        if (geometry.ok() && geometry->block_count >= blocks) return size;
    }
}

// Throws when something else goes wrong than a miss.
template <class Trace>
double segment_miss_ratio(const Trace& trace, std::size_t entries, std::size_t overestimate = 1) {
    struct FreeMemory {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    const SegmentSize size = segment_size_for(entries, overestimate);
    const std::size_t bytes =
        (size.options.size_bytes + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
    const std::unique_ptr<std::byte, FreeMemory> memory(
        static_cast<std::byte*>(std::aligned_alloc(cache_line_bytes, bytes)));
    Result<Segment> segment = Segment::format({memory.get(), bytes}, size.options);
    if (!segment.ok()) throw std::runtime_error(segment.status().to_string());
    const std::vector<std::byte> value(size.item_bytes - item_header_bytes - sizeof(std::uint64_t));
    std::vector<std::byte> buffer(size.options.block_bytes);
    std::array<Tag, max_entry_tags> tags{};
    std::size_t misses = 0;
    for (const std::uint64_t number : trace) {
        const auto key = std::as_bytes(std::span(&number, 1));
        const KeyHash hash = hash_key(key);
        ValueRead read;
        if (segment->get_value(hash, key, tags, std::span(buffer), read) == StatusCode::ok) continue;
        ++misses;
        const Status put =
            segment->put_value(hash, key, {}, {}, value, static_cast<std::uint32_t>(value.size()));
        if (!put.ok()) throw std::runtime_error(put.to_string());
    }
    const SegmentStats stats = segment->stats();
    if (stats.items == 0 || stats.items > entries || stats.item_bytes != stats.items * size.item_bytes) {
        throw std::runtime_error("the items are not of the size that was meant");
    }
    return static_cast<double>(misses) / static_cast<double>(trace.size());
}

}  // namespace tiercache::test
