// The short way to a plain value, one that has nothing but a ttl, as most have: the steps of segment_find.hpp
// without what only other values or other outcomes need. Whatever is not as it is nearly always, find()
// looks at again.
//
// What it is made for is overlap. A hit waits for two cache misses, one after the other, and a processor can
// work on the next hit meanwhile, if it gets there: from the load of the item to the next hit's load of its
// bucket there may be no more instructions than its reorder buffer holds (256 in AMD's Zen 3). So whatever
// does not need the item comes before it, in the shadow of the bucket's miss.
#pragma once

#include "shm_cache/segment_find.hpp"

namespace tiercache {

// Sees to it that a find_plain() soon after need not wait as long.
[[gnu::always_inline]] inline void Segment::Impl::prefetch(const KeyHash& hash) const noexcept {
    const Index::Candidates candidates = index.candidates(place_hash(hash));
    __builtin_prefetch(&candidates.bucket(0));
    __builtin_prefetch(&candidates.bucket(1));
    asm volatile("");  // as in prefetch_item()
}

template <class Take>
[[gnu::always_inline]] inline ReadResult Segment::Impl::find_plain(const KeyHash& hash,
                                                                   std::span<const std::byte> key,
                                                                   Take&& take) noexcept {
    BusyCounters* const own = processes.own_counters();
    bool sampled = sampler.samples(hash);
    asm volatile("" : "+r"(sampled));  // now, not where it is used
    const Index::Candidates candidates = index.candidates(place_hash(hash));
    const std::uint32_t tag = slot_tag(hash);
    Bucket* bucket = &candidates.bucket(0);
    TaggedSlots slots(*bucket, tag);
    if (slots.empty()) {
        bucket = &candidates.bucket(1);
        slots = TaggedSlots(*bucket, tag);
        if (slots.empty()) return ReadResult::other;
    }
    Word& word = bucket->slots[slots.take()];
    // Acquire: pairs with publish(); the item's words come after it.
    const std::uint64_t seen = word.load(std::memory_order_acquire);
    const Slot slot = Slot::unpack(seen);
    if (slot.tag != tag || slot.block >= blocks.count() || !header_fits_block(geometry, slot.offset)) {
        return ReadResult::torn;
    }
    const Word* item = blocks.item(slot.block, slot.offset);
    prefetch_item(item);
    const Word& state = blocks.state_word(slot.block);
    // Acquire: as BlockTable::state().
    const std::uint64_t generation = state.load(std::memory_order_acquire) >> 32;
    if (!slot.current(static_cast<std::uint32_t>(generation))) return ReadResult::torn;
    // Each word of the header is loaded where it is needed, so that few registers are.
    const std::uint64_t first = item[0].load(word_load_order);
    if (first >> 32 != generation) return ReadResult::torn;
    if (item[1].load(word_load_order) != item_second_word(place_hash(hash), slot.offset))
        return ReadResult::torn;
    const ItemWords words{.third = item[2].load(word_load_order)};
    if (!words.plain() || words.key_length() != key.size()) return ReadResult::torn;
    const PlainItem plain{item, item_header_bytes + key.size(), words.stored_length(),
                          static_cast<std::uint32_t>(first)};
    if (!fits_block(geometry, slot.offset, plain.value_at + plain.stored_length)) return ReadResult::torn;
    if (!equals_words(item + item_header_words, key) || !take(plain)) return ReadResult::torn;
    after_read();
    // Relaxed: as BlockTable::generation_after_read().
    if (state.load(std::memory_order_relaxed) >> 32 != generation) return ReadResult::torn;
    if (!(own != nullptr ? Statistics::add_hit(*own) : processes.count_hit())) return ReadResult::closed;
    if (slot.frequency < frequency_max) Index::raise_frequency(word, seen);
    if (sampled) [[unlikely]]
        sample_hit(hash, seen);
    return ReadResult::whole;
}

}  // namespace tiercache
