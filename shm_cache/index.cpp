#include "shm_cache/index.hpp"

#include <algorithm>

namespace tiercache {

namespace {

// Each lost CAS is another's success; beyond these the bucket is a battlefield and the item not worth it.
constexpr int attempts_max = 32;
// Recycles in which scrub() comes around: half of what makes a slot's generation bits come around.
constexpr std::uint64_t scrub_period = 8192;

}  // namespace

Index::Index(std::byte* memory, const Geometry& geometry, const BlockTable& blocks) noexcept
    : buckets_(reinterpret_cast<Bucket*>(memory + geometry.index_at)),
      bucket_count_(geometry.bucket_count),
      geometry_(geometry),
      blocks_(blocks),
      scrub_cursor_(&reinterpret_cast<SegmentHeader*>(memory)->scrub_cursor) {}

bool Index::names_key(const Slot& slot, const KeyHash& hash, std::span<const std::byte> key) const noexcept {
    if (slot.tag != slot_tag(hash) || slot.block >= blocks_.count()) return false;
    const BlockState state = blocks_.state(slot.block);
    if (!slot.current(state) || !header_fits_block(geometry_, slot.offset)) return false;
    const Word* item = blocks_.item(slot.block, slot.offset);
    const ItemHeader header = load_item_header(item);
    if (!names_item(geometry_, header, state.generation, slot.offset) ||
        header.place_hash != place_hash(hash) || !has_key(item, header, key)) {
        return false;
    }
    after_read();
    return blocks_.generation_after_read(slot.block) == state.generation;
}

bool Index::publish(const KeyHash& hash, std::span<const std::byte> key, const Slot& slot,
                    bool& displaced) noexcept {
    const Candidates candidates = this->candidates(place_hash(hash));
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        // The slot to take: the key's own, else an unused one, else the least used.
        Word* target = nullptr;
        std::uint64_t seen = 0;
        std::uint32_t worth = UINT32_MAX;
        Slot placed = slot;
        for (std::size_t i = 0; i < Candidates::count; ++i) {
            // Acquire: pairs with the release below; names_key() reads the item.
            const std::uint64_t word = candidates[i].load(std::memory_order_acquire);
            const Slot other = Slot::unpack(word);
            const bool in_use = word != 0 && live(other);
            if (in_use && names_key(other, hash, key)) {
                target = &candidates[i];
                seen = word;
                worth = 0;
                placed.frequency = other.frequency;
                break;
            }
            const std::uint32_t other_worth = in_use ? 2 + other.frequency : 1;
            // Among equals, the place after the new item's tag: no slot is the eternal victim.
            const bool tie = other_worth == worth && in_use && i <= slot.tag % Candidates::count;
            if (other_worth < worth || tie) {
                target = &candidates[i];
                seen = word;
                worth = other_worth;
            }
        }
        // Release: pairs with the acquire of readers; the item's words come before it. Sequentially
        // consistent for the scan for duplicates that follows.
        if (target->compare_exchange_strong(seen, placed.pack(), std::memory_order_seq_cst)) {
            displaced = worth >= 2;
            erase_duplicates(hash, key);
            return true;
        }
    }
    return false;
}

void Index::erase_duplicates(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    const Candidates candidates = this->candidates(place_hash(hash));
    bool found = false;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        // Sequentially consistent: of two writers that publish at once, at least one must see both slots.
        std::uint64_t word = candidates[i].load(std::memory_order_seq_cst);
        if (word == 0 || !names_key(Slot::unpack(word), hash, key)) continue;
        // Losing the CAS to another writer leaves the duplicate to its own scan.
        if (found) candidates[i].compare_exchange_strong(word, 0, std::memory_order_acq_rel);
        found = true;
    }
}

bool Index::erase(const KeyHash& hash, std::span<const std::byte> key) noexcept {
    const Candidates candidates = this->candidates(place_hash(hash));
    bool erased = false;
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        for (int attempt = 0; attempt < attempts_max; ++attempt) {
            std::uint64_t word = candidates[i].load(std::memory_order_acquire);
            if (word == 0 || !names_key(Slot::unpack(word), hash, key)) break;
            // Fails when a reader raised the frequency, or a writer replaced the item: look again.
            if (candidates[i].compare_exchange_strong(word, 0, std::memory_order_acq_rel)) {
                erased = true;
                break;
            }
        }
    }
    return erased;
}

bool Index::erase_item(std::uint64_t place_hash, BlockLife life, std::uint32_t offset) noexcept {
    const Candidates candidates = this->candidates(place_hash);
    for (std::size_t i = 0; i < Candidates::count; ++i) {
        for (int attempt = 0; attempt < attempts_max; ++attempt) {
            std::uint64_t word = candidates[i].load(std::memory_order_relaxed);
            const Slot slot = Slot::unpack(word);
            if (word == 0 || slot.block != life.block || slot.offset != offset ||
                slot.generation != Slot::slot_generation(life.generation)) {
                break;
            }
            if (candidates[i].compare_exchange_strong(word, 0, std::memory_order_acq_rel)) return true;
        }
    }
    return false;
}

void Index::clear() noexcept {
    for (std::uint64_t b = 0; b < bucket_count_; ++b) {
        for (Word& word : buckets_[b].slots) {
            // Acquire and release: a later put that finds the slot empty comes after this.
            if (word.load(std::memory_order_relaxed) != 0) word.exchange(0, std::memory_order_acq_rel);
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
            if (seen != 0 && !live(Slot::unpack(seen))) {
                word.compare_exchange_strong(seen, 0, std::memory_order_relaxed);
            }
        }
    }
}

}  // namespace tiercache
