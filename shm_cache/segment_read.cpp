// How the segment is read.
//
//   1  load the slot (acquire)
//   2  load the block's state: the slot's generation is the block's
//   3  the item's header: generation, own offset, place hash, length within the block
//   4  copy; the block's generation is still the same, or the copy may be a mixture: try again, twice
//   5  in the private copy: the entry's own lengths and the key
//   6  raise the item's frequency: at the first hit, then at one hit in eight, up to 3, then never
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

}  // namespace

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
    if (header.generation != state.generation || header.offset != offset_mark(slot.offset) ||
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

// ---- values alone ----------------------------------------------------------------------------------

template <class Reserve>
Segment::Impl::Copy Segment::Impl::copy_value(const Slot& slot, std::uint64_t placed,
                                              std::span<const std::byte> key,
                                              std::span<Tag, max_entry_tags> tags, Reserve reserve,
                                              ValueRead& read) const noexcept {
    if (slot.block >= blocks.count() || !fits_block(geometry, slot.offset, entry_header_bytes)) {
        return Copy::other;
    }
    const Word* item = blocks.item(slot.block, slot.offset);
    prefetch_item(item);
    const BlockState state = blocks.state(slot.block);
    if (!slot.current(state)) return Copy::other;
    const auto changed = [&] {
        after_read();
        return blocks.generation_after_read(slot.block) != state.generation;
    };
    const ItemHeader header = load_item_header(item);
    if (header.generation != state.generation || header.offset != offset_mark(slot.offset) ||
        header.place_hash != placed || !fits_block(geometry, slot.offset, header.entry_bytes)) {
        return changed() ? Copy::torn : Copy::other;
    }
    const Word* entry = item + item_header_words;
    std::array<std::byte, entry_header_bytes> bytes;
    read_words(entry, bytes.data(), bytes.size());
    EntryHead head;
    const bool sound = decode_entry_head(bytes, head) == StatusCode::ok;
    const std::size_t key_at = entry_header_bytes + head.tag_count * sizeof(Tag);
    if (!sound || head.key_length != key.size() ||
        key_at + key.size() + head.stored_length != header.entry_bytes ||
        !equals_words(entry + key_at / word_bytes, key)) {
        return changed() ? Copy::torn : Copy::other;
    }
    std::byte* to = reserve(head.stored_length);
    if (to == nullptr) return changed() ? Copy::torn : Copy::no_room;
    read_words(entry + entry_header_bytes / word_bytes, reinterpret_cast<std::byte*>(tags.data()),
               head.tag_count * sizeof(Tag));
    read_bytes(entry, key_at + key.size(), to, head.stored_length);
    if (changed()) return Copy::torn;
    read = {head.fields, head.raw_length, head.tag_count, {to, head.stored_length}};
    return Copy::whole;
}

template <class Reserve>
Segment::Impl::Copy Segment::Impl::find_value(const KeyHash& hash, std::span<const std::byte> key,
                                              std::span<Tag, max_entry_tags> tags, Reserve reserve,
                                              ValueRead& read) noexcept {
    const std::uint64_t placed = place_hash(hash);
    const Index::Candidates candidates = index.candidates(placed);
    const std::uint16_t tag = slot_tag(hash);
    for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
        // Acquire: pairs with publish(); the item's words come after it.
        const std::uint64_t word = candidates[i].load(std::memory_order_acquire);
        const Slot slot = Slot::unpack(word);
        if (slot.tag != tag) continue;
        const Copy copy = copy_value(slot, placed, key, tags, reserve, read);
        if (copy == Copy::whole) note_hit(candidates[i], word);
        if (copy != Copy::other) return copy;
    }
    return Copy::other;
}

template <class Reserve>
StatusCode Segment::Impl::get_value(const KeyHash& hash, std::span<const std::byte> key,
                                    std::span<Tag, max_entry_tags> tags, Reserve reserve,
                                    ValueRead& read) noexcept {
    Copy result = find_value(hash, key, tags, reserve, read);
    for (int retry = 0; result == Copy::torn && retry < torn_retries; ++retry) {
        result = find_value(hash, key, tags, reserve, read);
    }
    if (result == Copy::whole) return StatusCode::ok;
    if (result == Copy::torn) processes.count(Counter::torn);
    processes.count(Counter::misses);
    return result == Copy::no_room ? StatusCode::no_space : StatusCode::not_found;
}

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, CopyTarget target,
                              ValueRead& read) noexcept {
    const auto reserve = [&](std::size_t bytes) noexcept { return target.reserve(target.context, bytes); };
    return impl_->get_value(hash, key, tags, reserve, read);
}

StatusCode Segment::get_value(const KeyHash& hash, std::span<const std::byte> key,
                              std::span<Tag, max_entry_tags> tags, std::span<std::byte> buffer,
                              ValueRead& read) noexcept {
    const auto reserve = [&](std::size_t bytes) noexcept {
        return bytes <= buffer.size() ? buffer.data() : nullptr;
    };
    return impl_->get_value(hash, key, tags, reserve, read);
}

}  // namespace tiercache
