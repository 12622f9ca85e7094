// The segment's reads; how an item is found is in segment_find.hpp.
#include "shm_cache/entry.hpp"
#include "shm_cache/segment_find.hpp"

namespace tiercache {

StatusCode Segment::Impl::missed(ReadResult result) noexcept {
    if (result == ReadResult::closed || closed()) [[unlikely]]
        return StatusCode::unavailable;
    switch (result) {
        // Not counted: the copying read that follows is.
        case ReadResult::no_pin:
            return StatusCode::busy;
        case ReadResult::copy_only:
            return StatusCode::too_large;
        case ReadResult::no_room:
            processes.count(Counter::misses_no_room);
            return StatusCode::no_space;
        case ReadResult::torn:
            processes.count(Counter::misses_torn);
            return StatusCode::not_found;
        default:
            processes.count(Counter::misses_absent);
            return StatusCode::not_found;
    }
}

void Segment::Impl::sample_hit(KeyHash hash, std::uint64_t seen) noexcept {
    if (sampler.noted_enough(hash)) return;
    const Slot slot = Slot::unpack(seen);
    const Word* item = blocks.item(slot.block, slot.offset);
    // The item may be another one by now: then the sample has a wrong size.
    const ItemWords words = load_item_words(item);
    const ItemHeader header = words.header();
    std::uint64_t units = header.units();
    PartsNote note;
    if (header.in_parts() && fits_block(geometry, slot.offset, header.bytes())) {
        EntryFields fields;
        std::uint32_t raw_length = 0;
        load_item_fields(item, words, fields, raw_length);
        if (read_parts_note(geometry, item, header, raw_length, note)) {
            units = note.stored_length / unit_bytes;
        }
    }
    sampler.note(hash, units);
}

// ---- whole entries ---------------------------------------------------------------------------------

namespace {

// Copies an entry, and remembers whether it is still without a checksum.
template <class Impl>
struct TakeEntry {
    Impl& segment;
    const CopyTarget& target;
    std::span<std::byte>& entry;
    bool& unsealed;

    ReadResult operator()(const Word* item, const ItemWords& words) const noexcept {
        EntryHead head;
        head.checksum = load_item_fields(item, words, head.fields, head.raw_length);
        head.tag_count = static_cast<std::uint8_t>(words.tag_count());
        head.key_length = static_cast<std::uint32_t>(words.key_length());
        head.stored_length = static_cast<std::uint32_t>(words.stored_length());
        PartsNote note{};
        if (words.in_parts()) [[unlikely]] {
            if (!read_parts_note(segment.geometry, item, words.header(), head.raw_length, note)) {
                return ReadResult::other;
            }
            head.stored_length = static_cast<std::uint32_t>(note.stored_length);
        } else if (!plausible(words, head.raw_length)) {
            return ReadResult::other;
        }
        // Tags, key and payload lie in an item as in an entry.
        const std::size_t value_at = entry_header_bytes + words.value_at() - words.tags_at();
        const std::size_t size = value_at + head.stored_length;
        std::byte* to = target.reserve(target.context, size);
        if (to == nullptr) return ReadResult::no_room;
        entry = {to, size};
        write_entry_header(head, entry.first<entry_header_bytes>());
        unsealed = (words.extras() & item_checksum) == 0;
        const std::size_t here = words.in_parts() ? value_at : size;
        read_bytes(item, words.tags_at(), to + entry_header_bytes, here - entry_header_bytes);
        return words.in_parts() ? segment.read_parts(note, entry.subspan(value_at)) : ReadResult::whole;
    }
};

}  // namespace

ReadResult Segment::Impl::copy_entry(const Slot& slot, CopyTarget target,
                                     std::span<std::byte>& entry) noexcept {
    bool unsealed = false;
    const ReadResult result = read_item(slot, nullptr, TakeEntry<Impl>{*this, target, entry, unsealed});
    if (result == ReadResult::whole && unsealed) seal_entry(entry);
    return result;
}

std::span<std::byte> Segment::get(const KeyHash& hash, std::span<const std::byte> key, CopyTarget target,
                                  EntryView& entry) noexcept {
    std::span<std::byte> bytes;
    bool unsealed = false;
    const StatusCode code = read([&](Impl& at) {
        return at.find(hash, key, TakeEntry<Impl>{at, target, bytes, unsealed});
    });
    if (code != StatusCode::ok) return {};
    if (unsealed) seal_entry(bytes);
    // The key was compared where it lies, and copied after: only damage can have come between.
    if (decode_entry_of(bytes, key, entry)) [[likely]]
        return bytes;
    note(Note::malformed);
    return {};
}

std::span<std::byte> Segment::get(const KeyHash& hash, std::span<const std::byte> key,
                                  CopyTarget target) noexcept {
    EntryView entry;
    return get(hash, key, target, entry);
}

// ---- values alone ----------------------------------------------------------------------------------

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, CopyTarget target,
                              ValueRead& read) noexcept {
    const auto reserve = [target](std::size_t bytes) noexcept {
        return target.reserve(target.context, bytes);
    };
    return this->read([&](Impl& at) { return at.find_value(hash, key, tags, reserve, read); });
}

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, std::span<std::byte> buffer,
                              ValueRead& read) noexcept {
    const auto reserve = [buffer](std::size_t bytes) noexcept {
        return bytes <= buffer.size() ? buffer.data() : nullptr;
    };
    return this->read([&](Impl& at) { return at.find_value(hash, key, tags, reserve, read); });
}

// ---- values where they lie -------------------------------------------------------------------------

// The pin is held before the block's generation is looked at for the last time: what was read until then is
// of this life of the block, and stays.
StatusCode Segment::Impl::find_view(const KeyHash& hash, std::span<const std::byte> key,
                                    std::span<Tag, max_entry_tags> tags, bool compressed_too,
                                    ValueView& view) noexcept {
    view.release();
    const StatusCode code = find(hash, key, [&](const Word* item, const ItemWords& words) noexcept {
        view.release();  // of an earlier try
        load_item_fields(item, words, view.fields, view.raw_length);
        if (words.in_parts() || (words.compressed() && !compressed_too)) {
            return (words.flags() & item_part) == 0 ? ReadResult::copy_only : ReadResult::other;
        }
        if (!plausible(words, view.raw_length)) return ReadResult::other;
        const BlockLife life{blocks.block_of(item), words.generation()};
        std::optional<ViewPin> pin = processes.pin_view(life);
        if (!pin) return ReadResult::no_pin;
        const BlockState state = blocks.state_after_pin(life.block);
        if (state.generation != life.generation || !may_be_pinned(state.phase)) return ReadResult::torn;
        if (words.tag_count() > 0) {
            read_bytes(item, words.tags_at(), reinterpret_cast<std::byte*>(tags.data()),
                       words.tag_count() * sizeof(Tag));
        }
        view.tag_count = words.tag_count();
        view.stored = {reinterpret_cast<const std::byte*>(item) + words.value_at(), words.stored_length()};
        view.pin() = *std::move(pin);
        return ReadResult::whole;
    });
    if (code != StatusCode::ok) view.release();
    return code;
}

StatusCode Segment::get_view(const KeyHash& hash, std::span<const std::byte> key,
                             std::span<Tag, max_entry_tags> tags, ValueView& view) noexcept {
    settle();
    return read([&](Impl& at) { return at.find_view(hash, key, tags, true, view); });
}

}  // namespace tiercache
