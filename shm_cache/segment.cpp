// A segment as a whole. How it is read is in segment_read.cpp, how it is written in segment_write.cpp, its
// making in segment_file.cpp.
#include "shm_cache/segment.hpp"

#include <vector>

#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

void Segment::for_each(bool (*visit)(void* context, std::span<const std::byte> entry), void* context) const {
    std::vector<std::byte> copy(entry_bytes_max(impl_->geometry));
    const CopyTarget target{
        [](void* buffer, std::size_t) noexcept { return static_cast<std::byte*>(buffer); }, copy.data()};
    impl_->index.for_each([&](const Slot& slot) {
        std::span<std::byte> bytes;
        EntryView view;
        const bool whole = impl_->copy_entry(slot, target, bytes) == ReadResult::whole &&
                           decode_entry(bytes, view) == StatusCode::ok && view.bytes.size() == bytes.size();
        return !whole || visit(context, bytes);
    });
}

LeaseTable& Segment::leases() noexcept { return impl_->leases; }

LocalAuthority& Segment::local_authority() noexcept { return impl_->authority; }

SegmentStats Segment::stats() const noexcept {
    const Impl& s = *impl_;
    SegmentStats stats;
    stats.size_bytes = s.geometry.size_bytes;
    stats.block_bytes = s.geometry.block_bytes;
    stats.block_count = s.geometry.block_count;
    stats.index_slots = s.geometry.bucket_count * slots_per_bucket;
    stats.largest_entry_bytes = entry_bytes_max(s.geometry);
    for (std::uint32_t b = 0; b < s.blocks.count(); ++b) {
        stats.free_blocks += s.blocks.state(b).phase == BlockPhase::free ? 1 : 0;
    }
    s.index.for_each([&](const Slot& slot) {
        if (!header_fits_block(s.geometry, slot.offset)) return true;
        const ItemHeader header = load_item_header(s.blocks.item(slot.block, slot.offset));
        if (!fits_block(s.geometry, slot.offset, header)) return true;
        ++stats.items;
        stats.item_bytes += header.units() * unit_bytes;
        return true;
    });
    stats.hits = s.processes.sum(Counter::hits);
    stats.misses = s.processes.sum(Counter::misses);
    stats.torn = s.processes.sum(Counter::torn);
    stats.puts = s.processes.sum(Counter::puts);
    stats.put_failures = s.processes.sum(Counter::put_failures);
    stats.evicted_items = s.processes.sum(Counter::evicted_items);
    stats.reclaimed_blocks = s.processes.sum(Counter::reclaimed_blocks);
    return stats;
}

}  // namespace tiercache