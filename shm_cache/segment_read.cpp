// How the segment is read.
//
//   1  load the slot (acquire)
//   2  load the block's state: the slot's generation is the block's
//   3  the item's header, into private memory: generation, own offset, place hash, lengths within the block;
//      then the key, where it lies
//   4  copy what was asked for; the block's generation is still the same, or the copy may be a mixture: try
//      again, twice
//   5  raise the item's frequency: at the first hit, then at one hit in eight, up to 3, then never
#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

constexpr int torn_retries = 2;
constexpr std::uint64_t frequency_sampling = 8;
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
    const bool part = (header.flags & item_part) != 0;
    if (wanted == nullptr ? part
                          : part != wanted->part || header.place_hash != wanted->place_hash ||
                                !has_key(item, header, wanted->key)) {
        return refused();
    }
    ItemFields fields;
    load_item_fields(item, header, fields);
    if ((header.flags & item_head) == 0 &&
        !plausible(header.flags, header.stored_length, fields.raw_length)) {
        return refused();
    }
    const ReadResult taken = take(item, header, fields, slot.block);
    return changed() ? ReadResult::torn : taken;
}

template <class Take>
ReadResult Segment::Impl::find_once(const KeyHash& hash, const Wanted& wanted, Found& found,
                                    Take take) const noexcept {
    const Index::Candidates candidates = index.candidates(wanted.place_hash);
    const std::uint16_t tag = slot_tag(hash);
    for (std::size_t b = 0; b < 2; ++b) {
        Bucket& bucket = candidates.bucket(b);
        for (unsigned left = slots_with_tag(bucket, tag); left != 0; left &= left - 1) {
            Word& word = bucket.slots[static_cast<std::size_t>(std::countr_zero(left))];
            // Acquire: pairs with publish(); the item's words come after it.
            found = {&word, word.load(std::memory_order_acquire)};
            const Slot slot = Slot::unpack(found.seen);
            if (slot.tag != tag) continue;
            const ReadResult result = read_item(slot, &wanted, take);
            if (result != ReadResult::other) return result;
        }
    }
    return ReadResult::other;
}

template <class Take>
StatusCode Segment::Impl::find(const KeyHash& hash, std::span<const std::byte> key, Assembly& assembly,
                               Take take) noexcept {
    const HitTimer timer;
    const Wanted wanted{place_hash(hash), key};
    Found found;
    ReadResult result = find_once(hash, wanted, found, take);
    for (int retry = 0; result == ReadResult::torn && retry < torn_retries; ++retry) {
        result = find_once(hash, wanted, found, take);
    }
    if (result == ReadResult::whole && (assembly.to.empty() || read_parts(assembly))) {
        note_hit(*found.word, found.seen);
        timer.hit(processes.statistics());
        return StatusCode::ok;
    }
    processes.count(result == ReadResult::torn      ? Counter::misses_torn
                    : result == ReadResult::no_room ? Counter::misses_no_room
                                                    : Counter::misses_absent);
    return result == ReadResult::no_room ? StatusCode::no_space : StatusCode::not_found;
}

void Segment::Impl::note_hit(Word& word, std::uint64_t seen) noexcept {
    const std::uint64_t hits = processes.count(Counter::hits);
    const std::uint64_t frequency = seen & frequency_max;
    if (frequency == frequency_max) return;
    if (frequency == 0 || hits % frequency_sampling == 0) Index::raise_frequency(word, seen);
}

bool Segment::Impl::read_note(const Word* item, const ItemHeader& header, std::uint32_t raw_length,
                              PartsNote& note) const noexcept {
    if (header.stored_length != sizeof(note)) return false;
    read_bytes(item, header.value_at(), reinterpret_cast<std::byte*>(&note), sizeof(note));
    return note.stored_length > 0 && note.stored_length <= parted_bytes_max(geometry) &&
           plausible(header.flags, note.stored_length, raw_length);
}

bool Segment::Impl::read_part(const PartKey& key, std::span<std::byte> to) const noexcept {
    const auto bytes = std::as_bytes(std::span(&key, 1));
    const KeyHash hash = hash_key(bytes);
    const Wanted wanted{place_hash(hash), bytes, true};
    const auto take = [to](const Word* item, const ItemHeader& header, const ItemFields&, std::uint32_t) {
        if (header.stored_length != to.size()) return ReadResult::other;
        read_bytes(item, header.value_at(), to.data(), to.size());
        return ReadResult::whole;
    };
    Found found;
    ReadResult result = find_once(hash, wanted, found, take);
    for (int retry = 0; result == ReadResult::torn && retry < torn_retries; ++retry) {
        result = find_once(hash, wanted, found, take);
    }
    if (result != ReadResult::whole) return false;
    // Not counted as hits of their own; as often used as their value.
    if (Slot::unpack(found.seen).frequency < frequency_max) Index::raise_frequency(*found.word, found.seen);
    return true;
}

// ---- whole entries ---------------------------------------------------------------------------------

namespace {

// Copies an entry, and tells what it is still without: a checksum, or a value that lies in parts.
template <class Impl>
struct TakeEntry {
    const Impl& segment;
    CopyTarget target;
    std::span<std::byte>& entry;
    bool& unsealed;
    typename Impl::Assembly& assembly;

    ReadResult operator()(const Word* item, const ItemHeader& header, const ItemFields& fields,
                          std::uint32_t /*block*/) const noexcept {
        assembly.to = {};
        const bool head = (header.flags & item_head) != 0;
        if (head && !segment.read_note(item, header, fields.raw_length, assembly.note))
            return ReadResult::other;
        const std::size_t stored = head ? assembly.note.stored_length : header.stored_length;
        const std::size_t before_value = entry_header_bytes + header.value_at() - header.tags_at();
        std::byte* to = target.reserve(target.context, before_value + stored);
        if (to == nullptr) return ReadResult::no_room;
        entry = {to, before_value + stored};
        unsealed = (header.extras & item_checksum) == 0;
        write_entry_header({fields.fields, header.tag_count, header.key_length, fields.raw_length,
                            static_cast<std::uint32_t>(stored), fields.checksum},
                           entry.first<entry_header_bytes>());
        // Tags, key and value lie in an item as in an entry.
        read_bytes(item, header.tags_at(), to + entry_header_bytes,
                   before_value - entry_header_bytes + (head ? 0 : stored));
        if (head) assembly.to = entry.subspan(before_value);
        return ReadResult::whole;
    }
};

}  // namespace

ReadResult Segment::Impl::copy_entry(const Slot& slot, CopyTarget target,
                                     std::span<std::byte>& entry) const noexcept {
    bool unsealed = false;
    Assembly assembly;
    const ReadResult result =
        read_item(slot, nullptr, TakeEntry<Impl>{*this, target, entry, unsealed, assembly});
    if (result != ReadResult::whole) return result;
    if (!assembly.to.empty() && !read_parts(assembly)) return ReadResult::other;
    if (unsealed) seal_entry(entry);
    return result;
}

std::span<std::byte> Segment::get(const KeyHash& hash, std::span<const std::byte> key,
                                  CopyTarget target) noexcept {
    std::span<std::byte> entry;
    bool unsealed = false;
    Impl::Assembly assembly;
    const TakeEntry<Impl> take{*impl_, target, entry, unsealed, assembly};
    if (impl_->find(hash, key, assembly, take) != StatusCode::ok) return {};
    // The key was compared where it lies, and copied after: only damage can have come between.
    if (!is_entry_of(entry, key)) return {};
    if (unsealed) seal_entry(entry);
    return entry;
}

// ---- values alone ----------------------------------------------------------------------------------

namespace {

template <class Impl, class Reserve>
auto take_value(const Impl& segment, typename Impl::Assembly& assembly, std::span<Tag, max_entry_tags> tags,
                ValueRead& read, Reserve reserve) noexcept {
    return [tags, &segment, &assembly, &read, reserve](const Word* item, const ItemHeader& header,
                                                       const ItemFields& fields,
                                                       std::uint32_t /*block*/) noexcept {
        assembly.to = {};
        const bool head = (header.flags & item_head) != 0;
        if (head && !segment.read_note(item, header, fields.raw_length, assembly.note))
            return ReadResult::other;
        const std::size_t stored = head ? assembly.note.stored_length : header.stored_length;
        std::byte* to = reserve(stored);
        if (to == nullptr) return ReadResult::no_room;
        if (head) {
            assembly.to = {to, stored};
        } else {
            read_bytes(item, header.value_at(), to, stored);
        }
        if (header.tag_count > 0) {
            read_bytes(item, header.tags_at(), reinterpret_cast<std::byte*>(tags.data()),
                       header.tag_count * sizeof(Tag));
        }
        read = {fields.fields, fields.raw_length, header.tag_count, {to, stored}};
        return ReadResult::whole;
    };
}

}  // namespace

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, CopyTarget target,
                              ValueRead& read) noexcept {
    Impl::Assembly assembly;
    const auto reserve = [target](std::size_t bytes) noexcept {
        return target.reserve(target.context, bytes);
    };
    return impl_->find(hash, key, assembly, take_value(*impl_, assembly, tags, read, reserve));
}

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, std::span<std::byte> buffer,
                              ValueRead& read) noexcept {
    Impl::Assembly assembly;
    const auto reserve = [buffer](std::size_t bytes) noexcept {
        return bytes <= buffer.size() ? buffer.data() : nullptr;
    };
    return impl_->find(hash, key, assembly, take_value(*impl_, assembly, tags, read, reserve));
}

// ---- values where they lie -------------------------------------------------------------------------

StatusCode Segment::get_view(const KeyHash& hash, std::span<const std::byte> key,
                             std::span<Tag, max_entry_tags> tags, ValueView& view) noexcept {
    view.release();
    for (int attempt = 0; attempt <= torn_retries; ++attempt) {
        BlockLife life;
        ValueView found;
        bool large = false;
        Impl::Assembly none;
        const auto take = [&](const Word* item, const ItemHeader& header, const ItemFields& fields,
                              std::uint32_t block) noexcept {
            large = (header.flags & item_head) != 0;
            life = {block, header.generation};
            if (header.tag_count > 0) {
                read_bytes(item, header.tags_at(), reinterpret_cast<std::byte*>(tags.data()),
                           header.tag_count * sizeof(Tag));
            }
            found.fields = fields.fields;
            found.raw_length = fields.raw_length;
            found.tag_count = header.tag_count;
            found.stored = {reinterpret_cast<const std::byte*>(item) + header.value_at(),
                            header.stored_length};
            return ReadResult::whole;
        };
        const StatusCode code = impl_->find(hash, key, none, take);
        if (code != StatusCode::ok) return code;
        if (large) return StatusCode::too_large;
        std::optional<ViewPin> pin = impl_->processes.pin_view(life);
        if (!pin) return StatusCode::busy;
        // What was read is of this life of the block, and stays while the pin does, if the pin came in time.
        const BlockState state = impl_->blocks.state_after_pin(life.block);
        if (state.generation == life.generation &&
            (state.phase == BlockPhase::open || state.phase == BlockPhase::sealed)) {
            view = std::move(found);
            view.pin_ = std::move(*pin);
            return StatusCode::ok;
        }
    }
    return StatusCode::not_found;
}

}  // namespace tiercache
