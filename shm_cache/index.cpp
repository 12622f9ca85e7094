#include "shm_cache/index.hpp"

#include <algorithm>
#include <cmath>

namespace tiercache {

namespace {

// Each lost CAS is another's success; beyond these the bucket is a battlefield and the item not worth it.
constexpr int attempts_max = 32;
// Recycles in which scrub() comes around: half of what makes a slot's generation bits come around.
constexpr std::uint64_t scrub_period = 4096;

}  // namespace

Index::Index(std::byte* memory, const Geometry& geometry, const BlockTable& blocks) noexcept
    : buckets_(reinterpret_cast<Bucket*>(memory + geometry.index_at)),
      bucket_count_(geometry.bucket_count),
      geometry_(geometry),
      blocks_(blocks),
      scrub_cursor_(&reinterpret_cast<SegmentHeader*>(memory)->scrub_cursor),
      touched_(reinterpret_cast<Word*>(memory + geometry.touched_at)),
      warming_(&reinterpret_cast<SegmentHeader*>(memory)->warming) {}

bool Index::names_key(const Slot& slot, const KeyHash& hash, std::span<const std::byte> key) const noexcept {
    if (slot.tag != slot_tag(hash) || slot.block >= blocks_.count()) return false;
    const BlockState state = blocks_.state(slot.block);
    if (!slot.current(state) || !header_fits_block(geometry_, slot.offset)) return false;
    const Word* item = blocks_.item(slot.block, slot.offset);
    const ItemWords words = load_item_words(item);
    if (!names_item(geometry_, words, state.generation, slot.offset) ||
        words.place_hash() != place_hash(hash) || !has_key(item, words, key)) {
        return false;
    }
    after_read();
    return blocks_.generation_after_read(slot.block) == state.generation;
}

// Does the slot name an item of the key, visible or pending? `seen` is the word that was judged.
Index::Holds Index::holds_key(const Word& word, const KeyHash& hash, std::span<const std::byte> key,
                              std::uint64_t& seen) const noexcept {
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        // Sequentially consistent for sole(): of two writers that take slots at once, at least one must see
        // the other's. Acquire: pairs with the release in publish(); names_key() reads the item.
        seen = word.load(std::memory_order_seq_cst);
        const Slot slot = Slot::unpack(seen);
        if (slot.tag != slot_tag(hash)) return Holds::other;
        if (names_key(slot.visible(), hash, key)) return Holds::key;
        // Copied to another place between the load and the look, and the old place recycled? Acquire: whoever
        // saw the old place recycled sees the slot after the move.
        after_read();
        if (word.load(word_load_order) == seen) return Holds::other;
    }
    return Holds::unsettled;
}

// Empty, stale, or left pending in a block that was recycled since.
bool Index::unused(std::uint64_t word) const noexcept {
    return word == 0 || !live(Slot::unpack(word).visible());
}

// The slot that a new item takes: the key's own, else an unused one, else the least used.
struct Index::Choice {
    Word* word = nullptr;
    std::uint64_t seen = 0;
    Slot slot;
    bool own = false;
    bool displaces = false;

    // Each where it will be read: a copy of the whole, right after its parts were written, would wait for
    // them.
    void take(Word& at, std::uint64_t word, bool is_own, bool is_displaced) noexcept {
        this->word = &at;
        seen = word;
        slot = Slot::unpack(word);
        own = is_own;
        displaces = is_displaced;
    }
};

void Index::choose(const Candidates& candidates, const KeyHash& hash, std::span<const std::byte> key,
                   Choice& choice) const noexcept {
    // The key's own is found by its tag at once, or it is not there; what this misses sole() sees.
    for (std::size_t b = 0; b < 2; ++b) {
        Bucket& bucket = candidates.bucket(b);
        for (TaggedSlots slots(bucket, slot_tag(hash)); !slots.empty();) {
            Word& at = bucket.slots[slots.take()];
            std::uint64_t word = 0;
            if (holds_key(at, hash, key, word) != Holds::key || Slot::unpack(word).pending()) continue;
            choice.take(at, word, true, false);
            return;
        }
    }
    std::uint32_t worth = UINT32_MAX;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        std::uint64_t word = 0;
        const bool own = holds_key(candidates[i], hash, key, word) == Holds::key;
        const Slot slot = Slot::unpack(word);
        if (own && !slot.pending()) {
            choice.take(candidates[i], word, true, false);
            return;
        }
        const bool in_use = !own && !unused(word);
        const std::uint32_t other_worth = in_use ? 2U + slot.frequency : 1U;
        // Among equals, the place after the new item's tag: no slot is the eternal victim.
        const bool tie = other_worth == worth && in_use && i <= slot_tag(hash) % Candidates::count;
        if (other_worth < worth || tie) {
            choice.take(candidates[i], word, false, in_use && !slot.pending());
            worth = other_worth;
        }
    }
    if (choice.displaces && belongs_to_parts(choice.slot)) choose_whole(candidates, choice);
}

// A hint: the item may be another one by now.
bool Index::belongs_to_parts(const Slot& slot) const noexcept {
    if (slot.block >= blocks_.count() || !header_fits_block(geometry_, slot.offset)) return false;
    return load_item_words(blocks_.item(slot.block, slot.offset)).in_parts();
}

// A long value is lost with any of its parts: the least used item that is whole goes first, if there is one.
void Index::choose_whole(const Candidates& candidates, Choice& choice) const noexcept {
    std::uint32_t least = UINT32_MAX;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        // Acquire: pairs with publish(); the item's words come after it.
        const std::uint64_t word = candidates[i].load(std::memory_order_acquire);
        const Slot slot = Slot::unpack(word);
        if (slot.frequency >= least || slot.pending() || unused(word) || belongs_to_parts(slot)) continue;
        choice.take(candidates[i], word, false, true);
        least = slot.frequency;
    }
}

// Is the key in no slot but `own`, pending? Others that are pending fail by this.
bool Index::sole(const Candidates& candidates, const KeyHash& hash, std::span<const std::byte> key,
                 const Word* own) const noexcept {
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        if (&candidates[i] == own) continue;
        for (int attempt = 0;; ++attempt) {
            std::uint64_t word = 0;
            if (holds_key(candidates[i], hash, key, word) == Holds::other) break;
            if (!Slot::unpack(word).pending() || attempt == attempts_max) return false;
            // Acquire and release: as every change of a slot. Fails when it has become visible.
            if (candidates[i].compare_exchange_strong(word, 0, std::memory_order_acq_rel)) break;
        }
    }
    return true;
}

bool Index::publish(const KeyHash& hash, std::span<const std::byte> key, const Slot& slot, Slot& displaced,
                    bool copied_part) noexcept {
    displaced = {};
    if (!copied_part && warming()) touch(hash);
    const Candidates candidates = this->candidates(place_hash(hash));
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        Choice choice;
        choose(candidates, hash, key, choice);
        Slot placed = slot;
        if (choice.own) {
            placed.frequency = choice.slot.frequency;
            // Release: pairs with the acquire of readers; the item's words come before it. Sequentially
            // consistent: before the writer's look at SegmentHeader::successor.
            if (choice.word->compare_exchange_strong(choice.seen, placed.pack(), std::memory_order_seq_cst)) {
                return true;
            }
            continue;
        }
        std::uint64_t pending = placed.as_pending().pack();
        // Sequentially consistent: before the search that follows, in every thread's eyes. Release: another
        // writer's search reads the item's key.
        if (!choice.word->compare_exchange_strong(choice.seen, pending, std::memory_order_seq_cst)) continue;
        if (choice.displaces) displaced = choice.slot;
        const bool becomes_visible = sole(candidates, hash, key, choice.word);
        const std::uint64_t next = becomes_visible ? placed.pack() : 0;
        // Sequentially consistent: as above. Fails when another writer emptied it.
        if (choice.word->compare_exchange_strong(pending, next, std::memory_order_seq_cst) &&
            becomes_visible) {
            return true;
        }
    }
    return false;
}

bool Index::erase(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    const bool empty_pending = warming();  // of the copier; a put begins anew
    if (empty_pending) touch(hash);
    const Candidates candidates = this->candidates(place_hash(hash));
    bool erased = false;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        for (int attempt = 0; attempt < attempts_max; ++attempt) {
            std::uint64_t word = 0;
            if (holds_key(candidates[i], hash, key, word) == Holds::other) break;
            const bool pending = Slot::unpack(word).pending();
            // A put that is pending comes after this.
            if (pending && !empty_pending) break;
            // Fails when a reader raised the frequency, or a writer replaced the item: look again.
            if (candidates[i].compare_exchange_strong(word, 0, std::memory_order_acq_rel)) {
                erased |= !pending;
                break;
            }
        }
    }
    return erased;
}

// ---- while a predecessor's items are copied here ----

void Index::touch(const KeyHash& hash) noexcept {
    const TouchedBit at = touched_bit(hash);
    // Sequentially consistent: before the search for the key that follows. A bit that is there already needs
    // no second writing: whoever reads it here comes after who set it.
    if ((at.word->load(std::memory_order_seq_cst) & at.bit) == 0) {
        at.word->fetch_or(at.bit, std::memory_order_seq_cst);
    }
}

void Index::touch_all() noexcept {
    for (std::uint64_t pair = 0; pair < bucket_count_ / 2; pair += 64) {
        touched_[pair / 64].store(UINT64_MAX, std::memory_order_seq_cst);
    }
}

bool Index::touched(const KeyHash& hash) const noexcept {
    const TouchedBit at = touched_bit(hash);
    return (at.word->load(std::memory_order_seq_cst) & at.bit) != 0;
}

bool Index::copy_has_place(const KeyHash& hash) const noexcept {
    if (touched(hash)) return false;
    const Candidates candidates = this->candidates(place_hash(hash));
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        // Relaxed: publish_copy() looks again.
        if (unused(candidates[i].load(std::memory_order_relaxed))) return true;
    }
    return false;
}

Index::ItemSlot Index::find_item(std::uint64_t place_hash, BlockLife life,
                                 std::uint32_t offset) const noexcept {
    const Candidates candidates = this->candidates(place_hash);
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        // Relaxed: the caller has the item's bytes by its start bit.
        const std::uint64_t word = candidates[i].load(std::memory_order_relaxed);
        const Slot slot = Slot::unpack(word);
        if (word != 0 && slot.block == life.block && slot.offset == offset &&
            slot.generation == Slot::slot_generation(life.generation)) {
            return {&candidates[i], slot};
        }
    }
    return {};
}

// Exchanges the slot while all but its frequency is what was seen: a reader that notes a hit meanwhile must
// not make the item lost. `make(frequency)` gives the new word.
template <class Make>
static bool exchange_slot(const Index::ItemSlot& item, Make make) noexcept {
    std::uint64_t word = item.seen.pack();
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        const Slot now = Slot::unpack(word);
        Slot same = now;
        same.frequency = item.seen.frequency;
        if (same.pack() != item.seen.pack()) return false;
        // Release: readers that find the copy see its bytes. Acquire: as for every change of a slot.
        if (item.word->compare_exchange_strong(word, make(now.frequency), std::memory_order_acq_rel)) {
            return true;
        }
    }
    return false;
}

bool Index::move_item(const ItemSlot& item, BlockLife to, std::uint32_t offset,
                      const EvictionPolicy& policy) noexcept {
    return exchange_slot(item, [&](std::uint8_t frequency) {
        Slot slot = Slot::of(item.seen.tag, to, offset);
        slot.frequency = kept_frequency(policy, frequency);
        return slot.pack();
    });
}

bool Index::evict_item(const ItemSlot& item) noexcept {
    return exchange_slot(item, [](std::uint8_t) { return std::uint64_t{0}; });
}

// ---- ghosts: hints, so relaxed -------------------------------------------------------------------

Word& Index::ghosts(std::uint64_t place_hash, std::uint64_t units) const noexcept {
    const std::uint64_t shared = (std::uint64_t{1} << ghost_sharing(units)) - 1;
    return buckets_[first_bucket(place_hash) & ~shared].ghosts;
}

unsigned Index::ghost_sharing(std::uint64_t units) const noexcept {
    constexpr std::uint64_t ghosts_a_bucket = 4;
    const std::uint64_t room = std::uint64_t{geometry_.units_per_block()} * geometry_.block_count;
    // To the nearest power of two: 181/128 is the root of 2. Any number will do, and makes a sharing.
    const std::uint64_t ghosts_an_item = ghosts_a_bucket * bucket_count_ * units * 181 / 128 / room;
    return ghosts_an_item == 0 ? 0 : std::bit_width(ghosts_an_item) - 1;
}

void Index::remember(std::uint64_t place_hash, std::uint32_t tag, std::uint64_t units) noexcept {
    Word& ghosts = this->ghosts(place_hash, units);
    std::uint64_t seen = ghosts.load(std::memory_order_relaxed);
    ghosts.compare_exchange_strong(seen, seen << 16 | tag, std::memory_order_relaxed);
}

bool Index::recall(const KeyHash& hash, std::uint64_t units) noexcept {
    Word& ghosts = this->ghosts(place_hash(hash), units);
    std::uint64_t seen = ghosts.load(std::memory_order_relaxed);
    for (unsigned shift = 0; shift < 64; shift += 16) {
        if (static_cast<std::uint16_t>(seen >> shift) != slot_tag(hash)) continue;
        // The older ones move up, an empty one comes in below.
        const std::uint64_t newer = seen & ((std::uint64_t{1} << shift) - 1);
        const std::uint64_t older = shift == 48 ? 0 : seen >> (shift + 16) << (shift + 16);
        ghosts.compare_exchange_strong(seen, older | newer << 16, std::memory_order_relaxed);
        return true;
    }
    return false;
}

bool Index::in_main(const KeyHash& hash) const noexcept {
    const Candidates candidates = this->candidates(place_hash(hash));
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        const Slot slot = Slot::unpack(candidates[i].load(std::memory_order_relaxed));
        if (slot.tag == slot_tag(hash) && live(slot)) {
            return blocks_.state(slot.block).stream.queue == Queue::main;
        }
    }
    return false;
}

void Index::clear() noexcept {
    if (warming()) touch_all();
    for (std::uint64_t b = 0; b < bucket_count_; ++b) {
        for (Word& word : buckets_[b].slots) {
            // Acquire and release: a later put that finds the slot empty comes after this.
            // Sequentially consistent: after touch_all().
            if (word.load(std::memory_order_seq_cst) != 0) word.exchange(0, std::memory_order_acq_rel);
        }
    }
}

void Index::scrub() noexcept {
    const std::uint64_t share = bucket_count_ / scrub_period + 1;
    // Relaxed: whoever gets which share does not matter.
    const std::uint64_t begin = scrub_cursor_->fetch_add(share, std::memory_order_relaxed);
    for (std::uint64_t i = 0; i < share; ++i) {
        for (Word& word : buckets_[(begin + i) % bucket_count_].slots) {
            std::uint64_t seen = word.load(std::memory_order_relaxed);
            if (seen != 0 && unused(seen)) {
                word.compare_exchange_strong(seen, 0, std::memory_order_relaxed);
            }
        }
    }
}

}  // namespace tiercache
