// How the segment is written.
//
//   W1 pin the open block, look at its state again
//   W2 reserve by one fetch_add
//   W3 write the item
//   W4 set its start bit
//   W5 publish by one CAS of an index slot (release)
//   W6 unpin
//   W7 erase duplicates of the key (with W5, in index.cpp)
//
// A process that dies at any of these leaves at most a hole in a block and a pin that counts for nothing.
#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

// Each round lost means that somebody filled a block meanwhile.
constexpr int reserve_rounds_max = 64;

Counter put_counter(StatusCode outcome, const ProcessTable& processes) noexcept {
    switch (outcome) {
        case StatusCode::ok:
            return Counter::puts;
        case StatusCode::no_space:
            return processes.has_slot() ? Counter::put_failures_no_space
                                        : Counter::put_failures_no_process_slot;
        case StatusCode::too_large:
            return Counter::put_failures_too_large;
        default:
            return Counter::put_failures_invalid;
    }
}

}  // namespace

std::optional<Segment::Impl::Place> Segment::Impl::reserve_in(BlockLife open, std::uint64_t units) noexcept {
    std::optional<Pin> pin = processes.pin(open);
    if (!pin) return std::nullopt;
    const BlockState expected{open.generation, BlockPhase::open, {}};
    if (blocks.state_after_pin(open.block) != expected) return std::nullopt;
    const std::optional<std::uint32_t> offset = blocks.reserve(open.block, units);
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

Status Segment::Impl::store(const KeyHash& hash, const ItemContent& content) noexcept {
    if (!content.storable()) return Status(StatusCode::too_large);
    ItemHeader header = content.header();
    if (header.entry_bytes() > entry_bytes_max(geometry)) return Status(StatusCode::too_large);
    std::optional<Place> place = reserve(header.units());
    if (!place) return Status(StatusCode::no_space);
    const BlockLife life = place->life;
    header.generation = life.generation;
    header.place_hash = place_hash(hash);
    header.offset = offset_mark(place->offset);
    // Pairs with after_read(): the generation of the life before was odd before any of these words changed.
    before_write();
    store_item(blocks.item(life.block, place->offset), header, content);
    blocks.mark_start(life.block, place->offset);
    const Slot slot{slot_tag(hash), Slot::slot_generation(life.generation),
                    static_cast<std::uint16_t>(life.block), place->offset, 0};
    bool displaced = false;
    if (!index.publish(hash, content.key, slot, displaced)) return Status(StatusCode::no_space);
    if (displaced) processes.count(Counter::evicted_items);
    return Status();
}

Status Segment::put(std::span<const std::byte> entry) noexcept {
    EntryView view;
    const StatusCode decoded = decode_entry(entry, view);
    Status status(decoded);
    if (decoded == StatusCode::ok) {
        status = (view.fields.flags & ~Impl::storable_flags) != 0
                     ? Status(StatusCode::invalid_argument)
                     : impl_->store(hash_key(view.key), ItemContent::of(view));
    }
    impl_->processes.count(put_counter(status.code(), impl_->processes));
    return status;
}

Status Segment::put_value(const KeyHash& hash, std::span<const std::byte> key, std::span<const Tag> tags,
                          const EntryFields& fields, std::span<const std::byte> stored,
                          std::uint32_t raw_length) noexcept {
    const bool compressed = (fields.flags & entry_lz4) != 0;
    Status status;
    if ((fields.flags & ~Impl::storable_flags) != 0 ||
        (compressed ? stored.size() >= raw_length : stored.size() != raw_length)) {
        status = Status(StatusCode::invalid_argument);
    } else if (tags.size() > max_entry_tags || raw_length > max_entry_payload_bytes) {
        status = Status(StatusCode::too_large);
    } else {
        status = impl_->store(hash, {fields, std::as_bytes(tags), key, stored, raw_length});
    }
    impl_->processes.count(put_counter(status.code(), impl_->processes));
    return status;
}

bool Segment::erase(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    if (!impl_->index.erase(hash, key)) return false;
    impl_->processes.count(Counter::erased_items);
    return true;
}

void Segment::clear() noexcept { impl_->index.clear(); }

}  // namespace tiercache
