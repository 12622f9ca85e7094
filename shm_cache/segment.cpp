// How the segment is read and written. Its making is in segment_file.cpp.
//
// Read:   1  load the slot (acquire)
//         2  load the block's state: the slot's generation is the block's
//         3  the item's header: generation, own offset, place hash, length within the block
//         4  copy; the block's generation is still the same, or the copy may be a mixture: try again, twice
//         5  in the private copy: the entry's own lengths and the key
//         6  raise the item's frequency: at the first hit, then at one hit in eight, up to 3, then never
// Write:  W1 pin the open block, look at its state again
//         W2 reserve by one fetch_add
//         W3 write the item
//         W4 set its start bit
//         W5 publish by one CAS of an index slot (release)
//         W6 unpin
//         W7 erase duplicates of the key (with W5, in index.cpp)
//
// A process that dies at any of these leaves at most a hole in a block and a pin that counts for nothing.
#include "shm_cache/segment.hpp"

#include <vector>

#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

constexpr int torn_retries = 2;
// Each round lost means that somebody filled a block meanwhile.
constexpr int reserve_rounds_max = 64;
constexpr std::uint64_t frequency_sampling = 8;
constexpr std::size_t prefetch_lines = 5;

void prefetch_item(const Word* item) noexcept {
    // Addresses past the item, even past the mapping, are harmless: a prefetch does not fault.
    const auto* at = reinterpret_cast<const std::byte*>(item);
    for (std::size_t i = 0; i < prefetch_lines; ++i) __builtin_prefetch(at + i * cache_line_bytes);
}

}  // namespace

// ---- reading -------------------------------------------------------------------------------------

Segment::Impl::Copy Segment::Impl::copy_item(const Slot& slot, const std::uint64_t* placed, CopyTarget target,
                                             std::span<std::byte>& entry) const noexcept {
    if (slot.block >= blocks.count() || !fits_block(geometry, slot.offset, entry_header_bytes)) {
        return Copy::other;
    }
    const Word* item = blocks.item(slot.block, slot.offset);
    prefetch_item(item);
    const BlockState state = blocks.state(slot.block);
    if (!slot.current(state)) return Copy::other;
    const ItemHeader header = load_item_header(item);
    if (header.generation != state.generation || header.offset != slot.offset ||
        (placed != nullptr && header.place_hash != *placed) ||
        !fits_block(geometry, slot.offset, header.entry_bytes)) {
        // A recycled block looks like a damaged one: only the generation tells them apart.
        after_read();
        return blocks.generation_after_read(slot.block) == state.generation ? Copy::other : Copy::torn;
    }
    std::byte* to = target.reserve(target.context, header.entry_bytes);
    if (to == nullptr) return Copy::no_room;
    read_words(item + item_header_words, to, header.entry_bytes);
    after_read();
    if (blocks.generation_after_read(slot.block) != state.generation) return Copy::torn;
    entry = {to, header.entry_bytes};
    return Copy::whole;
}

Segment::Impl::Copy Segment::Impl::find(const KeyHash& hash, std::span<const std::byte> key,
                                        CopyTarget target, std::span<std::byte>& entry) noexcept {
    const std::uint64_t placed = place_hash(hash);
    const Index::Candidates candidates = index.candidates(placed);
    const std::uint16_t tag = slot_tag(hash);
    for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
        // Acquire: pairs with publish(); the item's words come after it.
        const std::uint64_t word = candidates[i].load(std::memory_order_acquire);
        const Slot slot = Slot::unpack(word);
        if (slot.tag != tag) continue;
        switch (copy_item(slot, &placed, target, entry)) {
            case Copy::whole:
                if (!is_entry_of(entry, key)) break;
                note_hit(candidates[i], word);
                return Copy::whole;
            case Copy::torn:
                return Copy::torn;
            case Copy::no_room:
                return Copy::no_room;
            case Copy::other:
                break;
        }
    }
    return Copy::other;
}

void Segment::Impl::note_hit(Word& word, std::uint64_t seen) noexcept {
    const std::uint64_t hits = processes.count(Counter::hits);
    const std::uint8_t frequency = Slot::unpack(seen).frequency;
    if (frequency == frequency_max) return;
    if (frequency == 0 || hits % frequency_sampling == 0) Index::raise_frequency(word, seen);
}

std::span<std::byte> Segment::get(const KeyHash& hash, std::span<const std::byte> key,
                                  CopyTarget target) noexcept {
    std::span<std::byte> entry;
    for (int attempt = 0;; ++attempt) {
        const Impl::Copy result = impl_->find(hash, key, target, entry);
        if (result == Impl::Copy::whole) return entry;
        if (result != Impl::Copy::torn) break;
        if (attempt == torn_retries) {
            impl_->processes.count(Counter::torn);
            break;
        }
    }
    impl_->processes.count(Counter::misses);
    return {};
}

// ---- writing -------------------------------------------------------------------------------------

std::optional<Segment::Impl::Place> Segment::Impl::reserve_in(BlockLife open, std::uint64_t units) noexcept {
    std::optional<Pin> pin = processes.pin(open);
    if (!pin) return std::nullopt;
    const BlockState expected{open.generation, BlockPhase::open, {}};
    if (blocks.state_after_pin(open.block) != expected) return std::nullopt;
    const std::optional<std::uint16_t> offset = blocks.reserve(open.block, units);
    if (!offset) {
        // Full: whoever sees it first seals it.
        blocks.change(open.block, expected, {open.generation, BlockPhase::sealed, {}});
        return std::nullopt;
    }
    return Place{std::move(*pin), open, *offset};
}

std::optional<Segment::Impl::Place> Segment::Impl::reserve(std::uint64_t units) noexcept {
    // Who has no slot has no name to reclaim under and no pin to write with.
    if (!processes.claim_slot()) return std::nullopt;
    for (int round = 0; round < reserve_rounds_max; ++round) {
        const BlockLife open = blocks.open_block();
        const BlockState state = open.block < blocks.count() ? blocks.state(open.block) : BlockState{};
        if (state == BlockState{open.generation, BlockPhase::free, {}}) {
            // Chosen, and not opened yet: its chooser may be gone.
            blocks.change(open.block, state, {open.generation, BlockPhase::open, {}});
        } else if (state != BlockState{open.generation, BlockPhase::open, {}}) {
            if (!Reclaimer(blocks, index, processes).open_next(open)) return std::nullopt;
            continue;
        }
        if (std::optional<Place> place = reserve_in(open, units)) return place;
    }
    return std::nullopt;
}

Status Segment::Impl::store(const KeyHash& hash, const EntryView& entry) noexcept {
    std::optional<Place> place = reserve(units_for(entry.bytes.size()));
    if (!place) return Status(StatusCode::no_space);
    const BlockLife life = place->life;
    // Pairs with after_read(): the generation of the life before was odd before any of these words changed.
    before_write();
    store_item(
        blocks.item(life.block, place->offset),
        {life.generation, static_cast<std::uint32_t>(entry.bytes.size()), place_hash(hash), place->offset},
        entry.bytes);
    blocks.mark_start(life.block, place->offset);
    const Slot slot{slot_tag(hash), Slot::slot_generation(life.generation),
                    static_cast<std::uint16_t>(life.block), place->offset, 0};
    bool displaced = false;
    if (!index.publish(hash, entry.key, slot, displaced)) return Status(StatusCode::no_space);
    if (displaced) processes.count(Counter::evicted_items);
    return Status();
}

Status Segment::put(std::span<const std::byte> entry) noexcept {
    EntryView view;
    const StatusCode decoded = decode_entry(entry, view);
    Status status(decoded);
    if (decoded == StatusCode::ok) {
        if ((view.fields.flags & entry_no_store) != 0) {
            status = Status(StatusCode::invalid_argument);
        } else if (view.bytes.size() > entry_bytes_max(impl_->geometry)) {
            status = Status(StatusCode::too_large);
        } else {
            status = impl_->store(hash_key(view.key), view);
        }
    }
    impl_->processes.count(status.ok() ? Counter::puts : Counter::put_failures);
    return status;
}

bool Segment::erase(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    return impl_->index.erase(hash, key);
}

void Segment::clear() noexcept { impl_->index.clear(); }

// ---- walking -------------------------------------------------------------------------------------

void Segment::for_each(bool (*visit)(void* context, std::span<const std::byte> entry), void* context) const {
    std::vector<std::byte> copy(entry_bytes_max(impl_->geometry));
    const CopyTarget target{
        [](void* buffer, std::size_t) noexcept { return static_cast<std::byte*>(buffer); }, copy.data()};
    impl_->index.for_each([&](const Slot& slot) {
        std::span<std::byte> bytes;
        EntryView view;
        const bool whole = impl_->copy_item(slot, nullptr, target, bytes) == Impl::Copy::whole &&
                           decode_entry(bytes, view) == StatusCode::ok && view.bytes.size() == bytes.size();
        return !whole || visit(context, bytes);
    });
}

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
        if (!fits_block(s.geometry, slot.offset, entry_header_bytes)) return true;
        const ItemHeader header = load_item_header(s.blocks.item(slot.block, slot.offset));
        if (!fits_block(s.geometry, slot.offset, header.entry_bytes)) return true;
        ++stats.items;
        stats.item_bytes += units_for(header.entry_bytes) * unit_bytes;
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
