// How the segment is written.
//
//   W1 pin the open block of the item's stream, look at its state again
//   W2 reserve by one fetch_add (W1 and W2 in stream.cpp)
//   W3 write the item
//   W4 set its start bit
//   W5 publish by one CAS of the key's index slot (release); where it has none, take one as pending, search
//      for another of the key, and make it visible by one CAS (index.cpp)
//   W6 unpin
//
// A process that dies at any of these leaves at most a hole in a block, a slot that no reader looks at,
// and a pin that counts for nothing.
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

// What an item's header has bits for, and get() gives again.
bool storable(const EntryFields& fields) noexcept {
    return (fields.flags & ~storable_flags) == 0 && fields.format <= PayloadFormat::pg_tuples &&
           fields.data_class <= DataClass::reference;
}

}  // namespace

std::optional<Place> Segment::Impl::reserve(Stream stream, std::uint64_t units) noexcept {
    for (int round = 0; round < reserve_rounds_max; ++round) {
        const BlockLife open = streams.open_block(stream);
        if (std::optional<Place> place = streams.reserve(stream, open, units)) return place;
        if (!streams.is_open(stream, open) && !reclaimer.open_next(stream, open)) return std::nullopt;
    }
    return std::nullopt;
}

Stream Segment::Impl::admit(const KeyHash& hash, DataClass data_class, std::uint64_t units) noexcept {
    const EvictionPolicy policy = reclaimer.policy();
    const bool wanted =
        policy.copy_forward && (!policy.small_queue || (policy.adaptive && reclaimer.filling()) ||
                                index.in_main(hash) || (policy.ghosts && index.recall(hash, units)));
    return {wanted ? Queue::main : Queue::small, data_class};
}

Status Segment::Impl::store(const KeyHash& hash, const ItemContent& content) noexcept {
    if (content.storable()) {
        const ItemHeader header = content.header();
        if (fits_item(header)) {
            Status s =
                store_item(hash, content, header, admit(hash, content.fields.data_class, header.units()));
            if (s.ok()) learn(hash, header.units());
            return s;
        }
    }
    Status s = store_parts(hash, content);
    if (s.ok()) learn(hash, content.stored.size() / unit_bytes);
    return s;
}

Status Segment::Impl::store_item(const KeyHash& hash, const ItemContent& content, ItemHeader header,
                                 Stream stream, const Copied* copied, bool copied_part) noexcept {
    // Who has no slot has no name to reclaim under and no pin to write with.
    if (!processes.claim_slot()) return Status(StatusCode::no_space);
    reclaimer.advance(header.units());
    const std::optional<Place> place = reserve(stream, header.units());
    if (!place) return Status(StatusCode::no_space);
    const BlockLife life = place->life;
    header.generation = life.generation;
    header.place_hash = place_hash(hash);
    header.offset = offset_mark(place->offset);
    // Pairs with after_read(): the generation of the life before was odd before any of these words changed.
    before_write();
    tiercache::store_item(blocks.item(life.block, place->offset), header, content);
    blocks.note_expiry(life.block, expires_at_ns(header.received_at_ns, header.hard_ttl_ms));
    blocks.mark_start(life.block, place->offset);
    Slot slot = Slot::of(slot_tag(hash), life, place->offset);
    if (copied != nullptr) {
        slot.frequency = copied->frequency;
        const bool copy = index.publish_copy(hash, content.key, slot, [] {});
        return copy ? Status() : Status(StatusCode::already_exists);
    }
    Slot displaced;
    if (!index.publish(hash, content.key, slot, displaced, copied_part)) return Status(StatusCode::no_space);
    if (displaced.tag != 0) processes.count(evicted_items(blocks.state(displaced.block).stream.data_class));
    return Status();
}

Status Segment::Impl::store_copy(const KeyHash& hash, const ItemContent& content,
                                 const Copied& copied) noexcept {
    if (content.storable()) {
        const ItemHeader item = content.header();
        if (fits_item(item)) return store_item(hash, content, item, copied.stream, &copied);
    }
    return store_parts(hash, content, &copied);
}

void Segment::Impl::learn(const KeyHash& hash, std::uint64_t units) noexcept {
    if (sampler.samples(hash)) sampler.note(hash, units);
    // Before the call: an optional that is returned is put together in memory.
    if (!sampler.wants_advance()) return;
    if (const std::optional<std::size_t> chosen = sampler.advance(processes)) {
        reclaimer.adapt(candidates[*chosen]);
    }
}

// A late put leaves nothing: what it was to replace goes, and it may have been seen already, so that it would
// come back if something else was put since.
Status Segment::store(const KeyHash& hash, const ItemContent& content) noexcept {
    return change([&](Impl& at) { return at.store(hash, content); },
                  [&](Impl& at) { return at.index.erase(hash, content.key); });
}

void Segment::count_put(StatusCode outcome) noexcept {
    if (outcome == StatusCode::unavailable) return;
    ProcessTable& processes = latest().processes;
    processes.count(put_counter(outcome, processes));
}

Status Segment::put(std::span<const std::byte> entry) noexcept {
    EntryView view;
    const StatusCode decoded = decode_entry(entry, view);
    Status status(decoded);
    if (decoded == StatusCode::ok) {
        status = storable(view.fields) ? store(hash_key(view.key), ItemContent::of(view))
                                       : Status(StatusCode::invalid_argument);
    }
    count_put(status.code());
    return status;
}

Status Segment::put_value(const KeyHash& hash, std::span<const std::byte> key, std::span<const Tag> tags,
                          const EntryFields& fields, std::span<const std::byte> stored,
                          std::uint32_t raw_length) noexcept {
    const bool compressed = (fields.flags & entry_lz4) != 0;
    Status status;
    if (!storable(fields) || (compressed ? stored.size() >= raw_length : stored.size() != raw_length)) {
        status = Status(StatusCode::invalid_argument);
    } else if (tags.size() > max_entry_tags || raw_length > max_entry_payload_bytes) {
        status = Status(StatusCode::too_large);
    } else {
        ItemContent content;
        content.fields = fields;
        content.tags = std::as_bytes(tags);
        content.key = key;
        content.stored = stored;
        content.raw_length = raw_length;
        status = store(hash, content);
    }
    count_put(status.code());
    return status;
}

Status Segment::erase(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    bool erased = false;
    const auto erase = [&](Impl& at) {
        erased |= at.index.erase(hash, key);
        full_fence();
        return Status();
    };
    Status status = change(erase, erase);
    if (!status.ok()) return status;
    if (!erased) return Status(StatusCode::not_found);
    latest().processes.count(Counter::erased_items);
    return status;
}

Status Segment::clear() noexcept {
    const auto clear = [](Impl& at) {
        at.index.clear();
        full_fence();
        return Status();
    };
    return change(clear, clear);
}

}  // namespace tiercache
