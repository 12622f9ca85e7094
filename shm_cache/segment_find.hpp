// How the segment is read: all of a hit, in one piece of code where it is used.
//
//   1  load the slot (acquire)
//   2  load the block's state: the slot's generation is the block's
//   3  the item's header, into private memory: generation, own offset, place hash, lengths within the block;
//      then the key, where it lies
//   4  copy what was asked for; the block's generation is still the same, or the copy may be a mixture: try
//      again, twice
//   5  raise the item's frequency, up to 3, then never; note the hit if the key is in the sample
//   (sampler.hpp). The word beside the counter of hits says whether the segment is closed: then another one
//   has taken its place, and nothing counts that is found here (segment_resize.cpp)
//
// Templates that are inlined into their callers, so that a hit's numbers stay in registers from step to step.
#pragma once

#include "shm_cache/segment_impl.hpp"

namespace tiercache {

inline constexpr int torn_retries = 2;

inline void prefetch_item(const Word* item) noexcept {
    constexpr std::size_t prefetch_lines = 4;
    // Addresses past the item, even past the mapping, are harmless: a prefetch does not fault.
    const auto* at = reinterpret_cast<const std::byte*>(item);
    for (std::size_t i = 0; i < prefetch_lines; ++i) __builtin_prefetch(at + i * cache_line_bytes);
    // gcc 12 takes a function of nothing but prefetches for one without effects, and leaves out its calls.
    asm volatile("");
}

template <class Take>
[[gnu::always_inline]] inline ReadResult Segment::Impl::read_item(const Slot& slot, const Wanted* wanted,
                                                                  Take&& take) const noexcept {
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
    const ItemWords words = load_item_words(item);
    if (!names_item(geometry, words, state.generation, slot.offset)) return refused();
    if (wanted != nullptr &&
        (words.place_hash() != wanted->place_hash || !has_key(item, words, wanted->key))) {
        return refused();
    }
    const ReadResult taken = take(item, words);
    return taken == ReadResult::other ? refused() : changed() ? ReadResult::torn : taken;
}

template <class Take>
[[gnu::always_inline]] inline ReadResult Segment::Impl::find_once(const KeyHash& hash, const Wanted& wanted,
                                                                  Take&& take) noexcept {
    const Index::Candidates candidates = index.candidates(wanted.place_hash);
    __builtin_prefetch(&candidates.bucket(1));
    const std::uint32_t tag = slot_tag(hash);
    for (std::size_t b = 0; b < 2; ++b) {
        Bucket& bucket = candidates.bucket(b);
        for (TaggedSlots slots(bucket, tag); !slots.empty();) {
            Word& word = bucket.slots[slots.take()];
            // Acquire: pairs with publish(); the item's words come after it.
            const std::uint64_t seen = word.load(std::memory_order_acquire);
            const Slot slot = Slot::unpack(seen);
            if (slot.tag != tag) continue;
            const ReadResult result = read_item(slot, &wanted, take);
            if (result == ReadResult::whole && !note_hit(hash, word, seen)) [[unlikely]]
                return ReadResult::closed;
            if (result != ReadResult::other) return result;
            // Not the key's, or no longer: who saw the item's old place recycled sees where it was moved.
            // Relaxed: the acquire of the block's state comes before.
            if (word.load(std::memory_order_relaxed) != seen) [[unlikely]]
                return ReadResult::torn;
        }
    }
    return ReadResult::other;
}

template <class Take>
[[gnu::always_inline]] inline StatusCode Segment::Impl::find(const KeyHash& hash,
                                                             std::span<const std::byte> key,
                                                             Take&& take) noexcept {
    const HitTimer timer;
    const Wanted wanted{place_hash(hash), key};
    for (int tries = 0;; ++tries) {
        const ReadResult result = find_once(hash, wanted, take);
        if (result == ReadResult::whole) [[likely]] {
            timer.hit(processes.statistics());
            return StatusCode::ok;
        }
        if (result != ReadResult::torn || tries == torn_retries) return missed(result);
    }
}

[[gnu::always_inline]] inline bool Segment::Impl::note_hit(const KeyHash& hash, Word& word,
                                                           std::uint64_t seen) noexcept {
    if (!processes.count_hit()) [[unlikely]]
        return false;
    if (Slot::unpack(seen).frequency < frequency_max) Index::raise_frequency(word, seen);
    if (sampler.samples(hash)) [[unlikely]]
        sample_hit(hash, seen);
    return true;
}

// Copies a value and its tags, with `reserve(bytes)` to say where the value goes.
template <class Reserve>
[[gnu::always_inline]] inline ReadResult Segment::Impl::take_value(const Word* item, const ItemWords& words,
                                                                   std::span<Tag, max_entry_tags> tags,
                                                                   Reserve&& reserve,
                                                                   ValueRead& read) noexcept {
    load_item_fields(item, words, read.fields, read.raw_length);
    PartsNote note;
    std::size_t length = words.stored_length();
    if (words.in_parts()) [[unlikely]] {
        if (!read_parts_note(geometry, item, words.header(), read.raw_length, note)) return ReadResult::other;
        length = note.stored_length;
    } else if (!plausible(words, read.raw_length)) {
        return ReadResult::other;
    }
    std::byte* to = reserve(length);
    if (to == nullptr) return ReadResult::no_room;
    const std::size_t tag_count = words.tag_count();
    if (tag_count > 0) {
        read_bytes(item, words.tags_at(), reinterpret_cast<std::byte*>(tags.data()), tag_count * sizeof(Tag));
    }
    read.tag_count = tag_count;
    read.stored = {to, length};
    if (words.in_parts()) [[unlikely]]
        return read_parts(note, read.stored);
    read_bytes(item, words.value_at(), to, length);
    return ReadResult::whole;
}

// What get_value() does.
template <class Reserve>
[[gnu::always_inline]] inline StatusCode Segment::Impl::find_value(const KeyHash& hash,
                                                                   std::span<const std::byte> key,
                                                                   std::span<Tag, max_entry_tags> tags,
                                                                   Reserve&& reserve,
                                                                   ValueRead& read) noexcept {
    return find(hash, key, [&](const Word* item, const ItemWords& words) noexcept {
        return take_value(item, words, tags, reserve, read);
    });
}

}  // namespace tiercache
