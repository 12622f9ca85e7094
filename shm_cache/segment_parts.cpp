// How values that are too large for one item are written and read (parts.hpp).
#include "shm_cache/segment_find.hpp"

namespace tiercache {

namespace {

// Of all blocks: a longer value goes past the small queue, where its own last parts would evict the first.
constexpr std::uint64_t past_small_queue = 32;
// Times that a put looks for parts of its own that were dropped since the head was there.
constexpr int repairs_max = 3;

}  // namespace

// The part's slot, of which `take` has taken what it wants.
template <class Take>
Segment::Impl::FoundPart Segment::Impl::find_part(const PartKey& key, const Take& take) noexcept {
    const KeyHash hash = hash_key(key.bytes());
    const Wanted wanted{place_hash(hash), key.bytes()};
    const Index::Candidates candidates = index.candidates(wanted.place_hash);
    for (int tries = 0; tries <= torn_retries; ++tries) {
        ReadResult result = ReadResult::other;
        for (std::size_t i = 0; i < Index::Candidates::count && result == ReadResult::other; ++i) {
            // Acquire: pairs with publish(); the item's words come after it.
            const std::uint64_t seen = candidates[i].load(std::memory_order_acquire);
            const Slot slot = Slot::unpack(seen);
            if (slot.tag != slot_tag(hash)) continue;
            result = read_item(slot, &wanted, take);
            // Copied forward since it was loaded, and its old place recycled: it is not gone. Acquire:
            // whoever saw that place recycled sees the slot after the move.
            if (result == ReadResult::other && candidates[i].load(std::memory_order_acquire) != seen) {
                result = ReadResult::torn;
            }
            if (result == ReadResult::whole) return {&candidates[i], seen};
        }
        if (result != ReadResult::torn) return {};
    }
    return {};
}

Status Segment::Impl::store_parts(const KeyHash& hash, const ItemContent& content,
                                  const Copied* copied) noexcept {
    if (content.stored.size() > value_bytes_max(geometry)) return Status(StatusCode::too_large);
    if (!processes.claim_slot()) return Status(StatusCode::no_space);
    PartsNote note{{}, hash.low, content.stored.size()};
    make_nonce(processes.self(), note.nonce);
    ItemContent head = content;
    head.stored = std::as_bytes(std::span(&note, 1));
    head.kind = item_head;
    // Key and tags alone may be too much.
    if (!head.storable() || !fits_item(head.header())) return Status(StatusCode::too_large);

    Stream stream = copied != nullptr ? copied->stream
                                      : admit(hash, content.fields.data_class, geometry.units_per_block());
    const std::uint64_t room = geometry.block_count * geometry.block_bytes;
    if (reclaimer.policy().copy_forward && content.stored.size() > room / past_small_queue) {
        stream.queue = Queue::main;
    }
    const PartsPut put{note, content, stream, copied != nullptr};
    if (Status s = store_all_parts(put); !s.ok()) return s;
    std::size_t missing = 0;
    if (Status s = store_missing_parts(put, false, missing); !s.ok()) return s;
    if (Status s = store_item(hash, head, head.header(), stream, copied); !s.ok()) return s;
    // The put is done, and what it replaced is gone: what fails from here on is as if it was evicted.
    missing = 1;
    for (int round = 0; round < repairs_max && missing > 0; ++round) {
        if (!store_missing_parts(put, true, missing).ok()) break;
    }
    return Status();
}

Status Segment::Impl::store_part(const PartsPut& put, const PartKey& key) noexcept {
    const std::size_t size = part_bytes(geometry);
    const std::span<const std::byte> value = put.whole.stored;
    const std::size_t at = size * static_cast<std::size_t>(key.number);
    ItemContent part;
    part.key = key.bytes();
    part.kind = item_part;
    part.fields.data_class = put.whole.fields.data_class;
    part.fields.lifetime.received_at_ns = put.whole.fields.lifetime.received_at_ns;
    part.fields.lifetime.hard_ttl_ms = put.whole.fields.lifetime.hard_ttl_ms;
    part.stored = value.subspan(at, std::min(size, value.size() - at));
    part.raw_length = static_cast<std::uint32_t>(part.stored.size());
    return store_item(hash_key(part.key), part, part.header(), put.stream, nullptr, put.is_copy);
}

Status Segment::Impl::store_all_parts(const PartsPut& put) noexcept {
    PartKey key = PartKey::first_of(put.note);
    const std::size_t size = part_bytes(geometry);
    for (std::size_t at = 0; at < put.whole.stored.size(); at += size, ++key.number) {
        if (Status s = store_part(put, key); !s.ok()) return s;
    }
    return Status();
}

// Reclamation takes a part without a head for what a dead writer left. Where there is little room, it comes
// around to a value's first parts before its head is there.
Status Segment::Impl::store_missing_parts(const PartsPut& put, bool has_head, std::size_t& missing) noexcept {
    missing = 0;
    PartKey key = PartKey::first_of(put.note);
    const std::size_t size = part_bytes(geometry);
    for (std::size_t at = 0; at < put.whole.stored.size(); at += size, ++key.number) {
        if (has_part(key)) continue;
        // Closed: all is gone. Without its head, which was replaced, erased or evicted, a part is nobody's.
        if (closed() || (has_head && find_head(geometry, blocks, index, key).word == nullptr)) {
            missing = 0;
            return Status();
        }
        ++missing;
        if (Status s = store_part(put, key); !s.ok()) return s;
    }
    return Status();
}

ReadResult Segment::Impl::read_parts(const PartsNote& note, std::span<std::byte> to) noexcept {
    PartKey key = PartKey::first_of(note);
    const std::size_t size = part_bytes(geometry);
    for (std::size_t at = 0; at < to.size(); at += size, ++key.number) {
        if (read_part(key, to.subspan(at, std::min(size, to.size() - at)))) continue;
        // A part is gone. If the head is still there, so is the value no more.
        const Index::ItemSlot head = find_head(geometry, blocks, index, key);
        if (head.word == nullptr) return ReadResult::torn;
        const DataClass data_class = blocks.state(head.seen.block).stream.data_class;
        if (Index::evict_item(head)) processes.count(evicted_items(data_class));
        return ReadResult::other;
    }
    return ReadResult::whole;
}

// Used once is used: a part is kept once more for each time around in which its value was read.
bool Segment::Impl::read_part(const PartKey& key, std::span<std::byte> to) noexcept {
    const auto take = [to](const Word* item, const ItemWords& words) noexcept {
        if ((words.header().flags & item_part) == 0 || words.stored_length() != to.size()) {
            return ReadResult::other;
        }
        read_bytes(item, words.value_at(), to.data(), to.size());
        return ReadResult::whole;
    };
    const auto [word, seen] = find_part(key, take);
    if (word == nullptr) return false;
    if (Slot::unpack(seen).frequency == 0) Index::raise_frequency(*word, seen);
    return true;
}

bool Segment::Impl::has_part(const PartKey& key) noexcept {
    const auto is_part = [](const Word* /*item*/, const ItemWords& words) noexcept {
        return (words.header().flags & item_part) != 0 ? ReadResult::whole : ReadResult::other;
    };
    return find_part(key, is_part).word != nullptr;
}

}  // namespace tiercache
