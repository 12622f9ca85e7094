// The index: where the item of a key lies. Buckets of one cache line, seven slots and a word for ghosts.
//
//   slot  tag 16 | pending 1 | generation 13 | block 14 | offset 18 | frequency 2
//
// A key has one pair of adjacent buckets, chosen by its place hash, and may lie in any of their 14 slots, its
// first bucket first. A slot is empty (0), or stale (its generation is no longer the block's), or names an
// item. The tag is never 0, so neither is a slot that names one. While a slot is pending no reader looks at
// it: its generation is nobody's.
//
// Invariants:
//  - A slot changes by CAS of the whole word. Publishing one is the only release that makes an item visible,
//    and it happens while the writer pins the block: a slot names a whole item of the generation it carries
//    until that block's generation changes.
//  - A key has at most one visible item, whoever stops or dies where. So once put() has returned no reader
//    gets an older value: there is none to be got. Why that holds:
//    1  A put that finds the key takes that very slot by CAS: the older value is gone at that moment.
//    2  A put that finds none takes a slot as pending, then searches all slots again, then makes its own
//       visible by CAS. In that search it empties pending slots of the key, whose writers thereby fail and
//       begin anew; a visible one makes it withdraw and begin anew. Taking a slot and the search are
//       sequentially consistent: of two such puts at least the one that took its slot last sees the other's.
//       It either empties it in time, or finds it visible and withdraws. So not both become visible.
//    3  A copy forward changes the slot in place, from the item's old place to the new, by CAS: it never
//       succeeds when the value was replaced, erased or cleared meanwhile. And a writer does not miss
//       an item that is copied while it looks: a slot of its tag that leads nowhere counts as not the key's
//       only if it still holds the same word afterwards (holds_key()). A place is recycled only after all
//       moves away from it, so who saw it recycled sees the moved slot.
//    4  Only its own writer makes a pending slot visible. One that a dead writer left is emptied by the next
//       put of the key, displaced as an unused item is, or stale when its block is recycled.
//    5  While a predecessor's items are copied here (segment_resize.cpp), one thread makes items visible that
//       are older than any change of this segment. Each change first sets its key's bit in `touched`, then
//       searches the slots; the copier takes its slot as pending, then looks at the bit, then makes it
//       visible. All of that is sequentially consistent: either the copier sees the bit and withdraws, or the
//       change finds the copier's slot and empties it. So a copy becomes visible only where nothing was put,
//       erased or cleared since this segment was made, and never replaces anything.
//  - The slot has 13 bits of the generation (its lowest bit, always 0 in an item's, left out). They come
//    around after 8,192 recycles of a block; scrub() has cleared every stale slot long before. Should one
//    survive, the item's own header still has the full generation.
//
// The eighth word of a bucket has four ghosts: the tags of the last items that were evicted from the small
// queue, of keys whose first bucket it is. It changes by CAS, and losing one costs a ghost. Of long items
// some buckets share the ghosts of one, so that there are about as many as such items have room: more would
// remember what was evicted too long ago, and the policies were chosen with one for each item
// (miniature_cache.hpp). Short ones, of which more have room, are remembered longer, whatever long ones come
// and go between them: to keep one that comes back late costs little.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "shm_cache/block.hpp"
#include "shm_cache/eviction.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

inline constexpr std::uint32_t frequency_max = 3;

// Lies as its word does (a test looks at the order of the bits), so that it stays in a register.
struct Slot {
    std::uint64_t frequency : 2 = 0;
    std::uint64_t offset : 18 = 0;  // in units
    std::uint64_t block : 14 = 0;
    std::uint64_t generation : 14 = 0;  // bits 1 to 13 of the block's, and pending_bit
    std::uint64_t tag : 16 = 0;

    [[nodiscard]] std::uint64_t pack() const noexcept { return std::bit_cast<std::uint64_t>(*this); }
    static Slot unpack(std::uint64_t word) noexcept { return std::bit_cast<Slot>(word); }
    // Names an item that nobody used yet.
    static Slot of(std::uint32_t tag, BlockLife life, std::uint32_t offset) noexcept {
        Slot slot;
        slot.offset = offset;
        slot.block = life.block;
        slot.generation = slot_generation(life.generation);
        slot.tag = tag;
        return slot;
    }
    static constexpr std::uint32_t pending_bit = 1U << 13;
    static constexpr std::uint32_t generation_bits = pending_bit - 1;

    [[nodiscard]] bool pending() const noexcept { return (generation & pending_bit) != 0; }
    // The same slot once it is visible, and while it is not.
    [[nodiscard]] Slot visible() const noexcept {
        Slot slot = *this;
        slot.generation &= generation_bits;
        return slot;
    }
    [[nodiscard]] Slot as_pending() const noexcept {
        Slot slot = *this;
        slot.generation |= pending_bit;
        return slot;
    }
    // Does it name an item of a block in this state? No for stale and pending slots and while the block is
    // recycled.
    [[nodiscard]] bool current(const BlockState& state) const noexcept { return current(state.generation); }
    [[nodiscard]] bool current(std::uint32_t block_generation) const noexcept {
        return generation == slot_generation(block_generation) && (block_generation & 1) == 0;
    }
    static std::uint32_t slot_generation(std::uint32_t generation) noexcept {
        return generation >> 1 & generation_bits;
    }
};

static_assert(sizeof(Slot) == sizeof(std::uint64_t));

[[nodiscard]] inline std::uint32_t slot_tag(const KeyHash& hash) noexcept {
    const auto tag = static_cast<std::uint32_t>(hash.low & 0xffff);
    return tag == 0 ? 1 : tag;
}

struct alignas(cache_line_bytes) Bucket {
    std::array<Word, slots_per_bucket> slots;
    Word ghosts;
};
static_assert(sizeof(Bucket) == cache_line_bytes);

// The slots of a bucket that have this tag, first to last. By vector instructions where words.hpp has them:
// where a key's slot is can't be foretold, so no branch may depend on it.
class TaggedSlots {
 public:
    TaggedSlots(const Bucket& bucket, std::uint32_t tag) noexcept : left_(find(bucket, tag)) {}
    [[nodiscard]] bool empty() const noexcept { return left_ == 0; }
    // The next one; only when not empty. What it holds may have changed since.
    [[nodiscard]] std::size_t take() noexcept {
        const auto at = static_cast<std::size_t>(std::countr_zero(left_)) / 2;
        left_ &= left_ - 1;
        return at;
    }

 private:
    // Two bits for each slot, of which the upper one is set.
    static unsigned find(const Bucket& bucket, std::uint32_t tag) noexcept {
#if defined(__x86_64__)
        if constexpr (copy_by_vectors) {
            // The upper halves of all words, narrowed to the tags in them.
            const auto tags = [&bucket](std::size_t i) noexcept {
                return _mm_packs_epi32(_mm_srai_epi32(load_vector(&bucket.slots[i]), 16),
                                       _mm_srai_epi32(load_vector(&bucket.slots[i + 2]), 16));
            };
            const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag << 16 | tag));
            const __m128i equal =
                _mm_packs_epi16(_mm_cmpeq_epi16(tags(0), wanted), _mm_cmpeq_epi16(tags(4), wanted));
            constexpr int upper_bits_of_slots = 0x2aaa;  // without those of the ghosts
            return static_cast<unsigned>(_mm_movemask_epi8(equal) & upper_bits_of_slots);
        }
#endif
        unsigned found = 0;
        for (std::size_t i = 0; i < slots_per_bucket; ++i) {
            // Relaxed: a slot that matches is loaded again.
            const std::uint64_t word = bucket.slots[i].load(std::memory_order_relaxed);
            found |= static_cast<unsigned>(word >> 48 == tag) << (2 * i + 1);
        }
        return found;
    }

    unsigned left_;
};

class Index {
 public:
    // The slots that a key may lie in, in the order in which they are searched.
    class Candidates {
     public:
        static constexpr std::size_t count = 2 * slots_per_bucket;
        Candidates(Bucket* first, Bucket* second) noexcept : first_(first), second_(second) {}
        Word& operator[](std::size_t i) const noexcept {
            return i < slots_per_bucket ? first_->slots[i] : second_->slots[i - slots_per_bucket];
        }
        [[nodiscard]] Bucket& bucket(std::size_t i) const noexcept { return i == 0 ? *first_ : *second_; }
        void prefetch() const noexcept {
            __builtin_prefetch(first_, 1);
            __builtin_prefetch(second_, 1);
        }

     private:
        Bucket* first_;
        Bucket* second_;
    };

    Index() = default;
    Index(std::byte* memory, const Geometry& geometry, const BlockTable& blocks) noexcept;

    [[nodiscard]] std::uint64_t bucket_count() const noexcept { return bucket_count_; }

    [[nodiscard]] Candidates candidates(std::uint64_t place_hash) const noexcept {
        const std::uint64_t at = first_bucket(place_hash);
        return {&buckets_[at], &buckets_[at ^ 1]};
    }

    // Does the slot name an item at this moment?
    [[nodiscard]] bool live(const Slot& slot) const noexcept {
        return slot.tag != 0 && slot.block < blocks_.count() && slot.current(blocks_.state(slot.block));
    }

    // Puts `slot` where `key`'s item is found from now on, in place of an older item of the key, of nothing,
    // or of the least used item around. The caller pins the slot's block. False: others changed these slots
    // again and again; the item is not in the index. `displaced` is the slot of another key's item that fell
    // out, or empty.
    bool publish(const KeyHash& hash, std::span<const std::byte> key, const Slot& slot, Slot& displaced,
                 bool copied_part = false) noexcept;

    // Makes an item that was copied from a predecessor visible, unless something was put, erased or cleared
    // here before, or there is no place for it that nobody uses; false then. The caller pins the item's block
    // and is the only one who copies. `in_between()` is called just before it becomes
    // visible; for tests.
    template <class InBetween>
    bool publish_copy(const KeyHash& hash, std::span<const std::byte> key, const Slot& slot,
                      InBetween in_between) noexcept;

    // Would it, at this moment?
    [[nodiscard]] bool copy_has_place(const KeyHash& hash) const noexcept;

    // Takes the item of `key` out; false when there was none.
    bool erase(const KeyHash& hash, std::span<const std::byte> key) noexcept;

    // The slot that names exactly this item, whatever its frequency, as it was seen.
    struct ItemSlot {
        Word* word = nullptr;  // nullptr: there is none
        Slot seen;
    };
    [[nodiscard]] ItemSlot find_item(std::uint64_t place_hash, BlockLife life,
                                     std::uint32_t offset) const noexcept;
    // The item has a copy at `to`: its slot names the copy from now on, with the frequency that the policy
    // leaves it. False when the slot no longer names the item.
    static bool move_item(const ItemSlot& item, BlockLife to, std::uint32_t offset,
                          const EvictionPolicy& policy) noexcept;
    // Takes the item out; false when the slot no longer names it.
    static bool evict_item(const ItemSlot& item) noexcept;

    // ---- ghosts ----
    // `units`: how long the item is, no more than a block. Of another length it is forgotten.
    void remember(std::uint64_t place_hash, std::uint32_t tag, std::uint64_t units) noexcept;
    // Was an item of this key evicted lately? Forgets it.
    bool recall(const KeyHash& hash, std::uint64_t units) noexcept;
    // 2^this buckets have the ghosts of one for items of this length.
    [[nodiscard]] unsigned ghost_sharing(std::uint64_t units) const noexcept;
    // Does an item of the key, or of another one with its tag, lie in a main queue?
    [[nodiscard]] bool in_main(const KeyHash& hash) const noexcept;

    void clear() noexcept;

    // Clears the stale slots of a few buckets. Called once for each recycled block, it comes around the whole
    // index twice before the generation bits of any block can.
    void scrub() noexcept;

    // Calls visit(slot) for each slot that names an item; stops when it returns false.
    template <class Visit>
    void for_each(Visit visit) const {
        for (std::uint64_t b = 0; b < bucket_count_; ++b) {
            for (const Word& word : buckets_[b].slots) {
                // Acquire: pairs with publish().
                const Slot slot = Slot::unpack(word.load(std::memory_order_acquire));
                if (live(slot) && !visit(slot)) return;
            }
        }
    }

    // The same in an order that has nothing to do with the keys' places.
    template <class Visit>
    void for_each_scattered(Visit visit) const {
        // About the golden section of the buckets, and coprime to their number: comes to each once.
        std::uint64_t step = bucket_count_ / 8 * 5 | 1;
        while (std::gcd(step, bucket_count_) != 1) step += 2;
        std::uint64_t at = 0;
        for (std::uint64_t b = 0; b < bucket_count_; ++b, at = (at + step) % bucket_count_) {
            for (const Word& word : buckets_[at].slots) {
                // Acquire: pairs with publish().
                const Slot slot = Slot::unpack(word.load(std::memory_order_acquire));
                if (live(slot) && !visit(slot)) return;
            }
        }
    }

    // A reader's note that the item was used. Loses against any concurrent change.
    static void raise_frequency(Word& word, std::uint64_t seen) noexcept {
        // Relaxed: a read-modify-write keeps the release sequence that publish() began.
        word.compare_exchange_strong(seen, seen + 1, std::memory_order_relaxed);
    }

 private:
    [[nodiscard]] std::uint64_t first_bucket(std::uint64_t place_hash) const noexcept {
        // Multiply and shift: a number below bucket_count, without a division.
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>(Wide{place_hash << 16} * bucket_count_ >> 64);
    }
    [[nodiscard]] Word& ghosts(std::uint64_t place_hash, std::uint64_t units) const noexcept;
    [[nodiscard]] bool names_key(const Slot& slot, const KeyHash& hash,
                                 std::span<const std::byte> key) const noexcept;
    // Unsettled: it has the key's tag and never held still. Then it may be displaced or emptied, as any item
    // may, but is not what a put of the key replaces: the key's own may be in another slot.
    enum class Holds : std::uint8_t { other, key, unsettled };
    Holds holds_key(const Word& word, const KeyHash& hash, std::span<const std::byte> key,
                    std::uint64_t& seen) const noexcept;
    [[nodiscard]] bool unused(std::uint64_t word) const noexcept;
    struct Choice;
    void choose(const Candidates& candidates, const KeyHash& hash, std::span<const std::byte> key,
                Choice& choice) const noexcept;
    [[nodiscard]] bool belongs_to_parts(const Slot& slot) const noexcept;
    void choose_whole(const Candidates& candidates, Choice& choice) const noexcept;
    bool sole(const Candidates& candidates, const KeyHash& hash, std::span<const std::byte> key,
              const Word* own) const noexcept;

    Bucket* buckets_ = nullptr;
    std::uint64_t bucket_count_ = 0;
    Geometry geometry_;
    BlockTable blocks_;
    // ---- while a predecessor's items are copied here ----
    [[nodiscard]] bool warming() const noexcept {
        // Acquire: pairs with the end of warming, after which nothing is copied.
        return warming_->load(std::memory_order_acquire) != 0;
    }
    struct TouchedBit {
        Word* word;
        std::uint64_t bit;
    };
    [[nodiscard]] TouchedBit touched_bit(const KeyHash& hash) const noexcept {
        const auto pair = static_cast<std::uint64_t>(&candidates(place_hash(hash)).bucket(0) - buckets_) / 2;
        return {&touched_[pair / 64], std::uint64_t{1} << pair % 64};
    }
    void touch(const KeyHash& hash) noexcept;
    void touch_all() noexcept;
    [[nodiscard]] bool touched(const KeyHash& hash) const noexcept;

    Word* scrub_cursor_ = nullptr;
    Word* touched_ = nullptr;
    const Word* warming_ = nullptr;
};

template <class InBetween>
bool Index::publish_copy(const KeyHash& hash, std::span<const std::byte> key, const Slot& slot,
                         InBetween in_between) noexcept {
    if (touched(hash)) return false;
    const Candidates candidates = this->candidates(place_hash(hash));
    Word* place = nullptr;
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        std::uint64_t word = 0;
        if (holds_key(candidates[i], hash, key, word) != Holds::other) return false;
        if (place != nullptr || !unused(word)) continue;
        place = &candidates[i];
        seen = word;
    }
    if (place == nullptr) return false;
    std::uint64_t pending = slot.as_pending().pack();
    // Sequentially consistent: before the look at the bit. Release: the item's words come before it.
    if (!place->compare_exchange_strong(seen, pending, std::memory_order_seq_cst)) return false;
    const bool first = !touched(hash);
    in_between();
    // Release: as in publish(). Fails when a change emptied it.
    return place->compare_exchange_strong(pending, first ? slot.pack() : 0, std::memory_order_acq_rel) &&
           first;
}

}  // namespace tiercache
