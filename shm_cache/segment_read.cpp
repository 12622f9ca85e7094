// How the segment is read.
//
//   1  load the slot (acquire)
//   2  load the block's state: the slot's generation is the block's
//   3  the item's header, into private memory: generation, own offset, place hash, lengths within the block;
//      then the key, where it lies
//   4  copy what was asked for; the block's generation is still the same, or the copy may be a mixture: try
//      again, twice
//   5  raise the item's frequency, up to 3, then never; note the hit if the key is in the sample
#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

constexpr int torn_retries = 2;
constexpr std::size_t prefetch_lines = 5;

void prefetch_item(const Word* item) noexcept {
    // Addresses past the item, even past the mapping, are harmless: a prefetch does not fault.
    const auto* at = reinterpret_cast<const std::byte*>(item);
    for (std::size_t i = 0; i < prefetch_lines; ++i) __builtin_prefetch(at + i * cache_line_bytes);
}

// Which of the bucket's slots have this tag, a bit each. Without a branch: where a key's slot is can't be
// foretold.
unsigned slots_with_tag(const Bucket& bucket, std::uint16_t tag) noexcept {
    unsigned found = 0;
    for (std::size_t i = 0; i < slots_per_bucket; ++i) {
        // Relaxed: a slot that matches is loaded again.
        const std::uint64_t word = bucket.slots[i].load(std::memory_order_relaxed);
        found |= static_cast<unsigned>(word >> 48 == tag) << i;
    }
    return found;
}

}  // namespace

template <class Take>
ReadResult Segment::Impl::read_item(const Slot& slot, const Wanted* wanted, Take take) const noexcept {
    if (slot.block >= blocks.count() || !header_fits_block(geometry, slot.offset)) return ReadResult::other;
    const Word* item = blocks.item(slot.block, slot.offset);
    prefetch_item(item);
    const BlockState state = blocks.state(slot.block);
    if (!slot.current(state)) return ReadResult::other;
    const auto changed = [&] {
        after_read();
        return blocks.generation_after_read(slot.block) != state.generation;
    };
    // A recycled block looks like a damaged one: only the generation tells them apart.
    const auto refused = [&] { return changed() ? ReadResult::torn : ReadResult::other; };
    const ItemHeader header = load_item_header(item);
    if (!names_item(geometry, header, state.generation, slot.offset)) return refused();
    if (wanted != nullptr &&
        (header.place_hash != wanted->place_hash || !has_key(item, header, wanted->key))) {
        return refused();
    }
    ItemFields fields;
    load_item_fields(item, header, fields);
    if (!plausible(header, fields.raw_length)) return refused();
    const ReadResult taken = take(item, header, fields);
    return changed() ? ReadResult::torn : taken;
}

template <class Take>
ReadResult Segment::Impl::find_once(const KeyHash& hash, const Wanted& wanted, Take take) noexcept {
    const Index::Candidates candidates = index.candidates(wanted.place_hash);
    __builtin_prefetch(&candidates.bucket(1));
    const std::uint16_t tag = slot_tag(hash);
    for (std::size_t b = 0; b < 2; ++b) {
        Bucket& bucket = candidates.bucket(b);
        for (unsigned left = slots_with_tag(bucket, tag); left != 0; left &= left - 1) {
            Word& word = bucket.slots[static_cast<std::size_t>(std::countr_zero(left))];
            // Acquire: pairs with publish(); the item's words come after it.
            const std::uint64_t seen = word.load(std::memory_order_acquire);
            const Slot slot = Slot::unpack(seen);
            if (slot.tag != tag) continue;
            const ReadResult result = read_item(slot, &wanted, take);
            if (result == ReadResult::whole) note_hit(hash, word, seen);
            if (result != ReadResult::other) return result;
        }
    }
    return ReadResult::other;
}

template <class Take>
StatusCode Segment::Impl::find(const KeyHash& hash, std::span<const std::byte> key, Take take) noexcept {
    const HitTimer timer;
    const Wanted wanted{place_hash(hash), key};
    ReadResult result = find_once(hash, wanted, take);
    for (int retry = 0; result == ReadResult::torn && retry < torn_retries; ++retry) {
        result = find_once(hash, wanted, take);
    }
    if (result == ReadResult::whole) {
        timer.hit(processes.statistics());
        return StatusCode::ok;
    }
    processes.count(result == ReadResult::torn      ? Counter::misses_torn
                    : result == ReadResult::no_room ? Counter::misses_no_room
                                                    : Counter::misses_absent);
    return result == ReadResult::no_room ? StatusCode::no_space : StatusCode::not_found;
}

void Segment::Impl::note_hit(const KeyHash& hash, Word& word, std::uint64_t seen) noexcept {
    processes.count(Counter::hits);
    const Slot slot = Slot::unpack(seen);
    if (slot.frequency < frequency_max) Index::raise_frequency(word, seen);
    if (!sampler.samples(hash)) return;
    // The item may be another one by now: then the sample has a wrong size.
    sampler.note(hash, load_item_header(blocks.item(slot.block, slot.offset)).units());
}

// ---- whole entries ---------------------------------------------------------------------------------

namespace {

// Makes the entry of an item in `target`; empty when there is no room. Its checksum is that of the item, or
// to be made.
std::span<std::byte> make_entry(const Word* item, const ItemHeader& header, const ItemFields& fields,
                                CopyTarget target) noexcept {
    const std::size_t size = header.entry_bytes();
    std::byte* to = target.reserve(target.context, size);
    if (to == nullptr) return {};
    const std::span<std::byte> entry(to, size);
    write_entry_header({fields.fields, header.tag_count, header.key_length, fields.raw_length,
                        header.stored_length, fields.checksum},
                       entry.first<entry_header_bytes>());
    // Tags, key and payload lie in an item as in an entry.
    read_bytes(item, header.tags_at(), to + entry_header_bytes, size - entry_header_bytes);
    return entry;
}

// Copies an entry, and remembers whether it is still without a checksum.
struct TakeEntry {
    CopyTarget target;
    std::span<std::byte>& entry;
    bool& unsealed;

    ReadResult operator()(const Word* item, const ItemHeader& header,
                          const ItemFields& fields) const noexcept {
        entry = make_entry(item, header, fields, target);
        unsealed = (header.extras & item_checksum) == 0;
        return entry.empty() ? ReadResult::no_room : ReadResult::whole;
    }
};

}  // namespace

ReadResult Segment::Impl::copy_entry(const Slot& slot, CopyTarget target,
                                     std::span<std::byte>& entry) const noexcept {
    bool unsealed = false;
    const ReadResult result = read_item(slot, nullptr, TakeEntry{target, entry, unsealed});
    if (result == ReadResult::whole && unsealed) seal_entry(entry);
    return result;
}

std::span<std::byte> Segment::get(const KeyHash& hash, std::span<const std::byte> key,
                                  CopyTarget target) noexcept {
    std::span<std::byte> entry;
    bool unsealed = false;
    if (impl_->find(hash, key, TakeEntry{target, entry, unsealed}) != StatusCode::ok) return {};
    if (unsealed) seal_entry(entry);
    return entry;
}

// ---- values alone ----------------------------------------------------------------------------------

namespace {

template <class Reserve>
auto take_value(std::span<Tag, max_entry_tags> tags, ValueRead& read, Reserve reserve) noexcept {
    return [tags, &read, reserve](const Word* item, const ItemHeader& header,
                                  const ItemFields& fields) noexcept {
        std::byte* to = reserve(header.stored_length);
        if (to == nullptr) return ReadResult::no_room;
        if (header.tag_count > 0) {
            read_bytes(item, header.tags_at(), reinterpret_cast<std::byte*>(tags.data()),
                       header.tag_count * sizeof(Tag));
        }
        read_bytes(item, header.value_at(), to, header.stored_length);
        read = {fields.fields, fields.raw_length, header.tag_count, {to, header.stored_length}};
        return ReadResult::whole;
    };
}

}  // namespace

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, CopyTarget target,
                              ValueRead& read) noexcept {
    return impl_->find(hash, key, take_value(tags, read, [target](std::size_t bytes) noexcept {
                           return target.reserve(target.context, bytes);
                       }));
}

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, std::span<std::byte> buffer,
                              ValueRead& read) noexcept {
    return impl_->find(hash, key, take_value(tags, read, [buffer](std::size_t bytes) noexcept {
                           return bytes <= buffer.size() ? buffer.data() : nullptr;
                       }));
}

}  // namespace tiercache
